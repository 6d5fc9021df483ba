"""What drawing one frame needs besides its pixels: a Look, read from the data set (PS3.3 C.7.6.16, C.8, C.11).

A Look is a value that travels to a drawing process. Whatever the object says about how it is to be seen is in it:
modality and VOI transformations, palette, padding, overlays, shutter, shape of a pixel. In multi-frame objects with
functional groups the frame's own come first, then the shared ones, then what stands outside (D-180, D-181); only one
item of the groups is looked at, however many frames there are.

No numpy, see `described`.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

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
from dicomweb.imaging.overlays import Overlay, Shutter, read_overlays, read_shutter
from dicomweb.imaging.tables import Palette, Table, read_palette, read_table
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.rendering import Function, Window

Kind: TypeAlias = Literal["grayscale", "colour", "palette", "supplemental", "segmentation", "labels", "dose"]

# PS3.4 B.5: SOP classes whose pixels are no picture by themselves
_SEGMENTATION, _LABELMAP, _DOSE = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("66.4", "66.7", "481.2"))
# PS3.3 C.8.7.1.1.2: the Modality LUT of X-ray angiography and fluoroscopy is for measuring, not for display
_ANGIOGRAPHY = frozenset(["1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2"])

_SHARED, _PER_FRAME = "52009229", "52009230"
# PS3.3 C.7.6.16: macros of functional groups
_TRANSFORMATION, _VOI, _MEASURES, _SEGMENT = "00289145", "00289132", "00289110", "0062000A"
_ASPECT_LIMIT = 20.0
_LONGEST_LINE = 120

# Segments without a colour of their own: hues far from one another, in order of their numbers
_HUES: tuple[Colour, ...] = (
    (230, 60, 60), (70, 170, 90), (70, 120, 230), (240, 190, 50), (170, 90, 210), (60, 190, 200),
    (240, 130, 50), (220, 110, 170), (150, 190, 60), (150, 120, 90), (130, 160, 220), (200, 200, 200),
)  # fmt: skip


class Graphic(NamedTuple):
    """A line, a shape or a text of a presentation state (PS3.3 C.10.5).

    Attributes:
        kind: POINT, POLYLINE, INTERPOLATED, CIRCLE, ELLIPSE, or TEXT.
        points: columns and rows; of a text its place, or the corners of its box.
        display: points are fractions of what is shown, rather than pixels of the image from 0.
        filled: the shape is filled.
        text: of a TEXT.
        colour: None is ours to choose.
    """

    kind: str
    points: tuple[tuple[float, float], ...]
    display: bool = False
    filled: bool = False
    text: str = ""
    colour: Colour | None = None


class Area(NamedTuple):
    """Which pixels of an image a presentation state shows, edges from 0, possibly outside of the image
    (PS3.3 C.10.4)."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Look:
    """How one frame is seen.

    Attributes:
        kind: of picture.
        modality: such as "CT"; "" where it is not said.
        slope, intercept: of the modality transformation, where there is no table.
        rescale: the Modality LUT.
        units: of its output, for people.
        windows: in order of preference; the first that is usable is the object's default.
        voi: VOI LUTs.
        entire: without a window or table all values that the samples may have are shown, as a presentation state
            without either has it (D-166).
        inverse: the largest value is black.
        presentation: the Presentation LUT.
        padding: lowest and highest stored value that is no image.
        palette: of `palette`, `supplemental`, and pseudo-colour states; None where it cannot be read.
        colour: of a segment.
        labels: colours by pixel value.
        full: the pixel value of a segmentation that means all.
        overlays: planes of bits.
        shutter: what is hidden.
        aspect: height of a pixel over its width.
        profile: ICC profile of the colours.
        patient, technique: lines of the two annotations.
        area: what is shown, None for all.
        rotation: clockwise, 0, 90, 180 or 270 degrees.
        mirrored: flipped horizontally after that.
        graphics: lines and texts.
    """

    kind: Kind = "grayscale"
    modality: str = ""
    slope: float = 1.0
    intercept: float = 0.0
    rescale: Table | None = None
    units: str = ""
    windows: tuple[Window, ...] = ()
    voi: tuple[Table, ...] = ()
    entire: bool = False
    inverse: bool = False
    presentation: Table | None = None
    padding: tuple[float, float] | None = None
    palette: Palette | None = None
    colour: Colour | None = None
    labels: tuple[tuple[int, Colour], ...] = ()
    full: int = 1
    overlays: tuple[Overlay, ...] = ()
    shutter: Shutter | None = None
    aspect: float = 1.0
    profile: bytes = b""
    patient: tuple[str, ...] = ()
    technique: tuple[str, ...] = ()
    area: Area | None = None
    rotation: int = 0
    mirrored: bool = False
    graphics: tuple[Graphic, ...] = ()


