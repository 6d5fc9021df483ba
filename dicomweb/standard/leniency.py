"""Data sets as clients write them, brought to the one form that we write (PS3.18 F.2, PS3.5 6.2).

Toolkits disagree about the DICOM JSON model: numbers as strings, null for NaN, `""` for nothing, person
names as plain strings, values that are no lists, lower-case tags. `dataset` reads all of these and returns
the form that the element walker makes of the same data set in a file, or refuses it. Native XML is read into
a raw model and goes through here as well.
"""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dicomweb.errors import BadRequest
from dicomweb.standard import dictionary

Dataset: TypeAlias = dict[str, Any]
"""A data set in the DICOM JSON model: `{"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}}`."""

Element: TypeAlias = dict[str, Any]

DEPTH = 64

# PS3.5 6.2: texts that a backslash splits, and texts that it does not
_SPLIT = frozenset(["AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI"])
_WHOLE = frozenset(["LT", "ST", "UR", "UT"])
# PS3.5 6.2: leading spaces are significant in LT, ST, UT only
_KEPT_LEADING = frozenset(["LT", "ST", "UT"])
# PS3.18 F.2.7: VRs whose value is one string of bytes, with the struct format of its units
_BINARY: dict[str, str] = {"OB": "B", "OW": "H", "OL": "I", "OV": "Q", "OF": "f", "OD": "d", "UN": "B"}
# PS3.5 6.2: lowest and highest value
_INTEGERS: dict[str, tuple[int, int]] = {
    "US": (0, 0xFFFF),
    "SS": (-0x8000, 0x7FFF),
    "UL": (0, 0xFFFFFFFF),
    "SL": (-0x80000000, 0x7FFFFFFF),
    "UV": (0, 0xFFFFFFFFFFFFFFFF),
    "SV": (-0x8000000000000000, 0x7FFFFFFFFFFFFFFF),
}
EXACT = 1 << 53
"""Integers above are not safe in JSON (RFC 8259 6) and are written as strings (PS3.18 F.2.3)."""

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_TAG_VALUE = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_DOUBLE_MAX = 1.7976931348623157e308
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def dataset(raw: object, depth: int = DEPTH) -> Dataset:
    """Read one data set of a client, leniently (PS3.18 F.2; what other toolkits write, W-320 to W-335).

    Group 0002, group lengths and data set trailing padding are left out, as they are no part of a data set.

    Args:
        raw: what a JSON parser made of it.
        depth: how many sequences may be nested.

    Returns:
        The data set in the form of the element walker, tags ascending.

    Raises:
        BadRequest: it is no DICOM JSON; the sentence names the tag.
    """
    return _dataset(raw, depth, None)


def number_of(vr: str, text: str) -> int | float | str:
    """Return the number that a text of VR DS or IS spells, or the text where it spells none, or where the
    number would not give the same value back (PS3.5 6.2, PS3.18 F.2.3)."""
    stripped = text.strip(" ")
    if vr == "IS":
        if _INTEGER.fullmatch(stripped) and abs(whole := int(stripped)) <= EXACT:
            return whole
        return text
    if _DECIMAL.fullmatch(stripped):
        number = float(stripped)
        if math.isfinite(number) and _significant(stripped) == _significant(repr(number)):
            return number
    return text


