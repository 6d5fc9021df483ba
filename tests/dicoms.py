"""Small DICOM files, made by pydicom when asked for."""

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
PREFIX = "1.2.826.0.1.3680043.10.1234"


def dataset(number: int = 1, *, study: int = 1, series: int = 1, **attributes: Any) -> Dataset:
    """A small CT instance as a pydicom data set; keyword arguments set or (None) remove attributes."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = f"{PREFIX}.{study}.{series}.{number}"
    ds.StudyDate = "20240131"
    ds.StudyTime = "101500"
    ds.AccessionNumber = f"ACC{study}"
    ds.Modality = "CT"
    ds.ReferringPhysicianName = "Referrer^Rita"
    ds.StudyDescription = "CHEST"
    ds.PatientName = f"Test^Patient{study}"
    ds.PatientID = f"P{study}"
    ds.PatientBirthDate = "19700101"
    ds.PatientSex = "O"
    ds.StudyInstanceUID = f"{PREFIX}.{study}"
    ds.SeriesInstanceUID = f"{PREFIX}.{study}.{series}"
    ds.StudyID = f"S{study}"
    ds.SeriesNumber = series
    ds.InstanceNumber = number
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows = 8
    ds.Columns = 8
    ds.BitsAllocated = 16
    ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 0
    ds.PixelData = (np.arange(64, dtype="<u2") + number).tobytes()
    for keyword, value in attributes.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def part10(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The data set as a Part 10 file in the transfer syntax (pixels must already fit it)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CT)
    meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", f"{PREFIX}.9")
    meta.TransferSyntaxUID = UID(syntax)
    meta.ImplementationClassUID = f"{PREFIX}.0"
    out = io.BytesIO()
    file = FileDataset(None, ds, file_meta=meta, preamble=b"\0" * 128)
    file.save_as(out, enforce_file_format=True)
    return out.getvalue()


def ct(number: int = 1, *, study: int = 1, series: int = 1, **attributes: Any) -> bytes:
    """A small CT instance as a Part 10 file, Explicit VR Little Endian."""
    return part10(dataset(number, study=study, series=series, **attributes))
