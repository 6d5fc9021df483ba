"""Viewers are installed whole or not at all, replaced in one step, and removed."""

import json

import packages
import pytest

from dicomweb import viewers
from dicomweb.errors import BadPackage, NotFound, OutOfSpace
from dicomweb.viewers import CONFIGURATION, KINDS, install, installed, is_edited, listed, remove

OHIF = KINDS["ohif"]


def test_what_was_installed_is_found_with_its_version(tmp_path):
    there = packages.install(tmp_path)
    assert installed(tmp_path, "ohif") == there
    assert listed(tmp_path) == [there]
    assert there.version == "3.13.2"
    assert (there.files(tmp_path) / "index.html").is_file()
    assert (tmp_path / "ohif" / CONFIGURATION).read_text() == OHIF.configuration


def test_another_version_takes_the_place_of_the_first(tmp_path):
    before = packages.install(tmp_path)
    package = packages.pack(tmp_path / "p.tgz", package=packages.described(version="3.14.0"))
    after = install(tmp_path, OHIF, package)
    assert installed(tmp_path, "ohif") == after
    assert after.version == "3.14.0"
    assert not before.files(tmp_path).exists()


def test_an_edited_configuration_is_kept_and_an_untouched_one_renewed(tmp_path, monkeypatch):
    packages.install(tmp_path)
    path = tmp_path / "ohif" / CONFIGURATION
    assert not is_edited(tmp_path, installed(tmp_path, "ohif"))
    path.write_text("window.config = { mine: true };")
    assert is_edited(tmp_path, installed(tmp_path, "ohif"))
    packages.install(tmp_path)
    assert path.read_text() == "window.config = { mine: true };"
    packages.install(tmp_path)
    assert path.read_text() == "window.config = { mine: true };", "kept once, kept always"
    path.write_text(OHIF.configuration)
    packages.install(tmp_path)
    assert path.read_text() == OHIF.configuration


def test_a_package_that_is_refused_leaves_what_was_there(tmp_path):
    before = packages.install(tmp_path)
    bad = packages.pack(tmp_path / "bad.tgz", {"dist/a.js": b""})
    with pytest.raises(BadPackage):
        install(tmp_path, OHIF, bad)
    assert installed(tmp_path, "ohif") == before
    assert {path.name for path in (tmp_path / "ohif").iterdir()} == {before.folder, CONFIGURATION, viewers.RECORD}


def test_what_an_interrupted_installation_left_goes_with_the_next(tmp_path):
    left = tmp_path / "ohif" / f"{viewers.DRAFT}0123"
    left.mkdir(parents=True)
    assert installed(tmp_path, "ohif") is None
    packages.install(tmp_path)
    assert not left.exists()


def test_what_is_removed_is_gone(tmp_path):
    packages.install(tmp_path)
    remove(tmp_path, "ohif")
    assert listed(tmp_path) == []
    assert not (tmp_path / "ohif").exists()
    with pytest.raises(NotFound):
        remove(tmp_path, "ohif")


@pytest.mark.parametrize(
    "record",
    ["", "[]", '{"name": "ohif"}', json.dumps({"name": "ohif", "version": "1", "folder": "../..", "configured": ""})],
)
def test_a_record_that_makes_no_sense_is_none(tmp_path, record):
    (tmp_path / "ohif").mkdir()
    (tmp_path / "ohif" / viewers.RECORD).write_text(record)
    assert installed(tmp_path, "ohif") is None


def test_a_file_that_is_not_there_and_a_folder_that_cannot_be_are_told_apart(tmp_path):
    with pytest.raises(NotFound):
        install(tmp_path, OHIF, tmp_path / "nothing.tgz")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutOfSpace):
        install(tmp_path / "file", OHIF, packages.pack(tmp_path / "p.tgz"))
