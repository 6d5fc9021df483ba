"""Waveforms as they are described: which bytes are needed to draw them, and how samples lie in these (PS3.3 C.10.9).

What is read is bounded: of a recording of a whole day the first stretch is enough to draw.

No numpy.
"""

from collections.abc import Mapping
from math import ceil, isfinite
from typing import Any, NamedTuple

from dicomweb.standard import dicomjson

SEQUENCE = "54000100"
"""Waveform Sequence."""

DATA = "54001010"
"""Waveform Data."""

GROUPS = 8
"""Multiplex groups that are read."""

_BYTES = 16 << 20
_SECONDS = 60.0
_SLOW = 5000.0
_CHANNELS = 4096

# PS3.3 C.10.9.1.5: bytes of a sample, and how it is written where only its bits are told
_SIZES = {"SB": 1, "UB": 1, "MB": 1, "AB": 1, "SS": 2, "US": 2, "SL": 4, "UL": 4, "SV": 8, "UV": 8}
_BY_BITS = {8: "SB", 16: "SS", 32: "SL", 64: "SV"}


class Shape(NamedTuple):
    """How the samples of a multiplex group lie.

    Attributes:
        kind: Waveform Sample Interpretation.
        channels: that follow one another in each sample.
        size: bytes of one number.
        described: samples that there are of each channel; None where the group does not say.
        samples: how many of them are read at most.
        frequency: samples a second.
    """

    kind: str
    channels: int
    size: int
    described: int | None
    samples: int
    frequency: float


def has_waveforms(dataset: Mapping[str, Any]) -> bool:
    """Say whether a data set is a waveform object (PS3.3 C.10.9)."""
    return bool(dicomjson.values(dataset, SEQUENCE))


def wanted(dataset: Mapping[str, Any]) -> dict[str, int]:
    """Return which bulk values are needed to draw an object, and how many bytes from the beginning of each.

    Args:
        dataset: DICOM JSON model with relative BulkDataURIs.
    """
    found = {}
    for item in groups(dataset):
        uri = item.get(DATA, {}).get("BulkDataURI", "")
        shape = read_shape(item)
        if uri and shape:
            found[uri.removeprefix("bulkdata/")] = shape.channels * shape.size * shape.samples
    return found


def groups(dataset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the items of the multiplex groups that are read."""
    return [item for item in dicomjson.values(dataset, SEQUENCE) if isinstance(item, dict)][:GROUPS]


def read_shape(item: Mapping[str, Any]) -> Shape | None:
    """Read how the samples of a multiplex group lie; None where that is not told, or makes no sense."""
    channels = dicomjson.integer(item.get("003A0005")) or 0
    frequency = real(item, "003A001A", 0.0)
    kind = dicomjson.text(item, "54001006")
    kind = kind if kind in _SIZES else _BY_BITS.get(dicomjson.integer(item.get("54001004")) or 16, "")
    if not 0 < channels <= _CHANNELS or not kind or not frequency > 0:
        return None
    size = _SIZES[kind]
    described = dicomjson.integer(item.get("003A0010"))
    most = _BYTES // (channels * size)
    if frequency < _SLOW:
        most = min(most, ceil(_SECONDS * frequency))
    return Shape(
        kind, channels, size, described, most if described is None else max(min(described, most), 0), frequency
    )


def real(item: Mapping[str, Any], tag: str, default: float) -> float:
    """Return the first value of an attribute as a number, if it is a finite one."""
    values = dicomjson.values(item, tag)
    try:
        value = float(values[0]) if values else default
    except (TypeError, ValueError):
        return default
    return value if isfinite(value) else default
