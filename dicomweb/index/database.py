"""The Index over a database: what SQLite and PostgreSQL have in common, which is all but connections."""

import time
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson

from dicomweb.access.rights import Scope
from dicomweb.errors import ForeignStudy, Unavailable
from dicomweb.index import Entry, Found, Held, Intent, Row, Tombstone, upgrades
from dicomweb.index.access import AccessKeys
from dicomweb.index.finding import Finder, foreign
from dicomweb.index.forms import storable
from dicomweb.index.groups import Groups
from dicomweb.index.jobs import Jobs
from dicomweb.index.nodes import NodeRows
from dicomweb.index.owners import this_process
from dicomweb.index.reading import Reader
from dicomweb.index.refusals import Refusals
from dicomweb.index.rows import key_form
from dicomweb.index.schema import FILL_USAGE, TABLES
from dicomweb.index.session import Engine, Session, SqlRow, among, lock
from dicomweb.index.shares import Shares
from dicomweb.index.visits import Visits
from dicomweb.index.writing import Ready, Writer
from dicomweb.standard.query import Query

_TOMBSTONE = "version, key, study, series, instance, versions, time, reason, kind"


class Database(Reader):
    """An Index (see `dicomweb.index.Index`) over an engine.

    Args:
        engine: the database; its schema is up to date.
        scan_limit: instances whose metadata one search may read for keys that have no column.
    """

    def __init__(self, engine: Engine, scan_limit: int) -> None:
        super().__init__(engine)
        self._groups = Groups(engine)
        self._owner = this_process()
        self._finder = Finder(engine, self._codes, self._read_metadata, scan_limit)
        self.nodes = NodeRows(engine, self._groups)
        self.jobs = Jobs(engine, self._groups)
        self.refusals = Refusals(engine, self._groups)
        self.visits = Visits(engine, self._groups)
        self.keys = AccessKeys(engine, self._groups)
        self.shares = Shares(engine, self._groups)

    # -- searches ----------------------------------------------------------------------------------------
    def search(self, query: Query, scope: Scope | None = None) -> Found:
        """See Index."""
        return self._finder.search(query, scope)

    def lookup(self, text: str, limit: int, scope: Scope | None = None) -> list[Row]:
        """See Index."""
        return self._finder.lookup(text, limit, scope)

    def in_scope(self, study: str, scope: Scope) -> bool:
        """See Index."""
        return self._finder.in_scope(study, scope)

    def admits(self, study: str, scope: Scope) -> bool:
        """See Index."""
        if study in scope.studies or not scope.patients:
            return study in scope.studies
        with self._engine.read() as session:
            return not foreign(session, {study}, scope)[0]

    # -- writing -----------------------------------------------------------------------------------------
    def intend(self, intents: Sequence[Intent]) -> None:
        """See Index."""
        if intents:
            lasting = any(intent.kind == "tombstone" for intent in intents)
            self._groups.do(self._do_intend, intents, lasting)

    def intend_new(self, intents: Sequence[tuple[Intent, str]]) -> dict[str, Held]:
        """See Index."""
        found: dict[str, Held] = self._groups.do(self._do_intend_new, intents, False) if intents else {}
        if found:
            self._engine.settle()
        return found

    def _do_intend_new(self, session: Session, works: Sequence[Sequence[tuple[Intent, str]]]) -> list[dict[str, Held]]:
        current = self._current(session, (instance for work in works for _, instance in work))
        present = [
            {instance: current[storable(instance)] for _, instance in work if storable(instance) in current}
            for work in works
        ]
        self._do_intend(
            session,
            [
                [intent for intent, instance in work if instance not in found]
                for work, found in zip(works, present, strict=True)
            ],
        )
        return present

    def _do_intend(self, session: Session, works: Sequence[Sequence[Intent]]) -> list[None]:
        now = time.time()
        rows = [
            (intent.version, storable(intent.key), intent.kind, self._owner, now) for work in works for intent in work
        ]
        if rows:
            session.many("INSERT INTO pending (version, key, kind, owner, time) VALUES (?, ?, ?, ?, ?)", rows)
        return [None] * len(works)

    def doubtful(self) -> bool:
        """See Index."""
        return self._engine.doubtful()

    def trust(self) -> None:
        """See Index."""
        self._engine.trust()

    def commit(self, entries: Sequence[Entry], scope: Scope | None = None) -> list[Held | ForeignStudy | None]:
        """See Index."""
        if not entries:
            return []
        ready = self._ready(entries)
        found: list[Held | ForeignStudy | None] = (
            self._groups.do(self._do_commit, ready)
            if scope is None
            else self._groups.do(self._do_commit_scoped, (ready, scope))
        )
        return found

    def _do_commit_scoped(self, session: Session, works: Sequence[tuple[Sequence[Ready], Scope]]) -> list[Any]:
        """Commit one work after the other, since what one of them stores decides about the next."""
        results: list[Any] = []
        for work, scope in works:
            judged = {item.entry.held.study for item in work} - scope.studies
            barred, absent = foreign(session, judged, scope, locked=True)
            admitted = [item for item in work if item.entry.held.study not in barred]
            (found,) = self._do_commit(session, [admitted], absent)
            if isinstance(found, list):
                if len(admitted) < len(work):  # or a sweep would take it in, if the process ended now
                    refused = [item.entry.held.version for item in work if item.entry.held.study in barred]
                    self._do_abandon(session, [refused])
                held = iter(found)
                found = [ForeignStudy() if item.entry.held.study in barred else next(held) for item in work]
            results.append(found)
        return results

    def _do_commit(self, session: Session, works: Sequence[Sequence[Ready]], absent: Collection[str] = ()) -> list[Any]:
        pending = self._pending(session, (item.entry.held.version for work in works for item in work))
        holders = self._current(session, (item.entry.held.instance for work in works for item in work))
        results: list[Any] = []
        chosen: list[Ready] = []
        for work in works:
            if any(item.entry.held.version not in pending for item in work):
                results.append(_swept())
                continue
            found: list[Held | None] = []
            for item in work:
                held = item.entry.held
                uid = storable(held.instance)
                found.append(holders.get(uid))
                if uid not in holders:
                    holders[uid] = held
                    chosen.append(item)
            results.append(found)
        if chosen:
            self._writer(session).add(chosen, current=True, absent=absent)
            self._drop_intents(session, [item.entry.held.version for item in chosen])
        return results

    def keep(self, entries: Sequence[Entry]) -> None:
        """See Index."""
        if entries:
            self._groups.do(self._do_keep, self._ready(entries))

    def _do_keep(self, session: Session, works: Sequence[Sequence[Ready]]) -> list[Any]:
        pending = self._pending(session, (item.entry.held.version for work in works for item in work))
        results: list[Any] = []
        chosen: list[Ready] = []
        for work in works:
            swept = any(item.entry.held.version not in pending for item in work)
            results.append(_swept() if swept else None)
            chosen += [] if swept else work
        if chosen:
            self._writer(session).add(chosen, current=False)
            self._drop_intents(session, [item.entry.held.version for item in chosen])
        return results

    def replace(self, entry: Entry, tombstone: Tombstone) -> Held | None:
        """See Index."""
        held: Held | None = self._groups.do(self._do_replace, (self._ready([entry])[0], tombstone))
        return held

    def _do_replace(self, session: Session, works: Sequence[tuple[Ready, Tombstone]]) -> list[Any]:
        results: list[Any] = []
        for ready, tombstone in works:
            held = ready.entry.held
            if held.version not in self._pending(session, [held.version]):
                results.append(_swept())
                continue
            holder = self._current(session, [held.instance]).get(storable(held.instance))
            if holder is not None and holder.version not in tombstone.versions:
                results.append(holder)
                continue
            writer = self._writer(session)
            removed = writer.remove(tombstone.versions, tombstone.version, kind=None)
            writer.add([ready], current=True, kind="replaced" if removed else "stored")
            self._remember(session, tombstone)
            self._drop_intents(session, [held.version, tombstone.version])
            results.append(None)
        return results

    def enter(self, entry: Entry, graves: Mapping[int, Tombstone]) -> None:
        """See Index."""
        self._groups.do(self._do_enter, (self._ready([entry])[0], graves))

    def _do_enter(self, session: Session, works: Sequence[tuple[Ready, Mapping[int, Tombstone]]]) -> list[None]:
        for ready, graves in works:
            held = ready.entry.held
            if not self._pending(session, [held.version]):
                if self._known(session, [held.version], ("instance", "garbage")):
                    continue
                self._do_intend(session, [[Intent(held.version, held.key)]])
            self._take_in(session, ready, graves)
        return [None] * len(works)

    def adopt(self, entry: Entry, graves: Mapping[int, Tombstone]) -> None:
        """See Index."""
        self._groups.do(self._do_adopt, (self._ready([entry])[0], graves))

    def _do_adopt(self, session: Session, works: Sequence[tuple[Ready, Mapping[int, Tombstone]]]) -> list[None]:
        for ready, graves in works:
            if self._pending(session, [ready.entry.held.version]):
                self._take_in(session, ready, graves)
        return [None] * len(works)

    def _take_in(self, session: Session, ready: Ready, graves: Mapping[int, Tombstone]) -> None:
        """Make what is intended current, or a version that is not, as `enter` says."""
        ((holder,),) = self._do_commit(session, [[ready]])
        while holder is not None:
            if (grave := graves.get(holder.version)) is not None:
                (holder,) = self._do_replace(session, [(ready, grave)])
            else:
                self._do_keep(session, [[ready]])
                break

    def forget(self, versions: Sequence[int]) -> None:
        """See Index."""
        if versions:
            self._groups.do(self._do_forget, versions)

    def _do_forget(self, session: Session, works: Sequence[Sequence[int]]) -> list[None]:
        self._drop_intents(session, [version for work in works for version in work])
        return [None] * len(works)

    def abandon(self, versions: Sequence[int]) -> list[tuple[int, str]]:
        """See Index."""
        gone: list[tuple[int, str]] = self._groups.do(self._do_abandon, versions) if versions else []
        return gone

    def _do_abandon(self, session: Session, works: Sequence[Sequence[int]]) -> list[list[tuple[int, str]]]:
        results = []
        for versions in works:
            condition, value = among(self._dialect, "version", sorted(versions))
            rows = session.rows(
                f"SELECT version, key FROM pending WHERE {condition} ORDER BY version{lock(self._dialect)}", (value,)
            )
            if rows:
                gone = [(version, key, 0) for version, key in rows]
                session.many("INSERT INTO garbage (version, key, tombstone) VALUES (?, ?, ?)", gone)
                self._drop_intents(session, [version for version, _ in rows])
            results.append([(version, key) for version, key in rows])
        return results

    def delete(self, tombstone: Tombstone) -> int:
        """See Index."""
        gone: int = self._groups.do(self._do_delete, tombstone)
        return gone

    def _do_delete(self, session: Session, works: Sequence[Tombstone]) -> list[int]:
        results = []
        for tombstone in works:
            results.append(self._writer(session).remove(tombstone.versions, tombstone.version, "deleted"))
            self._remember(session, tombstone)
            self._drop_intents(session, [tombstone.version])
        return results

    def collected(self, versions: Sequence[int]) -> None:
        """See Index."""
        if versions:
            self._groups.do(self._do_collected, versions)

    def _do_collected(self, session: Session, works: Sequence[Sequence[int]]) -> list[None]:
        condition, value = among(self._dialect, "version", [version for work in works for version in work])
        session.run(
            f"DELETE FROM garbage WHERE {condition} AND NOT EXISTS "
            "(SELECT 1 FROM instance WHERE instance.version = garbage.version)",
            (value,),
        )
        return [None] * len(works)

    def expire(self, before: float) -> list[Tombstone]:
        """See Index."""
        found: list[Tombstone] = self._groups.do(self._do_expire, before)
        return found

    def _do_expire(self, session: Session, works: Sequence[float]) -> list[list[Tombstone]]:
        results = []
        for before in works:
            rows = session.rows(
                f"SELECT {_TOMBSTONE} FROM tombstone WHERE time < ? AND NOT EXISTS "
                "(SELECT 1 FROM garbage WHERE garbage.tombstone = tombstone.version) "
                f"ORDER BY version{lock(self._dialect)}",
                (before,),
            )
            found = [_tombstone(row) for row in rows]
            condition, value = among(self._dialect, "version", [tombstone.version for tombstone in found])
            session.run(f"DELETE FROM tombstone WHERE {condition}", (value,))
            results.append(found)
        return results

    def recount(self) -> None:
        """See Index. The file of SQLite is of one machine, whose programs are of one version."""
        if self._dialect == "postgresql":
            self._groups.do(self._do_recount, None)

    def _do_recount(self, session: Session, works: Sequence[None]) -> list[None]:
        # Whoever has written to the table has committed once it is locked; whoever comes later adds to the new figure.
        session.run("LOCK TABLE usage IN EXCLUSIVE MODE")
        session.run("DELETE FROM usage")
        session.run(FILL_USAGE)
        return [None] * len(works)

    def clear(self) -> None:
        """See Index."""
        self._groups.do(self._do_clear, None)
        self._dictionaries.clear()

    def _do_clear(self, session: Session, works: Sequence[None]) -> list[None]:
        if self._dialect == "postgresql":
            session.run(f"TRUNCATE {', '.join(TABLES)}")
        else:
            for table in TABLES:
                session.run(f"DELETE FROM {table}")
        return [None] * len(works)

    def belong(self, storage: str = "", anew: bool = False) -> str:
        """See Index."""
        if not storage:
            with self._engine.read() as session:
                return upgrades.read(session).get("storage", "")
        found: str = self._groups.do(self._do_belong, (storage, anew))
        return found

    def _do_belong(self, session: Session, works: Sequence[tuple[str, bool]]) -> list[str]:
        results = []
        for storage, anew in works:
            session.run("INSERT INTO about (name, value) VALUES ('storage', ?) ON CONFLICT DO NOTHING", (storage,))
            if anew:
                session.run("UPDATE about SET value = ? WHERE name = 'storage'", (storage,))
            results.append(upgrades.read(session)["storage"])
        return results

    def _ready(self, entries: Sequence[Entry]) -> list[Ready]:
        """Do before the transaction what does not need it: codes, and compression."""
        places = [key_form(entry.held) for entry in entries]
        texts = {place for place in places if place is not None}
        for entry in entries:
            texts |= {storable(entry.held.sop_class), storable(entry.held.syntax)}
        missing = self._codes.missing(texts)
        if missing:
            self._groups.do(self._do_codes, missing)
            with self._engine.read() as session:
                self._codes.load(session, missing)
        made = self._dictionaries.pieces(entries, self._find_dictionary)
        return [
            Ready(entry, place, piece, text) for entry, place, (piece, text) in zip(entries, places, made, strict=True)
        ]

    def _do_codes(self, session: Session, works: Sequence[list[str]]) -> list[None]:
        self._codes.make(session, {text for work in works for text in work})
        return [None] * len(works)

    def _find_dictionary(self, study: str, series: str) -> tuple[int, bytes] | None:
        with self._engine.read() as session:
            rows = session.rows(
                "SELECT di.id, di.data FROM study st JOIN series se ON se.study = st.id "
                "JOIN dictionary di ON di.id = se.dictionary WHERE st.uid = ? AND se.uid = ?",
                (storable(study), storable(series)),
            )
        return (rows[0][0], zlib.decompress(rows[0][1])) if rows else None

    def _writer(self, session: Session) -> Writer:
        return Writer(session, self._codes, time.time(), self._read_dataset)

    def _read_dataset(self, session: Session, version: int) -> dict[str, Any]:
        dataset: dict[str, Any] = orjson.loads(self._read_metadata(session, [version])[version])
        return dataset

    def _pending(self, session: Session, versions: Iterable[int]) -> set[int]:
        condition, value = among(self._dialect, "version", sorted(versions))
        return {
            row[0]
            for row in session.rows(
                f"SELECT version FROM pending WHERE {condition} ORDER BY version{lock(self._dialect)}",
                (value,),
            )
        }

    def _drop_intents(self, session: Session, versions: Sequence[int]) -> None:
        condition, value = among(self._dialect, "version", versions)
        session.run(f"DELETE FROM pending WHERE {condition}", (value,))

    def _remember(self, session: Session, tombstone: Tombstone) -> None:
        session.run(
            f"INSERT INTO tombstone ({_TOMBSTONE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (version) DO NOTHING",
            (
                tombstone.version,
                storable(tombstone.key),
                storable(tombstone.study),
                None if tombstone.series is None else storable(tombstone.series),
                None if tombstone.instance is None else storable(tombstone.instance),
                orjson.dumps(tombstone.versions),
                tombstone.time,
                storable(tombstone.reason),
                tombstone.kind,
            ),
        )

    def deletions(self, limit: int, before: float | None = None) -> list[Tombstone]:
        """See Index."""
        with self._engine.read() as session:
            rows = session.rows(
                f"SELECT {_TOMBSTONE} FROM tombstone WHERE kind = 'deleted' AND time < ? "
                "ORDER BY time DESC, version DESC LIMIT ?",
                (float("1e300") if before is None else before, limit),
            )
        return [_tombstone(row) for row in rows]

    def check(self) -> None:
        """See Index."""
        self._engine.check()

    def close(self) -> None:
        """See Index."""
        self._engine.close()


def _swept() -> Unavailable:
    return Unavailable("what was begun for the object is no longer known to the index; send it again")


def _tombstone(row: SqlRow) -> Tombstone:
    version, key, study, series, instance, versions, moment, reason, kind = row
    return Tombstone(version, key, study, series, instance, tuple(orjson.loads(versions)), moment, reason, kind)
