"""Decoders that are not ours: pydicom with its plug-ins, DCMTK, GDCM, FFmpeg.

Each reads one frame of a Part 10 file into an array of numbers, or says why it cannot.
"""

import io
import shutil
import subprocess
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array

from dicomweb.standard.pixels import Format

Picture = NDArray[Any]
Second = Callable[[Path, int, Format, Path], Picture]

_PACKAGES = {
    "dcmdjpeg": "dcmtk",
    "dcmdjpls": "dcmtk",
    "dcmdrle": "dcmtk",
    "dcmconv": "dcmtk",
    "gdcmconv": "libgdcm-tools",
    "ffmpeg": "ffmpeg",
}


def program(name: str) -> str:
    """The path of a program; skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {_PACKAGES[name]}")
    return found


def _read(path: Path | io.BytesIO, number: int, *, raw: bool) -> Picture:
    data = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in data.file_meta:
        data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    return pixel_array(data, index=number - 1, raw=raw)


def pydicom_raw(path: Path, number: int, format: Format, folder: Path) -> Picture:
    """pydicom, colours as they are stored: NumPy, Pillow, OpenJPEG, pylibjpeg-rle."""
    return _read(path, number, raw=True)


def pydicom_rgb(path: Path, number: int, format: Format, folder: Path) -> Picture:
    """pydicom, colours made RGB."""
    return _read(path, number, raw=False)


def _converted(*command: str) -> Callable[[Path, int, Format, Path], Picture]:
    def decode(path: Path, number: int, format: Format, folder: Path) -> Picture:
        made = folder / "native.dcm"
        subprocess.run([program(command[0]), *command[1:], str(path), str(made)], check=True, capture_output=True)
        return _read(made, number, raw=True)

    return decode


def ffmpeg(path: Path, number: int, format: Format, folder: Path) -> Picture:
    """FFmpeg: JPEG, JPEG-LS and JPEG 2000 of its own, JPEG XL by libjxl."""
    codestream = folder / "frame"
    data = pydicom.dcmread(path, force=True)
    count = int(data.get("NumberOfFrames", 1) or 1)
    frames = generate_frames(data.PixelData, number_of_frames=count)
    codestream.write_bytes(next(islice(frames, number - 1, None)))
    pixels = "rgb24" if format.samples == 3 else "gray16le" if format.allocated == 16 else "gray"
    command = [program("ffmpeg"), "-v", "error", "-i", str(codestream), "-f", "rawvideo", "-pix_fmt", pixels, "-"]
    kind = f"<{'i' if format.signed else 'u'}{format.allocated // 8}"
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, kind)


def dcmconv(path: Path, number: int, format: Format, folder: Path) -> Picture:
    """DCMTK, of native pixels: into Explicit VR Little Endian."""
    return _converted("dcmconv", "+te")(path, number, format, folder)


def numpy_cells(path: Path, number: int, format: Format, folder: Path) -> Picture:
    """NumPy alone, of unsigned native samples that fill their cells, for what pydicom finds incomplete."""
    size = format.rows * format.columns * format.samples * format.allocated // 8
    data = pydicom.dcmread(path, force=True).PixelData[size * (number - 1) : size * number]
    return np.frombuffer(data, f"<u{format.allocated // 8}")


def zlib_bits(path: Path, number: int, format: Format, folder: Path) -> Picture:
    """zlib, then bits from the lowest on."""
    data = pydicom.dcmread(path)
    frames = list(generate_frames(data.PixelData, number_of_frames=int(data.NumberOfFrames)))
    return np.unpackbits(np.frombuffer(zlib.decompress(frames[number - 1], -15), "u1"), bitorder="little")


SECOND: dict[str, Second] = {
    "pydicom": pydicom_raw,
    "pydicom-rgb": pydicom_rgb,
    "dcmdjpeg": _converted("dcmdjpeg"),
    "dcmdjpls": _converted("dcmdjpls"),
    "dcmdrle": _converted("dcmdrle"),
    "gdcmconv": _converted("gdcmconv", "--raw"),
    "dcmconv": dcmconv,
    "numpy": numpy_cells,
    "ffmpeg": ffmpeg,
    "zlib": zlib_bits,
}
