"""`roentgate echo`, `find`, `send` and `retrieve`, run as a user runs them."""

import io
import zipfile

import pydicom
import pytest
from commands import run, run_json
from dicoms import PREFIX, ct
from exchanged import exchanged
from pacs import pacs
from rich.progress import Progress

from dicomweb.commands.terminal import Meter

STUDY = f"{PREFIX}.1"


@pytest.fixture
def there():
    with pacs(ct(1), ct(2), ct(1, series=2), ct(1, study=2, PatientID="P2")) as made:
        yield made


def at(made):
    return f"PACS@127.0.0.1:{made.port}"


def test_an_echo_tells_each_layer_and_fails_where_one_fails(tmp_path, there):
    told = run_json(tmp_path, "echo", at(there))
    assert told["ok"]
    assert [layer["name"] for layer in told["layers"]] == ["name", "tcp", "association", "status"]
    said = run(tmp_path, "echo", "PACS@127.0.0.1:1", status=1).stdout
    assert "tcp\tfailed" in said
    assert "nothing listens on port 1" in said


def test_nodes_have_names_in_the_file_and_an_unknown_one_is_told_with_those_there_are(tmp_path, there):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nodes.toml").write_text(
        f'[nodes.uptown]\naet = "PACS"\nhost = "127.0.0.1"\nport = {there.port}\n'
    )
    dead = ("--dicomweb", "http://127.0.0.1:1/dicom-web")
    run(tmp_path, "echo", "uptown", *dead)
    assert "known are: uptown" in run(tmp_path, "echo", "downtown", *dead, status=2).stderr
    assert "is no AET@HOST:PORT" in run(tmp_path, "echo", "PACS@nowhere", status=2).stderr


def test_a_search_shows_a_table_or_all_that_the_node_tells(tmp_path, there):
    assert STUDY in run(tmp_path, "find", at(there), "PatientID=P1").stdout
    (row,) = run_json(tmp_path, "find", at(there), "PatientID=P2")
    assert row["0020000D"]["Value"] == [f"{PREFIX}.2"]
    series = run_json(tmp_path, "find", at(there), "--level", "series", f"StudyInstanceUID={STUDY}")
    assert len(series) == 2
    assert "is no KEYWORD=VALUE" in run(tmp_path, "find", at(there), "Nonsense=1", status=2).stderr


def test_files_folders_and_archives_are_sent(tmp_path, there):
    folder = tmp_path / "cd"
    folder.mkdir()
    (folder / "one.dcm").write_bytes(ct(7))
    (folder / "readme.txt").write_text("no object at all")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("two.dcm", ct(8))
    told = run_json(tmp_path, "send", at(there), folder, tmp_path / "more.zip")
    assert (told["done"], told["failed"]) == (2, 0)
    assert {f"{STUDY}.1.7", f"{STUDY}.1.8"} <= set(there.held)
    there.refuse = {f"{STUDY}.1.7"}
    said = run(tmp_path, "send", at(there), folder, status=1).stdout
    assert f"{STUDY}.1.7\tit is unable to process the request" in said
    assert "nothing to send" in run(tmp_path, "send", at(there), status=2).stderr


def test_a_study_of_the_archive_is_sent_and_one_of_the_node_retrieved(tmp_path, there):
    with exchanged(tmp_path / "web", runs=False) as here:
        ours = ("--dicomweb", f"{here.root}/dicom-web")
        here.served.store(ct(1, study=5), ct(2, study=5))
        assert run_json(tmp_path, "send", at(there), "--study", f"{PREFIX}.5", *ours)["done"] == 2
        assert run_json(tmp_path, "send", at(there), *ours, "--study", f"{PREFIX}.5")["skipped"] == 2
        assert run_json(tmp_path, "retrieve", at(there), "--study", STUDY, *ours)["done"] == 3
        assert len(here.instances()) == 5


def test_a_series_is_retrieved_into_a_folder_and_only_what_is_missing_again(tmp_path, there):
    arguments = ("retrieve", at(there), "--study", STUDY, "--series", f"{STUDY}.1", "--to", tmp_path / "images")
    assert run_json(tmp_path, *arguments)["done"] == 2
    files = sorted((tmp_path / "images").rglob("*"))
    names = [str(file.relative_to(tmp_path / "images")) for file in files if file.is_file()]
    assert names == [f"{STUDY}/{STUDY}.1/{STUDY}.1.{number}.dcm" for number in (1, 2)]
    assert pydicom.dcmread(tmp_path / "images" / names[0]).PixelData == pydicom.dcmread(io.BytesIO(ct(1))).PixelData
    (tmp_path / "images" / names[1]).unlink()
    told = run_json(tmp_path, *arguments)
    assert (told["done"], told["skipped"]) == (2, 1)


def test_a_third_node_receives(tmp_path, there):
    with pacs(aet="THIRD") as third:
        there.known["THIRD"] = ("127.0.0.1", third.port)
        destination = f"THIRD@127.0.0.1:{third.port}"
        run(tmp_path, "retrieve", at(there), "--study", STUDY, "--destination", destination)
        assert len(third.held) == 3


def test_what_the_node_does_not_have_is_one_sentence(tmp_path, there):
    done = run(tmp_path, "retrieve", at(there), "--study", "1.2.3", "--to", tmp_path / "x", status=1)
    assert done.stderr == "roentgate: nothing of what was asked for is there.\n"


def test_a_bar_shows_what_is_told_of_a_transfer_even_when_it_begins_again():
    with Progress(disable=True) as shown:
        bar = Meter(shown, "Job 1")
        (task,) = shown.tasks
        for told, seen in (
            ({}, (None, 0, 0, "")),
            ({"total": 10, "done": 6, "failed": 2, "bytes": 700}, (10, 8, 700, "failed 2")),
            ({"total": 10, "done": 1, "failed": 0, "bytes": 50}, (10, 1, 50, "")),
        ):
            bar.follow(told)
            assert (task.total, task.completed, task.fields["bytes"], task.fields["said"]) == seen
