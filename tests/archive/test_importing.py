"""Import from disk: folders, files, ZIP archives, media; again and again; nothing unsafe."""

import io
import os
import struct
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from dicoms import ct, dataset, part10
from pydicom.fileset import FileSet

from dicomweb.archive import importing, sources
from dicomweb.archive.archive import open_archive
from dicomweb.archive.sources import Bounds
from dicomweb.config import Config

BOUNDS = Bounds(most_bytes=1 << 30, most_ratio=200)


@pytest.fixture
def archive(tmp_path):
    opened = open_archive(Config(data=tmp_path / "data"))
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "from"
    made.mkdir()
    return made


def bring(archive, *paths, bounds=BOUNDS, workers=2):
    return list(importing.run(paths, archive.spool, archive.store, bounds, workers))


def states(steps) -> dict[str, str]:
    """What became of each file, by the last part of its name."""
    return {Path(step.name.rpartition("!")[2]).name: step.state for step in steps}


def counted(steps) -> dict[str, int]:
    return dict(Counter(step.state for step in steps))


def zip_of(path: Path, entries: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


# -- what goes in ----------------------------------------------------------------------------------------
def test_a_folder_goes_in_with_all_below_it_and_stays_as_it_was(archive, folder):
    for number in range(1, 71):
        path = folder / f"{number % 3}" / f"{number % 2}" / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ct(number))
    before = {path: path.read_bytes() for path in folder.rglob("*.dcm")}
    assert counted(bring(archive, folder)) == {"stored": 70}
    assert archive.index.counts().instances == 70
    assert {path: path.read_bytes() for path in folder.rglob("*.dcm")} == before


def test_a_large_file_is_stored_and_stays_where_it_was(archive, folder):
    pixels = os.urandom(2 * 1024 * 1024)
    large = ct(1, Rows=1024, Columns=1024, PixelData=pixels)
    path = folder / "large.dcm"
    path.write_bytes(large)
    assert counted(bring(archive, path)) == {"stored": 1}
    assert path.read_bytes() == large
    assert list(archive.spool.folder.glob("*")) == []


def test_files_zip_archives_and_folders_may_be_named_together(archive, folder, tmp_path):
    (folder / "1.dcm").write_bytes(ct(1))
    single = tmp_path / "2.dcm"
    single.write_bytes(ct(2))
    packed = zip_of(tmp_path / "some.zip", {"a/3.dcm": ct(3), "a/b/4.dcm": ct(4), "a/readme.txt": b"hello"})
    steps = bring(archive, folder, single, packed)
    assert counted(steps) == {"stored": 4, "passed over": 1}


def test_a_zip_archive_inside_a_folder_is_opened(archive, folder):
    zip_of(folder / "study.ZIP", {"1.dcm": ct(1)})
    assert states(bring(archive, folder)) == {"1.dcm": "stored"}


def test_what_is_no_dicom_object_is_passed_over_when_found_and_refused_when_named(archive, folder):
    note = folder / "note.txt"
    note.write_text("no image")
    (folder / "empty").write_bytes(b"")
    assert counted(bring(archive, folder)) == {"passed over": 2}
    (step,) = bring(archive, note)
    assert (step.state, step.reason) == ("refused", "it is not a DICOM file")


def test_an_object_without_preamble_goes_in(archive, folder):
    (folder / "raw").write_bytes(ct(1)[132:])
    assert states(bring(archive, folder)) == {"raw": "stored"}


def test_a_broken_object_is_refused_with_its_reason_and_its_neighbours_go_in(archive, folder):
    (folder / "1.dcm").write_bytes(ct(1))
    (folder / "2.dcm").write_bytes(ct(2)[:-20])
    (folder / "3.dcm").write_bytes(ct(3))
    steps = bring(archive, folder)
    assert states(steps) == {"1.dcm": "stored", "2.dcm": "refused", "3.dcm": "stored"}
    (refused,) = [step for step in steps if step.state == "refused"]
    assert refused.reason


def test_a_path_that_is_not_there_is_refused_and_the_others_go_in(archive, folder):
    (folder / "1.dcm").write_bytes(ct(1))
    steps = bring(archive, folder / "gone", folder)
    assert states(steps) == {"gone": "refused", "1.dcm": "stored"}


def test_a_fault_of_ours_costs_the_file_that_met_it_and_no_other(archive, folder, caplog):
    for number in (1, 2, 3):
        (folder / f"{number}.dcm").write_bytes(ct(number))

    def store(uploads):
        if any(upload.body == ct(2) for upload in uploads):
            raise KeyError("a bug")
        return archive.store(uploads)

    steps = list(importing.run([folder], archive.spool, store, BOUNDS))
    assert states(steps) == {"1.dcm": "stored", "2.dcm": "refused", "3.dcm": "stored"}
    assert "a bug" in caplog.text


