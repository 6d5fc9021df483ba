"""One SOP instance in its bytes: File Meta group, transfer syntax, data set, identity, layout (PS3.10 7).

What the Standard asks for and old devices leave out is made good: preamble, File Meta group, a transfer
syntax that is named, and named rightly. What is refused is refused with a reason: bytes that end too early,
objects without identity, bombs.
"""

import io
import struct
import zlib
from binascii import a2b_base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol

from dicomweb.errors import (
    BadIdentity,
    BadObject,
    ObjectTooLarge,
    TruncatedObject,
    UnsupportedSyntax,
)
from dicomweb.standard import fragments
from dicomweb.standard.elements import UNDEFINED, Buffer, Limits, Pixels, Walked, walk
from dicomweb.standard.frames import Bulk, Layout
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.syntaxes import (
    BIG_ENDIAN,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT,
    IMPLICIT,
    Syntax,
    syntax_of,
)
from dicomweb.standard.uids import is_uid, read_uid
from dicomweb.standard.values import LONG, SHORT, UNITS

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"

_CHUNK = 1 << 20
_FREE_RATIO = 16 << 20
"""Bytes that a data set may inflate to whatever its ratio: blank images compress a thousand times."""
_DOCUMENT = "00420011"
_VRS = frozenset(vr.encode() for vr in SHORT | LONG)


class Warning_(NamedTuple):
    """Why an object was stored with a warning.

    Attributes:
        kind: "elements" (something in the data set is not as the Standard has it), "class" (the data set does
            not fit what the object says that it is), "meta" (the File Meta group does not).
        sentence: for people; holds no values of the object.
    """

    kind: Literal["elements", "class", "meta"]
    sentence: str


