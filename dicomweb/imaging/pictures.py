"""Pictures as files: JPEG, PNG, GIF, JPEG 2000, HTJ2K, JPEG XL (PS3.18 8.7.4).

PNG is written here: each row as its difference from the one above, the cheapest filter, and ISA-L's deflate, which
takes a fourth of libdeflate's time at its quickest and a tenth of libpng's for about the same size.
"""

import io
import itertools
import struct
from collections.abc import Sequence
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicomweb.deflate import crc32, write_zlib
from dicomweb.errors import NotAcceptable, Undecodable
from dicomweb.imaging import profiles
from dicomweb.standard.rendering import QUALITY

_LARGEST_SIDE = {"image/jpeg": 65_500, "image/gif": 65_535}
_FINE = 90
_UP = 2


def encode(picture: NDArray[Any], media_type: str, quality: int | None = None, profile: bytes = b"") -> bytes:
    """Encode a picture.

    Args:
        picture: (rows, columns) or (rows, columns, 3); uint8, or uint16 where the type has 16 bits.
        media_type: one of `rendering.PICTURES`.
        quality: 1 to 100 for lossy types; None is 90 in JPEG and lossless in JPEG XL. From 90 on colour has its full
            resolution, below half of it.
        profile: of its colours, for JPEG and PNG.

    Raises:
        NotAcceptable: no such type is made here.
        Undecodable: the picture has too many rows or columns for it.
    """
    if max(picture.shape[:2]) > _LARGEST_SIDE.get(media_type, 1 << 30):
        raise Undecodable(f"the picture has too many rows or columns for {media_type}")
    picture = np.ascontiguousarray(picture)
    try:
        if media_type == "image/jpeg":
            return _jpeg(picture, quality or QUALITY, profile)
        if media_type == "image/png":
            return _png(picture, profile)
        if media_type == "image/gif":
            return animation([picture], [0.1])
        if media_type == "image/jp2":
            return bytes(imagecodecs.jpeg2k_encode(picture, codecformat="jp2", reversible=True, numthreads=1))
        if media_type == "image/jph":
            return _boxed(bytes(imagecodecs.htj2k_encode(picture, reversible=True)), picture)
        if media_type == "image/jxl":
            lossless = quality is None or quality == 100
            return bytes(
                imagecodecs.jpegxl_encode(
                    picture, None if lossless else quality, lossless=lossless, effort=3, numthreads=1
                )
            )
    except (RuntimeError, ValueError, OSError) as error:
        raise Undecodable(f"the picture cannot be encoded as {media_type}") from error
    raise NotAcceptable(f"{media_type} is not made here")


def animation(pictures: Sequence[NDArray[Any]], seconds: Sequence[float]) -> bytes:
    """Encode one or several pictures of one size as GIF, which repeats for ever.

    Args:
        pictures: (rows, columns) or (rows, columns, 3), uint8.
        seconds: how long each is seen; GIF counts hundredths.
    """
    frames = [Image.fromarray(picture) for picture in pictures]
    frames = [frame if frame.mode == "L" else frame.quantize(256, Image.Quantize.FASTOCTREE) for frame in frames]
    out = io.BytesIO()
    if len(frames) == 1:
        frames[0].save(out, "GIF")
    else:
        durations = [max(round(one * 100), 2) * 10 for one in seconds]
        frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)
    return out.getvalue()


def _jpeg(picture: NDArray[Any], quality: int, profile: bytes) -> bytes:
    sampling = "444" if quality >= _FINE else "420"
    encoded = bytes(imagecodecs.jpeg8_encode(picture, quality, subsampling=sampling if picture.ndim == 3 else None))
    return profiles.in_jpeg(encoded, profile) if profile else encoded


def _png(picture: NDArray[Any], profile: bytes) -> bytes:
    """ISO/IEC 15948."""
    rows, columns = picture.shape[:2]
    deep = picture.dtype == np.uint16
    lines = (picture.astype(">u2") if deep else picture).reshape(rows, -1).view(np.uint8)
    filtered = np.empty((rows, lines.shape[1] + 1), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = lines[0]
    np.subtract(lines[1:], lines[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", columns, rows, 16 if deep else 8, 2 if picture.ndim == 3 else 0, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if profile:
        chunks.append(_chunk(b"iCCP", b"ICC profile\0\0" + write_zlib(profile)))
    chunks += (_chunk(b"IDAT", write_zlib(filtered.data)), _chunk(b"IEND", b""))
    return b"".join((b"\x89PNG\r\n\x1a\n", *itertools.chain.from_iterable(chunks)))


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc32(data, crc32(kind)))


def _boxed(codestream: bytes, picture: NDArray[Any]) -> bytes:
    """Put the boxes of JP2 around an HTJ2K codestream (ISO/IEC 15444-1 I.5, 15444-15 D.4; W-090)."""
    rows, columns = picture.shape[:2]
    samples = picture.shape[2] if picture.ndim == 3 else 1
    image = struct.pack(">IIHBBBB", rows, columns, samples, 8 * picture.dtype.itemsize - 1, 7, 0, 0)
    space = struct.pack(">BBBI", 1, 0, 0, 16 if samples == 3 else 17)
    header = _box(b"ihdr", image) + _box(b"colr", space)
    return b"".join(
        (
            _box(b"jP  ", b"\r\n\x87\n"),
            _box(b"ftyp", b"jph \0\0\0\0jph "),
            _box(b"jp2h", header),
            _box(b"jp2c", codestream),
        )
    )


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data
