"""Store: each object by itself, in an order that leaves nothing lost, half-visible or orphaned."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dicoms import PREFIX, ct
from faulty import FaultyIndex, FaultyStorage

from dicomweb.archive.archive import Archive
from dicomweb.archive.spool import Upload
from dicomweb.config import Config
from dicomweb.errors import Gone, NotFound, OutOfSpace, Unavailable
from dicomweb.index import Held, Intent, open_index
from dicomweb.storage import Put

STUDY, SERIES = f"{PREFIX}.1", f"{PREFIX}.1.1"


def uid(number: int) -> str:
    return f"{SERIES}.{number}"


def upload(data: bytes) -> Upload:
    return Upload(data, len(data), hashlib.sha256(data).digest())


class Bench:
    """An archive over a storage and an index that fail when told to."""

    def __init__(self, folder: Path) -> None:
        self.storage = FaultyStorage()
        self.index = FaultyIndex(open_index("sqlite::memory:"))
        config = Config(data=folder, storage="memory:", index="sqlite::memory:")
        self.archive = Archive(self.storage, self.index, config)  # type: ignore[arg-type]
        self.archive._upkeep._abandoned._seconds = 0.0  # the setting is a second at least

    def store(self, *objects: bytes, **more: str) -> list[str]:
        return [outcome.state for outcome in self.outcomes(*objects, **more)]

    def outcomes(self, *objects: bytes, **more: str):
        return self.archive.store([upload(data) for data in objects], **more)  # type: ignore[arg-type]

    def blindly(self, intents: Sequence[tuple[Intent, str]]) -> dict[str, Held]:
        """`intend_new` that finds nothing."""
        self.index._index.intend([intent for intent, _ in intents])
        return {}

    def well(self) -> None:
        self.storage.fault = lambda operation, key: None
        self.storage.leaves = False
        self.index.down, self.index.lost = set(), set()

    def agree(self) -> bool:
        """Storage and index hold the same after a sweep, with nothing under way."""
        self.archive.sweep()
        findings = [finding for _, finding in self.archive.verify() if finding is not None]
        counts = self.index.counts()
        kept = {f"kept/{held.version:016x}" for held in self.index.others(1000)}
        notes = {stored.key for stored in self.storage.list("kept/")}
        return not findings and not counts.pending and not counts.garbage and notes <= kept


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def only(number: int, error: Exception) -> Callable[[str, str], Exception | None]:
    """A fault that meets the puts of one object."""
    digest = hashlib.sha256(ct(number)).hexdigest()
    return lambda operation, key: error if operation == "put" and digest in key else None


@pytest.mark.parametrize("leaves", [False, True], ids=["nothing written", "bytes left"])
@pytest.mark.parametrize(
    ("error", "reason"), [(OutOfSpace("full"), 0xA700), (Unavailable("gone"), 0x0110)], ids=["full", "gone"]
)
def test_a_storage_error_fails_its_own_object_only(bench, error, reason, leaves):
    bench.storage.fault, bench.storage.leaves = only(2, error), leaves
    results = bench.outcomes(ct(1), ct(2), ct(3))
    assert [outcome.reason for outcome in results] == [None, reason, None]
    assert results[1].temporary
    assert results[1].instance == uid(2)
    assert bench.agree()
    bench.well()
    assert bench.store(ct(2)) == ["stored"]
    assert bench.agree()


@pytest.mark.parametrize("operation", ["intend_new", "commit"])
@pytest.mark.parametrize("how", ["down", "lost"])
def test_an_index_that_does_not_answer_leaves_nothing_behind_after_a_sweep(bench, operation, how):
    getattr(bench.index, how).add(operation)
    results = bench.outcomes(ct(1), ct(2))
    assert [outcome.state for outcome in results] == ["failed", "failed"]
    assert all(outcome.temporary for outcome in results)
    bench.well()
    assert bench.agree()
    stored = operation == "commit" and how == "lost"  # it was done, and only the answer was lost
    assert bench.index.counts().instances == (2 if stored else 0)
    assert bench.store(ct(1), ct(2)) == ["already" if stored else "stored"] * 2
    assert bench.agree()


def test_an_error_while_one_conflict_is_settled_leaves_its_neighbours_stored(bench):
    bench.store(ct(1))
    real = bench.index._index.intend_new
    bench.index._index.intend_new = bench.blindly  # as if it came in between
    bench.storage.fault = lambda operation, key: Unavailable("gone") if operation == "stream" else None
    assert bench.store(ct(1, PatientComments="other"), ct(2), ct(3)) == ["failed", "stored", "stored"]
    bench.index._index.intend_new = real
    bench.well()
    assert bench.agree()
    assert bench.index.counts().instances == 3


def test_a_sweep_does_not_touch_what_this_process_has_under_way(bench):
    swept = []

    def sweep(operation: str) -> None:
        if operation == "commit" and not swept:
            swept.append(bench.archive.sweep())

    bench.index.before = sweep
    assert bench.store(ct(1)) == ["stored"]
    assert swept[0].withdrawn == 0
    assert bench.agree()


def test_a_commit_whose_intent_a_sweep_took_fails_and_leaves_nothing(bench):
    def take(operation: str) -> None:
        if operation == "commit":
            for intent, _ in bench.index._index.pending(4e9):
                bench.storage.delete(intent.key)
                bench.index._index.forget([intent.version])

    bench.index.before = take
    assert bench.store(ct(1)) == ["failed"]
    bench.index.before = lambda operation: None
    assert bench.agree()
    assert bench.index.counts().instances == 0


def test_the_same_instance_from_many_threads_is_stored_once_and_all_succeed(bench):
    start = threading.Barrier(8)

    def run(_: int) -> str:
        start.wait(20)
        return bench.store(ct(1))[0]

    with ThreadPoolExecutor(8) as pool:
        states = list(pool.map(run, range(8)))
    assert sorted(states) == ["already"] * 7 + ["stored"]
    assert len(list(bench.storage.list("objects/"))) == 1
    assert bench.agree()


@pytest.mark.parametrize(("policy", "others"), [("refuse", 0), ("keep", 5), ("replace", 0)])
def test_other_contents_from_many_threads_leave_one_current_and_nothing_astray(bench, policy, others):
    start = threading.Barrier(6)

    def run(number: int) -> str:
        start.wait(20)
        return bench.store(ct(1, PatientComments=str(number)), on_conflict=policy)[0]

    with ThreadPoolExecutor(6) as pool:
        states = list(pool.map(run, range(6)))
    assert states.count("stored") == 1
    assert set(states) == {"stored", {"refuse": "failed", "keep": "kept", "replace": "replaced"}[policy]}
    assert bench.agree()
    assert bench.index.counts().instances == 1
    assert bench.index.counts().other_versions == others
    assert len(list(bench.storage.list("objects/"))) == 1 + others


def test_stores_and_deletes_at_once_leave_all_or_nothing(bench):
    """Whatever the order, each delete removes what it saw and each store that succeeded after it holds."""
    stop = threading.Event()
    errors: list[Exception] = []

    def delete() -> None:
        while not stop.is_set():
            try:
                bench.archive.delete(STUDY)
            except NotFound:
                pass
            except Exception as error:
                errors.append(error)
                return

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        states = [state for number in range(60) for state in bench.store(ct(number % 3 + 1))]
    finally:
        stop.set()
        thread.join(30)
    assert errors == []
    assert set(states) <= {"stored", "already"}
    assert bench.agree()
    bench.store(ct(1))
    assert bench.index.locate(STUDY, SERIES, uid(1)).instance == uid(1)


def test_what_was_deleted_while_it_was_compared_is_stored_anew(bench):
    bench.store(ct(1))
    done = []

    def delete(operation: str) -> None:
        if operation == "intend_new" and not done:
            done.append(True)
            bench.archive.delete(STUDY)

    real = bench.index._index.intend_new
    bench.index._index.intend_new = bench.blindly
    bench.index.before = delete
    assert bench.store(ct(1)) == ["stored"]
    bench.index._index.intend_new = real
    assert bench.agree()
    assert bench.index.counts().instances == 1


def test_a_failed_tombstone_deletes_nothing_now_and_nothing_later(bench):
    bench.store(ct(1))
    bench.storage.leaves = True
    bench.storage.fault = lambda operation, key: (
        Unavailable("gone") if operation == "put" and key.startswith("tombstones/") else None
    )
    with pytest.raises(Unavailable):
        bench.archive.delete(STUDY)
    bench.well()
    assert bench.agree()
    assert list(bench.storage.list("tombstones/")) == []
    list(bench.archive.rebuild())
    assert bench.index.counts().instances == 1


def test_a_replacement_that_fails_half_way_leaves_the_first(bench):
    bench.store(ct(1))
    bench.index.down.add("replace")
    assert bench.store(ct(1, PatientComments="other"), on_conflict="replace") == ["failed"]
    bench.well()
    (held,) = bench.index.members(STUDY)
    assert bench.storage.read(held.key) == ct(1)
    assert bench.store(ct(1, PatientComments="other"), on_conflict="replace") == ["replaced"]
    (held,) = bench.index.members(STUDY)
    assert bench.storage.read(held.key) == ct(1, PatientComments="other")
    assert bench.agree()


def test_what_is_deleted_is_gone_until_it_is_stored_again(bench):
    bench.store(ct(1), ct(2))
    bench.archive.delete(STUDY, SERIES, uid(1))
    with pytest.raises(Gone):
        bench.index.locate(STUDY, SERIES, uid(1))
    assert bench.store(ct(1)) == ["stored"]
    assert bench.index.locate(STUDY, SERIES, uid(1)).instance == uid(1)
    assert bench.agree()


def test_a_deletion_whose_answer_was_lost_is_finished_by_the_sweep(bench):
    bench.store(ct(1))
    bench.index.down.add("delete")
    with pytest.raises(Unavailable):
        bench.archive.delete(STUDY)
    bench.well()
    assert bench.agree()
    with pytest.raises(Gone):
        bench.index.members(STUDY)


@pytest.mark.parametrize("left", [None, b"cut"])
def test_an_object_whose_bytes_were_lost_is_whole_again_once_it_is_sent_again(bench, left):
    assert bench.store(ct(1)) == ["stored"]
    (held,) = bench.index.members(STUDY)
    bench.storage.delete(held.key)
    if left is not None:
        bench.storage.put([Put(held.key, left, hashlib.sha256(left).digest())])
    assert bench.store(ct(1)) == ["already"]
    assert bench.storage.read(held.key) == ct(1)
    assert bench.agree()


def test_an_object_that_is_deleted_while_its_bytes_are_put_back_leaves_nothing_astray(bench):
    bench.store(ct(1))

    def fault(operation: str, key: str) -> None:
        if operation == "size":
            bench.storage.fault = lambda operation, key: None
            bench.archive.delete(STUDY)
            bench.archive.sweep()

    bench.storage.fault = fault
    assert bench.store(ct(1)) == ["failed"]
    assert bench.agree()
    assert bench.store(ct(1)) == ["stored"]
