"""What is remembered of searches at nodes: for a while, and not more than fits."""

import pytest

from dicomweb.web import remembered
from dicomweb.web.remembered import Answer, Remembered


def answer(rows: int = 1) -> Answer:
    return Answer([{}] * rows, ())


def test_an_answer_is_found_by_what_was_asked_alone():
    known, one = Remembered(), answer()
    known.keep(("PACS", "study"), one)
    assert known.find(("PACS", "study")) is one
    assert known.find(("PACS", "series")) is None


def test_an_answer_is_forgotten_when_its_time_is_over(monkeypatch):
    known = Remembered()
    monkeypatch.setattr(remembered, "SECONDS", 0.0)
    known.keep("a", answer())
    assert known.find("a") is None


@pytest.mark.parametrize(("rows", "kept"), [(1, 16), (4000, 2), (50_000, 1)])
def test_the_oldest_answers_make_room(rows, kept):
    known = Remembered()
    for number in range(20):
        known.keep(number, answer(rows))
    assert [number for number in range(20) if known.find(number)] == list(range(20 - kept, 20))
