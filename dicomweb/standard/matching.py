"""What a matching key means: `read` a key, `accepts` a value (PS3.4 C.2.2.2, PS3.18 8.3.4.1).

A Match is what one key asks of one attribute; a Key binds it to a tag. The index may turn a Match into SQL;
`accepts` is its definition.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Anything:
    """Universal matching: every value, also none (PS3.4 C.2.2.2.3)."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Empty value matching: the attribute has no value or is not there (PS3.4 C.2.2.2.7)."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Exact, case-sensitive equality with any of the values: single value and UID list matching
    (PS3.4 C.2.2.2.1, C.2.2.2.2). Values are normalised as stored values are (no padding)."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """Equality of numbers, for IS, DS and binary VRs (PS3.4 C.2.2.2.1)."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Pattern:
    """Wildcard matching: `*` any run, `?` one character; no escapes; case-sensitive (PS3.4 C.2.2.2.4)."""

    text: str


@dataclass(frozen=True, slots=True)
class Name:
    """A person name (PS3.4 C.2.2.2.1.1): folded for case and accents, `*` and `?` allowed, matched against
    each component group of the stored name by itself. With `fuzzy`, a stored name also matches if every word
    of the key is the beginning of some word of one of its groups, in any order."""

    text: str
    fuzzy: bool = False


@dataclass(frozen=True, slots=True)
class Between:
    """A range or a single point of DA, TM or DT, both ends included (PS3.4 C.2.2.2.5). The ends are in the
    comparable form of `matching.comparable`; None is open."""

    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Moment:
    """Combined date-time matching (PS3.4 C.2.2.2.5.4, PS3.18 8.3.4.1.1): the date attribute that the key
    names, joined with the sibling attribute `time`, lies in one interval. Ends are comparable date + time."""

    time: int
    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Within:
    """Sequence matching: at least one item satisfies all keys (PS3.4 C.2.2.2.6)."""

    keys: tuple["Key", ...]


Match: TypeAlias = Anything | Absent | OneOf | Number | Pattern | Name | Between | Moment | Within


@dataclass(frozen=True, slots=True)
class Key:
    """One attribute and what is asked of it. Private tags carry their creator."""

    tag: int
    match: Match
    creator: str = ""
