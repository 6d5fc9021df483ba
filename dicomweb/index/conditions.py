"""One matching key on one column, as an SQL condition that holds exactly when `matching.accepts` does.

Columns are in the forms of `forms.py`. Where a column holds several values, SQLite asks functions of ours (see
`matchers.py`; such rows are rare) and PostgreSQL takes the column apart. Values only ever travel as parameters.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dicomweb.index.forms import LONGEST, Kind, odd_number, storable
from dicomweb.index.schema import Dialect
from dicomweb.index.session import as_list, one_of
from dicomweb.standard.matching import Absent, Between, Match, Moment, Name, Number, OneOf, Pattern
from dicomweb.standard.normal import first_and_last

MIDNIGHT = first_and_last("TM", "00")[0]


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL that is true or not, and the values of its parameters in order."""

    sql: str
    values: tuple[Any, ...] = ()


ALWAYS = Condition("1 = 1")
NEVER = Condition("1 = 0")


def both(conditions: Iterable[Condition], word: str = "AND") -> Condition:
    """Join conditions."""
    found = list(conditions)
    return Condition(
        f"({f' {word} '.join(condition.sql for condition in found)})",
        tuple(value for condition in found for value in condition.values),
    )


LAST = "\U0010ffff"
"""The last character: what begins with a text lies between that and the text with this behind it."""


def several(column: str) -> str:
    """Return the condition that a text column holds several values."""
    return f"{column} >= '\\' AND {column} < ']'"


def text_condition(dialect: Dialect, column: str, kind: Kind, match: Match) -> Condition | None:
    """Return the condition for a text column, or None if this kind of match is none for its kind of value."""
    match match:
        case Absent():
            return Condition(f"{column} = ''")
        case OneOf() if kind == "text":
            return _one_of(dialect, column, match)
        case Pattern() if kind == "text":
            return _pattern(dialect, column, match.text)
        case Name() if kind == "name":
            return _name(dialect, column, match)
        case Between() if kind in ("date", "time"):
            return _between(dialect, column, match)
    return None


def _one_of(dialect: Dialect, column: str, match: OneOf) -> Condition:
    values = [storable(value)[:LONGEST] for value in match.values if value]
    if not values:
        return NEVER
    found = "instr" if dialect == "sqlite" else "strpos"
    inside = " OR ".join([f"{found}({column}, ?) > 0"] * len(values))
    return both(
        [
            equals(dialect, column, values),
            Condition(f"({several(column)} AND ({inside}))", tuple(f"\\{value}\\" for value in values)),
        ],
        "OR",
    )


def equals(dialect: Dialect, column: str, values: list[Any]) -> Condition:
    """Return the condition that a column equals one of these values."""
    if not values:
        return NEVER
    if len(values) == 1:
        return Condition(f"{column} = ?", (values[0],))
    return Condition(one_of(dialect, column), (as_list(dialect, values),))


def write_glob(pattern: str) -> str:
    """Return a wildcard pattern (PS3.4 C.2.2.2.4) in the notation of SQLite's GLOB."""
    return pattern.replace("[", "[[]")


def write_regex(pattern: str) -> str:
    """Return a wildcard pattern as a regular expression of PostgreSQL that finds a whole value in a column."""
    body = "".join(_WILDCARDS.get(character) or _escape(character) for character in pattern)
    return f"(^|\\\\){body}(\\\\|$)"


_WILDCARDS = {"*": "[^\\\\]*", "?": "[^\\\\]"}


def _escape(text: str) -> str:
    return "".join(c if c.isalnum() or not c.isascii() else f"\\{c}" for c in text)


def _pattern(dialect: Dialect, column: str, pattern: str) -> Condition:
    pattern = storable(pattern)
    if not pattern:
        return NEVER
    if dialect == "sqlite":
        return Condition(
            f"CASE WHEN {several(column)} THEN any_pattern(?, {column}) ELSE {column} <> '' AND {column} GLOB ? END",
            (pattern, write_glob(pattern)),
        )
    if not pattern.strip("*"):
        return Condition(f"btrim({column}, '\\') <> ''")
    beginning = pattern.removesuffix("*")
    if "*" in beginning or "?" in beginning:
        return Condition(f"({column} <> '' AND {column} ~ ?)", (write_regex(pattern),))
    # Of a regular expression its planner would take longer to say what it costs than of a range to read it.
    if beginning == pattern:
        single, inside = equals(dialect, column, [pattern]), f"\\{pattern}\\"
    else:
        single = Condition(f"({column} >= ? AND {column} < ?)", (beginning, f"{beginning}{LAST}"))
        inside = f"\\{beginning}"
    return both([single, Condition(f"({several(column)} AND strpos({column}, ?) > 0)", (inside,))], "OR")


