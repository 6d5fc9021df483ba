"""The limit on time: what takes the index too long is stopped in the database, writes never (A10)."""

import itertools
from typing import Any

import pytest
from entries import entry, store

from dicomweb.errors import TookTooLong
from dicomweb.index import Index, open_index
from dicomweb.standard.matching import Key, read
from dicomweb.standard.query import Query

FOREVER = "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT 1 FROM t) SELECT count(*) FROM t"
LONG = "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 1000000) SELECT count(*) FROM t"
PATIENT_NAME, SLICE_THICKNESS, STUDY = 0x00100010, 0x00180050, 0x0020000D


def ask(index: Any, *statements: str) -> None:
    """Run statements in one session."""
    with index._engine.read() as session:
        for statement in statements:
            session.rows(statement)


def test_a_statement_that_never_ends_is_stopped_and_the_connection_goes_on(url: str) -> None:
    index: Any = open_index(url, seconds=0.2)
    for _ in range(3):
        with pytest.raises(TookTooLong, match=r"longer than the 0\.2 seconds of limit_query_seconds"):
            ask(index, FOREVER)
    store(index, entry(instance="1"))
    assert len(index.search(Query("instance")).rows) == 1
    index.close()


def test_many_short_statements_of_one_question_count_together(url: str) -> None:
    index: Any = open_index(url, seconds=0.05)
    with pytest.raises(TookTooLong):
        ask(index, *itertools.repeat("SELECT 1", 10_000_000))
    index.close()


def test_writes_and_what_reads_the_whole_index_take_their_time(url: str) -> None:
    index: Any = open_index(url, seconds=0.05)
    with index._engine.write() as session:
        assert session.rows(LONG) == [(1_000_000,)]
    with index._engine.read(patient=True) as session:
        assert session.rows(LONG) == [(1_000_000,)]
    with pytest.raises(TookTooLong):
        ask(index, FOREVER)
    index.close()


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ([(PATIENT_NAME, "PN", "*doe*"), (STUDY, "UI", "1.2")], "PatientName makes it slow"),
        ([(PATIENT_NAME, "PN", "*doe*"), (SLICE_THICKNESS, "DS", "1")], "SliceThickness makes it slow"),
        ([(STUDY, "UI", "1.2")], "StudyInstanceUID makes it slow"),
        ([], "try again"),
    ],
)
def test_the_key_that_makes_a_search_slow_is_named(shared_url: str, keys: Any, named: str) -> None:
    filled = open_index(shared_url)
    store(filled, entry(instance="1"))
    hurried: Index = open_index(shared_url, seconds=1e-9)
    query = Query("study", keys=tuple(Key(tag, read(vr, text)) for tag, vr, text in keys))
    with pytest.raises(TookTooLong, match=named):
        hurried.search(query)
    assert len(filled.search(Query("study")).rows) == 1
    hurried.close()
    filled.close()
