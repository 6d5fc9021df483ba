"""Structured Reports, Key Object Selections and all else that has a content tree, as a page and as plain text
(PS3.18 8.7.4, PS3.3 C.17).

Containers become sections, names and values stand in two columns, containers of the same name that hold only
values become the rows of a table, and what an item refers to is a link, as far as the caller knows one.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any, TypeAlias

from dicomweb.imaging import content, pages, readable
from dicomweb.imaging.content import REFERENCES, Item, Reference
from dicomweb.standard import dicomjson

PAGE_BYTES = 8 << 20
"""Characters of a page's body at most."""

Link: TypeAlias = Callable[[Reference], str]
"""Gives the URL of what a document refers to, or "" where there is none."""

_COLUMNS = 8
_DETAILS = "HAS CONCEPT MOD"
_RELATIONS = {
    "INFERRED FROM": "inferred from",
    "SELECTED FROM": "selected from",
    "HAS PROPERTIES": "properties",
    "HAS ACQ CONTEXT": "acquisition",
    "HAS OBS CONTEXT": "observation context",
    _DETAILS: "modifier",
    "CONTAINS": "",
}


def nothing(reference: Reference) -> str:
    """A Link that knows no URL."""
    return ""


def references(dataset: Mapping[str, Any]) -> list[Reference]:
    """Return what a document points to, each instance once, so that a caller can look them all up at once."""
    found = {reference.instance: reference for reference in content.evidence(dataset)}
    for item in content.read(dataset)[0].walk():
        if item.reference:
            found.setdefault(item.reference.instance, item.reference)
    return list(found.values())


def title(dataset: Mapping[str, Any]) -> str:
    """Return what a document is called: its concept name, or its kind (PS3.3 C.17.3.1)."""
    name = readable.first_code(dataset, "0040A043")
    return name.shown if name else readable.class_name(dicomjson.text(dataset, "00080016"))


def html(dataset: Mapping[str, Any], link: Link = nothing) -> bytes:
    """Write a document as an HTML page in UTF-8, to be sent under `pages.POLICY`.

    Args:
        dataset: DICOM JSON model of an object with a content tree.
        link: gives the URL of each reference; it is only ever put into `href`.
    """
    root, cut = content.read(dataset)
    writer = _Page(link, {item.target for item in root.walk() if item.target})
    writer.add(pages.header(dataset, title(dataset), _marks(dataset)))
    writer.add(_signed(dataset))
    context = [item for item in root.items if item.relation in ("HAS OBS CONTEXT", _DETAILS, "HAS ACQ CONTEXT")]
    writer.leaves([item for item in context if item.kind != "CONTAINER"])
    writer.contents(root, [item for item in root.items if item not in context or item.kind == "CONTAINER"], 2)
    if cut or writer.full:
        writer.parts.append('<p class="soft">The document is longer than what is shown here.</p>')
    writer.parts.append(_sources(dataset, link))
    writer.parts.append(_footer(dataset))
    return pages.page(title(dataset), writer.parts, _language(root))


def text(dataset: Mapping[str, Any]) -> bytes:
    """Write a document as plain text in UTF-8, lines of it indented as it is nested.

    Args:
        dataset: DICOM JSON model of an object with a content tree.
    """
    root, cut = content.read(dataset)
    lines = [title(dataset), "=" * min(len(title(dataset)), 100), ""]
    lines += [f"{name}: {' | '.join(found)}" for name, found in pages.facts(dataset) if found]
    lines += ["State: " + ", ".join(word for word, _ in _marks(dataset))]
    lines += [f"{name}: {words}" for name, words in _signatures(dataset)]
    lines.append("")
    size = 0
    for line in (line for item in root.items for line in _lines(item, 0)):
        size += len(line) + 1
        if size > PAGE_BYTES:
            cut = True
            break
        if line or lines[-1]:
            lines.append(line)
    if cut:
        lines += ["", "(The document is longer than what is shown here.)"]
    return ("\n".join(lines) + "\n").encode()