def read_look(dataset: Dataset, number: int, fetch: Fetch, profiled: bool = True, annotated: bool = True) -> Look:
    """Read how a frame is seen.

    Args:
        dataset: DICOM JSON model of the instance; BulkDataURIs are relative, "bulkdata/<path>".
        number: of the frame, from 1.
        fetch: gives the bytes of a bulk value, little endian, by its path.
        profiled: the ICC profile is needed; that of a whole slide has megabytes.
        annotated: the lines of annotations are needed.

    Raises:
        Unavailable: what `fetch` says of a storage that does not answer.
    """
    groups = _groups(dataset, number)
    kind = _kind(dataset)
    signed = whole(dataset, "00280103") == 1
    transformation = _within(groups, _TRANSFORMATION) or dataset
    described = _within(groups, _VOI) or dataset
    slope, intercept, rescale = read_modality(transformation, signed, fetch)
    if code(dataset, "00080016") in _ANGIOGRAPHY:
        rescale = None
    grid = first_real(dataset, "3004000E") if kind == "dose" else None
    shutter = next((found for group in groups if (found := read_shutter(group, number, fetch))), None)
    colour, labels = _segment_colours(dataset, groups, kind)
    return Look(
        kind=kind,
        modality=code(dataset, "00080060"),
        slope=grid if grid else slope,
        intercept=0.0 if grid else intercept,
        rescale=None if grid else rescale,
        units=text(dataset, "30040002") if grid else text(transformation, "00281054"),
        windows=read_windows(described),
        voi=read_voi(described, signed or intercept < 0, fetch),
        inverse=code(dataset, "00280004") == "MONOCHROME1" or code(dataset, "20500020") == "INVERSE",
        padding=_padding(dataset, signed),
        palette=read_palette(dataset, signed, fetch) if kind in ("palette", "supplemental") else None,
        colour=colour,
        labels=labels,
        full=(whole(dataset, "0062000E") or 255) if code(dataset, "00620001") == "FRACTIONAL" else 1,
        overlays=read_overlays(dataset, number, fetch),
        shutter=shutter or read_shutter(dataset, number, fetch),
        aspect=_aspect(dataset, groups),
        profile=_profile(dataset, fetch) if profiled else b"",
        patient=_patient(dataset) if annotated else (),
        technique=_technique(dataset, number) if annotated else (),
    )


def frame_seconds(dataset: Dataset, count: int) -> list[float]:
    """Return how long each frame of a moving picture is seen (PS3.3 C.7.6.5), a tenth of a second where the object
    does not say.

    Args:
        dataset: of the instance.
        count: of frames.
    """
    vector = reals(dataset, "00181065")
    if len(vector) >= count > 1 and all(0 < step < 1e6 for step in vector[1:count]):
        steps = [step / 1000 for step in vector[1:count]]
        return [*steps, steps[-1]]
    time = first_real(dataset, "00181063") or 0.0
    rate = next((rate for tag in ("00082144", "00180040") if (rate := first_real(dataset, tag) or 0.0) > 0), 0.0)
    one = time / 1000 if time > 0 else 1 / rate if rate else 0.1
    return [min(max(one, 0.01), 60.0)] * count


