"""What goes out for what the index found (PS3.18 10.6.3.3)."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from shelf import Shelf

from dicomweb.archive.search import READING, SearchResult, lookup, search
from dicomweb.standard.attributes import Level
from dicomweb.standard.dictionary import tag_of, vr_of
from dicomweb.standard.query import read_qido, split

BASE = "http://pacs.example/dicom-web"
STUDY, SERIES = "1.2.1", "1.2.1.1"


def tag(keyword: str) -> str:
    found = tag_of(keyword)
    assert found is not None, keyword
    return f"{found:08X}"


def model(**values: Any) -> dict[str, Any]:
    """A data set in the DICOM JSON model; None makes an attribute empty."""
    made = {}
    for keyword, value in values.items():
        name = keyword.removeprefix("x") if keyword.startswith("x") else tag(keyword)
        vr = (vr_of(int(name, 16)) or "LO").split(" ")[0]
        if vr == "PN" and value is not None:
            value = {"Alphabetic": value}
        made[name] = {"vr": vr} | ({} if value is None else {"Value": value if vr == "SQ" else [value]})
    return dict(sorted(made.items()))


def ct(study: int = 1, series: int = 1, number: int = 1, **values: Any) -> dict[str, Any]:
    return model(
        **{
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
            "SOPInstanceUID": f"1.2.{study}.{series}.{number}",
            "StudyDate": "20240131",
            "StudyTime": "101500",
            "AccessionNumber": f"ACC{study}",
            "Modality": "CT",
            "ReferringPhysicianName": None,
            "StudyDescription": "CHEST",
            "DeviceSerialNumber": "D1",
            "PatientName": f"Doe^Jane{study}",
            "PatientID": f"P{study}",
            "PatientSpeciesDescription": "Homo sapiens",
            "PatientAge": "034Y",
            "KVP": 120,
            "StudyInstanceUID": f"1.2.{study}",
            "SeriesInstanceUID": f"1.2.{study}.{series}",
            "SeriesNumber": series,
            "InstanceNumber": number,
            "Rows": 8,
            "Columns": 8,
            "BitsAllocated": 16,
        }
        | values
    )


@pytest.fixture
def shelve() -> Iterator[Callable[..., Shelf]]:
    """Makes an index of data sets."""
    made: list[Shelf] = []

    def make(*datasets: dict[str, Any]) -> Shelf:
        made.append(Shelf(*datasets))
        return made[-1]

    yield make
    for shelf in made:
        shelf.close()


@pytest.fixture
def index(shelve: Callable[..., Shelf]) -> Shelf:
    return shelve(ct(1, 1, 1), ct(1, 1, 2), ct(1, 2, 1, Modality="SR", Rows=None), ct(2, 1, 1))


def ask(index: Any, level: Level, text: str = "", study: str | None = None, series: str | None = None) -> SearchResult:
    return search(index, read_qido(level, study, series, split(text.encode())), BASE)


def names(row: dict[str, Any]) -> set[str]:
    return set(row)


def test_a_study_has_what_the_standard_requires_and_nothing_of_lower_levels(index: Shelf) -> None:
    (row,) = ask(index, "study", "StudyInstanceUID=1.2.1").rows
    assert row[tag("ModalitiesInStudy")] == {"vr": "CS", "Value": ["CT", "SR"]}
    assert row[tag("NumberOfStudyRelatedSeries")] == {"vr": "IS", "Value": [2]}
    assert row[tag("NumberOfStudyRelatedInstances")] == {"vr": "IS", "Value": [3]}
    assert row[tag("InstanceAvailability")] == {"vr": "CS", "Value": ["ONLINE"]}
    assert row[tag("RetrieveURL")] == {"vr": "UR", "Value": [f"{BASE}/studies/1.2.1"]}
    assert row[tag("PatientName")] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane1"}]}
    assert not names(row) & {tag("Modality"), tag("SeriesInstanceUID"), tag("Rows"), tag("KVP")}


def test_required_attributes_without_value_are_there_and_optional_ones_are_not(index: Shelf) -> None:
    (row,) = ask(index, "study", "StudyInstanceUID=1.2.1").rows
    assert row[tag("ReferringPhysicianName")] == {"vr": "PN"}
    assert row[tag("PatientBirthDate")] == {"vr": "DA"}
    assert tag("TimezoneOffsetFromUTC") not in row
    (report,) = ask(index, "instance", "SOPInstanceUID=1.2.1.2.1").rows
    assert tag("Rows") not in report
    assert tag("NumberOfFrames") not in report


@pytest.mark.parametrize("level", ["patient", "study", "series", "instance"])
@pytest.mark.parametrize("text", ["", "includefield=all", "includefield=StationName,PatientSpeciesDescription"])
def test_tags_ascend_and_no_element_has_an_empty_value(index: Shelf, level: Level, text: str) -> None:
    rows = ask(index, level, text).rows
    assert rows
    for row in rows:
        assert list(row) == sorted(row)
        assert all(element.get("Value") != [] for element in row.values())
        assert orjson.loads(orjson.dumps(row)) == row


def test_each_level_links_to_itself(index: Shelf) -> None:
    url = tag("RetrieveURL")
    assert ask(index, "series", study=STUDY).rows[1][url]["Value"] == [f"{BASE}/studies/1.2.1/series/1.2.1.2"]
    instances = ask(index, "instance", study=STUDY, series=SERIES).rows
    assert instances[1][url]["Value"] == [f"{BASE}/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.2"]
    assert url not in ask(index, "patient").rows[0]


def test_higher_levels_are_added_where_the_url_leaves_them_open(index: Shelf) -> None:
    patient, modality = tag("PatientName"), tag("Modality")
    assert patient not in ask(index, "series", study=STUDY).rows[0]
    assert patient in ask(index, "series").rows[0]
    assert {patient, modality} <= names(ask(index, "instance").rows[0])
    both = ask(index, "instance", study=STUDY).rows[0]
    assert (patient in both, modality in both) == (False, True)
    assert modality not in ask(index, "instance", study=STUDY, series=SERIES).rows[0]
    for row in ask(index, "instance", study=STUDY, series=SERIES).rows:
        assert row[tag("StudyInstanceUID")]["Value"] == [STUDY]
        assert row[tag("SeriesInstanceUID")]["Value"] == [SERIES]


def test_an_instance_says_what_it_is_stored_as(index: Shelf) -> None:
    row = ask(index, "instance", study=STUDY, series=SERIES).rows[0]
    assert row[tag("AvailableTransferSyntaxUID")] == {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}


def test_default_answers_read_no_metadata(index: Shelf) -> None:
    for level in ("patient", "study", "series", "instance"):
        ask(index, level, "includefield=StationName,PatientAge,SOPClassesInStudy&PatientID=P1")
    assert index.read == 0


def test_higher_level_attributes_can_be_asked_for_anywhere(index: Shelf) -> None:
    row = ask(index, "instance", "includefield=PatientName", study=STUDY, series=SERIES).rows[0]
    assert row[tag("PatientName")]["Value"] == [{"Alphabetic": "Doe^Jane1"}]


def test_what_is_held_nowhere_but_in_metadata_is_read_from_there(index: Shelf) -> None:
    (row,) = ask(index, "study", "includefield=PatientSpeciesDescription&PatientID=P2").rows
    assert row[tag("PatientSpeciesDescription")] == {"vr": "LO", "Value": ["Homo sapiens"]}
    assert index.read == 1
    row = ask(index, "instance", "includefield=KVP", study=STUDY, series=SERIES).rows[0]
    assert row[tag("KVP")] == {"vr": "DS", "Value": [120]}


def test_what_is_asked_for_and_not_there_is_returned_empty(index: Shelf) -> None:
    (row,) = ask(index, "study", "includefield=StationName,PatientBreedDescription&PatientID=P2").rows
    assert row[tag("StationName")] == {"vr": "SH"}
    assert row[tag("PatientBreedDescription")] == {"vr": "LO"}


def test_what_was_searched_for_is_returned(index: Shelf) -> None:
    (row,) = ask(index, "study", "PatientAge=034Y&PatientID=P2").rows
    assert row[tag("PatientAge")] == {"vr": "AS", "Value": ["034Y"]}


def test_what_was_searched_for_at_a_lower_level_is_not_returned(index: Shelf) -> None:
    (row,) = ask(index, "study", "DeviceSerialNumber=D1&Modality=SR").rows
    assert not names(row) & {tag("DeviceSerialNumber"), tag("Modality")}


def test_all_means_everything_of_the_level_and_above_and_nothing_below(index: Shelf) -> None:
    study = ask(index, "study", "includefield=all").rows[0]
    assert {tag("PatientSpeciesDescription"), tag("PatientAge"), tag("AccessionNumber")} <= names(study)
    assert not names(study) & {tag("KVP"), tag("Modality"), tag("DeviceSerialNumber"), tag("SOPInstanceUID")}
    instance = ask(index, "instance", "includefield=all", study=STUDY, series=SERIES).rows[0]
    assert names(instance) >= names(ct()) - {tag("ReferringPhysicianName")}
    assert instance[tag("NumberOfSeriesRelatedInstances")]["Value"] == [2]


def test_counts_of_the_archive_win_over_counts_that_a_data_set_claims(shelve: Callable[..., Shelf]) -> None:
    shelf = shelve(ct(NumberOfStudyRelatedInstances=99, ModalitiesInStudy="XX"))
    for text in ["", "includefield=all", "includefield=PatientSpeciesDescription"]:
        (row,) = ask(shelf, "study", text).rows
        assert row[tag("NumberOfStudyRelatedInstances")]["Value"] == [1]
        assert row[tag("ModalitiesInStudy")]["Value"] == ["CT"]


def test_bulk_data_in_answers_have_absolute_addresses(shelve: Callable[..., Shelf]) -> None:
    shelf = shelve(ct() | {"00420011": {"vr": "OB", "BulkDataURI": "bulkdata/00420011"}})
    uri = f"{BASE}/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.1/bulkdata/00420011"
    for text in ["includefield=EncapsulatedDocument", "includefield=all"]:
        (row,) = ask(shelf, "instance", text).rows
        assert row["00420011"] == {"vr": "OB", "BulkDataURI": uri}


def test_the_index_is_left_as_it_was(index: Shelf) -> None:
    before = ask(index, "study").rows
    ask(index, "study", "includefield=all")
    assert ask(index, "study").rows == before


def test_an_instance_that_goes_between_search_and_reading_leaves_its_row(index: Shelf) -> None:
    found = index.search(read_qido("study", None, None, []))
    index.search = lambda query: found  # type: ignore[method-assign]
    index.take_away(STUDY, 1)
    rows = ask(index, "study", "includefield=PatientSpeciesDescription").rows
    assert [row[tag("StudyInstanceUID")]["Value"] for row in rows] == [["1.2.1"], ["1.2.2"]]
    assert rows[0][tag("PatientSpeciesDescription")] == {"vr": "LO"}
    assert rows[1][tag("PatientSpeciesDescription")] == {"vr": "LO", "Value": ["Homo sapiens"]}


# -- sequences and private attributes -----------------------------------------------------------------------
@pytest.fixture
def requests(shelve: Callable[..., Shelf]) -> Shelf:
    items = [
        model(ScheduledProcedureStepID="S1", RequestedProcedureID="R1", RequestedProcedureDescription="one"),
        model(ScheduledProcedureStepID="S2", RequestedProcedureID="R2", RequestedProcedureDescription="two"),
    ]
    codes = [model(CodeValue="A", CodeMeaning="first"), model(CodeValue="B", CodeMeaning="second")]
    return shelve(ct(RequestAttributesSequence=items, AnatomicRegionSequence=codes))


def test_request_attributes_are_returned_with_every_series(requests: Shelf) -> None:
    (row,) = ask(requests, "series", study=STUDY).rows
    assert len(row[tag("RequestAttributesSequence")]["Value"]) == 2


def test_of_a_sequence_only_the_attributes_asked_for_are_returned(requests: Shelf) -> None:
    (row,) = ask(requests, "instance", "includefield=AnatomicRegionSequence.CodeValue").rows
    assert row[tag("AnatomicRegionSequence")]["Value"] == [model(CodeValue="A"), model(CodeValue="B")]
    (row,) = ask(requests, "instance", "includefield=AnatomicRegionSequence").rows
    assert len(row[tag("AnatomicRegionSequence")]["Value"][0]) == 2


def test_of_a_sequence_that_was_searched_in_the_matching_items_are_returned(requests: Shelf) -> None:
    text = "AnatomicRegionSequence.CodeValue=B&includefield=AnatomicRegionSequence.CodeMeaning"
    (row,) = ask(requests, "instance", text).rows
    assert row[tag("AnatomicRegionSequence")]["Value"] == [model(CodeValue="B", CodeMeaning="second")]


def test_private_attributes_come_with_their_creator_from_whichever_block(
    shelve: Callable[..., Shelf],
) -> None:
    private = {
        "00230010": {"vr": "LO", "Value": ["OTHER"]},
        "00230011": {"vr": "LO", "Value": ["ACME"]},
        "00231002": {"vr": "LO", "Value": ["not this"]},
        "00231102": {"vr": "LO", "Value": ["this"]},
    }
    shelf = shelve(dict(sorted((ct() | private).items())), ct(2))
    rows = ask(shelf, "instance", "00230010=ACME&includefield=00231002").rows
    assert len(rows) == 2
    assert {name: rows[0][name] for name in rows[0] if name.startswith("0023")} == {
        "00230011": private["00230011"],
        "00231102": private["00231102"],
    }
    assert not any(name.startswith("0023") for name in rows[1])
    (row,) = ask(shelf, "instance", "00230010=ACME&00231002=th*").rows
    assert row["00231102"] == private["00231102"]
    assert ask(shelf, "instance", "00230010=ACME&00231002=not*").rows == []


# -- keys that this module answers, pages -------------------------------------------------------------------
def test_everything_here_is_online(index: Shelf) -> None:
    assert len(ask(index, "study", "InstanceAvailability=ONLINE").rows) == 2
    assert len(ask(index, "study", "InstanceAvailability=ONLINE,NEARLINE").rows) == 2
    assert ask(index, "study", "InstanceAvailability=OFFLINE").rows == []


def test_the_character_set_of_answers_is_utf_8(index: Shelf) -> None:
    row = ask(index, "study", "includefield=SpecificCharacterSet").rows[0]
    assert row[tag("SpecificCharacterSet")] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert index.read == 0


def test_a_page_knows_how_many_follow_and_where(index: Shelf) -> None:
    first = ask(index, "instance", "limit=3")
    assert (len(first.rows), first.remaining) == (3, 1)
    second = ask(index, "instance", f"limit=3&cursor={first.cursor}")
    assert (len(second.rows), second.remaining, second.cursor) == (1, 0, None)


def test_a_page_of_nothing_tells_how_much_there_is(index: Shelf) -> None:
    assert ask(index, "instance", "limit=0") == SearchResult([], 4)


def test_pages_that_need_metadata_are_short(shelve: Callable[..., Shelf]) -> None:
    shelf = shelve(*(ct(1, 1, number) for number in range(1, READING + 3)))
    result = ask(shelf, "instance", "includefield=KVP&limit=10000")
    assert (len(result.rows), result.remaining) == (READING, 2)
    assert shelf.read == READING
    assert len(ask(shelf, "instance", "limit=10000").rows) == READING + 2


def test_warnings_of_the_query_are_handed_on(index: Shelf) -> None:
    assert len(ask(index, "study", "nonsense=1").warnings) == 1


# -- lookup -------------------------------------------------------------------------------------------------
def test_an_identifier_is_found_at_every_level_that_has_it(index: Shelf) -> None:
    (patient,) = lookup(index, "P1", BASE)  # type: ignore[arg-type]
    assert (patient["level"], patient["matched"], patient["PatientID"]) == ("patient", "PatientID", "P1")
    assert patient["url"] == f"{BASE}/studies?PatientID=P1"
    (study,) = lookup(index, "ACC2", BASE)  # type: ignore[arg-type]
    assert (study["level"], study["matched"]) == ("study", "AccessionNumber")
    assert study["url"] == f"{BASE}/studies/1.2.2"
    assert study["label"] == "Doe Jane2 · 2024-01-31 · CT · CHEST"
    assert study["dataset"][tag("StudyInstanceUID")]["Value"] == ["1.2.2"]
    (instance,) = lookup(index, "1.2.1.1.2", BASE)  # type: ignore[arg-type]
    assert (instance["level"], instance["matched"]) == ("instance", "SOPInstanceUID")
    assert instance["url"] == f"{BASE}/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.2"
    assert instance["SeriesInstanceUID"] == "1.2.1.1"
    assert lookup(index, "nobody", BASE) == []  # type: ignore[arg-type]


def test_a_patient_with_an_issuer_is_linked_with_it(shelve: Callable[..., Shelf]) -> None:
    shelf = shelve(ct(PatientID="A&B 1", IssuerOfPatientID="Hospital"))
    (patient,) = lookup(shelf, "A&B 1", BASE)  # type: ignore[arg-type]
    assert patient["url"] == f"{BASE}/studies?PatientID=A%26B+1&IssuerOfPatientID=Hospital"
    text = patient["url"].partition("?")[2]
    assert len(ask(shelf, "study", text).rows) == 1