def _significant(text: str) -> tuple[str, int]:
    """Digits without leading and trailing zeros, and the power of ten of the first."""
    mantissa, _, exponent = text.lower().lstrip("+-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    kept = digits.lstrip("0")
    if not kept:
        return "", 0
    return kept.rstrip("0"), len(whole) - (len(digits) - len(kept)) + int(exponent or 0)


def _dataset(raw: object, depth: int, signed: bool | None) -> Dataset:
    if not isinstance(raw, dict):
        raise BadRequest("a data set in DICOM JSON is an object of tags")
    signed = _pixel_sign(raw, signed)
    result: Dataset = {}
    for name, value in raw.items():
        if not _TAG.fullmatch(name):
            raise BadRequest("a name in a DICOM JSON data set is not a tag of eight hexadecimal digits")
        tag = name.upper()
        if tag in result:
            raise BadRequest(f"attribute {tag} is there twice")
        if tag.startswith(("0000", "0002")) or tag.endswith("0000") or tag == "FFFCFFFC":
            continue
        if tag.startswith("FFFE"):
            raise BadRequest(f"{tag} delimits items and is no attribute")
        result[tag] = _element(tag, {} if value is None else value, raw, depth, signed)
    if list(result) != (ascending := sorted(result)):
        result = {tag: result[tag] for tag in ascending}
    return result


def _element(tag: str, raw: object, around: Mapping[str, Any], depth: int, signed: bool | None) -> Element:
    if not isinstance(raw, dict):
        raise BadRequest(f"attribute {tag} is not an object with a vr")
    values = raw.get("Value")
    uri = raw.get("BulkDataURI")
    inline = raw.get("InlineBinary")
    values = [] if values is None or values == "" else values if isinstance(values, list) else [values]
    if isinstance(inline, list) and len(inline) == 1:
        inline = inline[0]
    if "DataFragment" in raw or sum((bool(values), bool(uri), bool(inline))) > 1:
        raise BadRequest(f"attribute {tag} has more than one of Value, BulkDataURI and InlineBinary")
    vr = raw.get("vr")
    if vr is None or vr == "":
        vr = _missing_vr(tag, around, bool(values), signed)
    elif not isinstance(vr, str) or (vr := vr.upper()) not in _READERS:
        raise BadRequest(f"the vr of attribute {tag} is none of the DICOM Standard")
    if inline:
        return _inline(tag, vr, inline)
    if uri:
        if not isinstance(uri, str) or vr == "SQ":
            raise BadRequest(f"attribute {tag} cannot be bulk data")
        return {"vr": vr, "BulkDataURI": uri}
    if vr == "SQ":
        return _sequence(values, depth, signed)
    try:
        return _READERS[vr](vr, values)
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise BadRequest(f"attribute {tag} has a value that VR {vr} cannot hold") from error


def _sequence(values: list[Any], depth: int, signed: bool | None) -> Element:
    if depth <= 0:
        raise BadRequest("sequences are nested too deep")
    items = [{} if item is None else _dataset(item, depth - 1, signed) for item in values]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _inline(tag: str, vr: str, inline: object) -> Element:
    if vr not in _BINARY:
        raise BadRequest(f"attribute {tag} has InlineBinary, which VR {vr} cannot have")
    if not isinstance(inline, str):
        raise BadRequest(f"the InlineBinary of attribute {tag} is not a string")
    text = "".join(inline.split())
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"the InlineBinary of attribute {tag} is not base64") from error
    return _bytes(vr, value)


def _bytes(vr: str, value: bytes) -> Element:
    return {"vr": vr, "InlineBinary": base64.b64encode(value).decode()} if value else {"vr": vr}


def _missing_vr(tag: str, around: Mapping[str, Any], has_values: bool, signed: bool | None) -> str:
    """The vr that a sender left out, by the data dictionary (PS3.6 6); for a private one by its creator."""
    number = int(tag, 16)
    if number >> 16 & 1:
        if 0x10 <= number & 0xFFFF <= 0xFF:
            return "LO"
        creator = first_text(around.get(f"{tag[:4]}00{tag[4:6]}"))
        vr = dictionary.private_vr_of(creator, number) if creator else None
    else:
        vr = dictionary.vr_of(number)
    if vr is None:
        vr = "UN"
    if " or " in vr:
        if not has_values and vr.endswith("OW"):
            return "OW"
        vr = "SS" if signed and "SS" in vr else vr.split(" ")[0]
    if vr not in _READERS or (vr == "UN" and has_values):
        raise BadRequest(f"attribute {tag} has no vr, and the data dictionary does not know it")
    return vr


def _pixel_sign(raw: Mapping[str, Any], inherited: bool | None) -> bool | None:
    """Whether pixels are signed, which decides "US or SS" (PS3.5 A.1): as said here, or further out."""
    text = first_text(raw.get("00280103"))
    return text == "1" if text else inherited


def first_text(element: object) -> str:
    """Return the first value of an element as text: numbers in decimal, a person name (PS3.5 6.2.1) as
    `alphabetic=ideographic=phonetic`; "" where there is none."""
    values = element.get("Value") if isinstance(element, dict) else None
    first = values[0] if isinstance(values, list) and values else None
    if first is None:
        return ""
    if isinstance(first, dict):
        return "=".join(str(first.get(group) or "") for group in _GROUPS).rstrip("=")
    return str(first)


# -- values, by VR ------------------------------------------------------------------------------------------


def _said(vr: str, values: list[Any]) -> Element:
    """The element, unless its values are as good as none (PS3.18 F.2.5)."""
    if not values or values == [None]:
        return {"vr": vr}
    return {"vr": vr, "Value": values}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return str(value)


