"""DICOM JSON models as bytes: data sets in Explicit VR Little Endian and UTF-8, File Meta group, fragments
(PS3.5 7.1 and A.4, PS3.10 7.1).

Bulk values come from a callback as sources, which are read while the result is consumed; memory does not grow
with them. Sequences and items are written with undefined length, so that nothing has to be measured first.
"""

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from dicomweb.errors import BadRequest, ObjectTooLarge
from dicomweb.standard import dictionary
from dicomweb.standard.dicomjson import write
from dicomweb.standard.leniency import Dataset, Element
from dicomweb.standard.values import LONG

IMPLEMENTATION_CLASS_UID = "2.25.297300171891851697828249989179522784933"
IMPLEMENTATION_VERSION_NAME = "ROENTGATE"

# PS3.5 7.1.2: even lengths that 16 and 32 bits can say
LONGEST_SHORT = 0xFFFE
LONGEST = 0xFFFFFFFE
UNDEFINED = 0xFFFFFFFF
# PS3.5 6.2: what an odd value is padded with
_NUL_PADDED = frozenset(["UI", "OB", "OW", "OD", "OF", "OL", "OV", "UN"])
_FORMATS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
# PS3.5 6.1.2.3: the ones to which the Specific Character Set applies and that may be bulk data
_BULK_TEXT = frozenset(("LT", "ST", "UC", "UT"))
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

_EXTENDED = ("7FE00001", "7FE00002")

