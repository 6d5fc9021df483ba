"""The data dictionary: tags, names, keywords, value representations, and names of UIDs (PS3.6, PS3.5 6.2).

The tables are pydicom's; this module turns them into flat dictionaries keyed by integer tags, since the
element walker asks once per element. They are loaded without the package around them, which imports numpy and
decoders: half of what a server takes to start.
"""

import importlib.util
from functools import lru_cache
from types import ModuleType


def _tables(name: str) -> ModuleType:
    package = importlib.util.find_spec("pydicom")
    assert package is not None
    assert package.submodule_search_locations
    path = f"{package.submodule_search_locations[0]}/{name}.py"
    spec = importlib.util.spec_from_file_location(f"{__name__}.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_STANDARD = _tables("_dicom_dict")
private_dictionaries: dict[str, dict[str, tuple[str, ...]]] = _tables("_private_dict").private_dictionaries
UID_dictionary: dict[str, tuple[str, ...]] = _tables("_uid_dict").UID_dictionary

# PS3.6 6: VR by tag; where the table allows two ("US or SS", "OB or OW"), the text is kept as it stands.
_ENTRIES: dict[int, tuple[str, str]] = {tag: (row[0], row[4]) for tag, row in _STANDARD.DicomDictionary.items()}
_TAGS: dict[str, int] = {keyword: tag for tag, (_, keyword) in _ENTRIES.items() if keyword}
_REPEATERS: list[tuple[int, int, str, str]] = [
    (
        int(mask.replace("x", "0"), 16),
        int("".join("0" if c == "x" else "F" for c in mask), 16),
        row[0],
        row[4],
    )
    for mask, row in _STANDARD.RepeatersDictionary.items()
]


@lru_cache(maxsize=4096)
def _repeating(tag: int) -> tuple[str, str] | None:
    for value, mask, vr, keyword in _REPEATERS:
        if tag & mask == value:
            return vr, keyword
    return None


def vr_of(tag: int) -> str | None:
    """Return the VR of a standard tag, such as "DA" or "US or SS"; None if PS3.6 does not list the tag."""
    entry = _ENTRIES.get(tag)
    if entry is not None:
        return entry[0]
    if tag >> 16 & 1:
        return None
    if tag & 0xFFFF == 0:
        return "UL"
    repeated = _repeating(tag)
    return repeated[0] if repeated else None


def keyword_of(tag: int) -> str:
    """Return the keyword of a standard tag (PS3.6 6), or "" if it has none."""
    entry = _ENTRIES.get(tag) or _repeating(tag)
    return entry[1] if entry else ""


def name_of(tag: int) -> str:
    """Return the name of a standard tag for people (PS3.6 6), such as "Patient's Name", or "" if it has none."""
    if (entry := _STANDARD.DicomDictionary.get(tag)) is not None:
        return entry[2]
    if tag >> 16 & 1 or (repeated := _repeating(tag)) is None:
        return ""
    return next(row[2] for row in _STANDARD.RepeatersDictionary.values() if row[4] == repeated[1])


def uid_name_of(uid: str) -> str:
    """Return the name of a UID that the Standard registers (PS3.6 A), such as "CT Image Storage", or ""."""
    entry = UID_dictionary.get(uid)
    return entry[0] if entry else ""


def names() -> dict[int, str]:
    """Return the names of all standard tags for people (PS3.6 6), repeating groups aside."""
    return {tag: row[2] for tag, row in _STANDARD.DicomDictionary.items() if row[2]}


def repeating_names() -> list[tuple[int, int, str]]:
    """Return value, mask and name of the tags of repeating groups (PS3.6 6, PS3.5 7.6)."""
    named = {row[4]: row[2] for row in _STANDARD.RepeatersDictionary.values()}
    return [(value, mask, named[keyword]) for value, mask, _, keyword in _REPEATERS]


def private_names() -> dict[str, dict[str, str]]:
    """Return names of private tags that are known, by creator (PS3.5 7.8.1) and by group and last byte, such as
    "0019" and "0C" together."""
    return {
        creator: {f"{tag[:4]}{tag[-2:]}".upper(): row[2] for tag, row in block.items() if row[2].lower() != "unknown"}
        for creator, block in private_dictionaries.items()
    }


def uid_names() -> dict[str, str]:
    """Return the names of all UIDs that the Standard registers (PS3.6 A)."""
    return {uid: row[0] for uid, row in UID_dictionary.items()}


def tag_of(keyword: str) -> int | None:
    """Return the tag of a keyword (PS3.6 6, case-sensitive as PS3.18 8.3.1 demands), or None."""
    return _TAGS.get(keyword)


@lru_cache(maxsize=65536)
def private_vr_of(creator: str, tag: int) -> str | None:
    """Return the VR of a private tag whose block `creator` reserved (PS3.5 7.8.1), or None if unknown."""
    block = private_dictionaries.get(creator)
    if block is None:
        return None
    row = block.get(f"{tag >> 16:04x}xx{tag & 0xFF:02x}") or block.get(f"{tag >> 16:04X}xx{tag & 0xFF:02X}")
    return row[0] if row else None
