"""One resource: which methods it knows, and who answers each (RFC 9110 9; PS3.18 8.5)."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from dicomweb.errors import Lost, Vanished
from dicomweb.web.problems import problem

_ATTEMPTS = 3

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Methods:
    """An ASGI application that hands a request to the handler of its method.

    HEAD goes to GET's handler and loses the body on the way out; OPTIONS without a handler of its own names
    the methods; any other is answered by 405 with Allow.

    Attributes:
        handlers: by method, as given.
    """

    def __init__(self, **handlers: Handler) -> None:
        self.handlers = handlers
        known = dict.fromkeys([*handlers, "OPTIONS"])
        if "GET" in handlers:
            known["HEAD"] = None
        self.allow = ", ".join(sorted(known))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request (ASGI)."""
        method = scope["method"]
        head = method == "HEAD"
        handler = self.handlers.get("GET" if head else method)
        if handler is None:
            await self._unhandled(method)(scope, receive, send)
            return
        request = Request(scope, receive, send)
        response = await (_steadily(handler, request) if method in ("GET", "HEAD") else handler(request))
        await response(scope, receive, _bodiless(send) if head else send)

    def _unhandled(self, method: str) -> Response:
        if method == "OPTIONS":
            return Response(status_code=204, headers={"allow": self.allow})
        return problem(405, f"This resource does not know {method[:20]}; it knows {self.allow}.", {"allow": self.allow})


async def _steadily(handler: Handler, request: Request) -> Response:
    """Answer anew where something went between the moment at which it was listed and that at which it was read."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return await handler(request)
        except (Vanished, Lost):
            pass
    return await handler(request)


def _bodiless(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            message = {**message, "body": b""}
        await send(message)

    return sending
