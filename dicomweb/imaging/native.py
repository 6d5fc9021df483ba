"""Native pixels: samples as bytes, and bytes as samples (PS3.5 8.1, Annex D).

`cells` gives the samples as they lie, whatever their unused bits hold; `read` gives numbers: of each cell the bits
up to High Bit, sign extended where Pixel Representation says so, and chrominance repeated where it is halved. What
`read` gave `write` turns into the same bytes again, but for unused bits, which become copies of the sign, or 0.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomweb.errors import Undecodable
from dicomweb.standard.pixels import Format

_UNSIGNED = {8: "<u1", 16: "<u2", 32: "<u4", 64: "<u8"}


def dtype_of(format: Format) -> np.dtype[Any]:
    """The kind of number that samples are; those of 1 bit are bytes.

    Raises:
        Undecodable: Bits Allocated is neither 1 nor 8, 16, 32 or 64.
    """
    if format.kind == "float":
        return np.dtype("<f4")
    if format.kind == "double":
        return np.dtype("<f8")
    if format.allocated == 1:
        return np.dtype("u1")
    name = _UNSIGNED.get(format.allocated)
    if name is None:
        raise Undecodable(f"samples of {format.allocated} bits allocated are not read here")
    return np.dtype(name.replace("u", "i") if format.signed else name)


def size_of(format: Format) -> int:
    """How many bytes a frame has, the last of them perhaps not full."""
    return (format.frame_bits + 7) // 8


def numbers(format: Format) -> Format:
    """The Format of what `read` gives: bits begin at the lowest, and chrominance is as fine as luminance."""
    photometric = "YBR_FULL" if _halved(format) else format.photometric
    return replace(format, high=format.stored - 1, photometric=photometric)


def cells(data: bytes, format: Format) -> NDArray[Any]:
    """The samples of a frame as they lie, without a copy where that can be.

    Args:
        data: little endian; what lies behind the frame is not looked at.
        format: of the frame.

    Returns:
        (rows, columns) or (rows, columns, samples); YBR_FULL_422 is (rows, columns / 2, 4): Y, Y, Cb, Cr.

    Raises:
        Undecodable: there are fewer bytes than described, or no such samples.
    """
    kind, size = dtype_of(format), size_of(format)
    rows, columns, samples = format.rows, format.columns, format.samples
    if not (rows and columns and samples):
        raise Undecodable("the description has no rows, columns or samples")
    if len(data) < size:
        raise Undecodable(f"a frame has {len(data):,} bytes, and {size:,} are described")
    if format.allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, "u1", size), bitorder="little")
        return bits[: rows * columns * samples].reshape((rows, columns, samples) if samples > 1 else (rows, columns))
    flat = np.frombuffer(data, kind, size // kind.itemsize)
    if samples == 1:
        return flat.reshape(rows, columns)
    if _halved(format):
        if columns % 2:
            raise Undecodable("YBR_FULL_422 has an odd number of columns")
        return flat.reshape(rows, columns // 2, 4)
    if format.planar:
        return flat.reshape(samples, rows, columns).transpose(1, 2, 0)
    return flat.reshape(rows, columns, samples)


def read(data: bytes, format: Format) -> NDArray[Any]:
    """Read the numbers of a frame; `numbers` describes them.

    Args:
        data: little endian.
        format: of the frame.

    Returns:
        (rows, columns) or (rows, columns, samples), perhaps not writable.

    Raises:
        Undecodable: as `cells`.
    """
    array = clean(cells(data, format), format)
    if not _halved(format):
        return array
    whole = np.empty((format.rows, format.columns, 3), array.dtype)
    whole[:, 0::2, 0], whole[:, 1::2, 0] = array[..., 0], array[..., 1]
    for sample in (1, 2):
        whole[:, 0::2, sample] = whole[:, 1::2, sample] = array[..., sample + 1]
    return whole


def clean(array: NDArray[Any], format: Format) -> NDArray[Any]:
    """Keep of each cell the bits that count (D-141, D-142).

    Args:
        array: cells.
        format: of them.
    """
    if format.kind != "integer" or format.allocated == 1 or format.stored >= format.allocated:
        return array
    high = format.high if format.stored - 1 <= format.high < format.allocated else format.stored - 1
    above, below = format.allocated - 1 - high, high + 1 - format.stored
    if not below and format.stored > 0 and _is_clean(array, format):
        return array
    if format.signed:
        return (array << above) >> (above + below)
    if below:
        array = array >> below
    return array & array.dtype.type((1 << format.stored) - 1)


def _is_clean(array: NDArray[Any], format: Format) -> bool:
    """Whether numbers that begin at the lowest bit have nothing above theirs, as usual: to look is cheaper."""
    if not array.size:
        return True
    if not format.signed:
        return bool(array.max() < 1 << format.stored)
    most = 1 << (format.stored - 1)
    return bool(-most <= array.min() and array.max() < most)


def write(array: NDArray[Any], format: Format) -> bytes:
    """Write numbers as a frame, little endian.

    Args:
        array: as `read` gives it.
        format: of the bytes: Planar Configuration, High Bit and YBR_FULL_422 are done here.
    """
    if format.allocated == 1:
        return np.packbits(array.ravel() != 0, bitorder="little").tobytes()
    array = array.astype(dtype_of(format), copy=False)
    if format.samples == 1 or array.ndim == 2:
        return _placed(array, format).tobytes()
    if _halved(format):
        halved = np.empty((array.shape[0], array.shape[1] // 2, 4), array.dtype)
        halved[..., 0], halved[..., 1] = array[:, 0::2, 0], array[:, 1::2, 0]
        for sample in (1, 2):
            left, right = array[:, 0::2, sample].astype("i8"), array[:, 1::2, sample].astype("i8")
            halved[..., sample + 1] = (left + right + 1) >> 1
        return _placed(halved, format).tobytes()
    array = array.transpose(2, 0, 1) if format.planar else array
    return _placed(array, format).tobytes()


def _placed(array: NDArray[Any], format: Format) -> NDArray[Any]:
    """Move samples up to where High Bit says."""
    shift = format.high + 1 - format.stored
    if format.kind != "integer" or shift <= 0 or format.high >= format.allocated:
        return array
    return array << shift


def _halved(format: Format) -> bool:
    return format.photometric == "YBR_FULL_422" and format.samples == 3
