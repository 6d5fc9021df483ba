"""Frames of JPEG 2000 decoded at a fraction of their size, for thumbnails (ISO/IEC 15444-1 B.5).

Its wavelets hold a picture at half, a quarter, an eighth of its size, which takes a tenth of the time to decode. All
else is decoded whole.
"""

import io
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicomweb.imaging import decode, targets
from dicomweb.standard.pixels import Format
from dicomweb.standard.rendering import THUMBNAIL
from dicomweb.standard.syntaxes import EXPLICIT

_MOST = 5
_READ = targets.JPEG_2000_ALL | targets.HTJ2K_ALL


def decode_reduced(
    data: bytes, stored: str, format: Format, side: int = THUMBNAIL, most_pixels: int | None = None
) -> tuple[NDArray[Any], Format] | None:
    """Decode a frame at the smallest size whose shorter side is not below `side`.

    Args:
        data: the frame as stored.
        stored: its Transfer Syntax UID.
        format: of its samples.
        side: in pixels.
        most_pixels: of the whole frame.

    Returns:
        As `decode.decode`, with fewer rows and columns; None where the frame has to be decoded whole.

    Raises:
        Undecodable: the frame is cut, contradicts its description, or has too many pixels.
    """
    halvings = min((min(format.rows, format.columns) // side).bit_length() - 1, _MOST)
    if stored not in _READ or halvings < 1 or format.rows * format.columns > (Image.MAX_IMAGE_PIXELS or 0):
        return None
    decode.admit(stored, format, most_pixels)
    picture = decode.check(data, stored, format)
    # Two's complement under the name of unsigned numbers cannot be averaged
    if picture.signed != format.signed or picture.subsampled or picture.bits > (16 if format.samples == 1 else 8):
        return None
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG2000"])
        image.reduce = halvings  # type: ignore[method-assign, assignment]
        array = np.asarray(image)
    except (OSError, ValueError, SyntaxError, MemoryError):
        return None
    if image.mode not in (("L", "I;16") if format.samples == 1 else ("RGB",)):
        return None
    if format.samples == 1:
        # Pillow moves samples up to the highest bit, and signed ones by half of their range
        array = (array >> (8 * array.dtype.itemsize - picture.bits)).astype(np.int32)
        array = array - (1 << (picture.bits - 1)) if picture.signed else array
        array = array.astype(np.int16 if picture.signed else np.uint16)
    rows, columns = array.shape[:2]
    return array, replace(targets.described(format, stored, EXPLICIT), rows=rows, columns=columns)
