"""What a compressed frame says of itself: size, samples, bits, and whether it is there to its end (PS3.5 8.2, A.4).

Metadata of a Store request may leave the Image Pixel Description to the codestream (PS3.18 10.5.1.4), and nothing is
decoded before its size is known to be the one described. JPEG, JPEG-LS (ISO 10918-1, 14495-1), JPEG 2000 with its
high-throughput form (ISO 15444-1, -15) and JPEG XL (ISO 18181-1) tell it in their first bytes; RLE does not.
"""

import struct
from typing import Any, NamedTuple

from dicomweb.standard import syntaxes

HEAD = 64 << 10
"""Bytes from the beginning of a codestream that are enough to find its description in."""

# Start of frame, of every process but the differential ones; F7 is JPEG-LS.
_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB, 0xF7))
_TILE_PART = 0xFF90
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
        process: the marker code that a JPEG frame begins with (C0 is baseline, C3 lossless, F7 JPEG-LS), else 0.
        colours: "RGB" or "YBR" where a JPEG says so itself, by a marker or the names of its components; else "".
        subsampled: whether chrominance is coarser than luminance.
        reversible: whether a JPEG 2000 codestream has the reversible wavelet transform.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool
    photometric: str
    process: int = 0
    colours: str = ""
    subsampled: bool = False
    reversible: bool = False

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
        media_type = syntaxes.syntax_of(syntax).media_type
        if media_type in {"image/jp2", "image/jpx", "image/jphc"}:
            return _read_jpeg2000(head)
        if media_type == "image/jxl":
            return _read_jpeg_xl(head)
    except (struct.error, IndexError, ValueError):
        return None
    return None


def is_whole(data: bytes, syntax: str) -> bool:
    """Whether a codestream goes on to its end (PS3.5 8.2): decoders fill what is missing of JPEG and HTJ2K.

    Args:
        data: the whole codestream of a frame, with or without padding.
        syntax: Transfer Syntax UID that the frame is in.

    Returns:
        False for a JPEG without an end of image behind its first scan, and for a JPEG 2000 codestream whose parts
        of tiles reach behind its end; True else, of other codestreams without a look.
    """
    try:
        media_type = syntaxes.syntax_of(syntax).media_type
        if data.startswith(b"\xff\xd8") or media_type in {"image/jpeg", "image/jls"}:
            return data.rfind(b"\xff\xd9") > data.index(b"\xff\xda")
        if media_type in {"image/jp2", "image/jpx", "image/jphc"}:
            return _reaches_end(data)
    except (struct.error, ValueError):
        return False
    return True


def _reaches_end(data: bytes) -> bool:
    """Follow the lengths of a JPEG 2000 codestream's tile-parts (ISO 15444-1 A.4.2)."""
    place = data.index(b"\xff\x4f\xff\x51") + 2
    tiles = _tiles(data, place)
    while True:
        marker, size = struct.unpack_from(">HH", data, place)
        if marker == _TILE_PART:
            break
        place += 2 + size
    missing: dict[int, int] = {}
    while place + 12 <= len(data):
        marker, _, tile, length, _, parts = struct.unpack_from(">HHHIBB", data, place)
        if marker != _TILE_PART:
            break
        if length == 0:
            return True
        missing[tile] = (missing.get(tile) or parts or 1) - 1
        place += max(length, 12)
    ended = data[place : place + 2] == b"\xff\xd9"
    return place <= len(data) and (ended or (len(missing) == tiles and not any(missing.values())))


