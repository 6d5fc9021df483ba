"""HTTP/1.1 messages without I/O: heads and bodies of requests out of bytes, heads of responses into bytes (RFC 9112).

Where readers of one message could come to different ends of it, it is refused: a proxy in front of us would take the
rest for another request than we do (RFC 9112 11.2). So lines end in CRLF, nothing is folded, a length stands once and
in digits, and the only transfer coding is `chunked`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

Fields = list[tuple[bytes, bytes]]
"""Names in small letters, values without white space around them."""

HEAD_BYTES = 16 << 10
"""Longest head of a request, and longest trailer section of a body."""
_SIZE_LINE = 1024
"""Longest line that begins a chunk, extensions included."""
_STRAY = b"\r\n"

_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n")
# Each character fits one place of it only, so that no line takes more time than its length
_FIELD = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)\r\n"
_FIELDS = re.compile(rb"(?:%s)*" % _FIELD)
_EACH_FIELD = re.compile(_FIELD)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?")
"""Host and port as a URI has them (RFC 3986 3.2.2, 3.2.3); a host may be empty."""


class BadMessage(Exception):
    """The bytes are no request that can be answered; the connection is of no use any more.

    Attributes:
        status: what to answer, if anything.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(slots=True)
class Head:
    """The head of a request.

    Attributes:
        method: as written.
        target: path and query; of an absolute form only these (RFC 9112 3.2.2). "/" where OPTIONS asks about the
            server as a whole.
        version: "1.0" or "1.1".
        fields: the header fields; Host is what an absolute form names, if the target is one.
        length: bytes of the body; None is a chunked body.
        last: the connection ends with the answer.
        expects: the client waits for 100 Continue before it sends the body (RFC 9110 10.1.1).
    """

    method: str
    target: bytes
    version: str
    fields: Fields
    length: int | None
    last: bool
    expects: bool


def read_head(data: bytes) -> tuple[Head, bytes] | None:
    """Read the head of a request (RFC 9112 2 to 6).

    Args:
        data: what came since the request before; an empty line at its start is passed over.

    Returns:
        The head and what follows it, or None if the head is not whole yet.

    Raises:
        BadMessage: it is none, or longer than HEAD_BYTES.
    """
    begin = 2 if data.startswith(_STRAY) else 0
    end = data.find(b"\r\n\r\n", begin)
    if (end if end >= 0 else len(data)) > HEAD_BYTES:
        raise BadMessage(431, f"The head of the request is longer than {HEAD_BYTES:,} bytes.")
    if end < 0:
        return None
    request = _REQUEST.match(data, begin, end + 2)
    if request is None:
        raise BadMessage(400, "The first line is not that of an HTTP request.")
    method, target, major, minor = request.groups()
    if major != b"1":
        raise BadMessage(505, "The request is in another version of HTTP than 1.")
    fields = _read_fields(data, request.end(), end + 2)
    host = None
    if target[:1] != b"/":
        host, target = _read_target(method, target)
    if b"#" in target:
        raise BadMessage(400, "The target of the request has a fragment.")
    old = minor == b"0"
    head = Head(method.decode("ascii"), target, "1.0" if old else "1.1", fields, length=0, last=old, expects=False)
    _read_framing(head)
    if host is not None:
        head.fields = [(b"host", host), *(field for field in fields if field[0] != b"host")]
    return head, data[end + 4 :]


def _read_target(method: bytes, target: bytes) -> tuple[bytes | None, bytes]:
    """Read a request target that is no path (RFC 9112 3.2.2 to 3.2.4).

    Returns:
        The host and port that it names, which count instead of those of the Host field, and path and query.
    """
    if method == b"CONNECT":
        raise BadMessage(501, "This server is no proxy.")
    if method == b"OPTIONS" and target == b"*":
        return None, b"/"
    absolute = _ABSOLUTE.match(target)
    if absolute is None or not absolute[1] or not _HOST.fullmatch(absolute[1]) or absolute[1].startswith(b":"):
        raise BadMessage(400, "The target of the request is neither a path nor a URL of this server.")
    rest = target[absolute.end() :]
    return absolute[1], rest if rest.startswith(b"/") else b"/" + rest


def _read_fields(data: bytes, start: int, stop: int) -> Fields:
    """Read the field lines of a head or of a trailer section (RFC 9112 5)."""
    whole = _FIELDS.match(data, start, stop)
    if whole is None or whole.end() != stop:
        raise BadMessage(400, "A header field is malformed.")
    return [(name.lower(), value.strip(b" \t")) for name, value in _EACH_FIELD.findall(data, start, stop)]


