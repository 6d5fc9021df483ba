"""Which of several web processes takes the next connection: one that serves no more of them than any other.

All listen on the same sockets, so a connection waits in one queue, out of which whoever lives may take it: nothing is
lost with a process that is killed or stops. libuv takes all that wait at once, and of eight connections one process
often got eight. Here a process takes one at a time, and leaves it to the others while one of them has fewer. Nobody
leaves it for longer than `PATIENCE`: the other may be busy, or hang.

How many each serves stands in a file that all of them map, two numbers each; everyone writes his own alone.
"""

import asyncio
import errno
import logging
import mmap
import ssl
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from socket import socket
from typing import Any

PATIENCE = 20
"""Milliseconds for which a connection is left to a process that serves fewer."""
_SLACK = 8
"""One more than that share of what the other has is no reason to wait: many at once need not alternate."""
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_FULL_SECONDS = 0.5
_GREETING_SECONDS = 1.0
_ABSENT = -1

log = logging.getLogger(__name__)


class Counts:
    """Of each process, how many connections it serves and how many it ever took.

    Args:
        path: the file, see `begin`.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._numbers = memoryview(self._map).cast("q")
        self._processes = len(self._numbers) // 2

    @classmethod
    def begin(cls, path: Path, processes: int) -> "Counts":
        """Make the file for so many processes, none of which is there yet."""
        path.write_bytes(struct.pack("2q", _ABSENT, 0) * processes)
        return cls(path)

    def close(self) -> None:
        """Let go of the file."""
        self._numbers.release()
        self._map.close()

    def of(self, process: int) -> int:
        """How many connections a process serves; -1 if it takes none."""
        return self._numbers[2 * process]

    def enter(self, process: int) -> None:
        """Begin with none, unless it did."""
        self._numbers[2 * process] = max(self._numbers[2 * process], 0)

    def leave(self, process: int) -> None:
        """Take none any more."""
        self._numbers[2 * process] = _ABSENT

    def took(self, process: int) -> None:
        """Count a connection."""
        if self._numbers[2 * process] != _ABSENT:
            self._numbers[2 * process] += 1
        self._numbers[2 * process + 1] += 1

    def ended(self, process: int) -> None:
        """Count one less, unless the process has left."""
        if self._numbers[2 * process] > 0:
            self._numbers[2 * process] -= 1

    def fewest(self, process: int) -> int:
        """The least that another one serves; as many as there can be if there is no other one."""
        others = (self._numbers[2 * each] for each in range(self._processes) if each != process)
        return min((number for number in others if number != _ABSENT), default=sys.maxsize)

    def taken(self, process: int) -> int:
        """How many connections the others took so far."""
        return sum(self._numbers[2 * each + 1] for each in range(self._processes) if each != process)


class Turns:
    """The view of one process.

    Args:
        counts: of all.
        process: the number of this one.
        patience: in milliseconds.
    """

    def __init__(self, counts: Counts, process: int, patience: float = PATIENCE) -> None:
        self._counts = counts
        self._process = process
        self._patience = patience
        self._waited = 0
        self._taken = 0

    def ours(self) -> bool:
        """Whether to take a connection that waits; who is told no asks again a millisecond later, if it still does."""
        taken = self._counts.taken(self._process)
        if taken != self._taken:
            self._taken, self._waited = taken, 0
        fewest = self._counts.fewest(self._process)
        if self._counts.of(self._process) <= fewest + fewest // _SLACK or self._waited >= self._patience:
            return True
        self._waited += 1
        return False

    def took(self) -> Callable[[], None]:
        """Count a connection; to be called when it ends is what comes back."""
        self._counts.took(self._process)
        return lambda: self._counts.ended(self._process)

    def enter(self) -> None:
        """Begin to take connections."""
        self._counts.enter(self._process)

    def leave(self) -> None:
        """Take none any more."""
        self._counts.leave(self._process)


class _Taken(socket):
    """A connection that tells once that it is over: Python's event loop closes it, uvloop detaches it and closes what
    it was, and a transport that was never made forgets it."""

    over: Callable[[], None] | None = None

    def close(self) -> None:
        super().close()
        self._end()

    def detach(self) -> int:
        number = super().detach()
        self._end()
        return number

    def __del__(self) -> None:
        self._end()

    def _end(self) -> None:
        over, self.over = self.over, None
        if over is not None:
            over()


class Door:
    """A listening socket of which this process takes connections in its turns; what `create_server` of an event loop
    returns (asyncio.AbstractServer).

    Args:
        loop: the event loop.
        opened: the socket, which listens.
        turns: those of this process.
        protocol: makes the protocol of a connection.
        secure: TLS context and time limit of its handshake, as `connect_accepted_socket` wants them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        opened: socket,
        turns: Turns,
        protocol: Callable[[], asyncio.BaseProtocol],
        secure: dict[str, Any],
    ) -> None:
        self._loop = loop
        self._socket = opened
        self._turns = turns
        self._protocol = protocol
        self._secure = secure
        self._open = True
        self._greeting: set[asyncio.Task[None]] = set()
        turns.enter()
        self._watch()

    @property
    def sockets(self) -> tuple[socket, ...]:
        """What listens."""
        return (self._socket,) if self._open else ()

    def close(self) -> None:
        """Take no more connections; what is open goes on."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket)
            self._turns.leave()
            self._socket.close()

    async def wait_closed(self) -> None:
        """Return when those that were taken are in their protocols' hands; in TLS, who is slow asked nothing yet."""
        greeting = set(self._greeting)
        if greeting:
            await asyncio.wait(greeting, timeout=_GREETING_SECONDS)
        for task in self._greeting:
            task.cancel()

    def _watch(self) -> None:
        if self._open:
            self._loop.add_reader(self._socket, self._turn)

    def _later(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.call_later(seconds, self._watch)

    def _turn(self) -> None:
        """Take one connection, or leave it to others; the reader is called again while one waits."""
        if not self._turns.ours():
            self._later(0.001)
            return
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in _FULL:
                raise
            log.error("no connection can be taken: %s", error)
            self._later(_FULL_SECONDS)
            return
        taken = _Taken(accepted.family, accepted.type, accepted.proto, accepted.detach())
        taken.setblocking(False)
        taken.over = self._turns.took()
        task = self._loop.create_task(self._greet(taken))
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)

    async def _greet(self, taken: _Taken) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, taken, **self._secure)
        except OSError as error:  # among them those of TLS and time; what was begun is closed by the event loop
            log.debug("a connection came to nothing: %s", error)


class TakesTurns:
    """What an event loop becomes whose servers take connections in turns.

    Attributes:
        turns: those of this process.
    """

    turns: Turns

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: object = None,
        port: object = None,
        *,
        sock: socket,
        backlog: int = 100,
        ssl: ssl.SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Door:
        """See asyncio.AbstractEventLoop; of a socket that listens already."""
        assert isinstance(self, asyncio.AbstractEventLoop)
        secure = {"ssl": ssl, "ssl_handshake_timeout": ssl_handshake_timeout} if ssl else {}
        return Door(self, sock, self.turns, protocol_factory, secure)
