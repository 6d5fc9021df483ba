"""Pictures that the process draws which was asked: small uncompressed greys under a window.

The way to a process of the workshop and back costs as much as drawing such a picture. It may be spared here because
there is nothing to decode, and nothing of what a stranger wrote is used but numbers: where a look has a table, a plane
of bits, text or a shape in it, where pixels are compressed, coloured or many, the workshop draws.

No numpy, nor codecs, until the first picture is drawn.
"""

import logging

from dicomweb.errors import Error, Undecodable
from dicomweb.imaging.looks import Look
from dicomweb.standard.pixels import Format
from dicomweb.standard.rendering import Rendering

MOST_PIXELS = 1 << 19
"""Of a frame that is drawn here."""

_TYPES = ("image/jpeg", "image/png")

log = logging.getLogger(__name__)


def may_draw(kind: str, format: Format | None, rendering: Rendering) -> bool:
    """Say whether a frame may be drawn here, as far as that can be said without its look.

    Args:
        kind: of the object's layout (see `standard.frames.Layout`).
        format: of the samples as stored.
        rendering: how it is wanted.
    """
    return (
        kind == "native"
        and format is not None
        and (format.samples, format.kind, format.planar) == (1, "integer", 0)
        and format.allocated in (8, 16)
        and format.rows * format.columns <= MOST_PIXELS
        and rendering.media_type in _TYPES
        and rendering
        == Rendering(rendering.media_type, rendering.quality, window=rendering.window, warnings=rendering.warnings)
    )


def is_plain(look: Look) -> bool:
    """Say whether only numbers decide about how a frame is seen: rescaling, windows, the sense of grey, padding."""
    return look == Look(
        modality=look.modality,
        slope=look.slope,
        intercept=look.intercept,
        units=look.units,
        windows=look.windows,
        entire=look.entire,
        inverse=look.inverse,
        padding=look.padding,
        patient=look.patient,
        technique=look.technique,
    )


def draw(data: bytes, stored: str, format: Format, look: Look, rendering: Rendering, most_pixels: int) -> bytes:
    """Draw a frame for which `may_draw` and `is_plain` hold; as `render.render`.

    Raises:
        Undecodable: the frame is shorter than it should be, or makes no picture.
        BadRequest: as `render.render`.
    """
    from dicomweb.imaging.render import render

    try:
        return render(data, stored, format, look, rendering, most_pixels)
    except Error:
        raise
    except Exception as error:
        log.exception("drawing an image failed")
        raise Undecodable("the image cannot be drawn") from error
