"""Answers of C-FIND: what they hold, and the same bytes whichever way they are made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomweb.standard import identifiers
from dicomweb.standard.answers import Answers, answer
from dicomweb.standard.identifiers import Asked, choose_charset, read_identifier

STUDY = "1.2.3"
ROW = {
    "00080020": {"vr": "DA", "Value": ["20240131"]},
    "00080056": {"vr": "CS", "Value": ["ONLINE"]},
    "00081190": {"vr": "UR", "Value": ["http://x"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]},
    "00100020": {"vr": "LO", "Value": ["P1"]},
    "0020000D": {"vr": "UI", "Value": [STUDY]},
}


def asked(level: str, *tags: str, **values: str) -> Asked:
    """A query at a level for these attributes; values by tag after an underscore."""
    keys = {tag: {"vr": VRS.get(tag, "LO")} for tag in tags}
    keys |= {name[1:]: {"vr": VRS.get(name[1:], "LO"), "Value": [value]} for name, value in values.items()}
    return read_identifier({"00080052": {"vr": "CS", "Value": [level]}, **keys}, "study")


VRS = {
    "00080018": "UI", "00080020": "DA", "00080061": "CS", "00081030": "LO", "0008103E": "LO", "00081140": "SQ",
    "00100010": "PN", "00100020": "LO", "00101040": "LO", "0020000D": "UI", "0020000E": "UI", "00200013": "IS",
    "00201208": "IS", "00280010": "US", "00291001": "LO", "00290010": "LO", "00400275": "SQ",
}  # fmt: skip


def test_an_answer_holds_what_was_asked_for_and_where_to_get_it():
    made = answer(asked("STUDY", "00100010", "00081030", "0020000D"), ROW, "ARCHIVE")
    assert set(made) == {"00080052", "00080054", "00080056", "00081030", "00100010", "0020000D", "00100020"}
    assert made["00081030"] == {"vr": "LO"}
    assert made["00080054"]["Value"] == ["ARCHIVE"]


def test_attributes_of_lower_levels_are_not_answered():
    assert "0008103E" not in answer(asked("STUDY", "0008103E", "0020000D"), ROW, "ARCHIVE")


def test_a_unique_key_that_was_asked_for_by_value_is_answered_though_the_row_has_it_not():
    series = asked("SERIES", "0020000E", _0020000D=STUDY)
    row = {"0020000E": {"vr": "UI", "Value": ["1.2.3.4"]}}
    assert answer(series, row, "A")["0020000D"]["Value"] == [STUDY]
    read = identifiers.read(Answers(series, "A", ExplicitVRLittleEndian).write(row), ExplicitVRLittleEndian)
    assert read["0020000D"]["Value"] == [STUDY]


def test_what_is_plain_is_written_without_a_data_set_between(monkeypatch):
    made = Answers(asked("STUDY", "00100010", "00081030", "0020000D", "00201208"), "A", ExplicitVRLittleEndian)
    monkeypatch.setattr("dicomweb.standard.answers.answer", None)
    plain = {**ROW, "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}}
    assert b"Doe^Jane" in made.write(plain)


TEXTS = st.text("ABc^=\\ é山", max_size=9)
VALUES = {
    "PN": st.one_of(
        st.none(), st.dictionaries(st.sampled_from(["Alphabetic", "Ideographic", "Phonetic"]), TEXTS, max_size=3)
    ),
    "IS": st.integers(0, 99999),
    "US": st.integers(0, 65535),
    "UI": st.sampled_from([STUDY, "1.2.3.4", "1.2"]),
    "DA": st.just("20240131"),
    "SQ": st.just({"00080100": {"vr": "SH", "Value": ["é"]}}),
}


def element(vr: str) -> st.SearchStrategy[dict]:
    given_values = st.lists(VALUES.get(vr, st.one_of(st.none(), TEXTS)), max_size=3)
    return st.one_of(
        st.just({"vr": vr}),
        given_values.map(lambda values: {"vr": vr, "Value": values}),
        *([] if vr == "SQ" else [st.just({"vr": vr, "BulkDataURI": "http://x/bulk"})]),
        *([st.just({"vr": vr, "InlineBinary": "QUI="})] if vr in ("US", "LO") else []),
    )


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@given(data=st.data())
def test_every_answer_has_the_bytes_of_its_data_set(syntax, data):
    wanted = data.draw(st.sets(st.sampled_from(sorted(VRS)), max_size=8))
    unique = {"_0020000D": STUDY} if data.draw(st.booleans()) else {}
    level = data.draw(st.sampled_from(["PATIENT", "STUDY", "SERIES", "IMAGE"]))
    query = read_identifier(
        {
            "00080052": {"vr": "CS", "Value": [level]},
            **{tag: {"vr": VRS[tag], **({"Value": ["ACME"]} if tag == "00290010" else {})} for tag in wanted},
            **{tag[1:]: {"vr": "UI", "Value": [value]} for tag, value in unique.items()},
        },
        "patient",
    )
    row = data.draw(st.fixed_dictionaries({}, optional={tag: element(vr) for tag, vr in VRS.items()}))
    availability = data.draw(st.sampled_from([{}, {"00080056": {"vr": "CS", "Value": ["NEARLINE"]}}]))
    row |= availability
    fallback = data.draw(st.sampled_from(["", "ISO_IR 100"]))
    meant = answer(query, row, "ARCHIVE")
    expected = identifiers.write(meant, syntax, choose_charset(meant, query.charset, fallback))
    assert Answers(query, "ARCHIVE", syntax, fallback).write(row) == expected
