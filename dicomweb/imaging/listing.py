"""The attributes of an object as a table: what there is to see of one that is neither picture, text nor curve
(PS3.18 8.7.4, PS3.6).

Plans, structure sets, registrations, raw data and objects of classes that nobody knows yet have a page like
this, so that every object shows something. Radiotherapy comes with a summary in front (PS3.3 C.8.8).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from dicomweb.imaging import pages, readable
from dicomweb.standard import dicomjson, dictionary

PAGE_BYTES = 4 << 20
"""Characters of a page's body at most."""

_VALUES = 16
_CHARACTERS = 2000
_ITEMS = 500
_DEPTH = 16
_TEXTS = {"DA": readable.date, "TM": readable.time, "DT": readable.moment, "AS": readable.age}


def html(dataset: Mapping[str, Any]) -> bytes:
    """Write the attributes of an object as an HTML page in UTF-8, to be sent under `pages.POLICY`.

    Args:
        dataset: DICOM JSON model.
    """
    kind = readable.class_name(dicomjson.text(dataset, "00080016"))
    label = next(filter(None, (dicomjson.text(dataset, tag) for tag in ("30060002", "300A0002", "00700080"))), "")
    title = f"{kind[:1].upper()}{kind[1:]}{f': {readable.clean(label)}' if label else ''}"
    sheet = _Sheet()
    body = [
        pages.header(dataset, title),
        *_summary(dataset),
        "<h2>All attributes</h2>\n",
        *sheet.table(dataset, _DEPTH),
    ]
    if sheet.left <= 0:
        body.append('<p class="soft">There are more attributes than are shown here.</p>')
    return pages.page(title, body)


def text(dataset: Mapping[str, Any]) -> bytes:
    """Write the attributes of an object as plain text in UTF-8, one a line, indented as they are nested.

    Args:
        dataset: DICOM JSON model.
    """
    lines: list[str] = []
    size = 0
    for line in _lines(dataset, 0):
        size += len(line) + 1
        if size > PAGE_BYTES:
            lines.append("(There are more attributes than are shown here.)")
            break
        lines.append(line)
    return ("\n".join(lines) + "\n").encode()


def _lines(dataset: Mapping[str, Any], level: int) -> Iterator[str]:
    indent = "  " * level
    for tag in sorted(dataset):
        element = dataset[tag]
        name, vr = _name(tag), readable.clean(str(element.get("vr", "")))
        items = element.get("Value") or () if vr == "SQ" else ()
        words = f"{len(items):,} item{'' if len(items) == 1 else 's'}" if vr == "SQ" else _words(element, vr)
        yield f"{indent}({tag[:4]},{tag[4:]}) {vr} {name}: " + words.replace("\n", f"\n{indent}  ")
        for number, item in enumerate(items[:_ITEMS] if level < _DEPTH else (), 1):
            if isinstance(item, dict):
                yield f"{indent}  {number}."
                yield from _lines(item, level + 2)


class _Sheet:
    """Writes tables of attributes until the page is full."""

    def __init__(self) -> None:
        self.left = PAGE_BYTES

    def table(self, dataset: Mapping[str, Any], depth: int) -> Iterator[str]:
        """Yield a table of all attributes, in pieces."""
        yield (
            '<div class="scroll"><table class="sheet"><thead><tr><th>Tag</th><th>VR</th><th>Name</th><th>Value</th>'
            "</tr></thead><tbody>\n"
        )
        for tag in sorted(dataset):
            if self.left <= 0:
                break
            yield from self.row(tag, dataset[tag], depth)
        yield "</tbody></table></div>\n"

    def row(self, tag: str, element: Mapping[str, Any], depth: int) -> Iterator[str]:
        vr = str(element.get("vr", ""))
        number = pages.escape(f"{tag[:4]},{tag[4:]}")
        name = pages.value(_name(tag))
        head = f'<tr><td class="id">{number}</td><td class="id">{pages.escape(vr)}</td><td>{name}</td><td>'
        self.left -= len(head)
        yield head
        if vr == "SQ":
            yield from self.items(element.get("Value") or [], depth)
        else:
            words = f'<span class="text">{pages.value(_words(element, vr))}</span>'
            self.left -= len(words)
            yield words
        yield "</td></tr>\n"

    def items(self, items: list[Any], depth: int) -> Iterator[str]:
        found = [item for item in items if isinstance(item, dict)]
        if not found:
            yield '<span class="soft">no items</span>'
            return
        counted = f"{len(found):,} item{'' if len(found) == 1 else 's'}"
        if depth <= 0:
            yield f'<span class="soft">{counted}, nested too deeply to be shown</span>'
            return
        yield f"<details><summary>{counted}</summary>"
        for number, item in enumerate(found[:_ITEMS], 1):
            if self.left <= 0:
                break
            if len(found) > 1:
                yield f'<p class="soft">Item {number:,}</p>'
            yield from self.table(item, depth - 1)
        if len(found) > _ITEMS:
            yield f'<p class="soft">and {len(found) - _ITEMS:,} more</p>'
        yield "</details>"


def _name(tag: str) -> str:
    try:
        number = int(tag, 16)
    except ValueError:
        return "Unknown attribute"
    return dictionary.name_of(number) or ("Private attribute" if number >> 16 & 1 else "Unknown attribute")


