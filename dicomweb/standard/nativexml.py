"""The Native DICOM Model in XML, both ways (PS3.19 A.1).

The Standard leaves out creator elements and block numbers of private attributes; we write the creator
elements all the same, so that what is read back has the blocks it had. Characters that XML 1.0 cannot hold
(ESC and other controls) become the replacement character.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element as Node

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from dicomweb.errors import BadRequest
from dicomweb.standard import dictionary, leniency
from dicomweb.standard.leniency import DEPTH, Dataset, Element

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
# PS3.19 A.1.5: components of a person name, in the order of PS3.5 6.2.1
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"})
_ATTRIBUTE_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
)
# Some toolkits write `0029xx10` for a private attribute
_NUMBER = re.compile(r"[0-9A-Fa-f]{4}(?:[0-9A-Fa-f]{2}|[xX]{2})[0-9A-Fa-f]{2}")


# -- writing ------------------------------------------------------------------------------------------------


def write(dataset: Dataset, instance_url: str = "") -> bytes:
    """Write one data set as a NativeDicomModel document (PS3.19 A.1.5, PS3.18 F.2.1).

    Args:
        dataset: in the form of `standard.elements`.
        instance_url: is put before relative BulkDataURIs, with a slash; "" leaves them as they are.
    """
    base = f"{instance_url}/" if instance_url else ""
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">',
    ]
    _write_dataset(parts, dataset, base)
    parts.append("</NativeDicomModel>\n")
    return "".join(parts).encode()


def _write_dataset(parts: list[str], dataset: Dataset, base: str) -> None:
    creators = {tag: leniency.first_text(element) for tag, element in dataset.items() if _is_creator(int(tag, 16))}
    blocks = Counter((tag[:4], name) for tag, name in creators.items())
    for tag in sorted(dataset):
        element = dataset[tag]
        parts.append(f"<DicomAttribute {_names(tag, creators, blocks)}")
        before = len(parts)
        parts.append(f' vr="{element["vr"]}">')
        _write_value(parts, element, base)
        if len(parts) == before + 1:
            parts[-1] = f' vr="{element["vr"]}"/>'
        else:
            parts.append("</DicomAttribute>")


def _names(tag: str, creators: Mapping[str, str], blocks: Mapping[tuple[str, str], int]) -> str:
    """The attributes `tag`, `keyword` and `privateCreator`. A private attribute loses its block number,
    unless its creator has several blocks: then only the number tells the attributes apart."""
    number = int(tag, 16)
    if not number >> 16 & 1:
        keyword = dictionary.keyword_of(number)
        return f'tag="{tag}" keyword="{keyword}"' if keyword else f'tag="{tag}"'
    block = f"{tag[:4]}00{tag[4:6]}"
    creator = creators.get(block)
    if not creator or _ILLEGAL.search(creator):
        return f'tag="{tag}"'
    shown = f"{tag[:4]}00{tag[6:]}" if blocks[tag[:4], creator] == 1 else tag
    return f'tag="{shown}" privateCreator="{creator.translate(_ATTRIBUTE_ESCAPES)}"'


def _is_creator(tag: int) -> bool:
    """Whether the tag is one of Private Creator elements (PS3.5 7.8.1)."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def _write_value(parts: list[str], element: Element, base: str) -> None:
    if (uri := element.get("BulkDataURI")) is not None:
        whole = uri if "://" in uri else base + uri
        parts.append(f'<BulkData uri="{_legal(whole).translate(_ATTRIBUTE_ESCAPES)}"/>')
    elif (inline := element.get("InlineBinary")) is not None:
        parts.append(f"<InlineBinary>{inline}</InlineBinary>")
    elif element["vr"] == "SQ":
        for number, item in enumerate(element.get("Value") or (), 1):
            parts.append(f'<Item number="{number}">')
            _write_dataset(parts, item, base)
            parts.append("</Item>")
    elif element["vr"] == "PN":
        for number, name in enumerate(element.get("Value") or (), 1):
            parts.append(f'<PersonName number="{number}">')
            parts.extend(_name(name or {}))
            parts.append("</PersonName>")
    else:
        for number, value in enumerate(element.get("Value") or (), 1):
            text = "" if value is None else value if isinstance(value, str) else repr(value)
            parts.append(f'<Value number="{number}">{_legal(text).translate(_ESCAPES)}</Value>')


def _name(name: Mapping[str, str]) -> Iterator[str]:
    for group in _GROUPS:
        if not (text := name.get(group)):
            continue
        yield f"<{group}>"
        components = text.split("^", len(_COMPONENTS) - 1)
        last = len(components) - 1
        for number, (tag, component) in enumerate(zip(_COMPONENTS, components, strict=False)):
            # An empty component is left out, but for a last one: so the name is read back as it was
            if component or number == last:
                yield f"<{tag}>{_legal(component).translate(_ESCAPES)}</{tag}>"
        yield f"</{group}>"


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)


# -- reading ------------------------------------------------------------------------------------------------


def read(data: bytes, depth: int = DEPTH) -> Dataset:
    """Read one NativeDicomModel document (PS3.19 A.1.5), with or without its namespace.

    Document types, entities and anything external are refused before they have an effect.

    Args:
        data: the document.
        depth: how many sequences may be nested.

    Returns:
        The data set in the form of `standard.elements`, see `leniency`.

    Raises:
        BadRequest: it is no XML, or not this model.
    """
    try:
        root = fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise BadRequest("the XML has a document type or entities, which are not read") from error
    except (ParseError, ValueError, LookupError) as error:
        raise BadRequest("the XML cannot be read") from error
    if _kind(root) != "NativeDicomModel":
        raise BadRequest("the XML is not a NativeDicomModel")
    return leniency.dataset(_read_dataset(root, depth), depth)


