"""Requests with a body that is held, to a server of ours over plain HTTP/1.1 (RFC 9112), as cheaply as Python sends.

For a CT image a client that can do everything takes ten times the CPU of sending it: it takes the URL apart, writes
each field and each piece of the body by a call of its own, which wakes the server as often, and reads the answer as
an e-mail. Here head and body leave together. Connections are kept; one that the server has closed meanwhile is
noticed when it is used.
"""

import contextlib
import socket
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from io import BufferedReader, BytesIO

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, HTTPResponse

from bridge.gathering import write_all
from dicomweb.errors import Unavailable

_LINE = 1 << 16
_FIELDS = 256


class Posts:
    """A server that is sent to. Its methods may be called by any thread.

    Args:
        host, port: of the server.
        most: connections that are kept.
        connect_seconds: for a connection.
    """

    def __init__(self, host: str, port: int, most: int, connect_seconds: float) -> None:
        self._address = (host, port)
        self._host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._most = most
        self._connect_seconds = connect_seconds
        self._kept: deque[_Line] = deque()
        weakref.finalize(self, _close, self._kept)

    def post(self, target: str, fields: Mapping[str, str], body: Sequence[bytes], seconds: float) -> BaseHTTPResponse:
        """Send a request, twice if the connection breaks; so it has to be one that does no harm twice.

        Args:
            target: path and query.
            fields: of the head; Host and Content-Length are given here.
            body: pieces of it.
            seconds: for the server to take it, and to answer.

        Raises:
            Unavailable: the server was not reached, did not answer in time, or broke the connection.
        """
        lines = [f"POST {target} HTTP/1.1", f"Host: {self._host}", *(f"{name}: {fields[name]}" for name in fields)]
        head = "\r\n".join([*lines, f"Content-Length: {sum(map(len, body))}", "\r\n"]).encode("latin-1")
        try:
            line = self._kept.pop()
        except IndexError:
            line = self._connect(seconds)
        try:
            try:
                answer = line.ask([head, *body], seconds)
            except TimeoutError:
                raise
            except (OSError, ValueError):
                line.close()
                line = self._connect(seconds)
                answer = line.ask([head, *body], seconds)
        except TimeoutError as error:
            line.close()
            raise Unavailable("the DICOMweb server does not answer in time") from error
        except (OSError, ValueError) as error:
            line.close()
            raise Unavailable("the connection to the DICOMweb server broke") from error
        except BaseException:
            line.close()
            raise
        if line.lasts and len(self._kept) < self._most:
            self._kept.append(line)
        else:
            line.close()
        return answer

    def _connect(self, seconds: float) -> "_Line":
        try:
            return _Line(socket.create_connection(self._address, self._connect_seconds), seconds)
        except OSError as error:
            raise Unavailable("the DICOMweb server cannot be reached") from error

    def close(self) -> None:
        """Close the connections that are kept; so does whoever forgets the last of the owners."""
        _close(self._kept)


def _close(kept: "deque[_Line]") -> None:
    while kept:
        kept.pop().close()


class _Line:
    """A connection to the server, on which one request is under way at a time.

    Attributes:
        lasts: another request may follow.
    """

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._socket = sock
        self._reader: BufferedReader = sock.makefile("rb")
        self._seconds = seconds
        self.lasts = False
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(seconds)

    def ask(self, pieces: list[bytes], seconds: float) -> BaseHTTPResponse:
        """Send a request and read the answer. Raises OSError or ValueError."""
        if seconds != self._seconds:
            self._socket.settimeout(seconds)
            self._seconds = seconds
        with contextlib.suppress(BrokenPipeError):  # whoever does not want the body may have said why
            write_all(self._socket.sendmsg, pieces)
        status, fields = self._head()
        while status < 200:
            status, fields = self._head()
        return HTTPResponse(BytesIO(self._body(status, fields)), fields, status)

    def _head(self) -> tuple[int, HTTPHeaderDict]:
        """Status and fields of an answer (RFC 9112 4, 5)."""
        version, _, rest = self._line().partition(" ")
        status = int(rest[:3])
        if not version.startswith("HTTP/1.") or not 100 <= status <= 599:
            raise ValueError("no answer of HTTP/1")
        fields = HTTPHeaderDict()
        for _ in range(_FIELDS):
            line = self._line()
            if not line:
                self.lasts = version == "HTTP/1.1" and fields.get("Connection", "").lower() != "close"
                return status, fields
            name, _, value = line.partition(":")
            fields.add(name, value.strip())
        raise ValueError("an answer with too many fields")

    def _line(self) -> str:
        line = self._reader.readline(_LINE)
        if not line.endswith(b"\n"):
            raise ConnectionError("the answer ends in its head")
        return line.rstrip(b"\r\n").decode("latin-1")

    def _body(self, status: int, fields: HTTPHeaderDict) -> bytes:
        """The body of an answer (RFC 9112 6.3)."""
        if status in (204, 304):
            return b""
        if fields.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        length = fields.get("Content-Length")
        if length is None:
            self.lasts = False
            return self._reader.read()
        return self._exactly(int(length))

    def _chunk(self) -> bytes:
        """The next chunk; nothing after the last one (RFC 9112 7.1)."""
        size = int(self._line().partition(";")[0], 16)
        data = self._exactly(size)
        while (line := self._line()) and not size:  # trailer fields
            continue
        if line:
            raise ValueError("a chunk is longer than it says")
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) != size:
            raise ConnectionError("the answer ends in its body")
        return data

    def close(self) -> None:
        self.lasts = False
        with contextlib.suppress(OSError):
            self._reader.close()
        with contextlib.suppress(OSError):
            self._socket.close()
