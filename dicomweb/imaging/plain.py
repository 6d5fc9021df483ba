"""Frames that hold the samples byte for byte: native, in a fragment, deflated, or in runs (PS3.5 8.1, A.4.2, Annex G,
and the Deflated Image Frame Compression of its edition 2025a).

They turn into each other without a look at what a sample means, unused bits included.
"""

import struct
import zlib
from dataclasses import replace

import imagecodecs
import numpy as np

from dicomweb.errors import Undecodable
from dicomweb.imaging import native
from dicomweb.imaging.targets import NATIVE
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import DEFLATED_FRAME, ENCAPSULATED_UNCOMPRESSED, RLE

_LEVEL = 6
_BEST_DEFLATE = 1032
_RLE_HEADER = 64
_RLE_SEGMENTS = 15
_RUN = 128


def unwrap(data: bytes, stored: str, format: Format) -> bytes:
    """The native bytes of a frame (PS3.5 8.1).

    Args:
        data: the frame as stored, with or without padding.
        stored: a transfer syntax of `targets.PLAIN`.
        format: as stored.

    Raises:
        Undecodable: there are fewer bytes than described, or they cannot be unpacked.
    """
    size = native.size_of(format)
    if stored == RLE:
        data = _from_runs(data, format)
    elif stored == DEFLATED_FRAME:
        data = _inflated(data, size)
    if len(data) < size:
        raise Undecodable(f"a frame has {len(data):,} bytes, and {size:,} are described")
    return data if len(data) == size else data[:size]


def plane(data: bytes, stored: str, format: Format, bit: int) -> bytes:
    """One bit of each sample of a frame, packed, lowest first: an overlay of old objects (PS3.5 8.1.2).

    Args:
        data, stored, format: as `unwrap` has them; one sample a pixel.
        bit: its place in the sample, from 0.

    Raises:
        Undecodable: as `unwrap`.
    """
    whole = replace(format, signed=False, stored=format.allocated, high=format.allocated - 1)
    cells = native.cells(unwrap(data, stored, format), whole)
    return np.packbits((cells >> bit & 1).astype(np.uint8), axis=None, bitorder="little").tobytes()


def wrap(data: bytes, wanted: str, format: Format) -> bytes:
    """Make a frame of native bytes.

    Args:
        data: native bytes.
        wanted: a transfer syntax of `targets.PLAIN`.
        format: of the bytes; not YBR_FULL_422 for RLE.

    Raises:
        Undecodable: RLE does not hold such samples.
    """
    if wanted == RLE:
        return _to_runs(data, format)
    if wanted == DEFLATED_FRAME:
        return bytes(imagecodecs.deflate_encode(data, _LEVEL, raw=True))
    assert wanted in NATIVE or wanted == ENCAPSULATED_UNCOMPRESSED
    return data


def _inflated(data: bytes, size: int) -> bytes:
    """Inflate what is described and no more, so that a bomb is none (RFC 1951)."""
    if size > (len(data) + 1) * _BEST_DEFLATE:
        raise Undecodable("a deflated frame is too short for its picture")
    inflate = zlib.decompressobj(-15)
    try:
        return inflate.decompress(data, size)
    except zlib.error as error:
        raise Undecodable("a deflated frame is damaged") from error


def _from_runs(data: bytes, format: Format) -> bytes:
    """Decode RLE: a segment for each byte of a sample, the most significant first, sample by sample (Annex G)."""
    rows, columns, samples, width = format.rows, format.columns, format.samples, format.allocated // 8
    size = native.size_of(format) if format.allocated == 1 else rows * columns
    if format.allocated == 1:
        width = 1
    starts = _segments(data, samples * width)
    # A run of 128 bytes takes two: what cannot be there is not made room for.
    if any((stop - start) * 64 < size for start, stop in starts):
        raise Undecodable("a segment of an RLE frame is too short for its picture")
    planes = np.empty((samples, size, width), "u1")
    for index, (start, stop) in enumerate(starts):
        segment = _unpacked(data[start:stop], size)
        if len(segment) < size:
            raise Undecodable("a segment of an RLE frame ends before its picture does")
        planes[index // width, :, width - 1 - index % width] = np.frombuffer(segment, "u1", size)
    if samples > 1 and not format.planar:
        planes = planes.transpose(1, 0, 2)
    return planes.tobytes()


def _unpacked(segment: bytes, size: int) -> bytes:
    """Decode one segment (PS3.5 G.3.2), in no more room than its picture and a last run that goes beyond it take."""
    try:
        return bytes(imagecodecs.packbits_decode(segment, out=size + _RUN))
    except RuntimeError:
        pass
    try:
        # Its padding looks like the head of a run
        return bytes(imagecodecs.packbits_decode(segment[:-1], out=size + _RUN))
    except RuntimeError as error:
        raise Undecodable("a segment of an RLE frame is damaged") from error


def _segments(data: bytes, expected: int) -> list[tuple[int, int]]:
    """Where the segments of an RLE frame lie (PS3.5 G.5)."""
    if len(data) < _RLE_HEADER:
        raise Undecodable("an RLE frame ends in its header")
    count, *starts = struct.unpack_from("<16I", data)
    if count != expected or not 0 < count <= _RLE_SEGMENTS:
        raise Undecodable(f"an RLE frame has {count:,} segments, and {expected} are described")
    starts = starts[:count]
    stops = [*starts[1:], len(data)]
    if starts[0] < _RLE_HEADER or any(start > stop for start, stop in zip(starts, stops, strict=True)):
        raise Undecodable("an RLE frame has segments in no order")
    return list(zip(starts, stops, strict=True))


def _to_runs(data: bytes, format: Format) -> bytes:
    """Encode RLE (PS3.5 G.3 to G.5): no run crosses the end of a row, and segments have even lengths."""
    width, samples = format.allocated // 8, format.samples
    if not 0 < samples * width <= _RLE_SEGMENTS:
        raise Undecodable("RLE does not hold such samples")
    shape = (samples, format.rows, format.columns, width)
    octets = np.frombuffer(data, "u1", native.size_of(format))
    if samples > 1 and not format.planar:
        octets = octets.reshape(*shape[1:3], samples, width).transpose(2, 0, 1, 3)
    octets = octets.reshape(shape)
    starts, place, segments = [], _RLE_HEADER, []
    for sample in range(samples):
        for byte in reversed(range(width)):
            plane = octets[sample, :, :, byte].copy()
            segment = bytes(imagecodecs.packbits_encode(plane, axis=-1))
            segment += b"\0" * (len(segment) % 2)
            starts.append(place)
            segments.append(segment)
            place += len(segment)
    header = struct.pack("<16I", len(starts), *starts, *(0 for _ in range(_RLE_SEGMENTS - len(starts))))
    return b"".join((header, *segments))
