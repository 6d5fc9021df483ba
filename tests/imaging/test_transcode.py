"""Frames from every transfer syntax into every other."""

import struct

import numpy as np
import openjpeg
import pytest
from pictures import EVERY, described, name_of, picture

from dicomweb.errors import Undecodable
from dicomweb.imaging import native, targets
from dicomweb.imaging.colours import to_rgb
from dicomweb.imaging.decode import decode
from dicomweb.imaging.transcode import transcode
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import (
    DEFLATED_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LS_LOSSY,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    JPEG_XL_RECOMPRESSION,
    RLE,
    syntax_of,
)

PAIRS = [
    pytest.param(format, wanted, id=f"{name_of(format)}-{wanted.removeprefix('1.2.840.10008.1.2.')}")
    for format in EVERY
    for wanted in sorted(targets.targets(EXPLICIT, format))
]
PRECISE = [
    *(described(bits, signed=signed) for bits in (7, 8, 12, 16) for signed in (False, True)),
    described(1),
    described(8, photometric="RGB"),
    described(12, photometric="RGB"),
    described(8, photometric="YBR_FULL"),
]


@pytest.mark.parametrize(("format", "wanted"), PAIRS)
def test_what_was_native_comes_back(format: Format, wanted: str) -> None:
    array = picture(format)
    data = native.write(array, format)
    frame = transcode(data, EXPLICIT, format, wanted)
    there = targets.described(format, EXPLICIT, wanted)
    back, after = decode(frame, wanted, there)
    assert after == native.numbers(targets.described(there, wanted, EXPLICIT))
    assert back.dtype == native.dtype_of(after)
    if not targets.loses(EXPLICIT, format, wanted):
        assert np.array_equal(back, array)
        return
    assert back.shape == array.shape
    before = to_rgb(array, native.numbers(format)) if after.photometric == "RGB" else array
    apart = np.abs(back.astype(float) - before.astype(float))
    assert apart.mean() < max(2 ** (after.stored - 5), 1.5)
    assert apart.max() < 2 ** (after.stored - 1)


@pytest.mark.parametrize(("format", "wanted"), PAIRS)
def test_native_bytes_of_what_was_made_are_as_described(format: Format, wanted: str) -> None:
    data = native.write(picture(format), format)
    frame = transcode(data, EXPLICIT, format, wanted)
    there = targets.described(format, EXPLICIT, wanted)
    again = transcode(frame, wanted, there, EXPLICIT)
    assert len(again) == native.size_of(targets.described(there, wanted, EXPLICIT))
    if syntax_of(wanted).lossy is False and targets.described(there, wanted, EXPLICIT) == format:
        assert again == data


@pytest.mark.parametrize(
    "format", [described(8), described(12), described(16), described(8, photometric="RGB")], ids=name_of
)
@pytest.mark.parametrize("wanted", sorted(targets.LOSSY_TARGETS))
def test_white_beside_black_does_not_wrap_around_in_a_lossy_frame(format: Format, wanted: str) -> None:
    if wanted not in targets.targets(EXPLICIT, format):
        pytest.skip("no such frames")
    shape = (format.rows, format.columns) + ((3,) if format.samples == 3 else ())
    extremes = np.random.default_rng(0).integers(0, 2, shape[:2]) * ((1 << format.stored) - 1)
    array = np.broadcast_to(extremes[..., None] if format.samples == 3 else extremes, shape)
    data = native.write(array.astype(native.dtype_of(format)), format)
    there = targets.described(format, EXPLICIT, wanted)
    back, after = decode(transcode(data, EXPLICIT, format, wanted, quality=60), wanted, there)
    assert np.abs(back.astype(float) - array).max() < 1 << (after.stored - 1)


def test_jpeg_goes_into_jpeg_xl_and_comes_back_bit_for_bit() -> None:
    for photometric in ("MONOCHROME2", "RGB"):
        format = described(8, photometric=photometric, rows=200, columns=201)
        jpeg = transcode(native.write(picture(format), format), EXPLICIT, format, JPEG_BASELINE)
        there = targets.described(format, EXPLICIT, JPEG_BASELINE)
        assert not targets.loses(JPEG_BASELINE, there, JPEG_XL_RECOMPRESSION)
        packed = transcode(jpeg, JPEG_BASELINE, there, JPEG_XL_RECOMPRESSION)
        assert len(packed) < len(jpeg)
        assert targets.described(there, JPEG_BASELINE, JPEG_XL_RECOMPRESSION) == there
        assert not targets.loses(JPEG_XL_RECOMPRESSION, there, JPEG_BASELINE)
        assert transcode(packed, JPEG_XL_RECOMPRESSION, there, JPEG_BASELINE) == jpeg
        one, two = decode(jpeg, JPEG_BASELINE, there), decode(packed, JPEG_XL_RECOMPRESSION, there)
        assert one[1] == two[1]
        apart = np.abs(one[0].astype(int) - two[0].astype(int))
        assert apart.mean() < 1


def test_jpeg_xl_that_holds_no_jpeg_is_not_made_one() -> None:
    format = described(8)
    packed = transcode(native.write(picture(format), format), EXPLICIT, format, JPEG_XL_LOSSLESS)
    with pytest.raises(Undecodable, match="holds no JPEG"):
        transcode(packed, JPEG_XL_RECOMPRESSION, format, JPEG_BASELINE)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (8, 8), (65, 64), (512, 500), (130, 3000)])
