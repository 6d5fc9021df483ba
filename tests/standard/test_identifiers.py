"""C-FIND identifiers: the same Query as the parameters of QIDO-RS, and bytes in character sets that can be read."""

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomweb.errors import BadQuery
from dicomweb.standard import dicomjson, identifiers
from dicomweb.standard.identifiers import Terms, choose_charset, read_identifier
from dicomweb.standard.query import read_qido

STUDY, SERIES, INSTANCE = "1.2.3", "1.2.3.4", "1.2.3.4.5"


def encoded(syntax: str = ExplicitVRLittleEndian, **keys: Any) -> bytes:
    ds = Dataset()
    for keyword, value in keys.items():  # keys need not be values of their VR
        tag = tag_for_keyword(keyword)
        ds.add(DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE))
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, syntax == ImplicitVRLittleEndian
    write_dataset(out, ds)
    return out.getvalue()


PLAIN = Terms()


def asked(root: str = "study", terms: Terms = PLAIN, **keys: Any) -> identifiers.Asked:
    return read_identifier(identifiers.read(encoded(**keys), ExplicitVRLittleEndian), root, terms)


def same_query(one: identifiers.Asked, params: str, level: str, study: str | None = None, series: str | None = None):
    from dicomweb.standard.query import split

    other = read_qido(level, study, series, split(params.encode()))
    assert set(one.query.keys) == set(other.keys)
    assert (one.query.level, one.query.study, one.query.series) == (level, study, series)


def test_keys_are_those_of_the_same_search_over_the_web():
    found = asked(
        QueryRetrieveLevel="STUDY", PatientName="DOE*^J?", StudyDate="20240101-20240131", AccessionNumber="A,1"
    )
    same_query(found, "PatientName=DOE*%5EJ%3F&StudyDate=20240101-20240131&AccessionNumber=A%2C1", "study")
    assert found.path == "/studies"


def test_lists_of_uids_and_universal_keys():
    found = asked(QueryRetrieveLevel="STUDY", StudyInstanceUID=[STUDY, "1.9"], PatientID="", StudyDescription="*")
    same_query(found, f"StudyInstanceUID={STUDY},1.9", "study")
    assert {path[0] for path in found.wanted} == {0x0020000D, 0x00100020, 0x00081030}


def test_unique_keys_above_become_the_path():
    found = asked(QueryRetrieveLevel="IMAGE", StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, InstanceNumber="")
    assert found.path == f"/studies/{STUDY}/series/{SERIES}/instances"
    same_query(found, "", "instance", STUDY, SERIES)


def test_several_values_above_are_keys():
    found = asked(QueryRetrieveLevel="SERIES", StudyInstanceUID=[STUDY, "1.9"], Modality="CT")
    assert found.path == "/series"
    same_query(found, f"StudyInstanceUID={STUDY},1.9&Modality=CT", "series")


def test_keys_inside_of_sequences():
    item = Dataset()
    item.ScheduledProcedureStepID = "S1"
    item.RequestedProcedureID = ""
    found = asked(QueryRetrieveLevel="SERIES", StudyInstanceUID=STUDY, RequestAttributesSequence=[item])
    same_query(found, "RequestAttributesSequence.ScheduledProcedureStepID=S1", "series", STUDY)
    assert (0x00400275, 0x00401001) in found.wanted


def test_what_was_negotiated_becomes_options():
    terms = Terms(fuzzy=True, empty=True, multiple=True)
    found = asked(terms=terms, QueryRetrieveLevel="STUDY", PatientName="doe", ModalitiesInStudy=["CT", "PT"])
    params = (
        "PatientName=doe&ModalitiesInStudy=CT,PT&fuzzymatching=true&emptyvaluematching=true&multiplevaluematching=true"
    )
    same_query(found, params, "study")


@pytest.mark.parametrize(
    ("root", "keys", "level"),
    [
        ("study", {"StudyDate": "20240101"}, "study"),
        ("study", {"StudyInstanceUID": STUDY}, "study"),
        ("study", {"StudyInstanceUID": STUDY, "SeriesInstanceUID": ""}, "series"),
        ("patient", {"PatientName": "A"}, "patient"),
        ("patient", {"PatientID": "A", "SOPInstanceUID": ""}, "instance"),
    ],
)
def test_a_missing_level_follows_from_the_unique_keys(root, keys, level):
    assert asked(root, **keys).level == level
    with pytest.raises(BadQuery, match="missing"):
        asked(root, Terms(strict=True), **keys)


def test_a_level_that_the_model_has_not_is_refused():
    with pytest.raises(BadQuery, match="STUDY, SERIES, IMAGE"):
        asked(terms=Terms(strict=True), QueryRetrieveLevel="PATIENT")
    with pytest.raises(BadQuery, match="none of"):
        asked(QueryRetrieveLevel="FRAME")
    with pytest.raises(BadQuery, match="none of"):
        asked("patient only", QueryRetrieveLevel="SERIES")


def test_relational_queries_are_refused_only_where_strict_and_not_negotiated():
    keys = {"QueryRetrieveLevel": "SERIES", "PatientName": "A", "StudyInstanceUID": STUDY}
    assert asked(**keys).level == "series"
    assert asked(terms=Terms(strict=True, relational=True), **keys).level == "series"
    with pytest.raises(BadQuery, match="PatientName"):
        asked(terms=Terms(strict=True), **keys)
    with pytest.raises(BadQuery, match="StudyInstanceUID needs one value"):
        asked(terms=Terms(strict=True), QueryRetrieveLevel="SERIES", Modality="CT")


