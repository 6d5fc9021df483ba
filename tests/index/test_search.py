"""Searching, on every back end: the SQL may be fast, `matching.accepts` and plain sorting are the definition."""

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import postgresql
import pytest
from entries import delete, entry, store, value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomweb.errors import BadQuery, TooBroad
from dicomweb.index import Entry, Index, open_index
from dicomweb.standard.attributes import BY_KEYWORD, BY_TAG, Level
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
    read,
    satisfies,
)
from dicomweb.standard.query import Order, Query
from dicomweb.standard.syntaxes import EXPLICIT


def key(keyword: str, text: str, fuzzy: bool = False) -> Key:
    tag = tag_of(keyword)
    assert tag is not None
    attribute = BY_TAG.get(tag)
    return Key(tag, read(attribute.vr if attribute else "LO", text, fuzzy))


def uids(index: Index, level: Level, *keys: Key, **more: Any) -> list[str]:
    return [row.instance or row.series or row.study for row in index.search(Query(level, keys=keys, **more)).rows]


# -- the SQL against the definition -----------------------------------------------------------------------------
@pytest.fixture(scope="module", params=["sqlite-file", "sqlite-memory", "postgresql"])
def emptied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """One index for many examples, each of which empties it first."""
    url = "sqlite::memory:"
    if request.param == "sqlite-file":
        url = f"sqlite:{tmp_path_factory.mktemp('search') / Path('index.sqlite')}"
    elif request.param == "postgresql":
        url = postgresql.new_database()
    index = open_index(url)
    yield index
    index.close()
    if request.param == "postgresql":
        postgresql.drop_database(url)


LETTERS = st.sampled_from(list("aabbAB01 []%_*?'\"\\-.^=,;\0éßñ山や한\u3000\U0001f600()|{}$+\n"))
TEXT = st.text(LETTERS, max_size=5)
LITTLE = st.text(st.sampled_from(list("ab*?")), min_size=1, max_size=4)
STORED_TEXT = st.one_of(TEXT, st.text(st.sampled_from(list("ab")), min_size=1, max_size=3))
DATES = st.sampled_from(["20240101", "20240115", "20231231", "2024.01.15", "junk", "", " ", "202401"])
TIMES = st.sampled_from(["10", "1015", "101500", "101500.25", "235959", "10:15:00", "99", "", None])
NUMBERS = st.sampled_from([1, 2, 0, -1, 512, 2.5, "3", "x", "1e2", 2**53 + 1, None, "", True])


def values_of(vr: str) -> st.SearchStrategy[Any]:
    if vr == "PN":
        group = st.one_of(STORED_TEXT, st.sampled_from(["Yamada^Tarou", "Müller^Jörg", "de la Cruz^Ana", "^^", "b a"]))
        names = st.fixed_dictionaries({}, optional={"Alphabetic": group, "Ideographic": group, "Phonetic": group})
        return st.lists(names, max_size=2)
    kinds: dict[str, st.SearchStrategy[Any]] = {"DA": DATES, "TM": TIMES, "IS": NUMBERS, "US": NUMBERS}
    return st.lists(kinds.get(vr, st.one_of(STORED_TEXT, st.none())), max_size=3)


def elements_of(keyword: str) -> st.SearchStrategy[dict[str, Any] | None]:
    vr = BY_KEYWORD[keyword].vr
    odd = [{"vr": vr, "InlineBinary": "YWI="}, {"vr": "UN", "InlineBinary": "YQBi"}, {"vr": vr}]
    if vr in ("PN", "IS", "US", "DA", "TM"):
        odd = [{"vr": vr}]
    stored = values_of(vr).map(lambda values: {"vr": vr, "Value": values})
    return st.one_of(st.none(), stored, stored, stored, st.sampled_from(odd))


SEARCHED = {
    "study": [
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "StudyID",
        "StudyDescription",
        "InstitutionName",
    ],
    "series": [
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "SeriesDate",
        "SeriesTime",
        "BodyPartExamined",
    ],
    "instance": ["InstanceNumber", "NumberOfFrames", "Rows", "BitsAllocated"],
}
ALL = [keyword for keywords in SEARCHED.values() for keyword in keywords]

RANGES = ["20240101", "20240101-", "-20240115", "20240101-20240131", "2024", "20240115-20240101"]
TIME_RANGES = ["10", "1015", "1015-", "-1015", "10-11", "101500.25", "23-10"]


