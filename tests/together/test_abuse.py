"""Abuse of a running server that no other module tries: many slow connections, searches that take too long, and what
we rest on."""

import contextlib
import io
import logging
import socket
import tomllib
from pathlib import Path

import httpx
import pytest
from bridged import bridged
from dicoms import ct
from pydicom.dataset import Dataset
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind
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
