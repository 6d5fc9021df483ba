"""Threads under the event loop: a handler's one hop, and the pump that feeds a long body to the client.

Everything below `web` blocks. `hop` runs one call in a thread of our own pool, which costs two thirds of what
Starlette's costs. What asks the index alone has threads of its own (`hop_index`), so that searches go on while the
object store hangs and all others wait for it. What stores has its own too (`hop_storing`), since it is sure to block.
What may wait long for the workshop goes on in other threads (`hop_twice`), so that however many wait there, those who
only want stored bytes do not. A long body is a generator that blocks; the pump draws its next batch of pieces in a
thread while the batch before is being sent. So at most two batches are in memory, a slow client holds no thread, and
storage and network work at the same time.
"""

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from starlette.responses import Response
from starlette.types import Receive

from dicomweb.web.lane import Lane

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 40
"""Calls that may block at the same time in this process; others wait their turn."""

ASKING = 16
"""Calls that ask the index alone at the same time."""
STORING = 40
"""Store requests that may wait for the disk at the same time: what they wait for is written together."""
WAITING = 128
"""Calls that may wait for the workshop at the same time."""
ELSEWHERE = 64
"""Calls that may wait for other machines at the same time."""
KEYS = 8
"""Calls that may wait for the keys of an issuer at the same time."""

_lane = Lane(THREADS)
_asking = Lane(ASKING)
_waiting = Lane(WAITING)
_storing = Lane(STORING, patience=0)
_pool = ThreadPoolExecutor(THREADS, "roentgate")
_elsewhere = ThreadPoolExecutor(ELSEWHERE, "elsewhere")
_keys = ThreadPoolExecutor(KEYS, "keys")


def hop(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """Run a blocking call in a thread; awaiting gives its result or raises its error."""
    return _lane.run(functools.partial(function, *args, **kwargs))


def hop_index(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """Run a call that asks the index and never the object store; awaiting gives its result or raises its error."""
    return _asking.run(functools.partial(function, *args, **kwargs))


def hop_storing(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """Run a call that will wait for the disk; awaiting gives its result or raises its error."""
    return _storing.run(functools.partial(function, *args, **kwargs))


def hop_waiting(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """Run a call that may wait for the workshop; awaiting gives its result or raises its error."""
    return _waiting.run(functools.partial(function, *args, **kwargs))


async def hop_twice(
    function: Callable[P, Response | Callable[[], Response]], *args: P.args, **kwargs: P.kwargs
) -> Response:
    """Run a handler's blocking part in a thread; where it gives back another call instead of the response, run that
    in one of the threads that may wait."""
    return await _onwards(await hop(function, *args, **kwargs))


async def hop_index_twice(
    function: Callable[P, Response | Callable[[], Response]], *args: P.args, **kwargs: P.kwargs
) -> Response:
    """As `hop_twice`, for a blocking part that asks the index alone."""
    return await _onwards(await hop_index(function, *args, **kwargs))


async def _onwards(first: Response | Callable[[], Response]) -> Response:
    return first if isinstance(first, Response) else await hop_waiting(first)


def hop_elsewhere(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """Run a call that may wait for another machine for minutes, in a thread that nobody else needs meanwhile."""
    call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
    return asyncio.get_running_loop().run_in_executor(_elsewhere, call)


def hop_keys(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """Run a call that may wait for the keys of an issuer, in a thread of few: anybody can name a key that nobody knows,
    and however many do so, they keep nobody else waiting."""
    return asyncio.get_running_loop().run_in_executor(_keys, functools.partial(function, *args, **kwargs))


class Pump:
    """Draws the batches of a blocking generator in the context of whoever made it, one ahead of whoever awaits them.

    Ends by `close`, whatever happened: the generator is closed in a thread, after the batch that is being
    made is done, so that open files go back and nothing more is read for a client who left.
    """

    def __init__(self, batches: Iterator[list[bytes]]) -> None:
        self._batches = batches
        self._run = contextvars.copy_context().run
        self._ahead: Future[list[bytes] | None] | None = None

    def _draw(self) -> list[bytes] | None:
        return next(self._batches, None)

    async def next(self) -> list[bytes] | None:
        """Return the next batch and begin to make the one after it; None at the end."""
        current = self._ahead or _pool.submit(self._run, self._draw)
        self._ahead = current
        batch = await asyncio.wrap_future(current)
        self._ahead = None if batch is None else _pool.submit(self._run, self._draw)
        return batch

    def close(self) -> None:
        """Give up what is not drawn yet; returns at once."""
        pending, self._ahead = self._ahead, None
        if pending is None:
            _pool.submit(self._run, self._finish)
        else:
            pending.add_done_callback(lambda _: self._run(self._finish))

    def _finish(self) -> None:
        close: Callable[[], None] | None = getattr(self._batches, "close", None)
        if close is not None:
            with contextlib.suppress(Exception):
                close()


async def departure(receive: Receive) -> None:
    """Return when the client has left (ASGI `http.disconnect`)."""
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            return
