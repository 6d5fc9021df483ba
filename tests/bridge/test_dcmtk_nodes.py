"""DCMTK's servers as nodes: `dcmqrscp` is a PACS with C-FIND, C-GET and C-MOVE, `storescp` takes what comes."""

import io

import pydicom
import pytest
import realdata
from bridged import needs
from dcmtk import dcmtk, free_port
from dicoms import PREFIX, ct
from exchanged import exchanged
from pydicom.dataset import Dataset
from served import parts

STUDY = f"{PREFIX}.1"


@pytest.fixture
def dcmqrscp(tmp_path):
    """A dcmqrscp that stores and sends, with one move destination, THIRD, at `port + 1`'s place."""
    port, third, area = free_port(), free_port(), tmp_path / "area"
    area.mkdir()
    (tmp_path / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nthird = (THIRD, 127.0.0.1, {third})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQR {area} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with dcmtk("dcmqrscp", "-c", tmp_path / "dcmqrscp.cfg", port=port):
        yield port, third


def node(port, aet="DCMQR"):
    return {"aet": aet, "host": "127.0.0.1", "port": port}


def same(left: Dataset, right: Dataset) -> bool:
    return {one.tag: one.value for one in left} == {one.tag: one.value for one in right}


@needs("dcmqrscp")
def test_a_study_goes_to_dcmqrscp_is_found_there_and_comes_back(tmp_path, dcmqrscp):
    port, _ = dcmqrscp
    with exchanged(tmp_path / "web") as here:
        here.add_node("DCMQR", **node(port))
        assert here.client.post("/aets/DCMQR/echo").json()["ok"]
        objects = [ct(number, PatientName="Müller^Ännchen") for number in range(1, 6)]
        here.served.store(*objects)
        job = here.end_of(here.ask("/aets/DCMQR/send", resources=[{"study": STUDY}]))
        assert job["state"] == "done", job
        here.client.delete(f"/dicom-web/studies/{STUDY}")
        (row,) = here.client.get("/aets/DCMQR/studies?PatientID=P1").json()
        assert row["0020000D"]["Value"] == [STUDY]
        assert row["00100010"]["Value"] == [{"Alphabetic": "Müller^Ännchen"}]
        answer = here.client.get(
            f"/aets/DCMQR/studies/{STUDY}", headers={"accept": 'multipart/related; type="application/dicom"'}
        )
        back = {ds.SOPInstanceUID: ds for ds in (pydicom.dcmread(io.BytesIO(part.data)) for part in parts(answer))}
        assert len(back) == 5
        for data in objects:
            sent = pydicom.dcmread(io.BytesIO(data))
            assert same(back[sent.SOPInstanceUID], sent)
        again = here.end_of(here.ask("/aets/DCMQR/retrieve", resources=[{"study": STUDY}]))
        assert (again["state"], again["progress"]["done"]) == ("done", 5)


@needs("dcmqrscp")
@needs("storescp")
def test_dcmqrscp_sends_to_a_third_party(tmp_path, dcmqrscp):
    port, third = dcmqrscp
    folder = tmp_path / "third"
    folder.mkdir()
    with (
        dcmtk("storescp", "-aet", "THIRD", "+xa", "-od", folder, third, port=third),
        exchanged(tmp_path / "web") as here,
    ):
        here.add_node("DCMQR", **node(port))
        here.add_node("third", **node(third, "THIRD"))
        here.served.store(ct(1), ct(2))
        assert here.end_of(here.ask("/aets/DCMQR/send", resources=[{"study": STUDY}]))["state"] == "done"
        job = here.end_of(here.ask("/aets/DCMQR/retrieve", resources=[{"study": STUDY}], destination="third"))
        assert (job["state"], job["progress"]["done"]) == ("done", 2), job
        assert len(list(folder.iterdir())) == 2


@needs("storescp")
@realdata.needs_real_files
def test_real_objects_arrive_at_storescp_as_they_are(tmp_path):
    port, folder = free_port(), tmp_path / "there"
    folder.mkdir()
    with dcmtk("storescp", "+xa", "+B", "-od", folder, port, port=port), exchanged(tmp_path / "web") as here:
        here.add_node("STORESCP", **node(port, "STORESCP"))
        sent = {}
        for path in [path for path in realdata.real_files() if path.stat().st_size < 1_000_000][::10]:
            answer = here.client.post(
                "/dicom-web/studies", content=path.read_bytes(), headers={"content-type": "application/dicom"}
            )
            if answer.status_code in (200, 202):
                read = pydicom.dcmread(path, force=True)
                sent[read.SOPInstanceUID] = read
        studies = [{"study": uid} for uid in sorted({str(ds.StudyInstanceUID) for ds in sent.values()})]
        job = here.end_of(here.ask("/aets/STORESCP/send", resources=studies))
        failed = {one["instance"] for one in job["progress"]["failures"]}
        arrived = {}
        for path in folder.iterdir():
            read = pydicom.dcmread(path, force=True)
            arrived[read.SOPInstanceUID] = read
        assert set(arrived) == set(sent) - failed
        assert len(failed) <= len(sent) // 10, job["progress"]["failures"]
        kept = [uid for uid, ds in arrived.items() if ds.file_meta.TransferSyntaxUID == syntax_of(sent[uid])]
        assert len(kept) > len(arrived) // 2
        for uid in kept:
            assert arrived[uid].get("PixelData") == sent[uid].get("PixelData")


def syntax_of(ds: Dataset) -> str:
    return str(getattr(ds, "file_meta", Dataset()).get("TransferSyntaxUID", ""))
