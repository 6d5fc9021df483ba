"""One encoded frame to an array (PS3.5 8.2).

The codestream's own facts win over the description where the two can be reconciled: its process, its colour
transform, its subsampling (8.2.1, D-129). Size and samples have to be as described: metadata, which say what
was described, go with the decoded bytes. Both are checked before a codec is called or room is made.

Which library reads what:

- libjpeg-turbo reads JPEG: baseline, extended, progressive, arithmetic, lossless. (imagecodecs has other readers of
  lossless JPEG; of a damaged one they leave memory of others in the picture.)
- CharLS reads JPEG-LS, OpenJPEG JPEG 2000, libjxl JPEG XL.
- OpenJPH reads high-throughput JPEG 2000 where it is lossless. In imagecodecs it lets lossy samples above white come
  out as black; those go to OpenJPEG.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dicomweb.errors import Undecodable
from dicomweb.imaging import colours, native, plain
from dicomweb.imaging.targets import DECODED, HTJ2K_ALL, JPEG_2000_ALL, JPEG_LS_BOTH, JPEG_XL_ALL, PLAIN, described
from dicomweb.standard import codestreams, syntaxes
from dicomweb.standard.codestreams import Picture
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import EXPLICIT, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL

_LOSSLESS_JPEG = 0xC3
_JPEG_LS = 0xF7
_SAMPLES = frozenset((1, 3, 4))
# Chrominance as it was given to the codestream, not made by it.
_GIVEN = frozenset(("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422"))
_BIGGEST_HEADER = 1 << 20
_HEARING = Lock()


def decode(data: bytes, stored: str, format: Format, most_pixels: int | None = None) -> tuple[NDArray[Any], Format]:
    """Decode a frame into numbers.

    Args:
        data: the frame: native bytes, or the joined codestream.
        stored: Transfer Syntax UID.
        format: as stored.
        most_pixels: rows times columns that there may be at most; None is no limit.

    Returns:
        (rows, columns) or (rows, columns, samples), unused bits cleared and signed samples sign extended, in the
        kind of number that Bits Allocated asks for (1 bit is uint8, 0 or 1); and the Format of the array:
        `targets.described` for EXPLICIT, bits from the lowest on, chrominance as fine as luminance.

    Raises:
        Undecodable: the frame is damaged or cut, contradicts its description, is of a kind that is not read here,
            or has too many pixels.
    """
    admit(stored, format, most_pixels)
    try:
        if stored in PLAIN:
            cells = described(format, stored, EXPLICIT)
            return native.read(plain.unwrap(data, stored, cells), cells), native.numbers(cells)
        return _uncompress(data, stored, format)
    except MemoryError as error:
        raise Undecodable("a frame takes more memory than there is to decode it") from error


def admit(stored: str, format: Format, most_pixels: int | None) -> None:
    """Refuse what is above the limit, and descriptions that nothing can be made of.

    Raises:
        Undecodable: so it is.
    """
    if stored not in DECODED:
        raise Undecodable(f"{syntaxes.syntax_of(stored).name or stored} is not decoded here")
    if not (format.rows and format.columns):
        raise Undecodable("the description has no rows or no columns")
    if format.samples not in _SAMPLES:
        raise Undecodable(f"pixels of {format.samples} samples are not decoded here")
    if most_pixels is not None and format.rows * format.columns > most_pixels:
        raise Undecodable(
            f"a frame of {format.columns:,} by {format.rows:,} pixels is above the limit of {most_pixels:,}"
        )


def _uncompress(data: bytes, stored: str, format: Format) -> tuple[NDArray[Any], Format]:
    """Decode a frame that is a codestream."""
    picture = check(data, stored, format)
    after = described(format, stored, EXPLICIT)
    try:
        if picture.process == _JPEG_LS or stored in JPEG_LS_BOTH:
            array = _coloured(_ordered(imagecodecs.jpegls_decode(data), picture), picture, format, after)
        elif picture.process:
            array = _jpeg(data, picture, format, after)
        elif stored in JPEG_XL_ALL:
            array = imagecodecs.jpegxl_decode(data, keeporientation=True, numthreads=1)
        else:
            array = _jpeg_2000(data, stored, picture)
            if picture.photometric == "RGB":
                array = _coloured(array, picture, format, after)
    except Undecodable:
        raise
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise Undecodable(f"a frame of {syntaxes.syntax_of(stored).name} is damaged, or of a kind not read") from error
    expected = (format.rows, format.columns, *((format.samples,) if format.samples > 1 else ()))
    if array.shape != expected:
        raise Undecodable("a frame decodes to another picture than its header says")
    return _fit(array, picture, stored, format), after


def check(data: bytes, stored: str, format: Format) -> Picture:
    """What the codestream says of itself, if the description agrees and it is there to its end."""
    name = syntaxes.syntax_of(stored).name
    picture = codestreams.read_picture(data[:_BIGGEST_HEADER], stored)
    if picture is None:
        raise Undecodable(f"a frame is no codestream of {name}")
    if (picture.rows, picture.columns) != (format.rows, format.columns):
        raise Undecodable(
            f"a frame has {picture.columns:,} by {picture.rows:,} pixels, and {format.columns:,} by {format.rows:,} "
            "are described"
        )
    if picture.samples != format.samples:
        raise Undecodable(f"a frame has {picture.samples} samples a pixel, and {format.samples} are described")
    if picture.bits > 8 * native.dtype_of(format).itemsize:
        raise Undecodable(f"a frame has samples of {picture.bits} bits, and {format.allocated} are described")
    if not codestreams.is_whole(data, stored):
        raise Undecodable(f"a frame of {name} ends before its picture does")
    return picture


def _ordered(array: NDArray[Any], picture: Picture) -> NDArray[Any]:
    """Samples last, whichever way the codestream interleaves them."""
    if picture.samples > 1 and array.shape == (picture.samples, picture.rows, picture.columns):
        return array.transpose(1, 2, 0)
    return array


def _coloured(array: NDArray[Any], picture: Picture, format: Format, after: Format) -> NDArray[Any]:
    """Convert samples that a codestream holds as they were given to it, where they may not stay as they are."""
    if after.photometric != "RGB" or format.photometric not in _GIVEN or array.ndim != 3:
        return array
    return colours.to_rgb(array, replace(format, stored=picture.bits))


def _jpeg(data: bytes, picture: Picture, format: Format, after: Format) -> NDArray[Any]:
    if picture.samples != 3:
        return imagecodecs.jpeg8_decode(data)
    if picture.process == _LOSSLESS_JPEG:
        array = imagecodecs.jpeg8_decode(data, colorspace="rgb", outcolorspace="rgb")
        return _coloured(array, picture, format, after)
    space = "ycbcr" if _has_chrominance(picture, format) else "rgb"
    return imagecodecs.jpeg8_decode(
        data, colorspace=space, outcolorspace="rgb" if after.photometric == "RGB" else "ycbcr"
    )


def _has_chrominance(picture: Picture, format: Format) -> bool:
    """Whether three components are luminance and chrominance: what the codestream says, then what the description
    does (8.2.1). Red, green and blue are never subsampled."""
    if picture.colours:
        return picture.colours == "YBR"
    return picture.subsampled or format.photometric.startswith("YBR")


def _jpeg_2000(data: bytes, stored: str, picture: Picture) -> NDArray[Any]:
    """Decode the codestream, without the boxes of a file that may be around it (A.4.4)."""
    data = data[data.index(b"\xff\x4f\xff\x51") :]
    if stored in {HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL} and picture.reversible and not picture.subsampled:
        with _heard():
            return imagecodecs.htj2k_decode(data, planar=False)
    return imagecodecs.jpeg2k_decode(data, planar=False, numthreads=1)


@contextmanager
def _heard() -> Iterator[None]:
    """Raise what OpenJPH says of damage: imagecodecs prints it, raises it where nobody can catch it, and gives the rows
    that it has, with whatever else lay in memory."""
    said: list[BaseException | None] = []

    def hear(unraisable: "sys.UnraisableHookArgs") -> None:
        if "_htj2k" in f"{unraisable.err_msg}{unraisable.object}":
            said.append(unraisable.exc_value)
        else:
            unraised(unraisable)

    with _HEARING:
        unraised, printed = sys.unraisablehook, sys.excepthook
        sys.unraisablehook, sys.excepthook = hear, lambda *_: None
        try:
            yield
        finally:
            sys.unraisablehook, sys.excepthook = unraised, printed
    if said:
        raise Undecodable("a frame is damaged") from said[0]


def _fit(array: NDArray[Any], picture: Picture, stored: str, format: Format) -> NDArray[Any]:
    """Numbers of the described kind.

    Codestreams but those of JPEG 2000 know no signed samples: theirs are two's complement of Bits Stored. One of
    JPEG 2000 that says otherwise than the description holds the same bits under another name.
    """
    kind = native.dtype_of(format)
    if format.allocated == 1:
        return (array != 0).astype("u1")
    lossy = syntaxes.syntax_of(stored).lossy is not False
    if format.signed and not picture.signed:
        narrow = stored in JPEG_2000_ALL | HTJ2K_ALL and picture.bits < format.stored
        bits = picture.bits if narrow else format.stored
        shift = 8 * kind.itemsize - bits
        return (array.astype(kind, copy=False) << shift) >> shift
    if picture.signed and not format.signed:
        array = array.astype(np.int64) & ((1 << picture.bits) - 1)
    if lossy and picture.bits > format.stored:
        low = -(1 << (format.stored - 1)) if format.signed else 0
        array = array.clip(low, low + (1 << format.stored) - 1)
    return array.astype(kind, copy=False)
