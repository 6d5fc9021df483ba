"""What somebody with a scope stores: into no study of anybody else, whoever else stores at the same moment."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import postgresql
import pytest
from dicoms import PREFIX, ct
from faulty import FaultyStorage

from dicomweb.access.rights import Scope
from dicomweb.archive.archive import Archive
from dicomweb.archive.scoped import ScopedArchive
from dicomweb.archive.spool import Upload
from dicomweb.config import Config
from dicomweb.index import open_index

STUDY = f"{PREFIX}.1"
OURS, THEIRS = Scope(patients=frozenset({("P1", "")})), Scope(patients=frozenset({("P2", "")}))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty index that several processes can open."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'index.sqlite'}"
        return
    made = postgresql.new_database()
    yield made
    postgresql.drop_database(made)


class Replicas:
    """Two archives, as two processes have them, over one index and one storage."""

    def __init__(self, folder: Path, url: str) -> None:
        self.storage = FaultyStorage()
        config = Config(data=folder, storage="memory:", index=url)
        self.one, self.other = (Archive(self.storage, open_index(url), config) for _ in range(2))

    def close(self) -> None:
        self.one.close()
        self.other.close()

    def patients(self) -> set[str]:
        """Whose objects are found."""
        held = self.one.index.walk()
        return {"P2" if b"P2" in self.storage.read(each.key) else "P1" for each in held}


@pytest.fixture
def replicas(tmp_path: Path, url: str) -> Iterator[Replicas]:
    made = Replicas(tmp_path, url)
    yield made
    made.close()


def store(archive: Archive | ScopedArchive, number: int, patient: str, study: int = 1) -> str:
    data = ct(number, study=study, PatientID=patient)
    upload = Upload(data, len(data), hashlib.sha256(data).digest())
    (outcome,) = archive.store([upload])
    assert outcome.reason in (None, 0x0124), outcome
    return outcome.state


def once(action: Callable[[], object]) -> Callable[[str, str], None]:
    """What happens while the first object is written, once it was found that it may be."""
    waiting = [action]

    def fault(operation: str, key: str) -> None:
        if operation == "put" and waiting:
            waiting.pop()()

    return fault


@pytest.mark.parametrize("scoped", [True, False], ids=["somebody with a scope", "somebody with none"])
def test_a_study_that_another_patient_opens_meanwhile_is_not_entered(replicas, scoped):
    other = ScopedArchive(replicas.other, THEIRS) if scoped else replicas.other
    replicas.storage.fault = once(lambda: store(other, 2, "P2"))
    assert store(ScopedArchive(replicas.one, OURS), 1, "P1") == "failed"
    assert replicas.patients() == {"P2"}
    assert len(list(replicas.storage.list("objects/"))) == 1
    assert replicas.one.index.counts().pending == 0
    # and of whom the study is may go on
    assert store(other, 3, "P2") == "stored"


def test_a_study_that_was_ones_own_and_is_opened_anew_by_another_patient_is_not_entered(replicas):
    ours = ScopedArchive(replicas.one, OURS)
    assert store(ours, 1, "P1") == "stored"

    def change_hands() -> None:
        replicas.other.delete(STUDY)
        assert store(replicas.other, 2, "P2") == "stored"

    replicas.storage.fault = once(change_hands)
    assert store(ours, 3, "P1") == "failed"
    assert replicas.patients() == {"P2"}


def test_of_two_patients_who_open_a_study_at_the_same_moment_one_has_it(replicas):
    rounds = 40
    meeting = threading.Barrier(4)

    def send(archive: Archive, number: int, patient: str) -> list[str]:
        scoped = ScopedArchive(archive, OURS if patient == "P1" else THEIRS)
        states = []
        for study in range(1, rounds + 1):
            meeting.wait(30)
            states.append(store(scoped, number, patient, study))
        return states

    senders = [(replicas.one, 1, "P1"), (replicas.one, 2, "P2"), (replicas.other, 3, "P1"), (replicas.other, 4, "P2")]
    with ThreadPoolExecutor(4) as pool:
        ours, theirs, ours_too, theirs_too = pool.map(lambda sender: send(*sender), senders)
    assert ours == ours_too
    assert theirs == theirs_too
    assert [{one, other} for one, other in zip(ours, theirs, strict=True)] == [{"stored", "failed"}] * rounds
