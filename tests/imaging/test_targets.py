"""What frames can be made into, known without a codec."""

import subprocess
import sys
from dataclasses import replace

import pytest
from pictures import described

from dicomweb.imaging import targets
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import (
    BIG_ENDIAN,
    DEFLATED,
    DEFLATED_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    IMPLICIT,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_P14,
    JPEG_LS,
    JPEG_LS_LOSSY,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    JPEG_XL_RECOMPRESSION,
    RLE,
    SYNTAXES,
)

KEPT = {ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAME}
LOSSLESS = KEPT | {
    RLE, JPEG_LOSSLESS, JPEG_LOSSLESS_P14, JPEG_LS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL,
}  # fmt: skip
LOSSY = {JPEG_2000, HTJ2K}
XL = {JPEG_XL_LOSSLESS, JPEG_XL}

CASES = [
    (described(8), LOSSLESS | LOSSY | XL | {JPEG_BASELINE, JPEG_LS_LOSSY}),
    (described(12), LOSSLESS | LOSSY | XL | {JPEG_EXTENDED, JPEG_LS_LOSSY}),
    (described(16), LOSSLESS | LOSSY | XL | {JPEG_LS_LOSSY}),
    (described(16, signed=True), LOSSLESS | LOSSY),
    (described(8, signed=True), LOSSLESS | LOSSY),
    (described(8, photometric="RGB"), LOSSLESS | LOSSY | XL | {JPEG_BASELINE, JPEG_LS_LOSSY}),
    (described(8, photometric="YBR_FULL"), LOSSLESS | LOSSY | {JPEG_XL, JPEG_BASELINE, JPEG_LS_LOSSY}),
    (described(8, photometric="YBR_FULL_422"), LOSSLESS | LOSSY | {JPEG_XL, JPEG_BASELINE, JPEG_LS_LOSSY}),
    (described(16, photometric="RGB"), LOSSLESS | LOSSY | XL | {JPEG_LS_LOSSY}),
    (described(8, photometric="PALETTE COLOR"), LOSSLESS),
    (described(16, photometric="PALETTE COLOR"), LOSSLESS),
    (described(1), KEPT | {JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL}),
    (described(24), KEPT | {RLE, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL}),
    (described(32), KEPT | {RLE, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL}),
    (described(64), KEPT | {RLE}),
    (Format(4, 4, 4, "CMYK", 0, 8, 8, 7), KEPT | {RLE}),
    (Format(4, 4, allocated=32, stored=32, high=31, kind="float"), set()),
    (Format(4, 70_000, allocated=8, stored=8, high=7), KEPT | {RLE}),
]


@pytest.mark.parametrize(("format", "reached"), CASES)
def test_each_kind_of_pixels_has_its_targets(format: Format, reached: set[str]) -> None:
    for native in (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED):
        assert targets.targets(native, format) == reached


def test_compressed_frames_can_be_decoded_and_made_into_each_other() -> None:
    format = described(12)
    for stored in (*LOSSLESS, *LOSSY, *XL, JPEG_EXTENDED):
        reached = targets.targets(stored, format)
        assert EXPLICIT in reached
        assert stored not in reached
        assert reached | {stored} == {EXPLICIT, JPEG_EXTENDED, JPEG_LS_LOSSY, *LOSSLESS, *LOSSY, *XL}


def test_only_a_stored_jpeg_is_recompressed() -> None:
    format = described(8)
    assert JPEG_XL_RECOMPRESSION in targets.targets(JPEG_BASELINE, format)
    assert JPEG_BASELINE in targets.targets(JPEG_XL_RECOMPRESSION, format)
    assert all(JPEG_XL_RECOMPRESSION not in targets.targets(stored, format) for stored in LOSSLESS | {EXPLICIT})


@pytest.mark.parametrize(
    ("stored", "format"),
    [
        (JPEG_LOSSLESS, replace(described(8), rows=0)),
        (EXPLICIT, replace(described(8), columns=0)),
        (EXPLICIT, replace(described(8), samples=255)),
        (EXPLICIT, replace(described(8), stored=12)),
        (EXPLICIT, replace(described(8), allocated=24)),
        (JPEG_2000, Format(4, 4, allocated=32, stored=32, high=31, kind="float")),
        (JPEG_BASELINE, described(1)),
        ("1.2.840.10008.1.2.4.66", described(8)),
        ("1.2.840.10008.1.2.4.102", described(8)),
        ("1.2.840.10008.1.2.4.94", described(8)),
        ("1.2.3.4", described(8)),
    ],
)
def test_what_nobody_can_decode_has_no_targets(stored: str, format: Format) -> None:
    assert not targets.decodable(stored, format)
    assert targets.targets(stored, format) == frozenset()


