"""The change feed: numbered rows, of which a reader who goes on from the last number misses none.

SQLite has one writer, so numbers are counted. PostgreSQL commits transactions in another order than they began, so
a number is made of the transaction's own number and a place within it. Whatever commits later then has a number
above the oldest open transaction's, and readers stop below that one. Transaction numbers begin anew when a database
is restored into another server; `start` is added to them so that the feed goes on upwards.
"""

from collections.abc import Sequence

from dicomweb.index import Change
from dicomweb.index.session import Session

_KINDS = {"stored": 1, "replaced": 2, "deleted": 3}
_KIND_OF = {number: kind for kind, number in _KINDS.items()}
_PLACES = 1 << 20
"""Changes that one transaction may record."""


def record(session: Session, kind: str, versions: Sequence[int], time: float) -> None:
    """Append a change of each of these versions.

    Args:
        session: the transaction that changes them.
        kind: "stored", "replaced" or "deleted".
        versions: which.
        time: seconds since 1970.
    """
    if session.dialect == "sqlite":
        sql = "INSERT INTO change (kind, version, time) VALUES (?, ?, ?)"
        session.many(sql, [(_KINDS[kind], version, time) for version in versions])
        return
    sql = (
        f"WITH feed (start) AS (SELECT (pg_current_xact_id()::text::bigint + value::bigint) * {_PLACES} "
        "FROM about WHERE name = 'feed') INSERT INTO change (number, kind, version, time) "
        "SELECT feed.start + (SELECT count(*) FROM change WHERE number >= feed.start) + given.place, "
        "?, given.version, ? FROM feed, unnest(?::bigint[]) WITH ORDINALITY AS given (version, place)"
    )
    session.run(sql, (_KINDS[kind], time, list(versions)))


def read(session: Session, after: int, limit: int) -> list[Change]:
    """Return changes with a number above `after`, in order, none of which is missing that may commit later."""
    settled = ""
    if session.dialect == "postgresql":
        settled = (
            "AND ch.number < (SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + value::bigint) "
            f"* {_PLACES} FROM about WHERE name = 'feed') "
        )
    rows = session.rows(
        "SELECT ch.number, ch.kind, ch.version, ch.time, COALESCE(st.uid, gone.study), "
        "COALESCE(se.uid, gone.series), COALESCE(ins.uid, gone.instance) FROM change ch "
        "LEFT JOIN instance ins ON ins.version = ch.version LEFT JOIN series se ON se.id = ins.series "
        "LEFT JOIN study st ON st.id = se.study LEFT JOIN gone ON gone.version = ch.version "
        f"WHERE ch.number > ? {settled}ORDER BY ch.number LIMIT ?",
        (after, limit),
    )
    return [
        Change(number, _KIND_OF[kind], study, series, instance, version, time)  # type: ignore[arg-type]
        for number, kind, version, time, study, series, instance in rows
    ]


def start(session: Session, now: int) -> int:
    """Return what has to be added to PostgreSQL's transaction numbers, so that the next is above all there are.

    Args:
        session: a transaction.
        now: what is added so far.
    """
    ((last, transaction),) = session.rows(
        "SELECT COALESCE(max(number), 0), pg_current_xact_id()::text::bigint FROM change"
    )
    needed: int = last // _PLACES + 1 - transaction
    return max(now, needed)