def _name(dialect: Dialect, column: str, match: Name) -> Condition:
    groups = [storable(group) for group in match.groups]
    if dialect == "sqlite":
        fuzzy = bool(match.words)
        plain = [
            Condition(f"{column} <> ''"),
            *(Condition(f"{column} GLOB ?", (write_glob(g),)) for g in groups),
        ]
        text = storable(match.text)
        single = both(plain)
        if fuzzy:
            single = both([single, Condition(f"any_name(?, 1, {column})", (text,))], "OR")
        return Condition(
            f"CASE WHEN {several(column)} THEN any_name(?, {int(fuzzy)}, {column}) ELSE {single.sql} END",
            (text, *single.values),
        )
    if not groups:
        literal = Condition(f"{column} <> ''")
    elif len(groups) == 1:
        literal = _pattern(dialect, column, groups[0])
    else:
        # All groups must be found in the same name of several; names have an empty text between them.
        literal = Condition(
            f"EXISTS (SELECT 1 FROM unnest(string_to_array({column}, '\\\\')) AS names (name) WHERE "
            + " AND ".join(["name ~ ?"] * len(groups))
            + ")",
            tuple(write_regex(group) for group in groups),
        )
    if not match.words:
        return literal
    words = Condition(
        f"EXISTS (SELECT 1 FROM unnest(string_to_array({column}, '\\')) AS groups (one) WHERE "
        + " AND ".join(["one ~ ?"] * len(match.words))
        + ")",
        tuple(f"(^|[ ^=*,;.\\-]){_escape(storable(word))}" for word in match.words),
    )
    # What the words imply of the column as a whole is what an index of trigrams can tell.
    implied = [Condition(f"{column} ~ ?", (_escape(storable(word)),)) for word in match.words]
    return both([literal, both([*implied, words])], "OR")


def _range(dialect: Dialect, expression: str, match: Between | Moment) -> Condition:
    conditions = [Condition(f"{expression} <> ''")]
    if match.first is not None:
        conditions.append(Condition(f"{expression} >= ?", (match.first,)))
    if match.last is not None:
        conditions.append(Condition(f"{expression} <= ?", (match.last,)))
    return both(conditions)


def _between(dialect: Dialect, column: str, match: Between) -> Condition:
    single = _range(dialect, column, match)
    if dialect == "sqlite":
        many = Condition(f"any_between(?, ?, {column})", (match.first, match.last))
    else:
        inside = _range(dialect, "point", match)
        many = Condition(
            f"EXISTS (SELECT 1 FROM unnest(string_to_array({column}, '\\')) AS points (point) WHERE {inside.sql})",
            inside.values,
        )
    return Condition(
        f"CASE WHEN {several(column)} THEN {many.sql} ELSE {single.sql} END", (*many.values, *single.values)
    )


def moment_condition(dialect: Dialect, date: str, time: str, match: Moment) -> Condition:
    """Return the condition that a date column joined with a time column lies in an interval; of several times the
    first counts, and no time is the beginning of the day (see `matching.Moment`)."""
    find, piece = ("instr", "substr") if dialect == "sqlite" else ("strpos", "substr")
    first = f"{piece}({time}, 2, {find}({piece}({time}, 2), '\\') - 1)"
    if dialect == "postgresql":
        first = f"split_part({time}, '\\', 2)"
    moment = (
        f"(CASE WHEN {several(time)} THEN COALESCE(NULLIF({first}, ''), '{MIDNIGHT}') "
        f"WHEN {time} = '' THEN '{MIDNIGHT}' ELSE {time} END)"
    )
    single = both([Condition(f"{date} <> ''"), _range(dialect, f"({date} || {moment})", match)])
    if dialect == "sqlite":
        many = Condition(f"any_moment(?, ?, {date}, {moment})", (match.first, match.last))
    else:
        inside = both(
            [Condition("point <> ''"), _range(dialect, f"(point || {moment})", match)],
        )
        many = Condition(
            f"EXISTS (SELECT 1 FROM unnest(string_to_array({date}, '\\')) AS points (point) WHERE {inside.sql})",
            inside.values,
        )
    return Condition(f"CASE WHEN {several(date)} THEN {many.sql} ELSE {single.sql} END", (*many.values, *single.values))


def number_condition(dialect: Dialect, column: str, odd: str, tag: int, match: Match) -> Condition | None:
    """Return the condition for a number column and the text that holds what does not fit into it."""
    found = "instr" if dialect == "sqlite" else "strpos"
    if isinstance(match, Absent):
        return Condition(f"({column} IS NULL AND {found}({odd}, ?) = 0)", (f"\\{tag:08X}=",))
    if not isinstance(match, Number):
        return None
    whole = [int(value) for value in match.values if value.is_integer() and abs(value) < 1 << 60]
    conditions = [Condition(f"{found}({odd}, ?) > 0", (odd_number(tag, value),)) for value in match.values]
    return both([equals(dialect, column, list(whole)), *conditions], "OR")
