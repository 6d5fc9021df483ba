"""Media types: how they are written, which one carries which transfer syntax, what an Accept header asks for
(PS3.18 8.7, RFC 9110 12.5.1). What is sent in the end is chosen in `negotiation`.

Real Accept headers are often nearly right: types without quotes, quotes around too much, commas and
semicolons mixed up. They are read for what they mean; what makes no sense is passed over (PS3.18 8.7.7).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from urllib.parse import unquote

from dicomweb.errors import BadRequest
from dicomweb.standard import syntaxes

DICOM = "application/dicom"
JSON = "application/dicom+json"
XML = "application/dicom+xml"
OCTETS = "application/octet-stream"
ZIP = "application/zip"

EXPLICIT = syntaxes.EXPLICIT
DEFLATED = syntaxes.DEFLATED

AS_STORED = "*"
"""The value of `transfer-syntax` that asks for no transcoding (PS3.18 8.7.3.5.2)."""


def _jpeg(*numbers: str) -> tuple[str, ...]:
    return tuple(f"1.2.840.10008.1.2.4.{number}" for number in numbers)


# PS3.18 Tables 8.7.3-4 and 8.7.3-5: transfer syntaxes of a bulk data type, its default first. The JPEG
# processes that were retired stand behind those that the table has.
SYNTAXES: dict[str, tuple[str, ...]] = {
    OCTETS: (EXPLICIT,),
    "image/jpeg": _jpeg("70", "50", "51", "57", *map(str, [*range(52, 57), *range(58, 67)])),
    "image/dicom-rle": (syntaxes.RLE,),
    "image/jls": _jpeg("80", "81"),
    "image/jp2": _jpeg("90", "91"),
    "image/jpx": _jpeg("92", "93"),
    "image/jphc": _jpeg("201", "202", "203"),
    "image/jxl": _jpeg("110", "111", "112"),
    "video/mpeg": _jpeg("101", "100", "100.1", "101.1"),
    "video/mp4": _jpeg("102", "102.1", *(f"{n}{end}" for n in range(103, 107) for end in ("", ".1"))),
    "video/H265": _jpeg("107", "108"),
}

# PS3.18 8.7.3.3.2 (historic names), the 2013 names of PS3.18, and what older clients ask for.
_ALIASES = {
    "image/x-dicom-rle": "image/dicom-rle",
    "image/dicom+rle": "image/dicom-rle",
    "image/x-jls": "image/jls",
    "image/dicom+jpeg-ls": "image/jls",
    "image/dicom+jp2": "image/jp2",
    "image/dicom+jpx": "image/jpx",
    "image/dicom+jpeg": "image/jpeg",
    "image/jpg": "image/jpeg",
    "image/jll": "image/jpeg",
    "image/jhc": "image/jphc",
    "video/mpeg2": "video/mpeg",
}
_SPELLED = {kind.lower(): kind for kind in SYNTAXES}

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}")
_OUTSIDE = re.compile(r'(?:"[^"]*"|[^;"]+|")+')
_QUALITY = re.compile(r"[01]|[01]?\.[0-9]{0,9}")
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_LONGEST = 8192
_MOST_RANGES = 100


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type taken apart.

    Attributes:
        type, subtype: lower case.
        params: parameter values by name in lower case, quotes removed.
    """

    type: str
    subtype: str
    params: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Type and subtype, such as "application/dicom"."""
        return f"{self.type}/{self.subtype}"


@lru_cache(maxsize=256)
def read_type(text: str) -> MediaType:
    """Read a Content-Type header (RFC 9110 8.3.1; PS3.18 8.7.3.5.1), also with parameters inside the quotes
    of `type`, as in `multipart/related; type="application/dicom; transfer-syntax=..."`.

    Raises:
        BadRequest: it does not begin with a media type, or is longer than any real one.
    """
    pieces = _OUTSIDE.findall(text) if len(text) <= _LONGEST else []
    name = pieces[0].strip().strip('"').lower() if pieces else ""
    if not _TYPE.fullmatch(name):
        raise BadRequest("the Content-Type is not a media type such as application/dicom")
    params: dict[str, str] = {}
    for piece in pieces[1:]:
        key, equals, value = piece.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals or not key:
            continue
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        else:
            value = value.removeprefix('"')
        if key == "type" and ";" in value:
            value, *inner = value.split(";")
            for pair in inner:
                name_inside, _, value_inside = pair.partition("=")
                params.setdefault(name_inside.strip().lower(), value_inside.strip())
        params[key] = value.strip()
    kind, _, subtype = name.partition("/")
    return MediaType(kind, subtype, params)


def plain_name(text: str) -> str:
    """Reduce a media type to type and subtype as we write it: lower case, current name, no parameters (PS3.18
    8.7.3.3.2); "" if it is none. Also for what data sets say, such as MIME Type of Encapsulated Document."""
    name = text.partition(";")[0].strip(' \t"\0').lower()
    name = _ALIASES.get(name, name)
    return _SPELLED.get(name, name) if _TYPE.fullmatch(name) else ""


def default_syntax(media_type: str) -> str:
    """Return the transfer syntax of a bulk data type that names none (PS3.18 Table 8.7.3-5), or ""."""
    return next(iter(SYNTAXES.get(plain_name(media_type), ())), "")


def type_of(syntax: str) -> str:
    """Return the media type of a frame in a transfer syntax (PS3.18 Table 8.7.3-5); application/octet-stream
    for native pixels and for syntaxes that the table does not have."""
    return syntaxes.syntax_of(syntax).media_type


@dataclass(frozen=True, slots=True)
class Range:
    """One entry of an Accept header.

    Attributes:
        media_type: of the item itself, lower case: "image/jpeg", "image/*", "*/*".
        multipart: it asks for items as parts; None leaves that open, as a bare `*/*` does.
        syntax: transfer syntax UID, AS_STORED, or "" where it names none.
        charset: as written, or "". Answers are in UTF-8; others are passed over (PS3.18 8.8).
        q: how welcome, 0 to 1; 0 is not at all.
    """

    media_type: str
    multipart: bool | None = False
    syntax: str = ""
    charset: str = ""
    q: float = 1.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a client takes, as it lists it.

    Attributes:
        header: of the Accept header; `*/*` when there is none.
        query: of the `accept` query parameter, which comes first (PS3.18 8.7.8.1).
    """

    header: tuple[Range, ...] = (Range("*/*", None),)
    query: tuple[Range, ...] = ()


