"""The web server as processes: one worker is this process; several are processes of their own on the same
sockets, watched by this one, which serves nothing itself. They share connections by `turns`.

On Linux this process imports what each worker needs and they are copies of it: they share the memory that it takes, and
start at once. It has no threads, which would not be copied.
"""

import gc
import logging
import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from typing import Any

from dicomweb.config import Config
from dicomweb.errors import BadSetting, Error, Unavailable
from dicomweb.launch import begin_log, greeting, listen, load, work
from dicomweb.turns import Counts, Turns

_COUNTS = "connections"
_COPIED = sys.platform == "linux"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

PAUSE, LONGEST = 1.0, 30.0
"""Seconds before a worker takes the place of one that was killed as it started: first, and at most."""
_LOOK = 0.5
"""Seconds after which a supervisor that pauses without a worker sees that it was told to stop."""

log = logging.getLogger(__name__)


def serve(config: Config, say: Callable[[str], None] = print) -> int:
    """Serve until told to stop.

    Args:
        config: what holds.
        say: called once with the lines that tell a user where to go, when the server answers.

    Returns:
        The exit status: 0 after a stop that was asked for, 1 if a worker died.

    Raises:
        BadSetting: a setting does not fit this machine, for example a port that is taken.
        Unavailable: storage or index cannot be opened.
    """
    config.check_exposure()
    begin_log(config)
    sockets = listen(config)
    port = sockets[0].getsockname()[1]
    try:
        if config.workers == 1:
            work(config, sockets, lambda: say(greeting(config, port)))
            return 0
        with tempfile.TemporaryDirectory(prefix="roentgate-workers-") as shared:
            return supervise(config, sockets, lambda: say(greeting(config, port)), Path(shared))
    finally:
        _close(sockets)


def supervise(config: Config, sockets: list[socket.socket], ready: Callable[[], None], shared: Path) -> int:
    """Run workers, start again those that die, and stop all when told, or when the process that started this is gone.

    Args:
        config: what holds.
        sockets: that listen.
        ready: called once all answer.
        shared: folder in which they put their measures together and count their connections.

    Raises:
        BadSetting, Unavailable: what kept the first worker from starting.
    """
    context = multiprocessing.get_context("fork" if _COPIED else "spawn")
    life = _Life()
    process = multiprocessing.parent_process()
    parent = None if process is None else process.sentinel
    workers: dict[int, _Worker] = {}
    counts = Counts.begin(shared / _COUNTS, config.workers)
    pauses = Pauses()
    stopping = 0
    starting = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping += 1
        if not starting:
            _close(sockets)
        for worker in workers.values():
            worker.process.kill() if stopping > 1 else worker.process.terminate()

    def missing() -> bool:
        return len(workers) < wanted and all(worker.ready for worker in workers.values())

    previous = {each: signal.signal(each, stop) for each in _SIGNALS}
    wanted = config.workers
    announced = False
    failure: Error | None = None
    status = 0
    try:
        if _COPIED:
            load()
            gc.freeze()  # or looking for garbage would touch, and so copy, what is shared
        while True:
            wanted = 0 if stopping or failure is not None or status else config.workers
            # One after the other: the first answers sooner where others do not start beside it.
            if missing() and not stopping and pauses.left() == 0:
                starting = True
                number = min(set(range(config.workers)) - {worker.number for worker in workers.values()})
                worker = _Worker(context, config, sockets, shared, number, life)
                workers[worker.process.sentinel] = worker
                starting = False
                if stopping:  # told while it was being made
                    _close(sockets)
                    worker.process.terminate()
            if not workers and (stopping or not wanted):
                break
            for whose, message in _happenings(workers, parent, pauses.left() if missing() else None):
                if whose is None:
                    parent = None
                    stop()
                    continue
                worker = whose
                if message == "ready":
                    worker.ready = True
                    pauses.end()
                    if not announced and len(workers) == config.workers and all(w.ready for w in workers.values()):
                        announced = True
                        ready()
                elif isinstance(message, Error):
                    failure = message
                elif message is None:
                    workers.pop(worker.process.sentinel)
                    worker.close()
                    counts.leave(worker.number)
                    if not stopping:
                        if failure is None and not worker.ready and not (announced and worker.killed):
                            status = 1  # it would fail again
                        if failure is not None or status:
                            for other in workers.values():
                                other.process.terminate()
                        else:
                            seconds = 0.0 if worker.ready else pauses.begin()
                            log.error(
                                "a worker died (%s); another one takes its place%s",
                                worker.process.exitcode,
                                f" in {seconds:.0f} s, since it was killed as it started" if seconds else "",
                            )
    finally:
        counts.close()
        life.end()
        for each, handler in previous.items():
            signal.signal(each, handler)
    if failure is not None:
        raise failure
    return status


