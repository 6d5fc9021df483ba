"""A whole application over memory, with objects stored the way clients store them."""

import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dicoms
import httpx
from asgi import Client
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicomweb.app import build
from dicomweb.archive.archive import Archive, open_archive
from dicomweb.config import Config
from dicomweb.index import Held
from dicomweb.standard.encode import write_meta
from dicomweb.standard.frames import Layout
from dicomweb.standard.multipart import PartData, PartReader, PartStart, boundary_of

BASE = "http://localhost:8080/dicom-web"


@dataclass(frozen=True)
class Part:
    """One part of a multipart answer; header names in lower case."""

    headers: dict[str, str]
    data: bytes


class Served:
    """An application and its client.

    Args:
        folder: for what is under way.
        settings: of the Config, over storage and index in memory.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.config = dataclasses.replace(Config(data=folder, storage="memory:", index="sqlite::memory:"), **settings)
        self.archive: Archive = open_archive(self.config)
        self.client = Client(build(self.config, self.archive))

    def store(self, *objects: bytes) -> None:
        """Store Part 10 objects over STOW-RS, each of which must be taken."""
        for data in objects:
            response = self.client.post(
                "/dicom-web/studies", content=data, headers={"content-type": "application/dicom"}
            )
            assert response.status_code in {200, 202}, response.text

    def layout(self, held: Held) -> Layout:
        """Return where the frames and bulk values of an instance lie."""
        return Layout.from_bytes(self.archive.index.layout(held.version))

    def get(self, path: str, accept: str | None = "*/*", **headers: str) -> httpx.Response:
        """GET a path below /dicom-web; header names with underscores. Accept None sends none."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(f"/dicom-web{path}", headers={"accept": accept, **fields})


def parts(response: httpx.Response) -> list[Part]:
    """Take a multipart answer apart."""
    assert response.status_code in {200, 206}, response.text
    reader = PartReader(boundary_of(response.headers["content-type"]))
    found: list[tuple[dict[str, str], list[bytes]]] = []
    for event in reader.feed(response.content):
        if isinstance(event, PartStart):
            found.append((event.headers, []))
        elif isinstance(event, PartData):
            found[-1][1].append(bytes(event.data))
    reader.finish()
    return [Part(headers, b"".join(data)) for headers, data in found]


def path_of(data: bytes) -> str:
    """Path of the instance below /dicom-web."""
    import pydicom

    ds = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    return f"/studies/{ds.StudyInstanceUID}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}"


def compressed(frames: list[bytes], syntax: str, number: int = 1, *, series: int = 1, **attributes: Any) -> bytes:
    """A small instance whose frames are these bytes, each encapsulated as one fragment."""
    ds = dicoms.dataset(number, series=series, **attributes)
    if len(frames) > 1:
        ds.NumberOfFrames = len(frames)
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return written(ds, syntax)


def written(ds: Dataset, syntax: str) -> bytes:
    """The data set as a Part 10 file in any transfer syntax, also those that pydicom will not write; values of
    bytes are written as they are."""
    if syntax == DeflatedExplicitVRLittleEndian:
        return dicoms.part10(ds, syntax)
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
    write_dataset(out, ds)
    return write_meta(ds.SOPClassUID, ds.SOPInstanceUID, syntax) + out.getvalue()


def multiframe(count: int, number: int = 1, **attributes: Any) -> tuple[bytes, list[bytes]]:
    """A native multi-frame instance, and its frames."""
    frames = [bytes([index % 256, index // 256] * 64) for index in range(count)]
    ds = dicoms.dataset(number, NumberOfFrames=count, PixelData=b"".join(frames), **attributes)
    return dicoms.part10(ds), frames


def with_items(sequence: list[dict[str, Any]]) -> list[Dataset]:
    """Items of a sequence from keyword dictionaries."""
    items = []
    for attributes in sequence:
        item = Dataset()
        for keyword, value in attributes.items():
            setattr(item, keyword, value)
        items.append(item)
    return items
