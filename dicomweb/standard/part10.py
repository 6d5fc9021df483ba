"""One SOP instance in its bytes: File Meta group, transfer syntax, data set, identity, layout (PS3.10 7).

What the Standard asks for and old devices leave out is made good: preamble, File Meta group, a transfer
syntax that is named, and named rightly. What is refused is refused with a reason: bytes that end too early,
objects without identity, bombs.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from dicomweb.errors import (
    BadIdentity,
    BadObject,
    ObjectTooLarge,
    TruncatedObject,
    UnsupportedSyntax,
)
from dicomweb.standard.elements import Limits, walk
from dicomweb.standard.frames import Layout
from dicomweb.standard.headers import UNDEFINED, Buffer
from dicomweb.standard.layouts import Warning_, layout_of, text
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.syntaxes import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    Syntax,
    syntax_of,
)
from dicomweb.standard.uids import is_uid, read_uid
from dicomweb.standard.values import LONG, SHORT

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"

_CHUNK = 1 << 20
_FREE_RATIO = 16 << 20
"""Bytes that a data set may inflate to whatever its ratio: blank images compress a thousand times."""
_VRS = frozenset(vr.encode() for vr in SHORT | LONG)


class Scratch(Protocol):
    """Where an inflated data set goes; `io.BytesIO` is one."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""

    def getbuffer(self) -> Buffer:
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
        sop_class, instance = text(head.meta, "00020002"), text(head.meta, "00020003")
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
    if text(meta, "00020002") == MEDIA_STORAGE_DIRECTORY:
        raise BadObject("it is a DICOMDIR, which lists the objects of a medium and is none itself")
    named = text(meta, "00020010")
    if not named:
        syntax = _guessed(buffer, start, bool(meta))
        warnings.append(Warning_("meta", "no transfer syntax is named; it was guessed"))
    else:
        syntax = syntax_of(named)
    if not syntax.kept:
        raise UnsupportedSyntax(
            f"objects in {syntax.name} have no pixels of their own and are not kept",
            text(meta, "00020002"),
            text(meta, "00020003"),
        )
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


def _guessed(buffer: Buffer, start: int, certain: bool) -> Syntax:
    """The transfer syntax of a data set that does not name it, by its first element (PS3.5 7.1). Unless it is
    certain that this is DICOM, it must be an element that a data set can begin with."""
    head = bytes(buffer[start : start + 8])
    if len(head) < 8:
        raise TruncatedObject("there is no data set") if certain else BadObject("it is no DICOM object")
    if head[4:6] in _VRS:
        return syntax_of(BIG_ENDIAN if head[0] == 0 and head[1] else EXPLICIT)
    group, _, length = struct.unpack("<HHI", head)
    fits = length == UNDEFINED or start + 8 + length <= len(buffer)
    if not fits or not (certain or group in (0x0000, 0x0004, 0x0008)):
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
    sop_class, instance = text(dataset, "00080016"), text(dataset, "00080018")
    try:
        uids = _identity(dataset, warnings)
        warnings += [Warning_("elements", sentence) for sentence in walked.warnings]
        if any(
            (named := text(meta, tag)) and named != uid
            for tag, uid in (("00020002", sop_class), ("00020003", instance))
        ):
            warnings.append(Warning_("class", "the File Meta group names another object than the data set"))
        layout, syntax = layout_of(data, walked, syntax, warnings)
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


def _inflate(buffer: Buffer, start: int, limits: Limits, scratch: Scratch) -> Buffer:
    """Inflate a data set piece by piece (PS3.5 A.5), within the limits."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    position, size = start, 0
    while not inflater.eof:
        piece = inflater.unconsumed_tail or bytes(buffer[position : position + _CHUNK])
        if not inflater.unconsumed_tail:
            position += len(piece)
        try:
            inflated = inflater.decompress(piece, _CHUNK)
        except zlib.error as error:
            raise BadObject("the data set is not deflated as its transfer syntax says") from error
        if not piece and not inflated:  # without input there may still be output left inside
            raise TruncatedObject("the deflated data set ends too early")
        size += len(inflated)
        if size > limits.inflate:
            raise ObjectTooLarge(f"the data set inflates to more than the limit of {limits.inflate:,} bytes")
        if size > _FREE_RATIO and size > limits.inflate_ratio * (position - start):
            raise ObjectTooLarge(f"the data set inflates to more than {limits.inflate_ratio} times its size")
        scratch.write(inflated)
    return scratch.getbuffer()
