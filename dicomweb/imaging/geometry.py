"""Where each pixel of an image comes to lie: region, scale, flips, rotation (PS3.18 8.3.5.1.3, PS3.3 C.10.4,
C.10.6)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dicomweb.errors import BadRequest
from dicomweb.imaging.looks import Look
from dicomweb.standard.rendering import MOST_PIXELS, THUMBNAIL, Rendering

# A pixel counts as square up to here, as spacings are rounded
_SQUARE = 0.01


@dataclass(frozen=True, slots=True)
class Placement:
    """How a region of an image becomes a picture: cut out, scaled to `columns` and `rows`, flipped, turned clockwise,
    mirrored.

    Attributes:
        left, top, right, bottom: edges of the region in pixels of the image, from 0; may lie outside.
        columns, rows: of the scaled region, before it is turned.
        mirrored, upturned: flipped horizontally, vertically, before it is turned.
        rotation: 0, 90, 180 or 270 degrees.
        flipped: flipped horizontally after that.
    """

    left: float
    top: float
    right: float
    bottom: float
    columns: int
    rows: int
    mirrored: bool = False
    upturned: bool = False
    rotation: int = 0
    flipped: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the picture."""
        return (self.rows, self.columns) if self.rotation in (90, 270) else (self.columns, self.rows)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Say where a point of the image lies on the picture."""
        x = (x - self.left) / (self.right - self.left) * self.columns
        y = (y - self.top) / (self.bottom - self.top) * self.rows
        x = self.columns - x if self.mirrored else x
        y = self.rows - y if self.upturned else y
        columns, rows = self.columns, self.rows
        for _ in range(self.rotation // 90):
            x, y, columns, rows = rows - y, x, rows, columns
        return (columns - x if self.flipped else x), y


def placement(rows: int, columns: int, look: Look, rendering: Rendering, most_pixels: int | None = None) -> Placement:
    """Find out what of an image is shown, and how large (W-144 to W-146, W-365).

    Without a viewport pixels stay as they are; where they are not square, the shorter side is made longer.

    Args:
        rows, columns: of the image.
        look: of it: its area, rotation and aspect.
        rendering: as wanted.
        most_pixels: of the picture.

    Raises:
        BadRequest: the region lies outside of the image, or the picture would be too large.
    """
    area = look.area
    left, top, right, bottom = tuple(area) if area else (0.0, 0.0, float(columns), float(rows))
    viewport, region = rendering.viewport, rendering.region
    mirrored = upturned = False
    if region is not None:
        width, height = right - left, bottom - top
        left, right = left + region.left * width, left + region.right * width
        top, bottom = top + region.top * height, top + region.bottom * height
    if viewport is not None:
        mirrored, upturned = viewport.mirrored, viewport.upturned
        if viewport.left >= columns or viewport.top >= rows:
            raise BadRequest(f"the region of the viewport lies outside of the image of {columns} by {rows} pixels")
        if area is None:
            left, top = viewport.left, viewport.top
            right = columns if viewport.across is None else min(left + viewport.across, columns)
            bottom = rows if viewport.down is None else min(top + viewport.down, rows)
    width, height = _shape(right - left, bottom - top, look.aspect)
    turned = look.rotation in (90, 270)
    shown = (height, width) if turned else (width, height)
    scale = _scale(shown, rendering)
    size = [max(1, round(side * scale)) for side in (width, height)]
    limit = most_pixels or MOST_PIXELS
    if viewport is not None:
        sides = (viewport.height, viewport.width) if turned else (viewport.width, viewport.height)
        size = [min(side, most) for side, most in zip(size, sides, strict=True)]
    if size[0] * size[1] > limit:
        raise BadRequest(f"the picture would have more than {limit:,} pixels")
    return Placement(left, top, right, bottom, size[0], size[1], mirrored, upturned, look.rotation % 360, look.mirrored)


def is_square(aspect: float) -> bool:
    """Say whether pixels of this aspect are drawn as squares."""
    return abs(aspect - 1) <= _SQUARE


def _shape(width: float, height: float, aspect: float) -> tuple[float, float]:
    """Sides once pixels are square."""
    if is_square(aspect):
        return width, height
    return (width, height * aspect) if aspect > 1 else (width / aspect, height)


def _scale(shown: tuple[float, float], rendering: Rendering) -> float:
    width, height = shown
    if (viewport := rendering.viewport) is not None:
        return min(viewport.width / width, viewport.height / height)
    if rendering.thumbnail:
        return min(THUMBNAIL / width, THUMBNAIL / height, 1.0)
    most = ((rendering.most_columns, width), (rendering.most_rows, height))
    return min((bound / side for bound, side in most if bound is not None), default=1.0)


def moved(picture: NDArray[Any], placed: Placement, labels: bool = False) -> NDArray[Any]:
    """Cut, scale, flip and turn a picture; what lies outside of it is black.

    Shrinking averages the area of each new pixel, enlarging interpolates cubically, but for labels.

    Args:
        picture: (rows, columns) or (rows, columns, 3), uint8 or uint16.
        placed: where to.
        labels: what lies between two pixels is one or the other.
    """
    rows, columns = picture.shape[:2]
    edges = (placed.left, placed.top, placed.right, placed.bottom)
    left, top, right, bottom = edges
    if left < 0 or top < 0 or right > columns or bottom > rows:
        picture, (left, top, right, bottom) = _padded(picture, placed)
    whole = all(edge == int(edge) for edge in (left, top, right, bottom))
    if whole and (placed.columns, placed.rows) == (right - left, bottom - top):
        result = picture[int(top) : int(bottom), int(left) : int(right)]
    else:
        result = _scaled(picture, (left, top, right, bottom), (placed.columns, placed.rows), labels)
    if placed.mirrored:
        result = result[:, ::-1]
    if placed.upturned:
        result = result[::-1]
    if placed.rotation:
        result = np.rot90(result, -placed.rotation // 90)
    return result[:, ::-1] if placed.flipped else result


def _padded(picture: NDArray[Any], placed: Placement) -> tuple[NDArray[Any], tuple[float, float, float, float]]:
    """The part of the picture that is shown with black around it, and the edges on that."""
    rows, columns = picture.shape[:2]
    # A border wider than a few pictures would be black alone and cost memory
    reach = 4 * max(rows, columns)
    left, top = max(placed.left, -reach), max(placed.top, -reach)
    right, bottom = min(placed.right, columns + reach), min(placed.bottom, rows + reach)
    before = (max(0, -int(np.floor(top))), max(0, -int(np.floor(left))))
    after = (max(0, int(np.ceil(bottom)) - rows), max(0, int(np.ceil(right)) - columns))
    sides = [(before[0], after[0]), (before[1], after[1]), (0, 0)]
    padded = np.pad(picture, sides[: picture.ndim])
    return padded, (left + before[1], top + before[0], right + before[1], bottom + before[0])


def _scaled(
    picture: NDArray[Any], box: tuple[float, float, float, float], size: tuple[int, int], labels: bool
) -> NDArray[Any]:
    shrinks = size[0] <= box[2] - box[0] and size[1] <= box[3] - box[1]
    enlarging = Image.Resampling.NEAREST if labels else Image.Resampling.BICUBIC
    method = Image.Resampling.BOX if shrinks else enlarging
    if picture.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, method, box=box))
    planes = [picture] if picture.ndim == 2 else [picture[..., sample] for sample in range(picture.shape[2])]
    scaled = [
        np.clip(np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, method, box=box)) + 0.5, 0, 65535)
        for plane in planes
    ]
    return (scaled[0] if picture.ndim == 2 else np.stack(scaled, axis=-1)).astype(np.uint16)
