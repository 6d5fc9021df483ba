"""Objects put together from metadata and bulk data."""

import hashlib
import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicoms import PREFIX, dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.uid import MPEG4HP41, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless
from realdata import real

from dicomweb.archive.assembly import BulkPart, assemble
from dicomweb.archive.spool import Spool, Upload
from dicomweb.errors import BadIdentity, BadObject, BadReference
from dicomweb.imaging import unpacking
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
    upload = assemble(metadata, bulk, Spool(folder), unpacking.convert)
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


def drawn(*frames: Any, kind: str = "PNG", **how: Any) -> bytes:
    out = io.BytesIO()
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(out, kind, **({"save_all": True, "append_images": rest} if rest else {}), **how)
    return out.getvalue()


def bare(**attributes: Any) -> dict[str, Any]:
    """Metadata that leave the Image Pixel Description to the pixels."""
    names = ["Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"]
    names += ["BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"]
    return model(**{**dict.fromkeys(names), **attributes}) | pixels()


GRAY = (np.add.outer(np.arange(20), np.arange(30)) * 5).astype(np.uint8)
COLOUR = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1)


@pytest.mark.parametrize(
    ("picture", "photometric", "bits"),
    [(GRAY, "MONOCHROME2", 8), (GRAY.astype(np.uint16) * 200, "MONOCHROME2", 16), (COLOUR, "RGB", 8)],
)
def test_a_png_becomes_uncompressed_pixels(tmp_path, picture, photometric, bits):
    data = put_together(tmp_path, bare(), pixels=[part(drawn(picture), "image/png")])
    read = pydicom.dcmread(io.BytesIO(data))
    assert read.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert np.array_equal(read.pixel_array, picture)
    assert (read.PhotometricInterpretation, read.BitsAllocated) == (photometric, bits)
    assert "NumberOfFrames" not in read
    assert ("OW" if bits == 16 else "OB") == read["PixelData"].VR
    assert read_object(data, Limits()).warnings == []
    assert len(list(tmp_path.glob("*"))) <= 1


def test_frames_come_as_one_png_each_or_as_a_gif(tmp_path):
    frames = [GRAY, GRAY // 2, GRAY // 3]
    parts = {f"pixels/frames/{number}": [part(drawn(one), "image/png")] for number, one in enumerate(frames, 1)}
    read = pydicom.dcmread(io.BytesIO(put_together(tmp_path, bare(), **parts)))
    assert np.array_equal(read.pixel_array, np.stack(frames))
    animation = drawn(*frames, kind="GIF", duration=120)
    read = pydicom.dcmread(io.BytesIO(put_together(tmp_path, bare(), pixels=[part(animation, "image/gif")])))
    assert np.array_equal(read.pixel_array, np.stack(frames))
    assert (read.NumberOfFrames, read.FrameTime, read.FrameIncrementPointer) == (3, 120, 0x00181063)


def test_metadata_may_say_what_the_samples_of_a_png_mean(tmp_path):
    said = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11, "Rows": 20}
    picture = GRAY.astype(np.uint16)
    read = pydicom.dcmread(io.BytesIO(put_together(tmp_path, bare(**said), pixels=[part(drawn(picture), "image/png")])))
    assert (read.PhotometricInterpretation, read.BitsStored, read.HighBit, read.Rows) == ("MONOCHROME1", 12, 11, 20)
    assert np.array_equal(read.pixel_array, picture)


@pytest.mark.parametrize(
    "said",
    [{"Rows": 21}, {"SamplesPerPixel": 3}, {"BitsAllocated": 16}, {"PhotometricInterpretation": "YBR_FULL"},
     {"NumberOfFrames": 2}, {"BitsStored": 9, "HighBit": 8}],
)  # fmt: skip
def test_metadata_that_describe_another_picture_are_refused(tmp_path, said):
    with pytest.raises(BadObject) as caught:
        put_together(tmp_path, bare(**said), pixels=[part(drawn(GRAY), "image/png")])
    assert caught.value.instance == f"{PREFIX}.1.1.1"
    assert list(tmp_path.glob("*")) == []


@pytest.mark.parametrize(
    "parts",
    [
        [part(b"\x89PNG\r\n\x1a\nnothing", "image/png")],
        [part(drawn(GRAY), "image/png"), part(drawn(GRAY[:10]), "image/png")],
        [part(drawn(GRAY), "image/png"), part(b"ab", "image/jpeg", JPEGBaseline8Bit)],
        [part(b"<svg/>", "image/gif")],
    ],
)
def test_pictures_that_cannot_be_frames_are_refused_and_leave_nothing(tmp_path, parts):
    with pytest.raises(BadObject) as caught:
        put_together(tmp_path, bare(), pixels=parts)
    assert caught.value.instance == f"{PREFIX}.1.1.1"
    assert list(tmp_path.glob("*")) == []


@pytest.mark.parametrize(
    ("media_type", "data", "syntax", "photometric"),
    [
        ("image/jpeg", drawn(COLOUR, kind="JPEG"), "1.2.840.10008.1.2.4.50", "YBR_FULL_422"),
        ("image/jp2", drawn(GRAY, kind="JPEG2000"), "1.2.840.10008.1.2.4.90", "MONOCHROME2"),
        ("image/jxl", bytes(imagecodecs.jpegxl_encode(COLOUR, lossless=True)), "1.2.840.10008.1.2.4.110", "RGB"),
        ("image/jph", bytes(imagecodecs.htj2k_encode(GRAY, reversible=True)), "1.2.840.10008.1.2.4.201", "MONOCHROME2"),
    ],
)
def test_a_compressed_picture_is_encapsulated_with_what_it_says_of_itself(
    tmp_path, media_type, data, syntax, photometric
):
    read = pydicom.dcmread(io.BytesIO(put_together(tmp_path, bare(), pixels=[part(data, media_type)])))
    assert read.file_meta.TransferSyntaxUID == syntax
    assert (read.Rows, read.Columns, read.PhotometricInterpretation) == (20, 30, photometric)
    (frame,) = generate_frames(read.PixelData, number_of_frames=1)
    assert frame.rstrip(b"\0") in data.rstrip(b"\0")
    assert not frame.startswith(b"\0\0\0\x0cjP")
    assert (read.get("LossyImageCompression") == "01") == (media_type == "image/jpeg")


def test_a_video_is_described_by_its_stream_where_the_metadata_leave_that_to_it(tmp_path):
    original = pydicom.dcmread(real("built/h264-hp41.dcm"))
    (stream,) = generate_frames(original.PixelData, number_of_frames=1)
    read = pydicom.dcmread(io.BytesIO(put_together(tmp_path, bare(), pixels=[part(stream, "video/mp4")])))
    assert read.file_meta.TransferSyntaxUID == MPEG4HP41
    for keyword in ("Rows", "Columns", "NumberOfFrames", "PhotometricInterpretation", "BitsStored"):
        assert read[keyword].value == original[keyword].value
    assert read.FrameTime == pytest.approx(33.4, abs=0.1)
    assert (read.LossyImageCompression, read.LossyImageCompressionMethod) == ("01", "ISO_14496_10")


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
