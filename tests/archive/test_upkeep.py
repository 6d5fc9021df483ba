"""Upkeep: sweeps, checks, and an index made anew that answers as before."""

import hashlib
import itertools
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from dicoms import PREFIX, ct
from faulty import FaultyStorage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import Served

from dicomweb.archive import identity, tombstones
from dicomweb.archive.archive import Archive, open_archive
from dicomweb.archive.spool import Upload
from dicomweb.archive.versions import object_key, tombstone_key
from dicomweb.config import Config
from dicomweb.errors import Error, Gone, NotFound
from dicomweb.index import Intent, Tombstone, open_index
from dicomweb.storage import Put

STUDY, SERIES = f"{PREFIX}.1", f"{PREFIX}.1.1"


def upload(data: bytes) -> Upload:
    return Upload(data, len(data), hashlib.sha256(data).digest())


def store(archive: Archive, *objects: bytes, **more: Any) -> list[str]:
    return [outcome.state for outcome in archive.store([upload(data) for data in objects], **more)]


def found(archive: Archive) -> list[str]:
    return [finding.kind for _, finding in archive.verify() if finding is not None]


@pytest.fixture
def archive(tmp_path: Path) -> Any:
    opened = open_archive(Config(data=tmp_path, storage="memory:", abandoned_seconds=3600))
    yield opened
    opened.close()


# -- sweep -----------------------------------------------------------------------------------------------
def intent_of(archive: Archive, owner: str, monkeypatch: pytest.MonkeyPatch, data: bytes = b"") -> Intent:
    """An intent and its object, left by a process; without data an object that is not what its key says."""
    digest = hashlib.sha256(data).digest() if data else b"\xab" * 32
    intent = Intent(77, object_key(digest, 77))
    monkeypatch.setattr("dicomweb.index.database.this_process", lambda: owner)
    theirs = open_index(archive.config.index)
    theirs.intend([intent])
    theirs.close()
    monkeypatch.undo()
    assert [name for _, name in archive.index.pending(4e9)] == [owner]
    assert archive.storage.put([Put(intent.key, data or b"left", digest)]) == [None]
    return intent


def finished_process() -> str:
    """The name that a process gave itself which has ended."""
    code = "from dicomweb.index import owners; print(owners.this_process())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_sweep_withdraws_what_a_dead_process_left(archive, monkeypatch):
    intent_of(archive, finished_process(), monkeypatch)
    assert archive.sweep().withdrawn == 1
    assert list(archive.storage.list()) == []


def test_a_sweep_takes_in_what_is_whole(archive, monkeypatch):
    """The index may be one that was copied before its sender was answered."""
    intent = intent_of(archive, finished_process(), monkeypatch, ct(1))
    swept = archive.sweep()
    assert (swept.adopted, swept.withdrawn) == (1, 0)
    assert [held.key for held in archive.index.members(STUDY)] == [intent.key]
    assert found(archive) == []
    assert archive.index.counts().pending == 0


def test_a_sweep_removes_what_is_there_a_second_time(archive, monkeypatch):
    store(archive, ct(1))
    (first,) = archive.index.members(STUDY)
    intent_of(archive, finished_process(), monkeypatch, ct(1))
    swept = archive.sweep()
    assert (swept.adopted, swept.withdrawn) == (0, 1)
    assert [stored.key for stored in archive.storage.list("objects/")] == [first.key]


def test_a_sweep_that_finds_the_first_one_gone_takes_the_second_in(archive, monkeypatch):
    store(archive, ct(1))
    (first,) = archive.index.members(STUDY)
    archive.storage.delete(first.key)
    intent = intent_of(archive, finished_process(), monkeypatch, ct(1))
    assert archive.sweep().adopted == 1
    assert [stored.key for stored in archive.storage.list("objects/")] == [intent.key]


def test_a_sweep_leaves_a_whole_object_that_it_cannot_read(archive, monkeypatch):
    """Limits may have changed since; nothing that may have been acknowledged goes for that."""
    intent = intent_of(archive, finished_process(), monkeypatch, b"no object, but whole")
    swept = archive.sweep()
    assert (swept.adopted, swept.withdrawn) == (0, 0)
    assert archive.storage.read(intent.key) == b"no object, but whole"
    assert [pending for pending, _ in archive.index.pending(4e9)] == [intent]


