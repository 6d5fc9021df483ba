"""Normal forms of values (PS3.5 6.2): what the index keeps and what keys are compared with."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.standard.normal import comparable, first_and_last, fold, is_point, names, split_range


def name(alphabetic: str = "", ideographic: str = "", phonetic: str = "") -> dict[str, str]:
    groups = {"Alphabetic": alphabetic, "Ideographic": ideographic, "Phonetic": phonetic}
    return {group: text for group, text in groups.items() if text}


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("MÜLLER", "muller"),
        ("Straße", "strasse"),
        ("Łódź Ørsted Ævar", "lodz orsted aevar"),
        ("ΣΊΣΥΦΟΣ", "σισυφοσ"),
        ("Йод Ёлка", "иод елка"),
        ("Ｙａｍａｄａ", "yamada"),
        ("ﾔﾏﾀﾞ", "ヤマダ"),
        ("ガ", "ガ"),
        ("김희중", "김희중"),
        ("שָׁלוֹם", "שלום"),
        ("مُحَمَّد", "محمد"),
    ],
)
def test_folding_drops_case_accents_and_width_and_nothing_else(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_folding_keeps_what_tells_letters_apart() -> None:
    for one, other in [("タ", "ダ"), ("は", "ぱ"), ("มา", "ม้า"), ("ที", "ทู"), ("김", "기"), ("ب", "ت")]:
        assert fold(one) != fold(other)


@given(st.text())
def test_folding_what_is_folded_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_the_groups_of_a_stored_name_are_tidied_and_folded() -> None:
    assert names(name("DOE ^ John^^", "", "ド")) == ("doe^john", "ド")
    assert names("Doe^J=山田") == ("doe^j", "山田")
    assert names({"Alphabetic": " ^^ "}) == ()


@pytest.mark.parametrize(
    ("vr", "text", "form"),
    [
        ("DA", "2024.01.31", "20240131"),
        ("TM", "10", "100000.000000"),
        ("TM", "10:15:00.5", "101500.500000"),
        ("DT", "2024", "20240101000000.000000"),
        ("DT", "20240101003000+0100", "20231231233000.000000"),
        ("DT", "00010101003000+0100", None),
        ("LO", "", None),
        ("UI", "1.2\0", "1.2"),
        ("PN", "Doe^J^^=", "doe^j"),
    ],
)
def test_stored_values_have_one_comparable_form(vr: str, text: str, form: str | None) -> None:
    assert comparable(vr, text) == form


def test_a_value_covers_the_unit_that_it_names() -> None:
    assert first_and_last("TM", "2230") == ("223000.000000", "223059.999999")
    assert first_and_last("DT", "202402") == ("20240201000000.000000", "20240229235959.999999")
    assert first_and_last("DA", "20240131") == ("20240131", "20240131")
    with pytest.raises(ValueError, match="noon"):
        first_and_last("TM", "noon")


def test_a_hyphen_makes_a_range_unless_an_offset_follows() -> None:
    assert is_point("DT", "20240101120000-0500")
    assert not is_point("DT", "20240101120000-2025")
    assert not is_point("DA", "20240101-")
    assert split_range("DT", "20240101120000-2025") == ("20240101120000.000000", "20251231235959.999999")
    assert split_range("DA", "-") is None


@given(st.sampled_from(["DA", "TM", "DT"]), st.text("0123456789.:+-", max_size=24))
def test_the_comparable_form_is_the_first_moment_covered(vr: str, text: str) -> None:
    form: Any = comparable(vr, text)
    assert (form is not None) == is_point(vr, text)
    if form is not None:
        first, last = first_and_last(vr, text)
        assert form == first <= last
