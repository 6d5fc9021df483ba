"""Which picture stands for a series or a study, and which icon for what has none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.imaging.choosing import Candidate, Choice, icon_of, middle_frame, representative

STORAGE = "1.2.840.10008.5.1.4.1.1."
CT, SEG, DOSE, SR, STATE, VIDEO = (STORAGE + end for end in ("2", "66.4", "481.2", "88.33", "11.1", "77.1.1.1"))


def ct(number: int, series: str = "1", frames: int = 1) -> Candidate:
    return Candidate(CT, number, frames, "native", series, f"{series}.{number}")


def test_nothing_stands_for_nothing():
    assert representative([]) is None


def test_the_middle_of_a_series_by_number_whatever_the_order():
    assert representative([ct(5), ct(1), ct(3), ct(2), ct(4)]) == Choice(2, 1)


def test_the_middle_frame():
    assert representative([ct(1, frames=9)]) == Choice(0, 5)
    assert [middle_frame(frames) for frames in (0, 1, 2, 3, 88)] == [1, 1, 1, 2, 44]


def test_images_go_before_what_is_derived_and_that_before_what_has_no_pixels():
    candidates = [
        Candidate(SR, 1, 1, "none"), Candidate(STATE, 1, 1, "none"), Candidate(SEG, 1, 100, "bits"),
        Candidate(DOSE, 1, 10), Candidate(VIDEO, 1, 100, "video"), ct(1),
    ]  # fmt: skip
    assert representative(candidates) == Choice(5, 1)
    assert representative(candidates[:5]) == Choice(4, 50)
    assert representative(candidates[:3]) == Choice(2, 50)
    assert representative(candidates[:1]) == Choice(0, 1)


def test_the_series_with_most_images_stands_for_a_study():
    assert representative([ct(1, "b"), ct(1, "a"), ct(2, "a"), ct(3, "a"), ct(2, "b")]) == Choice(2, 1)


@given(st.permutations([ct(number, series) for series in ("a", "b") for number in (1, 1, 2, 3)]))
def test_the_choice_does_not_depend_on_the_order(candidates):
    choice = representative(candidates)
    assert choice is not None
    assert candidates[choice.place].instance == "a.2"


@pytest.mark.parametrize(
    ("end", "layout", "icon"),
    [("88.33", "none", "document"), ("104.1", "none", "document"), ("9.1.1", "none", "waveform"),
     ("481.3", "none", "plan"), ("11.1", "none", "state"), ("77.1.4.1", "video", "video"), ("66", "none", "unknown"),
     ("2", "opaque", "unknown"), ("77.1.2", "none", "unknown")],
)  # fmt: skip
def test_objects_without_pictures_have_icons(end, layout, icon):
    assert icon_of(STORAGE + end, layout) == icon
