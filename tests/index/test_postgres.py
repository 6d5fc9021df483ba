"""What only PostgreSQL does: the change feed beside open transactions, lost connections, a missing driver."""

import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import postgresql
import pytest
from entries import entry, store
from ports import free_port

from dicomweb.errors import BadSetting, Unavailable
from dicomweb.index import Intent, feed, open_index
from dicomweb.index.postgres import PostgresSession
from dicomweb.standard.matching import Key, read
from dicomweb.standard.query import Query


@pytest.fixture
def url() -> Iterator[str]:
    made = postgresql.new_database()
    yield made
    postgresql.drop_database(made)


def test_a_store_and_a_frame_ask_the_database_few_times(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements, and those of them whose answer is waited for: who adds one should know that each store waits."""
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        plain = getattr(PostgresSession, name)

        def counting(self: PostgresSession, *arguments: Any) -> Any:
            counted["statements"] += 1
            counted["waits"] += name in ("rows", "insert")
            return plain(self, *arguments)

        monkeypatch.setattr(PostgresSession, name, counting)

    for each in ("rows", "run", "many", "insert"):
        count(each)
    index: Any = open_index(url)

    def stored(**uids: str) -> tuple[int, int]:
        made = entry(PatientID=uids["study"], **uids)
        counted.clear()
        index.intend_new([(Intent(made.held.version, made.held.key), made.held.instance)])
        assert index.commit([made]) == [None]
        return counted["statements"], counted["waits"]

    stored(study="1", series="1", instance="1")  # its SOP class, transfer syntax and form of key get their codes
    assert stored(study="2", series="2", instance="2") == (17, 9)
    assert stored(study="2", series="2", instance="3") == (12, 5)
    counted.clear()
    index.layout(index.locate("2", "2", "3").version)
    assert counted["statements"] == 2
    index.close()


def test_the_change_feed_stops_below_the_oldest_open_transaction(url: str) -> None:
    index: Any = open_index(url)
    store(index, entry(instance="1"))
    before = index.changes()
    with index._engine.write() as session:
        session.rows("SELECT pg_current_xact_id()")
        store(index, entry(instance="2"))
        assert index.changes() == before
    after = index.changes()
    assert [change.instance for change in after] == ["1", "2"]
    assert index.changes(after=before[-1].number) == after[1:]
    index.close()


def test_changes_that_commit_in_another_order_than_they_began_are_all_seen(url: str) -> None:
    """A reader that has seen everything so far meets the late one too, with a higher number."""
    index: Any = open_index(url)
    seen: list[int] = []

    def read_on() -> None:
        seen.extend(change.version for change in index.changes(after=index_at[0]))
        index_at[0] = max([index_at[0], *(change.number for change in index.changes())])

    index_at = [0]
    with index._engine.write() as slow:
        slow.rows("SELECT pg_current_xact_id()")
        quick = entry(instance="1")
        store(index, quick)
        read_on()
        feed.record(slow, "stored", [77], 0.0)
    read_on()
    assert seen == [77, quick.held.version]
    index.close()


def test_the_feed_goes_on_upwards_in_a_server_whose_transactions_begin_anew(url: str) -> None:
    index: Any = open_index(url)
    store(index, entry(instance="1"))
    with index._engine.write() as session:
        session.run("UPDATE change SET number = number + 1048576::bigint * 1000000")
    (restored,) = index.changes(limit=10) or [None]
    assert restored is None
    index.close()
    index = open_index(url)
    store(index, entry(instance="2"))
    found = index.changes()
    assert [change.instance for change in found] == ["1", "2"]
    index.close()


def test_connections_that_the_server_closed_are_replaced(url: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    index = open_index(url)
    store(index, entry())
    with psycopg.connect(url, autocommit=True) as other:
        name = url.rpartition("/")[2]
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (name,),
        )
    assert len(index.search(Query("study")).rows) == 1
    assert store(index, entry(instance="2")) == [None]
    index.close()


def test_a_changed_login_counts_for_new_connections(url: str) -> None:
    import psycopg

    role = f"next_{url.rpartition('/')[2]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'two'")
    told = [url]
    index: Any = open_index(url, login=lambda: told[0])
    engine = index._engine

    def who() -> str:
        with engine.read() as session:
            name: str = session.rows("SELECT current_user")[0][0]
            return name

    assert who() == "postgres"
    told[0] = url.replace("postgres@", f"{role}:two@")
    assert who() == "postgres", "connections that are open stay"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert who() == role
    index.close()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"REASSIGN OWNED BY {role} TO postgres")
        connection.execute(f"DROP ROLE {role}")


def test_a_database_that_takes_no_connection_is_unavailable_and_says_why(url: str) -> None:
    with pytest.raises(Unavailable, match=r"takes no connection.*refused"):
        open_index(f"postgresql://postgres@127.0.0.1:{free_port()}/x")
    with pytest.raises(Unavailable, match='database "nowhere" does not exist'):
        open_index(f"{url.rpartition('/')[0]}/nowhere")
    with pytest.raises(Unavailable, match="does not support SSL") as refused:
        open_index(f"{url.replace('postgres@', 'postgres:word@', 1)}?sslmode=require")
    assert "word" not in str(refused.value)


def test_a_url_that_libpq_cannot_read_is_a_bad_setting() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(BadSetting, match="PostgreSQL URL"):
        open_index("postgresql://host:port:more/%zz")


def test_without_the_driver_the_setting_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("psycopg", "psycopg_pool")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "dicomweb.index.postgres", raising=False)
    package = importlib.import_module("dicomweb.index")
    monkeypatch.delattr(package, "postgres", raising=False)
    with pytest.raises(BadSetting, match=r"pip install roentgate\[postgres\]"):
        open_index("postgresql://nobody@127.0.0.1/x")


def test_names_are_found_by_any_part_in_an_index_of_trigrams(url: str) -> None:
    index: Any = open_index(url)
    store(index, *(entry(f"1.{i}", f"2.{i}", f"3.{i}", PatientName=f"Name{i:04}^X") for i in range(300)))
    from dicomweb.index import search

    query = Query("study", keys=(Key(0x00100010, read("PN", "*0123*")),))
    (condition,) = search.read_plan(query, "postgresql").conditions
    with index._engine.write() as session:
        session.run("SET LOCAL enable_seqscan = off")
        rows = session.rows(f"EXPLAIN SELECT id FROM study st WHERE {condition.sql}", condition.values)
        plan = "\n".join(row[0] for row in rows)
    assert "study_text_patientname" in plan
    assert [row.study for row in index.search(query).rows] == ["1.123"]
    index.close()
