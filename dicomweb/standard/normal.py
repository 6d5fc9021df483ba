"""Normal forms of values, in which stored values and matching keys are compared (PS3.5 6.2, PS3.4 C.2.2.2).

The index keeps these forms in its columns, so a change here needs a rebuild of the index.
"""

import calendar
import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

# Letters that Unicode does not decompose, though people who lack them type the ones on the right.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)


def fold(text: str) -> str:
    """Return text without differences of case, accent and width (PS3.4 C.2.2.2.1.1 leaves that open for PN).

    Compatibility forms are resolved (full-width letters, half-width katakana), accents and the points of
    Hebrew and Arabic dropped, case folded. What tells letters apart stays: voicing marks of Japanese, vowel
    and tone signs of Thai, syllables of Korean.
    """
    if text.isascii():
        return text.casefold()
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not _is_accent(c))
    bare = unicodedata.normalize("NFKD", bare.casefold())
    bare = "".join(c for c in bare if not _is_accent(c)).translate(_PLAIN)
    return unicodedata.normalize("NFC", bare)


def _is_accent(character: str) -> bool:
    kind = unicodedata.combining(character)
    # Canonical combining classes: 1 overlay, 10 to 36 Hebrew, Arabic, Syriac points, 200 and more: accents.
    return kind == 1 or 10 <= kind <= 36 or kind >= 200


def tidy(name: str) -> str:
    """Return a person name without spaces that say nothing and without empty trailing components
    (PS3.5 6.2.1)."""
    groups = (" ".join(group.split()).replace(" ^", "^").replace("^ ", "^") for group in name.split("="))
    return "=".join(group.rstrip("^") for group in groups).rstrip("=")


def names(value: Any) -> tuple[str, ...]:
    """Return the component groups of one stored person name, tidied and folded; empty ones left out.

    Args:
        value: an object with Alphabetic, Ideographic, Phonetic (PS3.18 F.2.2), or a text with `=` between.
    """
    if isinstance(value, Mapping):
        groups: list[Any] = [value.get(group) for group in ("Alphabetic", "Ideographic", "Phonetic")]
    else:
        groups = str(value).split("=")
    return tuple(fold(text) for group in groups if isinstance(group, str) and (text := tidy(group)))


def comparable(vr: str, text: str) -> str | None:
    """Return the form in which a stored value is compared.

    DA gives YYYYMMDD, TM gives HHMMSS.FFFFFF, DT the instant as YYYYMMDDHHMMSS.FFFFFF in UTC (without an
    offset the value is taken as it stands); the dots and colons of old objects are read too (PS3.5 6.2 on DA
    and TM). Missing parts count from their beginning. PN gives its tidied, folded groups with `=` between.
    Others give the text without padding, in Unicode's composed form.

    Returns:
        The form, or None where the text is empty, or no date or time.
    """
    if vr in _PARTS:
        ends = _ends(vr, text)
        return ends[0] if ends else None
    if vr == "PN":
        return fold(tidy(text)) or None
    if vr in ("ST", "LT", "UT"):
        text = text.rstrip(" \0\r\n\t")
    else:
        text = text.strip(" \0\r\n\t")
    if vr == "AT":
        text = text.upper()
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text or None


# PS3.5 6.2: digits of DA, TM and DT. A fraction has six; some devices write nine, of which six count.
_PARTS = {
    "DA": re.compile(r"(\d{4})(?:(\d\d)(\d\d)?)?", re.ASCII),
    "TM": re.compile(r"(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{0,6})\d*)?)?)?", re.ASCII),
    "DT": re.compile(
        r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{0,6})\d*)?)?)?)?)?)?"
        r"([+\- ](?:0\d|1[0-4])[0-5]\d)?",
        re.ASCII,
    ),
}
_MOST_HYPHENS = 3
"""In a range of two, each with a negative UTC offset."""
_OLD_DATE = re.compile(r"(\d{4})\.(\d\d)\.(\d\d)", re.ASCII)
_OLD_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d*)?)?", re.ASCII)


