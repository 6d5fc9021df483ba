"""Rows of `share`: links to studies, of whose secrets only digests are held."""

import time
from collections.abc import Sequence
from dataclasses import astuple, fields

from dicomweb.access.keys import read_identity
from dicomweb.access.shares import MOST_WRONG, Share
from dicomweb.index.forms import storable
from dicomweb.index.groups import Groups
from dicomweb.index.session import Engine, Session, SqlRow, lock

KEPT = 30 * 86_400.0
"""Seconds for which a link that has ended is still listed."""

_NAMES = ("id", "digest", "seal", "study", "permitted", "maker", "created", "expires")
_FIELDS = ", ".join((*_NAMES, "passphrase", "most", "opened", "wrong", "owner"))


class Shares:
    """Links by their id.

    Args:
        engine: the database.
        groups: its writer.
    """

    def __init__(self, engine: Engine, groups: Groups) -> None:
        self._engine = engine
        self._groups = groups

    def all(self) -> list[Share]:
        """Return every link, the latest first."""
        with self._engine.read() as session:
            return [Share(*row) for row in session.rows(f"SELECT {_FIELDS} FROM share ORDER BY created DESC, id")]

    def get(self, id: str) -> Share | None:
        """Return a link, or None."""
        with self._engine.read() as session:
            return _get(session, id)

    def add(self, share: Share) -> bool:
        """Keep a new link, and say whether it is kept: not if the key that makes it has been revoked meanwhile. Those
        that ended long ago are forgotten."""
        kept: bool = self._groups.do(self._do_add, share)
        return kept

    def _do_add(self, session: Session, works: Sequence[Share]) -> list[bool]:
        session.run("DELETE FROM share WHERE expires < ?", (time.time() - KEPT,))
        marks = ", ".join("?" * len(fields(Share)))
        results = []
        for share in works:
            # Whoever revokes the key waits until the link is there, to be dropped with it
            key = read_identity(share.owner)
            asked = f"SELECT 1 FROM access_key WHERE id = ?{lock(session.dialect)}"
            results.append(key is None or bool(session.rows(asked, (storable(key),))))
            if not results[-1]:
                continue
            values = [storable(value) if isinstance(value, str) else value for value in astuple(share)]
            session.run(f"INSERT INTO share ({_FIELDS}) VALUES ({marks})", values)
        return results

    def open(self, id: str) -> Share | None:
        """Count one more opening; return the link as it was before, None if it is not there. One that was closed
        stays as it is."""
        found: Share | None = self._groups.do(self._do_open, id)
        return found

    def _do_open(self, session: Session, works: Sequence[str]) -> list[Share | None]:
        results = []
        for id in works:
            share = _get(session, id, lock(session.dialect))
            results.append(share)
            if share is not None and not share.closed:
                session.run("UPDATE share SET opened = opened + 1 WHERE id = ?", (share.id,))
        return results

    def try_passphrase(self, id: str) -> bool:
        """Count a passphrase that is going to be compared as a wrong one; say whether one more may be tried.
        So however many are tried at once, no more than `MOST_WRONG` are ever compared."""
        may: bool = self._groups.do(self._do_try, id)
        return may

    def _do_try(self, session: Session, works: Sequence[str]) -> list[bool]:
        results = []
        for id in works:
            share = _get(session, id, lock(session.dialect))
            may = share is not None and share.wrong < MOST_WRONG
            if may:
                session.run("UPDATE share SET wrong = wrong + 1 WHERE id = ?", (storable(id),))
            results.append(may)
        return results

    def was_right(self, id: str) -> None:
        """Forget that passphrases were wrong: one was right."""
        self._groups.do(self._do_right, id)

    def _do_right(self, session: Session, works: Sequence[str]) -> list[None]:
        for id in works:
            session.run("UPDATE share SET wrong = 0 WHERE id = ?", (storable(id),))
        return [None] * len(works)

    def drop_of(self, owner: str) -> int:
        """Forget all links of somebody; return how many there were."""
        count: int = self._groups.do(self._do_drop_of, owner)
        return count

    def _do_drop_of(self, session: Session, works: Sequence[str]) -> list[int]:
        results = []
        for owner in works:
            ((count,),) = session.rows("SELECT count(*) FROM share WHERE owner = ?", (storable(owner),))
            session.run("DELETE FROM share WHERE owner = ?", (storable(owner),))
            results.append(int(count))
        return results

    def drop(self, id: str) -> bool:
        """Forget a link, which opens nothing from then on; say whether it was there."""
        found: bool = self._groups.do(self._do_drop, id)
        return found

    def _do_drop(self, session: Session, works: Sequence[str]) -> list[bool]:
        results = []
        for id in works:
            results.append(_get(session, id) is not None)
            session.run("DELETE FROM share WHERE id = ?", (storable(id),))
        return results


def _get(session: Session, id: str, locked: str = "") -> Share | None:
    rows: list[SqlRow] = session.rows(f"SELECT {_FIELDS} FROM share WHERE id = ?{locked}", (storable(id),))
    return Share(*rows[0]) if rows else None
