"""How databases carry out searches of each kind that `benchmarks.scale` measures at a million studies: by indexes, in
words of their own planners, which do not depend on the machine."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import postgresql
import pytest

from benchmarks import bulk, searches
from dicomweb.index import Index, open_index
from dicomweb.standard.attributes import Level
from dicomweb.standard.query import Query, read_qido, split

STUDIES = 2_000
KINDS = [name for name, _ in searches.kinds(STUDIES)]
LEVELS: dict[str, Level] = {"patients": "patient", "studies": "study", "series": "series", "instances": "instance"}


def asked(name: str) -> str:
    """One search of a kind, as a path."""
    return dict(searches.kinds(STUDIES))[name][1]


def query_of(path: str) -> Query:
    """The query that a path below the base asks."""
    place, _, parameters = path.partition("?")
    parts = place.strip("/").split("/")
    study, series = (parts[n] if len(parts) > n + 1 else None for n in (1, 3))
    return read_qido(LEVELS[parts[-1]], study, series, split(parameters.encode()))


def statements_of(index: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Sequence[Any]]]:
    """The statements of a search of a kind, which finds something."""
    path = asked(name)
    if searches.DEEP in name:
        before = index.search(query_of(f"{path}&offset={STUDIES // 2}"))
        path += f"&cursor={before.cursor}"
    statements: list[tuple[str, Sequence[Any]]] = []
    read = index._engine.read

    class Recorded:
        def __init__(self, session: Any) -> None:
            self.session, self.dialect = session, session.dialect

        def rows(self, sql: str, values: Sequence[Any] = ()) -> Any:
            statements.append((sql, values))
            return self.session.rows(sql, values)

        def planned(self, sql: str, values: Sequence[Any] = ()) -> Any:
            statements.append((sql, values))
            return self.session.planned(sql, values)

    @contextmanager
    def recorded() -> Iterator[Recorded]:
        with read() as session:
            yield Recorded(session)

    with monkeypatch.context() as patch:
        patch.setattr(index._engine, "read", recorded)
        if path.startswith("/lookup"):
            found = index.lookup(unquote(path.partition("=")[2]), 10)
        else:
            found = index.search(query_of(path)).rows
    assert bool(found) == ("PT" not in path)
    return statements


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Two thousand studies, and one of many instances."""
    path: Path = tmp_path_factory.mktemp("plans") / "index.sqlite"
    index = open_index(f"sqlite:{path}")
    searches.add_special(index)
    bulk.load_sqlite(path, 0, STUDIES, lambda _: None)
    yield index
    index.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Index]:
    """The same."""
    url = postgresql.new_database()
    index = open_index(url)
    searches.add_special(index)
    bulk.load_postgresql(url, 0, STUDIES, lambda _: None)
    yield index
    index.close()
    postgresql.drop_database(url)


