"""The promises of Index, held to by every back end."""

import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from entries import delete, entry, intend, store, tombstone, value

from dicomweb.access.rights import Scope
from dicomweb.errors import BadQuery, BadSetting, Error, ForeignStudy, Gone, NotFound, Unavailable
from dicomweb.index import Index, Intent, Row, open_index
from dicomweb.index.owners import is_alive, this_process
from dicomweb.standard.query import Query


def rows(index: Index, level: Any = "study", **more: Any) -> list[Row]:
    return index.search(Query(level, **more)).rows


def answers(index: Index) -> list[tuple[str, str, str, int, dict[str, Any]]]:
    """All that searches say at every level."""
    return [
        (row.study, row.series, row.instance, row.version, row.dataset)
        for level in ("patient", "study", "series", "instance")
        for row in rows(index, level)
    ]


# -- becoming visible -----------------------------------------------------------------------------------------
def test_a_committed_entry_is_found_at_every_level_and_served(index: Index) -> None:
    made = entry()
    assert store(index, made) == [None]
    assert [(row.study, row.series, row.instance) for row in rows(index, "instance")] == [("1.1", "1.1.1", "1.1.1.1")]
    assert [row.series for row in rows(index, "series")] == ["1.1.1"]
    assert [row.study for row in rows(index, "study")] == ["1.1"]
    assert [value(row.dataset, "PatientID") for row in rows(index, "patient")] == [["P1"]]
    assert index.locate("1.1", "1.1.1", "1.1.1.1") == made.held
    assert index.members("1.1") == index.members("1.1", "1.1.1") == [made.held]
    assert index.present(["1.1.1.1", "9"]) == {"1.1.1.1": made.held}
    assert index.metadata([made.held.version]) == [made.metadata]
    assert index.layout(made.held.version) == made.layout
    assert index.versions("1.1") == [made.held.version]


def test_what_is_there_already_is_told_and_gets_no_intent(index: Index) -> None:
    old, new = entry(instance="1"), entry(instance="2")
    again = entry(instance="1", PatientName="Other")
    store(index, old)
    intents = [(Intent(made.held.version, made.held.key), made.held.instance) for made in (again, new)]
    assert index.intend_new(intents) == {"1": old.held}
    assert [intent for intent, _ in index.pending(time.time() + 1)] == [intents[1][0]]
    assert index.commit([new]) == [None]
    assert index.intend_new(intents) == {"1": old.held, "2": new.held}
    assert index.intend_new([]) == {}


def test_an_intended_object_is_invisible_until_it_is_committed(index: Index) -> None:
    made = entry()
    intend(index, made)
    assert answers(index) == []
    assert index.present(["1.1.1.1"]) == {}
    assert [(intent, owner) for intent, owner in index.pending(time.time() + 1)] == [
        (Intent(made.held.version, made.held.key, "object"), this_process())
    ]
    index.commit([made])
    assert index.pending(time.time() + 1) == []


def test_pending_leaves_out_what_was_recorded_later(index: Index) -> None:
    before = time.time()
    intend(index, entry())
    assert index.pending(before) == []


def test_a_commit_without_its_intent_does_nothing_of_the_whole_call(index: Index) -> None:
    first, second = entry(), entry(instance="1.1.1.2")
    intend(index, first, second)
    index.forget([second.held.version])
    with pytest.raises(Unavailable, match="send it again"):
        index.commit([first, second])
    assert answers(index) == []
    assert [intent.version for intent, _ in index.pending(time.time() + 1)] == [first.held.version]


def test_a_taken_sop_instance_uid_is_answered_with_its_holder_and_the_intent_stays(index: Index) -> None:
    first, again = entry(), entry(study="2.1", series="2.1.1", instance="1.1.1.1")
    store(index, first)
    assert store(index, again) == [first.held]
    assert [row.study for row in rows(index)] == ["1.1"]
    assert [intent.version for intent, _ in index.pending(time.time() + 1)] == [again.held.version]


def test_the_first_of_two_with_one_uid_in_a_call_wins(index: Index) -> None:
    first, second, other = entry(), entry(), entry(instance="1.1.1.2")
    assert store(index, first, second, other) == [None, first.held, None]
    assert value(rows(index)[0].dataset, "NumberOfStudyRelatedInstances") == [2]


