"""Values as people read them: names, dates, numbers, codes, and text that cannot play tricks (PS3.5 6.2, PS3.3 8).

Whatever a stranger wrote into an object ends up on a page that somebody reads, so every text goes through
`clean` on its way.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from dicomweb.standard import dicomjson, dictionary

LONGEST = 100_000
"""Characters of one value that are shown."""

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_DATE = re.compile(r"([0-9]{4})[-.]?(?:([0-9]{2})[-.]?(?:([0-9]{2}))?)?")
_TIME = re.compile(r"([0-9]{2}):?(?:([0-9]{2}):?(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_MOMENT = re.compile(r"([0-9]{4,8})([0-9]{2,6}(?:\.[0-9]{1,6})?)?(?:([+-][0-9]{2})([0-9]{2}))?")
_AGE = re.compile(r"([0-9]{3})([DWMY])")
_SPANS = {"D": "day", "W": "week", "M": "month", "Y": "year"}
_SEXES = {"M": "male", "F": "female", "O": "other"}

# What would be seen as nothing, or would turn the text around it: C0 and C1 controls but for tab and line feed,
# embeddings and isolates of direction, lone surrogates and what is no character at all. Marks of direction
# (U+200E, U+200F) have their place in Arabic and Hebrew; a page isolates each value.
_TRICKS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff]"
)
_SHOWN = str.maketrans({"1": "¹", "2": "²", "3": "³", "-": "⁻"})
# UCUM (PS3.3 8.3): codes that are not what people write
_UNITS = {
    "[hnsf'U]": "HU", "[HU]": "HU", "Cel": "°C", "deg": "°", "um": "µm", "us": "µs", "uV": "µV", "ug": "µg",
    "ug/mL": "µg/mL", "mm[Hg]": "mmHg", "{beats}/min": "/min", "/min": "/min", "Ohm": "Ω", "uSv": "µSv", "uGy": "µGy",
    "[in_i]": "in", "[lb_av]": "lb", "[pi].rad": "π rad", "umol/L": "µmol/L",
}  # fmt: skip
_NO_UNIT = frozenset(("1", "no units", "unity", "dimensionless", "{unity}", "{no_units}"))
_CLOSE = frozenset(("", "°", "%"))
_POWER = re.compile(r"(?<=[a-zµΩ%])(-?[1-3])(?![0-9])")


class Code(NamedTuple):
    """A coded concept (PS3.3 8.8).

    Attributes:
        value: the code, short, long or as URN.
        scheme: coding scheme designator, or "".
        meaning: for people, or "".
    """

    value: str
    scheme: str
    meaning: str

    @property
    def shown(self) -> str:
        """What people read: the meaning, or the code where there is none."""
        return self.meaning or self.value

    @property
    def exact(self) -> str:
        """What programs read: code and scheme."""
        return f"{self.value}, {self.scheme}" if self.scheme else self.value


def clean(text: str) -> str:
    """Return a text in which nothing is hidden: one kind of line end, controls as pictures or replacement
    characters, no controls of direction, `LONGEST` characters at most."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}… ({len(text):,} characters)"
    if text.isprintable():
        return text
    return _TRICKS.sub(_picture, text.replace("\r\n", "\n").replace("\r", "\n"))


def _picture(found: re.Match[str]) -> str:
    character = found.group()
    if character < " ":
        return chr(0x2400 + ord(character))
    return "" if "\u202a" <= character <= "\u2069" or character == "\ufeff" else "\ufffd"


def person(value: object) -> str:
    """Return a person name: `family, given middle, prefix, suffix`, other scripts in brackets (PS3.5 6.2.1)."""
    groups = [value.get(group) for group in _GROUPS] if isinstance(value, Mapping) else str(value or "").split("=")
    names = [name for group in groups if isinstance(group, str) and (name := _name(group))]
    return names[0] + (f" ({', '.join(names[1:])})" if names[1:] else "") if names else ""


def _name(group: str) -> str:
    family, given, middle, prefix, suffix = ([part.strip() for part in clean(group).split("^")] + [""] * 4)[:5]
    parts = [family, f"{given} {middle}".strip(), prefix, suffix]
    return ", ".join(part for part in parts if part)