def _kind(node: Node) -> str:
    """The name of an element of the model; foreign namespaces, XInclude among them, are refused."""
    name = str(node.tag)
    if not name.startswith("{"):
        return name
    if not name.startswith(f"{{{NAMESPACE}}}"):
        raise BadRequest("the XML has elements that are not of the Native DICOM Model")
    return name[len(NAMESPACE) + 2 :]


def _content(node: Node) -> str:
    """The text of an element that holds nothing else."""
    if len(node):
        raise BadRequest("the XML has elements inside of a value")
    return node.text or ""


def _read_dataset(node: Node, depth: int) -> dict[str, Any]:
    """The data set as a raw model; block numbers of private attributes are found or given."""
    raw: dict[str, Any] = {}
    private: list[tuple[str, str, Node]] = []
    for child in node:
        if _kind(child) != "DicomAttribute":
            raise BadRequest("the XML has something other than DicomAttribute in a data set")
        tag = child.get("tag", "").strip().upper()
        if not _NUMBER.fullmatch(tag):
            raise BadRequest("a DicomAttribute has no tag of eight hexadecimal digits")
        creator = (child.get("privateCreator") or "").strip(" \0")
        if creator and int(tag[:4], 16) & 1:
            private.append((tag, creator, child))
        else:
            _put(raw, tag, _read_element(child, depth))
    if private:
        _put_private(raw, private, depth)
    return raw


def _put(raw: dict[str, Any], tag: str, element: dict[str, Any]) -> None:
    if tag in raw:
        raise BadRequest(f"attribute {tag} is there twice")
    raw[tag] = element


def _put_private(raw: dict[str, Any], private: Iterable[tuple[str, str, Node]], depth: int) -> None:
    """Give private attributes a block of their creator: the one that a creator element names, else a free one
    (PS3.5 7.8.1)."""
    blocks: dict[tuple[str, str], str] = {}
    taken = {(tag[:4], tag[6:]) for tag in raw if tag[4:6] == "00"}
    taken |= {(tag[:4], tag[4:6]) for tag in raw}
    taken |= {(tag[:4], tag[4:6]) for tag, _, _ in private}
    for tag in sorted(raw, reverse=True):
        if tag[4:6] == "00" and (creator := leniency.first_text(raw[tag]).strip(" \0")):
            blocks[tag[:4], creator] = tag[6:]
    for tag, creator, node in private:
        group, number = tag[:4], tag[4:6]
        if number in {"00", "XX"}:
            if (group, creator) not in blocks:
                free = (f"{block:02X}" for block in range(0x10, 0x100) if (group, f"{block:02X}") not in taken)
                block = next(free, None)
                if block is None:
                    raise BadRequest(f"group {group} has more private creators than blocks")
                blocks[group, creator] = block
                taken.add((group, block))
            number = blocks[group, creator]
        _put(raw, f"{group}{number}{tag[6:]}", _read_element(node, depth))
        raw.setdefault(f"{group}00{number}", {"vr": "LO", "Value": [creator]})


def _read_element(node: Node, depth: int) -> dict[str, Any]:
    element: dict[str, Any] = {"vr": vr} if (vr := node.get("vr")) else {}
    values: list[tuple[int, Any]] = []
    for child in node:
        kind = _kind(child)
        if kind in {"Value", "PersonName", "Item"}:
            if kind == "Item" and depth <= 0:
                raise BadRequest("sequences are nested too deep")
            position = _position(child, len(values))
            if kind == "Value":
                values.append((position, _content(child) or None))
            elif kind == "PersonName":
                values.append((position, _read_name(child)))
            else:
                values.append((position, _read_dataset(child, depth - 1)))
        elif kind == "BulkData":
            uri = child.get("uri")
            if not uri:
                raise BadRequest("a BulkData element has no uri")
            element["BulkDataURI"] = uri
        elif kind == "InlineBinary":
            element["InlineBinary"] = _content(child)
        else:
            raise BadRequest("the XML has elements that are not of the Native DICOM Model")
    if values:
        element["Value"] = _in_order(values)
    return element


def _position(node: Node, before: int) -> int:
    number = node.get("number")
    if number is None:
        return before
    if not (number.isascii() and number.isdigit() and 0 < len(number) < 9) or int(number) == 0:
        raise BadRequest("a value has a number that is not 1 or above")
    return int(number) - 1


def _in_order(values: list[tuple[int, Any]]) -> list[Any]:
    """The values by their numbers; one that was left out is empty."""
    last = max(position for position, _ in values)
    if last > 2 * len(values) + 64:
        raise BadRequest("the numbers of an attribute's values leave gaps")
    ordered: list[Any] = [None] * (last + 1)
    for position, value in values:
        if ordered[position] is not None:
            raise BadRequest("two values of an attribute have the same number")
        ordered[position] = value
    return ordered


def _read_name(node: Node) -> dict[str, str] | None:
    name: dict[str, str] = {}
    for group in node:
        kind = _kind(group)
        if kind not in _GROUPS:
            raise BadRequest("a PersonName has something other than its three groups")
        components = [""] * len(_COMPONENTS)
        count = 0
        for component in group:
            if (part := _kind(component)) not in _COMPONENTS:
                raise BadRequest("a person name has something other than its five components")
            place = _COMPONENTS.index(part)
            components[place] = _content(component)
            count = max(count, place + 1)
        name[kind] = "^".join(components[:count]) if count else (group.text or "").strip()
    return name or None