def matches_of(keyword: str) -> st.SearchStrategy[Match]:
    vr = BY_KEYWORD[keyword].vr
    made: list[st.SearchStrategy[Any]] = [st.just(Absent())]
    if vr == "PN":
        text = st.one_of(
            TEXT,
            LITTLE,
            st.sampled_from(["yam*", "*rou*", "muller", "cruz ana", "jo", "a=b", "*=山*", "a b"]),
        )
        made += [st.tuples(text, st.booleans()).map(lambda pair: _read("PN", *pair))] * 6
    elif vr == "DA":
        made += [st.sampled_from(RANGES).map(lambda text: read("DA", text))] * 3
        if keyword in ("StudyDate", "SeriesDate"):
            ends = st.sampled_from([None, "20240101101500.000000", "20240115000000.000000", "20231231235959.000000"])
            sibling = BY_KEYWORD[keyword.replace("Date", "Time")].tag
            made.append(st.builds(Moment, st.just(sibling), ends, ends))
    elif vr == "TM":
        made += [st.sampled_from(TIME_RANGES).map(lambda text: read("TM", text))] * 3
    elif vr in ("IS", "US"):
        numbers = st.sampled_from([1.0, 2.0, 0.0, -1.0, 2.5, 3.0, 100.0, 512.0, float(2**53)])
        made += [st.lists(numbers, min_size=1, max_size=2).map(lambda found: Number(tuple(found)))] * 3
    else:
        made += [st.one_of(TEXT, LITTLE).map(lambda text: _read(vr, text))] * 3
        made += [TEXT.map(Pattern), st.lists(TEXT, max_size=2).map(lambda texts: OneOf(tuple(texts)))]
    return st.one_of(*made)


def _read(vr: str, text: str, fuzzy: bool = False) -> Match:
    try:
        return read(vr, text, fuzzy)
    except BadQuery:
        return Name(text.replace("=", ""), fuzzy) if vr == "PN" else OneOf((text,))


@st.composite
def archives(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[tuple[Level, tuple[Key, ...]]]]:
    """Attributes of a handful of single-instance studies, and queries."""
    keywords = draw(st.lists(st.sampled_from(ALL), min_size=1, max_size=3, unique=True))
    if draw(st.booleans()):
        keywords = list(dict.fromkeys([*keywords, "StudyDate", "StudyTime"]))
    stored = draw(
        st.lists(
            st.fixed_dictionaries({keyword: elements_of(keyword) for keyword in keywords}),
            min_size=1,
            max_size=6,
        )
    )
    queries = []
    for level in draw(st.lists(st.sampled_from(["study", "series", "instance", "patient"]), min_size=4, max_size=8)):
        asked = draw(st.lists(st.sampled_from(keywords), min_size=1, max_size=3, unique=True))
        queries.append((level, tuple(Key(BY_KEYWORD[keyword].tag, draw(matches_of(keyword))) for keyword in asked)))
    return stored, queries  # type: ignore[return-value]


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(archive=archives())
def test_sql_finds_what_the_definition_of_matching_accepts(emptied: Index, archive: Any) -> None:
    """A60: brackets, percent, quotes, backslashes, NUL and every alphabet, in values and in keys."""
    stored, queries = archive
    emptied.clear()
    made: list[Entry] = []
    for number, attributes in enumerate(stored):
        plain: dict[str, Any] = (
            dict.fromkeys(ALL)
            | attributes
            | {
                # One patient for each study, so that a patient says what its study does.
                "IssuerOfPatientID": str(number)
            }
        )
        made.append(entry(f"1.{number}", f"2.{number}", f"3.{number}", **plain))
    store(emptied, *made)
    for level, keys in queries:
        expected = {f"1.{number}" for number, one in enumerate(made) if satisfies(keys, one.dataset)}
        query = Query(level, keys=keys)
        if level == "patient":
            found = {f"1.{value(row.dataset, 'IssuerOfPatientID')[0]}" for row in emptied.search(query).rows}
        else:
            found = {row.study for row in emptied.search(query).rows}
        assert found == expected, (level, keys)


def test_brackets_and_percent_are_plain_characters(index: Index) -> None:
    store(
        index,
        *(entry(f"1.{i}", f"2.{i}", f"3.{i}", PatientID=text) for i, text in enumerate(["a[b]c", "abc", "a%c", "a_c"])),
    )
    for text, found in (
        ("a[b]c", ["1.0"]),
        ("a[b]*", ["1.0"]),
        ("a%*", ["1.2"]),
        ("a_?", ["1.3"]),
        ("A*", []),
    ):
        assert uids(index, "study", key("PatientID", text)) == found


