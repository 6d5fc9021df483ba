"""What processes that live no more had under way: an index that was copied at any moment, and put back later, loses
nothing that was acknowledged, and a process that dies at any moment leaves nothing that is half there."""

import hashlib
import itertools
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dicoms import PREFIX, ct
from faulty import FaultyIndex, FaultyStorage

from dicomweb.archive.archive import Archive
from dicomweb.archive.spool import Upload
from dicomweb.config import Config
from dicomweb.errors import NotFound
from dicomweb.index import open_index

STUDY = f"{PREFIX}.1"
SERIES = f"{STUDY}.1"
DEAD = f"{socket.gethostname()}:{2**22 + 1}:1"
"""A name that no process has: there are no such numbers."""


class Died(BaseException):
    """The process ends here."""


class Course:
    """Stores, replacements and deletions, each call to storage or index counted.

    Attributes:
        storage: stays, whatever becomes of the index.
        at: called with the number of each call before it is done.
        answered: content by SOP Instance UID, as far as senders were told.
        open: the one instance about which the answer is out, or "".
        ended: how many calls there were.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = FaultyStorage()
        self.calls = itertools.count()
        self.at: Callable[[int], None] = lambda number: None
        self.answered: dict[str, bytes] = {}
        self.open = ""
        self.ended = 0

    def archive(self, owner: str = "") -> Archive:
        """The archive, opened by a process of this name."""
        with pytest.MonkeyPatch.context() as patch:
            if owner:
                patch.setattr("dicomweb.index.database.this_process", lambda: owner)
            index = FaultyIndex(open_index(f"sqlite:{self.folder / 'index'}"))
        index.before = lambda operation: self.called()
        self.storage.fault = lambda operation, key: self.called()
        config = Config(data=self.folder, storage="memory:", index=f"sqlite:{self.folder / 'index'}")
        return Archive(self.storage, index, config)  # type: ignore[arg-type]

    def called(self) -> None:
        self.at(next(self.calls))

    def run(self) -> None:
        """Act, as a process that is dead afterwards."""
        archive = self.archive(DEAD)
        try:
            self._store(archive, 1)
            self._store(archive, 2)
            self._store(archive, 1, "second", "replace")
            self._store(archive, 2, "kept", "keep")
            self._store(archive, 2, "refused", "refuse")
            self._store(archive, 3)
            self._store(archive, 1, "third", "replace")
            self._store(archive, 1, "third")
            self.open = f"{SERIES}.3"
            archive.delete(STUDY, SERIES, self.open)
            del self.answered[self.open]
            self.open = ""
            self._store(archive, 3, "again")
        finally:
            self.at = lambda number: None
            self.ended = next(self.calls)
            archive.index.close()

    def _store(self, archive: Archive, number: int, comments: str | None = None, on_conflict: str = "refuse") -> None:
        data = ct(number, PatientComments=comments)
        self.open = f"{SERIES}.{number}"
        upload = Upload(data, len(data), hashlib.sha256(data).digest())
        (outcome,) = archive.store([upload], on_conflict=on_conflict)  # type: ignore[arg-type]
        if outcome.state in ("stored", "replaced", "already"):
            self.answered[self.open] = data
        self.open = ""


def current(archive: Archive) -> dict[str, bytes]:
    try:
        return {held.instance: archive.storage.read(held.key) for held in archive.index.members(STUDY)}
    except NotFound:
        return {}


def others(archive: Archive) -> list[bytes]:
    return sorted(archive.storage.read(held.key) for held in archive.index.others(100))


def settled(archive: Archive) -> None:
    """Nothing is half there, and the objects alone tell the same."""
    assert archive.index.counts().pending == archive.index.counts().garbage == 0
    assert [finding for _, finding in archive.verify() if finding is not None] == []
    before = current(archive), others(archive)
    assert [finding for _, finding in archive.rebuild() if finding is not None] == []
    assert (current(archive), others(archive)) == before


def moments(folder: Path, every: int) -> range:
    course = Course(folder)
    course.run()
    return range(0, course.ended, every)


def restored(folder: Path, moment: int) -> None:
    """A copy of the index as it was at a moment is put back after the end, and a server starts."""
    course = Course(folder)

    def copy(number: int) -> None:
        if number == moment:
            with sqlite3.connect(folder / "index") as source, sqlite3.connect(folder / "copy") as target:
                source.backup(target)
            source.close()
            target.close()

    course.at = copy
    course.run()
    archive = course.archive()
    archive.sweep()
    objects = {stored.key for stored in course.storage.list("objects/")}
    kept = others(archive)
    assert kept == [ct(2, PatientComments="kept")]
    archive.index.close()
    for name in ("index-wal", "index-shm"):
        (folder / name).unlink(missing_ok=True)
    (folder / "copy").replace(folder / "index")
    archive = course.archive()
    begun = {intent.version for intent, _ in archive.index.pending(4e9) if intent.kind == "object"}
    archive.sweep()
    assert objects <= {stored.key for stored in course.storage.list("objects/")}
    for uid, held in archive.index.present(list(course.answered)).items():
        if held.version in begun:
            assert archive.storage.read(held.key) == course.answered[uid]
    assert "refused" not in {step.state for step in archive.reconcile()}
    archive.sweep()
    assert current(archive) == course.answered
    assert others(archive) == kept
    settled(archive)
    archive.index.close()


def died(folder: Path, moment: int) -> None:
    """A process dies at a moment, and another one starts."""
    course = Course(folder)

    def die(number: int) -> None:
        if number == moment:
            raise Died

    course.at = die
    with pytest.raises(Died):
        course.run()
    archive = course.archive()
    archive.sweep()
    seen = current(archive)
    assert {uid: seen.get(uid) for uid in course.answered if uid != course.open} == {
        uid: data for uid, data in course.answered.items() if uid != course.open
    }
    assert seen.keys() - course.answered.keys() <= {course.open}
    settled(archive)
    archive.index.close()


def try_moments(path: Path, happens: Any, step: int) -> None:
    """Have something happen at every so many of the moments, each in a folder of its own."""
    (path / "all").mkdir()
    for moment in moments(path / "all", step):
        folder = path / str(moment)
        folder.mkdir()
        happens(folder, moment)


@pytest.mark.parametrize("happens", [restored, died])
def test_at_a_sample_of_moments_nothing_acknowledged_is_lost(tmp_path: Path, happens: Any) -> None:
    try_moments(tmp_path, happens, 11)


@pytest.mark.long
@pytest.mark.parametrize("happens", [restored, died])
def test_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path, happens: Any) -> None:
    try_moments(tmp_path, happens, 1)
