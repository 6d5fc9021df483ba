"""What is done over HTTP and DIMSE stands in the audit trail, and nothing about patients in any other log."""

import contextlib
import io
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dicoms
import httpx
import pydicom
from commands import COMMAND, dimse_port, environment, run, run_json
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelFind

STUDY = f"{dicoms.PREFIX}.1"
CANARIES = {
    "PatientName": "CANARYNAME^ZOE",
    "PatientID": "CANARYID4711",
    "PatientBirthDate": "19130317",
    "AccessionNumber": "CANARYACC",
}


@dataclass
class Up:
    """Web server and bridge under way: their ports, and where their log goes."""

    process: "subprocess.Popen[str]"
    folder: Path
    web: int
    dimse: int

    def key(self, role: str) -> dict[str, str]:
        text = run(self.folder, "key", "add", role, "--role", role, ROENTGATE_ACCESS="true").stdout.strip()
        return {"authorization": f"Bearer {text}"}

    def stop(self) -> str:
        """Stop both, and return all that they said."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        return (self.folder / "log").read_text()

    def trail(self) -> list[dict[str, Any]]:
        """Everything that was recorded, checked, in order of time."""
        folder = self.folder / "data" / "audit"
        assert run_json(self.folder, "audit", "verify")["findings"] == []
        told = [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_bytes().splitlines()]
        return sorted(told, key=lambda one: one["time"])


@contextlib.contextmanager
def up(folder: Path) -> Iterator[Up]:
    """Run both, with every word that they have to say, while the context lasts."""
    (folder / "data").mkdir()
    (folder / "data" / "nodes.toml").write_text('[nodes.CT1]\naet = "CT1"\nallow = ["store"]\n')
    env = environment(ROENTGATE_ACCESS="true", ROENTGATE_LOG_LEVEL="debug", ROENTGATE_HTTP_PORT="0")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, "up", "--dimse-port", "0"], cwd=folder, env=env, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        assert process.stdout is not None
        greeting = "".join(iter(process.stdout.readline, "Ctrl-C stops it.\n"))
        web = re.search(r"try .*:([0-9]+)/", greeting)
        assert web is not None
        yield Up(process, folder, int(web[1]), dimse_port(greeting))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_everything_that_is_done_is_recorded_and_no_log_names_a_patient(tmp_path):
    with up(tmp_path) as both:
        root = f"http://127.0.0.1:{both.web}/dicom-web"
        writer, reader, deleter = both.key("write"), both.key("read"), both.key("delete")
        wrong = {"authorization": "Bearer rg_0123456789_" + "CANARYSECRET" * 3 + "1234567"}

        def ask(method: str, path: str, who: dict[str, str], **more: Any) -> httpx.Response:
            return httpx.request(method, f"{root}{path}", headers={**who, **more.pop("headers", {})}, **more)

        dicom = {"content-type": "application/dicom"}
        assert ask("POST", "/studies", writer, content=dicoms.ct(**CANARIES), headers=dicom).status_code == 200
        assert ask("POST", "/studies", writer, content=b"CANARYNAME", headers=dicom).status_code == 400
        search = "/studies?PatientName=CANARYNAME*&PatientID=CANARYID4711&PatientBirthDate=19130317&limit=5"
        assert len(ask("GET", search, reader).json()) == 1
        assert ask("GET", "/studies?StudyDate=CANARYID4711", reader).status_code == 400
        frame = f"/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.1.1/frames/1"
        with httpx.Client(headers=reader) as viewer:  # one connection: each process has a line of its own
            assert [viewer.get(f"{root}{frame}").status_code for _ in range(3)] == [200] * 3
        assert ask("GET", f"/studies/{STUDY}", reader, headers={"accept": "application/zip"}).status_code == 200
        assert ask("GET", "/studies?PatientID=CANARYID4711", wrong).status_code == 401
        assert ask("DELETE", f"/studies/{STUDY}", reader).status_code == 403
        assert ask("GET", "/studies/CANARYNAME/metadata", reader).status_code == 400
        _dimse(both.dimse)
        assert ask("DELETE", f"/studies/{STUDY}?reason=twice", deleter).status_code == 204
        logged = both.stop()
    told = both.trail()
    _check(told)
    assert "refused: CT1" in logged  # the log says what it is to say
    secrets = [who["authorization"].split("_", 2)[2] for who in (writer, reader, deleter, wrong)]
    for canary in (*CANARIES.values(), "CANARY", "19130317", *secrets):
        assert canary not in logged
    # The trail names studies and keys, neither patients nor what was searched for, nor any secret
    kept = json.dumps(told)
    for canary in ("CANARYID", "CANARYACC", "19130317", "ZOE", *secrets):
        assert canary not in kept


def _dimse(port: int) -> None:
    """A modality stores, may not search, and calls somebody else; a workstation searches."""

    def associate(calling: str, sop_class: str, called: str = "ROENTGATE") -> Association:
        entity = AE(calling)
        entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
        return entity.associate("127.0.0.1", port, ae_title=called)

    association = associate("CT1", CTImageStorage)
    ds = pydicom.dcmread(io.BytesIO(dicoms.ct(2, **CANARIES)))
    assert association.send_c_store(ds).Status == 0
    association.release()
    association = associate("WORKSTATION", StudyRootQueryRetrieveInformationModelFind)
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.PatientName, asked.StudyInstanceUID = "STUDY", "CANARYNAME*", ""
    assert len(list(association.send_c_find(asked, StudyRootQueryRetrieveInformationModelFind))) == 2
    association.release()
    assert not associate("CT1", CTImageStorage, "SOMEBODYELSE").is_established


def _check(told: list[dict[str, Any]]) -> None:
    def found(event: str) -> list[dict[str, Any]]:
        return [one for one in told if one["event"] == event]

    assert {one["from"] for one in told if one["event"] not in ("begin", "end", "key add")} == {"127.0.0.1"}
    first, unreadable, by_dimse = found("store")
    assert (first["who"], first["known"], first["outcome"]) == ("write", "key", "success")
    assert (first["studies"], first["stored"], first["refused"]) == ([STUDY], 1, 0)
    assert (unreadable["outcome"], unreadable["stored"], unreadable["refused"]) == ("failed", 0, 1)
    assert (by_dimse["who"], by_dimse["known"], by_dimse["agent"]) == ("bridge", "bridge", "CT1@127.0.0.1")
    assert by_dimse["studies"] == [STUDY]
    query = next(one for one in found("query") if one["status"] == 200)
    assert (query["who"], query["keys"]) == ("read", ["PatientBirthDate", "PatientID", "PatientName", "limit"])
    assert "WORKSTATION@127.0.0.1" in {one.get("agent") for one in found("query")}
    # Three frames are one line, which says of the first; the count comes when the while is over
    frame, odd, again = found("retrieve")
    assert (frame["study"], frame["instance"], frame["path"][-16:]) == (STUDY, f"{STUDY}.1.1", "/frames/{frames}")
    assert (odd["study"], odd["status"], odd["outcome"]) == ("CANARYNAME", 400, "failed")
    assert (again["study"], again["again"]) == (STUDY, 2)
    assert [one["study"] for one in found("export")] == [STUDY]
    (login,) = found("login failure")
    assert (login["who"], login["status"], login["outcome"]) == ("", 401, "refused")
    denied, deleted = found("delete")
    assert (denied["who"], denied["status"], denied["outcome"]) == ("read", 403, "refused")
    assert (deleted["who"], deleted["study"], deleted["outcome"]) == ("delete", STUDY, "success")
    (refusal,) = found("refusal")
    assert (refusal["agent"], refusal["refused"], refusal["known"]) == ("CT1@127.0.0.1", "association", "bridge")
    assert [one["key"] for one in found("key add")] == ["write", "read", "delete"]
    assert found("key add")[0]["known"] == "machine"


def test_a_token_in_the_query_opens_nothing_and_is_written_nowhere(tmp_path):
    with up(tmp_path) as both:
        root = f"http://127.0.0.1:{both.web}"
        shown = both.key("admin")
        key = shown["authorization"].removeprefix("Bearer ")
        for name in ("token", "access_token", "api_key", "x-api-key", "authorization"):
            asked = f"{root}/dicom-web/studies?{name}={key}"
            assert httpx.get(asked).status_code == 401
            sent = httpx.post(asked, content=dicoms.ct(), headers={"content-type": "application/dicom"})
            assert sent.status_code == 401
            assert httpx.get(asked, headers=shown).status_code in (200, 204, 400)
        metrics = httpx.get(f"{root}/metrics", headers=shown)
        assert (metrics.status_code, httpx.get(f"{root}/dicom-web/studies", headers=shown).json()) == (200, [])
        logged = both.stop()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data" / "audit").iterdir()).decode()
    assert len(both.trail()) > 5
    secret = key.split("_", 2)[2]
    for where in (logged, metrics.text, kept):
        assert where
        assert secret not in where
