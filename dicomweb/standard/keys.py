"""QIDO-RS as C-FIND: the keys of an identifier for each level, from the parameters of a search (PS3.4 C.4.1.1.3,
C.6.1.1, C.6.2.1; PS3.18 8.3.4, 10.6.1.2).

C-FIND carries less than QIDO-RS. What it can carry goes out as it was written; what it cannot (lists of anything but
UIDs, empty values, sequences, fuzzy names of several words) is left to whoever reads the answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from dicomweb.standard import attributes
from dicomweb.standard.attributes import LEVELS, Level
from dicomweb.standard.dictionary import tag_of, vr_of
from dicomweb.standard.matching import Key, element_of, satisfies
from dicomweb.standard.normal import comparable
from dicomweb.standard.query import Query, read_path

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
UNIQUE: dict[Level, str] = {"patient": "00100020", "study": STUDY, "series": SERIES, "instance": INSTANCE}
# PS3.18 Table 8.3.4-1 and our own: names of parameters that are no attributes
_OPTIONS = frozenset(
    (
        "fuzzymatching", "emptyvaluematching", "multiplevaluematching", "limit", "offset", "orderby", "cursor",
        "includefield", "accept", "charset",
    )
)  # fmt: skip
# Computed by whoever answers, and never keys of an identifier (PS3.4 C.4.1.1.3.1).
_NEVER = frozenset(("00080005", "00080052", "00080053", "00080054", "00080056", "00080201", "00081190"))
_LISTS = frozenset(("UI",))
_NO_WILDCARDS = frozenset(("CS", "IS", "DS", "US", "UL", "SS", "SL"))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a search asks, by level.

    Attributes:
        keys: values of keys by level and tag, as C-FIND takes them; "" is universal.
        study, series: UIDs that the path or a key fixes, or "".
    """

    keys: dict[Level, dict[str, str]]
    study: str
    series: str

    def at(self, level: Level, query: Query) -> dict[str, Any]:
        """Return the identifier of one level in the DICOM JSON model, without what is above it: keys and what is to
        come back (PS3.4 C.4.1.1.3).

        Patient attributes sit at study level, as the Study Root model has it.
        """
        levels = ("patient", "study") if level == "study" else (level,)
        wanted: dict[str, str] = {UNIQUE[level]: ""}
        for one in attributes.ATTRIBUTES:
            if (one.level in levels and (one.returned or (one.computed and one.column))) or one.tag in _COUNTS[level]:
                wanted[f"{one.tag:08X}"] = ""
        for path in query.include:
            if len(path) == 1 and attributes.level_of(path[0]) in levels and not path[0] >> 16 & 1:
                wanted[f"{path[0]:08X}"] = ""
        for each in levels:
            wanted |= self.keys.get(each, {})  # type: ignore[call-overload]
        return {tag: _element(tag, value) for tag, value in sorted(wanted.items()) if tag not in _NEVER}

    def given(self) -> dict[str, Any]:
        """Return every key that has a value, of whatever level, in the DICOM JSON model (PS3.4 C.4.1.2.2.1)."""
        return {tag: _element(tag, value) for keys in self.keys.values() for tag, value in keys.items() if value}


def _counts(*keywords: str) -> frozenset[int]:
    return frozenset(tag for keyword in keywords if (tag := tag_of(keyword)) is not None)


