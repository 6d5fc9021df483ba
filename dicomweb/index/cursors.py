"""Cursors: the order values of a row, as text that a client hands back. They name content only, so they hold on
every replica and after a rebuild."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson

from dicomweb.errors import BadQuery
from dicomweb.index.search import Plan, fingerprint


def write_cursor(plan: Plan, place: Sequence[Any]) -> str:
    """Return the cursor of a row."""
    return base64.urlsafe_b64encode(orjson.dumps([fingerprint(plan), *place])).decode().rstrip("=")


def read_cursor(plan: Plan, cursor: str) -> list[Any]:
    """Undo `write_cursor`.

    Raises:
        BadQuery: it is no cursor, or one of another level or order.
    """
    try:
        found = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        raise BadQuery("the cursor is none that this server gave out") from error
    if (
        not isinstance(found, list)
        or len(found) != 1 + len(plan.terms)
        or found[0] != fingerprint(plan)
        or not all(isinstance(value, str | int | float | bool) for value in found[1:])
    ):
        raise BadQuery("the cursor belongs to another search or order")
    place: list[Any] = found[1:]
    return place
