"""Several web processes and bridges on one PostgreSQL and one S3 store are one archive: under a mixed load, while
processes are killed and replaced, nothing that was acknowledged is lost, nothing fails that a client cannot try again,
and in the end each process answers everything with the same bytes.

`make test` takes a short load, the same each time; `make test-long` longer ones.
"""

import io
import itertools
import json
import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dicoms
import httpx
import pydicom
import pytest
from bridged import receiving
from commands import run
from mixedload import MOVE, PART10, Load, Object
from pacs import FIND as FINDS
from pacs import MOVE as MOVES
from pacs import pacs
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from replicated import Replica, Replicas, replicated
from served import parts

COMMITMENT = "1.2.840.10008.1.20.1"
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


# -- versions side by side ------------------------------------------------------------------------------------

EXPANDING = (
    "schema.Step(lambda dialect: ['CREATE TABLE later (id integer)', 'CREATE INDEX later_study ON study (bytes)',"
    " 'ALTER TABLE instance ADD COLUMN later integer NOT NULL DEFAULT 7'])"
)
CONTRACTING = "schema.Step(lambda dialect: ['DROP TABLE later'], contracts=True)"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom's sockets
def test_a_rolling_upgrade_and_its_rollback_fail_no_request(tmp_path: Path) -> None:
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    with (
        receiving([(dicoms.CT, [ExplicitVRLittleEndian])]) as receiver,
        replicated(tmp_path, bridges=1, seed="upgrade") as service,
    ):
        add_node(service.webs[0], "STORESCP", receiver.port)
        load = Load(service, 3, 24, seed=7)
        load.start()
        rolls = [(web, steps) for steps in (EXPANDING, "") for web in service.webs]
        for number, (web, steps) in enumerate(rolls, 1):
            load.reached(number / 5)
            assert web.end(signal.SIGTERM) == 0
            web.start(steps)
            assert [httpx.get(f"{each.url}/health/ready").status_code for each in service.webs] == [200, 200]
        load.finish()
        check_bytes(service, load)
        check_answers(service, load)
        # What takes something away ends the readiness of the version before.
        assert service.webs[0].end(signal.SIGTERM) == 0
        service.webs[0].start(f"{EXPANDING}, {CONTRACTING}")

        def told() -> str:
            detail: str = httpx.get(f"{service.webs[1].url}/health/ready").json().get("detail", "")
            return detail

        until(lambda: "made by a newer Roentgate" in told(), "an old program stays ready", told)
        assert httpx.get(f"{service.webs[0].url}/health/ready").status_code == 200


# -- what concerns one process and is known to all ------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Two web processes and two bridges that stay."""
    with replicated(tmp_path_factory.mktemp("replicas"), ROENTGATE_SWEEP_INTERVAL_SECONDS="1") as made:
        yield made


def stow(web: Replica, *objects: bytes) -> None:
    for data in objects:
        kind = {"Content-Type": "application/dicom"}
        response = httpx.post(f"{web.url}/dicom-web/studies", content=data, headers=kind, timeout=60)
        assert response.status_code == 200, response.text


def add_node(web: Replica, name: str, port: int, **more: Any) -> None:
    node = {"host": "127.0.0.1", "port": port, **more}
    assert httpx.put(f"{web.url}/nodes/{name}", json=node).status_code in (200, 201)


def associate(bridge: Replica, *contexts: str, **more: Any) -> Association:
    entity = AE(more.pop("calling", "TESTER"))
    for context in contexts:
        entity.add_requested_context(context)
    association = entity.associate("127.0.0.1", bridge.port, ae_title="ROENTGATE", **more)
    assert association.is_established
    return association


def ended(web: Replica, number: int) -> dict[str, Any]:
    """A job, once it is over."""

    def job() -> dict[str, Any]:
        told: dict[str, Any] = httpx.get(f"{web.url}/jobs/{number}").json()
        return told

    until(lambda: job()["state"] not in ("waiting", "running"), "a job does not end", job)
    return job()


