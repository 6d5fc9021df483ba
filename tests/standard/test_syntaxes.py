"""The table of transfer syntaxes."""

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from dicomweb.standard import syntaxes
from dicomweb.standard.syntaxes import SYNTAXES, syntax_of

PAPYRUS = "1.2.840.10008.1.20"
NO_DATA_SETS = {"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2"}  # MIME and XML encodings, long retired
KNOWN = sorted(
    uid
    for uid, row in UID_dictionary.items()
    if row[1] == "Transfer Syntax" and uid not in NO_DATA_SETS and uid != PAPYRUS
)


@pytest.mark.parametrize("uid", KNOWN)
def test_every_syntax_that_pydicom_lists_is_here_and_encoded_alike(uid):
    ours, theirs = SYNTAXES[uid], UID(uid)
    assert ours.implicit == theirs.is_implicit_VR
    assert ours.big_endian != theirs.is_little_endian
    assert ours.deflated == ("Deflate" in theirs.name and "Frame" not in theirs.name)
    if ours.kept and not ours.deflated:
        assert ours.encapsulated == theirs.is_compressed or uid == syntaxes.ENCAPSULATED_UNCOMPRESSED


def test_papyrus_is_implicit_as_its_name_says():
    assert syntax_of(PAPYRUS).implicit  # pydicom takes it for a compressed explicit one


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.1.2.4.102.1",
        "1.2.840.10008.1.2.4.110",
        "1.2.840.10008.1.2.4.111",
        "1.2.840.10008.1.2.4.112",
        "1.2.840.10008.1.2.8.1",
    ],
)
def test_newer_syntaxes_are_here_too(uid):
    assert syntax_of(uid).encapsulated
    assert syntax_of(uid).name


@pytest.mark.parametrize(
    ("uid", "media_type", "lossy"),
    [
        (syntaxes.EXPLICIT, "application/octet-stream", False),
        (syntaxes.ENCAPSULATED_UNCOMPRESSED, "application/octet-stream", False),
        (syntaxes.JPEG_BASELINE, "image/jpeg", True),
        (syntaxes.JPEG_EXTENDED, "image/jpeg", True),
        (syntaxes.JPEG_LOSSLESS_P14, "image/jpeg", False),
        (syntaxes.JPEG_LOSSLESS, "image/jpeg", False),
        (syntaxes.JPEG_LS, "image/jls", False),
        (syntaxes.JPEG_LS_LOSSY, "image/jls", True),
        (syntaxes.JPEG_2000_LOSSLESS, "image/jp2", False),
        (syntaxes.JPEG_2000, "image/jp2", None),
        (syntaxes.JPEG_2000_MULTI, "image/jpx", None),
        (syntaxes.JPEG_XL_LOSSLESS, "image/jxl", False),
        (syntaxes.HTJ2K_LOSSLESS, "image/jphc", False),
        (syntaxes.HTJ2K, "image/jphc", None),
        (syntaxes.RLE, "image/dicom-rle", False),
    ],
)
def test_frames_have_the_media_type_of_the_standard(uid, media_type, lossy):
    assert (SYNTAXES[uid].media_type, SYNTAXES[uid].lossy) == (media_type, lossy)


def test_videos_are_marked():
    assert {syntax.media_type for syntax in SYNTAXES.values() if syntax.video} == {
        "video/mpeg",
        "video/mp4",
        "video/H265",
    }
    assert all(syntax.media_type.startswith("video/") == syntax.video for syntax in SYNTAXES.values())


def test_syntaxes_whose_pixels_are_elsewhere_are_not_kept():
    gone = {uid for uid, syntax in SYNTAXES.items() if not syntax.kept}
    assert "1.2.840.10008.1.2.4.94" in gone
    assert "1.2.840.10008.1.2.4.205" in gone
    assert not gone & {syntaxes.EXPLICIT, syntaxes.RLE, syntaxes.JPEG_2000}


def test_an_unknown_syntax_is_explicit_little_endian_without_a_name():
    syntax = syntax_of("1.2.276.0.99")
    assert (syntax.uid, syntax.name, syntax.kept) == ("1.2.276.0.99", "", True)
    assert (syntax.implicit, syntax.big_endian, syntax.deflated) == (False, False, False)
    assert (syntax.encapsulated, syntax.lossy) == (False, None)
