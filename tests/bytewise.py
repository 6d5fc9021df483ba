"""Data sets and Part 10 files byte by byte, right and wrong ones, in every encoding. Nothing of the project or
of pydicom is used, so that what is tested does not make its own input."""

import struct
import zlib
from typing import NamedTuple

PREFIX = "1.2.826.0.1.3680043.10.1234"
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
UNDEFINED = 0xFFFFFFFF


class Encoding(NamedTuple):
    """How elements are written: `order` as `struct` spells it."""

    order: str = "<"
    implicit: bool = False

    def element(self, tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
        """One element; `length` may lie."""
        size = len(value) if length is None else length
        head = struct.pack(f"{self.order}HH", tag >> 16, tag & 0xFFFF)
        if self.implicit:
            return head + struct.pack("<I", size) + value
        if vr in LONG:
            return head + vr.encode() + b"\0\0" + struct.pack(f"{self.order}I", size) + value
        return head + vr.encode("latin-1") + struct.pack(f"{self.order}H", size) + value

    def text(self, tag: int, vr: str, text: str, encoding: str = "ascii") -> bytes:
        """An element of text, padded."""
        value = text.encode(encoding)
        return self.element(tag, vr, value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2))

    def us(self, tag: int, *numbers: int) -> bytes:
        """An element of VR US."""
        return self.element(tag, "US", struct.pack(f"{self.order}{len(numbers)}H", *numbers))

    def item(self, content: bytes, undefined: bool = False) -> bytes:
        """One item, of defined or undefined length."""
        if undefined:
            return self.mark(0xE000, UNDEFINED) + content + self.mark(0xE00D)
        return self.mark(0xE000, len(content)) + content

    def mark(self, element: int, length: int = 0) -> bytes:
        """The header of an item (E000) or a delimiter (E00D, E0DD)."""
        return struct.pack(f"{self.order}HHI", 0xFFFE, element, length)

    def sequence(self, tag: int, *items: bytes, undefined: bool = False, vr: str = "SQ") -> bytes:
        """A sequence of items made by `item`."""
        content = b"".join(items)
        if undefined:
            return self.element(tag, vr, content + self.mark(0xE0DD), UNDEFINED)
        return self.element(tag, vr, content)

    def uids(self, number: int = 1) -> bytes:
        """What identifies an object, but for study and series."""
        return self.text(0x00080016, "UI", CT) + self.text(0x00080018, "UI", f"{PREFIX}.1.1.{number}")

    def identity(self, number: int = 1) -> bytes:
        """The four UIDs."""
        return self.uids(number) + self.family()

    def family(self) -> bytes:
        """Study and series."""
        return self.text(0x0020000D, "UI", f"{PREFIX}.1") + self.text(0x0020000E, "UI", f"{PREFIX}.1.1")

    def description(self, rows: int, columns: int, bits: int = 8, frames: int = 0, samples: int = 1) -> bytes:
        """The attributes that say how large a frame is."""
        return b"".join(
            [
                self.us(0x00280002, samples),
                self.text(0x00280004, "CS", "MONOCHROME2" if samples == 1 else "RGB"),
                self.text(0x00280008, "IS", str(frames)) if frames else b"",
                self.us(0x00280010, rows),
                self.us(0x00280011, columns),
                self.us(0x00280100, bits),
            ]
        )

    def pixels(self, fragments: list[bytes], table: bytes = b"") -> bytes:
        """Encapsulated Pixel Data."""
        items = [self.mark(0xE000, len(table)) + table]
        items += [self.mark(0xE000, len(fragment)) + fragment for fragment in fragments]
        return self.element(0x7FE00010, "OB", b"".join(items) + self.mark(0xE0DD), UNDEFINED)


LITTLE = Encoding()
BIG_ENDIAN = Encoding(">")
WITHOUT_VR = Encoding(implicit=True)
ENCODINGS = {EXPLICIT: LITTLE, BIG: BIG_ENDIAN, IMPLICIT: WITHOUT_VR, DEFLATED: LITTLE}


def meta(syntax: str = EXPLICIT, *, sop_class: str = CT, instance: str = f"{PREFIX}.1.1.1") -> bytes:
    """Preamble and File Meta group; `syntax` "" leaves the transfer syntax out."""
    group = b"".join(
        [
            LITTLE.element(0x00020001, "OB", b"\0\1"),
            LITTLE.text(0x00020002, "UI", sop_class),
            LITTLE.text(0x00020003, "UI", instance),
            LITTLE.text(0x00020010, "UI", syntax) if syntax else b"",
            LITTLE.text(0x00020012, "UI", f"{PREFIX}.0"),
        ]
    )
    return bytes(128) + b"DICM" + LITTLE.element(0x00020000, "UL", struct.pack("<I", len(group))) + group


def file(dataset: bytes, syntax: str = EXPLICIT) -> bytes:
    """A Part 10 file."""
    if syntax == DEFLATED:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        dataset = deflater.compress(dataset) + deflater.flush()
        dataset += bytes(len(dataset) % 2)
    return meta(syntax) + dataset
