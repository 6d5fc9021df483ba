"""One frame as a picture that people look at (PS3.18 10.4.3.3.3, PS3.4 N.2).

In order: decode; modality, VOI and presentation transformations, or palette, or colour space; overlays; shutter;
region, scale and turns; graphics and annotations, which are burned in last; colour space of the answer.

How pictures that are no plain images are shown, which the Standard leaves open: segments in their recommended colour
on black, as strong as their fraction; maps of labels each in its colour; doses as a wash from blue to red over
black, from 0 to the largest of the frame or over the client's window, with the ends written by the annotation
`technique`.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dicomweb.errors import BadRequest, Error, Undecodable
from dicomweb.imaging import colours, drawing, geometry, native, pictures, plain, profiles, shades
from dicomweb.imaging.decode import admit, decode
from dicomweb.imaging.looks import Look
from dicomweb.imaging.reduced import decode_reduced
from dicomweb.imaging.shades import Curve
from dicomweb.imaging.tables import Palette
from dicomweb.imaging.targets import PLAIN
from dicomweb.standard import codestreams
from dicomweb.standard.pixels import Format
from dicomweb.standard.rendering import MOST_PIXELS, THUMBNAIL, THUMBNAIL_QUALITY, Rendering, Window

Array: TypeAlias = NDArray[Any]

MOST_FRAMES = 500
"""How many frames an animation may have."""

# Stops of the wash of doses: share of the largest dose, colour
_WASH = (
    (0.0, (0, 0, 0)), (0.05, (0, 0, 90)), (0.25, (0, 80, 255)), (0.45, (0, 220, 220)), (0.6, (40, 220, 40)),
    (0.75, (255, 255, 0)), (0.9, (255, 120, 0)), (1.0, (255, 0, 0)),
)  # fmt: skip
_UNSPECIFIED = "US"  # PS3.3 C.11.1.1.2
_BASELINE = 0xC0
_UNTOUCHED_JPEG = "1.2.840.10008.1.2.4.50"


def render(
    data: bytes, stored: str, format: Format, look: Look, rendering: Rendering, most_pixels: int | None = None
) -> bytes:
    """Render one frame.

    Args:
        data: the frame as stored.
        stored: its Transfer Syntax UID.
        format: of its samples.
        look: how it is seen.
        rendering: how it is wanted.
        most_pixels: of the frame and of the picture; None is a limit of our own.

    Raises:
        Undecodable: the frame cannot be decoded, or the picture not be encoded.
        BadRequest: the region lies outside of the frame, or the picture would be too large.
    """
    if _passes(data, stored, format, look, rendering):
        return data
    picture, profile = _drawn(data, stored, format, look, rendering, most_pixels)
    quality = rendering.quality or (THUMBNAIL_QUALITY if rendering.thumbnail else None)
    return pictures.encode(picture, rendering.media_type, quality, profile)


def render_many(
    frames: Sequence[tuple[bytes, Look]],
    stored: str,
    format: Format,
    rendering: Rendering,
    seconds: Sequence[float],
    most_pixels: int | None = None,
) -> bytes:
    """Render frames as an animated GIF. Where neither client nor object give a window, that of the frame in the middle
    is the window of all, so that the picture does not flicker.

    Args:
        frames: bytes as stored, and look, of each.
        stored: Transfer Syntax UID.
        format: of the samples.
        rendering: how they are wanted.
        seconds: how long each is seen, as `looks.frame_seconds` gives it.
        most_pixels: of a frame, and of all pictures together; None is a limit of our own.

    Raises:
        BadRequest: there are too many frames, or too many pixels in all.
        Undecodable: a frame cannot be decoded, or there is none.
    """
    if not frames:
        raise Undecodable("there are no frames to be shown")
    if len(frames) > MOST_FRAMES:
        raise BadRequest(f"an animation of more than {MOST_FRAMES} frames is not made here; ask for some of them")
    wanted = replace(rendering, deep=False, iccprofile="no")
    wanted = replace(wanted, window=_common_window(*frames[len(frames) // 2], stored, format, wanted, most_pixels))
    limit = most_pixels or MOST_PIXELS
    drawn: list[Array] = []
    for data, look in frames:
        picture, _ = _drawn(data, stored, format, look, wanted, most_pixels)
        if picture.shape[0] * picture.shape[1] * len(frames) > limit:
            raise BadRequest(f"the animation would have more than {limit:,} pixels; ask for a smaller viewport")
        drawn.append(picture)
    return pictures.animation(drawn, seconds)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _common_window(
    data: bytes, look: Look, stored: str, format: Format, rendering: Rendering, most_pixels: int | None
) -> Window | None:
    """The window for all frames, by one of them; None leaves it to each."""
    if rendering.window or look.windows or look.voi or look.kind not in ("grayscale", "dose", "supplemental"):
        return rendering.window
    array, found = decode(data, stored, format, most_pixels)
    voi = shades.curve_of(array, found.stored, look, None).voi
    return voi if isinstance(voi, Window) else None


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _drawn(
    data: bytes, stored: str, format: Format, look: Look, rendering: Rendering, most_pixels: int | None
) -> tuple[Array, bytes]:
    """The picture, and the profile that goes into it."""
    admit(stored, format, most_pixels)
    placed = geometry.placement(format.rows, format.columns, look, rendering, most_pixels)
    try:
        array, found = _decoded(data, stored, format, look, rendering, most_pixels)
        if array.shape[:2] != (format.rows, format.columns):
            placed = replace(placed, right=float(found.columns), bottom=float(found.rows))
        picture, notes = _seen(array, found, look, rendering)
        if look.overlays and not rendering.thumbnail:
            picture = drawing.overlaid(picture, look.overlays, _cells(data, stored, format, look))
        if look.shutter is not None:
            picture = drawing.shuttered(picture, look.shutter)
        labels = look.kind == "labels" or (look.kind == "segmentation" and look.full == 1)
        picture = geometry.moved(picture, placed, labels)
        if not rendering.thumbnail and (look.graphics or rendering.annotation):
            above = look.patient if "patient" in rendering.annotation else ()
            below = (*look.technique, *notes) if "technique" in rendering.annotation else ()
            picture = drawing.annotated(picture, look.graphics, placed, above, below)
        return _profiled(picture, data, look, rendering)
    except Error:
        raise
    except (ValueError, IndexError, OverflowError, MemoryError, TypeError) as error:
        raise Undecodable("the description of the pixels makes no picture") from error


def _decoded(
    data: bytes, stored: str, format: Format, look: Look, rendering: Rendering, most_pixels: int | None
) -> tuple[Array, Format]:
    """The frame as numbers; for a thumbnail perhaps fewer of them, where no value has a meaning of its own."""
    padded = look.padding is not None and (look.inverse or not look.windows)
    labelled = look.kind in ("palette", "labels", "supplemental")
    if rendering.thumbnail and not (padded or labelled or look.shutter or look.area):
        viewport = rendering.viewport
        side = max(viewport.width, viewport.height) if viewport else THUMBNAIL
        if (small := decode_reduced(data, stored, format, side, most_pixels)) is not None:
            return small
    return decode(data, stored, format, most_pixels)


def _seen(array: Array, format: Format, look: Look, rendering: Rendering) -> tuple[Array, tuple[str, ...]]:
    """The whole frame in shades or colours, and lines that say how."""
    deep = rendering.deep
    if array.ndim == 3 and array.shape[2] >= 3:
        return _coloured(array, format), ()
    if array.ndim == 3:
        array = array[..., 0]
    match look.kind:
        case "palette" if look.palette is not None and array.dtype.kind in "iu":
            return _painted(array, look.palette), ()
        case "segmentation":
            return _segment(array, look), ()
        case "labels" if array.dtype.kind in "iu":
            return _labelled(array, look), ()
    curve = shades.curve_of(array, format.stored, look, rendering.window)
    notes = _notes(curve, look)
    if look.kind == "dose":
        return _wash().take(shades.shade(array, curve, 256), axis=0), notes
    if look.kind == "supplemental" and look.palette is not None and array.dtype.kind in "iu":
        gray = shades.shade(array, curve, 256)
        coloured = (array >= look.palette.first)[..., np.newaxis]
        return np.where(coloured, _painted(array, look.palette), gray[..., np.newaxis]), notes
    if look.palette is not None:
        pseudo = look.palette
        places = shades.shade(array, curve, 65536).astype(np.float64) / 65535 * (len(pseudo.red) - 1)
        return _palette(pseudo).take((places + 0.5).astype(np.intp), axis=0), notes
    return shades.shade(array, curve, 65536 if deep else 256), notes


def _notes(curve: Curve, look: Look) -> tuple[str, ...]:
    """What the window is, for the annotation `technique`."""
    if not isinstance(curve.voi, Window):
        return (f"VOI LUT {curve.voi.explanation}".strip(),)
    center, width, function, explanation = curve.voi
    units = f" {look.units}" if look.units not in ("", _UNSPECIFIED) else ""
    if look.kind == "dose":
        return (f"{center - width / 2:.4g} to {center + width / 2:.4g}{units}",)
    kind = "" if function.startswith("LINEAR") else " sigmoid"
    return (f"C {center:.6g} W {width:.6g}{units}{kind} {explanation}".strip(),)


def _coloured(array: Array, format: Format) -> Array:
    """Samples of any colour space as 8 bits of red, green and blue (PS3.3 C.7.6.3.1.2). Of the four samples of the
    retired ARGB the first says how much is seen, and is passed over; CMYK is made of inks."""
    if format.photometric == "CMYK" and array.shape[2] == 4:
        most = (1 << format.stored) - 1
        inks = array.astype(np.int64)
        array = (most - np.minimum(inks[..., :3] + inks[..., 3:], most)).astype(array.dtype)
    rgb = colours.to_rgb(array[..., 1:] if format.photometric == "ARGB" else array[..., :3], format)
    if rgb.dtype == np.uint8:
        return rgb if format.stored >= 8 else (rgb.astype(np.uint16) * 255 // ((1 << format.stored) - 1)).astype("u1")
    return (rgb >> (format.stored - 8)).astype(np.uint8)


def _palette(palette: Palette) -> Array:
    return np.frombuffer(palette.red + palette.green + palette.blue, np.uint8).reshape(3, -1).T


def _painted(array: Array, palette: Palette) -> Array:
    """Pixels below the palette have its first colour, those above its last (PS3.3 C.7.6.3.1.5)."""
    places = array.astype(np.int64) - palette.first
    return _palette(palette).take(places, axis=0, mode="clip")


def _segment(array: Array, look: Look) -> Array:
    colour = np.array(look.colour or drawing.WHITE, np.float64)
    share = np.clip(array.astype(np.float64) / look.full, 0.0, 1.0)
    return np.asarray(share[..., np.newaxis] * colour + 0.5).astype(np.uint8)


def _labelled(array: Array, look: Look) -> Array:
    size = 1 << 8 * min(array.dtype.itemsize, 2)
    table = np.zeros((size, 3), np.uint8)
    for number, colour in look.labels:
        if 0 <= number < size:
            table[number] = colour
    if not look.labels:
        table[1:] = drawing.WHITE
    if look.padding is not None and 0 <= look.padding[0] < size:
        table[int(look.padding[0]) : int(look.padding[1]) + 1] = 0
    return table.take(array, axis=0, mode="clip")


@lru_cache
def _wash() -> Array:
    shares = [share for share, _ in _WASH]
    steps = np.linspace(0, 1, 256)
    parts = [np.interp(steps, shares, [colour[part] for _, colour in _WASH]) for part in range(3)]
    return np.stack(parts, axis=-1).round().astype(np.uint8)


def _cells(data: bytes, stored: str, format: Format, look: Look) -> Array | None:
    """Samples as they lie in native frames, for overlays in their unused bits (D-170)."""
    if stored not in PLAIN or format.samples != 1 or all(overlay.bit is None for overlay in look.overlays):
        return None
    unsigned = replace(format, signed=False, stored=format.allocated, high=format.allocated - 1)
    return native.cells(plain.unwrap(data, stored, format), unsigned)


def _profiled(picture: Array, data: bytes, look: Look, rendering: Rendering) -> tuple[Array, bytes]:
    """The picture in the colour space that is wanted, and the profile to put into it (W-148)."""
    space = rendering.iccprofile
    if space == "no":
        return picture, b""
    own = look.profile if profiles.is_colour(look.profile) else profiles.embedded(data)
    own = own if look.kind == "colour" and profiles.is_colour(own) else b""
    if space == "yes":
        if picture.ndim == 2:
            return picture, profiles.gray_profile()
        return picture, own or profiles.profile_of("srgb")
    if picture.ndim == 2:
        picture = np.stack([picture] * 3, axis=-1)
    return profiles.converted(picture, own, space), profiles.profile_of(space)


def _passes(data: bytes, stored: str, format: Format, look: Look, rendering: Rendering) -> bool:
    """Whether a stored JPEG picture is the answer as it is: colours that nothing is done to, and no quality named.
    Encoding it once more would only lose."""
    wanted = Rendering("image/jpeg", annotation=rendering.annotation, warnings=rendering.warnings)
    return (
        stored == _UNTOUCHED_JPEG
        and rendering == wanted
        and not rendering.annotation
        and format.samples == 3
        and format.photometric in ("YBR_FULL_422", "YBR_FULL")
        and look.kind == "colour"
        and not (look.overlays or look.shutter or look.area or look.rotation or look.mirrored or look.graphics)
        and geometry.is_square(look.aspect)
        and _is_plain_jpeg(data)
    )


def _is_plain_jpeg(data: bytes) -> bool:
    """Whether every reader takes the codestream for luminance and chrominance, and it carries no profile."""
    picture = codestreams.read_picture(data, _UNTOUCHED_JPEG)
    return (
        picture is not None
        and picture.process == _BASELINE
        and picture.colours != "RGB"
        and codestreams.is_whole(data, _UNTOUCHED_JPEG)
        and not profiles.embedded(data)
    )
