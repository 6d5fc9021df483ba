"""API keys, and searches within a scope, on every back end."""

import itertools

import pytest
from entries import entry, store

from dicomweb.access.keys import Key, digest_of, id_of, new_text
from dicomweb.access.rights import Scope
from dicomweb.index import Index, open_index
from dicomweb.standard.attributes import BY_KEYWORD, LEVELS
from dicomweb.standard.matching import Key as Match
from dicomweb.standard.matching import Pattern
from dicomweb.standard.query import Query


def made(name: str, created: float = 1.0, scope: Scope | None = None, nodes: frozenset[str] | None = None) -> Key:
    text = new_text()
    return Key(id_of(text) or "", digest_of(text), name, frozenset(["read", "write"]), scope, nodes, created, 9.5)


def test_keys_are_kept_as_they_are_through_a_rebuild_and_a_restart_until_they_are_dropped(shared_url: str) -> None:
    scope = Scope(frozenset(["1.2", "1.3"]), frozenset([("A", ""), ("B", "HERE")]))
    keys = [made("first"), made("second", 2.0, scope), made("third", 3.0, nodes=frozenset(["PACS"]))]
    index = open_index(shared_url)
    for key in reversed(keys):
        index.keys.add(key)
    index.clear()
    index.close()
    index = open_index(shared_url)
    assert index.keys.all() == keys
    assert index.keys.get(keys[1].id) == keys[1]
    assert index.keys.get("nobody") is None
    assert [index.keys.drop(keys[0].id), index.keys.drop(keys[0].id)] == [True, False]
    assert index.keys.all() == keys[1:]
    index.close()


STUDIES = {"1.1": ("A", ""), "1.2": ("A", "HERE"), "1.3": ("A", "THERE"), "1.4": ("B", ""), "1.5": ("", "")}
"""Patient ID and issuer of each."""
PATIENTS = [("A", ""), ("A", "HERE"), ("B", ""), ("C", "")]


def filled(index: Index) -> None:
    for study, (patient, issuer) in STUDIES.items():
        for number in (1, 2):
            attributes = {"PatientID": patient, "IssuerOfPatientID": issuer or None, "AccessionNumber": f"ACC{study}"}
            store(index, entry(study, f"{study}.1", f"{study}.1.{number}", **attributes))


@pytest.mark.parametrize("level", LEVELS)
def test_a_search_in_a_scope_is_the_search_of_an_index_that_holds_nothing_else(index: Index, level: str) -> None:
    filled(index)
    keys = [
        (),
        (Match(BY_KEYWORD["PatientID"].tag, Pattern("*")),),
        (Match(BY_KEYWORD["PatientID"].tag, Pattern("A*")),),
    ]
    for count, wanted in itertools.product(range(3), keys):
        for patients in itertools.combinations(PATIENTS, count):
            for named in ((), ("1.3",), ("1.1", "1.5")):
                scope = Scope(frozenset(named), frozenset(patients))
                query = Query(level, keys=wanted)  # type: ignore[arg-type]
                inside = {study for study, of in STUDIES.items() if study in named or of in patients}
                rows = index.search(query).rows
                if level == "patient":
                    # The same number of rows as patients of the scope; a study that is named is not all of a patient
                    told = [(value(row.dataset, "PatientID"), value(row.dataset, "IssuerOfPatientID")) for row in rows]
                    expected = [row for row, of in zip(rows, told, strict=True) if of in patients]
                else:
                    expected = [row for row in rows if row.study in inside]
                found = index.search(query, scope)
                assert found.rows == expected
                one = index.search(Query(level, keys=wanted, limit=1), scope)  # type: ignore[arg-type]
                assert one.remaining == max(0, len(expected) - 1)
                none = index.search(Query(level, keys=wanted, limit=0), scope)  # type: ignore[arg-type]
                assert none.remaining == len(expected)


def value(dataset: dict[str, dict[str, list[str]]], keyword: str) -> str:
    return (dataset.get(f"{BY_KEYWORD[keyword].tag:08X}", {}).get("Value") or [""])[0]


def test_a_study_is_in_scope_by_its_own_name_or_by_its_patients(index: Index) -> None:
    filled(index)
    named = Scope(frozenset(["1.3", "9.9"]))
    assert [study for study in (*STUDIES, "9.9", "") if index.in_scope(study, named)] == ["1.3", "9.9"]
    by_patient = Scope(frozenset(["1.5"]), frozenset([("A", "HERE"), ("B", "")]))
    assert [study for study in (*STUDIES, "9.9", "") if index.in_scope(study, by_patient)] == ["1.2", "1.4", "1.5"]
    assert not any(index.in_scope(study, Scope()) for study in STUDIES)


def test_a_lookup_in_a_scope_finds_nothing_outside(index: Index) -> None:
    filled(index)
    scope = Scope(frozenset(["1.3"]), frozenset([("A", "HERE")]))
    assert [row.level for row in index.lookup("A", 10, scope)] == ["patient"]
    for study in STUDIES:
        found = {row.study for text in (f"ACC{study}", study, f"{study}.1") for row in index.lookup(text, 10, scope)}
        assert found == ({study} if study in ("1.2", "1.3") else set())