# -- again -----------------------------------------------------------------------------------------------
def test_a_second_import_stores_nothing(archive, folder):
    for number in range(1, 6):
        (folder / f"{number}.dcm").write_bytes(ct(number))
    bring(archive, folder)
    objects = [stored.key for stored in archive.storage.list("objects/")]
    assert counted(bring(archive, folder)) == {"already": 5}
    assert [stored.key for stored in archive.storage.list("objects/")] == objects


def test_an_import_that_was_interrupted_goes_on_when_run_again(archive, folder):
    for number in range(1, 201):
        (folder / f"{number:03d}.dcm").write_bytes(ct(number))
    steps = importing.run([folder], archive.spool, archive.store, BOUNDS, workers=1)
    next(steps)
    steps.close()
    there = archive.index.counts().instances
    assert 0 < there < 200
    assert counted(bring(archive, folder)) == {"already": there, "stored": 200 - there}


def test_other_content_under_a_uid_that_is_taken_is_refused_by_name(archive, folder):
    bring(archive, zip_of(folder / "first.zip", {"1.dcm": ct(1)}))
    (folder / "other.dcm").write_bytes(ct(1, PatientName="Somebody^Else"))
    (step,) = bring(archive, folder / "other.dcm")
    assert step.state == "refused"
    assert archive.index.counts().instances == 1


def test_a_progress_bar_knows_how_many_files_there_will_be(folder):
    (folder / "1.dcm").write_bytes(bytes(100))
    zip_of(folder / "2.zip", {"a": bytes(50), "b": bytes(50)})
    assert importing.measure([folder], BOUNDS) == (3, 200)


# -- media -----------------------------------------------------------------------------------------------
def make_medium(folder: Path) -> Path:
    files = FileSet()
    for number in (1, 2):
        files.add(part10_file(dataset(number)))
    files.write(folder)
    files._stage["t"].cleanup()
    (folder / "stray.dcm").write_bytes(ct(9))
    return folder / "DICOMDIR"


def part10_file(ds):
    import pydicom

    return pydicom.dcmread(io.BytesIO(part10(ds)))


def test_a_dicomdir_stands_for_the_files_that_it_names(archive, folder):
    assert counted(bring(archive, make_medium(folder))) == {"stored": 2}


def test_a_dicomdir_in_a_folder_is_passed_over_since_its_files_are_met_anyway(archive, folder):
    make_medium(folder)
    assert counted(bring(archive, folder)) == {"stored": 3, "passed over": 1}


def test_names_of_a_medium_are_found_whatever_their_case_became(archive, folder):
    directory = make_medium(folder)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path != directory:
            path.rename(path.with_name(path.name.lower()))
    assert counted(bring(archive, directory)) == {"stored": 2}


def test_a_dicomdir_that_names_what_is_not_there_says_so(archive, folder):
    directory = make_medium(folder)
    next(path for path in folder.rglob("*") if path.is_file() and "IM" in path.name).unlink()
    steps = bring(archive, directory)
    assert counted(steps) == {"stored": 1, "refused": 1}
    assert [step.reason for step in steps if step.state == "refused"] == ["the DICOMDIR names it, but it is not there"]


def test_a_dicomdir_that_leads_out_of_its_medium_is_refused(archive, folder):
    directory = make_medium(folder)
    first = next(path.name for path in folder.iterdir() if path.is_dir())
    (folder.parent / "secret").write_bytes(ct(5))
    data = directory.read_bytes()
    directory.write_bytes(data.replace(first.encode() + b"\\", b"..".ljust(len(first)) + b"\\"))
    steps = bring(archive, directory)
    assert counted(steps) == {"refused": 2}
    assert {step.reason for step in steps} == {"the DICOMDIR names a file outside of the medium"}


# -- what is not to be trusted ---------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["../1.dcm", "a/../../1.dcm", "/etc/1.dcm", "C:/1.dcm", "a\\..\\..\\1.dcm"])
def test_an_entry_whose_name_leads_out_of_the_archive_is_refused(archive, folder, name):
    steps = bring(archive, zip_of(folder / "bad.zip", {name: ct(1), "good.dcm": ct(2)}))
    assert counted(steps) == {"refused": 1, "stored": 1}


def test_a_symbolic_link_in_an_archive_is_refused(archive, folder):
    with zipfile.ZipFile(folder / "link.zip", "w") as packed:
        entry = zipfile.ZipInfo("link.dcm")
        entry.external_attr = 0o120777 << 16
        packed.writestr(entry, "/etc/passwd")
    (step,) = bring(archive, folder / "link.zip")
    assert (step.state, step.reason) == ("refused", "it is a symbolic link")


