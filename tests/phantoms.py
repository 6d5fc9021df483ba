"""Objects that viewers show, whose pictures are known beforehand: four quarters, each of one grey or colour."""

import io
import subprocess
from pathlib import Path
from typing import Any

import dicoms
import imagecodecs
import numpy as np
import numpy.typing as npt
from documents import code, group
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import HTJ2K, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless
from served import compressed

Array = npt.NDArray[Any]

GREYS = (0, 64, 128, 191)
"""What a screen shows of the four values of a phantom through its own window."""
COLOURS = ((200, 30, 40), (30, 180, 60), (40, 60, 210), (220, 210, 50))
SIDE = 64
_VALUES = (0, 250, 500, 750)


def turned(number: int) -> tuple[int, ...]:
    """The greys of slice or frame `number`: top left, top right, bottom left, bottom right."""
    return tuple(GREYS[(quarter + number) % 4] for quarter in range(4))


def quarters(values: Any, side: int = SIDE) -> Array:
    """An array whose quarters have these values."""
    values = np.asarray(values)
    half = side // 2
    return values.reshape(2, 2, *values.shape[1:]).repeat(half, 0).repeat(half, 1)


def _described(study: int, series: int, **attributes: Any) -> dict[str, Any]:
    return {
        "study": study, "series": series, "Rows": SIDE, "Columns": SIDE, "PatientName": "Viewer^Phantom",
        "WindowCenter": "500", "WindowWidth": "1000", "PixelSpacing": [1, 1],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "FrameOfReferenceUID": f"{dicoms.PREFIX}.{study}.99",
        "SliceThickness": "1", "RescaleIntercept": "0", "RescaleSlope": "1", **attributes,
    }  # fmt: skip


def values(number: int) -> Array:
    """Pixels of slice or frame `number`."""
    return quarters([_VALUES[(quarter + number) % 4] for quarter in range(4)]).astype("<u2")


def slices(study: int, count: int = 5, series: int = 1, **attributes: Any) -> list[bytes]:
    """A CT series. `turned` gives the greys of a slice by its Instance Number."""
    return [
        dicoms.ct(
            number, PixelData=values(number).tobytes(), SeriesDescription="Quarters",
            **_described(study, series, ImagePositionPatient=[0, 0, number], **attributes),
        )
        for number in range(1, count + 1)
    ]  # fmt: skip


SYNTAXES: dict[str, str] = {
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
    "HTJ2K": HTJ2K,
}


def encoded(study: int, name: str) -> bytes:
    """A slice whose pixels are compressed without loss."""
    pixels = values(1)
    frame = {
        "RLE": lambda: _rle(pixels),
        "JPEG-LS": lambda: imagecodecs.jpegls_encode(pixels),
        "JPEG 2000": lambda: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", reversible=True),
        "HTJ2K": lambda: imagecodecs.htj2k_encode(pixels),
    }[name]()
    return compressed([frame], SYNTAXES[name], **_described(study, 1, SeriesDescription=name))


def _rle(pixels: Array) -> bytes:
    """RLE as PS3.5 G has it: a segment for the high bytes, one for the low ones."""
    data = pixels.astype(">u2").tobytes()
    segments = [
        b"".join(_packed(data[first::2][row * SIDE : row * SIDE + SIDE]) for row in range(SIDE)) for first in (0, 1)
    ]
    segments = [one + b"\0" * (len(one) % 2) for one in segments]
    offsets = [2, 64, 64 + len(segments[0]), *[0] * 13]
    return np.array(offsets, "<u4").tobytes() + b"".join(segments)


def _packed(row: bytes) -> bytes:
    half = len(row) // 2
    return b"".join(bytes([257 - half, row[start]]) for start in (0, half))


def cine(study: int, frames: int = 12) -> bytes:
    """A multi-frame capture with JPEG frames; `turned` gives the greys of a frame by its number."""
    pictures = [
        imagecodecs.jpeg8_encode(quarters(np.array(turned(number), np.uint8)), level=100)
        for number in range(1, frames + 1)
    ]
    return compressed(
        pictures, JPEGBaseline8Bit,
        **_described(
            study, 1, SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1", Modality="US", BitsAllocated=8, BitsStored=8,
            HighBit=7,
            WindowCenter="128", WindowWidth="256", RescaleSlope=None, RescaleIntercept=None, FrameTime="100",
            ImageOrientationPatient=None, PixelSpacing=None, SeriesDescription="Cine", LossyImageCompression="01",
            LossyImageCompressionMethod="ISO_10918_1",
        ),
    )  # fmt: skip


def _without_pixels(study: int, series: int, **attributes: Any) -> Dataset:
    ds = dicoms.dataset(study=study, series=series, PatientName="Viewer^Phantom", **attributes)
    for keyword in (
        "PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "SamplesPerPixel", "PhotometricInterpretation",
    ):  # fmt: skip
        if keyword not in attributes:
            delattr(ds, keyword)
    return ds


