"""Rows of `visit`: what was fetched from which node for a viewer, and when, so that it need not be fetched again soon
and goes when its time is over (`archive.visits`)."""

import time
from collections.abc import Sequence

from dicomweb.index.forms import storable
from dicomweb.index.groups import Groups
from dicomweb.index.session import Engine, Session, as_list, one_of


class Visits:
    """Visits by node and resource, which is the UIDs of a study, series or instance with slashes between.

    Args:
        engine: the database.
        groups: its writer.
    """

    def __init__(self, engine: Engine, groups: Groups) -> None:
        self._engine = engine
        self._groups = groups

    def record(self, node: str, resource: str) -> None:
        """Record that all of a resource was fetched just now."""
        self._groups.do(self._do_record, (node, resource))

    def _do_record(self, session: Session, works: Sequence[tuple[str, str]]) -> list[None]:
        for node, resource in sorted(works):
            session.run(
                "INSERT INTO visit (node, resource, time) VALUES (?, ?, ?) "
                "ON CONFLICT (node, resource) DO UPDATE SET time = excluded.time",
                (storable(node), storable(resource), time.time()),
            )
        return [None] * len(works)

    def has(self, node: str, resource: str, since: float) -> bool:
        """Say whether a resource, or one that holds it, was fetched since a time (seconds since 1970)."""
        parts = resource.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        dialect = self._engine.dialect
        with self._engine.read() as session:
            return bool(
                session.rows(
                    f"SELECT 1 FROM visit WHERE node = ? AND {one_of(dialect, 'resource')} AND time >= ? LIMIT 1",
                    (storable(node), as_list(dialect, above), since),
                )
            )

    def over(self, before: float) -> list[tuple[str, str]]:
        """Return node and Study Instance UID of every study of which nothing was fetched since a time."""
        with self._engine.read() as session:
            rows = session.rows("SELECT node, resource, time FROM visit")
        latest: dict[tuple[str, str], float] = {}
        for node, resource, moment in rows:
            study = (node, resource.split("/")[0])
            latest[study] = max(latest.get(study, 0.0), moment)
        return sorted(study for study, moment in latest.items() if moment < before)

    def forget(self, node: str, study: str) -> None:
        """Forget what was fetched of a study."""
        self._groups.do(self._do_forget, (node, study))

    def _do_forget(self, session: Session, works: Sequence[tuple[str, str]]) -> list[None]:
        for node, study in works:
            session.run(
                "DELETE FROM visit WHERE node = ? AND (resource = ? OR resource LIKE ?)",
                (storable(node), storable(study), f"{storable(study)}/%"),
            )
        return [None] * len(works)
