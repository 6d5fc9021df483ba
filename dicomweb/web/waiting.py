"""A server whose back ends do not answer yet: it says so, tries again, and serves as soon as they do.

Where index or storage are elsewhere, they and this server may start in any order, and several replicas that end and
start again and again while a database is away would only be in its way. So this process lives, is not ready, and
answers everything else by 503.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomweb.errors import Incompatible, Unavailable
from dicomweb.web import health
from dicomweb.web.problems import RETRY_AFTER, problem

LONGEST_PAUSE = 5.0
"""Seconds between two attempts at most, so that service is back soon after the back ends are."""

log = logging.getLogger(__name__)


class Waiting:
    """An ASGI application that stands in for another one until that can be made.

    Args:
        make: makes it; blocks; raises Unavailable while a back end does not answer.
        around: puts around the stand-in what is around all answers.
        reason: why the first attempt failed.

    Attributes:
        state: that of the other application once there is one; before, its `readiness` alone.
    """

    def __init__(self, make: Callable[[], Starlette], around: Callable[[ASGIApp], ASGIApp], reason: Exception) -> None:
        self._make = make
        self._reason = reason
        self._stand_in = around(self._answer)
        self._made: Starlette | None = None
        self.state = State({"readiness": health.Readiness()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application that there is (ASGI)."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._made is not None:
            await self._made(scope, receive, send)
        else:
            await self._stand_in(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/health/live":
            response = await health.live(Request(scope, receive))
        else:
            response = problem(503, f"Not ready: {self._sentence()}.", {"retry-after": str(RETRY_AFTER)})
        await response(scope, receive, send)

    def _sentence(self) -> str:
        if self.state.readiness.draining:
            return "this server is about to stop"
        if isinstance(self._reason, Incompatible):  # its own words, without the URL of what does not fit
            inner = self._reason.__cause__
            return str(inner if isinstance(inner, Incompatible) else self._reason)
        if isinstance(self._reason, Unavailable):  # with addresses and users, which are for nobody who only probes
            return "the index or the storage does not answer, and the log of this server says why"
        return "it cannot start, and its log says why"

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan of both: the other application's is within this one's."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        async with contextlib.AsyncExitStack() as stack:
            becoming = asyncio.ensure_future(self._become(stack))
            await receive()
            becoming.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await becoming
        await send({"type": "lifespan.shutdown.complete"})

    async def _become(self, stack: contextlib.AsyncExitStack) -> None:
        """Try to make the other application until there is one, and take its place."""
        pause, told = 0.5, ""
        while self._made is None:
            if str(self._reason) != told:
                told = str(self._reason)
                log.warning("not ready, and trying again until it is: %s", told)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)
            try:
                made = await asyncio.to_thread(self._make)
                await stack.enter_async_context(made.router.lifespan_context(made))
            except Exception as error:
                self._reason = error
                continue
            made.state.readiness.draining = self.state.readiness.draining
            self.state, self._made = made.state, made
            log.info("ready: the back ends answer")
