"""From data sets to rows of the index, and back to what callers are told."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import orjson

from dicomweb.index import Entry, Held
from dicomweb.index.forms import Kind, kind_of, storable, write_column, write_number
from dicomweb.index.schema import (
    INSTANCE_COLUMNS,
    MISSING,
    SERIES_COLUMNS,
    STUDY_COLUMNS,
    held_tags,
)
from dicomweb.standard.attributes import BY_KEYWORD, Attribute
from dicomweb.standard.syntaxes import sent_as

Dataset = Mapping[str, Any]

# Sorted, so that what is picked from a data set has its order.
_STUDY_HELD = sorted(held_tags("patient", "study"))
_PATIENT_HELD = sorted(held_tags("patient"))
_SERIES_HELD = sorted(held_tags("series"))
_INSTANCE_HELD = sorted(held_tags("instance"))

_Plan: TypeAlias = tuple[tuple[str, int, Kind], ...]


def _plan(attributes: Sequence[Attribute]) -> _Plan:
    """Of each attribute the tag as DICOM JSON spells it, the tag, and the kind of its column."""
    return tuple((f"{attribute.tag:08X}", attribute.tag, kind_of(attribute)) for attribute in attributes)


_STUDY_PLAN, _SERIES_PLAN, _INSTANCE_PLAN = map(_plan, (STUDY_COLUMNS, SERIES_COLUMNS, INSTANCE_COLUMNS))

STUDY_FIELDS = ("day", *(attribute.keyword for attribute in STUDY_COLUMNS))
SERIES_FIELDS = ("sort", *(attribute.keyword for attribute in SERIES_COLUMNS), "odd")
INSTANCE_FIELDS = (
    "version",
    "series",
    "uid",
    "current",
    "sort",
    "class",
    "syntax",
    "size",
    "digest",
    "place",
    "key",
    *(attribute.keyword for attribute in INSTANCE_COLUMNS),
    "odd",
    "held",
    "dictionary",
    "layout",
    "metadata",
)
"""Columns of a row of `instance`, in the order of `instance_values`."""


def _picked(dataset: Dataset, tags: Sequence[str]) -> Dataset:
    return {tag: dataset[tag] for tag in tags if tag in dataset}


def _pick(dataset: Dataset, tags: Sequence[str]) -> bytes:
    return orjson.dumps(_picked(dataset, tags))


def _values(dataset: Dataset, plan: _Plan) -> tuple[list[Any], str]:
    """Return the values of typed columns, and what `odd` holds of those that do not fit."""
    values: list[Any] = []
    odd = ""
    for name, tag, kind in plan:
        element = dataset.get(name)
        if element is None:
            values.append(None if kind == "number" else "")
        elif kind == "number":
            number, rest = write_number(tag, element)
            values.append(number)
            odd += rest
        else:
            values.append(write_column(kind, element))
    return values, odd


_DATE = [attribute.keyword for attribute in STUDY_COLUMNS].index("StudyDate")


def study_values(dataset: Dataset) -> list[Any]:
    """Return the values of STUDY_FIELDS; `day` is the (first) Study Date, by which studies are ordered."""
    values, _ = _values(dataset, _STUDY_PLAN)
    return [values[_DATE].lstrip("\\")[:8].rstrip("\\"), *values]


def series_values(dataset: Dataset) -> list[Any]:
    """Return the values of SERIES_FIELDS."""
    values, odd = _values(dataset, _SERIES_PLAN)
    number = _sort(dataset.get("00200011"))
    return [number, *values, odd]


def study_held(dataset: Dataset) -> bytes:
    """Return the attributes of the patient and study level, as DICOM JSON."""
    return _pick(dataset, _STUDY_HELD)


def series_held(dataset: Dataset) -> bytes:
    """Return the attributes of the series level, as DICOM JSON."""
    return _pick(dataset, _SERIES_HELD)


def _sort(element: Any) -> int:
    number, _ = write_number(0, element)
    return MISSING if number is None else number


def patient_held(dataset: Dataset) -> bytes:
    """Return the attributes of the patient level, as DICOM JSON."""
    return _pick(dataset, _PATIENT_HELD)


def instance_values(
    entry: Entry,
    series: int,
    current: bool,
    codes: Mapping[str, int],
    place: str | None,
    dictionary: int,
    metadata: bytes,
) -> list[Any]:
    """Return the values of INSTANCE_FIELDS.

    Args:
        entry: the object.
        series: id of its series.
        current: it is the current version of its SOP Instance UID.
        codes: ids of texts; has its class, its transfer syntax and the form of its key, if it has one.
        place: the form of its key, or None (see `key_form`).
        dictionary: what its metadata is compressed with.
        metadata: compressed.
    """
    held = entry.held
    values, odd = _values(entry.dataset, _INSTANCE_PLAN)
    own = _picked(entry.dataset, _INSTANCE_HELD)
    plain = own == _instance_elements(held.sop_class, held.instance, values)
    return [
        held.version,
        series,
        storable(held.instance),
        int(current),
        MISSING if held.number is None or abs(held.number) >= MISSING else held.number,
        codes[storable(held.sop_class)],
        codes[storable(held.syntax)],
        held.size,
        held.digest,
        codes[place] if place else 0,
        None if place else storable(held.key),
        *values,
        odd,
        None if plain else orjson.dumps(own),
        dictionary,
        entry.layout,
        metadata,
    ]


# -- storage keys ------------------------------------------------------------------------------------------
# A key is made from the digest and the version, which the row has anyway: its form stands for it.
def key_form(held: Held) -> str | None:
    """Return the form of an object's key with the digest and version left out, or None if it has no such."""
    digest, version = held.digest.hex(), f"{held.version:016x}"
    form = held.key.replace(digest, "<d>").replace(version, "<v>")
    form = form.replace(f"/{digest[:2]}/{digest[2:4]}/", "/<a>/<b>/").replace(f"/{digest[:2]}/", "/<a>/")
    if form == held.key or fill_key(form, held.digest, held.version) != held.key:
        return None
    return form