@pytest.mark.parametrize("name", KINDS)
def test_sqlite_reads_no_table_from_end_to_end(name: str, sqlite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for sql, values in statements_of(sqlite, name, monkeypatch):
        with sqlite._engine.read() as session:
            plan = "\n".join(row[3] for row in session.rows(f"EXPLAIN QUERY PLAN {sql}", values))
        # What is scanned is an index in its order, or a list that was found before
        scanned = re.findall(
            r"^SCAN (?!.*USING (?:COVERING )?INDEX|.*VIRTUAL TABLE|\(|json_each|found)(.*)", plan, re.M
        )
        assert not scanned, f"{sql}\n{plan}"


@pytest.mark.parametrize("name", [name for name in KINDS if re.search("sorted|page of (?!50 inst)", name)])
def test_sqlite_reads_pages_in_their_order(name: str, sqlite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for sql, values in statements_of(sqlite, name, monkeypatch):
        with sqlite._engine.read() as session:
            plan = "\n".join(row[3] for row in session.rows(f"EXPLAIN QUERY PLAN {sql}", values))
        assert "TEMP B-TREE" not in plan, f"{sql}\n{plan}"


def test_postgresql_plans_a_search_for_its_values_however_often_it_came_before(postgres: Any) -> None:
    # A prepared statement soon has one plan for all values, in which any range of dates is as narrow as any other
    for _ in range(10 * postgres._engine._pool.max_size):
        postgres.search(query_of(asked("name + dates + modality")))
    with postgres._engine.read() as session:
        prepared = [row[0] for row in session.rows("SELECT statement FROM pg_prepared_statements")]
    assert any("FROM study" in statement for statement in prepared)
    assert not [statement for statement in prepared if "st.day >=" in statement]


@pytest.mark.parametrize("name", [name for name in KINDS if searches.DEEP in name])
def test_sqlite_begins_a_page_where_the_last_one_ended(name: str, sqlite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [one for one in statements_of(sqlite, name, monkeypatch) if "ORDER BY" in one[0]]
    with sqlite._engine.read() as session:
        ((*_, plan),) = session.rows(f"EXPLAIN QUERY PLAN {pages[0][0]}", pages[0][1])
    assert re.search(r"USING INDEX \w+ \((day<\?|<expr>=\? AND PatientName>\?)\)", plan), plan


@pytest.mark.parametrize("name", KINDS)
def test_postgresql_has_an_index_for_all_that_it_reads(
    name: str, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sql, values in statements_of(postgres, name, monkeypatch):
        with postgres._engine.read() as session:
            # In so small a table reading all of it may be cheaper: what counts is whether there is another way
            session.run("SET enable_seqscan = off")
            try:
                plan = "\n".join(row[0] for row in session.rows(f"EXPLAIN {sql}", values))
            finally:
                session.run("RESET enable_seqscan")
        scanned = re.findall(r"Seq Scan on (study|series|instance|patient|study_held|series_held)\b", plan)
        assert not scanned, f"{sql}\n{plan}"


@pytest.mark.parametrize("name", [name for name in KINDS if re.search("part of an? |word|patients by name", name)])
def test_postgresql_finds_parts_of_texts_by_trigrams(name: str, postgres: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = sets_of_rows(name, postgres, monkeypatch)
    assert re.search("Bitmap Index Scan on (study|patient)_text_", plan), plan


@pytest.mark.parametrize("name", [name for name in KINDS if "name + dates" in name or "beginning of" in name])
def test_postgresql_finds_names_and_their_beginnings_in_an_order(
    name: str, postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = sets_of_rows(name, postgres, monkeypatch)
    assert "Bitmap Index Scan on study_patientname_down" in plan, plan
    assert "_text_" not in plan, plan


def sets_of_rows(name: str, postgres: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """How PostgreSQL finds the page of a search of a kind if it may not read in an order."""
    sql, values = next(one for one in statements_of(postgres, name, monkeypatch) if "ORDER BY" in one[0])
    with postgres._engine.read() as session:
        # Without scans in an order what is left are sets of rows that indexes tell
        for way in ("seqscan", "indexscan", "indexonlyscan"):
            session.run(f"SET enable_{way} = off")
        try:
            plan = "\n".join(row[0] for row in session.rows(f"EXPLAIN {sql}", values))
        finally:
            session.run("RESET ALL")
    return f"{sql}\n{plan}"


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_what_is_loaded_in_bulk_is_what_the_index_writes(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from benchmarks import filling

    loaded: Index = request.getfixturevalue(database)
    written = open_index(f"sqlite:{tmp_path / 'index.sqlite'}")
    for _ in filling.fill(written, filling.Maker(filling.SMALL), 100):
        pass
    for study in (0, 1, 99):
        query = query_of(f"/studies/{filling.uid_of(study)}/instances")
        ((ours,), (theirs,)) = (each.search(query).rows for each in (loaded, written))
        assert (ours.study, ours.series, ours.instance) == (theirs.study, theirs.series, theirs.instance)
        assert ours.dataset == theirs.dataset
    written.close()
