"""What a client asks of a rendered picture: the query parameters of Rendered and Thumbnail resources
(PS3.18 8.3.5) and of WADO-URI (PS3.18 9.5.1.2).

Each reader returns a Rendering, a value that a drawing process can be handed, or refuses the request. What is
drawn without being asked for is decided elsewhere; here stands only what was asked.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from dicomweb.errors import BadRequest
from dicomweb.standard.uids import is_uid

Function: TypeAlias = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]
Space: TypeAlias = Literal["no", "yes", "srgb", "adobergb", "rommrgb"]

MOST_PIXELS = 64 * 1024 * 1024
"""How large a picture a client may ask for, where no limit is handed in."""

QUALITY = 90
"""What a lossy picture is encoded with when the client names no quality; 100 is the best that its encoder can."""

THUMBNAIL_QUALITY = 75
"""The same for thumbnails, which are to be small."""

THUMBNAIL = 256
"""Pixels of the longer side of a thumbnail where the client names no viewport (PS3.18 8.3.5.2 leaves it open)."""

# PS3.18 8.7.4, Table 8.7.4-1: rendered single frame images, and those of their kind that we add; which of them are
# lossy when `quality` says so, can carry a profile, can have 16 bits.
LOSSY = frozenset(["image/jpeg", "image/jxl"])
PROFILED = frozenset(["image/jpeg", "image/png"])
DEEP = frozenset(["image/png", "image/jp2", "image/jph", "image/jxl"])
PICTURES = ("image/jpeg", "image/png", "image/gif", "image/jp2", "image/jph", "image/jxl")

# PS3.18 8.3.5.1.4
_FUNCTIONS: dict[str, Function] = {"linear": "LINEAR", "linear-exact": "LINEAR_EXACT", "sigmoid": "SIGMOID"}
# PS3.18 8.3.5.1.2: keywords of annotation
_ANNOTATIONS = ("patient", "technique")
# PS3.18 9.5.1.2
_URI_NAMES = (
    "frameNumber", "imageQuality", "rows", "columns", "region", "windowCenter", "windowWidth", "annotation",
    "imageAnnotation", "presentationSeriesUID", "presentationUID",
)  # fmt: skip
_KEYWORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_WHOLE = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:[eE][+-]?[0-9]{1,2})?")
_SPACES: tuple[Space, ...] = ("no", "yes", "srgb", "adobergb", "rommrgb")


class Window(NamedTuple):
    """A linear or sigmoid VOI transformation (PS3.3 C.11.2.1.2).

    Attributes:
        center, width: in units of the output of the modality transformation.
        function: which of the three.
        explanation: what it shows, for people; "" where it is not said.
    """

    center: float
    width: float
    function: Function = "LINEAR"
    explanation: str = ""

    @property
    def usable(self) -> bool:
        """Whether the function is defined for this width: LINEAR_EXACT and SIGMOID want a positive one, as does
        LINEAR here: below 1, where the Standard defines none, it is drawn as LINEAR_EXACT."""
        return abs(self.center) < 1e30 and 0 < self.width < 1e30


class Viewport(NamedTuple):
    """Into which rectangle the picture is fitted, and which region of the source is shown (PS3.18 8.3.5.1.3).

    Attributes:
        width, height: of the rectangle, in pixels.
        left, top: of the region, in pixels of the source.
        across, down: size of the region; None reaches to the edge.
        mirrored: flipped horizontally.
        upturned: flipped vertically.
    """

    width: int
    height: int
    left: float = 0.0
    top: float = 0.0
    across: float | None = None
    down: float | None = None
    mirrored: bool = False
    upturned: bool = False


class Region(NamedTuple):
    """A part of the picture in fractions of its sides, from 0 to 1 (PS3.18 9.5.1.2.6)."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Rendering:
    """How a picture is wanted.

    Attributes:
        media_type: of the answer, one of `PICTURES`.
        quality: 1 to 100 for lossy types; None where the client left it to us.
        viewport: None keeps the pixels as they are.
        region: what WADO-URI shows of the picture; None is all.
        most_columns, most_rows: sides that WADO-URI bounds alone; None is unbounded.
        window: instead of those of the object.
        iccprofile: which colour space, and whether its profile is in the picture.
        annotation: what is burned in: "patient", "technique".
        deep: grayscale with 16 bits a sample, where the media type can.
        thumbnail: small in bytes, at most `THUMBNAIL` pixels a side where there is no viewport; neither overlays nor
            anything else that may hold text is drawn.
        warnings: sentences for a Warning header with code 299.
    """

    media_type: str = "image/jpeg"
    quality: int | None = None
    viewport: Viewport | None = None
    region: Region | None = None
    most_columns: int | None = None
    most_rows: int | None = None
    window: Window | None = None
    iccprofile: Space = "no"
    annotation: tuple[str, ...] = ()
    deep: bool = False
    thumbnail: bool = False
    warnings: tuple[str, ...] = ()


