"""Data sets in Explicit VR Little Endian as Implicit VR Little Endian, while they pass by (PS3.5 A.1, 7.1).

For devices that read nothing else. Sequences and items become ones of undefined length, since their lengths change
with their headers; so nothing is held but a header, whatever the size of values.
"""

import struct
from collections.abc import Iterable, Iterator

from dicomweb.errors import BadObject, ObjectTooComplex, TruncatedObject
from dicomweb.standard.encode import ITEM_END, ITEM_START, SEQUENCE_END, UNDEFINED
from dicomweb.standard.values import LONG

_DEPTH = 128
_PIECE = 1 << 16
_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD
_LONG = frozenset(vr.encode() for vr in LONG)
_HEADER = struct.Struct("<HHI")


def write_implicit(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Re-encode a data set (PS3.5 7.1.3, A.1). Group lengths are dropped.

    Args:
        pieces: the data set without File Meta group, in Explicit VR Little Endian.

    Yields:
        The same values in the same order, in pieces; views are of pieces that came in.

    Raises:
        BadObject: it is no such data set, or its pixels are encapsulated.
        TruncatedObject: it ends inside of an element.
        ObjectTooComplex: sequences are nested too deep.
    """
    source = _Source(pieces)
    out = bytearray()
    containers: list[_Container] = []
    while True:
        while containers and containers[-1].end is not None and source.position >= containers[-1].end:
            out += containers.pop().delimiter
        head = source.take(8, may_end=not containers)
        if not head:
            yield bytes(out)
            return
        group, element, length = _HEADER.unpack(head)
        if group == 0xFFFE:
            _mark(out, containers, element, length, source.position)
            continue
        implicit = bool(containers) and containers[-1].implicit
        if not implicit:
            vr = head[4:6]
            if vr in _LONG:
                length = struct.unpack("<I", source.take(4))[0]
            elif vr.isalpha() and vr.isupper():
                length = struct.unpack("<H", head[6:8])[0]
            else:
                raise BadObject(f"element ({group:04X},{element:04X}) has no VR")
            if vr == b"SQ" or (vr == b"UN" and length == UNDEFINED):
                end = None if length == UNDEFINED else source.position + length
                _enter(containers, _Container(end, SEQUENCE_END, vr == b"UN"))
                out += _HEADER.pack(group, element, UNDEFINED)
                continue
            if length == UNDEFINED:
                raise BadObject("its pixels are encapsulated, which Implicit VR cannot hold")
        elif length == UNDEFINED:
            _enter(containers, _Container(None, SEQUENCE_END, True))
            out += head
            continue
        if element == 0:
            for _ in source.copy(length):
                pass
            continue
        out += _HEADER.pack(group, element, length)
        if length < _PIECE:
            out += source.take(length)
        else:
            yield bytes(out)
            out.clear()
            yield from source.copy(length)
        if len(out) >= _PIECE:
            yield bytes(out)
            out.clear()


class _Container:
    """A sequence or item that is open: where it ends if its length was given, what closes it, and whether what is in
    it is in Implicit VR already (an UN of undefined length, PS3.5 6.2.2)."""

    __slots__ = ("delimiter", "end", "implicit")

    def __init__(self, end: int | None, delimiter: bytes, implicit: bool) -> None:
        self.end = end
        self.delimiter = delimiter
        self.implicit = implicit


def _enter(containers: list[_Container], container: _Container) -> None:
    if len(containers) >= _DEPTH:
        raise ObjectTooComplex("sequences are nested too deep")
    containers.append(container)


def _mark(out: bytearray, containers: list[_Container], element: int, length: int, position: int) -> None:
    """An item begins, or an item or sequence of undefined length ends."""
    if not containers:
        raise BadObject("an item outside of a sequence")
    if element == _ITEM:
        end = None if length == UNDEFINED else position + length
        _enter(containers, _Container(end, ITEM_END, containers[-1].implicit))
        out += ITEM_START
    elif element in (_ITEM_END, _SEQUENCE_END):
        out += containers.pop().delimiter
    else:
        raise BadObject("an element of group FFFE that is no item")


class _Source:
    """Takes bytes from pieces."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self.position = 0

    def take(self, count: int, *, may_end: bool = False) -> bytes:
        """The next bytes together; b"" if there are none and that is allowed."""
        taken = bytearray()
        while len(taken) < count:
            if not self._rest and not self._next():
                if may_end and not taken:
                    return b""
                raise TruncatedObject("the data set ends inside of an element")
            part = self._rest[: count - len(taken)]
            self._rest = self._rest[len(part) :]
            taken += part
        self.position += count
        return bytes(taken)

    def copy(self, count: int) -> Iterator[memoryview]:
        """The next bytes in pieces."""
        self.position += count
        while count:
            if not self._rest and not self._next():
                raise TruncatedObject("the data set ends inside of an element")
            part = self._rest[:count]
            self._rest = self._rest[len(part) :]
            count -= len(part)
            yield part

    def _next(self) -> bool:
        for piece in self._pieces:
            if len(piece):
                self._rest = memoryview(piece)
                return True
        return False
