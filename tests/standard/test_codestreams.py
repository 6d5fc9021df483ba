"""What compressed frames say of themselves, against what the objects around them say."""

from collections.abc import Iterator

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from realdata import needs_real_files, real_files

from dicomweb.errors import BadObject
from dicomweb.standard import codestreams, dicomjson, part10, syntaxes
from dicomweb.standard.codestreams import HEAD, read_picture
from dicomweb.standard.walked import Limits

BUNDLED = ["JPEG2000.dcm", "JPEG-LL.dcm", "JPGExtended.dcm", "SC_rgb_small_odd_jpeg.dcm", "MR_small_jp2klossless.dcm"]
TOLD = {"image/jpeg", "image/jls", "image/jp2", "image/jphc"}


def first_frame(ds: pydicom.Dataset) -> bytes:
    return next(generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1) or 1)))


def check(ds: pydicom.Dataset) -> None:
    syntax = str(ds.file_meta.TransferSyntaxUID)
    picture = read_picture(first_frame(ds)[:HEAD], syntax)
    assert picture is not None
    assert (picture.rows, picture.columns, picture.samples) == (ds.Rows, ds.Columns, ds.SamplesPerPixel)
    assert picture.bits <= ds.BitsAllocated
    assert picture.bits >= ds.BitsStored or ds.BitsStored == ds.BitsAllocated
    described = picture.attributes()
    assert described["00280010"] == {"vr": "US", "Value": [ds.Rows]}
    assert ("00280006" in described) == (picture.samples > 1)
    assert (picture.photometric == "MONOCHROME2") == (ds.SamplesPerPixel == 1)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_frame_describes_itself_as_the_object_around_it_does(name: str) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom does not bring {name} along")
    check(pydicom.dcmread(path))


def _described() -> Iterator[tuple[bool, str]]:
    """Of each real file in such a syntax: whether its first frame says its size, and the file's name."""
    for file in real_files():
        data = file.read_bytes()
        try:
            parsed = part10.read_object(data, Limits())
        except BadObject:
            continue
        if parsed.syntax.media_type not in TOLD or not parsed.layout.count:
            continue
        frame = b"".join(data[start:stop] for start, stop in parsed.layout.spans(1))
        picture = read_picture(frame[:HEAD], parsed.syntax.uid)
        size = [dicomjson.integer(parsed.dataset.get(tag)) for tag in ("00280010", "00280011", "00280002")]
        yield picture is not None and [picture.rows, picture.columns, picture.samples] == size, file.name


@needs_real_files
def test_real_frames_describe_themselves_as_the_objects_around_them_do() -> None:
    told = list(_described())
    assert len(told) > 50
    # One that was made for tests, whose header and frame do not belong together.
    assert {name for right, name in told if not right} <= {"genFile.dcm"}


@given(st.binary(max_size=300), st.sampled_from([syntaxes.JPEG_BASELINE, "1.2.840.10008.1.2.4.90"]))
def test_damaged_codestreams_say_nothing(data: bytes, syntax: str) -> None:
    for start in (b"\xff\xd8", b"\xff\x4f\xff\x51", b""):
        picture = read_picture(start + data, syntax)
        assert picture is None or isinstance(picture, codestreams.Picture)


def test_a_jpeg_says_its_colours() -> None:
    def jpeg(marker: int, names: bytes, adobe: int | None = None) -> bytes:
        head = b"\xff\xd8"
        if adobe is not None:
            head += b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([adobe])
        size = 8 + 3 * len(names)
        parts = b"".join(bytes([name, 0x11, 0]) for name in names)
        return (
            head
            + bytes([0xFF, marker])
            + size.to_bytes(2, "big")
            + b"\x08\x00\x10\x00\x20"
            + bytes([len(names)])
            + parts
        )

    def colours(data: bytes) -> str:
        picture = read_picture(data, syntaxes.JPEG_BASELINE)
        assert picture is not None
        assert (picture.rows, picture.columns, picture.bits) == (16, 32, 8)
        return picture.photometric

    assert colours(jpeg(0xC0, b"\x01")) == "MONOCHROME2"
    assert colours(jpeg(0xC0, b"\x01\x02\x03")) == "YBR_FULL_422"
    assert colours(jpeg(0xC0, b"\x01\x02\x03", adobe=0)) == "RGB"
    assert colours(jpeg(0xC0, b"RGB")) == "RGB"
    assert colours(jpeg(0xC3, b"\x01\x02\x03")) == "RGB"
