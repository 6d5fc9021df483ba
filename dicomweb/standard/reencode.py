"""Stored data sets in Implicit VR Little Endian, Explicit VR Big Endian or inflated, as Part 10 files in
Explicit VR Little Endian (PS3.18 8.7.3.4, PS3.5 A.1 to A.3).

The first two are not legal on the web. Headers and small values are made anew; large values stay where they
are, and the result says which ranges of the source to copy. So the whole size is known before a byte is sent,
and pixel data are never held.
"""

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any, NamedTuple, TypeAlias

from dicomweb.errors import BadObject, ObjectTooComplex, TruncatedObject
from dicomweb.standard import dictionary
from dicomweb.standard.encode import (
    ITEM_END,
    ITEM_START,
    LONG,
    LONGEST_SHORT,
    SEQUENCE_END,
    UNDEFINED,
    header,
    padding,
    write_meta,
)
from dicomweb.standard.leniency import Element
from dicomweb.standard.syntaxes import EXPLICIT, Syntax

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap

COPIED = 4096
"""Values of at least this many bytes are copied from the source by range."""

DEPTH = 64

# PS3.5 7.3: how many bytes of a value change places between the two byte orders
_UNITS: dict[str, int] = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_CODES = {2: "H", 4: "I", 8: "Q"}
_PIXELS = 0x7FE00010
_SIGN = 0x00280103
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_TRAILING_PADDING = 0xFFFCFFFC


class Copy(NamedTuple):
    """Bytes [start, stop) of the source; if `swap` is not 0, with the bytes of each unit of this size in
    reverse. The range is a multiple of the unit."""

    start: int
    stop: int
    swap: int


