"""Where pixels come to lie: every corner followed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.errors import BadRequest
from dicomweb.imaging.geometry import moved, placement
from dicomweb.imaging.looks import Area, Look
from dicomweb.standard.rendering import Region, Rendering, Viewport

# 4 rows, 6 columns: row times 10 plus column
PICTURE = (np.arange(4)[:, np.newaxis] * 10 + np.arange(6)).astype("u1")


def shown(viewport: Viewport | None = None, look: Look | None = None, **wanted) -> np.ndarray:
    rendering = Rendering(viewport=viewport, **wanted)
    return moved(PICTURE, placement(4, 6, look or Look(), rendering))


def test_without_a_viewport_pixels_stay_as_they_are():
    assert (shown() == PICTURE).all()


def test_a_region_is_cut_out_before_it_is_scaled():
    assert (shown(Viewport(2, 3, 1, 1, 2, 3)) == PICTURE[1:4, 1:3]).all()
    assert shown(Viewport(20, 20, 1, 1, 2, 3)).shape == (20, 13)
    assert (shown(Viewport(2, 2, 4, 2)) == PICTURE[2:, 4:]).all()


def test_a_region_that_reaches_out_of_the_image_ends_at_its_edge():
    assert (shown(Viewport(2, 2, 4, 2, 100, 100)) == PICTURE[2:, 4:]).all()


def test_a_region_outside_of_the_image_is_refused():
    with pytest.raises(BadRequest, match="outside of the image of 6 by 4 pixels"):
        shown(Viewport(2, 2, 6, 0))


def test_negative_sizes_flip():
    assert (shown(Viewport(6, 4, mirrored=True)) == PICTURE[:, ::-1]).all()
    assert (shown(Viewport(6, 4, upturned=True)) == PICTURE[::-1]).all()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.floats(0.2, 5))
def test_one_side_fits_the_viewport_and_none_goes_over_it(rows, columns, width, height, aspect):
    placed = placement(rows, columns, Look(aspect=aspect), Rendering(viewport=Viewport(width, height)))
    across, down = placed.size
    assert across == width or down == height
    assert 1 <= across <= width
    assert 1 <= down <= height
    true = columns / (rows * (aspect if abs(aspect - 1) > 0.01 else 1))
    if min(across, down) > 20:
        assert across / down == pytest.approx(true, rel=0.06)


def test_pixels_that_are_not_square_are_made_longer():
    assert shown(look=Look(aspect=2)).shape == (8, 6)
    assert shown(look=Look(aspect=0.5)).shape == (4, 12)
    assert shown(look=Look(aspect=1.001)).shape == (4, 6)


def test_wado_uri_bounds_one_side_or_both():
    assert shown(most_columns=3).shape == (2, 3)
    assert shown(most_rows=8).shape == (8, 12)
    assert shown(most_columns=12, most_rows=4).shape == (4, 6)


def test_wado_uri_has_regions_in_fractions():
    assert (shown(region=Region(0.5, 0.25, 1, 0.75)) == PICTURE[1:3, 3:]).all()


def test_thumbnails_are_made_smaller_but_not_larger():
    large = placement(4096, 1024, Look(), Rendering(thumbnail=True))
    assert large.size == (64, 256)
    assert placement(4, 6, Look(), Rendering(thumbnail=True)).size == (6, 4)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flipped", [False, True])
def test_presentation_states_turn_clockwise_and_then_mirror(rotation, flipped):
    expected = np.rot90(PICTURE, -rotation // 90)
    expected = expected[:, ::-1] if flipped else expected
    assert (shown(look=Look(rotation=rotation, mirrored=flipped)) == expected).all()


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(
    "viewport",
    [None, Viewport(90, 90, mirrored=True), Viewport(60, 60, 1, 1, 3, 2, upturned=True)],
    ids=["whole", "mirrored", "region"],
)
def test_points_go_where_their_pixels_go(rotation, flipped, viewport):
    placed = placement(4, 6, Look(rotation=rotation, mirrored=flipped), Rendering(viewport=viewport))
    picture = moved(PICTURE, placed)
    for row, column in ((1, 1), (2, 3)):
        x, y = placed.place(column + 0.5, row + 0.5)
        assert int(picture[int(y), int(x)]) == pytest.approx(int(PICTURE[row, column]), abs=2)


def test_a_displayed_area_beyond_the_image_is_black_there():
    got = shown(look=Look(area=Area(-1, -2, 7, 5)))
    assert got.shape == (7, 8)
    assert (got[2:6, 1:7] == PICTURE).all()
    assert got[:2].max() == got[6:].max() == got[:, 7].max() == 0


def test_an_absurd_displayed_area_costs_no_memory():
    with pytest.raises(BadRequest, match="pixels"):
        shown(look=Look(area=Area(-1e9, -1e9, 1e9, 1e9)))
    assert shown(Viewport(10, 10), look=Look(area=Area(-1e9, -1e9, 1e9, 1e9))).shape == (10, 10)


def test_pictures_above_the_limit_are_refused():
    with pytest.raises(BadRequest, match="more than 100 pixels"):
        placement(11, 10, Look(), Rendering(), 100)
    with pytest.raises(BadRequest, match="pixels"):
        placement(10, 10, Look(), Rendering(most_rows=900_000))


def test_shrinking_averages_and_enlarging_goes_smoothly():
    checks = (np.indices((8, 8)).sum(axis=0) % 2 * 254).astype("u1")
    small = moved(checks, placement(8, 8, Look(), Rendering(viewport=Viewport(4, 4))))
    assert set(small.ravel().tolist()) == {127}
    ramp = np.tile(np.arange(0, 200, 10, dtype="u1"), (4, 1))
    large = moved(ramp, placement(4, 20, Look(), Rendering(viewport=Viewport(80, 80))))
    assert (np.diff(large[8].astype(int)) >= 0).all()


def test_between_two_labels_lies_no_third():
    large = moved(PICTURE, placement(4, 6, Look(), Rendering(viewport=Viewport(100, 100))), labels=True)
    assert set(large.ravel().tolist()) == set(PICTURE.ravel().tolist())


def test_sixteen_bits_and_colours_are_scaled_alike():
    deep = np.linspace(0, 65535, 64).reshape(8, 8).astype("u2")
    small = moved(deep, placement(8, 8, Look(), Rendering(viewport=Viewport(4, 4))))
    assert small.dtype == np.uint16
    assert np.abs(small - deep.reshape(4, 2, 4, 2).mean(axis=(1, 3))).max() <= 1
    colours = np.stack([PICTURE] * 3, axis=-1)
    assert moved(colours, placement(4, 6, Look(), Rendering(viewport=Viewport(3, 2)))).shape == (2, 3, 3)
