"""Forms in which values stand in the index's columns: one text or number per attribute, whatever was stored.

A text column holds

- the empty text where the attribute has no value,
- the value in its normal form (`standard.normal`) where it has one,
- `\\one\\two\\` where it has several, of which one that matches is enough (PS3.4 C.2.2.3); the backslash is
  the separator of values in DICOM text anyway (PS3.5 6.4). A value without normal form, such as a date that is
  none, is empty there, so that `\\\\` is an attribute with a value that no key but a universal one matches.
  The component groups of a person name stand side by side, several names with an empty text between them.

A number column holds the number where it is a single integer; anything else is spelled out in the text column
`odd` of the row, as `\\<tag>=<number>\\`.
"""

import base64
import binascii
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from dicomweb.standard.attributes import Attribute
from dicomweb.standard.normal import comparable, names

Kind: TypeAlias = Literal["text", "name", "date", "time", "number"]
Element: TypeAlias = Mapping[str, Any]

SEPARATOR = "\\"

LONGEST = 600
"""Characters of a text column, many times what PS3.5 6.2 allows: PostgreSQL indexes at most 2,704 bytes. What
is longer is found by its beginning."""

LARGEST = 1 << 53
"""Integers up to here are compared exactly as the floating-point numbers of a key are."""

_KINDS: dict[str, Kind] = {"PN": "name", "DA": "date", "TM": "time", "IS": "number", "US": "number"}
# Neither database keeps NUL and surrogates in text, and the backslash separates values: each becomes a character
# of a private plane, one for one, in columns and keys alike.
_AWKWARD = re.compile("[\0\\\\\ud800-\udfff]")
_PRIVATE = 0x100000
_PLAIN = re.compile(r"[!-\[\]-~](?:[ -\[\]-~]{0,62}[!-\[\]-~])?")
"""Text that is its own form, as nearly all is: ASCII, without a backslash, without padding."""


def kind_of(attribute: Attribute) -> Kind:
    """Return the kind of column that an attribute has."""
    return _KINDS.get(attribute.vr, "text")


def storable(text: str) -> str:
    """Return text that both databases keep and compare as it is; almost always the text itself."""
    if _AWKWARD.search(text) is None:
        return text
    return _AWKWARD.sub(lambda found: chr(_PRIVATE + ord(found[0])), text)


def write_column(kind: Kind, element: Element | None) -> str:
    """Return what a text column holds for an attribute in the DICOM JSON model (PS3.18 F.2)."""
    if element is None:
        return ""
    if kind == "text":
        values = element.get("Value")
        if values and len(values) == 1 and type(values[0]) is str and _PLAIN.fullmatch(values[0]):
            return values[0]
    if kind == "name":
        return _write(_names(element))
    return _write(_values(kind, element))


def _write(values: list[str] | None) -> str:
    if values is None:
        return ""
    if len(values) == 1 and values[0]:
        return values[0][:LONGEST]
    joined = SEPARATOR.join(values)
    if len(joined) > LONGEST:
        joined = joined[:LONGEST].rstrip(SEPARATOR)
    return f"{SEPARATOR}{joined}{SEPARATOR}"


def _present(element: Element) -> list[Any] | None:
    """Return the values, or None if the attribute has none in any form."""
    values = [value for value in element.get("Value") or () if value not in (None, "")]
    if values or "InlineBinary" in element or "BulkDataURI" in element:
        return values
    return None


def _values(kind: Kind, element: Element) -> list[str] | None:
    values = _present(element)
    if values is None:
        return None
    if not values:
        return _binary(element) if kind == "text" else [""]
    if kind == "text":
        vr = element.get("vr", "")
        return [_text(vr, value if isinstance(value, str) else str(value)) for value in values]
    vr = "DA" if kind == "date" else "TM"
    return [comparable(vr, value) or "" if isinstance(value, str) else "" for value in values]


def _text(vr: str, value: str) -> str:
    return storable(comparable(vr if vr in ("ST", "LT", "UT") else "LO", value) or "")


def _binary(element: Element) -> list[str]:
    """An attribute of unknown VR (UN): its bytes are tried as text."""
    try:
        text = base64.b64decode(element.get("InlineBinary", "")).decode("utf-8").rstrip("\0 ")
    except (binascii.Error, UnicodeDecodeError, TypeError):
        return [""]
    return [_text("LO", value) for value in text.split(SEPARATOR)]


def _names(element: Element) -> list[str] | None:
    values = _present(element)
    if values is None:
        return None
    groups: list[str] = []
    for value in values:
        if groups:
            groups.append("")
        groups += [storable(group) for group in names(value)]
    return groups or [""]


def read_column(column: str) -> list[str]:
    """Undo `write_column`: return the normal forms in a column, as many as there are; empty ones included."""
    if not column.startswith(SEPARATOR):
        return [column] if column else []
    return column[1:-1].split(SEPARATOR)


def write_list(values: Iterable[str]) -> str:
    """Return the column of a computed attribute of several values, such as Modalities in Study: sorted, and
    between separators even if there is only one."""
    found = sorted({value for value in values if value})
    return f"{SEPARATOR}{SEPARATOR.join(found)}{SEPARATOR}" if found else ""


def numbers(element: Element | None) -> list[float] | None:
    """Return the numbers of an attribute; None if it has no value."""
    values = None if element is None else _present(element)
    if values is None:
        return None
    found = []
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if not math.isnan(number):
            found.append(number)
    return found


def write_number(tag: int, element: Element | None) -> tuple[int | None, str]:
    """Return what a number column holds, and what its row's `odd` holds of it."""
    values = None if element is None else element.get("Value")
    if values and len(values) == 1 and type(values[0]) is int and abs(values[0]) <= LARGEST:
        return values[0], ""
    found = numbers(element)
    if found is None:
        return None, ""
    if len(found) == 1 and found[0].is_integer() and abs(found[0]) <= LARGEST:
        return int(found[0]), ""
    return None, "".join(odd_number(tag, number) for number in found) or odd_number(tag, None)


def odd_number(tag: int, number: float | None) -> str:
    """Return how `odd` spells one number of an attribute; None is a value that is no number."""
    return f"{SEPARATOR}{tag:08X}={'' if number is None else repr(number + 0.0)}{SEPARATOR}"
