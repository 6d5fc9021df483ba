"""Objects in a dictionary: for tests and trials, and the plainest reading of what Storage promises."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dicomweb.errors import AlreadyStored, Unavailable, Vanished
from dicomweb.storage import Put, Stored
from dicomweb.storage.keys import check_key, check_prefix


class Memory:
    """A Storage that lives as long as the process; "durable" means no more than that here."""

    remote = False
    opener: Callable[[str, int], int] | None = None

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()

    def put(self, puts: list[Put]) -> list[Exception | None]:
        """As Storage.put. A file is read and left where it is."""
        for put in puts:
            check_key(put.key)
        return [self._put(put) for put in puts]

    def _put(self, put: Put) -> Exception | None:
        try:
            body = put.body.read_bytes() if isinstance(put.body, Path) else bytes(put.body)
        except OSError:
            return Unavailable("The file to be stored cannot be read.")
        with self._lock:
            if put.key in self._objects:
                return AlreadyStored("There is an object under this key already.")
            self._objects[put.key] = (body, time.time())
        return None

    def _find(self, key: str) -> bytes:
        try:
            return self._objects[check_key(key)][0]
        except KeyError:
            raise Vanished("There is no object under this key.") from None

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """As Storage.read."""
        return self._find(key)[start:stop]

    def stream(self, key: str, start: int = 0, stop: int | None = None, chunk: int = 1 << 20) -> Iterator[bytes]:
        """As Storage.stream."""
        body = memoryview(self._find(key))[start:stop]
        for begin in range(0, len(body), chunk):
            yield bytes(body[begin : begin + chunk])

    def size(self, key: str) -> int:
        """As Storage.size."""
        return len(self._find(key))

    def delete(self, key: str) -> None:
        """As Storage.delete."""
        with self._lock:
            self._objects.pop(check_key(key), None)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """As Storage.list; what is put or deleted meanwhile may be listed or not."""
        check_prefix(prefix)
        with self._lock:
            keys = sorted(key for key in self._objects if key.startswith(prefix))
        for key in keys:
            found = self._objects.get(key)
            if found is not None:
                yield Stored(key, len(found[0]), found[1])

    def check(self) -> None:
        """As Storage.check: memory is always there."""

    def sweep(self) -> None:
        """As Storage.sweep: nothing is ever left behind."""

    def close(self) -> None:
        """As Storage.close; the objects go."""
        self._objects.clear()
