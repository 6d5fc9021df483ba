import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from dicomweb import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        held = [b"x" * 500_000, b"y" * 507_000]
        whole = b"".join(held)
        del held, whole
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    assert memory.keep()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc, which alone is told")
def test_blocks_of_half_a_megabyte_are_used_again_without_page_faults():
    counts = {}
    for how in ("keep", "leave"):
        run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        counts[how] = int(run.stdout)
    assert counts["keep"] < 5_000 < counts["leave"]
