"""The data that both servers are loaded with: made from a seed, nothing is downloaded."""

import io
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.10.1234"
CT, ENHANCED_CT, ULTRASOUND = (f"1.2.840.10008.5.1.4.1.1.{suffix}" for suffix in ("2", "2.1", "3.1"))


def part10(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Write a data set as a file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = f"{ROOT}.0"
    out = io.BytesIO()
    FileDataset(None, ds, file_meta=meta, preamble=b"\0" * 128).save_as(out, enforce_file_format=True)
    return out.getvalue()


def header(study: int, series: int, number: int, sop_class: str = CT) -> Dataset:
    """Make the attributes of an instance as a CT scanner sends them: about 175 elements."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = f"{ROOT}.{study}.{series}.{number}"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = date_of(study)
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500.000"
    ds.AccessionNumber = f"A{study:08d}"
    ds.Modality = "CT" if study % 3 else "MR"
    ds.Manufacturer = "Benchmark"
    ds.ManufacturerModelName = "Maker"
    ds.InstitutionName = "General Hospital"
    ds.StationName = f"CT{study % 5}"
    ds.ReferringPhysicianName = f"Referrer^Nr{study % 50}"
    ds.StudyDescription = f"CHEST {study % 7}"
    ds.SeriesDescription = f"AXIAL {series}"
    ds.PatientName = f"Family{study % 997}^Given{study % 89}"
    ds.PatientID = f"PID{study:07d}"
    ds.PatientBirthDate = "19600101"
    ds.PatientSex = "F" if study % 2 else "M"
    ds.PatientAge = "060Y"
    ds.StudyInstanceUID = f"{ROOT}.{study}"
    ds.SeriesInstanceUID = f"{ROOT}.{study}.{series}"
    ds.StudyID = str(study)
    ds.SeriesNumber = series
    ds.InstanceNumber = number
    ds.AcquisitionNumber = 1
    ds.ImagePositionPatient = [-250.0, -250.0, -100.0 + 1.25 * number]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.FrameOfReferenceUID = f"{ROOT}.{study}.0"
    ds.SliceLocation = -100.0 + 1.25 * number
    ds.SliceThickness = 1.25
    ds.KVP = 120
    ds.PixelSpacing = [0.9765, 0.9765]
    ds.WindowCenter = [40, -600]
    ds.WindowWidth = [400, 1500]
    ds.RescaleIntercept = -1024
    ds.RescaleSlope = 1
    ds.RescaleType = "HU"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D3000", "SRT", "Chest"
    ds.AnatomicRegionSequence = Sequence([code])
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = f"RP{study}", f"SPS{study}"
    ds.RequestAttributesSequence = Sequence([request])
    for group in (0x0019, 0x0043):
        block = ds.private_block(group, "BENCHMARK 01", create=True)
        for element in range(55):
            block.add_new(element, "DS", f"{number * 0.5 + element:.3f}")
    return ds


def image(ds: Dataset, frames: int, rows: int, columns: int, bits: int = 16) -> Dataset:
    """Add native pixels: a smooth picture with some noise."""
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
    ds.PixelRepresentation = 0
    if frames > 1:
        ds.NumberOfFrames = frames
    picture = _picture(rows, columns) + _noise(int(ds.InstanceNumber), rows, columns)
    kind = np.uint16 if bits == 16 else np.uint8
    one = picture.astype(kind)
    ds.PixelData = b"".join(np.roll(one, frame, axis=1).tobytes() for frame in range(frames))
    return ds


@lru_cache(maxsize=8)
def _picture(rows: int, columns: int) -> "np.ndarray[Any, np.dtype[np.uint16]]":
    y, x = np.mgrid[0:rows, 0:columns]
    picture: np.ndarray[Any, np.dtype[np.uint16]] = (1000 + 500 * np.sin(x / 40.0) + 300 * np.cos(y / 30.0)).astype(
        np.uint16
    )
    return picture


def _noise(number: int, rows: int, columns: int) -> "np.ndarray[Any, np.dtype[np.uint16]]":
    return np.random.default_rng(number).integers(0, 64, (rows, columns), dtype=np.uint16)


def ct_series(study: int, count: int = 200, series: int = 1) -> Iterator[bytes]:
    """CT instances of 525 KB."""
    for number in range(1, count + 1):
        yield part10(image(header(study, series, number), 1, 512, 512))


def small_study(study: int) -> bytes:
    """One instance of about 9 KB."""
    return part10(image(header(study, 1, 1), 1, 40, 40))


def small_studies(count: int) -> Iterator[bytes]:
    """Up to 10,000 studies as `small_study` makes them, numbered from 10,001 and quickly: one is made, and what tells
    them apart has the same length in all."""
    first = 10_001
    made = small_study(first)

    def marks(study: int) -> list[bytes]:
        return [each.encode() for each in (f"{ROOT}.{study}", f"A{study:08d}", f"PID{study:07d}", date_of(study))]

    for study in range(first, first + count):
        one = made
        for old, new in zip(marks(first), marks(study), strict=True):
            one = one.replace(old, new)
        yield one


def date_of(study: int) -> str:
    """The date of a study: spread over fifteen years."""
    return f"20{10 + study % 15}{1 + study // 28 % 12:02d}{1 + study % 28:02d}"


def multi_frame(study: int, frames: int, rows: int, columns: int, bits: int = 16) -> bytes:
    """An enhanced multi-frame object with per-frame functional groups."""
    ds = image(header(study, 1, 1, ENHANCED_CT), frames, rows, columns, bits)
    items = []
    for frame in range(frames):
        item, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-250.0, -250.0, 1.25 * frame]
        item.PlanePositionSequence = Sequence([position])
        content.InStackPositionNumber = frame + 1
        content.DimensionIndexValues = [1, frame + 1]
        item.FrameContentSequence = Sequence([content])
        items.append(item)
    ds.PerFrameFunctionalGroupsSequence = Sequence(items)
    return part10(ds)
