"""Answers that web pages of other origins may read (Fetch Standard, CORS protocol; PS3.18 8.6).

Viewers ask for multipart answers with quoted types, which a browser announces by a preflight; what the
answers expose is what viewers read: ranges, entity tags, places and warnings.
"""

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomweb.web.problems import problem

METHODS = b"GET, HEAD, POST, PUT, DELETE, OPTIONS"
REQUEST_HEADERS = b"accept, authorization, content-type, if-none-match, if-range, range, content-location"
EXPOSED = b"Content-Range, ETag, Location, Content-Location, Warning, Link, Retry-After, Content-Disposition"
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_SHOWN = {b"authorization", b"x-api-key"}
MAX_AGE = b"7200"
"""Seconds for which a preflight holds; no browser keeps it longer."""


class Cors:
    """Around everything that answers, errors and refusals of access included.

    Args:
        app: the application (ASGI).
        origins: such as "https://viewer.example", or "*" for every page anywhere.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.rstrip("/").lower().encode() for origin in origins)
        self._all = b"*" in self._origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] not in _SAFE and self._is_foreign(scope):
            await problem(403, "Pages of other sites may change nothing here; cors_origins names those that may.")(
                scope, receive, send
            )
            return
        if not self._origins:
            await self._app(scope, receive, send)
            return
        origin, preflight = None, False
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value
            elif name == b"access-control-request-method":
                preflight = scope["method"] == "OPTIONS"
        fields = self._fields(origin)
        if origin is not None and preflight:
            await self._answer(scope, fields, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_vary([*message["headers"], *fields])
            await send(message)

        await self._app(scope, receive, sending)

    def _is_foreign(self, scope: Scope) -> bool:
        """Say whether a browser sends a request for a page of another site that is not listed (Fetch Metadata). What
        shows a key was asked for by a preflight; else whoever is near, or signed in, is made to do what the page
        wants."""
        asked = dict(scope["headers"])
        if self._all or asked.get(b"sec-fetch-site") != b"cross-site" or asked.keys() & _SHOWN:
            return False
        return asked.get(b"origin", b"").lower() not in self._origins

    def _fields(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        """What says that the page may read the answer; only Vary for a page that may not. A listed origin may
        come with credentials, `*` never does."""
        if self._all:
            return [] if origin is None else _allowed(b"*")
        fields = [(b"vary", b"Origin")]
        if origin is not None and origin.lower() in self._origins:
            fields += [*_allowed(origin), (b"access-control-allow-credentials", b"true")]
        return fields

    @staticmethod
    async def _answer(scope: Scope, fields: list[tuple[bytes, bytes]], send: Send) -> None:
        """Answer a preflight before anybody asks who is calling: it carries no credentials (Fetch 3.2.2)."""
        headers = [*fields]
        if len(fields) > 1 or (fields and fields[0][0] != b"vary"):
            asked = dict(scope["headers"]).get(b"access-control-request-headers", b"")
            named = {name.strip().lower() for name in asked.split(b",") if name.strip()}
            unknown = sorted(named - set(REQUEST_HEADERS.split(b", ")))
            allowed = b", ".join([REQUEST_HEADERS, *(name for name in unknown if _is_token(name))])
            headers += [
                (b"access-control-allow-methods", METHODS),
                (b"access-control-allow-headers", allowed),
                (b"access-control-max-age", MAX_AGE),
            ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _allowed(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED)]


def _is_token(name: bytes) -> bool:
    return len(name) <= 64 and name.replace(b"-", b"").replace(b"_", b"").isalnum()


def _with_vary(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Join Vary fields: some caches look at the first one only."""
    values = [value for name, value in headers if name == b"vary"]
    if len(values) < 2:
        return headers
    return [field for field in headers if field[0] != b"vary"] + [(b"vary", b", ".join(values))]
