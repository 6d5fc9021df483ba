"""A database connection in use, as the rest of the index sees it: SQL with `?` for parameters, rows as tuples.

SQLite and PostgreSQL get the same statements but for the few differences that `Session` names.
"""

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import orjson

from dicomweb.errors import TookTooLong, Unavailable
from dicomweb.index.schema import Dialect

Values: TypeAlias = Sequence[Any]
SqlRow: TypeAlias = tuple[Any, ...]


class Again(Unavailable):
    """Another transaction got in the way; the same one, begun anew, may well succeed."""


class Session(Protocol):
    """A connection, inside a transaction if it writes."""

    dialect: Dialect

    def rows(self, sql: str, values: Values = ()) -> list[SqlRow]:
        """Run a query and return all its rows."""

    def planned(self, sql: str, values: Values = ()) -> list[SqlRow]:
        """As `rows`, and the way is chosen for these very values: for conditions of which some leave few rows and
        others nearly all."""

    def run(self, sql: str, values: Values = ()) -> None:
        """Run a statement; what is wrong with it may be raised by a later one, at the latest by the commit."""

    def many(self, sql: str, rows: Iterable[Values]) -> None:
        """Run a statement once for each of these values."""

    def insert(self, table: str, columns: Sequence[str], values: Values) -> int:
        """Insert a row with an id of its own and return the id.

        Raises:
            Again: another transaction inserted a row with the same unique key.
        """


class Engine(Protocol):
    """A database: gives out sessions and turns the driver's errors into ours."""

    dialect: Dialect

    def read(self, patient: bool = False) -> AbstractContextManager[Session]:
        """A session for reading. A query that fails because its connection was lost is repeated once.

        Args:
            patient: the limit on time does not hold: what is asked reads the whole index.

        Raises:
            TookTooLong: the queries of the session took longer than the limit; the one that was running was stopped.
        """

    def write(self, lasting: bool = True) -> AbstractContextManager[Session]:
        """A session in a transaction that is durable when the block ends, and undone if the block raises.

        Args:
            lasting: False where it is enough that the death of this process does not undo it. That of the machine
                may, unless a lasting transaction came after it; then the engine is `doubtful` afterwards.

        Raises:
            Again: the transaction was undone because of another one.
            Unavailable: the database did not answer, or what was committed, and can be read, could not be
                made durable.
        """

    def settle(self) -> None:
        """Return when all that can be read now is durable: whoever reads may see what a transaction wrote before that
        is durable.

        Raises:
            Unavailable: it cannot be made durable.
        """

    def doubtful(self) -> bool:
        """Whether transactions that were not to last may have been lost since `trust` was last called."""

    def trust(self) -> None:
        """Say that what may have been lost is made good."""

    def check(self) -> None:
        """Raise Unavailable if the database cannot be reached or written."""

    def close(self) -> None:
        """Release connections."""


class Deadline:
    """When a session has to be over.

    Args:
        seconds: from now; 0 is never.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds if seconds else math.inf

    def over(self) -> bool:
        """Say whether it is past."""
        return time.monotonic() > self._end

    def check(self) -> None:
        """Raise TookTooLong if it is past."""
        if self.over():
            raise self.error()

    def error(self) -> TookTooLong:
        """What to raise then."""
        return TookTooLong(
            f"this took the index longer than the {self._seconds:g} seconds of limit_query_seconds and was stopped"
        )


def one_of(dialect: Dialect, expression: str) -> str:
    """Return the SQL condition that an expression equals one of a list, which is one parameter (see `as_list`)."""
    if dialect == "sqlite":
        return f"{expression} IN (SELECT value FROM json_each(?))"
    return f"{expression} = ANY(?)"


def as_list(dialect: Dialect, values: Iterable[Any]) -> Any:
    """Return the parameter for `one_of`."""
    found = list(values)
    if dialect == "postgresql":
        return found
    return orjson.dumps(found).decode()


def among(dialect: Dialect, expression: str, values: Iterable[Any]) -> tuple[str, Any]:
    """Return the SQL condition that an expression equals one of these values, and its one parameter. A single value
    is compared as it is, which SQLite does three times faster."""
    found = list(values)
    if len(found) == 1:
        return f"{expression} = ?", found[0]
    return one_of(dialect, expression), as_list(dialect, found)


def lock(dialect: Dialect, strength: str = "UPDATE") -> str:
    """Return the clause that locks the rows of a query until the transaction ends; SQLite has one writer."""
    return f" FOR {strength}" if dialect == "postgresql" else ""
