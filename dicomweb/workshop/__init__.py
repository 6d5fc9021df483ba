"""Work that may go wrong badly, done in processes of its own (A15, A21).

Pixels come from strangers, and codecs are large libraries in C: a stream of a few bytes can ask for gigabytes or
hours, or crash the process that reads it. So decoding, encoding and drawing happen here, one piece of work at a
time in each process, with a deadline and a limit on memory. What goes wrong costs the request that asked for it.

Processes are started when they are first needed and end when they have been idle for a while, so that a server
that only hands out stored bytes never pays for them. What comes back from them is bytes and nothing else, never a
pickle: a codec that was taken over can draw a wrong picture, but runs nothing here.
"""

import contextlib
import logging
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from dicomweb.errors import BadRequest, Error, NotAcceptable, Unavailable, Undecodable
from dicomweb.telemetry.measures import Histogram, Level
from dicomweb.workshop.area import Area
from dicomweb.workshop.process import FAILED, LARGE, MADE, REFUSED

PATIENCE = 30.0
"""Seconds that a piece of work waits for a free process before the client is asked to come back."""
IDLE = 300.0
"""Seconds without work after which a process ends."""
_LEAVING = 10.0
"""Seconds within which a process ends that nobody can ask any more."""

WORKED = Histogram(
    "roentgate_codec_duration_seconds", "Time that one piece of work in a codec process took.", ("work", "outcome")
)
WAITED = Histogram("roentgate_codec_wait_seconds", "Time until a codec process was free.")
BUSY = Level("roentgate_codec_processes_busy", "Codec processes at work.")

_LARGE = 64 << 10
_MAIN = "from dicomweb.workshop.process import main; main()"
_REFUSALS: dict[str, type[Error]] = {kind.__name__: kind for kind in (Undecodable, NotAcceptable, BadRequest)}

log = logging.getLogger(__name__)


class Workshop:
    """Runs functions of modules that work on bytes.

    Args:
        processes: at most so many at a time.
        seconds: that one piece of work may take.
        memory: bytes that one piece of work may use beside the code itself.
        idle: seconds without work after which a process ends.
        patience: seconds that work waits for a free process.
    """

    def __init__(
        self, processes: int, seconds: float, memory: int, idle: float = IDLE, patience: float = PATIENCE
    ) -> None:
        self.processes = processes
        self._seconds = seconds
        self._memory = memory
        self._idle = idle
        self._patience = patience
        self._places = threading.BoundedSemaphore(processes)
        self._lock = threading.Lock()
        self._resting: list[_Process] = []
        self._closed = False

    def run(self, module: str, function: str, *args: Any) -> bytes:
        """Call `function` of `module` in a process, and return the bytes that it returns. Blocks.

        Args:
            module: full name; it is imported there, not here.
            function: its name in the module.
            args: anything that can be pickled.

        Raises:
            Undecodable: the function says so, took too long, needed too much memory, or its process died.
            NotAcceptable, BadRequest: the function says so.
            Unavailable: no process became free in time, or the one at work was ended from outside.
        """
        request = _write((module, function, args))
        begun = perf_counter()
        if not self._places.acquire(timeout=self._patience):
            WAITED.observe(perf_counter() - begun)
            raise Unavailable("too many images are being worked on; the same request may succeed later")
        free = perf_counter()
        WAITED.observe(free - begun)
        BUSY.add(1)
        outcome = "failed"
        try:
            result = self._run(request)
            outcome = "well"
            return result
        finally:
            self._places.release()
            BUSY.add(-1)
            WORKED.observe(perf_counter() - free, (module.rpartition(".")[2], outcome))

    def _run(self, request: Sequence[bytes]) -> bytes:
        while True:
            process = self._take()
            used = process.used
            try:
                answer = process.ask(request, self._seconds)
            except _Ended as ended:
                if ended.quietly and used:  # it was idle for long and went just now
                    continue
                if ended.killed:
                    log.warning("a codec process was ended by somebody else (%s)", ended)
                    raise Unavailable("work on the image was broken off; the same request may succeed later") from ended
                log.warning("a codec process died (%s); the request that it worked for was refused", ended)
                raise Undecodable("the image cannot be worked on: reading it made the decoder fail") from ended
            if answer is None:
                raise Undecodable(f"the image cannot be worked on within the limit of {self._seconds:g} seconds")
            self._give_back(process)
            return _result(answer)

    def _take(self) -> "_Process":
        with self._lock:
            while self._resting:
                process = self._resting.pop()
                if process.lives():
                    return process
        try:
            return _Process(self._memory, self._seconds, self._idle)
        except OSError as error:
            log.error("a codec process cannot be started: %s", error)
            raise Unavailable("images cannot be worked on now; the same request may succeed later") from error

    def _give_back(self, process: "_Process") -> None:
        with self._lock:
            if not self._closed:
                self._resting.append(process)  # last in, first out, so that those not needed become idle
                return
        process.end()

    def close(self) -> None:
        """End the processes that rest; those at work end after it."""
        with self._lock:
            self._closed = True
            resting, self._resting = self._resting, []
        for process in resting:
            process.end()


