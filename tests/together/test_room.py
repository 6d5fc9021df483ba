"""A server whose disk or quota is used up: nothing more is stored, everything else goes on, and it recovers by itself
(A63)."""

import contextlib
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from bridged import bridged
from commands import served as started
from dicoms import PREFIX, ct
from pydicom.uid import CTImageStorage
from served import Served
from servers import running

from dicomweb.archive import importing, room
from dicomweb.archive.sources import Bounds

FLOOR = 1 << 30


class Disk:
    """What every disk has free."""

    free: int = 10 << 30


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(room, "free_bytes", lambda _: made.free)
    return made


@contextlib.contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[tuple[Served, httpx.Client]]:
    served = Served(folder, **settings)
    with (
        running(served.client.app) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client,
    ):
        yield served, client


def post(client: httpx.Client, *objects: bytes, path: str = "/dicom-web/studies") -> httpx.Response:
    body = b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % one for one in objects) + b"--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    return client.post(path, content=body, headers={"content-type": kind, "accept": "application/dicom+json"})


def reasons(answer: httpx.Response) -> list[int]:
    items = [item for tag in ("00081198", "0008119A") for item in answer.json().get(tag, {}).get("Value", [])]
    return [item["00081197"]["Value"][0] for item in items]


def fresh(served: Served) -> None:
    """Let the next question about health be asked anew."""
    served.client.app.state.readiness._until = 0.0


def test_below_the_floor_nothing_is_stored_and_all_else_goes_on_until_there_is_room(tmp_path, disk):
    with serving(tmp_path) as (served, client):
        assert post(client, ct(1), ct(1, study=2)).status_code == 200
        disk.free = FLOOR - 1
        fresh(served)
        refused = post(client, ct(2))
        assert (refused.status_code, refused.headers["content-type"]) == (507, "application/problem+json")
        sentence = refused.json()["detail"]
        assert "1,073,741,823 bytes free, of which limit_free_bytes keeps 1,073,741,824" in sentence
        assert str(tmp_path) not in refused.text

        study = f"/dicom-web/studies/{PREFIX}.1"
        assert client.get(study, headers={"accept": "application/zip"}).status_code == 200
        assert client.get(f"{study}/rendered", headers={"accept": "image/png"}).status_code == 200
        assert len(client.get("/dicom-web/studies").json()) == 2
        assert client.delete(f"/dicom-web/studies/{PREFIX}.2?reason=room").status_code == 204

        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "writes": "refused"})
        told = client.get("/status").json()
        assert (told["health"]["ready"], told["health"]["writes"]) == (True, False)
        assert "limit_free_bytes" in told["health"]["problem"]
        assert "roentgate_writes_refused 1.0" in client.get("/metrics").text

        disk.free = FLOOR + (1 << 20)
        fresh(served)
        assert post(client, ct(2)).status_code == 200
        assert client.get("/health/ready").json() == {"status": "ready"}
        assert "roentgate_writes_refused 0.0" in client.get("/metrics").text


def test_a_body_that_would_not_leave_the_floor_is_refused_before_it_is_read(tmp_path, disk):
    disk.free = FLOOR + (1 << 20)
    with serving(tmp_path) as (_, client):
        body = ct(1, PixelData=bytes(8 << 20))
        answer = client.post("/dicom-web/studies", content=body, headers={"content-type": "application/dicom"})
        assert answer.status_code == 507
        assert f"the request has {len(body):,}" in answer.json()["detail"]
        assert post(client, ct(1)).status_code == 200
    assert not list(tmp_path.glob("scratch/*.part"))


def test_a_disk_that_runs_out_during_a_body_refuses_the_rest_of_it(tmp_path, disk, monkeypatch):
    """What was stored of the request stays, what comes later is A700: 202 (PS3.18 Table 10.5.3-1)."""
    monkeypatch.setattr("dicomweb.web.stow._BATCH_PARTS", 1)
    with serving(tmp_path) as (served, client):
        store = served.archive.store

        def storing(*args: Any) -> Any:
            found = store(*args)
            disk.free = FLOOR - 1
            return found

        monkeypatch.setattr(served.archive, "store", storing)
        answer = post(client, ct(1), ct(2), ct(3))
        assert answer.status_code == 202
        assert reasons(answer) == [0xA700, 0xA700]
        assert "limit_free_bytes" in answer.headers["warning"]
        assert served.archive.index.counts().instances == 1
        again = post(client, ct(1))
        assert again.status_code == 507