class UriRendering(NamedTuple):
    """What a WADO-URI request for a picture asks (PS3.18 9.5.1.2).

    Attributes:
        frame: its number; None where the client named none.
        rendering: how it is wanted.
        state: series and instance of a presentation state, or None.
    """

    frame: int | None
    rendering: Rendering
    state: tuple[str, str] | None


class _Parameters:
    """Query parameters, each of which may be there once."""

    def __init__(self, pairs: Iterable[tuple[str, str]], names: Iterable[str]) -> None:
        known = set(names)
        self._values: dict[str, str] = {}
        for name, value in pairs:
            if name in known and self._values.setdefault(name, value) != value:
                raise BadRequest(f"{name} is there more than once")

    def get(self, name: str) -> str | None:
        value = self._values.get(name)
        return None if value is None else value.strip()


def read_rendering(
    parameters: Iterable[tuple[str, str]],
    media_type: str,
    thumbnail: bool = False,
    *,
    state: bool = False,
    most_pixels: int = MOST_PIXELS,
) -> Rendering:
    """Read the parameters of a Rendered or Thumbnail resource (PS3.18 8.3.5.1, 8.3.5.2).

    Of our own is `bits=16`: grayscale with 16 bits a sample in PNG, JPEG 2000 and JPEG XL, window applied; pictures
    in colour keep their 8 bits. A thumbnail knows `viewport` alone; other parameters are passed over there, as
    PS3.18 8.1.1 has it for those that a service does not know.

    Args:
        parameters: names and values of the query, decoded.
        media_type: of the answer.
        thumbnail: for a Thumbnail resource.
        state: the target is a presentation state, which has its own windows and region.
        most_pixels: width times height of a viewport.

    Raises:
        BadRequest: one of them is not well formed, or not for this target; the sentence names it.
    """
    query = _Parameters(parameters, ("annotation", "quality", "viewport", "window", "iccprofile", "bits"))
    viewport = _viewport(query.get("viewport"), thumbnail or state, most_pixels)
    if thumbnail:
        return Rendering(media_type, viewport=viewport, thumbnail=True)
    window = _window(query.get("window"))
    if state and window is not None:
        raise BadRequest("window does not go with a presentation state, which has windows of its own")
    annotation, warnings = _annotation(query.get("annotation"))
    return Rendering(
        media_type,
        quality=_quality(query.get("quality"), "quality"),
        viewport=viewport,
        window=window,
        iccprofile=_space(query.get("iccprofile"), media_type),
        annotation=annotation,
        deep=_deep(query.get("bits"), media_type),
        warnings=warnings,
    )


def read_wado_uri(
    parameters: Iterable[tuple[str, str]], media_type: str, *, most_pixels: int = MOST_PIXELS
) -> UriRendering:
    """Read the parameters of a WADO-URI request for a picture (PS3.18 9.5.1.2, 9.5.2.5).

    Rows and columns are the largest sides, and either may be there alone (W-365). The annotation parameter is
    called imageAnnotation in one of the Standard's tables; both names are read.

    Args:
        parameters: names and values of the query, decoded.
        media_type: of the answer.
        most_pixels: rows times columns.

    Raises:
        BadRequest: one of them is not well formed, or does not go with another; the sentence names it.
    """
    query = _Parameters(parameters, _URI_NAMES)
    frame = _positive(query.get("frameNumber"), "frameNumber")
    rows, columns = (_positive(query.get(name), name) for name in ("rows", "columns"))
    if (rows or 1) * (columns or 1) > most_pixels:
        raise BadRequest(f"rows and columns ask for more than {most_pixels:,} pixels")
    annotation, warnings = _annotation(query.get("annotation"), query.get("imageAnnotation"))
    center, width = query.get("windowCenter"), query.get("windowWidth")
    if (center is None) != (width is None):
        raise BadRequest("windowCenter and windowWidth go together")
    window = None
    if center is not None and width is not None:
        window = Window(_decimal(center, "windowCenter"), _decimal(width, "windowWidth"))
        if window.width < 1:
            raise BadRequest("windowWidth must be 1 or more")
    series, instance = query.get("presentationSeriesUID"), query.get("presentationUID")
    if (series is None) != (instance is None):
        raise BadRequest("presentationSeriesUID and presentationUID go together")
    state = None
    if series is not None and instance is not None:
        if window is not None:
            raise BadRequest("windowCenter and windowWidth do not go with a presentation state")
        if not (is_uid(series) and is_uid(instance)):
            raise BadRequest("presentationSeriesUID and presentationUID must be UIDs")
        state = series, instance
    rendering = Rendering(
        media_type,
        quality=_quality(query.get("imageQuality"), "imageQuality"),
        region=_region(query.get("region")),
        most_columns=columns,
        most_rows=rows,
        window=window,
        annotation=annotation,
        warnings=warnings,
    )
    return UriRendering(frame, rendering, state)