class Scratch(Protocol):
    """Where an inflated data set goes; `io.BytesIO` is one."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""

    def getbuffer(self) -> memoryview:
        """Give all that was written."""


@dataclass(slots=True)
class Part10:
    """One SOP instance.

    Attributes:
        meta: group 0002 as DICOM JSON model; empty without one.
        syntax: what the data set is encoded in. If the File Meta group is wrong, what it really is.
        data_start: where the data set begins, in the object.
        data_end: where it ends, trailing padding not counted; of a deflated one where the bytes end.
        study: Study Instance UID.
        series: Series Instance UID.
        instance: SOP Instance UID.
        sop_class: SOP Class UID.
        dataset: DICOM JSON model.
        layout: where frames and bulk lie.
        warnings: what was not as it should be.
        data: what the layout's ranges refer to: the buffer itself, or the inflated data set.
    """

    meta: Dataset
    syntax: Syntax
    data_start: int
    data_end: int
    study: str
    series: str
    instance: str
    sop_class: str
    dataset: Dataset
    layout: Layout
    warnings: list[Warning_] = field(default_factory=list)
    data: Buffer = b""


class Head(NamedTuple):
    """What comes before the data set.

    Attributes:
        meta: group 0002 as DICOM JSON model.
        start: where the data set begins.
        syntax: what it is encoded in.
        warnings: what was not as it should be.
    """

    meta: Dataset
    start: int
    syntax: Syntax
    warnings: list[Warning_]


def read_object(buffer: Buffer, limits: Limits, scratch: Callable[[], Scratch] | None = None) -> Part10:
    """Read one SOP instance (PS3.10 7.1).

    Args:
        buffer: the whole object; pixel data and other bulk in it are not touched.
        limits: what it may hold.
        scratch: makes the place for an inflated data set; None is memory.

    Raises:
        TruncatedObject: the bytes end before the data set does, or before the pixels that it describes.
        BadIdentity: a UID is missing, or none.
        ObjectTooComplex, ObjectTooLarge: it is above the limits.
        UnsupportedSyntax: its pixels are not in it.
        BadObject: it cannot be understood. Each error says which object it was, as far as that was read.
    """
    sop_class = instance = ""
    try:
        head = read_head(buffer, limits)
        sop_class, instance = _text(head.meta, "00020002"), _text(head.meta, "00020003")
        return _read(buffer, head, limits, scratch or io.BytesIO)
    except BadObject as error:
        error.sop_class = error.sop_class or sop_class
        error.instance = error.instance or instance
        raise


def read_head(buffer: Buffer, limits: Limits) -> Head:
    """Read what comes before the data set, and find out how it is encoded (PS3.10 7.1).

    Raises:
        TruncatedObject, UnsupportedSyntax, BadObject: as `read_object`.
    """
    warnings: list[Warning_] = []
    start = _prefix(buffer)
    if start == 0:
        warnings.append(Warning_("meta", "there is no preamble"))
    meta, start = _read_meta(buffer, start, limits)
    if _text(meta, "00020002") == MEDIA_STORAGE_DIRECTORY:
        raise BadObject("it is a DICOMDIR, which lists the objects of a medium and is none itself")
    named = _text(meta, "00020010")
    if not named:
        syntax = _guessed(buffer, start)
        warnings.append(Warning_("meta", "no transfer syntax is named; it was guessed"))
    else:
        syntax = syntax_of(named)
    if not syntax.kept:
        raise UnsupportedSyntax(f"objects in {syntax.name} have no pixels of their own and are not kept")
    if not syntax.deflated:
        real = _real(buffer, start, syntax)
        if real is not syntax:
            warnings.append(Warning_("meta", "the data set is not in the transfer syntax that is named"))
            syntax = real
    return Head(meta, start, syntax, warnings)


def _prefix(buffer: Buffer) -> int:
    """Where File Meta group or data set begin: behind preamble and prefix, if there are any."""
    if bytes(buffer[128:132]) == b"DICM":
        return 132
    return 4 if bytes(buffer[:4]) == b"DICM" else 0


def _read_meta(buffer: Buffer, start: int, limits: Limits) -> tuple[Dataset, int]:
    """Read group 0002, and where it ends; its length element is not believed (PS3.10 7.1)."""
    position = start
    implicit = False
    while bytes(buffer[position : position + 2]) == b"\x02\x00":
        if position + 8 > len(buffer):
            raise TruncatedObject("the object ends inside of its File Meta group")
        vr, short, long = struct.unpack("<4x2sHI", bytes(buffer[position : position + 12]).ljust(12, b"\0"))
        if position == start:
            implicit = vr not in _VRS
        if implicit:
            position += 8 + int.from_bytes(buffer[position + 4 : position + 8], "little")
        elif vr.decode("latin-1") in LONG:
            position += 12 + long
        else:
            position += 8 + short
        if position > len(buffer):
            raise TruncatedObject("the object ends inside of its File Meta group")
    if position == start:
        return {}, start
    walked = walk(buffer, start, position, syntax_of(IMPLICIT if implicit else EXPLICIT), limits, meta=True)
    return walked.dataset, position


def _guessed(buffer: Buffer, start: int) -> Syntax:
    """The transfer syntax of a data set without File Meta group, by its first element."""
    head = bytes(buffer[start : start + 8])
    if len(head) < 8:
        raise BadObject("it is no DICOM object")
    if head[4:6] in _VRS:
        return syntax_of(BIG_ENDIAN if head[0] == 0 and head[1] else EXPLICIT)
    group, _, length = struct.unpack("<HHI", head)
    if group not in (0x0008, 0x0000, 0x0004) or (length != UNDEFINED and start + 8 + length > len(buffer)):
        raise BadObject("it is no DICOM object")
    return syntax_of(IMPLICIT)


def _real(buffer: Buffer, start: int, syntax: Syntax) -> Syntax:
    """The syntax with the kind of VR and byte order that the first element shows."""
    head = bytes(buffer[start : start + 8])
    if len(head) < 8:
        return syntax
    if head[4:6] in _VRS:
        big = head[0] == 0 and head[1] != 0
        if not syntax.implicit and big == syntax.big_endian:
            return syntax
        if syntax.implicit and struct.unpack("<I", head[4:])[0] <= len(buffer) - start - 8:
            return syntax
        return replace(syntax_of(BIG_ENDIAN if big else EXPLICIT), encapsulated=syntax.encapsulated)
    if syntax.implicit or head == bytes(8):
        return syntax
    group, _, length = struct.unpack("<HHI", head)
    if group <= 0x0008 and (length == UNDEFINED or start + 8 + length <= len(buffer)):
        return (
            replace(syntax_of(IMPLICIT), encapsulated=False)
            if not syntax.encapsulated
            else replace(syntax, implicit=True)
        )
    return syntax


# -- the data set -------------------------------------------------------------------------------------------


def _read(buffer: Buffer, head: Head, limits: Limits, scratch: Callable[[], Scratch]) -> Part10:
    meta, start, syntax, warnings = head
    data, first, stop = buffer, start, len(buffer)
    if syntax.deflated:
        data = _inflate(buffer, start, limits, scratch())
        first, stop = 0, len(data)
    walked = walk(data, first, stop, syntax, limits)
    dataset = walked.dataset
    sop_class, instance = _text(dataset, "00080016"), _text(dataset, "00080018")
    try:
        uids = _identity(dataset, warnings)
        warnings += [Warning_("elements", sentence) for sentence in walked.warnings]
        if any(
            (named := _text(meta, tag)) and named != uid
            for tag, uid in (("00020002", sop_class), ("00020003", instance))
        ):
            warnings.append(Warning_("class", "the File Meta group names another object than the data set"))
        layout, syntax = _layout(data, walked, syntax, warnings)
    except BadObject as error:
        error.sop_class, error.instance = error.sop_class or sop_class, error.instance or instance
        raise
    end = len(buffer) if syntax.deflated else walked.end
    return Part10(meta, syntax, start, end, *uids, dataset, layout, warnings, data)


def _identity(dataset: Dataset, warnings: list[Warning_]) -> tuple[str, str, str, str]:
    """Study, series, instance and SOP class, all of which an object must have (PS3.3 C.12.1)."""
    uids = []
    for tag, keyword in (
        ("0020000D", "Study Instance UID"),
        ("0020000E", "Series Instance UID"),
        ("00080018", "SOP Instance UID"),
        ("00080016", "SOP Class UID"),
    ):
        values = dataset.get(tag, {}).get("Value") or []
        if len(values) != 1 or not isinstance(values[0], str):
            raise BadIdentity(f"the object has no {keyword}" if not values else f"{keyword} is no single UID")
        try:
            uid = read_uid(values[0])
        except BadIdentity as error:
            raise BadIdentity(f"{keyword}: {error}") from error
        if not is_uid(uid):
            warnings.append(Warning_("elements", f"{keyword} is no UID by the letter"))
        uids.append(uid)
    return uids[0], uids[1], uids[2], uids[3]


def _text(dataset: Dataset, tag: str) -> str:
    values = dataset.get(tag, {}).get("Value") or [""]
    return values[0] if isinstance(values[0], str) else ""


def _inflate(buffer: Buffer, start: int, limits: Limits, scratch: Scratch) -> Buffer:
    """Inflate a data set piece by piece (PS3.5 A.5), within the limits."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    position, size = start, 0
    while not inflater.eof:
        piece = inflater.unconsumed_tail
        if not piece:
            if position >= len(buffer):
                raise TruncatedObject("the deflated data set ends too early")
            piece = bytes(buffer[position : position + _CHUNK])
            position += len(piece)
        try:
            inflated = inflater.decompress(piece, _CHUNK)
        except zlib.error as error:
            raise BadObject("the data set is not deflated as its transfer syntax says") from error
        size += len(inflated)
        if size > limits.inflate:
            raise ObjectTooLarge(f"the data set inflates to more than the limit of {limits.inflate:,} bytes")
        if size > _FREE_RATIO and size > limits.inflate_ratio * (position - start):
            raise ObjectTooLarge(f"the data set inflates to more than {limits.inflate_ratio} times its size")
        scratch.write(inflated)
    return scratch.getbuffer()


