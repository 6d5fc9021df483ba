"""The content tree of Structured Reports: items with their values in words, within bounds (PS3.3 C.17.3, C.18).

A tree is read once and then written as a page or as plain text by `reports`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dicomweb.imaging import readable
from dicomweb.imaging.readable import Code
from dicomweb.standard import dicomjson

ITEMS = 20_000
"""Content items that are read of one document."""

DEPTH = 64
"""Content items that are read inside of each other."""

REFERENCES = frozenset(("IMAGE", "COMPOSITE", "WAVEFORM"))

_SAID: dict[str, Callable[[Any], str]] = {
    "DT": readable.moment, "DA": readable.date, "TM": readable.time, "PN": readable.person,
}  # fmt: skip
_CELLS, _WIDEST, _LONGEST = 10_000, 50, 1000
_CONTENT = "0040A730"
_NAMES = {"CIRCLE": "circle", "ELLIPSE": "ellipse", "MULTIPOINT": "points", "POINT": "point", "POLYLINE": "polyline"}


class Reference(NamedTuple):
    """Another object that a document points to (PS3.3 10.8).

    Attributes:
        study, series: its UIDs, or "" where the document does not say.
        sop_class: its SOP Class UID.
        instance: its SOP Instance UID.
        frames: the numbers of the frames meant; () is the whole.
    """

    study: str
    series: str
    sop_class: str
    instance: str
    frames: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One content item.

    Attributes:
        place: where it stands, such as "1.2.3" (PS3.3 C.17.3.2.5).
        relation: to the item that it is in, such as "CONTAINS"; "" for the root.
        kind: Value Type, such as "NUM"; "" for a mere reference to another item.
        name: concept name, or None.
        text: the value for people, cleaned.
        exact: the value in full where `text` is rounded or stands for a code, else "".
        reference: what an IMAGE, COMPOSITE or WAVEFORM points to.
        target: place of the item that is referred to, or "".
        continuous: the items in a container are one running text.
        rows: of a TABLE, texts of cells, the first row being the names of the columns.
        items: those inside.
    """

    place: str
    relation: str
    kind: str
    name: Code | None = None
    text: str = ""
    exact: str = ""
    reference: Reference | None = None
    target: str = ""
    continuous: bool = False
    rows: tuple[tuple[str, ...], ...] = ()
    items: tuple["Item", ...] = ()

    @property
    def label(self) -> str:
        """The concept name in words, or ""."""
        return self.name.shown if self.name else ""

    def walk(self) -> Iterator["Item"]:
        """Yield this item and all inside of it."""
        yield self
        for item in self.items:
            yield from item.walk()


@dataclass(slots=True)
class _Reading:
    """What is the same for all items of a document."""

    evidence: Mapping[str, tuple[str, str]]
    left: int
    cut: bool = False


def has_content(dataset: Mapping[str, Any]) -> bool:
    """Say whether a data set is a document with a content tree (PS3.3 C.17.3)."""
    return bool(dicomjson.values(dataset, _CONTENT)) or dicomjson.text(dataset, "0040A040") == "CONTAINER"


def read(dataset: Mapping[str, Any]) -> tuple[Item, bool]:
    """Read the content tree of a document.

    Args:
        dataset: DICOM JSON model.

    Returns:
        The root, and whether something was left out because of `ITEMS` or `DEPTH`.
    """
    reading = _Reading(_evidence(dataset), ITEMS)
    return _item(dataset, "1", reading, DEPTH), reading.cut


def evidence(dataset: Mapping[str, Any]) -> list[Reference]:
    """Return the objects that a document lists as its evidence (PS3.3 C.17.2), each once."""
    return [Reference(study, series, sop_class, instance) for study, series, sop_class, instance in _listed(dataset)]


def _evidence(dataset: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {instance: (study, series) for study, series, _, instance in _listed(dataset)}


def _listed(dataset: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    text, values = dicomjson.text, dicomjson.values
    found: dict[str, tuple[str, str, str, str]] = {}
    # Current Requested Procedure, Pertinent Other, Identical Documents, Predecessor Documents
    for tag in ("0040A375", "0040A385", "0040A525", "0040A360"):
        for study in _dictionaries(values(dataset, tag)):
            for series in _dictionaries(values(study, "00081115")):
                for sop in _dictionaries(values(series, "00081199")):
                    uids = (text(study, "0020000D"), text(series, "0020000E"), text(sop, "00081150"))
                    instance = text(sop, "00081155")
                    if instance and tag != "0040A360":
                        found.setdefault(instance, (*uids, instance))
    return list(found.values())


def _dictionaries(items: list[Any]) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)]