def test_an_encrypted_entry_is_refused_with_advice(archive, folder):
    path = zip_of(folder / "locked.zip", {"1.dcm": ct(1)})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.rfind(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    (step,) = bring(archive, path)
    assert step.state == "refused"
    assert "encrypted" in step.reason


def test_an_entry_above_the_limit_is_refused_without_being_read(archive, folder):
    path = zip_of(folder / "big.zip", {"big.dcm": bytes(5000)})
    (step,) = bring(archive, path, bounds=Bounds(most_bytes=4999, most_ratio=10_000))
    assert step.state == "refused"
    assert "above the limit" in step.reason


def test_a_large_entry_that_inflates_out_of_proportion_is_refused(archive, folder, monkeypatch):
    monkeypatch.setattr(sources, "_INFLATE_FREE", 10_000)
    path = zip_of(folder / "bomb.zip", {"bomb.dcm": bytes(1_000_000)})
    (step,) = bring(archive, path)
    assert step.state == "refused"
    assert "ZIP bomb" in step.reason


def test_a_small_entry_may_be_as_compressible_as_a_blank_slice(archive, folder):
    blank = ct(1, Rows=512, Columns=512, PixelData=bytes(512 * 512 * 2))
    path = zip_of(folder / "blank.zip", {"1.dcm": blank})
    assert path.stat().st_size * BOUNDS.most_ratio < len(blank)
    assert states(bring(archive, path)) == {"1.dcm": "stored"}


def test_an_archive_whose_entries_overlap_is_refused_whole(archive, folder):
    path = zip_of(folder / "overlap.zip", {"1.dcm": os.urandom(1000)}, zipfile.ZIP_STORED)
    data = path.read_bytes()
    directory = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    records = data[directory:end] * 50
    tail = bytearray(data[end:])
    struct.pack_into("<HHLL", tail, 8, 50, 50, len(records), directory)
    path.write_bytes(data[:directory] + records + bytes(tail))
    (step,) = bring(archive, path)
    assert step.state == "refused"
    assert "overlap" in step.reason


def test_an_archive_of_a_million_entries_is_refused_before_its_directory_is_read(archive, folder):
    path = zip_of(folder / "many.zip", {"1.dcm": ct(1)})
    data = path.read_bytes()
    end = data.index(b"PK\5\6")
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1_000_000, 1_000_000, 100, 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    path.write_bytes(data[:end] + record + locator + data[end:])
    (step,) = bring(archive, path)
    assert step.state == "refused"
    assert "1,000,000 entries" in step.reason


@pytest.mark.parametrize("keep", [4, 100, 0.5, 0.99])
def test_an_archive_that_is_cut_off_is_refused(archive, folder, keep):
    path = zip_of(folder / "cut.zip", {"1.dcm": ct(1)})
    data = path.read_bytes()
    path.write_bytes(data[: keep if keep > 1 else int(len(data) * keep)])
    (step,) = bring(archive, path)
    assert step.state == "refused"


def test_a_damaged_entry_is_refused_and_its_neighbours_go_in(archive, folder):
    path = zip_of(folder / "damaged.zip", {"1.dcm": ct(1), "2.dcm": ct(2)}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[600] ^= 0xFF
    path.write_bytes(data)
    assert states(bring(archive, path)) == {"1.dcm": "refused", "2.dcm": "stored"}


def test_a_link_that_leads_out_of_the_folder_is_refused_and_one_inside_is_followed(archive, folder, tmp_path):
    (tmp_path / "outside.dcm").write_bytes(ct(1))
    (folder / "inside.dcm").write_bytes(ct(2))
    (folder / "out").symlink_to(tmp_path / "outside.dcm")
    (folder / "in").symlink_to(folder / "inside.dcm")
    (folder / "around").symlink_to(folder, target_is_directory=True)
    (folder / "broken").symlink_to(folder / "nothing")
    found = states(bring(archive, folder, workers=1))
    assert found.pop("out") == "refused"
    assert found.pop("broken") == "refused"
    assert sorted(found) == ["in", "inside.dcm"]
    assert archive.index.counts().instances == 1


def test_a_link_that_the_user_names_is_followed(archive, folder, tmp_path):
    (folder / "1.dcm").write_bytes(ct(1))
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    assert states(bring(archive, tmp_path / "link")) == {"1.dcm": "stored"}


def test_pipes_and_devices_are_not_opened(archive, folder):
    os.mkfifo(folder / "pipe")
    (folder / "1.dcm").write_bytes(ct(1))
    assert states(bring(archive, folder)) == {"1.dcm": "stored"}
    (step,) = bring(archive, folder / "pipe")
    assert step.state == "refused"
