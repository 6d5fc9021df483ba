"""Thumbnails and icons: small in pixels and in bytes."""

from typing import get_args

import numpy as np
import pytest
from pictured import opened

from dicomweb.errors import Undecodable
from dicomweb.imaging.choosing import Icon
from dicomweb.imaging.looks import Look
from dicomweb.imaging.thumbnails import icon, thumbnail
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import EXPLICIT


def large() -> tuple[bytes, Format]:
    rows, columns = np.mgrid[:1200, :800]
    array = (2000 + 1500 * np.sin(rows / 90) * np.cos(columns / 70)).astype("<u2")
    return array.tobytes(), Format(1200, 800)


def test_a_thumbnail_is_a_small_jpeg_of_at_most_256_pixels_a_side():
    data, format = large()
    made = thumbnail(data, EXPLICIT, format, Look())
    assert made[:2] == b"\xff\xd8"
    assert opened(made).shape == (256, 171)
    assert len(made) < 20_000


def test_a_thumbnail_has_the_size_that_is_asked_for():
    data, format = large()
    assert opened(thumbnail(data, EXPLICIT, format, Look(), (64, 64))).shape == (64, 43)
    assert opened(thumbnail(bytes(32), EXPLICIT, Format(4, 4), Look(), (64, 64))).shape == (64, 64)


def test_small_frames_stay_small():
    assert opened(thumbnail(bytes(32), EXPLICIT, Format(4, 4), Look())).shape == (4, 4)


def test_a_thumbnail_of_what_cannot_be_decoded_is_none():
    with pytest.raises(Undecodable):
        thumbnail(b"", EXPLICIT, Format(4, 4), Look())


@pytest.mark.parametrize("kind", get_args(Icon))
def test_every_icon_is_a_picture_of_its_own(kind):
    made = icon(kind)
    assert opened(made).shape == (256, 256, 3)
    assert len(made) < 16_000
    assert opened(made).std() > 10
    assert sum(icon(other) == made for other in get_args(Icon)) == 1


def test_icons_have_the_size_and_type_that_are_asked_for():
    assert opened(icon("document", (64, 100), "image/png")).shape == (64, 64, 3)
    assert icon("document", (64, 100), "image/png").startswith(b"\x89PNG")
    assert opened(icon("plan", (5000, 5000))).shape == (1024, 1024, 3)
