"""Objects put together from metadata and bulk data."""

import hashlib
import io
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicoms import PREFIX, dataset
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import generate_frames
from pydicom.uid import MPEG4HP41, JPEGBaseline8Bit, RLELossless

from dicomweb.archive.assembly import BulkPart, assemble
from dicomweb.archive.spool import Spool, Upload
from dicomweb.errors import BadIdentity, BadObject, BadReference
from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import read_object


def part(data: bytes, media_type: str = "application/octet-stream", syntax: str = "") -> BulkPart:
    return BulkPart(Upload(data, len(data), hashlib.sha256(data).digest()), media_type, syntax)


def model(**attributes: Any) -> dict[str, Any]:
    made: dict[str, Any] = dataset(PixelData=None, **attributes).to_json_dict()
    return made


def pixels(uri: str = "pixels") -> dict[str, Any]:
    return {"7FE00010": {"vr": "OB", "BulkDataURI": uri}}


def put_together(folder: Path, metadata: dict[str, Any], **bulk: list[BulkPart]) -> bytes:
    """The bytes of the object; the spool holds nothing but it."""
    upload = assemble(metadata, bulk, Spool(folder))
    with upload.open() as buffer:
        return bytes(buffer)


@given(frames=st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=6))
def test_the_frames_that_go_in_are_the_frames_that_are_found(tmp_path_factory, frames):
    bulk = [part(frame, "image/dicom-rle", RLELossless) for frame in frames]
    metadata = model(NumberOfFrames=len(frames)) | pixels()
    read = pydicom.dcmread(io.BytesIO(put_together(tmp_path_factory.mktemp("spool"), metadata, pixels=bulk)))
    got = list(generate_frames(read.PixelData, number_of_frames=len(frames)))
    assert got == [frame + b"\0" * (len(frame) % 2) for frame in frames]
    assert read.file_meta.TransferSyntaxUID == RLELossless


def test_what_was_put_together_is_read_as_it_was_said(tmp_path):
    metadata = model(PatientName="Müller^Jörg") | pixels()
    data = put_together(tmp_path, metadata, pixels=[part(bytes(128))])
    read = read_object(data, Limits())
    assert read.dataset["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert read.instance == f"{PREFIX}.1.1.1"
    assert read.warnings == []


def test_a_video_is_one_stream_without_a_table(tmp_path):
    video = bytes(range(200))
    metadata = model(NumberOfFrames=10) | pixels()
    read = pydicom.dcmread(io.BytesIO(put_together(tmp_path, metadata, pixels=[part(video, "video/mp4", MPEG4HP41)])))
    assert video in read.PixelData


def test_values_in_sequences_are_found_too(tmp_path):
    item = {"00282000": {"vr": "OB", "BulkDataURI": "profile"}}
    metadata = model() | {"00480105": {"vr": "SQ", "Value": [item]}}
    read = pydicom.dcmread(io.BytesIO(put_together(tmp_path, metadata, profile=[part(b"\1\2\3\4")])))
    assert read.OpticalPathSequence[0].ICCProfile == b"\1\2\3\4"


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "http://127.0.0.1/x", "other", ""])
def test_a_reference_to_anything_else_is_refused_and_leaves_nothing(tmp_path, uri):
    with pytest.raises(BadReference) as caught:
        put_together(tmp_path, model() | pixels(uri), pixels=[part(bytes(128))])
    assert caught.value.instance == f"{PREFIX}.1.1.1"
    assert list(tmp_path.glob("*")) == []


def test_frames_in_several_syntaxes_or_in_none_that_is_known_are_refused(tmp_path):
    mixed = [part(b"ab", "image/jpeg", JPEGBaseline8Bit), part(b"cd", "image/dicom-rle", RLELossless)]
    for bulk in (mixed, [part(b"ab", "image/x-unheard-of")]):
        with pytest.raises(BadObject):
            put_together(tmp_path, model(NumberOfFrames=len(bulk)) | pixels(), pixels=bulk)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"00080018": {"vr": "UI"}},
        {"00080018": {"vr": "UI", "Value": [None]}},
        {"00080018": {"vr": "UI", "Value": [{"a": 1}]}},
    ],
)
def test_metadata_without_an_identity_are_refused(tmp_path, broken):
    metadata = model() | broken
    if not broken:
        del metadata["00080018"]
    with pytest.raises((BadIdentity, BadObject)):
        put_together(tmp_path, metadata)
    assert list(tmp_path.glob("*")) == []
