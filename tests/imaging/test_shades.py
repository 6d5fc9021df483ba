"""Stored values to shades: the Standard's formulas, written out once more here, number by number."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.imaging.looks import Look
from dicomweb.imaging.shades import Curve, curve_of, looked_up, shade, windowed
from dicomweb.imaging.tables import Table
from dicomweb.standard.rendering import Window

WINDOWS = st.builds(
    Window,
    st.floats(-5000, 5000),
    st.floats(1, 10_000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)


def plain(x: float, window: Window) -> float:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2, from 0 to 1."""
    c, w = window.center, window.width
    if window.function == "SIGMOID":
        return 1 / (1 + math.exp(min(-4 * (x - c) / w, 700)))
    if window.function == "LINEAR_EXACT":
        return 0.0 if x <= c - w / 2 else 1.0 if x > c + w / 2 else (x - c) / w + 0.5
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    if x > c - 0.5 + (w - 1) / 2:
        return 1.0
    return (x - (c - 0.5)) / (w - 1) + 0.5


def table(entries: list[int], first: int = 0, top: int = 255) -> Table:
    return Table(first, struct.pack(f"<{len(entries)}H", *entries), top)


WHOLE = Window(127.5, 255, "LINEAR_EXACT")


def curve(voi: Window | Table = WHOLE, **parts) -> Curve:
    return Curve(
        **{"slope": 1.0, "intercept": 0.0, "rescale": None, "voi": voi, "presentation": None, "inverse": False,
           "padding": None, **parts}
    )  # fmt: skip


@given(WINDOWS, st.lists(st.floats(-20_000, 20_000), min_size=1, max_size=20))
def test_windows_are_the_formulas_of_the_standard(window, values):
    got = windowed(np.array(values), window)
    assert np.allclose(got, [plain(value, window) for value in values], atol=1e-9)


def test_a_linear_window_of_width_1_is_a_threshold():
    values = np.array([39.0, 39.5, 39.6, 40.0])
    assert windowed(values, Window(40, 1)).tolist() == [0, 0, 1, 1]


@given(
    WINDOWS,
    st.sampled_from(["u1", "i1", "<u2", "<i2"]),
    st.floats(-4, 4).filter(lambda slope: abs(slope) > 0.01),
    st.floats(-2000, 2000),
    st.booleans(),
    st.data(),
)
def test_the_table_of_small_integers_says_what_the_computation_says(window, kind, slope, intercept, inverse, data):
    info = np.iinfo(kind)
    values = data.draw(st.lists(st.integers(int(info.min), int(info.max)), min_size=1, max_size=30))
    made = curve(window, slope=slope, intercept=intercept, inverse=inverse)
    small = shade(np.array(values, kind), made, 256)
    large = shade(np.array(values, "i8"), made, 256)
    assert small.dtype == np.uint8
    assert small.tolist() == large.tolist()


@given(WINDOWS, st.lists(st.integers(-3000, 3000), min_size=1, max_size=30))
def test_shades_are_the_formula_rounded(window, values):
    expected = [math.floor(plain(float(value), window) * 255 + 0.5) for value in values]
    got = shade(np.array(values, "<i2"), curve(window), 256)
    assert np.abs(got.astype(int) - expected).max() <= 1
    deep = shade(np.array(values, "<i2"), curve(window), 65536)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 65535 - [plain(float(value), window) for value in values]).max() <= 1e-5


def test_inverse_is_the_largest_value_less_the_shade():
    values = np.arange(256, dtype="u1")
    straight = shade(values, curve(Window(128, 256)), 256)
    assert straight.tolist() == list(range(256))
    assert shade(values, curve(Window(128, 256), inverse=True), 256).tolist() == list(range(255, -1, -1))


def test_padding_is_black_whichever_way_the_shades_go():
    values = np.array([-2000, -1999, 0, 500], "<i2")
    for inverse in (False, True):
        got = shade(values, curve(Window(0, 400), inverse=inverse, padding=(-2000, -1999)), 256)
        assert got[:2].tolist() == [0, 0]
        assert got[3] == (0 if inverse else 255)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=40), st.integers(-40, 40))
def test_a_table_gives_its_first_entry_below_and_its_last_above(entries, first):
    values = np.arange(-100, 100, dtype=np.float64)
    expected = [entries[min(max(int(value) - first, 0), len(entries) - 1)] for value in values]
    assert looked_up(values, table(entries, first, 65535)).tolist() == expected


def test_modality_voi_and_presentation_tables_follow_one_another():
    made = curve(
        voi=table([0, 10, 20, 30], first=100, top=30),
        rescale=table([103, 102, 101, 100]),
        presentation=table([0, 255, 128, 64]),
    )
    # 0 -> 103 -> 30 of 30 -> entry 3; 3 -> 100 -> 0 -> entry 0
    assert shade(np.array([0, 1, 2, 3], "u1"), made, 256).tolist() == [64, 128, 255, 0]


