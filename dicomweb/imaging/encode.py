"""One array to an encoded frame (PS3.5 8.2).

Lossless codestreams hold Bits Stored and say so where the encoder can: JPEG, JPEG 2000 in both forms, JPEG XL.
JPEG-LS holds Bits Allocated. Signed samples are signed in JPEG 2000, and two's complement of Bits Stored in JPEG
and JPEG-LS, which have no sign.

The Standard leaves the grade of a lossy codestream open; ours is one figure from 1 to 100, as in JPEG. Where the
encoder can, it counts for the numbers that are in the picture, not for all that Bits Stored could hold: a CT in 16 bits
would lose everything else.
"""

import math
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dicomweb.errors import Undecodable
from dicomweb.imaging import colours, native, plain
from dicomweb.imaging.targets import PLAIN
from dicomweb.standard import syntaxes
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import (
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_P14,
    JPEG_LS,
    JPEG_LS_LOSSY,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    RLE,
)

_Octets: TypeAlias = bytes | bytearray

QUALITY = 90
"""Of a lossy frame where none is asked for."""

# PS3.5 10.18: the base resolution of RPCL has a side of 64 pixels or less.
_BASE = 64
_LEVELS = 5
_BY_RESOLUTION = 1


def encode(array: NDArray[Any], format: Format, wanted: str, quality: int | None = None) -> bytes:
    """Encode a frame.

    Args:
        array: (rows, columns) or (rows, columns, samples), as `decode` gives it.
        format: of the array, as `decode` gives it.
        wanted: Transfer Syntax UID, one of `targets`.
        quality: 1 to 100 for a lossy syntax; None is `QUALITY`.

    Returns:
        The frame, without padding; `targets.described` says what it is.

    Raises:
        Undecodable: the encoder does not represent such samples.
    """
    if wanted in PLAIN:
        if wanted == RLE and format.photometric == "YBR_FULL_422":
            format = native.numbers(format)
        return plain.wrap(native.write(array, format), wanted, format)
    encoder = _ENCODERS.get(wanted)
    if encoder is None:
        raise Undecodable(f"frames are not made into {syntaxes.syntax_of(wanted).name or wanted} here")
    try:
        grade = min(max(QUALITY if quality is None else quality, 1), 100)
        return bytes(encoder(np.ascontiguousarray(array), format, grade))
    except MemoryError as error:
        raise Undecodable("a frame takes more memory than there is to encode it") from error
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise Undecodable(f"{syntaxes.syntax_of(wanted).name} does not represent such samples") from error


