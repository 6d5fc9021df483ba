"""One Query; QIDO-RS and C-FIND are two notations of it (PS3.18 8.3.4 and 10.6, PS3.4 C.4.1).

Read leniently: what the Standard does not define but clients send (a comma that is percent-encoded between
two modalities, `True` for `true`) has one meaning that suggests itself, and gets it. What is not understood
is ignored with a warning (PS3.18 8.3); what contradicts itself is a BadQuery.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote_plus

from dicomweb.errors import BadQuery
from dicomweb.standard import attributes
from dicomweb.standard.attributes import Level
from dicomweb.standard.dictionary import keyword_of, tag_of, vr_of
from dicomweb.standard.matching import LISTS, Absent, Anything, Key, Match, Within, combine, read

Path: TypeAlias = tuple[int, ...]
"""A tag, or the tags of sequences that lead to one."""


@dataclass(frozen=True, slots=True)
class Order:
    """One key of `orderby`: an attribute held at the searched level or above, ascending or descending."""

    tag: int
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched: a level, the UIDs that the URL fixes, matching keys, paging.

    Attributes:
        level: what one result is.
        study: Study Instance UID from the URL, or None.
        series: Series Instance UID from the URL, or None.
        keys: matching keys; universal ones are not among them (they are `include`).
        include: tag paths to return beyond the default, those of the keys among them; a path longer than one
            leads into sequences.
        include_all: everything that is held at this level.
        creators: private creators named by the query, by (gggg00xx-free) block tag, such as 0x00290010.
        limit: how many results at most.
        offset: how many results to pass over.
        order: keys of `orderby`, before the default order.
        cursor: opaque place after which to go on, from an earlier answer; excludes `offset`.
        warnings: sentences about what was asked and not done.
    """

    level: Level
    study: str | None = None
    series: str | None = None
    keys: tuple[Key, ...] = ()
    include: frozenset[tuple[int, ...]] = frozenset()
    include_all: bool = False
    creators: dict[int, str] = field(default_factory=dict)
    limit: int = 1000
    offset: int = 0
    order: tuple[Order, ...] = ()
    cursor: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Results in one answer: `page` where the client names no limit, `most` whatever it names."""

    page: int = 1000
    most: int = 10_000


# PS3.18 Table 8.3.4-1, and our extensions `orderby` and `cursor`.
_FLAGS = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")
_OPTIONS = frozenset((*_FLAGS, "limit", "offset", "orderby", "cursor", "includefield"))
# PS3.18 8.3.3: read where media types are read.
_ELSEWHERE = frozenset(("accept", "charset"))
# PS3.4 C.2.2.2, C.4.1.1.3: these say how a query is meant and are never matched.
_NOT_MATCHED = frozenset((0x00080052, 0x00080053, 0x00080054, attributes.RETRIEVE_URL))
# PS3.4 C.2.2.2.8: the VRs of multiple value matching.
_MULTIPLE = frozenset(("AE", "AS", "AT", "CS", "LO", "PN", "SH", "UC"))
# PS3.18 8.3.4.5, PS3.4 C.2.2.2.7: the key that asks for an empty value.
_EMPTY = '""'
_DEEPEST = 64
_LARGEST = 1 << 62


def split(query_string: bytes) -> list[tuple[str, str]]:
    """Split a query string into names and values, both still percent-encoded (RFC 3986 3.4, PS3.18 8.3).

    Raises:
        BadQuery: raw bytes in it are not UTF-8.
    """
    try:
        text = query_string.decode()
    except UnicodeDecodeError:
        raise BadQuery("the query is not encoded in UTF-8") from None
    pairs = (piece.partition("=") for piece in text.split("&") if piece)
    return [(name, value) for name, _, value in pairs]


def _decode(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise BadQuery("the query is not encoded in UTF-8") from None


@dataclass(slots=True)
class _Asked:
    """What a query string asks for, as it is read."""

    options: dict[str, str] = field(default_factory=dict)
    matches: dict[Path, str] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    creators: dict[int, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)
    lower: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_qido(
    level: Level,
    study: str | None,
    series: str | None,
    params: Sequence[tuple[str, str]],
    limits: Limits = Limits(),
) -> Query:
    """Read the parameters of a search (PS3.18 8.3.4, 10.6.1.2).

    Args:
        level: of the results.
        study, series: UIDs in the URL's path, or None.
        params: names and values as `split` gives them, still percent-encoded.
        limits: of the page.

    Raises:
        BadQuery: a parameter has a value that it cannot have, or contradicts another.
    """
    asked = _sort(params)
    paths, everything = _read_fields(asked)
    zone = _read_zone(asked)
    _name_creators(asked, paths)
    entries = _read_matches(asked, zone)
    include = _returnable(asked, level, paths)
    include |= {path for path, _, _ in entries if attributes.may_return(level, path[0])}
    limit, offset, cursor = _read_page(asked.options, limits)
    return Query(
        level=level,
        study=study,
        series=series,
        keys=_nest([(path, match) for path, match, wanted in entries if wanted], asked.creators),
        include=frozenset(include),
        include_all=everything,
        creators=asked.creators,
        limit=limit,
        offset=offset,
        order=_read_order(asked.options.get("orderby", ""), level),
        cursor=cursor,
        warnings=tuple(_warn(asked, level)),
    )


# -- parameters ---------------------------------------------------------------------------------------------
def _sort(params: Iterable[tuple[str, str]]) -> _Asked:
    asked = _Asked()
    for raw_name, raw_value in params:
        name = _decode(raw_name)
        if name in _ELSEWHERE:
            continue
        if name == "includefield":
            # PS3.18 8.3.1 splits before decoding; an attribute's name has no comma, so both sides are safe.
            asked.fields += [part for part in (p.strip() for p in _decode(raw_value).split(",")) if part]
        elif name in _OPTIONS:
            if name in asked.options:
                raise BadQuery(f"the parameter {name} is given more than once")
            asked.options[name] = _decode(raw_value)
        elif (path := read_path(name)) is None:
            asked.unknown.append(name)
        elif path in asked.matches:
            raise BadQuery(f"the attribute {write_path(path)} is given more than once")
        else:
            asked.matches[path] = raw_value
    return asked


def read_path(text: str) -> Path | None:
    """Read an attribute: keyword, tag of eight hexadecimal digits, or several with dots (PS3.18 8.3.1).

    Returns:
        Its tags, or None if a part is no attribute of data sets that we know.

    Raises:
        BadQuery: a part but the last is no sequence, or there are too many parts.
    """
    parts = text.split(".")
    if len(parts) > _DEEPEST:
        raise BadQuery(f"more than {_DEEPEST} sequences deep")
    path = []
    for part in parts:
        tag = int(part, 16) if re.fullmatch(r"[0-9A-Fa-f]{8}", part) else tag_of(part)
        if tag is None or not _in_data_sets(tag):
            return None
        path.append(tag)
    for tag in path[:-1]:
        if not tag >> 16 & 1 and vr_of(tag) != "SQ":
            raise BadQuery(f"{write_path((tag,))} is no sequence, so that nothing is inside it")
    return tuple(path)


def write_path(path: Path) -> str:
    """Write an attribute with keywords where there are some (PS3.18 8.3.1)."""
    return ".".join(keyword_of(tag) or f"{tag:08X}" for tag in path)


def _in_data_sets(tag: int) -> bool:
    """Known, and neither of a command, of File Meta Information, nor a group length (PS3.5 7.1, 7.2)."""
    group, element = tag >> 16, tag & 0xFFFF
    if group & 1:
        return group > 0x0008 and group != 0xFFFF and (0x10 <= element <= 0xFF or element >= 0x1000)
    return group >= 0x0008 and group != 0xFFFE and element != 0 and vr_of(tag) is not None


def _read_flag(options: dict[str, str], name: str) -> bool:
    text = options.get(name, "false").strip().lower()
    if text not in ("true", "false"):
        raise BadQuery(f"{name} is true or false")
    return text == "true"


def _read_count(options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,100}", text):
        raise BadQuery(f"{name} is a whole number, 0 or more")
    return min(int(text), _LARGEST)


def _read_page(options: dict[str, str], limits: Limits) -> tuple[int, int, str | None]:
    limit = min(_read_count(options, "limit", limits.page), limits.most)
    offset = _read_count(options, "offset", 0)
    cursor = options.get("cursor") or None
    if cursor is not None and offset:
        raise BadQuery("cursor and offset exclude each other")
    return limit, offset, cursor


def _read_order(text: str, level: Level) -> tuple[Order, ...]:
    """Read `orderby` (our extension): attributes with commas between, a hyphen before a descending one. Which
    of those that are held there is an order for is the index's to say."""
    order: list[Order] = []
    for part in (piece.strip() for piece in text.split(",")):
        if not part:
            continue
        path = read_path(part.lstrip("-")) if part.count("-") <= 1 else None
        known = attributes.BY_TAG.get(path[0]) if path and len(path) == 1 else None
        if known is None or not attributes.may_return(level, known.tag):
            raise BadQuery(f"results cannot be ordered by {part[:64]!r}")
        if any(known.tag == earlier.tag for earlier in order):
            raise BadQuery(f"orderby names {known.keyword} more than once")
        order.append(Order(known.tag, part.startswith("-")))
    return tuple(order)


