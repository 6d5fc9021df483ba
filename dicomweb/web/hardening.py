"""What every answer says to browsers, whatever is in it: nothing is taken for another type than the one stated,
and no other page learns an address. Stored objects come from anywhere and may hold anything (PS3.10 7.5)."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FIELDS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Hardening:
    """Around the whole application: adds `FIELDS` to each answer.

    Args:
        app: the application (ASGI).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *FIELDS]
            await send(message)

        await self._app(scope, receive, sending)
