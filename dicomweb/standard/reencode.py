"""Stored data sets in Implicit VR Little Endian, Explicit VR Big Endian or inflated, as Part 10 files in
Explicit VR Little Endian (PS3.18 8.7.3.4, PS3.5 A.1 to A.3).

The first two are not legal on the web. Headers and small values are made anew; large values stay where they
are, and the result says which ranges of the source to copy. So the whole size is known before a byte is sent,
and pixel data are never held. On the way attributes of the top level can be changed, as transcoding asks for.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Any, NamedTuple, TypeAlias

from dicomweb.errors import BadObject, ObjectTooComplex, TruncatedObject
from dicomweb.standard import headers
from dicomweb.standard.encode import (
    ITEM,
    ITEM_END,
    ITEM_START,
    LONGEST_SHORT,
    SEQUENCE_END,
    UNDEFINED,
    header,
    padding,
    write_meta,
)
from dicomweb.standard.leniency import Element
from dicomweb.standard.syntaxes import EXPLICIT, Syntax
from dicomweb.standard.values import BINARY, LONG, SHORT, UNITS, swapped

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap

COPIED = 4096
"""Values of at least this many bytes are copied from the source by range."""

DEPTH = 64

_EITHER = "US or SS"
_PIXELS = 0x7FE00010
_SIGN = 0x00280103
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TRAILING_PADDING = 0xFFFCFFFC


class Copy(NamedTuple):
    """Bytes [start, stop) of the source; if `swap` is not 0, with the bytes of each unit of this size in
    reverse. The range is a multiple of the unit."""

    start: int
    stop: int
    swap: int


class Place(NamedTuple):
    """Where an element of the top level goes whose bytes the caller has."""

    tag: int


Piece: TypeAlias = bytes | Copy | Place
Changes: TypeAlias = Mapping[int, bytes | Place | None]
"""By tag: the whole element that stands there instead, or None for nothing."""


@dataclass(frozen=True, slots=True)
class Reencoded:
    """A Part 10 file as a list of bytes and of ranges of the source (of the inflated data set, if that is
    what was given).

    Attributes:
        segments: in order.
        size: bytes of all of them; a Place has none.
    """

    segments: tuple[Piece, ...]
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
            elif isinstance(segment, Place):
                continue
            elif not segment.swap:
                yield from read(segment.start + first, segment.start + last)
            else:
                yield from _swapped_range(read, segment, first, last)


def len_of(segment: Piece) -> int:
    """Return how many bytes of the file a segment is (PS3.18 8.7.3.4)."""
    if isinstance(segment, Copy):
        return segment.stop - segment.start
    return 0 if isinstance(segment, Place) else len(segment)


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


def explicit(
    buffer: Buffer,
    start: int,
    stop: int,
    syntax: Syntax,
    sop_class: str,
    instance: str,
    meta: Mapping[str, Element] | None = None,
    depth: int = DEPTH,
    changes: Changes | None = None,
    named: str = EXPLICIT,
    values: Mapping[int, int] | None = None,
    firsts: Mapping[int, bytes] | None = None,
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
        changes: elements of the top level that are replaced, put in or left out.
        named: transfer syntax that the File Meta group names; one in Explicit VR Little Endian.
        values: where large values end, by where they begin, encapsulated ones with the first byte of their first
            fragment. Fragments that are known so are copied as one range, and the buffer need not hold them.
        firsts: by tag, what becomes the first value of such text elements inside of sequences.

    Raises:
        TruncatedObject, ObjectTooComplex, BadObject: the data set cannot be read.
    """
    walk = _Walk(buffer, changes or {}, values or {}, firsts or {})
    walk.out += write_meta(sop_class, instance, named, meta)
    if syntax.implicit or syntax.big_endian or changes:
        walk.dataset(start, stop, _Scope(syntax.implicit, syntax.big_endian, depth))
    else:
        walk.copy(start, stop, 0)
    walk.flush()
    segments = tuple(bytes(one) if isinstance(one, bytearray) else one for one in walk.segments)
    return Reencoded(segments, sum(map(len_of, segments)))


class _Scope:
    """One data set or item: how it is encoded, how many more sequences may be nested, what it says about
    its own elements (private creators, the sign of pixels), and where those VRs are that hang on that sign.
    """

    __slots__ = ("ambiguous", "big", "creators", "depth", "implicit", "outer", "signed", "undefined")

    def __init__(
        self, implicit: bool, big: bool, depth: int, outer: "_Scope | None" = None, undefined: bool = False
    ) -> None:
        self.implicit = implicit
        self.big = big
        self.depth = depth
        self.outer = outer
        self.undefined = undefined
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
    """The header of an element: `vr` may be "US or SS", and is "" for items; the value begins at `start`."""

    tag: int
    vr: str
    length: int
    start: int


