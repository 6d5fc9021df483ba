"""What a retrieval hands out: bytes described before they are read.

A Content says what one thing is (an instance, a frame, a bulk value) and of which pieces it is made; its size
is known before anything is read, so that an answer can state its length, serve a byte range and be compared
with what the client holds (RFC 9110 13, 14) without touching storage.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from dicomweb.deflate import crc32
from dicomweb.errors import Corrupt
from dicomweb.storage import Storage

CHUNK = 1 << 20
"""Largest number of bytes handed over at once, unless one made piece is larger."""

BATCH = 2 << 20
"""Bytes that are made at a time for a body that is streamed."""

log = logging.getLogger(__name__)

_SHORTER = "a stored object is shorter than it was when it was stored"
_READ_WHOLE = 2 << 20
_SMALL = 32 << 10
_JOINED = 256 << 10


class Stretch(NamedTuple):
    """Bytes [start, stop) of a stored object."""

    key: str
    start: int
    stop: int


class Made(NamedTuple):
    """Bytes that must be computed, how many they will be, and what yields bytes [start, stop) of them."""

    size: int
    make: Callable[[int, int], Iterable[bytes]]


class Unsized(NamedTuple):
    """Bytes whose number is known only when they are made, and what yields all of them."""

    make: Callable[[], Iterable[bytes]]


Segment: TypeAlias = bytes | Stretch | Made | Unsized


class Content(NamedTuple):
    """One thing to send.

    Attributes:
        media_type: without parameters, such as "application/dicom".
        syntax: transfer syntax UID of what is sent, or "" where it says nothing.
        location: its URL below the DICOMweb root, such as "studies/1.2/series/...", or "".
        segments: its bytes, in order.
        size: bytes of all segments, or None where one of them is Unsized.
        name: proposed file name, or "".
    """

    media_type: str
    syntax: str
    location: str
    segments: tuple[Segment, ...]
    size: int | None
    name: str = ""


def size_of(segment: bytes | Stretch | Made) -> int:
    """Return the size of a segment in bytes."""
    if isinstance(segment, bytes):
        return len(segment)
    if isinstance(segment, Stretch):
        return segment.stop - segment.start
    return segment.size


def total(segments: Iterable[Segment]) -> int | None:
    """Return the size of all segments in bytes, or None if one of them does not know its own."""
    size = 0
    for segment in segments:
        if isinstance(segment, Unsized):
            return None
        size += size_of(segment)
    return size


def read(storage: Storage, segments: Iterable[Segment], start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Yield bytes [start, stop) of the segments put together, as they come: pieces of up to `CHUNK` bytes. Where a
    segment is Unsized, all of them.

    Raises:
        NotFound, Unavailable: storage has lost an object or does not answer.
        Corrupt: an object is shorter than it was.
    """
    left = start
    wanted = None if stop is None else stop - start
    for segment in segments:
        if wanted is not None and wanted <= 0:
            return
        if isinstance(segment, Unsized):
            yield from segment.make()
            continue
        size = size_of(segment)
        if left >= size:
            left -= size
            continue
        first, left = left, 0
        last = size if wanted is None else min(size, first + wanted)
        if wanted is not None:
            wanted -= last - first
        yield from _read_one(storage, segment, first, last)


def whole(storage: Storage, segments: tuple[Segment, ...]) -> bytes:
    """Return all that segments have; a single stretch is read by one call, and not put together of pieces.

    Raises:
        NotFound, Unavailable, Corrupt: as `read`.
    """
    if len(segments) == 1 and isinstance(segments[0], Stretch):
        key, start, stop = segments[0]
        data = storage.read(key, start, stop)
        if len(data) < stop - start:
            raise Corrupt(_SHORTER)
        return data
    return b"".join(read(storage, segments))


def _read_one(storage: Storage, segment: bytes | Stretch | Made, first: int, last: int) -> Iterator[bytes]:
    """Yield bytes [first, last) of one segment."""
    if isinstance(segment, bytes):
        yield segment if last - first == len(segment) else segment[first:last]
    elif isinstance(segment, Stretch):
        start, stop = segment.start + first, segment.start + last
        left = stop - start
        if left <= _READ_WHOLE:
            data = storage.read(segment.key, start, stop)
            left -= len(data)
            yield data
        else:
            for data in storage.stream(segment.key, start, stop, CHUNK):
                left -= len(data)
                yield data
        if left:
            raise Corrupt(_SHORTER)
    else:
        yield from segment.make(first, last)


def compared(storage: Storage, stretches: tuple[Stretch, ...], checksum: int) -> Made:
    """Return what is read from a remote storage as bytes that are compared with their CRC-32 if all of them are wanted:
    the last piece leaves only after that, so that what came wrong never looks whole."""
    size = sum(map(size_of, stretches))

    def proven() -> Iterator[bytes]:
        found, waiting = 0, b""
        for piece in read(storage, stretches):
            if waiting:
                yield waiting
            found = crc32(piece, found)
            waiting = piece
        if found != checksum:
            log.error("other bytes came from %s than were stored", stretches[0].key)
            raise Corrupt("the stored bytes of an instance are not those that were stored")
        yield waiting

    def make(start: int, stop: int) -> Iterator[bytes]:
        return proven() if (start, stop) == (0, size) else read(storage, stretches, start, stop)

    return Made(size, make)


def gather(pieces: Iterable[bytes], batch: int = BATCH) -> Iterator[list[bytes]]:
    """Put pieces into batches of about so many bytes, each made by one visit to a thread. Small pieces are
    joined with small neighbours; large ones stay as they are, since copying them costs more than handing over
    one piece more."""
    ready: list[bytes] = []
    small: list[bytes] = []
    size = small_size = 0
    for piece in pieces:
        size += len(piece)
        if len(piece) < _SMALL:
            small.append(piece)
            small_size += len(piece)
        if small and (len(piece) >= _SMALL or small_size >= _JOINED or size >= batch):
            ready.append(small[0] if len(small) == 1 else b"".join(small))
            small, small_size = [], 0
        if len(piece) >= _SMALL:
            ready.append(piece)
        if size >= batch:
            yield ready
            ready, size = [], 0
    if small:
        ready.append(b"".join(small))
    if ready:
        yield ready