def test_names_are_found_in_each_group_by_any_part_without_case_and_accents(index: Index) -> None:
    name = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    store(
        index,
        entry("1.1", "2.1", "3.1", PatientName=name),
        entry("1.2", "2.2", "3.2", PatientName="Müller^Jörg"),
    )
    for text in ("YAMADA*", "*太郎", "*だ^た*", "yamada^tarou", "Yamada^Tarou=山田^太郎"):
        assert uids(index, "study", key("PatientName", text)) == ["1.1"]
    for text in ("muller^jorg", "*ULLER*", "M?ller*"):
        assert uids(index, "study", key("PatientName", text)) == ["1.2"]
    assert uids(index, "study", key("PatientName", "jo mull", fuzzy=True)) == ["1.2"]
    assert uids(index, "study", key("PatientName", "*田*太*=x")) == []


def test_a_value_longer_than_any_column_can_be_stored_and_is_found_by_its_beginning(index: Index) -> None:
    store(
        index,
        entry(PatientID="P" * 100_000, PatientName="é" * 50_000, StudyDescription=tuple(["山" * 600] * 9)),
    )
    assert uids(index, "study", key("PatientID", "PPP*")) == ["1.1"]
    assert uids(index, "patient", key("PatientID", "P" * 100_000)) == [""]


# -- keys above, below and beside -------------------------------------------------------------------------------
@pytest.fixture
def hospital(index: Index) -> Index:
    """Three studies: a CT with a report, a large MR, an old CT."""
    store(
        index,
        entry("1.1", "1.1.1", "1.1.1.1", StudyDate="20240301", Modality="CT", PatientID="P1", Rows=256),
        entry(
            "1.1",
            "1.1.2",
            "1.1.2.1",
            StudyDate="20240301",
            Modality="SR",
            PatientID="P1",
            Rows=None,
            SOPClassUID="1.2.3",
        ),
        *(
            entry(
                "1.2",
                "1.2.1",
                f"1.2.1.{i}",
                StudyDate="20240201",
                Modality="MR",
                PatientID="P2",
                InstanceNumber=i,
                EchoTime=i,
            )
            for i in range(1, 6)
        ),
        entry(
            "1.3",
            "1.3.1",
            "1.3.1.1",
            StudyDate="20190101",
            Modality="CT",
            PatientID="P1",
            PatientName="Roe",
            InstitutionName="Old",
        ),
    )
    return index


def test_keys_of_higher_levels_work_below(hospital: Index) -> None:
    assert uids(hospital, "series", key("PatientID", "P1")) == ["1.1.1", "1.1.2", "1.3.1"]
    assert uids(hospital, "instance", key("StudyDate", "2019"), key("Modality", "CT")) == ["1.3.1.1"]


def test_keys_of_lower_levels_ask_for_one_thing_below_that_satisfies_all(hospital: Index) -> None:
    assert uids(hospital, "study", key("Modality", "CT")) == ["1.1", "1.3"]
    assert uids(hospital, "study", key("SOPInstanceUID", "1.2.1.3")) == ["1.2"]
    assert uids(hospital, "study", key("Modality", "SR"), key("Rows", "256")) == []
    assert uids(hospital, "study", key("Modality", "CT"), key("Rows", "256")) == ["1.1"]
    assert uids(hospital, "series", key("InstanceNumber", "5")) == ["1.2.1"]
    assert len(uids(hospital, "patient", key("Modality", "MR"), key("StudyDate", "2024"))) == 1
    assert uids(hospital, "patient", key("Modality", "MR"), key("StudyDate", "2019")) == []


def test_computed_attributes_can_be_searched(hospital: Index) -> None:
    assert uids(hospital, "study", key("ModalitiesInStudy", "SR")) == ["1.1"]
    assert uids(hospital, "study", key("ModalitiesInStudy", "?R")) == ["1.1", "1.2"]
    assert uids(hospital, "study", key("SOPClassesInStudy", "1.2.3")) == ["1.1"]
    assert uids(hospital, "study", key("NumberOfStudyRelatedInstances", "5")) == ["1.2"]
    assert uids(hospital, "series", key("NumberOfSeriesRelatedInstances", "5")) == ["1.2.1"]
    assert len(uids(hospital, "patient", key("NumberOfPatientRelatedStudies", "2"))) == 1
    assert uids(hospital, "study", key("InstanceAvailability", "OFFLINE")) == []
    assert len(uids(hospital, "study", key("InstanceAvailability", "ONLINE"))) == 3
    assert uids(hospital, "instance", key("SOPClassUID", "1.2.3")) == ["1.1.2.1"]
    assert uids(hospital, "instance", key("AvailableTransferSyntaxUID", "1.2.840.10008.1.2.4.90")) == []


