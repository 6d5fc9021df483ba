"""Several web processes and bridges on one PostgreSQL and one S3 store are one archive: under a mixed load, while
processes are killed and replaced, nothing that was acknowledged is lost, nothing fails that a client cannot try again,
and in the end each process answers everything with the same bytes.

`make test` takes a short load, the same each time; `make test-long` longer ones.
"""

import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicoms
import httpx
import pytest
from bridged import receiving
from commands import run
from mixedload import PART10, Load, Object
from pydicom.uid import ExplicitVRLittleEndian
from replicated import Replicas, replicated
from served import parts

SECONDS = 120
"""For anything that is waited for."""


def until(condition: Callable[[], bool], why: str, what: Callable[[], object] = lambda: "") -> None:
    """Wait until a condition holds; else say why and what."""
    pause, deadline = threading.Event(), time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{why}: {what()}"
        pause.wait(0.1)


@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom's sockets
@pytest.mark.parametrize(
    ("seed", "senders", "steps"),
    [
        (1, 4, 25),
        *(pytest.param(seed, 6, 400, marks=pytest.mark.long) for seed in (2, 3)),
    ],
)
def test_processes_come_and_go_under_load_and_the_archive_stays_one(
    tmp_path: Path, seed: int, senders: int, steps: int
) -> None:
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    with (
        receiving([(dicoms.CT, [ExplicitVRLittleEndian])]) as receiver,
        replicated(tmp_path, seed=seed, ROENTGATE_SWEEP_INTERVAL_SECONDS="1") as service,
    ):
        node = {"host": "127.0.0.1", "port": receiver.port}
        assert httpx.put(f"{service.webs[0].url}/nodes/STORESCP", json=node).status_code in (200, 201)
        load = Load(service, senders, steps, seed)
        try:
            load.start()
            load.reached(0.15)
            service.webs[0].end(signal.SIGKILL)
            load.reached(0.3)
            service.webs[0].start()
            load.reached(0.45)
            service.bridges[0].end(signal.SIGKILL)
            load.reached(0.6)
            service.bridges[0].start()
            load.reached(0.7)
            assert service.webs[1].end(signal.SIGTERM) == 0
            service.webs[1].start()
            load.reached(0.85)
            assert service.bridges[1].end(signal.SIGTERM) == 0
            service.bridges[1].start()
            load.finish()
            settle(service, load)
            check_bytes(service, load)
            check_answers(service, load)
            check_objects(service, tmp_path)
        except BaseException:
            print(load.held.steps, load.held.again, service.said(), sep="\n")
            raise


def settle(service: Replicas, load: Load) -> None:
    """Let jobs end, and what is left over be swept up."""

    lessened = {one.study for one in load.held.deleted.values()}
    with httpx.Client(timeout=60) as client:

        def left() -> dict[str, int]:
            status = client.get(f"{service.webs[0].url}/status").json()
            found = {**status["jobs"], **{name: status["counts"][name] for name in ("pending", "garbage")}}
            return {name: number for name, number in found.items() if number}

        until(lambda: not left(), "jobs or sweeps do not come to an end", left)
        for number in load.held.jobs:
            job = client.get(f"{service.webs[1].url}/jobs/{number}").json()
            (resource,) = job["task"]["resources"]
            assert job["state"] == "done" or resource["study"] in lessened, job


def check_bytes(service: Replicas, load: Load) -> None:
    """Each acknowledged instance is there, to its last byte, and no other."""
    root = f"{service.webs[0].url}/dicom-web"
    with httpx.Client(timeout=60) as client:
        for one in load.held.objects.values():
            (part,) = parts(client.get(f"{root}{one.path}", headers=PART10))
            assert one.is_what(part.data)
        found = {row["00080018"]["Value"][0] for row in client.get(f"{root}/instances?limit=10000").json()}
    assert found == load.held.objects.keys()


def check_answers(service: Replicas, load: Load) -> None:
    """Each process gives the same bytes."""
    compared = 0
    with httpx.Client(timeout=60) as client:
        for path, accept in questions(load):
            answers = [client.get(f"{web.url}{path}", headers={"Accept": accept}) for web in service.webs]
            assert len({(one.status_code, one.content) for one in answers}) == 1, path
            for name in ("etag", "content-type", "content-length", "link", "warning"):
                assert len({one.headers.get(name) for one in answers}) == 1, (path, name)
            assert answers[0].status_code < 500, (path, answers[0].text)
            compared += len(answers[0].content)
        assert compared

    def counts() -> list[Any]:  # each process counts for itself, every few seconds
        return [httpx.get(f"{web.url}/status").json()["counts"] for web in service.webs]

    until(lambda: all(one == counts()[0] for one in counts()), "counts differ", counts)


def questions(load: Load) -> list[tuple[str, str]]:
    """What is asked of each process, and in which form."""
    everything = "*/*"
    asked = [
        (path, everything)
        for path in (
            "/dicom-web/studies?limit=1000&includefield=all", "/dicom-web/series?limit=1000",
            "/dicom-web/instances?limit=100", "/dicom-web/instances?limit=100&offset=50", "/dicom-web/patients",
            "/dicom-web/studies?PatientName=*atient1*&fuzzymatching=true", "/jobs?limit=1000", "/nodes", "/aets",
            "/deletions?limit=1000", "/conflicts?limit=1000", "/refusals",
        )
    ]  # fmt: skip
    studies = sorted({one.study for one in load.held.objects.values()})
    for study in studies:
        here = f"/dicom-web/studies/{study}"
        asked += [(f"{here}/series", everything), (f"{here}/metadata", everything), (f"/lookup?q={study}", everything)]
        asked += [(here, "application/zip"), (here, PART10["Accept"]), (f"{here}/rendered", "image/jpeg")]
    series = sorted({one.path.partition("/instances/")[0] for one in load.held.objects.values()})
    for path in series:
        here = f"/dicom-web{path}"
        asked += [(f"{here}/instances?includefield=all", everything), (f"{here}/metadata", everything)]
        asked += [(f"{here}/rendered", "image/png"), (here, "application/zip")]
    for one in [*load.held.objects.values()][:60]:
        here = f"/dicom-web{one.path}"
        asked += [
            (f"{here}/frames/1", everything),
            (f"{here}/frames/1", "image/jp2"),
            (f"{here}/rendered", "image/png"),
        ]
        asked += [
            (f"{here}/bulkdata/00281201", everything),
            (f"{here}/thumbnail", everything),
            (here, "application/zip"),
        ]
        asked += [(f"{here}/metadata", "application/dicom+xml"), (f"/lookup?q={one.uid}", everything)]
        asked += [(_wado(one), everything)]
    for one in [*load.held.deleted.values()][:20]:
        asked += [(f"/dicom-web{one.path}{form}", everything) for form in ("", "/frames/1", "/metadata", "/rendered")]
    return asked


def _wado(one: Object) -> str:
    named = f"studyUID={one.study}&seriesUID={one.series}&objectUID={one.uid}"
    return f"/wado?requestType=WADO&{named}&contentType=image/png"


def check_objects(service: Replicas, folder: Path) -> None:
    """Index and store agree: each object has its digest, and none is there of which no row tells."""
    found = json.loads(run(folder, "verify", "--json", **service.settings).stdout)
    assert not found.get("findings"), found
