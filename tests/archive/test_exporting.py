"""Export: the received bytes, under names that are safe and the same each time."""

import hashlib
import zipfile
from pathlib import Path

import pytest
from dicoms import ct, dataset, part10

from dicomweb.archive import exporting
from dicomweb.archive.archive import open_archive
from dicomweb.archive.spool import Upload
from dicomweb.config import Config
from dicomweb.errors import Conflict, Corrupt, NotFound

PREFIX = "1.2.826.0.1.3680043.10.1234"


@pytest.fixture
def archive(tmp_path):
    opened = open_archive(Config(data=tmp_path / "data"))
    yield opened
    opened.close()


def put(archive, *objects: bytes) -> None:
    uploads = [Upload(data, len(data), hashlib.sha256(data).digest()) for data in objects]
    assert {outcome.state for outcome in archive.store(uploads)} == {"stored"}


def to_folder(archive, folder: Path, study=f"{PREFIX}.1", series=None, instance=None):
    helds = exporting.select(archive.index, study, series, instance)
    return list(exporting.to_folder(archive.storage, exporting.name_all(archive.index, helds), folder))


def to_zip(archive, path: Path, study=f"{PREFIX}.1"):
    helds = exporting.select(archive.index, study)
    return list(exporting.to_zip(archive.storage, exporting.name_all(archive.index, helds), path))


def test_a_study_leaves_as_the_bytes_that_were_received(archive, tmp_path):
    objects = [ct(1), ct(2), ct(1, series=2), part10(dataset(3), "1.2.840.10008.1.2")]
    put(archive, *objects, ct(1, study=2))
    steps = to_folder(archive, tmp_path / "out")
    written = sorted(path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm"))
    assert written == sorted(objects)
    assert [step.state for step in steps] == ["written"] * 4
    assert sum(step.size for step in steps) == sum(map(len, objects))


def test_names_tell_patient_study_series_and_number(archive, tmp_path):
    put(archive, ct(7, SeriesDescription="Axial / thin"))
    (step,) = to_folder(archive, tmp_path / "out")
    patient, study, series, instance = step.name.split("/")
    assert patient == "P1_Test_Patient1"
    assert study.startswith("20240131_CHEST_")
    assert series.startswith("0001_CT_Axial_thin_")
    assert instance.startswith("00007_")
    assert instance.endswith(".dcm")


def test_a_series_or_an_instance_can_leave_alone(archive, tmp_path):
    put(archive, ct(1), ct(2), ct(1, series=2))
    assert len(to_folder(archive, tmp_path / "a", series=f"{PREFIX}.1.1")) == 2
    (step,) = to_folder(archive, tmp_path / "b", series=f"{PREFIX}.1.1", instance=f"{PREFIX}.1.1.2")
    assert (tmp_path / "b" / step.name).read_bytes() == ct(2)


def test_what_is_not_there_is_said_to_be_not_there(archive, tmp_path):
    with pytest.raises(NotFound):
        to_folder(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_export_writes_nothing_and_touches_no_other_file(archive, tmp_path):
    put(archive, ct(1), ct(2))
    first = to_folder(archive, tmp_path / "out")
    changed = tmp_path / "out" / first[0].name
    changed.write_bytes(b"somebody's own")
    steps = to_folder(archive, tmp_path / "out")
    assert [step.state for step in steps] == ["refused", "already"]
    assert changed.read_bytes() == b"somebody's own"


@pytest.mark.parametrize(
    "hostile",
    [
        "../../../etc",
        "/etc/passwd",
        "..",
        ".",
        "CON",
        "a\\b\\..\\c",
        "x" * 64,
        "=cmd()",
        "  ",
        "-rf",
        "\u202egpj",
    ],
)
def test_text_of_an_object_never_leads_out_of_the_folder(archive, tmp_path, hostile):
    put(
        archive,
        ct(1, PatientID=hostile, PatientName=hostile, StudyDescription=hostile, SeriesDescription=hostile),
    )
    (step,) = to_folder(archive, tmp_path / "out")
    written = list(tmp_path.rglob("*.dcm"))
    assert [path.resolve() for path in written] == [(tmp_path / "out" / step.name).resolve()]
    for part in step.name.split("/"):
        assert not set(part) & set('\\/:*?"<>|=')
        assert part[0] not in ".-"
        assert len(part) < 120


def test_names_in_every_script_stay_readable():
    assert exporting.clean("山田^太郎") == "山田_太郎"
    assert exporting.clean("Müller^Jürgen") == "Müller_Jürgen"


def test_objects_that_say_the_same_still_have_names_of_their_own(archive, tmp_path):
    put(archive, *[ct(number, InstanceNumber=1) for number in range(1, 6)])
    steps = to_folder(archive, tmp_path / "out")
    assert len({step.name.lower() for step in steps}) == 5


def test_a_zip_archive_holds_the_same_files_as_the_folder(archive, tmp_path):
    put(archive, ct(1), ct(2), ct(1, series=2))
    names = {step.name for step in to_folder(archive, tmp_path / "out")}
    steps = to_zip(archive, tmp_path / "out.zip")
    assert {step.name for step in steps} == names
    with zipfile.ZipFile(tmp_path / "out.zip") as packed:
        assert packed.testzip() is None
        assert {name: packed.read(name) for name in packed.namelist()} == {
            name: (tmp_path / "out" / name).read_bytes() for name in names
        }


def test_a_zip_archive_that_is_there_is_not_overwritten(archive, tmp_path):
    put(archive, ct(1))
    path = tmp_path / "out.zip"
    path.write_bytes(b"precious")
    with pytest.raises(Conflict):
        to_zip(archive, path)
    assert path.read_bytes() == b"precious"


@pytest.fixture
def spoiled(archive):
    """An archive in which one of two objects has changed on disk."""
    put(archive, ct(1), ct(2))
    held = archive.index.locate(f"{PREFIX}.1", f"{PREFIX}.1.1", f"{PREFIX}.1.1.1")
    path = next(Path(archive.config.data).rglob(Path(held.key).name))
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return archive


def test_an_object_whose_bytes_have_changed_does_not_leave(spoiled, tmp_path):
    steps = to_folder(spoiled, tmp_path / "out")
    assert sorted(step.state for step in steps) == ["refused", "written"]
    assert [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()] == [ct(2)]


def test_no_half_archive_is_left_behind(spoiled, tmp_path):
    with pytest.raises(Corrupt):
        to_zip(spoiled, tmp_path / "out.zip")
    assert [path.name for path in tmp_path.iterdir() if path.name != "data"] == []
