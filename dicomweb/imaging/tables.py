"""Lookup tables: of the modality, of the VOI and of presentation (PS3.3 C.11.1, C.11.2, C.11.6), and palettes
(PS3.3 C.7.6.3.1.5, C.7.9), read from a data set. No numpy, see `described`.

Real tables are shorter or longer than described, have 8 bits in words of 16, or say 16 bits and use 8. A table
that holds at least one entry is used: what lies above its last entry has the last one (PS3.3 C.11.1.1).
"""

import struct
import sys
from array import array
from typing import NamedTuple

from dicomweb.imaging.described import Fetch, binary, text, values
from dicomweb.standard.leniency import Dataset

DESCRIPTOR, EXPLANATION, DATA = "00283002", "00283003", "00283006"

_LARGEST = 65536
_MOST_CODES = 4 * _LARGEST
# PS3.3 C.7.6.3.1.5, C.7.9.2: descriptor, data and segmented data of red, green and blue
_PALETTE = (
    ("00281101", "00281201", "00281221"),
    ("00281102", "00281202", "00281222"),
    ("00281103", "00281203", "00281223"),
)


class Table(NamedTuple):
    """A lookup table.

    Attributes:
        first: the input that its first entry stands for.
        entries: numbers of 16 bits, little endian; at least one.
        top: the largest output that it may have.
        explanation: for people; "" where it is not said.
    """

    first: int
    entries: bytes
    top: int
    explanation: str = ""

    @property
    def size(self) -> int:
        """Number of entries."""
        return len(self.entries) // 2


class Palette(NamedTuple):
    """Colours by pixel value.

    Attributes:
        first: the pixel value of the first colour.
        red, green, blue: a byte for each colour, all equally many, at least one.
    """

    first: int
    red: bytes
    green: bytes
    blue: bytes


def read_table(item: Dataset, signed: bool, fetch: Fetch) -> Table | None:
    """Read a table (PS3.3 C.11.1.1, C.11.2.1.1).

    Args:
        item: of a Modality LUT, VOI LUT or Presentation LUT Sequence.
        signed: whether its inputs may be negative, which decides how the first mapped value is read.
        fetch: for data that are bulk.

    Returns:
        None where there are no entries.
    """
    described = _descriptor(item, DESCRIPTOR, signed)
    data = binary(item, DATA, fetch)
    if described is None or not data:
        return None
    count, first, bits = described
    entries = _numbers(data, count, bits)
    top = max(entries)
    if not 8 <= bits <= 16 or top >= 1 << bits:
        bits = max(8, top.bit_length())
    return Table(first, _little(entries), (1 << bits) - 1, text(item, EXPLANATION))


def read_palette(dataset: Dataset, signed: bool, fetch: Fetch) -> Palette | None:
    """Read a palette, also a segmented one (PS3.3 C.7.6.3.1.5, C.7.9.2).

    Args:
        dataset: holds descriptors and data of the three colours.
        signed: whether pixel values are.
        fetch: for data that are bulk.

    Returns:
        None where a colour has no entries.
    """
    first = 0
    colours: list[array[int]] = []
    widths: list[int] = []
    for place, (descriptor, data, segmented) in enumerate(_PALETTE):
        described = _descriptor(dataset, descriptor, signed)
        if described is None:
            return None
        count, start, bits = described
        first = start if place == 0 else first
        if content := binary(dataset, data, fetch):
            entries = _numbers(content, count, bits)
        elif content := binary(dataset, segmented, fetch):
            entries = _expanded(content, count, bits)
        else:
            return None
        if not entries:
            return None
        colours.append(entries)
        widths.append(bits)
    # Some say 16 bits and have 8, some have 8 in the upper half of 16
    deep = max(max(entries) for entries in colours) > 0xFF
    count = max(map(len, colours))
    red, green, blue = (_bytes(entries, deep, count) for entries in colours)
    return Palette(first, red, green, blue)


def _descriptor(dataset: Dataset, tag: str, signed: bool) -> tuple[int, int, int] | None:
    """Number of entries, first input, bits (PS3.3 C.11.1.1; D-161); the VR may be wrong."""
    numbers = values(dataset, tag)
    if len(numbers) < 3 or not all(isinstance(number, int) for number in numbers[:3]):
        raw = binary(dataset, tag, lambda path: b"")
        if len(raw) < 6:
            return None
        numbers = list(struct.unpack_from("<HHH", raw))
    count, first, bits = (number & 0xFFFF for number in numbers[:3])
    if signed and first >= 0x8000:
        first -= 0x10000
    return count or _LARGEST, first, bits


def _numbers(data: bytes, count: int, bits: int) -> "array[int]":
    """As many entries as described, or as there are; a byte each where they have 8 bits and there are no more."""
    if bits <= 8 and len(data) < 2 * count and len(data) in (count, count + 1):
        return array("H", list(data[:count]))
    return _words(data[: 2 * count] if len(data) > 1 else data + b"\0")


def _words(data: bytes) -> "array[int]":
    entries = array("H", data[: len(data) & ~1])
    if sys.byteorder == "big":
        entries.byteswap()
    return entries


def _little(entries: "array[int]") -> bytes:
    if sys.byteorder == "big":
        entries = entries[:]
        entries.byteswap()
    return entries.tobytes()


def _bytes(entries: "array[int]", deep: bool, count: int) -> bytes:
    found = _little(entries)[1 if deep else 0 :: 2]
    return found + found[-1:] * (count - len(found))


def _expanded(data: bytes, count: int, bits: int) -> "array[int]":
    """Expand segments (PS3.3 C.7.9.2) of bytes or of words, whichever gives the number that is described."""
    widths = (1, 2) if bits <= 8 else (2, 1)
    tries = [_segments(array("B", data) if width == 1 else _words(data), width) for width in widths]
    return next((entries for entries in tries if len(entries) == count), max(tries, key=len))[:count]


def _segments(codes: "array[int]", width: int) -> "array[int]":
    entries: array[int] = array("H")
    starts: set[int] = set()
    codes = codes[:_MOST_CODES]
    place = 0
    while place < len(codes) and len(entries) < _LARGEST:
        starts.add(place)
        if codes[place] == 2:
            place = _indirect(codes, place, width, starts, entries)
        else:
            place = _segment(codes, place, entries)
    return entries


def _segment(codes: "array[int]", place: int, entries: "array[int]") -> int:
    """Expand one discrete or linear segment, and say where the next begins; the end, where it makes no sense."""
    if place + 2 >= len(codes) or codes[place] > 1:
        return len(codes)
    opcode, length = codes[place], codes[place + 1]
    if opcode == 0:
        entries.extend(array("H", list(codes[place + 2 : place + 2 + length])))
        return place + 2 + length
    start, end = entries[-1] if entries else 0, codes[place + 2]
    entries.extend(round(start + (end - start) * step / length) for step in range(1, length + 1))
    return place + 3


def _indirect(codes: "array[int]", place: int, width: int, starts: set[int], entries: "array[int]") -> int:
    """Repeat segments that came before: their number, and the offset in bytes of the first."""
    size = 4 // width
    offset = codes[place + 2 : place + 2 + size]
    if len(offset) < size:
        return len(codes)
    again = sum(part << 8 * width * index for index, part in enumerate(offset)) // width
    for _ in range(codes[place + 1]):
        before = len(entries)
        if again not in starts or codes[again] == 2 or before >= _LARGEST:
            break
        again = _segment(codes, again, entries)
        if len(entries) == before:
            break
    return place + 2 + size
