"""Results that cost much to make or to fetch, kept: in memory and in files, bounded, and made once on this machine.

Whoever asks for a result first makes it; all others who ask meanwhile wait for it, in this process and in the other
web processes of the machine, which share the folder. A name says all that decides about the bytes (a version, a
digest, a form), so nothing kept is ever out of date, and everything may be removed at any time. It begins with the
digest of the object that the result shows, up to a space, and the result goes when the object does. Failures are
remembered for a short time, so that a hundred viewers who ask for what cannot be made cost one attempt.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import secrets
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from dicomweb.archive.caches import Cache
from dicomweb.archive.flights import Flights
from dicomweb.archive.room import free_bytes
from dicomweb.deflate import crc32
from dicomweb.errors import Undecodable
from dicomweb.index import Held
from dicomweb.telemetry.measures import Tally

KEPT = Tally(
    "roentgate_image_cache_total", "Images transcoded, drawn or kept near by where they came from.", ("source",)
)

LOCKS = 256
"""Lock files: two results that have to be made at the same time rarely share one."""
REMEMBERED = 60.0
"""Seconds for which a failure is remembered."""
_FAILURES = 1024
_RECENT = 300.0
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_HEAD = struct.Struct("<QI")  # length and CRC-32, since files are not synced

log = logging.getLogger(__name__)


class Section:
    """The part of the shelf that shows the objects of one archive.

    Args:
        shelf: which may have sections of other archives too.
        known: returns those of some versions that the archive still has rows of; see `Index.known`.
    """

    def __init__(self, shelf: "Shelf", known: Callable[[list[int]], set[int]]) -> None:
        self._shelf = shelf
        self._known = known

    @property
    def largest(self) -> int:
        """Bytes of the largest result that memory keeps."""
        return self._shelf.largest

    def find(self, held: Held, form: str) -> bytes | None:
        """Return a result that is in memory, or None; see `get`."""
        return self._shelf.find(_name(held, form))

    def look(self, held: Held, form: str) -> bytes | None:
        """Return a result that is in memory or in a file, or None; see `get`. Blocks."""
        return self._shelf.look(_name(held, form))

    def get(self, held: Held, form: str, make: Callable[[], bytes], files: bool = True) -> bytes:
        """Return a result; make it if it is not there. Blocks.

        The sweep drops the rows of a removed object, then what shows it. So whoever keeps a result and finds the row
        there afterwards knows that the result will go with it.

        Args:
            held: what it shows.
            form: says all else that decides about the bytes.
            make: makes them.
            files: see `Shelf.get`.

        Raises:
            As `Shelf.get`.
        """
        made = False

        def making() -> bytes:
            nonlocal made
            made = True
            return make()

        result = self._shelf.get(_name(held, form), making, files)
        if made and files and not self._known([held.version]):
            self._shelf.forget([held.digest.hex()])
        return result


def _name(held: Held, form: str) -> str:
    return f"{held.digest.hex()} {form}"


class Shelf:
    """Results by name.

    Args:
        folder: for files and locks; made when first needed.
        memory: bytes kept in memory.
        disk: bytes kept in files, exceeded by an eighth at most by each process that writes there; 0 keeps none.
        floor: bytes that stay free on the folder's disk; below it nothing is written.
    """

    def __init__(self, folder: Path, memory: int, disk: int, floor: int = 0) -> None:
        self._folder = folder
        self._memory: Cache[str, bytes] = Cache(memory)
        self._disk = disk
        self._floor = floor
        self._lock = threading.Lock()
        self._flights: Flights[str, bytes] = Flights()
        self._failures: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._written = disk  # so that the first file looks at what earlier processes left

    @property
    def largest(self) -> int:
        """Bytes of the largest result that memory keeps."""
        return self._memory.largest

    def find(self, name: str) -> bytes | None:
        """Return a result that is in memory, or None."""
        found = self._memory.get(name)
        if found is not None:
            KEPT.add(("memory",))
        return found

    def look(self, name: str) -> bytes | None:
        """Return a result that is in memory or in a file, or None. Blocks."""
        found = self.find(name)
        if found is None and self._disk:
            with contextlib.suppress(OSError):
                found = self._read_kept(self._path(name)[0])
                self._memory.put(name, found, len(found))
        return found

    def get(self, name: str, make: Callable[[], bytes], files: bool = True) -> bytes:
        """Return a result; make it if it is not there. Blocks.

        Args:
            name: says all that decides about the bytes, first of all the digest of the object that they show.
            make: makes them.
            files: False where making them costs no more than a file: then memory alone keeps them.

        Raises:
            Undecodable: it cannot be made, now or a short while ago.
            Whatever else making it raises.
        """
        found = self.find(name)
        if found is not None:
            return found
        self._check_failed(name)
        return self._flights.join(name, lambda: self._get(name, make, files))

    def _get(self, name: str, make: Callable[[], bytes], files: bool) -> bytes:
        try:
            result = self._found_or_made(name, make, files)
        except Undecodable as error:
            self._remember(name, error)
            raise
        self._memory.put(name, result, len(result))
        return result

    def forget(self, digests: Collection[str]) -> None:
        """Remove the results that show these objects, from the memory of this process and from the folder."""
        gone = set(digests)
        self._memory.drop(lambda name: name.partition(" ")[0] in gone)
        for digest in gone:
            folder, beginning = self._place(digest)
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(beginning):
                        with contextlib.suppress(FileNotFoundError):  # another process was first
                            os.unlink(entry.path)

    def _place(self, digest: str) -> tuple[Path, str]:
        """The folder of the results of an object, and how their names begin."""
        hashed = hashlib.sha256(digest.encode()).hexdigest()
        return self._folder / hashed[:2], f"{hashed[2:34]}-"

    # -- failures ----------------------------------------------------------------------------------------
    def _check_failed(self, name: str) -> None:
        failure = self._failures.get(name)
        if failure is not None and time.monotonic() - failure[0] < REMEMBERED:
            raise Undecodable(failure[1])

    def _remember(self, name: str, error: Undecodable) -> None:
        with self._lock:
            self._failures[name] = (time.monotonic(), str(error))
            while len(self._failures) > _FAILURES:
                self._failures.popitem(last=False)

    # -- files -------------------------------------------------------------------------------------------
    def _found_or_made(self, name: str, make: Callable[[], bytes], files: bool) -> bytes:
        if not files or not self._disk:
            KEPT.add(("made",))
            return make()
        path, number = self._path(name)
        with contextlib.suppress(OSError):
            return self._read_kept(path)
        with self._alone(number):
            with contextlib.suppress(OSError):
                return self._read_kept(path)
            KEPT.add(("made",))
            result = make()
            try:
                self._write(path, result)
            except OSError as error:
                log.warning("a result cannot be kept in the cache folder: %s", error.strerror)
            return result

    def _path(self, name: str) -> tuple[Path, int]:
        """The file of a result, and the number of its lock."""
        digest = hashlib.sha256(name.encode()).hexdigest()
        folder, beginning = self._place(name.partition(" ")[0])
        return folder / (beginning + digest[:32]), int(digest[:8], 16) % LOCKS

    def _read_kept(self, path: Path) -> bytes:
        result = self._read(path)
        KEPT.add(("disk",))
        return result

    def _read(self, path: Path) -> bytes:
        """Read a result; one that was used lately is not the first to go."""
        with path.open("rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > _RECENT:
                with contextlib.suppress(OSError):
                    os.utime(path)
            size, checksum = _HEAD.unpack(file.read(_HEAD.size).ljust(_HEAD.size))
            result = file.read()
        if len(result) != size or crc32(result) != checksum:
            raise OSError("half written")
        return result

    @contextlib.contextmanager
    def _alone(self, number: int) -> Iterator[None]:
        """Be the only one of this machine who makes what this lock stands for. Whoever dies lets go of it."""
        with contextlib.ExitStack() as held:
            with contextlib.suppress(OSError):  # no folder, or one that knows no locks: made twice at worst
                handle = self._open_lock(number)
                held.callback(os.close, handle)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _open_lock(self, number: int) -> int:
        path, flags = f"{self._folder}/{number:02x}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, flags, 0o600)

    def _write(self, path: Path, result: bytes) -> None:
        free = free_bytes(str(self._folder)) if self._floor else None
        if len(result) > self._disk >> 3 or (free is not None and free - len(result) < self._floor):
            return
        name = f"{path.parent}/making-{secrets.token_hex(8)}"
        try:
            handle = os.open(name, _NEW, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(name, _NEW, 0o600)
        try:
            try:
                head = _HEAD.pack(len(result), crc32(result))
                if os.writev(handle, [head, result]) < len(head) + len(result):  # a disk that is full, or a giant
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(handle)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        with self._lock:
            self._written += len(result)
            due = self._written > self._disk >> 3
            if due:
                self._written = 0
        if due:
            self._trim()

    def _trim(self) -> None:
        """Remove what was used longest ago until the rest fits, and what dead processes left half written."""
        files = []
        for below in os.scandir(self._folder):
            if below.is_dir(follow_symlinks=False):
                for entry in os.scandir(below.path):
                    with contextlib.suppress(OSError):
                        facts = entry.stat(follow_symlinks=False)
                        files.append((facts.st_mtime, facts.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._disk:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
