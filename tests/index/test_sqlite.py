"""What only SQLite does: turns, plans, a full disk, a damaged file."""

import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from entries import entry, store

from dicomweb.errors import Incompatible, OutOfSpace, Unavailable
from dicomweb.index import Intent, open_index, search, wal
from dicomweb.index import sqlite as module
from dicomweb.index.ordering import WHOLE
from dicomweb.standard.attributes import BY_KEYWORD
from dicomweb.standard.matching import Key, read
from dicomweb.standard.query import Order, Query


def is_free(path: str) -> bool:
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_who_has_just_written_does_not_overtake_who_waits(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    first, second = module._Turns(path), module._Turns(path)
    order: list[str] = []

    def wait() -> None:
        with second:
            order.append("second")

    with first:
        order.append("first")
        waiting = threading.Thread(target=wait)
        waiting.start()
        while is_free(f"{path}-door"):
            pass
    with first:
        order.append("first again")
    waiting.join()
    assert order == ["first", "second", "first again"]
    first.close()
    second.close()


def test_the_file_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    index = open_index(f"sqlite:{tmp_path / 'deeper' / 'index.sqlite'}")
    store(index, entry())
    for file in (tmp_path / "deeper").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    index.close()


def plan_of(query: Query, tmp_path: Path, entrance: int | None = None) -> str:
    """SQLite's own words on how it carries a search out."""
    index = open_index(f"sqlite:{tmp_path / 'index.sqlite'}")
    index.close()
    made = search.read_plan(query, "sqlite")
    if made.days is not None:
        made.conditions.insert(0, made.days)
    statement = search.page(made, None if entrance is None else made.entrances[entrance], WHOLE, 10, 0)
    connection = sqlite3.connect(tmp_path / "index.sqlite")
    from dicomweb.index import matchers

    matchers.register(connection)
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.values).fetchall()
    connection.close()
    return "\n".join(row[3] for row in rows)


def key(keyword: str, text: str) -> Key:
    return Key(BY_KEYWORD[keyword].tag, read(BY_KEYWORD[keyword].vr, text))


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query("study"), "study_order"),
        (Query("study", keys=(key("StudyDate", "20240101-"),)), "study_order (day>"),
        (Query("study", order=(Order(BY_KEYWORD["PatientName"].tag),)), "study_by_name"),
        (Query("series"), "series_order"),
        (Query("patient"), "patient_order"),
    ],
)
def test_pages_in_order_are_read_from_an_index_without_sorting(query: Query, index: str, tmp_path: Path) -> None:
    plan = plan_of(query, tmp_path)
    assert index in plan
    assert "TEMP B-TREE" not in plan


def test_instances_of_the_whole_archive_are_sorted_within_their_series_only(tmp_path: Path) -> None:
    assert "TEMP B-TREE FOR RIGHT PART OF ORDER BY" in plan_of(Query("instance"), tmp_path)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query("study", keys=(key("StudyInstanceUID", "1.2"),)), "sqlite_autoindex_study"),
        (Query("series", keys=(key("SeriesInstanceUID", "1.2"),)), "series_uid"),
        (Query("instance", keys=(key("SOPInstanceUID", "1.2"),)), "instance_uid"),
        (Query("study", keys=(key("SOPInstanceUID", "1.2"),)), "instance_uid"),
        (Query("instance", study="1", series="2"), "instance_order"),
    ],
)
def test_uids_lead_straight_to_what_they_name(query: Query, index: str, tmp_path: Path) -> None:
    plan = plan_of(query, tmp_path)
    assert index in plan
    assert "SCAN st" not in plan


@pytest.mark.parametrize(
    ("keyword", "text", "index"),
    [
        ("PatientName", "*smi*", "study_text"),
        ("PatientName", "smi*", "study_patientname_down (PatientName>? AND PatientName<?)"),
        ("StudyDescription", "CHEST*", "study_studydescription_down (StudyDescription>? AND StudyDescription<?)"),
        ("PatientID", "P1", "study_id"),
        ("AccessionNumber", "A1", "study_accession"),
        ("ModalitiesInStudy", "XA", "series_modality"),
    ],
)
def test_entrances_are_read_from_their_own_index(keyword: str, text: str, index: str, tmp_path: Path) -> None:
    for level in ("study", "patient"):
        plan = plan_of(Query(level, keys=(key(keyword, text),)), tmp_path, 0)  # type: ignore[arg-type]
        assert index in plan
        assert "SCAN st\n" not in plan


def test_a_search_takes_the_narrowest_entrance(tmp_path: Path) -> None:
    index: Any = open_index(f"sqlite:{tmp_path / 'index.sqlite'}")
    store(
        index,
        *(
            entry(f"1.{i}", f"2.{i}", f"3.{i}", PatientName=f"Name{i:04}", Modality="CT" if i % 2 else "MR")
            for i in range(500)
        ),
    )
    plan = search.read_plan(
        Query("study", keys=(key("ModalitiesInStudy", "CT"), key("PatientName", "*0123*"))), "sqlite"
    )
    from dicomweb.index import finding

    with index._engine.read() as session:
        assert finding._choose(session, plan) is plan.entrances[1]
    index.close()