def fill_key(form: str, digest: bytes, version: int) -> str:
    """Undo `key_form`."""
    text = digest.hex()
    key = form.replace("/<a>/<b>/", f"/{text[:2]}/{text[2:4]}/").replace("/<a>/", f"/{text[:2]}/")
    return key.replace("<d>", text).replace("<v>", f"{version:016x}")


# -- back ---------------------------------------------------------------------------------------------------
def element_of(keyword: str, values: list[Any]) -> tuple[str, dict[str, Any]]:
    """Return the tag and the element in the DICOM JSON model of an attribute of the table, with these values."""
    attribute = BY_KEYWORD[keyword]
    element: dict[str, Any] = {"vr": attribute.vr}
    if values:
        element["Value"] = values
    return f"{attribute.tag:08X}", element


_NUMBERS = [(f"{attribute.tag:08X}", attribute.vr) for attribute in INSTANCE_COLUMNS]
_NEVER_NEGATIVE = "US"


def _instance_elements(sop_class: str, instance: str, numbers: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "00080016": {"vr": "UI", "Value": [sop_class]},
        "00080018": {"vr": "UI", "Value": [instance]},
    }
    for (tag, vr), number in zip(_NUMBERS, numbers, strict=True):
        if number is not None:
            found[tag] = {"vr": vr, "Value": [number]}
    return found


def instance_dataset(
    sop_class: str, instance: str, syntax: str, numbers: list[Any], held: bytes | None
) -> dict[str, Any]:
    """Return the attributes of the instance level in the DICOM JSON model.

    Args:
        sop_class, instance, syntax: UIDs (syntax: as stored).
        numbers: values of INSTANCE_COLUMNS.
        held: the attributes as stored, where the columns cannot say them.
    """
    found = _instance_elements(sop_class, instance, numbers) if held is None else orjson.loads(held)
    found["00083002"] = {"vr": "UI", "Value": [sent_as(syntax)]}
    found["00080056"] = ONLINE
    return found


ONLINE = {"vr": "CS", "Value": ["ONLINE"]}