# -- frames and bulk ----------------------------------------------------------------------------------------


def _number(dataset: Dataset, tag: str) -> int:
    values = dataset.get(tag, {}).get("Value") or [0]
    return values[0] if isinstance(values[0], int) and values[0] > 0 else 0


def _layout(data: Buffer, walked: Walked, syntax: Syntax, warnings: list[Warning_]) -> tuple[Layout, Syntax]:
    """Where frames and bulk lie (PS3.5 8 and A.4, PS3.3 C.7.6.3); the syntax where only the data say whether
    pixels are encapsulated."""
    dataset, pixels = walked.dataset, walked.pixels
    bulk = walked.bulk
    if (document := bulk.get(_DOCUMENT)) is not None:
        bulk[_DOCUMENT] = _document(dataset, document)
    if pixels is None or pixels.path not in bulk:
        described = all(_number(dataset, tag) for tag in ("00280010", "00280011", "00280100"))
        if described and "00287FE0" not in dataset:
            warnings.append(Warning_("class", "pixels are described, and there are none"))
        return Layout("none", derived=syntax.deflated, bulk=bulk), syntax
    frames = max(_number(dataset, "00280008"), 1)
    bits = _frame_bits(dataset, pixels.path)
    if pixels.items is not None:
        if not syntax.encapsulated:
            if syntax.name:
                raise BadObject("pixel data are encapsulated in a transfer syntax that has none")
            syntax = replace(syntax, encapsulated=True)
        bulk[pixels.path] = bulk[pixels.path]._replace(media_type=syntax.media_type)
        return _encapsulated(data, dataset, bulk, pixels, syntax, frames, bits, warnings), syntax
    if syntax.encapsulated:
        warnings.append(Warning_("class", "pixel data are native in a transfer syntax that encapsulates"))
    return _native(bulk, pixels, syntax, frames, bits, warnings), syntax