def test_a_full_disk_is_said_so_and_writing_goes_on_when_there_is_room(tmp_path: Path) -> None:
    index: Any = open_index(f"sqlite:{tmp_path / 'index.sqlite'}")
    store(index, entry())
    connection = index._engine._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = [entry(instance=f"9.{i}", ImageComments=os.urandom(20_000).hex()) for i in range(20)]
    with pytest.raises(OutOfSpace):
        store(index, *large)
    assert len(index.members("1.1")) == 1
    connection.execute("PRAGMA max_page_count = 1000000")
    assert store(index, *(entry(instance=f"8.{i}") for i in range(3))) == [None] * 3
    index.close()


class Syncs:
    """Syncs of the log of writes: they are counted and can be made to fail; each leaves a copy of what the death of
    the machine would leave."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.done = 0
        self.failing = 0
        self.short = False
        self.written: list[range] = []
        monkeypatch.setattr(wal, "_data_sync", self._sync)
        monkeypatch.setattr(wal, "os", SimpleNamespace(**vars(os) | {"pwrite": self._write}))

    def _sync(self, file: int) -> None:
        if self.failing:
            raise OSError(self.failing, os.strerror(self.failing))
        copied = self.folder(self.done)
        copied.mkdir()
        for end in ("", "-wal"):
            shutil.copyfile(f"{self.path}{end}", copied / f"index.sqlite{end}")
        os.fdatasync(file)
        self.done += 1

    def _write(self, file: int, data: bytes, place: int) -> int:
        if len(data) == 1:  # the mark
            return os.pwrite(file, data, place)
        data = data[:100_000] if self.short else data
        self.written.append(range(place, place + len(data)))
        return os.pwrite(file, data, place)

    def folder(self, number: int) -> Path:
        """Where the files are as this sync made them durable."""
        return self.path.parent / f"sync-{number}"


def test_whatever_was_answered_outlives_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.sqlite"
    index = open_index(f"sqlite:{path}")
    syncs = Syncs(path, monkeypatch)
    stored: list[tuple[str, int]] = []

    def work(thread: int) -> None:
        for number in range(12):
            uid = f"{thread}.{number}"
            assert store(index, entry(study=f"1.{thread}", series=f"2.{thread}", instance=uid)) == [None]
            stored.append((uid, syncs.done - 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    index.close()
    monkeypatch.undo()
    assert syncs.done < len(stored), "those who came at the same time shared syncs"
    assert not syncs.written, "the log is written again where all is well"
    for number in {last for _, last in stored}:
        left = open_index(f"sqlite:{syncs.folder(number) / 'index.sqlite'}")
        answered = [uid for uid, last in stored if last <= number]
        assert set(answered) == left.present(answered).keys()
        left.close()


def test_a_sync_that_fails_once_costs_nobody_an_answer(tmp_path, monkeypatch):
    path = tmp_path / "index.sqlite"
    index = open_index(f"sqlite:{path}")
    store(index, entry())
    syncs = Syncs(path, monkeypatch)
    sync, failed = wal._data_sync, []

    def once(file: int) -> None:
        if not failed:
            failed.append(file)
            raise OSError(errno.EIO, "Input/output error")
        sync(file)

    monkeypatch.setattr(wal, "_data_sync", once)
    assert store(index, entry(instance="2")) == [None]
    assert (len(failed), syncs.done) == (1, 1)
    assert syncs.written
    index.close()


def test_a_link_to_the_file_leads_to_its_log_too(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "index.sqlite").symlink_to(tmp_path / "disk" / "index.sqlite")
    index = open_index(f"sqlite:{tmp_path / 'index.sqlite'}")
    assert store(index, entry()) == [None]
    assert (tmp_path / "disk" / "index.sqlite-wal").exists()
    index.close()


def test_nobodys_turn_lasts_as_long_as_a_sync(tmp_path, monkeypatch):
    path = tmp_path / "index.sqlite"
    index = open_index(f"sqlite:{path}")
    free: list[bool] = []
    monkeypatch.setattr(wal, "_data_sync", lambda file: free.append(is_free(f"{path}-writer")))
    store(index, entry())
    index.close()
    assert free
    assert all(free)


def test_what_need_not_last_is_not_synced_and_what_is_told_of_others_is(tmp_path, monkeypatch):
    path = tmp_path / "index.sqlite"
    index, other = open_index(f"sqlite:{path}"), open_index(f"sqlite:{path}")
    made = entry()
    store(index, made)
    syncs = Syncs(path, monkeypatch)
    again = Intent(made.held.version + 1, "objects/again")
    index.intend([again])
    assert syncs.done == 0
    assert other.intend_new([(again, made.held.instance)]).keys() == {made.held.instance}
    assert syncs.done == 1
    assert other.present([made.held.instance])
    assert syncs.done == 2
    assert other.changes()
    assert syncs.done == 3
    index.abandon([again.version])
    done = syncs.done
    assert other.garbage()
    assert syncs.done == done + 1
    for each in (index, other):
        each.close()


def test_a_log_that_could_not_be_synced_is_written_again_before_anything_else(tmp_path, monkeypatch):
    path = tmp_path / "index.sqlite"
    index = open_index(f"sqlite:{path}")
    first = entry()
    store(index, first)
    syncs = Syncs(path, monkeypatch)
    syncs.failing = errno.EIO
    with pytest.raises(Unavailable, match="could not be synced: Input/output error"):
        store(index, entry(instance="2"))
    syncs.failing = errno.ENOSPC
    with pytest.raises(OutOfSpace, match="could not be synced"):
        store(index, entry(instance="3"))
    syncs.failing = 0
    assert not syncs.done
    size = Path(f"{path}-wal").stat().st_size
    syncs.written.clear()
    syncs.short = True  # a disk may take less than it is given
    assert index.present([first.held.instance])  # the kernel would say without it that all is well
    assert {place for each in syncs.written for place in each} >= set(range(size))
    assert store(index, entry(instance="4")) == [None]
    assert index.present([first.held.instance, "2", "4"]).keys() == {first.held.instance, "2", "4"}
    index.close()
    monkeypatch.undo()
    left = open_index(f"sqlite:{syncs.folder(syncs.done - 1) / 'index.sqlite'}")
    assert left.present([first.held.instance, "2", "4"]).keys() == {first.held.instance, "2", "4"}
    left.close()


def test_a_log_that_could_not_be_synced_is_written_again_by_whichever_process_comes_next(tmp_path, monkeypatch):
    path = tmp_path / "index.sqlite"
    dying = open_index(f"sqlite:{path}")
    first = entry()
    store(dying, first)
    syncs = Syncs(path, monkeypatch)
    syncs.failing = errno.EIO
    with pytest.raises(Unavailable):
        store(dying, entry(instance="2"))
    syncs.failing = 0
    syncs.written.clear()
    size = Path(f"{path}-wal").stat().st_size
    for writing_again in (True, False):
        other = open_index(f"sqlite:{path}")
        assert other.present([first.held.instance])
        assert ({place for each in syncs.written for place in each} >= set(range(size))) == writing_again
        syncs.written.clear()
        other.close()
    dying.close()


def test_where_no_memory_can_be_shared_sqlite_syncs_by_itself(tmp_path, monkeypatch):
    path = tmp_path / "index.sqlite"
    connect = sqlite3.connect
    monkeypatch.setattr(  # locks by files, as there are on file systems that know no others
        "sqlite3.connect", lambda place, **more: connect(f"file:{place}?vfs=unix-dotfile", uri=True, **more)
    )
    index: Any = open_index(f"sqlite:{path}")
    made = entry()
    assert store(index, made) == [None]
    assert index.present([made.held.instance])
    assert not Path(f"{path}-wal").exists()
    assert index._engine._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    index.close()


def test_a_writer_that_never_ends_makes_the_index_unavailable_but_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WAIT", 0.05)
    path = tmp_path / "index.sqlite"
    index = open_index(f"sqlite:{path}")
    store(index, entry())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="busy"):
        store(index, entry(instance="2"))
    assert len(index.search(Query("study")).rows) == 1
    other.execute("ROLLBACK")
    other.close()
    assert store(index, entry(instance="2")) == [None]
    index.close()


def test_a_file_that_is_no_index_is_unavailable_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    path.write_bytes(b"no database at all " * 1000)
    with pytest.raises(Unavailable, match="rebuild"):
        open_index(f"sqlite:{path}")


def test_a_place_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        open_index(f"sqlite:{tmp_path / 'file' / 'index.sqlite'}")


def test_nothing_is_visible_of_a_transaction_that_was_undone(tmp_path: Path) -> None:
    index: Any = open_index(f"sqlite:{tmp_path / 'index.sqlite'}")

    def fail(session: Any, works: Any) -> Any:
        session.run("INSERT INTO study (uid, visible, instances) VALUES ('1', 1, 1)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        index._groups.do(fail, None)
    assert index.counts().studies == 0
    index.close()


def test_processes_of_another_machine_are_refused_while_one_of_this_machine_lives(tmp_path, monkeypatch):
    url = f"sqlite:{tmp_path / 'index.sqlite'}"
    here = [open_index(url), open_index(url)]
    monkeypatch.setattr("dicomweb.index.owners.boot", lambda: "another machine")
    for index in here:
        with pytest.raises(Incompatible, match="in use on another machine"):
            open_index(url)
        index.close()
    there = open_index(url)
    monkeypatch.undo()
    with pytest.raises(Incompatible, match="in use on another machine"):
        open_index(url)
    there.close()
    open_index(url).close()
