"""Rights per node where access control is on, with web server and bridge as they really run: what an application entity
may ask of us, and for which nodes a key may ask of them."""

import io
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import commands
import dicoms
import httpx
import pydicom
import pytest
from pacs import Pacs, pacs
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

FIND, MOVE = StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove
GET = StudyRootQueryRetrieveInformationModelGet
ACCESS = {"ROENTGATE_ACCESS": "true", "ROENTGATE_UNKNOWN_AETS": "refuse", "ROENTGATE_AUDIT_SYNC": "always"}
NODES = """
[nodes.CT1]
allow = ["echo", "store"]
[nodes.READER]
allow = ["find", "move"]
destinations = ["OURS"]
[nodes.OURS]
host = "127.0.0.1"
port = {port}
[nodes.THEIRS]
host = "127.0.0.1"
port = {port}
"""


@dataclass
class World:
    """The server, its ports, and a PACS that is two nodes: OURS and THEIRS."""

    folder: Path
    root: str
    dimse: int
    there: Pacs
    clients: list[httpx.Client] = field(default_factory=list)

    def key(self, name: str, *options: str) -> httpx.Client:
        """A client that shows a key."""
        text = commands.run(self.folder, "key", "add", name, *options, **ACCESS).stdout.strip()
        self.clients.append(httpx.Client(base_url=self.root, timeout=60, headers={"authorization": f"Bearer {text}"}))
        return self.clients[-1]

    def trail(self) -> list[dict[str, Any]]:
        files = sorted((self.folder / "data" / "audit").iterdir())
        return [json.loads(line) for path in files for line in path.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("rights")
    (folder / "data").mkdir()
    with pacs(dicoms.ct(9, study=9)) as there:
        (folder / "data" / "nodes.toml").write_text(NODES.format(port=there.port))
        with commands.started(folder, "up", "--http-port", "0", "--dimse-port", "0", **ACCESS) as (_, greeting):
            found = re.search(r"DICOMweb +(\S+)/dicom-web", greeting)
            assert found is not None
            made = World(folder, found[1], commands.dimse_port(greeting), there)
            yield made
            for client in made.clients:
                client.close()


def status(world: World, calling: str, kind: str, ask: Any) -> int | None:
    """The last status of what an application entity asks for; None where it is not let in or not listened to."""
    entity = AE(calling)
    entity.add_requested_context(kind, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", world.dimse, ae_title="ROENTGATE")
    if not association.is_established:
        return None
    try:
        return int(ask(association))
    finally:
        association.release()


def store(number: int) -> Any:
    ds = pydicom.dcmread(io.BytesIO(dicoms.ct(number)))
    return lambda association: association.send_c_store(ds).Status


def ask_for(level: str = "STUDY") -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = level, f"{dicoms.PREFIX}.1"
    return asked


def find(association: Any) -> int:
    return [one for one, _ in association.send_c_find(ask_for(), FIND)][-1].Status


def move(destination: str) -> Any:
    return lambda association: [one for one, _ in association.send_c_move(ask_for(), destination, MOVE)][-1].Status


def test_an_application_entity_may_what_its_node_says_and_is_recorded_by_name_and_address(world: World) -> None:
    assert status(world, "CT1", CTImageStorage, store(1)) == 0
    assert status(world, "CT1", Verification, lambda one: one.send_c_echo().Status) == 0
    assert status(world, "READER", FIND, find) == 0
    assert status(world, "READER", MOVE, move("OURS")) == 0
    assert f"{dicoms.PREFIX}.1.1.1" in world.there.held
    # and nothing else: 0124 not authorized, A801 destination unknown, or no context, or no association
    for calling, kind, ask in (
        ("CT1", FIND, find),
        ("CT1", MOVE, move("OURS")),
        ("READER", CTImageStorage, store(2)),
        ("READER", MOVE, move("THEIRS")),
        ("STRANGER", Verification, lambda one: one.send_c_echo().Status),
        ("STRANGER", CTImageStorage, store(3)),
        ("STRANGER", FIND, find),
    ):
        assert status(world, calling, kind, ask) not in (0, 0xFF00), (calling, kind)
    rows = world.key("counts", "--role", "read").get("/dicom-web/instances").json()
    assert [row["00080018"]["Value"] for row in rows] == [[f"{dicoms.PREFIX}.1.1.1"]]
    by_bridge = [one for one in world.trail() if one.get("known") == "bridge"]
    assert {one["who"] for one in by_bridge} == {"bridge"}
    agents = {(one["event"], one["agent"]) for one in by_bridge if "agent" in one and one["outcome"] == "success"}
    assert {("store", "CT1@127.0.0.1"), ("query", "READER@127.0.0.1")} <= agents
    assert {one["agent"].partition("@")[0] for one in by_bridge if one["event"] == "refusal"} >= {"STRANGER"}


def test_nobody_but_the_bridge_says_for_whom_he_asks(world: World) -> None:
    reader = world.key("pretends", "--role", "read")
    assert reader.get("/dicom-web/studies", headers={"roentgate-agent": "CT1@10.0.0.1"}).status_code == 200
    record = next(one for one in world.trail() if one.get("who") == "pretends" and one["event"] == "query")
    assert "agent" not in record


def test_a_key_for_one_node_reaches_it_and_no_other(world: World) -> None:
    ours = world.key("ours", "--role", "read", "--role", "write", "--node", "OURS")
    assert [one["name"] for one in ours.get("/aets").json()["aets"]] == ["OURS"]
    assert ours.post("/aets/OURS/echo").json()["ok"] is True
    assert len(ours.get("/aets/OURS/studies").json()) >= 1
    job = ours.post("/aets/OURS/retrieve", json={"resources": [{"study": f"{dicoms.PREFIX}.9"}]})
    assert job.status_code == 202
    deadline = time.monotonic() + 60
    while (told := ours.get(f"/jobs/{job.json()['id']}").json())["state"] != "done":
        assert time.monotonic() < deadline, told
    assert ours.get(f"/dicom-web/studies/{dicoms.PREFIX}.9/metadata").status_code == 200
    asked = len(world.there.asked)
    wanted = {"resources": [{"study": f"{dicoms.PREFIX}.9"}]}
    for method, path, body in (
        ("POST", "echo", None),
        ("POST", "send", wanted),
        ("POST", "retrieve", wanted),
        ("GET", "studies", None),
        ("GET", f"studies/{dicoms.PREFIX}.9/metadata", None),
    ):
        theirs, missing = (ours.request(method, f"/aets/{name}/{path}", json=body) for name in ("THEIRS", "NOBODY"))
        assert theirs.status_code == missing.status_code == 404, path
        assert theirs.text.replace("THEIRS", "NOBODY") == missing.text
    # nor may what is fetched be sent on to another
    onward = {**wanted, "destination": "THEIRS"}
    assert ours.post("/aets/OURS/retrieve", json=onward).status_code == 404
    assert len(world.there.asked) == asked
    assert ours.delete(f"/dicom-web/studies/{dicoms.PREFIX}.9").status_code == 403
    reader = world.key("reads", "--role", "read", "--node", "OURS")
    assert reader.post("/aets/OURS/send", json=wanted).status_code == 403
    narrow = world.key("narrow", "--role", "read", "--role", "write", "--study", f"{dicoms.PREFIX}.9")
    for path in ("/aets", "/jobs", "/aets/OURS/studies"):
        assert narrow.get(path).status_code == 403
