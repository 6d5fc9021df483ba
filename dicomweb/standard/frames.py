"""Frames: lists of frame numbers, and where in a stored object each frame lies (PS3.5 8 and A.4, PS3.3
C.7.6.3).

A Layout is made once, when an object is stored, and kept as bytes. Finding one frame of it is arithmetic or
one look into a table of fixed width, whatever the number of frames. `fragments` decides which fragments make
which frame.
"""

import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import orjson

from dicomweb.deflate import crc32
from dicomweb.errors import BadRequest, Corrupt, NotFound
from dicomweb.standard.headers import Buffer
from dicomweb.standard.pixels import Format
from dicomweb.standard.values import swapped

Kind: TypeAlias = Literal["none", "native", "bits", "encapsulated", "video", "opaque"]

OCTETS = "application/octet-stream"
LONGEST_LIST = 10_000

_KINDS: tuple[Kind, ...] = get_args(Kind)
_APART = ("native", "bits", "encapsulated")
"""Kinds of which the frames can be told apart."""
_WIDTHS = {4: "I", 8: "Q"}
_PIXELS = ("7FE00010", "7FE00008", "7FE00009")
# version, kind, derived, swap, width of the tables, pixels, bytes of the format, count, first, stop, size, bytes
# of fragments and of groups
_HEAD = struct.Struct("<BBBBBBHIQQQII")
_VERSION = 2


class Span(NamedTuple):
    """Bytes [start, stop) of the object, or of the inflated data set where the layout is derived."""

    start: int
    stop: int


class Bulk(NamedTuple):
    """A value field that is handed out as bulk data.

    Attributes:
        vr: of the element.
        start: where the value begins; of encapsulated pixels, where the first fragment does.
        stop: where it ends.
        swap: width in bytes of the units to reverse, because stored big endian; 0 is none.
        media_type: what the bytes are.
        pieces: the parts to be joined where the value is no single range (fragments inside of a sequence).
        checksums: CRC-32 of each frame where they can be told apart, else of the value; b"" if nobody computed them.
    """

    vr: str
    start: int
    stop: int
    swap: int = 0
    media_type: str = OCTETS
    pieces: tuple[Span, ...] = ()
    checksums: bytes = b""


def read_list(text: str, limit: int = LONGEST_LIST) -> list[int]:
    """Read the frame list of a URL, `1,2,5` (PS3.18 10.1.6): any order, repeats allowed.

    Args:
        text: numbers around commas; `%2C` is a comma too (some clients encode it twice).
        limit: how many numbers there may be.

    Raises:
        BadRequest: 0, a negative number, anything else than numbers, more of them than the limit.
    """
    parts = text.replace("%2C", ",").replace("%2c", ",").split(",")
    if len(parts) > limit:
        raise BadRequest(f"a list of frames has more than {limit:,} numbers")
    numbers = []
    for part in parts:
        digits = part.strip()
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 10) or int(digits) == 0:
            raise BadRequest("a list of frames is made of numbers from 1 on, with commas between them")
        numbers.append(int(digits))
    return numbers


def joined(frames: Iterable[bytes], bits: int) -> Iterator[bytes]:
    """Put frames of so many bits each together without padding between them (PS3.5 8.1.1), as one native value.

    Args:
        frames: each begins at the lowest bit of its first byte.
        bits: of one frame.

    Yields:
        The value in whole bytes; the last one is filled up with zeros.
    """
    rest, held = 0, 0
    for frame in frames:
        rest |= (int.from_bytes(frame, "little") & ((1 << bits) - 1)) << held
        held += bits
        whole = held // 8
        yield (rest & ((1 << 8 * whole) - 1)).to_bytes(whole, "little")
        rest >>= 8 * whole
        held -= 8 * whole
    if held:
        yield rest.to_bytes(1, "little")