def test_a_kept_version_is_invisible_and_listed(index: Index) -> None:
    first, other = entry(), entry(PatientName="Other^Name")
    store(index, first)
    before = answers(index)
    intend(index, other)
    index.keep([other])
    assert answers(index) == before
    assert index.others(10) == [other.held]
    assert index.others(10, after=other.held.version) == []
    assert index.versions("1.1") == [first.held.version, other.held.version]
    assert index.metadata([other.held.version, first.held.version]) == [other.metadata, first.metadata]
    assert index.pending(time.time() + 1) == []
    assert index.counts().other_versions == 1


def test_a_study_of_kept_versions_alone_is_invisible_until_one_is_current(index: Index) -> None:
    kept = entry(study="5.1", series="5.1.1", instance="5.1.1.1", StudyDate="20200101")
    intend(index, kept)
    index.keep([kept])
    assert answers(index) == []
    with pytest.raises(NotFound):
        index.members("5.1")
    store(index, entry(study="5.1", series="5.1.1", instance="5.1.1.2", StudyDate="20210101"))
    (row,) = rows(index)
    assert value(row.dataset, "StudyDate") == ["20210101"]
    assert value(row.dataset, "NumberOfStudyRelatedInstances") == [1]


def test_keeping_without_an_intent_may_be_tried_again(index: Index) -> None:
    with pytest.raises(Unavailable, match="send it again"):
        index.keep([entry()])


def test_a_replacement_takes_the_place_at_once_and_the_old_version_is_garbage(index: Index) -> None:
    old, new = entry(), entry(PatientName="New^Name")
    store(index, old)
    intend(index, new)
    grave = tombstone(index, "1.1", "1.1.1", "1.1.1.1", versions=(old.held.version,), kind="replaced")
    assert index.replace(new, grave) is None
    assert index.locate("1.1", "1.1.1", "1.1.1.1") == new.held
    assert value(rows(index)[0].dataset, "PatientName") == [{"Alphabetic": "New^Name"}]
    assert index.garbage() == [(old.held.version, old.held.key)]
    assert [change.kind for change in index.changes()] == ["stored", "replaced"]
    assert index.pending(time.time() + 1) == []


def test_a_replacement_can_move_an_instance_to_another_study(index: Index) -> None:
    old, new = entry(), entry(study="2.1", series="2.1.1", PatientID="P2")
    store(index, old)
    intend(index, new)
    assert index.replace(new, tombstone(index, "1.1", versions=(old.held.version,), kind="replaced")) is None
    assert [row.study for row in rows(index)] == ["2.1"]
    assert [value(row.dataset, "PatientID") for row in rows(index, "patient")] == [["P2"]]


def test_a_replacement_of_a_version_that_is_not_current_any_more_does_nothing(index: Index) -> None:
    first, second, third = entry(), entry(Rows=1), entry(Rows=2)
    store(index, first)
    intend(index, second)
    index.replace(second, tombstone(index, "1.1", versions=(first.held.version,), kind="replaced"))
    intend(index, third)
    late = tombstone(index, "1.1", versions=(first.held.version,), kind="replaced")
    assert index.replace(third, late) == second.held
    assert index.locate("1.1", "1.1.1", "1.1.1.1") == second.held
    assert {intent.version for intent, _ in index.pending(time.time() + 1)} == {
        third.held.version,
        late.version,
    }


# -- objects that are there ---------------------------------------------------------------------------------------
def test_an_object_that_is_there_enters_in_one_step_as_what_it_is(index: Index) -> None:
    first, second, third, kept = entry(), entry(Rows=1), entry(Rows=2), entry(Rows=3)
    one = tombstone(index, "1.1", versions=(first.held.version,), kind="replaced")
    two = tombstone(index, "1.1", versions=(second.held.version,), kind="replaced")
    graves = {first.held.version: one, second.held.version: two}
    intend(index, second)
    for each in (first, second, third, kept):
        index.enter(each, graves)
    assert index.locate("1.1", "1.1.1", "1.1.1.1") == third.held
    for each in (first, third, kept):  # as another process does that found the same objects
        index.enter(each, graves)
    assert index.locate("1.1", "1.1.1", "1.1.1.1") == third.held
    assert index.others(10) == [kept.held]
    assert index.garbage() == [(each.held.version, each.held.key) for each in (second, first)]
    assert index.pending(time.time() + 1) == []


