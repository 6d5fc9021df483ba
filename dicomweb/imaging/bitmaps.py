"""PNG and GIF files of strangers: how large they will be, and what becomes of them (PS3.18 Table 10.5.2-1; ISO/IEC
15948, GIF89a). `unpacking` decodes them.

No numpy.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from dicomweb.errors import Undecodable
from dicomweb.standard.pixels import Format

PNG = b"\x89PNG\r\n\x1a\n"
"""How a PNG begins."""

_LARGEST_SIDE = 0xFFFF
_HEADER = struct.Struct("<HId")


class Size(NamedTuple):
    """How large a picture is once decoded.

    Attributes:
        rows, columns: of a frame.
        frames: that there are.
        bytes: of all of it, at most.
    """

    rows: int
    columns: int
    frames: int
    bytes: int


class Bitmap(NamedTuple):
    """A picture as native pixels.

    Attributes:
        format: of each frame: 8 or 16 bits, MONOCHROME2 or RGB.
        frames: that there are.
        milliseconds: that a frame of an animation is seen, on average; 0 where that is not told.
        pixels: all frames, little endian.
    """

    format: Format
    frames: int
    milliseconds: float
    pixels: bytes

    def to_bytes(self) -> bytes:
        """Write the picture in a form of our own."""
        format = self.format.to_bytes()
        return _HEADER.pack(len(format), self.frames, self.milliseconds) + format + self.pixels

    @classmethod
    def from_bytes(cls, data: bytes) -> "Bitmap":
        """Read what `to_bytes` wrote."""
        size, frames, milliseconds = _HEADER.unpack_from(data)
        start = _HEADER.size
        return cls(Format.from_bytes(data[start : start + size]), frames, milliseconds, data[start + size :])


def measure(data: bytes) -> Size:
    """Read how large a PNG or GIF will be, without decoding it.

    Raises:
        Undecodable: it is neither, or damaged.
    """
    try:
        if data.startswith(PNG):
            columns, rows, depth, colour = struct.unpack_from(">IIBB", data, 16)
            channels = {0: 2, 2: 4, 3: 4, 4: 2, 6: 4}[colour]
            frames, sample = 1, 2 if depth == 16 else 1
        elif data[:6] in {b"GIF87a", b"GIF89a"}:
            columns, rows = struct.unpack_from("<HH", data, 6)
            frames, channels, sample = sum(1 for _ in _images(data)), 4, 1
        else:
            raise Undecodable("a picture is neither PNG nor GIF, whatever its media type says")
    except (struct.error, IndexError, KeyError) as error:
        raise Undecodable("a picture is damaged") from error
    if not (0 < rows <= _LARGEST_SIDE and 0 < columns <= _LARGEST_SIDE) or not frames:
        raise Undecodable("a picture has no pixels, or more rows or columns than an object can have")
    return Size(rows, columns, frames, rows * columns * channels * sample * frames)


def _images(data: bytes) -> Iterator[int]:
    """Yield where each image of a GIF begins."""
    place = 13 + _table(data[10])
    while True:
        block = data[place]
        if block == 0x2C:
            yield place
            place += 11 + _table(data[place + 9])
        elif block == 0x21:
            place += 2
        else:
            return
        while size := data[place]:
            place += 1 + size
        place += 1


def _table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
