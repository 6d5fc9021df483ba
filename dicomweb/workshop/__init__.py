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
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from dicomweb.errors import BadRequest, Corrupt, Error, NotAcceptable, Unavailable, Undecodable
from dicomweb.telemetry.measures import Histogram, Level
from dicomweb.workshop.area import Area
from dicomweb.workshop.lent import Borrowed, Lent
from dicomweb.workshop.process import FAILED, HEAD, LARGE, MADE, REFUSED, SIZE

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
_REFUSALS: dict[str, type[Error]] = {
    kind.__name__: kind for kind in (Undecodable, NotAcceptable, BadRequest, Corrupt, Unavailable)
}

__all__ = ["Lent", "Workshop"]

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
            args: anything that can be pickled; of a `Lent` the function gets the bytes.

        Raises:
            Undecodable: the function says so, took too long, needed too much memory, or its process died.
            NotAcceptable, BadRequest: the function says so.
            Unavailable: no process became free in time, or the one at work was ended from outside.
            Corrupt, Unavailable: what is lent cannot be read.
            Whatever opening what is lent raises.
        """
        request = _write(module, function, args)
        begun = perf_counter()
        if not self._places.acquire(timeout=self._patience):
            WAITED.observe(perf_counter() - begun)
            raise Unavailable("too many images are being worked on; the same request may succeed later")
        free = perf_counter()
        WAITED.observe(free - begun)
        BUSY.add(1)
        outcome = "failed"
        files: list[int] = []
        try:
            for arg in args:
                if isinstance(arg, Lent):
                    files.append(arg.open())
            result = self._run(request, files)
            outcome = "well"
            return result
        finally:
            for file in files:
                os.close(file)
            self._places.release()
            BUSY.add(-1)
            WORKED.observe(perf_counter() - free, (module.rpartition(".")[2], outcome))

    def _run(self, request: Sequence[bytes], files: Sequence[int]) -> bytes:
        while True:
            process = self._take()
            used = process.used
            try:
                answer = process.ask(request, files)
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
            return _result(*answer)

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


def _write(module: str, function: str, args: Sequence[Any]) -> Sequence[bytes]:
    """Pickle a piece of work; large frames among its arguments follow as they are, so that they are copied once."""
    large: list[bytes] = []
    told: list[Any] = []
    lent = 0
    for arg in args:
        if isinstance(arg, Lent):
            told.append(Borrowed(lent, arg.start, arg.stop))
            lent += 1
        elif isinstance(arg, bytes) and len(arg) >= _LARGE:
            told.append(pickle.PickleBuffer(arg))
            large.append(arg)
        else:
            told.append(arg)
    frames: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps((module, function, told), pickle.HIGHEST_PROTOCOL, buffer_callback=frames.append)
    return (pickled, *large)


def _result(kind: bytes, rest: bytes) -> bytes:
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
        self._connection = ours
        self._connection.settimeout(seconds)
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

    def ask(self, request: Sequence[bytes], files: Sequence[int]) -> tuple[bytes, bytes] | None:
        """Have a piece of work done, and return the kind of its answer and the rest of it; None if it took too long and
        the process was ended.

        Raises:
            _Ended: the process is gone.
        """
        self.used = True
        try:
            self._area.write(*request)
            message = b"".join((HEAD.pack(len(request)), *(SIZE.pack(len(piece)) for piece in request)))
            if files:
                socket.send_fds(self._connection, [message], files)
            else:
                self._connection.sendall(message)
            size = self._answered()
            if size > self._memory:  # more than any honest process has
                self._process.kill()
                raise _Ended(self.end())
            with self._area.read(size) as view:
                return bytes(view[:1]), bytes(view[1:])
        except TimeoutError:
            self._process.kill()
            self.end()
            return None
        except OSError:
            raise _Ended(self.end()) from None

    def _answered(self) -> int:
        """Wait for an answer, and return how many bytes it has."""
        message = self._connection.recv(SIZE.size)
        while 0 < len(message) < SIZE.size:
            piece = self._connection.recv(SIZE.size - len(message))
            message = message + piece if piece else b""
        if not message:
            raise ConnectionResetError
        size: int = SIZE.unpack(message)[0]
        return size

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
        if self._connection.fileno() >= 0:
            self._connection.close()
            self._area.close()

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self.end()
