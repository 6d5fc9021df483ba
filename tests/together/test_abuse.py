"""Abuse of a running server that no other module tries: many slow connections, searches that take too long, and what
we rest on."""

import contextlib
import io
import logging
import os
import re
import signal
import socket
import time
import tomllib
import zipfile
from pathlib import Path

import commands
import httpx
import pydicom
import pytest
from bridged import bridged
from dicoms import PREFIX, ct
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, StudyRootQueryRetrieveInformationModelFind
from served import Served
from servers import running

from dicomweb.telemetry.lines import JsonLines, TextLines

ROOT = Path(__file__).parent.parent.parent


def test_hundreds_of_slow_connections_leave_the_server_to_others(tmp_path):
    """A06: each has sent half a request head and sends no more."""
    served = Served(tmp_path)
    served.store(ct(1))
    with running(served.client.app) as server, contextlib.ExitStack() as held:
        for _ in range(500):
            slow = held.enter_context(socket.create_connection(("127.0.0.1", server.port), 30))
            slow.sendall(b"GET /dicom-web/studies HTTP/1.1\r\nHost: local")
        answer = httpx.get(f"http://127.0.0.1:{server.port}/dicom-web/studies", timeout=60)
        assert (answer.status_code, len(answer.json())) == (200, 1)


def test_a_search_that_takes_too_long_is_stopped_and_the_key_is_named(tmp_path):
    """A10: over HTTP it is 503 with a sentence, over DIMSE A700; other requests go on."""
    with bridged(tmp_path) as made:
        made.served.store(ct(1))
        engine = made.served.archive.index._engine
        engine._seconds = 1e-9
        with httpx.Client(base_url=f"http://127.0.0.1:{made.web_port}", timeout=60) as client:
            slow = client.get("/dicom-web/studies?PatientName=*e*")
            assert slow.status_code == 503
            assert "limit_query_seconds" in slow.json()["detail"]
            assert "PatientName makes it slow" in slow.json()["detail"]
            assert client.get("/health/live").status_code == 200
            association = made.associate(StudyRootQueryRetrieveInformationModelFind)
            asked = Dataset()
            asked.QueryRetrieveLevel, asked.PatientName, asked.StudyInstanceUID = "STUDY", "*e*", ""
            (status, _), *others = association.send_c_find(asked, StudyRootQueryRetrieveInformationModelFind)
            assert (status.Status, others) == (0xA700, [])
            engine._seconds = 0.0
            assert len(client.get("/dicom-web/studies?PatientName=*e*").json()) == 1
            association.release()


@pytest.mark.parametrize(
    "query",
    ["limit=1000000000", "offset=1000000000", "&".join(["includefield=00100010"] * 500), "PatientName=" + "*?" * 30],
)
def test_searches_for_very_much_are_pages_or_refused(tmp_path, query):
    """A10."""
    served = Served(tmp_path, search_page_limit=2, search_page=2)
    served.store(*(ct(1, study=number) for number in range(1, 5)))
    with running(served.client.app) as server:
        answer = httpx.get(f"http://127.0.0.1:{server.port}/dicom-web/studies?{query}", timeout=60)
    assert answer.status_code in {200, 400}
    assert answer.status_code == 400 or len(answer.json()) <= 2


def test_what_we_rest_on_has_a_floor_where_an_older_one_is_not_safe():
    """A64: before pydicom 3.0.2 and pillow 11 files of strangers do more than they should."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = {
        "pydicom": (3, 0, 2),
        "pynetdicom": (3, 0, 4),
        "pillow": (11,),
        "defusedxml": (0, 7, 1),
        "joserfc": (1, 1),
    }
    for name, least in floors.items():
        (entry,) = [one for one in project["dependencies"] if one.startswith(f"{name}>=")]
        given = tuple(int(number) for number in entry.partition(">=")[2].partition(",")[0].split("."))
        assert given >= least, entry


@pytest.mark.parametrize("reading", ["boundary", "nested", "parts"])
def test_a_body_of_many_parts_or_of_one_in_another_is_refused_and_leaves_nothing(tmp_path, reading):
    """A04."""
    served = Served(tmp_path)
    dicom = 'multipart/related; type="application/dicom"; boundary='
    inner = b"--a\r\nContent-Type: multipart/related; boundary=b\r\n\r\n--b--\r\n--a--\r\n"
    kind, body, status = {
        "boundary": (dicom + "x" * 10_000, b"--" + b"x" * 10_000 + b"--\r\n", 400),
        "nested": (dicom + "a", inner, 415),
        "parts": (dicom + "a", b"--a\r\nContent-Type: application/dicom\r\n\r\n\r\n" * 1_000_000 + b"--a--", 400),
    }[reading]
    with running(served.client.app) as server, httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        answer = client.post("/dicom-web/studies", content=body, headers={"content-type": kind}, timeout=120)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert client.get("/dicom-web/studies", timeout=120).json() == []
    assert not list(served.archive.spool.folder.glob("*"))


@pytest.mark.parametrize("lines", [TextLines, JsonLines])
def test_the_stack_of_an_error_that_nobody_foresaw_names_no_patient(tmp_path, monkeypatch, lines):
    """A58: neither local values nor the texts that Python and databases make of values."""
    served = Served(tmp_path)
    served.store(ct(1, PatientName="CANARYNAME^ZOE", PatientID="CANARYID"))
    found = served.archive.index.search

    def failing(*arguments, **more):
        name = str(found(*arguments, **more))
        try:
            return {}[name]
        except KeyError as error:
            try:
                return int(name)
            except ValueError:
                raise UnicodeEncodeError("ascii", name, 0, 1, name) from error

    monkeypatch.setattr(served.archive.index, "search", failing)
    said = logging.StreamHandler(io.StringIO())
    said.setFormatter(lines())
    ours = logging.getLogger("dicomweb")
    ours.addHandler(said)
    try:
        with running(served.client.app) as server:
            url = f"http://127.0.0.1:{server.port}/dicom-web/studies?PatientID=CANARYID"
            answer = httpx.get(url, timeout=60)
    finally:
        ours.removeHandler(said)
    logged = said.stream.getvalue()
    assert answer.status_code == 500
    for word in ("a request failed", "in failing", "builtins.KeyError", "which led to", "builtins.UnicodeEncodeError"):
        assert word in logged
    assert "CANARY" not in logged + answer.text


def test_the_stack_of_an_error_that_is_not_made_of_values_says_what_it_is():
    try:
        try:
            raise OSError("the disk is away")
        except OSError:
            raise RuntimeError("so nothing goes") from None
    except RuntimeError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), (RuntimeError, error, error.__traceback__))
    assert TextLines().format(record).endswith("builtins.RuntimeError: so nothing goes")


@pytest.fixture
def open_umask():
    """What a careless service manager gives: files are for everybody unless they say otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> list[str]:
    """What in a folder others may open: files whose own mode allows it and to which open folders lead."""
    found = []
    for path in folder.rglob("*"):
        above = [path.parent, *path.parent.parents]
        barred = any(each.stat().st_mode & 0o007 == 0 for each in above if each.is_relative_to(folder))
        if path.is_file() and path.stat().st_mode & 0o077 and not barred:
            found.append(f"{path.relative_to(folder)} {path.stat().st_mode:o}")
    return found


