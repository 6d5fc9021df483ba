"""Index entries made of keywords, and the two steps that a store takes with them."""

import hashlib
import itertools
import time
from typing import Any

import orjson

from dicomweb.index import Entry, Held, Index, Intent, Tombstone
from dicomweb.standard.attributes import BY_KEYWORD
from dicomweb.standard.dictionary import tag_of, vr_of

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

_versions = itertools.count(int(time.time() * 1000) << 20)


def element(keyword: str, *values: Any) -> tuple[str, dict[str, Any]]:
    """The tag and the attribute in the DICOM JSON model; person names may be plain texts."""
    tag = tag_of(keyword)
    assert tag is not None, keyword
    vr = (vr_of(tag) or "UN").split(" ")[0]
    if vr == "PN":
        values = tuple({"Alphabetic": value} if isinstance(value, str) else value for value in values)
    return f"{tag:08X}", {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def entry(study: str = "1.1", series: str = "1.1.1", instance: str = "1.1.1.1", **attributes: Any) -> Entry:
    """An entry of a CT instance; a keyword with None leaves the attribute out, with () empties it, with a dict
    gives the attribute in the DICOM JSON model, with another tuple gives several values."""
    plain: dict[str, Any] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": instance,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "StudyDate": "20240131",
        "Modality": "CT",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "Rows": 512,
        "Columns": 512,
        "BitsAllocated": 16,
    } | attributes
    dataset = {}
    for keyword, value in plain.items():
        if isinstance(value, dict) and "vr" in value:
            dataset[element(keyword)[0]] = value
        elif value is not None:
            tag, made = element(keyword, *(value if isinstance(value, tuple) else (value,)))
            dataset[tag] = made
    version = next(_versions)
    digest = hashlib.sha256(str(version).encode()).digest()
    text = digest.hex()
    number = plain["InstanceNumber"]
    held = Held(
        version=version,
        key=f"objects/{text[:2]}/{text[2:4]}/{text}-{version:016x}",
        study=study,
        series=series,
        instance=instance,
        sop_class=CT if plain["SOPClassUID"] is None else plain["SOPClassUID"],
        syntax=EXPLICIT,
        size=1000,
        digest=digest,
        number=number if isinstance(number, int) else None,
    )
    ordered = dict(sorted(dataset.items()))
    return Entry(held, ordered, orjson.dumps(ordered), b"layout of " + instance.encode())


def intend(index: Index, *entries: Entry) -> None:
    """Record that the entries' objects are about to be written."""
    index.intend([Intent(made.held.version, made.held.key) for made in entries])


def store(index: Index, *entries: Entry) -> list[Held | None]:
    """Intend and commit."""
    intend(index, *entries)
    return index.commit(entries)


def tombstone(
    index: Index,
    study: str,
    series: str | None = None,
    instance: str | None = None,
    *,
    versions: tuple[int, ...] | None = None,
    moment: float = 1e9,
    **more: Any,
) -> Tombstone:
    """A tombstone whose intent is recorded; by default of all versions that the resource has."""
    version = next(_versions)
    found = tuple(index.versions(study, series, instance)) if versions is None else versions
    made = Tombstone(version, f"tombstones/{version:016x}", study, series, instance, found, moment, **more)
    index.intend([Intent(version, made.key, "tombstone")])
    return made


def delete(index: Index, study: str, series: str | None = None, instance: str | None = None) -> int:
    """Delete a resource with all its versions."""
    return index.delete(tombstone(index, study, series, instance))


def value(dataset: dict[str, Any], keyword: str) -> Any:
    """The values of an attribute of a row; None if it is not there, [] if it is empty."""
    found = dataset.get(f"{BY_KEYWORD[keyword].tag:08X}")
    return None if found is None else found.get("Value", [])
