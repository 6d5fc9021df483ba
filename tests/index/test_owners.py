"""Which processes live: one that has ended does not, even before its parent has taken note."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicomweb.index import owners

NAMED = "from dicomweb.index import owners; print(owners.this_process(), flush=True); input()"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this machine")
def test_a_process_that_has_ended_lives_no_more_although_its_parent_has_not_asked_for_it():
    with subprocess.Popen([sys.executable, "-c", NAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        name = process.stdout.readline().decode().strip()
        assert owners.is_alive(name)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is a zombie still
        assert Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        assert owners.is_alive(name) is False
