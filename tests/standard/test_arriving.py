"""Compressed pixels as clients send them."""

import imagecodecs
import numpy as np
import pytest

from dicomweb.standard import arriving, codestreams, syntaxes

GRAY = (np.add.outer(np.arange(24), np.arange(32)) * 4).astype(np.uint8)
COLOUR = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1)
DEEP = GRAY.astype(np.uint16) * 200
FIRST_ORDER = imagecodecs.jpeg8_encode(GRAY, lossless=True, predictor=1)
REVERSIBLE = imagecodecs.jpeg2k_encode(COLOUR, reversible=True)


@pytest.mark.parametrize(
    ("media_type", "data", "syntax", "photometric", "lossy"),
    [
        ("image/jpeg", imagecodecs.jpeg8_encode(COLOUR), syntaxes.JPEG_BASELINE, "YBR_FULL_422", True),
        ("image/jpeg", imagecodecs.jpeg8_encode(GRAY), syntaxes.JPEG_BASELINE, "MONOCHROME2", True),
        ("image/jpeg", imagecodecs.ljpeg_encode(GRAY), syntaxes.JPEG_LOSSLESS_P14, "MONOCHROME2", False),
        ("image/jpeg", FIRST_ORDER, syntaxes.JPEG_LOSSLESS, "MONOCHROME2", False),
        ("image/jls", imagecodecs.jpegls_encode(DEEP), syntaxes.JPEG_LS, "MONOCHROME2", False),
        ("image/jls", imagecodecs.jpegls_encode(DEEP, level=3), syntaxes.JPEG_LS_LOSSY, "MONOCHROME2", True),
        ("image/jp2", REVERSIBLE, syntaxes.JPEG_2000_LOSSLESS, "YBR_RCT", False),
        ("image/jp2", imagecodecs.jpeg2k_encode(COLOUR, level=30), syntaxes.JPEG_2000, "YBR_ICT", True),
        ("image/jp2", imagecodecs.jpeg2k_encode(GRAY, level=30), syntaxes.JPEG_2000, "MONOCHROME2", True),
        ("image/jphc", imagecodecs.htj2k_encode(GRAY, reversible=True), syntaxes.HTJ2K_LOSSLESS, "MONOCHROME2", False),
        ("image/jph", imagecodecs.htj2k_encode(GRAY, reversible=False), syntaxes.HTJ2K, "MONOCHROME2", True),
        ("image/jxl", imagecodecs.jpegxl_encode(COLOUR, lossless=True), syntaxes.JPEG_XL_LOSSLESS, "RGB", False),
        ("image/jxl", imagecodecs.jpegxl_encode(COLOUR, 80), syntaxes.JPEG_XL, "XYB", True),
    ],
)
def test_a_codestream_says_which_syntax_it_is_in_and_whether_it_has_lost_something(
    media_type, data, syntax, photometric, lossy
):
    head = bytes(data)[: codestreams.HEAD]
    assert arriving.syntax_of(head, media_type) == syntax
    picture = codestreams.read_picture(head, syntax)
    assert picture is not None
    described = arriving.described(picture, head, syntax)
    assert described["00280010"]["Value"] == [24]
    assert described["00280011"]["Value"] == [32]
    assert described["00280004"]["Value"] == [photometric]
    assert (described.get("00282110", {}).get("Value") == ["01"]) == lossy


@pytest.mark.parametrize(
    ("media_type", "syntax"),
    [
        ("image/jpeg", syntaxes.JPEG_LOSSLESS),
        ("image/jls", syntaxes.JPEG_LS),
        ("image/jp2", syntaxes.JPEG_2000_LOSSLESS),
        ("image/jph", syntaxes.HTJ2K_LOSSLESS),
        ("image/dicom-rle", syntaxes.RLE),
        ("video/mp4", "1.2.840.10008.1.2.4.102"),
        ("video/h265", "1.2.840.10008.1.2.4.107"),
        ("application/octet-stream", syntaxes.EXPLICIT),
        ("image/x-unheard-of", ""),
    ],
)
def test_where_the_bytes_do_not_tell_the_table_holds(media_type, syntax):
    for head in (b"", b"\xff\xd8", b"\xff\xd8\xff\xda\0\0", b"nonsense", b"\xff\x4f\xff\x51\0"):
        assert arriving.syntax_of(head, media_type) == syntax


@pytest.mark.parametrize("media_type", ["image/jp2", "image/jph"])
def test_of_a_file_in_boxes_the_codestream_becomes_the_frame(media_type):
    file = bytes(imagecodecs.jpeg2k_encode(GRAY, codecformat="jp2", reversible=True))
    start, stop = arriving.codestream(file, media_type)
    assert file[start : start + 4] == b"\xff\x4f\xff\x51"
    assert file[stop - 2 : stop] == b"\xff\xd9"
    assert np.array_equal(imagecodecs.jpeg2k_decode(file[start:stop]), GRAY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\x4f\xff\x51",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0" * 8,
        b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x01jp2c\xff",
    ],
)
def test_what_has_no_codestream_in_boxes_is_taken_whole(data):
    assert arriving.codestream(data, "image/jp2") == (0, len(data))
