"""The spool: what is on its way in, in memory while it is little, and gone when it is not wanted."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.archive.spool import Spool
from dicomweb.errors import OutOfSpace, TooLarge, Unavailable
from dicomweb.index import owners


@given(pieces=st.lists(st.binary(max_size=40), max_size=12), memory=st.integers(0, 100))
def test_what_is_written_is_what_is_read_wherever_it_lies(tmp_path_factory, pieces, memory):
    spool = Spool(tmp_path_factory.mktemp("spool"), memory=memory)
    reception = spool.receive()
    for piece in pieces:
        reception.write(piece)
    upload = reception.finish()
    whole = b"".join(pieces)
    assert (upload.size, upload.sha256) == (len(whole), hashlib.sha256(whole).digest())
    assert isinstance(upload.body, bytes) == (len(whole) <= memory)
    with upload.open() as buffer:
        assert bytes(buffer) == whole
    upload.discard()
    assert list(spool.folder.glob("*")) == []


def test_an_object_above_the_limit_is_refused_and_leaves_nothing(tmp_path):
    spool = Spool(tmp_path, memory=10, largest=100)
    reception = spool.receive()
    reception.write(bytes(100))
    with pytest.raises(TooLarge):
        reception.write(b"x")
    reception.discard()
    assert list(tmp_path.glob("*")) == []


def test_files_are_for_the_server_alone(tmp_path):
    path = Spool(tmp_path / "spool").scratch()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_full_disk_and_a_folder_that_cannot_be_made_are_told_apart(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        Spool(tmp_path / "file" / "spool").scratch()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    reception = Spool(tmp_path / "spool", memory=0).receive()
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutOfSpace):
        reception.write(b"x")
    monkeypatch.undo()
    reception.discard()
    assert list((tmp_path / "spool").glob("*")) == []


def left_behind(folder: Path) -> Path:
    """A file of a process that has ended."""
    code = "import sys, pathlib as p; import dicomweb.archive.spool as s; print(s.Spool(p.Path(sys.argv[1])).scratch())"
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def test_a_sweep_removes_files_of_dead_processes_only(tmp_path):
    spool = Spool(tmp_path)
    mine, theirs = spool.scratch(), left_behind(tmp_path)
    assert theirs.exists()
    assert spool.sweep() == 1
    assert mine.exists()
    assert not theirs.exists()


def test_a_file_of_an_earlier_process_with_this_number_is_left_over(tmp_path):
    """In a container the server has the same process number after each start."""
    host, pid, start = owners.this_process().split(":")
    (tmp_path / f"{host}@{pid}@{int(start) - 1000}@abc.part").write_bytes(b"")
    assert Spool(tmp_path).sweep() == 1


def test_files_of_another_machine_stay_for_a_day(tmp_path):
    path = tmp_path / "elsewhere@1@1@abc.part"
    path.write_bytes(b"")
    assert Spool(tmp_path).sweep() == 0
    os.utime(path, (1, 1))
    assert Spool(tmp_path).sweep() == 1