def _read_zone(asked: _Asked) -> str:
    raw = asked.matches.pop((attributes.TIMEZONE_OFFSET,), None)
    if raw is None:
        return ""
    # A plus sign that was not percent-encoded arrives as a space (PS3.18 8.3.4.1.1).
    text = _decode(raw).rstrip()
    if text in ("", "*"):
        asked.fields.append("TimezoneOffsetFromUTC")
        return ""
    if not re.fullmatch(r"[+\- ](?:0[0-9]|1[0-4])[0-5][0-9]", text):
        raise BadQuery("TimezoneOffsetFromUTC is an offset such as %2B0100 or -0500")
    asked.warnings.append(
        "TimezoneOffsetFromUTC was applied to values of VR DT; dates and times by themselves were compared as"
        " they are stored."
    )
    return text


# -- attributes ---------------------------------------------------------------------------------------------
def _read_fields(asked: _Asked) -> tuple[list[Path], bool]:
    if "all" in asked.fields:
        if len(set(asked.fields)) > 1:
            raise BadQuery("includefield=all stands alone")
        return [], True
    paths = []
    for name in dict.fromkeys(asked.fields):
        path = read_path(name)
        if path is None:
            asked.unknown.append(name)
        else:
            paths.append(path)
    return paths, False


def _is_creator(tag: int) -> bool:
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def _block(tag: int) -> int:
    return tag & 0xFFFF0000 | tag >> 8 & 0xFF