def _item(item: Mapping[str, Any], place: str, reading: _Reading, depth: int) -> Item:
    reading.left -= 1
    relation = readable.clean(dicomjson.text(item, "0040A010"))
    target = dicomjson.values(item, "0040DB73")
    if target:
        return Item(place, relation, "", target=".".join(readable.number(step) for step in target[:DEPTH]))
    kind = dicomjson.text(item, "0040A040")
    text, exact, reference = _value(item, kind, reading)
    inside: list[Item] = []
    for index, child in enumerate(_dictionaries(dicomjson.values(item, _CONTENT))):
        if reading.left <= 0 or depth <= 0:
            reading.cut = True
            break
        inside.append(_item(child, f"{place}.{index + 1}", reading, depth - 1))
    return Item(
        place,
        relation,
        readable.clean(kind),
        readable.first_code(item, "0040A043"),
        text,
        exact,
        reference,
        continuous=dicomjson.text(item, "0040A050") == "CONTINUOUS",
        rows=_table(item) if kind == "TABLE" else (),
        items=tuple(inside),
    )


def _value(item: Mapping[str, Any], kind: str, reading: _Reading) -> tuple[str, str, Reference | None]:
    """The value in words, in full where that differs, and what it refers to."""
    text = dicomjson.text
    if kind == "TEXT":
        element = item.get("0040A160", {})
        if "BulkDataURI" in element:
            return "(a text of several megabytes, which is not shown here)", "", None
        return readable.clean(text(item, "0040A160")).strip("\n"), "", None
    if kind == "CODE":
        code = readable.first_code(item, "0040A168")
        return (code.shown, code.exact, None) if code else ("", "", None)
    if kind == "NUM":
        return (*_measurement(item), None)
    if kind == "PNAME":
        return readable.people(item, "0040A123"), "", None
    if kind == "DATE":
        return readable.date(text(item, "0040A121")), "", None
    if kind == "TIME":
        return readable.time(text(item, "0040A122")), "", None
    if kind == "DATETIME":
        return readable.moment(text(item, "0040A120")), "", None
    if kind == "UIDREF":
        return readable.clean(text(item, "0040A124")), "", None
    if kind in REFERENCES:
        return _reference(item, reading)
    if kind in {"SCOORD", "SCOORD3D"}:
        return _shape(item, 3 if kind == "SCOORD3D" else 2), "", None
    if kind == "TCOORD":
        return _span(item), "", None
    return "", "", None


def _measurement(item: Mapping[str, Any]) -> tuple[str, str]:
    """A NUM (PS3.3 C.18.1): number and unit, or why there is none."""
    measured = _dictionaries(dicomjson.values(item, "0040A300"))
    qualifier = readable.first_code(item, "0040A301")
    noted = f" ({qualifier.shown})" if qualifier else ""
    if not measured:
        return (qualifier.shown if qualifier else "no value"), ""
    numbers = dicomjson.values(measured[0], "0040A30A") or dicomjson.values(measured[0], "0040A161")
    value = numbers[0] if numbers else None
    unit = readable.unit(readable.first_code(measured[0], "004008EA"))
    short, exact = readable.rounded(value), readable.number(value)
    words = readable.measure(value, unit)
    return words + noted, "" if exact == short else exact + words.removeprefix(short) + noted


def _reference(item: Mapping[str, Any], reading: _Reading) -> tuple[str, str, Reference | None]:
    items = _dictionaries(dicomjson.values(item, "00081199"))
    if not items:
        return "", "", None
    sop_class, instance = dicomjson.text(items[0], "00081150"), dicomjson.text(items[0], "00081155")
    frames = tuple(n for n in dicomjson.values(items[0], "00081160") if isinstance(n, int) and n > 0)[:1000]
    study, series = reading.evidence.get(instance, ("", ""))
    words = readable.class_name(sop_class)
    if frames:
        listed = ", ".join(map(str, frames[:10]))
        words += f", {'frame' if len(frames) == 1 else 'frames'} {listed}{', …' if len(frames) > 10 else ''}"
    channels = dicomjson.values(items[0], "0040A0B0")
    if channels:
        pairs = zip(channels[::2], channels[1::2], strict=False)
        listed = ", ".join(f"{readable.number(group)}/{readable.number(channel)}" for group, channel in pairs)
        words += f", channels {listed[:200]}"
    segments = dicomjson.values(items[0], "0062000B")
    if segments:
        words += f", segment {', '.join(map(readable.number, segments[:10]))}"
    return words, readable.clean(instance), Reference(study, series, sop_class, instance, frames)


