"""Reading what the index holds, searches aside: versions, metadata, what is under way, what happened."""

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from dicomweb.errors import Gone, NotFound, Unavailable, Vanished
from dicomweb.index import Change, Counts, Held, Intent, feed
from dicomweb.index.codes import Codes
from dicomweb.index.forms import read_column, storable
from dicomweb.index.pieces import Dictionaries, expand
from dicomweb.index.rows import fill_key
from dicomweb.index.schema import MISSING
from dicomweb.index.session import Engine, Session, SqlRow, among

_HELD = (
    "ins.version, ins.key, ins.place, st.uid, se.uid, ins.uid, ins.class, ins.syntax, ins.size, ins.digest, ins.sort"
)
_INSTANCES = "instance ins JOIN series se ON se.id = ins.series JOIN study st ON st.id = se.study"
# A piece is at most this many versions, so that one statement does not bring all metadata into memory.
_PAGE = 500


class Reader:
    """The reading half of a Database.

    Args:
        engine: the database; its schema is up to date.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._dialect = engine.dialect
        self._codes = Codes()
        self._dictionaries = Dictionaries()

    # -- work to be done -------------------------------------------------------------------------
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
            rows = session.rows("SELECT version, key FROM garbage ORDER BY version DESC LIMIT ?", (limit,))
        if rows:
            self._engine.settle()
        return [(version, key) for version, key in rows]

    def known(self, versions: Sequence[int]) -> set[int]:
        """See Index."""
        if not versions:
            return set()
        with self._engine.read() as session:
            return self._known(session, versions, ("instance", "pending", "garbage"))

    def _known(self, session: Session, versions: Sequence[int], tables: Sequence[str]) -> set[int]:
        condition, value = among(self._dialect, "version", versions)
        return {
            row[0]
            for table in tables
            for row in session.rows(f"SELECT version FROM {table} WHERE {condition}", (value,))
        }

    # -- versions ---------------------------------------------------------------------------------
    def present(self, instances: Sequence[str]) -> dict[str, Held]:
        """See Index."""
        if not instances:
            return {}
        with self._engine.read() as session:
            found = self._current(session, instances)
        if found:
            self._engine.settle()
        return {uid: found[storable(uid)] for uid in instances if storable(uid) in found}

    def _current(self, session: Session, instances: Iterable[str]) -> dict[str, Held]:
        condition, value = among(self._dialect, "ins.uid", sorted({storable(uid) for uid in instances}))
        rows = session.rows(
            f"SELECT {_HELD} FROM {_INSTANCES} WHERE ins.current = 1 AND {condition}",
            (value,),
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
                f"SELECT {_HELD} FROM {_INSTANCES} WHERE {condition} AND ins.current <> 0 "
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
            raise Vanished("there is no such version")
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
            raise Vanished("there is no such version") from error

    def _read_metadata(self, session: Session, versions: Sequence[int]) -> dict[int, bytes]:
        condition, value = among(self._dialect, "version", versions)
        rows = session.rows(f"SELECT version, dictionary, metadata FROM instance WHERE {condition}", (value,))
        texts: dict[int, bytes] = {}
        for number in {row[1] for row in rows}:
            text = self._dictionaries.get(number)
            if text is not None:
                texts[number] = text
        unknown = {row[1] for row in rows} - texts.keys()
        if unknown:
            condition, value = among(self._dialect, "id", sorted(unknown))
            for number, data in session.rows(f"SELECT id, data FROM dictionary WHERE {condition}", (value,)):
                texts[number] = zlib.decompress(data)
                self._dictionaries.put(number, texts[number])
        try:
            return {version: expand(piece, texts[number]) for version, number, piece in rows}
        except (KeyError, zlib.error) as error:
            raise Unavailable("metadata in the index is damaged; rebuild the index") from error

    # -- the whole ----------------------------------------------------------------------------------
    def changes(self, after: int = 0, limit: int = 1000) -> list[Change]:
        """See Index."""
        with self._engine.read() as session:
            found = feed.read(session, after, limit)
        if found:
            self._engine.settle()
        return found

    def used(self) -> int:
        """See Index."""
        with self._engine.read() as session:
            return int(session.rows("SELECT COALESCE(sum(bytes), 0) FROM usage")[0][0])

    def counts(self) -> Counts:
        """See Index."""
        with self._engine.read(patient=True) as session:

            def one(sql: str) -> Any:
                return session.rows(sql)[0][0]

            ((studies, series, instances, size),) = session.rows(
                "SELECT count(*), COALESCE(sum(series), 0), COALESCE(sum(instances), 0), COALESCE(sum(bytes), 0) "
                "FROM study WHERE instances > 0"
            )
            modalities: dict[str, int] = {}
            for column, number in session.rows(
                'SELECT "Modality", count(*) FROM series WHERE visible = 1 GROUP BY "Modality"'
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
