"""Which folders share a disk, so that it is asked once for its room."""

import os
from collections import namedtuple
from pathlib import Path

import pytest

from dicomweb.archive.room import Room
from dicomweb.errors import OutOfSpace

Size = namedtuple("Size", ["f_blocks", "f_bavail", "f_frsize"])


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Size]:
    """What the system says of folders by name; of all others that it is 1,000 blocks, of which 900 are free."""
    sizes: dict[str, Size] = {}
    monkeypatch.setattr(os, "statvfs", lambda path: sizes.get(Path(path).name, Size(1000, 900, 1)))
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    return sizes


def room(tmp_path: Path) -> Room:
    return Room({name: tmp_path / name for name in ("one", "other")}, 100, 0, lambda: 0)


def test_folders_of_one_disk_are_asked_once(tmp_path, asked, monkeypatch):
    made, questions = room(tmp_path), []
    monkeypatch.setattr(os, "statvfs", lambda path: questions.append(path) or Size(1000, 900, 1))
    made.check(1)
    assert questions == [str(tmp_path / "one")]


def test_folders_with_quotas_of_the_same_size_are_asked_each(tmp_path, asked):
    asked |= {"one": Size(500, 400, 1), "other": Size(500, 50, 1)}
    with pytest.raises(OutOfSpace, match="the disk of other has 50 bytes free"):
        room(tmp_path).check(1)


def test_a_folder_that_leads_to_another_disk_is_asked_for_that(tmp_path, asked, monkeypatch):
    (tmp_path / "other").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "other").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(os.path, "ismount", lambda path: path in {"/", str(tmp_path / "elsewhere")})
    asked["other"] = Size(1000, 50, 1)
    with pytest.raises(OutOfSpace, match="the disk of other"):
        room(tmp_path).check(1)
