"""Colour spaces: luminance and chrominance into red, green and blue (PS3.3 C.7.6.3.1.2).

The inverse of the Standard's matrix is that of ITU-R BT.601 over the full range, as JFIF has it; YBR_PARTIAL_420 is
of video range. Arithmetic is in fixed point, 20 bits behind the point, rounded once.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomweb.errors import Undecodable
from dicomweb.standard.pixels import Format

_POINT = 20
_HALF = 1 << (_POINT - 1)


def _fixed(factor: float) -> int:
    return round(factor * (1 << _POINT))


# R = Y + 1.402 Cr, G = Y - 0.344136 Cb - 0.714136 Cr, B = Y + 1.772 Cb, chrominance around 0 (C.7.6.3.1.2)
_RED, _BLUE = _fixed(1.402), _fixed(1.772)
_GREEN_BLUE, _GREEN_RED = _fixed(0.114 * 1.772 / 0.587), _fixed(0.299 * 1.402 / 0.587)


def to_rgb(array: NDArray[Any], format: Format) -> NDArray[Any]:
    """Make red, green and blue of any colour space that `decode` may give.

    Args:
        array: (rows, columns, 3), unsigned.
        format: of the array; RGB needs no work.

    Returns:
        (rows, columns, 3): uint8 where samples have up to 8 bits, else uint16, still of `format.stored` bits.

    Raises:
        Undecodable: a colour space of other samples than three, or of signed ones.
    """
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype.kind != "u":
        raise Undecodable(f"{format.photometric} with such samples is no colour that is known here")
    kind = np.dtype("u1" if format.stored <= 8 else "u2")
    if format.photometric in {"YBR_FULL", "YBR_FULL_422"}:
        return _from_full(array, format.stored).astype(kind, copy=False)
    if format.photometric in {"YBR_PARTIAL_420", "YBR_PARTIAL_422"}:
        return _from_partial(array, format.stored).astype(kind, copy=False)
    return array.astype(kind, copy=False)


def _from_full(array: NDArray[Any], bits: int) -> NDArray[Any]:
    kind: type[np.signedinteger[Any]] = np.int32 if bits <= 8 else np.int64
    middle = 1 << (bits - 1)
    luminance = array[..., 0].astype(kind) * (1 << _POINT) + _HALF
    blue, red = array[..., 1].astype(kind) - middle, array[..., 2].astype(kind) - middle
    made = np.empty(array.shape, kind)
    made[..., 0] = luminance + _RED * red
    made[..., 1] = luminance - _GREEN_BLUE * blue - _GREEN_RED * red
    made[..., 2] = luminance + _BLUE * blue
    made >>= _POINT
    return made.clip(0, (1 << bits) - 1)


def _from_partial(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """Luminance from 16 to 235, chrominance from 16 to 240, of 8 bits (ITU-R BT.601)."""
    scale = 1 << (bits - 8)
    luminance = (array[..., 0].astype(np.float64) - 16 * scale) * (255 / 219)
    blue = (array[..., 1].astype(np.float64) - 128 * scale) * (255 / 224)
    red = (array[..., 2].astype(np.float64) - 128 * scale) * (255 / 224)
    made = np.stack(
        (
            luminance + 1.402 * red,
            luminance - (0.114 * 1.772 / 0.587) * blue - (0.299 * 1.402 / 0.587) * red,
            luminance + 1.772 * blue,
        ),
        axis=-1,
    )
    return np.rint(made).clip(0, (1 << bits) - 1)