def _words(element: Mapping[str, Any], vr: str) -> str:
    """The values of an attribute in words, few of many."""
    if "InlineBinary" in element:
        return f"{len(str(element['InlineBinary'])) * 3 // 4:,} bytes"
    if "BulkDataURI" in element:
        return "bulk data"
    values = element.get("Value") or []
    shown = [_value(value, vr) for value in values[:_VALUES]]
    more = f" … ({len(values):,} values)" if len(values) > _VALUES else ""
    words = " \\ ".join(shown)
    if len(words) > _CHARACTERS:
        words = f"{words[:_CHARACTERS]}… ({len(words):,} characters)"
    return words + more


def _value(value: object, vr: str) -> str:
    if vr == "PN":
        return readable.person(value)
    if isinstance(value, str):
        if vr == "AT" and len(value) == 8:
            return f"({value[:4]},{value[4:]}) {_name(value)}"
        if vr == "UI" and (name := dictionary.uid_name_of(value)):
            return f"{readable.clean(value)} ({name})"
        return _TEXTS.get(vr, readable.clean)(value)
    return readable.number(value)


# -- radiotherapy -----------------------------------------------------------------------------------------------


def _summary(dataset: Mapping[str, Any]) -> Iterator[str]:
    """What matters in a structure set and in a plan (PS3.3 C.8.8.5, C.8.8.6, C.8.8.10, C.8.8.14), as tables."""
    for title, names, rows in (_structures(dataset), _prescriptions(dataset), _beams(dataset)):
        if rows:
            used = [place for place in range(len(names)) if any(row[place] for row in rows)]
            cells = [[pages.value(row[place]) for place in used] for row in rows[:_ITEMS]]
            yield f"<h2>{title}</h2>\n{pages.grid([names[place] for place in used], cells)}"


def _items(dataset: Mapping[str, Any], tag: str) -> list[dict[str, Any]]:
    return [item for item in dicomjson.values(dataset, tag) if isinstance(item, dict)]


def _text(dataset: Mapping[str, Any], tag: str) -> str:
    return readable.clean(dicomjson.text(dataset, tag))


def _number(dataset: Mapping[str, Any], tag: str, unit: str = "") -> str:
    values = dicomjson.values(dataset, tag)
    return f"{readable.rounded(values[0])}{unit}" if values and values[0] is not None else ""


def _structures(dataset: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    contours = {_number(item, "30060084"): item for item in _items(dataset, "30060039")}
    observed = {_number(item, "30060084"): item for item in _items(dataset, "30060080")}
    rows = []
    for roi in _items(dataset, "30060020"):
        number = _number(roi, "30060022")
        outlines = _items(contours.get(number, {}), "30060040")
        kinds = sorted({_text(outline, "30060042").replace("_", " ").lower() for outline in outlines})
        kind = _text(observed.get(number, {}), "300600A4").replace("_", " ").lower()
        made = _text(roi, "30060036").replace("_", " ").lower()
        drawn = f"{len(outlines):,} ({', '.join(kinds)})" if outlines else "none"
        rows.append([number, _text(roi, "30060026"), kind, drawn, _number(roi, "3006002C", " cm³"), made])
    return "Structures", ["No.", "Name", "Type", "Contours", "Volume", "Made"], rows


def _prescriptions(dataset: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    rows = []
    for dose in _items(dataset, "300A0010"):
        wanted = _number(dose, "300A0026", " Gy") or _number(dose, "300A0023", " Gy")
        most = _number(dose, "300A0027", " Gy") or _number(dose, "300A002C", " Gy")
        name = _text(dose, "300A0016") or _text(dose, "300A0014").lower()
        rows.append([_number(dose, "300A0012"), name, _text(dose, "300A0020").replace("_", " ").lower(), wanted, most])
    for group in _items(dataset, "300A0070"):
        fractions = _number(group, "300A0078")
        doses = [_number(beam, "300A0084", " Gy") for beam in _items(group, "300C0004")]
        each = ", ".join(filter(None, doses))
        beams = f"fraction group {_number(group, '300A0071')}"
        rows.append(["", beams, f"{fractions} fractions" if fractions else "", each and f"{each} a fraction", ""])
    return "Prescription", ["No.", "What", "Kind", "Dose", "At most"], rows


def _beams(dataset: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    units = {
        _number(beam, "300C0006"): _number(beam, "300A0086")
        for group in _items(dataset, "300A0070")
        for beam in _items(group, "300C0004")
    }
    rows = []
    for beam in _items(dataset, "300A00B0") or _items(dataset, "300A03A2"):
        points = _items(beam, "300A0111") or _items(beam, "300A03A8")
        first = points[0] if points else {}
        angles = [
            _number(point, "300A011E", "°") for point in (points[:1] + points[-1:] if len(points) > 1 else points)
        ]
        turned = " to ".join(dict.fromkeys(filter(None, angles)))
        number = _number(beam, "300A00C0")
        energy = _number(first, "300A0114", " MeV" if "300A03A2" in dataset else " MV")
        rows.append([
            number, _text(beam, "300A00C2") or _text(beam, "300A00C3"), _text(beam, "300A00C6").lower(),
            _text(beam, "300A00C4").lower(), energy, turned, units.get(number, ""), _text(beam, "300A00B2"),
        ])  # fmt: skip
    return "Beams", ["No.", "Name", "Radiation", "Type", "Energy", "Gantry", "Meterset", "Machine"], rows