ITEM = b"\xfe\xff\x00\xe0"
ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
ITEM_START = ITEM + b"\xff\xff\xff\xff"
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes that are read when they are needed.

    Attributes:
        size: how many there are.
        read: gives them, in pieces, from the beginning at each call.
    """

    size: int
    read: Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Frames:
    """Encapsulated Pixel Data (PS3.5 A.4).

    Attributes:
        frames: compressed frames, each of which becomes one fragment (a video's one stream as well).
        table: whether there is a Basic Offset Table; a video has none.
    """

    frames: Sequence[bytes | Source]
    table: bool = True


Bulk: TypeAlias = bytes | Source | Frames


def write_dataset(dataset: Dataset, bulk: Callable[[str, str], Bulk] | None = None) -> Iterator[bytes]:
    """Write a data set in Explicit VR Little Endian, text in UTF-8 (PS3.5 7.1, PS3.18 10.5.1.4).

    Specific Character Set becomes ISO_IR 192 where it is, and is added where text needs it. A value whose
    length does not fit the 16 bits of its VR goes out as UN (PS3.5 6.2.2). Group 0002 is left out.

    Args:
        dataset: in the form of `standard.elements`; the order of tags does not matter.
        bulk: gives the value for a BulkDataURI and the vr of its element: little endian, text in UTF-8.

    Yields:
        The data set, in order, in pieces of up to 256 KiB or as the sources give them.

    Raises:
        BadRequest: a value does not fit its VR, or a source has another size than it said.
        ObjectTooLarge: a value is too long for any VR.
    """
    return _Writer(bulk or _no_bulk).whole(dataset)


def _no_bulk(uri: str, vr: str) -> Bulk:
    raise BadRequest("the data set refers to bulk data, and none was sent")


class _Writer:
    """Collects small pieces in `out` and passes large ones on."""

    def __init__(self, bulk: Callable[[str, str], Bulk]) -> None:
        self.bulk = bulk
        self.asked: dict[str, Bulk] = {}
        self.out = bytearray()

    def whole(self, dataset: Dataset) -> Iterator[bytes]:
        if "00080005" not in dataset and _has_text_beyond_ascii(dataset):
            dataset = {**dataset, "00080005": {"vr": "CS"}}
        pixels = dataset.get("7FE00010", {})
        if (uri := pixels.get("BulkDataURI")) is not None:
            self.asked[uri] = bulk = self.bulk(uri, pixels["vr"])
            if isinstance(bulk, Frames):
                dataset = {tag: dataset[tag] for tag in dataset if tag not in _EXTENDED}
                dataset |= _extended_table(bulk)
        yield from self.dataset(dataset)
        yield bytes(self.out)

    def dataset(self, dataset: Dataset) -> Iterator[bytes]:
        for tag in sorted(dataset):
            if tag.startswith("0002") or tag.endswith("0000"):
                continue
            element = dataset[tag]
            if tag == "00080005":
                element = {"vr": "CS", "Value": ["ISO_IR 192"]}
            if element["vr"] == "SQ":
                yield from self.sequence(tag, element.get("Value") or ())
            elif (uri := element.get("BulkDataURI")) is not None:
                bulk = self.asked.pop(uri, None) or self.bulk(uri, element["vr"])
                yield from self.value(tag, element["vr"], bulk)
            else:
                self.small(tag, element["vr"], value_of(tag, element))
            if len(self.out) >= _PIECE:
                yield self.flush()

    def sequence(self, tag: str, items: Iterable[Dataset]) -> Iterator[bytes]:
        self.out += header(int(tag, 16), "SQ", UNDEFINED)
        for item in items:
            self.out += ITEM_START
            yield from self.dataset(item)
            self.out += ITEM_END
        self.out += SEQUENCE_END

    def small(self, tag: str, vr: str, value: bytes) -> None:
        self.out += header(int(tag, 16), vr, _even(tag, len(value)))
        self.out += value
        if len(value) & 1:
            self.out += padding(vr)

    def value(self, tag: str, vr: str, bulk: Bulk) -> Iterator[bytes]:
        if isinstance(bulk, bytes):
            self.small(tag, vr, bulk)
        elif isinstance(bulk, Source):
            self.out += header(int(tag, 16), vr, _even(tag, bulk.size))
            yield self.flush()
            yield from _counted(bulk)
            if bulk.size & 1:
                self.out += padding(vr)
        else:
            self.out += header(int(tag, 16), "OB", UNDEFINED)
            yield self.flush()
            yield from encapsulate(bulk.frames, bulk.table)

    def flush(self) -> bytes:
        piece = bytes(self.out)
        self.out.clear()
        return piece


def _has_text_beyond_ascii(dataset: Dataset) -> bool:
    """Whether a character set has to be declared; of text in bulk data this is supposed."""
    return not write(dataset, ordered=True).isascii() or _has_bulk_text(dataset)


def _has_bulk_text(dataset: Dataset) -> bool:
    for element in dataset.values():
        if element["vr"] in _BULK_TEXT and "BulkDataURI" in element:
            return True
        if element["vr"] == "SQ" and any(map(_has_bulk_text, element.get("Value") or ())):
            return True
    return False


def _even(tag: str, size: int) -> int:
    even = size + (size & 1)
    if even > LONGEST:
        raise ObjectTooLarge(f"the value of attribute {tag} is longer than a data set can say")
    return even


def _counted(source: bytes | Source) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    left = source.size
    for piece in source.read():
        left -= len(piece)
        yield piece
    if left:
        raise BadRequest("bulk data have another size than was announced")


def padding(vr: str) -> bytes:
    """Return the byte that fills up a value of odd length (PS3.5 6.2)."""
    return b"\0" if vr in _NUL_PADDED else b" "


def header(tag: int, vr: str, length: int) -> bytes:
    """Return the header of an element in Explicit VR Little Endian (PS3.5 7.1.2); with vr UN where the length
    does not fit the VR (PS3.5 6.2.2).

    Args:
        tag: as an integer.
        vr: of two letters.
        length: of the value field, even or undefined.
    """
    if vr not in LONG:
        if length <= LONGEST_SHORT:
            return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length)
        vr = "UN"
    return struct.pack("<HH2s2xI", tag >> 16, tag & 0xFFFF, vr.encode(), length)


def value_of(tag: str, element: Element) -> bytes:
    """Return the value field of an element that is neither sequence nor bulk data (PS3.5 6.2), not padded.

    Raises:
        BadRequest: a value does not fit the VR.
    """
    vr = element["vr"]
    try:
        if (inline := element.get("InlineBinary")) is not None:
            return base64.b64decode(inline, validate=True)
        values = element.get("Value")
        if not values:
            return b""
        if (form := _FORMATS.get(vr)) is not None:
            convert = float if form in "fd" else int
            return struct.pack(f"<{len(values)}{form}", *map(convert, values))
        if vr == "AT":
            return b"".join(struct.pack("<HH", int(one[:4], 16), int(one[4:], 16)) for one in values)
        if vr == "PN":
            values = [name_text(one) for one in values]
        return "\\".join("" if one is None else str(one) for one in values).encode("utf-8", "replace")
    except (ValueError, TypeError, AttributeError, OverflowError, struct.error, binascii.Error) as error:
        raise BadRequest(f"attribute {tag} has a value that VR {vr} cannot hold") from error


def name_text(name: Mapping[str, str] | None) -> str:
    """Return a person name as `alphabetic=ideographic=phonetic`, without empty groups at the end
    (PS3.5 6.2.1)."""
    return "=".join(name.get(group) or "" for group in _GROUPS).rstrip("=") if name else ""


# -- encapsulated pixel data --------------------------------------------------------------------------------


def encapsulate(frames: Iterable[bytes | Source], table: bool = True) -> Iterator[bytes]:
    """Write frames as the value of encapsulated Pixel Data, delimiter included (PS3.5 A.4).

    Args:
        frames: compressed frames, gone through once without a table. Each becomes one fragment, unless it is too
            long for one.
        table: whether to write a Basic Offset Table. Where an offset would not fit its 32 bits, it is left
            empty, as the Standard allows.

    Raises:
        BadRequest: a source has another size than it said.
    """
    offsets = b""
    if table:
        places = _places(frames)
        if not places or places[-1] <= UNDEFINED:
            offsets = struct.pack(f"<{len(places)}I", *places)
    yield ITEM + struct.pack("<I", len(offsets)) + offsets
    for frame in frames:
        size = _size(frame)
        parts = _parts(size)
        yield ITEM + struct.pack("<I", parts[0] + (parts[0] & 1))
        if len(parts) == 1:
            yield from _counted(frame)
        else:
            yield from _split(_counted(frame), parts)
        if size & 1:
            yield b"\0"
    yield SEQUENCE_END


def _size(frame: bytes | Source) -> int:
    return len(frame) if isinstance(frame, bytes) else frame.size


def _places(frames: Iterable[bytes | Source]) -> list[int]:
    """Where the first fragment of each frame begins, from the first fragment on (PS3.5 A.4)."""
    places, place = [], 0
    for frame in frames:
        places.append(place)
        place += sum(8 + part + (part & 1) for part in _parts(_size(frame)))
    return places


def _extended_table(bulk: Frames) -> Dataset:
    """Extended Offset Table and Lengths where a Basic one cannot hold the offsets (PS3.3 C.7.6.3.1.8)."""
    places = _places(bulk.frames) if bulk.table else []
    sizes = [_size(frame) for frame in bulk.frames]
    if not places or places[-1] <= UNDEFINED or max(sizes) > LONGEST:
        return {}
    rows = (struct.pack(f"<{len(row)}Q", *row) for row in (places, sizes))
    return {
        tag: {"vr": "OV", "InlineBinary": base64.b64encode(row).decode()}
        for tag, row in zip(_EXTENDED, rows, strict=True)
    }


def _parts(size: int) -> list[int]:
    """The sizes of the fragments that hold one frame of this size."""
    whole, rest = divmod(size, LONGEST)
    return [LONGEST] * whole + ([rest] if rest or not whole else [])


def _split(pieces: Iterable[bytes], parts: Sequence[int]) -> Iterator[bytes]:
    """The pieces with an item header between one part and the next."""
    following = iter(parts)
    left = next(following)
    for piece in pieces:
        view = memoryview(piece)
        while len(view) > left:
            yield bytes(view[:left])
            view = view[left:]
            left = next(following)
            yield ITEM + struct.pack("<I", left + (left & 1))
        left -= len(view)
        yield bytes(view)


# -- File Meta ----------------------------------------------------------------------------------------------


def write_meta(sop_class: str, instance: str, syntax: str, extra: Mapping[str, Element] | None = None) -> bytes:
    """Write preamble, prefix and File Meta group (PS3.10 7.1).

    Args:
        sop_class: SOP Class UID.
        instance: SOP Instance UID.
        syntax: Transfer Syntax UID of the data set that follows.
        extra: group 0002 of an earlier File Meta. What does not follow from the file itself is taken over:
            AE titles, presentation addresses, private information. Who wrote the file is us.

    Raises:
        BadRequest: a UID is not ASCII.
    """
    meta = {
        tag: element
        for tag, element in (extra or {}).items()
        if tag in _KEPT_META and ("Value" in element or "InlineBinary" in element)
    }
    if "00020100" not in meta:
        meta.pop("00020102", None)
    meta["00020001"] = {"vr": "OB", "InlineBinary": "AAE="}
    for tag, text in (
        ("00020002", sop_class),
        ("00020003", instance),
        ("00020010", syntax),
        ("00020012", IMPLEMENTATION_CLASS_UID),
    ):
        if not text.isascii():
            raise BadRequest("a UID of the File Meta group is not ASCII")
        meta[tag] = {"vr": "UI", "Value": [text] if text else []}
    meta["00020013"] = {"vr": "SH", "Value": [IMPLEMENTATION_VERSION_NAME]}
    writer = _Writer(_no_bulk)
    for tag in sorted(meta):
        values = meta[tag].get("Value")
        if values and len(values) == 1 and isinstance(values[0], str) and len(values[0]) <= _SHORT_META:
            writer.out += _meta_text(tag, values[0])
        else:
            _write_meta_element(writer, tag, meta[tag])
    return _BEFORE_META + struct.pack("<I", len(writer.out)) + writer.flush()


@lru_cache(maxsize=1024)
def _meta_text(tag: str, text: str) -> bytes:
    """An element of one short text; most of a file's are those of the file before."""
    writer = _Writer(_no_bulk)
    _write_meta_element(writer, tag, {"Value": [text]})
    return writer.flush()


def _write_meta_element(writer: _Writer, tag: str, element: Element) -> None:
    vr = dictionary.vr_of(int(tag, 16))
    assert vr is not None, tag
    writer.small(tag, vr, value_of(tag, {**element, "vr": vr}))


_SHORT_META = 64
_BEFORE_META = b"\0" * 128 + b"DICM" + header(0x00020000, "UL", 4)


# PS3.10 Table 7.1-1: what says where the object came from rather than what the file is
_KEPT_META = frozenset(f"0002{element}" for element in ("0016", "0017", "0018", "0026", "0027", "0028", "0100", "0102"))