def test_rpcl_frames_keep_what_their_transfer_syntax_promises(rows: int, columns: int) -> None:
    format = described(12, rows=rows, columns=columns)
    frame = transcode(native.write(picture(format), format), EXPLICIT, format, HTJ2K_LOSSLESS_RPCL)
    segments, place = {}, 2
    while frame[place : place + 2] != b"\xff\x90":
        marker, size = struct.unpack_from(">HH", frame, place)
        segments[marker] = frame[place + 4 : place + 2 + size]
        place += 2 + size
    rpcl, levels, transform = segments[0xFF52][1], segments[0xFF52][5], segments[0xFF52][9]
    assert (rpcl, transform) == (2, 1)
    assert -(-min(rows, columns) // (1 << levels)) <= 64
    assert segments[0xFF51][-3] == 11
    lengths = segments[0xFF55][2:]
    assert len(lengths) == 6 * (levels + 1)
    end = place + sum(struct.unpack_from(">I", lengths, 6 * part + 2)[0] for part in range(levels + 1))
    assert frame[end:] == b"\xff\xd9"


@pytest.mark.parametrize("wanted", [HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL])
@pytest.mark.parametrize("format", PRECISE, ids=name_of)
def test_another_decoder_reads_our_high_throughput_frames(format: Format, wanted: str) -> None:
    array = picture(format)
    frame = transcode(native.write(array, format), EXPLICIT, format, wanted)
    assert np.array_equal(openjpeg.decode(frame), array)
    told = openjpeg.get_parameters(frame)
    assert (told["precision"], told["is_signed"]) == (format.stored, format.signed)


@pytest.mark.parametrize("format", [one for one in PRECISE if one.stored > 1], ids=name_of)
def test_another_decoder_reads_our_lossy_high_throughput_frames(format: Format) -> None:
    array = picture(format)
    frame = transcode(native.write(array, format), EXPLICIT, format, HTJ2K)
    told = openjpeg.get_parameters(frame)
    assert (told["precision"], told["is_signed"]) == (format.stored, format.signed)
    back = openjpeg.decode(frame)
    assert back.dtype == array.dtype
    apart = np.abs(back.astype(float) - array.astype(float))
    assert apart.mean() < max(2 ** (format.stored - 7), 1.5)


def test_a_frame_in_a_narrower_syntax_is_taken_as_it_is() -> None:
    format = described(12)
    frame = transcode(native.write(picture(format), format), EXPLICIT, format, HTJ2K_LOSSLESS_RPCL)
    assert transcode(frame, HTJ2K_LOSSLESS_RPCL, format, HTJ2K_LOSSLESS) is frame
    assert targets.described(format, HTJ2K_LOSSLESS_RPCL, HTJ2K_LOSSLESS) == format


def test_unused_bits_stay_where_bytes_are_kept() -> None:
    format = Format(4, 6, allocated=16, stored=12, high=11, signed=True)
    data = np.arange(24, dtype="<u2").tobytes()[::-1]
    for wanted in (ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAME, RLE):
        frame = transcode(data, EXPLICIT, format, wanted)
        assert targets.described(format, EXPLICIT, wanted) == format
        assert transcode(frame, wanted, format, EXPLICIT) == data


def test_quality_is_heard() -> None:
    format = described(8, rows=128, columns=128)
    data = native.write(picture(format), format)
    for wanted in sorted(targets.LOSSY_TARGETS & targets.targets(EXPLICIT, format)):
        sizes = [len(transcode(data, EXPLICIT, format, wanted, quality)) for quality in (30, 75, 95)]
        assert sizes[0] < sizes[1] < sizes[2]
        there = targets.described(format, EXPLICIT, wanted)
        assert targets.loses(EXPLICIT, format, wanted)
        assert decode(transcode(data, EXPLICIT, format, wanted, 1000), wanted, there)[0].shape == (128, 128)


def test_what_cannot_be_made_is_refused() -> None:
    format = described(16)
    data = native.write(picture(format), format)
    with pytest.raises(Undecodable, match="are not made into JPEG Baseline"):
        transcode(data, EXPLICIT, format, JPEG_BASELINE)
    with pytest.raises(Undecodable, match="MPEG-4"):
        transcode(data, "1.2.840.10008.1.2.4.102", format, EXPLICIT)


@pytest.mark.parametrize("wanted", [JPEG_2000, HTJ2K, JPEG_LS_LOSSY, JPEG_XL])
def test_a_lossy_frame_keeps_small_numbers_in_wide_cells(wanted: str) -> None:
    narrow, wide = described(12, rows=128, columns=128), described(16, rows=128, columns=128)
    array = picture(narrow)
    lost = []
    for format in (narrow, wide):
        frame = transcode(native.write(array, format), EXPLICIT, format, wanted)
        back, _ = decode(frame, wanted, targets.described(format, EXPLICIT, wanted))
        lost.append(np.sqrt(np.mean((back.astype(float) - array) ** 2)))
    assert lost[1] < 3 * lost[0] + 1
    assert lost[1] < 60