def _trimmed(vr: str, text: str) -> str | None:
    text = text.rstrip(" \0") if vr in _KEPT_LEADING else text.strip(" \0")
    return text or None


def _read_split(vr: str, values: list[Any]) -> Element:
    return _said(vr, [_trimmed(vr, text) for value in values for text in _text(value).split("\\")])


def _read_whole(vr: str, values: list[Any]) -> Element:
    return _said(vr, [_trimmed(vr, "\\".join(_text(value) for value in values))])


def _read_decimal(vr: str, values: list[Any]) -> Element:
    read: list[int | float | str | None] = []
    for value in values:
        for text in _text(value).split("\\"):
            trimmed = _trimmed(vr, text)
            read.append(None if trimmed is None else number_of(vr, trimmed))
    return _said(vr, read)


def _read_name(vr: str, values: list[Any]) -> Element:
    read: list[dict[str, str] | None] = []
    for value in values:
        if isinstance(value, dict):
            groups = [_text(value.get(group)) for group in _GROUPS]
            text = "=".join(groups)
            if "\\" in text:
                raise ValueError
            read.append(name_of(text))
        else:
            read.extend(name_of(text) for text in _text(value).split("\\"))
    return _said(vr, read)


def name_of(text: str) -> dict[str, str] | None:
    """Return the groups of a person name (PS3.5 6.2.1.1) that are there, or None if it has none; a fourth
    group stays with the third."""
    groups = text.split("=", len(_GROUPS) - 1)
    named = zip(_GROUPS, (group.strip(" \0") for group in groups), strict=False)
    return {name: group for name, group in named if group} or None


def _whole(value: object) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _read_integer(vr: str, values: list[Any]) -> Element:
    low, high = _INTEGERS[vr]
    if all(value is None or value == "" for value in values):
        return {"vr": vr}
    read = [_whole(value) for value in values]
    if min(read) < low or max(read) > high:
        raise ValueError
    return {"vr": vr, "Value": [number if -EXACT <= number <= EXACT else str(number) for number in read]}


def _real(value: object) -> float:
    if value is None:
        return math.nan
    if isinstance(value, str):
        text = value.strip()
        name = text.lower().lstrip("+-")
        if name in _NOT_FINITE:
            return -_NOT_FINITE[name] if text.startswith("-") else _NOT_FINITE[name]
        if not _DECIMAL.fullmatch(text):
            raise ValueError
        return float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _single(number: float) -> float:
    """The number as 32 bits hold it; one peer writes infinity as the largest double (W-331)."""
    if abs(number) == _DOUBLE_MAX:
        number = math.copysign(math.inf, number)
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


def _read_real(vr: str, values: list[Any]) -> Element:
    if values in ([], [""], [None]):
        return {"vr": vr}
    numbers = [_real(value) for value in values]
    if vr == "FL":
        numbers = [_single(number) for number in numbers]
    return {"vr": vr, "Value": [real_of(number) for number in numbers]}


def real_of(number: float) -> float | str:
    """Return an FL or FD value as JSON has it: what is not finite as a string (PS3.18 F.2.3, W-331)."""
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _read_tag(vr: str, values: list[Any]) -> Element:
    if values in ([], [""], [None]):
        return {"vr": vr}
    if not all(isinstance(value, str) for value in values):
        raise TypeError
    matches = [_TAG_VALUE.fullmatch(value.strip()) for value in values]
    if not all(matches):
        raise ValueError
    return {"vr": vr, "Value": [(match[1] + match[2]).upper() for match in matches if match]}


def _read_bytes(vr: str, values: list[Any]) -> Element:
    """Numbers in place of InlineBinary, as some toolkits write short values of OB, OW, OF and the like."""
    if vr == "UN" and values not in ([], [""], [None]):
        raise TypeError
    form = _BINARY[vr]
    convert: Callable[[object], int | float] = _real if form in "fd" else _whole
    numbers = [] if values in ([], [""], [None]) else [convert(value) for value in values]
    return _bytes(vr, struct.pack(f"<{len(numbers)}{form}", *numbers))


_READERS: dict[str, Callable[[str, list[Any]], Element]] = {
    **dict.fromkeys(_SPLIT, _read_split),
    **dict.fromkeys(_WHOLE, _read_whole),
    **dict.fromkeys(_INTEGERS, _read_integer),
    **dict.fromkeys(_BINARY, _read_bytes),
    "AT": _read_tag,
    "DS": _read_decimal,
    "FD": _read_real,
    "FL": _read_real,
    "IS": _read_decimal,
    "PN": _read_name,
    "SQ": _said,
}
