"""Alive and ready, for orchestrators and load balancers (no clause of the Standard).

Alive: this process answers. Ready: storage and index answer too, and it is not about to stop. One that is only full,
or below its floor of free bytes or above its quota, still serves reads, so it is ready, and says that writes are
refused: a server taken out of service for a full disk would take the images with it. One that hangs does not answer,
and is not waited for: whoever probes has a time limit of its own.
"""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive.room import Room, Space
from dicomweb.errors import Error, Incompatible, OutOfSpace
from dicomweb.web.bodies import Answer
from dicomweb.web.problems import problem
from dicomweb.web.threads import hop_index

FRESH = 1.0
"""Seconds for which an answer of the back ends holds, however many ask."""
PATIENCE = 3.0
"""Seconds that a back end has for its answer."""

_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


async def live(_: Request) -> Response:
    """GET /health/live: this process answers."""
    return Answer(200, [*_HEADERS, (b"content-length", b"18")], b'{"status":"alive"}')


async def ready(request: Request) -> Response:
    """GET /health/ready: storage and index answer; `writes` is `refused` while nothing can be stored, `full` names
    those without room. 503 with a sentence naming the one that does not answer, or when this process is to stop."""
    readiness: Readiness = request.app.state.readiness
    if readiness.draining:
        return problem(503, "Not ready: this server is about to stop.", {"retry-after": "5"})
    failing = await hop_index(readiness.failing)
    if failing:
        return problem(503, f"Not ready: {readiness.reason()}.", {"retry-after": "5"})
    told: dict[str, object] = {"status": "ready"}
    if readiness.full or readiness.space.problem:
        told["writes"] = "refused"
    if readiness.full:
        told["full"] = readiness.full
    body = orjson.dumps(told)
    return Answer(200, [*_HEADERS, (b"content-length", b"%d" % len(body))], body)


class Checked(Protocol):
    """Anything with a `check` that raises Unavailable when it does not answer."""

    def check(self) -> None:
        """Raise Unavailable, or OutOfSpace if it answers but has no room."""


class Readiness:
    """Asks the back ends, at most once per `FRESH` seconds, and each at most once at the same time.

    Args:
        room: tells whether more may be stored; None is always.
        parts: what has a `check` that raises Unavailable, by the name that people are told.

    Attributes:
        names: what people are told.
        full: names of those that had no room when they were last asked.
        misfits: sentences of those that answer, but do not go with this process.
        space: how much room there was then.
        draining: this process is about to stop, and takes nothing new.
    """

    def __init__(self, room: Room | None = None, /, **parts: Checked) -> None:
        self._parts = parts
        self._room = room
        self.names = tuple(parts)
        self.draining = False
        self._until = 0.0
        self._failing: list[str] | None = None
        self.full: list[str] = []
        self.misfits: list[str] = []
        self.space = Space(None, 0, None, None, "")
        self._asking = threading.Lock()
        self._askers = ThreadPoolExecutor(len(parts) + 1, "readiness")
        self._measured: Future[Space] | None = None
        self._asked: dict[str, Future[str]] = {}

    def failing(self) -> list[str]:
        """Return the names of those that do not answer. Blocks for `PATIENCE` seconds at most; whoever comes while
        another one waits is told what was found before."""
        if time.monotonic() >= self._until and self._asking.acquire(blocking=self._failing is None):
            try:
                if time.monotonic() >= self._until:
                    self._ask()
            finally:
                self._asking.release()
        return self._failing or []

    def _ask(self) -> None:
        for name, part in self._parts.items():
            if name not in self._asked:
                self._asked[name] = self._askers.submit(_check, part)
        if self._room is not None:
            self._measured = self._measured or self._askers.submit(self._room.space)
        asked: list[Future[Any]] = list(self._asked.values())
        done, _ = wait(asked + ([self._measured] if self._measured is not None else []), PATIENCE)
        if self._measured is not None and self._measured in done:
            self.space, self._measured = self._measured.result(), None
        found = {name: one.result() if one in done else "silent" for name, one in self._asked.items()}
        self._asked = {name: one for name, one in self._asked.items() if one not in done}
        self._failing = [name for name, state in found.items() if state not in ("well", "full")]
        self.misfits = [state for state in found.values() if state not in ("well", "full", "silent")]
        self.full = [name for name, state in found.items() if state == "full"]
        self._until = time.monotonic() + FRESH

    def reason(self) -> str:
        """Say why this process is not ready; nothing of the inside, but what does not go together."""
        return "; ".join(self.misfits) or f"{' and '.join(self._failing or [])} cannot be reached"


def _check(part: Checked) -> str:
    """Return "well", "full", "silent", or a sentence on why the part does not go with this process."""
    try:
        part.check()
    except OutOfSpace:
        return "full"
    except Incompatible as error:
        return str(error)
    except Error:
        return "silent"
    return "well"