@pytest.mark.parametrize(
    ("stored", "wanted", "before", "after"),
    [
        (JPEG_BASELINE, EXPLICIT, "YBR_FULL_422", "RGB"),
        (JPEG_BASELINE, EXPLICIT, "YBR_FULL", "RGB"),
        (JPEG_BASELINE, EXPLICIT, "RGB", "RGB"),
        (JPEG_2000_LOSSLESS, EXPLICIT, "YBR_RCT", "RGB"),
        (JPEG_2000, EXPLICIT, "YBR_ICT", "RGB"),
        (JPEG_2000, EXPLICIT, "YBR_FULL", "YBR_FULL"),
        (JPEG_XL, EXPLICIT, "XYB", "RGB"),
        (JPEG_XL_RECOMPRESSION, EXPLICIT, "YBR_FULL_422", "RGB"),
        (JPEG_LOSSLESS, EXPLICIT, "YBR_FULL", "YBR_FULL"),
        (JPEG_LS, EXPLICIT, "YBR_FULL", "YBR_FULL"),
        (RLE, EXPLICIT, "YBR_FULL", "YBR_FULL"),
        (RLE, EXPLICIT, "YBR_FULL_422", "YBR_FULL"),
        (EXPLICIT, RLE, "YBR_FULL_422", "YBR_FULL"),
        (EXPLICIT, DEFLATED_FRAME, "YBR_FULL_422", "YBR_FULL_422"),
        (EXPLICIT, JPEG_LS, "YBR_FULL_422", "YBR_FULL"),
        (EXPLICIT, JPEG_BASELINE, "RGB", "YBR_FULL_422"),
        (EXPLICIT, JPEG_BASELINE, "YBR_FULL", "YBR_FULL_422"),
        (EXPLICIT, JPEG_2000_LOSSLESS, "RGB", "YBR_RCT"),
        (EXPLICIT, HTJ2K_LOSSLESS_RPCL, "RGB", "YBR_RCT"),
        (EXPLICIT, JPEG_2000, "RGB", "YBR_ICT"),
        (EXPLICIT, HTJ2K, "RGB", "YBR_ICT"),
        (EXPLICIT, JPEG_2000_LOSSLESS, "YBR_FULL", "YBR_FULL"),
        (EXPLICIT, JPEG_XL_LOSSLESS, "RGB", "RGB"),
        (EXPLICIT, JPEG_XL, "YBR_FULL", "XYB"),
        (JPEG_BASELINE, JPEG_2000_LOSSLESS, "YBR_FULL_422", "YBR_RCT"),
        (JPEG_2000_LOSSLESS, JPEG_LS, "YBR_RCT", "RGB"),
    ],
)
def test_colours_are_described_as_the_bytes_hold_them(stored: str, wanted: str, before: str, after: str) -> None:
    format = described(8, photometric=before)
    assert wanted in targets.targets(stored, format)
    assert targets.described(format, stored, wanted).photometric == after


def test_planes_stay_planes_in_native_form_alone() -> None:
    format = described(8, photometric="RGB", planar=1)
    assert targets.described(format, RLE, EXPLICIT).planar == 1
    assert targets.described(format, EXPLICIT, RLE).planar == 1
    assert targets.described(format, JPEG_LS, EXPLICIT).planar == 1
    assert targets.described(format, EXPLICIT, JPEG_LS).planar == 0
    assert targets.described(replace(format, photometric="YBR_RCT"), JPEG_2000, EXPLICIT).planar == 0


def test_eight_bits_in_sixteen_become_eight_in_a_baseline_jpeg() -> None:
    format = described(8, allocated=16)
    after = targets.described(format, EXPLICIT, JPEG_BASELINE)
    assert (after.allocated, after.stored, after.high) == (8, 8, 7)


def test_what_loses_something_is_said() -> None:
    format = described(8)
    losing = {wanted for wanted in targets.targets(EXPLICIT, format) if targets.loses(EXPLICIT, format, wanted)}
    assert losing == {JPEG_BASELINE, JPEG_LS_LOSSY, JPEG_2000, HTJ2K, JPEG_XL}
    assert not targets.loses(JPEG_BASELINE, format, JPEG_XL_RECOMPRESSION)
    assert not targets.loses(JPEG_XL_RECOMPRESSION, format, JPEG_BASELINE)
    assert not targets.loses(JPEG_BASELINE, format, JPEG_BASELINE)
    assert not targets.loses(JPEG_BASELINE, format, EXPLICIT)
    assert targets.loses(JPEG_2000, format, HTJ2K)


def test_every_syntax_with_still_pictures_is_decoded_or_known_not_to_be() -> None:
    still = {uid for uid, syntax in SYNTAXES.items() if syntax.kept and not syntax.video}
    assert still - targets.DECODED == {f"1.2.840.10008.1.2.4.{number}" for number in (58, *range(59, 67))}
    assert still >= targets.DECODED


def test_no_codec_is_loaded_for_it() -> None:
    code = "import sys, dicomweb.imaging.targets; sys.exit('imagecodecs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("allocated", "stored", "made"), [(16, 8, 8), (16, 12, 16), (32, 12, 16), (32, 24, 32)])
@pytest.mark.parametrize("syntax", [JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS])
def test_cells_are_as_large_as_the_precision_of_a_codestream_needs(syntax, allocated, stored, made):
    """Or else DCMTK and GDCM refuse what they read."""
    format = Format(4, 4, allocated=allocated, stored=stored, high=stored - 1)
    assert targets.described(format, EXPLICIT, syntax) == replace(format, allocated=made)
    assert targets.described(format, EXPLICIT, RLE) == format