def test_what_is_adopted_is_still_intended_or_is_left_to_who_resolved_it(index: Index) -> None:
    first, second, other = entry(), entry(instance="1.1.1.2"), entry(Rows=1)
    intend(index, first, other)
    for each in (first, second, other, other):
        index.adopt(each, {})
    index.adopt(first, {})
    assert index.locate("1.1", "1.1.1", "1.1.1.1") == first.held
    assert index.present(["1.1.1.2"]) == {}
    assert index.others(10) == [other.held]
    assert index.pending(time.time() + 1) == []


def test_what_is_abandoned_is_garbage_unless_it_was_stored_meanwhile(index: Index) -> None:
    stored, left = entry(), entry(instance="1.1.1.2")
    intend(index, stored, left)
    index.commit([stored])
    gone = [(left.held.version, left.held.key)]
    assert index.abandon([stored.held.version, left.held.version]) == gone
    assert index.abandon([left.held.version]) == []
    assert index.garbage() == gone
    with pytest.raises(Unavailable):
        index.commit([left])
    index.collected([left.held.version])
    assert index.garbage() == []


def test_what_a_scope_refuses_is_garbage_at_once_so_that_no_sweep_takes_it_in(index: Index) -> None:
    there, foreign_one = entry(), entry(instance="1.1.1.2")
    intend(index, there, foreign_one)
    index.commit([there])
    (refused,) = index.commit([foreign_one], Scope(studies=frozenset({"9.9"})))
    assert isinstance(refused, ForeignStudy)
    assert index.pending(time.time() + 1) == []
    assert index.garbage() == [(foreign_one.held.version, foreign_one.held.key)]


# -- deleting ---------------------------------------------------------------------------------------------------
def test_a_deleted_instance_is_gone_and_counts_follow(index: Index) -> None:
    store(index, entry(), entry(instance="1.1.1.2"), entry(series="1.1.2", instance="1.1.2.1", Modality="SR"))
    assert delete(index, "1.1", "1.1.2", "1.1.2.1") == 1
    (row,) = rows(index)
    assert value(row.dataset, "ModalitiesInStudy") == ["CT"]
    assert value(row.dataset, "NumberOfStudyRelatedSeries") == [1]
    assert value(row.dataset, "NumberOfStudyRelatedInstances") == [2]
    with pytest.raises(Gone):
        index.locate("1.1", "1.1.2", "1.1.2.1")
    assert index.pending(time.time() + 1) == []


def test_deleting_a_study_takes_everything_with_it(index: Index) -> None:
    made = [
        entry(),
        entry(series="1.1.2", instance="1.1.2.1"),
        entry(study="1.2", series="1.2.1", instance="3"),
    ]
    store(index, *made)
    kept = entry(instance="1.1.1.1", Rows=7)
    intend(index, kept)
    index.keep([kept])
    assert delete(index, "1.1") == 2
    assert [row.study for row in rows(index)] == ["1.2"]
    assert {version for version, _ in index.garbage()} == {
        made[0].held.version,
        made[1].held.version,
        kept.held.version,
    }
    assert index.others(10) == []
    for series, instance in (("1.1.1", "1.1.1.1"), ("1.1.2", "1.1.2.1")):
        with pytest.raises(Gone):
            index.locate("1.1", series, instance)
    with pytest.raises(Gone):
        index.members("1.1")
    with pytest.raises(NotFound) as never:
        index.members("7.7")
    assert not isinstance(never.value, Gone)


def test_only_what_a_tombstone_names_is_deleted(index: Index) -> None:
    store(index, entry())
    grave = tombstone(index, "1.1")
    late = entry(instance="1.1.1.2")
    store(index, late)
    assert index.delete(grave) == 1
    assert index.members("1.1") == [late.held]


def test_deleting_twice_changes_nothing_more(index: Index) -> None:
    store(index, entry(), entry(instance="1.1.1.2"))
    grave = tombstone(index, "1.1", "1.1.1", "1.1.1.1")
    assert (index.delete(grave), index.delete(grave)) == (1, 0)
    assert value(rows(index)[0].dataset, "NumberOfStudyRelatedInstances") == [1]


def test_what_was_deleted_can_be_stored_again(index: Index) -> None:
    store(index, entry())
    delete(index, "1.1")
    again = entry()
    assert store(index, again) == [None]
    assert index.locate("1.1", "1.1.1", "1.1.1.1") == again.held
    assert index.metadata([again.held.version]) == [again.metadata]


