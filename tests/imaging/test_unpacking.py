"""PNG and GIF files as native pixels."""

import contextlib
import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dicomweb.errors import Undecodable
from dicomweb.imaging import unpacking
from dicomweb.imaging.bitmaps import Bitmap, measure

GRAY = (np.add.outer(np.arange(24), np.arange(32)) * 4).astype(np.uint8)
COLOUR = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1)
DEEP, DEEP_COLOUR = GRAY.astype(np.uint16) * 257, COLOUR.astype(np.uint16) * 99
ALPHA = np.full_like(GRAY, 100)


def converted(data: bytes, *limit: int) -> tuple[Bitmap, np.ndarray]:
    made = Bitmap.from_bytes(unpacking.convert(bytes(data), *limit))
    format = made.format
    shape = (made.frames, format.rows, format.columns, *((3,) if format.samples == 3 else ()))
    return made, np.frombuffer(made.pixels, f"<u{format.allocated // 8}").reshape(shape)


def saved(picture: Image.Image, kind: str, **how) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **how)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "pixels"),
    [
        pytest.param(imagecodecs.png_encode(GRAY), GRAY, id="gray"),
        pytest.param(imagecodecs.png_encode(COLOUR), COLOUR, id="colour"),
        pytest.param(imagecodecs.png_encode(DEEP), DEEP, id="gray 16"),
        pytest.param(imagecodecs.png_encode(DEEP_COLOUR), DEEP_COLOUR, id="colour 16"),
        pytest.param(imagecodecs.png_encode(np.dstack([COLOUR, ALPHA])), COLOUR, id="colour and alpha"),
        pytest.param(imagecodecs.png_encode(np.dstack([GRAY, ALPHA])), GRAY, id="gray and alpha"),
        pytest.param(saved(Image.fromarray(GRAY > 60), "PNG"), (GRAY > 60).astype(np.uint8) * 255, id="one bit"),
        pytest.param(saved(Image.fromarray(COLOUR // 64 * 64).quantize(256), "PNG"), None, id="palette"),
    ],
)
def test_a_png_keeps_its_pixels_and_loses_its_alpha(data, pixels):
    made, array = converted(data)
    if pixels is None:
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(array[0], pixels)
    assert made.format.photometric == ("RGB" if pixels.ndim == 3 else "MONOCHROME2")
    assert (made.frames, made.milliseconds) == (1, 0)
    assert (made.format.stored, made.format.high) == (made.format.allocated, made.format.allocated - 1)
    size = measure(bytes(data))
    assert (size.rows, size.columns) == pixels.shape[:2]
    assert size.bytes >= len(made.pixels)


def test_a_gif_animation_becomes_frames_as_they_are_seen():
    first = Image.new("RGB", (40, 30), (200, 10, 10))
    second = first.copy()
    second.paste((10, 10, 200), (5, 5, 15, 15))
    third = second.copy()
    third.paste((10, 200, 10), (20, 20, 30, 30))
    data = saved(first, "GIF", save_all=True, append_images=[second, third], duration=80, loop=0, disposal=1)
    made, array = converted(data)
    assert (made.frames, made.milliseconds) == (3, 80)
    assert np.array_equal(array, np.stack([np.asarray(each) for each in (first, second, third)]))
    assert measure(data).frames == 3


def test_a_gray_gif_has_one_channel():
    made, array = converted(saved(Image.fromarray(GRAY), "GIF"))
    assert made.format.photometric == "MONOCHROME2"
    assert np.array_equal(array[0], GRAY)


def bomb(columns: int, rows: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [
        bomb(60000, 60000),
        bomb(0, 5),
        bomb(70000, 1),
        b"GIF89a" + struct.pack("<HHBBB", 60000, 60000, 0, 0, 0) + b"\x2c" + bytes(8) + b"\0\2\0\x3b",
        b"GIF89a" + struct.pack("<HHBBB", 100, 100, 0, 0, 0) + b"\x3b",
        b"GIF89a" + struct.pack("<HHBBB", 100, 100, 0, 0, 0) + b"\x21\xff\xff",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n",
        b"",
    ],
)
def test_bombs_and_damage_are_refused_before_anything_is_decoded(data, monkeypatch):
    monkeypatch.setattr(unpacking, "_png", None)
    monkeypatch.setattr(unpacking, "_gif", None)
    with pytest.raises(Undecodable):
        unpacking.convert(data)


def test_the_limit_counts_all_frames():
    frames = [Image.new("RGB", (100, 100), (number, 0, 0)) for number in range(30)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert converted(data)[0].frames == 30
    with pytest.raises(Undecodable, match="limit"):
        unpacking.convert(data, 1_000_000)


@given(cut=st.integers(0, 400), noise=st.binary(max_size=8))
def test_damaged_files_are_undecodable_or_pictures(cut, noise):
    for whole in (bytes(imagecodecs.png_encode(COLOUR)), saved(Image.fromarray(COLOUR), "GIF")):
        with contextlib.suppress(Undecodable):
            made, array = converted(whole[:cut] + noise + whole[cut + len(noise) :])
            assert array.size * array.itemsize == len(made.pixels)
