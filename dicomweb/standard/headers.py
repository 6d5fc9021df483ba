"""Element headers: what their raw bytes mean (PS3.5 7.1, A.1, A.2, A.3).

The first bytes of an element (tag and VR, or in Implicit VR the tag) are looked up in tables that fill as they
are asked. An entry says all that can be said before the value is seen: the tag as text, the VR, how its value
is converted, or what else is to be done.
"""

import struct
from functools import lru_cache
from mmap import mmap
from typing import Any, NamedTuple, TypeAlias

from dicomweb.errors import BadObject, TruncatedObject
from dicomweb.standard import dictionary
from dicomweb.standard.values import BIG, BINARY, LITTLE, LONG, SHORT, UNITS, Convert

Buffer: TypeAlias = bytes | bytearray | memoryview | mmap

UNDEFINED = 0xFFFFFFFF
"""A length that is not written (PS3.5 7.1.1)."""

_PIECE = 1 << 16
_ZEROS = bytes(_PIECE)

# What is to be done with an element
PLAIN = 0
"""Convert the value."""
SEQUENCE = 1
LARGE = 2
"""Convert the value or make it bulk data; in Explicit VR, the length has 32 bits."""
PRIVATE = 3
"""Ask the private creator; where the VR should be, the entry has the tag of the creator's element."""
UNKNOWN = 4
"""Explicit VR UN of a tag that the dictionary may know; the entry has the VR that it would have."""
SIGNED = 5
"""Implicit VR "US or SS": the sign of pixels decides."""
DROPPED = 6
"""Skip: group lengths, groups 0000 and 0002."""
CHARSET = 7
MARK = 8
"""A delimiter, or padding or zeros behind the data set."""
STRANGE = 9
"""Explicit VR with a VR that does not exist; the entry has it as it stands."""

Entry: TypeAlias = tuple[str, str, Convert | None, int]
"""Tag as eight hexadecimal digits, VR, converter, what is to be done."""

TABLE_LIMIT = 1 << 16
"""A table does not grow further; the rest is made anew each time."""

# PS3.3 C.7.6.3: Pixel Data, Float Pixel Data, Double Float Pixel Data
PIXELS = frozenset(("7FE00010", "7FE00008", "7FE00009"))
# Bytes of one number of VRs of fixed width (PS3.5 6.2)
WIDTHS = {vr: width for vr, width in {**UNITS, "AT": 4}.items() if vr not in BINARY}


def settled(vr: str | None) -> str:
    """Return the one VR that stands for an entry of the data dictionary in Implicit VR (PS3.5 A.1): "OW" for
    "OB or OW", "UN" for none; "US or SS" is left as it is."""
    if vr is None or vr in LITTLE or vr in ("SQ", "US or SS"):
        return vr or "UN"
    vr = "OW" if vr.endswith("OW") else vr.split(" ")[0]
    return vr if vr in LITTLE else "UN"


Private: TypeAlias = tuple[str, Convert | None, int]
"""VR of a private tag, its converter, and bytes of one number (1 where it has none)."""

NOBODY: Private = ("UN", LITTLE["UN"], 1)


@lru_cache(maxsize=TABLE_LIMIT)
def private(creator: str, name: str) -> Private:
    """Return what the private dictionary knows about a tag (PS3.5 7.8.1); VR UN if it knows nothing."""
    vr = settled(dictionary.private_vr_of(creator, int(name, 16)))
    return vr, LITTLE.get("US" if vr == "US or SS" else vr), WIDTHS.get(vr, 1)


def known(name: str) -> str:
    """Return the VR of a public tag (PS3.6 6) or of a private creator (PS3.5 7.8.1), as `settled`."""
    tag = int(name, 16)
    if tag >> 16 & 1:
        return "LO" if 0x10 <= tag & 0xFFFF <= 0xFF else "UN"
    return settled(dictionary.vr_of(tag))


def is_private(name: str) -> bool:
    """Say whether a tag belongs to a block that a private creator reserves (PS3.5 7.8.1)."""
    return name[3] in "13579BDF" and name[4:] > "00FF"


def creator_of(name: str) -> str:
    """Return the tag of the element that names the creator of a private tag (PS3.5 7.8.1)."""
    return f"{name[:4]}00{name[4:6]}"


def _common(name: str, group: str) -> int | None:
    """What is to be done whatever the VR; `group` is the one of 0000 and 0002 that is read nevertheless."""
    if name[:4] in ("FFFE", "FFFC"):
        return MARK
    if name[4:] == "0000" or (name[:4] in ("0000", "0002") and name[:4] != group):
        return DROPPED
    return CHARSET if name == "00080005" else None


class Explicit(dict[bytes, Entry]):
    """Entries by the six bytes of tag and VR.

    Args:
        order: of bytes, as `struct` spells it.
        converters: for this order.
        group: "0002" for a File Meta group.
    """

    def __init__(self, order: str, converters: dict[str, Convert], group: str = "") -> None:
        super().__init__()
        self.tag = struct.Struct(f"{order}HH").unpack_from
        self.converters = converters
        self.group = group

    def __missing__(self, key: bytes) -> Entry:
        group, number = self.tag(key)
        name = f"{group:04X}{number:04X}"
        vr = key[4:].decode("latin-1")
        kind = _common(name, self.group)
        if vr not in SHORT and vr not in LONG and kind != MARK:
            kind = MARK if key == bytes(6) else STRANGE
        elif kind is None:
            if vr in SHORT:
                kind = PLAIN
            elif vr == "UN" and name not in PIXELS:
                kind = PRIVATE if is_private(name) else UNKNOWN
                vr = creator_of(name) if kind == PRIVATE else known(name)
            else:
                kind = SEQUENCE if vr == "SQ" else LARGE
        entry = name, vr, self.converters[vr] if kind == PLAIN else None, kind
        if len(self) < TABLE_LIMIT:
            self[key] = entry
        return entry


