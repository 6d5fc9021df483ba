"""The Index over a database: what SQLite and PostgreSQL have in common, which is all but connections."""

import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from dicomweb.errors import Conflict, Gone, NotFound, Unavailable
from dicomweb.index import Change, Counts, Entry, Found, Held, Intent, Row, Tombstone
from dicomweb.index.codes import Codes
from dicomweb.index.finding import Finder
from dicomweb.index.forms import read_column, storable
from dicomweb.index.groups import Groups
from dicomweb.index.owners import this_process
from dicomweb.index.pieces import Dictionaries, expand
from dicomweb.index.rows import fill_key, key_form
from dicomweb.index.schema import MISSING, TABLES
from dicomweb.index.session import Engine, Session, SqlRow, as_list, lock, one_of
from dicomweb.index.writing import KINDS, Ready, Writer
from dicomweb.standard.query import Query

_HELD = (
    "ins.version, ins.key, ins.place, st.uid, se.uid, ins.uid, ins.class, ins.syntax, ins.size, ins.digest, ins.sort"
)
_INSTANCES = "instance ins JOIN series se ON se.id = ins.series JOIN study st ON st.id = se.study"
_TOMBSTONE = "version, key, study, series, instance, versions, time, reason, kind"
_KIND_OF = {number: kind for kind, number in KINDS.items()}
# A piece is at most this many versions, so that one statement does not bring all metadata into memory.
_PAGE = 500