def people(dataset: Mapping[str, Any], tag: str) -> str:
    """Return all person names of an attribute (PS3.5 6.2.1), or ""."""
    return "; ".join(name for value in dicomjson.values(dataset, tag) if (name := person(value)))


def date(text: str) -> str:
    """Return a DA value as 2001-02-13, also a partial one; what is none, as it is (PS3.5 6.2)."""
    found = _DATE.fullmatch(text.strip())
    return "-".join(part for part in found.groups() if part) if found else clean(text)


def time(text: str) -> str:
    """Return a TM value as 18:47:46, without fractions of seconds; what is none, as it is (PS3.5 6.2)."""
    found = _TIME.fullmatch(text.strip())
    return ":".join(part for part in found.groups()[:3] if part) if found else clean(text)


def moment(text: str) -> str:
    """Return a DT value as 2001-02-13 18:47:46 +01:00; what is none, as it is (PS3.5 6.2)."""
    found = _MOMENT.fullmatch(text.strip())
    if not found:
        return clean(text)
    day, clock, hours, minutes = found.groups()
    zone = f"{hours}:{minutes}" if hours else ""
    return " ".join(part for part in (date(day), time(clock) if clock else "", zone) if part)


def together(dataset: Mapping[str, Any], day: str, clock: str) -> str:
    """Return the date and time of two attributes, or as much as there is."""
    text = dicomjson.text
    return f"{date(text(dataset, day))} {time(text(dataset, clock))}".strip()


def age(text: str) -> str:
    """Return an AS value as 42 years; what is none, as it is (PS3.5 6.2)."""
    found = _AGE.fullmatch(text.strip())
    if not found:
        return clean(text)
    count, span = int(found[1]), _SPANS[found[2]]
    return f"{count} {span}{'' if count == 1 else 's'}"


def sex(text: str) -> str:
    """Return Patient's Sex in a word (PS3.3 C.7.1.1)."""
    return _SEXES.get(text.strip().upper(), clean(text))


def number(value: object) -> str:
    """Return a number with all its digits, or the text that stands in its place (PS3.18 F.2.3)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return clean(str(value if value is not None else ""))
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def rounded(value: object) -> str:
    """Return a number as `number` does, one with many digits rounded to six that count."""
    exact = number(value)
    if not isinstance(value, float) or len(exact.lstrip("-")) <= 8 or not math.isfinite(value):
        return exact
    short = f"{value:.6g}" if abs(value) < 1e6 else f"{value:.1f}"
    return number(float(short))


def measure(value: object, unit: str) -> str:
    """Return a number, rounded, with its unit, such as "3.2 mm", "45°", "12%"."""
    return f"{rounded(value)}{'' if unit in _CLOSE else ' '}{unit}"


def code(item: Mapping[str, Any] | None) -> Code | None:
    """Read a code sequence item (PS3.3 8.8); None where it says nothing."""
    if not isinstance(item, Mapping):
        return None
    text = dicomjson.text
    value = text(item, "00080100") or text(item, "00080119") or text(item, "00080120")
    found = Code(clean(value), clean(text(item, "00080102")), clean(text(item, "00080104")))
    return found if found.shown else None


def first_code(dataset: Mapping[str, Any], tag: str) -> Code | None:
    """Read the first item of a code sequence (PS3.3 8.8), or None."""
    items = dicomjson.values(dataset, tag)
    return code(items[0]) if items else None


def unit(measured: Code | None) -> str:
    """Return a unit as people write it: UCUM codes where they can be read, else the meaning (PS3.3 8.3)."""
    if measured is None:
        return ""
    if measured.scheme != "UCUM":
        return measured.shown
    if measured.value in _UNITS:
        return _UNITS[measured.value]
    if re.search(r"[\[\]{}'*]|^1$", measured.value):
        return "" if measured.shown.lower() in _NO_UNIT else measured.shown
    return _POWER.sub(lambda found: found[1].translate(_SHOWN), measured.value)


def class_name(uid: str) -> str:
    """Return what kind of object a SOP Class is, such as "CT Image" (PS3.6 A), or "object"."""
    return dictionary.uid_name_of(uid).removesuffix(" Storage").removesuffix(" IOD") or "object"
