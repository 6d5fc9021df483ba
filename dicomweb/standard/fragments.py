"""Fragments of encapsulated Pixel Data: where they lie, which of them make which frame (PS3.5 A.4, PS3.3
C.7.6.3.1.8).

Offset tables are believed where they fit the fragments; real files have empty, wrong and missing ones. Then
the number of fragments, the known size of a frame, or the marker at the beginning of each compressed frame
decides. Nothing of a frame is read but its first bytes, and these only in the last case.
"""

import struct
from array import array
from bisect import bisect_left
from typing import NamedTuple

from dicomweb.errors import BadObject, ObjectTooComplex, TruncatedObject
from dicomweb.standard.headers import UNDEFINED, Buffer, Form

# First bytes of a frame: JPEG and JPEG-LS (ITU-T T.81 B.1.1.3), JPEG 2000 and HTJ2K codestream (T.800 A.4.1),
# JP2 and JPEG XL box files and JPEG XL codestream (ISO/IEC 18181-2)
_MARKERS = (
    b"\xff\xd8\xff",
    b"\xff\x4f\xff\x51",
    b"\0\0\0\x0cjP  ",
    b"\0\0\0\x0cJXL ",
    b"\xff\x0a",
)


class Frames(NamedTuple):
    """The frames that were found.

    Attributes:
        starts: where the value of each fragment begins, and behind the last one where the value of the next
            would begin.
        firsts: the index of the first fragment of each frame, and the number of fragments; None where each
            frame is one fragment, or nothing is known.
        total: of frames; 0 without any, None where they cannot be told apart.
        note: a sentence on what was wrong, or "".
    """

    starts: "array[int]"
    firsts: "array[int] | None"
    total: int | None
    note: str = ""


def find(buffer: Buffer, form: Form, name: str, position: int, stop: int, limit: int) -> "array[int]":
    """Find the items of an encapsulated value (PS3.5 A.4); only their headers are read.

    Args:
        buffer: holds the data set.
        form: how items are encoded.
        name: tag of the element.
        position: where the first item begins.
        stop: where the data set ends.
        limit: how many items there may be.

    Returns:
        Where the value of each item begins, and last the end of the Sequence Delimitation Item, which is where
        the value of the next item would begin.

    Raises:
        TruncatedObject: the bytes end before the fragments do.
        ObjectTooComplex: there are more than the limit.
        BadObject: there is something else among them.
    """
    header = form.item
    items = array("Q")
    while True:
        if position + 8 > stop:
            raise TruncatedObject(f"the data set ends inside of the fragments of {name}")
        group, number, length = header(buffer, position)
        position += 8
        items.append(position)
        if group == 0xFFFE and number == 0xE0DD:
            return items
        if group != 0xFFFE or number != 0xE000 or length == UNDEFINED:
            raise BadObject(f"{name} holds something other than fragments")
        position += length
        if position > stop:
            raise TruncatedObject(f"the data set ends inside of a fragment of {name}")
        if len(items) > limit:
            raise ObjectTooComplex("encapsulated data have more fragments than the limit")


def group(buffer: Buffer, items: "array[int]", frames: int, size: int = 0, extended: bytes = b"") -> Frames:
    """Tell the frames apart (PS3.5 A.4).

    Args:
        buffer: holds the object.
        items: of the pixel element, see `elements.Pixels`.
        frames: Number of Frames, at least 1.
        size: of one frame in bytes where it is not compressed, else 0.
        extended: value of the Extended Offset Table (7FE0,0001), or empty.
    """
    starts = items[1:]
    count = max(len(starts) - 1, 0)
    table = bytes(buffer[items[0] : items[1] - 8]) if len(items) > 1 else b""
    if _is_no_table(buffer, items, table, frames):
        starts, count, table = items, len(items) - 1, b""
    if not count:
        return Frames(starts, None, 0, "there are no fragments of pixel data")
    note = ""
    for unit, raw in (("Q", extended), ("I", table)):
        if not raw:
            continue
        firsts = _by_table(raw, unit, starts, frames)
        if firsts is not None:
            return Frames(starts, None if len(firsts) == count + 1 else firsts, frames)
        note = "the offset table does not fit the fragments"
    if count == frames:
        return Frames(starts, None, frames, note)
    if frames == 1:
        return Frames(starts, array("I", [0, count]), 1, note)
    firsts = _by_size(starts, size) if size else _by_marker(buffer, starts)
    if firsts is None:
        return Frames(starts, None, None, "the frames cannot be told apart")
    if len(firsts) - 1 != frames:
        note = "there is another number of frames than Number of Frames says"
    return Frames(starts, firsts, len(firsts) - 1, note)


def _is_no_table(buffer: Buffer, items: "array[int]", table: bytes, frames: int) -> bool:
    """Whether the first item, where the table belongs, is a frame already."""
    if not table or len(items) - 1 not in (1, frames):
        return False
    if len(items) == 2 and frames == 1:
        return table != b"\0\0\0\0"
    return table.startswith(_MARKERS)


def _by_table(raw: bytes, unit: str, starts: "array[int]", frames: int) -> "array[int] | None":
    """Read a table of offsets from the first fragment's item on; None if it does not fit."""
    width = 8 if unit == "Q" else 4
    if len(raw) != width * frames:
        return None
    offsets = struct.unpack(f"<{frames}{unit}", raw)
    origin = starts[0]
    if len(starts) == frames + 1:
        same = all(start - origin == offset for start, offset in zip(starts, offsets, strict=False))
        return array("I", range(frames + 1)) if same else None
    firsts = array("I")
    index = -1
    for offset in offsets:
        place = bisect_left(starts, origin + offset, index + 1)
        if place >= len(starts) - 1 or starts[place] != origin + offset:
            return None
        index = place
        firsts.append(place)
    if firsts[0] != 0:
        return None
    firsts.append(len(starts) - 1)
    return firsts


def _by_size(starts: "array[int]", size: int) -> "array[int] | None":
    """Fill frame after frame; each ends with a fragment, whose last byte may be padding."""
    firsts = array("I", [0])
    filled = 0
    for index in range(len(starts) - 1):
        filled += starts[index + 1] - 8 - starts[index]
        if filled > size + 1:
            return None
        if filled >= size:
            firsts.append(index + 1)
            filled = 0
    return None if filled else firsts


def _by_marker(buffer: Buffer, starts: "array[int]") -> "array[int] | None":
    """A frame begins where a fragment begins as the first one does."""
    head = bytes(buffer[starts[0] : min(starts[0] + 12, starts[1] - 8)])
    marker = next((marker for marker in _MARKERS if head.startswith(marker)), None)
    if marker is None:
        return None
    size = len(marker)
    firsts = array(
        "I",
        (index for index in range(len(starts) - 1) if buffer[starts[index] : starts[index] + size] == marker),
    )
    firsts.append(len(starts) - 1)
    return firsts
