"""One resource: which methods it knows, and who answers each (RFC 9110 9; PS3.18 8.5)."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from dicomweb.web.problems import problem

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
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, _bodiless(send) if head else send)

    def _unhandled(self, method: str) -> Response:
        if method == "OPTIONS":
            return Response(status_code=204, headers={"allow": self.allow})
        return problem(405, f"This resource does not know {method[:20]}; it knows {self.allow}.", {"allow": self.allow})


def _bodiless(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.body" and message.get("body"):
            message = {**message, "body": b""}
        await send(message)

    return sending
