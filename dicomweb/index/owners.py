"""Names of processes, written beside what they have under way: `host:pid:start`.

`start` tells a process from a later one with the same number: seconds since 1970 at which it began, where the
system says so (/proc on Linux), else when this module was loaded.
"""

import os
import socket
import time
from pathlib import Path

_LOADED = int(time.time())


def _start(pid: int) -> int | None:
    """Return when a process began; None if there is none any more, or if the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] in ("Z", "X"):  # it has ended, and only its parent has not taken note
            return None
        booted = next(
            int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime ")
        )
        return booted + int(fields[19]) // os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def this_process() -> str:
    """Return the name of this process."""
    pid = os.getpid()
    start = _start(pid)
    return f"{socket.gethostname()}:{pid}:{_LOADED if start is None else start}"


def boot() -> str:
    """Return the name of this run of the machine, from its start until it goes down; "" where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def is_alive(owner: str) -> bool | None:
    """Say whether the process with this name still runs; None if it is on another host or cannot be told."""
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    start = owner.rpartition(":")[2]
    if host != socket.gethostname() or not rest.isdigit() or not start.isdigit():
        return None
    if owner == this_process():
        return True
    if not Path("/proc/self/stat").exists():
        return None
    began = _start(int(rest))
    # The clock may have been set between the two readings of the boot time.
    return began is not None and abs(began - int(start)) <= 2
