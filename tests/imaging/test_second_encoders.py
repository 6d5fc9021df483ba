"""Frames that DCMTK and GDCM encoded, decoded here; and ours decoded there."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicoms import dataset, part10
from pictures import described, name_of, picture
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import pixel_array
from seconddecoders import program

from dicomweb.imaging import native, targets
from dicomweb.imaging.decode import decode
from dicomweb.imaging.transcode import transcode
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import (
    EXPLICIT,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LS,
    JPEG_LS_LOSSY,
    RLE,
    syntax_of,
)

# pydicom warns of what the others write into headers.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def file_of(data: bytes, syntax: str, format: Format) -> bytes:
    """A CT of one frame."""
    compressed = syntax_of(syntax).encapsulated
    ds = dataset(
        Rows=format.rows,
        Columns=format.columns,
        SamplesPerPixel=format.samples,
        PhotometricInterpretation=format.photometric,
        PlanarConfiguration=format.planar if format.samples > 1 else None,
        BitsAllocated=format.allocated,
        BitsStored=format.stored,
        HighBit=format.high,
        PixelRepresentation=int(format.signed),
        PixelData=encapsulate([data + b"\0" * (len(data) % 2)]) if compressed else data + b"\0" * (len(data) % 2),
    )
    ds["PixelData"].VR = "OB" if compressed or format.allocated == 8 else "OW"
    ds["PixelData"].is_undefined_length = compressed
    return part10(ds, syntax)


def format_of(path: Path) -> tuple[str, Format, bytes]:
    """Transfer syntax, description and only frame of a file."""
    ds = pydicom.dcmread(path)
    format = Format(
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation, int(ds.get("PlanarConfiguration", 0)),
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, bool(ds.PixelRepresentation),
    )  # fmt: skip
    return str(ds.file_meta.TransferSyntaxUID), format, next(generate_frames(ds.PixelData, number_of_frames=1))


GREYS = [described(bits, signed=signed) for bits in (8, 12, 16) for signed in (False, True)]
COLOURS = [described(8, photometric="RGB"), described(8, photometric="YBR_FULL")]

LOSSLESS = [
    *((f"dcmcjpeg +el +sv {value}", format) for value in range(1, 8) for format in GREYS),
    *(("dcmcjpeg +e1", format) for format in [*GREYS, *COLOURS]),
    *((f"dcmcjpls {how}", format) for how in ("", "+is", "+il", "+in") for format in [*GREYS, COLOURS[0]]),
    *(("dcmcrle", format) for format in [*GREYS, *COLOURS]),
    *(
        (f"gdcmconv {how}", format)
        for how in ("--jpeg", "--j2k", "--jpegls", "--rle")
        for format in [*GREYS, COLOURS[0]]
    ),
]
LOSSY = [
    *((f"dcmcjpeg {how} +q 98", described(8)) for how in ("+eb", "+ee", "+es", "+ep")),
    *((f"dcmcjpeg {how} +q 98", described(12)) for how in ("+ee", "+es", "+ep")),
    *(
        (f"dcmcjpeg {how} +q 98 {space}", described(8, photometric="RGB"))
        for how in ("+eb", "+ep")
        for space in ("+cy", "+cr")
    ),
    ("dcmcjpls +en +md 2", described(8)),
    ("dcmcjpls +en +md 2", described(12)),
]


def encoded_by(command: str, format: Format, folder: Path) -> tuple[str, Format, bytes]:
    name, *options = command.split()
    before, after = folder / "before.dcm", folder / "after.dcm"
    before.write_bytes(file_of(native.write(picture(format), format), EXPLICIT, format))
    subprocess.run([program(name), *options, str(before), str(after)], check=True, capture_output=True)
    return format_of(after)


@pytest.mark.parametrize(
    ("command", "format"), LOSSLESS, ids=lambda value: name_of(value) if isinstance(value, Format) else value
)
def test_what_others_encoded_without_loss_is_decoded_without_loss(command: str, format: Format, tmp_path: Path) -> None:
    syntax, there, frame = encoded_by(command, format, tmp_path)
    assert not syntax_of(syntax).lossy
    back, after = decode(frame, syntax, there)
    assert after.photometric == format.photometric
    assert np.array_equal(back, picture(format))


@pytest.mark.parametrize(
    ("command", "format"), LOSSY, ids=lambda value: name_of(value) if isinstance(value, Format) else value
)
def test_what_others_encoded_with_loss_is_nearly_there(command: str, format: Format, tmp_path: Path) -> None:
    syntax, there, frame = encoded_by(command, format, tmp_path)
    back, after = decode(frame, syntax, there)
    assert after.photometric == format.photometric
    apart = np.abs(back.astype(float) - picture(format)).mean()
    assert apart < (3 if format.samples == 1 else 12) * (1 << max(format.stored - 8, 0))


OURS = {
    JPEG_LOSSLESS: ("dcmdjpeg +cn", "gdcmconv --raw"),
    JPEG_LS: ("dcmdjpls", "gdcmconv --raw"),
    RLE: ("dcmdrle", "gdcmconv --raw"),
    JPEG_2000_LOSSLESS: ("gdcmconv --raw",),
    JPEG_BASELINE: ("dcmdjpeg",),
    JPEG_EXTENDED: ("dcmdjpeg",),
    JPEG_LS_LOSSY: ("dcmdjpls",),
}
SMALL = replace(described(8), allocated=16)
READ = [
    (syntax, command, format)
    for syntax, commands in OURS.items()
    for command in commands
    for format in [*GREYS, SMALL, *COLOURS, replace(COLOURS[0], planar=1)]
    if syntax in targets.targets(EXPLICIT, format)
]


@pytest.mark.parametrize(
    ("syntax", "command", "format"), READ, ids=lambda value: name_of(value) if isinstance(value, Format) else str(value)
)
def test_others_decode_what_we_encode(syntax: str, command: str, format: Format, tmp_path: Path) -> None:
    there = targets.described(format, EXPLICIT, syntax)
    frame = transcode(native.write(picture(format), format), EXPLICIT, format, syntax)
    before, after = tmp_path / "before.dcm", tmp_path / "after.dcm"
    before.write_bytes(file_of(frame, syntax, there))
    name, *options = command.split()
    subprocess.run([program(name), *options, str(before), str(after)], check=True, capture_output=True)
    read = pixel_array(pydicom.dcmread(after), raw=True)
    ours, _ = decode(frame, syntax, there)
    assert np.abs(read.astype(float) - ours.astype(float)).max() <= (2 if syntax_of(syntax).lossy else 0)