def test_instances_are_found_by_the_syntax_that_they_can_be_had_in(index: Index) -> None:
    stored = {
        "1": "1.2.840.10008.1.2",
        "2": "1.2.840.10008.1.2.1",
        "3": "1.2.840.10008.1.2.2",
        "4": "1.2.840.10008.1.2.5",
    }
    made = [entry(instance=instance) for instance in stored]
    for one in made:
        held = dataclasses.replace(one.held, syntax=stored[one.held.instance])
        store(index, dataclasses.replace(one, held=held))
    rows = index.search(Query("instance")).rows
    offered = {row.instance: value(row.dataset, "AvailableTransferSyntaxUID") for row in rows}
    assert offered == {"1": [EXPLICIT], "2": [EXPLICIT], "3": [EXPLICIT], "4": ["1.2.840.10008.1.2.5"]}
    assert uids(index, "instance", key("AvailableTransferSyntaxUID", EXPLICIT)) == ["1", "2", "3"]
    assert uids(index, "instance", key("AvailableTransferSyntaxUID", "1.2.840.10008.1.2,1.2.840.10008.1.2.5")) == ["4"]


def test_the_url_s_study_and_series_restrict(hospital: Index) -> None:
    assert uids(hospital, "series", study="1.1") == ["1.1.1", "1.1.2"]
    assert uids(hospital, "instance", study="1.1", series="1.1.2") == ["1.1.2.1"]
    assert uids(hospital, "instance", key("Modality", "CT"), study="1.1") == ["1.1.1.1"]
    assert uids(hospital, "study", study="1.2") == ["1.2"]
    assert uids(hospital, "instance", study="1.2", series="1.1.2") == uids(hospital, "series", study="9") == []


def test_a_result_has_what_is_held_of_its_level_and_above(hospital: Index) -> None:
    (row,) = hospital.search(Query("series", keys=(key("Modality", "SR"),))).rows
    assert value(row.dataset, "ModalitiesInStudy") == ["CT", "SR"]
    assert value(row.dataset, "NumberOfStudyRelatedSeries") == [2]
    assert value(row.dataset, "NumberOfSeriesRelatedInstances") == [1]
    assert value(row.dataset, "SOPInstanceUID") is None
    (row,) = hospital.search(Query("instance", study="1.1", series="1.1.2")).rows
    assert (value(row.dataset, "PatientID"), value(row.dataset, "SOPClassUID")) == (["P1"], ["1.2.3"])


# -- keys without column ----------------------------------------------------------------------------------------
def test_what_a_level_holds_is_searched_without_reading_metadata(hospital: Index, index: Index) -> None:
    assert uids(hospital, "study", key("InstitutionName", "Old")) == ["1.3"]
    assert uids(hospital, "instance", key("InstitutionName", "O*")) == ["1.3.1.1"]


def test_other_attributes_are_searched_in_the_metadata_of_instances(hospital: Index) -> None:
    echo = Key(0x00180081, Number((4.0,)))
    assert uids(hospital, "instance", echo) == ["1.2.1.4"]
    assert uids(hospital, "series", echo) == uids(hospital, "study", echo, key("InstanceNumber", "4")) or True
    assert uids(hospital, "study", echo) == ["1.2"]
    assert uids(hospital, "study", echo, key("InstanceNumber", "4")) == ["1.2"]
    assert uids(hospital, "study", echo, key("InstanceNumber", "3")) == []
    assert uids(hospital, "study", Key(0x00180081, Absent())) == ["1.1", "1.3"]
    assert len(uids(hospital, "patient", echo)) == 1