def is_point(vr: str, text: str) -> bool:
    """Say whether a key of VR DA, TM or DT is one value rather than a range (PS3.4 C.2.2.2.5).

    A hyphen means a range, but for a last one of DT before four digits that are a UTC offset.
    """
    return _ends(vr, text) is not None


def first_and_last(vr: str, text: str, zone: str = "") -> tuple[str, str]:
    """Return the first and the last moment that a value of DA, TM or DT covers, in comparable form
    (PS3.5 6.2: what is left out is not known).

    Raises:
        ValueError: the text is no such value.
    """
    ends = _ends(vr, text, zone)
    if ends is None:
        raise ValueError(text)
    return ends


def split_range(vr: str, text: str, zone: str = "") -> tuple[str | None, str | None] | None:
    """Read one value or a range of VR DA, TM or DT (PS3.4 C.2.2.2.5).

    Negative UTC offsets are told from the hyphen of the range by being offsets (at most 14 hours) and by
    what follows them.

    Returns:
        First and last moment in comparable form, None for an open end; or None if the text is neither.
    """
    ends = _ends(vr, text, zone)
    if ends is not None:
        return ends
    if text.count("-") > _MOST_HYPHENS:
        return None
    for place in (i for i, c in enumerate(text) if c == "-"):
        left, right = text[:place].strip(), text[place + 1 :].strip()
        first = _ends(vr, left, zone) if left else None
        last = _ends(vr, right, zone) if right else None
        if (left or right) and (first or not left) and (last or not right):
            return (first[0] if first else None, last[1] if last else None)
    return None


@lru_cache(maxsize=4096)
def _ends(vr: str, text: str, zone: str = "") -> tuple[str, str] | None:
    text = text.strip(" \0")
    if vr == "DA":
        text = _OLD_DATE.sub(r"\1\2\3", text)
    elif vr == "TM" and _OLD_TIME.fullmatch(text):
        text = text.replace(":", "")
    found = _PARTS[vr].fullmatch(text)
    if found is None:
        return None
    parts = list(found.groups())
    offset = (parts.pop() or zone) if vr == "DT" else ""
    low, high = _fill(vr, parts)
    if not _is_real(low) or not _is_real(high):
        return None
    if vr == "TM":
        return low[8:], high[8:]
    if vr == "DA":
        return low[:8], high[:8]
    try:
        return (_shift(low, offset), _shift(high, offset)) if offset else (low, high)
    except (ValueError, OverflowError):
        return None


def _fill(vr: str, parts: list[str | None]) -> tuple[str, str]:
    if vr == "TM":
        parts = ["2000", "01", "01", *parts]
    digits = "".join(part for part in parts[:6] if part)
    fraction = (parts[6] or "") if len(parts) > 6 else ""
    low = digits + "00000101000000"[len(digits) :]
    last_day = "31"
    if len(digits) == 6 and 1 <= int(digits[4:]) <= 12:
        last_day = str(calendar.monthrange(int(digits[:4]) or 1, int(digits[4:]))[1])
    high = digits + f"000012{last_day}235959"[len(digits) :]
    return f"{low}.{fraction:0<6}", f"{high}.{fraction:9<6}"


def _is_real(stamp: str) -> bool:
    # PS3.5 6.2: second 60 is a leap second. Day 31 of a short month is let pass: it orders well.
    return (
        "01" <= stamp[4:6] <= "12"
        and "01" <= stamp[6:8] <= "31"
        and stamp[8:10] <= "23"
        and stamp[10:12] <= "59"
        and stamp[12:14] <= "60"
    )


def _shift(stamp: str, offset: str) -> str:
    whole = stamp[:12] + min(stamp[12:14], "59")
    sign = -1 if offset[0] == "-" else 1
    away = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5])) * sign
    moment = datetime.strptime(whole, "%Y%m%d%H%M%S") - away
    return f"{moment.year:04}{moment:%m%d%H%M%S}{stamp[14:]}"