# -- parts that presentation states have as well ------------------------------------------------------------


def read_modality(dataset: Dataset, signed: bool, fetch: Fetch) -> tuple[float, float, Table | None]:
    """Read slope, intercept and table of the modality transformation (PS3.3 C.11.1); identity where none is there."""
    for item in items(dataset, "00283000")[:1]:
        if (table := read_table(item, signed, fetch)) is not None:
            return 1.0, 0.0, table
    slope, intercept = first_real(dataset, "00281053"), first_real(dataset, "00281052")
    return slope or 1.0, intercept or 0.0, None


def read_windows(dataset: Dataset) -> tuple[Window, ...]:
    """Read windows (PS3.3 C.11.2.1.2), those that cannot be drawn left out."""
    function: Function = "LINEAR"
    if (named := code(dataset, "00281056")) in ("LINEAR_EXACT", "SIGMOID"):
        function = named  # type: ignore[assignment]
    explanations = [str(value or "") for value in values(dataset, "00281055")]
    found = []
    for place, (center, width) in enumerate(zip(reals(dataset, "00281050"), reals(dataset, "00281051"), strict=False)):
        explanation = explanations[place] if place < len(explanations) else ""
        found.append(Window(center, width, function, explanation))
    return tuple(window for window in found if window.usable)


def read_voi(dataset: Dataset, signed: bool, fetch: Fetch) -> tuple[Table, ...]:
    """Read VOI LUTs (PS3.3 C.11.2.1.1)."""
    found = (read_table(item, signed, fetch) for item in items(dataset, "00283010")[:8])
    return tuple(table for table in found if table is not None)


# -- parts of images ----------------------------------------------------------------------------------------


def _groups(dataset: Dataset, number: int) -> list[Dataset]:
    """The functional groups of a frame: its own, then those of all."""
    own = values(dataset, _PER_FRAME)
    found = [own[number - 1]] if 0 < number <= len(own) and isinstance(own[number - 1], dict) else []
    return [*found, first_item(dataset, _SHARED)]


def _within(groups: list[Dataset], macro: str) -> Dataset:
    return next((item for group in groups if (item := first_item(group, macro))), {})


def _kind(dataset: Dataset) -> Kind:
    sop_class = text(dataset, "00080016")
    photometric = code(dataset, "00280004")
    if photometric == "PALETTE COLOR":
        return "palette"
    if (whole(dataset, "00280002") or 1) > 1:
        return "colour"
    if sop_class == _DOSE:
        return "dose"
    if sop_class == _LABELMAP or code(dataset, "00620001") == "LABELMAP":
        return "labels"
    if sop_class == _SEGMENTATION:
        return "segmentation"
    if code(dataset, "00089205") in ("COLOR", "MIXED") and "00281101" in dataset:
        return "supplemental"
    return "grayscale"


def _padding(dataset: Dataset, signed: bool) -> tuple[float, float] | None:
    """PS3.3 C.7.5.1.1.2; the VR may be that of the other sign."""
    first = first_real(dataset, "00280120")
    if first is None:
        return None
    bits = whole(dataset, "00280100") or 16
    limit = first_real(dataset, "00280121")
    ends = [_signed(end, signed, bits) for end in (first, first if limit is None else limit)]
    return min(ends), max(ends)


def _signed(value: float, signed: bool, bits: int) -> float:
    if bits not in (8, 16):
        return value
    if signed and 1 << (bits - 1) <= value < 1 << bits:
        return value - (1 << bits)
    return value + (1 << bits) if not signed and value < 0 else value


