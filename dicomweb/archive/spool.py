"""Where incoming bytes wait until they are stored: hashed and counted as they arrive, in memory while they
are few, in a file of their own once they are many, so that memory does not grow with the object."""

import contextlib
import errno
import hashlib
import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dicomweb.errors import OutOfSpace, TooLarge, Unavailable
from dicomweb.index import owners

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORGOTTEN = 86_400


@dataclass(frozen=True, slots=True)
class Upload:
    """One object that has arrived whole.

    Attributes:
        body: its bytes, or the spool file that holds them; whoever stores it may move the file away.
        size: bytes.
        sha256: digest of the bytes (32 bytes).
    """

    body: bytes | Path
    size: int
    sha256: bytes

    def open(self) -> contextlib.AbstractContextManager[bytes | mmap.mmap]:
        """Give the bytes as a buffer; a spool file is mapped, not read."""
        if isinstance(self.body, bytes):
            return contextlib.nullcontext(self.body)
        if self.size == 0:
            return contextlib.nullcontext(b"")
        return _mapped(self.body)

    def discard(self) -> None:
        """Remove the spool file, if there still is one."""
        if isinstance(self.body, Path):
            self.body.unlink(missing_ok=True)


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        yield mapped


class Spool:
    """A folder for what is on its way in.

    Args:
        folder: made when first needed; on the file system of a file store, so that files can be moved.
        memory: bytes of one object that are held in memory at most.
        largest: bytes of one object at most; None is no limit.
    """

    def __init__(self, folder: Path, memory: int = 1 << 20, largest: int | None = None) -> None:
        self.folder = folder
        self.memory = memory
        self.largest = largest

    def receive(self, memory: int | None = None) -> "Reception":
        """Begin to receive one object, with so many bytes in memory at most; None is what the spool has."""
        return Reception(self, self.memory if memory is None else memory)

    def take(self, pieces: Iterable[bytes]) -> Upload:
        """Receive one object whole.

        Raises:
            TooLarge, OutOfSpace, Unavailable: as `Reception.write`.
            Whatever the pieces raise.
        """
        reception = self.receive()
        try:
            for piece in pieces:
                reception.write(piece)
        except BaseException:
            reception.discard()
            raise
        return reception.finish()

    def scratch(self) -> Path:
        """Make an empty file here and return its path; the caller removes or moves it.

        Raises:
            OutOfSpace, Unavailable: the file cannot be made.
        """
        with _translated():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=_owner(os.getpid()), suffix=".part", dir=self.folder)
            os.close(handle)
        return Path(name)

    @contextlib.contextmanager
    def scratches(self) -> Iterator[Callable[[], "Scratch"]]:
        """Give a function that makes places for inflated data sets; they are gone when the block ends."""
        made: list[Scratch] = []

        def make() -> Scratch:
            made.append(Scratch(self.receive()))
            return made[-1]

        try:
            yield make
        finally:
            for scratch in made:
                scratch.close()

    def sweep(self) -> int:
        """Remove files of processes that live no more, and those of other machines that nobody has touched
        for a day; return how many."""
        removed = 0
        for path in self.folder.glob("*.part"):
            with contextlib.suppress(FileNotFoundError):
                alive = owners.is_alive(path.name.rpartition("@")[0].replace("@", ":"))
                if alive is False or (alive is None and path.stat().st_mtime < time.time() - _FORGOTTEN):
                    path.unlink()
                    removed += 1
        return removed


class Reception:
    """One object while it arrives. Ends in `finish` or in `discard`."""

    def __init__(self, spool: Spool, memory: int) -> None:
        self._spool = spool
        self._memory = memory
        self._digest = hashlib.sha256()
        self._chunks: list[bytes | memoryview] = []
        self._file: int | None = None
        self._path: Path | None = None
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            TooLarge: the object is above the limit.
            OutOfSpace, Unavailable: the spool cannot take them.
        """
        self.size += len(data)
        if self._spool.largest is not None and self.size > self._spool.largest:
            raise TooLarge(f"one object is larger than the limit of {self._spool.largest:,} bytes")
        self._digest.update(data)
        if self._file is None and self.size <= self._memory:
            # A view of bytes can wait as it is: nobody changes them. They are joined at the end, so copied once.
            whole = isinstance(data, bytes) or isinstance(data.obj, bytes)
            self._chunks.append(data if whole else bytes(data))
            return
        with _translated():
            if self._file is None:
                self._path = self._spool.scratch()
                self._file = os.open(self._path, os.O_WRONLY)
                for chunk in self._chunks:
                    _write_all(self._file, chunk)
                self._chunks.clear()
            _write_all(self._file, data)

    def finish(self) -> Upload:
        """Return what has arrived."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
            assert self._path is not None
            return Upload(self._path, self.size, self._digest.digest())
        first = self._chunks[0] if len(self._chunks) == 1 else None
        body = first if isinstance(first, bytes) else b"".join(self._chunks)
        self._chunks.clear()
        return Upload(body, self.size, self._digest.digest())

    def discard(self) -> None:
        """Forget what has arrived."""
        self._chunks.clear()
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class Scratch:
    """Bytes that are written once and then looked at, in memory while they are few."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._upload: Upload | None = None
        self._mapped: mmap.mmap | None = None

    def write(self, data: bytes, /) -> None:
        """Append bytes."""
        self._reception.write(data)

    def getbuffer(self) -> bytes | mmap.mmap:
        """Return what was written, as a buffer that is good until `close`."""
        self._upload = self._upload or self._reception.finish()
        if isinstance(self._upload.body, bytes):
            return self._upload.body
        if self._mapped is None:
            with self._upload.body.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._mapped

    def close(self) -> None:
        """Forget the bytes."""
        if self._mapped is not None:
            self._mapped.close()
        if self._upload is not None:
            self._upload.discard()
        else:
            self._reception.discard()


@lru_cache(maxsize=4)
def _owner(_: int) -> str:
    """How names of this process's files begin; the number of the process alone would not tell it from an
    earlier one, which in a container often had the same."""
    return owners.this_process().replace(":", "@") + "@"


def _write_all(file: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutOfSpace("there is no room left where incoming objects are kept") from error
        raise Unavailable("the folder for incoming objects cannot be written") from error
