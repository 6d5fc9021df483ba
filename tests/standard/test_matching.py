"""What a matching key means (PS3.4 C.2.2.2); the Q- and W-numbers are rows of the project's checklists."""

import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.errors import BadQuery
from dicomweb.standard.matching import (
    Absent,
    Anything,
    Between,
    Key,
    Moment,
    Name,
    Number,
    OneOf,
    Pattern,
    Within,
    accepts,
    combine,
    comparable,
    element_of,
    glob,
    read,
    satisfies,
)


def element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def name(alphabetic: str = "", ideographic: str = "", phonetic: str = "") -> dict[str, str]:
    groups = {"Alphabetic": alphabetic, "Ideographic": ideographic, "Phonetic": phonetic}
    return {group: text for group, text in groups.items() if text}


def found(vr: str, key: str, *stored: Any, fuzzy: bool = False) -> bool:
    return accepts(read(vr, key, fuzzy), element(vr, *stored))


# -- universal, empty ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("vr", ["LO", "PN", "UI", "DA", "TM", "DT", "IS", "CS", "UT", ""])
@pytest.mark.parametrize("text", ["", "*", "**"])
def test_nothing_and_a_lone_asterisk_are_universal_for_every_vr(vr: str, text: str) -> None:
    assert read(vr, text) == Anything()


def test_universal_matching_takes_what_is_empty_or_not_there() -> None:
    assert accepts(Anything(), None)
    assert accepts(Anything(), {"vr": "LO"})


@pytest.mark.parametrize(
    "match",
    [
        OneOf(("",)),
        Pattern("*"),
        Pattern("?*"),
        Name("*"),
        Between(None, "20240101"),
        Number((0.0,)),
        Within(()),
    ],
)
@pytest.mark.parametrize("stored", [None, {"vr": "LO"}, {"vr": "LO", "Value": [None]}, {"vr": "LO", "Value": [""]}])
def test_an_empty_stored_value_satisfies_no_key_that_asks_for_something(match: Any, stored: Any) -> None:
    assert not accepts(match, stored)


def test_empty_value_matching_takes_only_what_has_no_value() -> None:
    assert accepts(Absent(), None)
    assert accepts(Absent(), {"vr": "LO"})
    assert accepts(Absent(), {"vr": "LO", "Value": [None]})
    assert not accepts(Absent(), element("LO", "x"))
    assert not accepts(Absent(), element("US", 0))
    assert not accepts(Absent(), {"vr": "OB", "InlineBinary": "AAAA"})
    assert not accepts(Absent(), {"vr": "OB", "BulkDataURI": "bulkdata/00420011"})


# -- single values ------------------------------------------------------------------------------------------
def test_single_values_are_compared_exactly_and_case_sensitively() -> None:
    assert found("LO", "Chest", "Chest")
    assert not found("LO", "chest", "Chest")
    assert not found("LO", "Ches", "Chest")


def test_padding_is_not_part_of_a_value() -> None:
    assert found("SH", " ACC1 ", "ACC1")
    assert found("SH", "ACC1", " ACC1 ")
    assert found("UI", "1.2.3\x20", "1.2.3\0")


def test_leading_spaces_of_text_count_and_trailing_ones_do_not() -> None:
    assert found("LT", "  indented", "  indented  ")
    assert not found("LT", "indented", "  indented")


def test_one_of_several_stored_values_is_enough() -> None:
    assert found("CS", "CT", "PT", "CT")
    assert found("LO", "B*", "A", "B1")
    assert not found("CS", "MR", "PT", "CT")


def test_composed_and_decomposed_characters_are_the_same_value() -> None:
    assert found("LO", "Mu\u0308ller", "M\u00fcller")


@pytest.mark.parametrize("text", ["100%", "a_c", "[ab]", "O'Brien", '"', "a\\b", "a;--"])
def test_characters_special_elsewhere_are_literal(text: str) -> None:
    for vr in ("LO", "ST"):
        assert found(vr, text, text)
        assert found(vr, text + "*", text + "!")
        assert not found(vr, text, "abc")
        assert not found(vr, text, "aXc")


def test_a_nul_inside_a_value_is_refused() -> None:
    with pytest.raises(BadQuery):
        read("LO", "a\0b")