def read_accept(header: str | None, query: Iterable[str] = ()) -> Accepted:
    """Read what a client accepts (PS3.18 8.7.5, 8.3.3.1).

    The Standard wants 406 for a request without Accept header; RFC 9110 reads it as `*/*`, and so do we.

    Args:
        header: value of the Accept header (several joined by commas), or None.
        query: values of the `accept` query parameter, percent-decoded; wildcards in it do not count.
    """
    ranges = read_ranges(header) if header and header.strip() else Accepted().header
    wanted = [range_ for value in query for range_ in read_ranges(_undone(value))]
    return Accepted(ranges, tuple(range_ for range_ in wanted if "*" not in range_.media_type))


def _undone(value: str) -> str:
    """Undo what a query does to a media type: a second percent-encoding, a `+` that became a space."""
    value = unquote(value) if "%" in value else value
    return re.sub(r"(?i)\bdicom (json|xml)\b", r"dicom+\1", value)


@lru_cache(maxsize=256)
def read_ranges(text: str) -> tuple[Range, ...]:
    """Read the entries of an Accept header, leniently (PS3.18 8.7.5).

    Quotes decide nothing: the text is cut at every `;` and `,`. A piece with a slash and no `=` begins an
    entry; `type` gives a multipart entry its type, and one that has a type already a successor; a second
    transfer syntax makes a further entry that differs in it. Everything else belongs to the entry before,
    or to nobody.

    Args:
        text: header value; what stands beyond 8,192 characters or 100 entries is not looked at.
    """
    ranges: list[Range] = []
    typed = False
    for piece in re.split("[;,]", text[:_LONGEST]):
        name, equals, value = piece.partition("=")
        name, value = name.strip(" \t\"'"), value.strip(" \t\"'")
        if not equals:
            kind = "*/*" if name == "*" else name.lower()
            if _TYPE.fullmatch(kind):
                ranges.append(_range(kind, '"' in piece))
                typed = '"' in piece
            elif ranges and _UID.fullmatch(name):
                ranges.append(replace(ranges[-1], syntax=name))
        else:
            key = name.lower().replace("-", "").replace("_", "")
            if key == "type" and (not ranges or ranges[-1].multipart):
                if not _TYPE.fullmatch(value):
                    continue
                if not ranges or typed:
                    ranges.append(_range("multipart/related", False))
                ranges[-1] = replace(ranges[-1], media_type=_current(value.lower()))
                typed = True
            elif ranges:
                _add(ranges, key, value)
        if len(ranges) > _MOST_RANGES:
            break
    return tuple(range_ for range_ in ranges[:_MOST_RANGES] if range_.media_type)


def _range(kind: str, quoted: bool) -> Range:
    if kind in {"multipart/related", "multipart/*"}:
        return Range("*/*", True)
    if kind == "*/*":
        return Range(kind, None)
    if kind.startswith(("multipart/", "*/")):
        return Range("")  # nothing that we make; it still takes its own parameters
    # Quotes around a whole media type are those of a `type` that went missing.
    return Range(_current(kind), quoted)


def _current(kind: str) -> str:
    return _ALIASES.get(kind, kind)


def _add(ranges: list[Range], key: str, value: str) -> None:
    """Give the last entry a parameter."""
    last = ranges[-1]
    if key == "q":
        if _QUALITY.fullmatch(value) and value != ".":
            ranges[-1] = replace(last, q=min(float(value), 1.0))
    elif key == "charset":
        ranges[-1] = replace(last, charset=value)
    elif key == "transfersyntax" and (value == AS_STORED or _UID.fullmatch(value)):
        if last.syntax and last.syntax != value:
            ranges.append(replace(last, syntax=value))
        else:
            ranges[-1] = replace(last, syntax=value)
    elif key == "transfersyntax":
        ranges[-1] = replace(last, syntax="?")  # none that can be made
