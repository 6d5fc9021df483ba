"""Frames decoded small are the pictures that they are decoded whole."""

from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from pictured import opened, stored
from realdata import real

from dicomweb.errors import Undecodable
from dicomweb.imaging.decode import decode
from dicomweb.imaging.looks import Look
from dicomweb.imaging.reduced import decode_reduced
from dicomweb.imaging.render import render
from dicomweb.imaging.thumbnails import thumbnail
from dicomweb.standard.pixels import Format
from dicomweb.standard.rendering import Rendering, Viewport

J2K, HTJ2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"


def smooth(kind: str, bits: int) -> np.ndarray:
    rows, columns = np.mgrid[:600, :1100]
    share = 0.5 + 0.45 * np.sin(rows / 90) * np.cos(columns / 110)
    least = -(1 << (bits - 1)) if "i" in kind else 0
    return (least + share * ((1 << bits) - 1)).astype(kind)


def encoded(array: np.ndarray, bits: int, syntax: str) -> bytes:
    if syntax == HTJ2K:
        return bytes(imagecodecs.htj2k_encode(array, reversible=True))
    return bytes(imagecodecs.jpeg2k_encode(array, codecformat="j2k", reversible=True, bitspersample=bits))


def format_of(array: np.ndarray, bits: int) -> Format:
    width = array.dtype.itemsize * 8
    signed = array.dtype.kind == "i"
    return Format(600, 1100, 1, "MONOCHROME2", 0, width, bits, bits - 1, signed)


@pytest.mark.parametrize(
    ("kind", "bits", "syntax"),
    [("u1", 8, J2K), ("<u2", 16, J2K), ("<u2", 12, J2K), ("<i2", 16, J2K), ("<u2", 16, HTJ2K), ("<i2", 16, HTJ2K)],
)
def test_a_small_frame_is_the_whole_one_smaller(kind, bits, syntax):
    array = smooth(kind, bits)
    data, format = encoded(array, bits, syntax), format_of(array, bits)
    assert (decode(data, syntax, format)[0] == array).all()
    found = decode_reduced(data, syntax, format, 150)
    assert found is not None
    small, described = found
    assert small.shape == (described.rows, described.columns) == (150, 275)
    assert (described.stored, described.signed) == (bits, format.signed)
    assert np.abs(small.astype(int) - array[::4, ::4]).max() <= (1 << bits) * 0.02


def test_small_colours_are_the_whole_ones_smaller():
    array = np.stack([smooth("u1", 8), smooth("u1", 8)[::-1], smooth("u1", 8)[:, ::-1]], axis=-1)
    data = bytes(imagecodecs.jpeg2k_encode(array, codecformat="j2k", reversible=True))
    found = decode_reduced(data, J2K, Format(600, 1100, 3, "YBR_RCT", 0, 8, 8, 7), 150)
    assert found is not None
    assert found[1].photometric == "RGB"
    assert np.abs(found[0].astype(int) - array[::4, ::4]).max() <= 6


def test_frames_that_are_small_or_otherwise_encoded_are_decoded_whole():
    array = smooth("<u2", 16)
    data, format = encoded(array, 16, J2K), format_of(array, 16)
    assert decode_reduced(data, J2K, format, 400) is None
    assert decode_reduced(array.tobytes(), "1.2.840.10008.1.2.1", format, 10) is None


def test_what_contradicts_its_description_is_undecodable_here_too():
    array = smooth("<u2", 16)
    data, format = encoded(array, 16, J2K), format_of(array, 16)
    with pytest.raises(Undecodable):
        decode_reduced(data, J2K, replace(format, rows=599), 100)
    with pytest.raises(Undecodable):
        decode_reduced(data[: len(data) // 2], J2K, format, 100)
    with pytest.raises(Undecodable):
        decode_reduced(data, J2K, format, 100, 1000)


def test_two_s_complement_in_unsigned_samples_is_decoded_whole():
    array = smooth("<u2", 16)
    assert decode_reduced(encoded(array, 16, J2K), J2K, replace(format_of(array, 16), signed=True), 100) is None


@pytest.mark.parametrize(
    "name",
    [
        "pylibjpeg-data/ds__JPEG2000Lossless__966_fixed.dcm",
        "orthanc-tests/Knee__T1__IM-0001-0001.dcm",
        "built/ct1-htj2k-rpcl.dcm",
        "dicom-test-files/pydicom__US1_J2KI.dcm",
        "dicom-test-files/pydicom__RG1_J2KI.dcm",
        "pydicom/pydicom__J2K_pixelrep_mismatch.dcm",
    ],
)
def test_thumbnails_of_real_frames_are_those_of_the_whole_frame(name):
    made = stored(real(name))
    small = opened(thumbnail(made.frame(), made.object.syntax.uid, made.format, made.look(), (96, 96)))
    whole = opened(
        render(
            made.frame(), made.object.syntax.uid, made.format, replace(made.look(), overlays=()),
            Rendering("image/jpeg", quality=75, viewport=Viewport(96, 96)),
        )
    )  # fmt: skip
    assert small.shape == whole.shape
    assert np.abs(small.astype(int) - whole).mean() < 12


def test_a_thumbnail_is_whole():
    array = smooth("<u2", 12)
    data = encoded(array, 12, J2K)
    got = opened(thumbnail(data, J2K, format_of(array, 12), Look())).astype(int)
    assert got.shape == (140, 256)
    expected = np.interp(np.linspace(0, 1099, 256), np.arange(1100), array[300].astype(float))
    assert np.corrcoef(got[70], expected)[0, 1] > 0.99
