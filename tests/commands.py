"""Runs the `roentgate` command as a user would: as a process of its own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-W", "error", "-m", "dicomweb"]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings, with `more`."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ROENTGATE_")}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **more}


def run(folder: Path, *arguments: object, status: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; its exit status must be `status` unless that is None."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert status is None or done.returncode == status, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    return done


def run_json(folder: Path, *arguments: object, status: int = 0) -> Any:
    """Run a command with `--json` and read what it prints."""
    return json.loads(run(folder, *arguments, "--json", status=status).stdout)


@contextlib.contextmanager
def started(
    folder: Path, *arguments: object, through: Sequence[str] = (), log: Path | None = None, **env: str
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A command that greets and serves; it is killed at the end if it still runs.

    Args:
        folder: where it runs.
        arguments: of `roentgate`.
        through: a command in front, such as strace.
        log: where what it says on standard error is added; None is for a pipe.
        env: its settings.
    """
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [*through, *COMMAND, *map(str, arguments)],
            cwd=folder,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if log is None else stack.enter_context(log.open("a")),
            text=True,
        )
    try:
        yield process, greeting_of(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def greeting_of(process: "subprocess.Popen[str]") -> str:
    """What a command says until it serves. It fails where the command ends before."""
    assert process.stdout is not None
    greeting = ""
    for line in process.stdout:
        greeting += line
        if line.startswith("Ctrl-C"):
            return greeting
    raise AssertionError(f"it did not start: {process.communicate()}")


def http_port(greeting: str) -> int:
    """The port on which a greeting says that HTTP is spoken."""
    found = re.search(r"try .*:([0-9]+)/", greeting)
    assert found is not None, greeting
    return int(found[1])


@dataclass
class Served:
    """A server under way: its process, its port, and what it said when it started."""

    process: subprocess.Popen[str]
    port: int
    greeting: str

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def served(folder: Path, *arguments: object, log: Path | None = None, **env: str) -> Iterator[Served]:
    """`roentgate serve` on a free port in a folder, until the context ends; it must end cleanly. See `started`."""
    with started(folder, "serve", "--http-port", "0", *arguments, log=log, **env) as (process, greeting):
        yield Served(process, http_port(greeting), greeting)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, f"{process.returncode}: {out}\n{err}"


def family(pid: int) -> Iterator[int]:
    """A process and those below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def memory(pid: int) -> int:
    """Bytes that the processes hold for themselves; pages of files are the system's."""
    total = 0
    for each in family(pid):
        status = Path(f"/proc/{each}/status").read_text()
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:"))
    return total * 1024


def dimse_port(greeting: str) -> int:
    """The port on which a greeting says that DIMSE is spoken."""
    found = re.search(r"DIMSE +ROENTGATE@127\.0\.0\.1:([0-9]+)", greeting)
    assert found is not None, greeting
    return int(found[1])
