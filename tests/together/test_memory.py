"""Memory does not grow with what is stored: neither with the size of a part nor with the number of parts."""

import http.client
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import commands
import pytest
from dicoms import ct, dataset, part10

from dicomweb.standard.multipart import write_end, write_head, write_type

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc of Linux")
MIB = 1 << 20


def grown(served: commands.Served, body: Iterable[bytes]) -> tuple[int, bytes, int]:
    """Send a body; return the status, the answer, and by how many bytes memory grew at most."""
    before = most = commands.memory(served.process.pid)

    def watched() -> Iterator[bytes]:
        nonlocal most
        for number, piece in enumerate(body):
            if number % 32 == 0:
                most = max(most, commands.memory(served.process.pid))
            yield piece

    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
    headers = {"Content-Type": write_type("between", "application/dicom")}
    connection.request("POST", "/dicom-web/studies", watched(), headers, encode_chunked=True)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response.status, answer, max(most, commands.memory(served.process.pid)) - before


def large(mebibytes: int) -> Iterator[bytes]:
    """A body of one part with a multi-frame instance of so much pixel data."""
    empty = part10(dataset(9, Rows=1024, Columns=1024, BitsAllocated=8, NumberOfFrames=mebibytes, PixelData=b""))
    yield write_head("between", "application/dicom", first=True)
    yield empty[:-4] + (mebibytes * MIB).to_bytes(4, "little")
    for number in range(mebibytes):
        yield bytes([number % 256]) * MIB
    yield write_end("between")


def small(count: int) -> Iterator[bytes]:
    """A body of so many parts, all of 50 instances."""
    objects = [ct(number, study=3) for number in range(1, 51)]
    head = write_head("between", "application/dicom")
    for start in range(0, count, 50):
        yield b"".join(head + data for data in objects[: count - start])
    yield write_end("between")


@needs_proc
def test_a_part_of_300_mb_goes_in_with_bounded_memory(tmp_path: Path) -> None:
    with commands.served(tmp_path) as served:
        assert grown(served, small(100))[0] == 200
        status, _, more = grown(served, large(300))
        assert status == 200
        assert more < 64 * MIB, f"grew by {more / MIB:.0f} MiB"
        assert not list(tmp_path.rglob("*.part"))


@needs_proc
def test_thousands_of_parts_go_in_with_bounded_memory(tmp_path: Path) -> None:
    with commands.served(tmp_path) as served:
        assert grown(served, small(100))[0] == 200
        status, answer, more = grown(served, small(20_000))
        assert status == 200
        assert answer.count(b'"00081155"') == 20_000
        assert more < 64 * MIB + 4 * len(answer), f"grew by {more / MIB:.0f} MiB"


@needs_proc
def test_a_server_whose_client_leaves_in_the_middle_keeps_nothing_and_goes_on(tmp_path: Path) -> None:
    with commands.served(tmp_path) as served:
        body = large(64)
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
        connection.putrequest("POST", "/dicom-web/studies")
        connection.putheader("Content-Type", write_type("between", "application/dicom"))
        connection.putheader("Content-Length", str(1 << 30))
        connection.endheaders()
        for _ in range(20):
            connection.send(next(body))
        connection.close()
        assert grown(served, small(50))[0] == 200
        for _ in range(200):  # each request gives the server time to notice
            if not list(tmp_path.rglob("*.part")):
                break
            assert grown(served, small(50))[0] == 200
        assert not list(tmp_path.rglob("*.part"))