class _Walk:
    """Goes through the source from one element to the next and collects segments."""

    def __init__(
        self, buffer: Buffer, changes: Changes, values: Mapping[int, int], firsts: Mapping[int, bytes]
    ) -> None:
        self.buffer = buffer
        self.firsts = firsts
        self.values = values
        self.out = bytearray()
        self.segments: list[bytearray | Copy | Place] = []
        self.changes = changes
        self.waiting = sorted(changes, reverse=True)

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

    def dataset(self, position: int, stop: int, scope: _Scope) -> int:
        """Write one data set; return where it ended: at `stop`, or behind its delimiter."""
        if scope.depth < 0:
            raise ObjectTooComplex("sequences are nested too deep")
        while position + 8 <= stop:
            head = self.head(position, scope)
            if head.tag == _TRAILING_PADDING and scope.outer is None:
                break
            if head.tag >> 16 != 0xFFFE:
                if self.changes and scope.outer is None:
                    position = self.changed(head, stop, scope)
                else:
                    position = self.element(head, stop, scope)
                continue
            if head.tag == _ITEM:
                raise BadObject("an item begins where an element should be")
            if scope.undefined:
                scope.settle()
                return head.start if head.tag == _ITEM_END else position
            position = head.start
        if scope.undefined:
            raise TruncatedObject("the data set ends inside of an item")
        if scope.outer is None:
            self.put_in(None)
        scope.settle()
        return stop

    def changed(self, head: _Head, stop: int, scope: _Scope) -> int:
        """Write one element of the top level, or what stands there instead, behind what comes before it; return
        where it ended."""
        self.put_in(head.tag)
        if head.tag not in self.changes:
            return self.element(head, stop, scope)
        out, size = self.out, len(self.out)
        before, pending = len(self.segments), len(scope.ambiguous)
        end = self.element(head, stop, scope)
        self.out = out
        del self.segments[before:], out[size:], scope.ambiguous[pending:]
        return end

    def put_in(self, last: int | None) -> None:
        """Write the new elements up to a tag; None is all of them."""
        while self.waiting and (last is None or self.waiting[-1] <= last):
            new = self.changes[self.waiting.pop()]
            if isinstance(new, Place):
                self.flush()
                self.segments.append(new)
            elif new is not None:
                self.out += new

    def head(self, position: int, scope: _Scope) -> _Head:
        """Read the header of an element; where it has a VR that PS3.5 does not list, guess at it as the
        element walker does."""
        order = ">" if scope.big else "<"
        group, number, length = self.unpack(f"{order}HHI", position)
        tag = group << 16 | number
        start = position + 8
        if group == 0xFFFE or tag == _TRAILING_PADDING:
            return _Head(tag, "", length, start)
        if scope.implicit:
            return _Head(tag, _known(tag, scope), length, start)
        vr = bytes(self.buffer[position + 4 : start - 2]).decode("latin-1")
        if vr in LONG:
            (length,) = self.unpack(f"{order}I", start)
            return _Head(tag, vr, length, start + 4)
        (short,) = self.unpack(f"{order}H", start - 2)
        if vr in SHORT:
            return _Head(tag, vr, short, start)
        known = headers.known(f"{tag:08X}")[:2]
        if vr == "??" or (vr.isascii() and vr.isalpha() and vr.isupper()):
            if short or known in SHORT:
                return _Head(tag, known, short, start)
            (length,) = self.unpack(f"{order}I", start)
            return _Head(tag, known, length, start + 4)
        return _Head(tag, known, length, start)

    def element(self, head: _Head, stop: int, scope: _Scope) -> int:
        """Write one element; return where it ended."""
        tag, vr, length, start = head
        if length == UNDEFINED:
            return self.undefined(head, stop, scope)
        end = start + length
        if end > stop + 1 or (end > stop and vr == "SQ"):
            raise TruncatedObject("the data set ends inside of a value")
        if tag & 0xFFFF == 0 or tag >> 16 in {0, 2}:
            return end
        if vr == "SQ":
            private = scope.implicit and tag >> 16 & 1
            if not private:
                return self.sequence(head, end, scope)
            if self.tried(head, end, scope):
                return end
            vr = "UN"
        if tag in self.firsts and scope.outer is not None:
            self.out += self.begun_anew(head, min(end, stop))
            return end
        self.learn(tag, start, end, scope)
        length -= length % headers.WIDTHS.get(vr[:2], 1)
        self.out += header(tag, vr[:2], length + (length & 1))
        if vr == _EITHER and head.length > 0 and length <= LONGEST_SHORT:
            scope.ambiguous.append((self.out, len(self.out) - 4))
        self.plain(start, min(start + length, stop), UNITS.get(vr[:2], 0) if scope.big else 0)
        if start + length > stop or length & 1:
            self.out += padding(vr[:2])
        return end

    def begun_anew(self, head: _Head, end: int) -> bytes:
        """Return a text element with another first value."""
        _, separator, others = bytes(self.buffer[head.start : end]).rstrip(b" \0").partition(b"\\")
        value = self.firsts[head.tag] + separator + others
        value += b" " * (len(value) & 1)
        return header(head.tag, head.vr, len(value)) + value

    def plain(self, start: int, stop: int, unit: int) -> None:
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
        if tag == _SIGN:
            value = bytes(self.buffer[start:end])
            scope.signed = value == (b"\0\1" if scope.big else b"\1\0")
        elif tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            scope.creators[tag] = bytes(self.buffer[start:end]).decode("latin-1").strip(" \0")

    def undefined(self, head: _Head, stop: int, scope: _Scope) -> int:
        """Write a value of undefined length (PS3.5 7.5, 6.2.2, A.4); return where it ended."""
        if head.tag == _PIXELS or (head.vr in BINARY and head.vr != "UN" and not scope.implicit):
            return self.fragments(head, stop, scope)
        if scope.implicit or head.vr == "SQ":
            return self.sequence(head, stop, scope)
        if head.vr != "UN":
            raise BadObject("an element that is no sequence has an undefined length")
        # PS3.5 6.2.2 says Implicit VR Little Endian, whatever is around
        inner = _Scope(not self.is_explicit(head.start, stop), False, scope.depth, scope)
        end = self.sequence(head, stop, inner)
        inner.settle()
        return end

    def is_explicit(self, position: int, stop: int) -> bool:
        """Whether a sequence of unknown VR holds Explicit VR, against PS3.5 6.2.2; see the element walker."""
        first = bytes(self.buffer[position + 8 : min(position + 16, stop)])
        if len(first) < 8 or first[2:4] == b"\xfe\xff" or first[4:6].decode("latin-1") not in SHORT | LONG:
            return False
        return position + 16 + int.from_bytes(first[4:8], "little") > stop

    def tried(self, head: _Head, stop: int, scope: _Scope) -> bool:
        """Write what the private dictionary takes for a sequence; say False, and write nothing, if it is
        none."""
        out, size = self.out, len(self.out)
        before, pending = len(self.segments), len(scope.ambiguous)
        try:
            self.sequence(head, stop, scope)
        except ObjectTooComplex:
            raise
        except BadObject:
            self.out = out
            del self.segments[before:], out[size:], scope.ambiguous[pending:]
            return False
        return True

    def sequence(self, head: _Head, stop: int, scope: _Scope) -> int:
        """Write a sequence of defined (then it ends at `stop`) or undefined length; return where it ended."""
        self.out += header(head.tag, "SQ", UNDEFINED)
        position = head.start
        while head.length == UNDEFINED or position < stop:
            item = self.item(position, scope)
            position = item.start
            if item.tag == _SEQUENCE_END:
                break
            if item.tag == _ITEM_END:
                continue
            self.out += ITEM_START
            inner = _Scope(scope.implicit, scope.big, scope.depth - 1, scope, item.length == UNDEFINED)
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

    def item(self, position: int, scope: _Scope) -> _Head:
        item = self.head(position, scope)
        if item.tag not in {_ITEM, _ITEM_END, _SEQUENCE_END}:
            raise BadObject("a sequence holds something other than items")
        return item

    def fragments(self, head: _Head, stop: int, scope: _Scope) -> int:
        """Write encapsulated data as they are (PS3.5 A.4); return where they ended."""
        self.out += header(head.tag, "OB" if scope.implicit else head.vr, UNDEFINED)
        position = head.start
        while (item := self.item(position, scope)).tag == _ITEM and item.length != UNDEFINED:
            if not scope.big and (end := self.values.get(item.start)) is not None:
                self.plain(position, end, 0)
                position = end
                continue
            self.out += ITEM + struct.pack("<I", item.length)
            position = item.start + item.length
            if position > stop:
                raise TruncatedObject("the data set ends inside of a fragment")
            self.plain(item.start, position, 0)
        if item.tag != _SEQUENCE_END:
            raise BadObject("encapsulated data hold something other than fragments")
        self.out += SEQUENCE_END
        return item.start


def _known(tag: int, scope: _Scope) -> str:
    """The VR of an element by the data dictionaries (PS3.5 A.1, 7.8.1), as the element walker has it; UN
    where they do not know it; "US or SS" where the sign of pixels decides."""
    name = f"{tag:08X}"
    if not headers.is_private(name):
        return headers.known(name)
    creator = scope.creators.get(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
    return headers.private(creator, name)[0] if creator else "UN"
