"""Which objects say the same, and which only nearly."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicoms import dataset, part10
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from realdata import FOLDER, needs_real_files, real
from served import with_items, written

from dicomweb.archive.archive import open_archive
from dicomweb.archive.spool import Upload
from dicomweb.config import Config


def states(folder: Path, *objects: bytes) -> list[str]:
    """What becomes of objects that are stored one after the other."""
    archive = open_archive(Config(data=folder, storage="memory:", index="sqlite::memory:"))
    found = []
    for data in objects:
        (outcome,) = archive.store([Upload(data, len(data), hashlib.sha256(data).digest())])
        found.append(outcome.state)
    archive.close()
    return found


def rich() -> Dataset:
    """A data set with an icon, a lookup table, an overlay, and nested sequences."""
    ds = dataset(PixelRepresentation=0)
    icon = {"Rows": 2, "Columns": 2, "BitsAllocated": 8, "SamplesPerPixel": 1, "PixelData": b"\1\2\3\4"}
    ds.IconImageSequence = with_items([icon])
    ds["IconImageSequence"][0]["PixelData"].VR = "OB"
    ds.ReferencedSeriesSequence = with_items(
        [{"SeriesInstanceUID": "1.2", "ReferencedSOPSequence": with_items([{"ReferencedSOPInstanceUID": "1.3"}])}]
    )
    ds.RedPaletteColorLookupTableDescriptor = [256, 0, 16]
    ds.RedPaletteColorLookupTableData = bytes(range(256)) * 2
    return ds


def swapped(ds: Dataset) -> Dataset:
    """As it is written big endian: pydicom leaves values of words to its caller."""
    for keyword in ("PixelData", "RedPaletteColorLookupTableData"):
        setattr(ds, keyword, np.frombuffer(ds[keyword].value, "<u2").astype(">u2").tobytes())
    return ds


def test_one_data_set_in_three_encodings_is_the_same(tmp_path):
    one = written(rich(), ExplicitVRLittleEndian)
    two = written(rich(), ImplicitVRLittleEndian)
    three = written(swapped(rich()), ExplicitVRBigEndian)
    assert states(tmp_path, one, two, three) == ["stored", "already", "already"]
    assert states(tmp_path, three, two, one) == ["stored", "already", "already"]


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: setattr(ds, "RedPaletteColorLookupTableData", bytes(512)),
        lambda ds: setattr(ds["IconImageSequence"][0], "PixelData", b"\1\2\3\5"),
        lambda ds: setattr(ds["ReferencedSeriesSequence"][0], "SeriesInstanceUID", "1.4"),
        lambda ds: ds["ReferencedSeriesSequence"].value.append(Dataset()),
        lambda ds: setattr(ds, "PatientComments", ""),
        lambda ds: setattr(ds, "PixelData", ds.PixelData[:-1] + b"\x7f"),
    ],
    ids=["table", "icon", "nested value", "empty item", "empty attribute", "last byte"],
)
def test_the_smallest_change_is_other_content(tmp_path, change):
    ds = rich()
    change(ds)
    assert states(tmp_path, written(rich(), ExplicitVRLittleEndian), written(ds, ImplicitVRLittleEndian)) == [
        "stored",
        "failed",
    ]


@pytest.mark.parametrize("position", [0, 1 << 20, (1 << 20) + 1, 3 * (1 << 20) - 1])
def test_large_values_are_compared_to_the_end(tmp_path, position):
    pixels = bytearray(3 << 20)
    one = part10(dataset(Rows=1536, Columns=1024, PixelData=bytes(pixels)))
    pixels[position] = 1
    two = part10(dataset(Rows=1536, Columns=1024, PixelData=bytes(pixels)))
    assert states(tmp_path, one, two) == ["stored", "failed"]


@needs_real_files
def test_one_real_image_in_four_native_encodings_is_the_same(tmp_path):
    names = sorted(FOLDER.glob("cornerstoneWADOImageLoader/CTImage*")) if FOLDER.is_dir() else []
    native = [path for path in names if "Endian" in path.name]
    assert len(native) >= 4
    assert states(tmp_path, *[path.read_bytes() for path in native]) == ["stored"] + ["already"] * (len(native) - 1)


@needs_real_files
def test_one_real_image_with_other_pixels_is_not(tmp_path):
    data = real("orthanc-tests/Knee__T1__IM-0001-0001.dcm").read_bytes()
    assert pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID
    assert states(tmp_path, data, data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]) == ["stored", "failed"]
