"""Video: what it is, repacked, and single frames of it."""

import builtins
import io
import queue
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from loopback import Quiet, serving
from PIL import Image
from realdata import real

from dicomweb.errors import Undecodable
from dicomweb.imaging import footage, video
from dicomweb.imaging.looks import read_look
from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import read_object
from dicomweb.standard.rendering import Rendering, Viewport

ROOT = "1.2.840.10008.1.2.4."
H264, HEVC, MPEG2 = f"{ROOT}102", f"{ROOT}107", f"{ROOT}100"
CHROMIUM = shutil.which("chromium")
FRAMES, RATE = 60, 20


def coded(path: Path, codec: str, container: str, sound: bool = False, **options: str) -> Path:
    """A video of `FRAMES` frames, each of its own gray, `RATE` a second; few frames can be sought."""
    with av.open(str(path), "w", container) as made:
        stream: Any = made.add_stream(codec, rate=RATE, options={"g": "24", **options})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        voice: Any = made.add_stream("aac", rate=8000) if sound else None
        for number in range(FRAMES):
            picture = np.full((48, 64, 3), gray(number), np.uint8)
            shot = av.VideoFrame.from_ndarray(picture, format="rgb24")
            shot.pts, shot.time_base = number, Fraction(1, RATE)
            made.mux(stream.encode(shot))
        made.mux(stream.encode(None))
        if voice is not None:
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * 3), np.float32), "fltp", "mono")
            noise.sample_rate = 8000
            made.mux(voice.encode(noise))
            made.mux(voice.encode(None))
    return path


def gray(number: int) -> int:
    return 20 + 3 * number


def probed(path: Path, syntax: str) -> video.Stream:
    with path.open("rb") as file:
        return video.probe(file.read(video.HEAD), syntax)


def stored(name: str, folder: Path) -> tuple[Path, video.Stream]:
    """The stream of a real object, as a file."""
    data = real(name).read_bytes()
    read = read_object(data, Limits())
    path = folder / "stream"
    path.write_bytes(b"".join(data[start:stop] for start, stop in read.layout.bulk_spans("7FE00010")))
    return path, probed(path, read.syntax.uid)


@pytest.mark.parametrize(
    ("head", "syntax", "container", "codec", "media_type", "playable", "packable"),
    [
        (b"\0\0\0\x20ftypisom" + b"\0" * 20 + b"\0\0\0\x08moov", H264, "mp4", "h264", "video/mp4", True, True),
        (b"\0\0\0\x20ftypisom" + b"\0" * 20 + b"\0\0\0\x08mdat", H264, "mp4", "h264", "video/mp4", False, True),
        ((b"\x47" + b"\0" * 187) * 5, f"{ROOT}104.1", "ts", "h264", "video/mp2t", False, True),
        ((b"\0\0\0\0\x47" + b"\0" * 187) * 5, MPEG2, "ts", "mpeg2", "video/mp2t", False, False),
        (b"\0\0\1\xba" + b"\0" * 50, f"{ROOT}101", "ps", "mpeg2", "video/mpeg", False, False),
        (b"\0\0\1\xb3" + b"\0" * 50, MPEG2, "mpeg2", "mpeg2", "video/mpeg", False, False),
        (b"\0\0\0\1\x67" + b"\0" * 50, H264, "h264", "h264", "video/H264", False, True),
        (b"\0\0\1\x40\1" + b"\0" * 50, HEVC, "hevc", "hevc", "video/H265", False, True),
        (b"RIFF....AVI ", H264, "", "h264", "video/mp4", False, False),
        (b"", HEVC, "", "hevc", "video/H265", False, False),
    ],
)
def test_a_stream_is_known_by_its_first_bytes(head, syntax, container, codec, media_type, playable, packable):
    assert video.probe(head, syntax) == (container, codec, media_type, playable, packable)


@pytest.mark.parametrize(
    ("attributes", "rate"),
    [
        ({"00181063": {"vr": "DS", "Value": [40.0]}, "00180040": {"vr": "IS", "Value": [30]}}, 25),
        ({"00181065": {"vr": "DS", "Value": [0, 20.0, 20.0]}}, 50),
        ({"00180040": {"vr": "IS", "Value": [30]}}, 30),
        ({"00082144": {"vr": "IS", "Value": [15]}}, 15),
        ({"00181063": {"vr": "DS", "Value": ["x"]}, "00180040": {"vr": "IS", "Value": [0]}}, video.DEFAULT_RATE),
        ({}, video.DEFAULT_RATE),
    ],
)
def test_the_frame_rate_is_what_the_data_set_says(attributes, rate):
    assert video.rate_of(attributes) == rate


