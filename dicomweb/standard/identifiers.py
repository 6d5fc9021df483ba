"""C-FIND identifiers, the other notation of a Query: to the parameters of QIDO-RS and back (PS3.4 C.2.2, C.4.1 and
C.6, PS3.18 10.6).

What is asked is read leniently unless told otherwise: a missing Query/Retrieve Level follows from the unique keys,
and keys of any level count. What is sent is in a character set that whoever asks can read; what an answer holds,
`answers` says.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import quote

from dicomweb.errors import BadQuery
from dicomweb.standard import attributes, charsets, dicomjson, matching
from dicomweb.standard.attributes import Level
from dicomweb.standard.dictionary import keyword_of, tag_of
from dicomweb.standard.elements import Limits, walk
from dicomweb.standard.encode import header, name_text, padding, value_of
from dicomweb.standard.leniency import Dataset, Element
from dicomweb.standard.query import Path, Query, read_qido, write_path
from dicomweb.standard.syntaxes import syntax_of
from dicomweb.standard.uids import is_uid

Root = Literal["patient", "study", "patient only"]

# PS3.4 C.3.1: the values of Query/Retrieve Level (0008,0052)
_LEVELS: dict[str, Level] = {"PATIENT": "patient", "STUDY": "study", "SERIES": "series", "IMAGE": "instance"}
LEVEL_NAMES: dict[Level, str] = {level: name for name, level in _LEVELS.items()}
# PS3.4 C.6.1.1, C.6.2.1, C.6.3.1: which levels an information model has
_MODELS: dict[Root, tuple[Level, ...]] = {
    "patient": ("patient", "study", "series", "instance"),
    "study": ("study", "series", "instance"),
    "patient only": ("patient", "study"),
}
# PS3.4 C.6.1.1.2 to C.6.1.1.5
UNIQUE: dict[Level, str] = {
    "patient": "00100020", "study": "0020000D", "series": "0020000E", "instance": "00080018",
}  # fmt: skip

_CHARSET, _LEVEL, _VIEW, _RETRIEVE_AET = "00080005", "00080052", "00080053", "00080054"
_AVAILABILITY, _TIMEZONE, _RETRIEVE_URL = "00080056", "00080201", "00081190"
# PS3.4 C.2.2.2, C.4.1.1.3: these say how the query is meant, or are answered by whoever answers
_NOT_KEYS = frozenset((_CHARSET, _LEVEL, _VIEW, _RETRIEVE_AET, _AVAILABILITY, _RETRIEVE_URL))
# PS3.5 6.1.2.3: VRs whose bytes depend on Specific Character Set
_TEXT = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_UTF_8 = "ISO_IR 192"
# PS3.6 6, both UL: Group Length (0008,0000) and Length to End (0008,0001) alone may stand before (0008,0005)
_LENGTHS = (b"\x08\x00\x00\x00", b"\x08\x00\x01\x00")
_LIMITS = Limits(depth=16, elements=20_000, items=1000)


@dataclass(frozen=True, slots=True)
class Terms:
    """What was negotiated for queries (PS3.4 C.5.1.1).

    Attributes:
        relational: keys of any level, without the unique ones above.
        combined: ranges of a date and of its time are one interval.
        fuzzy: names match by the beginnings of their words.
        timezone: (0008,0201) applies to keys.
        empty, multiple: empty value matching, multiple value matching.
        strict: what was not negotiated is refused.
    """

    relational: bool = False
    combined: bool = False
    fuzzy: bool = False
    timezone: bool = False
    empty: bool = False
    multiple: bool = False
    strict: bool = False


def read(data: bytes, syntax: str) -> Dataset:
    """Read the bytes of an identifier (PS3.4 C.4.1.1.3.1, PS3.5 7.1).

    Args:
        data: the data set.
        syntax: Transfer Syntax UID of its presentation context.

    Returns:
        It in the DICOM JSON model; (0008,0005) is as it was sent.

    Raises:
        BadObject: it cannot be understood.
    """
    found = walk(data, 0, len(data), syntax_of(syntax), _LIMITS).dataset
    terms, _ = _charset_of(data, syntax)
    return {**found, _CHARSET: {"vr": "CS", "Value": list(terms)}} if terms else found


def read_answer(data: bytes, syntax: str, charset: str = "") -> Dataset:
    """Read the identifier of a node's answer (PS3.4 C.4.1.1.3.2, C.4.2.1.4.2); its texts become UTF-8.

    Args:
        data: the data set.
        syntax: Transfer Syntax UID of its presentation context.
        charset: what answers are in that do not say, terms with backslashes between; "" for the default repertoire.

    Raises:
        BadObject: it cannot be understood.
    """
    found = walk(data, 0, len(data), syntax_of(syntax), Limits()).dataset
    terms, stop = _charset_of(data, syntax)
    if charset and not any(terms) and not data.isascii():
        data = write({}, syntax, charset.split("\\")) + data[stop:]
        found = walk(data, 0, len(data), syntax_of(syntax), Limits()).dataset
    return found


def _charset_of(data: bytes, syntax: str) -> tuple[tuple[str, ...], int]:
    """The Specific Character Set as it stands there, which the walker replaces by that of its model, and where the
    attributes after it begin."""
    place = 0
    while data[place : place + 4] in _LENGTHS:
        place += 12
    if not data.startswith(b"\x08\x00\x05\x00", place):
        return (), place
    if syntax_of(syntax).implicit:
        length = struct.unpack_from("<I", data, place + 4)[0]
    else:
        length = struct.unpack_from("<H", data, place + 6)[0]
    stop = place + 8 + length
    return tuple(term.strip(" \0") for term in data[place + 8 : stop].decode("latin-1").split("\\")), stop


@dataclass(frozen=True)
class Asked:
    """What an identifier asks for.

    Attributes:
        level: of the results.
        study, series: UIDs that a URL can fix, or None.
        keys: matching keys as QIDO-RS writes them: attribute, and value percent-encoded.
        options: other parameters of QIDO-RS.
        wanted: paths of the attributes to return.
        unique: unique keys above the level that have one value, by tag.
        charset: values of (0008,0005).
        creators: private creators by block.
        after: keys that the answers have to satisfy besides, since QIDO-RS understands them otherwise.
    """

    level: Level
    study: str | None
    series: str | None
    keys: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, str], ...]
    wanted: tuple[Path, ...]
    unique: Mapping[str, str]
    charset: tuple[str, ...] = ()
    creators: Mapping[int, str] = field(default_factory=dict)
    after: tuple[matching.Key, ...] = ()

    @property
    def path(self) -> str:
        """The resource that is searched, with a slash before (PS3.18 Table 10.6.1-1); `/patients` is ours."""
        collection = {"patient": "patients", "study": "studies", "series": "series", "instance": "instances"}
        above = f"/studies/{self.study}" if self.study else ""
        above += f"/series/{self.series}" if self.series else ""
        return f"{above}/{collection[self.level]}"

    @property
    def params(self) -> tuple[tuple[str, str], ...]:
        """The parameters of QIDO-RS, values percent-encoded: keys, attributes to return, options."""
        default = {attribute.tag for attribute in attributes.returned(self.level, bool(self.study), bool(self.series))}
        more = [path for path in self.wanted if path[0] not in default and attributes.may_return(self.level, path[0])]
        names = dict.fromkeys(f"{path[0]:08X}" for path in more)
        include = (("includefield", ",".join(names)),) if names else ()
        return (*self.keys, *include, *self.options)

    @cached_property
    def query(self) -> Query:
        """The Query that this is a notation of.

        Raises:
            BadQuery: a key has a value that it cannot have.
        """
        return read_qido(self.level, self.study, self.series, self.params)


def read_identifier(identifier: Dataset, root: Root, terms: Terms = Terms()) -> Asked:
    """Read an identifier (PS3.4 C.4.1.1.3, C.4.1.2, C.4.1.3).

    Args:
        identifier: in the DICOM JSON model.
        root: of the information model.
        terms: what was negotiated.

    Raises:
        BadQuery: the level is none of the model's; with `terms.strict`, also if it is missing, a unique key above it
            has not one value, or a key belongs to a level above.
    """
    level = _level(identifier, root, terms.strict)
    unique = _unique(identifier, root, level, terms)
    study = unique.get(UNIQUE["study"]) if level in ("series", "instance") else None
    series = unique.get(UNIQUE["series"]) if study and level == "instance" else None
    fixed = {UNIQUE["study"]} if study else set()
    fixed |= {UNIQUE["series"]} if series else set()
    reader = _Reader(terms)
    creators = {
        int(tag, 16): dicomjson.text_of(element)
        for tag, element in identifier.items()
        if int(tag[:4], 16) & 1 and tag[4:6] == "00" and dicomjson.text_of(element)
    }
    for tag, element in identifier.items():
        if tag in fixed or tag in _NOT_KEYS or tag.endswith("0000") or (tag == _TIMEZONE and not terms.timezone):
            continue
        reader.key((int(tag, 16),), element)
    switches = {
        "fuzzymatching": terms.fuzzy,
        "emptyvaluematching": terms.empty,
        "multiplevaluematching": terms.multiple,
    }
    options = [(name, "true") for name, on in switches.items() if on]
    return Asked(
        level,
        study,
        series,
        tuple(reader.keys),
        tuple(options),
        tuple(reader.wanted),
        unique,
        tuple(str(value) for value in dicomjson.values(identifier, _CHARSET) if value is not None),
        creators,
        () if terms.combined else _apart(identifier),
    )


def _level(identifier: Dataset, root: Root, strict: bool) -> Level:
    text = dicomjson.text(identifier, _LEVEL).upper()
    levels = _MODELS[root]
    if not text:
        if strict:
            raise BadQuery("Query/Retrieve Level (0008,0052) is missing")
        present = [level for level in levels if UNIQUE[level] in identifier]
        return present[-1] if present else levels[0]
    level = _LEVELS.get(text)
    if level is None or (level not in levels and (strict or root == "patient only")):
        names = ", ".join(LEVEL_NAMES[each] for each in levels)
        raise BadQuery(f"Query/Retrieve Level {text[:16]!r} is none of {names}")
    return level


def _unique(identifier: Dataset, root: Root, level: Level, terms: Terms) -> dict[str, str]:
    """The unique keys above the level that have one value (PS3.4 C.4.1.2.1)."""
    found: dict[str, str] = {}
    levels = _MODELS[root]
    above = levels[: levels.index(level)] if level in levels else ()
    for each in above:
        tag = UNIQUE[each]
        values = [str(value) for value in dicomjson.values(identifier, tag) if value not in (None, "")]
        single = len(values) == 1 and not set("*?") & set(values[0])
        if single and (each == "patient" or is_uid(values[0])):
            found[tag] = values[0]
        elif terms.strict and not terms.relational:
            name = write_path((int(tag, 16),))
            raise BadQuery(f"{name} needs one value, since relational queries were not negotiated")
    if terms.strict and not terms.relational:
        _check_levels(identifier, root, level)
    return found


def _check_levels(identifier: Dataset, root: Root, level: Level) -> None:
    levels = _MODELS[root]
    place = levels.index(level)
    for tag, element in identifier.items():
        if tag in _NOT_KEYS or tag == _TIMEZONE or tag in UNIQUE.values() or int(tag[:4], 16) & 1:
            continue
        own = attributes.level_of(int(tag, 16))
        own = "study" if own == "patient" and "patient" not in levels else own
        if own in levels and levels.index(own) < place and element.get("Value"):
            name = write_path((int(tag, 16),))
            raise BadQuery(f"{name} is a key of the level {LEVEL_NAMES[own]}; relational queries were not negotiated")


class _Reader:
    """Collects keys and wanted attributes."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.keys: list[tuple[str, str]] = []
        self.wanted: list[Path] = []

    def key(self, path: Path, element: Element) -> None:
        if element["vr"] == "SQ":
            items = element.get("Value") or []
            if not items or not items[0]:
                self.wanted.append(path)
            for tag, inner in (items[0] if items else {}).items():
                if tag != _CHARSET:
                    self.key((*path, int(tag, 16)), inner)
            return
        self.wanted.append(path)
        value = self.value(element)
        if value:
            self.keys.append((".".join(f"{tag:08X}" for tag in path), value))

    def value(self, element: Element) -> str:
        """The key's values as QIDO-RS writes them, percent-encoded; "" for a universal one."""
        vr = element["vr"]
        if vr == "PN":
            texts = [name_text(value) for value in element.get("Value") or ()]
        else:
            texts = ["" if value is None else _plain(value) for value in element.get("Value") or ()]
        if not any(text.strip("*") for text in texts):
            return ""
        lists = vr in matching.LISTS or self.terms.multiple
        return ("," if lists else "%5C").join(quote(text, safe="*") for text in texts)


