"""Samples as bytes and bytes as samples."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import COLOUR, EVERY, described, name_of, picture

from dicomweb.errors import Undecodable
from dicomweb.imaging import native
from dicomweb.standard.pixels import Format


@st.composite
def formats(draw: st.DrawFn) -> Format:
    allocated = draw(st.sampled_from((1, 8, 16, 32, 64)))
    stored = draw(st.integers(1, allocated))
    high = draw(st.integers(stored - 1, allocated - 1))
    samples = draw(st.sampled_from((1, 1, 3, 4))) if allocated > 1 else 1
    halved = samples == 3 and draw(st.booleans())
    columns = draw(st.integers(1, 9)) * (2 if halved else 1)
    return Format(
        rows=draw(st.integers(1, 9)),
        columns=columns,
        samples=samples,
        photometric="YBR_FULL_422" if halved else "RGB" if samples == 3 else "MONOCHROME2",
        planar=0 if halved or samples == 1 else draw(st.integers(0, 1)),
        allocated=allocated,
        stored=stored,
        high=high,
        signed=allocated > 1 and draw(st.booleans()),
    )


@given(formats(), st.randoms(use_true_random=False))
def test_what_is_written_is_read_back(format: Format, random: "np.random.Generator") -> None:
    data = random.randbytes(native.size_of(format))  # type: ignore[attr-defined]
    array = native.read(data, format)
    assert array.shape[:2] == (format.rows, format.columns)
    if format.allocated > 1:
        low = -(1 << (format.stored - 1)) if format.signed else 0
        assert low <= int(array.min())
        assert int(array.max()) < low + (1 << format.stored)
    again = native.write(array, format)
    assert len(again) == len(data)
    assert np.array_equal(native.read(again, format), array)
    if format.stored == format.allocated and format.allocated > 1:
        assert again == data


@pytest.mark.parametrize("format", EVERY, ids=name_of)
def test_pictures_survive_being_bytes(format: Format) -> None:
    array = picture(format)
    assert np.array_equal(native.read(native.write(array, format), format), array)


def test_bits_are_packed_from_the_lowest_on() -> None:
    format = described(1, rows=2, columns=5)
    assert native.read(b"\x21\x02", format).tolist() == [[1, 0, 0, 0, 0], [1, 0, 0, 0, 1]]
    assert native.write(np.array([[1, 0, 0, 0, 0], [1, 0, 0, 0, 1]]), format) == b"\x21\x02"


def test_unused_bits_are_no_part_of_a_number() -> None:
    cells = np.array([[0xF001, 0x0FFF, 0x1800]], "<u2").tobytes()
    unsigned = Format(1, 3, allocated=16, stored=12, high=11)
    assert native.read(cells, unsigned).tolist() == [[1, 0xFFF, 0x800]]
    assert native.read(cells, replace(unsigned, signed=True)).tolist() == [[1, -1, -2048]]


def test_bits_may_lie_high_in_a_cell() -> None:
    cells = np.array([[0x0010, 0xFFFF]], "<u2").tobytes()
    format = Format(1, 2, allocated=16, stored=12, high=15)
    assert native.read(cells, format).tolist() == [[1, 0xFFF]]
    assert native.read(cells, replace(format, signed=True)).tolist() == [[1, -1]]
    assert native.write(np.array([[1, 0xFFF]], "<u2"), format) == np.array([0x0010, 0xFFF0], "<u2").tobytes()


def test_a_high_bit_outside_of_its_cell_is_not_believed() -> None:
    format = Format(1, 1, allocated=8, stored=8, high=99)
    assert native.read(b"\xff", format).tolist() == [[255]]
    assert native.write(np.array([[255]], "u1"), format) == b"\xff"


def test_planes_and_pixels_are_two_orders_of_the_same() -> None:
    by_pixel = described(8, photometric="RGB", rows=2, columns=2)
    data = bytes(range(12))
    pixels = native.read(data, by_pixel)
    assert pixels[0, 1].tolist() == [3, 4, 5]
    by_plane = native.read(data, replace(by_pixel, planar=1))
    assert by_plane[0, 1].tolist() == [1, 5, 9]
    assert native.write(pixels, replace(by_pixel, planar=1)) == bytes((0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11))


def test_halved_chrominance_is_two_pixels_in_four_samples() -> None:
    format = described(8, photometric="YBR_FULL_422", rows=1, columns=4)
    array = native.read(bytes((10, 20, 128, 129, 30, 40, 130, 131)), format)
    assert array.tolist() == [[[10, 128, 129], [20, 128, 129], [30, 130, 131], [40, 130, 131]]]
    assert native.numbers(format).photometric == "YBR_FULL"


@pytest.mark.parametrize(
    "format",
    [
        described(16),
        described(1),
        described(8, photometric="RGB", planar=1),
        described(8, photometric="YBR_FULL_422"),
        Format(60000, 60000, allocated=8, stored=8, high=7),
        Format(4_000_000_000, 4_000_000_000, allocated=64, stored=64, high=63),
    ],
    ids=name_of,
)
def test_bytes_that_are_missing_are_nothing_of_what_lies_behind(format: Format) -> None:
    whole = native.write(picture(described(8)), described(8))
    with pytest.raises(Undecodable, match="are described"):
        native.read(whole[: min(native.size_of(format), 700) - 1], format)


@pytest.mark.parametrize(
    "format",
    [
        Format(0, 5),
        Format(5, 0),
        Format(5, 5, samples=0),
        Format(5, 5, allocated=12, stored=12, high=11),
        Format(5, 5, allocated=24, stored=24, high=23),
        Format(5, 5, 3, "YBR_FULL_422", allocated=8, stored=8, high=7),
    ],
)
def test_descriptions_that_mean_nothing_are_refused(format: Format) -> None:
    with pytest.raises(Undecodable):
        native.read(bytes(10_000), format)


@pytest.mark.parametrize("format", COLOUR, ids=name_of)
def test_reading_makes_no_copy_that_it_does_not_need(format: Format) -> None:
    data = native.write(picture(format), format)
    assert np.shares_memory(native.cells(data, format), np.frombuffer(data, "u1"))
