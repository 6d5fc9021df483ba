"""multipart/related: an incremental reader, a writer (PS3.18 8.6.1.2, RFC 2046 5.1, RFC 2387).

The reader is lenient in what real senders vary (preambles, bare LF, white space after a boundary, folded or
missing headers, no line break at the end) and strict in what costs memory (headers, number of parts,
boundary). It takes the body in pieces of any size and hands the same bytes on without copying them; between
two pieces it holds at most a header or a delimiter. The writer spells headers exactly as viewers search for
them.
"""

import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

from dicomweb.errors import BadRequest, UnsupportedMedia
from dicomweb.standard import media

_LONGEST_BOUNDARY = 200
"""RFC 2046 5.1.1 allows 70 characters; some senders make more, none needs more than this."""
_PADDING = 200
"""White space after a boundary that is still taken for part of its line."""
_CR: Final = 0x0D

# The rest of a delimiter's line, and what may still become one when more bytes come (RFC 2046 5.1.1).
_REST = re.compile(rb"[ \t]{0,%d}\r?\n" % _PADDING)
_UNDECIDED = re.compile(rb"(?:-|[ \t]{0,%d}\r?)\Z" % _PADDING)
_BLANK = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BOUNDARY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_OURS = "roentgate-"
_IDENTITY = {"", "binary", "8bit", "7bit"}
_WHITE = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a body may cost before its content is looked at.

    Attributes:
        parts: how many there may be.
        header: bytes of one part's header.
        preamble: bytes before the first boundary; a body with a wrong boundary is found out after so many.
    """

    parts: int = 20_000
    header: int = 16 << 10
    preamble: int = 1 << 20


@dataclass(frozen=True, slots=True)
class PartStart:
    """A part begins: its header fields, names in lower case; of a repeated one the first."""

    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """The next bytes of the part; never empty. A view is of the piece that was fed."""

    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is complete."""


Event: TypeAlias = PartStart | PartData | PartEnd


def boundary_of(content_type: str) -> str:
    """Return the boundary that a Content-Type header names (RFC 2046 5.1.1).

    Args:
        content_type: header value of a request or response.

    Raises:
        UnsupportedMedia: it is no multipart type.
        BadRequest: it names no boundary, or one that cannot be.
    """
    kind = media.read_type(content_type)
    if kind.type != "multipart":
        raise UnsupportedMedia(f"the body is {kind.name}, not multipart/related")
    boundary = kind.params.get("boundary", "")
    if not boundary:
        raise BadRequest("the Content-Type names no boundary")
    if len(boundary) > _LONGEST_BOUNDARY or not _BOUNDARY.fullmatch(boundary):
        raise BadRequest("the boundary in the Content-Type is too long or holds characters that are not allowed")
    return boundary