def test_a_replaced_version_does_not_make_its_instance_gone(index: Index) -> None:
    old, new = entry(), entry(study="2.1", series="2.1.1")
    store(index, old)
    intend(index, new)
    grave = tombstone(index, "1.1", "1.1.1", "1.1.1.1", versions=(old.held.version,), kind="replaced")
    index.replace(new, grave)
    with pytest.raises(NotFound) as found:
        index.locate("1.1", "1.1.1", "1.1.1.1")
    assert not isinstance(found.value, Gone)


def test_a_tombstone_is_forgotten_only_after_its_garbage_is_collected(index: Index) -> None:
    made = entry()
    store(index, made)
    grave = tombstone(index, "1.1", reason="as the patient asked \0 'for'", moment=1000.5)
    index.delete(grave)
    assert index.expire(2000) == []
    index.collected([made.held.version])
    assert index.garbage() == []
    assert index.expire(1000) == []
    (expired,) = index.expire(2000)
    assert (expired.version, expired.versions, expired.study) == (grave.version, grave.versions, "1.1")
    with pytest.raises(NotFound) as found:
        index.members("1.1")
    assert not isinstance(found.value, Gone)


def test_known_versions_are_those_stored_intended_or_garbage(index: Index) -> None:
    stored, pending, deleted = entry(), entry(instance="1.1.1.2"), entry(instance="1.1.1.3")
    store(index, stored, deleted)
    intend(index, pending)
    delete(index, "1.1", "1.1.1", "1.1.1.3")
    versions = [made.held.version for made in (stored, pending, deleted)]
    assert index.known([*versions, 5]) == set(versions)


# -- who speaks -------------------------------------------------------------------------------------------------
def test_attributes_come_from_the_lowest_sop_instance_uid_whatever_came_first(url: str) -> None:
    made = [
        entry(
            instance=f"1.1.1.{i}",
            StudyDescription=f"D{i}",
            SeriesDescription=f"S{i}",
            PatientName=f"N{i}",
            Modality=m,
        )
        for i, m in ((3, "CT"), (1, "MR"), (2, "PT"))
    ]
    index = open_index(url)
    for one in made:
        store(index, one)
    (row,) = rows(index, "series")
    index.close()
    assert value(row.dataset, "StudyDescription") == ["D1"]
    assert value(row.dataset, "SeriesDescription") == ["S1"]
    assert value(row.dataset, "PatientName") == [{"Alphabetic": "N1"}]
    assert value(row.dataset, "ModalitiesInStudy") == ["MR"]
    assert row.version == made[1].held.version


def test_when_the_speaker_goes_the_next_one_speaks(index: Index) -> None:
    store(index, *(entry(instance=f"1.1.1.{i}", StudyDescription=f"D{i}", PatientID=f"P{i}") for i in (1, 2, 3)))
    delete(index, "1.1", "1.1.1", "1.1.1.1")
    (row,) = rows(index)
    assert value(row.dataset, "StudyDescription") == ["D2"]
    assert [value(found.dataset, "PatientID") for found in rows(index, "patient")] == [["P2"]]


@pytest.mark.parametrize("seed", range(6))
def test_any_history_ends_in_the_same_answers_as_its_last_state_alone(url: str, seed: int) -> None:
    """What a rebuild from the objects relies on."""
    chance = random.Random(seed)
    index = open_index(url)
    living: dict[str, Any] = {}
    for step in range(40):
        choice = chance.random()
        uid = f"1.{chance.randrange(3)}.{chance.randrange(3)}.{chance.randrange(4)}"
        study, series = uid[:3], uid[:5]
        made = entry(
            study,
            series,
            uid,
            StudyDescription=chance.choice(["A", "B", None]),
            Modality=chance.choice(["CT", "MR", ("CT", "PT"), None]),
            PatientID=chance.choice(["P1", "P2", None, ()]),
            IssuerOfPatientID=chance.choice([None, "H"]),
            PatientName=f"N{step}",
            StudyDate=chance.choice(["20240101", "20230101", None, "junk"]),
            InstanceNumber=chance.choice([1, 2, None, ()]),
            SeriesNumber=chance.choice([1, 2, None]),
            SOPClassUID=chance.choice(["1.2.3", "1.2.4"]),
        )
        if choice < 0.6:
            (holder,) = store(index, made)
            if holder is None:
                living[uid] = made
            else:
                index.forget([made.held.version])
        elif choice < 0.75 and uid in living:
            intend(index, made)
            old = living[uid].held
            index.replace(made, tombstone(index, study, versions=(old.version,), kind="replaced"))
            living[uid] = made
        elif choice < 0.9:
            delete(index, study, series, uid)
            living.pop(uid, None)
        else:
            delete(index, study)
            living = {key: one for key, one in living.items() if not key.startswith(f"{study}.")}
    after, counted = answers(index), index.counts()
    index.clear()
    assert answers(index) == []
    for uid in chance.sample(sorted(living), len(living)):
        assert store(index, living[uid]) == [None]
    assert answers(index) == after
    again = index.counts()
    assert (again.patients, again.studies, again.series, again.instances, again.bytes, again.modalities) == (
        counted.patients,
        counted.studies,
        counted.series,
        counted.instances,
        counted.bytes,
        counted.modalities,
    )
    index.close()


