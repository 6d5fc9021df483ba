"""Whatever a data set holds, there is a page of it, and it is well formed."""

import contextlib
from typing import Any

from defusedxml import ElementTree
from documents import Page
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomweb.errors import Undecodable
from dicomweb.imaging import encapsulated, listing, reports, tracings, waveforms

REPORT = [
    "0040A730", "0040A040", "0040A043", "0040A300", "0040A30A", "0040A168", "0040A160", "00081199", "00081155",
    "0040DB73", "00700022", "0040A375", "00081115", "0040A123", "0040A010", "0040A050", "0040A801", "0040A808",
    "0040A807", "0040A804", "0040A805", "00720076", "00720080", "0040A073", "00100010", "00080016", "00420011",
]  # fmt: skip
WAVEFORM = ["54000100", "003A0005", "003A0010", "003A001A", "54001010", "003A0200", "54001004", "54001006", "0040B020",
            "0040A0B0", "00080016"]  # fmt: skip
PLAN = ["300A00B0", "300A0111", "300A011E", "300A0070", "300C0004", "30060020", "30060022", "30060039", "30060040"]

SCALAR: Any = st.one_of(
    st.none(), st.integers(-5, 70_000), st.floats(), st.text(max_size=8),
    st.sampled_from(["CONTAINER", "NUM", "TEXT", "IMAGE", "TABLE", "SCOORD", "CONTAINS", "CONTINUOUS", "SS", "UB"]),
    st.dictionaries(st.sampled_from(["Alphabetic", "Ideographic"]), st.one_of(st.none(), st.text(max_size=5))),
)  # fmt: skip


def datasets(tags: list[str]) -> Any:
    vrs = st.sampled_from(["LO", "DS", "IS", "OB", "PN"])
    plain = st.fixed_dictionaries({"vr": vrs, "Value": st.lists(SCALAR, max_size=4)})
    binary = st.fixed_dictionaries({"vr": st.just("OW"), "InlineBinary": st.text(alphabet="AQgw=", max_size=40)})

    def around(inner: Any) -> Any:
        sequence = st.fixed_dictionaries({"vr": st.just("SQ"), "Value": st.lists(inner, max_size=4)})
        return st.dictionaries(st.sampled_from(tags), st.one_of(sequence, plain, binary), max_size=8)

    return st.recursive(st.dictionaries(st.sampled_from(tags), plain, max_size=5), around, max_leaves=20)


@settings(max_examples=150)
@given(datasets(REPORT))
def test_a_document_has_a_page_and_a_text(dataset):
    Page(reports.html(dataset))
    assert reports.text(dataset)
    assert isinstance(reports.references(dataset), list)
    encapsulated.read(dataset)


@settings(max_examples=150)
@given(datasets(REPORT + WAVEFORM + PLAN))
def test_any_object_has_a_list_of_attributes(dataset):
    Page(listing.html(dataset))
    assert listing.text(dataset)


@settings(max_examples=150)
@given(datasets(WAVEFORM))
def test_a_waveform_is_drawn_or_undecodable(dataset):
    assert all(size >= 0 for size in waveforms.wanted(dataset).values())
    with contextlib.suppress(Undecodable):
        assert ElementTree.fromstring(tracings.svg(dataset, {})).tag.endswith("svg")