class Implicit(dict[bytes, Entry]):
    """Entries by the four bytes of the tag; arguments as of `Explicit`."""

    def __init__(self, group: str = "") -> None:
        super().__init__()
        self.group = group

    def __missing__(self, key: bytes) -> Entry:
        group, number = struct.unpack("<HH", key)
        name = f"{group:04X}{number:04X}"
        vr = known(name)
        kind = MARK if key == bytes(4) else _common(name, self.group)
        if kind is None:
            if is_private(name):
                kind = PRIVATE
                vr = creator_of(name)
            elif vr == "US or SS":
                kind = SIGNED
                vr = "US"
            else:
                kind = SEQUENCE if vr == "SQ" else LARGE if vr in BINARY else PLAIN
        entry = name, vr, LITTLE[vr] if kind == PLAIN else None, kind
        if len(self) < TABLE_LIMIT:
            self[key] = entry
        return entry


class Form(NamedTuple):
    """How elements are written in a data set and all that it holds.

    Attributes:
        explicit: whether VRs are written.
        big: whether numbers are big endian.
        head: reads the key of the table and a length (of 16 bits in Explicit VR, else of 32).
        long: reads a length of 32 bits.
        item: reads group, element number and length of an item.
        table: entries by key.
    """

    explicit: bool
    big: bool
    head: Any
    long: Any
    item: Any
    table: Explicit | Implicit


def _form(head: str, order: str, table: Explicit | Implicit) -> Form:
    return Form(
        isinstance(table, Explicit),
        order == ">",
        struct.Struct(order + head).unpack_from,
        struct.Struct(f"{order}I").unpack_from,
        struct.Struct(f"{order}HHI").unpack_from,
        table,
    )


EXPLICIT_LITTLE = _form("6sH", "<", Explicit("<", LITTLE))
EXPLICIT_BIG = _form("6sH", ">", Explicit(">", BIG))
IMPLICIT_LITTLE = _form("4sI", "<", Implicit())
# PS3.10 7.1: group 0002 is in Explicit VR Little Endian, and in some old files is not
META = _form("6sH", "<", Explicit("<", LITTLE, "0002"))
IMPLICIT_META = _form("4sI", "<", Implicit("0002"))


def guess(buffer: Buffer, form: Form, name: str, vr: str, position: int, stop: int) -> tuple[str, int, int]:
    """Guess at the header of an element whose VR PS3.5 does not list.

    VRs to come will have lengths of 32 bits behind two zero bytes (PS3.5 6.2.2, 7.1.2). Where no letters are,
    some devices wrote an element in Implicit VR.

    Args:
        buffer: holds the data set.
        form: Explicit VR, in either byte order.
        name: the tag.
        vr: as it stands.
        position: behind the first eight bytes of the header.
        stop: where the bytes end.

    Returns:
        The VR of the data dictionary, the length, and where the value begins.

    Raises:
        TruncatedObject: the bytes end inside of the header.
        BadObject: no length makes sense.
    """
    fallback = "US" if (fallback := known(name)) == "US or SS" else fallback
    letters = (vr.isascii() and vr.isalpha() and vr.isupper()) or vr == "??"
    if letters:
        length = int.from_bytes(buffer[position - 2 : position], "big" if form.big else "little")
        if not length and fallback not in SHORT:
            if position + 4 > stop:
                raise TruncatedObject(f"the data set ends inside of the header of {name}")
            (length,) = form.long(buffer, position)
            position += 4
    elif fallback == "UN" and not is_private(name):
        raise BadObject("there is something that is no element")
    else:
        (length,) = form.long(buffer, position - 4)
    if length != UNDEFINED and position + length > stop:
        raise BadObject(f"{name} has a VR that does not exist, and no length that can be")
    return fallback, length, position


def is_explicit(buffer: Buffer, position: int, stop: int) -> bool:
    """Say whether a sequence of unknown VR is in Explicit VR, against PS3.5 6.2.2: its first element has the
    letters of a VR where a length should be, which would lead out of the data set.

    Args:
        buffer: holds the data set.
        position: where the first item begins.
        stop: where the bytes end.
    """
    head = bytes(buffer[position + 8 : min(position + 16, stop)])
    if len(head) < 8 or head[2:4] == b"\xfe\xff" or head[4:6].decode("latin-1") not in SHORT | LONG:
        return False
    return position + 16 + int.from_bytes(head[4:8], "little") > stop


def are_zero(buffer: Buffer, start: int, stop: int) -> bool:
    """Say whether all bytes of a range are zero, as behind the last element of padded files (PS3.10 7.2 has
    an element for that, old devices have not); looked at piece by piece."""
    return all(
        bytes(buffer[place : min(place + _PIECE, stop)]) == _ZEROS[: stop - place]
        for place in range(start, stop, _PIECE)
    )
