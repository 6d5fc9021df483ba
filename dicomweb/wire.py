"""Hypercorn's connections: HTTP/1.1 served by `connection`, in HTTP/2 faults of version 0.18 mended; `mend` puts
these classes in its place.

Each was measured, and each has its test. Nothing here knows what is served.
"""

import asyncio
import logging
import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import h2.connection
import h2.events
import h2.settings
import hypercorn.asyncio.run
import hypercorn.asyncio.tcp_server
import hypercorn.protocol
import hypercorn.protocol.h2
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as ConnectionEvent
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Body, Event
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.typing import ASGISendEvent
from hypercorn.utils import parse_socket_addr

from dicomweb.connection import CERTIFIED, Ends, Patience
from dicomweb.connection import Connection as Http1

STREAM_WINDOW = 4 << 20
"""Bytes that a client may send on one HTTP/2 stream before it must wait for us."""
CONNECTION_WINDOW = 16 << 20
"""The same for all streams of a connection."""
_INITIAL_WINDOW = 65_535
PIECE = 256 << 10
"""Bytes that are taken from an HTTP/2 socket at once; each piece costs some 150 µs on its way to the application."""

_VISIBLE = re.compile(rb"[!-~]+")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may do on a connection.

    Attributes:
        stall: seconds for which it may take nothing of its answers.
        resets: HTTP/2 streams that it may give up at once.
        resets_rate: of them it may give up so many more a second.
    """

    stall: float = 60.0
    resets: int = 500
    resets_rate: float = 50.0


def bounds_of(config: Config) -> Bounds:
    """Return the bounds that a server's settings carry as `bounds`, or the usual ones: this process may have a small
    server beside ours, as a bridge has one for its health."""
    return getattr(config, "bounds", Bounds())


def certified(certificate: Any) -> str:
    """Return the common name of a certificate's subject (RFC 5280 4.1.2.6), as `ssl` gives it; "" if there is none, or
    more than one, of which nobody knows who is meant."""
    subject = (certificate or {}).get("subject", ())
    names = [value for part in subject for kind, value in part if kind == "commonName"]
    return str(names[0]) if len(names) == 1 else ""


class Connection(TCPServer):
    """A TCP connection. One in HTTP/1.1 is served by `connection`; one in HTTP/2 is Hypercorn's, but that it takes
    large pieces from its socket, and that it goes when the client closes it, instead of lingering until the keep-alive
    time is over: ten thousand short connections would otherwise hold ten thousand sockets. A client that takes nothing
    from it any more is cut off, as in HTTP/1.1."""

    _written = 0

    async def run(self) -> None:
        """Serve the connection to its end."""
        transport, streams = self.writer.transport, self.writer.transport.get_protocol()
        secured = transport.get_extra_info("ssl_object")
        if secured is not None and (name := certified(secured.getpeercert())):
            self.state = type(self.state)({**self.state, CERTIFIED: name})
        if secured is not None and secured.selected_alpn_protocol() == "h2":
            await self._serve_http2()
            return
        socket = transport.get_extra_info("socket")
        try:
            client, server = (
                parse_socket_addr(socket.family, it) for it in (socket.getpeername(), socket.getsockname())
            )
        except OSError:  # gone before we looked
            transport.abort()
            return
        patience = Patience(self.config.keep_alive_timeout, bounds_of(self.config).stall)
        served = Http1(
            vars(self.app)["app"], dict(self.state), Ends("https" if secured else "http", client, server), patience
        )
        transport.set_protocol(served)
        served.connection_made(transport)
        early: bytearray = vars(self.reader)["_buffer"]
        served.data_received(bytes(early))
        early.clear()
        if vars(self.reader)["_eof"] and not served.eof_received():
            transport.close()
        stopping = asyncio.ensure_future(self.context.terminated.wait())
        try:
            await asyncio.wait((served.over, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not served.over.done():
                served.stop()
            if await asyncio.shield(served.over):
                transport.set_protocol(streams)
                self.reader.feed_data(served.held)
                await self._serve_http2()
            await served.settled()
        finally:
            stopping.cancel()
            await served.cease()

    async def _serve_http2(self) -> None:
        watching = asyncio.ensure_future(self._watch(bounds_of(self.config).stall))
        try:
            await super().run()
        finally:
            watching.cancel()

    async def protocol_send(self, event: ConnectionEvent) -> None:
        """Send what the protocol has for the client, or close."""
        if isinstance(event, RawData):
            self._written += len(event.data)
        await super().protocol_send(event)

    async def _watch(self, stall: float) -> None:
        """Look now and then whether the client takes of the connection, and of each stream, what lies there."""
        transport = self.writer.transport
        taken = None
        while True:
            await asyncio.sleep(stall)
            waiting = transport.get_write_buffer_size()
            before, taken = taken, self._written - waiting if waiting else None
            if taken is not None and taken == before:
                log.info("a client that took nothing of its answers for %g s was cut off", stall)
                transport.abort()
                return
            protocol: Http2 = vars(self.protocol)["protocol"]
            await protocol.end_stalled()

    async def _read_data(self) -> None:
        # What may wait to be read; the socket pauses at twice as much. Hypercorn has no setting for it.
        self.reader._limit = PIECE  # type: ignore[attr-defined]
        while not self.reader.at_eof():
            try:
                data = await self.reader.read(PIECE)
            except OSError:
                break
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())
        await self.idle_task.stop()


class Http2(H2Protocol):
    """HTTP/2 whose flow-control windows let an upload fill a long line, whose connection survives bytes that arrive
    for a stream that has been answered already (RFC 9113 5.2, 8.1), ends when its client does nothing but open streams
    and give them up (RFC 9113 10.5), or has nothing left after it gave up all, and takes its answers with it when it
    ends. What is no request, and an answer of which the client takes nothing, ends its own stream, and not those of
    others who share the connection through a proxy (RFC 9113 8.1.1).

    With the protocol's initial windows an upload is held to 64 KiB a round trip: 20 MB at 20 ms took 13 s. Streams
    that are opened and reset cost the client 40 bytes and us a request each: 10,000 made others wait for 1 s. A viewer
    that scrolls gives up those that are under way, so some hundreds at once are nobody's attack.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        values = {SettingCodes(code): value for code, value in self.connection.local_settings.items()}
        values[SettingCodes.INITIAL_WINDOW_SIZE] = STREAM_WINDOW
        self.connection.local_settings = h2.settings.Settings(client=False, initial_values=values)
        bounds = bounds_of(self.config)
        self._most, self._rate = bounds.resets, bounds.resets_rate
        self._resets, self._counted = float(self._most), asyncio.get_running_loop().time()
        self._shut: dict[int, int] = {}  # bytes taken of streams whose window was shut, when we last looked

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        """Open the connection; the window of the whole connection can only be raised by an update."""
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(CONNECTION_WINDOW - _INITIAL_WINDOW)
        await self._flush()

    async def handle(self, event: ConnectionEvent) -> None:
        """Take what came of the connection; with its end nobody waits any more to send something."""
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            refused = _malformed(event)
            if (refused or isinstance(event, h2.events.StreamReset)) and not self._bears_reset():
                log.warning("a client that opened HTTP/2 streams only to reset them was cut off")
                self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                await self._flush()
                await self.send(Closed())
                return
            if refused:
                self.connection.reset_stream(refused, ErrorCodes.PROTOCOL_ERROR)
                await self._flush()
            elif isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                await self._flush()
            else:
                await super()._handle_events([event])
                if isinstance(event, h2.events.StreamReset):
                    await self.send(Updated(idle=self.idle))

    async def end_stalled(self) -> None:
        """End the streams whose window is as shut as it was the last time, and of which nothing was taken since."""
        before, self._shut = (
            self._shut,
            {
                stream: vars(buffer)["taken"]
                for stream, buffer in self.stream_buffers.items()
                if buffer.buffer and stream in self.streams and self.connection.local_flow_control_window(stream) <= 0
            },
        )
        stalled = [stream for stream, taken in self._shut.items() if before.get(stream) == taken]
        for stream in stalled:
            log.info("an HTTP/2 stream of whose answer the client took nothing was ended")
            self.connection.reset_stream(stream, ErrorCodes.CANCEL)
            await self._close_stream(stream)
            await self._window_updated(stream)
        if stalled:
            await self._flush()
            await self.send(Updated(idle=self.idle))

    def _bears_reset(self) -> bool:
        """Count a stream that was given up; whoever made an error that ends a stream gave it up too."""
        now = asyncio.get_running_loop().time()
        self._resets = min(self._resets + (now - self._counted) * self._rate, self._most) - 1
        self._counted = now
        return self._resets >= 0