@pytest.mark.parametrize(
    ("codec", "container", "syntax", "options"),
    [
        pytest.param("libx264", "mpegts", H264, {"bf": "3"}, id="H.264 in a transport stream"),
        pytest.param("libx264", "h264", H264, {"bf": "3"}, id="bare H.264 with pictures out of order"),
        pytest.param("libx264", "h264", H264, {"bf": "0"}, id="bare H.264 in order"),
        pytest.param("libx264", "mp4", H264, {}, id="H.264 with its index behind"),
        pytest.param("libx265", "mpegts", HEVC, {"x265-params": "log-level=none"}, id="HEVC in a transport stream"),
        pytest.param("libx265", "hevc", HEVC, {"x265-params": "log-level=none"}, id="bare HEVC"),
    ],
)
def test_a_repacked_video_has_the_same_pictures_at_their_times(tmp_path, codec, container, syntax, options):
    source = coded(tmp_path / "source", codec, container, **options)
    footage.repack(source, tmp_path / "made", probed(source, syntax), RATE)
    made = probed(tmp_path / "made", syntax)
    assert made.playable
    with av.open(str(tmp_path / "made")) as given:
        found = [(shot.time, int(shot.to_ndarray(format="rgb24").mean())) for shot in given.decode(video=0)]
        assert given.streams.video[0].codec_context.codec_tag == ("hvc1" if syntax == HEVC else "avc1")
    assert [time for time, _ in found] == pytest.approx([number / RATE for number in range(FRAMES)], abs=0.001)
    assert [shade for _, shade in found] == pytest.approx([gray(number) for number in range(FRAMES)], abs=4)


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as given:
        return [bytes(packet) for packet in given.demux(given.streams.video[0]) if packet.size]


def test_coded_pictures_are_copied(tmp_path):
    source = coded(tmp_path / "source.mp4", "libx264", "mp4")
    footage.repack(source, tmp_path / "made", probed(source, H264))
    assert packets(tmp_path / "made") == packets(source)


def test_sound_goes_with_it(tmp_path):
    source = coded(tmp_path / "source", "libx264", "mpegts", sound=True)
    footage.repack(source, tmp_path / "made", probed(source, H264))
    with av.open(str(tmp_path / "made")) as given:
        assert [stream.codec_context.name for stream in given.streams] == ["h264", "aac"]
        assert float(given.duration or 0) / av.time_base == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize(
    ("codec", "container", "syntax"),
    [("libx264", "mp4", H264), ("libx264", "mpegts", H264), ("libx264", "h264", H264), ("mpeg2video", "mpegts", MPEG2),
     ("mpeg2video", "mpeg2video", MPEG2), ("mpeg2video", "mpeg", MPEG2)],
)  # fmt: skip
def test_each_frame_is_the_one_that_was_asked_for(tmp_path, codec, container, syntax):
    source = coded(tmp_path / "source", codec, container)
    stream = probed(source, syntax)
    for index in (0, 1, 23, 24, 40, 59):
        picture = footage.frame(source, stream, index, RATE)
        assert picture.shape == (48, 64, 3)
        assert picture.dtype == np.uint8
        assert picture.mean() == pytest.approx(gray(index), abs=6), index
    assert footage.frame(source, stream, 5000, RATE).mean() == pytest.approx(gray(59), abs=6)


def test_what_is_no_video_is_undecodable(tmp_path):
    source = tmp_path / "source"
    for data in (b"", b"RIFF....AVI ", (b"\x47" + b"\0" * 187) * 50, b"\0\0\0\x18ftypisom" + b"\0" * 5000,
                 b"#EXTM3U\nhttp://127.0.0.1/x\n"):  # fmt: skip
        source.write_bytes(data)
        stream = video.probe(data[: video.HEAD], H264)
        with pytest.raises(Undecodable):
            footage.frame(source, stream, 0)
        with pytest.raises(Undecodable):
            footage.repack(source, tmp_path / "made", stream)


def test_mpeg_2_is_not_repacked(tmp_path):
    source = coded(tmp_path / "source", "mpeg2video", "mpegts")
    with pytest.raises(Undecodable, match="coding it anew"):
        footage.repack(source, tmp_path / "made", probed(source, MPEG2))