def _lines(item: Item, level: int) -> Iterable[str]:
    indent = "  " * level
    name = item.label or (_RELATIONS.get(item.relation, "") if item.kind != "CONTAINER" else "")
    words = f"see item {item.target}" if item.target else item.exact if item.kind == "NUM" and item.exact else item.text
    if item.kind in REFERENCES and item.exact:
        words = f"{words} [{item.exact}]"
    if item.continuous and all(child.kind != "CONTAINER" for child in item.items):
        words = " ".join(filter(None, (child.text for child in item.items)))
        yield from _wrapped(indent, name, words)
        return
    if item.kind == "CONTAINER":
        if name:
            if level == 0:
                yield ""
            yield f"{indent}{name}"
        level = level + 1 if name else level
    else:
        yield from _wrapped(indent, name, words)
        level += 1
    for row in item.rows:
        yield "  " * level + " | ".join(row)
    for child in item.items:
        yield from _lines(child, level)


def _wrapped(indent: str, name: str, words: str) -> Iterable[str]:
    first, *rest = words.split("\n")
    yield f"{indent}{name}: {first}" if name else f"{indent}{first}"
    for line in rest:
        yield f"{indent}  {line}"


def _marks(dataset: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The state of a document (PS3.3 C.17.2): complete, preliminary, verified."""
    words = dicomjson.text
    found = []
    completion, verification = words(dataset, "0040A491"), words(dataset, "0040A493")
    if completion:
        found.append(
            {"COMPLETE": ("Complete", "good"), "PARTIAL": ("Partial", "care")}.get(completion, (completion, ""))
        )
    if verification:
        verified = {"VERIFIED": ("Verified", "good"), "UNVERIFIED": ("Not verified", "care")}
        found.append(verified.get(verification, (verification, "")))
    if (preliminary := words(dataset, "0040A496")) == "PRELIMINARY":
        found.append(("Preliminary", "care"))
    elif preliminary == "FINAL":
        found.append(("Final", "good"))
    found.append((readable.class_name(words(dataset, "00080016")), ""))
    return [(readable.clean(word), kind) for word, kind in found]


def _signatures(dataset: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who made a document, who verified it and when, with names of what they are (PS3.3 C.17.2)."""
    found = []
    if written := readable.together(dataset, "00080023", "00080033"):
        found.append(("Content date", written))
    if described := readable.clean(dicomjson.text(dataset, "0040A492")):
        found.append(("Completion", described))
    for observer in _items(dataset, "0040A073"):
        who = [readable.people(observer, "0040A075"), readable.clean(dicomjson.text(observer, "0040A027"))]
        when = readable.moment(dicomjson.text(observer, "0040A030"))
        found.append(("Verified by", ", ".join(part for part in (*who, when) if part)))
    for tag, what in (("0040A078", "Author"), ("0040A07A", "Participant"), ("0040A07C", "Custodian")):
        for someone in _items(dataset, tag):
            role = readable.clean(dicomjson.text(someone, "0040A080"))
            who = [readable.people(someone, "0040A123"), readable.clean(dicomjson.text(someone, "00080080"))]
            who.append(readable.clean(dicomjson.text(someone, "00081010")))
            if words := ", ".join(part for part in who if part):
                label = {"SOURCE": "Source", "ENT": "Entered by", "ATTEST": "Attested by"}.get(role, what)
                found.append((label, words))
    predecessors = sum(1 for study in _items(dataset, "0040A360") for _ in _items(study, "00081115"))
    if predecessors:
        found.append(("Replaces", "an earlier document" if predecessors == 1 else f"{predecessors} earlier documents"))
    return found[:200]


def _items(dataset: Mapping[str, Any], tag: str) -> list[dict[str, Any]]:
    return [item for item in dicomjson.values(dataset, tag) if isinstance(item, dict)]


def _signed(dataset: Mapping[str, Any]) -> str:
    rows = "".join(f"<dt>{name}</dt><dd>{pages.value(words)}</dd>" for name, words in _signatures(dataset))
    return f"<dl>{rows}</dl>\n" if rows else ""


def _language(root: Item) -> str:
    """The language that a document says it is in (DCM 121049), as RFC 5646 writes it; English else."""
    for item in root.items:
        if item.name and item.name.value == "121049" and (code := item.exact.partition(",")[0]).isascii():
            return code if 2 <= len(code) <= 12 else "en"
    return "en"


def _sources(dataset: Mapping[str, Any], link: Link) -> str:
    """The objects that a document is based on, by series."""
    listed = content.evidence(dataset)
    if not listed:
        return ""
    lines = []
    for series, members in groupby(listed[:2000], key=lambda reference: reference.series):
        found = list(members)
        kinds = sorted({readable.class_name(reference.sop_class) for reference in found})
        numbered = (_anchor(str(index), link(reference)) for index, reference in enumerate(found, 1))
        uid = f'<span class="id">{pages.escape(series)}</span>'
        lines.append(f"<li>{pages.value(', '.join(kinds))}: {' '.join(numbered)}<br>{uid}")
    total = f"{len(listed):,} object{'' if len(listed) == 1 else 's'}"
    return f"<details><summary>Based on {total}</summary><ul>{'</li>'.join(lines)}</li></ul></details>\n"


def _anchor(words: str, url: str) -> str:
    return f'<a href="{pages.escape(url)}">{pages.value(words)}</a>' if url else pages.value(words)


def _footer(dataset: Mapping[str, Any]) -> str:
    instance = pages.escape(dicomjson.text(dataset, "00080018"))
    return f'<footer>SOP Instance UID <span class="id">{instance}</span></footer>'


class _Page:
    """Collects the body of a page until it is full."""

    def __init__(self, link: Link, targets: set[str]) -> None:
        self.link = link
        self.targets = targets
        self.parts: list[str] = []
        self.left = PAGE_BYTES
        self.full = False

    def add(self, part: str) -> None:
        """Add HTML whose elements are complete, unless there is no room for it."""
        if len(part) > self.left:
            self.full = True
            return
        self.left -= len(part)
        self.parts.append(part)

    def contents(self, parent: Item, items: list[Item], level: int) -> None:
        """Add the items of a container, as they follow one another."""
        if parent.continuous:
            self.running([item for item in items if item.kind != "CONTAINER"])
            items = [item for item in items if item.kind == "CONTAINER"]
        for kind, found in groupby(items, key=lambda item: _kind(item, parent)):
            members = list(found)
            if self.full:
                return
            if kind == "section":
                self.sections(members, level)
            elif kind == "list":
                self.add(f"<ul>{''.join(f'<li>{self.value(item)}</li>' for item in members)}</ul>\n")
            elif kind == "text":
                for item in members:
                    self.add(f'<p class="text"{self.anchor(item)}>{pages.value(item.text)}</p>\n')
            else:
                self.leaves(members)

    def running(self, items: list[Item]) -> None:
        """Add items as running text; what they refer to stands below, in a list."""
        for referring, found in groupby(items, key=lambda item: item.reference is not None):
            words = [self.value(item) for item in found]
            if referring:
                self.add(f"<ul>{''.join(f'<li>{one}</li>' for one in words)}</ul>\n")
            else:
                self.add(f'<p class="text">{" ".join(words)}</p>\n')

    def sections(self, items: list[Item], level: int) -> None:
        for _, found in groupby(items, key=lambda item: item.label):
            members = list(found)
            table = self.table(members) if len(members) > 1 else ""
            if table:
                self.add(f"{self.heading(members[0].label, level)}{table}")
                continue
            for number, item in enumerate(members, 1):
                name = item.label
                numbered = f"{name} {number}" if len(members) > 1 and name else name
                self.add(f"<section{self.anchor(item)}>{self.heading(numbered, level)}")
                self.contents(item, list(item.items), level + 1 if name else level)
                self.parts.append("</section>\n")

    def heading(self, words: str, level: int) -> str:
        return f"<h{min(level, 6)}>{pages.value(words)}</h{min(level, 6)}>" if words else ""

    def anchor(self, item: Item) -> str:
        return f' id="i{item.place}"' if item.place in self.targets else ""

    def leaves(self, items: list[Item]) -> None:
        if items:
            self.add(f"<dl>{''.join(map(self.pair, items))}</dl>\n")

    def pair(self, item: Item) -> str:
        """A name and its value, with what belongs to it below."""
        name = item.label or _RELATIONS.get(item.relation) or item.relation.lower() or "item"
        below = [child for child in item.items if child.relation != _DETAILS or child.items]
        inside = f"<dl>{''.join(map(self.pair, below))}</dl>" if below else ""
        return f"<dt>{pages.value(name)}</dt><dd{self.anchor(item)}>{self.shown(item)}{inside}</dd>"

    def shown(self, item: Item) -> str:
        """The value of an item and its modifiers, without what it was inferred from."""
        mods = [child for child in item.items if child.relation == _DETAILS and not child.items]
        words = "; ".join(f"{pages.value(f'{mod.label}: ' if mod.label else '')}{self.bare(mod)}" for mod in mods)
        return self.bare(item) + (f' <span class="soft">({words})</span>' if words else "")

    def bare(self, item: Item) -> str:
        if item.target:
            place = pages.escape(item.target)
            return f'<a href="#i{place}">item {place}</a>'
        if item.rows:
            return pages.grid(item.rows[0], [[pages.value(cell) for cell in row] for row in item.rows[1:]])
        if item.kind == "NUM":
            number = f'<b class="num">{pages.value(item.text)}</b>'
            return f'<span title="{pages.escape(item.exact)}">{number}</span>' if item.exact else number
        if item.kind == "CODE":
            return f'<span title="{pages.escape(item.exact)}">{pages.value(item.text)}</span>'
        if item.kind == "UIDREF":
            return f'<span class="id">{pages.escape(item.text)}</span>'
        if item.reference is not None:
            return _anchor(item.text, self.link(item.reference))
        if "\n" in item.text:
            return f'<span class="text">{pages.value(item.text)}</span>'
        return pages.value(item.text)

    def value(self, item: Item) -> str:
        """The value with all that belongs to it, in one line."""
        rest = [child for child in item.items if child.relation != _DETAILS or child.items]
        name = f'<span class="soft">{pages.value(item.label)}:</span> ' if item.label and item.kind != "TEXT" else ""
        below = ", ".join(self.value(child) for child in rest)
        return f"{name}{self.shown(item)}{f' <span class=soft>· {below}</span>' if below else ''}"

    def table(self, items: list[Item]) -> str:
        """Containers of the same name as the rows of a table, or "" where they do not make a good one."""
        columns: dict[str, str] = {}
        identifiers: dict[str, str] = {}
        rows: list[dict[str, list[str]]] = []
        for item in items:
            row: dict[str, list[str]] = {}
            for child in item.items:
                if child.kind in ("CONTAINER", "TABLE") or child.target or child.place in self.targets:
                    return ""
                key = f"{child.label} {child.kind}" if child.label else child.kind
                known = identifiers if child.kind == "UIDREF" else columns
                known.setdefault(key, child.label or readable.clean(child.kind).capitalize())
                row.setdefault(key, []).append(self.cell(child))
            rows.append(row)
        table = _rows(columns, rows) if columns else ""
        if table and identifiers:
            table += f"<details><summary>Identifiers</summary>{_rows(identifiers, rows)}</details>"
        return table

    def cell(self, item: Item) -> str:
        rest = [child for child in item.items if child.relation != _DETAILS or child.items]
        below = ", ".join(self.value(child) for child in rest)
        return self.shown(item) + (f'<br><span class="soft">{below}</span>' if below else "")


def _kind(item: Item, parent: Item) -> str:
    """How an item stands in a container."""
    if item.kind == "CONTAINER":
        return "section"
    if item.kind in REFERENCES and not item.label:
        return "list"
    plain = item.kind == "TEXT" and not item.items and item.label in {"", parent.label}
    return "text" if plain else "leaf"


def _rows(columns: Mapping[str, str], rows: list[dict[str, list[str]]]) -> str:
    """A row for each of many things with few columns, a column for each of few things with many; else ""."""
    if len(columns) <= _COLUMNS:
        return pages.grid(columns.values(), [["<br>".join(row.get(key, ())) for key in columns] for row in rows])
    if len(rows) > _COLUMNS:
        return ""
    lines = [
        [f'<span class="soft">{pages.value(name)}</span>', *("<br>".join(row.get(key, ())) for row in rows)]
        for key, name in columns.items()
    ]
    return pages.grid(["", *(str(number) for number in range(1, len(rows) + 1))], lines)
