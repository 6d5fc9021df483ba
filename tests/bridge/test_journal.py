"""The journal of the spool: durable when it says so, one sync for all who come meanwhile, whole records only."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bridge.journal import Journal, replay

FILES = {1: b"first", 2: b"", 3: bytes(range(256)) * 4, 4: b"last"}


def segments(folder) -> list:
    return sorted(folder.glob("*.journal"))


def kept(folder) -> dict[int, bytes]:
    return {number: content for path in segments(folder) for number, content in replay(path)}


def filled(folder) -> Journal:
    journal = Journal(folder)
    for number, content in FILES.items():
        journal.append(number, [content[:2], content[2:]])
    return journal


def test_what_was_written_is_read_back_but_for_what_is_done(tmp_path):
    journal = filled(tmp_path)
    assert kept(tmp_path) == FILES
    journal.done(3)
    journal.done(99)
    assert kept(tmp_path) == {number: FILES[number] for number in (1, 2, 4)}
    assert journal.needed() == [1, 2, 4]
    journal.close()
    assert kept(tmp_path) == {number: FILES[number] for number in (1, 2, 4)}


def test_a_journal_that_is_cut_or_damaged_anywhere_gives_whole_files_only(tmp_path):
    filled(tmp_path).close()
    (path,) = segments(tmp_path)
    whole, other = path.read_bytes(), tmp_path / "other"
    for cut in range(len(whole)):
        other.write_bytes(whole[:cut])
        found = dict(replay(other))
        assert list(found) == list(FILES)[: len(found)]
        assert all(FILES[number] == content for number, content in found.items())
    for place in range(len(whole)):
        other.write_bytes(whole[:place] + bytes((whole[place] ^ 1,)) + whole[place + 1 :])
        assert dict(replay(other)).items() <= FILES.items()
    other.write_bytes(whole + bytes(4096))  # blocks whose bytes never arrived
    assert dict(replay(other)) == FILES


class Disk:
    """Syncs when it is let."""

    def __init__(self, monkeypatch) -> None:
        self.syncs = 0
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.fault: OSError | None = None
        monkeypatch.setattr(os, "fdatasync", self.sync)

    def sync(self, file: int) -> None:
        self.syncs += 1
        self.begun.release()
        assert self.open.wait(60)
        if self.fault is not None:
            raise self.fault


def test_nobody_returns_before_the_sync_and_all_who_came_meanwhile_share_one(tmp_path, monkeypatch):
    disk, journal = Disk(monkeypatch), Journal(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(journal.append, 1, [b"first"])
        assert disk.begun.acquire(timeout=60)
        others = [pool.submit(journal.append, number, [b"other"]) for number in range(2, 9)]
        while len(journal.needed()) < 8:
            assert not any(each.done() for each in (first, *others))
        assert not any(each.done() for each in (first, *others))
        disk.open.set()
        for each in (first, *others):
            each.result(60)
    assert disk.syncs == 2


def test_a_sync_that_fails_acknowledges_nothing_and_the_next_one_goes_elsewhere(tmp_path, monkeypatch):
    disk, journal = Disk(monkeypatch), Journal(tmp_path)
    disk.open.set()
    journal.append(1, [b"durable"])
    disk.fault = OSError(errno.EIO, "the disk is ill")
    with pytest.raises(OSError, match="ill"):
        journal.append(2, [b"lost"])
    disk.fault = None
    journal.append(3, [b"again"])
    assert len(segments(tmp_path)) == 2
    assert kept(tmp_path) == {1: b"durable", 3: b"again"}


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.append(1, [b"first"])
    monkeypatch.setattr(os, "writev", lambda file, pieces: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        journal.append(2, [b"second"])
    monkeypatch.undo()
    journal.append(3, [b"third"])
    assert kept(tmp_path) == {1: b"first", 3: b"third"}


def test_segments_go_when_nothing_in_them_is_needed(tmp_path):
    journal = Journal(tmp_path, 100)
    for number in range(1, 6):
        journal.append(number, [bytes(80)])
    assert len(segments(tmp_path)) == 5
    assert journal.needed(full=True) == [1, 2, 3, 4]
    for number in (2, 3, 1, 5):
        journal.done(number)
    assert [path.name[:16] for path in segments(tmp_path)] == [f"{number:016d}" for number in (4, 5)]
    journal.done(4)
    journal.close()
    assert segments(tmp_path) == []
