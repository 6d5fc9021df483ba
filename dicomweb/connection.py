"""One HTTP/1.1 connection as an ASGI server sees it: requests in, one after the other, answers out.

Hypercorn by itself reads through a stream, a protocol object and a task of its own for each pause between requests,
and gives each event a turn of the event loop; that was a third of the CPU of a stored CT image. Here bytes go from the
transport to the application in one step.

What a connection may cost: a body is read no faster than the application takes it, an answer is made no faster than
the client takes it, one request is under way at a time. A client that says nothing is let go after `keep_alive`, one
that takes nothing of its answer after `stall`. How slowly a body may come is the application's concern (`web.limits`).
"""

import asyncio
import json
import logging
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import Any, cast
from urllib.parse import unquote

from dicomweb import http1
from dicomweb.http1 import BadMessage, ChunkReader, Head, LengthReader

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

CERTIFIED = "roentgate.certified"
"""Where the state of a scope (ASGI) has the name in the certificate that the client showed (see `wire`)."""
TOLD = "roentgate.told"
"""Where a scope has the asyncio.Event that is set when the server is to stop."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""How a client begins that knows that we speak HTTP/2 (RFC 9113 3.4)."""

_READ_AHEAD = 1 << 20
"""Bytes of a body that wait for the application before reading pauses."""
_NEXT = 64 << 10
"""Bytes behind a request that wait for its answer before reading pauses."""
_WRITE_AHEAD = 256 << 10
"""Bytes of an answer that wait for the client before the application has to."""
_JOINED = 16 << 10
"""Bodies up to this size go out in one piece with their head."""

