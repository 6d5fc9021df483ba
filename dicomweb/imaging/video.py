"""Video: what a stored stream is, and as what it can be handed out (PS3.5 8.2.5 to 8.2.8, PS3.18 8.7.4).

The Standard allows MPEG-2 streams bare or in a transport stream, H.264 and H.265 in MP4 or in a transport stream.
Browsers play H.264 (and some H.265) in MP4 and nothing else of these. `footage` repacks streams and decodes frames.

No numpy.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from dicomweb.standard import dicomjson, syntaxes

Container: TypeAlias = Literal["mp4", "ts", "ps", "mpeg2", "h264", "hevc", ""]

HEAD = 4096
"""Bytes from the beginning of a stream that are enough to tell what it is."""

DEFAULT_RATE = 25.0
_CODECS = {"100": "mpeg2", "101": "mpeg2", **dict.fromkeys(("102", "103", "104", "105", "106"), "h264"),
           "107": "hevc", "108": "hevc"}  # fmt: skip
_TYPES = {
    "mp4": "video/mp4", "ts": "video/mp2t", "ps": "video/mpeg", "mpeg2": "video/mpeg", "h264": "video/H264",
    "hevc": "video/H265",
}  # fmt: skip


class Stream(NamedTuple):
    """What a stored video is.

    Attributes:
        container: the file format, or the codec of a bare stream, or "" where it is none of these.
        codec: "mpeg2", "h264", "hevc" or "".
        media_type: of the stream as stored.
        playable: a browser with the codec plays it as it is, and seeks.
        packable: `footage.repack` can make such an MP4 of it.
    """

    container: Container
    codec: str
    media_type: str
    playable: bool
    packable: bool


def probe(head: bytes, syntax: str) -> Stream:
    """Say what a video stream is.

    Args:
        head: its first `HEAD` bytes, or all of it.
        syntax: Transfer Syntax UID of the object.
    """
    codec = _CODECS.get(syntax.removeprefix("1.2.840.10008.1.2.4.").partition(".")[0], "")
    container = _container(head, codec)
    codec = {"mpeg2": "mpeg2", "h264": "h264", "hevc": "hevc"}.get(container, codec)
    media_type = _TYPES.get(container) or syntaxes.syntax_of(syntax).media_type
    modern = codec in {"h264", "hevc"}
    playable = modern and container == "mp4" and _begins_with_index(head)
    return Stream(container, codec, media_type, playable, modern and container in {"mp4", "ts", "h264", "hevc"})


def _container(head: bytes, codec: str) -> Container:
    if head[4:8] in {b"ftyp", b"moov", b"mdat"}:
        return "mp4"
    for size, first in ((188, 0), (192, 4), (204, 0)):
        marks = head[first : first + 5 * size : size]
        if len(marks) > 1 and set(marks) == {0x47}:
            return "ts"
    if head.startswith(b"\0\0\1\xba"):
        return "ps"
    if head.startswith(b"\0\0\1\xb3"):
        return "mpeg2"
    start = 4 if head.startswith(b"\0\0\0\1") else 3 if head.startswith(b"\0\0\1") else 0
    if start and len(head) > start and not head[start] & 0x80:
        if codec == "hevc" or (codec != "h264" and head[start] >> 1 & 0x3F in {32, 33, 34, 35}):
            return "hevc"
        return "h264"
    return ""


def _begins_with_index(head: bytes) -> bool:
    """Whether the index of an MP4 comes before its media, so that playing can begin at once."""
    place = 0
    while place + 8 <= len(head):
        size, name = int.from_bytes(head[place : place + 4]), head[place + 4 : place + 8]
        if name in {b"moov", b"mdat"}:
            return name == b"moov"
        if size == 1:
            size = int.from_bytes(head[place + 8 : place + 16])
        if size < 8:
            return False
        place += size
    return False


def rate_of(dataset: Mapping[str, Any]) -> float:
    """Return frames a second as a data set has it: Frame Time, Frame Time Vector, Cine Rate, Recommended Display
    Frame Rate (PS3.3 C.7.6.5, C.7.6.6), else `DEFAULT_RATE`."""
    for tag, inverse in (("00181063", True), ("00181065", True), ("00180040", False), ("00082144", False)):
        numbers = [value for value in dicomjson.values(dataset, tag) if isinstance(value, int | float) and value > 0]
        if numbers:
            value = sum(numbers) / len(numbers)
            rate = 1000 / value if inverse else value
            if 0.01 <= rate <= 1000:
                return rate
    return DEFAULT_RATE


def poster(rate: float, frames: int) -> int:
    """Return the index of the frame that stands for a whole video: a tenth of the way in, and at most three seconds,
    since many begin in the dark.

    Args:
        rate: frames a second.
        frames: how many there are.
    """
    return max(min(frames // 10, round(3 * rate)), 0)