def test_a_node_that_is_added_at_one_process_is_known_to_all(service: Replicas) -> None:
    stow(service.webs[0], dicoms.ct(1, study=21))
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", f"{dicoms.PREFIX}.21"
    with receiving([(dicoms.CT, [ExplicitVRLittleEndian])], aet="ADDED") as receiver:
        add_node(service.webs[0], "ADDED", receiver.port)
        assert httpx.get(f"{service.webs[1].url}/nodes/ADDED").json()["port"] == receiver.port
        for number, bridge in enumerate(service.bridges, 1):

            def moved(bridge: Replica = bridge) -> bool:  # bridges know it within seconds
                association = associate(bridge, MOVE)
                *_, (answer, _) = association.send_c_move(asked, "ADDED", MOVE)
                association.release()
                return bool(answer.Status == 0)

            until(moved, "a bridge does not come to know the node")
            assert len(receiver.received) == number
    assert httpx.delete(f"{service.webs[1].url}/nodes/ADDED").status_code == 204
    assert httpx.get(f"{service.webs[0].url}/nodes/ADDED").status_code == 404


def test_what_a_node_sends_us_arrives_at_any_bridge_and_either_one_runs_the_job(service: Replicas) -> None:
    studies = range(31, 51)
    objects = [dicoms.ct(1, study=study) for study in studies]
    with pacs(*objects, services=(*FINDS, MOVES)) as there:
        add_node(service.webs[0], "PACS", there.port)
        seen: set[tuple[str, int]] = set()
        for study, (web, bridge) in zip(studies, itertools.cycle(itertools.product(service.webs, service.bridges))):
            there.known["ROENTGATE"] = ("127.0.0.1", bridge.port)
            resources = {"resources": [{"study": f"{dicoms.PREFIX}.{study}"}]}
            response = httpx.post(f"{web.url}/aets/PACS/retrieve", json=resources)
            job = ended(service.webs[0], int(response.headers["location"].rpartition("/")[2]))
            assert (job["state"], job["progress"]["done"]) == ("done", 1), job
            seen.add((job["owner"], bridge.port))
            for each in service.webs:
                found = httpx.get(f"{each.url}/dicom-web/studies/{dicoms.PREFIX}.{study}/instances").json()
                assert len(found) == 1
            if len(seen) == 4:
                break
        assert len(seen) == 4, "each of two bridges ran jobs whose objects arrived at either"


def test_commitment_is_asked_for_at_another_bridge_than_the_one_that_received(service: Replicas) -> None:
    reports: queue.Queue[tuple[int, Dataset]] = queue.Queue()
    entity = AE("MODALITY")
    entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)

    def on_report(event: evt.Event) -> tuple[int, None]:
        reports.put((event.event_type, event.event_information))
        return 0, None

    handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        add_node(service.webs[1], "MODALITY", server.socket.getsockname()[1])
        until(lambda: all(map(knows_modality, service.bridges)), "a bridge does not come to know the node")
        for number, (one, other) in enumerate((service.bridges, service.bridges[::-1]), 1):
            association = associate(one, dicoms.CT, calling="MODALITY")
            sent = dicoms.dataset(number, study=61)
            sent = pydicom.dcmread(io.BytesIO(dicoms.part10(sent)))
            assert association.send_c_store(sent).Status == 0
            association.release()
            item, asked = Dataset(), Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sent.SOPClassUID, sent.SOPInstanceUID
            asked.TransactionUID, asked.ReferencedSOPSequence = f"{dicoms.PREFIX}.99.{number}", [item]
            association = associate(other, COMMITMENT, calling="MODALITY")
            answer, _ = association.send_n_action(asked, 1, COMMITMENT, f"{COMMITMENT}.1")
            assert answer.Status == 0
            association.release()
            kind, told = reports.get(timeout=SECONDS)
            assert (kind, told.TransactionUID) == (1, asked.TransactionUID)
            assert [one.ReferencedSOPInstanceUID for one in told.ReferencedSOPSequence] == [sent.SOPInstanceUID]
    finally:
        server.shutdown()
        server.server_close()


def knows_modality(bridge: Replica) -> bool:
    """Whether a bridge would move to MODALITY what there is of a study; there is nothing (PS3.4 C.4.2.1.5)."""
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", f"{dicoms.PREFIX}.6161"
    association = associate(bridge, MOVE)
    *_, (answer, _) = association.send_c_move(asked, "MODALITY", MOVE)
    association.release()
    return bool(answer.Status != 0xA801)


