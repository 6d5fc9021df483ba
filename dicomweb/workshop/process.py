"""A process of the workshop: does what it is asked, one piece after the other, within its limit of memory.

It learns over a socket that there is work and how large it is; the work itself lies in an area that it shares with
the server, and so does its answer. It ends when the other side does or when it had nothing to do for a while, and
takes no part in anything else of the server.
"""

import importlib
import itertools
import os
import pickle
import signal
import struct
import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from dicomweb.errors import Error
from dicomweb.workshop.area import Area

MADE, REFUSED, LARGE, FAILED = b"m", b"r", b"l", b"f"
"""What an answer begins with: the result, the name of an error of ours and its sentence, not enough memory, a
traceback."""

WORN = 768 << 20
"""Bytes of memory at which a process ends after its work, so that what one giant needed is given back."""

GRACE = 5.0
"""Seconds beyond its deadline after which a process ends itself: the server that would have ended it is gone."""


def serve(connection: Connection, area: Area, memory: int, seconds: float, idle: float) -> None:
    """Answer until the other side is gone or nothing is asked for a while."""
    limits = _Limits(memory)
    while connection.poll(idle):
        try:
            message = connection.recv_bytes()
            sizes = struct.unpack(f"<{len(message) // 8}Q", message)
            signal.setitimer(signal.ITIMER_REAL, seconds + GRACE)
            with area.read(sum(sizes)) as request:
                work = _read(request, sizes)
            connection.send_bytes(struct.pack("<Q", _put(area, *_answer(work, limits))))
            signal.setitimer(signal.ITIMER_REAL, 0)
            del work
        except (EOFError, OSError):
            return
        if limits.worn():
            return


def _put(area: Area, kind: bytes, rest: bytes) -> int:
    """Put an answer into the area, or that there is no memory for it."""
    try:
        return area.write(kind, rest)
    except OSError:
        return area.write(LARGE)


def _read(request: memoryview, sizes: Sequence[int]) -> Any:
    """A pickle and the frames that follow it; None if there is no memory for them."""
    places = [*itertools.accumulate(sizes, initial=0)]
    try:
        frames = [bytes(request[start:stop]) for start, stop in itertools.pairwise(places[1:])]
        return pickle.loads(request[: places[1]], buffers=frames)
    except MemoryError:
        return None


def _answer(asked: Any, limits: "_Limits") -> tuple[bytes, bytes]:
    if asked is None:
        return LARGE, b""
    try:
        module, function, args = asked
        work = getattr(importlib.import_module(module), function)
        limits.hold(module)
        made: bytes = work(*args)
    except Error as error:
        return REFUSED, f"{type(error).__name__} {error}".encode()
    except MemoryError:
        return LARGE, b""
    except Exception:
        return FAILED, traceback.format_exc().encode()
    return (MADE, made) if isinstance(made, bytes) else (FAILED, b"the result is no bytes")


class _Limits:
    """The limit of memory: so many bytes beyond what the process has when its code is loaded."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._loaded: set[str] = set()
        try:
            import resource
        except ImportError:  # Windows has no such limits
            return
        self._resource = resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def hold(self, module: str) -> None:
        """Set the limit anew when another module has been loaded."""
        if module in self._loaded or not hasattr(self, "_resource"):
            return
        self._loaded.add(module)
        try:
            with open("/proc/self/statm", encoding="ascii") as file:
                taken = int(file.read().split()[0]) * self._resource.getpagesize()
        except OSError:  # no /proc: the limit counts from a size that code usually has
            taken = 1 << 30
        _, hard = self._resource.getrlimit(self._resource.RLIMIT_AS)
        wanted = taken + self._memory
        self._resource.setrlimit(self._resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))

    def worn(self) -> bool:
        """Say whether the process has grown so much that a new one is better."""
        if not hasattr(self, "_resource"):
            return False
        unit = 1 if sys.platform == "darwin" else 1024
        return self._resource.getrusage(self._resource.RUSAGE_SELF).ru_maxrss * unit > WORN


def main() -> None:
    """Begin to serve; arguments are the handles of socket and area, bytes of memory, seconds of work and idleness."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.putenv(name, "1")  # as many processes as cores: threads inside of them only take memory
    handle, area, memory, seconds, idle = sys.argv[1:]
    serve(Connection(int(handle)), Area(int(area)), int(memory), float(seconds), float(idle))