def _read_framing(head: Head) -> None:
    """Find out from the fields where the body ends and whether another request may follow (RFC 9112 6.3, 9.3)."""
    hosts = 0
    length: bytes | None = None
    coding: bytes | None = None
    for name, value in head.fields:
        if name == b"host":
            hosts += 1
            if not _HOST.fullmatch(value):
                raise BadMessage(400, "Host is no name of a host.")
        elif name == b"content-length":
            if length is not None:
                raise BadMessage(400, "The request has more than one Content-Length.")
            length = value
        elif name == b"transfer-encoding":
            coding = value if coding is None else coding + b"," + value
        elif name == b"connection":
            head.last = head.last or b"close" in [token.strip() for token in value.lower().split(b",")]
        elif name == b"expect":
            head.expects = value.lower() == b"100-continue" and head.version == "1.1"
    if hosts != 1 and (hosts or head.version == "1.1"):
        raise BadMessage(400, "The request has no Host, or more than one.")
    if length is not None:
        if not length.isdigit() or len(length) > 19:
            raise BadMessage(400, "Content-Length is not a number.")
        head.length = int(length)
    if coding is not None:
        if coding.lower() != b"chunked":
            raise BadMessage(501, "The only Transfer-Encoding that is read is chunked.")
        if head.version == "1.0":
            raise BadMessage(400, "HTTP/1.0 knows no Transfer-Encoding.")
        # With a length beside it the end is not certain: no other request is read from this connection.
        head.last = head.last or length is not None
        head.length = None


class LengthReader:
    """The body of a request whose length is known.

    Attributes:
        done: it has come to its end.
    """

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes from the wire; return what is body and what comes after it."""
        left = self._left - len(data)
        if left > 0:
            self._left = left
            return data, b""
        self._left, self.done = 0, True
        return (data, b"") if left == 0 else (data[:left], data[left:])


class ChunkReader:
    """The body of a request in chunks (RFC 9112 7.1). Extensions and trailers are read and passed over.

    Attributes:
        done: it has come to its end.
    """

    def __init__(self) -> None:
        self._held = b""  # bytes of something other than content that is not whole yet
        self._left = 0  # of the chunk
        self._state = _SIZE_NEXT
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take bytes from the wire; return what is body and what comes after it.

        Raises:
            BadMessage: they are no chunks.
        """
        if self._state == _CONTENT and len(data) <= self._left:
            self._left -= len(data)
            return data, b""
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[memoryview] = []
        view, at = memoryview(data), 0
        while not self.done:
            if self._state == _CONTENT:
                piece = view[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left or len(data) - at < 2:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise BadMessage(400, "A chunk of the body is longer than it says.")
                at, self._state = at + 2, _SIZE_NEXT
            elif self._state == _SIZE_NEXT:
                end = self._line(data, at, _SIZE_LINE)
                if end < 0:
                    break
                size = _SIZE.fullmatch(data, at, end)
                if size is None:
                    raise BadMessage(400, "A chunk of the body begins without its size.")
                at, self._left = end + 2, int(size[1], 16)
                self._state = _CONTENT if self._left else _TRAILERS
            elif data[at : at + 2] == b"\r\n":
                at, self.done = at + 2, True
            else:
                end = data.find(b"\r\n\r\n", at)
                if (end if end >= 0 else len(data)) - at > HEAD_BYTES:
                    raise BadMessage(431, "The fields behind the body are too long.")
                if end < 0:
                    break
                _read_fields(data, at, end + 2)
                at, self.done = end + 4, True
        rest = data[at:]
        if not self.done:
            self._held, rest = rest, b""
        return b"".join(pieces), rest

    @staticmethod
    def _line(data: bytes, at: int, longest: int) -> int:
        end = data.find(b"\r\n", at)
        if (end if end >= 0 else len(data)) - at > longest:
            raise BadMessage(400, "A chunk of the body begins without its size.")
        return end


_SIZE_NEXT, _CONTENT, _TRAILERS = range(3)


def write_head(status: int, phrase: str, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write the head of a response (RFC 9112 4).

    Raises:
        ValueError: a name or value would end its line: whoever made it would be writing our response.
    """
    lines = [b"HTTP/1.1 %d %s" % (status, phrase.encode("ascii")), *[b"%s: %s" % field for field in fields]]
    head = b"\r\n".join(lines)
    ends = len(lines) - 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise ValueError("a header field of the answer holds a line end")
    return head + b"\r\n\r\n"
