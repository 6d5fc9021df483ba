"""Pixels that ask for gigabytes, hours or a crash cost the request that asked for them (A15, A21): the server answers,
its memory and that of its codec processes stays bounded, and other requests go on meanwhile."""

import http.client
import struct
import sys
import threading
import zlib
from pathlib import Path

import commands
import imagecodecs
import numpy as np
import pytest
from commands import memory
from dicoms import ct
from served import compressed, path_of

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc of Linux")
MIB = 1 << 20
BOUND = 400 * MIB
"""Memory above what the server has at first; the limit of one piece of work is below."""

GREY = np.zeros((16, 16), np.uint8)


def _with_size(codestream: bytes, place: int, form: str, *sizes: int) -> bytes:
    return codestream[:place] + struct.pack(form, *sizes) + codestream[place + struct.calcsize(form) :]


def _jpeg() -> bytes:
    data = imagecodecs.jpeg8_encode(GREY)
    return _with_size(data, data.index(b"\xff\xc0") + 5, ">HH", 65_000, 65_000)


def _lossless() -> bytes:
    data = imagecodecs.ljpeg_encode(GREY)
    return _with_size(data, data.index(b"\xff\xc3") + 5, ">HH", 65_000, 65_000)


def _jpeg_ls() -> bytes:
    data = imagecodecs.jpegls_encode(GREY)
    return _with_size(data, data.index(b"\xff\xf7") + 5, ">HH", 65_000, 65_000)


def _jpeg_2000(data: bytes) -> bytes:
    place = data.index(b"\xff\x51")
    return _with_size(data, place + 6, ">II", 60_000, 60_000)


def _runs(rows: int, columns: int) -> bytes:
    """Run lengths: 2 bytes make 128."""
    return struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * (rows * columns // 128)


def _deflated(size: int) -> bytes:
    squeeze = zlib.compressobj(9, wbits=-15)
    return b"".join(squeeze.compress(bytes(MIB)) for _ in range(size // MIB)) + squeeze.flush()


SMALL = {"Rows": 16, "Columns": 16, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
LARGE = {**SMALL, "Rows": 32_000, "Columns": 32_000}
ALLOWED = {**SMALL, "Rows": 9_000, "Columns": 9_000}
BOMBS: dict[str, tuple[str, list[bytes], dict[str, int]]] = {
    "jpeg": ("1.2.840.10008.1.2.4.50", [_jpeg()], SMALL),
    "jpeg as described": ("1.2.840.10008.1.2.4.50", [_jpeg()], {**LARGE, "Rows": 65_000, "Columns": 65_000}),
    "lossless jpeg": ("1.2.840.10008.1.2.4.70", [_lossless()], LARGE),
    "jpeg-ls": ("1.2.840.10008.1.2.4.80", [_jpeg_ls()], LARGE),
    "jpeg 2000": ("1.2.840.10008.1.2.4.90", [_jpeg_2000(imagecodecs.jpeg2k_encode(GREY, codecformat="j2k"))], LARGE),
    "htj2k": ("1.2.840.10008.1.2.4.201", [_jpeg_2000(imagecodecs.htj2k_encode(GREY))], LARGE),
    "run lengths": ("1.2.840.10008.1.2.5", [_runs(32_000, 32_000)], LARGE),
    "run lengths below the limit": ("1.2.840.10008.1.2.5", [_runs(9_000, 9_000)], ALLOWED),
    "deflated": ("1.2.840.10008.1.2.8.1", [_deflated(1000 * MIB)], SMALL),
    "nothing": ("1.2.840.10008.1.2.4.90", [b"\xff\x4f\xff\x51\0\0"], LARGE),
}  # fmt: skip
ODD: dict[str, dict[str, int]] = {
    "bits": {"BitsStored": 60, "HighBit": 59},
    "samples": {"SamplesPerPixel": 255},
    "frames": {"NumberOfFrames": -3},
    "high bit": {"HighBit": 200},
}


STORED = "multipart/related; type=application/octet-stream; transfer-syntax=*"


def asked(served: commands.Served, path: str, accept: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=100)
    connection.request("GET", f"/dicom-web{path}", headers={"Accept": accept})
    response = connection.getresponse()
    while response.read(MIB):
        pass
    connection.close()
    return response.status


def store(served: commands.Served, data: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=100)
    connection.request("POST", "/dicom-web/studies", data, {"Content-Type": "application/dicom"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


@needs_proc
def test_bombs_get_their_answers_while_others_are_served(tmp_path: Path) -> None:
    limits = {
        "ROENTGATE_LIMIT_CODEC_SECONDS": "20",
        "ROENTGATE_LIMIT_CODEC_BYTES": str(300 * MIB),
        "ROENTGATE_CODEC_PROCESSES": "1",
    }
    with commands.served(tmp_path, **limits) as served:
        plain = ct(1)
        assert store(served, plain) == 200
        before = most = memory(served.process.pid)
        over, others, failed = threading.Event(), 0, []

        def viewer() -> None:
            nonlocal others, most
            while not over.is_set():
                if asked(served, f"{path_of(plain)}/frames/1", "application/octet-stream") != 200:
                    failed.append(1)
                others += 1
                most = max(most, memory(served.process.pid))

        watching = threading.Thread(target=viewer)
        watching.start()
        try:
            found = {}
            for number, (name, (syntax, frames, described)) in enumerate(BOMBS.items(), 10):
                data = compressed(frames, syntax, number, **described)
                assert store(served, data) in {200, 202}, name
                path = path_of(data)
                found[name] = [
                    asked(served, f"{path}/frames/1", "application/octet-stream"),
                    asked(served, f"{path}/frames/1", 'multipart/related; type="image/jphc"'),
                    asked(served, path, 'application/dicom; transfer-syntax=1.2.840.10008.1.2.1'),
                    asked(served, f"{path}/rendered", "image/png"),
                    asked(served, f"{path}/thumbnail", "*/*"),
                    asked(served, f"{path}/frames/1", STORED),
                    asked(served, path, "*/*"),
                ]  # fmt: skip
        finally:
            over.set()
            watching.join()
        below = found.pop("run lengths below the limit")
        assert below[4:] == [200, 200, 200]
        assert set(below) <= {200, 406}, "large, but no larger than is allowed: drawn, or above the limit of memory"
        assert set(found.pop("deflated")) == {200}, "what lies behind the frame is not looked at"
        assert found.pop("htj2k")[1] == 200, "asked for as it is stored"
        assert found == {name: [406, 406, 406, 406, 200, 200, 200] for name in found}
        assert most - before < BOUND, f"grew by {(most - before) / MIB:.0f} MiB"
        assert not failed
        assert others > 20


@needs_proc
def test_descriptions_that_make_no_sense_are_answered_and_harm_nothing(tmp_path: Path) -> None:
    with commands.served(tmp_path) as served:
        for number, (name, odd) in enumerate(ODD.items(), 10):
            pixels = bytes(255 * 64 * 2)
            data = ct(number, **odd, PixelData=pixels)
            if store(served, data) not in {200, 202}:
                continue
            for what in ("rendered", "thumbnail", "frames/1", "pixeldata"):
                assert asked(served, f"{path_of(data)}/{what}", "*/*") in {200, 404, 406}, (name, what)
        assert asked(served, "/studies", "*/*") == 200
