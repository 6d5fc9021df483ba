"""An answer before the whole request has been read: the rest is read before the exchange ends, within bounds.

A server that closes a connection on which bytes still arrive makes the system send a reset, and the client
may lose the answer that says what was wrong (RFC 9112 9.6). On HTTP/2 the rest of one upload would disturb
the other streams of the connection. So the answer goes out at once, then what the client still sends is
thrown away for a while, and only then is the exchange declared over.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BYTES = 64 << 20
"""Bytes thrown away at most, for a client that is in the middle of an upload and does not look up."""
SECONDS = 5.0
"""Time for that at most."""

_BODYLESS = {"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"}


class Draining:
    """Around the whole application: reads the rest of a request body before the answer ends.

    Args:
        app: the application (ASGI).
        most_bytes, most_seconds: what is spent on the rest of a body at most.
    """

    def __init__(self, app: ASGIApp, most_bytes: int = BYTES, most_seconds: float = SECONDS) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._most_seconds = most_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application (ASGI)."""
        if scope["type"] != "http" or not may_have_body(scope):
            await self._app(scope, receive, send)
            return
        over = False

        async def receiving() -> Message:
            nonlocal over
            message = await receive()
            over = over or message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if over or message["type"] != "http.response.body" or message.get("more_body", False):
                await send(message)
                return
            if message.get("body"):
                await send({**message, "more_body": True})
            await self._drain(receiving)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, receiving, sending)

    async def _drain(self, receive: Receive) -> None:
        left = self._most_bytes
        try:
            async with asyncio.timeout(self._most_seconds):
                while left > 0:
                    message = await receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return


def may_have_body(scope: Scope) -> bool:
    """Say whether a request can have a body (RFC 9112 6, RFC 9113 8.1): one with neither Content-Length nor
    Transfer-Encoding has none, except on HTTP/2, where the fields may be missing."""
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return True
        if name == b"content-length":
            return bool(value.strip() != b"0")
    return scope.get("http_version", "1.1") not in {"1.0", "1.1"} and scope["method"] not in _BODYLESS
