"""Rows of `refusal`: associations, requests and instances that were refused, each with its reason in plain words.

The same refusal of the same caller is one row that counts, so that a device that tries for a whole night
neither fills the table nor pushes the others out.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass

from dicomweb.index.forms import storable
from dicomweb.index.groups import Groups
from dicomweb.index.session import Engine, Session

KEPT = 10_000
"""Rows that are kept; the ones that happened longest ago go first."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was refused.

    Attributes:
        kind: association, context, request, query or instance.
        calling, called: AE titles as the caller gave them.
        address: where it called from.
        node: name of the node that it is, or "".
        reason: one sentence.
        advice: what to change, or "".
    """

    kind: str
    calling: str
    called: str
    address: str
    node: str
    reason: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """A refusal, and when it happened: `first`, `last` (seconds since 1970), `count` times."""

    id: int
    refusal: Refusal
    first: float
    last: float
    count: int


_FIELDS = "kind, calling, called, address, node, reason, advice"


class Refusals:
    """Refusals, the latest first.

    Args:
        engine: the database.
        groups: its writer.
    """

    def __init__(self, engine: Engine, groups: Groups, kept: int = KEPT) -> None:
        self._engine = engine
        self._groups = groups
        self._kept = kept

    def add(self, refusal: Refusal) -> None:
        """Record that something was refused just now."""
        self._groups.do(self._do_add, refusal)

    def _do_add(self, session: Session, works: Sequence[Refusal]) -> list[None]:
        now = time.time()
        for refusal in sorted(works, key=_digest):
            values = [storable(str(value)[:1000]) for value in astuple(refusal)]
            session.run(
                f"INSERT INTO refusal (digest, {_FIELDS}, first, last, count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1) "
                "ON CONFLICT (digest) DO UPDATE SET last = excluded.last, count = refusal.count + 1",
                (_digest(refusal), *values, now, now),
            )
        session.run(
            "DELETE FROM refusal WHERE last < (SELECT last FROM refusal ORDER BY last DESC, id DESC LIMIT 1 OFFSET ?)",
            (self._kept - 1,),
        )
        return [None] * len(works)

    def latest(self, limit: int = 100, before: float | None = None) -> list[RefusalRow]:
        """Return refusals that happened before a time (None: now), the latest first."""
        with self._engine.read() as session:
            rows = session.rows(
                f"SELECT id, {_FIELDS}, first, last, count FROM refusal WHERE last < ? "
                "ORDER BY last DESC, id DESC LIMIT ?",
                (time.time() + 1e6 if before is None else before, limit),
            )
        return [RefusalRow(row[0], Refusal(*row[1:8]), *row[8:]) for row in rows]

    def clear(self) -> None:
        """Forget all."""
        self._groups.do(self._do_clear, None)

    def _do_clear(self, session: Session, works: Sequence[None]) -> list[None]:
        session.run("DELETE FROM refusal")
        return [None] * len(works)


def _digest(refusal: Refusal) -> str:
    return hashlib.sha256("\n".join(asdict(refusal).values()).encode("utf-8", "surrogatepass")).hexdigest()
