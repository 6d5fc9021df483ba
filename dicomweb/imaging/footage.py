"""Video at work: a stream repacked as an MP4 that browsers play, and single frames of it (PS3.18 8.7.4).

Repacking copies the coded pictures as they are. All of it is PyAV's, which comes with the optional extra `video`, and
works on files, so that memory does not grow with a video. Containers are opened as what `video.probe` found and never
guessed, since there are formats that name other files.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dicomweb.errors import Undecodable
from dicomweb.imaging.looks import Look
from dicomweb.imaging.render import render
from dicomweb.imaging.video import DEFAULT_RATE, HEAD, Stream
from dicomweb.standard.pixels import Format
from dicomweb.standard.rendering import Rendering
from dicomweb.standard.syntaxes import EXPLICIT

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

DECODED = 10_000
"""Frames that are decoded on the way to one that is asked for."""

MOST_PIXELS = 8192 * 8192
"""Pixels of a frame, where the caller names no limit."""

# As libavformat calls them
_DEMUXERS = {"mp4": "mov", "ts": "mpegts", "ps": "mpeg", "mpeg2": "mpegvideo", "h264": "h264", "hevc": "hevc"}
_SOUND = {"aac", "mp3", "ac3"}


def repack(source: Path, target: Path, stream: Stream, rate: float = DEFAULT_RATE) -> bytes:
    """Write a video as MP4 with its index in front; coded pictures and sound are copied, not coded anew.

    Args:
        source: file that holds the stream.
        target: file to write; what is in it is lost.
        stream: what `video.probe` said of it; must be packable.
        rate: frames a second, where the stream has no times of its own.

    Returns:
        The first `video.HEAD` bytes of what was written, for `video.probe`.

    Raises:
        Undecodable: it cannot be repacked, or PyAV is not installed.
    """
    if not stream.packable:
        raise Undecodable("such a video cannot be repacked as MP4 without coding it anew")
    av = _av()
    bare = stream.container in {"h264", "hevc"}
    order = _order(source, stream, rate) if bare else []
    options = {"movflags": "+faststart"}
    with _opened(source, stream, rate) as given, _translated(), av.open(str(target), "w", "mp4", options) as made:
        picture = _pictures(given)
        sounds = [sound for sound in given.streams.audio if sound.codec_context.name in _SOUND][:1]
        copies = {each.index: made.add_stream_from_template(each) for each in (picture, *sounds)}
        if stream.codec == "hevc":
            copies[picture.index].codec_context.codec_tag = "hvc1"
        packets = _timed(given, picture, rate, order) if bare else _shifted(given, picture, rate, [picture, *sounds])
        count = 0
        for packet in packets:
            packet.stream = copies[packet.stream.index]
            made.mux(packet)
            count += 1
    if not count:
        raise Undecodable("the video has no pictures")
    with target.open("rb") as written:
        return written.read(HEAD)


def frame(source: Path, stream: Stream, index: int, rate: float = DEFAULT_RATE) -> NDArray[np.uint8]:
    """Decode one frame.

    Args:
        source: file that holds the stream.
        stream: what `video.probe` said of it.
        index: of the frame, from 0; behind the end it is the last one.
        rate: frames a second, where the stream has no times of its own.

    Returns:
        Array of shape (rows, columns, 3), RGB, uint8.

    Raises:
        Undecodable: it cannot be decoded, lies more than `DECODED` frames behind the last place that can be
            sought, or PyAV is not installed.
    """
    with _opened(source, stream, rate) as given, _translated():
        picture = _pictures(given)
        known = picture.average_rate
        pace = float(known) if known and 0.01 < known < 1000 else rate
        if stream.container in {"mpeg2", "h264", "hevc"}:
            return _counted(given, picture, index)
        base = picture.time_base or Fraction(1, 90000)
        origin = picture.start_time or 0
        wanted = origin + round((index - 0.5) / pace / base)
        # Transport streams have no index: where a search ends may be behind what it was for.
        for back in (0, 2, 10):
            place = wanted - round(back / base)
            if place > origin:
                given.seek(place, backward=True, stream=picture)
                if (found := _until(given, picture, wanted, True)) is not None:
                    return found
    with _opened(source, stream, rate) as given, _translated():
        found = _until(given, _pictures(given), wanted, False)
    if found is None:
        raise Undecodable("the video has no pictures that can be decoded")
    return found


def rendered(
    source: Path,
    stream: Stream,
    index: int,
    rate: float,
    look: Look,
    rendering: Rendering,
    most_pixels: int | None = None,
) -> bytes:
    """Render one frame, as `render.render` does those of other images.

    Args:
        source, stream, index, rate: as for `frame`.
        look: how it is seen.
        rendering: how it is wanted; may be a thumbnail.
        most_pixels: of the frame and of the picture; None is a limit of our own.

    Raises:
        Undecodable: as `frame`.
        BadRequest: as `render.render`.
    """
    picture = frame(source, stream, index, rate)
    rows, columns = picture.shape[:2]
    format = Format(rows, columns, 3, "RGB", 0, 8, 8, 7)
    return render(picture.tobytes(), EXPLICIT, format, look, rendering, most_pixels)


def _until(given: "InputContainer", picture: "VideoStream", wanted: int, strict: bool) -> NDArray[np.uint8] | None:
    """The first frame that is not before a time, or the last one of all; None if there is none, or, where that is
    asked for, if decoding began behind the time."""
    last = None
    for number, found in enumerate(given.decode(picture)):
        time = found.pts
        if strict and not number and time is not None and time > wanted:
            return None
        if number >= DECODED:
            raise Undecodable("the frame lies too far behind the last place in the video that can be sought")
        last = found
        if time is not None and time >= wanted:
            break
    return None if last is None else _pixels(last)


def _pixels(found: "VideoFrame") -> NDArray[np.uint8]:
    return np.asarray(found.to_ndarray(format="rgb24"), np.uint8)


def _counted(given: "InputContainer", picture: "VideoStream", index: int) -> NDArray[np.uint8]:
    if index >= DECODED:
        raise Undecodable("the frame lies too far into a stream without times")
    last = None
    for found in itertools.islice(given.decode(picture), index + 1):
        last = found
    if last is None:
        raise Undecodable("the video has no pictures that can be decoded")
    return _pixels(last)


def _shifted(
    given: "InputContainer", picture: "VideoStream", rate: float, wanted: list[Any]
) -> "Iterator[Packet[Any]]":
    """The packets of streams with times, beginning at 0; those that have none follow the one before."""
    origin: dict[int, int] = {}
    last: dict[int, int] = {}
    first: float | None = None
    for packet in given.demux(*wanted):
        if not packet.size:
            continue
        number, base = packet.stream.index, packet.time_base or Fraction(1, 90000)
        step = max(round(1 / rate / base), 1)
        if packet.dts is None:
            packet.dts = last[number] + (packet.duration or step) if number in last else packet.pts or 0
        if packet.pts is None:
            packet.pts = packet.dts
        if first is None:
            first = float(packet.pts * base)
        origin.setdefault(number, round(first / base))
        packet.dts -= origin[number]
        packet.pts -= origin[number]
        if number in last and packet.dts <= last[number]:
            packet.dts = last[number] + 1
        packet.pts = max(packet.pts, packet.dts)
        last[number] = packet.dts
        yield packet


def _timed(given: "InputContainer", picture: "VideoStream", rate: float, order: list[int]) -> "Iterator[Packet[Any]]":
    """The packets of a bare stream with times made from the frame rate and the order from `_order`."""
    base = Fraction(1, 90000)
    step = base.denominator / Fraction(rate).limit_denominator(1001)
    shown = {coded: number for number, coded in enumerate(order)}
    delay = max((coded - number for number, coded in enumerate(order)), default=0)
    number = -1
    for packet in given.demux(picture):
        if not packet.size:
            continue
        number += 1
        packet.time_base = base
        packet.dts = round((number - delay) * step)
        packet.pts = max(round(shown.get(number, number) * step), packet.dts)
        packet.duration = round(step)
        yield packet


def _order(source: Path, stream: Stream, rate: float) -> list[int]:
    """Numbers of the coded pictures of a bare stream in the order in which they are shown, which only a decoder
    knows."""
    shown = []
    number = -1
    with _opened(source, stream, rate) as given, _translated():
        for packet in given.demux(_pictures(given)):
            if packet.size:
                number += 1
                packet.pts = packet.dts = number
            shown += [found.pts for found in packet.decode() if found.pts is not None]
    return shown


def _pictures(given: "InputContainer") -> "VideoStream":
    if not given.streams.video:
        raise Undecodable("there is no video in the stream")
    picture = given.streams.video[0]
    if picture.codec_context.width * picture.codec_context.height > MOST_PIXELS:
        raise Undecodable("the pictures of the video are larger than the limit")
    return picture


@contextlib.contextmanager
def _opened(source: Path, stream: Stream, rate: float) -> "Iterator[InputContainer]":
    if not stream.container:
        raise Undecodable("the video is in a container that is not read here")
    options = {"protocol_whitelist": "file", "probesize": "5000000", "analyzeduration": "5000000"}
    if stream.container in {"h264", "hevc", "mpeg2"} and math.isfinite(rate):
        options["framerate"] = f"{rate:.6f}"
    av = _av()
    with _translated():
        given = av.open(str(source), "r", _DEMUXERS[stream.container], options)
    with given:
        yield given


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    av = _av()
    try:
        yield
    except (av.FFmpegError, OSError, ValueError, EOFError) as error:
        raise Undecodable("the video stream is damaged, or of a kind that is not read here") from error


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise Undecodable("videos are decoded and repacked by PyAV: pip install roentgate[video]") from error
    return av
