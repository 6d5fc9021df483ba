"""Colour spaces, against the Standard's own matrices in floating point."""

import numpy as np
import pytest
from pictures import described, picture

from dicomweb.errors import Undecodable
from dicomweb.imaging.colours import to_rgb

# PS3.3 C.7.6.3.1.2: forward, YBR_FULL from RGB
FORWARD = np.array([[0.2990, 0.5870, 0.1140], [-0.1687, -0.3313, 0.5000], [0.5000, -0.4187, -0.0813]])


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_red_green_and_blue_come_back_from_the_standards_matrix(bits: int) -> None:
    middle, top = 1 << (bits - 1), (1 << bits) - 1
    rgb = np.random.default_rng(0).integers(0, top + 1, (50, 60, 3))
    ybr = np.rint(rgb @ FORWARD.T + [0, middle, middle]).clip(0, top)
    format = described(bits, photometric="YBR_FULL")
    back = to_rgb(ybr.astype("u1" if bits == 8 else "u2"), format)
    assert back.dtype == (np.uint8 if bits == 8 else np.uint16)
    # The matrices have four digits, and chrominance was rounded once.
    assert np.abs(back.astype(int) - rgb).max() <= 2 + (top >> 12)


def test_known_colours_are_exact() -> None:
    ybr = np.array([[[0, 128, 128], [255, 128, 128], [76, 85, 255], [150, 44, 21], [29, 255, 107]]], "u1")
    rgb = to_rgb(ybr, described(8, photometric="YBR_FULL"))
    assert rgb.tolist() == [[[0, 0, 0], [255, 255, 255], [254, 0, 0], [0, 255, 1], [0, 0, 254]]]


def test_video_range_is_widened() -> None:
    ybr = np.array([[[16, 128, 128], [235, 128, 128], [126, 128, 128], [0, 128, 128]]], "u1")
    rgb = to_rgb(ybr, described(8, photometric="YBR_PARTIAL_420"))
    assert rgb.tolist() == [[[0, 0, 0], [255, 255, 255], [128, 128, 128], [0, 0, 0]]]


def test_red_green_and_blue_stay() -> None:
    format = described(16, photometric="RGB")
    array = picture(format)
    assert np.array_equal(to_rgb(array, format), array)


@pytest.mark.parametrize("array", [np.zeros((4, 4), "u1"), np.zeros((4, 4, 4), "u1"), np.zeros((4, 4, 3), "i2")])
def test_what_has_no_colours_is_refused(array: np.ndarray) -> None:
    with pytest.raises(Undecodable):
        to_rgb(array, described(8, photometric="YBR_FULL"))