def test_the_quota_refuses_what_does_not_fit_and_deleting_makes_room(tmp_path):
    size = len(ct(1))
    with serving(tmp_path, limit_archive_bytes=2 * size + size // 2) as (served, client):
        partly = post(client, ct(1), ct(2), ct(3))
        assert partly.status_code == 202
        assert reasons(partly) == [0xA700]
        assert f"holds {2 * size:,} bytes of the {2 * size + size // 2:,} that limit_archive_bytes allows" in str(
            partly.headers
        )
        assert post(client, ct(1)).status_code == 200, "what is stored already needs no room"
        whole = post(client, ct(3), ct(4))
        assert (whole.status_code, reasons(whole)) == (507, [0xA700] * 2)
        assert served.archive.index.pending(float("inf")) == []
        assert client.get("/health/ready").json() == {"status": "ready"}, "something smaller may fit"
        told = client.get("/status").json()["storage"]
        assert (told["used"], told["limit"]) == (2 * size, 2 * size + size // 2)
        instance = f"/dicom-web/studies/{PREFIX}.1/series/{PREFIX}.1.1/instances/{PREFIX}.1.1.1"
        assert client.delete(instance).status_code == 204
        assert post(client, ct(3)).status_code == 200


def test_a_quota_that_is_used_up_is_told_by_a_problem_document_and_by_readiness(tmp_path):
    size = len(ct(1))
    with serving(tmp_path, limit_archive_bytes=size) as (_, client):
        assert post(client, ct(1)).status_code == 200
        full = post(client, ct(2))
        assert (full.status_code, full.headers["content-type"]) == (507, "application/problem+json")
        assert "limit_archive_bytes" in full.json()["detail"]
        assert client.get("/health/ready").json() == {"status": "ready", "writes": "refused"}
        measures = client.get("/metrics").text
        for line in ("writes_refused 1.0", f"archive_bytes {float(size)}", f"archive_limit_bytes {float(size)}"):
            assert f"roentgate_{line}\n" in measures
        assert client.delete(f"/dicom-web/studies/{PREFIX}.1").status_code == 204
        assert post(client, ct(2)).status_code == 200


def dataset(number: int) -> Any:
    return pydicom.dcmread(io.BytesIO(ct(number)))


def test_a_device_is_told_to_come_again(tmp_path, disk):
    with bridged(tmp_path) as made:
        association = made.associate(CTImageStorage)
        disk.free = 0
        answer = association.send_c_store(dataset(1))
        assert answer.Status == 0xA700
        assert "limit_free_bytes" in answer.ErrorComment or "bytes free" in answer.ErrorComment
        assert made.instances() == set()
        disk.free = 10 << 30
        assert association.send_c_store(dataset(1)).Status == 0
        association.release()


def test_a_spool_keeps_its_floor_and_takes_nothing_below_it(tmp_path):
    with bridged(tmp_path, spool=True, free_bytes=1 << 60) as made:
        association = made.associate(CTImageStorage)
        assert association.send_c_store(dataset(1)).Status == 0xA700
        assert not list((tmp_path / "bridge" / "spool").glob("*.*"))
        made.bridge.spool._floor = 0  # as if somebody had made room
        assert association.send_c_store(dataset(1)).Status == 0
        association.release()


def test_an_import_stops_with_the_sentence_and_goes_on_later(tmp_path, disk):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.dcm").write_bytes(ct(number))
    served = Served(tmp_path / "data")
    archive = served.archive

    def run() -> list[str]:
        steps = importing.run([folder], archive.spool, archive.store, Bounds(1 << 30, 200), 1, archive.room)
        return [step.state for step in steps]

    disk.free = 0
    with pytest.raises(Exception, match="limit_free_bytes"):
        run()
    disk.free = 10 << 30
    assert run() == ["stored"] * 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("a small disk is mounted by root only")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_real_disk_that_fills_up_and_is_emptied_again(tmp_path, small_disk):
    settings = {"ROENTGATE_DATA": str(small_disk / "data"), "ROENTGATE_LIMIT_FREE_BYTES": "32 MiB"}
    ballast = small_disk / "ballast"
    with (
        started(tmp_path, **settings) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client,
    ):
        assert post(client, ct(1)).status_code == 200
        ballast.write_bytes(bytes(40 << 20))
        refused = post(client, ct(2))
        assert refused.status_code == 507
        assert "limit_free_bytes keeps 33,554,432" in refused.json()["detail"]
        assert client.get(f"/dicom-web/studies/{PREFIX}.1/metadata").status_code == 200
        ballast.unlink()
        assert post(client, ct(2)).status_code == 200
        assert post(client, ct(3, PixelData=bytes(40 << 20))).status_code == 507
