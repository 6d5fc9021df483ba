"""Thumbnails and icons (PS3.18 10.4.3.3.4; R33): small JPEG pictures without patient text."""

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from dicomweb.imaging import pictures, tracings
from dicomweb.imaging.choosing import Icon
from dicomweb.imaging.looks import Look
from dicomweb.imaging.render import render
from dicomweb.standard.pixels import Format
from dicomweb.standard.rendering import THUMBNAIL, THUMBNAIL_QUALITY, Rendering, Viewport
from dicomweb.standard.syntaxes import EXPLICIT

_GROUND, _PAPER, _INK, _ACCENT = (38, 44, 54), (214, 220, 228), (96, 108, 124), (92, 160, 220)
# Icons are drawn this many times larger and shrunk, for smooth edges
_OVER = 4


def thumbnail(
    data: bytes,
    stored: str,
    format: Format,
    look: Look,
    size: tuple[int, int] | None = None,
    most_pixels: int | None = None,
) -> bytes:
    """Make the thumbnail of a frame, as JPEG.

    Neither overlays, nor graphics, nor annotations are drawn, since they may say who it is; what is burned into the
    pixels stays.

    Args:
        data: the frame as stored.
        stored: its Transfer Syntax UID.
        format: of its samples.
        look: how it is seen.
        size: columns and rows that it fits into; None is 256 each, and frames that are smaller stay as they are.
        most_pixels: of the frame.

    Raises:
        Undecodable: the frame cannot be decoded.
    """
    viewport = None if size is None else Viewport(*size)
    return render(data, stored, format, look, Rendering("image/jpeg", viewport=viewport, thumbnail=True), most_pixels)


def tracing(dataset: Mapping[str, Any], bulk: Mapping[str, bytes], rendering: Rendering) -> bytes:
    """Draw waveforms as a small picture without text.

    Args:
        dataset, bulk: as for `tracings.png`.
        rendering: how it is wanted.

    Raises:
        Undecodable: there is no waveform that can be read.
    """
    side = THUMBNAIL * 4
    with Image.open(io.BytesIO(tracings.png(dataset, bulk, side, side, words=False))) as drawn:
        picture = drawn.convert("RGB")
    format = Format(picture.height, picture.width, 3, "RGB", 0, 8, 8, 7)
    return render(picture.tobytes(), EXPLICIT, format, Look(kind="colour"), rendering)


@lru_cache(maxsize=64)
def icon(kind: Icon, size: tuple[int, int] | None = None, media_type: str = "image/jpeg") -> bytes:
    """Draw what stands for an object without a picture.

    Args:
        kind: of object.
        size: columns and rows that it fits into; None is 256 each. It is square.
        media_type: of the picture.
    """
    side = max(16, min(size or (THUMBNAIL, THUMBNAIL)))
    large = Image.new("RGB", (64 * _OVER, 64 * _OVER), _GROUND)
    _DRAWN[kind](ImageDraw.Draw(large))
    small = large.resize((min(side, 1024),) * 2, Image.Resampling.LANCZOS)
    return pictures.encode(np.asarray(small), media_type, THUMBNAIL_QUALITY)


def _at(*places: float) -> list[float]:
    """Places on a grid of 64 by 64."""
    return [place * _OVER for place in places]


def _document(pen: ImageDraw.ImageDraw) -> None:
    pen.polygon(_at(16, 8, 40, 8, 48, 16, 48, 56, 16, 56), _PAPER)
    pen.polygon(_at(40, 8, 48, 16, 40, 16), _INK)
    for row in (24, 30, 36, 42, 48):
        pen.line(_at(21, row, 43 if row != 48 else 34, row), _INK, 2 * _OVER)


def _waveform(pen: ImageDraw.ImageDraw) -> None:
    for place in range(8, 57, 8):
        pen.line(_at(8, place, 56, place), (58, 66, 80), _OVER // 2)
        pen.line(_at(place, 8, place, 56), (58, 66, 80), _OVER // 2)
    beat = (8, 36, 18, 36, 21, 32, 24, 36, 27, 36, 29, 40, 33, 12, 37, 50, 40, 36, 45, 36, 49, 30, 53, 36, 56, 36)
    pen.line(_at(*beat), _ACCENT, 2 * _OVER, joint="curve")


def _plan(pen: ImageDraw.ImageDraw) -> None:
    for radius, colour in ((22, _INK), (15, _PAPER), (8, _ACCENT)):
        pen.ellipse(_at(32 - radius, 32 - radius, 32 + radius, 32 + radius), outline=colour, width=2 * _OVER)
    pen.line(_at(32, 4, 32, 60), _PAPER, _OVER)
    pen.line(_at(4, 32, 60, 32), _PAPER, _OVER)


def _video(pen: ImageDraw.ImageDraw) -> None:
    pen.rounded_rectangle(_at(8, 14, 56, 50), 5 * _OVER, _PAPER)
    pen.polygon(_at(26, 22, 26, 42, 43, 32), _GROUND)


def _state(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle(_at(10, 14, 54, 50), outline=_PAPER, width=2 * _OVER)
    pen.ellipse(_at(18, 22, 34, 38), outline=_ACCENT, width=2 * _OVER)
    pen.line(_at(36, 42, 47, 26), _ACCENT, 2 * _OVER)


def _unknown(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle(_at(14, 14, 50, 50), outline=_PAPER, width=2 * _OVER)
    pen.line(_at(14, 14, 50, 50), _INK, 2 * _OVER)
    pen.line(_at(50, 14, 14, 50), _INK, 2 * _OVER)


_DRAWN = {
    "document": _document,
    "waveform": _waveform,
    "plan": _plan,
    "video": _video,
    "state": _state,
    "unknown": _unknown,
}