# -- wildcards ----------------------------------------------------------------------------------------------
def test_an_asterisk_is_any_run_and_a_question_mark_one_character() -> None:
    assert found("LO", "CH*T", "CHT")
    assert found("LO", "CH*T", "CHEST")
    assert found("LO", "CH?ST", "CHEST")
    assert not found("LO", "CH?T", "CHT")
    assert not found("LO", "CH*T", "CHESTS")
    assert found("UT", "first*last", "first\nlast")


@pytest.mark.parametrize("vr", ["AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT"])
def test_wildcards_work_on_the_vrs_that_have_them(vr: str) -> None:
    assert read(vr, "A*") == Pattern("A*")
    assert read(vr, "A?") == Pattern("A?")


def test_a_wildcard_in_an_age_is_literal() -> None:
    assert read("AS", "04?Y") == OneOf(("04?Y",))


@pytest.mark.parametrize(
    ("vr", "text"),
    [("UI", "1.2.*"), ("DA", "2024*"), ("TM", "10??"), ("DT", "2024*"), ("IS", "1*"), ("DS", "1.?")],
)
def test_wildcards_are_refused_where_values_cannot_hold_them(vr: str, text: str) -> None:
    with pytest.raises(BadQuery):
        read(vr, text)


@given(st.text("ab*?.[", max_size=12), st.text("ab.[", max_size=12))
def test_wildcard_patterns_agree_with_the_plain_definition(pattern: str, text: str) -> None:
    def matches(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(matches(pattern[1:], text[start:]) for start in range(len(text) + 1))
        return bool(text) and pattern[0] in ("?", text[0]) and matches(pattern[1:], text[1:])

    assert (glob(pattern).fullmatch(text) is not None) == matches(pattern, text)


def test_a_hostile_pattern_takes_no_time() -> None:
    began = time.perf_counter()
    assert not found("LO", "*a" * 200 + "?b", "a" * 20_000)
    assert time.perf_counter() - began < 1


# -- lists --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["1.2,1.3", "1.2\\1.3", " 1.2 , 1.3,", "1.2,1.3,1.2"])
def test_uids_come_as_a_list_with_commas_or_backslashes(text: str) -> None:
    assert read("UI", text) == OneOf(("1.2", "1.3"))
    assert found("UI", text, "1.3")
    assert not found("UI", text, "1.4")


@pytest.mark.parametrize("text", ["1.2.x", "../etc", "1" * 65, "1.2 3"])
def test_what_is_no_uid_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        read("UI", text)


def test_a_uid_is_not_the_beginning_of_another() -> None:
    assert not found("UI", "1.2", "1.2.3")


@pytest.mark.parametrize("text", ["CT,US", "CT\\US"])
def test_modalities_come_as_a_list_with_commas_or_backslashes(text: str) -> None:
    assert found("CS", text, "MR", "US")
    assert not found("CS", text, "MR")


def test_a_list_of_codes_cannot_hold_wildcards() -> None:
    with pytest.raises(BadQuery):
        read("CS", "CT,M*")


def test_a_comma_in_text_is_a_comma() -> None:
    assert read("LO", "a,b") == OneOf(("a,b",))


def test_tags_are_compared_whatever_the_case_of_their_digits() -> None:
    assert found("AT", "0018000a", "0018000A")
    with pytest.raises(BadQuery):
        read("AT", "18000A")


# -- numbers ------------------------------------------------------------------------------------------------
def test_numbers_are_compared_as_numbers() -> None:
    assert found("IS", "+007", 7)
    assert found("DS", "1.50", 1.5)
    assert found("DS", "1.5e0", "1.50")
    assert found("US", "512", 512)
    assert found("IS", "1,2", 2)
    assert not found("IS", "7", 8)
    assert not found("DS", "1", "not a number")


@pytest.mark.parametrize("text", ["abc", "nan", "inf", "1_0", "0x10", "--1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        read("IS", text)


# -- person names -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ("müller^jörg", name("MULLER^JORG")),
        ("MULLER*", name("Müller^Jörg")),
        ("muller*", name("Mu\u0308ller^Jo\u0308rg")),
        ("STRASSE^*", name("Straße^Anna")),
        ("sorensen", name("Sørensen")),
        ("ΠΑΠΑΔΟΠΟΥΛΟΣ^*", name("Παπαδόπουλος^Γιώργος")),
        ("люкс*", name("ЛЮКС^ЛЮДМИЛА")),
        ("*семен*", name("Семён")),
        ("สมชาย*", name("สมชาย^ใจดี")),
        ("山田^太郎", name("Yamada^Tarou", "山田^太郎", "やまだ^たろう")),
        ("yamada^tarou", name("Yamada^Tarou", "山田^太郎", "やまだ^たろう")),
        ("やまだ*", name("Yamada^Tarou", "山田^太郎", "やまだ^たろう")),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", name("ﾔﾏﾀﾞ^ﾀﾛｳ", "山田^太郎")),
        ("ヤマダ^タロウ", name("ﾔﾏﾀﾞ^ﾀﾛｳ", "山田^太郎")),
        ("Yamada^Tarou=山田^太郎", name("Yamada^Tarou", "山田^太郎", "やまだ^たろう")),
        ("=山田*", name("Yamada^Tarou", "山田^太郎")),
        ("김희중", name("Hong^Gildong", "김희중")),
        ("王^小东", name("Wang^XiaoDong", "王^小东")),
        ("nguyen*", name("Nguyễn^Văn")),
        ("doe^john", name("Doe^John^^^")),
        ("Doe^John^^", name("DOE ^ JOHN")),
        ("d?e^*", name("Doe^John")),
    ],
)
def test_names_match_without_case_and_accents_in_each_group_by_itself(key: str, stored: Any) -> None:
    assert found("PN", key, stored)


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ("Doe", name("Doe^John")),
        ("Doe^John", name("Doe^Johnny")),
        ("ダナカ", name("タナカ")),
        ("มา", name("ม้า")),
        ("Yamada^Tarou=田中*", name("Yamada^Tarou", "山田^太郎")),
        ("yamada*太郎", name("Yamada^Tarou", "山田^太郎")),
        ("John", name("Doe^John")),
    ],
)
def test_names_do_not_match_what_is_another_name(key: str, stored: Any) -> None:
    assert not found("PN", key, stored)