class PartReader:
    """A push parser: bytes in, events out, the same wherever the input is cut (RFC 2046 5.1).

    Args:
        boundary: as `boundary_of` returns it.
        limits: what a body may cost.
        counted: where a part states its length it has that, and nothing is searched for a delimiter; see `is_ours`.
            Also an attribute.
    """

    def __init__(self, boundary: str, limits: Limits | None = None, counted: bool = False) -> None:
        self._limits = limits or Limits()
        # A delimiter begins with a line break; the one before the first boundary is made up.
        self._needle = b"\n--" + boundary.encode("latin-1")
        self._held = b"\n"
        self._needles: list[int] | None = None  # in the buffer that is read, the next one last
        self._state: Literal["preamble", "header", "body", "epilogue"] = "preamble"
        self._passed = 0  # bytes of the preamble
        self._parts = 0
        # The first byte not yet dealt with is the line break that ended the line before: no data.
        self._borrowed = True
        self._size = 0  # raw bytes of this part's data so far
        self._declared: int | None = None
        self._base64: _Base64 | None = None
        self.counted = counted

    @property
    def left(self) -> int:
        """Bytes that are still to come of the part's data, where that is counted; 0 where nobody knows."""
        if self.counted and self._state == "body" and self._declared:
            return self._declared - self._size
        return 0

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes of the body.

        Returns:
            What they complete, in order; [] when that is nothing yet.

        Raises:
            BadRequest: not well formed, or above a limit.
            UnsupportedMedia: a part is itself multipart, or in a transfer encoding that we do not read.
        """
        if self._state == "epilogue":
            return []
        events: list[Event] = []
        position: int | None = self._begins(data)
        buffer = self._held + data if self._held else data
        self._held = b""
        self._needles = None
        while position is not None:
            position = self._step(buffer, position, events)
        return events

    def _begins(self, data: bytes) -> int:
        """Say where to begin with these bytes. A body that begins with its first boundary, as nearly all do, is not
        copied to put the line break before that."""
        if self._state == "preamble" and self._held == b"\n" and not self._passed:
            rest = _REST.match(data, len(self._needle) - 1) if data.startswith(self._needle[1:]) else None
            if rest:
                self._held, self._state = b"", "header"
                return rest.end() - 1
        return 0

    def _step(self, buffer: bytes, start: int, events: list[Event]) -> int | None:
        """Deal with the buffer from `start` on; return where to go on, or None if more bytes are needed."""
        if self._state == "header":
            return self._header(buffer, start, events)
        if self._state == "epilogue":
            return None
        if self.counted and self._state == "body" and self._declared:
            return self._count(buffer, start, self._declared, events)
        return self._content(buffer, start, events)

    def finish(self) -> None:
        """Say that the body has ended.

        Raises:
            BadRequest: it ended before its last boundary, or held no part.
        """
        if self._state == "preamble":
            raise BadRequest("the body does not contain the boundary that its Content-Type names")
        if self._state != "epilogue":
            raise BadRequest("the body ends before its last boundary")
        if not self._parts:
            raise BadRequest("the body has no part")

    def _content(self, buffer: bytes, start: int, events: list[Event]) -> int | None:
        """Pass on data, or skip the preamble, up to the next delimiter."""
        low = start + self._borrowed
        if self._needles is None:
            self._needles = self._search(buffer, start)
        at, after, closing = self._delimiter(buffer, start, self._needles)
        if after:
            stop = at
            if at > low and buffer[at - 1] == _CR and self._declared != self._size + at - low:
                stop -= 1
            self._pass(buffer, low, stop, events)
            return self._end(after, closing, events)
        stop = at if at >= 0 else self._safe(buffer, start)
        # A carriage return may belong to the delimiter that follows.
        if stop > low and buffer[stop - 1] == _CR:
            stop -= 1
        if stop > low or not self._borrowed:
            self._pass(buffer, low, stop, events)
            self._borrowed = False
            self._held = buffer[stop:]
        else:
            self._held = buffer[start:]
        return None

    def _search(self, buffer: bytes, start: int) -> list[int]:
        """Find what may be delimiters, the last one first: from the end Python searches twice as fast. None begins
        inside of another, since a line break is their first byte alone."""
        found = []
        at = buffer.rfind(self._needle, start)
        while at >= 0:
            found.append(at)
            at = buffer.rfind(self._needle, start, at)
        return found

    def _count(self, buffer: bytes, start: int, declared: int, events: list[Event]) -> int | None:
        """Pass on data up to the length that was stated, behind which there must be a delimiter."""
        low = start + self._borrowed
        stop = min(low + declared - self._size, len(buffer))
        self._pass(buffer, low, stop, events)
        self._borrowed = False
        if self._size < declared:
            return None
        at = stop + buffer.startswith(b"\r", stop)
        rest = buffer[at : at + len(self._needle)]
        if not self._needle.startswith(rest):
            raise BadRequest("a part is not as long as it says")
        found, after, closing = self._delimiter(buffer, at, [at]) if rest == self._needle else (at, 0, False)
        if found != at:
            raise BadRequest("a part is not as long as it says")
        if after:
            return self._end(after, closing, events)
        self._held = buffer[stop:]
        return None

    def _end(self, after: int, closing: bool, events: list[Event]) -> int:
        """End the part, or the preamble, at a delimiter whose line ends at `after`; return where to go on."""
        if self._state == "body":
            if self._base64:
                self._base64.finish()
            events.append(PartEnd())
        self._state = "epilogue" if closing else "header"
        self._borrowed = True
        return after - 1

    def _delimiter(self, buffer: bytes, start: int, needles: list[int]) -> tuple[int, int, bool]:
        """Find the next delimiter among what may be one, of which it takes away what it passes.

        Returns:
            Where its line break is, or -1; where its line ends, or 0 while that is not certain; whether it is
            the last one.
        """
        while needles:
            at = needles.pop()
            if at < start:
                continue
            after = at + len(self._needle)
            if buffer.startswith(b"--", after):
                return at, after + 2, True
            rest = _REST.match(buffer, after)
            if rest:
                return at, rest.end(), False
            if len(buffer) - after <= _PADDING + 1 and _UNDECIDED.match(buffer, after):
                return at, 0, False
        return -1, 0, False

    def _safe(self, buffer: bytes, start: int) -> int:
        """Return up to where the buffer cannot be the beginning of a delimiter."""
        end = len(buffer)
        last = buffer.rfind(b"\n", max(start, end - len(self._needle) + 1))
        return last if last >= 0 and self._needle.startswith(buffer[last:]) else end

    def _pass(self, buffer: bytes, low: int, stop: int, events: list[Event]) -> None:
        if self._state == "preamble":
            self._passed += max(stop - low, 0)
            if self._passed > self._limits.preamble:
                raise BadRequest("the body does not begin with the boundary that its Content-Type names")
        elif stop > low:
            self._size += stop - low
            data = buffer if stop - low == len(buffer) else memoryview(buffer)[low:stop]
            decoded = self._base64.feed(data) if self._base64 else data
            if decoded:
                events.append(PartData(decoded))

    def _header(self, buffer: bytes, start: int, events: list[Event]) -> int | None:
        """Read a part's header; `start` is the line break before it."""
        reach = start + self._limits.header + len("\n\n\r\n")
        blank = _BLANK.search(buffer, start, reach)
        head = buffer[start : blank.start() + 1] if blank else buffer[start:reach]
        at, after, closing = self._delimiter(head, 0, self._search(head, 0))
        if after:  # a part without a body: the next delimiter follows its header at once
            self._begin(buffer[start + 1 : start + at], events)
            events.append(PartEnd())
            self._state = "epilogue" if closing else "header"
            return start + after - 1
        if blank:
            self._begin(buffer[start + 1 : blank.start()], events)
            self._state = "body"
            self._borrowed = True
            return blank.end() - 1
        if len(buffer) >= reach:
            raise BadRequest(f"the header of a part is longer than {self._limits.header:,} bytes")
        self._held = buffer[start:]
        return None

    def _begin(self, block: bytes, events: list[Event]) -> None:
        self._parts += 1
        if self._parts > self._limits.parts:
            raise BadRequest(f"the body has more than {self._limits.parts:,} parts")
        headers = _read_headers(block)
        if headers.get("content-type", "").lower().startswith("multipart/"):
            raise UnsupportedMedia("a part of the body is itself multipart")
        coding = headers.get("content-transfer-encoding", "").strip().lower()
        if coding not in _IDENTITY and coding != "base64":
            raise UnsupportedMedia("a part has a Content-Transfer-Encoding other than binary or base64")
        declared = headers.get("content-length", "")
        self._declared = int(declared) if re.fullmatch(r"[0-9]{1,18}", declared) else None
        self._base64 = _Base64() if coding == "base64" else None
        self._size = 0
        events.append(PartStart(headers))


