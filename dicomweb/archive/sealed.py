"""The metadata of many instances as one JSON array, compressed once and kept (PS3.18 10.4.3.3.2).

Instances are taken in groups of a series. A group becomes a Seal: raw deflate blocks (RFC 1951) that begin
and end at byte borders and refer to nothing outside, so that any number of seals, with brackets and commas
as stored blocks between them, make one gzip stream (RFC 1952) of one member, which every browser reads. A
seal is named by the versions in it and the base URL of the BulkDataURIs, so it is never out of date, and a
series that grows has only its last group sealed again.
"""

import itertools
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

from dicomweb.archive.caches import Cache
from dicomweb.index import Held, Index
from dicomweb.standard import dicomjson

GROUP = 256
"""Most instances in one seal."""

_LEVEL = 3
_FETCH = 4 << 20
"""Bytes of metadata that are fetched from the index at a time, as far as that can be foreseen."""
_POLYNOMIAL = 0xEDB88320
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class Seal(NamedTuple):
    """A compressed text that can stand next to others.

    Attributes:
        blocks: raw deflate blocks, none of them the final one, ending at a byte border.
        checksum: CRC-32 of the text.
        size: bytes of the text.
        shift: what joins the text to one before it, see `_shift`.
    """

    blocks: bytes
    checksum: int
    size: int
    shift: int


def seal(pieces: Iterable[bytes]) -> Seal:
    """Compress a text that comes in pieces (RFC 1951 3.2)."""
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    blocks = []
    checksum = size = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
        size += len(piece)
        blocks.append(deflate.compress(piece))
    blocks.append(deflate.flush(zlib.Z_FULL_FLUSH))
    return Seal(b"".join(blocks), checksum, size, _shift(size))


def literal(text: bytes) -> Seal:
    """A short text as one stored block (RFC 1951 3.2.4)."""
    head = struct.pack("<BHH", 0, len(text), len(text) ^ 0xFFFF)
    return Seal(head + text, zlib.crc32(text), len(text), _shift(len(text)))


def unseal(one: Seal) -> Iterator[bytes]:
    """Yield the text of a seal in pieces."""
    inflate = zlib.decompressobj(-15)
    data = one.blocks
    while data:
        yield inflate.decompress(data, 1 << 20)
        data = inflate.unconsumed_tail


def gzipped(seals: Iterable[Seal]) -> Iterator[bytes]:
    """Yield one gzip stream of the texts put together (RFC 1952 2.3)."""
    yield _HEADER
    checksum = size = 0
    for one in seals:
        yield one.blocks
        checksum = _multiply(one.shift, checksum) ^ one.checksum
        size += one.size
    yield struct.pack("<BHHLL", 1, 0, 0xFFFF, checksum, size & 0xFFFFFFFF)


def plain(seals: Iterable[Seal]) -> Iterator[bytes]:
    """Yield the texts themselves."""
    for one in seals:
        yield from unseal(one)


def array(seals: Iterable[Seal]) -> Iterator[Seal]:
    """Put brackets around and commas between."""
    yield OPEN
    for number, one in enumerate(seals):
        if number:
            yield COMMA
        yield one
    yield CLOSE


class Sealer:
    """Makes seals from the index's metadata and keeps those used last.

    Args:
        index: where metadata comes from.
        keep: bytes of seals in memory.
    """

    def __init__(self, index: Index, keep: int) -> None:
        self._index = index
        self._cache: Cache[tuple[str, bytes], Seal] = Cache(keep)

    def seals(self, members: Sequence[Held], write_url: Callable[[Held], str], base: str) -> Iterator[Seal]:
        """Yield the seals of these instances, in their order, each made when it is its turn.

        Args:
            members: ordered by series.
            write_url: makes an instance's URL, which `base` and its UIDs decide.
            base: base URL of the DICOMweb services.

        Raises:
            NotFound: an instance was deleted meanwhile.
            Unavailable: the index does not answer.
        """
        for group in groups(members):
            key = (base, names(group))
            found = self._cache.get(key)
            if found is None:
                found = seal(self.texts(group, write_url))
                self._cache.put(key, found, len(found.blocks) + len(base))
            yield found

    def ready(self, members: Sequence[Held], base: str) -> bool:
        """Say whether all seals of these instances are at hand."""
        return all(self._cache.get((base, names(group))) is not None for group in groups(members))

    def texts(self, group: Sequence[Held], write_url: Callable[[Held], str]) -> Iterator[bytes]:
        """Yield the metadata of instances with commas between, fetched in batches whose size follows what the
        last batch came to: enhanced objects have megabytes of it each, others a few kilobytes.

        Raises:
            NotFound, Unavailable: as `seals`.
        """
        place, count = 0, min(len(group), 64)
        if len(group) == 1 or group[0].size > _FETCH:
            count = 1
        while place < len(group):
            batch = group[place : place + count]
            texts = self._index.metadata([held.version for held in batch])
            for held, text in zip(batch, texts, strict=True):
                if place:
                    yield b","
                yield dicomjson.absolute(text, write_url(held))
                place += 1
            mean = sum(map(len, texts)) // len(texts) + 1
            count = max(1, min(_FETCH // mean, GROUP))


def groups(members: Sequence[Held]) -> Iterator[Sequence[Held]]:
    """Cut instances into groups of one series each, of at most `GROUP`."""
    for _, series in itertools.groupby(members, key=lambda held: held.series):
        whole = list(series)
        for place in range(0, len(whole), GROUP):
            yield whole[place : place + GROUP]


def names(members: Sequence[Held]) -> bytes:
    """Name a list of versions: the same name is the same versions in the same order."""
    versions = struct.pack(f"<{len(members)}q", *[held.version for held in members])
    return blake2b(versions, digest_size=16).digest()


# -- CRC-32 of texts put together (as zlib's crc32_combine) --------------------------------------------------
# A CRC is a remainder of polynomials over two elements; a text put behind another multiplies the first one's
# by x to the number of bits of the second.


def _multiply(left: int, right: int) -> int:
    """Multiply two remainders; the highest power stands in the lowest bit."""
    product = 0
    mask = 1 << 31
    while mask:
        if left & mask:
            product ^= right
        right = right >> 1 ^ (_POLYNOMIAL if right & 1 else 0)
        mask >>= 1
    return product


def _powers() -> tuple[int, ...]:
    power = 1 << 23  # x to the 8: one byte
    found = []
    for _ in range(64):
        found.append(power)
        power = _multiply(power, power)
    return tuple(found)


_POWERS = _powers()


def _shift(size: int) -> int:
    """x to the number of bits in `size` bytes."""
    product = 1 << 31
    for bit in range(size.bit_length()):
        if size >> bit & 1:
            product = _multiply(_POWERS[bit], product)
    return product


OPEN, COMMA, CLOSE = literal(b"["), literal(b","), literal(b"]")
