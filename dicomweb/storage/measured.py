"""A Storage around a Storage that measures how long each operation takes and how it ends."""

from collections.abc import Callable, Iterator
from time import perf_counter
from types import TracebackType

from dicomweb.errors import AlreadyStored, NotFound
from dicomweb.storage import Put, Storage
from dicomweb.telemetry.measures import Histogram, Tally

OPERATIONS = Histogram(
    "roentgate_storage_operation_duration_seconds",
    "Time that an operation of the object store took; of a stream, until it began.",
    ("operation", "outcome"),
)
BYTES = Tally("roentgate_storage_bytes_total", "Bytes written to and read from the object store.", ("direction",))


class Measured:
    """See Storage.

    Args:
        storage: does the work.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.remote = storage.remote
        self.opener: Callable[[str, int], int] | None = None if storage.opener is None else self._opened
        self.list = storage.list
        self.sweep = storage.sweep
        self.close = storage.close

    def put(self, puts: list[Put]) -> list[Exception | None]:
        """See Storage."""
        sizes = [put.body.stat().st_size if hasattr(put.body, "stat") else len(put.body) for put in puts]
        begun = perf_counter()
        results = self._storage.put(puts)
        seconds = perf_counter() - begun
        failed = any(result is not None and not isinstance(result, AlreadyStored) for result in results)
        OPERATIONS.observe(seconds, ("put", "failed" if failed else "well"))
        BYTES.add(("in",), sum(size for size, result in zip(sizes, results, strict=True) if result is None))
        return results

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """See Storage."""
        with _Clock("read"):
            found = self._storage.read(key, start, stop)
        BYTES.add(("out",), len(found))
        return found

    def _opened(self, key: str, wanted: int) -> int:
        assert self._storage.opener is not None
        with _Clock("open"):
            handle = self._storage.opener(key, wanted)
        BYTES.add(("out",), wanted)
        return handle

    def stream(self, key: str, start: int = 0, stop: int | None = None, chunk: int = 1 << 20) -> Iterator[bytes]:
        """See Storage."""
        pieces = self._storage.stream(key, start, stop, chunk)
        size = 0
        try:
            with _Clock("stream"):
                piece = next(pieces, None)
            while piece is not None:
                size += len(piece)
                yield piece
                piece = next(pieces, None)
        finally:
            BYTES.add(("out",), size)
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def size(self, key: str) -> int:
        """See Storage."""
        with _Clock("size"):
            return self._storage.size(key)

    def delete(self, key: str) -> None:
        """See Storage."""
        with _Clock("delete"):
            self._storage.delete(key)

    def check(self) -> None:
        """See Storage."""
        with _Clock("check"):
            self._storage.check()


class _Clock:
    """Measures what is done inside; what is not there is an answer, not a failure."""

    __slots__ = ("_begun", "_operation")

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        self._begun = perf_counter()

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        outcome = "well" if kind is None else "absent" if issubclass(kind, NotFound) else "failed"
        OPERATIONS.observe(perf_counter() - self._begun, (self._operation, outcome))
