"""Value fields, VR by VR: bytes to the element of a DICOM JSON model (PS3.5 6.2, PS3.18 F.2).

The element walker asks once per element, so there is one function per VR and byte order, made once, and what
is usual (ASCII, one value) is tested first. A value that its VR does not allow is kept as well as JSON can,
and counted.
"""

import re
import struct
from binascii import b2a_base64
from collections.abc import Callable
from math import isfinite
from typing import Any, Protocol, TypeAlias

from dicomweb.standard.leniency import EXACT, Element, number_of, real_of


class Context(Protocol):
    """What a value is read in: the character set in force, and where oddities are counted by VR."""

    def decode(self, data: bytes, name: bool = False) -> str:
        """Return the characters of a value field."""

    def fault(self, vr: str) -> None:
        """Count a value that its VR does not allow."""


Convert: TypeAlias = Callable[[bytes, Context], Element]
"""Turns a value field that is not empty into an element."""

# PS3.5 7.1.2: VRs whose length has 32 bits, behind two reserved bytes
LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN"])
# PS3.5 7.3: bytes of a value that change places between the byte orders
UNITS: dict[str, int] = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
# PS3.18 10.4.3.3.2: VRs that are text and may still be bulk data
BULK_TEXT = frozenset(["LT", "ST", "UC", "UT"])

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_FORMATS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
# What `float` reads as a decimal does: no exponent, no names, no underscores
_PLAIN = b"0123456789.-+ "
_PLAIN_DECIMALS = re.compile(r"[-+0-9. \\]*", re.ASCII)


def _split(vr: str) -> Convert:
    """Text of several values without meaning in the spaces around each."""

    def convert(data: bytes, context: Context) -> Element:
        try:
            text = data.decode("ascii")
            if "\x1b" in text:
                text = context.decode(data)
        except UnicodeDecodeError:
            text = context.decode(data)
        if "\\" in text:
            return {"vr": vr, "Value": [value.strip(" \0") or None for value in text.split("\\")]}
        text = text.strip(" \0")
        return {"vr": vr, "Value": [text]} if text else {"vr": vr}

    return convert


def _code(vr: str) -> Convert:
    """As `_split` for VRs of the default character repertoire, which the character set does not concern."""

    def convert(data: bytes, context: Context) -> Element:
        try:
            text = data.decode("ascii")
        except UnicodeDecodeError:
            text = context.decode(data)
            context.fault(vr)
        if "\\" in text:
            return {"vr": vr, "Value": [value.strip(" \0") or None for value in text.split("\\")]}
        text = text.strip(" \0")
        return {"vr": vr, "Value": [text]} if text else {"vr": vr}

    return convert


def _whole(vr: str, leading: bool) -> Convert:
    """Text of one value, in which a backslash is a backslash."""

    def convert(data: bytes, context: Context) -> Element:
        text = context.decode(data)
        text = text.strip(" \0") if leading else text.rstrip(" \0")
        return {"vr": vr, "Value": [text]} if text else {"vr": vr}

    return convert


def _name(vr: str) -> Convert:
    def convert(data: bytes, context: Context) -> Element:
        text = context.decode(data, True)
        if "\\" not in text and "=" not in text:
            text = text.strip(" \0")
            return {"vr": vr, "Value": [{"Alphabetic": text}]} if text else {"vr": vr}
        values = [_groups(value) for value in text.split("\\")]
        return {"vr": vr, "Value": values} if values != [None] else {"vr": vr}

    return convert


def _groups(text: str) -> dict[str, str] | None:
    """The component groups of a person name (PS3.5 6.2.1.1); a fourth one stays with the third."""
    named = zip(_GROUPS, (group.strip(" \0") for group in text.split("=", 2)), strict=False)
    return {name: group for name, group in named if group} or None


def _decimals(vr: str) -> Convert:
    """DS. Sixteen characters of sign, digits and point are at most fifteen digits, or an integer that is
    compared with the largest exact one, so that a double gives the same value back."""
    plain = _PLAIN_DECIMALS.fullmatch

    def convert(data: bytes, context: Context) -> Element:
        if len(data) <= 16 and not data.strip(_PLAIN):
            try:
                number = float(data)
                if -EXACT < number < EXACT:
                    return {"vr": vr, "Value": [number]}
            except ValueError:
                pass
        try:
            text = data.decode("ascii")
        except UnicodeDecodeError:
            text = context.decode(data)
        if plain(text):
            try:
                texts = text.split("\\")
                numbers = [float(one) for one in texts]
                if len(max(texts, key=len)) <= 16 and min(numbers) > -EXACT and max(numbers) < EXACT:
                    return {"vr": vr, "Value": numbers}
            except ValueError:
                pass
        return _numbers(vr, text, context)

    return convert


