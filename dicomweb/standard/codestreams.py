"""What a compressed frame says of itself: size, samples, bits (PS3.5 8.2.1, A.4).

Metadata of a Store request may leave the Image Pixel Description to the codestream (PS3.18 10.5.1.4). JPEG,
JPEG-LS (ISO 10918-1, 14495-1) and JPEG 2000 with its high-throughput form (ISO 15444-1, -15) tell it in their
first markers; of other codestreams nothing is said.
"""

import struct
from typing import Any, NamedTuple

from dicomweb.standard import syntaxes

HEAD = 64 << 10
"""Bytes from the beginning of a codestream that are enough to find its description in."""

# Start of frame, of every process but the differential ones; F7 is JPEG-LS.
_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB, 0xF7))
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
_JPEG_LOSSY = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))


class Picture(NamedTuple):
    """One frame as its codestream describes it (PS3.3 C.7.6.3.1).

    Attributes:
        rows, columns: in pixels.
        samples: per pixel.
        bits: of a sample.
        signed: whether samples are two's complement.
        photometric: Photometric Interpretation, as far as the codestream tells it.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool
    photometric: str

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return the Image Pixel Description as DICOM JSON model (PS3.3 C.7.6.3)."""
        described = {
            "00280002": self.samples,
            "00280010": self.rows,
            "00280011": self.columns,
            "00280100": -(-self.bits // 8) * 8,
            "00280101": self.bits,
            "00280102": self.bits - 1,
            "00280103": int(self.signed),
        }
        if self.samples > 1:
            described["00280006"] = 0
        elements: dict[str, dict[str, Any]] = {tag: {"vr": "US", "Value": [value]} for tag, value in described.items()}
        elements["00280004"] = {"vr": "CS", "Value": [self.photometric]}
        return elements


def read_picture(head: bytes, syntax: str) -> Picture | None:
    """Read the description of a frame (PS3.5 8.2.1 to 8.2.4).

    Args:
        head: the beginning of the codestream, `HEAD` bytes or all of it.
        syntax: Transfer Syntax UID that the frame is in.

    Returns:
        The description, or None where the codestream is of another kind or damaged.
    """
    try:
        if head.startswith(b"\xff\xd8"):
            return _read_jpeg(head)
        if syntaxes.syntax_of(syntax).media_type in {"image/jp2", "image/jphc"}:
            return _read_jpeg2000(head)
    except (struct.error, IndexError, ValueError):
        return None
    return None


def _read_jpeg(head: bytes) -> Picture | None:
    place, transform = 2, None
    while True:
        if head[place] != 0xFF:
            return None
        marker = head[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        place += 2
        if marker in _ALONE:
            continue
        (size,) = struct.unpack_from(">H", head, place)
        if marker == 0xEE and head[place + 2 : place + 7] == b"Adobe":
            transform = head[place + 13]
        if marker in _FRAMES:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", head, place + 2)
            names = bytes(head[place + 8 + 3 * number] for number in range(samples))
            return Picture(rows, columns, samples, bits, False, _colours(marker, samples, names, transform))
        place += size


def _colours(marker: int, samples: int, names: bytes, transform: int | None) -> str:
    """The colour space of a JPEG: lossy ones hold luminance and chrominance unless they say otherwise."""
    if samples == 1:
        return "MONOCHROME2"
    if marker not in _JPEG_LOSSY or transform == 0 or names == b"RGB":
        return "RGB"
    return "YBR_FULL_422"


def _read_jpeg2000(head: bytes) -> Picture | None:
    place = head.index(b"\xff\x4f\xff\x51") + 4
    right, lower, left, upper = struct.unpack_from(">4I", head, place + 4)
    (samples,) = struct.unpack_from(">H", head, place + 36)
    depth = head[place + 38]
    photometric = "MONOCHROME2" if samples == 1 else "RGB"
    coding = head.find(b"\xff\x52", place + 38)
    if samples == 3 and coding >= 0 and head[coding + 8]:
        photometric = "YBR_RCT" if head[coding + 13] == 1 else "YBR_ICT"
    return Picture(lower - upper, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80), photometric)
