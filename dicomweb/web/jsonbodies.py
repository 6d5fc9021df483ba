"""JSON that programs send and get where no DICOM is in it: `/nodes`, `/jobs`, `/refusals` and what `/aets` is told."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dicomweb.errors import BadRequest, TooLarge

LARGEST = 4 << 20
"""Bytes of a body."""


def respond(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Make an answer that nobody keeps: what it tells may be otherwise at the next moment."""
    fields = {"cache-control": "no-store", **(headers or {})}
    return Response(orjson.dumps(value), status, fields, "application/json")


async def read(request: Request) -> dict[str, Any]:
    """Read the body of a request, an object; an empty one is `{}`.

    Raises:
        BadRequest: it is no JSON, or no object, or ends too early.
        TooLarge: it has more than `LARGEST` bytes.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > LARGEST:
                raise TooLarge(f"the body has more than {LARGEST:,} bytes")
    except ClientDisconnect as error:
        raise BadRequest("the client left before the body was complete") from error
    if not body:
        return {}
    try:
        value = orjson.loads(bytes(body))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest("the body is no JSON object")
    return value


def count(request: Request, name: str, default: int, most: int) -> int:
    """Read a whole number from the query, at most `most`.

    Raises:
        BadRequest: it is none.
    """
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit():
        raise BadRequest(f"{name} is a whole number, 0 or more")
    return min(int(text[:18]), most)


def time(request: Request, name: str) -> float | None:
    """Read a time from the query, in seconds since 1970; None if it is not there.

    Raises:
        BadRequest: it is none.
    """
    text = request.query_params.get(name, "")
    try:
        value = float(text) if text else None
    except ValueError as error:
        raise BadRequest(f"{name} is a time in seconds since 1970") from error
    if value is not None and not isfinite(value):
        raise BadRequest(f"{name} is a time in seconds since 1970")
    return value


def whole(value: Mapping[str, Any], name: str) -> int:
    """Return a whole number of a body. Raises BadRequest."""
    number = value.get(name)
    if not isinstance(number, int) or isinstance(number, bool) or not -(1 << 53) < number < 1 << 53:
        raise BadRequest(f"{name} is missing, or no whole number")
    return number