class _Base64:
    """Base64 in pieces (RFC 2045 6.8)."""

    def __init__(self) -> None:
        self._left = b""
        self._padded = False

    def feed(self, data: bytes | memoryview) -> bytes:
        text = self._left + bytes(data).translate(None, _WHITE)
        whole = len(text) - len(text) % 4
        self._left = text[whole:]
        if whole and self._padded:
            raise BadRequest("a part goes on after the end of its base64")
        self._padded = text.endswith(b"=", 0, whole)
        return _decode(text[:whole])

    def finish(self) -> None:
        if self._left:
            raise BadRequest("a part's base64 is incomplete")


def _decode(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise BadRequest("a part says that it is base64, and is not") from error


def _read_headers(block: bytes) -> dict[str, str]:
    """Read the header fields of a part (RFC 5322 2.2, folding included).

    Args:
        block: the lines, without the blank one at the end.

    Raises:
        BadRequest: a line is no header field.
    """
    headers: dict[str, str] = {}
    for line in _FOLD.sub(b" ", block).split(b"\n"):
        line = line.removesuffix(b"\r")
        if not line:
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = line.decode("latin-1")
        name, colon, value = text.partition(":")
        name = name.rstrip(" \t")
        if not colon or not _NAME.fullmatch(name) or _CONTROLS.search(value):
            raise BadRequest("a part begins with a line that is no header field")
        headers.setdefault(name.lower(), value.strip(" \t"))
    return headers


def boundary_for(etag: str) -> str:
    """Return the boundary of the answer that an entity tag names: always the same for the same answer, so
    that byte ranges of it fit together (PS3.18 8.6.1.1). 128 bits of a hash occur in no data by chance."""
    return f"{_OURS}{sha256(etag.encode()).hexdigest()[:32]}"


def is_ours(boundary: str) -> bool:
    """Say whether it is as `boundary_for` makes it: whoever writes that states the length of each part rightly, where
    it states one, and ends it with a delimiter (PS3.18 8.6.1.1)."""
    return boundary.startswith(_OURS)


def write_type(boundary: str, part_type: str) -> str:
    """Return the Content-Type of a whole multipart/related body (RFC 2387 3; PS3.18 8.7.1).

    Args:
        boundary: of letters, digits and hyphens, as `boundary_for` makes it.
        part_type: media type of the first part, without parameters.
    """
    return f'multipart/related; type="{_printable(part_type)}"; boundary={boundary}'


def write_head(
    boundary: str, content_type: str, fields: Mapping[str, str] | None = None, *, first: bool = False
) -> bytes:
    """Return what stands before a part's data: delimiter and header, `Content-Type` first (PS3.18 8.6.1.2.1).

    Viewers look for exactly `Content-Type:`, and take everything after a `=` in that line for the transfer
    syntax; so nothing else is to be said there.

    Args:
        boundary: of the body.
        content_type: of the part, such as "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70".
        fields: further header fields by name; characters that do not belong in a header go out
            percent-encoded.
        first: this is the first part, which has no line break before its delimiter.
    """
    lines = [f"{'' if first else chr(13) + chr(10)}--{boundary}", f"Content-Type: {_printable(content_type)}"]
    lines += [f"{name}: {_printable(value)}" for name, value in (fields or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def write_end(boundary: str) -> bytes:
    """Return what stands after the last part's data (PS3.18 8.6.1.2.1)."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def size_of(heads: Iterable[bytes], sizes: Iterable[int], end: bytes) -> int:
    """Return the size of a whole body, known before any data is (PS3.18 8.4.3).

    Args:
        heads: of all parts, as `write_head` makes them.
        sizes: bytes of each part's data.
        end: as `write_end` makes it.
    """
    return sum(map(len, heads)) + sum(sizes) + len(end)


def write(boundary: str, parts: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a whole body, for what is small and in memory (PS3.18 8.6.1.2.1).

    Args:
        boundary: of the body.
        parts: Content-Type and data of each.
    """
    pieces: list[bytes] = []
    for number, (content_type, data) in enumerate(parts):
        fields = {"Content-Length": str(len(data))}
        pieces += [write_head(boundary, content_type, fields, first=not number), data]
    return b"".join([*pieces, write_end(boundary)])


@lru_cache(maxsize=256)
def _printable(value: str) -> str:
    return quote(value, safe=" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