def _plain(value: Any) -> str:
    return f"{value:.16g}" if isinstance(value, float) else str(value)


def _apart(identifier: Dataset) -> tuple[matching.Key, ...]:
    """The time keys that QIDO-RS would join with their dates and that were to be matched by themselves
    (PS3.4 C.2.2.2.5.4): it then finds more than was asked for."""
    found = []
    for tag, element in identifier.items():
        keyword = keyword_of(int(tag, 16))
        number = tag_of(keyword[:-4] + "Time") if element["vr"] == "DA" and keyword.endswith("Date") else None
        time = identifier.get(f"{number:08X}") if number is not None else None
        if number is None or time is None or time["vr"] != "TM":
            continue
        text, date = dicomjson.text_of(time), dicomjson.text_of(element)
        if "-" in text and "-" in date:
            found.append(matching.Key(number, matching.read("TM", text)))
    return tuple(found)


def satisfies(asked: Asked, row: Dataset) -> bool:
    """Say whether a result of QIDO-RS is one of the query's too (PS3.4 C.2.2.2.5.4)."""
    return not asked.after or matching.satisfies(asked.after, row)


# -- bytes --------------------------------------------------------------------------------------------------


def choose_charset(dataset: Dataset, asked: Sequence[str], fallback: str = "") -> tuple[str, ...]:
    """Choose the Specific Character Set of an answer (PS3.3 C.12.1.1.2, PS3.4 C.2.2.2).

    The one of the request where it can say everything; else UTF-8, unless the asker is known not to read it.

    Args:
        dataset: what is answered.
        asked: values of (0008,0005) of the request.
        fallback: what the asker reads instead of UTF-8, values with backslashes between; "" for UTF-8.

    Returns:
        Its values; () for the default repertoire.
    """
    texts = list(_texts(dataset))
    if all(text.isascii() for text, _ in texts):
        return ()
    wanted = tuple(asked)
    known = tuple(fallback.split("\\")) if fallback else ()
    for terms in (wanted, known):
        if terms and all(charsets.encode(text, terms, name) is not None for text, name in texts):
            return terms
    return known or (_UTF_8,)


