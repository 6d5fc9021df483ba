"""Every request measured, put into its trace, and told of in the log where that is wanted.

A request counts under the template of its route, its method and the class of its status: never under a path, in
which there are UIDs. The time is that until the last byte of the answer was handed to the server.
"""

import logging
from time import perf_counter

from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomweb.telemetry import traces
from dicomweb.telemetry.measures import Histogram, Level, Tally

_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}
_QUIET = ("/health/live", "/health/ready", "/metrics")
_NOTE = "roentgate.route"

_LABELS = ("route", "method", "status")
REQUESTS = Histogram("roentgate_http_request_duration_seconds", "Time until an answer was handed over.", _LABELS)
FIRST_BYTE = Histogram("roentgate_http_first_byte_seconds", "Time until an answer began.", ("route",))
SENT = Tally("roentgate_http_response_bytes_total", "Bytes of the bodies of answers.", ("route",))
UNDER_WAY = Level("roentgate_http_requests_under_way", "Requests that are being answered.")

log = logging.getLogger("dicomweb.requests")


class Told(Route):
    """A route that tells Measured its template."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Route."""
        note = scope.get(_NOTE)
        if note is not None:
            note.append(self.path)
        await super().handle(scope, receive, send)


class Measured:
    """Around the whole application.

    Args:
        app: the application (ASGI).
        logged: a line for each request, but for those that machines ask every few seconds.
    """

    def __init__(self, app: ASGIApp, logged: bool = False) -> None:
        self._app = app
        self._logged = logged

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        note: list[str] = []
        scope[_NOTE] = note
        parent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        token = traces.current.set(traces.take_up(parent.decode("latin-1") if parent is not None else None))
        status = size = 0

        async def sending(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                FIRST_BYTE.observe(perf_counter() - begun, (note[0] if note else "other",))
            else:
                size += len(message.get("body", b""))
            await send(message)

        UNDER_WAY.add(1)
        try:
            await self._app(scope, receive, sending)
        finally:
            UNDER_WAY.add(-1)
            seconds = perf_counter() - begun
            route = note[0] if note else "other"
            method = scope["method"] if scope["method"] in _METHODS else "other"
            REQUESTS.observe(seconds, (route, method, f"{status // 100}xx" if status else "none"))
            SENT.add((route,), size)
            if self._logged and route not in _QUIET:
                told = {"route": route, "method": method, "status": status, "seconds": round(seconds, 6), "bytes": size}
                log.info("%s %s %s in %.3f s", method, route, status or "none", seconds, extra={"fields": told})
            traces.current.reset(token)
