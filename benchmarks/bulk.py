"""Very many studies without the index's own code: the rows that it writes for one study, with the values of another,
loaded as databases load best. What comes out is what `filling` gives for `SMALL`, but for what is compressed in
`dictionary` and `instance`, which no search among studies reads."""

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.filling import SMALL, Maker, commit, values_of
from dicomweb.archive.versions import new_version
from dicomweb.index import open_index
from dicomweb.index.forms import write_column

Rows = dict[str, list[tuple[Any, ...]]]

_CHUNK = 20_000
_FIRST = 1_000
"""Ids below are for what the index's own code wrote before."""
_MARKS = {name: f"@{name}@" for name in values_of(0, 1)} | {"instance": "@instance@", "day": "19010203"}
# Columns that name rows: by what, of (study, patient, version).
_IDS: dict[str, dict[str, int]] = {
    "patient": {"id": 1, "speaker": 2},
    "study": {"id": 0, "patient": 1, "speaker": 2},
    "study_held": {"id": 0},
    "series": {"id": 0, "study": 0, "dictionary": 2, "speaker": 2},
    "series_held": {"id": 0},
    "instance": {"version": 2, "series": 0, "dictionary": 2},
    "dictionary": {"id": 2, "series": 0},
    "change": {"number": 0, "version": 2},
}


