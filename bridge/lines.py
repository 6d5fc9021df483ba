"""Requests to a server of ours over plain HTTP/1.1 (RFC 9112), as cheaply as Python sends and reads: those with a body
that is held, and those whose answer is large.

For a CT image a client that can do everything takes ten times the CPU of sending it: it takes the URL apart, writes
each field and each piece of the body by a call of its own, which wakes the server as often, and reads the answer as
an e-mail. Here head and body leave together, and of an answer as much is read by one call as the caller wants.
Connections are kept; one that the server has closed meanwhile is noticed when it is used.
"""

import contextlib
import socket
import struct
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from urllib3 import HTTPHeaderDict

from bridge.gathering import write_all
from dicomweb.errors import BadRequest, Unavailable

T = TypeVar("T")

_LINE = 1 << 16
_FIELDS = 256
_INTERIM = 16
"""Answers before the one that counts (1xx)."""
_AT_ONCE = 1 << 13
"""Bytes that are read at once where nobody knows how many there are."""
_WHOLE = 1 << 20
"""Bytes of a body that are read at once where all of it is wanted."""
_EMPTY = (204, 304)
_TAIL = 1 << 10
"""What is left of an answer that nobody wants is read, so that its connection can be kept, if it is no more than this
and has come."""
_SILENT = "the DICOMweb server does not answer in time"
_BROKEN = "the connection to the DICOMweb server broke"


class Lines:
    """A server that is asked. Its methods may be called by any thread.

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

    def post(self, target: str, fields: Mapping[str, str], body: Sequence[bytes], seconds: float) -> "Whole":
        """Send a request, twice if the connection breaks; so it has to be one that does no harm twice.

        Args:
            target: path and query.
            fields: of the head; Host and Content-Length are given here.
            body: pieces of it.
            seconds: for the server to take it, and to answer.

        Raises:
            Unavailable: the server was not reached, did not answer in time, or broke the connection.
        """
        fields = {**fields, "Content-Length": str(sum(map(len, body)))}
        return self._ask("POST", target, fields, body, seconds, self._whole)

    def get(self, target: str, fields: Mapping[str, str], seconds: float) -> "Answer":
        """Ask for something, see `post`; `seconds` hold for each read of the answer, too."""
        return self._ask("GET", target, fields, (), seconds, lambda line: Answer(line, self._keep))

    def _ask(
        self,
        method: str,
        target: str,
        fields: Mapping[str, str],
        body: Sequence[bytes],
        seconds: float,
        read: "Callable[[_Line], T]",
    ) -> T:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", *(f"{name}: {fields[name]}" for name in fields)]
        head = "\r\n".join([*lines, "\r\n"]).encode("latin-1")
        if head.count(b"\n") != len(lines) + 1:
            raise BadRequest("a field of a request holds a line end")
        try:
            line = self._kept.pop()
        except IndexError:
            line = self._connect(seconds)
        try:
            try:
                line.ask([head, *body], seconds)
                return read(line)
            except TimeoutError:
                raise
            except (OSError, ValueError):
                line.close()
                line = self._connect(seconds)
                line.ask([head, *body], seconds)
                return read(line)
        except TimeoutError as error:
            line.close()
            raise Unavailable(_SILENT) from error
        except (OSError, ValueError) as error:
            line.close()
            raise Unavailable(_BROKEN) from error
        except BaseException:
            line.close()
            raise

    def _whole(self, line: "_Line") -> "Whole":
        body = b"".join(iter(lambda: line.read(_WHOLE, fill=True), b""))
        self._keep(line)
        return Whole(line.status, line.fields, body)

    def _keep(self, line: "_Line") -> None:
        """Keep a connection for the next request, if there may be one."""
        if line.lasts and not line.spoke_on() and len(self._kept) < self._most:
            self._kept.append(line)
        else:
            line.close()

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


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that has come.

    Attributes:
        status: of it.
        headers: its fields.
        data: its body.
    """

    status: int
    headers: HTTPHeaderDict
    data: bytes


class Answer:
    """An answer while its body arrives. Its connection is kept if it is read to its end.

    Attributes:
        status: of it.
        headers: its fields.
    """

    def __init__(self, line: "_Line", keep: "Callable[[_Line], None]") -> None:
        self.status, self.headers = line.status, line.fields
        self._line: _Line | None = line
        self._keep = keep

    def read(self, most: int, fill: bool = False) -> bytes:
        """Return the next bytes of the body; none at its end.

        Args:
            most: how many at most.
            fill: wait until there are so many, unless some have come already.

        Raises:
            Unavailable: the server does not go on in time, or broke the connection.
        """
        if self._line is None:
            return b""
        try:
            data = self._line.read(most, fill)
        except (OSError, ValueError) as error:
            self._line.close()
            self._line = None
            raise Unavailable(_SILENT if isinstance(error, TimeoutError) else _BROKEN) from error
        if not data:
            self._keep(self._line)
            self._line = None
        return data

    @property
    def data(self) -> bytes:
        """What is left of the body, as far as a sentence about what went wrong may go (1 MiB)."""
        data = bytearray()
        while len(data) < _WHOLE and (piece := self.read(_WHOLE - len(data))):
            data += piece
        return bytes(data)

    def close(self) -> None:
        """Want no more of it."""
        line, self._line = self._line, None
        if line is None:
            return
        if line.drain():
            self._keep(line)
        else:
            line.close()


