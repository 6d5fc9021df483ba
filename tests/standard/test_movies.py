"""What video streams say of themselves."""

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from realdata import real

from dicomweb.standard import movies
from dicomweb.standard.elements import Limits
from dicomweb.standard.movies import read_movie
from dicomweb.standard.part10 import read_object


def coded(codec: str, container: str, frames: int = 10, **options: str) -> bytes:
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made"
        with av.open(str(path), "w", container, options=options) as made:
            stream: Any = made.add_stream(codec, rate=25, options=quiet)
            stream.width, stream.height, stream.pix_fmt = 80, 48, "yuv420p"
            for number in range(frames):
                shot = av.VideoFrame.from_ndarray(np.full((48, 80, 3), 9 * number, np.uint8), format="rgb24")
                shot.pts, shot.time_base = number, Fraction(1, 25)
                made.mux(stream.encode(shot))
            made.mux(stream.encode(None))
        return path.read_bytes()


@pytest.mark.parametrize(
    ("codec", "container", "options", "kind", "frames"),
    [
        ("libx264", "mp4", {}, "h264", 10),
        ("libx264", "mp4", {"movflags": "+faststart"}, "h264", 10),
        ("libx265", "mp4", {}, "hevc", 10),
        ("mpeg2video", "mpeg2video", {}, "mpeg2", 0),
        ("mpeg2video", "mpegts", {}, "mpeg2", 0),
    ],
)
def test_a_stream_says_how_large_and_how_long_it_is(codec, container, options, kind, frames):
    found = read_movie(coded(codec, container, **options))
    assert found is not None
    assert (found.rows, found.columns, found.frames, found.codec) == (48, 80, frames, kind)
    assert found.milliseconds == pytest.approx(40)


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\x08moov", coded("libx264", "mpegts"), b"\0\0\1\xb3", b"\0\0\1\xb3" + bytes(9)]
)
def test_other_streams_say_nothing(data):
    assert read_movie(data) is None


WHOLE = coded("libx264", "mp4", 3, movflags="+faststart")


@given(place=st.integers(0, 1200), noise=st.binary(max_size=12), stop=st.integers(0, len(WHOLE)))
def test_damage_is_passed_over(place, noise, stop):
    data = (WHOLE[:place] + noise + WHOLE[place + len(noise) :])[:stop]
    found = read_movie(data)
    assert found is None or (found.rows > 0 and found.columns > 0)


@pytest.mark.parametrize(("name", "frames"), [("h264-hp41", 36), ("hevc-main-p51", 36), ("mpeg2-mpml", 0)])
def test_a_real_stream_says_what_the_object_around_it_says(name, frames):
    data = real(f"built/{name}.dcm").read_bytes()
    read = read_object(data, Limits())
    found = read_movie(b"".join(data[start:stop] for start, stop in read.layout.bulk_spans("7FE00010")))
    assert found is not None
    described = found.attributes(read.syntax.uid)
    for tag in ("00280002", "00280004", "00280010", "00280011", "00280100", "00280101", "00280102", "00280103"):
        assert described[tag]["Value"] == read.dataset[tag]["Value"], tag
    assert described.get("00280008", {"Value": [0]})["Value"] == [frames]


def test_hevc_that_is_sent_as_mp4_is_stored_as_hevc():
    found = read_movie(coded("libx265", "mp4"))
    assert found is not None
    assert movies.syntax_of(found, "1.2.840.10008.1.2.4.102") == "1.2.840.10008.1.2.4.107"
    assert movies.syntax_of(found._replace(codec="h264"), "1.2.840.10008.1.2.4.102") == "1.2.840.10008.1.2.4.102"