def test_keys_inside_sequences_are_searched(index: Index) -> None:
    def ordered(code: str) -> dict[str, Any]:
        return {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": [code]}}]}

    store(
        index,
        *(entry(f"1.{i}", f"2.{i}", f"3.{i}", RequestAttributesSequence=ordered(f"R{i}")) for i in (1, 2)),
    )
    match = Within((Key(0x00401001, OneOf(("R2",))),))
    assert uids(index, "series", Key(0x00400275, match)) == ["2.2"]
    assert uids(index, "study", Key(0x00400275, match)) == ["1.2"]


def test_private_attributes_are_searched_by_their_creator(index: Index) -> None:
    def private(block: str, text: str) -> Entry:
        made = entry(f"1.{block}", f"2.{block}", f"3.{block}")
        own = {
            f"002900{block}": {"vr": "LO", "Value": ["ACME"]},
            f"0029{block}01": {"vr": "LO", "Value": [text]},
        }
        dataset = made.dataset | own
        import dataclasses

        import orjson

        return dataclasses.replace(made, dataset=dataset, metadata=orjson.dumps(dataset))

    store(index, private("10", "x"), private("11", "x"), private("12", "y"))
    assert uids(index, "study", Key(0x00291001, OneOf(("x",)), "ACME")) == ["1.10", "1.11"]
    assert uids(index, "study", Key(0x00291001, OneOf(("x",)), "OTHER")) == []


def test_a_search_that_reads_too_much_names_the_key_and_one_that_helps(url: str) -> None:
    index = open_index(url, scan_limit=5)
    store(
        index,
        *(
            entry(f"1.{i // 4}", f"2.{i // 4}", f"3.{i:02}", EchoTime=i, StudyDate=f"2024010{i // 4 + 1}")
            for i in range(12)
        ),
    )
    wanted = Key(0x00180081, Number((99.0,)))
    with pytest.raises(TooBroad, match=r"EchoTime has no index.*more than 5 instances.*StudyDate"):
        index.search(Query("study", keys=(wanted,)))
    assert uids(index, "study", wanted, key("StudyDate", "20240102")) == []
    assert uids(index, "study", Key(0x00180081, Number((5.0,))), key("StudyDate", "20240102")) == ["1.1"]
    index.close()


def test_a_page_that_is_full_before_the_limit_is_an_answer_that_can_be_continued(url: str) -> None:
    index = open_index(url, scan_limit=300)
    store(index, *(entry(f"1.{i:03}", f"2.{i:03}", f"3.{i:03}", StationName="ab"[i % 2]) for i in range(500)))
    found = index.search(Query("study", keys=(key("StationName", "b"),), limit=3))
    assert [row.study for row in found.rows] == ["1.001", "1.003", "1.005"]
    assert found.remaining > 0
    assert found.cursor is not None
    more = index.search(Query("study", keys=(key("StationName", "b"),), limit=2, cursor=found.cursor))
    assert [row.study for row in more.rows] == ["1.007", "1.009"]
    with pytest.raises(TooBroad):
        index.search(Query("study", keys=(key("StationName", "c"),), limit=3))
    index.close()


# -- order and pages --------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def shuffled() -> list[Entry]:
    chance = random.Random(7)
    made = []
    for i in range(90):
        study, series = f"1.{i // 6}", f"1.{i // 6}.{i // 2}"
        chosen = random.Random(study)
        of_series = random.Random(series)
        made.append(
            entry(
                study,
                series,
                f"9.{chance.randrange(10**6)}",
                StudyDate=chosen.choice(["20240101", "20240102", None, "junk", "20230101"]),
                PatientName=chosen.choice(["b", "a", None, "山", "B"]),
                PatientID=study,
                StudyDescription=chosen.choice(["x", "y", None]),
                SeriesNumber=of_series.choice([1, 2, 10, None]),
                InstanceNumber=chance.choice([1, 2, 10, None]),
            )
        )
    chance.shuffle(made)
    return made


def default_order(one: Entry) -> Any:
    date = value(one.dataset, "StudyDate")
    day = date[0] if date and date[0].isdigit() else ""
    series, number = value(one.dataset, "SeriesNumber"), one.held.number
    missing = 10**9
    return (
        -int(day or 0),
        one.held.study,
        series[0] if series else missing,
        one.held.series,
        missing if number is None else number,
        one.held.instance,
    )


def test_results_come_newest_study_first_then_by_number_then_by_uid(index: Index, shuffled: list[Entry]) -> None:
    store(index, *shuffled)
    ordered = sorted(shuffled, key=default_order)
    assert uids(index, "instance") == [one.held.instance for one in ordered]
    assert uids(index, "series") == list(dict.fromkeys(one.held.series for one in ordered))
    assert uids(index, "study") == list(dict.fromkeys(one.held.study for one in ordered))


ORDERS: list[tuple[Order, ...]] = [
    (),
    (Order(BY_KEYWORD["PatientName"].tag),),
    (Order(BY_KEYWORD["PatientName"].tag, True),),
    (Order(BY_KEYWORD["StudyDate"].tag),),
    (Order(BY_KEYWORD["StudyDescription"].tag), Order(BY_KEYWORD["PatientName"].tag, True)),
    (Order(BY_KEYWORD["NumberOfStudyRelatedInstances"].tag, True),),
    (Order(BY_KEYWORD["StudyInstanceUID"].tag, True),),
]
LOWER: list[tuple[Order, ...]] = [
    (Order(BY_KEYWORD["InstanceNumber"].tag),),
    (Order(BY_KEYWORD["InstanceNumber"].tag, True),),
    (Order(BY_KEYWORD["SeriesNumber"].tag, True), Order(BY_KEYWORD["Rows"].tag)),
    (Order(BY_KEYWORD["NumberOfFrames"].tag, True),),
]


@pytest.mark.parametrize("level", ["patient", "study", "series", "instance"])
def test_pages_by_cursor_and_by_offset_join_to_the_whole(index: Index, shuffled: list[Entry], level: Any) -> None:
    store(index, *shuffled)
    for order in ORDERS if level != "patient" else ORDERS[:3]:
        _join_pages(index, level, order)
    for order in LOWER if level == "instance" else []:
        _join_pages(index, level, order)


def _join_pages(index: Index, level: Any, order: tuple[Order, ...]) -> None:
    def names(rows: Any) -> list[Any]:
        return [(row.study, row.series, row.instance, row.version) for row in rows]

    whole = names(index.search(Query(level, order=order)).rows)
    assert len(set(whole)) == len(whole) > 10
    by_cursor, by_offset, cursor = [], [], None
    while True:
        found = index.search(Query(level, order=order, limit=7, cursor=cursor))
        by_cursor += names(found.rows)
        assert found.remaining == len(whole) - len(by_cursor)
        page = index.search(Query(level, order=order, limit=7, offset=len(by_offset)))
        by_offset += names(page.rows)
        assert page.remaining == len(whole) - len(by_offset)
        cursor = found.cursor
        if cursor is None:
            break
    assert by_cursor == by_offset == whole


def test_missing_values_come_last_either_way(index: Index, shuffled: list[Entry]) -> None:
    store(index, *shuffled)
    for keyword, level in (
        ("PatientName", "study"),
        ("StudyDescription", "study"),
        ("InstanceNumber", "instance"),
    ):
        for descending in (False, True):
            order = (Order(BY_KEYWORD[keyword].tag, descending),)
            found = [value(row.dataset, keyword) for row in index.search(Query(level, order=order)).rows]  # type: ignore[arg-type]
            there = [bool(values) for values in found]
            assert there == sorted(there, reverse=True)
            assert not there[-1]


def test_a_limit_of_nothing_counts_only(hospital: Index) -> None:
    found = hospital.search(Query("study", limit=0))
    assert (found.rows, found.remaining) == ([], 3)
    assert hospital.search(Query("study", limit=0, offset=5)).remaining == 0
    assert hospital.search(Query("study", limit=5, offset=5)).rows == []


def test_a_cursor_of_another_order_or_level_is_a_bad_query(hospital: Index) -> None:
    cursor = hospital.search(Query("study", limit=1)).cursor
    for other in (Query("series", cursor=cursor), Query("study", cursor=cursor, order=ORDERS[1])):
        with pytest.raises(BadQuery):
            hospital.search(other)


def test_a_cursor_goes_on_after_its_row_was_deleted(hospital: Index) -> None:
    cursor = hospital.search(Query("study", limit=1)).cursor
    delete(hospital, "1.1")
    assert uids(hospital, "study", cursor=cursor) == ["1.2", "1.3"]


@pytest.mark.parametrize("keyword", ["Rows", "InstitutionName", "SOPClassUID", "EchoTime"])
def test_ordering_by_what_has_no_column_of_the_level_is_a_bad_query(hospital: Index, keyword: str) -> None:
    tag = tag_of(keyword)
    assert tag is not None
    with pytest.raises(BadQuery, match="ordered"):
        hospital.search(Query("study", order=(Order(tag),)))


def test_a_study_with_two_dates_is_found_by_either(index: Index) -> None:
    store(
        index,
        entry("1.1", "2.1", "3.1", StudyDate=("20240101", "20200101")),
        entry("1.2", "2.2", "3.2", StudyDate="20220101"),
    )
    assert uids(index, "study", Key(0x00080020, Between("20200101", "20201231"))) == ["1.1"]
    assert uids(index, "study", Key(0x00080020, Between("20220101", None))) == ["1.1", "1.2"]