def _shape(item: Mapping[str, Any], width: int) -> str:
    """Spatial coordinates (PS3.3 C.18.6, C.18.9): the kind of shape, and few points as they are."""
    kind = dicomjson.text(item, "00700023")
    numbers = dicomjson.values(item, "00700022")
    count = len(numbers) // width
    words = _NAMES.get(kind, readable.clean(kind).lower()) or "coordinates"
    points = [numbers[start : start + width] for start in range(0, min(count, 2) * width, width)]
    shown = ", ".join(f"({', '.join(map(readable.rounded, point))})" for point in points)
    if count <= 2:
        return f"{words} {shown}".strip()
    return f"{words} of {count:,} points"


def _span(item: Mapping[str, Any]) -> str:
    """Temporal coordinates (PS3.3 C.18.7)."""
    words = readable.clean(dicomjson.text(item, "0040A130")).lower() or "times"
    named = (("0040A132", "samples"), ("0040A138", "seconds"), ("0040A13A", "at"))
    for tag, what in named:
        if values := dicomjson.values(item, tag):
            say = readable.moment if tag == "0040A13A" else readable.rounded
            listed = ", ".join(say(value) for value in values[:10])
            return f"{words}, {what} {listed}{', …' if len(values) > 10 else ''}"
    return words


def _table(item: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """A TABLE (PS3.3 C.18.10): names of columns, then the rows, the name of each in front."""
    values = dicomjson.values
    tables = _dictionaries(values(item, "0040A801"))
    if not tables:
        return ()
    cells: dict[tuple[int, int], str] = {}
    for cell in _dictionaries(values(tables[0], "0040A808"))[:_CELLS]:
        row, column = (dicomjson.integer(cell.get(tag)) for tag in ("0040A804", "0040A805"))
        words = _cell(cell)
        if row is not None and column is not None:
            cells[row, column] = ", ".join(words[:20])
        elif column is not None:
            cells |= {(number, column): one for number, one in enumerate(words, 1)}
        elif row is not None:
            cells |= {(row, number): one for number, one in enumerate(words, 1)}
    width, height = sorted({column for _, column in cells})[:_WIDEST], sorted({row for row, _ in cells})[:_LONGEST]
    columns = _headings(_dictionaries(values(tables[0], "0040A807")), "0040A805", width)
    rows = _headings(_dictionaries(values(tables[0], "0040A806")), "0040A804", height)
    named = any(rows.values())
    head = (("",) if named else ()) + tuple(columns.get(column, "") for column in width)
    body = [
        ((rows.get(row, ""),) if named else ()) + tuple(cells.get((row, column), "") for column in width)
        for row in height
    ]
    return (head, *body) if width else ()


def _cell(cell: Mapping[str, Any]) -> list[str]:
    """The values of one cell, or of the cells of a row or column (PS3.3 10.26)."""
    if codes := _dictionaries(dicomjson.values(cell, "00720080")):
        return [code.shown for each in codes if (code := readable.code(each))]
    for tag in sorted(cell):
        if tag.startswith("0072") and tag != "00720050" and (found := dicomjson.values(cell, tag)):
            say = _SAID.get(str(cell[tag].get("vr")), readable.number)
            return [say(one) if isinstance(one, str | dict) else readable.rounded(one) for one in found[:_LONGEST]]
    return []


def _headings(items: list[dict[str, Any]], number: str, places: list[int]) -> dict[int, str]:
    """Names of rows or columns by number; a lone one without a number is that of all."""
    found: dict[int, str] = {}
    for item in items:
        name = readable.first_code(item, "0040A043")
        unit = readable.unit(readable.first_code(item, "004008EA"))
        words = f"{name.shown} [{unit}]" if name and unit else name.shown if name else ""
        place = dicomjson.integer(item.get(number))
        found |= dict.fromkeys(places, words) if place is None else {place: words}
    return found
