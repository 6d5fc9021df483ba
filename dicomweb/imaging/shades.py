"""From stored values to shades of gray: modality, VOI and presentation transformations (PS3.3 C.11.1, C.11.2,
C.11.6; PS3.4 N.2).

All of it depends on a pixel's value alone. Values of up to 16 bits therefore go through one table, made once for a
look and kept; others are computed pixel by pixel.

Where neither client nor object say how to window, this is the rule: values of 8 bits or fewer that nothing
transforms are shown over their whole range; others from the 0.5th to the 99.5th percentile of the frame, padding
left out, and if both are one, from lowest to highest. Counts of photons (PT, NM) and doses begin at 0 and end at the
99.9th percentile, so that what is empty is black.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dicomweb.imaging.looks import Look
from dicomweb.imaging.tables import Table
from dicomweb.standard.rendering import Window

Array: TypeAlias = NDArray[Any]
Reals: TypeAlias = NDArray[np.float64]

_SAMPLE = 1 << 15
_AT_ONCE = 1 << 14
_STEP = 10
_COUNTED = frozenset(["PT", "NM"])


class Curve(NamedTuple):
    """What makes a shade of a stored value, each step or None.

    Attributes:
        slope, intercept, rescale: modality transformation.
        voi: window or table.
        presentation: table.
        inverse: the largest value is black.
        padding: stored values that are background, which is black.
    """

    slope: float
    intercept: float
    rescale: Table | None
    voi: Window | Table
    presentation: Table | None
    inverse: bool
    padding: tuple[float, float] | None


def windowed(values: Reals, window: Window) -> Reals:
    """Apply a VOI function (PS3.3 C.11.2.1.2.1, C.11.2.1.3.1, C.11.2.1.3.2; D-162 to D-164).

    Args:
        values: output of the modality transformation.
        window: usable; a LINEAR one narrower than 1 counts as LINEAR_EXACT.

    Returns:
        Numbers from 0 to 1.
    """
    center, width, function, _ = window
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return np.asarray(1.0 / (1.0 + np.exp(-4.0 * (values - center) / width)))
    if function == "LINEAR" and width >= 1:
        center, width = center - 0.5, width - 1.0
    if not width:
        return np.asarray(values > center, np.float64)
    return np.asarray(np.clip((values - center) / width + 0.5, 0.0, 1.0))


def looked_up(values: Reals, table: Table) -> Reals:
    """Apply a table (PS3.3 C.11.1.1): below its first input it gives the first entry, above its last the last."""
    entries = np.frombuffer(table.entries, "<u2")
    places = np.clip(np.floor(np.nan_to_num(values) + 0.5) - table.first, 0, len(entries) - 1)
    return np.asarray(entries[places.astype(np.int64)], np.float64)


def curve_of(array: Array, stored: int, look: Look, window: Window | None) -> Curve:
    """Choose the VOI transformation of a frame.

    Args:
        array: its stored values.
        stored: Bits Stored.
        look: of the frame.
        window: of the client, which goes before all.
    """
    voi: Window | Table | None = window
    if voi is None and look.windows:
        voi = _of_reals(look.windows[0], array, look)
    if voi is None and look.voi:
        voi = look.voi[0]
    if voi is None:
        voi = _default(array, stored, look)
    return Curve(look.slope, look.intercept, look.rescale, voi, look.presentation, look.inverse, look.padding)


def _of_reals(window: Window, array: Array, look: Look) -> Window:
    """A LINEAR window no wider than 1 is a threshold, which is not what is meant where values are no whole numbers:
    writers of parametric maps and doses leave the function out."""
    reals = array.dtype.kind == "f" or not look.slope.is_integer()
    return window._replace(function="LINEAR_EXACT") if window.width <= 1 and reals else window


def modality(values: Reals, curve: Curve) -> Reals:
    """Apply the modality transformation (PS3.3 C.11.1)."""
    if curve.rescale is not None:
        return looked_up(values, curve.rescale)
    return values * curve.slope + curve.intercept


def shade(array: Array, curve: Curve, levels: int) -> Array:
    """Turn stored values into shades.

    Args:
        array: any shape; integer or floating point.
        curve: as `curve_of` gives it.
        levels: 256 gives uint8, 65,536 uint16.
    """
    kind = array.dtype
    if kind.kind in "iu" and kind.itemsize <= 2 and array.size:
        # The values that there are, rounded outwards, so that frames of a series share a table
        limits = np.iinfo(kind)
        least = max(int(array.min()) >> _STEP << _STEP, int(limits.min))
        most = min((int(array.max()) >> _STEP) + 1 << _STEP, int(limits.max) + 1)
        table = _table(curve, kind.itemsize, least, most, levels)
        return _taken(table, array.view(f"u{kind.itemsize}"))
    return _computed(np.asarray(array, np.float64), curve, levels)


def _taken(table: Array, codes: Array) -> Array:
    """Look codes up, some at a time: numpy widens them to 64 bits, which is to stay in the processor's cache."""
    flat = codes.ravel()
    result = np.empty(flat.size, table.dtype)
    for start in range(0, flat.size, _AT_ONCE):
        table.take(flat[start : start + _AT_ONCE], out=result[start : start + _AT_ONCE], mode="clip")
    return result.reshape(codes.shape)