def document(study: int, text: str = "Roentgate") -> bytes:
    """An encapsulated PDF of one page."""
    stream = f"BT /F1 48 Tf 60 400 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 500 500] /Contents 4 0 R /Resources 5 0 R >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(stream), stream),
        b"<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>",
    ]
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    places = []
    for number, one in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, one))
    start = out.tell()
    out.write(b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % start)
    data = out.getvalue()
    ds = _without_pixels(study, 1, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", Modality="DOC")
    ds.SeriesDescription, ds.DocumentTitle, ds.MIMETypeOfEncapsulatedDocument = "Letter", text, "application/pdf"
    ds.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    return dicoms.part10(ds)


def segmentation(study: int, count: int = 5) -> bytes:
    """A segmentation of `slices(study, count)`: the middle of each slice is the one segment."""
    inside = np.zeros((SIDE, SIDE), np.uint8)
    inside[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = 1
    bits = np.packbits(np.tile(inside.ravel(), count), bitorder="little").tobytes()
    ds = dicoms.dataset(
        study=study, series=2, SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG", Rows=SIDE, Columns=SIDE,
        PatientName="Viewer^Phantom", SeriesDescription="Middle", BitsAllocated=1, BitsStored=1, HighBit=0,
        PixelData=bits, NumberOfFrames=count, FrameOfReferenceUID=f"{dicoms.PREFIX}.{study}.99",
        ImageType=["DERIVED", "PRIMARY"],
        SegmentationType="BINARY", ContentLabel="MIDDLE", LossyImageCompression="00", Manufacturer="Roentgate",
        ContentDescription="", ContentCreatorName="A^B", ManufacturerModelName="Phantom", DeviceSerialNumber="1",
        SoftwareVersions="1",
    )  # fmt: skip
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = 1, "Middle", "MANUAL"
    segment.SegmentedPropertyCategoryCodeSequence = code("85756007", "Tissue", "SCT")
    segment.SegmentedPropertyTypeCodeSequence = code("85756007", "Tissue", "SCT")
    segment.RecommendedDisplayCIELabValue = [34885, 53485, 50171]
    ds.SegmentSequence = Sequence([segment])
    ds.ReferencedSeriesSequence = Sequence([_item(
        SeriesInstanceUID=f"{dicoms.PREFIX}.{study}.1",
        ReferencedInstanceSequence=Sequence([_referenced(study, number) for number in range(1, count + 1)]),
    )])  # fmt: skip
    organisation = f"{dicoms.PREFIX}.{study}.98"
    ds.DimensionOrganizationSequence = Sequence([_item(DimensionOrganizationUID=organisation)])
    ds.DimensionIndexSequence = Sequence([_item(
        DimensionOrganizationUID=organisation, DimensionIndexPointer=0x00200032, FunctionalGroupPointer=0x00209113,
    )])  # fmt: skip
    ds.SharedFunctionalGroupsSequence = Sequence([_item(
        PlaneOrientationSequence=Sequence([_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        PixelMeasuresSequence=Sequence([_item(PixelSpacing=[1, 1], SliceThickness="1", SpacingBetweenSlices="1")]),
        SegmentIdentificationSequence=Sequence([_item(ReferencedSegmentNumber=1)]),
    )])  # fmt: skip
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        _item(
            PlanePositionSequence=Sequence([_item(ImagePositionPatient=[0, 0, number])]),
            FrameContentSequence=Sequence([_item(DimensionIndexValues=[number])]),
            DerivationImageSequence=Sequence([_item(
                SourceImageSequence=Sequence([_referenced(study, number, True)]),
                DerivationCodeSequence=code("113076", "Segmentation"),
            )]),
        )
        for number in range(1, count + 1)
    )  # fmt: skip
    return dicoms.part10(ds)


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _referenced(study: int, number: int, source: bool = False) -> Dataset:
    item = _item(ReferencedSOPClassUID=dicoms.CT, ReferencedSOPInstanceUID=f"{dicoms.PREFIX}.{study}.1.{number}")
    if source:
        item.PurposeOfReferenceCodeSequence = code("121322", "Source image for image processing operation")
    return item


def film(study: int, folder: Path, ffmpeg: str) -> bytes:
    """An H.264 video of two seconds whose picture is the four COLOURS."""
    picture = quarters(np.array(COLOURS, np.uint8), 128)
    made = folder / "film.mp4"
    subprocess.run(
        [
            ffmpeg, "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x128", "-r", "25", "-i", "-",
            "-c:v", "libx264", "-pix_fmt", "yuv420p", "-profile:v", "high", "-level", "4.1", "-crf", "10",
            "-colorspace", "bt709", "-movflags", "+faststart", str(made),
        ],
        input=picture.tobytes() * 50, check=True, timeout=60,
    )  # fmt: skip
    ds = dicoms.dataset(
        study=study, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4.1", Modality="XC", Rows=128, Columns=128,
        PatientName="Viewer^Phantom", SeriesDescription="Film", SamplesPerPixel=3, PlanarConfiguration=0,
        PhotometricInterpretation="YBR_PARTIAL_420", BitsAllocated=8, BitsStored=8, HighBit=7, NumberOfFrames=50,
        CineRate=25, FrameTime="40", LossyImageCompression="01", LossyImageCompressionMethod="ISO_14496_10",
    )  # fmt: skip
    ds.PixelData = encapsulate([made.read_bytes()], has_bot=False)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return dicoms.part10(ds, "1.2.840.10008.1.2.4.102")


def tracing(study: int) -> bytes:
    """An ECG of twelve leads."""
    leads = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
    time = np.arange(2500) / 250
    beat = 800 * np.exp(-(((time % 0.8) - 0.3) ** 2) / 0.0004) + 60 * np.sin(2 * np.pi * time)
    samples = np.stack([beat * (1 + lead / 12) for lead in range(12)], 1).astype("<i2")
    ds = _without_pixels(study, 1, SOPClassUID="1.2.840.10008.5.1.4.1.1.9.1.1", Modality="ECG")
    ds.SeriesDescription = "Twelve leads"
    ds.WaveformSequence = Sequence([group(samples, 250, [f"Lead {lead}" for lead in leads])])
    return dicoms.part10(ds)


TILE = 64


def slide(study: int, profile: bytes) -> list[bytes]:
    """A whole slide image in two levels of JPEG tiles, with a label; each quarter has one of COLOURS."""
    levels = []
    for number, side in ((1, 512), (2, 128)):
        picture = quarters(np.array(COLOURS, np.uint8), side)
        tiles = [
            imagecodecs.jpeg8_encode(picture[row : row + TILE, column : column + TILE], level=100, subsampling="444")
            for row in range(0, side, TILE)
            for column in range(0, side, TILE)
        ]
        levels.append(_level(study, number, side, tiles, profile, "VOLUME"))
    return levels


def _level(study: int, number: int, side: int, tiles: list[bytes], profile: bytes, kind: str) -> bytes:
    ds = dicoms.dataset(
        number, study=study, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6", Modality="SM", Rows=TILE, Columns=TILE,
        PatientName="Viewer^Phantom", SeriesDescription="Slide", SamplesPerPixel=3, PlanarConfiguration=0,
        PhotometricInterpretation="YBR_FULL_422", BitsAllocated=8, BitsStored=8, HighBit=7, NumberOfFrames=len(tiles),
        ImageType=["ORIGINAL" if number == 1 else "DERIVED", "PRIMARY", kind, "NONE" if number == 1 else "RESAMPLED"],
        TotalPixelMatrixColumns=side, TotalPixelMatrixRows=side, DimensionOrganizationType="TILED_FULL",
        ImagedVolumeWidth=5.12, ImagedVolumeHeight=5.12, ImagedVolumeDepth=0.001, TotalPixelMatrixFocalPlanes=1,
        NumberOfOpticalPaths=1, SpecimenLabelInImage="NO", BurnedInAnnotation="NO", FocusMethod="AUTO",
        ExtendedDepthOfField="NO", VolumetricProperties="VOLUME", ContainerIdentifier="SLIDE1",
        LossyImageCompression="01",
        FrameOfReferenceUID=f"{dicoms.PREFIX}.{study}.99", AcquisitionDateTime="20240131101500",
        ImageOrientationSlide=[0, -1, 0, -1, 0, 0], PositionReferenceIndicator="SLIDE_CORNER", Manufacturer="Roentgate",
        LossyImageCompressionMethod="ISO_10918_1", LossyImageCompressionRatio=10,
    )  # fmt: skip
    ds.TotalPixelMatrixOriginSequence = Sequence(
        [_item(XOffsetInSlideCoordinateSystem=20, YOffsetInSlideCoordinateSystem=40)]
    )
    path = _item(OpticalPathIdentifier="1", ICCProfile=profile, ColorSpace="SRGB")
    path.IlluminationTypeCodeSequence = code("111744", "Brightfield illumination")
    path.IlluminationColorCodeSequence = code("414298005", "Full Spectrum", "SCT")
    ds.OpticalPathSequence = Sequence([path])
    ds.SpecimenDescriptionSequence = Sequence(
        [
            _item(
                SpecimenIdentifier="S1",
                SpecimenUID=f"{dicoms.PREFIX}.{study}.97",
                SpecimenPreparationSequence=Sequence([]),
            )
        ]
    )
    spacing = 5.12 / side
    ds.SharedFunctionalGroupsSequence = Sequence([_item(
        PixelMeasuresSequence=Sequence([_item(PixelSpacing=[spacing, spacing], SliceThickness="0.001")]),
        WholeSlideMicroscopyImageFrameTypeSequence=Sequence([_item(FrameType=list(ds.ImageType))]),
    )])  # fmt: skip
    ds.DimensionOrganizationSequence = Sequence([_item(DimensionOrganizationUID=f"{dicoms.PREFIX}.{study}.98")])
    ds.PixelData = encapsulate(tiles)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return dicoms.part10(ds, JPEGBaseline8Bit)


def profile() -> bytes:
    """An ICC profile of sRGB, of even length."""
    from PIL import ImageCms

    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data + b"\0" * (len(data) % 2)
