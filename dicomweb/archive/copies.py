"""Other forms of stored objects that are kept beside them in storage: inflated data sets, repacked videos.

A copy is named by the version of the object, made when it is first needed, once in a process however many ask, found
by every process of every replica, safe to remove at any time, and removed with the object.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from dicomweb.archive.content import CHUNK
from dicomweb.archive.flights import Flights
from dicomweb.archive.spool import Spool
from dicomweb.errors import AlreadyStored, NotFound
from dicomweb.index import Held
from dicomweb.storage import Put, Storage

Form: TypeAlias = Literal["inflated", "video"]
FORMS: tuple[Form, ...] = ("inflated", "video")


def copy_key(form: Form, version: int) -> str:
    """Return the key of a copy."""
    return f"cache/{form}/{version:016x}"


class Copies:
    """Finds and makes copies.

    Args:
        storage: where they are kept.
        spool: where they are made.
    """

    def __init__(self, storage: Storage, spool: Spool) -> None:
        self._storage = storage
        self._spool = spool
        self._flights: Flights[str, int] = Flights()

    def get(self, form: Form, held: Held, make: Callable[[Path], None]) -> tuple[str, int]:
        """Return key and size of a copy; make it if it is not there.

        The sweep removes an object before its copies. So whoever puts a copy and finds the object there afterwards
        knows that the copy will be removed with it.

        Args:
            form: of the copy.
            held: the object.
            make: writes it into a file that is there and empty.

        Raises:
            NotFound: the object was removed meanwhile.
            OutOfSpace, Unavailable: it cannot be kept.
            Whatever else making it raises.
        """
        key = copy_key(form, held.version)
        try:
            return key, self._storage.size(key)
        except NotFound:
            return key, self._flights.join(key, lambda: self._make(key, held, make))

    def _make(self, key: str, held: Held, make: Callable[[Path], None]) -> int:
        """Make and keep a copy, and return its size; one that was kept since we looked is taken."""
        with contextlib.suppress(NotFound):
            return self._storage.size(key)
        with self.scratch() as path:
            make(path)
            size = path.stat().st_size
            (problem,) = self._storage.put([Put(key, path, _digest(path))])
            if problem is not None and not isinstance(problem, AlreadyStored):
                raise problem
        try:
            self._storage.size(held.key)
        except NotFound:
            self._storage.delete(key)
            raise
        return size

    @contextlib.contextmanager
    def scratch(self, pieces: Iterable[bytes] = ()) -> Iterator[Path]:
        """Give a file for a while, with these bytes in it."""
        path = self._spool.scratch()
        try:
            with path.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
            yield path
        finally:
            path.unlink(missing_ok=True)


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.digest()
