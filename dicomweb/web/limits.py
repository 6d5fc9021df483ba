"""What a request may cost before anybody looks at it: size of the body, its coding, and how slowly it comes.

The checks run when the handler first asks for the body and while it reads, so that their errors reach the
client through the same door as all others. A request whose body nobody reads costs nothing.
"""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomweb.errors import BadFraming, BadRequest, TooLarge, TooSlow, UnsupportedMedia


class Limits:
    """Around the application, inside of what turns errors into answers.

    While the handler reads the body, these are raised out of `receive`:

    - UnsupportedMedia, before the first byte: the body has a Content-Encoding. What arrives small and
      inflates to much more is refused whole; RFC 9110 12.5.3 lets a server do so and say so.
    - TooLarge, before the first byte where Content-Length tells, else once the limit is passed.
    - TooSlow: over the time spent waiting for the client, a grace period taken off, fewer bytes a second came
      than the least rate. Time that the handler takes for itself does not count.
    - BadRequest: Content-Length is no number.

    BadFraming comes before the handler is asked: the request has Content-Length and Transfer-Encoding (RFC 9112
    6.1). A proxy in front may have gone by the other one, and taken for a body what we would take for the next
    request.

    Args:
        app: the application (ASGI).
        most_bytes: largest body.
        least_rate: bytes a second; 0 lets every client take its time.
        grace: seconds.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, least_rate: int, grace: float) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._least_rate = least_rate
        self._grace = grace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            raise BadFraming("the request has both Content-Length and Transfer-Encoding; where it ends is not certain")
        body = _Body(self, scope, receive)

        async def sending(message: Message) -> None:
            body.answering = True
            await send(message)

        await self._app(scope, body.receive, sending)

    def check(self, scope: Scope) -> None:
        """Raise what the header fields alone tell."""
        for name, value in scope["headers"]:
            if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
                raise UnsupportedMedia("send the body without Content-Encoding: compressed requests are not read")
            if name == b"content-length":
                if not value.strip().isdigit():
                    raise BadRequest("Content-Length is not a number")
                if int(value) > self._most_bytes:
                    raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the request body is larger than the limit of {self._most_bytes:,} bytes; send fewer instances at once"
        )

    def size(self, received: int) -> None:
        """Raise TooLarge if that many bytes are above the limit."""
        if received > self._most_bytes:
            raise self._too_large()

    def patience(self, received: int, waited: float) -> float | None:
        """Return the seconds that a client may still take after `received` bytes in `waited` seconds; None is
        any time."""
        if not self._least_rate:
            return None
        return self._grace + received / self._least_rate - waited

    def too_slow(self) -> TooSlow:
        """What to raise when they are over."""
        return TooSlow(f"the request body came more slowly than {self._least_rate:,} bytes a second and was given up")


class _Body:
    """The body of one request while it is read.

    Attributes:
        answering: the answer has begun; from now on the body is no longer looked at, only passed on.
    """

    def __init__(self, limits: Limits, scope: Scope, receive: Receive) -> None:
        self._limits = limits
        self._scope = scope
        self._receive = receive
        self._checked = False
        self._received = 0
        self._waited = 0.0
        self._over = False
        self.answering = False

    async def receive(self) -> Message:
        if self.answering or self._over:
            return await self._receive()
        if not self._checked:
            self._limits.check(self._scope)
            self._checked = True
        message = await self._wait()
        self._received += len(message.get("body", b""))
        self._limits.size(self._received)
        self._over = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def _wait(self) -> Message:
        patience = self._limits.patience(self._received, self._waited)
        if patience is None:
            return await self._receive()
        begun = time.monotonic()
        try:
            async with asyncio.timeout(max(patience, 0.0)):
                message = await self._receive()
        except TimeoutError as error:
            raise self._limits.too_slow() from error
        self._waited += time.monotonic() - begun
        return message
