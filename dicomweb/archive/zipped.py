"""A ZIP file as a stream (PKWARE APPNOTE 6.3): entries stored as they are, never deflated, since pixels do
not shrink and a length that is known beforehand is worth more; ZIP64 where a number needs it.

A ZIP holds the CRC-32 of each entry, which is not known before the entry has been read; it follows the entry
in a data descriptor, and stands in the directory at the end.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from dicomweb.deflate import crc32

_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = struct.Struct("<4s3L")
_DESCRIPTOR64 = struct.Struct("<4sL2Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_BIG, _MANY = 0xFFFFFFFF, 0xFFFF
_STREAMED = 0x0808  # general purpose bits 3 (data descriptor) and 11 (names in UTF-8)
_DAY = 0x21  # 1 January 1980: the same archive is the same bytes whenever it is made


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive: its name (`/` between folders), its size in bytes (None: what it comes to), and what
    yields it."""

    name: str
    size: int | None
    pieces: Callable[[], Iterable[bytes]]


def size_of(entries: Iterable[Entry]) -> int | None:
    """Return the size of the whole archive in bytes without reading any entry (4.3); None if an entry's is not
    known."""
    offset = directory = count = 0
    for entry in entries:
        if entry.size is None:
            return None
        big = entry.size >= _BIG
        name = len(entry.name.encode())
        extra = 20 if big else 0
        far = 8 * (2 * big + (offset >= _BIG))
        directory += _CENTRAL.size + name + (4 + far if far else 0)
        offset += _LOCAL.size + name + extra + entry.size + (_DESCRIPTOR64 if big else _DESCRIPTOR).size
        count += 1
    end = _END.size
    if count >= _MANY or offset >= _BIG or directory >= _BIG:
        end += _END64.size + _LOCATOR.size
    return offset + directory + end


def write(entries: Sequence[Entry] | Iterable[Entry]) -> Iterator[bytes]:
    """Yield the archive; entries are read one after the other, in pieces (4.3).

    Raises:
        Whatever reading an entry raises; ValueError if one yields another number of bytes than it said.
    """
    directory = bytearray()
    offset = count = 0
    for entry in entries:
        name = entry.name.encode()
        big = entry.size is None or entry.size >= _BIG
        version = 45 if big else 20
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if big else b""
        sizes = (_BIG, _BIG) if big else (0, 0)
        yield (_LOCAL.pack(b"PK\3\4", version, _STREAMED, 0, 0, _DAY, 0, *sizes, len(name), len(extra)) + name + extra)
        checksum = size = 0
        for piece in entry.pieces():
            checksum = crc32(piece, checksum)
            size += len(piece)
            yield piece
        if entry.size is not None and size != entry.size:
            raise ValueError("an entry of a ZIP file has another size than it said")
        descriptor = _DESCRIPTOR64 if big else _DESCRIPTOR
        yield descriptor.pack(b"PK\7\10", checksum, size, size)
        directory += _central(name, checksum, size, offset, version)
        offset += _LOCAL.size + len(name) + len(extra) + size + descriptor.size
        count += 1
    yield bytes(directory)
    yield _end(count, len(directory), offset)


def _central(name: bytes, checksum: int, size: int, offset: int, version: int) -> bytes:
    numbers = ([size, size] if size >= _BIG else []) + ([offset] if offset >= _BIG else [])
    extra = struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
    shown = min(size, _BIG)
    return (
        _CENTRAL.pack(
            b"PK\1\2", 3 << 8 | 45, 45 if numbers else version, _STREAMED, 0, 0, _DAY, checksum, shown, shown,
            len(name), len(extra), 0, 0, 0, 0o644 << 16, min(offset, _BIG),
        )
        + name
        + extra
    )  # fmt: skip


def _end(count: int, size: int, offset: int) -> bytes:
    plain = _END.pack(b"PK\5\6", 0, 0, min(count, _MANY), min(count, _MANY), min(size, _BIG), min(offset, _BIG), 0)
    if count < _MANY and offset < _BIG and size < _BIG:
        return plain
    record = _END64.pack(b"PK\6\6", _END64.size - 12, 45, 45, 0, 0, count, count, size, offset)
    return record + _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1) + plain