def test_any_of_several_names_is_enough() -> None:
    assert found("PN", "roe*", name("Doe^Jane"), name("Roe^Jane"))


def test_a_fuzzy_name_matches_by_the_beginnings_of_its_words_in_any_order() -> None:
    stored = name("Müller-Lüdenscheidt^Hans Peter", "山田^太郎")
    for key in ["muller hans", "Hans Müller", "pet mül", "Lüden, H", "*peter*", "山田", "MULLER^HANS"]:
        assert found("PN", key, stored, fuzzy=True), key
    for key in ["ans", "muller fritz", "hans 山田", "uller"]:
        assert not found("PN", key, stored, fuzzy=True), key


def test_a_fuzzy_search_finds_all_that_a_literal_one_finds() -> None:
    stored = name("VIEWER^CINE")
    assert found("PN", "*IEWER^CIN*", stored)
    assert found("PN", "*IEWER^CIN*", stored, fuzzy=True)
    assert found("PN", "?iewer*", stored, fuzzy=True)


def test_without_fuzzy_words_in_another_order_do_not_match() -> None:
    assert not found("PN", "cine viewer", name("VIEWER^CINE"))


# -- dates and times ----------------------------------------------------------------------------------------
def test_both_ends_of_a_date_range_are_included() -> None:
    days = ["20231231", "20240101", "20240131", "20240201"]
    assert [day for day in days if found("DA", "20240101-20240131", day)] == ["20240101", "20240131"]
    assert [day for day in days if found("DA", "20240131-", day)] == ["20240131", "20240201"]
    assert [day for day in days if found("DA", "-20240101", day)] == ["20231231", "20240101"]


def test_a_range_from_late_to_early_matches_nothing() -> None:
    assert not found("DA", "20240131-20240101", "20240115")


@pytest.mark.parametrize("stored", ["1994.01.31", "19940131", "19940131 "])
def test_dates_with_dots_are_dates(stored: str) -> None:
    assert found("DA", "19940131", stored)
    assert found("DA", "1994.01.31", stored)
    assert found("DA", "19940101-19940201", stored)


@pytest.mark.parametrize(
    ("key", "stored", "is_found"),
    [
        ("2230", "223000", True),
        ("2230", "223015.5", True),
        ("2230", "223100", False),
        ("223000", "2230", True),
        ("223000", "223000.000000", True),
        ("223000.5", "223000.500000", True),
        ("223000.5", "223000.6", False),
        ("22:30:00", "223000", True),
        ("223000.214743", "223000.214743984", True),
        ("223000.214743984", "22:30:00.214743", True),
        ("223000.", "223000.5", True),
        ("2230", "22:30:10", True),
        ("2200-2230", "223059.999999", True),
        ("2200-2230", "223100", False),
        ("-2230", "000000", True),
        ("22-", "235959", True),
        ("2300-0100", "233000", False),
    ],
)
def test_times_are_compared_by_meaning_and_partial_ends_cover_their_unit(key: str, stored: str, is_found: bool) -> None:
    assert found("TM", key, stored) is is_found


