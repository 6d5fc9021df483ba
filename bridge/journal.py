"""The journal of the spool: one sync makes an object durable, and those that come at the same time share it.

A file of its own costs two syncs, of it and of its folder, each of which waits for a commit of the file system. So
what comes is appended to a file that exists already; where several do so, whoever finds no sync under way does it for
all who have written. The objects lie beside as files too, which need no sync then: after a loss of power they are
made again from here.

A record is a header and a file: magic, state, CRC of number, size and file, number, size. The first one that is not
whole ends a journal; nothing behind it was acknowledged. Segments of limited size follow each other, and one is
removed when nothing in it is needed any more.
"""

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from bridge.gathering import write_all

_HEADER = struct.Struct("<8sB3xIQQ")
_CHECKED = struct.Struct("<QQ")
_MAGIC = b"RGSPOOL1"
_STATE = 8
"""Where the state stands in a record."""
_NEEDED, _DONE = 0, 1
_SEGMENT_BYTES = 32 << 20
SUFFIX = ".journal"


class _Segment:
    """A file of records, of which `needed` says where those that are needed begin, by number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        self.end = self.synced = 0
        self.syncing = False
        self.broken: OSError | None = None
        self.writers = 0
        self.needed: dict[int, int] = {}


class Journal:
    """Segments in a folder. Its methods may be called by any thread.

    Args:
        folder: which is there.
        segment_bytes: size from which on the next segment begins.
    """

    def __init__(self, folder: Path, segment_bytes: int = _SEGMENT_BYTES) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._lock = threading.Condition()
        self._segments: list[_Segment] = []
        self._places: dict[int, _Segment] = {}

    def append(self, number: int, pieces: Sequence[bytes]) -> None:
        """Write a file, and return when it is durable.

        Args:
            number: by which it is known; above all earlier ones.
            pieces: of the file.

        Raises:
            OSError: it cannot be written.
        """
        size = sum(map(len, pieces))
        check = zlib.crc32(_CHECKED.pack(number, size))
        for piece in pieces:
            check = zlib.crc32(piece, check)
        with self._lock:
            segment = self._open(number)
            start = segment.end
            try:
                header = _HEADER.pack(_MAGIC, _NEEDED, check, number, size)
                write_all(partial(os.writev, segment.file), [header, *pieces])
            except OSError:
                os.ftruncate(segment.file, start)
                os.lseek(segment.file, start, os.SEEK_SET)
                raise
            segment.end = end = start + _HEADER.size + size
            segment.needed[number] = start
            self._places[number] = segment
            segment.writers += 1
            try:
                self._sync(segment, end)
            except OSError:
                self._forget(number)
                raise
            finally:
                segment.writers -= 1
                self._lock.notify_all()

    def _open(self, number: int) -> _Segment:
        """The segment that is written to; another one where it is full, and made durable before it is used."""
        last = self._segments[-1] if self._segments else None
        if last is not None and last.end < self._segment_bytes and last.broken is None:
            return last
        segment = _Segment(self._folder / f"{number:016d}{SUFFIX}")
        try:
            sync(self._folder)
        except OSError:
            os.close(segment.file)
            segment.path.unlink(missing_ok=True)
            raise
        self._segments.append(segment)
        self._tidy()
        return segment

    def _sync(self, segment: _Segment, end: int) -> None:
        """Return when a segment is durable up to a place; syncs it unless another thread is at it."""
        while segment.synced < end:
            if segment.broken is not None:
                raise OSError(segment.broken.errno, segment.broken.strerror)
            if segment.syncing:
                self._lock.wait()
                continue
            segment.syncing = True
            written = segment.end
            self._lock.release()
            try:
                problem = _data_sync(segment.file)
            finally:
                self._lock.acquire()
                segment.syncing = False
                self._lock.notify_all()
            if problem is not None:  # what a failed sync has left behind, no later one tells (fsync(2))
                segment.broken = problem
            else:
                segment.synced = written

    def done(self, number: int) -> None:
        """Forget a file: it is delivered, or durable elsewhere. One that is not known here is none."""
        with self._lock:
            self._forget(number)
            self._tidy()

    def _forget(self, number: int) -> None:
        segment = self._places.pop(number, None)
        if segment is not None:
            place = segment.needed.pop(number) + _STATE
            with contextlib.suppress(OSError):  # it would be delivered twice
                os.pwrite(segment.file, bytes((_DONE,)), place)

    def _tidy(self) -> None:
        """Remove full segments that nobody needs."""
        for segment in self._segments[:-1]:
            if not segment.needed and not segment.writers:
                self._segments.remove(segment)
                segment.path.unlink(missing_ok=True)
                os.close(segment.file)

    def needed(self, full: bool = False) -> list[int]:
        """Return the numbers of what is needed; if `full`, of that for whose sake full segments stay."""
        with self._lock:
            segments = self._segments[:-1] if full else self._segments
            return [number for segment in segments for number in segment.needed]

    def close(self) -> None:
        """Close when all that is being written is durable; what is needed stays."""
        with self._lock:
            self._lock.wait_for(lambda: not any(segment.writers for segment in self._segments))
            for segment in self._segments:
                os.close(segment.file)
                if not segment.needed:
                    segment.path.unlink(missing_ok=True)
            self._segments = []
            self._places = {}


def replay(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each file of a segment that is needed."""
    with path.open("rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            magic, state, check, number, size = _HEADER.unpack(header)
            left = os.fstat(file.fileno()).st_size - file.tell()
            if magic != _MAGIC or size > left:
                return
            content = file.read(size)
            if zlib.crc32(content, zlib.crc32(_CHECKED.pack(number, size))) != check:
                return
            if state == _NEEDED:
                yield number, content


def sync(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _data_sync(file: int) -> OSError | None:
    try:
        (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(file)
    except OSError as error:
        return error
    return None
