"""Softcopy presentation states: which frames they show, and how (PS3.3 A.33, C.10, C.11; PS3.4 N.2).

A state replaces what the image says of its transformations altogether: what the state leaves out is identity, not
the image's own (D-166). Grayscale, colour and pseudo-colour states are read, and those of X-ray angiography without
their subtraction. Blended and volumetric ones are not.

No numpy, see `described`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from dicomweb.errors import NotAcceptable
from dicomweb.imaging.described import (
    Colour,
    Fetch,
    binary,
    code,
    first_item,
    first_real,
    items,
    reals,
    srgb,
    text,
    values,
    whole,
)
from dicomweb.imaging.looks import Area, Graphic, Look, read_modality, read_voi, read_windows
from dicomweb.imaging.overlays import Overlay, Shutter, groups_of, read_overlay, read_shutter
from dicomweb.imaging.tables import Palette, Table, read_palette, read_table
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.rendering import Window

Part = TypeVar("Part")

# PS3.4 B.5
_CLASSES = {
    f"1.2.840.10008.5.1.4.1.1.11.{end}": kind
    for end, kind in ((1, "grayscale"), (2, "colour"), (3, "pseudo-colour"), (5, "grayscale"))
}
_REFERENCED = "00081140"
_MOST_GRAPHICS = 5000
_MOST_POINTS = 20_000


class Reference(NamedTuple):
    """An image that a state shows.

    Attributes:
        series, instance: its UIDs.
        frames: numbers; empty means all.
    """

    series: str
    instance: str
    frames: tuple[int, ...] = ()


class _For(NamedTuple):
    """Frames that a part of a state is about.

    Attributes:
        frames: numbers by instance, empty ones mean all; None is every image of the state.
    """

    frames: dict[str, tuple[int, ...]] | None

    def holds(self, instance: str, number: int) -> bool:
        if self.frames is None:
            return True
        numbers = self.frames.get(instance)
        return numbers is not None and (not numbers or number in numbers)


class _Voi(NamedTuple):
    windows: tuple[Window, ...]
    tables: tuple[Table, ...]


class _Displayed(NamedTuple):
    area: Area | None
    aspect: float | None


@dataclass(frozen=True, slots=True)
class State:
    """A presentation state.

    Attributes:
        kind: "grayscale", "colour" or "pseudo-colour".
        references: the images that it shows, in its order.
        slope, intercept, rescale: modality transformation.
        voi, areas, graphics: parts that are about some of the images.
        inverse, presentation: presentation transformation.
        palette, profile: of pseudo-colour, of colours.
        overlays, shutter: as of an image.
        rotation, mirrored: spatial transformation.
    """

    kind: str
    references: tuple[Reference, ...]
    slope: float
    intercept: float
    rescale: Table | None
    voi: tuple[tuple[_For, _Voi], ...]
    areas: tuple[tuple[_For, _Displayed], ...]
    graphics: tuple[tuple[_For, Graphic], ...]
    inverse: bool
    presentation: Table | None
    palette: Palette | None
    profile: bytes
    overlays: tuple[Overlay, ...]
    shutter: Shutter | None
    rotation: int
    mirrored: bool


def is_state(sop_class: str) -> bool:
    """Say whether objects of a class are presentation states that are drawn here (PS3.4 B.5)."""
    return sop_class in _CLASSES


def read_state(dataset: Dataset, fetch: Fetch) -> State:
    """Read a presentation state.

    Args:
        dataset: DICOM JSON model of its metadata.
        fetch: gives the bytes of a bulk value, little endian, by its path.

    Raises:
        NotAcceptable: it is no presentation state, or of a kind that is not drawn here.
        Unavailable: what `fetch` says of a storage that does not answer.
    """
    kind = _CLASSES.get(text(dataset, "00080016"))
    if kind is None:
        raise NotAcceptable("the object is no presentation state of a kind that is rendered here")
    slope, intercept, rescale = read_modality(dataset, True, fetch)
    bitmap = whole(dataset, "00181623")
    shown = [
        group
        for group in groups_of(dataset)
        if text(dataset, f"{group}1001") and (bitmap is None or group != f"{bitmap:04X}")
    ]
    overlays = (read_overlay(dataset, group, 1, fetch) for group in shown)
    luts = items(dataset, "20500010")
    return State(
        kind=kind,
        references=_references(dataset),
        slope=slope,
        intercept=intercept,
        rescale=rescale,
        voi=tuple(
            (_about(item), _Voi(read_windows(item), read_voi(item, True, fetch))) for item in items(dataset, "00283110")
        ),
        areas=tuple((_about(item), _displayed(item)) for item in items(dataset, "0070005A")),
        graphics=_graphics(dataset),
        inverse=code(dataset, "20500020") == "INVERSE",
        presentation=read_table(luts[0], False, fetch) if luts else None,
        palette=read_palette(dataset, False, fetch) if kind == "pseudo-colour" else None,
        profile=binary(dataset, "00282000", fetch),
        overlays=tuple(overlay for overlay in overlays if overlay is not None),
        shutter=read_shutter(dataset, 1, fetch),
        rotation=(whole(dataset, "00700042") or 0) % 360 // 90 * 90,
        mirrored=code(dataset, "00700041") == "Y",
    )


def look_of(state: State, image: Look, instance: str, number: int) -> Look:
    """Return how a state shows a frame.

    Args:
        state: it refers to the frame.
        image: the look that the image itself gives it.
        instance: SOP Instance UID of the image.
        number: of the frame, from 1.
    """
    displayed = _first(state.areas, instance, number) or _Displayed(None, None)
    common = replace(
        image,
        overlays=state.overlays,
        shutter=state.shutter,
        area=displayed.area,
        aspect=displayed.aspect or image.aspect,
        rotation=state.rotation,
        mirrored=state.mirrored,
        graphics=tuple(graphic for about, graphic in state.graphics if about.holds(instance, number)),
        profile=state.profile or image.profile,
    )
    if state.kind == "colour" or image.kind in ("colour", "palette"):
        return common
    voi = _first(state.voi, instance, number) or _Voi((), ())
    return replace(
        common,
        kind="grayscale",
        slope=state.slope,
        intercept=state.intercept,
        rescale=state.rescale,
        windows=voi.windows,
        voi=voi.tables,
        inverse=state.inverse,
        presentation=state.presentation,
        palette=state.palette,
        entire=True,
    )


def position_of(dataset: Dataset, number: int) -> tuple[float, ...]:
    """Return a key by which frames that a state shows are put in order (W-149): Dimension Index Values, else the
    place of the frame along the normal of its plane; empty where the object tells neither.

    Args:
        dataset: of the image.
        number: of the frame, from 1.
    """
    own = values(dataset, "52009230")
    frame: Dataset = own[number - 1] if 0 < number <= len(own) and isinstance(own[number - 1], dict) else {}
    if dimensions := reals(first_item(frame, "00209111"), "00209157"):
        return tuple(dimensions)
    shared = first_item(dataset, "52009229")
    position, orientation = (
        next((found for place in _places(frame, shared, dataset, macro) if (found := reals(place, tag))), [])
        for macro, tag in (("00209113", "00200032"), ("00209116", "00200037"))
    )
    if len(position) < 3:
        return ()
    if len(orientation) < 6:
        return tuple(position[:3])
    (ax, ay, az), (bx, by, bz) = orientation[:3], orientation[3:6]
    normal = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return (sum(one * other for one, other in zip(normal, position, strict=False)),)


def _places(frame: Dataset, shared: Dataset, dataset: Dataset, macro: str) -> tuple[Dataset, ...]:
    return first_item(frame, macro), first_item(shared, macro), dataset


# -- parts --------------------------------------------------------------------------------------------------


def _first(parts: Sequence[tuple[_For, Part]], instance: str, number: int) -> Part | None:
    return next((part for about, part in parts if about.holds(instance, number)), None)


def _references(dataset: Dataset) -> tuple[Reference, ...]:
    """PS3.3 C.11.11."""
    return tuple(
        Reference(text(series, "0020000E"), text(image, "00081155"), _frames(image))
        for series in items(dataset, "00081115")
        for image in items(series, _REFERENCED)
    )


def _about(item: Dataset) -> _For:
    """Which images an item is about; without a list it is about all."""
    images = items(item, _REFERENCED)
    return _For({text(image, "00081155"): _frames(image) for image in images} if images else None)


def _frames(image: Dataset) -> tuple[int, ...]:
    return tuple(int(number) for number in reals(image, "00081160"))


def _displayed(item: Dataset) -> _Displayed:
    """PS3.3 C.10.4: corners as columns and rows from 1, named by where they lie after rotation and flip."""
    first, second = reals(item, "00700052"), reals(item, "00700053")
    area = None
    if len(first) >= 2 and len(second) >= 2:
        left, right = sorted((first[0], second[0]))
        top, bottom = sorted((first[1], second[1]))
        area = Area(left - 1, top - 1, right, bottom)
    for tag in ("00700101", "00700102"):
        pair = reals(item, tag)
        if len(pair) >= 2 and pair[0] > 0 and pair[1] > 0 and 0.05 <= pair[0] / pair[1] <= 20:
            return _Displayed(area, pair[0] / pair[1])
    return _Displayed(area, None)


def _graphics(dataset: Dataset) -> tuple[tuple[_For, Graphic], ...]:
    """PS3.3 C.10.5, C.10.7: annotations layer by layer, the lowest order first."""
    layers: dict[str, tuple[float, Colour | None]] = {
        text(layer, "00700002"): (first_real(layer, "00700062") or 0.0, srgb(reals(layer, "00700401")))
        for layer in items(dataset, "00700060")
    }
    annotations = sorted(
        items(dataset, "00700001"), key=lambda item: layers.get(text(item, "00700002"), (0.0, None))[0]
    )
    found: list[tuple[_For, Graphic]] = []
    for annotation in annotations:
        about = _about(annotation)
        _, colour = layers.get(text(annotation, "00700002"), (0.0, None))
        for drawn in items(annotation, "00700009"):
            found.append((about, _graphic(drawn, colour)))
        for written in items(annotation, "00700008"):
            found.extend((about, graphic) for graphic in _text(written, colour))
        if len(found) > _MOST_GRAPHICS:
            break
    return tuple(found[:_MOST_GRAPHICS])


def _graphic(item: Dataset, colour: Colour | None) -> Graphic:
    return Graphic(
        code(item, "00700023"),
        _pairs(reals(item, "00700022")),
        code(item, "00700005") == "DISPLAY",
        code(item, "00700024") == "Y",
        colour=srgb(reals(first_item(item, "00700232"), "00700251")) or colour,
    )


def _text(item: Dataset, colour: Colour | None) -> list[Graphic]:
    """A text at its box or its anchor, and a line from the one to the other where the anchor is visible."""
    colour = srgb(reals(first_item(item, "00700231"), "00700241")) or colour
    words = text(item, "00700006")
    box = _pairs(reals(item, "00700010") + reals(item, "00700011"))
    anchor = _pairs(reals(item, "00700014"))
    box_display, anchor_display = (code(item, tag) == "DISPLAY" for tag in ("00700003", "00700004"))
    if not box:
        return [Graphic("TEXT", anchor[:1], anchor_display, text=words, colour=colour)] if anchor else []
    found = [Graphic("TEXT", box, box_display, text=words, colour=colour)]
    if anchor and code(item, "00700015") == "Y" and box_display == anchor_display:
        found.append(Graphic("POLYLINE", (box[0], anchor[0]), box_display, colour=colour))
    return found


def _pairs(numbers: Sequence[float]) -> tuple[tuple[float, float], ...]:
    return tuple(zip(numbers[: 2 * _MOST_POINTS : 2], numbers[1 : 2 * _MOST_POINTS : 2], strict=False))
