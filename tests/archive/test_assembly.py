"""Objects that arrive as metadata and bulk data."""

import io
from pathlib import Path
from typing import Any

import dicoms
import pydicom
import pytest
import served as objects
from pydicom.encaps import generate_frames
from pydicom.uid import JPEGBaseline8Bit

from dicomweb.archive.assembly import BulkPart, assemble
from dicomweb.archive.spool import Spool, Upload
from dicomweb.errors import BadIdentity, BadObject, BadReference

OCTETS, JPEG = "application/octet-stream", "image/jpeg"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> objects.Served:
    return objects.Served(tmp_path / "world")


def part(spool: Spool, data: bytes, media_type: str = OCTETS, syntax: str = "") -> BulkPart:
    reception = spool.receive()
    reception.write(data)
    return BulkPart(reception.finish(), media_type, syntax)


def read(upload: Upload) -> pydicom.Dataset:
    body = upload.body if isinstance(upload.body, bytes) else upload.body.read_bytes()
    return pydicom.dcmread(io.BytesIO(body))


def metadata(world: objects.Served, data: bytes) -> dict[str, Any]:
    world.store(data)
    (model,) = world.get(f"{objects.path_of(data)}/metadata").json()
    return model


def test_metadata_that_were_retrieved_make_the_same_data_set_again(world, spool):
    data = dicoms.ct(1)
    model = metadata(world, data)
    assert "00083002" in model
    made = read(assemble(model, {model["7FE00010"]["BulkDataURI"]: [part(spool, dicoms.dataset(1).PixelData)]}, spool))
    assert made == pydicom.dcmread(io.BytesIO(data))
    assert made.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian


def test_frames_that_come_one_part_each_are_encapsulated_in_their_order(world, spool):
    frames = [b"\xff\xd8one\xff\xd9", b"\xff\xd8three\xff\xd9"]
    model = metadata(world, objects.compressed(frames, JPEGBaseline8Bit))
    uri = model["7FE00010"]["BulkDataURI"]
    for bulk in (
        {uri: [part(spool, frame, JPEG, JPEGBaseline8Bit) for frame in frames]},
        {f"{uri}/frames/{n}": [part(spool, frame, JPEG, JPEGBaseline8Bit)] for n, frame in enumerate(frames, 1)},
    ):
        made = read(assemble(model, bulk, spool))
        assert made.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
        found = list(generate_frames(made.PixelData, number_of_frames=2))
        assert [frame.rstrip(b"\0") for frame in found] == frames


def test_what_leads_out_of_the_request_is_refused(world, spool):
    with pytest.raises(BadReference) as raised:
        assemble(metadata(world, dicoms.ct(1)), {}, spool)
    assert raised.value.instance == f"{dicoms.PREFIX}.1.1.1"


def test_metadata_without_an_instance_uid_are_refused(world, spool):
    model = metadata(world, dicoms.ct(1))
    del model["00080018"]
    with pytest.raises(BadIdentity):
        assemble(model, {}, spool)


def test_pixels_in_two_syntaxes_at_once_are_refused(world, spool):
    model = metadata(world, dicoms.ct(1))
    parts = [part(spool, b"a"), part(spool, b"b", JPEG, JPEGBaseline8Bit)]
    with pytest.raises(BadObject):
        assemble(model, {model["7FE00010"]["BulkDataURI"]: parts}, spool)