def _tiles(data: bytes, place: int) -> int:
    """How many tiles there are (ISO 15444-1 B.3)."""
    right, lower, _, _, width, height, left, upper = struct.unpack_from(">8I", data, place + 6)
    if not (width and height):
        raise ValueError("tiles have no size")
    return -((left - right) // width) * -((upper - lower) // height)


def _read_jpeg(head: bytes) -> Picture | None:
    place, transform, jfif = 2, None, False
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
        jfif = jfif or (marker == 0xE0 and head[place + 2 : place + 6] == b"JFIF")
        if marker in _FRAMES:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", head, place + 2)
            names = bytes(head[place + 8 + 3 * number] for number in range(samples))
            factors = {head[place + 9 + 3 * number] for number in range(samples)}
            colours = {0: "RGB", 1: "YBR"}.get(-1 if transform is None else transform, "")
            colours = colours or ("RGB" if names == b"RGB" else "YBR" if jfif else "")
            return Picture(
                rows,
                columns,
                samples,
                bits,
                False,
                _colours(marker, samples, names, transform),
                marker,
                colours if samples == 3 else "",
                len(factors) > 1,
            )
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
    right, lower, left, upper, *tiles = struct.unpack_from(">8I", head, place + 4)
    if not _tiled(left, right, tiles[0], tiles[2]) or not _tiled(upper, lower, tiles[1], tiles[3]):
        return None
    (samples,) = struct.unpack_from(">H", head, place + 36)
    depth = head[place + 38]
    photometric = "MONOCHROME2" if samples == 1 else "RGB"
    together, transform = _coding(head, place)
    if samples == 3 and together:
        photometric = "YBR_RCT" if transform == 1 else "YBR_ICT"
    factors = {head[place + 39 + 3 * number : place + 41 + 3 * number] for number in range(samples)}
    return Picture(
        lower - upper,
        right - left,
        samples,
        (depth & 0x7F) + 1,
        bool(depth & 0x80),
        photometric,
        subsampled=len(factors) > 1,
        reversible=transform == 1,
    )


def _tiled(first: int, last: int, side: int, start: int) -> bool:
    """Whether tiles begin at the picture or before it and the first of them reaches into it (ISO 15444-1 B.3): some
    decoders look for the others for ever."""
    return start <= first < min(last, start + side)


def _coding(head: bytes, place: int) -> tuple[int, int]:
    """Of the coding style: whether components were transformed together, and the wavelet, 1 for the reversible one
    (ISO 15444-1 A.6.1); of a header that goes on behind `head`, neither."""
    while place + 16 <= len(head):
        marker, size = struct.unpack_from(">HH", head, place - 2)
        if marker == 0xFF52:
            return head[place + 6], head[place + 11]
        if marker == _TILE_PART:
            break
        place += 2 + size
    return 0, 0


class _Bits:
    """Bits of a JPEG XL codestream, from the lowest of its first byte on (ISO 18181-1 B.2)."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")
        self._count = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._count:
            raise ValueError("the codestream ends in its header")
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        self._count -= count
        return value

    def choose(self, *ways: tuple[int, int]) -> int:
        """A number in one of four ways: what is added, and to how many bits."""
        added, count = ways[self.take(2)]
        return added + self.take(count)


_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIDES = ((1, 9), (1, 13), (1, 18), (1, 30))
_SMALL = 512
_BOXES = 16


def _read_jpeg_xl(head: bytes) -> Picture | None:
    """Read the headers of a JPEG XL image, bare or in its container (ISO 18181-1 D, 18181-2)."""
    start = _codestream(head)
    if start is None or head[start : start + 2] != b"\xff\x0a":
        return None
    bits = _Bits(head[start + 2 : start + 2 + _SMALL])
    rows, columns = _size(bits)
    if bits.take(1):
        return Picture(rows, columns, 3, 8, False, "XYB")
    if bits.take(1):
        bits.take(3)
        if bits.take(1):
            _size(bits)
        if bits.take(1) or bits.take(1):
            return None
    depth = _depth(bits)
    if depth is None:
        return None
    bits.take(1)
    if bits.choose((0, 0), (1, 0), (2, 4), (1, 12)):
        return None
    xyb = bits.take(1)
    samples = 3
    if not bits.take(1):
        bits.take(1)
        samples = 1 if bits.choose((0, 0), (1, 0), (2, 4), (18, 6)) == 1 else 3
    photometric = "MONOCHROME2" if samples == 1 else "XYB" if xyb else "RGB"
    return Picture(rows, columns, samples, depth, False, photometric)


def _codestream(head: bytes) -> int | None:
    """Where the codestream begins in a container of boxes (ISO 18181-2)."""
    if not head.startswith(b"\0\0\0\x0cJXL "):
        return 0
    place = 0
    for _ in range(_BOXES):
        size, kind = struct.unpack_from(">I4s", head, place)
        inner = place + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", head, inner)
            inner += 8
        if kind == b"jxlc":
            return inner
        if kind == b"jxlp":
            return inner + 4
        if size < 8:
            return None
        place += size
    return None


def _size(bits: _Bits) -> tuple[int, int]:
    """Rows and columns (ISO 18181-1 D.2)."""
    small = bits.take(1)
    rows = 8 * (bits.take(5) + 1) if small else bits.choose(*_SIDES)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio]
        return rows, rows * across // down
    return rows, 8 * (bits.take(5) + 1) if small else bits.choose(*_SIDES)


def _depth(bits: _Bits) -> int | None:
    """Bits of a sample; None where samples are floating point (ISO 18181-1 D.3.1)."""
    if bits.take(1):
        return None
    return bits.choose((8, 0), (10, 0), (12, 0), (1, 6))