def _jpeg_baseline(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    array = array.astype("u1", copy=False)
    if array.ndim == 2:
        return imagecodecs.jpeg8_encode(array, level=quality)
    space = "rgb" if format.photometric == "RGB" else "ycbcr"
    return imagecodecs.jpeg8_encode(array, level=quality, colorspace=space, outcolorspace="ycbcr", subsampling="422")


def _jpeg_extended(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    return imagecodecs.jpeg8_encode(array.astype("u2", copy=False), level=quality, bitspersample=12)


def _jpeg_lossless(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    array = _unsigned(array, format.stored)
    array = array.astype("u1" if format.stored <= 8 else "u2", copy=False)
    space = None if array.ndim == 2 else "rgb" if format.photometric == "RGB" else "unknown"
    return imagecodecs.jpeg8_encode(
        array, lossless=True, predictor=1, bitspersample=format.stored, colorspace=space, outcolorspace=space
    )


def _jpeg_ls(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    array = _unsigned(array, format.stored)
    return imagecodecs.jpegls_encode(array.astype("u1" if format.stored <= 8 else "u2", copy=False))


def _jpeg_ls_lossy(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    array = array.astype("u1" if format.stored <= 8 else "u2", copy=False)
    return imagecodecs.jpegls_encode(array, level=_near(array, quality))


def _near(array: NDArray[Any], quality: int) -> int:
    """The greatest error of a near-lossless sample: 2 at the usual quality and 8 bits, at least 1."""
    return min(max(round((100 - quality) * _spread(array) / 1280), 1), 255)


def _spread(array: NDArray[Any]) -> int:
    """How many values there are from the least to the greatest, but not fewer than of 4 bits."""
    return max(int(array.max()) - int(array.min()) + 1, 16)


def _jpeg_2000_lossless(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    return _open_jpeg(array, format, level=0, reversible=True)


def _jpeg_2000(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    whole = 20 * math.log10((1 << format.stored) / _spread(array))
    return _open_jpeg(array, format, level=_decibels(quality) + whole, reversible=False)


def _open_jpeg(array: NDArray[Any], format: Format, **how: Any) -> _Octets:
    if format.stored <= 8:
        array = array.astype("i1" if format.signed else "u1", copy=False)
    return imagecodecs.jpeg2k_encode(
        array,
        codecformat="j2k",
        bitspersample=format.stored,
        mct=format.photometric == "RGB",
        resolutions=min(_LEVELS, min(array.shape[:2]).bit_length() - 1) + 1,
        numthreads=1,
        **how,
    )


def _decibels(quality: int) -> float:
    """Signal to noise: 56 dB at the usual quality, which no eye tells from the original in any usual window."""
    return 25 + 0.35 * quality


def _htj2k_lossless(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    return _open_jph(array, format, tlm=True)


def _htj2k_rpcl(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    """RPCL is what OpenJPH writes; a part of the tile for each resolution, and their lengths (PS3.5 10.18)."""
    levels = max(_LEVELS, (-(-min(array.shape[:2]) // _BASE) - 1).bit_length())
    return _open_jph(array, format, tlm=True, tilepart=_BY_RESOLUTION, resolutions=levels)


def _open_jph(array: NDArray[Any], format: Format, **how: Any) -> _Octets:
    """Encode with the precision of Bits Stored.

    The encoder takes that of the array's kind. Samples moved to lie around 0 and encoded as signed ones give the
    very coefficients of a codestream of any precision.
    """
    bits = format.stored
    if not format.signed:
        array = _around_zero(array, bits)
    made = imagecodecs.htj2k_encode(array, reversible=True, rgb=format.photometric == "RGB", planar=False, **how)
    return _with_precision(made, format)


def _with_precision(codestream: _Octets, format: Format) -> bytearray:
    """Write Bits Stored and the sign into the header (ISO 15444-1 A.5.1)."""
    made = bytearray(codestream)
    place = made.index(b"\xff\x51") + 38
    (samples,) = struct.unpack_from(">H", made, place)
    for sample in range(samples):
        made[place + 2 + 3 * sample] = (format.stored - 1) | (0x80 if format.signed else 0)
    return made


def _around_zero(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """Take half of the range away from unsigned samples."""
    half = array.dtype.type(1 << (bits - 1))
    signed = f"i{array.dtype.itemsize}"
    if bits == 8 * array.dtype.itemsize:
        return (array ^ half).view(signed)
    return array.view(signed) - half.astype(signed)


def _htj2k(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    """Irreversible: the coefficients, and the step of the quantiser, are parts of the whole range. Samples moved up to
    fill the range of the array's kind give those of a codestream of any precision."""
    if format.stored <= 8:
        array = array.astype(f"{array.dtype.kind}1", copy=False)
    part = _spread(array) / (1 << format.stored)
    step = 10 ** (-_decibels(quality) / 20) * 2 * part
    filled = array << (8 * array.dtype.itemsize - format.stored)
    made = imagecodecs.htj2k_encode(
        filled, level=step, reversible=False, rgb=format.photometric == "RGB", planar=False, tlm=True
    )
    return _with_precision(made, format)


def _jpeg_xl_lossless(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    return imagecodecs.jpegxl_encode(
        array.astype("u1" if format.stored <= 8 else "u2", copy=False),
        lossless=True,
        effort=_EFFORT,
        bitspersample=format.stored,
        numthreads=1,
    )


def _jpeg_xl(array: NDArray[Any], format: Format, quality: int) -> _Octets:
    if array.ndim == 3:
        array = colours.to_rgb(array, format)
    part = _spread(array) / (1 << format.stored)
    return imagecodecs.jpegxl_encode(
        array.astype("u1" if format.stored <= 8 else "u2", copy=False),
        distance=max((100 - quality) / 10, 0.1) * part,
        effort=_EFFORT,
        bitspersample=format.stored,
        numthreads=1,
    )


_EFFORT = 3


def _unsigned(array: NDArray[Any], bits: int) -> NDArray[Any]:
    """Two's complement of `bits` (PS3.5 8.1.1)."""
    if array.dtype.kind != "i":
        return array
    unsigned = array.view(f"u{array.dtype.itemsize}")
    return unsigned & unsigned.dtype.type((1 << bits) - 1)


_ENCODERS: dict[str, Callable[[NDArray[Any], Format, int], _Octets]] = {
    JPEG_BASELINE: _jpeg_baseline,
    JPEG_EXTENDED: _jpeg_extended,
    JPEG_LOSSLESS_P14: _jpeg_lossless,
    JPEG_LOSSLESS: _jpeg_lossless,
    JPEG_LS: _jpeg_ls,
    JPEG_LS_LOSSY: _jpeg_ls_lossy,
    JPEG_2000_LOSSLESS: _jpeg_2000_lossless,
    JPEG_2000: _jpeg_2000,
    HTJ2K_LOSSLESS: _htj2k_lossless,
    HTJ2K_LOSSLESS_RPCL: _htj2k_rpcl,
    HTJ2K: _htj2k,
    JPEG_XL_LOSSLESS: _jpeg_xl_lossless,
    JPEG_XL: _jpeg_xl,
}