def test_floating_point_pixels_have_shades_and_what_is_no_number_is_black():
    values = np.array([0.0, 0.25, 0.5, 1.0, np.nan, np.inf, -np.inf], "<f4")
    got = shade(values, curve(Window(0.5, 1, "LINEAR_EXACT"), inverse=False), 256)
    assert got.tolist() == [0, 64, 128, 255, 0, 255, 0]
    assert shade(values, curve(Window(0.5, 1, "LINEAR_EXACT"), inverse=True), 256)[4] == 0


def test_no_pixels_have_no_shades():
    assert shade(np.zeros((0, 5), "<u2"), curve(), 256).shape == (0, 5)


def test_a_window_of_width_1_over_real_numbers_is_no_threshold():
    look = Look(windows=(Window(0.5, 1),))
    reals, whole = np.array([[0.25, 0.75]], "<f4"), np.array([[0, 1]], "<u2")
    assert shade(reals, curve_of(reals, 32, look, None), 256).tolist() == [[64, 191]]
    assert shade(whole, curve_of(whole, 16, look, None), 256).tolist() == [[0, 255]]


# -- which window -------------------------------------------------------------------------------------------

FLAT = np.zeros((4, 4), "<u2")


def test_the_window_of_the_client_goes_before_the_first_of_the_object_and_that_before_its_table():
    mine, first, second, lut = Window(1, 2), Window(3, 4), Window(5, 6), table([1])
    look = Look(windows=(first, second), voi=(lut,))
    assert curve_of(FLAT, 16, look, mine).voi == mine
    assert curve_of(FLAT, 16, look, None).voi == first
    assert curve_of(FLAT, 16, Look(voi=(lut,)), None).voi == lut


def shades_of(array: np.ndarray, stored: int = 16, **parts) -> np.ndarray:
    return shade(array, curve_of(array, stored, Look(**parts), None), 256)


def test_eight_bits_without_a_window_are_shown_as_they_are():
    array = np.arange(256, dtype="u1").reshape(16, 16)
    assert (shades_of(array, 8) == array).all()


def test_one_bit_is_black_and_white():
    assert shades_of(np.array([[0, 1]], "u1"), 1).tolist() == [[0, 255]]


def test_without_a_window_a_few_extremes_do_not_darken_the_rest():
    array = np.linspace(1000, 2000, 100 * 100).reshape(100, 100).astype("<u2")
    array[0, :20] = 65535
    got = shades_of(array)
    assert int(got[50, 50]) == pytest.approx(127, abs=3)
    assert got[0, 0] == 255


def test_padding_is_left_out_of_what_a_window_is_made_of():
    array = np.full((100, 100), -2000, "<i2")
    array[40:60, 40:60] = np.arange(400).reshape(20, 20)
    got = shades_of(array, padding=(-2000.0, -2000.0))
    assert int(got[50, 50]) == pytest.approx(134, abs=3)
    assert got[0, 0] == 0


def test_little_on_a_large_ground_is_still_seen():
    array = np.zeros((100, 100), "<u2")
    array[10, 10:14] = 500
    assert shades_of(array)[10, 10] == 255


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_flat_frame_is_black(value):
    assert shades_of(np.full((8, 8), value, "<u2")).max() == 0


def test_counts_begin_at_zero():
    array = np.linspace(300, 1000, 10_000).reshape(100, 100).astype("<u2")
    assert int(shades_of(array, modality="PT").min()) == pytest.approx(76, abs=2)
    assert shades_of(array).min() == 0


def test_nothing_but_padding_is_black():
    assert shades_of(np.full((8, 8), 5, "<u2"), padding=(5, 5)).max() == 0


def test_a_presentation_state_without_window_shows_the_whole_range():
    array = np.array([[0, 2048, 4095]], "<u2")
    assert shades_of(array, 12, entire=True).tolist() == [[0, 128, 255]]
    signed = np.array([[-2048, 0, 2047]], "<i2")
    assert shades_of(signed, 12, entire=True, slope=-1.0).tolist() == [[255, 127, 0]]
    assert shades_of(np.array([[0, 1]], "u1"), 8, entire=True, rescale=table([0, 255])).tolist() == [[0, 255]]


def test_samples_come_from_all_over_a_large_frame():
    # A stripe in every 64th column; taking each 64th pixel would see it alone or never
    array = np.zeros((2048, 1024), "<u2")
    array[:, ::64] = 40_000
    array[:, 1::2] = 100
    array[:, 3::4] = 200
    got = shades_of(array)
    assert got[0, 0] == 255
    assert got[0, 2] == 0
