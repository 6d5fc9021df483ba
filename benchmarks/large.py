"""One object of hundreds of megabytes or more in and out, once and to four clients at once, and what memory that
takes."""

import socket
import time
from collections.abc import Sequence

from pydicom.uid import ExplicitVRLittleEndian

from benchmarks import data
from benchmarks.client import Call, drive, get
from benchmarks.servers import Server

_STUDY = 99_999
_BOUNDARY = "benchmark-boundary"
AT_ONCE = 4


def _head(frames: int) -> bytes:
    """A file of so many 512x512 frames, up to and without the pixels."""
    ds = data.image(data.header(_STUDY, 1, 1, data.ULTRASOUND), 1, 512, 512)
    ds.NumberOfFrames = frames
    ds.PixelData = b""
    whole = data.part10(ds, ExplicitVRLittleEndian)
    return whole[:-4] + (frames * 512 * 512 * 2).to_bytes(4, "little")


def measure(server: Server, megabytes: int) -> dict[str, float]:
    """Store an object of about so many megabytes, fetch it whole, one frame of it, and by several clients at once.

    Returns:
        Seconds, CPU seconds and peak memory above idle in MB of each.
    """
    frames = max(1, megabytes * 1_000_000 // (512 * 512 * 2))
    head, pixels = _head(frames), frames * 512 * 512 * 2
    opening = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    closing = f"\r\n--{_BOUNDARY}--".encode()
    length = len(opening) + len(head) + pixels + len(closing)
    request = (
        f"POST {server.base}/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/dicom+json\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; boundary={_BOUNDARY}\r\n'
        f"Content-Length: {length}\r\n\r\n"
    ).encode()
    idle = server.memory("Pss")
    server.reset_peak()
    floor = server.peak()
    results: dict[str, float] = {"bytes": float(length), "idle PSS MB": idle / 1e6}

    before, begin = server.cpu(), time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=900) as connection:
        connection.sendall(request + opening + head)
        block = bytes(1 << 20)
        left = pixels
        while left:
            left -= connection.send(block[: min(left, len(block))])
        connection.sendall(closing)
        answer = connection.recv(65536)
    if b" 200 " not in answer.split(b"\r\n")[0]:
        raise SystemExit(f"the large object was not stored: {answer[:500]!r}")
    results |= _spent("in", server, before, begin, floor)

    study = f"{server.base}/studies/{data.ROOT}.{_STUDY}"
    instance = f"{study}/series/{data.ROOT}.{_STUDY}.1/instances/{data.ROOT}.{_STUDY}.1.1"
    whole = get(instance, "multipart/related; type=application/dicom; transfer-syntax=*")
    frame = get(f"{instance}/frames/{frames}", "multipart/related; type=application/octet-stream; transfer-syntax=*")
    for name, calls in (("out", [whole]), ("frame", [frame]), (f"{AT_ONCE} out at once", [whole] * AT_ONCE)):
        results |= _fetch(server, name, calls)
    return {name: round(value, 3) for name, value in results.items()}


def _fetch(server: Server, name: str, calls: Sequence[Call]) -> dict[str, float]:
    server.reset_peak()
    floor, before, begin = server.peak(), server.cpu(), time.monotonic()
    received = drive(server.port, calls, len(calls)).received
    if received < 512 * 512 * 2:
        raise SystemExit(f"the large object did not come back: {received} bytes")
    return _spent(name, server, before, begin, floor)


def _spent(name: str, server: Server, before: float, begin: float, floor: int) -> dict[str, float]:
    return {
        f"{name} s": time.monotonic() - begin,
        f"{name} CPU s": server.cpu() - before,
        f"{name} peak above idle MB": max(0, server.peak() - floor) / 1e6,
    }