def test_a_sweep_leaves_what_another_live_process_has_under_way(archive, monkeypatch):
    code = "import sys; from dicomweb.index import owners; print(owners.this_process(), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        intent = intent_of(archive, process.stdout.readline().strip(), monkeypatch)
        assert archive.sweep().withdrawn == 0
        assert archive.storage.read(intent.key) == b"left"
        process.communicate("")


def test_a_sweep_leaves_what_another_machine_began_lately(archive, monkeypatch):
    intent = intent_of(archive, "elsewhere:1:1", monkeypatch)
    assert archive.sweep().withdrawn == 0
    assert archive.storage.read(intent.key) == b"left"


# -- verify ----------------------------------------------------------------------------------------------
def test_verify_finds_missing_corrupt_and_orphaned_objects(tmp_path):
    archive = open_archive(Config(data=tmp_path))
    store(archive, ct(1), ct(2), ct(3), ct(4))
    assert found(archive) == []
    one, two, three, _ = archive.index.members(STUDY)
    archive.storage.delete(one.key)
    folder = next(path for path in tmp_path.rglob(two.key.rpartition("/")[2]))
    os.chmod(folder, 0o600)
    folder.write_bytes(ct(2)[:-1] + b"\xff")
    other = next(path for path in tmp_path.rglob(three.key.rpartition("/")[2]))
    os.chmod(other, 0o600)
    other.write_bytes(ct(3) + b"\0")
    stray = other.with_name("ab" * 32 + "-0000000000000007")
    stray.write_bytes(b"stray")
    kinds = sorted(found(archive))
    assert kinds == ["corrupt", "corrupt", "missing", "orphaned"]
    details = {finding.kind: finding for _, finding in archive.verify() if finding is not None}
    assert details["missing"].instance == one.instance
    archive.close()


def test_a_corrupt_object_does_not_enter_a_rebuilt_index(tmp_path):
    archive = open_archive(Config(data=tmp_path))
    store(archive, ct(1), ct(2))
    one, _ = archive.index.members(STUDY)
    path = next(path for path in tmp_path.rglob(one.key.rpartition("/")[2]))
    os.chmod(path, 0o600)
    path.write_bytes(ct(1)[:-1] + b"\xff")
    findings = [finding for _, finding in archive.rebuild() if finding is not None]
    assert [finding.kind for finding in findings] == ["corrupt"]
    assert [held.instance for held in archive.index.members(STUDY)] == [f"{SERIES}.2"]
    archive.close()


# -- rebuild ---------------------------------------------------------------------------------------------
QUERIES = ["/studies?includefield=all", "/series?includefield=all", "/instances?includefield=all", "/patients"]


def answers(served: Served) -> dict[str, tuple[int, bytes]]:
    """What searches at all levels, metadata and deleted resources answer."""
    asked = {path: served.get(path, "application/json") for path in QUERIES}
    for study in range(1, 4):
        for path in (f"/studies/{PREFIX}.{study}", f"/studies/{PREFIX}.{study}/series/{PREFIX}.{study}.1"):
            asked[path] = served.get(f"{path}/metadata", "application/json")
        for number in range(1, 4):
            path = f"/studies/{PREFIX}.{study}/series/{PREFIX}.{study}.1/instances/{PREFIX}.{study}.1.{number}"
            asked[path] = served.get(f"{path}/metadata", "application/json")
    return {path: (answer.status_code, answer.content) for path, answer in asked.items()}


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["refuse", "keep", "replace", "delete study", "delete instance", "sweep", "pair"]),
        st.integers(1, 3),
        st.integers(1, 3),
        st.sampled_from([None, "other", "third"]),
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_a_rebuilt_index_answers_as_before_whatever_happened(tmp_path_factory, actions):
    served = Served(tmp_path_factory.mktemp("archive"))
    archive = served.archive
    act(archive, actions)
    before, others = answers(served), {held.version for held in archive.index.others(100)}
    assert [finding for _, finding in archive.rebuild() if finding is not None] == []
    assert answers(served) == before
    assert {held.version for held in archive.index.others(100)} == others
    archive.sweep()
    assert found(archive) == []
    assert answers(served) == before
    archive.close()


def act(archive: Archive, actions: list[tuple[str, int, int, str | None]]) -> None:
    for action, study, number, comments in actions:
        data = ct(number, study=study, PatientComments=comments)
        try:
            if action == "delete study":
                archive.delete(f"{PREFIX}.{study}")
            elif action == "delete instance":
                archive.delete(f"{PREFIX}.{study}", f"{PREFIX}.{study}.1", f"{PREFIX}.{study}.1.{number}")
            elif action == "sweep":
                archive.sweep()
            elif action == "pair":
                store(archive, ct(number, study=study, PatientComments="pair"), data, on_conflict="keep")
            else:
                store(archive, data, on_conflict=action)
        except (NotFound, Gone):
            pass


