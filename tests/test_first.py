"""Process 1 of a container, in a process namespace of its own."""

import os
import select
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest
from commands import COMMAND, environment, http_port, started

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="a process namespace takes root and util-linux"
)
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_it_hands_signals_on_ends_with_the_programs_status_and_leaves_no_zombies(tmp_path):
    with started(tmp_path, "serve", "--http-port", "0", through=NAMESPACE) as (process, greeting):
        (first,) = children(process.pid)
        (program,) = children(first)
        # Somebody runs a command in the namespace whose child outlives it
        script = "sleep 5 & echo left"
        done = subprocess.run(
            ["nsenter", "--target", str(first), "--pid", "--mount", "sh", "-c", script],
            stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        assert done.returncode == 0
        (orphan,) = set(children(first)) - {program}
        opened = os.pidfd_open(orphan)
        assert select.select([opened], [], [], 30)[0], "it did not end"
        os.close(opened)
        for _ in range(200):
            if children(first) == [program]:
                break
            with urllib.request.urlopen(f"http://127.0.0.1:{http_port(greeting)}/health/live"):
                pass
        assert children(first) == [program], [state(each) for each in children(first)]
        os.kill(first, signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, f"{out}{err}"
        assert "Traceback" not in err


@pytest.mark.parametrize(("words", "status"), [(["--version"], 0), (["serve", "--nonsense"], 2)])
def test_a_command_that_ends_has_its_own_status(tmp_path, words, status):
    done = subprocess.run([*NAMESPACE, *COMMAND, *words], cwd=tmp_path, env=environment(), capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == status, done.stderr
    assert (done.stdout + done.stderr).count("roentgate") >= 1