# -- patients ---------------------------------------------------------------------------------------------------
def test_patients_are_told_apart_by_id_and_issuer_and_listed_by_name(index: Index) -> None:
    store(
        index,
        entry("1.1", "1.1.1", "1", PatientName="Zoe", PatientID="P1", IssuerOfPatientID="A"),
        entry("1.2", "1.2.1", "2", PatientName="Ann", PatientID="P1", IssuerOfPatientID="B"),
        entry("1.3", "1.3.1", "3", PatientName="Zoe", PatientID="P1", IssuerOfPatientID="A"),
        entry("1.4", "1.4.1", "4", PatientName=None, PatientID="P0"),
    )
    found = rows(index, "patient")
    assert [
        (
            value(row.dataset, "PatientName"),
            value(row.dataset, "IssuerOfPatientID"),
            value(row.dataset, "NumberOfPatientRelatedStudies"),
        )
        for row in found
    ] == [
        ([{"Alphabetic": "Ann"}], ["B"], [1]),
        ([{"Alphabetic": "Zoe"}], ["A"], [2]),
        (None, None, [1]),
    ]
    assert index.counts().patients == 3


def test_a_patient_without_studies_is_no_patient(index: Index) -> None:
    store(index, entry())
    delete(index, "1.1")
    assert rows(index, "patient") == []
    assert index.counts().patients == 0


# -- what is held -----------------------------------------------------------------------------------------------
def test_instance_attributes_come_back_as_they_were_however_odd(index: Index) -> None:
    odd = [
        entry(instance="1", InstanceNumber=()),
        entry(instance="2", InstanceNumber=None, Rows=None),
        entry(instance="3", InstanceNumber={"vr": "IS", "Value": ["x"]}),
        entry(instance="4", InstanceNumber={"vr": "IS", "Value": [1, 2]}),
        entry(instance="5", NumberOfFrames={"vr": "IS", "Value": ["12"]}),
        entry(instance="6", Rows={"vr": "UN", "InlineBinary": "AAE="}),
        entry(instance="7", InstanceNumber=-(2**40)),
    ]
    store(index, *odd)
    held = {row.instance: row.dataset for row in rows(index, "instance")}
    for made in odd:
        own = held[made.held.instance]
        for tag in ("00080016", "00080018", "00200013", "00280008", "00280010", "00280011", "00280100"):
            assert own.get(tag) == made.dataset.get(tag)
        assert value(own, "AvailableTransferSyntaxUID") == [made.held.syntax]
        assert value(own, "InstanceAvailability") == ["ONLINE"]


def test_a_key_of_any_form_is_given_back(index: Index) -> None:
    from dataclasses import replace

    made = []
    for number, form in enumerate(
        [
            "elsewhere/{d}",
            "{v:016x}",
            "a b/<d>",
            "objects/xx/{d}-{v:016x}/<a>/<b>/",
            "{d:.2}/{d}-{v:016x}",
            "o/{d:.2}/{v:016x}",
            "<a>/{d}",
            "o/<a>/{d}",
        ]
    ):
        one = entry(instance=f"9.{number}")
        key = form.format(d=one.held.digest.hex(), v=one.held.version)
        made.append(replace(one, held=replace(one.held, key=key)))
    store(index, *made)
    assert [held.key for held in index.members("1.1")] == [one.held.key for one in made]


