"""The DICOM JSON model as text: written strictly, read leniently (PS3.18 F).

A model is a dictionary from eight-digit tags to elements, as `standard.elements` makes it. In stored metadata
BulkDataURIs are relative to the instance (`bulkdata/7FE00010`); `absolute` puts the instance's URL in front
when the metadata goes out.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from dicomweb.errors import BadRequest
from dicomweb.standard import leniency
from dicomweb.standard.leniency import DEPTH, Dataset

_URI = b'"BulkDataURI":"'


def write(dataset: Dataset, *, ordered: bool = False) -> bytes:
    """Write one data set, in UTF-8, tags ascending at every level (PS3.18 F.2.2).

    What JSON cannot say never stops it: NaN becomes a string, a lone surrogate the replacement character,
    an integer above 64 bits a string.

    Args:
        dataset: is left as it is.
        ordered: the tags are known to ascend, as those of the element walker do; else this is looked into,
            which takes longer than the writing.
    """
    model = dataset if ordered or _is_ascending(dataset) else _ascending(dataset)
    try:
        return orjson.dumps(model)
    except TypeError:
        return json.dumps(_sayable(model), ensure_ascii=False, separators=(",", ":")).encode()


def write_all(datasets: Iterable[Dataset]) -> bytes:
    """Write several data sets as one array (PS3.18 F.2.1)."""
    return b"[" + b",".join(map(write, datasets)) + b"]"


def absolute(metadata: bytes, instance_url: str) -> bytes:
    """Make the BulkDataURIs of one instance's metadata absolute (PS3.18 F.2.6).

    Works on the serialized form: inside a JSON string every quote is escaped, so that the pattern can only
    be a member's name.

    Args:
        metadata: what `write` made, with relative BulkDataURIs.
        instance_url: the instance's URL without a slash at its end.
    """
    return metadata.replace(_URI, _URI + orjson.dumps(instance_url)[1:-1] + b"/")


def read(data: bytes, depth: int = DEPTH) -> list[Dataset]:
    """Read what a client sent: an array of data sets, or a single one (PS3.18 F.2, 10.5.1.4).

    A member that is there twice under the very same name counts as it stands last (RFC 8259 leaves this
    open).

    Args:
        data: JSON in UTF-8.
        depth: how many sequences may be nested.

    Returns:
        The data sets in the form of `standard.elements`, see `leniency`.

    Raises:
        BadRequest: it is no JSON, or no DICOM JSON.
    """
    raw = _parse(data)
    return [leniency.dataset(one, depth) for one in (raw if isinstance(raw, list) else [raw])]


def _parse(data: bytes) -> Any:
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in data and b"Infinity" not in data:
            raise BadRequest(f"the JSON cannot be read: {error.msg} at character {error.pos}") from error
    # Bare NaN and Infinity, which JSON has not and some toolkits write (W-331)
    try:
        raw = json.loads(data)
        orjson.dumps(raw)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadRequest("the JSON cannot be read") from error
    return raw


def _is_ascending(dataset: Dataset) -> bool:
    """Whether the tags are in order at every level."""
    last = ""
    for tag, element in dataset.items():
        if tag < last:
            return False
        last = tag
        if element["vr"] == "SQ":
            for item in element.get("Value", ()):
                if not _is_ascending(item):
                    return False
    return True


def _ascending(dataset: Dataset) -> Dataset:
    ordered: Dataset = {}
    for tag in sorted(dataset):
        element = dataset[tag]
        if element["vr"] == "SQ" and (items := element.get("Value")):
            element = {**element, "Value": [_ascending(item) for item in items]}
        ordered[tag] = element
    return ordered


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_sayable(key): _sayable(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_sayable(member) for member in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return leniency.real_of(value)
    if isinstance(value, int) and abs(value) > leniency.EXACT:
        return str(value)
    return value


# -- looking into a model -----------------------------------------------------------------------------------


def values(dataset: Mapping[str, Any], tag: str) -> list[Any]:
    """Return the values of an attribute (PS3.18 F.2.2 `Value`); [] if it is absent, empty or bulk."""
    element = dataset.get(tag)
    return element.get("Value") or [] if element else []


def text_of(element: object) -> str:
    """Return the first value of an element as text, "" where there is none: numbers in decimal, person
    names (PS3.5 6.2.1) as `alphabetic=ideographic=phonetic`."""
    return leniency.first_text(element)


def text(dataset: Mapping[str, Any], tag: str) -> str:
    """Return the first value of an attribute as text (PS3.18 F.2.2), as `text_of`."""
    return leniency.first_text(dataset.get(tag))


def integer(element: object) -> int | None:
    """Return the first value of an element as an integer, as IS or US have it (PS3.5 6.2), or None."""
    try:
        return int(leniency.first_text(element))
    except ValueError:
        return None


def select(dataset: Dataset, paths: Iterable[tuple[int, ...]], creators: Mapping[int, str] | None = None) -> Dataset:
    """Pick attributes, also from inside sequences (PS3.18 8.3.4.3 `includefield`).

    Of a sequence that a longer path leads into, every item is there, reduced to what was asked for. A private
    attribute comes with the element that names its creator (PS3.5 7.8.1).

    Args:
        dataset: is left as it is; elements of the result are shared with it.
        paths: tags from the outermost sequence to the attribute.
        creators: private creators by the block that the paths assume (0x00290010); a private attribute is
            then looked for in the block that this creator has in the data set.

    Returns:
        Those that there are, tags ascending.
    """
    tree: dict[int, Any] = {}
    for path in sorted(paths, key=len, reverse=True):
        branch = tree
        for tag in path[:-1]:
            branch = branch.setdefault(tag, {})
        branch[path[-1]] = {}
    return _picked(dataset, tree, creators or {})


def _picked(dataset: Dataset, tree: Mapping[int, Any], creators: Mapping[int, str]) -> Dataset:
    picked: Dataset = {}
    for tag, branch in tree.items():
        if tag >> 16 & 1 and tag & 0xFFFF > 0xFF:
            block = _block(dataset, tag, creators)
            if block is None:
                continue
            if (name := f"{block:08X}") in dataset:
                picked[name] = dataset[name]
            tag = block & 0xFFFF0000 | (block & 0xFF) << 8 | tag & 0xFF
        element = dataset.get(f"{tag:08X}")
        if element is None:
            continue
        if branch and (items := element.get("Value")):
            if element["vr"] != "SQ":
                continue
            element = {"vr": "SQ", "Value": [_picked(item, branch, creators) for item in items]}
        picked[f"{tag:08X}"] = element
    return {tag: picked[tag] for tag in sorted(picked)}


def _block(dataset: Dataset, tag: int, creators: Mapping[int, str]) -> int | None:
    """The tag of the creator element of the block in which a private attribute lies in this data set."""
    assumed = tag & 0xFFFF0000 | tag >> 8 & 0xFF
    creator = creators.get(assumed)
    if creator is None:
        return assumed
    group = tag & 0xFFFF0000
    blocks = (group | number for number in range(0x10, 0x100))
    return next((block for block in blocks if text(dataset, f"{block:08X}") == creator), None)
