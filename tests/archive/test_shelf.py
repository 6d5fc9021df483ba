"""Results are made once, kept within bounds, and never wrong."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from dicomweb.archive.shelf import Section, Shelf
from dicomweb.errors import Unavailable, Undecodable
from dicomweb.index import Held


class Counted:
    """Makes bytes and counts how often."""

    def __init__(self, result: bytes = b"made") -> None:
        self.times = 0
        self.result = result
        self.go = threading.Event()
        self.go.set()

    def __call__(self) -> bytes:
        self.times += 1
        assert self.go.wait(20)
        return self.result


def test_a_result_is_made_once(tmp_path):
    shelf, make = Shelf(tmp_path / "cache", 1 << 20, 1 << 20), Counted()
    assert [shelf.get("a", make), shelf.get("a", make), shelf.find("a")] == [b"made"] * 3
    assert (make.times, shelf.find("b")) == (1, None)


def test_a_result_outlives_the_process_and_serves_its_neighbours(tmp_path):
    assert Shelf(tmp_path, 1 << 20, 1 << 20).get("a", Counted()) == b"made"
    other = Counted(b"other")
    assert Shelf(tmp_path, 0, 1 << 20).get("a", other) == b"made"
    assert other.times == 0


def test_what_costs_no_more_than_a_file_is_kept_in_memory_alone(tmp_path):
    shelf, make = Shelf(tmp_path / "cache", 1 << 20, 1 << 20), Counted()
    assert [shelf.get("a", make, files=False), shelf.get("a", make, files=False)] == [b"made"] * 2
    assert make.times == 1
    assert not (tmp_path / "cache").exists()


def test_a_hundred_who_ask_at_the_same_time_cost_one_making(tmp_path):
    shelves = [Shelf(tmp_path, 1 << 20, 1 << 20) for _ in range(2)]  # as two processes
    make = Counted()
    make.go.clear()
    with ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(shelves[number % 2].get, "a", make) for number in range(100)]
        make.go.set()
        assert {future.result() for future in asked} == {b"made"}
    assert make.times == 1


def test_what_shows_an_object_goes_with_it(tmp_path):
    shelves = [Shelf(tmp_path, 1 << 20, 1 << 20) for _ in range(2)]  # as two processes
    for name in ("ab frame 1", "ab frame 2", "cd frame 1"):
        shelves[0].get(name, Counted())
    shelves[0].forget({"ab"})
    for shelf in shelves:
        assert shelf.get("cd frame 1", Counted(b"anew")) == b"made"
        assert shelf.get("ab frame 1", Counted(b"anew")) == b"anew"
    shelves[0].forget({"ab", "cd", "ef"})
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def _ask(folder: str, barrier: "object") -> int:
    made = Counted()
    barrier.wait()  # type: ignore[attr-defined]
    shelf = Shelf(Path(folder), 1 << 20, 1 << 20)
    for number in range(20):
        assert shelf.get(f"{number}", made) == b"made"
    return made.times


def test_processes_share_what_they_make(tmp_path):
    with get_context("fork").Manager() as manager:
        barrier = manager.Barrier(3)
        with get_context("fork").Pool(3) as pool:
            times = pool.starmap(_ask, [(str(tmp_path), barrier)] * 3)
    assert sum(times) == 20


def test_a_failure_is_remembered_for_a_while(tmp_path, monkeypatch):
    shelf = Shelf(tmp_path, 1 << 20, 1 << 20)
    times = []

    def fails() -> bytes:
        times.append(1)
        raise Undecodable("damaged")

    for _ in range(3):
        with pytest.raises(Undecodable, match="damaged"):
            shelf.get("a", fails)
    assert len(times) == 1
    later = time.monotonic() + 3600
    monkeypatch.setattr("dicomweb.archive.shelf.time.monotonic", lambda: later)
    assert shelf.get("a", Counted()) == b"made"


def test_what_may_pass_is_tried_again(tmp_path):
    shelf = Shelf(tmp_path, 1 << 20, 1 << 20)

    def fails() -> bytes:
        raise Unavailable("not now")

    with pytest.raises(Unavailable):
        shelf.get("a", fails)
    assert shelf.get("a", Counted()) == b"made"


def test_files_stay_within_bounds_and_those_used_last_stay(tmp_path):
    shelf = Shelf(tmp_path, 0, 1 << 20)
    for number in range(64):
        shelf.get(f"{number}", Counted(bytes(32 << 10)))
        for path in tmp_path.glob("??/*"):  # each is a minute older now
            facts = path.stat()
            os.utime(path, (facts.st_atime, facts.st_mtime - 60))
    sizes = [path.stat().st_size for path in tmp_path.glob("??/*")]
    assert sum(sizes) <= (1 << 20) + (1 << 17) + len(sizes) * 16
    again = Counted()
    shelf.get("63", again)
    assert again.times == 0
    shelf.get("0", again)
    assert again.times == 1


@pytest.mark.parametrize("damage", [b"", b"abc", bytes(40)])
def test_a_file_that_was_half_written_is_made_again(tmp_path, damage):
    Shelf(tmp_path, 0, 1 << 20).get("a", Counted())
    (path,) = tmp_path.glob("??/*")
    path.write_bytes(damage)
    assert Shelf(tmp_path, 0, 1 << 20).get("a", Counted(b"anew")) == b"anew"


def test_a_folder_that_knows_no_locks_keeps_results_all_the_same(tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("dicomweb.archive.shelf.fcntl.flock", refused)
    make = Counted()
    assert Shelf(tmp_path, 0, 1 << 20).get("a", make) == Shelf(tmp_path, 0, 1 << 20).get("a", make) == b"made"
    assert make.times == 1


def test_without_a_folder_results_are_made_all_the_same(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    make = Counted()
    shelf = Shelf(tmp_path / "file" / "cache", 0, 1 << 20)
    assert shelf.get("a", make) + shelf.get("a", make) == b"mademade"
    assert Shelf(tmp_path / "none", 0, 0).get("a", make) == b"made"
    assert not (tmp_path / "none").exists()


def test_all_results_of_an_object_go_though_another_process_has_just_removed_one(tmp_path, monkeypatch):
    shelf = Shelf(tmp_path, 0, 1 << 20)
    for form in "abc":
        shelf.get(f"digest {form}", Counted())
    unlink, gone = os.unlink, []

    def raced(path: str) -> None:
        unlink(path)
        gone.append(path)
        if len(gone) == 1:
            raise FileNotFoundError(path)

    monkeypatch.setattr("dicomweb.archive.shelf.os.unlink", raced)
    shelf.forget(["digest"])
    assert len(gone) == 3
    assert not [*tmp_path.glob("??/*")]


def test_a_result_of_an_object_that_was_swept_meanwhile_is_not_kept(tmp_path):
    """The sweep ends while it is made, in this process or in another one."""
    shelf, there = Shelf(tmp_path, 1 << 20, 1 << 20), {1}
    section = Section(shelf, lambda versions: there & set(versions))
    held = Held(1, "objects/1", "1", "2", "3", "4", "5", 0, b"d" * 32)

    def made_too_late() -> bytes:
        there.clear()
        shelf.forget([held.digest.hex()])
        return b"made"

    assert section.get(held, "picture", made_too_late) == b"made"
    assert section.find(held, "picture") is None
    assert not [*tmp_path.glob("??/*")]
    there.add(1)
    assert section.get(held, "picture", lambda: b"anew") == section.find(held, "picture") == b"anew"


def test_below_the_floor_of_its_disk_nothing_is_written_and_all_is_made(tmp_path):
    made = Counted()
    shelf = Shelf(tmp_path / "cache", 0, 1 << 20, 1 << 60)
    assert [shelf.get("ab x", made), shelf.get("ab x", made)] == [b"made"] * 2
    assert made.times == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
