"""PNG and GIF files of strangers decoded to native pixels (PS3.18 Table 10.5.2-1).

Alpha is dropped; one channel is MONOCHROME2; 16 bits stay 16 bits; an animation becomes frames, each as it is seen.
Nothing is decoded before its headers say that it is below the limit.
"""

import io

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dicomweb.errors import Undecodable
from dicomweb.imaging.bitmaps import PNG, Bitmap, Size, measure
from dicomweb.standard.pixels import Format

MOST_BYTES = 256 << 20
"""Bytes of decoded pixels, where the caller names no limit."""

_DAMAGED = (
    RuntimeError, ValueError, OSError, EOFError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError,
)  # fmt: skip


def convert(data: bytes, most_bytes: int = MOST_BYTES) -> bytes:
    """Decode a PNG or GIF.

    Args:
        data: the file.
        most_bytes: of decoded pixels.

    Returns:
        A Bitmap, as `Bitmap.to_bytes` writes it.

    Raises:
        Undecodable: it is damaged, or larger than the limit.
    """
    size = measure(data)
    if size.bytes > most_bytes:
        raise Undecodable(f"a picture has {size.bytes:,} bytes when decoded; the limit is {most_bytes:,}")
    try:
        made = _png(data) if data.startswith(PNG) else _gif(data, size)
    except _DAMAGED as error:
        raise Undecodable("a picture is damaged") from error
    return made.to_bytes()


def _png(data: bytes) -> Bitmap:
    array = imagecodecs.png_decode(data)
    if array.ndim == 3:
        array = array[..., 0] if array.shape[2] < 3 else array[..., :3]
    return _made(array[np.newaxis], 0.0)


def _gif(data: bytes, size: Size) -> Bitmap:
    """All images of a GIF, each drawn over the ones before as it says."""
    frames = np.empty((size.frames, size.rows, size.columns, 3), np.uint8)
    shown, seen = 0.0, 0
    with Image.open(io.BytesIO(data), formats=["GIF"]) as picture:
        for number in range(size.frames):
            try:
                picture.seek(number)
            except EOFError:
                break
            frames[number] = np.asarray(picture.convert("RGB"))
            shown += float(picture.info.get("duration") or 0)
            seen += 1
    frames = frames[:seen]
    gray = (frames[..., 0] == frames[..., 1]).all() and (frames[..., 0] == frames[..., 2]).all()
    return _made(frames[..., 0] if gray else frames, shown / seen if seen > 1 else 0.0)


def _made(frames: NDArray[np.generic], milliseconds: float) -> Bitmap:
    bits = 8 * frames.dtype.itemsize
    samples = 3 if frames.ndim == 4 else 1
    count, rows, columns = frames.shape[:3]
    format = Format(rows, columns, samples, "RGB" if samples == 3 else "MONOCHROME2", 0, bits, bits, bits - 1)
    little = np.ascontiguousarray(frames, frames.dtype.newbyteorder("<"))
    return Bitmap(format, count, milliseconds, little.tobytes())
