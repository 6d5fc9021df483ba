"""The audit trail: what is recorded stays in order and whole, and whatever is done to it afterwards shows."""

import hashlib
import itertools
import json
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.access import chain
from dicomweb.access.chain import Finding
from dicomweb.access.trail import LOST, WAITING, Trail, verify
from dicomweb.errors import Unavailable


def lines_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_bytes().splitlines()]


def written(folder: Path, count: int = 5) -> Path:
    """A trail of one file with some records."""
    trail = Trail(folder)
    for number in range(count):
        trail.record({"event": "retrieve", "place": number})
    trail.close()
    (path,) = folder.iterdir()
    return path


def test_what_is_recorded_is_there_in_order_and_nobody_else_may_read_it(tmp_path):
    path = written(tmp_path / "audit")
    told = lines_of(tmp_path / "audit")
    assert [line["event"] for line in told] == ["begin", *["retrieve"] * 5, "end"]
    assert [line["number"] for line in told] == list(range(7))
    assert [line.get("place") for line in told[1:-1]] == list(range(5))
    assert all(one["hash"] == two["prev"] for one, two in itertools.pairwise(told))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    counts, findings, open_ = verify(tmp_path / "audit")
    assert (list(counts.values()), findings, open_) == ([7], [], [])


@pytest.mark.parametrize("sync", ["always", "second", "never"])
def test_after_a_flush_everything_lies_in_the_file_whoever_recorded_it(tmp_path, sync):
    trail = Trail(tmp_path, sync)
    threads = [threading.Thread(target=lambda: [trail.record({"event": "x"}) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.flush()
    assert len(lines_of(tmp_path)) == 801
    _, findings, open_ = verify(tmp_path)
    assert (findings, len(open_)) == ([], 1)  # the process still runs
    trail.close()
    assert verify(tmp_path)[1:] == ([], [])


def test_a_chain_goes_on_through_its_files(tmp_path):
    trail = Trail(tmp_path, file_bytes=500)
    for number in range(40):
        trail.record({"event": "x", "place": number})
        trail.flush()
    trail.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) > 5
    assert verify(tmp_path)[1:] == ([], [])
    files[2].unlink()
    _, (first, *_), _ = verify(tmp_path)
    assert first == Finding(files[3].name, 0, "the file before it, number 000003, is missing")


def changed(lines: list[bytes], how: str) -> list[bytes]:
    if how == "removed":
        return [*lines[:2], *lines[3:]]
    if how == "first removed":
        return lines[1:]
    if how == "swapped":
        return [*lines[:2], lines[3], lines[2], *lines[4:]]
    if how == "doubled":
        return [*lines[:3], *lines[2:]]
    if how == "edited":
        return [*lines[:2], lines[2].replace(b'"place":1', b'"place":9'), *lines[3:]]
    if how == "cut":
        return [*lines[:-1], lines[-1][:20]]
    if how == "forged":  # a line of one's own, with the right hash of the line before it
        record = json.loads(lines[1])
        own, _ = chain.write({"event": "retrieve", "place": 99}, record["number"] + 1, record["hash"])
        return [*lines[:2], own, *lines[3:]]
    return [*lines[:2], b"\n", *lines[2:]]


@pytest.mark.parametrize(
    "how", ["removed", "first removed", "swapped", "doubled", "edited", "cut", "forged", "empty line"]
)
def test_whatever_is_done_to_a_trail_shows(tmp_path, how):
    path = written(tmp_path)
    path.write_bytes(b"".join(changed(path.read_bytes().splitlines(keepends=True), how)))
    counts, findings, _ = verify(tmp_path)
    assert findings, counts


@pytest.mark.parametrize(
    "body", [b'{"a":1', b'{"number":"x","prev":""', b'{"number":0,"prev":null', b'{"number":1.5,"prev":""']
)
def test_a_line_with_a_good_hash_that_no_trail_writes_is_found(tmp_path, body):
    path = written(tmp_path)
    own = body + b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    path.write_bytes(path.read_bytes() + own)
    _, findings, _ = verify(tmp_path)
    assert [(one.line, one.sentence) for one in findings] == [(8, "the line is not as it was written")]


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_a_trail_can_be_turned(tmp_path_factory, place, bit):
    lines, previous = [], ""
    for number in range(5):
        line, previous = chain.write({"event": "x", "who": "Müller"}, number, previous)
        lines.append(line)
    data = bytearray(b"".join(lines))
    data[place % len(data)] ^= 1 << bit
    findings: list[Finding] = []
    chain.check("file", bytes(data).splitlines(keepends=True), None, findings)
    assert findings


def test_a_folder_that_cannot_be_written_or_read_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="audit_folder"):
        Trail(tmp_path / "file" / "audit")
    with pytest.raises(Unavailable, match="cannot be read"):
        verify(tmp_path / "nothing")


def test_records_wait_for_a_disk_that_takes_nothing_for_a_while(tmp_path, monkeypatch, caplog):
    trail = Trail(tmp_path, "always")
    trail.flush()
    with monkeypatch.context() as patch:

        def fails(*_: object) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr("dicomweb.access.trail.os.write", fails)
        for number in range(3):
            trail.record({"event": "x", "place": number})
            trail.flush()
        assert WAITING.rows() == [((), [3.0])]
    assert caplog.text.count("the audit trail cannot be written") == 1
    trail.record({"event": "x", "place": 3})
    trail.close()
    assert WAITING.rows() == [((), [0.0])]
    assert [line["place"] for line in lines_of(tmp_path) if line["event"] == "x"] == [0, 1, 2, 3]
    assert verify(tmp_path)[1:] == ([], [])
    assert os.listdir(tmp_path)


def test_what_has_no_room_in_memory_either_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("dicomweb.access.trail.MOST", 2)
    before = sum(row[0] for _, row in LOST.rows())
    trail = Trail(tmp_path, "always")
    with monkeypatch.context() as patch:

        def fails(*_: object) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr("dicomweb.access.trail.os.write", fails)
        for number in range(5):
            trail.record({"event": "x", "place": number})
            trail.flush()
    trail.flush()
    trail.close()
    assert sum(row[0] for _, row in LOST.rows()) - before == 3
    assert [line["place"] for line in lines_of(tmp_path) if line["event"] == "x"] == [0, 1]
    assert verify(tmp_path)[1:] == ([], [])