class Layout:
    """Where the frames and the bulk values of one object lie. Immutable.

    Attributes:
        kind: "none" without pixels; "native" frames are ranges of whole bytes; "bits" are cut from ranges by
            `finish`; "encapsulated" frames are made of fragments; "video" is one stream, in which frames
            cannot be told apart, as is "opaque" of which nothing is known.
        count: of frames; 1 for a stream, 0 without pixels.
        swap: width in bytes of the units to reverse, because stored big endian; 0 is none.
        derived: ranges refer to the inflated data set, not to the object.
        format: what the bytes of a frame mean; None without pixels.
    """

    __slots__ = (
        "_bulk",
        "_first",
        "_fragments",
        "_groups",
        "_pixels",
        "_size",
        "_stop",
        "_tail",
        "_width",
        "count",
        "derived",
        "format",
        "kind",
        "swap",
    )

    def __init__(
        self,
        kind: Kind,
        count: int = 0,
        *,
        first: int = 0,
        stop: int = 0,
        size: int = 0,
        swap: int = 0,
        derived: bool = False,
        fragments: bytes = b"",
        groups: bytes = b"",
        width: int = 4,
        pixels: str = "",
        format: Format | None = None,
        bulk: Mapping[str, Bulk] | None = None,
    ) -> None:
        """Describe a layout; `native`, `fragmented` and `stream` are easier.

        Args:
            kind: see the class.
            count: see the class.
            first: where the pixel value begins; offsets in `fragments` are counted from here.
            stop: where it ends.
            size: of one frame: bits for "native" and "bits", bytes of an uncompressed encapsulated frame
                (what lies behind is padding), 0 if unknown.
            swap: see the class.
            derived: see the class.
            fragments: offsets of the fragments, and behind the last one that where the next would begin.
            groups: index of the first fragment of each frame, and the number of fragments; empty where each
                frame is one fragment.
            width: bytes of a number in `fragments` (4 or 8); `groups` has 4.
            pixels: path of the pixel element.
            format: see the class.
            bulk: by path.
        """
        self.kind = kind
        self.count = count
        self.swap = swap
        self.derived = derived
        self.format = format
        self._first = first
        self._stop = stop
        self._size = size
        self._fragments = fragments
        self._groups = groups
        self._width = width
        self._pixels = pixels
        self._bulk: Mapping[str, Bulk] | None = MappingProxyType(dict(bulk or {}))
        self._tail = b""

    # -- asking ---------------------------------------------------------------------------------------------

    @property
    def bulk(self) -> Mapping[str, Bulk]:
        """The values handed out as bulk data, by the path that follows "bulkdata/" (PS3.18 F.2.6)."""
        if self._bulk is None:
            rows = orjson.loads(self._tail)
            self._bulk = MappingProxyType({path: _read_bulk(row) for path, *row in rows})
        return self._bulk

    @property
    def pixels(self) -> str:
        """Path of the pixel element, "7FE00010", "7FE00008" or "7FE00009" (PS3.3 C.7.6.3); "" without."""
        return self._pixels

    @property
    def fragment_count(self) -> int:
        """How many fragments the pixel value has (PS3.5 A.4)."""
        return max(len(self._fragments) // self._width - 1, 0)

    def spans(self, number: int) -> tuple[Span, ...]:
        """Return the ranges to read for a frame, in order (PS3.18 10.4.1.1.6).

        Args:
            number: of the frame, from 1.

        Raises:
            NotFound: the object has no such frame.
        """
        if not 1 <= number <= self.count:
            raise NotFound(f"the instance has {self.count} frames, and no frame {number}")
        if self.kind in ("native", "bits"):
            return (self._range(number)[0],)
        if self.kind == "encapsulated":
            begin, end = number - 1, number
            if self._groups:
                begin, end = struct.unpack_from("<II", self._groups, 4 * begin)
            return self._unpadded(map(self._fragment, range(begin, end)))
        return self.bulk_spans(self._pixels)

    def _unpadded(self, fragments: Iterable[Span]) -> tuple[Span, ...]:
        """Leave out what lies behind an uncompressed frame."""
        if not self._size:
            return tuple(fragments)
        left, spans = self._size, []
        for start, stop in fragments:
            if left:
                spans.append(Span(start, min(stop, start + left)))
                left -= spans[-1].stop - start
        return tuple(spans)

    def finish(self, number: int, data: bytes) -> bytes:
        """Make the frame of the bytes that `spans` named: reverse units, cut bits (PS3.5 7.3, 8.1.1). In the usual
        case they are the frame already.

        Args:
            number: of the frame, from 1.
            data: the bytes of its spans, joined.
        """
        data = swapped(data, self.swap)
        if self.kind not in ("native", "bits"):
            return data
        _, shift = self._range(number)
        size = (self._size + 7) // 8
        if shift == 0 and self._size % 8 == 0 and len(data) == size:
            return data
        if shift % 8 == 0 and self._size % 8 == 0:
            return data[shift // 8 : shift // 8 + size]
        whole = int.from_bytes(data, "little") >> shift
        return (whole & ((1 << self._size) - 1)).to_bytes(size, "little")

    def lies_ready(self, number: int, size: int) -> bool:
        """Say whether the bytes that `spans` named, so many of them, are the frame without `finish` (PS3.5 8.1.1)."""
        if self.swap:
            return False
        return self.kind == "encapsulated" or (self.kind == "native" and size == self.frame_size(number))

    def frame_size(self, number: int) -> int:
        """Return how many bytes `finish` gives for a frame, without reading it (PS3.5 8).

        Raises:
            NotFound: the object has no such frame.
        """
        if self.kind in ("native", "bits"):
            self.spans(number)
            return (self._size + 7) // 8
        return sum(span.stop - span.start for span in self.spans(number))

    def bulk_spans(self, path: str) -> tuple[Span, ...]:
        """Return the ranges to read for a bulk value, in order; fragments without their headers.

        Args:
            path: key of `bulk`.

        Raises:
            NotFound: there is no bulk value at this path.
        """
        bulk = self.bulk.get(path)
        if bulk is None:
            raise NotFound("the instance has no such bulk data")
        if path == self._pixels and self._fragments:
            return tuple(map(self._fragment, range(self.fragment_count)))
        return bulk.pieces or (Span(bulk.start, bulk.stop),)

    # -- checksums ------------------------------------------------------------------------------------------

    def checked(self, data: Buffer) -> "Layout":
        """Return the layout with checksums of the frames and of the other bulk values.

        Args:
            data: what the ranges refer to.
        """
        apart = self._pixels if self.kind in _APART else ""
        bulk = {}
        with memoryview(data) as view:
            for path, value in self.bulk.items():
                frames = map(self.spans, range(1, self.count + 1)) if path == apart else [self.bulk_spans(path)]
                checksums = [_checksum(view, spans) for spans in frames]
                bulk[path] = value._replace(checksums=struct.pack(f"<{len(checksums)}I", *checksums))
        made = copy(self)
        made._bulk = MappingProxyType(bulk)
        return made

    def frame_checksum(self, number: int) -> int | None:
        """Return the CRC-32 of the bytes that `spans` names for a frame; None if nobody computed it."""
        return self._checksum(self._pixels, number - 1) if self.kind in _APART else None

    def value_checksum(self, path: str) -> int | None:
        """Return the CRC-32 of the bytes that `bulk_spans` names for a value; None if nobody computed it."""
        return None if path == self._pixels and self.kind in _APART else self._checksum(path, 0)

    def _checksum(self, path: str, index: int) -> int | None:
        checksums = self.bulk[path].checksums
        found: int | None = struct.unpack_from("<I", checksums, 4 * index)[0] if checksums else None
        return found

    def _range(self, number: int) -> tuple[Span, int]:
        """The range that holds a native frame, in whole units, and how many bits of it come before."""
        begin = (number - 1) * self._size
        end = begin + self._size
        unit = 8 * max(self.swap, 1)
        low = begin - begin % unit
        high = end + -end % unit
        return Span(self._first + low // 8, min(self._first + high // 8, self._stop)), begin - low

    def _fragment(self, index: int) -> Span:
        start, following = struct.unpack_from(f"<2{_WIDTHS[self._width]}", self._fragments, self._width * index)
        return Span(self._first + start, self._first + following - 8)

    # -- bytes ----------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Write the layout, in little endian and in a form of our own."""
        rows = self._tail
        if self._bulk is not None:
            rows = orjson.dumps([[path, *_write_bulk(bulk)] for path, bulk in self._bulk.items()])
        described = self.format.to_bytes() if self.format is not None else b""
        head = _HEAD.pack(
            _VERSION,
            _KINDS.index(self.kind),
            self.derived,
            self.swap,
            self._width,
            _PIXELS.index(self._pixels) + 1 if self._pixels else 0,
            len(described),
            self.count,
            self._first,
            self._stop,
            self._size,
            len(self._fragments),
            len(self._groups),
        )
        return head + described + self._fragments + self._groups + rows

    @classmethod
    def from_bytes(cls, data: bytes) -> "Layout":
        """Read what `to_bytes` wrote; tables are not taken apart before they are needed.

        Raises:
            Corrupt: it is something else.
        """
        try:
            version, kind, derived, swap, width, pixels, described, count, first, stop, size, fragments, groups = (
                _HEAD.unpack_from(data)
            )
            tables = _HEAD.size + described
            if version != _VERSION or len(data) < tables + fragments + groups:
                raise Corrupt("a frame table cannot be read")
            layout = cls(
                _KINDS[kind],
                count,
                first=first,
                stop=stop,
                size=size,
                swap=swap,
                derived=bool(derived),
                fragments=data[tables : tables + fragments],
                groups=data[tables + fragments : tables + fragments + groups],
                width=width,
                pixels=_PIXELS[pixels - 1] if pixels else "",
                format=Format.from_bytes(data[_HEAD.size : tables]) if described else None,
            )
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise Corrupt("a frame table cannot be read") from error
        layout._tail = data[tables + fragments + groups :]
        layout._bulk = None
        return layout

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def __repr__(self) -> str:
        return f"Layout({self.kind!r}, {self.count})"


def _write_bulk(bulk: Bulk) -> list[Any]:
    """Trailing defaults are left out; there may be thousands."""
    pieces = [part for span in bulk.pieces for part in span]
    row: list[Any] = [*bulk[:5], pieces, b2a_base64(bulk.checksums, newline=False).decode()]
    defaults: tuple[object, ...] = ("", [], OCTETS, 0)
    for default in defaults:
        if row[-1] != default:
            break
        row.pop()
    return row


def _read_bulk(row: list[Any]) -> Bulk:
    bulk = Bulk(*row[:5])
    if len(row) <= 5:
        return bulk
    flat, checksums = row[5], row[6] if len(row) > 6 else ""
    return bulk._replace(pieces=tuple(map(Span, flat[::2], flat[1::2])), checksums=a2b_base64(checksums))


def _checksum(view: memoryview, spans: Iterable[Span]) -> int:
    checksum = 0
    for start, stop in spans:
        checksum = crc32(view[start:stop], checksum)
    return checksum