def _close(sockets: list[socket.socket]) -> None:
    """Let go of what listens: when the last process has, who waits in the queue is told so and nobody joins it."""
    for each in sockets:
        each.close()


class _Life:
    """A pipe on which nothing is ever said: it ends when this process has ended.

    Attributes:
        sign: the end to watch, which the workers have.
    """

    def __init__(self) -> None:
        self.sign, self._held = multiprocessing.Pipe(duplex=False)

    def watch(self) -> Connection:
        """Let go of the end that the supervisor alone holds; return the other one."""
        self._held.close()
        return self.sign

    def end(self) -> None:
        """Close both."""
        self._held.close()
        self.sign.close()


class _Worker:
    """A worker process and the pipe on which it says that it is ready, or why it is not.

    Attributes:
        number: among the workers; one that takes the place of another has the other's.
    """

    def __init__(
        self, context: Any, config: Config, sockets: list[socket.socket], shared: Path, number: int, life: _Life
    ) -> None:
        self.number = number
        self.pipe, theirs = context.Pipe(duplex=False)
        self.process: multiprocessing.process.BaseProcess = context.Process(
            target=_worker, args=(config, sockets, theirs, shared, number, life), daemon=True
        )
        if _COPIED:  # until it has let go of the supervisor's handlers
            masked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self.process.start()
        finally:
            if _COPIED:
                signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        theirs.close()
        self.listening = True
        self.ready = False

    @property
    def killed(self) -> bool:
        """Whether a signal ended it, of the kernel that wants memory for example."""
        return (self.process.exitcode or 0) < 0

    def close(self) -> None:
        self.process.join()
        self.pipe.close()


class Pauses:
    """How long nobody takes the place of a worker that was killed as it started: each time twice as long, until one
    starts. What kills each of them (memory that is lacking, for example) is not made worse by more of them.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._next = PAUSE
        self._until = clock()

    def begin(self) -> float:
        """Begin a pause; return its seconds."""
        seconds, self._next = self._next, min(2 * self._next, LONGEST)
        self._until = self._clock() + seconds
        return seconds

    def left(self) -> float:
        """Seconds until the pause is over; 0 without one."""
        return max(0.0, self._until - self._clock())

    def end(self) -> None:
        """A worker has started: there is no pause, and the next one is the first again."""
        self._next, self._until = PAUSE, self._clock()


def _happenings(
    workers: dict[int, _Worker], parent: int | None, seconds: float | None
) -> Iterator[tuple[_Worker | None, object]]:
    """Wait, so many seconds at most; yield what workers say, and None for those that ended; no worker where the
    parent has ended."""
    pipes = {worker.pipe: worker for worker in workers.values() if worker.listening}
    if not workers and seconds is not None:
        seconds = min(seconds, _LOOK)
    watched: Sequence[int] = () if parent is None else (parent,)
    happened = multiprocessing.connection.wait([*pipes, *workers, *watched], seconds)
    for each in happened:
        if each in pipes:
            worker = pipes[each]
            try:
                yield worker, worker.pipe.recv()
            except (EOFError, OSError):
                worker.listening = False
    for each in happened:
        if isinstance(each, int):
            yield workers.get(each), None


def _worker(config: Config, sockets: list[socket.socket], pipe: Any, shared: Path, number: int, life: _Life) -> None:
    if _COPIED:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    parent = life.watch()
    begin_log(config)
    turns = Turns(Counts(shared / _COUNTS), number)
    try:
        work(config, sockets, lambda: pipe.send("ready"), shared, turns, parent.fileno())
    except (BadSetting, Unavailable) as error:
        pipe.send(type(error)(str(error)))
        sys.exit(1)
