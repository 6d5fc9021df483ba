"""Outcomes: which error is which code, the response module, its status."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicomweb import errors
from dicomweb.standard import outcomes
from dicomweb.standard.outcomes import (
    Outcome,
    accepted,
    from_error,
    read,
    respond,
    status_of,
    warnings,
    write,
)

BASE = "https://pacs.example/dicom-web"
CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass(frozen=True)
class Remark:
    kind: str
    sentence: str


def good(number=1, *remarks, study="1.2", state="stored"):
    return accepted(study, f"{study}.3", f"{study}.3.{number}", CT, state, remarks)


def bad(error, instance="1.2.9", sop_class=CT):
    outcome = from_error(error)
    return Outcome(
        "failed",
        sop_class,
        instance,
        reason=outcome.reason,
        detail=outcome.detail,
        temporary=outcome.temporary,
    )


CONFLICT = bad(errors.OtherContent("another one is there"))
FULL = bad(errors.OutOfSpace("no room"))
DOWN = bad(errors.Unavailable("no answer"))
UNREADABLE = from_error(errors.BadObject("no DICOM"))
TRUNCATED = bad(errors.TruncatedObject("ends early"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.OutOfSpace, 42752),
        (errors.ObjectTooLarge, 42752),
        (errors.TooLarge, 42752),
        (errors.WrongStudy, 43264),
        (errors.BadIdentity, 43264),
        (errors.BadObject, 49152),
        (errors.TruncatedObject, 49152),
        (errors.ObjectTooComplex, 49152),
        (errors.BadRequest, 49152),
        (errors.UnsupportedSyntax, 49442),
        (errors.OtherContent, 273),
        (errors.Unavailable, 272),
        (errors.Corrupt, 272),
        (ValueError, 272),
    ],
)
def test_every_error_has_the_code_of_the_standard(error, code):
    outcome = from_error(error("why"))
    assert (outcome.state, outcome.reason, outcome.warning) == ("failed", code, None)
    assert outcomes.MEANINGS[code]


def test_an_error_that_knows_its_object_names_it():
    outcome = from_error(errors.TruncatedObject("the data end early", CT, "1.2.3"))
    assert (outcome.sop_class, outcome.instance, outcome.detail) == (CT, "1.2.3", "the data end early")


def test_what_others_say_is_not_shown():
    assert "/secret/path" not in from_error(OSError("/secret/path")).detail


def test_only_a_lack_of_room_or_of_an_answer_is_temporary():
    for error in (errors.OutOfSpace(""), errors.Unavailable("")):
        assert from_error(error).temporary
    for error in (errors.ObjectTooLarge(""), errors.OtherContent(""), errors.BadObject(""), ValueError()):
        assert not from_error(error).temporary


def test_remarks_become_the_most_telling_warning():
    assert good().warning is None
    assert good(1, Remark("class", "pixels are longer")).warning == 45063
    assert good(1, Remark("anything", "odd")).warning == 45063
    both = good(1, Remark("class", "odd"), Remark("coerced", "changed"), Remark("class", "odd"))
    assert (both.warning, both.detail) == (45056, "odd; changed")


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([good()], 200),
        ([good(1), good(2, study="7")], 200),
        ([good(state="already")], 200),
        ([good(state="replaced")], 200),
        ([good(1, Remark("class", "odd"))], 202),
        ([good(1), CONFLICT], 202),
        ([good(1), UNREADABLE], 202),
        ([CONFLICT], 409),
        ([CONFLICT, UNREADABLE], 409),
        ([TRUNCATED], 409),
        ([UNREADABLE], 400),
        ([UNREADABLE, UNREADABLE], 400),
        ([FULL], 507),
        ([DOWN], 503),
        ([DOWN, FULL], 503),
        ([DOWN, CONFLICT], 409),
        ([good(1), FULL], 202),
    ],
)
def test_the_status_says_whether_all_some_or_nothing_was_stored(results, status):
    assert status_of(results) == status
    assert respond(results, BASE) == (status, write(results, BASE))


def test_the_response_names_each_instance_with_its_url_or_its_reason():
    dataset = write([good(1), CONFLICT, good(2, Remark("class", "odd")), UNREADABLE], BASE)
    assert dataset == {
        "00081190": {"vr": "UR", "Value": [f"{BASE}/studies/1.2"]},
        "00081198": {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": [CT]},
                    "00081155": {"vr": "UI", "Value": ["1.2.9"]},
                    "00081197": {"vr": "US", "Value": [273]},
                }
            ],
        },
        "00081199": {
            "vr": "SQ",
            "Value": [
                {
                    "00081150": {"vr": "UI", "Value": [CT]},
                    "00081155": {"vr": "UI", "Value": ["1.2.3.1"]},
                    "00081190": {"vr": "UR", "Value": [f"{BASE}/studies/1.2/series/1.2.3/instances/1.2.3.1"]},
                },
                {
                    "00081150": {"vr": "UI", "Value": [CT]},
                    "00081155": {"vr": "UI", "Value": ["1.2.3.2"]},
                    "00081190": {"vr": "UR", "Value": [f"{BASE}/studies/1.2/series/1.2.3/instances/1.2.3.2"]},
                    "00081196": {"vr": "US", "Value": [45063]},
                },
            ],
        },
        "0008119A": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [49152]}}]},
    }


def test_sequences_without_items_are_absent():
    assert write([good()], BASE).keys() == {"00081190", "00081199"}
    assert write([CONFLICT], BASE).keys() == {"00081190", "00081198"}
    assert write([UNREADABLE], BASE).keys() == {"00081190", "0008119A"}


def test_the_retrieve_url_of_the_response_is_empty_unless_it_is_one_study():
    assert write([good(1), good(1, study="7")], BASE)["00081190"] == {"vr": "UR"}
    assert write([CONFLICT], BASE)["00081190"] == {"vr": "UR"}


def test_a_failure_that_is_not_tied_to_an_instance_stands_apart():
    assert "00081198" not in write([bad(errors.BadIdentity("no UID"), sop_class="")], BASE)
    assert "00081198" not in write([bad(errors.BadIdentity("no UID"), instance="")], BASE)


def test_warning_headers_tell_people_what_the_codes_do_not():
    texts = warnings([good(1), CONFLICT, CONFLICT, good(2, Remark("class", "odd")), good(3, state="kept")], BASE)
    assert texts == [
        f'299 {BASE} "0111 another one is there (2 instances)"',
        f'299 {BASE} "B007 odd"',
        f'299 {BASE} "another object with this SOP Instance UID stays the one that is found and retrieved"',
    ]


def test_warning_headers_hold_nothing_that_could_be_another_header():
    texts = warnings([bad(errors.BadObject("a\r\nX: \u00e9"))], "")
    assert texts == ['299 - "C000 a??X: ?"']
    assert warnings([bad(errors.BadObject('a "b\\c", 299 -'))], "") == ['299 - "C000 a \\"b\\\\c\\", 299 -"']
    many = [bad(errors.BadObject(str(number))) for number in range(100)]
    assert len(warnings(many, BASE)) == 20


uids = st.from_regex(r"[1-9](\.[1-9][0-9]{0,3}){1,4}", fullmatch=True)
results = st.one_of(
    st.builds(
        accepted,
        uids,
        uids,
        uids,
        uids,
        st.sampled_from(["stored", "already", "kept", "replaced"]),
        st.lists(st.builds(Remark, st.sampled_from(["coerced", "discarded", "class"]), st.just("odd")), max_size=2),
    ),
    st.builds(bad, st.builds(errors.BadObject, st.text(max_size=5)), uids, uids),
    st.builds(from_error, st.builds(errors.Unavailable, st.text(max_size=5))),
)


@given(st.lists(results, min_size=1, max_size=6))
def test_what_is_written_is_read_back(given_):
    def facts(outcome):
        return (
            outcome.reason is None,
            outcome.sop_class,
            outcome.instance,
            outcome.study,
            outcome.series,
            (outcome.reason or outcome.warning),
        )

    found = read(write(given_, BASE))
    assert sorted(map(facts, found), key=str) == sorted(map(facts, given_), key=str)


@given(st.lists(results, min_size=1, max_size=6))
def test_the_response_is_a_data_set_that_others_read(given_):
    dataset = write(given_, BASE)
    other = Dataset.from_json(dataset)
    assert len(other.get("ReferencedSOPSequence") or []) == sum(outcome.reason is None for outcome in given_)
    assert list(dataset) == sorted(dataset)


json = st.recursive(
    st.none() | st.integers() | st.text(max_size=5) | st.just(f"{BASE}/studies/1/series/2"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["00081190", "00081198", "00081199", "0008119A", "00081150", "00081155", "Value", "vr"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["00081198", "00081199", "0008119A"]), json))
def test_a_strange_response_of_another_server_is_read_as_far_as_it_goes(dataset):
    for outcome in read(dataset):
        assert (outcome.state == "failed") == (outcome.reason is not None)
