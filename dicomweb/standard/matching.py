"""What a matching key means: `read` a key, `accepts` a value (PS3.4 C.2.2.2, PS3.18 8.3.4.1).

A Match is what one key asks of one attribute; a Key binds it to a tag. The index may turn a Match into SQL;
`accepts` is its definition.

Where the Standard leaves a choice:

- A stored attribute without value matches universal keys and empty value matching only. (PS3.4 C.2.2.1.2 lets
  an empty Required key match anything; nobody who asks for one patient wants all unnamed ones too.)
- Person names are folded for case and accents, and each component group is matched by itself.
- A date or time that is not given to the last digit covers its unit: the time 2230 is any moment of that
  minute, also as the end of a range. Stored values count from the beginning of their unit.
- `*` alone is universal for every VR, since clients send it so; other wildcards work on the VRs of C.2.2.2.4.
"""

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from dicomweb.errors import BadQuery
from dicomweb.standard.normal import comparable, first_and_last, fold, is_point, names, split_range, tidy

__all__ = [
    "Absent",
    "Anything",
    "Between",
    "Key",
    "Match",
    "Moment",
    "Name",
    "Number",
    "OneOf",
    "Pattern",
    "Within",
    "accepts",
    "comparable",
    "element_of",
    "fold",
    "glob",
    "names",
    "read",
    "satisfies",
]

