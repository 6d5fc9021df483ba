"""SIGKILL in the middle of a C-STORE of 200 instances: nothing that was acknowledged with 0000H is missing."""

import json
import os
import random
import re
import signal
import threading
import time
import urllib.request

import pytest
from commands import dimse_port, served, started
from dicoms import CT, PREFIX, ct

from bridge.association import Limits, connect
from bridge.negotiation import Proposed, Request
from dicomweb.errors import PeerLeft, PeerSilent
from dicomweb.standard.syntaxes import EXPLICIT

INSTANCES = 200


def send(port: int, kill, after: int) -> set[str]:
    """Send all instances over one association; `kill` after so many were acknowledged. Return those that were."""
    asked = Request("MODALITY", "ROENTGATE", (Proposed(1, CT, (EXPLICIT,)),))
    association = connect("127.0.0.1", port, asked, Limits(answer_seconds=60.0))
    acknowledged: set[str] = set()
    try:
        for number in range(1, INSTANCES + 1):
            uid = f"{PREFIX}.1.1.{number}"
            if number == after:
                threading.Timer(random.Random(after).random() / 100, kill).start()
            command = {"AffectedSOPClassUID": CT, "CommandField": 1, "Priority": 0, "AffectedSOPInstanceUID": uid}
            data = ct(number)
            start = data.index(b"DICM") + 16 + int.from_bytes(data[140:144], "little")
            if association.ask(1, command, data[start:])["Status"] == 0:
                acknowledged.add(uid)
        association.release()
    except (PeerLeft, PeerSilent):
        pass
    finally:
        association.close()
    return acknowledged


def found(port: int) -> set[str]:
    url = f"http://127.0.0.1:{port}/dicom-web/instances?limit={2 * INSTANCES}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return {row["00080018"]["Value"][0] for row in json.loads(answer.read() or b"[]")}


def until(condition) -> None:
    pause, deadline = threading.Event(), time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "what was acknowledged is missing"
        pause.wait(0.1)


@pytest.mark.parametrize("spool", ["false", "true"])
@pytest.mark.parametrize("victim", ["bridge", "web"])
@pytest.mark.parametrize(
    "after", [20, pytest.param(90, marks=pytest.mark.long), pytest.param(199, marks=pytest.mark.long)]
)
def test_nothing_acknowledged_is_missing_after_a_kill(tmp_path, victim, spool, after):
    with started(tmp_path, "serve", "--http-port", "0") as (web, greeting):
        port = int(re.search(r"try .*:([0-9]+)/", greeting)[1])
        address = ("--dicomweb", f"http://127.0.0.1:{port}/dicom-web", "--dimse-port", "0")
        with started(tmp_path, "bridge", *address, ROENTGATE_SPOOL=spool) as (bridge, said):
            killed = bridge if victim == "bridge" else web
            acknowledged = send(dimse_port(said), lambda: os.kill(killed.pid, signal.SIGKILL), after)
            assert len(acknowledged) >= after - 1
    with served(tmp_path) as again:
        address = ("--dicomweb", f"http://127.0.0.1:{again.port}/dicom-web", "--dimse-port", "0")
        with started(tmp_path, "bridge", *address, ROENTGATE_SPOOL=spool) as (bridge, _):
            if spool == "true":
                until(lambda: acknowledged <= found(again.port))
            assert acknowledged <= found(again.port)
            bridge.send_signal(signal.SIGTERM)
            assert bridge.wait(60) == 0