def test_without_pyav_the_answer_says_what_to_install(tmp_path, monkeypatch):
    source = coded(tmp_path / "source", "libx264", "mpegts")
    stream = probed(source, H264)
    real_import = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for ask in (lambda: footage.frame(source, stream, 0), lambda: footage.repack(source, tmp_path / "made", stream)):
        with pytest.raises(Undecodable, match=re.escape("pip install roentgate[video]")):
            ask()


@pytest.mark.parametrize("name", ["h264-hp41", "hevc-main-p51", "mpeg2-mpml"])
def test_frames_of_real_videos_can_be_shown(tmp_path, name):
    path, stream = stored(f"built/{name}.dcm", tmp_path)
    first, later = footage.frame(path, stream, 0), footage.frame(path, stream, 20)
    assert first.shape == later.shape == (480, 720, 3)
    assert first.std() > 20
    assert not np.array_equal(first, later)


PAGE = b"""<!DOCTYPE html><video id=v muted src="made.mp4"></video><script>
const v = document.getElementById('v'), say = words => fetch('said', {method: 'POST', body: words});
v.onerror = () => say('error ' + v.error.message);
v.onloadedmetadata = () => { v.currentTime = 0.8 };
v.onseeked = () => {
  v.onseeked = null;
  const from = v.currentTime;
  v.onended = () => say([v.duration, v.videoWidth, v.videoHeight, from, v.currentTime].join(' '));
  v.play().catch(error => say('error ' + error));
};
</script>"""


class Site(Quiet):
    """The page, the video by ranges, and an ear for what the page says."""

    video: bytes
    said: "queue.Queue[str]"

    def do_GET(self) -> None:
        body = self.video if self.path == "/made.mp4" else PAGE
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        last = int(asked[2]) if asked and asked[2] else len(body) - 1
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "video/mp4" if body is self.video else "text/html")
        self.send_header("Accept-Ranges", "bytes")
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(body[first : last + 1])

    def do_POST(self) -> None:
        self.said.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()


def played(data: bytes, profile: Path) -> str:
    """What the page says when Chromium has played the video from the middle to its end."""
    assert CHROMIUM is not None
    handler = type("Handler", (Site,), {"video": data, "said": queue.Queue()})
    with serving(handler) as url:
        browser = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required",
             f"--user-data-dir={profile}", "--remote-debugging-port=0", f"{url}/"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return str(handler.said.get(timeout=90))
        finally:
            browser.terminate()
            browser.wait(30)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
@pytest.mark.parametrize("container", ["mp4", "mpegts"])
def test_a_browser_plays_and_seeks_it(tmp_path, container):
    source, stream = stored("built/h264-hp41.dcm", tmp_path)
    if container == "mpegts":
        with av.open(str(source)) as given, av.open(str(tmp_path / "ts"), "w", container) as packed:
            copy = packed.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(given.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = copy
                    packed.mux(packet)
        source, stream = tmp_path / "ts", probed(tmp_path / "ts", H264)
        assert stream.container == "ts"
    footage.repack(source, tmp_path / "made.mp4", stream)
    said = played((tmp_path / "made.mp4").read_bytes(), tmp_path / "profile")
    assert not said.startswith("error"), said
    duration, width, height, start, end = map(float, said.split())
    assert (width, height) == (720, 540)  # 480 lines, whose pixels are not square
    assert duration == pytest.approx(1.2, abs=0.05)
    assert start == pytest.approx(0.8, abs=0.05)
    assert end == pytest.approx(duration, abs=0.05)


def test_a_rendered_frame_is_a_picture_of_the_size_that_was_asked_for(tmp_path):
    source = coded(tmp_path / "source", "libx264", "mp4")
    look = read_look({}, 1, lambda path: b"")
    for rendering, size in ((Rendering("image/png"), (64, 48)), (Rendering(viewport=Viewport(32, 32)), (32, 24))):
        data = footage.rendered(source, probed(source, H264), 30, RATE, look, rendering)
        with Image.open(io.BytesIO(data)) as picture:
            assert picture.size == size
            assert np.asarray(picture).mean() == pytest.approx(gray(30), abs=6)


def test_a_frame_that_stands_for_a_video_is_not_its_first():
    assert [video.poster(25, frames) for frames in (1, 36, 100, 100_000)] == [0, 3, 10, 75]
