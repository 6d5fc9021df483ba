"""Places in the order of results: the order values of a row.

A cursor is a place as text that a client hands back. It names content only, so it holds on every replica and after
a rebuild. For clients that page by offset, the places where pages ended are remembered for as long as nothing
changes, so that a far page need not pass over all the ones before.
"""

import base64
import binascii
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

import orjson

from dicomweb.errors import BadQuery
from dicomweb.index.ordering import WHOLE, fingerprint
from dicomweb.index.search import Plan, page
from dicomweb.index.session import Session


def write_cursor(plan: Plan, place: Sequence[Any]) -> str:
    """Return the cursor of a row."""
    return base64.urlsafe_b64encode(orjson.dumps([fingerprint(plan.level, plan.terms), *place])).decode().rstrip("=")


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
        or found[0] != fingerprint(plan.level, plan.terms)
        or not all(isinstance(value, str | int | float | bool) for value in found[1:])
    ):
        raise BadQuery("the cursor belongs to another search or order")
    place: list[Any] = found[1:]
    return place


_REMEMBERED = 4096


class Places:
    """Places where pages ended, lately; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: OrderedDict[tuple[Hashable, int], Sequence[Any]] = OrderedDict()

    def key(self, session: Session, plan: Plan) -> Hashable:
        """Return what names a search and the state of the index: the last change."""
        ((last,),) = session.rows("SELECT max(number) FROM change")
        statement = page(plan, None, WHOLE, 0, 0)
        return last, statement.sql, repr(statement.values)

    def get(self, key: Hashable, offset: int) -> Sequence[Any] | None:
        """Return the order values of the row before this offset, if they are remembered."""
        with self._lock:
            return self._places.get((key, offset))

    def put(self, key: Hashable, offset: int, place: Sequence[Any]) -> None:
        """Remember the order values of the row before this offset."""
        with self._lock:
            self._places[key, offset] = place
            self._places.move_to_end((key, offset))
            if len(self._places) > _REMEMBERED:
                self._places.popitem(last=False)