def _segment_colours(
    dataset: Dataset, groups: list[Dataset], kind: Kind
) -> tuple[Colour | None, tuple[tuple[int, Colour], ...]]:
    """The colour of the segment that a frame shows, or of each that a map of labels does (PS3.3 C.8.20.2)."""
    if kind == "segmentation":
        number = whole(_within(groups, _SEGMENT), "0062000B") or 1
        segments = items(dataset, "00620002")
        segment = next((item for item in segments if whole(item, "00620004") == number), {})
        return _segment_colour(segment, number), ()
    if kind == "labels":
        numbered = [(whole(item, "00620004"), item) for item in items(dataset, "00620002")]
        return None, tuple((number, _segment_colour(item, number)) for number, item in numbered if number)
    return None, ()


def _segment_colour(segment: Dataset, number: int) -> Colour:
    return srgb(reals(segment, "0062000D")) or _HUES[(number - 1) % len(_HUES)]


def _aspect(dataset: Dataset, groups: list[Dataset]) -> float:
    """Height of a pixel over its width (PS3.3 C.7.6.3.1.7, 10.7.1): said as a ratio, or by spacings."""
    ratio = reals(dataset, "00280034")
    measures = _within(groups, _MEASURES)
    spacings = (reals(measures, "00280030"), *(reals(dataset, tag) for tag in ("00280030", "00181164", "00182010")))
    for pair in (ratio, *spacings):
        if len(pair) >= 2 and pair[0] > 0 and pair[1] > 0:
            aspect = pair[0] / pair[1]
            return aspect if 1 / _ASPECT_LIMIT <= aspect <= _ASPECT_LIMIT else 1.0
    return 1.0


def _profile(dataset: Dataset, fetch: Fetch) -> bytes:
    """PS3.3 C.11.15; whole slides have it in their optical paths (PS3.3 C.8.12.5)."""
    return binary(dataset, "00282000", fetch) or binary(first_item(dataset, "00480105"), "00282000", fetch)


# -- annotations --------------------------------------------------------------------------------------------


def _patient(dataset: Dataset) -> tuple[str, ...]:
    """Who it is (PS3.18 8.3.5.1.1)."""
    name = text(dataset, "00100010").split("=")
    shown = [", ".join(part for part in group.split("^") if part) for group in name if group]
    number, birth, sex = (text(dataset, tag) for tag in ("00100020", "00100030", "00100040"))
    return _lines(
        " ".join(shown[:2]),
        f"ID {number}" if number else "",
        "  ".join(part for part in (f"*{_date(birth)}" if birth else "", sex, text(dataset, "00101010")) if part),
        text(dataset, "00080080"),
    )


def _technique(dataset: Dataset, number: int) -> tuple[str, ...]:
    """How it was made (PS3.18 8.3.5.1.1)."""
    frames = whole(dataset, "00280008") or 1
    date, time = text(dataset, "00080020"), text(dataset, "00080030")
    place = [
        f"{name} {value}"
        for name, tag in (("Se", "00200011"), ("Im", "00200013"))
        if (value := text(dataset, tag).removesuffix(".0"))
    ]
    numbers = [
        f"{name} {quantity:.5g}{unit}"
        for name, tag, unit in (
            ("", "00180060", " kV"), ("", "00181151", " mA"), ("TR", "00180080", ""), ("TE", "00180081", ""),
            ("TI", "00180082", ""), ("ST", "00180050", " mm"), ("SL", "00201041", " mm"),
        )
        if (quantity := first_real(dataset, tag)) is not None
    ]  # fmt: skip
    return _lines(
        f"{_date(date)} {time[:2]}:{time[2:4]}" if date and len(time) >= 4 else _date(date),
        text(dataset, "00081030"),
        " ".join(part for part in (code(dataset, "00080060"), text(dataset, "0008103E")) if part),
        " ".join([*place, *([f"Fr {number}/{frames}"] if frames > 1 else [])]),
        "  ".join(part.strip() for part in numbers),
    )


def _date(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:8]}" if len(date) == 8 and date.isdigit() else date


def _lines(*lines: str) -> tuple[str, ...]:
    cleaned = ("".join(letter for letter in line if letter.isprintable()).strip() for line in lines)
    return tuple(line[:_LONGEST_LINE] for line in cleaned if line)
