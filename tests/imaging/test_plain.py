"""Frames that hold samples byte for byte."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import described
from pydicom.pixels.decoders.rle import _rle_decode_frame
from rle.rle import decode_frame

from dicomweb.errors import Undecodable
from dicomweb.imaging import native, plain
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import DEFLATED_FRAME, ENCAPSULATED_UNCOMPRESSED, EXPLICIT, RLE


@st.composite
def frames(draw: st.DrawFn) -> tuple[Format, bytes]:
    samples = draw(st.sampled_from((1, 3)))
    allocated = draw(st.sampled_from((8, 16, 32)))
    format = Format(
        draw(st.integers(1, 6)), draw(st.integers(1, 300)), samples, "RGB" if samples == 3 else "MONOCHROME2",
        draw(st.integers(0, 1)) if samples == 3 else 0, allocated, allocated, allocated - 1,
    )  # fmt: skip
    size = native.size_of(format)
    pieces = draw(
        st.lists(st.one_of(st.binary(max_size=9), st.integers(0, 255).map(lambda octet: bytes([octet]) * 150)))
    )
    return format, (b"".join(pieces) + bytes(size))[:size]


@given(frames(), st.sampled_from([RLE, DEFLATED_FRAME, ENCAPSULATED_UNCOMPRESSED, EXPLICIT]))
def test_bytes_come_back(frame: tuple[Format, bytes], syntax: str) -> None:
    format, data = frame
    wrapped = plain.wrap(data, syntax, format)
    assert plain.unwrap(wrapped, syntax, format) == data
    assert plain.unwrap(wrapped + bytes(len(wrapped) % 2), syntax, format) == data


@given(frames())
def test_other_decoders_read_our_runs(frame: tuple[Format, bytes]) -> None:
    format, data = frame
    runs = plain.wrap(data, RLE, format)
    planes = native.write(native.cells(data, format), described_planar(format))
    shape = (format.rows, format.columns, format.samples, format.allocated)
    assert bytes(_rle_decode_frame(runs, *shape)) == planes
    assert bytes(decode_frame(runs, format.rows * format.columns, format.allocated, "<")) == planes
    count, *starts = struct.unpack_from("<16I", runs)
    assert count == format.samples * format.allocated // 8
    assert all(start % 2 == 0 for start in starts)
    assert len(runs) % 2 == 0


def described_planar(format: Format) -> Format:
    return Format(
        format.rows, format.columns, format.samples, format.photometric, int(format.samples > 1),
        format.allocated, format.stored, format.high,
    )  # fmt: skip


def test_no_run_crosses_the_end_of_a_row() -> None:
    format = Format(3, 10, allocated=8, stored=8, high=7)
    assert plain.wrap(bytes(30), RLE, format)[64:] == b"\xf7\x00" * 3


FORMAT = described(16, photometric="RGB", rows=40, columns=50)
RUNS = plain.wrap(np.arange(6000, dtype="<u2").tobytes(), RLE, FORMAT)


@given(st.binary(max_size=200), st.integers(0, len(RUNS)), st.booleans())
def test_damaged_runs_are_refused_or_a_picture_of_the_described_size(extra: bytes, cut: int, head: bool) -> None:
    data = RUNS[:cut] + extra if head else extra + RUNS[cut:]
    try:
        frame = plain.unwrap(data, RLE, FORMAT)
    except Undecodable:
        return
    assert len(frame) == native.size_of(FORMAT)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "ends in its header"),
        (RUNS[:63], "ends in its header"),
        (RUNS[:-400], "is damaged"),
        (struct.pack("<16I", 5, *range(64, 79)) + bytes(100), "5 segments, and 6 are described"),
        (struct.pack("<16I", 0xFFFFFFFF, *range(64, 79)) + bytes(100), "segments"),
        (struct.pack("<16I", 6, 64, 60, 62, 64, 66, 68, *[0] * 9) + bytes(9000), "in no order"),
        (struct.pack("<16I", 6, 0, 2, 4, 6, 8, 10, *[0] * 9) + bytes(9000), "in no order"),
        (struct.pack("<16I", 6, 64, 66, 68, 70, 72, 74, *[0] * 9) + bytes(12), "too short"),
    ],
)
def test_each_way_that_runs_are_damaged_is_named(data: bytes, why: str) -> None:
    with pytest.raises(Undecodable, match=why):
        plain.unwrap(data, RLE, FORMAT)


def test_padding_and_a_run_beyond_the_end_of_a_segment_are_no_harm() -> None:
    format = Format(1, 3, allocated=8, stored=8, high=7)
    head = struct.pack("<16I", 1, 64, *[0] * 14)
    for segment in (b"\xfe\x07", b"\xfe\x07\0", b"\x02\x07\x07\x07\0", b"\x80\xfe\x07\0", b"\xf0\x07"):
        assert plain.unwrap(head + segment, RLE, format) == b"\x07\x07\x07"


@pytest.mark.parametrize(("syntax", "data"), [
    (RLE, struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00"),
    (DEFLATED_FRAME, zlib.compress(bytes(1000), wbits=-15)),
    (EXPLICIT, bytes(10)),
])  # fmt: skip
def test_little_data_makes_no_giant_picture(syntax: str, data: bytes) -> None:
    format = Format(4_000_000_000, 4_000_000_000, allocated=8, stored=8, high=7)
    with pytest.raises(Undecodable):
        plain.unwrap(data, syntax, format)


def test_a_deflated_frame_is_inflated_as_far_as_described() -> None:
    bomb = zlib.compress(bytes(50_000_000), wbits=-15)
    format = Format(10, 10, allocated=8, stored=8, high=7)
    assert plain.unwrap(bomb, DEFLATED_FRAME, format) == bytes(100)
    with pytest.raises(Undecodable, match="damaged"):
        plain.unwrap(b"\xff" * 100, DEFLATED_FRAME, format)
