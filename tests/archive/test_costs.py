"""What it costs to store an instance, to get a frame and to draw one, in counts that are the same on every machine: who
makes one of them larger should know that he does, and why. docs/performance.md tells where the time goes."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from counting import calls_of
from dicoms import ct
from served import Served, multiframe, path_of

from dicomweb.archive import room
from dicomweb.archive.archive import Archive, open_archive
from dicomweb.config import Config
from dicomweb.index.sqlite import SqliteEngine, SqliteSession
from dicomweb.standard.multipart import write, write_type
from dicomweb.storage import filesystem
from dicomweb.storage.measured import Measured
from dicomweb.web.lane import Lane
from dicomweb.web.stow import Session


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    opened = open_archive(Config(data=tmp_path))
    yield opened
    opened.close()


def store(archive: Archive, data: bytes) -> None:
    """Store an instance as a request does, behind the one hop into a thread."""
    session = Session(archive, write_type("between", "application/dicom"), None)
    session.take([write("between", [("application/dicom", data)])])
    assert [outcome.state for outcome in session.finish()] == ["stored"]
    session.discard()


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What was done since it was last cleared."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str, kind: Callable[..., str]) -> None:
        plain = getattr(owner, name)

        def counting(*args: Any, **kwargs: Any) -> Any:
            counted[kind(*args)] += 1
            return plain(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    for name in ("rows", "run", "many", "insert"):
        count(SqliteSession, name, lambda *_: "statements")
    monkeypatch.setattr(filesystem, "os", SimpleNamespace(**vars(filesystem.os)))  # others in this process sync, too
    for name in ("fsync", "fdatasync"):
        count(filesystem.os, name, lambda *_: "syncs of files")
    count(SqliteEngine, "write", lambda _, lasting=True: "lasting commits" if lasting else "passing commits")
    return counted


def test_the_statements_of_a_store_are_few(archive: Archive, counts: Counter[str]) -> None:
    store(archive, ct(1))  # its SOP class, transfer syntax and form of key get their codes
    counts.clear()
    store(archive, ct(1, study=2))
    assert counts["statements"] <= 17  # of a new study of another patient
    counts.clear()
    store(archive, ct(2, study=2))
    assert counts["statements"] <= 12  # of one more instance of a series
    counts.clear()
    store(archive, ct(2, series=2, study=2))
    assert counts["statements"] <= 15  # of one more series of a study
    counts.clear()
    session = Session(archive, write_type("between", "application/dicom"), None)
    session.take([write("between", [("application/dicom", ct(2, study=2))])])
    assert [outcome.state for outcome in session.finish()] == ["already"]
    assert counts["statements"] <= 2  # of one that is here already: it leaves no intent


def test_a_store_waits_for_the_disk_three_times(archive: Archive, counts: Counter[str]) -> None:
    """For the object, for its name, and for the commit that makes it visible; the intent waits for none of its own.
    A new folder has a name to wait for too."""
    for number in range(1, 30):
        counts.clear()
        folders = len(list((archive.config.data / "files" / "objects").glob("*")))
        store(archive, ct(number))
        new = len(list((archive.config.data / "files" / "objects").glob("*"))) - folders
        first = number == 1  # a commit for the codes, and the folder of the folders
        assert counts["lasting commits"] == 1 + first
        assert counts["passing commits"] == 1
        assert counts["syncs of files"] == 2 + new + first


def test_the_calls_of_a_store_are_few(archive: Archive) -> None:
    for number in range(1, 4):
        store(archive, ct(number))
    data = ct(4)
    assert calls_of(lambda: store(archive, data)) <= 1200
    store(archive, ct(1, study=2))
    data = ct(1, study=3)
    assert calls_of(lambda: store(archive, data)) <= 1480  # of a new study


def test_a_store_asks_each_disk_twice_how_much_room_it_has(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def asking(path: str) -> int:
        asked.append(path)
        return 1 << 50

    monkeypatch.setattr(room, "free_bytes", asking)
    store(archive, ct(1))
    assert asked == [str(archive.config.data / "files")] * 2  # what else is kept lies on the same disk


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often something was handed to a thread, and how many bytes the storage gave."""
    counted: Counter[str] = Counter()
    run, read = Lane.run, Measured.read

    def running(self: Lane, function: Callable[[], Any]) -> Any:
        counted["hops"] += 1
        return run(self, function)

    def reading(self: Measured, key: str, start: int = 0, stop: int | None = None) -> bytes:
        found = read(self, key, start, stop)
        counted["bytes"] += len(found)
        return found

    monkeypatch.setattr(Lane, "run", running)
    monkeypatch.setattr(Measured, "read", reading)
    return counted


def test_a_store_goes_into_a_thread_once(tmp_path: Path, hops: Counter[str]) -> None:
    Served(tmp_path).store(ct(1))
    assert hops["hops"] == 1


@pytest.mark.parametrize("number", [1, 7, 30])
def test_a_frame_costs_one_thread_three_statements_and_its_own_bytes(
    tmp_path: Path, hops: Counter[str], counts: Counter[str], number: int
) -> None:
    served = Served(tmp_path)
    data, frames = multiframe(30)
    served.store(data)
    url = f"{path_of(data)}/frames/{number}"
    for _ in range(2):  # what is remembered of the first request makes none dearer
        hops.clear()
        counts.clear()
        answer = served.get(url, "application/octet-stream")
        assert answer.content == frames[number - 1]
        assert hops["hops"] == 1
        assert hops["bytes"] == len(answer.content)
        assert counts["statements"] <= 3


def test_a_frame_that_the_client_has_costs_no_byte(tmp_path: Path, hops: Counter[str]) -> None:
    served = Served(tmp_path)
    data = ct(1)
    served.store(data)
    first = served.get(f"{path_of(data)}/frames/1", "application/octet-stream")
    hops.clear()
    answer = served.get(f"{path_of(data)}/frames/1", "application/octet-stream", if_none_match=first.headers["etag"])
    assert (answer.status_code, hops["bytes"], hops["hops"]) == (304, 0, 1)


def test_a_picture_costs_the_bytes_of_its_frame_and_the_same_again_none(tmp_path: Path, hops: Counter[str]) -> None:
    served = Served(tmp_path)
    data = ct(1)
    served.store(data)
    frame = served.get(f"{path_of(data)}/frames/1", "application/octet-stream").content
    hops.clear()
    assert served.get(f"{path_of(data)}/rendered", "image/png").status_code == 200
    assert (hops["hops"], hops["bytes"]) == (1, len(frame))
    hops.clear()
    assert served.get(f"{path_of(data)}/rendered", "image/png").status_code == 200
    assert (hops["hops"], hops["bytes"]) == (1, 0)
