"""Waveforms as drawings: an ECG as on paper, other curves in strips, as SVG and as PNG (PS3.18 8.7.4, PS3.3 C.10.9).

Paper is 25 mm a second and 10 mm a millivolt, with lines every millimetre and every five. Twelve leads stand in
three rows of four with a rhythm strip below; anything else has a strip for each channel. Lengths are
millimetres. Nothing on a drawing names the patient unless that is asked for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dicomweb.imaging import pages, pictures, readable, samples
from dicomweb.imaging.samples import Channel, Group, Values
from dicomweb.standard import dicomjson

_SPEED = 25.0
_GAIN = 10.0
_WIDTH = 250.0
_MARGIN = 8.0
_PULSE = 7.0
_BIN = 0.125
_LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
_ROW = 27.0
_SYSTEMS = 6
_STRIPS = 48
_NOTES = 24
# What the font of a PNG lacks, as what it has
_GLYPHS = str.maketrans({"–": "-", "…": "...", "⁻": "-"})

_PAPER, _FINE, _COARSE, _INK, _SOFT = "#fffaf8", "#f8d9d4", "#eeaca4", "#10151c", "#5b6675"


class Paper(NamedTuple):
    """A rectangle with lines: of an ECG every millimetre, of other curves every second."""

    x: float
    y: float
    width: float
    height: float
    ecg: bool
    step: float = 5.0


class Text(NamedTuple):
    """A line of text, at the left end of its base line."""

    x: float
    y: float
    words: str
    size: float = 3.2
    weight: Literal["bold", "normal"] = "normal"
    soft: bool = False


@dataclass(slots=True)
class Drawing:
    """What is to be drawn.

    Attributes:
        width, height: of the whole.
        title: one line for those who cannot see it.
        papers: below all else.
        traces: curves, each an array of shape (points, 2) of hundredths of millimetres, int64.
        lines: thin lines, from x, y to x, y.
        texts: on top.
    """

    width: float = _WIDTH + _PULSE + 2 * _MARGIN
    height: float = _MARGIN
    title: str = ""
    papers: list[Paper] = field(default_factory=list)
    traces: list[NDArray[np.int64]] = field(default_factory=list)
    lines: list[tuple[float, float, float, float]] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)


def svg(dataset: Mapping[str, Any], bulk: Mapping[str, bytes], patient: bool = False) -> bytes:
    """Draw a waveform object as SVG in UTF-8, without script, style sheet or anything from elsewhere.

    Args:
        dataset: DICOM JSON model with relative BulkDataURIs.
        bulk: what `waveforms.wanted` names.
        patient: also write name, identifier, birth date and sex.

    Raises:
        Undecodable: there is no waveform that can be read.
    """
    return _write_svg(drawing(dataset, bulk, patient))


def png(
    dataset: Mapping[str, Any],
    bulk: Mapping[str, bytes],
    width: int = 1600,
    height: int = 1600,
    patient: bool = False,
    words: bool = True,
) -> bytes:
    """Draw a waveform object as PNG that fits into width x height pixels.

    Args:
        dataset: DICOM JSON model with relative BulkDataURIs.
        bulk: what `waveforms.wanted` names.
        width, height: in pixels, 16 to 8,192.
        patient: also write name, identifier, birth date and sex.
        words: write text at all; a thumbnail has none, and shows the first group alone.

    Raises:
        Undecodable: there is no waveform that can be read.
    """
    made = drawing(dataset, bulk, patient) if words else _bare(dataset, bulk)
    painted = _painted(made, min(max(width, 16), 8192), min(max(height, 16), 8192), words)
    return pictures.encode(painted, "image/png")


def drawing(dataset: Mapping[str, Any], bulk: Mapping[str, bytes], patient: bool = False) -> Drawing:
    """Lay out a waveform object; arguments as for `svg`.

    Raises:
        Undecodable: there is no waveform that can be read.
    """
    groups = samples.read(dataset, bulk)
    made = Drawing()
    _head(made, dataset, groups, patient)
    for number, group in enumerate(groups, 1):
        if made.height > 4000:
            break
        _caption(made, group, number, len(groups))
        _place(made, group)
    made.height += 2
    return made


def _bare(dataset: Mapping[str, Any], bulk: Mapping[str, bytes]) -> Drawing:
    made = Drawing()
    group = samples.read(dataset, bulk)[0]
    channels = group.channels if _leads(group) else group.channels[:4]
    _place(made, Group(group.label, group.frequency, channels, group.seconds), systems=1)
    made.height += _MARGIN - 3
    return made


# -- words --------------------------------------------------------------------------------------------------


def _head(made: Drawing, dataset: Mapping[str, Any], groups: list[Group], patient: bool) -> None:
    kind = readable.class_name(dicomjson.text(dataset, "00080016")).removesuffix(" Waveform")
    when = readable.moment(dicomjson.text(dataset, "0008002A")) or readable.together(dataset, "00080023", "00080033")
    made.title = " · ".join(part for part in (kind, when) if part)
    _line(made, kind, 5.2, "bold")
    if patient:
        for _, lines in pages.facts(dataset)[:1]:
            _line(made, " · ".join(lines), 4, "bold")
    device = " ".join(dicomjson.text(dataset, tag) for tag in ("00080070", "00081090")).strip()
    _line(made, " · ".join(part for part in (when, readable.clean(device)) if part), 3.4)
    for words in _annotations(dataset):
        _line(made, words, 3.4)
    made.height += 1


def _line(made: Drawing, words: str, size: float, weight: Literal["bold", "normal"] = "normal") -> None:
    words = " ".join(words.split())
    if words:
        most = int(_WIDTH / (size * 0.52))
        words = words if len(words) <= most else f"{words[: most - 1]}…"
        made.height += size * 1.1
        made.texts.append(Text(_MARGIN, made.height, words, size, weight))
        made.height += size * 0.35


def _annotations(dataset: Mapping[str, Any]) -> list[str]:
    """What the device, or a person, wrote and measured (PS3.3 C.10.10), without what concerns one channel only."""
    notes: list[str] = []
    measured: dict[str, str] = {}
    for item in dicomjson.values(dataset, "0040B020")[:2000]:
        if not isinstance(item, dict):
            continue
        channels = dicomjson.values(item, "0040A0B0")
        if len(channels) > 2 or (len(channels) == 2 and channels[1] not in (0, None)):
            continue
        if words := readable.clean(dicomjson.text(item, "00700006")).strip():
            notes.append(words)
            continue
        name, numbers = readable.first_code(item, "0040A043"), dicomjson.values(item, "0040A30A")
        if name and numbers and isinstance(numbers[0], int | float) and numbers[0]:
            unit = readable.unit(readable.first_code(item, "004008EA"))
            measured.setdefault(name.shown, f"{name.shown} {readable.measure(float(numbers[0]), unit)}")
    lines = ["; ".join(notes[:_NOTES])] if notes else []
    shown = list(measured.values())[:_NOTES]
    return lines + [" · ".join(shown[start : start + 6]) for start in range(0, len(shown), 6)]


def _caption(made: Drawing, group: Group, number: int, count: int) -> None:
    volts = all(channel.unit == "mV" for channel in group.channels)
    audible = group.frequency >= 4000
    shown = min(group.read_seconds, _SYSTEMS * _WIDTH / _SPEED)
    parts = [
        group.label or (f"Group {number}" if count > 1 else ""),
        "" if audible else "25 mm/s",
        "10 mm/mV" if volts and not audible else "",
        f"{group.frequency:g} Hz",
        group.filters,
        f"{group.seconds:.3g} s" if group.seconds < 100 else _duration(group.seconds),
        f"the first {shown:.3g} s" if not audible and shown < group.seconds - 0.05 and not _leads(group) else "",
    ]
    if _leads(group) and group.seconds > _WIDTH / _SPEED + 0.05:
        parts.append(f"the first {_WIDTH / _SPEED:g} s")
    made.height += 5
    made.texts.append(Text(_MARGIN, made.height, " · ".join(part for part in parts if part), 3.2, soft=True))
    made.height += 2


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


# -- layout -------------------------------------------------------------------------------------------------


def _place(made: Drawing, group: Group, systems: int = _SYSTEMS) -> None:
    if leads := _leads(group):
        _twelve(made, leads, group.frequency)
    elif group.frequency >= 4000:
        _sound(made, group)
    else:
        _strips(made, group, systems)
    made.height += 3


def _leads(group: Group) -> dict[str, Channel]:
    """The twelve leads of an ECG, the last four limb leads computed where only two were stored; {} if it is none."""
    found = {channel.lead: channel for channel in reversed(group.channels) if channel.lead}
    one, two = found.get("I"), found.get("II")
    if one is None or two is None or not all(f"V{number}" in found for number in range(1, 7)):
        return {}
    a, b = one.values, two.values
    computed = {"III": b - a, "aVR": -(a + b) / 2, "aVL": a - b / 2, "aVF": b - a / 2}
    for lead, values in computed.items():
        found.setdefault(lead, Channel(f"{lead} (computed)", lead, "mV", values))
    return found


def _twelve(made: Drawing, leads: dict[str, Channel], frequency: float) -> None:
    """Three rows of four leads, each with its quarter of the time, and lead II the whole time."""
    top, seconds = made.height, _WIDTH / _SPEED / 4
    length = max(len(channel.values) for channel in leads.values()) / frequency
    brief = length < 2 * seconds
    rows = 3 if brief else 4
    made.papers.append(Paper(_MARGIN, top, _WIDTH + _PULSE, rows * _ROW + 3, True))
    for row, names in enumerate(_LAYOUT):
        middle = top + 3 + _ROW * (row + 0.55)
        _pulse(made, _MARGIN, middle)
        for column, name in enumerate(names):
            left = _MARGIN + _PULSE + column * _WIDTH / 4
            start = 0 if brief else round(column * seconds * frequency)
            values = leads[name].values
            piece = values[start : start + max(int(seconds * frequency), 1)]
            _curve(made, piece, frequency, left, middle, _middle(values), _GAIN)
            if column:
                made.lines.append((left, middle - 4, left, middle + 4))
            made.texts.append(Text(left + 1.5, middle - 8, name, 3.4, "bold"))
    if not brief:
        middle = top + 3 + _ROW * 3.55
        _pulse(made, _MARGIN, middle)
        values = leads["II"].values[: int(_WIDTH / _SPEED * frequency)]
        _curve(made, values, frequency, _MARGIN + _PULSE, middle, _middle(values), _GAIN)
        made.texts.append(Text(_MARGIN + _PULSE + 1.5, middle - 8, "II", 3.4, "bold"))
    made.height = top + rows * _ROW + 3


def _pulse(made: Drawing, x: float, middle: float) -> None:
    """A millivolt for a fifth of a second, by which the paper can be checked."""
    outline = [(0, 0), (0.5, 0), (0.5, -10), (5, -10), (5, 0), (5.5, 0)]
    made.traces.append(np.array([(100 * (x + a), 100 * (middle + b)) for a, b in outline]).astype(np.int64))


class _Scale(NamedTuple):
    """How a channel is drawn in a strip: height in mm, mm a unit, the value in the middle, and, where the gain is not
    that of an ECG, the value of the 5 mm between two lines."""

    height: float
    gain: float
    level: float
    step: float = 0.0


def _strips(made: Drawing, group: Group, systems: int) -> None:
    """A strip for each channel, one system below another while there is time left to draw."""
    length = _WIDTH / _SPEED
    count = min(max(math.ceil(group.read_seconds / length - 0.01), 1), systems, max(_STRIPS // len(group.channels), 1))
    scales = [_scale(channel) for channel in group.channels]
    for system in range(count):
        top = made.height
        width = min(_WIDTH, max((group.read_seconds - system * length) * _SPEED, 50.0))
        made.papers.append(Paper(_MARGIN, top, width, sum(scale.height for scale in scales), True))
        start = round(system * length * group.frequency)
        above = top
        for channel, scale in zip(group.channels, scales, strict=True):
            middle = above + scale.height / 2
            piece = channel.values[start : start + int(length * group.frequency)]
            _curve(made, piece, group.frequency, _MARGIN, middle, scale.level, scale.gain)
            label = channel.lead or channel.label
            made.texts.append(Text(_MARGIN + 1.5, above + 3.8, label[:40], 3.2, "bold"))
            for lines in (-3, 0, 3) if scale.step else ():
                words = f"{scale.level + lines * scale.step:.6g} {channel.unit}".strip()
                made.texts.append(Text(_MARGIN + width - 20, middle - 5 * lines - 0.5, words, 2.6, soft=True))
            above += scale.height
        made.height = above + (2 if system < count - 1 else 0)


def _scale(channel: Channel) -> _Scale:
    with_sense = channel.values[np.isfinite(channel.values)]
    if not len(with_sense):
        return _Scale(20.0, 1.0, 0.0)
    low, high = float(with_sense.min()), float(with_sense.max())
    if channel.unit == "mV" and high - low <= 6:
        return _Scale(max(math.ceil((high - low) * _GAIN / 10) * 10 + 10.0, 20.0), _GAIN, (low + high) / 2)
    step = _round_number((high - low) / 6) if high > low else 1.0
    return _Scale(50.0, 5 / step, round((low + high) / 2 / step) * step, step)


def _round_number(least: float) -> float:
    """The smallest of 1, 2, 5 and their tens that is not below a number."""
    ten = 10.0 ** math.floor(math.log10(least))
    return next((factor * ten for factor in (1, 2, 5) if factor * ten >= least), 10 * ten)


def _sound(made: Drawing, group: Group) -> None:
    """Sound: all of it in one width, as loud as it is."""
    seconds = group.read_seconds
    step = next((s for s in (0.01, 0.1, 1, 10, 60, 600, 3600) if seconds / s <= 40), 36000)
    for channel in group.channels[:8]:
        top, row = made.height, 40.0
        made.papers.append(Paper(_MARGIN, top, _WIDTH, row, False, step / seconds * _WIDTH))
        finite = channel.values[np.isfinite(channel.values)]
        level = float(np.median(finite)) if len(finite) else 0.0
        most = float(np.abs(finite - level).max()) if len(finite) else 0.0
        gain = (row / 2 - 3) / most if most > 0 else 1.0
        rate = len(channel.values) / _WIDTH * _SPEED
        _curve(made, channel.values, rate, _MARGIN, top + row / 2, level, gain)
        label = f"{channel.label} · a line every {step:g} s"
        made.texts.append(Text(_MARGIN + 1.5, top + 4, label[:80], 3.2, "bold"))
        made.height = top + row + 2


def _middle(values: Values) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else 0.0


def _curve(made: Drawing, values: Values, frequency: float, x: float, y: float, level: float, gain: float) -> None:
    """Add a curve; where samples are denser than can be seen, the lowest and the highest of each stretch."""
    if not len(values):
        return
    per_bin = int(_BIN / _SPEED * frequency)
    if per_bin > 2:
        whole = len(values) // per_bin
        if not whole:
            return
        bins = values[: whole * per_bin].reshape(whole, per_bin)
        filled = np.isfinite(bins).any(axis=1)
        low = np.where(filled, np.nanmin(np.where(np.isfinite(bins), bins, np.inf), axis=1), np.nan)
        high = np.where(filled, np.nanmax(np.where(np.isfinite(bins), bins, -np.inf), axis=1), np.nan)
        falling = np.nan_to_num(bins[:, 0]) > np.nan_to_num(bins[:, -1])
        first, second = np.where(falling, high, low), np.where(falling, low, high)
        values = np.stack([first, second], axis=1).reshape(-1)
        places = np.repeat(np.arange(whole) * per_bin, 2) + np.tile([0.25 * per_bin, 0.75 * per_bin], whole)
    else:
        places = np.arange(len(values), dtype=np.float64)
    finite = np.isfinite(values)
    across = np.rint(100 * (x + places / frequency * _SPEED))
    down = np.rint(100 * np.clip(y - (np.where(finite, values, 0.0) - level) * gain, y - 60, y + 60))
    points = np.stack([across, down], axis=1).astype(np.int64)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], finite.view(np.int8), [0]))))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - start > 1 and len(made.traces) < 5000:
            made.traces.append(points[start:stop])


# -- writing ------------------------------------------------------------------------------------------------


def _write_svg(made: Drawing) -> bytes:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{made.width:g}mm" height="{made.height:.1f}mm" '
        f'viewBox="0 0 {made.width:g} {made.height:.1f}" role="img" font-family="Helvetica,Arial,sans-serif">'
        f"<title>{pages.escape(made.title)}</title>"
        '<defs><pattern id="f" width="1" height="1" patternUnits="userSpaceOnUse">'
        f'<path d="M1 0H0V1" fill="none" stroke="{_FINE}" stroke-width=".1"/></pattern></defs>'
        '<rect width="100%" height="100%" fill="#fff"/>'
    )
    out = [head]
    for paper in made.papers:
        box = f'x="{paper.x:g}" y="{paper.y:.2f}" width="{paper.width:.2f}" height="{paper.height:.2f}"'
        out.append(f'<rect {box} fill="{_PAPER}"/>')
        if paper.ecg:
            out.append(f'<g transform="translate({paper.x:g} {paper.y:.2f})"><rect width="{paper.width:.2f}" '
                       f'height="{paper.height:.2f}" fill="url(#f)"/></g>')  # fmt: skip
        out.append(f'<path d="{_rules(paper)}" stroke="{_COARSE}" stroke-width=".15"/>')
    out.append(f'<path d="{"".join(f"M{a:.2f} {b:.2f}L{c:.2f} {d:.2f}" for a, b, c, d in made.lines)}" '
               f'stroke="{_SOFT}" stroke-width=".2"/>')  # fmt: skip
    out.append(f'<g transform="scale(.01)" fill="none" stroke="{_INK}" stroke-width="28" stroke-linejoin="round">')
    out += [f'<path d="{_path(trace)}"/>' for trace in made.traces]
    out.append("</g>")
    for text in made.texts:
        weight = ' font-weight="bold"' if text.weight == "bold" else ""
        ink = _SOFT if text.soft else _INK
        out.append(f'<text x="{text.x:.2f}" y="{text.y:.2f}" font-size="{text.size:g}"{weight} fill="{ink}">'
                   f"{pages.escape(text.words)}</text>")  # fmt: skip
    out.append("</svg>\n")
    return "".join(out).encode()


def _rules(paper: Paper) -> str:
    """The coarse lines of a paper."""
    right, lower = paper.x + paper.width, paper.y + paper.height
    upright = np.arange(0, paper.width + 0.01, paper.step) if paper.step > 0 else np.array([0.0])
    across = np.arange(0, paper.height + 0.01, 5.0) if paper.ecg else np.array([0.0, paper.height / 2, paper.height])
    lines = [f"M{paper.x + x:.2f} {paper.y:.2f}V{lower:.2f}" for x in upright]
    return "".join(lines + [f"M{paper.x:g} {paper.y + y:.2f}H{right:.2f}" for y in across])


def _path(trace: NDArray[np.int64]) -> str:
    """A curve as steps from point to point; those that go straight on are left out."""
    steps = np.diff(trace, axis=0)
    steps = steps[(steps != 0).any(axis=1)]
    if not len(steps):
        return f"M{trace[0, 0]} {trace[0, 1]}h1"
    pairs = " ".join(map(str, steps.ravel().tolist())).replace(" -", "-")
    return f"M{trace[0, 0]} {trace[0, 1]}l{pairs}"


def _painted(made: Drawing, width: int, height: int, words: bool) -> NDArray[np.uint8]:
    scale = min(width / made.width, height / made.height)
    fine = 2 if scale < 8 else 1
    size = max(round(made.width * scale), 1), max(round(made.height * scale), 1)
    unit = scale * fine
    image = Image.new("RGB", (size[0] * fine, size[1] * fine), "#fff")
    pen = ImageDraw.Draw(image)
    for paper in made.papers:
        pen.rectangle(_box(paper, unit), fill=_PAPER)
        if paper.ecg and scale >= 2.5:
            _grid(pen, paper, 1.0, unit, _FINE, 1)
        if scale >= 0.6:
            _grid(pen, paper, paper.step, unit, _COARSE if scale >= 1.5 else _FINE, max(round(0.15 * unit), 1))
    for line in made.lines:
        pen.line([round(value * unit) for value in line], fill=_SOFT, width=max(round(0.2 * unit), 1))
    thick = max(round(0.3 * unit), fine)
    for trace in made.traces:
        pen.line([tuple(point) for point in (trace * (unit / 100)).tolist()], fill=_INK, width=thick)
    if fine > 1:
        image = image.reduce(fine)
    if words:
        pen = ImageDraw.Draw(image)
        for text in made.texts:
            if (points := text.size * scale) >= 5:
                place = text.x * scale, text.y * scale
                words_shown = text.words.translate(_GLYPHS).encode("latin-1", "replace").decode("latin-1")
                ink = _SOFT if text.soft else _INK
                pen.text(place, words_shown, fill=ink, font=ImageFont.load_default(round(points)), anchor="ls")
    return np.asarray(image)


def _box(paper: Paper, unit: float) -> list[int]:
    return [round(value * unit) for value in (paper.x, paper.y, paper.x + paper.width, paper.y + paper.height)]


def _grid(pen: ImageDraw.ImageDraw, paper: Paper, step: float, unit: float, ink: str, width: int) -> None:
    left, top, right, lower = _box(paper, unit)
    for x in np.arange(0, paper.width + 0.01, step):
        place = round((paper.x + x) * unit)
        pen.line([place, top, place, lower], fill=ink, width=width)
    for y in np.arange(0, paper.height + 0.01, step if paper.ecg else paper.height / 2):
        place = round((paper.y + y) * unit)
        pen.line([left, place, right, place], fill=ink, width=width)
