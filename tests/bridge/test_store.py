"""C-STORE: what arrives lies in the archive as it was sent, and what is not stored is never acknowledged."""

import io
import json
import logging
import time

import dicoms
import pydicom
import pytest
from bridged import Bridged, bridge_to, bridged, needs, run
from dicoms import CT, PREFIX, ct, dataset
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)
from pynetdicom.dimse_primitives import C_STORE
from realdata import needs_real_files, real_files
from served import Served, compressed, written
from servers import running

SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
def system(tmp_path):
    with bridged(tmp_path) as running:
        yield running


def read(data: bytes) -> pydicom.dataset.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


def send(system: Bridged, data: bytes, **more) -> int:
    """Send one file as it is and return the status."""
    ds = read(data)
    association = system.associate(ds.SOPClassUID, syntaxes=[ds.file_meta.TransferSyntaxUID], **more)
    try:
        return send_over(association, data)
    finally:
        association.release()


def send_over(association, data: bytes) -> int:
    """Send the data set of a file byte for byte, which pynetdicom's own send does not."""
    ds = read(data)
    start = data.index(b"DICM") + 4 + 12 + ds.file_meta.FileMetaInformationGroupLength
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    request.DataSet = io.BytesIO(data[start:])
    context = association._get_valid_context(
        ds.SOPClassUID, ds.file_meta.TransferSyntaxUID, "scu", allow_conversion=False
    )
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert answer is not None
    association.last_comment = answer.ErrorComment
    return int(answer.Status)


def body_of(data: bytes) -> bytes:
    meta = read(data).file_meta
    return data[data.index(b"DICM") + 16 + meta.FileMetaInformationGroupLength :]


@pytest.mark.parametrize(
    "data",
    [
        ct(1),
        written(dataset(2), ImplicitVRLittleEndian),
        written(dataset(3), ExplicitVRBigEndian),
        dicoms.part10(dataset(4), DeflatedExplicitVRLittleEndian),
        compressed([b"\xff\xd8 no codestream \xff\xd9"], JPEGLSLossless, 5),
    ],
    ids=["explicit", "implicit", "big endian", "deflated", "compressed"],
)
def test_the_data_set_lies_there_byte_for_byte_with_a_file_meta_group_in_front(system, data):
    assert send(system, data, calling="MODALITY1") == 0
    sent = read(data)
    kept = system.stored(sent.SOPInstanceUID)
    assert body_of(kept) == body_of(data)
    meta = read(kept).file_meta
    assert meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (sent.SOPClassUID, sent.SOPInstanceUID)
    assert meta.SourceApplicationEntityTitle == "MODALITY1"


@pytest.mark.parametrize("held_bytes", [0, 100, 4 << 20])
def test_an_object_is_stored_whole_whether_it_is_held_or_streamed(tmp_path, held_bytes):
    data = ct(1, PixelData=bytes(1 << 20), Rows=512, Columns=1024)
    with bridged(tmp_path, held_bytes=held_bytes, pdu_bytes=8192) as system:
        assert send(system, data) == 0
        assert body_of(system.stored(read(data).SOPInstanceUID)) == body_of(data)


def test_many_objects_share_an_association(system):
    association = system.associate(CT, syntaxes=[ExplicitVRLittleEndian])
    assert [send_over(association, ct(number)) for number in range(1, 21)] == [0] * 20
    association.release()
    assert len(system.instances()) == 20


def test_the_same_object_again_is_a_success_and_other_content_is_kept(system):
    assert [send(system, ct(1)), send(system, ct(1))] == [0, 0]
    assert send(system, ct(1, StudyDescription="OTHER")) == 0
    assert "OTHER" not in str(read(system.stored(f"{PREFIX}.1.1.1")).StudyDescription)
    assert len(system.served.archive.index.others(10)) == 1


def test_an_odd_object_is_stored_with_a_warning(system):
    ds = dataset(1)
    ds.PixelData += bytes(64)
    association = system.associate(CT, syntaxes=[ExplicitVRLittleEndian])
    assert send_over(association, dicoms.part10(ds)) == 0xB007
    assert "more pixel data" in association.last_comment
    association.release()
    assert len(system.instances()) == 1


def test_an_object_that_cannot_be_understood_is_refused_with_a_reason(system, caplog):
    association = system.associate(CT, syntaxes=[ExplicitVRLittleEndian])
    whole = ct(1)
    with caplog.at_level(logging.WARNING):
        assert send_over(association, whole[:-40]) == 0xC000
    assert association.last_comment
    assert "instance refused: TESTER at 127.0.0.1" in caplog.text
    assert send_over(association, ct(2)) == 0  # the association goes on
    association.release()
    assert system.instances() == {f"{PREFIX}.1.1.2"}


def test_a_class_that_is_not_the_contexts_is_refused(system):
    association = system.associate(CT, SECONDARY, syntaxes=[ExplicitVRLittleEndian])
    context = association._get_valid_context(SECONDARY, ExplicitVRLittleEndian, "scu", allow_conversion=False)
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CT, f"{PREFIX}.1.1.1"
    request.DataSet = io.BytesIO(body_of(ct(1)))
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert answer.Status == 0xA900
    association.release()
    assert system.instances() == set()


def test_without_a_web_layer_the_sender_is_told_to_come_again(tmp_path, caplog):
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path) as bridge:
        system = Bridged(None, bridge, 9, tmp_path)
        association = system.associate(CT, syntaxes=[ExplicitVRLittleEndian])
        with caplog.at_level(logging.WARNING):
            assert send_over(association, ct(1)) == 0xA700
        assert "cannot be reached" in association.last_comment
        association.release()