def _document(dataset: Dataset, bulk: Bulk) -> Bulk:
    """An Encapsulated Document with its media type, and without its padding (PS3.3 C.24.2)."""
    length = _number(dataset, "00420015")
    stop = bulk.start + length if length == bulk.stop - bulk.start - 1 else bulk.stop
    return bulk._replace(stop=stop, media_type=_text(dataset, "00420012") or bulk.media_type)


def _frame_bits(dataset: Dataset, path: str) -> int:
    """Bits of one native frame (PS3.5 8.1.1), 0 where its description is incomplete."""
    pixel = {"7FE00008": 32, "7FE00009": 64}.get(path) or _number(dataset, "00280100")
    samples = _number(dataset, "00280002") or 1
    if samples == 3 and _text(dataset, "00280004") == "YBR_FULL_422":
        samples = 2
    return _number(dataset, "00280010") * _number(dataset, "00280011") * samples * pixel


def _native(
    bulk: dict[str, Bulk], pixels: Pixels, syntax: Syntax, frames: int, bits: int, warnings: list[Warning_]
) -> Layout:
    length = pixels.stop - pixels.start
    swap = UNITS.get(pixels.vr, 0) if syntax.big_endian else 0
    if not bits:
        if pixels.length > length:
            raise TruncatedObject("the data set ends inside of the pixel data")
        warnings.append(Warning_("class", "the description of the pixels is incomplete"))
        return Layout(
            "opaque",
            1,
            first=pixels.start,
            stop=pixels.stop,
            swap=swap,
            derived=syntax.deflated,
            pixels=pixels.path,
            bulk=bulk,
        )
    needed = (frames * bits + 7) // 8
    if length < needed:
        raise TruncatedObject(f"the pixel data have {length:,} bytes, and {needed:,} are described")
    if pixels.length > length:
        warnings.append(Warning_("elements", "the last padding byte is missing"))
    elif length > needed + (needed & 1):
        warnings.append(Warning_("class", "there are more pixel data than are described"))
    return Layout(
        "bits" if bits % 8 else "native",
        frames,
        first=pixels.start,
        stop=pixels.stop,
        size=bits,
        swap=swap,
        derived=syntax.deflated,
        pixels=pixels.path,
        bulk=bulk,
    )


def _encapsulated(
    data: Buffer,
    dataset: Dataset,
    bulk: dict[str, Bulk],
    pixels: Pixels,
    syntax: Syntax,
    frames: int,
    bits: int,
    warnings: list[Warning_],
) -> Layout:
    assert pixels.items is not None
    size = (bits + 7) // 8 if syntax.uid == ENCAPSULATED_UNCOMPRESSED else 0
    found = fragments.group(data, pixels.items, frames, size, _extended(data, dataset, bulk))
    if found.note and not syntax.video:
        warnings.append(Warning_("class", found.note))
    first = found.starts[0]
    width = 8 if found.starts[-1] - first > 0xFFFFFFFF else 4
    offsets = [start - first for start in found.starts]
    firsts = found.firsts or ()
    kind: Literal["video", "opaque", "encapsulated"] = (
        "video" if syntax.video else "opaque" if found.total is None else "encapsulated"
    )
    return Layout(
        kind,
        found.total if kind == "encapsulated" and found.total is not None else 1,
        first=first,
        stop=pixels.stop,
        size=size,
        derived=False,
        fragments=struct.pack(f"<{len(offsets)}{'Q' if width == 8 else 'I'}", *offsets),
        groups=struct.pack(f"<{len(firsts)}I", *firsts) if kind == "encapsulated" else b"",
        width=width,
        pixels=pixels.path,
        bulk=bulk,
    )


def _extended(data: Buffer, dataset: Dataset, bulk: dict[str, Bulk]) -> bytes:
    """The Extended Offset Table (PS3.3 C.7.6.3.1.8), or nothing."""
    if (place := bulk.get("7FE00001")) is not None:
        return bytes(data[place.start : place.stop])
    return a2b_base64(dataset.get("7FE00001", {}).get("InlineBinary", ""))
