"""What compressed frames say of themselves, against what the objects around them say."""

from collections.abc import Iterator

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames
from realdata import needs_real_files, real_files

from dicomweb.errors import BadObject
from dicomweb.standard import codestreams, dicomjson, part10, syntaxes
from dicomweb.standard.codestreams import HEAD, is_whole, read_picture
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


SIZES = [(8, 8), (256, 256), (8, 264), (1, 1), (37, 42), (512, 512), (513, 1200), (300, 400), (9000, 3), (2, 20_000)]


@pytest.mark.parametrize(("rows", "columns"), SIZES)
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("bits", [1, 8, 10, 12, 16])
@pytest.mark.parametrize("lossless", [True, False])
def test_jpeg_xl_says_what_it_is(rows: int, columns: int, samples: int, bits: int, lossless: bool) -> None:
    shape = (rows, columns, 3) if samples == 3 else (rows, columns)
    array = np.zeros(shape, "u1" if bits <= 8 else "u2")
    made = imagecodecs.jpegxl_encode(array, lossless=lossless, bitspersample=bits, effort=1, usecontainer=bits > 8)
    photometric = "MONOCHROME2" if samples == 1 else "RGB" if lossless else "XYB"
    told = read_picture(bytes(made)[:HEAD], syntaxes.JPEG_XL)
    assert told is not None
    assert told[:6] == (rows, columns, samples, bits, False, photometric)


def test_jpeg_xl_that_holds_a_jpeg_says_its_size() -> None:
    jpeg = imagecodecs.jpeg8_encode(np.zeros((48, 66, 3), "u1"))
    told = read_picture(bytes(imagecodecs.jpegxl_encode_jpeg(jpeg)), syntaxes.JPEG_XL_RECOMPRESSION)
    assert told is not None
    assert told[:4] == (48, 66, 3, 8)


def test_jpeg_xl_with_transparency_or_floating_point_says_nothing() -> None:
    for array in (np.zeros((5, 5, 4), "u1"), np.zeros((5, 5), "f4")):
        made = bytes(imagecodecs.jpegxl_encode(array, lossless=True))
        assert read_picture(made, syntaxes.JPEG_XL) is None


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\0jxlc"]),
)
def test_damaged_jpeg_xl_says_nothing_or_something(data: bytes, start: bytes) -> None:
    told = read_picture(start + data, syntaxes.JPEG_XL)
    assert told is None or isinstance(told, codestreams.Picture)


def test_jpeg_says_how_it_was_made() -> None:
    array = np.zeros((16, 16, 3), "u1")
    for subsampling, coarser in (("444", False), ("422", True), ("420", True)):
        told = read_picture(bytes(imagecodecs.jpeg8_encode(array, subsampling=subsampling)), syntaxes.JPEG_BASELINE)
        assert told is not None
        assert (told.process, told.colours, told.subsampled) == (0xC0, "YBR", coarser)
    made = imagecodecs.jpeg8_encode(array, lossless=True, predictor=1, colorspace="rgb", outcolorspace="rgb")
    told = read_picture(bytes(made), syntaxes.JPEG_LOSSLESS)
    assert told is not None
    assert (told.process, told.colours) == (0xC3, "RGB")
    told = read_picture(bytes(imagecodecs.jpegls_encode(array)), syntaxes.JPEG_LS)
    assert told is not None
    assert told.process == 0xF7


@pytest.mark.parametrize(
    ("made", "syntax"),
    [
        (imagecodecs.jpeg8_encode(np.eye(90, dtype="u1") * 200), syntaxes.JPEG_BASELINE),
        (imagecodecs.jpegls_encode(np.eye(90, dtype="u1")), syntaxes.JPEG_LS),
        (imagecodecs.jpeg2k_encode(np.eye(90, dtype="u1"), codecformat="j2k"), syntaxes.JPEG_2000),
        (imagecodecs.htj2k_encode(np.eye(90, dtype="u1"), tile=(32, 32)), syntaxes.HTJ2K),
        (imagecodecs.jpeg2k_encode(np.eye(90, dtype="u1"), codecformat="jp2"), syntaxes.JPEG_2000),
        (imagecodecs.htj2k_encode(np.eye(90, dtype="u1"), tlm=True, tilepart=1), syntaxes.HTJ2K_LOSSLESS_RPCL),
    ],
    ids=["jpeg", "jpeg-ls", "jpeg 2000", "htj2k of tiles", "jp2", "htj2k of parts"],
)
def test_a_codestream_that_is_cut_is_not_whole(made: bytes, syntax: str) -> None:
    made = bytes(made)
    assert is_whole(made, syntax)
    assert is_whole(made + b"\0", syntax)
    cut = 3 if made.startswith(b"\xff\xd8") else 2
    assert not any(is_whole(made[:left], syntax) for left in range(len(made) - cut))


def test_a_jpeg_2000_codestream_without_its_last_marker_is_whole() -> None:
    for made in (
        imagecodecs.htj2k_encode(np.eye(90, dtype="u1"), tile=(32, 32)),
        imagecodecs.htj2k_encode(np.eye(90, dtype="u1"), tlm=True, tilepart=1),
    ):
        assert is_whole(bytes(made)[:-2], syntaxes.JPEG_2000)


def test_of_samples_alone_nobody_knows() -> None:
    assert is_whole(b"anything", syntaxes.RLE)
    assert read_picture(b"anything", syntaxes.RLE) is None


def test_jpeg_2000_says_how_it_was_coded_whatever_a_comment_holds() -> None:
    for reversible, photometric in ((True, "YBR_RCT"), (False, "YBR_ICT")):
        made = bytes(imagecodecs.htj2k_encode(np.zeros((9, 9, 3), "u1"), reversible=reversible, rgb=True, planar=False))
        place = made.index(b"\xff\x52")
        comment = b"\xff\x64" + (20).to_bytes(2, "big") + b"\xff\x52" + bytes(16)
        for data in (made, made[:place] + comment + made[place:]):
            told = read_picture(data, syntaxes.HTJ2K)
            assert told is not None
            assert (told.photometric, told.reversible, told.subsampled) == (photometric, reversible, False)


@pytest.mark.parametrize("place", [8, 16, 24, 32])
@pytest.mark.parametrize("value", [0, 0xFFFFFFFF, 0x0E000000])
def test_tiles_that_lie_nowhere_near_their_picture_make_none(place: int, value: int) -> None:
    for offset in (place, place + 4):
        made = bytearray(imagecodecs.htj2k_encode(np.zeros((37, 42), "u1"), reversible=True))
        made[offset : offset + 4] = value.to_bytes(4, "big")
        told = read_picture(bytes(made), syntaxes.HTJ2K)
        lawful = (place in (16, 32) and value == 0) or (place in (8, 24) and value > 0)
        assert (told is not None) == lawful
