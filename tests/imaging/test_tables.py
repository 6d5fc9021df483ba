"""Lookup tables and palettes as data sets describe them, rightly and wrongly."""

import base64
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import _expand_segmented_lut

from dicomweb.errors import NotFound
from dicomweb.imaging.tables import Palette, Table, read_palette, read_table


def nothing(path: str) -> bytes:
    raise NotFound(path)


def numbers(*values: int) -> dict[str, Any]:
    return {"vr": "US", "Value": list(values)}


def inline(data: bytes) -> dict[str, Any]:
    return {"vr": "OW", "InlineBinary": base64.b64encode(data).decode()}


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def item(descriptor: tuple[int, int, int], data: dict[str, Any], explanation: str = "") -> dict[str, Any]:
    made = {"00283002": numbers(*descriptor), "00283006": data}
    if explanation:
        made["00283003"] = {"vr": "LO", "Value": [explanation]}
    return made


def test_a_table_may_be_numbers_inline_or_bulk():
    expected = Table(10, words(1, 2, 300), 4095, "soft")
    for data in (numbers(1, 2, 300), inline(words(1, 2, 300)), {"vr": "OW", "BulkDataURI": "bulkdata/00283010/0/x"}):
        found = read_table(item((3, 10, 12), data, "soft"), False, {"00283010/0/x": words(1, 2, 300)}.__getitem__)
        assert found == expected


def test_zero_entries_mean_65536():
    found = read_table(item((0, 0, 16), inline(bytes(range(256)) * 512)), False, nothing)
    assert found is not None
    assert found.size == 65536


def test_the_first_input_is_signed_where_inputs_may_be():
    assert read_table(item((2, 0xFC00, 8), numbers(1, 2)), True, nothing) == Table(-1024, words(1, 2), 255)
    assert read_table(item((2, 0xFC00, 8), numbers(1, 2)), False, nothing) == Table(0xFC00, words(1, 2), 255)
    negative = {"00283002": {"vr": "SS", "Value": [2, -1024, 8]}, "00283006": numbers(1, 2)}
    assert read_table(negative, True, nothing) == Table(-1024, words(1, 2), 255)


def test_eight_bits_may_be_packed_or_in_words():
    packed = read_table(item((4, 0, 8), inline(bytes((1, 2, 3, 4)))), False, nothing)
    spread = read_table(item((4, 0, 8), inline(words(1, 2, 3, 4))), False, nothing)
    odd = read_table(item((3, 0, 8), inline(bytes((1, 2, 3, 0)))), False, nothing)
    assert packed == spread == Table(0, words(1, 2, 3, 4), 255)
    assert odd == Table(0, words(1, 2, 3), 255)


def test_a_table_shorter_than_described_is_used_as_far_as_it_goes():
    assert read_table(item((100, 0, 16), inline(words(5, 6, 7))), False, nothing) == Table(0, words(5, 6, 7), 65535)
    assert read_table(item((100, 0, 16), inline(b"\x05")), False, nothing) == Table(0, words(5), 65535)


def test_more_bits_than_described_count():
    assert read_table(item((2, 0, 8), numbers(0, 1023)), False, nothing) == Table(0, words(0, 1023), 1023)
    assert read_table(item((2, 0, 99), numbers(0, 1023)), False, nothing) == Table(0, words(0, 1023), 1023)


@pytest.mark.parametrize(
    "broken",
    [{}, {"00283002": numbers(1, 2)}, {"00283002": numbers(2, 0, 8)}, item((2, 0, 8), {"vr": "OW"}),
     item((2, 0, 8), {"vr": "OW", "InlineBinary": "%%%"}), item((2, 0, 8), {"vr": "OW", "BulkDataURI": "bulkdata/1"}),
     {"00283002": {"vr": "US", "Value": [None, "x", 3]}, "00283006": numbers(1)}],
)  # fmt: skip
def test_what_has_no_entries_is_no_table(broken):
    assert read_table(broken, False, nothing) is None


# -- palettes -----------------------------------------------------------------------------------------------


