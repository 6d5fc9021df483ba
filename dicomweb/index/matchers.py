"""Functions that SQLite calls for the rows whose column holds several values; they are `standard.matching` itself."""

import sqlite3
from functools import lru_cache

from dicomweb.index.forms import SEPARATOR, read_column
from dicomweb.standard.matching import Name, accepts, glob


def any_pattern(pattern: str, column: str) -> bool:
    """Some value of a column matches a wildcard pattern."""
    compiled = glob(pattern)
    return any(value and compiled.fullmatch(value) is not None for value in read_column(column))


@lru_cache(maxsize=256)
def _name(text: str, fuzzy: bool) -> Name:
    return Name(text, fuzzy)


def any_name(text: str, fuzzy: int, column: str) -> bool:
    """Some name of a column, with all its component groups, matches a key."""
    match = _name(text, bool(fuzzy))
    inside = column[1:-1] if column.startswith(SEPARATOR) else column
    for name in inside.split(SEPARATOR * 2):
        groups = [group for group in name.split(SEPARATOR) if group]
        # The groups are folded and tidied; folding them again changes nothing.
        value = dict(zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=False))
        if accepts(match, {"vr": "PN", "Value": [value]}):
            return True
    return False


def any_between(first: str | None, last: str | None, column: str) -> bool:
    """Some date or time of a column lies between two, ends included."""
    return any(value and _inside(first, last, value) for value in read_column(column))


def any_moment(first: str | None, last: str | None, column: str, time: str) -> bool:
    """Some date of a column, joined with a time, lies between two moments."""
    return any(value and _inside(first, last, value + time) for value in read_column(column))


def _inside(first: str | None, last: str | None, value: str) -> bool:
    return (first is None or first <= value) and (last is None or value <= last)


def register(connection: sqlite3.Connection) -> None:
    """Make the functions known to a connection."""
    for function, arguments in ((any_pattern, 2), (any_name, 3), (any_between, 3), (any_moment, 4)):
        connection.create_function(function.__name__, arguments, function, deterministic=True)