def test_private_classes_are_stored_if_the_setting_says_so(tmp_path):
    private = "1.3.12.2.1107.5.9.1"
    data = ct(1, SOPClassUID=private)
    with bridged(tmp_path, private=True) as system:
        assert send(system, data) == 0
    with bridged(tmp_path / "other" if (tmp_path / "other").mkdir() is None else tmp_path) as system:
        association = system.associate(CT, private)
        assert [each.abstract_syntax for each in association.rejected_contexts] == [private]
        association.release()


@needs("storescu")
def test_storescu_sends_a_folder_in_the_syntaxes_that_its_files_have(system, tmp_path):
    folder = tmp_path / "sent"
    folder.mkdir()
    objects = [
        ct(1),
        ct(2),
        written(dataset(3), ImplicitVRLittleEndian),
        compressed([b"\xff\xd8\xff\xd9"], JPEGLSLossless, 4),
    ]
    for number, data in enumerate(objects):
        (folder / f"{number}.dcm").write_bytes(data)
    run("storescu", "-xt", "-aec", "ROENTGATE", "-R", "127.0.0.1", system.port, "--scan-directories", folder)
    assert len(system.instances()) == 4
    assert body_of(system.stored(f"{PREFIX}.1.1.4")) == body_of(objects[3])


@needs_real_files
def test_real_files_arrive_as_they_were_sent(system):
    chosen = [path for path in real_files() if path.stat().st_size < 1 << 20][::25]
    sent = 0
    for path in chosen:
        data = path.read_bytes()
        try:
            ds = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
            whole = ds.SOPClassUID and ds.SOPInstanceUID and ds.file_meta.TransferSyntaxUID
            start = data.index(b"DICM") + 16 + ds.file_meta.FileMetaInformationGroupLength
        except Exception:  # as odd as they come: not sendable over DIMSE
            continue
        if not whole or not system.bridge.policy.right_for(ds.SOPClassUID):
            continue
        status = send(system, data)
        if status in (0, 0xB007):
            kept = system.served.archive.index.present([ds.SOPInstanceUID]).get(ds.SOPInstanceUID)
            assert kept is not None, path
            assert system.served.archive.storage.read(kept.key).endswith(data[start:]), path
            sent += 1
        else:
            assert status >= 0xA700, path
    assert sent > len(chosen) // 3


@pytest.mark.parametrize("settings", [{}, {"held_bytes": 100}, {"spool": True}], ids=["held", "drafted", "spooled"])
@pytest.mark.parametrize("how", ["outcome", "status"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_server_that_takes_explicit_vr_only_gets_that(tmp_path, syntax, how, settings):
    served = Served(tmp_path / "web")

    async def strict(scope, receive, send):
        """Refuses bodies that name another transfer syntax, one way or the other."""
        messages = []
        while scope["type"] == "http" and scope["method"] == "POST":
            messages.append(await receive())
            if not messages[-1].get("more_body"):
                break
        body = b"".join(message.get("body", b"") for message in messages)
        if body and f"{syntax}\0".encode() in body:
            reason = {"00081197": {"vr": "US", "Value": [0xC122]}}
            item = {"00081150": {"vr": "UI", "Value": [CT]}, "00081155": {"vr": "UI", "Value": ["1.2"]}, **reason}
            model = json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()
            headers = [(b"content-type", b"application/dicom+json"), (b"content-length", str(len(model)).encode())]
            await send({"type": "http.response.start", "status": 409 if how == "outcome" else 415, "headers": headers})
            await send({"type": "http.response.body", "body": model if how == "outcome" else b" " * len(model)})
            return

        async def again():
            return messages.pop(0) if messages else await receive()

        await served.client.app(scope, again, send)

    with (
        running(strict) as server,
        bridge_to(f"http://127.0.0.1:{server.port}/dicom-web", tmp_path, **settings) as bridge,
    ):
        system = Bridged(served, bridge, server.port, tmp_path)
        for number in (2, 1):
            assert send(system, written(dataset(number), syntax)) == 0
        deadline = time.monotonic() + 60
        while bridge.spool is not None and bridge.spool.status()["waiting"]:
            assert time.monotonic() < deadline
        kept = read(system.stored(f"{PREFIX}.1.1.1"))
        assert kept.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        sent = read(ct(1))
        if syntax == ExplicitVRBigEndian:  # whose words `written` leaves as they are
            sent.PixelData = sent.pixel_array.byteswap().tobytes()
        assert Dataset(kept) == Dataset(sent)


@pytest.mark.parametrize("spool", [False, True])
def test_other_content_under_a_known_uid_is_acknowledged_kept_and_listed(tmp_path, spool):
    with bridged(tmp_path, spool=spool) as system:
        association = system.associate(CT)
        for data in (ct(1), ct(1, StudyDescription="OTHER"), ct(2)):
            assert association.send_c_store(pydicom.dcmread(io.BytesIO(data))).Status == 0
        association.release()
        if system.bridge.spool is not None:
            deadline = time.monotonic() + 60
            while system.bridge.spool.status()["waiting"]:
                assert time.monotonic() < deadline
        assert system.instances() == {f"{PREFIX}.1.1.1", f"{PREFIX}.1.1.2"}
        assert "OTHER" not in str(pydicom.dcmread(io.BytesIO(system.stored(f"{PREFIX}.1.1.1"))))
        (conflict,) = system.served.client.get("/conflicts").json()["conflicts"]
        assert conflict["instance"] == f"{PREFIX}.1.1.1"
        kept = system.served.client.get(f"/conflicts/{conflict['version']}").content
        assert pydicom.dcmread(io.BytesIO(kept)).StudyDescription == "OTHER"
        if system.bridge.spool is not None:
            assert system.bridge.spool.status()["refused"] == 0
