"""The identifiers of C-FIND's answers: results of QIDO-RS as bytes (PS3.4 C.4.1.1.3.2, PS3.5 7.1).

An answer holds what was asked for, the unique keys above it and who can be asked for the objects, in a character set
that whoever asks can read. A query has thousands of answers alike: what they share is made once, and one of plain
attributes in ASCII goes from the DICOM JSON model to bytes in one step. What `answer` and `identifiers.write` make of
any other is what is meant by all of them.
"""

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from dicomweb.standard import attributes, dicomjson
from dicomweb.standard.dictionary import vr_of
from dicomweb.standard.encode import LONGEST_SHORT, header, name_text, padding, value_of
from dicomweb.standard.identifiers import LEVEL_NAMES, UNIQUE, Asked, choose_charset, write
from dicomweb.standard.leniency import Dataset, Element
from dicomweb.standard.syntaxes import syntax_of
from dicomweb.standard.values import LONG

_LEVEL, _RETRIEVE_AET, _AVAILABILITY = "00080052", "00080054", "00080056"
# PS3.5 6.2: VRs whose values are characters
_CHARACTERS = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT")
)

_ONLINE: Element = {"vr": "CS", "Value": ["ONLINE"]}

_Header: TypeAlias = Callable[[int], bytes]


def answer(asked: Asked, row: Dataset, aet: str) -> Dataset:
    """Make the identifier of an answer (PS3.4 C.4.1.1.3.2).

    Args:
        asked: what was asked for.
        row: a result of QIDO-RS.
        aet: AE title that can be asked for the objects.
    """
    found = dicomjson.select(row, asked.wanted, asked.creators)
    for path in asked.wanted:
        tag = f"{path[0]:08X}"
        if tag not in found and attributes.may_return(asked.level, path[0]):
            found[tag] = _empty(path[0])
    for tag in _unique(asked):
        if tag not in found:
            if value := asked.unique.get(tag):
                found[tag] = _unique_key(tag, value)
            elif row.get(tag, {}).get("Value"):
                found[tag] = row[tag]
    found[_LEVEL] = {"vr": "CS", "Value": [LEVEL_NAMES[asked.level]]}
    found[_RETRIEVE_AET] = {"vr": "AE", "Value": [aet]}
    found[_AVAILABILITY] = row[_AVAILABILITY] if row.get(_AVAILABILITY, {}).get("Value") else _ONLINE
    return found


def _unique(asked: Asked) -> list[str]:
    """The unique keys of the level and of those above it (PS3.4 C.4.1.1.3.2)."""
    levels = list(UNIQUE)
    return [UNIQUE[level] for level in levels[: levels.index(asked.level) + 1]]


def _unique_key(tag: str, value: str) -> Element:
    return {"vr": "LO" if tag == UNIQUE["patient"] else "UI", "Value": [value]}


def _empty(tag: int) -> Element:
    return {"vr": (vr_of(tag) or "LO").split(" ")[0]}


class _Column(NamedTuple):
    """What stands in answers under one tag.

    Attributes:
        reads: the element of the row, if it has one.
        filled: only if that has a value.
        instead: what stands there otherwise, if anything does.
    """

    reads: bool
    filled: bool
    instead: Element | None


class Answers:
    """Writes the answers of one query.

    Args:
        asked: what was asked for.
        aet: AE title that can be asked for the objects.
        syntax: Implicit VR or Explicit VR Little Endian.
        fallback: see `identifiers.choose_charset`.
    """

    def __init__(self, asked: Asked, aet: str, syntax: str, fallback: str = "") -> None:
        self._asked = asked
        self._aet = aet
        self._syntax = syntax
        self._fallback = fallback
        self._implicit = syntax_of(syntax).implicit
        self._headers: dict[tuple[str, str], _Header] = {}
        self._columns = self._plan() if all(map(_is_plain, asked.wanted)) else None

    def _plan(self) -> "list[tuple[str, bool, bool, bytes]]":
        """The attributes of an answer in their order: tag, whether a row's element stands there, whether only if it
        has a value, and the bytes that stand there otherwise."""
        asked = self._asked
        columns = {
            f"{tag:08X}": _Column(True, False, _empty(tag) if attributes.may_return(asked.level, tag) else None)
            for (tag,) in asked.wanted
        }
        for name in _unique(asked):
            value = asked.unique.get(name)
            key = _unique_key(name, value) if value else None
            if name not in columns:
                columns[name] = _Column(key is None, True, key)
            elif columns[name].instead is None:
                columns[name] = _Column(True, False, key)
        columns[_LEVEL] = _Column(False, False, {"vr": "CS", "Value": [LEVEL_NAMES[asked.level]]})
        columns[_RETRIEVE_AET] = _Column(False, False, {"vr": "AE", "Value": [self._aet]})
        columns[_AVAILABILITY] = _Column(True, True, _ONLINE)
        return [
            (name, column.reads, column.filled, self._element(name, column.instead) if column.instead else b"")
            for name, column in sorted(columns.items())
        ]

    def write(self, row: Dataset) -> bytes:
        """Return the identifier of the answer that a result of QIDO-RS is."""
        return self._at_once(row) or self._as_meant(row)

    def _as_meant(self, row: Dataset) -> bytes:
        found = answer(self._asked, row, self._aet)
        return write(found, self._syntax, choose_charset(found, self._asked.charset, self._fallback))

    def _at_once(self, row: Dataset) -> bytes:
        """The identifier; nothing if it needs a character set, or holds what is not a plain attribute."""
        if self._columns is None:
            return b""
        pieces = []
        for tag, reads, filled, instead in self._columns:
            element = row.get(tag) if reads else None
            values = element.get("Value") if element is not None else None
            if element is None or (filled and not values):
                pieces.append(instead)
                continue
            vr = element["vr"]
            if not values or vr not in _CHARACTERS:
                if vr == "SQ" or (not values and len(element) > 1):
                    return b""
                pieces.append(self._element(tag, element))
                continue
            if vr == "PN":
                text = "\\".join(map(name_text, values))
            else:
                text = _text(values[0]) if len(values) == 1 else "\\".join(map(_text, values))
            if not text.isascii():
                return b""
            value = text.encode("ascii")
            if len(value) & 1:
                value += padding(vr)
            pieces.append(self._header(tag, vr)(len(value)))
            pieces.append(value)
        return b"".join(pieces)

    def _header(self, tag: str, vr: str) -> _Header:
        made = self._headers.get((tag, vr))
        if made is None:
            made = self._headers[tag, vr] = self._make_header(int(tag, 16), vr)
        return made

    def _make_header(self, tag: int, vr: str) -> _Header:
        """What writes the header of an attribute for a length (PS3.5 7.1)."""
        group, element = tag >> 16, tag & 0xFFFF
        if self._implicit:
            return partial(struct.Struct("<HHI").pack, group, element)
        if vr in LONG:
            return partial(struct.Struct("<HH2s2xI").pack, group, element, vr.encode())
        short = partial(struct.Struct("<HH2sH").pack, group, element, vr.encode())
        return lambda length: short(length) if length <= LONGEST_SHORT else header(tag, vr, length)

    def _element(self, tag: str, element: Element) -> bytes:
        value = value_of(tag, element)
        if len(value) & 1:
            value += padding(element["vr"])
        return self._header(tag, element["vr"])(len(value)) + value


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _is_plain(path: tuple[int, ...]) -> bool:
    """Whether it is an attribute of the data set itself, and of the Standard."""
    return len(path) == 1 and not path[0] >> 16 & 1
