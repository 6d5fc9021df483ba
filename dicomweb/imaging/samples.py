"""Samples of waveforms as arrays, in the units of their channels (PS3.3 C.10.9)."""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dicomweb.errors import Undecodable
from dicomweb.imaging import readable, waveforms
from dicomweb.imaging.waveforms import real
from dicomweb.standard import dicomjson

CHANNELS = 64
"""Channels of a multiplex group that are read."""

Values: TypeAlias = NDArray[np.float64]

# PS3.3 C.10.9.1.5: how a sample is written
_TYPES = {
    "SB": "i1", "UB": "u1", "MB": "u1", "AB": "u1", "SS": "<i2", "US": "<u2", "SL": "<i4", "UL": "<u4", "SV": "<i8",
    "UV": "<u8",
}  # fmt: skip
_LEADS = {
    name.upper(): name for name in ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
}  # fmt: skip
_MILLIVOLTS = {"mV": 1.0, "uV": 0.001, "µV": 0.001, "V": 1000.0, "nV": 1e-6}


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel.

    Attributes:
        label: for people, such as "Lead I"; never empty.
        lead: "I" to "V6" if it is one of the twelve leads of an ECG, else "".
        unit: of the values; "mV" for voltages, "" where it is not known.
        values: float64; NaN where there is no sample.
    """

    label: str
    lead: str
    unit: str
    values: Values


@dataclass(frozen=True, slots=True)
class Group:
    """One multiplex group: channels that were sampled together.

    Attributes:
        label: for people, or "".
        frequency: samples a second.
        channels: in order.
        seconds: that the group lasts in all, also what was not read.
        filters: the pass band in words, or "".
    """

    label: str
    frequency: float
    channels: tuple[Channel, ...]
    seconds: float
    filters: str = ""

    @property
    def read_seconds(self) -> float:
        """How many seconds of it were read."""
        return max((len(channel.values) for channel in self.channels), default=0) / self.frequency


def read(dataset: Mapping[str, Any], bulk: Mapping[str, bytes]) -> list[Group]:
    """Read the waveforms of an object.

    Args:
        dataset: DICOM JSON model with relative BulkDataURIs.
        bulk: what `waveforms.wanted` names, little endian.

    Returns:
        The groups that can be read, with what is there of each.

    Raises:
        Undecodable: there is none.
    """
    found = [group for item in waveforms.groups(dataset) if (group := _group(item, bulk)) is not None]
    if not found:
        raise Undecodable("the waveforms of the object are described in a way that cannot be read, or are empty")
    return found


def _bytes(element: Mapping[str, Any], bulk: Mapping[str, bytes]) -> bytes:
    uri = element.get("BulkDataURI")
    if uri is not None:
        return bulk.get(uri.removeprefix("bulkdata/"), b"")
    try:
        return b64decode(element.get("InlineBinary", ""))
    except (Base64Error, ValueError, TypeError):
        return b""


def _group(item: Mapping[str, Any], bulk: Mapping[str, bytes]) -> Group | None:
    shape = waveforms.read_shape(item)
    if shape is None:
        return None
    kind, count, size = shape.kind, shape.channels, shape.size
    data = _bytes(item.get(waveforms.DATA, {}), bulk)
    samples = min(shape.samples, len(data) // (count * size))
    if samples < 2:
        return None
    raw = np.frombuffer(data, _TYPES[kind], samples * count).reshape(samples, count)
    unused = np.frombuffer(_bytes(item.get("5400100A", {}), bulk)[:size].ljust(size, b"\0"), _TYPES[kind])[0]
    definitions = [one for one in dicomjson.values(item, "003A0200") if isinstance(one, dict)]
    channels = []
    for number in range(min(count, CHANNELS)):
        column = raw[:, number]
        values = _expanded(column, kind)
        if "5400100A" in item:
            values[column == unused] = np.nan
        channels.append(_channel(definitions[number] if number < len(definitions) else {}, number, values))
    label = readable.clean(dicomjson.text(item, "003A0020"))
    seconds = (shape.described or samples) / shape.frequency
    return Group(label, shape.frequency, tuple(channels), seconds, _filters(definitions))


def _expanded(column: NDArray[Any], kind: str) -> Values:
    """Samples as numbers; those of telephony (ITU-T G.711) on a scale from -1 to 1."""
    if kind == "MB":
        mu = ~column.astype(np.uint8)
        loud = ((mu & 15).astype(np.int32) << 1 | 33) << (mu >> 4 & 7)
        return np.where(mu & 128, 33 - loud, loud - 33).astype(np.float64) / 8031
    if kind == "AB":
        law = np.asarray(column, np.uint8) ^ 0x55
        segment = (law >> 4 & 7).astype(np.int32)
        step = (law & 15).astype(np.int32) << 1 | 1
        size = np.where(segment > 0, (step + 32) << np.maximum(segment - 1, 0), step)
        return np.where(law & 128, size, -size).astype(np.float64) / 4032
    return column.astype(np.float64)


def _channel(definition: Mapping[str, Any], number: int, values: Values) -> Channel:
    source = readable.first_code(definition, "003A0208")
    label = readable.clean(dicomjson.text(definition, "003A0203")) or (source.shown if source else "")
    unit = readable.unit(readable.first_code(definition, "003A0211"))
    if "003A0210" in definition:
        factor = real(definition, "003A0210", 1.0) * real(definition, "003A0212", 1.0)
        values = values * factor + real(definition, "003A0213", 0.0)
    else:
        unit = ""
    if unit in _MILLIVOLTS:
        values, unit = values * _MILLIVOLTS[unit], "mV"
    lead = _lead(label) or (_lead(source.shown) if source else "")
    return Channel(label or f"Channel {number + 1}", lead if unit == "mV" else "", unit, values)


def _lead(label: str) -> str:
    """Which of the twelve leads is meant by "Lead aVR", "II", "MDC_ECG_LEAD_V1", "Lead I (Einthoven)"."""
    bare = re.sub(r"\(.*?\)|\bLEAD\b|ECG|MDC|EKG|[_:,\-]", " ", label.upper().replace("_", " "))
    words = bare.split()
    return _LEADS.get(words[0], "") if len(words) == 1 else ""


def _filters(definitions: list[dict[str, Any]]) -> str:
    """The pass band, if it is that of all channels (PS3.3 C.10.9.1.4.3)."""
    bands = {
        (real(one, "003A0220", 0.0), real(one, "003A0221", 0.0), real(one, "003A0222", 0.0)) for one in definitions
    }
    if len(bands) != 1:
        return ""
    low, high, notch = bands.pop()
    band = (
        f"{low:g}–{high:g} Hz" if low and high else f"up to {high:g} Hz" if high else f"from {low:g} Hz" if low else ""
    )
    return ", ".join(part for part in (band, f"notch {notch:g} Hz" if notch else "") if part)
