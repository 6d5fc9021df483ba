"""Rows of `access_key`: API keys, of whose secret only a digest is held."""

from collections.abc import Sequence

import orjson

from dicomweb.access.keys import Key, write_identity
from dicomweb.access.rights import Scope, read_patient, write_patient
from dicomweb.index.forms import storable
from dicomweb.index.groups import Groups
from dicomweb.index.session import Engine, Session, SqlRow

_FIELDS = "id, digest, name, roles, scope, nodes, created, expires"


class AccessKeys:
    """API keys by their id.

    Args:
        engine: the database.
        groups: its writer.
    """

    def __init__(self, engine: Engine, groups: Groups) -> None:
        self._engine = engine
        self._groups = groups

    def all(self) -> list[Key]:
        """Return every key, the oldest first."""
        with self._engine.read() as session:
            return [_key(row) for row in session.rows(f"SELECT {_FIELDS} FROM access_key ORDER BY created, id")]

    def get(self, id: str) -> Key | None:
        """Return a key, or None."""
        with self._engine.read() as session:
            rows = session.rows(f"SELECT {_FIELDS} FROM access_key WHERE id = ?", (storable(id),))
        return _key(rows[0]) if rows else None

    def add(self, key: Key) -> None:
        """Keep a new key."""
        self._groups.do(self._do_add, key)

    def _do_add(self, session: Session, works: Sequence[Key]) -> list[None]:
        for key in works:
            scope = None
            if key.scope is not None:
                patients = sorted(write_patient(patient) for patient in key.scope.patients)
                scope = orjson.dumps({"studies": sorted(key.scope.studies), "patients": patients}).decode()
            nodes = None if key.nodes is None else orjson.dumps(sorted(key.nodes)).decode()
            session.run(
                f"INSERT INTO access_key ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(key.id, key.digest, storable(key.name), "+".join(sorted(key.roles)), scope, nodes),
                    *(key.created, key.expires),
                ),
            )
        return [None] * len(works)

    def drop(self, id: str) -> bool:
        """Forget a key, which opens nothing from then on, and the links that it made; say whether it was there."""
        found: bool = self._groups.do(self._do_drop, id)
        return found

    def _do_drop(self, session: Session, works: Sequence[str]) -> list[bool]:
        results = []
        for id in works:
            results.append(bool(session.rows("SELECT 1 FROM access_key WHERE id = ?", (storable(id),))))
            session.run("DELETE FROM access_key WHERE id = ?", (storable(id),))
            session.run("DELETE FROM share WHERE owner = ?", (storable(write_identity(id)),))
        return results


def _key(row: SqlRow) -> Key:
    id, digest, name, roles, scope, nodes, created, expires = row
    read = None
    if scope is not None:
        told = orjson.loads(scope)
        read = Scope(frozenset(told["studies"]), frozenset(map(read_patient, told["patients"])))
    named = None if nodes is None else frozenset(orjson.loads(nodes))
    return Key(id, digest, name, frozenset(roles.split("+")), read, named, created, expires)