def palette(descriptor: tuple[int, int, int], *colours: bytes, segmented: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for place, data in enumerate(colours, 1):
        made[f"0028110{place}"] = numbers(*descriptor)
        made[f"002812{2 if segmented else 0}{place}"] = inline(data)
    return made


def test_sixteen_bits_give_their_upper_half():
    found = read_palette(palette((2, 5, 16), words(0, 65535), words(256, 512), words(255, 32768)), False, nothing)
    assert found == Palette(5, bytes((0, 255)), bytes((1, 2)), bytes((0, 128)))


def test_eight_bits_called_sixteen_are_eight():
    found = read_palette(palette((2, 0, 16), words(0, 255), words(1, 2), words(3, 4)), False, nothing)
    assert found == Palette(0, bytes((0, 255)), bytes((1, 2)), bytes((3, 4)))


def test_eight_bits_packed_are_a_byte_each():
    found = read_palette(palette((3, 0, 8), b"\0\xff\x10\0", b"\1\2\3\0", b"\4\5\6\0"), False, nothing)
    assert found == Palette(0, b"\0\xff\x10", b"\1\2\3", b"\4\5\6")


def test_a_colour_that_ends_early_goes_on_with_its_last_entry():
    found = read_palette(palette((4, 0, 16), words(256, 512, 768, 1024), words(256, 512), words(256)), False, nothing)
    assert found == Palette(0, b"\1\2\3\4", b"\1\2\2\2", b"\1\1\1\1")


def test_a_missing_colour_is_no_palette():
    assert read_palette(palette((2, 0, 8), b"\0\1", b"\0\1"), False, nothing) is None


def test_segments_are_discrete_linear_or_repeated():
    # PS3.3 C.7.9.2: two entries, a line of four to 1000, then both once more (from byte 0)
    data = words(0, 2, 100, 200, 1, 4, 1000, 2, 2, 0, 0)
    found = read_palette(palette((12, 0, 16), data, data, data, segmented=True), False, nothing)
    expected = [100, 200, 400, 600, 800, 1000, 100, 200, 400, 600, 800, 1000]
    assert found is not None
    assert list(found.red) == [entry >> 8 for entry in expected]


SEGMENTS = st.lists(
    st.one_of(
        st.lists(st.integers(0, 65535), min_size=1, max_size=9).map(lambda each: [0, len(each), *each]),
        st.tuples(st.integers(1, 30), st.integers(0, 65535)).map(lambda pair: [1, *pair]),
    ),
    min_size=1,
    max_size=8,
)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=4), SEGMENTS)
def test_segments_are_what_pydicom_makes_of_them(head, segments):
    codes = [0, len(head), *head, *(code for segment in segments for code in segment)]
    expected = _expand_segmented_lut(tuple(codes), "<H")
    described = palette((len(expected), 0, 16), *[words(*codes)] * 3, segmented=True)
    found = read_palette(described, False, nothing)
    assert found is not None
    if max(expected) > 255:
        assert np.abs(np.array(list(found.red)) - np.array(expected) / 256).max() <= 1


@given(st.binary(min_size=1, max_size=60), st.sampled_from([8, 16]), st.integers(0, 65535))
def test_segments_that_make_no_sense_are_expanded_as_far_as_they_do(data, bits, count):
    found = read_palette(palette((count, 0, bits), data, data, data, segmented=True), False, nothing)
    assert found is None or 0 < len(found.red) == len(found.green) == len(found.blue) <= 65536


@pytest.mark.timeout(20)
def test_segments_that_lead_nowhere_take_no_time():
    nothing_much = words(0, 0, *([2, 65535, 0, 0] * 60_000))
    described = palette((65535, 0, 16), nothing_much, nothing_much, nothing_much, segmented=True)
    assert read_palette(described, False, nothing) is None
    empty = words(*([0, 0] * 2_000_000))
    assert read_palette(palette((65535, 0, 16), empty, empty, empty, segmented=True), False, nothing) is None


def test_pydicom_agrees_on_a_plain_palette():
    from pydicom.pixels import apply_color_lut

    ds = Dataset()
    for place, name in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 3, 16])
        setattr(
            ds, f"{name}PaletteColorLookupTableData", words(*((place * 7 + step) * 157 % 65536 for step in range(256)))
        )
    model = ds.to_json_dict()
    found = read_palette(model, False, nothing)
    assert found is not None
    pixels = np.arange(259, dtype="<u2").reshape(7, 37)
    expected = apply_color_lut(pixels, ds) >> 8
    places = np.clip(pixels.astype(int) - found.first, 0, len(found.red) - 1)
    for sample, colour in enumerate(found[1:]):
        assert (np.frombuffer(colour, "u1")[places] == expected[..., sample]).all()
