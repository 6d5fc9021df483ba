"""What was used last stays in memory, up to so many bytes.

Keys name what never changes (a version, a digest), never a UID, so that nothing cached can be out of date and
replicas agree.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_ENTRY = 200
"""Bytes that an entry costs beside its value."""


class Cache(Generic[K, V]):
    """Values by key, the least recently used of them dropped when they come to more than `limit` bytes.

    Args:
        limit: bytes; 0 keeps nothing. A value larger than an eighth of it is not kept, so that one giant does
            not push everything else out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def largest(self) -> int:
        """Bytes of the largest value that is kept."""
        return max((self._limit >> 3) - _ENTRY, 0)

    def get(self, key: K) -> V | None:
        """Return the value, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keep a value of so many bytes."""
        size += _ENTRY
        if size > self._limit >> 3:
            return
        with self._lock:
            old = self._entries.pop(key, None)
            if old is not None:
                self._size -= old[1]
            self._entries[key] = (value, size)
            self._size += size
            while self._size > self._limit:
                _, (_, dropped) = self._entries.popitem(last=False)
                self._size -= dropped

    def drop(self, unwanted: Callable[[K], bool]) -> None:
        """Drop the entries with such keys."""
        with self._lock:
            for key in [key for key in self._entries if unwanted(key)]:
                self._size -= self._entries.pop(key)[1]