class _Line:
    """A connection to the server, on which one request is under way at a time.

    The socket blocks, and the system keeps the time: asking it beforehand whether there is something, as Python does
    for a socket with a timeout, is a call for each one that reads or writes, and then no read waits for all it wants.

    Attributes:
        lasts: another request may follow.
        status, fields: head of the answer that is being read.
    """

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._socket = sock
        self._held = b""
        self._chunked = False
        self._left: int | None = 0  # bytes of the body, or of its chunk; None: as many as come
        self._seconds = 0.0
        self.lasts = False
        self.status, self.fields = 0, HTTPHeaderDict()
        sock.settimeout(None)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._allow(seconds)

    def _allow(self, seconds: float) -> None:
        """Let each call take so long (SO_RCVTIMEO, SO_SNDTIMEO of socket(7))."""
        if seconds != self._seconds:
            micros = max(int(seconds * 1_000_000), 1)
            interval = struct.pack("@ll", *divmod(micros, 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)
            self._seconds = seconds

    def ask(self, pieces: list[bytes], seconds: float) -> None:
        """Send a request and read the head of its answer. Raises OSError or ValueError."""
        self._allow(seconds)
        try:
            with contextlib.suppress(BrokenPipeError):  # whoever does not want the body may have said why
                write_all(self._socket.sendmsg, pieces)
        except BlockingIOError as error:
            raise TimeoutError from error
        for _ in range(_INTERIM):
            self.status, self.fields = self._head()
            if self.status >= 200:
                self._frame()
                return
        raise ValueError("answers that lead to none")

    def _frame(self) -> None:
        """Find out from the head where the body ends (RFC 9112 6.3)."""
        self._chunked, self._left = False, 0
        if self.status in _EMPTY:
            return
        length = self.fields.get("Content-Length")
        if self.fields.get("Transfer-Encoding", "").lower() == "chunked":
            self._chunked = True
        elif length is not None:
            self._left = _size(length, 10)
        else:
            self._left, self.lasts = None, False

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
        while (end := self._held.find(b"\n")) < 0:
            data = self._receive(_AT_ONCE) if len(self._held) < _LINE else b""
            if not data:
                raise ConnectionError("the answer ends in its head")
            self._held += data
        line, self._held = self._held[:end], self._held[end + 1 :]
        return line.removesuffix(b"\r").decode("latin-1")

    def _receive(self, most: int, flags: int = 0) -> bytes:
        try:
            return self._socket.recv(most, flags)
        except BlockingIOError as error:
            raise TimeoutError from error

    def read(self, most: int, fill: bool) -> bytes:
        """The next bytes of the body, see `Answer.read`. Raises OSError or ValueError."""
        if self._chunked and not self._left and not self._next_chunk():
            return b""
        if self._left == 0:
            return b""
        count = most if self._left is None else min(most, self._left)
        if self._held:
            data, self._held = self._held[:count], self._held[count:]
        else:
            data = self._receive(count, socket.MSG_WAITALL if fill else 0)
        if self._left is None:
            return data
        if not data:
            raise ConnectionError("the answer ends in its body")
        self._left -= len(data)
        if self._chunked and not self._left and self._line():
            raise ValueError("a chunk is longer than it says")
        return data

    def _next_chunk(self) -> bool:
        """Begin with the next chunk; false if that was the last one (RFC 9112 7.1)."""
        self._left = _size(self._line().partition(";")[0].strip(), 16)
        if not self._left:
            self._chunked = False
            while self._line():  # trailer fields
                continue
        return bool(self._left)

    def drain(self) -> bool:
        """Read what is left of the body if that is little and has come; say whether all of it is read."""
        if self._chunked or self._left is None or self._left > _TAIL:
            return False
        try:
            while self._left:
                data = self._held[: self._left] or self._socket.recv(self._left, socket.MSG_DONTWAIT)
                self._held = self._held[len(data) :]
                self._left -= len(data)
                if not data:
                    return False
        except OSError:
            return False
        return not self._left

    def spoke_on(self) -> bool:
        """Whether more came than the answer, which would be taken for the next one."""
        return bool(self._held)

    def close(self) -> None:
        self.lasts = False
        with contextlib.suppress(OSError):
            self._socket.close()


def _size(text: str, base: int) -> int:
    """Read a number of bytes. Raises ValueError."""
    if not text.isascii() or not text.isalnum():
        raise ValueError("a length that is none")
    return int(text, base)