def test_no_file_is_for_others_and_nothing_under_way_outlives_a_kill(tmp_path, open_umask):
    """A59: over HTTP, DIMSE and import, with pictures, refused objects, and an upload that a kill ends."""
    data = tmp_path / "data"
    env = {"ROENTGATE_ACCESS": "true", "ROENTGATE_HTTP_PORT": "0", "ROENTGATE_UNKNOWN_AETS": "everything"}
    key = commands.run(tmp_path, "key", "add", "all", "--role", "admin", **env).stdout.strip()
    who = {"authorization": f"Bearer {key}"}
    with zipfile.ZipFile(tmp_path / "media.zip", "w") as media:
        media.writestr("IM1", ct(1, study=2))
        media.writestr("IM2", ct(2, study=2)[:-300])
    commands.run(tmp_path, "import", "media.zip", status=1, **env)
    study = f"/dicom-web/studies/{PREFIX}.1"
    frame = f"{study}/series/{PREFIX}.1.1/instances/{PREFIX}.1.1.1"

    def root_of(greeting: str) -> str:
        found = re.search(r"(http://127\.0\.0\.1:[0-9]+)/", greeting)
        assert found is not None
        return found[1]

    with commands.started(tmp_path, "up", "--dimse-port", "0", **env) as (process, greeting):
        root = root_of(greeting)
        with httpx.Client(base_url=root, headers=who, timeout=60) as client:
            dicom = {"content-type": "application/dicom"}
            assert client.post("/dicom-web/studies", content=ct(1), headers=dicom).status_code == 200
            assert client.post("/dicom-web/studies", content=ct(3)[:-300], headers=dicom).status_code == 409
            for form in ("image/png", "image/jpeg"):
                assert client.get(f"{frame}/rendered", headers={"accept": form}).status_code == 200
            assert client.get(f"{study}/thumbnail", headers={"accept": "image/jpeg"}).status_code == 200
            accept = 'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.80'
            assert client.get(f"{frame}/frames/1", headers={"accept": accept}).status_code == 200
            assert client.put("/nodes/NEW", json={"aet": "NEW", "host": "127.0.0.1", "port": 1}).status_code < 300
        entity = AE("CT1")
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", commands.dimse_port(greeting), ae_title="ROENTGATE")
        assert association.send_c_store(pydicom.dcmread(io.BytesIO(ct(1, study=3)))).Status == 0
        with socket.create_connection(("127.0.0.1", int(root.rpartition(":")[2])), 30) as half:
            head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
            half.sendall(head.encode() + b"Content-Type: application/dicom\r\nContent-Length: 90000000\r\n\r\n")
            half.sendall(ct(4, PixelData=bytes(40_000_000)))
            while not under_way(data):  # until the server has begun to write it
                assert process.poll() is None
            assert open_to_others(data) == []
            for each in list(commands.family(process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            process.wait(60)
    assert under_way(data)
    with commands.started(tmp_path, "up", "--dimse-port", "0", **env) as (process, greeting):
        rows = httpx.get(f"{root_of(greeting)}/dicom-web/instances", headers=who, timeout=60).json()
        assert len(rows) == 3
        until = time.monotonic() + 60
        while under_way(data) and time.monotonic() < until:  # the first sweep runs beside what is asked
            httpx.get(f"{root_of(greeting)}/health/live", timeout=60)
        assert under_way(data) == []
        assert open_to_others(data) == []


def under_way(data: Path) -> list[str]:
    """Names of files that hold something of what is on its way in."""
    folders = (data / "scratch", data / "bridge" / "spool")
    return [path.name for folder in folders for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