@dataclass(frozen=True, slots=True)
class Reencoded:
    """A Part 10 file as a list of bytes and of ranges of the source (of the inflated data set, if that is
    what was given).

    Attributes:
        segments: in order.
        size: bytes of all of them.
    """

    segments: tuple[bytes | Copy, ...]
    size: int

    def pieces(
        self, read: Callable[[int, int], Iterable[bytes]], start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """Yield bytes [start, stop) of the file (PS3.18 8.7.3.4; RFC 9110 14.1.2 for parts of it).

        Args:
            read: gives bytes [start, stop) of the source, in pieces of any size.
            start: of the wanted range.
            stop: of the wanted range; None is the end of the file.
        """
        stop = self.size if stop is None else stop
        place = 0
        for segment in self.segments:
            size = len_of(segment)
            first, last = max(start - place, 0), min(stop - place, size)
            place += size
            if first >= last:
                continue
            if isinstance(segment, bytes):
                yield segment[first:last]
            elif not segment.swap:
                yield from read(segment.start + first, segment.start + last)
            else:
                yield from _swapped_range(read, segment, first, last)


def len_of(segment: bytes | Copy) -> int:
    """Return how many bytes of the file a segment is (PS3.18 8.7.3.4)."""
    return segment.stop - segment.start if isinstance(segment, Copy) else len(segment)


def _swapped_range(
    read: Callable[[int, int], Iterable[bytes]], segment: Copy, first: int, last: int
) -> Iterator[bytes]:
    """Bytes [first, last) of a segment, read in whole units."""
    unit = segment.swap
    before, after = first % unit, -last % unit
    left = last - first
    rest = b""
    for piece in read(segment.start + first - before, segment.start + last + after):
        data = rest + piece if rest else piece
        whole = len(data) - len(data) % unit
        rest = bytes(data[whole:])
        done = swapped(data[:whole], unit)[before : before + left]
        before = max(before - whole, 0)
        left -= len(done)
        if done:
            yield done


def swapped(data: bytes, unit: int) -> bytes:
    """Return the bytes of each unit in reverse order (PS3.5 7.3); a part of a unit at the end as it is."""
    if unit == 0:
        return data
    whole = len(data) - len(data) % unit
    units = array(_CODES[unit], bytes(data[:whole]))
    units.byteswap()
    return units.tobytes() + data[whole:]


def explicit(
    buffer: Buffer,
    start: int,
    stop: int,
    syntax: Syntax,
    *,
    sop_class: str,
    instance: str,
    meta: Mapping[str, Element] | None = None,
    depth: int = DEPTH,
) -> Reencoded:
    """Make a stored data set a Part 10 file in Explicit VR Little Endian (PS3.18 8.7.3.4, PS3.5 A.2).

    Every attribute keeps its value; Implicit VR ones get their VR from the data dictionary, UN where it does
    not know them or the length does not fit (PS3.5 6.2.2). Group lengths and trailing padding are dropped,
    odd lengths made even.

    Args:
        buffer: holds the data set, of a deflated one the inflated. It may end before `stop` if nothing but
            one large value of the top level lies behind its end.
        start: where the data set begins in the buffer.
        stop: where it ends.
        syntax: what it is encoded in.
        sop_class: SOP Class UID for the File Meta group.
        instance: SOP Instance UID for the File Meta group.
        meta: group 0002 as stored; what is still true of it is kept.
        depth: how many sequences may be nested.

    Raises:
        TruncatedObject, ObjectTooComplex, BadObject: the data set cannot be read.
    """
    walk = _Walk(buffer)
    walk.out += write_meta(sop_class, instance, EXPLICIT, meta)
    if syntax.implicit or syntax.big_endian:
        walk.dataset(start, stop, _Scope(syntax.implicit, syntax.big_endian, depth))
    else:
        walk.copy(start, stop, 0)
    walk.flush()
    segments = tuple(one if isinstance(one, Copy) else bytes(one) for one in walk.segments)
    return Reencoded(segments, sum(map(len_of, segments)))


class _Scope:
    """One data set or item: how it is encoded, how many more sequences may be nested, what it says about
    its own elements (private creators, the sign of pixels), and where those VRs are that hang on that sign.
    """

    __slots__ = ("ambiguous", "big", "creators", "depth", "implicit", "outer", "signed")

    def __init__(self, implicit: bool, big: bool, depth: int, outer: "_Scope | None" = None) -> None:
        self.implicit = implicit
        self.big = big
        self.depth = depth
        self.outer = outer
        self.creators: dict[int, str] = {}
        self.signed: bool | None = None
        self.ambiguous: list[tuple[bytearray, int]] = []

    def settle(self) -> None:
        """At the end of the data set: decide between US and SS, or leave it to the data set around."""
        if self.signed is None and self.outer is not None:
            self.outer.ambiguous += self.ambiguous
        elif self.signed:
            for out, place in self.ambiguous:
                out[place : place + 2] = b"SS"


class _Head(NamedTuple):
    """The header of an element: `vr` is "" where it has none, `start` where the value begins."""

    tag: int
    vr: str
    length: int
    start: int


class _Walk:
    """Goes through the source from one element to the next and collects segments."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer
        self.out = bytearray()
        self.segments: list[bytearray | Copy] = []

    def flush(self) -> None:
        if self.out:
            self.segments.append(self.out)
            self.out = bytearray()

    def copy(self, start: int, stop: int, swap: int) -> None:
        if start < stop:
            self.flush()
            self.segments.append(Copy(start, stop, swap))

    def unpack(self, form: str, position: int) -> Any:
        try:
            return struct.unpack_from(form, self.buffer, position)
        except struct.error as error:
            raise TruncatedObject("the data set ends inside of an element") from error

    def head(self, position: int, implicit: bool, big: bool) -> _Head:
        order = ">" if big else "<"
        group, number, length = self.unpack(f"{order}HHI", position)
        tag = group << 16 | number
        if implicit or group == 0xFFFE:
            return _Head(tag, "", length, position + 8)
        vr = bytes(self.buffer[position + 4 : position + 6]).decode("latin-1")
        if vr in LONG:
            (length,) = self.unpack(f"{order}I", position + 8)
            return _Head(tag, vr, length, position + 12)
        (length,) = self.unpack(f"{order}H", position + 6)
        return _Head(tag, vr, length, position + 8)

    def dataset(self, position: int, stop: int, scope: _Scope) -> int:
        """Write one data set; return where it ended: at `stop`, or behind an item delimiter."""
        if scope.depth < 0:
            raise ObjectTooComplex("sequences are nested too deep")
        while position + 8 <= stop:
            head = self.head(position, scope.implicit, scope.big)
            if head.tag == _TRAILING_PADDING:
                break
            if head.tag >> 16 == 0xFFFE:
                position = head.start
                if scope.outer is not None:
                    scope.settle()
                    return position
                continue
            position = self.element(head, stop, scope)
        scope.settle()
        return stop

    def element(self, head: _Head, stop: int, scope: _Scope) -> int:
        """Write one element; return where it ended."""
        tag, vr, length, start = head
        ambiguous = False
        if scope.implicit:
            vr, ambiguous = _vr(tag, scope)
        if length == UNDEFINED:
            if tag == _PIXELS and not scope.implicit:
                raise BadObject("pixel data are encapsulated in a transfer syntax that has none")
            if vr != "UN":
                return self.sequence(head, stop, scope)
            implicit = _Scope(True, False, scope.depth, scope)
            end = self.sequence(head, stop, implicit)
            implicit.settle()
            return end
        end = start + length
        if end > stop + 1 or (end > stop and vr == "SQ"):
            raise TruncatedObject("the data set ends inside of a value")
        if vr == "SQ":
            return self.sequence(head, end, scope)
        if tag & 0xFFFF == 0 or tag >> 16 == 2:
            return end
        self.learn(tag, start, end, scope)
        self.out += header(tag, vr, length + (length & 1))
        if ambiguous and length <= LONGEST_SHORT:
            scope.ambiguous.append((self.out, len(self.out) - 4))
        self.plain(vr, start, min(end, stop), _UNITS.get(vr, 0) if scope.big else 0)
        if end > stop or length & 1:
            self.out += padding(vr)
        return end

    def plain(self, vr: str, start: int, stop: int, unit: int) -> None:
        """Write a value, or where it is."""
        if stop - start >= COPIED:
            whole = stop - (stop - start) % unit if unit else stop
            self.copy(start, whole, unit)
            start = whole
        if start < stop:
            if stop > len(self.buffer):
                raise TruncatedObject("the data set ends inside of a value")
            self.out += swapped(bytes(self.buffer[start:stop]), unit)

    def learn(self, tag: int, start: int, end: int, scope: _Scope) -> None:
        """Remember what decides the VR of other elements."""
        if tag == _SIGN and end - start >= 2:
            (sign,) = self.unpack(">H" if scope.big else "<H", start)
            scope.signed = sign == 1
        elif scope.implicit and tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            text = bytes(self.buffer[start:end]).decode("latin-1")
            scope.creators[tag] = text.strip(" \0")

    def sequence(self, head: _Head, stop: int, scope: _Scope) -> int:
        """Write a sequence of defined (then it ends at `stop`) or undefined length; return where it ended."""
        self.out += header(head.tag, "SQ", UNDEFINED)
        position = head.start
        while head.length == UNDEFINED or position < stop:
            item = self.head(position, scope.implicit, scope.big)
            position = item.start
            if item.tag == _SEQUENCE_END:
                break
            if item.tag != _ITEM:
                raise BadObject("a sequence holds something other than items")
            self.out += ITEM_START
            inner = _Scope(scope.implicit, scope.big, scope.depth - 1, scope)
            if item.length == UNDEFINED:
                position = self.dataset(position, stop, inner)
            elif position + item.length > stop:
                raise TruncatedObject("an item ends behind its sequence")
            else:
                position += item.length
                self.dataset(item.start, position, inner)
            self.out += ITEM_END
        self.out += SEQUENCE_END
        return position


def _vr(tag: int, scope: _Scope) -> tuple[str, bool]:
    """The VR of an element in Implicit VR (PS3.5 A.1), and whether the sign of pixels decides between US and
    SS."""
    if tag >> 16 & 1:
        if 0x10 <= tag & 0xFFFF <= 0xFF:
            return "LO", False
        creator = scope.creators.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
        vr = dictionary.private_vr_of(creator, tag) if creator else None
    else:
        vr = dictionary.vr_of(tag)
    if vr is None or vr == "NONE":
        return "UN", False
    if " or " not in vr:
        return vr, False
    if vr.endswith("OW"):
        return "OW", False
    return vr.split(" ")[0], vr == "US or SS"