def _name_creators(asked: _Asked, paths: list[Path]) -> None:
    """Take out the Private Creators (PS3.18 8.3.4.1): one names its block, wherever that lies. Without an
    attribute of its block it is a key like others. Private attributes without one are passed over."""
    used = {_block(tag) for path in (*asked.matches, *paths) for tag in path if tag >> 16 & 1}
    for path, raw in list(asked.matches.items()):
        value = _decode(raw).strip()
        if _is_creator(path[-1]) and value and path[-1] in used:
            if asked.creators.setdefault(path[-1], value) != value:
                raise BadQuery(f"{path[-1]:08X} names two Private Creators")
            del asked.matches[path]

    def is_nameless(path: Path) -> bool:
        private = (tag for tag in path if tag >> 16 & 1 and not _is_creator(tag))
        return any(_block(tag) not in asked.creators for tag in private)

    for path in [path for path in asked.matches if is_nameless(path)]:
        asked.nameless.append(write_path(path))
        del asked.matches[path]
    for path in [path for path in paths if is_nameless(path)]:
        asked.nameless.append(write_path(path))
        paths.remove(path)


def _vr_of(tag: int) -> str:
    """The VR of an attribute; "" for a private one, whose key is read by the VR that the stored data have."""
    if _is_creator(tag):
        return "LO"
    return (vr_of(tag) or "").split(" ")[0]