def _texts(dataset: Dataset) -> Iterable[tuple[str, bool]]:
    """Every text that the character set concerns, and whether it is a person name."""
    for element in dataset.values():
        if element["vr"] == "SQ":
            for item in element.get("Value") or ():
                yield from _texts(item)
        elif element["vr"] in _TEXT:
            yield _text_of(element), element["vr"] == "PN"


def _text_of(element: Element) -> str:
    values = element.get("Value") or ()
    texts = (name_text(value) if element["vr"] == "PN" else "" if value is None else str(value) for value in values)
    return "\\".join(texts)


def write(dataset: Dataset, syntax: str, terms: Sequence[str] = ()) -> bytes:
    """Write an identifier (PS3.5 7.1, A.1 and A.2).

    Args:
        dataset: in the DICOM JSON model; bulk data are left out.
        syntax: Implicit VR or Explicit VR Little Endian.
        terms: the Specific Character Set, which is written where it has a value.
    """
    implicit = syntax_of(syntax).implicit
    if terms:
        dataset = {**dataset, _CHARSET: {"vr": "CS", "Value": list(terms)}}
    else:
        dataset = {tag: element for tag, element in dataset.items() if tag != _CHARSET}
    out = bytearray()
    _write(out, dataset, implicit, terms)
    return bytes(out)


