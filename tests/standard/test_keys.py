"""Searches of QIDO-RS as keys of C-FIND."""

import pytest

from dicomweb.standard.keys import matches, ordered, read_asked, unchecked
from dicomweb.standard.query import Query, read_qido, split


def asked(level, text="", study=None, series=None):
    params = split(text.encode())
    query = read_qido(level, study, series, params)
    return read_asked(query, params).at(level, query), query


@pytest.mark.parametrize(
    ("text", "tag", "value"),
    [
        ("PatientName=Sm*", "00100010", [{"Alphabetic": "Sm*"}]),
        ("PatientName=A%3DB", "00100010", [{"Alphabetic": "A", "Ideographic": "B"}]),
        ("PatientID=P%201", "00100020", ["P 1"]),
        ("StudyDate=20240101-20241231", "00080020", ["20240101-20241231"]),
        ("StudyInstanceUID=1.2,1.3", "0020000D", ["1.2", "1.3"]),
        ("0020000D=1.2", "0020000D", ["1.2"]),
        ("PatientName=ann%20sm&fuzzymatching=true", "00100010", [{"Alphabetic": "*ann*"}]),
        ("ModalitiesInStudy=CT", "00080061", ["CT"]),
    ],
)
def test_what_c_find_can_carry_goes_out_as_it_was_written(text, tag, value):
    keys, _ = asked("study", text)
    assert keys[tag]["Value"] == value


@pytest.mark.parametrize("text", ["ModalitiesInStudy=CT,MR", 'PatientID=""&emptyvaluematching=true', "PatientID=*"])
def test_what_it_cannot_carry_is_universal(text):
    keys, query = asked("study", text)
    tag = "00080061" if "Modal" in text else "00100020"
    assert "Value" not in keys[tag]
    assert query.keys or text.endswith("*")


def test_each_level_asks_for_its_own_attributes_and_never_for_those_of_the_answerer():
    study, _ = asked("study")
    series, _ = asked("series", "PatientID=P1&Modality=CT")
    instance, _ = asked("instance", "includefield=00280010")
    assert {"0020000D", "00100010", "00080061", "00201208"} <= set(study)
    assert {"0020000E", "00080060", "00201209"} <= set(series)
    assert "00100020" not in series
    assert {"00080018", "00080016", "00200013", "00280010"} <= set(instance)
    assert not {"00080056", "00081190", "00080005", "00080052"} & (set(study) | set(series) | set(instance))


def test_an_answer_is_checked_by_what_it_has_and_the_rest_is_named():
    _, query = asked("study", "PatientID=P1&StudyDescription=X")
    row = {"00100020": {"vr": "LO", "Value": ["P1"]}}
    assert matches(query.keys, row)
    assert [f"{key.tag:08X}" for key in unchecked(query.keys, row)] == ["00081030"]
    assert not matches(query.keys, {"00100020": {"vr": "LO", "Value": ["P2"]}})


def test_answers_come_in_our_order():
    rows = [
        {"00080020": {"vr": "DA", "Value": [day]}, "0020000D": {"vr": "UI", "Value": [uid]}}
        for day, uid in [("20240101", "2"), ("20250101", "3"), ("20240101", "1")]
    ]
    rows.append({"0020000D": {"vr": "UI", "Value": ["9"]}})
    assert [row["0020000D"]["Value"][0] for row in ordered(Query("study"), rows)] == ["3", "1", "2", "9"]
    numbers = [{"00200011": {"vr": "IS", "Value": [number]}} for number in (10, 9)] + [{"00200011": {"vr": "IS"}}]
    shown = [row["00200011"].get("Value", ["none"])[0] for row in ordered(Query("series"), numbers)]
    assert shown == [9, 10, "none"]
    _, query = asked("study", "orderby=-StudyInstanceUID")
    assert [row["0020000D"]["Value"][0] for row in ordered(query, rows)] == ["9", "3", "2", "1"]
