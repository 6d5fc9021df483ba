"""Elements that recur: what was read before is there, never wrong, and bounded."""

from bytewise import EXPLICIT, LITTLE
from counting import calls_of
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.standard import elements
from dicomweb.standard.elements import Limits, walk
from dicomweb.standard.recurring import MOST, MOST_VALUES, OBJECTS, Recurring
from dicomweb.standard.syntaxes import syntax_of

KEY, OTHER = b"\x18\x00\x50\x00DS", b"\x18\x00\x60\x00DS"


def element(number: int) -> dict:
    return {"vr": "DS", "Value": [float(number)]}


def keep(recurring: Recurring, key: bytes, numbers: range) -> None:
    for number in numbers:
        recurring.keep(key, key + str(number).encode(), element(number))


def test_an_attribute_that_differs_each_time_is_kept_no_more_and_what_recurs_stays():
    recurring = Recurring()
    keep(recurring, OTHER, range(MOST_VALUES - 1))
    assert not recurring.varied
    keep(recurring, KEY, range(MOST_VALUES))
    assert recurring.varied == {KEY}
    assert recurring.known[OTHER + b"0"] == element(0)


def test_all_is_forgotten_after_a_while_since_the_next_series_has_its_own():
    recurring = Recurring()
    keep(recurring, KEY, range(MOST_VALUES))
    for _ in range(OBJECTS - 1):
        recurring.begin()
    assert recurring.known
    assert recurring.varied
    recurring.begin()
    assert not recurring.known
    assert not recurring.varied
    keep(recurring, KEY, range(MOST_VALUES - 1))
    assert not recurring.varied


def test_however_many_attributes_there_are_no_more_is_kept_than_the_limit():
    recurring = Recurring()
    for number in range(3 * MOST):
        recurring.keep(number.to_bytes(6, "little"), number.to_bytes(8, "little"), element(number))
        assert len(recurring.known) <= MOST


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-99999, 99999)), min_size=1, max_size=3 * MOST_VALUES))
def test_what_was_read_before_changes_nothing(values):
    """Of one attribute few values, of the other many, over more objects than it takes to tell them apart."""
    for few, many in values:
        data = LITTLE.text(0x00180050, "DS", str(few)) + LITTLE.text(0x00180060, "DS", f"{many}.50")
        read = walk(data, 0, len(data), syntax_of(EXPLICIT), Limits()).dataset
        assert read == {
            "00180050": {"vr": "DS", "Value": [float(few)]},
            "00180060": {"vr": "DS", "Value": [float(f"{many}.50")]},
        }


def test_a_walk_gives_what_recurs_again_and_passes_over_what_differs(monkeypatch):
    monkeypatch.setattr(elements, "_RECURRING", Recurring())

    def read(number: int) -> dict:
        same = b"".join(LITTLE.text(0x00190020 + at, "DS", f"{at}.25") for at in range(64))
        other = b"".join(LITTLE.text(0x00430020 + at, "DS", f"{number}.{at:03d}") for at in range(64))
        data = same + other
        return walk(data, 0, len(data), syntax_of(EXPLICIT), Limits()).dataset

    first = read(1)
    for number in range(2, MOST_VALUES + 2):
        again = read(number)
    assert all(again[tag] is first[tag] for tag in first if tag.startswith("0019"))
    counts = [calls_of(lambda number=number: read(number)) for number in range(2000, 2000 + OBJECTS)]
    forgotten = counts.index(max(counts))
    assert min(counts[:forgotten]) == max(counts[:forgotten])
    assert counts[forgotten] >= counts[0] + 2 * 64  # all is read and kept again, and what differs until that is known
    assert counts[-1] == counts[0]
