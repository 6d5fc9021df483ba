"""PNG as it is written here: read by libpng as it was, and about as small as libpng makes it."""

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from dicomweb.imaging import pictures, profiles

ROWS, COLUMNS = np.mgrid[:200, :300]
NOISE = np.random.default_rng(3).normal(0, 4, (200, 300))
GRAY = np.clip(128 + 100 * np.sin(COLUMNS / 40) * np.cos(ROWS / 30) + NOISE, 0, 255).astype(np.uint8)
PICTURES = {
    "8 bits": GRAY,
    "16 bits": GRAY.astype(np.uint16) * 257,
    "colour": np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1),
    "one pixel": GRAY[:1, :1],
    "one row": GRAY[:1],
    "turned": GRAY.T,
}


def libpng(picture: NDArray[Any]) -> int:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=1)
    return len(out.getvalue())


@pytest.mark.parametrize("name", PICTURES)
def test_a_png_is_read_as_it_was(name):
    picture = PICTURES[name]
    with Image.open(io.BytesIO(pictures.encode(picture, "image/png"))) as image:
        assert (np.asarray(image) == picture).all()


def test_a_png_takes_its_profile_along():
    profile = profiles.profile_of("srgb")
    with Image.open(io.BytesIO(pictures.encode(PICTURES["colour"], "image/png", profile=profile))) as image:
        assert image.info["icc_profile"] == profile
        assert ImageCms.ImageCmsProfile(io.BytesIO(profile))
        assert (np.asarray(image) == PICTURES["colour"]).all()


@pytest.mark.parametrize("name", ["8 bits", "16 bits", "colour"])
def test_a_png_is_hardly_larger_than_what_libpng_makes(name):
    assert len(pictures.encode(PICTURES[name], "image/png")) < 1.1 * libpng(PICTURES[name])
