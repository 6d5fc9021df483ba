"""Searches: a Query in, data sets in the DICOM JSON model out (PS3.18 10.6.3.3).

The index answers with what it holds per level; this module chooses what of it goes out, adds what only the
answer knows (URLs, availability), and reads instance metadata where a client asks for more than that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import urlencode

import orjson

from dicomweb.errors import NotFound
from dicomweb.index import Index, Row
from dicomweb.standard import attributes, dicomjson, resources
from dicomweb.standard.attributes import BY_TAG, LEVELS, Level
from dicomweb.standard.dictionary import vr_of
from dicomweb.standard.matching import Key, Within, accepts, satisfies
from dicomweb.standard.query import Query

Dataset: TypeAlias = dict[str, Any]

READING = 1000
"""Results in one answer at most where each one's metadata must be read."""
_AT_ONCE = 64

_ONLINE: Dataset = {"vr": "CS", "Value": ["ONLINE"]}
_UTF8: Dataset = {"vr": "CS", "Value": ["ISO_IR 192"]}
_AVAILABILITY = f"{attributes.INSTANCE_AVAILABILITY:08X}"
_URL = f"{attributes.RETRIEVE_URL:08X}"
_CHARACTER_SET = f"{attributes.CHARACTER_SET:08X}"
_CONSTANTS = frozenset((attributes.RETRIEVE_URL, attributes.INSTANCE_AVAILABILITY, attributes.CHARACTER_SET))
# Attributes by which `lookup` finds, and their tags.
_IDENTIFIERS = {
    "PatientID": "00100020",
    "AccessionNumber": "00080050",
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        rows: one data set per match, tags ascending, empty attributes without Value.
        remaining: how many more there are, counted up to `index.COUNT_LIMIT`.
        cursor: names the place after the last row, or None at the end.
        warnings: sentences about what was asked and not done.
    """

    rows: list[Dataset]
    remaining: int = 0
    cursor: str | None = None
    warnings: tuple[str, ...] = ()


def search(index: Index, query: Query, base_url: str) -> SearchResult:
    """Find the entities of the query's level, with the attributes that a client gets (PS3.18 10.6.3.3).

    Args:
        index: where to look.
        query: what is asked; one that needs metadata gets at most `READING` results.
        base_url: of the DICOMweb services, without trailing slash; URLs in the answer begin with it.

    Raises:
        TooBroad, BadQuery, Unavailable: as `Index.search`.
    """
    keys = _answer_constants(query.keys)
    if keys is None:
        return SearchResult([], warnings=query.warnings)
    reads = query.include_all or any(not _is_held(path[0], query.level) for path in query.include)
    limit = min(query.limit, READING) if reads else query.limit
    # A page of nothing still tells how much there is, so one row is looked for and left out.
    found = index.search(replace(query, keys=keys, limit=limit or 1))
    if not limit:
        return SearchResult([], found.remaining + len(found.rows), None, query.warnings)
    maker = _Maker(query, base_url)
    if reads:
        rows = [maker.make(*pair) for pair in _with_metadata(index, found.rows, base_url)]
    else:
        rows = [maker.make(row) for row in found.rows]
    return SearchResult(rows, found.remaining, found.cursor, query.warnings)


def present(query: Query, base_url: str, rows: Sequence[Row]) -> list[Dataset]:
    """Return what a client gets of results that were found elsewhere, whose rows hold all that is known of them
    (PS3.18 10.6.3.3); see `search`."""
    maker = _Maker(query, base_url)
    return [maker.make(row, row.dataset) for row in rows]


def lookup(index: Index, text: str, base_url: str, limit: int = 100) -> list[dict[str, Any]]:
    """Find the resources that an identifier names, patients first: the `/lookup` of our own.

    Args:
        index: where to look.
        text: a Patient ID, Accession Number, Study, Series or SOP Instance UID, whole.
        base_url: as for `search`.
        limit: how many at most.

    Returns:
        For each: `level`; `matched`, the keyword of the identifier; `label`, words for people; `url`, of the
        resource, or for a patient of the search for the patient's studies; the UIDs and patient identifiers
        that there are by keyword; `dataset`, what a search at this level returns of it.
    """
    return [_describe(row, text, base_url) for row in index.lookup(text, limit)]


# -- what goes out ------------------------------------------------------------------------------------------
class _Maker:
    """Makes the answer's data sets of one query.

    What a client asks for by name and has no value is returned empty (PS3.4 C.4.1.1.3.2), private attributes
    excepted, whose VR nobody knows.
    """

    def __init__(self, query: Query, base_url: str) -> None:
        self._level = query.level
        self._base = base_url
        self._default = _default(query.level, query.study is not None, query.series is not None)
        self._all = query.include_all
        names = {name for name, _ in self._default}
        self._paths = [path for path in sorted(query.include) if f"{path[0]:08X}" not in names]
        self._asked = {f"{path[0]:08X}": _empty(path[0]) for path in self._paths if len(path) == 1}
        self._creators = query.creators
        self._within = {
            f"{key.tag:08X}": key.match.keys
            for key in query.keys
            if isinstance(key.match, Within) and (key.tag,) not in query.include and not key.creator
        }

    def make(self, row: Row, metadata: Dataset | None = None) -> Dataset:
        """Return the data set of one result.

        Args:
            row: as the index found it; left as it is.
            metadata: of the instance that speaks for it, or None if nothing of it is asked for.
        """
        held = dict(row.dataset)
        if url := _url(self._base, row):
            held[_AVAILABILITY] = _ONLINE
            held[_URL] = {"vr": "UR", "Value": [url]}
        held[_CHARACTER_SET] = _UTF8
        made: Dataset = {}
        for name, empty in self._default:
            element = held.get(name)
            if element is None or len(element) == 1:
                if empty is None:
                    continue
                element = empty
            made[name] = element
        if not (self._paths or self._all):
            return made
        made |= {name: empty for name, empty in self._asked.items() if empty is not None}
        made |= self._pick({**metadata, **held} if metadata else held)
        if self._all:
            made |= self._everything(held, metadata or {}, made)
        return dict(sorted(made.items()))

    def _pick(self, source: Dataset) -> Dataset:
        """Attributes from the metadata and from inside sequences. Of a sequence that was searched in, the
        items that satisfy the search (PS3.4 C.2.2.2.6)."""
        for name, keys in self._within.items():
            items = source.get(name, {}).get("Value") or []
            if matching := [item for item in items if satisfies(keys, item)]:
                source[name] = {"vr": "SQ", "Value": matching}
        return dicomjson.select(source, self._paths, self._creators)

    def _everything(self, held: Dataset, metadata: Dataset, made: Dataset) -> Dataset:
        """All that is known at this level and above; private attributes are the instance's."""
        whole = self._level == "instance"
        found = {name: element for name, element in held.items() if len(element) > 1 and name not in made}
        for name, element in metadata.items():
            tag = int(name, 16)
            if name in held and len(held[name]) > 1:
                continue
            if whole or (not tag >> 16 & 1 and attributes.may_return(self._level, tag)):
                found.setdefault(name, element)
        return found


@lru_cache(maxsize=64)
def _default(level: Level, study: bool, series: bool) -> tuple[tuple[str, Dataset | None], ...]:
    """The attributes of every answer, tags ascending: name, and what stands for it when it has no value;
    None leaves it out."""
    chosen = {
        f"{one.tag:08X}": None if one.tag in attributes.IF_KNOWN else {"vr": one.vr}
        for one in attributes.returned(level, study, series)
    }
    if level != "patient":
        chosen[_URL] = None
    return tuple(sorted(chosen.items()))


def _empty(tag: int) -> Dataset | None:
    vr = None if tag >> 16 & 1 else vr_of(tag)
    return {"vr": vr.split(" ")[0]} if vr else None


def _is_held(tag: int, level: Level) -> bool:
    """The index's rows have it: no metadata need be read for it."""
    if tag in _CONSTANTS:
        return True
    known = BY_TAG.get(tag)
    return known is not None and LEVELS.index(known.level) <= LEVELS.index(level)


def _answer_constants(keys: tuple[Key, ...]) -> tuple[Key, ...] | None:
    """Try the keys on what is the same for everything here, and return the others; None: nothing matches."""
    left = []
    for key in keys:
        if key.tag != attributes.INSTANCE_AVAILABILITY:
            left.append(key)
        elif not accepts(key.match, _ONLINE):
            return None
    return tuple(left)


def _url(base_url: str, row: Row) -> str:
    """Where the entity can be retrieved; "" for a patient, which is no DICOMweb resource."""
    if row.level == "patient":
        return ""
    return resources.retrieve_url(base_url, row.study, row.series, row.instance)


# -- metadata -----------------------------------------------------------------------------------------------
def _with_metadata(index: Index, rows: Sequence[Row], base_url: str) -> Iterator[tuple[Row, Dataset]]:
    """Yield rows with the metadata of the instances that speak for them, read some at a time. A row whose
    instance went since it was found stands without."""
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        for row, metadata in zip(some, _read_metadata(index, some), strict=True):
            yield row, _parse(metadata, base_url)


def _read_metadata(index: Index, rows: Sequence[Row]) -> list[bytes]:
    try:
        return index.metadata([row.version for row in rows])
    except NotFound:
        if len(rows) == 1:
            return [b"{}"]
        return [metadata for row in rows for metadata in _read_metadata(index, [row])]


def _parse(metadata: bytes, base_url: str) -> Dataset:
    model: Dataset = orjson.loads(metadata)
    if b'"BulkDataURI"' in metadata:
        study, series, instance = (dicomjson.text(model, name) for name in ("0020000D", "0020000E", "00080018"))
        url = resources.instance_url(base_url, study, series, instance)
        model = orjson.loads(dicomjson.absolute(metadata, url))
    return model


# -- lookup -------------------------------------------------------------------------------------------------
def _describe(row: Row, text: str, base_url: str) -> dict[str, Any]:
    texts = {keyword: dicomjson.text(row.dataset, name) for keyword, name in _IDENTIFIERS.items()}
    texts["IssuerOfPatientID"] = dicomjson.text(row.dataset, "00100021")
    texts |= {"StudyInstanceUID": row.study, "SeriesInstanceUID": row.series, "SOPInstanceUID": row.instance}
    own = {"patient": 1, "study": 3, "series": 4, "instance": 5}[row.level]
    shown = ["PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"][:own]
    candidates = (keyword for keyword in reversed(shown) if texts[keyword] == text.strip())
    return {
        "level": row.level,
        "matched": next(candidates, ""),
        "label": _label(row),
        "url": _url(base_url, row) or _patient_url(base_url, texts),
        **{keyword: texts[keyword] for keyword in ["IssuerOfPatientID", *shown] if texts[keyword]},
        "dataset": _Maker(Query(row.level), base_url).make(row),
    }


def _patient_url(base_url: str, texts: dict[str, str]) -> str:
    asked = {name: texts[name] for name in ("PatientID", "IssuerOfPatientID") if texts[name]}
    return f"{base_url}/studies?{urlencode(asked)}"


# What tells an entity from its neighbours, from the general to the particular.
_LABELS: dict[Level, tuple[str, ...]] = {
    "patient": ("00100010", "00100020", "00100030"),
    "study": ("00100010", "00080020", "00080061", "00081030"),
    "series": ("00100010", "00080020", "00080060", "00200011", "0008103E"),
    "instance": ("00100010", "00080020", "00080060", "00200011", "00200013"),
}


def _label(row: Row) -> str:
    words = (_plain(row.dataset.get(name)) for name in _LABELS[row.level])
    return " · ".join(word for word in words if word)


def _plain(element: Dataset | None) -> str:
    if not element:
        return ""
    if element["vr"] == "PN":
        names = [value for value in element.get("Value") or () if isinstance(value, dict)]
        groups = [" ".join(group.replace("^", " ").split()) for name in names for group in name.values()]
        return " = ".join(group for group in groups if group)
    text = ", ".join(str(value) for value in element.get("Value") or () if value is not None)
    if element["vr"] == "DA" and len(text) == 8 and text.isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text