Element: TypeAlias = Mapping[str, Any]
Dataset: TypeAlias = Mapping[str, Any]


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

    @property
    def groups(self) -> tuple[str, ...]:
        """The key's component groups that are not empty, folded; each must match some stored group."""
        return tuple(group for group in self.text.split("=") if group)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of a fuzzy key; () where there is no fuzzy reading (not asked for, no word, a `?`)."""
        if not self.fuzzy or "?" in self.text:
            return ()
        return words(self.text)


@dataclass(frozen=True, slots=True)
class Between:
    """A range or a single point of DA, TM or DT, both ends included (PS3.4 C.2.2.2.5). The ends are in the
    comparable form of `matching.comparable`; None is open."""

    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Moment:
    """Combined date-time matching (PS3.4 C.2.2.2.5.4, PS3.18 8.3.4.1.1): the date attribute that the key
    names, joined with the sibling attribute `time`, lies in one interval. Ends are comparable date + time.
    A stored date without time counts as the beginning of its day."""

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


# PS3.4 C.2.2.2.4: the VRs on which wildcards work.
WILDCARD = frozenset(["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
# PS3.5 6.2: VRs whose values are numbers.
NUMERIC = frozenset(["IS", "DS", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD"])
# PS3.5 6.2: VRs whose values hold neither comma nor backslash, so that either separates the values of a list.
LISTS = frozenset(["UI", "CS", "AT"]) | NUMERIC
TEMPORAL = frozenset(("DA", "TM", "DT"))
# PS3.5 6.2: binary VRs, which have no values to compare.
BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW"])


# -- reading a key ------------------------------------------------------------------------------------------
def read(vr: str, text: str, fuzzy: bool = False, *, zone: str = "") -> Match:
    """Read the value of a matching key (PS3.4 C.2.2.2, PS3.18 8.3.4.1).

    Args:
        vr: of the attribute; "" or "UN" where it is known only from stored data: then the key is read anew
            with the VR of each stored value.
        text: the key's value; of list-like VRs several, with `,` or a backslash between them.
        fuzzy: person names match also by the beginnings of their words.
        zone: UTC offset such as "+0100" of DT values that have none; "" leaves them as they are.

    Returns:
        The match; Anything for an empty text and for `*`.

    Raises:
        BadQuery: the text is no value of the VR, or the VR cannot be searched.
    """
    if "\0" in text:
        raise BadQuery("a search value cannot hold the character NUL")
    if vr == "PN":
        text = tidy(text)
    elif vr not in ("ST", "LT", "UT"):
        text = text.strip()
    if not text.strip("*"):
        return Anything()
    if vr in TEMPORAL:
        return _read_range(vr, text, zone)
    if vr == "PN":
        folded = fold(text)
        return Name(re.sub(r"\*+", "*", folded), fuzzy)
    if vr in NUMERIC:
        return Number(tuple(_number(vr, part) for part in _parts(text)))
    if vr in LISTS:
        return _read_list(vr, text)
    if vr == "SQ":
        raise BadQuery("a sequence itself has no value to search for: name an attribute inside it")
    if vr in BINARY:
        raise BadQuery(f"attributes with VR {vr} cannot be searched")
    if (vr in WILDCARD or vr in ("", "UN")) and ("*" in text or "?" in text):
        return Pattern(re.sub(r"\*+", "*", comparable("LO", text) or ""))
    return OneOf((comparable(vr or "LO", text) or "",))


def _parts(text: str) -> list[str]:
    return [part for part in (piece.strip() for piece in re.split(r"[,\\]", text)) if part]


def _number(vr: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in text:
        raise BadQuery(f"not a number, which the VR {vr} asks for: {text[:64]!r}")
    return number


def _read_list(vr: str, text: str) -> Match:
    parts = _parts(text)
    if not parts:
        return Anything()
    if vr == "CS":
        if "*" in text or "?" in text:
            if len(parts) > 1:
                raise BadQuery(f"a list of values cannot hold wildcards: {text[:64]!r}")
            return Pattern(re.sub(r"\*+", "*", parts[0]))
    elif vr == "UI":
        if any(not re.fullmatch(r"[0-9.]{1,64}", part) for part in parts):
            raise BadQuery(f"not a UID, and UIDs take no wildcards: {text[:64]!r}")
    elif any(not re.fullmatch(r"[0-9A-Fa-f]{8}", part) for part in parts):
        raise BadQuery(f"not a tag of eight hexadecimal digits: {text[:64]!r}")
    return OneOf(tuple(dict.fromkeys(comparable(vr, part) or "" for part in parts)))


def _read_range(vr: str, text: str, zone: str) -> Between:
    ends = split_range(vr, text, zone)
    if ends is None:
        what = {"DA": "date", "TM": "time", "DT": "date and time"}[vr]
        form = {"DA": "YYYYMMDD", "TM": "HHMMSS.FFFFFF", "DT": "YYYYMMDDHHMMSS.FFFFFF&ZZXX"}[vr]
        raise BadQuery(f"not a {what} ({form}) or a range of two with a hyphen: {text[:64]!r}")
    return Between(*ends)


def combine(date: str, time: str, sibling: int) -> Moment | None:
    """Join a date range and a time range to one interval (PS3.4 C.2.2.2.5.4, PS3.18 8.3.4.1.1).

    Where only one of them is a range, matching each by itself says the same.

    Args:
        date: value of the DA key.
        time: value of the TM key.
        sibling: tag of the time attribute.

    Returns:
        The interval, or None if date and time are not both ranges.

    Raises:
        BadQuery: as `read`.
    """
    if is_point("DA", date.strip()) or is_point("TM", time.strip()):
        return None
    days, times = read("DA", date), read("TM", time)
    if not isinstance(days, Between) or not isinstance(times, Between):
        return None
    earliest, latest = first_and_last("TM", "00")[0], first_and_last("TM", "23")[1]
    first = None if days.first is None else days.first + (times.first or earliest)
    last = None if days.last is None else days.last + (times.last or latest)
    return Moment(sibling, first, last)


# -- trying a value -----------------------------------------------------------------------------------------
def accepts(match: Match, element: Element | None, sibling: Element | None = None) -> bool:
    """Say whether a stored attribute satisfies a match; one of several values is enough (PS3.4 C.2.2.3).

    Args:
        match: what is asked.
        element: the attribute in the DICOM JSON model (PS3.18 F.2), None if it is not there.
        sibling: the time attribute, for a Moment.
    """
    if isinstance(match, Anything):
        return True
    values = [] if element is None else [value for value in element.get("Value") or () if value not in (None, "")]
    if isinstance(match, Absent):
        return element is None or not (values or "InlineBinary" in element or "BulkDataURI" in element)
    if element is None:
        return False
    vr = element.get("vr", "")
    if not values:
        return "InlineBinary" in element and _accepts_binary(match, element["InlineBinary"])
    match match:
        case OneOf() | Pattern():
            return _accepts_text(match, vr, values)
        case Number():
            return any(number in match.values for number in _numbers(values))
        case Name():
            return any(_accepts_name(match, value) for value in values)
        case Between():
            return any(_inside(match, point) for point in _points(match, vr, values))
        case Moment():
            return _accepts_moment(match, values, sibling)
        case Within():
            return any(isinstance(item, Mapping) and satisfies(match.keys, item) for item in values)
    return False


def satisfies(keys: tuple[Key, ...], dataset: Dataset) -> bool:
    """Say whether a data set or item in the DICOM JSON model satisfies all keys (PS3.4 C.2.2.2.6)."""
    for key in keys:
        sibling = dataset.get(f"{key.match.time:08X}") if isinstance(key.match, Moment) else None
        if not accepts(key.match, element_of(dataset, key.tag, key.creator), sibling):
            return False
    return True


def element_of(dataset: Dataset, tag: int, creator: str = "") -> Element | None:
    """Return an attribute of a data set in the DICOM JSON model, or None.

    A private one is found by its creator, in whichever block that data set gave it (PS3.5 7.8.1). A Private
    Creator itself stands for all creators of its group, for the same reason.
    """
    if not creator:
        if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
            values = [value for _, value in _creators(dataset, tag >> 16)]
            return {"vr": "LO", "Value": values} if values else None
        return dataset.get(f"{tag:08X}")
    for name in private_names(dataset, tag, creator):
        if name in dataset:
            return dataset[name]
    return None


def private_names(dataset: Dataset, tag: int, creator: str) -> Iterator[str]:
    """Yield the names that a private attribute may have in a data set, as blocks are reserved there
    (PS3.5 7.8.1)."""
    for name, value in _creators(dataset, tag >> 16):
        if value == creator:
            yield f"{name[:4]}{name[6:8]}{tag & 0xFF:02X}"


def _creators(dataset: Dataset, group: int) -> Iterator[tuple[str, str]]:
    """Yield name and value of each Private Creator of a group."""
    start = f"{group:04X}00"
    for name, element in dataset.items():
        if name.startswith(start) and name[6:8] >= "10":
            values = element.get("Value")
            if values and isinstance(values[0], str):
                yield name, values[0].strip()


def _accepts_text(match: OneOf | Pattern, vr: str, values: list[Any]) -> bool:
    if vr in NUMERIC or vr in TEMPORAL or vr == "PN":
        # The key was read without knowing this VR (private, or written with another VR): read it anew.
        texts = match.values if isinstance(match, OneOf) else (match.text,)
        return any(_reread(vr, text, values) for text in texts)
    stored = (comparable(vr, value if isinstance(value, str) else str(value)) for value in values)
    if isinstance(match, OneOf):
        return any(text in match.values for text in stored)
    pattern = glob(match.text)
    return any(text is not None and pattern.fullmatch(text) is not None for text in stored)


def _reread(vr: str, text: str, values: list[Any]) -> bool:
    try:
        match = read(vr, text)
    except BadQuery:
        return False
    return accepts(match, {"vr": vr, "Value": values})


def _accepts_binary(match: Match, inline: str) -> bool:
    """Unknown VR (UN): its bytes are tried as text."""
    if not isinstance(match, OneOf | Pattern):
        return False
    try:
        text = base64.b64decode(inline).decode("utf-8").rstrip("\0 ")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return bool(text) and _accepts_text(match, "LO", text.split("\\"))


def _numbers(values: list[Any]) -> Iterator[float]:
    for value in values:
        try:
            yield float(value)
        except (TypeError, ValueError):
            continue


def _points(match: Between, vr: str, values: list[Any]) -> Iterator[str]:
    end = match.first or match.last or ""
    kind = vr if vr in TEMPORAL else {8: "DA", 13: "TM"}.get(len(end), "DT")
    for value in values:
        point = comparable(kind, value) if isinstance(value, str) else None
        if point is not None:
            yield point


def _inside(match: Between | Moment, point: str) -> bool:
    return (match.first is None or match.first <= point) and (match.last is None or point <= match.last)


def _accepts_moment(match: Moment, values: list[Any], sibling: Element | None) -> bool:
    midnight = first_and_last("TM", "00")[0]
    times = [value for value in (sibling or {}).get("Value") or () if isinstance(value, str)]
    time = (comparable("TM", times[0]) if times else None) or midnight
    days = (comparable("DA", value) for value in values if isinstance(value, str))
    return any(day is not None and _inside(match, day + time) for day in days)


def _accepts_name(match: Name, value: Any) -> bool:
    stored = names(value)
    if all(any(glob(key).fullmatch(group) for group in stored) for key in match.groups):
        return True
    wanted = match.words
    return bool(wanted) and any(_begins(wanted, words(group)) for group in stored)


def _begins(wanted: tuple[str, ...], there: tuple[str, ...]) -> bool:
    return all(any(word.startswith(beginning) for word in there) for beginning in wanted)


def words(folded: str) -> tuple[str, ...]:
    """Split a folded name into its words, for fuzzy matching (PS3.4 C.2.2.2.1.1 leaves the method open)."""
    return tuple(word for word in re.split(r"[\s^=*,;.\-]+", folded) if word)


@lru_cache(maxsize=512)
def glob(text: str) -> re.Pattern[str]:
    """Return a regular expression for a wildcard pattern (PS3.4 C.2.2.2.4), to be used with `fullmatch`.

    Each run between two `*` is taken where it is found first and never again elsewhere, so that no pattern
    takes more than about pattern times text steps.
    """
    first, *others = ("".join("." if c == "?" else re.escape(c) for c in run) for run in text.split("*"))
    if not others:
        return re.compile(first, re.DOTALL)
    *middle, last = others
    return re.compile(first + "".join(f"(?>.*?{run})" for run in middle) + ".*" + last, re.DOTALL)