def _write(work: tuple[str, str, tuple[Any, ...]]) -> Sequence[bytes]:
    """Pickle a piece of work; large frames among its arguments follow as they are, so that they are copied once."""
    module, function, args = work
    frames: list[pickle.PickleBuffer] = []
    buffered = [pickle.PickleBuffer(arg) if isinstance(arg, bytes) and len(arg) >= _LARGE else arg for arg in args]
    pickled = pickle.dumps((module, function, buffered), pickle.HIGHEST_PROTOCOL, buffer_callback=frames.append)
    return (pickled, *(arg for arg in args if isinstance(arg, bytes) and len(arg) >= _LARGE))


def _result(answer: bytes) -> bytes:
    kind, rest = answer[:1], answer[1:]
    if kind == MADE:
        return rest
    text = rest.decode("utf-8", "replace")
    if kind == REFUSED:
        name, _, sentence = text.partition(" ")
        raise _REFUSALS.get(name, Undecodable)(sentence)
    if kind == LARGE:
        raise Undecodable("the image cannot be worked on within the limit of memory")
    assert kind == FAILED
    log.error("work on an image failed:\n%s", text)
    raise Undecodable("the image cannot be worked on: reading it made the decoder fail")


class _Ended(Exception):
    """The process is gone.

    Attributes:
        quietly: it ended by itself, having had nothing to do.
        killed: somebody ended it, such as the system for want of memory; the image need not be the cause.
    """

    def __init__(self, status: int) -> None:
        self.quietly = status == 0
        self.killed = status in (-signal.SIGKILL, -signal.SIGTERM)
        with contextlib.suppress(ValueError):
            super().__init__(f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}")


class _Process:
    """One process, and the socket over which it is asked.

    Attributes:
        used: it has been asked before, and may have gone since.
    """

    def __init__(self, memory: int, seconds: float, idle: float) -> None:
        ours, theirs = socket.socketpair()
        self.used = False
        self._memory = memory
        self._connection = Connection(ours.detach())
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self._connection.close)
            self._area = Area()
            undo.callback(self._area.close)
            handles = [theirs.fileno(), self._area.handle]
            self._process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, *map(str, (*handles, memory, seconds, idle))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=handles,
                process_group=0,  # Ctrl-C is for the server, which ends its processes
            )
            undo.pop_all()

    def ask(self, request: Sequence[bytes], seconds: float) -> bytes | None:
        """Have a piece of work done; None if it took too long and the process was ended.

        Raises:
            _Ended: the process is gone.
        """
        self.used = True
        try:
            self._area.write(*request)
            self._connection.send_bytes(struct.pack(f"<{len(request)}Q", *map(len, request)))
            if self._connection.poll(seconds):
                (size,) = struct.unpack("<Q", self._connection.recv_bytes(8))
                if size > self._memory:  # more than any honest process has
                    self._process.kill()
                    raise _Ended(self.end())
                with self._area.read(size) as view:
                    return bytes(view)
        except (EOFError, OSError):
            raise _Ended(self.end()) from None
        self._process.kill()
        self.end()
        return None

    def lives(self) -> bool:
        """Say whether it is still there."""
        return self._process.poll() is None

    def end(self) -> int:
        """Let it end, which it does when nobody can ask it any more, and return its status."""
        self._close()
        try:
            return self._process.wait(_LEAVING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _close(self) -> None:
        if not self._connection.closed:
            self._connection.close()
            self._area.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.end()