def _integers(vr: str) -> Convert:
    """IS."""

    def convert(data: bytes, context: Context) -> Element:
        digits = data.strip(b" \0")
        if digits.isdigit() and len(digits) < 16:
            return {"vr": vr, "Value": [int(digits)]}
        try:
            text = data.decode("ascii")
        except UnicodeDecodeError:
            text = context.decode(data)
        return _numbers(vr, text, context)

    return convert


def _numbers(vr: str, text: str, context: Context) -> Element:
    """DS or IS, value by value: a number, the text where it is none (PS3.18 F.2.3), None for nothing."""
    values: list[float | str | None] = []
    for one in text.split("\\"):
        stripped = one.strip(" \0")
        value = number_of(vr, stripped) if stripped else None
        if type(value) is str:
            context.fault(vr)
        values.append(value)
    return {"vr": vr, "Value": values} if values != [None] else {"vr": vr}


def _binary(vr: str, order: str) -> Convert:
    unit = UNITS.get(vr, 0) if order == ">" else 0

    def convert(data: bytes, context: Context) -> Element:
        if unit:
            data = swapped(data, unit)
        return {"vr": vr, "InlineBinary": b2a_base64(data, newline=False).decode("ascii")}

    return convert


def _fixed(vr: str, order: str) -> Convert:
    """Numbers of fixed width. One number is by far the most frequent case."""
    code = _FORMATS[vr]
    size = struct.calcsize(f"{order}{code}")
    one = struct.Struct(f"{order}{code}").unpack

    def unpack(data: bytes, context: Context) -> tuple[Any, ...]:
        count, rest = divmod(len(data), size)
        if rest:
            context.fault(vr)
            data = data[: count * size]
        return struct.unpack(f"{order}{count}{code}", data)

    def small(data: bytes, context: Context) -> Element:
        if len(data) == size:
            return {"vr": vr, "Value": [*one(data)]}
        numbers = unpack(data, context)
        return {"vr": vr, "Value": [*numbers]} if numbers else {"vr": vr}

    def large(data: bytes, context: Context) -> Element:
        numbers = [number if -EXACT <= number <= EXACT else str(number) for number in unpack(data, context)]
        return {"vr": vr, "Value": numbers} if numbers else {"vr": vr}

    def real(data: bytes, context: Context) -> Element:
        if len(data) == size:
            (number,) = one(data)
            return {"vr": vr, "Value": [number if isfinite(number) else real_of(number)]}
        numbers = unpack(data, context)
        if not numbers:
            return {"vr": vr}
        if isfinite(sum(numbers)):
            return {"vr": vr, "Value": [*numbers]}
        return {"vr": vr, "Value": [real_of(number) for number in numbers]}

    return real if code in "fd" else large if code in "qQ" else small


def _tags(vr: str, order: str) -> Convert:
    def convert(data: bytes, context: Context) -> Element:
        count, rest = divmod(len(data), 4)
        if rest:
            context.fault(vr)
            if not count:
                return {"vr": vr}
        halves = struct.unpack(f"{order}{count * 2}H", data[: count * 4])
        pairs = zip(halves[::2], halves[1::2], strict=True)
        return {"vr": vr, "Value": [f"{group:04X}{element:04X}" for group, element in pairs]}

    return convert


def swapped(data: bytes, unit: int) -> bytes:
    """Return the bytes of each unit in reverse order (PS3.5 7.3); a part of a unit at the end as it is.

    Args:
        data: any bytes.
        unit: 2, 4 or 8 bytes; 0 and 1 leave the data alone.
    """
    if unit < 2:
        return data
    whole = len(data) - len(data) % unit
    result = bytearray(data)
    for place in range(unit):
        result[place:whole:unit] = data[unit - 1 - place : whole : unit]
    return bytes(result)


def _table(order: str) -> dict[str, Convert]:
    """The converters of all VRs but SQ for one byte order, as `struct` spells it."""
    return {
        **{vr: _code(vr) for vr in ("AE", "AS", "CS", "DA", "DT", "TM", "UI")},
        **{vr: _split(vr) for vr in ("LO", "SH", "UC")},
        **{vr: _whole(vr, leading=False) for vr in ("LT", "ST", "UT")},
        **{vr: _fixed(vr, order) for vr in _FORMATS},
        **{vr: _binary(vr, order) for vr in BINARY},
        "AT": _tags("AT", order),
        "DS": _decimals("DS"),
        "IS": _integers("IS"),
        "PN": _name("PN"),
        "UR": _whole("UR", leading=True),
    }


LITTLE = _table("<")
BIG = _table(">")

# PS3.5 7.1.2: VRs whose length has 16 bits
SHORT = frozenset(LITTLE) - LONG
# PS3.18 10.4.3.3.2: VRs that may be handed out as bulk data
BULK = frozenset(LITTLE) - {"AE", "AS", "AT", "CS", "DA", "DT", "LO", "PN", "SH", "TM", "UI", "UR"}
