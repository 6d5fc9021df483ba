"""A process of the workshop: does what it is asked, one piece after the other, within its limit of memory.

It learns over a socket that there is work and how large it is, and gets the open files that it is to read; the work
itself lies in an area that it shares with the server, and so does its answer. Memory that one frame needed is kept for
the next one, and given back when none comes for a moment. It ends when the other side does or when it had nothing to
do for a while, and takes no part in anything else of the server.
"""

import importlib
import itertools
import math
import os
import pickle
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from dicomweb import memory as kept
from dicomweb.errors import Error
from dicomweb.workshop import lent
from dicomweb.workshop.area import Area

MADE, REFUSED, LARGE, FAILED = b"m", b"r", b"l", b"f"
"""What an answer begins with: the result, the name of an error of ours and its sentence, not enough memory, a
traceback."""

WORN = 768 << 20
"""Bytes of memory at which a process ends after its work, so that what one giant needed is given back."""

MOST_FILES = 16
"""Files that come with a piece of work at most."""
MOMENT = 1.0
"""Seconds without work after which memory is given back."""
HEAD = struct.Struct("<I")
"""How many pieces a request has; their sizes follow, 8 bytes each."""
SIZE = struct.Struct("<Q")
"""Bytes of an answer."""

_KEPT = 128 << 20
"""Bytes of free memory that are kept until then."""

GRACE = 5.0
"""Seconds beyond its deadline after which a process ends itself: the server that would have ended it is gone."""


def serve(connection: socket.socket, area: Area, memory: int, seconds: float, idle: float) -> None:
    """Answer until the other side is gone or nothing is asked for a while."""
    limits = _Limits(memory)
    while asked := _next(connection, idle):
        sizes, files = asked
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds + GRACE)
            try:
                with area.read(sum(sizes)) as request:
                    work = _read(request, sizes)
                answer = _answer(work, files, limits)
            finally:
                for file in files:
                    os.close(file)
            connection.sendall(SIZE.pack(_put(area, *answer)))
            signal.setitimer(signal.ITIMER_REAL, 0)
            del work, answer
        except OSError:
            return
        if limits.worn():
            return


def _next(connection: socket.socket, idle: float) -> tuple[tuple[int, ...], list[int]] | None:
    """Wait for work: sizes of its pieces, and files that come with it. None if there will be none."""
    try:
        connection.settimeout(min(MOMENT, idle))
        try:
            message, files, _, _ = socket.recv_fds(connection, 4096, MOST_FILES)
        except TimeoutError:
            kept.give_back()
            connection.settimeout(idle)
            message, files, _, _ = socket.recv_fds(connection, 4096, MOST_FILES)
        if not message:
            return None
        (count,) = HEAD.unpack_from(message)
        while len(message) < HEAD.size + count * SIZE.size:
            more = connection.recv(4096)
            if not more:
                return None
            message += more
        return struct.unpack_from(f"<{count}Q", message, HEAD.size), files
    except OSError:
        return None


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


def _answer(asked: Any, files: Sequence[int], limits: "_Limits") -> tuple[bytes, bytes]:
    if asked is None:
        return LARGE, b""
    try:
        module, function, args = asked
        work = getattr(importlib.import_module(module), function)
        limits.hold(module)
        args = [
            lent.read(files[arg.number], arg.start, arg.stop) if isinstance(arg, lent.Borrowed) else arg for arg in args
        ]
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
        if self._resource.getrusage(self._resource.RUSAGE_SELF).ru_maxrss * unit <= WORN:
            return False
        return _most_held() > WORN


def _most_held() -> float:
    """Bytes that this process held at most. Linux counts what the server held when it started the process as the
    process's own, where it is asked by getrusage(2)."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(1024.0 * int(line.split()[1]) for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return math.inf


def main() -> None:
    """Begin to serve; arguments are the handles of socket and area, bytes of memory, seconds of work and idleness."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.putenv(name, "1")  # as many processes as cores: threads inside of them only take memory
    kept.keep(kept.LARGEST_BLOCK, _KEPT, 1)
    handle, area, memory, seconds, idle = sys.argv[1:]
    serve(socket.socket(fileno=int(handle)), Area(int(area)), int(memory), float(seconds), float(idle))