# PS3.4 C.3.4: additional attributes that servers count
_COUNTS: dict[Level, frozenset[int]] = {
    "patient": _counts(
        "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances"
    ),
    "study": _counts("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    "series": _counts("NumberOfSeriesRelatedInstances"),
    "instance": frozenset(),
}


def read_asked(query: Query, params: Sequence[tuple[str, str]]) -> Asked:
    """Read what a search asks as keys of C-FIND (PS3.4 C.4.1.1.3, C.2.2.2).

    Args:
        query: the search, read already.
        params: its parameters as `query.split` gives them.
    """
    fuzzy = any(name == "fuzzymatching" and value.strip().lower() == "true" for name, value in params)
    keys: dict[Level, dict[str, str]] = {}
    fixed = {STUDY: query.study or "", SERIES: query.series or ""}
    for name, raw in params:
        path = None if name in _OPTIONS else read_path(unquote_plus(name))
        if path is None or len(path) != 1 or path[0] >> 16 & 1:
            continue
        tag = f"{path[0]:08X}"
        vr = (vr_of(path[0]) or "").split(" ")[0]
        value = _carried(vr, unquote_plus(raw).strip(), fuzzy)
        if tag in fixed and value and "\\" not in value and not fixed[tag]:
            fixed[tag] = value
        keys.setdefault(attributes.level_of(path[0]), {})[tag] = value
    return Asked(keys, fixed[STUDY], fixed[SERIES])


def _carried(vr: str, text: str, fuzzy: bool) -> str:
    """The value of a key as C-FIND carries it; "" where it cannot."""
    if vr == "SQ" or text in ("*", '""'):
        return ""
    if vr in _LISTS:
        return "\\".join(part for part in (piece.strip() for piece in text.replace("\\", ",").split(",")) if part)
    if "\\" in text or ("," in text and vr in _NO_WILDCARDS):
        return ""
    if vr == "PN" and fuzzy:
        words = sorted(text.replace("^", " ").replace("*", " ").split(), key=len)
        return f"*{words[-1]}*" if words else ""
    return text


def _element(tag: str, value: str) -> dict[str, Any]:
    vr = (vr_of(int(tag, 16)) or "UN").split(" ")[0]
    if not value or vr == "SQ":
        return {"vr": vr}
    if vr == "PN":
        return {
            "vr": vr,
            "Value": [dict(zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False))],
        }
    return {"vr": vr, "Value": value.split("\\")}


def unchecked(keys: Sequence[Key], dataset: dict[str, Any]) -> tuple[Key, ...]:
    """Return the keys whose attribute is not in an answer at all, so that nobody can say whether it matches: the node
    does not know them (PS3.4 C.2.2.1.3)."""
    return tuple(key for key in keys if element_of(dataset, key.tag, key.creator) is None)


def matches(keys: Sequence[Key], dataset: dict[str, Any]) -> bool:
    """Say whether an answer satisfies every key that it has the attribute of (PS3.4 C.2.2.2)."""
    return satisfies(tuple(key for key in keys if element_of(dataset, key.tag, key.creator) is not None), dataset)


# Our default order: newest studies first, series and instances by number; then UIDs.
_ORDER: dict[Level, tuple[tuple[str, bool], ...]] = {
    "patient": (("00100010", False), ("00100020", False)),
    "study": (("00080020", True), (STUDY, False)),
    "series": (("00200011", False), (SERIES, False)),
    "instance": (("00200013", False), (INSTANCE, False)),
}


def ordered(query: Query, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return answers in the order of the query, then in the default order (PS3.18 10.6.1.2 leaves it open)."""
    found = list(rows)
    order = [*((f"{one.tag:08X}", one.descending) for one in query.order), *_ORDER[query.level]]
    for tag, descending in reversed(order):
        found.sort(key=lambda row, tag=tag: _sortable(row.get(tag)), reverse=descending)  # type: ignore[misc]
    return found


def _sortable(element: Any) -> tuple[int, float, str]:
    """Numbers by value, texts by their normal form; what has no value comes last, first where the order descends."""
    values = (element or {}).get("Value") or []
    if not values or values[0] is None:
        return (1, 0.0, "") if (element or {}).get("vr") in ("IS", "DS") else (0, 0.0, "")
    value, vr = values[0], element["vr"]
    if vr in ("IS", "DS", "US", "UL"):
        try:
            return (0, float(value), "")
        except ValueError:
            return (1, 0.0, str(value))
    if vr == "PN":
        return (0, 0.0, str(value.get("Alphabetic", "") if isinstance(value, dict) else value).casefold())
    return (0, 0.0, comparable(vr, str(value)) or str(value) if vr in ("DA", "TM", "DT") else str(value))


def above(level: Level) -> tuple[Level, ...]:
    """Return the levels of the Study Root model above one, from the study on (PS3.4 C.6.2.1)."""
    return LEVELS[1 : LEVELS.index(level)]