@lru_cache(maxsize=64)
def _table(curve: Curve, size: int, first: int, last: int, levels: int) -> Array:
    """Shades by the bits of a stored value, which a signed one shares with an unsigned one.

    Args:
        curve: makes them.
        size: bytes of a value.
        first, last: values [first, last) have a shade.
        levels: see `shade`.
    """
    span = 1 << 8 * size
    stored = np.arange(first, last)
    table = np.zeros(span, np.uint8 if levels == 256 else np.uint16)
    table[stored & (span - 1)] = _computed(stored.astype(np.float64), curve, levels)
    return table


def _computed(stored: Reals, curve: Curve, levels: int) -> Array:
    values = modality(stored, curve)
    if isinstance(curve.voi, Table):
        seen = looked_up(values, curve.voi) / curve.voi.top
    else:
        seen = windowed(values, curve.voi)
    if curve.presentation is not None:
        table = curve.presentation
        seen = looked_up(seen * (table.size - 1) + table.first, table) / table.top
    if curve.inverse:
        seen = 1.0 - seen
    hidden = np.isnan(stored)
    if curve.padding is not None:
        low, high = curve.padding
        hidden |= (stored >= low) & (stored <= high)
    seen = np.nan_to_num(seen)
    seen[hidden] = 0.0
    return np.floor(seen * (levels - 1) + 0.5).astype(np.uint8 if levels == 256 else np.uint16)


# -- where nobody says how to window ------------------------------------------------------------------------


def _default(array: Array, stored: int, look: Look) -> Window:
    if look.entire and array.dtype.kind in "iu":
        return _entire(array.dtype.kind == "i", stored, look)
    untouched = look.rescale is None and look.slope == 1.0 and look.intercept == 0.0
    if array.dtype.kind == "u" and stored <= 8 and untouched and look.modality not in _COUNTED:
        return Window(1 << (stored - 1), 1 << stored) if stored > 1 else Window(0.5, 1.0, "LINEAR_EXACT")
    sample = _sample(array, look.padding)
    if not sample.size:
        return Window(0.5, 1.0, "LINEAR_EXACT")
    bare = Curve(look.slope, look.intercept, look.rescale, Window(0.0, 1.0), None, False, None)
    values = np.sort(modality(sample, bare))
    if look.modality in _COUNTED or look.kind == "dose":
        low, high = min(0.0, float(values[0])), _percentile(values, 0.999)
    else:
        low, high = _percentile(values, 0.005), _percentile(values, 0.995)
    if not low < high:
        low, high = float(values[0]), float(values[-1])
    if not low < high:
        return Window(low + 0.5, 1.0, "LINEAR_EXACT")
    return Window((low + high) / 2, high - low, "LINEAR_EXACT")


def _entire(signed: bool, stored: int, look: Look) -> Window:
    """From the lowest to the highest output of the modality transformation."""
    if look.rescale is not None:
        return Window(look.rescale.top / 2, look.rescale.top, "LINEAR_EXACT")
    least = -(1 << (stored - 1)) if signed else 0
    ends = [value * look.slope + look.intercept for value in (least, least + (1 << stored) - 1)]
    return Window(sum(ends) / 2, max(abs(ends[1] - ends[0]), 1e-9), "LINEAR_EXACT")


def _percentile(ordered: Reals, share: float) -> float:
    return float(ordered[round((len(ordered) - 1) * share)])


def _sample(array: Array, padding: tuple[float, float] | None) -> Reals:
    """Up to some tens of thousands of values from all over the frame, padding and what is no number left out."""
    flat = array.ravel()
    step = max(1, -(-flat.size // _SAMPLE))
    while step > 1 and math.gcd(step, array.shape[-1]) > 1:
        step += 1
    values = np.asarray(flat[::step], np.float64)
    values = values[np.isfinite(values)]
    if padding is not None:
        values = values[(values < padding[0]) | (values > padding[1])]
    return values
