"""What goes wrong with the index: away at the start, started again in the middle, taken over by a standby, kept busy by
somebody (F14 to F19)."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import commands
import httpx
import pytest
from clusters import Cluster, folder_of_clusters
from dicoms import ct
from programs import Program, bridge, failures, send, uid, until, web


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_of_clusters() as made:
        yield made


def storing(server: Program, numbers: range, stop: threading.Event) -> tuple[set[str], set[int]]:
    """Store instances one by one until told; return those that were acknowledged, and all statuses."""
    acknowledged: set[str] = set()
    statuses: set[int] = set()
    with httpx.Client(timeout=60) as client:
        for number in numbers:
            if stop.is_set():
                break
            answer = server.stow(ct(number), client=client)
            statuses.add(answer.status_code)
            if answer.status_code == 200:
                acknowledged.add(uid(number))
    return acknowledged, statuses


def test_a_database_that_is_away_at_the_start_is_waited_for(tmp_path: Path, folder: Path) -> None:
    cluster = Cluster(folder / "one")
    env = {"ROENTGATE_INDEX": f"postgresql://postgres@{cluster.place}/postgres", "ROENTGATE_WORKERS": "2"}
    with web(tmp_path, **env) as server:
        assert server.ask("/health/live").status_code == 200
        answer = server.ask("/health/ready")
        assert (answer.status_code, "does not answer" in answer.json()["detail"]) == (503, True)
        assert "127.0.0.1" not in answer.text, "who only probes is told where the database is"
        answer = server.stow(ct(1))
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        with bridge(tmp_path / "b", server.port) as dimse:
            assert send(dimse.port, ct(1)) == [0xA700]
            said = server.said()
            cluster.start()
            until(server.ready, "it does not become ready")
            until(lambda: send(dimse.port, ct(1)) == [0], "nothing is stored")
        assert "another one takes its place" not in server.said(), "workers ended and were started again"
        assert said.count("not ready, and trying again") == 2
        assert said.count("takes no connection") == 2, "the log does not say why"
        assert "Traceback" not in server.said()
        until(lambda: server.found() == {uid(1)}, "it is not found")
    cluster.stop("immediate")


def test_a_server_that_is_told_to_stop_while_it_waits_stops(tmp_path: Path) -> None:
    with web(tmp_path, ROENTGATE_INDEX="postgresql://postgres@127.0.0.1:1/postgres", ROENTGATE_WORKERS="1") as server:
        assert server.ask("/health/live").status_code == 200
        assert server.stop() == 0


@pytest.mark.long
def test_a_database_that_is_started_again_in_the_middle_costs_nothing_that_was_acknowledged(
    tmp_path: Path, folder: Path
) -> None:
    cluster = Cluster(folder / "one")
    cluster.start()
    env = {"ROENTGATE_INDEX": f"postgresql://postgres@{cluster.place}/postgres", "ROENTGATE_WORKERS": "1"}
    with web(tmp_path, **env) as server, ThreadPoolExecutor(4) as pool:
        stop = threading.Event()
        shares = [pool.submit(storing, server, range(start, 4000, 4), stop) for start in range(1, 5)]
        until(lambda: len(server.found()) > 20, "nothing is stored")
        cluster.stop("immediate")
        assert server.stow(ct(9001)).status_code == 503
        assert server.ask("/dicom-web/studies").status_code == 503
        assert server.ask("/health/live").status_code == 200
        cluster.start()
        until(lambda: server.stow(ct(9002)).status_code == 200, "it does not recover", 30.0)
        stop.set()
        acknowledged: set[str] = set()
        for share in shares:
            done, statuses = share.result()
            acknowledged |= done
            assert statuses <= {200, 503}
        assert acknowledged <= server.found()
        commands.run(tmp_path, "verify", status=None, **env)
        assert "Traceback" not in server.said()
    cluster.stop("immediate")


@pytest.mark.parametrize("synchronous", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_standby_takes_over(tmp_path: Path, folder: Path, synchronous: bool) -> None:
    """With a synchronous standby nothing is lost that was acknowledged. With another one the latest rows are, and what
    the objects tell brings them back."""
    first = Cluster(folder / "first", synchronous="second" if synchronous else "")
    first.start(alone=True)
    second = Cluster(folder / "second", first)
    second.start()
    first.stop()
    first.start()
    until(lambda: first.ask("SELECT count(*) FROM pg_stat_replication") == [(1,)], "the standby does not follow")
    url = f"postgresql://postgres@{first.place},{second.place}/postgres?target_session_attrs=read-write"
    env = {"ROENTGATE_INDEX": url, "ROENTGATE_WORKERS": "1", "ROENTGATE_SWEEP_INTERVAL_SECONDS": "36000"}
    with web(tmp_path, **env) as server, ThreadPoolExecutor(2) as pool:
        stop = threading.Event()
        shares = [pool.submit(storing, server, range(start, 4000, 2), stop) for start in (1, 2)]
        until(lambda: len(server.found()) > 10, "nothing is stored")
        if not synchronous:
            second.stop("immediate")
            before = server.found()
            until(lambda: len(server.found()) > len(before), "nothing is stored")
            first.stop("immediate")
            second.start()
        else:
            first.stop("immediate")
        second.promote()
        until(lambda: server.stow(ct(9002)).status_code == 200, "it does not recover", 30.0)
        stop.set()
        acknowledged = {uid(9002)}
        for share in shares:
            done, statuses = share.result()
            acknowledged |= done
            assert statuses <= {200, 503}
        assert server.ready()
        lost = acknowledged - server.found()
        assert "Traceback" not in server.said()
    if synchronous:
        assert not lost
    else:
        assert lost, "the standby had everything"
        told = commands.run(tmp_path, "verify", status=None, **env)
        assert "no row of the index" in told.stdout + told.stderr
        with web(tmp_path, **env) as server:  # whose first sweep meets what the standby took to be only begun
            commands.run(tmp_path, "reconcile", **env)
            assert acknowledged <= server.found()
            assert server.ready()
        commands.run(tmp_path, "verify", **env)
    second.stop("immediate")


def test_a_writer_that_became_a_standby_is_left(tmp_path: Path, folder: Path) -> None:
    """Writes that are refused because the database is read-only now are not a fault of the request."""
    cluster = Cluster(folder / "one")
    cluster.start()
    env = {"ROENTGATE_INDEX": f"postgresql://postgres@{cluster.place}/postgres", "ROENTGATE_WORKERS": "1"}
    with web(tmp_path, **env) as server:
        assert server.stow(ct(1)).status_code == 200
        cluster.ask("ALTER SYSTEM SET default_transaction_read_only = on")
        cluster.ask("SELECT pg_reload_conf()")
        answer = server.stow(ct(2))
        assert answer.status_code == 503, answer.text
        assert server.found() == {uid(1)}
        until(lambda: not server.ready(), "it says that it is ready")
        cluster.ask("ALTER SYSTEM RESET default_transaction_read_only")
        cluster.ask("SELECT pg_reload_conf()")
        until(lambda: server.stow(ct(2)).status_code == 200, "it does not recover")
        assert "Traceback" not in server.said()
    cluster.stop("immediate")


def test_a_backup_that_locks_sqlite_is_waited_for_and_then_told(tmp_path: Path) -> None:
    with web(tmp_path) as server, contextlib.closing(sqlite3.connect(tmp_path / "data" / "index.sqlite")) as other:
        assert server.stow(ct(1)).status_code == 200
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(server.stow, ct(2))
            assert server.ask("/health/live").status_code == 200
            assert server.found() == {uid(1)}
            assert server.read(1).content == ct(1)
            assert not waiting.done()
            other.execute("COMMIT")
            assert waiting.result().status_code == 200


@pytest.mark.long
def test_a_writer_of_sqlite_that_never_ends_is_told(tmp_path: Path) -> None:
    with web(tmp_path) as server, contextlib.closing(sqlite3.connect(tmp_path / "data" / "index.sqlite")) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        answer = server.stow(ct(2))
        assert (answer.status_code, failures(answer)) == (503, [0x0110])
        assert server.found() == set()
        other.execute("COMMIT")
        assert server.stow(ct(2)).status_code == 200
