"""Structured reports, waveforms and pages as the tests make and read them."""

from html.parser import HTMLParser
from typing import Any

import numpy as np
from dicoms import dataset, part10
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import read_object

VOID = {"meta", "br", "link", "img", "hr", "input"}


def model(ds: Dataset) -> dict[str, Any]:
    """The data set as the server keeps it."""
    return read_object(part10(ds), Limits()).dataset


def bulk(ds: Dataset) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The data set as the server keeps it, and its bulk values."""
    read = read_object(part10(ds), Limits())
    return read.dataset, {path: bytes(read.data[at.start : at.stop]) for path, at in read.layout.bulk.items()}


def code(value: str, meaning: str, scheme: str = "DCM") -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def content(kind: str, name: str = "", relation: str = "CONTAINS", *inside: Dataset, **attributes: Any) -> Dataset:
    """A content item."""
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, kind
    if name:
        item.ConceptNameCodeSequence = code("1", name)
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    if inside:
        item.ContentSequence = Sequence(inside)
    return item


def measured(name: str, value: str, unit: str, *inside: Dataset) -> Dataset:
    amount = Dataset()
    amount.NumericValue, amount.MeasurementUnitsCodeSequence = value, code(unit, unit, "UCUM")
    return content("NUM", name, "CONTAINS", *inside, MeasuredValueSequence=Sequence([amount]))


def image(instance: str, *frames: int) -> Dataset:
    sop = Dataset()
    sop.ReferencedSOPClassUID, sop.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", instance
    if frames:
        sop.ReferencedFrameNumber = list(frames)
    return content("IMAGE", "", "CONTAINS", ReferencedSOPSequence=Sequence([sop]))


def report(*inside: Dataset, name: str = "Chest report", **attributes: Any) -> Dataset:
    """A structured report with this content."""
    ds = dataset(Rows=None, Columns=None, PixelData=None, BitsAllocated=None, **attributes)
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    ds.Modality, ds.ValueType, ds.ContinuityOfContent = "SR", "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = code("126000", name)
    ds.ContentDate, ds.ContentTime = "20240131", "184746"
    ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
    ds.ContentSequence = Sequence(inside)
    return ds


def group(samples: Any, frequency: float, labels: list[str], unit: str = "uV", **attributes: Any) -> Dataset:
    """A multiplex group; samples of shape (samples, channels)."""
    samples = np.asarray(samples)
    item = Dataset()
    item.WaveformOriginality = "ORIGINAL"
    item.NumberOfWaveformSamples, item.NumberOfWaveformChannels = samples.shape
    item.SamplingFrequency = str(frequency)
    item.ChannelDefinitionSequence = Sequence()
    for label in labels:
        channel = Dataset()
        channel.ChannelLabel = label
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = "1", "1"
        channel.ChannelBaseline = "0"
        channel.ChannelSensitivityUnitsSequence = code(unit, unit, "UCUM")
        item.ChannelDefinitionSequence.append(channel)
    item.WaveformBitsAllocated = samples.itemsize * 8
    signed = samples.dtype.kind == "i"
    item.WaveformSampleInterpretation = {1: "SB", 2: "SS", 4: "SL"}[samples.itemsize] if signed else {
        1: "UB", 2: "US", 4: "UL",
    }[samples.itemsize]  # fmt: skip
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    item.add_new(0x54001010, "OB" if samples.itemsize == 1 else "OW", samples.tobytes())
    return item


def waveform(*groups: Dataset, sop_class: str = "1.2.840.10008.5.1.4.1.1.9.1.1", **attributes: Any) -> Dataset:
    """A waveform object."""
    ds = dataset(Rows=None, Columns=None, PixelData=None, BitsAllocated=None, **attributes)
    ds.SOPClassUID, ds.Modality = sop_class, "ECG"
    ds.AcquisitionDateTime = "20240131101500"
    ds.WaveformSequence = Sequence(groups)
    return ds


class Page(HTMLParser):
    """Reads a page and complains about what is not well formed.

    Attributes:
        text: all of it, as people read it.
        tags: every start tag with its attributes, in order.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(data.decode("utf-8"))
        self.close()
        assert self._open == [], f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"nothing to close with {tag}"
        assert self._open[-1] == tag, f"{tag} closes {self._open[-1]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]