_PHRASES = {status.value: status.phrase for status in HTTPStatus}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection waits for its client, in seconds.

    Attributes:
        keep_alive: for the next request.
        stall: for the client to take more of an answer.
    """

    keep_alive: float
    stall: float


@dataclass(frozen=True, slots=True)
class Ends:
    """Who talks to whom.

    Attributes:
        scheme: http or https.
        client, server: address and port.
    """

    scheme: str
    client: tuple[str, int] | None
    server: tuple[str, int] | None


class Connection(asyncio.Protocol):
    """A connection from its first byte to its last.

    Args:
        app: the application (ASGI).
        state: what its lifespan left for requests.
        ends: who talks to whom.
        patience: how long to wait for the client.

    Attributes:
        over: done when the connection is closed (False), or when its client turns out to speak HTTP/2 (True); then
            somebody else takes it over, beginning with the bytes `held`.
        held: bytes that belong to no request yet.
    """

    def __init__(self, app: Application, state: Message, ends: Ends, patience: Patience) -> None:
        self._app = app
        self._state = state
        self._ends = ends
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[bool] = self._loop.create_future()
        self._transport: asyncio.Transport
        self.held = b""
        self._exchange: _Exchange | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._fresh = True  # nothing was answered yet
        self._last = False  # no further request is read
        self._reading = True
        self._writable: asyncio.Future[None] | None = None  # while the client has to take something first
        self._written = 0
        self._taken = 0  # of what was written, when we last looked
        self._stalled: float | None = None  # since when it was seen that the client takes nothing
        self._idle = self._loop.time()  # since when nothing is under way
        self._watch: asyncio.TimerHandle | None = None

    # -- what the transport tells ----------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_WRITE_AHEAD)
        self._look_later()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        exchange = self._exchange
        if exchange is not None and not exchange.body.done:
            self._feed(exchange, data)
            return
        self.held = self.held + data if self.held else data
        if exchange is None:
            self._begin()
        elif len(self.held) > _NEXT:
            self._pause()

    def eof_received(self) -> bool:
        """See asyncio.Protocol: the client sends no more. Most have left then, and the application is told; who has
        not may still read an answer that is made at once."""
        self._last = True
        if self._exchange is None:
            return False
        self._exchange.leave()
        return self._ends.scheme == "http"  # TLS has no half-closed connections

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._last = True
        if self._watch is not None:
            self._watch.cancel()
        if self._exchange is not None:
            self._exchange.leave()
        self.resume_writing()
        if not self.over.done():
            self.over.set_result(False)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    # -- requests --------------------------------------------------------------------------------------------
    def _begin(self) -> None:
        """Begin to answer the request in the buffer, if there is a whole head."""
        if self._fresh and PREFACE.startswith(self.held[: len(PREFACE)]):
            if len(self.held) >= len(PREFACE):
                self._hand_over()
            return
        try:
            found = http1.read_head(self.held)
            if found is None:
                return
            head, rest = found
            self.held, self._fresh = b"", False
            self._last = self._last or head.last
            self._exchange = exchange = _Exchange(self, head, self._loop)
            if rest and not exchange.body.done:
                self._feed(exchange, rest)
            else:
                self.held = rest
        except BadMessage as error:
            self._refuse(error)
            return
        if self._exchange is not exchange:  # its body is none: what was refused is not done either
            return
        task = self._loop.create_task(exchange.run(self._app, self._scope(head)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _scope(self, head: Head) -> Message:
        raw, _, query = head.target.partition(b"?")
        path = raw.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "method": head.method,
            "scheme": self._ends.scheme,
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": head.fields,
            "client": self._ends.client,
            "server": self._ends.server,
            "state": self._state.copy(),
            "extensions": {},
        }

    def _feed(self, exchange: "_Exchange", data: bytes) -> None:
        """Give the application more of the body; what comes after it waits."""
        try:
            piece, self.held = exchange.body.feed(data)
        except BadMessage as error:
            self._refuse(error)
            return
        if exchange.put(piece) > _READ_AHEAD:
            self._pause()

    def _refuse(self, error: BadMessage) -> None:
        """Answer what is no request, unless an answer is under way, and close."""
        self._last = True
        exchange = self._exchange
        if exchange is None or not exchange.begun:
            detail = {"type": "about:blank", "title": _PHRASES[error.status], "status": error.status}
            body = json.dumps({**detail, "detail": str(error)}).encode()
            fields = [
                (b"content-type", b"application/problem+json"),
                (b"content-length", b"%d" % len(body)),
                (b"date", today()),
                (b"connection", b"close"),
            ]
            self.write(http1.write_head(error.status, _PHRASES[error.status], fields) + body)
        if exchange is not None:
            exchange.leave()
            self._exchange = None
        self._transport.close()

    def _hand_over(self) -> None:
        self._last = True
        if self._watch is not None:
            self._watch.cancel()
        if not self.over.done():
            self.over.set_result(True)

    def end(self, exchange: "_Exchange", whole: bool) -> None:
        """An answer is complete, or (not whole) broke off: go on with the next request, or close."""
        if self._exchange is not exchange:
            return
        self._exchange = None
        if self._last or not whole or not exchange.body.done:
            self._last = True
            self._transport.close()
            return
        self._idle = self._loop.time()
        self.resume_reading()
        if self.held:
            self._loop.call_soon(self._continue)

    def cut(self) -> None:
        """Break the connection, so that an answer that ends with it and broke off is not taken for whole."""
        self._last = True
        opened = self._transport.get_extra_info("socket")
        if opened is not None:  # a reset, where closing alone would say that this was all
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _continue(self) -> None:
        """Take up a request that came before its predecessor was answered (RFC 9112 9.3.2)."""
        if self._exchange is None and not self._last:
            self._begin()

    # -- reading and writing ---------------------------------------------------------------------------------
    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, if reading has paused."""
        if not self._reading:
            self._reading = True
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def write(self, *pieces: bytes) -> None:
        """Send pieces; whoever sends much awaits `drained` after it."""
        if self._transport.is_closing():
            return
        for piece in pieces:
            self._written += len(piece)
            self._transport.write(piece)

    @property
    def holds(self) -> bool:
        """Whether to await `drained` before more is written."""
        return self._writable is not None or self._transport.is_closing()

    async def drained(self) -> None:
        """Return when the client has taken something; at least let others go on where it takes nothing any more."""
        if self._writable is None:
            await asyncio.sleep(0)
        while self._writable is not None:
            await asyncio.shield(self._writable)

    @property
    def last(self) -> bool:
        """Whether the connection ends with the answer under way."""
        return self._last

    # -- ends ------------------------------------------------------------------------------------------------
    def _look_later(self) -> None:
        """Look after the connection again when something may have become due. One timer that is seldom set costs
        less than one for each pause."""
        wait = self._patience.keep_alive
        if self._exchange is None and not self._transport.get_write_buffer_size():
            wait = max(wait + self._idle - self._loop.time(), 0.001)
        wait = min(wait, self._patience.stall)
        self._watch = self._loop.call_later(wait, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            self._stalled = None
            if self._exchange is None and now - self._idle >= self._patience.keep_alive:
                self._transport.close()
                return
        elif self._stalled is None or self._taken != self._written - waiting:
            self._stalled, self._taken = now, self._written - waiting
        elif now - self._stalled >= self._patience.stall:
            log.info("a client that took nothing of its answer for %g s was cut off", self._patience.stall)
            self._transport.abort()
            return
        self._look_later()

    def stop(self) -> None:
        """Answer what is under way and nothing more."""
        self._last = True
        if self._exchange is None:
            self._transport.close()

    async def settled(self) -> None:
        """Return when no request of this connection is under way any more, also of a client that has left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cease(self) -> None:
        """Give up what is under way."""
        self._transport.abort()
        for task in self._tasks:
            task.cancel()
        await self.settled()


class _Exchange:
    """One request and its answer.

    Attributes:
        body: reads the request's body from the wire.
        begun: the head of the answer has been written.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_expects",
        "_gone",
        "_head",
        "_left",
        "_loop",
        "_over",
        "_pieces",
        "_silent",
        "_start",
        "_told",
        "_waiter",
        "_waiting",
        "begun",
        "body",
    )

    def __init__(self, connection: Connection, head: Head, loop: asyncio.AbstractEventLoop) -> None:
        self.body: LengthReader | ChunkReader = ChunkReader() if head.length is None else LengthReader(head.length)
        self.begun = False
        self._connection = connection
        self._head = head
        self._loop = loop
        self._expects = head.expects and not self.body.done
        self._pieces: deque[bytes] = deque()
        self._waiting = 0  # bytes in pieces
        self._told = False  # the application knows that the body is complete
        self._gone = False  # the client has left
        self._over = False  # the answer is complete
        self._waiter: asyncio.Future[None] | None = None
        self._start: Message | None = None  # the head of the answer until its body begins
        self._chunked = False
        self._silent = False  # an answer without body
        self._left: int | None = None  # bytes of the answer that are to come, where they are known

    async def run(self, app: Application, scope: Message) -> None:
        """Run the application for this request."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            log.exception("the application failed")
        finally:
            if self.begun and not self._over and self._left is None and not self._chunked:
                self._connection.cut()
            if not self._over and not self.begun and not self._gone:
                self._start = {"status": 500, "headers": [(b"content-length", b"0"), (b"connection", b"close")]}
                self._write(b"", more=False)
            self._over = True
            self._connection.end(self, whole=self._left in {None, 0} and not self._chunked and self.begun)

    # -- the request's body ----------------------------------------------------------------------------------
    def put(self, piece: bytes) -> int:
        """Take more of the body; return how many bytes wait for the application."""
        if piece and not self._over:
            self._pieces.append(piece)
            self._waiting += len(piece)
        if piece or self.body.done:
            self._wake()
        return self._waiting

    def leave(self) -> None:
        """The client is gone, or sends no more."""
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Message:
        """Return the next piece of the body, then its end, then the client's departure (ASGI)."""
        while not self._pieces:
            if self.body.done and not self._told:
                self._told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if self._gone or self._over:
                return {"type": "http.disconnect"}
            if self._expects:
                self._expects = False
                if self.begun:  # the client has its answer, and may never send the body
                    self._gone = True
                    continue
                self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._waiter = self._loop.create_future()
            await self._waiter
        piece = self._pieces.popleft()
        self._waiting -= len(piece)
        if not self._waiting:
            self._connection.resume_reading()
        self._told = self.body.done and not self._pieces
        return {"type": "http.request", "body": piece, "more_body": not self._told}

    # -- the answer ------------------------------------------------------------------------------------------
    async def send(self, message: Message) -> None:
        """Take the next part of the answer (ASGI); its head goes out with the first piece of the body."""
        kind = message["type"]
        if kind == "http.response.body":
            if self._over:
                return
            if self._start is None and not self.begun:
                raise RuntimeError("the body of an answer came before its head")
            self._write(bytes(message.get("body", b"")), bool(message.get("more_body", False)))
            if self._connection.holds:
                await self._connection.drained()
        elif kind == "http.response.start":
            if self._start is not None or self.begun:
                raise RuntimeError("an answer began twice")
            self._start = message
        else:
            raise RuntimeError(f"no part of an answer: {kind}")

    def _write(self, body: bytes, more: bool) -> None:
        opening = b""
        if self._start is not None:
            opening, self._start, self.begun = self._open(self._start, more, len(body)), None, True
        if self._silent:
            body = b""
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0:
                raise RuntimeError("an answer is longer than its Content-Length")
        if self._chunked:
            if body:
                opening += b"%x\r\n" % len(body)
                body += b"\r\n" if more else b"\r\n0\r\n\r\n"
            elif not more:
                body = b"0\r\n\r\n"
        if len(body) <= _JOINED:
            opening, body = opening + body, b""
        self._connection.write(*(piece for piece in (opening, body) if piece))
        if not more:
            whole, self._over = not self._left, True
            self._chunked = False
            self._wake()
            self._connection.end(self, whole)

    def _open(self, start: Message, more: bool, size: int) -> bytes:
        """Make the head of the answer, and settle how its end is known (RFC 9112 6.3)."""
        status = start["status"]
        self._left, self._chunked = None, False
        fields: list[tuple[bytes, bytes]] = []
        closing = self._connection.last or self._expects
        for name, value in start.get("headers", ()):
            lowered = name.lower()
            if lowered == b"connection":
                closing = closing or value.lower() == b"close"
                continue
            if lowered == b"content-length":
                self._left = int(value)
            fields.append((name, value))
        self._silent = self._head.method == "HEAD" or status in {204, 304}
        if self._silent:
            self._left = None
        elif self._left is None:
            if not more:
                self._left = size
                fields.append((b"content-length", b"%d" % size))
            elif self._head.version == "1.1":
                self._chunked = True
                fields.append((b"transfer-encoding", b"chunked"))
            else:
                closing = True
        fields.append((b"date", today()))
        if closing:
            fields.append((b"connection", b"close"))
            self._connection.stop()
        return http1.write_head(status, _PHRASES.get(status, ""), fields)


_date = (0, b"")


def today() -> bytes:
    """Return the value of the Date field (RFC 9110 6.6.1), made once a second."""
    global _date  # noqa: PLW0603
    now = int(time())
    if _date[0] != now:
        _date = (now, formatdate(now, usegmt=True).encode())
    return _date[1]