def write_request(level: Level, keys: Dataset, syntax: str, charset: str = "") -> bytes:
    """Write the identifier of a request of ours (PS3.4 C.4.1.1.3.1, C.4.2.1.4, C.4.3.1.3).

    Args:
        level: of the query or retrieval.
        keys: in the DICOM JSON model; a Query/Retrieve Level among them does not count.
        syntax: Implicit VR or Explicit VR Little Endian.
        charset: what the node reads, terms with backslashes between; "" for UTF-8 where it is needed.
    """
    dataset = {**keys, _LEVEL: {"vr": "CS", "Value": [LEVEL_NAMES[level]]}}
    return write(dataset, syntax, choose_charset(dataset, (), charset))


def _write(out: bytearray, dataset: Dataset, implicit: bool, terms: Sequence[str]) -> None:
    for tag in sorted(dataset):
        element = dataset[tag]
        vr = element["vr"]
        if vr == "SQ":
            value = bytearray()
            for item in element.get("Value") or ():
                inner = bytearray()
                _write(inner, item, implicit, terms)
                value += struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
            encoded = bytes(value)
        elif "BulkDataURI" in element:
            continue
        elif vr in _TEXT:
            encoded = _encode(_text_of(element), vr, terms)
        else:
            encoded = value_of(tag, element)
        if len(encoded) & 1:
            encoded += padding(vr)
        number = int(tag, 16)
        if implicit:
            out += struct.pack("<HHI", number >> 16, number & 0xFFFF, len(encoded))
        else:
            out += header(number, vr, len(encoded))
        out += encoded


def _encode(text: str, vr: str, terms: Sequence[str]) -> bytes:
    encoded = charsets.encode(text, terms, vr == "PN")
    if encoded is None:  # the asker reads nothing that could say it
        encoded = charsets.encode("".join(c if _sayable(c, terms) else "?" for c in text), terms, vr == "PN") or b""
    return encoded


def _sayable(character: str, terms: Sequence[str]) -> bool:
    return charsets.encode(character, terms) is not None
