"""Which error is which status, and how it reads: problem documents (RFC 9457; PS3.18 8.5).

`str(error)` of our own errors is a sentence for users and is sent. Whatever else goes wrong is logged here
and answered by one sentence that says nothing about the inside: no stack, no path, no SQL, no patient data.
"""

import http
import logging
from collections.abc import Mapping

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomweb import errors
from dicomweb.telemetry.measures import Tally

MEDIA_TYPE = "application/problem+json"
CHALLENGE = 'Bearer realm="Roentgate"'
PASSPHRASE = "urn:roentgate:passphrase"
"""Type of the problem that the passphrase of a link is missing or wrong."""
RETRY_AFTER = 5
"""Seconds after which a client may try again when a back end did not answer."""

# PS3.18 Table 8.5-1. An error that is not listed is answered as its nearest listed ancestor.
STATUS: dict[type[Exception], int] = {
    errors.BadRequest: 400,
    errors.NotIdentified: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.NotAcceptable: 406,
    errors.TooSlow: 408,
    errors.Conflict: 409,
    errors.AlreadyStored: 409,
    errors.BadObject: 409,
    errors.Gone: 410,
    errors.TooBroad: 413,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.BadRange: 416,
    errors.Misdirected: 421,
    errors.TooOften: 429,
    errors.Corrupt: 500,
    errors.BadMessage: 502,
    errors.NotAssociated: 502,
    errors.PeerLeft: 502,
    errors.Unavailable: 503,
    errors.PeerSilent: 504,
    errors.OutOfSpace: 507,
}

_HIDDEN = "Something went wrong inside the server. It has been logged."
# What a path or method that no route knows is told.
_PLAIN = {
    404: "There is nothing at this address.",
    405: "This resource does not know that method; the Allow header lists those it knows.",
}

log = logging.getLogger(__name__)

DENIED = Tally(
    "roentgate_access_denied_total",
    "Requests that were denied: by `nobody` who showed a key, with a `wrong` one, for want of a `right`, `too often`.",
    ("reason",),
)
DAMAGED = Tally("roentgate_damaged_reads_total", "Requests that met stored bytes which are not those that were stored.")


def status_of(error: Exception) -> int:
    """Return the status that answers an error; 500 for one that nobody foresaw."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def title_of(status: int) -> str:
    """Return the status's phrase (RFC 9110 15)."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, type: str = "about:blank") -> Response:
    """Make a problem document.

    Args:
        status: HTTP status.
        detail: one sentence that a user understands.
        headers: further header fields.
        type: names the kind of problem for programs that do something about it.
    """
    body = {"type": type, "title": title_of(status), "status": status, "detail": detail}
    fields = {"cache-control": "no-store", **(headers or {})}
    return Response(orjson.dumps(body), status, fields, MEDIA_TYPE)


def _count(error: Exception) -> None:
    if isinstance(error, errors.NotIdentified):
        DENIED.add(("wrong" if error.shown else "nobody",))
    elif isinstance(error, errors.Forbidden):
        DENIED.add(("right",))
    elif isinstance(error, errors.TooOften):
        DENIED.add(("too often",))
    elif isinstance(error, errors.Corrupt):
        DAMAGED.add()


def answer(error: Exception) -> Response:
    """Turn an error into the response that tells the client about it; log what nobody foresaw."""
    if isinstance(error, HTTPException):
        detail = _PLAIN.get(error.status_code, error.detail)
        return problem(error.status_code, detail, error.headers)
    status = status_of(error)
    _count(error)
    if isinstance(error, errors.Corrupt):
        log.error("a request failed: %s; `roentgate verify` finds the objects", error)
    elif not isinstance(error, errors.Error) or status == 500:
        log.error("a request failed", exc_info=error)
    if not isinstance(error, errors.Error) or type(error) is errors.Error:
        return problem(500, _HIDDEN)
    headers: dict[str, str] = {}
    if isinstance(error, errors.BadRange):
        headers["content-range"] = f"bytes */{error.size}"
    if isinstance(error, errors.BadFraming):
        headers["connection"] = "close"
    if isinstance(error, errors.NotIdentified):  # RFC 6750 3
        headers["www-authenticate"] = CHALLENGE + (', error="invalid_token"' if error.shown else "")
    if isinstance(error, errors.TooOften):
        headers["retry-after"] = "60"
    if isinstance(error, errors.Unavailable):
        headers["retry-after"] = str(RETRY_AFTER)
    if isinstance(error, errors.BadSetting):
        return problem(500, _HIDDEN)
    kind = PASSPHRASE if isinstance(error, errors.PassphraseWanted) else "about:blank"
    return problem(status, _sentence(str(error)), headers, kind)


def _sentence(text: str) -> str:
    """Begin with a capital and end with a full stop; errors are written as the rest of a sentence."""
    text = text.strip()
    if not text:
        return "The request cannot be answered."
    if text[0].islower() and not text.startswith(("application/", "image/", "multipart/", "transfer-syntax")):
        text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else text + "."


async def handle(_: Request, error: Exception) -> Response:
    """What the application does about Starlette's own errors: no such path, no such method."""
    return answer(error)


class Guard:
    """Around the routes: no error leaves them but as a problem document.

    Once an answer has begun its status cannot be changed; then it is left as it is, and the server cuts the
    connection, so that a broken answer never looks like a whole one (PS3.18 8.1.2). That what it shows was deleted
    meanwhile is nobody's fault; what nobody foresaw goes on to the server, which logs it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if begun and isinstance(error, errors.Error):
                level = logging.INFO if isinstance(error, errors.NotFound) else logging.ERROR
                log.log(level, "an answer broke off: %s", error)  # that it is not whole the server says by how it ends
                return
            if begun:
                raise
            await answer(error)(scope, receive, send)
