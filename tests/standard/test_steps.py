"""No text of a stranger is read in more than a bounded CPU time: dates, times, names, patterns, Content-Type."""

import contextlib
import random
import string
from collections.abc import Callable
from time import thread_time

import pytest

from dicomweb.errors import Error
from dicomweb.standard.matching import accepts, read
from dicomweb.standard.media import read_accept, read_type
from dicomweb.standard.multipart import boundary_of

SECONDS = 1.0
"""Far above what 10,000 characters take, far below what they take where steps grow with the square or worse."""
LONG = 10_000

Reader = Callable[[str], object]


def matched(vr: str) -> Reader:
    """Reads a matching key, and matches it with values that nearly fit."""

    def reader(text: str) -> None:
        match = read(vr, text, fuzzy=vr == "PN")
        for value in ("a" * LONG, "ab" * (LONG // 2), "a^" * (LONG // 2), "20260101", text):
            accepts(match, {"vr": vr, "Value": [{"Alphabetic": value} if vr == "PN" else value]})

    return reader


READERS: dict[str, tuple[Reader, str]] = {
    "date": (matched("DA"), "0123456789-.:+ "),
    "time": (matched("TM"), "0123456789-.: "),
    "date and time": (matched("DT"), "0123456789-.:+& "),
    "name": (matched("PN"), "ab^=*? ,\u0301\ufdfa\u1e9e"),
    "pattern": (matched("LO"), "ab*?[\\. "),
    "UIDs": (matched("UI"), "012.,\\*"),
    "age": (matched("AS"), "0123YMWD-"),
    "number": (matched("DS"), "0123456789.eE+-\\ "),
    "Content-Type": (read_type, 'ab/;=" \\,()'),
    "boundary": (boundary_of, 'multipart/related;=" \\,boundary'),
    "Accept": (read_accept, 'ab/*;q=0.1," \\'),
}


def texts(letters: str) -> list[str]:
    """Long texts: each letter, each pair of letters, and some by chance, again and again."""
    dice = random.Random(letters)
    pairs = [a + b for a in letters for b in letters if a != b]
    chance = ["".join(dice.choices(letters, k=dice.randint(3, 9))) for _ in range(15)]
    parts = [*letters, *dice.sample(pairs, min(20, len(pairs))), *chance]
    repeated = [(part * LONG)[:LONG] for part in parts]
    mixed = ["".join(dice.choices(letters + string.ascii_lowercase, k=LONG)) for _ in range(5)]
    return [start + text for start in ("", "multipart/related; boundary=") for text in (*repeated, *mixed)]


def spent(reader: Reader, text: str) -> float:
    """CPU seconds of this thread for one text."""
    begun = thread_time()
    with contextlib.suppress(Error):
        reader(text)
    return thread_time() - begun


@pytest.mark.parametrize("name", READERS)
def test_no_text_takes_more_than_a_bounded_time(name):
    reader, letters = READERS[name]
    for text in texts(letters):
        # What the collector of garbage takes in one attempt, it does not take in the next
        assert any(spent(reader, text) < SECONDS for _ in range(3)), text[:40]