class Buffer(StreamBuffer):
    """What waits for the client to open the window of a stream; it knows how many bytes went out."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.taken = 0

    async def pop(self, max_length: int) -> bytes:
        """Take bytes that may go out."""
        data = await super().pop(max_length)
        self.taken += len(data)
        return data


def _malformed(event: h2.events.Event) -> int:
    """Return the stream of a request without method or path, or with one of other than visible ASCII (RFC 9113 8.3.1,
    RFC 3986 3.3); 0 where it has both."""
    if not isinstance(event, h2.events.RequestReceived):
        return 0
    given = dict(event.headers)
    whole = all(_VISIBLE.fullmatch(given.get(name, b"")) for name in (b":method", b":path"))
    return 0 if whole else event.stream_id


class Wrapper(ProtocolWrapper):
    """Nothing but HTTP/2, since HTTP/1.1 is served by `connection`. Hypercorn takes a client that speaks it at once for
    one of HTTP/1.1 first, and then whatever goes wrong tells the log what that client had sent."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args[:-1], "h2")  # type: ignore[call-arg]


class Stream(HTTPStream):
    """One exchange, whose end does not wait for an application that reads no more.

    Hypercorn hands body pieces over through a short queue. Once the answer is complete nobody takes from it,
    and the next piece would block the connection for ever, even its closing.
    """

    _answered = False

    async def handle(self, event: Event) -> None:
        """Take what the client sent; body pieces after the answer are thrown away."""
        if not (self._answered and isinstance(event, Body)):
            await super().handle(event)

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """Take what the application sends, which is nothing to a stream that has ended; None is its end."""
        if message is None or (message["type"] == "http.response.body" and not message.get("more_body")):
            self._answered = True
            queue = getattr(self.app_put, "__self__", None)
            while isinstance(queue, asyncio.Queue) and not queue.empty():
                queue.get_nowait()
        if self.closed:  # whoever sends on and on has to let the news reach him that nobody is there
            await asyncio.sleep(0)
        else:
            await super().app_send(message)


def mend() -> None:
    """Let Hypercorn use these classes, in this process.

    Raises:
        ImportError: this Hypercorn is built otherwise than 0.18, and would go on with its faults.
    """
    places: list[tuple[ModuleType, type]] = [
        (hypercorn.asyncio.run, Connection),
        (hypercorn.asyncio.tcp_server, Wrapper),
        (hypercorn.protocol, Http2),
        (hypercorn.protocol.h2, Stream),
        (hypercorn.protocol.h2, Buffer),
    ]
    for module, mended in places:
        (theirs,) = mended.__bases__
        if vars(module).get(theirs.__name__) not in {theirs, mended}:
            raise ImportError(f"{module.__name__} of this Hypercorn has no {theirs.__name__}; 0.18 is needed")
        vars(module)[theirs.__name__] = mended
