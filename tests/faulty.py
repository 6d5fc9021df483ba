"""A storage and an index that fail when told to, and otherwise keep their promises."""

from collections.abc import Callable, Iterator
from typing import Any

from dicomweb.errors import Unavailable
from dicomweb.index import Index
from dicomweb.storage import Put, Stored
from dicomweb.storage.memory import Memory


class FaultyStorage(Memory):
    """In memory. Each call first asks `fault(operation, key)` for an error to end with, or None.

    A put that fails writes nothing, unless `leaves` says that the bytes arrived and only the answer was lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fault: Callable[[str, str], Exception | None] = lambda operation, key: None
        self.leaves = False

    def _check(self, operation: str, key: str) -> None:
        error = self.fault(operation, key)
        if error is not None:
            raise error

    def put(self, puts: list[Put]) -> list[Exception | None]:
        answers: list[Exception | None] = []
        for put in puts:
            error = self.fault("put", put.key)
            if error is None or self.leaves:
                (answer,) = super().put([put])
                answers.append(error or answer)
            else:
                answers.append(error)
        return answers

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        self._check("read", key)
        return super().read(key, start, stop)

    def size(self, key: str) -> int:
        self._check("size", key)
        return super().size(key)

    def stream(self, key: str, start: int = 0, stop: int | None = None, chunk: int = 1 << 20) -> Iterator[bytes]:
        self._check("stream", key)
        yield from super().stream(key, start, stop, chunk)

    def delete(self, key: str) -> None:
        self._check("delete", key)
        super().delete(key)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        self._check("list", prefix)
        yield from super().list(prefix)


class FaultyIndex:
    """Around an index: operations in `down` are Unavailable; those in `lost` are done and then so.

    Attributes:
        before: called with the name of each operation before it is done.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self.down: set[str] = set()
        self.lost: set[str] = set()
        self.before: Callable[[str], None] = lambda operation: None

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._index, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.before(name)
            if name in self.down:
                raise Unavailable("the index does not answer")
            result = operation(*args, **kwargs)
            if name in self.lost:
                raise Unavailable("the index does not answer")
            return result

        return call
