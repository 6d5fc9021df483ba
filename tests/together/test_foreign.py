"""The bridge in front of somebody else's DICOMweb server: Orthanc with its plug-in, when installed."""

import io
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from bridged import Bridged, bridge_to
from commands import dimse_port, run_json, started
from dicoms import CT, PREFIX, ct, dataset
from pacs import pacs
from ports import free_port
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from served import written

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
pytestmark = pytest.mark.skipif(
    shutil.which("Orthanc") is None or not PLUGIN.exists(),
    reason="no Orthanc with DICOMweb: apt-get install orthanc orthanc-dicomweb",
)
STUDY_FIND, STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """The root of Orthanc's DICOMweb services."""
    folder = tmp_path_factory.mktemp("orthanc")
    port = free_port()
    settings = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        url, pause, deadline = f"http://127.0.0.1:{port}/dicom-web", threading.Event(), time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/studies", timeout=10).close()
                break
            except OSError:
                assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                pause.wait(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def keys(**values) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def test_devices_store_find_and_get_there(orthanc, tmp_path):
    objects = [ct(1), ct(2), written(dataset(3), ImplicitVRLittleEndian), ct(1, study=2)]
    with bridge_to(orthanc, tmp_path) as bridge:
        system = Bridged(None, bridge, 0, tmp_path)
        association = system.associate(CT, syntaxes=[ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        for number, data in enumerate(objects):
            path = tmp_path / f"{number}.dcm"
            path.write_bytes(data)
            assert association.send_c_store(path).Status == 0
        association.release()

        association = system.associate(STUDY_FIND, PATIENT_FIND)
        query = keys(
            QueryRetrieveLevel="STUDY", PatientName="Test*", StudyInstanceUID="", NumberOfStudyRelatedInstances=""
        )
        found = [
            each for status, each in association.send_c_find(query, STUDY_FIND) if status.Status in (0xFF00, 0xFF01)
        ]
        assert {str(one.StudyInstanceUID) for one in found} == {f"{PREFIX}.1", f"{PREFIX}.2"}
        query = keys(QueryRetrieveLevel="PATIENT", PatientID="", PatientName="")
        found = [
            each for status, each in association.send_c_find(query, PATIENT_FIND) if status.Status in (0xFF00, 0xFF01)
        ]
        assert sorted(one.PatientID for one in found) == ["P1", "P2"]
        association.release()

        received: list[str] = []

        def store(event: evt.Event) -> int:
            received.append(str(event.request.AffectedSOPInstanceUID))
            return 0

        association = system.associate(
            STUDY_GET, CT, ext_neg=[build_role(CT, scp_role=True)], evt_handlers=[(evt.EVT_C_STORE, store)]
        )
        query = keys(QueryRetrieveLevel="STUDY", StudyInstanceUID=f"{PREFIX}.1")
        statuses = [status for status, _ in association.send_c_get(query, STUDY_GET)]
        association.release()
        assert statuses[-1].Status == 0
        assert sorted(received) == [f"{PREFIX}.1.1.{number}" for number in (1, 2, 3)]


def test_jobs_send_from_there_and_bring_back(orthanc, tmp_path):
    objects = [ct(number, study=4) for number in (1, 2)]
    with pacs(ct(1, study=5), ct(2, study=5)) as there:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "nodes.toml").write_text(f'[nodes.PACS]\nhost = "127.0.0.1"\nport = {there.port}\n')
        options = ("--dicomweb", orthanc)
        with started(tmp_path, "bridge", *options, "--dimse-port", "0", ROENTGATE_BRIDGE_TOKEN="SECRET") as (_, said):
            entity = AE("TESTER")
            entity.add_requested_context(CT)
            association = entity.associate("127.0.0.1", dimse_port(said), ae_title="ROENTGATE")
            for data in objects:
                assert association.send_c_store(dcmread(io.BytesIO(data))).Status == 0
            association.release()
            for command, study in (("send", 4), ("retrieve", 5), ("send", 5)):
                added = run_json(tmp_path, command, "PACS", "--study", f"{PREFIX}.{study}", "--job", *options)
                (job,) = run_json(tmp_path, "jobs", "--follow", added["id"], *options)
                assert (job["state"], job["progress"]["done"]) == ("done", 2)
            again = run_json(tmp_path, "retrieve", "PACS", "--study", f"{PREFIX}.5", "--job", *options)
            (job,) = run_json(tmp_path, "jobs", "--follow", again["id"], *options)
            assert job["progress"]["skipped"] == 2
        assert {f"{PREFIX}.4.1.1", f"{PREFIX}.4.1.2"} <= set(there.held)
        assert len(run_json(tmp_path, "jobs", "--state", "done", *options)) == 4
