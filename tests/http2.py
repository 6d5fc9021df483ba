"""A client of HTTP/2 that does one step at a time, and so what no client does."""

import socket
import ssl

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes

FIELDS = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "x")]


class Http2Client:
    """HTTP/2 on one connection, one step at a time: without TLS (prior knowledge), or with it where ALPN chooses it."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        if context is not None:
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
            assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def events(self):
        """Yield what the server sends, for as long as somebody asks."""
        while True:
            data = self.socket.recv(65536)
            assert data, "the server closed the connection"
            events = self.h2.receive_data(data)
            self.flush()
            yield from events

    def begin(self, stream: int, method: str = "POST", end: bool = False) -> None:
        self.h2.send_headers(stream, [(":method", method), *FIELDS[1:]], end_stream=end)
        self.flush()

    def answer(self, stream: int) -> tuple[int, bytes]:
        status, body = 0, b""
        for event in self.events():
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                status = int(dict(event.headers)[b":status"])
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
            elif isinstance(event, h2.events.StreamEnded):
                return status, body
        raise AssertionError("no answer")


def reset_many(client: Http2Client, count: int) -> None:
    """Open streams and reset them until the server ends the connection, as it must."""
    for number in range(count):
        client.h2.send_headers(2 * number + 1, FIELDS, end_stream=True)
        client.h2.reset_stream(2 * number + 1, ErrorCodes.CANCEL)
        if number % 100 < 99:
            continue
        client.h2.ping(b"%08d" % number)
        heard: list[h2.events.Event] = []
        try:
            client.flush()
            while not any(isinstance(event, h2.events.PingAckReceived) for event in heard):
                data = client.socket.recv(65536)
                if not data:
                    return
                heard = client.h2.receive_data(data)
                for event in heard:
                    if isinstance(event, h2.events.ConnectionTerminated):
                        assert event.error_code == ErrorCodes.ENHANCE_YOUR_CALM
                        return
        except ConnectionError:  # it had not read everything when it closed
            return
    raise AssertionError("the server took them all")
