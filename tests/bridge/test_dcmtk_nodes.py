"""DCMTK's servers as nodes: `dcmqrscp` is a PACS with C-FIND, C-GET and C-MOVE, `storescp` takes what comes."""

import io
import warnings

import pydicom
import pytest
import realdata
from bridged import needs
from dcmtk import dcmtk
from dicoms import PREFIX, ct
from exchanged import exchanged
from ports import free_port
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from served import parts

from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import read_head
from dicomweb.standard.syntaxes import DEFLATED

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


# What DCMTK's storescp cannot take, and why; all else arrives
_NOT_TAKEN = {
    "deid-data/deid_data__humans__ctbrain1.dcm": ("aborted", "an element of odd length makes its data set odd"),
    "fo-dicom/FO-DICOM.Benchmark__Data__GH355.dcm": ("does not take objects of SOP class", "a private class"),
    "fo-dicom/Issue1097_FailToOpenDeflatedFileWithSQ.dcm": (
        "does not take objects of SOP class", "a made-up class"
    ),
    "fo-dicom/genFile.dcm": ("does not take objects of SOP class", "a made-up class"),
    "highdicom/seg_image_sm_control_labelmap_palette_color.dcm": (
        "does not take objects of SOP class", "a class that is newer than it"
    ),
}  # fmt: skip
# Transfer syntaxes that it does not take, or that the web has in Explicit VR Little Endian only
_ANOTHER = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian goes out as Explicit",
    "1.2.840.10008.1.2.2": "Big Endian likewise",
    "1.2.840.10008.1.2.4.53": "retired JPEG, unknown to DCMTK",
    "1.2.840.10008.1.2.4.55": "retired JPEG, unknown to DCMTK",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless of any selection value, which it takes with first-order prediction only",
    "1.2.840.10008.1.2.4.110": "JPEG XL is newer than DCMTK",
    "1.2.840.10008.1.2.4.112": "JPEG XL is newer than DCMTK",
    "1.2.840.10008.1.2.4.202": "HTJ2K is newer than DCMTK",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression is newer than DCMTK",
}


@needs("storescp")
@realdata.needs_real_files
def test_real_objects_arrive_at_storescp_as_they_are(tmp_path):
    port, folder = free_port(), tmp_path / "there"
    folder.mkdir()
    with dcmtk("storescp", "+xa", "+B", "-uf", "-od", folder, port, port=port), exchanged(tmp_path / "web") as here:
        here.add_node("STORESCP", **node(port, "STORESCP"))
        names = {}
        for path in [path for path in realdata.real_files() if path.stat().st_size < 1_000_000]:
            data = path.read_bytes()
            names.setdefault(data, str(path.relative_to(realdata.FOLDER)))
            here.client.post("/dicom-web/studies", content=data, headers={"content-type": "application/dicom"})
        held = {one.instance: one for one in here.served.archive.index.walk()}
        studies = [{"study": uid} for uid in sorted({one.study for one in held.values()})]
        job = here.end_of(here.ask("/aets/STORESCP/send", resources=studies))
        stored = {uid: here.served.archive.storage.read(one.key) for uid, one in held.items()}
        told = here.client.get(f"/jobs/{job['id']}/failures?limit=500").json()["failures"]
        failed = {one["instance"]: one["reason"] for one in told}
        for uid, reason in failed.items():
            said, _ = _NOT_TAKEN[names[stored[uid]]]
            assert said in reason, names[stored[uid]]
        arrived = {}
        for path in folder.iterdir():
            syntax, data_set = split(path.read_bytes())
            arrived[read_file_meta_info(path).MediaStorageSOPInstanceUID] = syntax, data_set
        assert set(arrived) == set(held) - set(failed)
        for uid, (syntax, data_set) in arrived.items():
            name = names[stored[uid]]
            own, sent = split(stored[uid])
            if syntax == own:
                assert data_set == sent or (syntax == DEFLATED and data_set == sent + b"\0"), name
                continue
            assert own in _ANOTHER, name
            one = held[uid]
            answer = here.client.get(
                f"/dicom-web/studies/{one.study}/series/{one.series}/instances/{uid}",
                headers={"accept": f"application/dicom; transfer-syntax={syntax}"},
            )
            assert split(answer.content)[1] == data_set, name
            if own == "1.2.840.10008.1.2":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # pydicom's about odd character sets
                    plain, explicit = (
                        pydicom.dcmread(io.BytesIO(each), force=True) for each in (stored[uid], answer.content)
                    )
                    assert values(plain) == values(explicit), name


def split(data: bytes) -> tuple[str, bytes]:
    """Transfer syntax and data set of a Part 10 file."""
    head = read_head(data[: 1 << 16], Limits())
    return head.syntax.uid, data[head.start :]


def values(data_set: Dataset) -> dict[int, object]:
    """All values, which Implicit and Explicit VR Little Endian have alike, as pydicom reads them.
    Group lengths, which say how it was encoded, go."""
    found: dict[int, object] = {}
    for raw in [raw for raw in data_set.elements() if raw.tag.element]:
        whole = data_set[raw.tag]
        found[raw.tag] = [values(item) for item in whole.value] if whole.VR == "SQ" else whole.value or ""
    return found