# -- reconcile -------------------------------------------------------------------------------------------
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(yesterday=ACTIONS, today=ACTIONS, interrupted=st.integers(0, 6))
def test_yesterdays_index_answers_as_todays_once_it_is_reconciled(tmp_path_factory, yesterday, today, interrupted):
    folder = tmp_path_factory.mktemp("archive")
    served = Served(folder, storage=f"file:{folder / 'objects'}", index=f"sqlite:{folder / 'index'}")
    act(served.archive, yesterday)
    with sqlite3.connect(folder / "index") as source, sqlite3.connect(folder / "backup") as target:
        source.backup(target)
    act(served.archive, today)
    before, others = answers(served), {held.version for held in served.archive.index.others(100)}
    served.archive.close()
    for name in ("index-wal", "index-shm"):
        (folder / name).unlink(missing_ok=True)
    (folder / "backup").replace(folder / "index")
    served = Served(folder, storage=f"file:{folder / 'objects'}", index=f"sqlite:{folder / 'index'}")
    archive = served.archive
    list(itertools.islice(archive.reconcile(), interrupted))
    assert not {"missing", "refused"} & {step.state for step in archive.reconcile()}
    assert answers(served) == before
    assert {held.version for held in archive.index.others(100)} == others
    assert {step.state for step in archive.reconcile()} <= {"agreed"}
    archive.sweep()
    assert found(archive) == []
    assert answers(served) == before
    archive.close()


def test_what_was_under_way_when_the_index_was_copied_is_entered_and_no_sweep_takes_it(archive, monkeypatch):
    intent_of(archive, finished_process(), monkeypatch, ct(1))
    assert [step.state for step in archive.reconcile()] == ["added"]
    assert archive.sweep().withdrawn == 0
    assert [held.version for held in archive.index.members(STUDY)] == [77]
    assert found(archive) == []


def test_what_another_process_has_under_way_is_left_to_it(archive, monkeypatch):
    intent = intent_of(archive, "elsewhere:1:1", monkeypatch)
    assert [step.state for step in archive.reconcile()] == ["agreed"]
    assert [pending for pending, _ in archive.index.pending(4e9)] == [intent]


def test_what_has_no_object_and_what_cannot_enter_is_told_and_left(archive):
    store(archive, ct(1), ct(2))
    lost, other = archive.index.members(STUDY)
    archive.storage.delete(lost.key)
    stray = object_key(hashlib.sha256(ct(3)).digest(), 78)
    assert archive.storage.put([Put(stray, ct(3)[:-1] + b"x", b"")]) == [None]
    told = {step.key: (step.state, step.instance) for step in archive.reconcile()}
    assert told == {lost.key: ("missing", lost.instance), other.key: ("agreed", ""), stray: ("refused", "")}
    assert archive.index.members(STUDY) == [lost, other]
    assert store(archive, ct(1)) == ["already"]
    assert "missing" not in {step.state for step in archive.reconcile()}


def test_a_rebuild_takes_objects_where_they_lie(archive):
    """Earlier versions had more folders."""
    data = ct()
    digest = hashlib.sha256(data).digest()
    key = f"objects/{digest.hex()[:2]}/{digest.hex()[2:4]}/{digest.hex()}-{77:016x}"
    assert archive.storage.put([Put(key, data, digest)]) == [None]
    assert [finding for _, finding in archive.rebuild() if finding is not None] == []
    assert [held.key for held in archive.index.members(STUDY)] == [key]
    assert found(archive) == []


def test_what_is_kept_is_not_current_after_a_replacement_and_a_rebuild(archive):
    store(archive, ct(1))
    assert store(archive, ct(1, PatientComments="kept"), on_conflict="keep") == ["kept"]
    assert store(archive, ct(1, PatientComments="new"), on_conflict="replace") == ["replaced"]
    archive.sweep()
    list(archive.rebuild())
    (held,) = archive.index.members(STUDY)
    assert archive.storage.read(held.key) == ct(1, PatientComments="new")
    (other,) = archive.index.others(10)
    assert archive.storage.read(other.key) == ct(1, PatientComments="kept")


