"""A large object passes through the bridge in a few megabytes, in both directions."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import dimse_port, started
from dicoms import CT, PREFIX, ct

from bridge.association import Limits, connect
from bridge.negotiation import Proposed, Request
from dicomweb.standard.identifiers import write
from dicomweb.standard.syntaxes import EXPLICIT, IMPLICIT

GET = "1.2.840.10008.5.1.4.1.2.2.3"
LEEWAY = 48 << 20


def peak(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+([0-9]+)", status)[1]) * 1024


def large(size: int) -> Iterator[bytes]:
    """The data set of an instance with so many bytes of pixels, in pieces."""
    data = ct(1, Rows=1024, Columns=1024, NumberOfFrames=size >> 21)
    start = data.index(b"DICM") + 16 + int.from_bytes(data[140:144], "little")
    place = data.rindex(b"\xe0\x7f\x10\x00OW")
    yield data[start : place + 8] + size.to_bytes(4, "little")
    for _ in range(size >> 20):
        yield bytes(1 << 20)


@pytest.mark.parametrize("size", [256 << 20, pytest.param(1 << 30, marks=pytest.mark.long)])
def test_a_large_object_is_stored_and_got_in_little_memory(tmp_path, size):
    with started(tmp_path, "serve", "--http-port", "0") as (_, greeting):
        port = re.search(r"try .*:([0-9]+)/", greeting)[1]
        address = ("--dicomweb", f"http://127.0.0.1:{port}/dicom-web", "--dimse-port", "0")
        with started(tmp_path, "bridge", *address) as (bridge, said):
            contexts = (Proposed(1, CT, (EXPLICIT,)), Proposed(3, CT, (IMPLICIT,)), Proposed(5, GET, (EXPLICIT,)))
            asked = Request("MODALITY", "ROENTGATE", contexts, roles={CT: (True, True)})
            association = connect("127.0.0.1", dimse_port(said), asked, Limits(answer_seconds=120.0))
            command = {"AffectedSOPClassUID": CT, "Priority": 0, "CommandField": 1}
            assert association.ask(1, {**command, "AffectedSOPInstanceUID": f"{PREFIX}.1.1.2"}, small())["Status"] == 0
            floor = peak(bridge.pid)
            answer = association.ask(1, {**command, "AffectedSOPInstanceUID": f"{PREFIX}.1.1.1"}, large(size))
            assert answer["Status"] == 0
            level = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "0020000D": {"vr": "UI", "Value": [f"{PREFIX}.1"]}}
            get = association.start(
                5, {**command, "AffectedSOPClassUID": GET, "CommandField": 0x10}, write(level, EXPLICIT)
            )
            received = []
            while (message := association.receive(120.0)) is not None and message.command.get(
                "Status", 0xFF00
            ) == 0xFF00:
                if message.field == 1:
                    received.append(sum(len(piece) for piece in association.data()))
                    association.respond(message, 0)
            assert message.command["MessageIDBeingRespondedTo"] == get["MessageID"]
            assert message.command["Status"] == 0
            assert max(received) > size
            assert peak(bridge.pid) - floor < LEEWAY
            association.release()


def small() -> bytes:
    data = ct(2)
    return data[data.index(b"DICM") + 16 + int.from_bytes(data[140:144], "little") :]