def test_a_key_without_meaning_is_a_bad_query():
    with pytest.raises(BadQuery, match="StudyDate"):
        _ = asked(QueryRetrieveLevel="STUDY", StudyDate="199").query


def test_date_and_time_ranges_match_by_themselves_unless_negotiated():
    keys = {"QueryRetrieveLevel": "STUDY", "StudyDate": "20240101-20240103", "StudyTime": "0900-1000"}
    inside = {"00080020": {"vr": "DA", "Value": ["20240102"]}, "00080030": {"vr": "TM", "Value": ["093000"]}}
    outside = {**inside, "00080030": {"vr": "TM", "Value": ["120000"]}}
    apart, joined = asked(**keys), asked(terms=Terms(combined=True), **keys)
    assert [identifiers.satisfies(apart, row) for row in (inside, outside)] == [True, False]
    assert [identifiers.satisfies(joined, row) for row in (inside, outside)] == [True, True]


NAME = {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]}


@pytest.mark.parametrize(
    ("wanted", "fallback", "chosen"),
    [
        ((), "", ("ISO_IR 192",)),
        (("ISO_IR 192",), "", ("ISO_IR 192",)),
        (("", "ISO 2022 IR 87"), "", ("", "ISO 2022 IR 87")),
        (("ISO_IR 100",), "", ("ISO_IR 192",)),
        ((), "\\ISO 2022 IR 87", ("", "ISO 2022 IR 87")),
        ((), "ISO_IR 100", ("ISO_IR 100",)),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_character_set_is_one_that_the_asker_reads(wanted, fallback, chosen, syntax):
    dataset = {"00100010": NAME, "0020000D": {"vr": "UI", "Value": [STUDY]}}
    assert choose_charset(dataset, wanted, fallback) == chosen
    data = identifiers.write(dataset, syntax, chosen)
    read = _read(data, syntax)
    name = "Yamada^Tarou=山田^太郎" if chosen != ("ISO_IR 100",) else "Yamada^Tarou=??^??"
    assert str(read.PatientName) == name
    assert read.StudyInstanceUID == STUDY


def _read(data: bytes, syntax: str) -> Dataset:
    from pydicom.filereader import read_dataset

    ds = read_dataset(io.BytesIO(data), syntax == ImplicitVRLittleEndian, True)
    ds.decode()
    return ds


def test_ascii_needs_no_character_set():
    assert choose_charset({"00100020": {"vr": "LO", "Value": ["P1"]}}, ("ISO_IR 100",)) == ()
    assert b"ISO_IR" not in identifiers.write({"00100020": {"vr": "LO", "Value": ["P1"]}}, ImplicitVRLittleEndian)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "PatientName": st.text("ABc^=*? é", max_size=12),
            "PatientID": st.text("AB1-*_", max_size=12),
            "StudyDate": st.sampled_from(["20240101", "-20240101", "20240101-", "20240101-20240202", ""]),
            "Modality": st.sampled_from(["CT", "MR", "", "*"]),
            "StudyInstanceUID": st.sampled_from(["", STUDY]),
        },
    ),
    st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
)
def test_what_is_written_is_read_back(keys, syntax):
    read = identifiers.read(
        encoded(ExplicitVRLittleEndian, SpecificCharacterSet="ISO_IR 192", **keys), ExplicitVRLittleEndian
    )
    again = identifiers.read(identifiers.write(read, syntax, ("ISO_IR 192",)), syntax)
    assert dicomjson.write(again) == dicomjson.write(read)


def test_a_value_that_looks_like_a_character_set_is_none():
    data = struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", 4) + b"\x08\x00\x05\x00"
    assert "00080005" not in identifiers.read(data, ExplicitVRLittleEndian)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_character_set_is_found_behind_the_lengths_of_its_group(syntax):
    lengths = b"".join(identifiers.write({tag: {"vr": "UL", "Value": [8]}}, syntax) for tag in ("00080000", "00080001"))
    read = identifiers.read(lengths + identifiers.write({}, syntax, ("", "ISO 2022 IR 87")), syntax)
    assert read["00080005"]["Value"] == ["", "ISO 2022 IR 87"]


@pytest.mark.parametrize(
    ("charset", "bytes_of_the_name"),
    [("", "Müller".encode()), ("ISO_IR 100", b"M\xfcller"), ("ISO 2022 IR 6\\ISO 2022 IR 87", b"M?ller")],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_request_is_in_what_the_node_reads(charset, bytes_of_the_name, syntax):
    keys = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller"}]}, "0020000D": {"vr": "UI"}}
    data = identifiers.write_request("study", keys, syntax, charset)
    assert bytes_of_the_name in data
    read = identifiers.read(data, syntax)
    assert dicomjson.text(read, "00080052") == "STUDY"
    assert read["00080005"]["Value"] == (charset or "ISO_IR 192").split("\\")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("told", "assumed", "name"),
    [
        ((), "ISO_IR 101", "Dvořák"),
        (("",), "ISO_IR 101", "Dvořák"),
        (("ISO_IR 100",), "ISO_IR 101", "Dvoøák"),
    ],
)
def test_an_answer_that_does_not_say_is_in_what_the_node_writes(told, assumed, name, syntax):
    text = identifiers.write({"00100020": {"vr": "LO", "Value": ["Dvořák"]}}, syntax, ("ISO_IR 101",))
    text = text[len(identifiers.write({}, syntax, ("ISO_IR 101",))) :]
    data = identifiers.write({}, syntax, told) + text
    assert dicomjson.text(identifiers.read_answer(data, syntax, assumed), "00100020") == name