@pytest.mark.parametrize(
    ("key", "stored", "is_found"),
    [
        ("20240131101500", "20240131101500", True),
        ("2024", "20240131101500", True),
        ("202402", "20240229235959.5", True),
        ("2024-2025", "20251231235959", True),
        ("20240131-20240201", "20240201235959.999999", True),
        ("20240131-20240201", "20240202", False),
        ("20240131120000+0100", "20240131110000+0000", True),
        ("20240131120000+0100", "20240131060000-0500", True),
        ("20240131120000-0500", "20240131170000+0000", True),
        ("20240131120000-0500-20240131130000-0500", "20240131173000+0000", True),
        ("20240131120000-0500-20240131130000-0500", "20240131183000+0000", False),
        ("20240131120000-0500-", "20240131165959+0000", False),
        ("-20240131120000-0500", "20240131170000+0000", True),
        ("20240131120000 0100", "20240131110000+0000", True),
        ("20240131120000.25-20240131120000.75", "20240131120000.5", True),
    ],
)
def test_date_times_are_compared_as_instants(key: str, stored: str, is_found: bool) -> None:
    assert found("DT", key, stored) is is_found


def test_a_zone_belongs_to_date_times_that_have_none() -> None:
    stored = element("DT", "20240131110000+0000")
    assert accepts(read("DT", "20240131120000", zone="+0100"), stored)
    assert accepts(read("DT", "20240131110000+0000", zone="+0100"), stored)
    assert not accepts(read("DT", "20240131110000", zone="+0100"), stored)


@pytest.mark.parametrize(
    ("vr", "text"),
    [
        ("DA", "yesterday"),
        ("DA", "20241301"),
        ("DA", "20240132"),
        ("DA", "-"),
        ("DA", "2024-01-31"),
        ("DA", "20240101-20240102-20240103"),
        ("DA", "20240101,20240102"),
        ("TM", "25"),
        ("TM", "1060"),
        ("TM", "10:1"),
        ("TM", "101500+0100"),
        ("DT", "202401-31-01"),
        ("DT", "20240101250000"),
        ("DT", "20240101120000+9900"),
        ("DA", "٢٠٢٤٠١٠١"),
    ],
)
def test_what_is_no_date_or_time_is_refused(vr: str, text: str) -> None:
    with pytest.raises(BadQuery):
        read(vr, text)


def test_a_stored_value_that_is_no_date_is_found_by_universal_keys_only() -> None:
    for stored in ["UNKNOWN", "00000000", "20241399"]:
        assert comparable("DA", stored) is None
        assert not found("DA", "19000101-20991231", stored)
        assert accepts(Anything(), element("DA", stored))


@given(st.text("0123456789.:-+ ", max_size=26), st.sampled_from(["DA", "TM", "DT"]))
def test_any_text_is_read_as_a_date_or_refused(text: str, vr: str) -> None:
    comparable(vr, text)
    try:
        match = read(vr, text)
    except BadQuery:
        return
    assert isinstance(match, Between | Anything)


# -- combined date and time ---------------------------------------------------------------------------------
def moment(match: Moment, date: str, at: str | None) -> bool:
    return accepts(match, element("DA", date), None if at is None else element("TM", at))


def test_ranges_of_date_and_time_are_one_interval() -> None:
    match = combine("20240705-20240707", "1000-1800", 0x00080030)
    assert match == Moment(0x00080030, "20240705100000.000000", "20240707180059.999999")
    assert moment(match, "20240706", "030000")
    assert moment(match, "2024.07.07", "18:00:00")
    assert not moment(match, "20240705", "095959")
    assert not moment(match, "20240707", "1801")


def test_open_ends_of_date_and_time_leave_the_interval_open() -> None:
    after = combine("20240705-", "1000-", 0x00080030)
    assert after == Moment(0x00080030, "20240705100000.000000", None)
    assert combine("-20240705", "-1000", 0) == Moment(0, None, "20240705100059.999999")
    assert combine("20240705-20240706", "1000-", 0) == Moment(0, "20240705100000.000000", "20240706235959.999999")


