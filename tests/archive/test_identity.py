"""An index belongs to one storage, and processes that share the one share the other."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import commands
import httpx
import pytest
from dicoms import PREFIX, ct

from dicomweb.archive.archive import Archive, open_archive
from dicomweb.archive.identity import KEY
from dicomweb.config import Config
from dicomweb.errors import Incompatible

Open = Callable[[str], Archive]


@pytest.fixture
def open_on(tmp_path: Path) -> Iterator[Open]:
    """Opens an archive in a folder, on an index that all share."""
    opened = []

    def made(folder: str) -> Archive:
        config = Config(data=tmp_path, storage=f"file:{tmp_path / folder}", index=f"sqlite:{tmp_path / 'index'}")
        opened.append(open_archive(config))
        return opened[-1]

    yield made
    for each in opened:
        each.close()


def store(archive: Archive, number: int = 1) -> None:
    data = ct(number)
    (outcome,) = archive.store([archive.spool.take([data])])
    assert outcome.state == "stored"


def test_processes_that_share_both_belong_together_and_go_on_after_a_restart(open_on):
    for _ in range(3):
        archive = open_on("one")
        archive.check_index()
        archive.identity.check()


@pytest.mark.parametrize("number", [0, 1], ids=["nothing stored yet", "something stored"])
def test_a_folder_for_each_process_is_refused(open_on, number):
    one = open_on("one")
    one.check_index()
    if number:
        store(one)
    for _ in range(2):
        with pytest.raises(Incompatible, match="share one bucket or folder"):
            open_on("two").check_index()
    one.identity.check()


def test_storage_that_belongs_to_another_index_is_refused(open_on, tmp_path):
    open_on("one").check_index()
    config = Config(data=tmp_path, storage=f"file:{tmp_path / 'two'}", index=f"sqlite:{tmp_path / 'other-index'}")
    other = open_archive(config)
    other.check_index()
    other.close()
    with pytest.raises(Incompatible):
        open_on("two").check_index()


def test_storage_that_is_exchanged_under_a_process_is_noticed(open_on, tmp_path):
    archive = open_on("one")
    archive.check_index()
    (tmp_path / "one").rename(tmp_path / "away")
    (tmp_path / "one").mkdir()
    with pytest.raises(Incompatible):
        open_on("one").check_index()
    shutil.rmtree(tmp_path / "one")
    (tmp_path / "away").rename(tmp_path / "one")
    archive.identity.check()


def test_an_identity_that_was_lost_comes_back_where_the_objects_are(open_on):
    one = open_on("one")
    one.check_index()
    store(one)
    before = one.storage.read(KEY)
    one.storage.delete(KEY)
    with pytest.raises(Incompatible):
        one.identity.check()
    open_on("one").check_index()
    one.identity.check()
    assert one.storage.read(KEY) == before


def test_an_index_that_is_made_anew_belongs_to_the_storage_that_it_was_made_from(open_on):
    one, two = open_on("one"), open_on("two")
    one.check_index()
    store(one)
    list(two.rebuild())
    two.check_index()
    two.identity.check()
    with pytest.raises(Incompatible):
        one.check_index()


def test_a_server_on_an_empty_folder_does_not_start_and_one_whose_folder_goes_is_not_ready(tmp_path):
    index = f"sqlite:{tmp_path / 'index'}"
    folder = tmp_path / "one"
    with commands.served(tmp_path, ROENTGATE_INDEX=index, ROENTGATE_STORAGE=f"file:{folder}") as server:
        root = f"http://127.0.0.1:{server.port}"
        kind = {"Content-Type": "application/dicom"}
        assert httpx.post(f"{root}/dicom-web/studies", content=ct(), headers=kind).status_code == 200
        assert httpx.get(f"{root}/health/ready").status_code == 200
        for command in ("serve", "verify"):
            more = ["--http-port", "0"] if command == "serve" else []
            (tmp_path / "two").mkdir(exist_ok=True)
            done = commands.run(
                tmp_path, command, *more, status=None, ROENTGATE_INDEX=index, ROENTGATE_STORAGE=f"file:{tmp_path}/two"
            )
            assert done.returncode not in (0, None)
            assert "the index belongs to another storage" in done.stderr.replace("\n", " ")
        (folder / KEY).rename(tmp_path / "identity")

        def told() -> str:
            return httpx.get(f"{root}/health/ready").json().get("detail", "")

        while not told():  # what was found holds for a second
            pass
        assert "belongs to another storage" in told()
        (tmp_path / "identity").rename(folder / KEY)
    # what was moved with `roentgate migrate` goes on elsewhere
    commands.run(tmp_path, "migrate", "--to-storage", f"file:{tmp_path}/new", ROENTGATE_INDEX=index,
                 ROENTGATE_STORAGE=f"file:{folder}")  # fmt: skip
    with commands.served(tmp_path, ROENTGATE_INDEX=index, ROENTGATE_STORAGE=f"file:{tmp_path}/new") as server:
        found = httpx.get(f"http://127.0.0.1:{server.port}/dicom-web/studies/{PREFIX}.1/series").json()
        assert len(found) == 1