class Bulk:
    """Rows of studies.

    Attributes:
        columns: names, by table.
        codes: rows of `code`, which all others refer to.
    """

    def __init__(self) -> None:
        self.columns: dict[str, list[str]] = {}
        self._templates: dict[str, tuple[Any, ...]] = {}
        self._cuts: dict[str, list[tuple[int, list[Any]]]] = {}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index.sqlite"
            index = open_index(f"sqlite:{path}")
            commit(index, [Maker(SMALL).entry(1, _MARKS)])
            index.close()
            connection = sqlite3.connect(path)
            self.codes = connection.execute("SELECT id, text FROM code").fetchall()
            for table in _IDS:
                cursor = connection.execute(f"SELECT * FROM {table}")
                self.columns[table] = [column[0] for column in cursor.description]
                (self._templates[table],) = cursor.fetchall()
                cuts = ((at, _cut(value)) for at, value in enumerate(self._templates[table]))
                self._cuts[table] = [(at, pieces) for at, pieces in cuts if len(pieces) > 1]
            connection.close()
        self._base = new_version()

    def chunks(self, first: int, last: int) -> Iterator[Rows]:
        """Make the rows of the studies from `first` up to and without `last`, as many as fit into memory at a time."""
        for start in range(first, last, _CHUNK):
            made: Rows = {table: [] for table in _IDS}
            for study in range(start, min(start + _CHUNK, last)):
                plain = values_of(study, 1)
                plain["instance"] = f"{plain['series']}.1"
                folded = {**plain, **{name: _folded(plain[name]) for name in ("name", "referrer")}}
                encoded = {name: value.encode() for name, value in plain.items()}
                ids = (_FIRST + study, _FIRST + study // 2, self._base + study)
                for table in _IDS:
                    if table != "patient" or study % 2 == 0:
                        made[table].append(self._row(table, folded, encoded, ids))
            yield made

    def _row(
        self, table: str, texts: Mapping[str, str], encoded: Mapping[str, bytes], ids: tuple[int, int, int]
    ) -> tuple[Any, ...]:
        row = list(self._templates[table])
        for at, pieces in self._cuts[table]:
            if isinstance(pieces[0], bytes):
                row[at] = b"".join(encoded[piece.decode()] if odd % 2 else piece for odd, piece in enumerate(pieces))
            else:
                row[at] = "".join(texts[piece] if odd % 2 else piece for odd, piece in enumerate(pieces))
        for column, which in _IDS[table].items():
            row[self.columns[table].index(column)] = ids[which]
        return tuple(row)


def _folded(name: str) -> str:
    return write_column("name", {"vr": "PN", "Value": [{"Alphabetic": name}]})


def _cut(value: Any) -> list[Any]:
    """Take a value apart at the marks: pieces, and between them the names of what stands there."""
    if not isinstance(value, str | bytes):
        return [value]
    pieces: list[Any] = [value]
    for name, mark in _MARKS.items():
        found: list[Any] = []
        for odd, piece in enumerate(pieces):
            if odd % 2:
                found.append(piece)
                continue
            parts = piece.split(mark.encode() if isinstance(value, bytes) else mark)
            for place, part in enumerate(parts):
                found += [part] if place == 0 else [name.encode() if isinstance(value, bytes) else name, part]
        pieces = found
    return pieces


def load_sqlite(path: Path, first: int, last: int, told: Callable[[int], None]) -> None:
    """Load studies into the file of an index, which nobody else may have open; indexes are made anew afterwards."""
    bulk = Bulk()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    connection.executemany("INSERT OR IGNORE INTO code (id, text) VALUES (?, ?)", bulk.codes)
    made = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    for name, _ in made:
        connection.execute(f"DROP INDEX {name}")
    for chunk in bulk.chunks(first, last):
        connection.execute("BEGIN")
        for table, rows in chunk.items():
            names = ", ".join(f'"{name}"' for name in bulk.columns[table])
            marks = ", ".join("?" * len(bulk.columns[table]))
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
        connection.execute("COMMIT")
        told(len(chunk["study"]))
    for _, definition in made:
        connection.execute(definition)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def load_postgresql(url: str, first: int, last: int, told: Callable[[int], None]) -> None:
    """Load studies into a database of which nobody makes use meanwhile; indexes are made anew afterwards."""
    import psycopg

    bulk = Bulk()
    with psycopg.connect(url, autocommit=True) as connection:
        for code in bulk.codes:
            connection.execute("INSERT INTO code (id, text) VALUES (%s, %s) ON CONFLICT DO NOTHING", code)
        with indexes_dropped(connection):
            for chunk in bulk.chunks(first, last):
                for table, rows in chunk.items():
                    names = ", ".join(f'"{name}"' for name in bulk.columns[table])
                    with connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                        for row in rows:
                            copy.write_row(row)
                told(len(chunk["study"]))
        settle(connection)


def multiply(url: str, target: int) -> None:
    """Bring a PostgreSQL index, filled by its own code, to about so many instances: all that it has again and again,
    under other UIDs. Patients stay, and have so many more studies.

    Args:
        url: of a database of which nobody makes use meanwhile.
        target: instances in the end.
    """
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:

        def one(sql: str) -> int:
            row = connection.execute(sql).fetchone()
            return int(row[0]) if row else 0

        there = one("SELECT count(*) FROM instance")
        steps = {table: one(f"SELECT max(id) FROM {table}") for table in ("study", "series")}
        # Far enough apart for all versions, and for all numbers of the feed, of a run of days
        changed: dict[str, dict[str, int | None]] = {
            "study": {"id": steps["study"], "speaker": -_APART, "uid": None, "speaker_uid": None},
            "study_held": {"id": steps["study"]},
            "series": {"id": steps["series"], "study": steps["study"], "speaker": -_APART, "uid": None,
                       "speaker_uid": None},
            "series_held": {"id": steps["series"]},
            "instance": {"version": -_APART, "series": steps["series"], "uid": None},
            "change": {"number": -_APART, "version": -_APART},
        }  # fmt: skip
        ranges = {
            table: connection.execute(
                f"SELECT min({next(iter(columns))}), max({next(iter(columns))}) FROM {table}"
            ).fetchone()
            for table, columns in changed.items()
        }
        connection.execute("SET synchronous_commit = off")
        with indexes_dropped(connection):
            for time in range(1, max(1, target // there)):
                for table, columns in changed.items():
                    _again(connection, table, columns, time, ranges[table])
                print(f"{there * (time + 1):,} instances", flush=True)
        settle(connection)


_APART = 1 << 52


def _again(connection: Any, table: str, columns: Mapping[str, int | None], time: int, there: Any) -> None:
    """Insert the rows that were there at first once more.

    Args:
        connection: to the database.
        table: whose rows.
        columns: what is added to each, times `time`; None appends the number to a text. The first is the key.
        time: how many times this has been done, with this one.
        there: least and greatest key that were there at first; what is added lies outside.
    """
    names = [column[0] for column in connection.execute(f"SELECT * FROM {table} LIMIT 0").description]
    values = []
    for name in names:
        step = columns.get(name, 0)
        values.append(
            f"\"{name}\" || '.{time}'" if step is None else f'"{name}" + {step * time}' if step else f'"{name}"'
        )
    quoted = ", ".join(f'"{name}"' for name in names)
    connection.execute(
        f"INSERT INTO {table} ({quoted}) SELECT {', '.join(values)} FROM {table} "
        f"WHERE {next(iter(columns))} BETWEEN {there[0]} AND {there[1]}"
    )


class indexes_dropped:
    """Without the indexes that no constraint needs; they are made anew at the end, which is quicker."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._made: list[str] = []

    def __enter__(self) -> None:
        rows = self._connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT IN "
            "(SELECT conname FROM pg_constraint)"
        ).fetchall()
        for name, definition in rows:
            self._connection.execute(f'DROP INDEX "{name}"')
            self._made.append(definition)

    def __exit__(self, *_: object) -> None:
        self._connection.execute("SET maintenance_work_mem = '1GB'")
        for definition in self._made:
            self._connection.execute(definition)


def settle(connection: Any) -> None:
    """Let ids go on after the loaded ones, and do what autovacuum does sooner or later."""
    for table in ("code", "patient", "study", "series"):
        connection.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT COALESCE(max(id), 1) FROM {table}))"
        )
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")
