"""Overlays and shutters (PS3.3 C.9.2, C.9.3, C.7.6.11, C.7.6.15), read from a data set. No numpy, see `described`."""

from typing import NamedTuple

from dicomweb.imaging.described import Colour, Fetch, binary, code, first_item, first_real, reals, srgb, whole
from dicomweb.standard.leniency import Dataset

# PS3.5 7.6: repeating groups of overlays
_GROUPS = tuple(f"{group:04X}" for group in range(0x6000, 0x6020, 2))
_SHUTTER_ITEM = "00189472"


class Overlay(NamedTuple):
    """One plane of bits over a frame.

    Attributes:
        rows, columns: of the plane.
        top, left: where it begins on the frame, from 0; may be negative.
        region: it marks a region of interest, rather than graphics.
        data: bits of this frame, lowest first; may be too few.
        skipped: bits of the first byte that belong to what lies before.
        bit: the bit of each pixel that holds it, in old objects; None where `data` do.
    """

    rows: int
    columns: int
    top: int = 0
    left: int = 0
    region: bool = False
    data: bytes = b""
    skipped: int = 0
    bit: int | None = None


class Shutter(NamedTuple):
    """What of a frame is seen: what lies in all of the shapes.

    Attributes:
        rectangle: left, right, upper and lower edge, in columns and rows from 1, edges included.
        circle: row and column of the centre, from 1, and radius in pixels.
        polygon: rows and columns of its corners, from 1.
        bitmap: hides where its bits are 1.
        gray: what hidden pixels are painted with, 0 black to 65535 white.
        colour: the same for pictures in colour.
    """

    rectangle: tuple[float, float, float, float] | None = None
    circle: tuple[float, float, float] | None = None
    polygon: tuple[tuple[float, float], ...] = ()
    bitmap: Overlay | None = None
    gray: int = 0
    colour: Colour | None = None


def groups_of(dataset: Dataset) -> list[str]:
    """Return the groups that hold an overlay, "6000" to "601E" (PS3.3 C.9.2)."""
    return [group for group in _GROUPS if f"{group}0010" in dataset and f"{group}0011" in dataset]


def read_overlay(dataset: Dataset, group: str, number: int, fetch: Fetch) -> Overlay | None:
    """Read the overlay of a group as it lies over one frame (PS3.3 C.9.2, C.9.3).

    Args:
        dataset: of an image or a presentation state.
        group: such as "6000".
        number: of the frame, from 1.
        fetch: for data that are bulk.

    Returns:
        None where it does not lie over this frame, or has no bits.
    """
    rows, columns = whole(dataset, f"{group}0010") or 0, whole(dataset, f"{group}0011") or 0
    if not (0 < rows <= 0xFFFF and 0 < columns <= 0xFFFF):
        return None
    origin = reals(dataset, f"{group}0050")
    top, left = (int(place) - 1 for place in origin[:2]) if len(origin) >= 2 else (0, 0)
    region = code(dataset, f"{group}0040") == "R"
    data = binary(dataset, f"{group}3000", fetch)
    if not data:
        bit, allocated = whole(dataset, f"{group}0102"), whole(dataset, f"{group}0100")
        if bit is None or allocated is None or not 0 < bit < allocated <= 32:
            return None
        return Overlay(rows, columns, top, left, region, bit=bit)
    frames = whole(dataset, f"{group}0015")
    index = number - (whole(dataset, f"{group}0051") or 1) if frames else 0
    if index < 0 or index >= (frames or 1):
        return None
    start = index * rows * columns
    return Overlay(rows, columns, top, left, region, data[start // 8 : (start + rows * columns + 7) // 8], start % 8)


def read_overlays(dataset: Dataset, number: int, fetch: Fetch) -> tuple[Overlay, ...]:
    """Read all overlays that lie over a frame (PS3.3 C.9.2)."""
    found = (read_overlay(dataset, group, number, fetch) for group in groups_of(dataset))
    return tuple(overlay for overlay in found if overlay is not None)


def read_shutter(dataset: Dataset, number: int, fetch: Fetch) -> Shutter | None:
    """Read a display shutter (PS3.3 C.7.6.11, C.7.6.15), or None where there is none.

    Args:
        dataset: of an image, of the functional groups of a frame, or of a presentation state.
        number: of the frame, from 1.
        fetch: for a bitmap that is bulk.
    """
    described = first_item(dataset, _SHUTTER_ITEM) or dataset
    shapes = {str(shape).strip().upper() for shape in (described.get("00181600") or {}).get("Value") or () if shape}
    rectangle = circle = bitmap = None
    polygon: tuple[tuple[float, float], ...] = ()
    if "RECTANGULAR" in shapes:
        edges = [first_real(described, tag) for tag in ("00181602", "00181604", "00181606", "00181608")]
        if None not in edges:
            left, right, upper, lower = (edge or 0.0 for edge in edges)
            rectangle = left, right, upper, lower
    if "CIRCULAR" in shapes:
        center, radius = reals(described, "00181610"), first_real(described, "00181612")
        if len(center) >= 2 and radius is not None:
            circle = center[0], center[1], radius
    if "POLYGONAL" in shapes:
        corners = reals(described, "00181620")
        polygon = tuple(zip(corners[::2], corners[1::2], strict=False))
    if "BITMAP" in shapes and (group := whole(described, "00181623")) is not None:
        bitmap = read_overlay(dataset, f"{group:04X}", number, fetch)
    if rectangle is None and circle is None and len(polygon) < 3 and bitmap is None:
        return None
    gray = min(max(whole(described, "00181622") or 0, 0), 0xFFFF)
    return Shutter(rectangle, circle, polygon, bitmap, gray, srgb(reals(described, "00181624")))