def test_metadata_of_a_series_survive_the_deletion_of_the_first_instance(index: Index) -> None:
    made = [entry(instance=f"1.1.1.{i}", ImageComments="x" * i) for i in range(1, 5)]
    for one in made:
        store(index, one)
    delete(index, "1.1", "1.1.1", "1.1.1.1")
    versions = [one.held.version for one in made[1:]]
    assert index.metadata(versions[::-1]) == [one.metadata for one in made[:0:-1]]
    with pytest.raises(NotFound):
        index.metadata([versions[0], made[0].held.version])
    with pytest.raises(NotFound):
        index.layout(made[0].held.version)


def test_another_process_reads_metadata_and_continues_a_series_that_was_deleted_meanwhile(
    shared_url: str,
) -> None:
    first, second = open_index(shared_url), open_index(shared_url)
    store(first, entry())
    store(second, entry(instance="1.1.1.2"))
    delete(second, "1.1")
    made = [entry(instance="1.1.1.3"), entry(instance="1.1.1.4")]
    store(first, made[0])
    store(second, made[1])
    for index in (first, second):
        assert index.metadata([one.held.version for one in made]) == [one.metadata for one in made]
        index.close()


def test_large_metadata_come_back_as_they_were(index: Index) -> None:
    comments = "".join(random.Random(1).choices("abcdefghij ", k=300_000))
    made = [entry(instance=f"1.{i}", ImageComments=comments + str(i)) for i in range(3)]
    store(index, *made)
    assert index.metadata([one.held.version for one in made]) == [one.metadata for one in made]


def test_members_come_by_series_and_instance_number_with_missing_numbers_last(index: Index) -> None:
    store(
        index,
        entry(series="1.1.2", instance="a", SeriesNumber=2, InstanceNumber=1),
        entry(series="1.1.1", instance="b", SeriesNumber=None, InstanceNumber=1),
        entry(series="1.1.3", instance="c", SeriesNumber=1, InstanceNumber=None),
        entry(series="1.1.3", instance="d", SeriesNumber=1, InstanceNumber=10),
        entry(series="1.1.3", instance="f", SeriesNumber=1, InstanceNumber=9),
        entry(series="1.1.3", instance="e", SeriesNumber=1, InstanceNumber=9),
    )
    assert [held.instance for held in index.members("1.1")] == ["e", "f", "d", "c", "a", "b"]
    assert [row.instance for row in rows(index, "instance", study="1.1")] == ["e", "f", "d", "c", "a", "b"]


def test_an_instance_is_not_found_under_another_study_or_series(index: Index) -> None:
    store(index, entry(), entry(study="1.2", series="1.2.1", instance="2"))
    for study, series in (("1.2", "1.1.1"), ("1.1", "1.2.1"), ("1'", "\0"), ("1.1", "\ud800")):
        with pytest.raises(NotFound):
            index.locate(study, series, "1.1.1.1")


def test_one_series_uid_in_two_studies_is_two_series(index: Index) -> None:
    store(index, entry("1.1", "5", "1"), entry("1.2", "5", "2"))
    assert [(row.study, row.series) for row in rows(index, "series")] == [("1.1", "5"), ("1.2", "5")]
    assert [held.instance for held in index.members("1.2", "5")] == ["2"]


# -- the whole --------------------------------------------------------------------------------------------------
def test_walk_meets_every_version_once(index: Index) -> None:
    made = [entry(instance=f"1.{i}") for i in range(7)]
    store(index, *made[:6])
    intend(index, made[6])
    index.keep([made[6]])
    met, after = [], 0
    while page := index.walk(after, 3):
        met += page
        after = page[-1].version
    assert met == sorted((one.held for one in made), key=lambda held: held.version)


def test_changes_are_numbered_and_remember_the_uids_of_what_is_no_more(index: Index) -> None:
    first, second = entry(), entry(instance="1.1.1.2")
    store(index, first, second)
    delete(index, "1.1")
    found = index.changes()
    assert [(change.kind, change.instance) for change in found] == [
        ("stored", "1.1.1.1"),
        ("stored", "1.1.1.2"),
        ("deleted", "1.1.1.1"),
        ("deleted", "1.1.1.2"),
    ]
    assert {(change.study, change.series) for change in found} == {("1.1", "1.1.1")}
    assert [change.number for change in found] == sorted({change.number for change in found})
    assert index.changes(after=found[1].number, limit=1) == found[2:3]
    assert index.changes(after=found[-1].number) == []
    assert all(abs(change.time - time.time()) < 60 for change in found)