class Database:
    """An Index (see `dicomweb.index.Index`) over an engine.

    Args:
        engine: the database; its schema is up to date.
        scan_limit: instances whose metadata one search may read for keys that have no column.
    """

    def __init__(self, engine: Engine, scan_limit: int) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        self._codes = Codes()
        self._dictionaries = Dictionaries()
        self._groups = Groups(engine)
        self._owner = this_process()
        self._finder = Finder(engine, self._codes, self._read_metadata, scan_limit)

    # -- writing -----------------------------------------------------------------------------------------
    def intend(self, intents: Sequence[Intent]) -> None:
        """See Index."""
        if intents:
            self._groups.do(self._do_intend, intents)

    def _do_intend(self, session: Session, works: Sequence[Sequence[Intent]]) -> list[None]:
        now = time.time()
        session.many(
            "INSERT INTO pending (version, key, kind, owner, time) VALUES (?, ?, ?, ?, ?)",
            [
                (intent.version, storable(intent.key), intent.kind, self._owner, now)
                for work in works
                for intent in work
            ],
        )
        return [None] * len(works)

    def commit(self, entries: Sequence[Entry]) -> list[Held | None]:
        """See Index."""
        if not entries:
            return []
        held: list[Held | None] = self._groups.do(self._do_commit, self._ready(entries))
        return held

    def _do_commit(self, session: Session, works: Sequence[Sequence[Ready]]) -> list[Any]:
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
            self._writer(session).add(chosen, current=True)
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

    def forget(self, versions: Sequence[int]) -> None:
        """See Index."""
        if versions:
            self._groups.do(self._do_forget, versions)

    def _do_forget(self, session: Session, works: Sequence[Sequence[int]]) -> list[None]:
        self._drop_intents(session, [version for work in works for version in work])
        return [None] * len(works)

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
        chosen = as_list(self._dialect, [version for work in works for version in work])
        session.run(
            f"DELETE FROM garbage WHERE {one_of(self._dialect, 'version')} AND NOT EXISTS "
            "(SELECT 1 FROM instance WHERE instance.version = garbage.version)",
            (chosen,),
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
            chosen = as_list(self._dialect, [tombstone.version for tombstone in found])
            session.run(f"DELETE FROM tombstone WHERE {one_of(self._dialect, 'version')}", (chosen,))
            results.append(found)
        return results

    def clear(self) -> None:
        """See Index."""
        self._groups.do(self._do_clear, None)
        self._dictionaries.clear()

    def _do_clear(self, session: Session, works: Sequence[None]) -> list[None]:
        for table in TABLES:
            session.run(f"DELETE FROM {table}")
        return [None] * len(works)

    def _ready(self, entries: Sequence[Entry]) -> list[Ready]:
        """Do before the transaction what does not need it: codes, and compression."""
        texts = set()
        for entry in entries:
            texts |= {storable(entry.held.sop_class), storable(entry.held.syntax)}
            form = key_form(entry.held)
            if form is not None:
                texts.add(form)
        missing = self._codes.missing(texts)
        if missing:
            self._groups.do(self._do_codes, missing)
            with self._engine.read() as session:
                self._codes.load(session, missing)
        made = self._dictionaries.pieces(entries, self._find_dictionary)
        return [Ready(entry, piece, text) for entry, (piece, text) in zip(entries, made, strict=True)]

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
        chosen = as_list(self._dialect, sorted(versions))
        return {
            row[0]
            for row in session.rows(
                f"SELECT version FROM pending WHERE {one_of(self._dialect, 'version')} "
                f"ORDER BY version{lock(self._dialect)}",
                (chosen,),
            )
        }

    def _drop_intents(self, session: Session, versions: Sequence[int]) -> None:
        session.run(
            f"DELETE FROM pending WHERE {one_of(self._dialect, 'version')}",
            (as_list(self._dialect, versions),),
        )

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

    # -- reading: work to be done -------------------------------------------------------------------------
    def pending(self, older_than: float) -> list[tuple[Intent, str]]:
        """See Index."""
        with self._engine.read() as session:
            rows = session.rows(
                "SELECT version, key, kind, owner FROM pending WHERE time < ? ORDER BY version", (older_than,)
            )
        return [(Intent(version, key, kind), owner) for version, key, kind, owner in rows]

    def garbage(self, limit: int = 1000) -> list[tuple[int, str]]:
        """See Index."""
        with self._engine.read() as session:
            return [
                (version, key)
                for version, key in session.rows("SELECT version, key FROM garbage ORDER BY version LIMIT ?", (limit,))
            ]

    def known(self, versions: Sequence[int]) -> set[int]:
        """See Index."""
        if not versions:
            return set()
        chosen = as_list(self._dialect, versions)
        found: set[int] = set()
        with self._engine.read() as session:
            for table in ("instance", "pending", "garbage"):
                sql = f"SELECT version FROM {table} WHERE {one_of(self._dialect, 'version')}"
                found.update(row[0] for row in session.rows(sql, (chosen,)))
        return found

    # -- reading: versions ---------------------------------------------------------------------------------
    def present(self, instances: Sequence[str]) -> dict[str, Held]:
        """See Index."""
        if not instances:
            return {}
        with self._engine.read() as session:
            found = self._current(session, instances)
        return {uid: found[storable(uid)] for uid in instances if storable(uid) in found}

    def _current(self, session: Session, instances: Iterable[str]) -> dict[str, Held]:
        chosen = as_list(self._dialect, sorted({storable(uid) for uid in instances}))
        rows = session.rows(
            f"SELECT {_HELD} FROM {_INSTANCES} WHERE ins.current = 1 AND {one_of(self._dialect, 'ins.uid')}",
            (chosen,),
        )
        return {held.instance: held for held in self._helds(session, rows)}

    def locate(self, study: str, series: str, instance: str) -> Held:
        """See Index."""
        with self._engine.read() as session:
            rows = session.rows(
                f"SELECT {_HELD} FROM {_INSTANCES} WHERE ins.uid = ? AND ins.current = 1",
                (storable(instance),),
            )
            for held in self._helds(session, rows):
                if (held.study, held.series) == (study, series):
                    return held
            raise self._absent(session, study, series, instance)

    def members(self, study: str, series: str | None = None) -> list[Held]:
        """See Index."""
        condition, values = "st.uid = ?", [storable(study)]
        if series is not None:
            condition += " AND se.uid = ?"
            values.append(storable(series))
        with self._engine.read() as session:
            rows = session.rows(
                f"SELECT {_HELD} FROM {_INSTANCES} WHERE {condition} AND ins.current = 1 "
                "ORDER BY se.sort, se.uid, ins.sort, ins.uid",
                values,
            )
            if rows:
                return self._helds(session, rows)
            raise self._absent(session, study, series, None)

    def _absent(self, session: Session, study: str, series: str | None, instance: str | None) -> NotFound:
        """Return the error for a resource that is not there: Gone while a tombstone that covers it lives."""
        deleted = session.rows(
            "SELECT 1 FROM tombstone WHERE study = ? AND kind = 'deleted' "
            "AND (series IS NULL OR series = ?) AND (instance IS NULL OR instance = ?) LIMIT 1",
            (storable(study), storable(series or ""), storable(instance or "")),
        )
        what = "instance" if instance else "series" if series else "study"
        return Gone(f"the {what} was deleted") if deleted else NotFound(f"there is no such {what}")

    def versions(self, study: str, series: str | None = None, instance: str | None = None) -> list[int]:
        """See Index."""
        condition, values = "st.uid = ?", [storable(study)]
        if series is not None:
            condition += " AND se.uid = ?"
            values.append(storable(series))
        if instance is not None:
            condition += " AND ins.uid = ?"
            values.append(storable(instance))
        with self._engine.read() as session:
            rows = session.rows(f"SELECT ins.version FROM {_INSTANCES} WHERE {condition} ORDER BY ins.version", values)
        return [row[0] for row in rows]

    def others(self, limit: int, after: int = 0) -> list[Held]:
        """See Index."""
        return self._page("ins.current = 0 AND ", limit, after)

    def walk(self, after: int = 0, limit: int = 1000) -> list[Held]:
        """See Index."""
        return self._page("", limit, after)

    def _page(self, condition: str, limit: int, after: int) -> list[Held]:
        with self._engine.read() as session:
            rows = session.rows(
                f"SELECT {_HELD} FROM {_INSTANCES} WHERE {condition}ins.version > ? ORDER BY ins.version LIMIT ?",
                (after, limit),
            )
            return self._helds(session, rows)

    def _helds(self, session: Session, rows: Sequence[SqlRow]) -> list[Held]:
        wanted = {row[2] for row in rows if row[1] is None}
        texts = self._codes.texts(session, wanted.union(*((row[6], row[7]) for row in rows)))
        found = []
        for version, key, place, study, series, instance, kind, syntax, size, digest, sort in rows:
            digest = bytes(digest)
            found.append(
                Held(
                    version,
                    key if key is not None else fill_key(texts[place], digest, version),
                    study,
                    series,
                    instance,
                    texts[kind],
                    texts[syntax],
                    size,
                    digest,
                    None if sort == MISSING else sort,
                )
            )
        return found

    def layout(self, version: int) -> bytes:
        """See Index."""
        with self._engine.read() as session:
            rows = session.rows("SELECT layout FROM instance WHERE version = ?", (version,))
        if not rows:
            raise NotFound("there is no such version")
        return bytes(rows[0][0])

    def metadata(self, versions: Sequence[int]) -> list[bytes]:
        """See Index."""
        found: dict[int, bytes] = {}
        with self._engine.read() as session:
            for start in range(0, len(versions), _PAGE):
                found.update(self._read_metadata(session, versions[start : start + _PAGE]))
        try:
            return [found[version] for version in versions]
        except KeyError as error:
            raise NotFound("there is no such version") from error

    def _read_metadata(self, session: Session, versions: Sequence[int]) -> dict[int, bytes]:
        rows = session.rows(
            f"SELECT version, dictionary, metadata FROM instance WHERE {one_of(self._dialect, 'version')}",
            (as_list(self._dialect, versions),),
        )
        texts: dict[int, bytes] = {}
        for number in {row[1] for row in rows}:
            text = self._dictionaries.get(number)
            if text is not None:
                texts[number] = text
        unknown = {row[1] for row in rows} - texts.keys()
        if unknown:
            sql = f"SELECT id, data FROM dictionary WHERE {one_of(self._dialect, 'id')}"
            for number, data in session.rows(sql, (as_list(self._dialect, sorted(unknown)),)):
                texts[number] = zlib.decompress(data)
                self._dictionaries.put(number, texts[number])
        try:
            return {version: expand(piece, texts[number]) for version, number, piece in rows}
        except (KeyError, zlib.error) as error:
            raise Unavailable("metadata in the index is damaged; rebuild the index") from error

    # -- reading: searches ---------------------------------------------------------------------------------
    def search(self, query: Query) -> Found:
        """See Index."""
        return self._finder.search(query)

    def lookup(self, text: str, limit: int) -> list[Row]:
        """See Index."""
        return self._finder.lookup(text, limit)

    # -- reading: the whole ----------------------------------------------------------------------------------
    def changes(self, after: int = 0, limit: int = 1000) -> list[Change]:
        """See Index."""
        settled = ""
        if self._dialect == "postgresql":
            # Whatever commits later has a number above this, since the number begins with the transaction's.
            settled = (
                "AND ch.number < (SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + value::bigint) "
                "* 1048576 FROM about WHERE name = 'feed') "
            )
        with self._engine.read() as session:
            rows = session.rows(
                "SELECT ch.number, ch.kind, ch.version, ch.time, COALESCE(st.uid, gone.study), "
                "COALESCE(se.uid, gone.series), COALESCE(ins.uid, gone.instance) FROM change ch "
                "LEFT JOIN instance ins ON ins.version = ch.version LEFT JOIN series se ON se.id = ins.series "
                "LEFT JOIN study st ON st.id = se.study LEFT JOIN gone ON gone.version = ch.version "
                f"WHERE ch.number > ? {settled}ORDER BY ch.number LIMIT ?",
                (after, limit),
            )
        return [
            Change(number, _KIND_OF[kind], study, series, instance, version, moment)  # type: ignore[arg-type]
            for number, kind, version, moment, study, series, instance in rows
        ]

    def counts(self) -> Counts:
        """See Index."""
        with self._engine.read() as session:

            def one(sql: str) -> Any:
                return session.rows(sql)[0][0]

            ((studies, series, instances, size),) = session.rows(
                "SELECT count(*), COALESCE(sum(series), 0), COALESCE(sum(instances), 0), COALESCE(sum(bytes), 0) "
                "FROM study WHERE instances > 0"
            )
            modalities: dict[str, int] = {}
            for column, number in session.rows(
                'SELECT "Modality", count(*) FROM series WHERE instances > 0 GROUP BY "Modality"'
            ):
                for value in read_column(column):
                    modalities[value] = modalities.get(value, 0) + number
            return Counts(
                patients=one("SELECT count(*) FROM patient"),
                studies=studies,
                series=int(series),
                instances=int(instances),
                bytes=int(size),
                pending=one("SELECT count(*) FROM pending"),
                garbage=one("SELECT count(*) FROM garbage"),
                other_versions=one("SELECT count(*) FROM instance WHERE current = 0"),
                modalities=modalities,
            )

    def check(self) -> None:
        """See Index."""
        self._engine.check()

    def close(self) -> None:
        """See Index."""
        self._engine.close()


def _swept() -> Conflict:
    return Conflict("the object was not written in time and has been swept away; send it again")


def _tombstone(row: SqlRow) -> Tombstone:
    version, key, study, series, instance, versions, moment, reason, kind = row
    return Tombstone(version, key, study, series, instance, tuple(orjson.loads(versions)), moment, reason, kind)
