"""Copies are made once, found by everybody, and never outlive the object."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dicoms
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian
from served import Served, path_of, written

from dicomweb.archive.copies import Copies, copy_key
from dicomweb.errors import NotFound
from dicomweb.index import Held


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def stored(served: Served) -> tuple[bytes, Held]:
    data = written(dicoms.dataset(), DeflatedExplicitVRLittleEndian)
    served.store(data)
    (held,) = served.archive.index.members(f"{dicoms.PREFIX}.1")
    return data, held


def write(path: Path) -> None:
    path.write_bytes(b"copy")


def test_a_copy_is_made_once(served):
    _, held = stored(served)
    copies = Copies(served.archive.storage, served.archive.spool)
    key, size = copies.get("video", held, write)
    assert (served.archive.storage.read(key), size) == (b"copy", 4)
    assert copies.get("video", held, lambda _: pytest.fail("made twice")) == (key, 4)
    assert not list(served.archive.spool.folder.glob("*.part"))


def test_a_copy_that_many_ask_for_at_once_is_made_once(served):
    _, held = stored(served)
    copies = Copies(served.archive.storage, served.archive.spool)
    go, made = threading.Event(), []

    def slowly(path: Path) -> None:
        made.append(path)
        assert go.wait(20)
        write(path)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(copies.get, "video", held, slowly) for _ in range(8)]
        go.set()
        assert {future.result(20) for future in asked} == {(copy_key("video", held.version), 4)}
    assert len(made) == 1


def test_a_copy_goes_with_its_object(served):
    data, held = stored(served)
    assert served.get(f"{path_of(data)}/frames/1", "application/octet-stream").status_code == 200
    key = copy_key("inflated", held.version)
    assert served.archive.storage.size(key)
    assert served.client.delete(f"/dicom-web{path_of(data)}").status_code == 204
    served.archive.sweep()
    for gone in (key, held.key):
        with pytest.raises(NotFound):
            served.archive.storage.size(gone)


def test_a_copy_that_comes_after_its_object_went_is_not_kept(served):
    data, held = stored(served)
    copies = Copies(served.archive.storage, served.archive.spool)

    def late(path: Path) -> None:
        assert served.client.delete(f"/dicom-web{path_of(data)}").status_code == 204
        served.archive.sweep()
        write(path)

    with pytest.raises(NotFound):
        copies.get("video", held, late)
    with pytest.raises(NotFound):
        served.archive.storage.size(copy_key("video", held.version))