# -- one parameter each -------------------------------------------------------------------------------------


def _viewport(text: str | None, whole: bool, most_pixels: int) -> Viewport | None:
    """PS3.18 8.3.5.1.3. `whole`: only width and height may be there."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    sizes = [int(part) if _WHOLE.fullmatch(part) else 0 for part in parts[:2]]
    if len(sizes) < 2 or 0 in sizes:
        raise BadRequest("viewport must begin with width and height, whole numbers from 1 on")
    width, height = sizes
    if width * height > most_pixels:
        raise BadRequest(f"viewport asks for more than {most_pixels:,} pixels")
    if len(parts) == 2:
        return Viewport(width, height)
    if whole:
        raise BadRequest("viewport can only be width and height here")
    if len(parts) > 6 or not parts[-1]:
        raise BadRequest("viewport is width,height or width,height,x,y,width,height; commas at its end are left out")
    numbers = [None if not part else _decimal(part, "viewport") for part in parts[2:]] + [None] * (6 - len(parts))
    left, top, across, down = numbers
    if across == 0 or down == 0:
        raise BadRequest("the region of the viewport is empty")
    return Viewport(
        width,
        height,
        abs(left or 0.0),
        abs(top or 0.0),
        None if across is None else abs(across),
        None if down is None else abs(down),
        (across or 0.0) < 0,
        (down or 0.0) < 0,
    )


def _window(text: str | None) -> Window | None:
    """PS3.18 8.3.5.1.4."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 3:
        raise BadRequest("window must be center,width,function")
    function = _FUNCTIONS.get(parts[2])
    if function is None:
        raise BadRequest("the function of window must be linear, linear-exact or sigmoid")
    window = Window(_decimal(parts[0], "window"), _decimal(parts[1], "window"), function)
    if function == "LINEAR" and window.width < 1:
        raise BadRequest("the width of a linear window must be 1 or more")
    if not window.usable:
        raise BadRequest("the width of a window must be more than 0")
    return window


def _quality(text: str | None, name: str) -> int | None:
    """PS3.18 8.3.5.1.2, 9.5.1.2.3."""
    if text is None:
        return None
    if not (_WHOLE.fullmatch(text) and 1 <= int(text) <= 100):
        raise BadRequest(f"{name} must be a whole number from 1 to 100")
    return int(text)


def _space(text: str | None, media_type: str) -> Space:
    """PS3.18 8.3.5.1.5."""
    if text is None or text == "no":
        return "no"
    if text not in _SPACES:
        raise BadRequest("iccprofile must be one of no, yes, srgb, adobergb and rommrgb")
    if media_type not in PROFILED:
        raise BadRequest(f"no ICC profile can be put into {media_type} here; leave iccprofile out")
    return text


def _deep(text: str | None, media_type: str) -> bool:
    if text is None or text == "8":
        return False
    if text != "16":
        raise BadRequest("bits must be 8 or 16")
    if media_type not in DEEP:
        raise BadRequest(f"{media_type} cannot have 16 bits a sample; image/png can")
    return True


def _annotation(*texts: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which annotations are wanted, and a warning for those that are not known (PS3.18 8.3.5.1.1)."""
    wanted: list[str] = []
    unknown: list[str] = []
    for text in texts:
        if text is None:
            continue
        for part in text.split(","):
            keyword = part.strip()
            if not _KEYWORD.fullmatch(keyword):
                raise BadRequest("annotation must be a list of keywords: patient, technique")
            found = wanted if keyword in _ANNOTATIONS else unknown
            if keyword not in found:
                found.append(keyword)
    warning = f"The following annotation values are not supported: {', '.join(unknown)}"
    return tuple(sorted(wanted)), (warning,) if unknown else ()


def _region(text: str | None) -> Region | None:
    """PS3.18 9.5.1.2.6."""
    if text is None:
        return None
    parts = [_decimal(part.strip(), "region") for part in text.split(",")]
    if len(parts) != 4:
        raise BadRequest("region must be xmin,ymin,xmax,ymax")
    region = Region(*parts)
    if not (0 <= region.left < region.right <= 1 and 0 <= region.top < region.bottom <= 1):
        raise BadRequest("region must lie between 0 and 1, its smaller values first")
    return region


def _positive(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not _WHOLE.fullmatch(text) or int(text) == 0:
        raise BadRequest(f"{name} must be a whole number from 1 on")
    return int(text)


def _decimal(text: str, name: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise BadRequest(f"{name} holds something that is no number")
    return float(text)
