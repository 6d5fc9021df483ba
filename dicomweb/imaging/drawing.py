"""What is drawn over pixels: overlays, shutters, graphics of presentation states, annotations (PS3.3 C.9, C.7.6.11,
C.10.5; PS3.18 8.3.5.1.1)."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicomweb.imaging.described import Colour
from dicomweb.imaging.geometry import Placement
from dicomweb.imaging.looks import Graphic
from dicomweb.imaging.overlays import Overlay, Shutter

Array: TypeAlias = NDArray[Any]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

WHITE: Colour = (255, 255, 255)
YELLOW: Colour = (255, 255, 0)

# Fonts of other scripts, as far as the machine has them; Pillow brings one for Latin, Greek and Cyrillic
_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "NotoSans-Regular.ttf", "Arial Unicode.ttf")
_SMALLEST, _LARGEST = 9, 48
_NOBODY = "\U0010fffd"


# -- overlays and shutters ----------------------------------------------------------------------------------


def bits_of(overlay: Overlay, rows: int, columns: int) -> tuple[slice, slice, Array] | None:
    """Return where on a frame an overlay lies, and its bits there (PS3.3 C.9.2).

    Args:
        overlay: with data of its own.
        rows, columns: of the frame.

    Returns:
        None where nothing of it lies on the frame.
    """
    available = len(overlay.data) * 8 - overlay.skipped
    height = min(overlay.rows, -(-available // overlay.columns) if available > 0 else 0)
    first, last = max(0, -overlay.top), min(height, rows - overlay.top)
    near, far = max(0, -overlay.left), min(overlay.columns, columns - overlay.left)
    if first >= last or near >= far:
        return None
    start, stop = overlay.skipped + first * overlay.columns, overlay.skipped + last * overlay.columns
    packed = np.frombuffer(overlay.data, np.uint8)[start // 8 : (stop + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")[start % 8 : start % 8 + stop - start]
    needed = (last - first) * overlay.columns
    if len(bits) < needed:
        bits = np.pad(bits, (0, needed - len(bits)))
    plane = bits.reshape(last - first, overlay.columns)[:, near:far].astype(bool)
    top, left = overlay.top + first, overlay.left + near
    return slice(top, top + last - first), slice(left, left + far - near), plane


def overlaid(picture: Array, overlays: Sequence[Overlay], cells: Array | None) -> Array:
    """Draw overlays in white: graphics as they are, regions of interest as their outlines.

    Args:
        picture: (rows, columns) or (rows, columns, 3).
        overlays: of the frame.
        cells: samples as they are stored, for overlays in their unused bits; None where these are not at hand.
    """
    drawn = False
    for overlay in overlays:
        rows, columns = picture.shape[:2]
        if overlay.bit is None:
            found = bits_of(overlay, rows, columns)
        elif cells is not None and cells.shape == (rows, columns) and overlay.bit < 8 * cells.dtype.itemsize:
            plane = (cells >> cells.dtype.type(overlay.bit) & 1).astype(bool)
            found = slice(0, rows), slice(0, columns), plane
        else:
            found = None
        if found is None:
            continue
        if not drawn:
            picture, drawn = picture.copy(), True
        across, down, plane = found
        picture[across, down][_outline(plane) if overlay.region else plane] = np.iinfo(picture.dtype).max
    return picture


def _outline(plane: Array) -> Array:
    inner = np.pad(plane, 1)
    inside = inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    return np.asarray(plane & ~inside)


def shuttered(picture: Array, shutter: Shutter) -> Array:
    """Hide what lies outside of a shutter's shapes (D-173).

    Args:
        picture: (rows, columns) or (rows, columns, 3), of the whole frame.
        shutter: of it.
    """
    rows, columns = picture.shape[:2]
    shown = np.ones((rows, columns), bool)
    if shutter.rectangle is not None:
        left, right, upper, lower = (int(min(max(edge, -1e6), 1e6)) for edge in shutter.rectangle)
        inside = np.zeros_like(shown)
        inside[max(upper - 1, 0) : max(lower, 0), max(left - 1, 0) : max(right, 0)] = True
        shown &= inside
    if shutter.circle is not None:
        row, column, radius = shutter.circle
        down = (np.arange(rows) + 1 - row)[:, np.newaxis] ** 2
        shown &= down + (np.arange(columns) + 1 - column) ** 2 <= radius**2
    if len(shutter.polygon) >= 3:
        mask = Image.new("1", (columns, rows))
        corners = [(min(max(x - 1, -1e6), 1e6), min(max(y - 1, -1e6), 1e6)) for y, x in shutter.polygon]
        ImageDraw.Draw(mask).polygon(corners, fill=1, outline=1)
        shown &= np.asarray(mask)
    if shutter.bitmap is not None and (found := bits_of(shutter.bitmap, rows, columns)) is not None:
        across, down_, plane = found
        shown[across, down_] &= ~plane
    picture = picture.copy()
    top = np.iinfo(picture.dtype).max
    if picture.ndim == 3 and shutter.colour is not None:
        picture[~shown] = [part * (top // 255) for part in shutter.colour]
    else:
        picture[~shown] = round(shutter.gray / 65535 * top)
    return picture


# -- lines and letters --------------------------------------------------------------------------------------


def annotated(
    picture: Array,
    graphics: Sequence[Graphic],
    placed: Placement,
    above: Sequence[str] = (),
    below: Sequence[str] = (),
) -> Array:
    """Draw graphics, and lines of text into the upper and the lower left corner.

    Args:
        picture: (rows, columns) or (rows, columns, 3) as it will be seen. Graphics in colour make one of shades of 8
            bits a picture in colour; on 16 bits they are white.
        graphics: of a presentation state.
        placed: where points of the image lie on the picture.
        above, below: lines.
    """
    rows, columns = picture.shape[:2]
    layer = Image.new("RGBA", (columns, rows))
    pen = ImageDraw.Draw(layer)
    for graphic in graphics:
        _draw(pen, graphic, placed, (columns, rows))
    size = min(max(min(rows, columns) // 32, _SMALLEST), _LARGEST)
    longest = max((_width(line, size) for line in (*above, *below)), default=0.0)
    if longest > columns * 0.96:
        size = max(int(size * columns * 0.96 / longest), _SMALLEST)
    margin = max(2, size // 3)
    height = size + size // 4
    for place, line in enumerate(above):
        _write(pen, (margin, margin + place * height), line, size, WHITE)
    for place, line in enumerate(reversed(below)):
        _write(pen, (margin, rows - margin - (place + 1) * height), line, size, WHITE)
    drawn = np.asarray(layer)
    return _blended(picture, drawn)


def _blended(picture: Array, drawn: Array) -> Array:
    """Lay a picture with transparency over another."""
    alpha = drawn[..., 3]
    touched = alpha > 0
    if not touched.any():
        return picture
    colours = drawn[..., :3]
    gray = picture.ndim == 2
    if gray and picture.dtype == np.uint8:
        found = colours[touched]
        if (found[:, 0] != found[:, 2]).any() or (found[:, 0] != found[:, 1]).any():
            picture, gray = np.stack([picture] * 3, axis=-1), False
    over = colours.max(axis=-1) if gray else colours
    top = int(np.iinfo(picture.dtype).max) // 255
    result = picture.copy()
    share = alpha[touched].astype(np.float32) / 255
    share = share if gray else share[:, np.newaxis]
    mixed = picture[touched] * (1 - share) + over[touched].astype(np.float32) * top * share
    result[touched] = (mixed + 0.5).astype(picture.dtype)
    return result


def _draw(pen: ImageDraw.ImageDraw, graphic: Graphic, placed: Placement, size: tuple[int, int]) -> None:
    points = []
    for x, y in graphic.points:
        place = (x * size[0], y * size[1]) if graphic.display else placed.place(x, y)
        points.append((min(max(place[0], -32768.0), 32768.0), min(max(place[1], -32768.0), 32768.0)))
    if not points:
        return
    colour = graphic.colour or YELLOW
    fill = colour if graphic.filled else None
    width = max(1, min(size) // 512)
    match graphic.kind:
        case "TEXT":
            height = min(max(min(size) // 32, _SMALLEST), _LARGEST)
            x, y = min(point[0] for point in points), min(point[1] for point in points)
            for above, line in enumerate(graphic.text.splitlines()[:40]):
                _write(pen, (x, y + above * (height + height // 4)), line[:200], height, colour)
        case "POINT":
            for x, y in points:
                arm = 3 * width + 1
                pen.line([(x - arm, y), (x + arm, y)], colour, width)
                pen.line([(x, y - arm), (x, y + arm)], colour, width)
        case "CIRCLE" if len(points) >= 2:
            (x, y), (on_x, on_y) = points[:2]
            radius = ((on_x - x) ** 2 + (on_y - y) ** 2) ** 0.5
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill, colour, width)
        case "ELLIPSE" if len(points) >= 4:
            outline = _ellipse(points)
            if graphic.filled:
                pen.polygon(outline, fill)
            pen.line(outline, colour, width)
        case "INTERPOLATED" if len(points) >= 3:
            pen.line(_curved(points), colour, width, joint="curve")
        case _ if len(points) >= 2:
            if graphic.filled and len(points) >= 3:
                pen.polygon(points, fill)
            pen.line(points, colour, width, joint="curve")


def _ellipse(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """PS3.3 C.10.5.1.2: ends of the major axis, then of the minor."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points[:4]
    x, y = (ax + bx) / 2, (ay + by) / 2
    steps = np.linspace(0, 2 * np.pi, 73)
    across, down = np.cos(steps), np.sin(steps)
    xs = x + across * (bx - ax) / 2 + down * (dx - cx) / 2
    ys = y + across * (by - ay) / 2 + down * (dy - cy) / 2
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _curved(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A smooth line through all points (Catmull-Rom), closed where the last is the first."""
    known = np.array(points[:1000])
    closed = bool((known[0] == known[-1]).all())
    ends = (known[-2], known[1]) if closed else (known[0], known[-1])
    around = np.vstack([ends[0], known, ends[1]])
    step = np.linspace(0, 1, 9)[:-1, np.newaxis]
    parts = []
    for a, b, c, d in zip(around, around[1:], around[2:], around[3:], strict=False):
        parts.append(
            0.5 * (2 * b + (c - a) * step + (2 * a - 5 * b + 4 * c - d) * step**2 + (3 * b - a - 3 * c + d) * step**3)
        )
    line = np.vstack([*parts, known[-1:]])
    return [(float(x), float(y)) for x, y in line]


def _write(pen: ImageDraw.ImageDraw, place: tuple[float, float], line: str, size: int, colour: Colour) -> None:
    text, font = _legible(line, size)
    pen.text(place, text, fill=colour, font=font, stroke_width=max(1, size // 16), stroke_fill=(0, 0, 0))


def _legible(line: str, size: int) -> tuple[str, Font]:
    """The line, and a font that has its letters; without one, the words of which something can be written."""
    line = unicodedata.normalize("NFC", "".join(letter if letter.isprintable() else " " for letter in line))
    for name in ("", *_FONTS):
        font = _font(name, size)
        if font is not None and all(_has(font, letter) for letter in set(line)):
            return line, font
    own = _font("", size) or ImageFont.load_default()
    return " ".join(word for word in (_plain(word, own) for word in line.split(" ")) if word.strip("?")) or "?", own


def _plain(word: str, font: Font) -> str:
    """The word without accents that the font does not have, and question marks for the rest."""
    return "".join(
        letter
        if _has(font, letter)
        else unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"
        for letter in word
    )


def _width(line: str, size: int) -> float:
    text, font = _legible(line, size)
    return font.getlength(text)


@lru_cache(maxsize=256)
def _font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    except OSError:
        return None


@lru_cache(maxsize=8192)
def _has(font: Font, letter: str) -> bool:
    """Whether a font has a letter: it draws it otherwise than what nobody has."""
    if letter == " " or letter.isascii():
        return True
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NOBODY))
