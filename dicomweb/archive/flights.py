"""One making at a time: whoever asks for what is being made waits for it instead of making it again."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """What is being made in this process, by name; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[K, Future[V]] = {}

    def join(self, name: K, make: Callable[[], V]) -> V:
        """Return what `make` gives, or what it gives to the one who is calling it for this name already.

        Raises:
            Whatever `make` raises, to all who wait.
        """
        with self._lock:
            future = self._under_way.get(name)
            mine = future is None
            if future is None:
                future = self._under_way[name] = Future()
        if not mine:
            return future.result()
        try:
            result = make()
        except BaseException as error:
            future.set_exception(error)
            raise
        else:
            future.set_result(result)
            return result
        finally:
            with self._lock:
                del self._under_way[name]