def test_change_numbers_go_on_after_the_index_is_emptied(index: Index) -> None:
    store(index, entry())
    (before,) = index.changes()
    index.clear()
    store(index, entry())
    (after,) = index.changes()
    assert after.number > before.number


def test_counts_say_what_is_held(index: Index) -> None:
    store(index, entry(), entry(instance="1.1.1.2"), entry("1.2", "1.2.1", "3", PatientID="P2", Modality="MR"))
    store(index, entry())
    delete(index, "1.1", "1.1.1", "1.1.1.2")
    counts = index.counts()
    assert (counts.patients, counts.studies, counts.series, counts.instances) == (2, 2, 2, 2)
    assert (counts.bytes, counts.pending, counts.garbage) == (2000, 1, 1)
    assert counts.modalities == {"CT": 1, "MR": 1}


def test_lookup_finds_whatever_an_identifier_names_patients_first(index: Index) -> None:
    store(index, entry("7", "1.1.1", "1", PatientID="7"), entry("1.2", "7", "2", AccessionNumber="7"))
    store(index, entry("1.3", "1.3.1", "7", PatientID="Q"))
    found = index.lookup("7", 10)
    assert [(row.level, row.study, row.series, row.instance) for row in found] == [
        ("patient", "", "", ""),
        ("study", "1.2", "", ""),
        ("study", "7", "", ""),
        ("series", "1.2", "7", ""),
        ("instance", "1.3", "1.3.1", "7"),
    ]
    assert index.lookup("7", 2) == found[:2]
    assert index.lookup("' OR 1=1 --", 10) == index.lookup("", 10) == index.lookup("\0", 10) == []


def test_an_index_is_kept_when_it_is_closed_and_opened_again(shared_url: str) -> None:
    index = open_index(shared_url)
    store(index, entry(), entry(instance="1.1.1.2"))
    before = answers(index)
    index.close()
    index = open_index(shared_url)
    assert answers(index) == before
    index.check()
    index.close()


def test_an_index_belongs_to_the_first_storage_until_it_is_told_otherwise(index: Index) -> None:
    assert index.belong() == ""
    assert [index.belong(storage) for storage in ("one", "two")] == ["one", "one"]
    index.clear()
    assert index.belong() == "one"
    assert index.belong("two", anew=True) == index.belong("one") == "two"


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:", "index.db", ""])
def test_a_url_of_no_known_kind_is_a_bad_setting(url: str) -> None:
    with pytest.raises(BadSetting, match="index"):
        open_index(url)


# -- at the same time -------------------------------------------------------------------------------------------
def test_counts_are_right_after_many_threads_stored_and_deleted_at_once(index: Index) -> None:
    made = [
        entry(f"1.{i % 3}", f"1.{i % 3}.{i % 2}", f"9.{i:03}", Modality=["CT", "MR"][i % 2], PatientID="P")
        for i in range(120)
    ]

    def work(part: int) -> None:
        mine = made[part::6]
        for start in range(0, len(mine), 4):
            assert store(index, *mine[start : start + 4]) == [None] * 4
        for one in mine[::5]:
            held = one.held
            assert delete(index, held.study, held.series, held.instance) == 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    living = {one.held.instance for part in range(6) for i, one in enumerate(made[part::6]) if i % 5}
    assert {row.instance for row in rows(index, "instance")} == living
    for row in rows(index):
        own = [uid for uid in living if f"1.{int(uid[2:]) % 3}" == row.study]
        assert value(row.dataset, "NumberOfStudyRelatedInstances") == [len(own)]
        assert value(row.dataset, "ModalitiesInStudy") == ["CT", "MR"]
    assert index.counts().instances == len(living)
    assert len(index.changes()) == 120 + 24
    assert index.pending(time.time() + 1) == []