def test_a_date_without_time_counts_as_the_beginning_of_its_day() -> None:
    match = combine("20240705-20240707", "1000-1800", 0x00080030)
    assert isinstance(match, Moment)
    assert not moment(match, "20240705", None)
    assert moment(match, "20240706", None)
    assert moment(match, "20240707", None)


@pytest.mark.parametrize(("date", "at"), [("20240705", "1000-1800"), ("20240705-20240707", "1000"), ("*", "10-11")])
def test_date_and_time_stay_apart_unless_both_are_ranges(date: str, at: str) -> None:
    assert combine(date, at, 0x00080030) is None


def test_a_moment_finds_its_time_beside_the_date() -> None:
    match = combine("20240705-20240707", "1000-1800", 0x00080030)
    assert match is not None
    key = (Key(0x00080020, match),)
    date, at = element("DA", "20240705"), element("TM", "1100")
    assert satisfies(key, {"00080020": date, "00080030": at})
    assert not satisfies(key, {"00080020": date, "00080030": element("TM", "0900")})


# -- sequences, private attributes --------------------------------------------------------------------------
def test_one_item_must_satisfy_all_keys_of_a_sequence() -> None:
    match = Within((Key(0x00080100, OneOf(("A",))), Key(0x00080102, OneOf(("DCM",)))))
    both = {"00080100": element("SH", "A"), "00080102": element("SH", "DCM")}
    left = {"00080100": element("SH", "A"), "00080102": element("SH", "LN")}
    right = {"00080100": element("SH", "B"), "00080102": element("SH", "DCM")}
    assert accepts(match, element("SQ", left, both))
    assert not accepts(match, element("SQ", left, right))
    assert not accepts(match, element("SQ", {}))
    assert not accepts(match, element("SQ"))


def test_a_sequence_has_no_value_of_its_own_to_search_for() -> None:
    with pytest.raises(BadQuery):
        read("SQ", "anything")


def test_binary_values_cannot_be_searched() -> None:
    with pytest.raises(BadQuery):
        read("OB", "AAAA")


def test_private_attributes_are_found_in_the_block_that_their_creator_has() -> None:
    dataset = {
        "00290010": element("LO", "OTHER"),
        "00290011": element("LO", "ACME "),
        "00291002": element("LO", "other's"),
        "00291102": element("LO", "acme's"),
    }
    assert element_of(dataset, 0x00291002, "ACME") == element("LO", "acme's")
    assert element_of(dataset, 0x00291002, "OTHER") == element("LO", "other's")
    assert element_of(dataset, 0x00291002, "NOBODY") is None
    assert satisfies((Key(0x00291002, OneOf(("acme's",)), "ACME"),), dataset)
    assert not satisfies((Key(0x00291002, OneOf(("acme's",)), "OTHER"),), dataset)


def test_a_private_creator_is_found_whichever_block_it_has() -> None:
    dataset = {"00290010": element("LO", "OTHER"), "00290011": element("LO", "ACME")}
    assert satisfies((Key(0x00290010, OneOf(("ACME",))),), dataset)
    assert not satisfies((Key(0x00290010, OneOf(("NOBODY",))),), dataset)
    assert not satisfies((Key(0x00310010, OneOf(("ACME",))),), dataset)


@pytest.mark.parametrize(
    ("stored", "key"),
    [
        (element("DS", 1.5), "1.50"),
        (element("IS", 7), "7"),
        (element("DA", "2024.01.31"), "20240101-20240201"),
        (element("PN", name("Müller^Jörg")), "muller*"),
        (element("LO", "Text"), "T?xt"),
        (element("UI", "1.2.3"), "1.2.3"),
        ({"vr": "UN", "InlineBinary": base64.b64encode(b"Text ").decode()}, "Te*"),
        ({"vr": "UN", "InlineBinary": base64.b64encode(b"A\\B").decode()}, "B"),
    ],
)
def test_a_key_of_unknown_vr_is_read_with_the_vr_of_the_stored_value(stored: dict[str, Any], key: str) -> None:
    assert accepts(read("", key), stored)
    assert not accepts(read("", "8"), stored)


def test_binary_junk_does_not_disturb_a_search() -> None:
    junk = {"vr": "UN", "InlineBinary": base64.b64encode(b"\xff\xfe\x00").decode()}
    assert not accepts(read("", "x*"), junk)
    assert not accepts(read("", "x"), {"vr": "UN", "InlineBinary": "no base64"})
