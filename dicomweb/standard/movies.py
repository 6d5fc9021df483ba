"""What a video stream says of itself: size, number of frames, their rate (PS3.5 8.2.5 to 8.2.8, PS3.18 10.5.1.4).

Metadata of a Store request may leave that to the stream. MP4 files (ISO 14496-12) tell it in their index, MPEG-2
streams (ISO 13818-2) in their sequence header; of H.264 and H.265 outside of MP4 nothing is said.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from dicomweb.standard import syntaxes
from dicomweb.standard.headers import Buffer

_SEARCHED = 1 << 20
_BOXES = 200
_RATES = {1: 24000 / 1001, 2: 24.0, 3: 25.0, 4: 30000 / 1001, 5: 30.0, 6: 50.0, 7: 60000 / 1001, 8: 60.0}
_CODECS = {b"avc1": "h264", b"avc3": "h264", b"hvc1": "hevc", b"hev1": "hevc"}
_MAIN_10 = "1.2.840.10008.1.2.4.108"
# PS3.3 C.7.6.1.1.5.1
_METHODS = {"10": "ISO_13818_2", "102": "ISO_14496_10", "107": "ISO_23008_2", "108": "ISO_23008_2"}


class Movie(NamedTuple):
    """A video as its stream describes it.

    Attributes:
        rows, columns: in pixels.
        frames: that there are, or 0 where that is not told.
        milliseconds: between frames, or 0 where that is not told.
        codec: "h264", "hevc", "mpeg2" or "".
    """

    rows: int
    columns: int
    frames: int
    milliseconds: float
    codec: str

    def attributes(self, syntax: str) -> dict[str, dict[str, Any]]:
        """Return the description of the pixels, of frames and of loss as DICOM JSON model (PS3.3 C.7.6.3, C.7.6.5,
        C.7.6.1.1.5)."""
        bits = 10 if syntax == _MAIN_10 else 8
        described = {
            "00280002": 3, "00280006": 0, "00280010": self.rows, "00280011": self.columns,
            "00280100": 16 if bits > 8 else 8, "00280101": bits, "00280102": bits - 1, "00280103": 0,
        }  # fmt: skip
        elements: dict[str, dict[str, Any]] = {tag: {"vr": "US", "Value": [value]} for tag, value in described.items()}
        elements["00280004"] = {"vr": "CS", "Value": ["YBR_PARTIAL_420"]}
        elements["00282110"] = {"vr": "CS", "Value": ["01"]}
        number = syntax.rpartition(".4.")[2].partition(".")[0]
        method = _METHODS.get(number) or _METHODS["10" if number in {"100", "101"} else "102"]
        elements["00282114"] = {"vr": "CS", "Value": [method]}
        if self.frames:
            elements["00280008"] = {"vr": "IS", "Value": [self.frames]}
        if self.milliseconds:
            elements["00181063"] = {"vr": "DS", "Value": [round(self.milliseconds, 4)]}
            elements["00280009"] = {"vr": "AT", "Value": ["00181063"]}
        return elements


def read_movie(data: Buffer) -> Movie | None:
    """Read the description of a video stream (PS3.5 8.2.5 to 8.2.8).

    Args:
        data: the whole stream; little of it is looked at.

    Returns:
        The description, or None where the stream is of another kind or damaged.
    """
    try:
        if bytes(data[4:8]) in {b"ftyp", b"moov", b"mdat", b"free"}:
            return _read_mp4(data)
        head = bytes(data[:_SEARCHED])
        place = head.find(b"\0\0\1\xb3")
        if place >= 0:
            (sizes, codes) = struct.unpack_from(">IB", b"\0" + head[place + 4 : place + 8])
            rate = _RATES.get(codes & 15, 0.0)
            found = Movie(sizes & 0xFFF, sizes >> 12, 0, 1000 / rate if rate else 0.0, "mpeg2")
            return found if found.rows and found.columns else None
    except (struct.error, IndexError, ZeroDivisionError):
        return None
    return None


def syntax_of(movie: Movie, syntax: str) -> str:
    """Return the transfer syntax of a stream that was sent as another codec's: H.265 as video/mp4, whose default is
    H.264 (PS3.18 Table 8.7.3-5)."""
    if movie.codec == "hevc" and syntaxes.syntax_of(syntax).media_type == "video/mp4":
        return "1.2.840.10008.1.2.4.107"
    return syntax


def _boxes(data: Buffer, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind and content of each box (ISO 14496-12 4.2)."""
    for _ in range(_BOXES):
        if start + 8 > stop:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        inner = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, inner)
            inner += 8
        end = stop if size == 0 else start + size
        if end < inner or end > stop:
            return
        yield kind, inner, end
        start = end


def _inside(data: Buffer, start: int, stop: int, *path: bytes) -> tuple[int, int] | None:
    """The content of the first box along a path of kinds."""
    for kind in path:
        found = next(((a, b) for name, a, b in _boxes(data, start, stop) if name == kind), None)
        if found is None:
            return None
        start, stop = found
    return start, stop


def _read_mp4(data: Buffer) -> Movie | None:
    index = _inside(data, 0, len(data), b"moov")
    for kind, start, stop in _boxes(data, *index) if index else ():
        handler = _inside(data, start, stop, b"mdia", b"hdlr") if kind == b"trak" else None
        if handler is None or bytes(data[handler[0] + 8 : handler[0] + 12]) != b"vide":
            continue
        header = _inside(data, start, stop, b"mdia", b"mdhd")
        entries = _inside(data, start, stop, b"mdia", b"minf", b"stbl", b"stsd")
        sizes = _inside(data, start, stop, b"mdia", b"minf", b"stbl", b"stsz")
        if header is None or entries is None or sizes is None:
            return None
        name, columns, rows = struct.unpack_from(">4s24xHH", data, entries[0] + 12)
        (frames,) = struct.unpack_from(">I", data, sizes[0] + 8)
        scale, duration = struct.unpack_from(">IQ" if data[header[0]] == 1 else ">II", data, header[0] + (
            20 if data[header[0]] == 1 else 12))  # fmt: skip
        milliseconds = 1000 * duration / scale / frames if frames else 0.0
        return Movie(rows, columns, frames, milliseconds, _CODECS.get(name, "")) if rows and columns else None
    return None