def test_one_of_many_who_store_the_same_uid_at_once_wins(shared_url: str) -> None:
    indexes = [open_index(shared_url) for _ in range(3)]
    made = [entry(Rows=i) for i in range(12)]
    start = threading.Barrier(12)

    def work(number: int) -> Any:
        intend(indexes[number % 3], made[number])
        start.wait()
        return indexes[number % 3].commit([made[number]])[0]

    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(work, range(12)))
    (winner,) = (one.held for one, result in zip(made, results, strict=True) if result is None)
    assert [result for result in results if result is not None] == [winner] * 11
    assert indexes[0].members("1.1") == [winner]
    for index in indexes:
        index.close()


def test_an_intent_recorded_twice_is_an_error_and_leaves_the_first(index: Index) -> None:
    made = entry()
    intend(index, made)
    with pytest.raises(Error):
        intend(index, entry(instance="2"), made)
    assert [intent.version for intent, _ in index.pending(time.time() + 1)] == [made.held.version]


STORER = """
import sys
sys.path.insert(0, {tests!r})
from dataclasses import replace
from entries import entry, store
from dicomweb.index import open_index
index = open_index({url!r})
for number in range(20):
    one = entry(instance=f"{{sys.argv[1]}}.{{number}}")
    version = one.held.version + int(sys.argv[1]) * 1000
    assert store(index, replace(one, held=replace(one.held, version=version))) == [None]
index.close()
"""


def test_several_processes_store_into_one_study(shared_url: str) -> None:
    index = open_index(shared_url)
    code = STORER.format(tests=str(Path(__file__).parents[1]), url=shared_url)
    running = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in (1, 2, 3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    (row,) = rows(index)
    assert value(row.dataset, "NumberOfStudyRelatedInstances") == [60]
    assert len(index.members("1.1", "1.1.1")) == 60
    assert len(index.changes()) == 60
    index.close()


def test_a_reader_sees_all_of_a_commit_or_nothing(shared_url: str) -> None:
    index = open_index(shared_url)
    done = threading.Event()
    wrong = []

    def read() -> None:
        while not done.is_set():
            for row in rows(index):
                counted = value(row.dataset, "NumberOfStudyRelatedInstances")[0]
                if counted % 5:
                    wrong.append(counted)

    reader = threading.Thread(target=read)
    reader.start()
    for start in range(0, 50, 5):
        store(index, *(entry(instance=f"1.{start + i}") for i in range(5)))
    done.set()
    reader.join()
    assert wrong == []
    index.close()


def test_this_process_is_alive_and_another_is_told_by_its_start() -> None:
    name = this_process()
    host, pid, start = name.rsplit(":", 2)
    assert is_alive(name) is True
    assert is_alive(f"elsewhere:{pid}:{start}") is None
    assert is_alive("nonsense") is None
    if Path("/proc/self/stat").exists():
        assert is_alive(f"{host}:{pid}:{int(start) - 1000}") is False
        assert is_alive(f"{host}:999999999:{start}") is False


def test_a_cursor_that_we_did_not_give_out_is_a_bad_query(index: Index) -> None:
    for cursor in ("", "x", "W10", "bnVsbA", "WyJ4Il0", "\udc80"):
        with pytest.raises(BadQuery):
            index.search(Query("study", cursor=cursor))


# -- how much is held ---------------------------------------------------------------------------------------------
def test_the_bytes_of_all_versions_are_known_without_counting(index: Index) -> None:
    assert index.used() == 0
    first, second, other = (entry(instance=uid) for uid in ("1", "2", "1"))
    store(index, first, second)
    assert index.used() == 2000
    intend(index, other)
    index.keep([other])
    assert index.used() == 3000
    index.recount()
    assert index.used() == 3000
    assert delete(index, first.held.study) == 2
    assert index.used() == 0
    store(index, entry())
    index.clear()
    assert index.used() == 0


def test_the_bytes_stay_right_whoever_stores_and_deletes_at_the_same_time(shared_url: str) -> None:
    indexes = [open_index(shared_url) for _ in range(2)]

    def work(number: int) -> None:
        index = indexes[number % 2]
        for turn in range(5):
            made = [entry(study=f"1.{number}", instance=f"{number}.{turn}.{each}") for each in range(3)]
            store(index, *made)
            if turn % 2:
                delete(index, f"1.{number}")

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(work, number) for number in range(6)]:
            future.result(120)
        pool.submit(indexes[0].recount).result(60)
    for index in indexes:
        assert index.used() == sum(held.size for held in index.walk()) == 6 * 3 * 1000
        index.close()