def _read_matches(asked: _Asked, zone: str) -> list[tuple[Path, Match, bool]]:
    """Read the matching keys. Universal ones come with False: they are returned and not matched."""
    fuzzy, empty, multiple = (_read_flag(asked.options, name) for name in _FLAGS)
    asked.matches.pop((attributes.CHARACTER_SET,), None)
    entries: list[tuple[Path, Match, bool]] = []
    joined = _join(asked)
    for path, raw in asked.matches.items():
        if path in joined:
            match = joined[path]
            entries.append((path, match or Anything(), match is not None))
            continue
        vr = _vr_of(path[-1])
        text = _decode(raw)
        if path[0] in _NOT_MATCHED and text not in ("", "*"):
            asked.warnings.append(f"{write_path(path)} cannot be searched for and was ignored.")
        elif empty and text == _EMPTY:
            entries.append((path, Absent(), True))
        elif vr == "SQ" and text in ("", "*"):
            entries.append((path, Anything(), False))
        else:
            for part in _parts(vr, raw) if multiple and vr in _MULTIPLE else [text]:
                match = _read(path, vr, part, fuzzy, zone)
                entries.append((path, match, not isinstance(match, Anything)))
    return entries


def _read(path: Path, vr: str, text: str, fuzzy: bool, zone: str) -> Match:
    try:
        return read(vr, text, fuzzy, zone=zone)
    except BadQuery as error:
        raise BadQuery(f"{write_path(path)}: {error}") from None


def _parts(vr: str, raw: str) -> list[str]:
    """Split the values of multiple value matching: at commas as they came (PS3.18 8.3.1), at backslashes, and
    at percent-encoded commas where values cannot have any."""
    values = [part for piece in raw.split(",") for part in _decode(piece).split("\\")]
    if vr in LISTS:
        values = [part for value in values for part in value.split(",")]
    values = [value for value in values if value.strip()]
    if len(values) > 1 and any("*" in value or "?" in value for value in values):
        raise BadQuery("multiple value matching takes no wildcards")
    return values or [""]


def _join(asked: _Asked) -> dict[Path, Match | None]:
    """Join ranges of a date and its time (PS3.4 C.2.2.2.5.4): the date gets the interval, the time None."""
    joined: dict[Path, Match | None] = {}
    for path, raw in asked.matches.items():
        keyword = keyword_of(path[-1])
        sibling = tag_of(keyword[:-4] + "Time") if keyword.endswith("Date") else None
        if sibling is None or vr_of(path[-1]) != "DA" or vr_of(sibling) != "TM":
            continue
        time = asked.matches.get((*path[:-1], sibling))
        moment = None if time is None else combine(_decode(raw), _decode(time), sibling)
        if moment is not None:
            joined[path] = moment
            joined[(*path[:-1], sibling)] = None
    return joined


def _nest(entries: list[tuple[Path, Match]], creators: dict[int, str]) -> tuple[Key, ...]:
    """Put the keys of one sequence together: one item must satisfy them all (PS3.4 C.2.2.2.6)."""
    keys: list[Key] = []
    inside: dict[int, list[tuple[Path, Match]]] = {}
    for path, match in entries:
        tag = path[0]
        if len(path) > 1:
            inside.setdefault(tag, []).append((path[1:], match))
        else:
            keys.append(Key(tag, match, _creator(tag, creators)))
    for tag, deeper in inside.items():
        keys.append(Key(tag, Within(_nest(deeper, creators)), _creator(tag, creators)))
    return tuple(keys)


def _creator(tag: int, creators: dict[int, str]) -> str:
    return "" if _is_creator(tag) else creators.get(_block(tag), "") if tag >> 16 & 1 else ""


def _returnable(asked: _Asked, level: Level, paths: list[Path]) -> set[Path]:
    asked.lower += [write_path(path) for path in paths if not attributes.may_return(level, path[0])]
    return {path for path in paths if attributes.may_return(level, path[0])}


# -- warnings -----------------------------------------------------------------------------------------------
def _warn(asked: _Asked, level: Level) -> list[str]:
    warnings = list(asked.warnings)
    for names, said in [
        (asked.unknown, "These parameters are no attributes that are known here, and were ignored: "),
        (asked.nameless, "These private attributes came without their Private Creator and were ignored: "),
        (asked.lower, f"These attributes belong to a level below the {level} and are not returned: "),
    ]:
        if names:
            shown = ", ".join(name[:64] for name in names[:5])
            warnings.append(said + shown + (f" and {len(names) - 5} more." if len(names) > 5 else "."))
    return warnings