# -- tombstones ------------------------------------------------------------------------------------------
def test_a_deletion_is_remembered_and_then_forgotten(tmp_path):
    served = Served(tmp_path, tombstone_days=0)
    store(served.archive, ct(1))
    path = f"/studies/{STUDY}"
    assert served.client.delete(f"/dicom-web{path}").status_code == 204
    assert served.get(path).status_code == 410
    list(served.archive.rebuild())
    assert served.get(path).status_code == 410
    served.archive.sweep()
    served.archive.sweep()
    assert served.get(path).status_code == 404
    assert [stored.key for stored in served.archive.storage.list()] == [identity.KEY]


def test_a_deletion_that_reached_storage_takes_place_after_a_crash(archive, monkeypatch):
    store(archive, ct(1))

    def crash(*_: object) -> int:
        raise Error("the process ended here")

    monkeypatch.setattr(archive.index, "delete", crash)
    with pytest.raises(Error):
        archive.delete(STUDY)
    monkeypatch.undo()
    assert len(archive.index.members(STUDY)) == 1
    list(archive.rebuild())
    with pytest.raises(Gone):
        archive.index.members(STUDY)


# -- the machine went down -------------------------------------------------------------------------------
def test_an_object_whose_intent_went_down_with_the_machine_is_found(tmp_path: Path, monkeypatch: Any) -> None:
    config = Config(data=tmp_path)
    boots = iter(["first", "first", "second", "second"])
    monkeypatch.setattr("dicomweb.index.owners.boot", lambda: next(boots))
    opened = open_archive(config)
    assert store(opened, ct(1)) == ["stored"]
    assert opened.sweep().adopted == 0
    data = ct(2)
    digest = hashlib.sha256(data).digest()
    assert opened.storage.put([Put(object_key(digest, 77), data, digest)]) == [None]
    opened.close()
    for adopted, instances in ((0, 1), (1, 2), (0, 2)):  # the same run of the machine, the next one, that one again
        opened = open_archive(config)
        assert opened.sweep().adopted == adopted
        assert len(opened.index.members(STUDY)) == instances
        assert found(opened) == ([] if instances == 2 else ["orphaned"])
        opened.close()


# -- a process that is to stop ---------------------------------------------------------------------------
def test_a_sweep_ends_with_the_object_that_it_is_at_and_the_next_one_does_the_rest(tmp_path: Path) -> None:
    storage = FaultyStorage()
    config = Config(data=tmp_path, storage="memory:", index="sqlite::memory:")
    archive = Archive(storage, open_index("sqlite::memory:"), config)
    assert store(archive, *(ct(number) for number in range(1, 9))) == ["stored"] * 8
    archive.delete(STUDY)
    sweeper = archive.sweeper()
    stopping = threading.Thread(target=sweeper.stop)

    def stop_once(operation: str, key: str) -> None:
        if operation == "delete" and not stopping.ident:
            stopping.start()
            assert sweeper._told.wait(30)

    storage.fault = stop_once
    sweeper.start()
    while not stopping.ident:
        pass
    stopping.join(30)
    assert not stopping.is_alive()
    assert archive.index.counts().garbage == 7
    assert archive.sweep().removed == 7
    archive.close()


def test_a_deletion_that_fails_beside_it_is_not_carried_out_by_a_reconciliation(archive, monkeypatch):
    store(archive, ct(1))
    (held,) = archive.index.members(STUDY)
    grave = Tombstone(78, tombstone_key(78), STUDY, None, None, (held.version,), time.time())
    tombstones.place(archive.storage, archive.index, grave)
    pending = archive.index.pending

    def fails_now(before: float) -> Any:
        if any(archive.storage.list("tombstones/")):
            tombstones.take_back(archive.storage, archive.index, grave)
        return pending(before)

    monkeypatch.setattr(archive.index, "pending", fails_now)
    monkeypatch.setattr(
        archive._upkeep, "resolve", lambda: iter(())
    )  # so that the tombstones are what is looked at first
    assert [step.state for step in archive.reconcile()] == ["agreed"]
    assert archive.index.members(STUDY) == [held]


def test_a_tombstone_that_expires_meanwhile_does_not_stop_a_reconciliation(archive, monkeypatch):
    store(archive, ct(1))
    archive.delete(STUDY)
    listed = archive.storage.list

    def expires(prefix: str = "") -> Any:
        for each in list(listed(prefix)):
            if prefix == "tombstones/":
                archive.storage.delete(each.key)
            yield each

    monkeypatch.setattr(archive.storage, "list", expires)
    assert {step.state for step in archive.reconcile()} <= {"agreed"}