FORMS = [
    ("", PART10["Accept"]), ("/metadata", "application/dicom+json"), ("/frames/1", "*/*"), ("/frames/1", "image/jp2"),
    ("/rendered", "image/png"), ("/thumbnail", "image/jpeg"), ("/frames/1/rendered", "image/jpeg"),
    ("/bulkdata/7FE00010", "*/*"), ("/pixeldata", "*/*"),
]  # fmt: skip


@pytest.mark.parametrize("level", ["instance", "series", "study"])
def test_what_is_deleted_at_one_process_is_gone_at_the_other_at_once_from_every_cache(
    service: Replicas, level: str
) -> None:
    study = 70 + len(level)
    one, other = service.webs
    stow(one, dicoms.ct(1, study=study), dicoms.ct(2, study=study))
    top = f"/dicom-web/studies/{dicoms.PREFIX}.{study}"
    series = f"{top}/series/{dicoms.PREFIX}.{study}.1"
    paths = {"instance": f"{series}/instances/{dicoms.PREFIX}.{study}.1.1", "series": series, "study": top}
    instance = paths["instance"]
    asked = [(f"{instance}{form}", accept) for form, accept in FORMS]
    asked += [(f"{series}/metadata", "*/*"), (f"{series}/rendered", "image/png"), (f"{top}/rendered", "image/jpeg")]
    with httpx.Client() as client:

        def answers(web: Replica) -> list[httpx.Response]:
            return [client.get(f"{web.url}{path}", headers={"Accept": accept}) for path, accept in asked]

        for _ in range(2):
            assert {response.status_code for response in (*answers(one), *answers(other))} == {200}
        tags = [response.headers.get("etag") for response in answers(other)]
        assert client.delete(f"{one.url}{paths[level]}").status_code == 204
        gone = answers(other)
        count = {"instance": len(FORMS), "series": len(asked) - 1, "study": len(asked)}[level]
        assert [response.status_code for response in gone[:count]] == [410] * count
        for (path, accept), tag in list(zip(asked, tags, strict=True))[:count]:
            again = client.get(f"{other.url}{path}", headers={"Accept": accept, "If-None-Match": tag or "*"})
            assert again.status_code == 410, path
        if level == "instance":  # what is left is made anew, without it
            assert len(client.get(f"{other.url}{series}/metadata").json()) == 1
            (left,) = client.get(f"{other.url}{top}/instances").json()
            assert left["00080018"]["Value"] == [f"{dicoms.PREFIX}.{study}.1.2"]


def test_sweeps_and_checks_of_several_processes_meet_and_harm_nothing(service: Replicas, tmp_path: Path) -> None:
    """Each web process sweeps every second; two checks of all there is run beside it, while objects come and go."""
    kept = [dicoms.ct(number, study=80) for number in range(1, 40)]
    with ThreadPoolExecutor(4) as pool:

        def come_and_go(number: int) -> None:
            web = service.webs[number % 2]
            for turn in range(10):
                study = f"{dicoms.PREFIX}.{90 + number}"
                stow(web, dicoms.ct(turn + 1, study=90 + number))
                assert httpx.delete(f"{service.webs[turn % 2].url}/dicom-web/studies/{study}").status_code == 204
                stow(service.webs[turn % 2], *kept[number * 19 + turn : number * 19 + turn + 2])

        goers = [pool.submit(come_and_go, number) for number in range(2)]
        checks = [pool.submit(run, tmp_path, "verify", "--json", status=None, **service.settings) for _ in range(2)]
        for each in goers:
            each.result()
        for check in checks:  # what goes while it is looked at may be missed, but nothing is damaged
            findings = json.loads(check.result().stdout)["findings"]
            assert {finding["kind"] for finding in findings} <= {"missing", "orphaned"}, findings
    assert json.loads(run(tmp_path, "verify", "--json", **service.settings).stdout)["findings"] == []
    stored = httpx.get(f"{service.webs[0].url}/dicom-web/studies/{dicoms.PREFIX}.80/instances?limit=100").json()
    assert len(stored) == len({data for number in range(2) for data in kept[number * 19 : number * 19 + 11]})
