"""QIDO-RS parameters as a Query (PS3.18 8.3.4)."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.errors import BadQuery
from dicomweb.standard.attributes import Level
from dicomweb.standard.dictionary import tag_of
from dicomweb.standard.matching import (
    Absent,
    Between,
    Key,
    Match,
    Moment,
    Name,
    Number,
    OneOf,
    Pattern,
    Within,
)
from dicomweb.standard.query import Limits, Order, Query, read_path, read_qido, split, write_path


def ask(text: str, level: Level = "study", **options: Any) -> Query:
    return read_qido(level, options.pop("study", None), options.pop("series", None), split(text.encode()), **options)


def tag(keyword: str) -> int:
    found = tag_of(keyword)
    assert found is not None, keyword
    return found


def matches(query: Query) -> dict[int, Match]:
    return {key.tag: key.match for key in query.keys}


def test_no_parameters_ask_for_everything_in_pages_of_a_thousand() -> None:
    assert ask("") == Query("study")


def test_the_uids_of_the_url_are_part_of_the_query() -> None:
    query = ask("", "instance", study="1.2", series="1.3")
    assert (query.study, query.series, query.level) == ("1.2", "1.3", "instance")


# -- attributes ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["PatientID", "00100020", "0010%30020"])
def test_an_attribute_is_named_by_keyword_or_tag(name: str) -> None:
    assert matches(ask(f"{name}=P1")) == {0x00100020: OneOf(("P1",))}


def test_the_digits_of_a_tag_may_be_small() -> None:
    assert matches(ask("0020000d=1.2")) == matches(ask("0020000D=1.2")) == {0x0020000D: OneOf(("1.2",))}


def test_keys_are_read_by_the_vr_of_their_attribute() -> None:
    query = ask("PatientName=M%C3%BCller*&StudyDate=20240101-&SeriesNumber=3&StudyDescription=CH*&StudyID=A")
    assert matches(query) == {
        tag("PatientName"): Name("muller*"),
        tag("StudyDate"): Between("20240101", None),
        tag("SeriesNumber"): Number((3.0,)),
        tag("StudyDescription"): Pattern("CH*"),
        tag("StudyID"): OneOf(("A",)),
    }


def test_what_is_searched_for_is_returned_too() -> None:
    assert (tag("StationName"),) in ask("StationName=CT1").include


def test_a_key_without_value_is_returned_and_not_matched() -> None:
    for text in ["StationName=", "StationName=*", "StationName"]:
        query = ask(text)
        assert query.keys == ()
        assert query.include == {(tag("StationName"),)}


@pytest.mark.parametrize(
    "text",
    [
        "PatientID=1&PatientID=2",
        "PatientID=1&00100020=1",
        "0020000d=1.2&0020000D=1.2",
        "RequestAttributesSequence.ScheduledProcedureStepID=1&00400275.00400009=1",
        "limit=1&limit=2",
        "fuzzymatching=true&fuzzymatching=true",
    ],
)
def test_a_parameter_given_twice_is_refused(text: str) -> None:
    with pytest.raises(BadQuery):
        ask(text)


def test_an_attribute_may_be_both_a_key_and_a_field() -> None:
    query = ask("PatientID=1&includefield=PatientID&includefield=00100020")
    assert matches(query) == {tag("PatientID"): OneOf(("1",))}
    assert query.include == {(tag("PatientID"),)}


@pytest.mark.parametrize("name", ["patientid", "NoSuchKeyword", "00999998", "_", "00020010", "00100000", "FFFEE000"])
def test_what_is_no_attribute_is_ignored_with_a_warning(name: str) -> None:
    query = ask(f"{name}=x&PatientID=1")
    assert matches(query) == {tag("PatientID"): OneOf(("1",))}
    assert len(query.warnings) == 1
    assert name in query.warnings[0]


def test_a_hundred_unknown_names_make_one_short_warning() -> None:
    query = ask("&".join(f"unknown{number}=1" for number in range(100)))
    assert len(query.warnings) == 1
    assert query.warnings[0].endswith("unknown4 and 95 more.")


def test_media_type_parameters_are_none_of_a_search() -> None:
    assert ask("accept=application/dicom%2Bjson&charset=utf-8") == Query("study")


def test_the_character_set_is_never_matched() -> None:
    assert ask("SpecificCharacterSet=ISO_IR%20100") == Query("study")


def test_a_bad_value_is_refused_with_the_name_of_its_attribute() -> None:
    with pytest.raises(BadQuery, match="StudyDate"):
        ask("StudyDate=tomorrow")


def test_spaces_may_be_written_as_plus() -> None:
    assert matches(ask("StudyDescription=CHEST+CT")) == {tag("StudyDescription"): OneOf(("CHEST CT",))}
    assert matches(ask("StudyDescription=A%2BB")) == {tag("StudyDescription"): OneOf(("A+B",))}


@pytest.mark.parametrize("text", [b"PatientName=\xff", b"PatientName=%FF", b"%FF=1"])
def test_other_encodings_than_utf_8_are_refused(text: bytes) -> None:
    with pytest.raises(BadQuery):
        read_qido("study", None, None, split(text))


def test_utf_8_that_is_not_percent_encoded_is_read() -> None:
    assert matches(ask("PatientName=Müller")) == matches(ask("PatientName=M%C3%BCller"))


# -- lists --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", ["1.2,1.3", "1.2%2C1.3", "1.2%5C1.3", "1.2\\1.3"])
def test_uid_lists_are_split_at_commas_however_these_came(value: str) -> None:
    assert matches(ask(f"StudyInstanceUID={value}")) == {tag("StudyInstanceUID"): OneOf(("1.2", "1.3"))}


@pytest.mark.parametrize("value", ["CT,US", "CT%2CUS", "CT%5CUS"])
def test_modalities_are_split_at_commas_however_these_came(value: str) -> None:
    assert matches(ask(f"ModalitiesInStudy={value}")) == {tag("ModalitiesInStudy"): OneOf(("CT", "US"))}


def test_a_comma_in_a_text_is_part_of_it() -> None:
    assert matches(ask("StudyDescription=a%2Cb")) == {tag("StudyDescription"): OneOf(("a,b",))}
    assert matches(ask("StudyDescription=a,b")) == {tag("StudyDescription"): OneOf(("a,b",))}


# -- sequences ----------------------------------------------------------------------------------------------
def test_keys_of_one_sequence_ask_for_one_item() -> None:
    query = ask("RequestAttributesSequence.RequestedProcedureID=R1&00400275.ScheduledProcedureStepID=S*", "series")
    keys = (
        Key(tag("RequestedProcedureID"), OneOf(("R1",))),
        Key(tag("ScheduledProcedureStepID"), Pattern("S*")),
    )
    assert query.keys == (Key(0x00400275, Within(keys)),)
    assert query.include == {
        (0x00400275, tag("RequestedProcedureID")),
        (0x00400275, tag("ScheduledProcedureStepID")),
    }


def test_sequences_nest() -> None:
    path = "RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue"
    inner = Within((Key(tag("CodeValue"), OneOf(("X",))),))
    outer = Within((Key(tag("ScheduledProtocolCodeSequence"), inner),))
    assert ask(f"{path}=X", "series").keys == (Key(0x00400275, outer),)


@pytest.mark.parametrize("text", ["PatientName.PatientID=1", "includefield=PatientID.CodeValue", "00400275=x"])
def test_only_sequences_have_something_inside_and_only_that_can_be_searched(text: str) -> None:
    with pytest.raises(BadQuery):
        ask(text)


def test_paths_have_a_limit() -> None:
    with pytest.raises(BadQuery):
        ask(".".join(["00400275"] * 65) + "=1")


def test_paths_are_written_as_they_are_read() -> None:
    assert read_path("00400275.CodeValue") == (0x00400275, 0x00080100)
    assert write_path((0x00400275, 0x00080100)) == "RequestAttributesSequence.CodeValue"
    assert read_path("RequestAttributesSequence.NoSuch") is None


# -- private attributes -------------------------------------------------------------------------------------
def test_a_private_attribute_is_bound_to_the_creator_of_its_block() -> None:
    query = ask("00230010=AcmeCompany&00231002=x&includefield=00231003", "instance")
    assert query.keys == (Key(0x00231002, OneOf(("x",)), "AcmeCompany"),)
    assert query.creators == {0x00230010: "AcmeCompany"}
    assert query.include == {(0x00231002,), (0x00231003,)}


def test_a_private_creator_is_bound_wherever_it_stands() -> None:
    assert ask("00231002=x&00230010=Acme") == ask("00230010=Acme&00231002=x")


@pytest.mark.parametrize("text", ["00231002=x", "includefield=00231002", "00230011=Acme&00231002=x"])
def test_a_private_attribute_without_its_creator_is_ignored_with_a_warning(text: str) -> None:
    query = ask(text)
    assert 0x00231002 not in matches(query)
    assert (0x00231002,) not in query.include
    assert "00231002" in query.warnings[0]


def test_a_creator_by_itself_is_a_key() -> None:
    assert ask("00230010=Acme").keys == (Key(0x00230010, OneOf(("Acme",))),)


def test_the_key_of_a_private_attribute_is_left_to_the_vr_of_the_stored_value() -> None:
    query = ask("00290010=SIEMENS%20CSA%20HEADER&00291010=20240101-", "instance")
    assert query.keys == (Key(0x00291010, OneOf(("20240101-",)), "SIEMENS CSA HEADER"),)


# -- dates --------------------------------------------------------------------------------------------------
def test_ranges_of_a_date_and_its_time_are_one_interval() -> None:
    query = ask("StudyTime=1000-1800&StudyDate=20240105-20240107")
    moment = Moment(tag("StudyTime"), "20240105100000.000000", "20240107180059.999999")
    assert matches(query) == {tag("StudyDate"): moment}
    assert query.include == {(tag("StudyDate"),), (tag("StudyTime"),)}


def test_a_single_date_or_time_stays_a_key_of_its_own() -> None:
    query = ask("StudyTime=1000-1800&StudyDate=20240105")
    assert set(matches(query)) == {tag("StudyDate"), tag("StudyTime")}


def test_date_and_time_of_different_things_are_not_joined() -> None:
    query = ask("StudyDate=20240105-20240107&SeriesTime=1000-1800", "series")
    assert set(matches(query)) == {tag("StudyDate"), tag("SeriesTime")}


def test_date_and_time_inside_a_sequence_are_joined_there() -> None:
    start = "ScheduledProcedureStepSequence.ScheduledProcedureStepStart"
    query = ask(f"{start}Date=20240105-20240107&{start}Time=1000-1800", "instance")
    (key,) = query.keys
    assert isinstance(key.match, Within)
    (inner,) = key.match.keys
    assert inner.match == Moment(
        tag("ScheduledProcedureStepStartTime"), "20240105100000.000000", "20240107180059.999999"
    )


def test_a_time_zone_is_no_key_but_the_zone_of_date_times() -> None:
    for zone in ["%2B0100", "+0100"]:
        query = ask(f"TimezoneOffsetFromUTC={zone}&AcquisitionDateTime=20240101120000", "instance")
        assert matches(query) == {tag("AcquisitionDateTime"): Between("20240101110000.000000", "20240101110000.999999")}
        assert len(query.warnings) == 1
    with pytest.raises(BadQuery):
        ask("TimezoneOffsetFromUTC=Berlin")


# -- kinds of matching --------------------------------------------------------------------------------------
def test_fuzzy_matching_is_for_names() -> None:
    query = ask("PatientName=doe&StudyID=x&fuzzymatching=true")
    assert matches(query) == {tag("PatientName"): Name("doe", True), tag("StudyID"): OneOf(("x",))}
    assert matches(ask("PatientName=doe&fuzzymatching=false")) == {tag("PatientName"): Name("doe")}


def test_two_quotation_marks_are_the_empty_value_when_that_is_asked_for() -> None:
    assert matches(ask("AccessionNumber=%22%22&emptyvaluematching=true")) == {tag("AccessionNumber"): Absent()}
    assert matches(ask("AccessionNumber=%22%22")) == {tag("AccessionNumber"): OneOf(('""',))}
    assert matches(ask("ProcedureCodeSequence=%22%22&emptyvaluematching=true")) == {
        tag("ProcedureCodeSequence"): Absent()
    }


@pytest.mark.parametrize("value", ["CT,PT", "CT%5CPT", "CT%2CPT"])
def test_multiple_value_matching_asks_for_every_value(value: str) -> None:
    query = ask(f"ModalitiesInStudy={value}&multiplevaluematching=true")
    assert [key.match for key in query.keys] == [OneOf(("CT",)), OneOf(("PT",))]


def test_multiple_value_matching_splits_texts_at_commas_that_came_as_such() -> None:
    query = ask("OtherPatientIDs=A,B%2CC&multiplevaluematching=true")
    assert [key.match for key in query.keys] == [OneOf(("A",)), OneOf(("B,C",))]


def test_multiple_value_matching_takes_no_wildcards_in_a_list() -> None:
    assert ask("OtherPatientIDs=A*&multiplevaluematching=true").keys[0].match == Pattern("A*")
    with pytest.raises(BadQuery):
        ask("OtherPatientIDs=A*,B&multiplevaluematching=true")


@pytest.mark.parametrize("name", ["fuzzymatching", "emptyvaluematching", "multiplevaluematching"])
def test_switches_are_true_or_false(name: str) -> None:
    assert ask(f"{name}=True") == ask(f"{name}=true")
    for value in ["", "1", "yes"]:
        with pytest.raises(BadQuery):
            ask(f"{name}={value}")


# -- fields -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "includefield=StationName&includefield=00101010",
        "includefield=StationName,00101010",
        "includefield=StationName%2C00101010",
        "includefield=,StationName,,00101010,StationName",
    ],
)
def test_fields_are_repeated_or_listed(text: str) -> None:
    query = ask(text)
    assert query.include == {(tag("StationName"),), (tag("PatientAge"),)}
    assert not query.include_all


def test_all_stands_alone() -> None:
    assert ask("includefield=all").include_all
    for text in ["includefield=all,PatientID", "includefield=PatientID&includefield=all"]:
        with pytest.raises(BadQuery):
            ask(text)


def test_fields_of_a_lower_level_are_left_out_with_a_warning() -> None:
    query = ask("includefield=Modality,StationName")
    assert query.include == {(tag("StationName"),)}
    assert "Modality" in query.warnings[0]


def test_keys_of_a_lower_level_are_matched_and_not_returned() -> None:
    query = ask("SeriesDescription=AX*")
    assert matches(query) == {tag("SeriesDescription"): Pattern("AX*")}
    assert query.include == frozenset()
    assert query.warnings == ()


def test_five_hundred_fields_are_read() -> None:
    query = ask("&".join(["includefield=StationName,00101010,NoSuch"] * 500))
    assert len(query.include) == 2
    assert len(query.warnings) == 1


# -- pages --------------------------------------------------------------------------------------------------
def test_limit_and_offset_are_whole_numbers() -> None:
    query = ask("limit=101&offset=7")
    assert (query.limit, query.offset) == (101, 7)
    assert ask("limit=0").limit == 0
    for value in ["-1", "ten", "", "1.5", "1e9", "%2B1", "٣"]:
        for name in ["limit", "offset"]:
            with pytest.raises(BadQuery):
                ask(f"{name}={value}")


def test_pages_are_capped() -> None:
    assert ask("limit=1000000000").limit == 10_000
    assert ask("limit=" + "9" * 99).limit == 10_000
    limits = Limits(page=5, most=50)
    assert [ask(text, limits=limits).limit for text in ["", "limit=20", "limit=60"]] == [5, 20, 50]
    assert ask("offset=" + "9" * 99).offset < 1 << 63


def test_a_page_never_exceeds_the_most_allowed_even_by_default() -> None:
    assert ask("", limits=Limits(page=500, most=50)).limit == 50


def test_cursor_and_offset_exclude_each_other() -> None:
    assert ask("cursor=abc&offset=0").cursor == "abc"
    with pytest.raises(BadQuery):
        ask("cursor=abc&offset=10")


def test_results_are_ordered_by_indexed_attributes() -> None:
    assert ask("orderby=-StudyDate,00100010").order == (
        Order(tag("StudyDate"), True),
        Order(tag("PatientName")),
    )
    assert ask("orderby=").order == ()


@pytest.mark.parametrize(
    "value",
    [
        "KVP",
        "NoSuch",
        "Modality",
        "--StudyDate",
        "StudyDate,-StudyDate",
        "-",
        "00400275.CodeValue",
    ],
)
def test_results_are_not_ordered_by_anything_else(value: str) -> None:
    with pytest.raises(BadQuery):
        ask(f"orderby={value}")


# -- what viewers send --------------------------------------------------------------------------------------
def test_the_study_list_of_a_viewer_is_read() -> None:
    query = ask(
        "limit=101&offset=0&fuzzymatching=true&includefield=00081030%2C00080060%2C00080090%2C00100030"
        "&PatientName=*VIEWER%5ECINE*&00100020=*VW-CT*&AccessionNumber=*ACC*&ModalitiesInStudy=CT%2CUS"
        "&StudyDate=20240101-20240131"
    )
    assert matches(query) == {
        tag("PatientName"): Name("*viewer^cine*", True),
        tag("PatientID"): Pattern("*VW-CT*"),
        tag("AccessionNumber"): Pattern("*ACC*"),
        tag("ModalitiesInStudy"): OneOf(("CT", "US")),
        tag("StudyDate"): Between("20240101", "20240131"),
    }
    assert query.limit == 101


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=6))
def test_any_parameters_are_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
    try:
        query = ask(text)
    except BadQuery:
        return
    assert query.limit <= 10_000


@given(st.sampled_from(["PatientName", "StudyDate", "StudyInstanceUID", "00230010", "includefield"]), st.text())
def test_any_value_is_read_or_refused(name: str, value: str) -> None:
    try:
        query = ask(f"{name}={quote(value)}")
    except BadQuery:
        return
    assert query.level == "study"
