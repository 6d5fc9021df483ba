"""`/metrics`: what is counted, under which names, and what never is."""

import json
import logging
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable

import dicoms
import faultys3
import postgresql
import pytest
from asgi import Client
from commands import served as serving
from prometheus_client.parser import text_string_to_metric_families
from served import Served

from dicomweb.access import keys
from dicomweb.access.keys import Key
from dicomweb.app import build
from dicomweb.archive.archive import open_archive
from dicomweb.config import Config
from dicomweb.errors import Unavailable
from dicomweb.telemetry import exposition, measures
from dicomweb.telemetry.lines import JsonLines
from dicomweb.web.routes import TABLE

REQUESTS = "roentgate_http_request_duration_seconds_count"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def read(text: str) -> Callable[..., float]:
    """Return what looks a sample up by its name and labels; what is not there is 0."""
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return lambda name, **labels: found.get((name, frozenset(labels.items())), 0.0)


def scrape(served: Served) -> Callable[..., float]:
    answer = served.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return read(answer.text)


def test_requests_count_under_their_route_method_and_class_of_status(tmp_path):
    served = Served(tmp_path)
    before = scrape(served)
    served.store(dicoms.ct(1))
    uid = dicoms.PREFIX
    served.get(f"/studies/{uid}.1/series/{uid}.1.1/instances/{uid}.1.1.1/frames/1")
    served.get("/studies/1.2.3/metadata")
    served.client.get("/nothing/1.2.3")
    served.client.request("BREW", "/dicom-web/studies")
    after = scrape(served)
    root = "/dicom-web/studies"
    frames = f"{root}/{{study}}/series/{{series}}/instances/{{instance}}/frames/{{frames}}"
    for labels in (
        {"route": root, "method": "POST", "status": "2xx"},
        {"route": frames, "method": "GET", "status": "2xx"},
        {"route": f"{root}/{{study}}/metadata", "method": "GET", "status": "4xx"},
        {"route": "other", "method": "GET", "status": "4xx"},
        {"route": root, "method": "other", "status": "4xx"},
    ):
        assert after(REQUESTS, **labels) - before(REQUESTS, **labels) == 1, labels
    sent = "roentgate_http_response_bytes_total"
    assert after(sent, route=frames) - before(sent, route=frames) > len(dicoms.ct(1)) // 2


def test_a_path_that_is_written_oddly_counts_under_its_route_all_the_same(tmp_path):
    served = Served(tmp_path, path_prefix="/pacs")
    before = scrape(served)
    served.client.get("/pacs//dicom-web/studies/")
    labels = {"route": "/dicom-web/studies", "method": "GET", "status": "2xx"}
    assert scrape(served)(REQUESTS, **labels) - before(REQUESTS, **labels) == 1


def test_labels_are_from_our_own_lists_whatever_is_asked(tmp_path):
    served = Served(tmp_path)
    served.store(dicoms.ct(1, PatientName="CANARY^JANE", PatientID="CANARY-7"))
    for path in (
        "/dicom-web/studies?PatientID=CANARY-7",
        f"/dicom-web/studies/{dicoms.PREFIX}.1/metadata",
        "/CANARY-7",
    ):
        served.client.get(path)
    text = served.client.get("/metrics").text
    assert "CANARY" not in text
    assert dicoms.PREFIX not in text
    routes = {path for path, _ in TABLE} | {"other"}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.get("route", "other") in routes


def test_back_ends_count_by_operation_and_outcome(tmp_path, monkeypatch):
    served = Served(tmp_path)
    before = scrape(served)
    served.store(dicoms.ct(1))
    served.get(f"/studies/{dicoms.PREFIX}.1")
    served.get("/studies/1.2.3")

    def fail(*_: object) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(served.archive.storage._storage, "put", lambda puts: [Unavailable("no answer") for _ in puts])
    served.client.post("/dicom-web/studies", content=dicoms.ct(2), headers={"content-type": "application/dicom"})
    after = scrape(served)

    def grew(kind: str, operation: str, outcome: str) -> float:
        name = f"roentgate_{kind}_operation_duration_seconds_count"
        labels = {"operation": operation, "outcome": outcome}
        return after(name, **labels) - before(name, **labels)

    assert grew("storage", "put", "well") == 1
    assert grew("storage", "put", "failed") == 1
    assert grew("storage", "stream", "well") + grew("storage", "read", "well") >= 1
    assert grew("index", "intend", "well") == 2
    assert grew("index", "commit", "well") == 1
    assert grew("index", "members", "refused") == 1
    size = "roentgate_storage_bytes_total"
    assert after(size, direction="in") - before(size, direction="in") == len(dicoms.ct(1))


def test_what_is_held_and_how_the_back_ends_are_is_told(tmp_path, monkeypatch):
    served = Served(tmp_path)
    served.store(dicoms.ct(1), dicoms.ct(2), dicoms.ct(1, study=2))
    told = scrape(served)
    assert (told("roentgate_stored_studies"), told("roentgate_stored_instances")) == (2, 3)
    assert told("roentgate_back_end_up", back_end="index") == 1
    assert told("roentgate_draining") == 0
    assert told("roentgate_jobs", state="waiting") == 0

    def fail() -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(served.archive.storage, "check", fail)
    served.client.app.state.readiness._until = 0
    assert scrape(served)("roentgate_back_end_up", back_end="storage") == 0


def test_codec_processes_and_kept_images_count(tmp_path):
    served = Served(tmp_path)
    before = scrape(served)
    served.store(dicoms.ct(1))
    uid = dicoms.PREFIX
    picture = f"/studies/{uid}.1/series/{uid}.1.1/instances/{uid}.1.1.1/rendered?viewport=8,8"
    for _ in range(2):
        answer = served.get(picture, "image/jpeg")
        assert answer.status_code == 200, answer.text
    after = scrape(served)
    served.archive.close()
    cache = "roentgate_image_cache_total"
    assert after(cache, source="made") - before(cache, source="made") == 1
    assert after(cache, source="memory") - before(cache, source="memory") >= 1
    assert after("roentgate_codec_wait_seconds_count") - before("roentgate_codec_wait_seconds_count") >= 1
    assert after("roentgate_codec_processes_busy") == 0


def test_a_server_that_is_about_to_stop_is_alive_and_not_ready(tmp_path):
    served = Served(tmp_path)
    served.client.app.state.readiness.draining = True
    assert served.client.get("/health/live").status_code == 200
    answer = served.client.get("/health/ready")
    assert answer.status_code == 503
    assert "about to stop" in answer.json()["detail"]
    assert scrape(served)("roentgate_draining") == 1


def test_workers_of_one_server_tell_their_sum(tmp_path):
    number = 30
    with serving(tmp_path, "--workers", "3") as server:
        root = f"http://127.0.0.1:{server.port}"
        for _ in range(number):  # each on a connection of its own, which any worker may take
            with urllib.request.urlopen(f"{root}/dicom-web/studies", timeout=60) as answer:
                assert answer.status == 200
        counts = []
        for _ in range(10):
            with urllib.request.urlopen(f"{root}/metrics", timeout=60) as answer:
                told = read(answer.read().decode())
            counts.append(told(REQUESTS, route="/dicom-web/studies", method="GET", status="2xx"))
    assert counts[0] > 0
    assert counts == sorted(counts), "what is told never goes back"
    assert counts[-1] <= number


# -- the log -------------------------------------------------------------------------------------------------
def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    found = [each for each in caplog.records if each.name == "dicomweb.requests"]
    return [json.loads(JsonLines().format(each)) for each in found]


def test_a_request_leaves_one_line_without_identifiers(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    served = Served(tmp_path, log_requests=True)
    served.store(dicoms.ct(1, PatientName="CANARY^JANE", PatientID="CANARY-7"))
    served.get("/studies?PatientID=CANARY-7", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    served.get(f"/studies/{dicoms.PREFIX}.1/metadata")
    served.client.get("/health/live")
    served.client.get("/metrics")
    told = lines(caplog)
    assert [(line["method"], line["status"]) for line in told] == [("POST", 200), ("GET", 200), ("GET", 200)]
    assert [line["route"] for line in told][-1] == "/dicom-web/studies/{study}/metadata"
    assert "CANARY" not in str(told)
    assert dicoms.PREFIX not in str(told)


def test_without_the_setting_no_request_leaves_a_line(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    Served(tmp_path).get("/studies")
    assert lines(caplog) == []


def test_the_log_is_json_where_that_is_set(tmp_path):
    with serving(tmp_path, ROENTGATE_LOG_FORMAT="json", ROENTGATE_LOG_REQUESTS="true") as server:
        url = f"http://127.0.0.1:{server.port}/dicom-web/studies"
        request = urllib.request.Request(url, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 200
        server.stop()
        assert server.process.stderr is not None
        told = [json.loads(line) for line in server.process.stderr]
    (line,) = [line for line in told if line["logger"] == "dicomweb.requests"]
    assert (line["trace"], line["route"], line["status"]) == (TRACE, "/dicom-web/studies", 200)


def test_a_trace_goes_from_a_store_on_to_the_object_that_it_puts(tmp_path, monkeypatch):
    for name, value in (("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_DEFAULT_REGION", "r")):
        monkeypatch.setenv(name, value)
    with faultys3.Faulty().running() as service:
        config = Config(
            data=tmp_path, storage=f"s3://{faultys3.BUCKET}", s3_endpoint=service.url, index="sqlite::memory:"
        )
        archive = open_archive(config)
        headers = {"content-type": "application/dicom", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        answer = Client(build(config, archive)).post("/dicom-web/studies", content=dicoms.ct(1), headers=headers)
        assert answer.status_code == 200
        archive.close()
    puts = [fields for request, fields in zip(service.requests, service.headers, strict=True) if "objects/" in request]
    assert puts
    assert {fields["traceparent"].split("-")[1] for fields in puts} == {TRACE}


def test_a_store_counts_its_stages_and_what_became_of_each_instance(tmp_path):
    served = Served(tmp_path)
    before = scrape(served)
    served.store(dicoms.ct(1))
    served.store(dicoms.ct(1))
    kind = {"content-type": "application/dicom"}
    assert served.client.post("/dicom-web/studies", content=b"no object", headers=kind).status_code == 400
    after = scrape(served)
    grew = lambda name, **labels: after(name, **labels) - before(name, **labels)  # noqa: E731
    stages = "roentgate_store_stage_duration_seconds_count"
    assert [grew(stages, stage=stage) for stage in ("spool", "parse", "index", "object")] == [3, 3, 3, 1]
    outcomes = "roentgate_store_instances_total"
    assert grew(outcomes, outcome="stored", reason="none") == 1
    assert grew(outcomes, outcome="already", reason="none") == 1
    assert grew(outcomes, outcome="failed", reason="C000") == 1
    assert grew("roentgate_http_first_byte_seconds_count", route="/dicom-web/studies") == 3


def test_who_is_denied_is_counted_by_the_reason(tmp_path):
    served = Served(tmp_path, access=True)
    text = keys.new_text()
    served.archive.index.keys.add(
        Key(keys.id_of(text) or "", keys.digest_of(text), "reader", frozenset(("read",)), None, None, 0.0, None)
    )
    right = {"authorization": f"Bearer {text}"}

    def counted() -> dict[str, float]:
        found = read(served.client.get("/metrics", headers=right).text)
        return {
            reason: found("roentgate_access_denied_total", reason=reason) for reason in ("nobody", "wrong", "right")
        }

    before = counted()
    assert served.client.get("/dicom-web/studies").status_code == 401
    assert served.client.get("/dicom-web/studies", headers={"authorization": "Bearer rgk_x"}).status_code == 401
    assert served.client.request("DELETE", "/dicom-web/studies/1.2", headers=right).status_code == 403
    after = counted()
    assert {reason: after[reason] - before[reason] for reason in after} == {"nobody": 1, "wrong": 1, "right": 1}


def test_queues_are_told_by_node(tmp_path):
    served = Served(tmp_path)
    begun = time.time()
    jobs = served.archive.index.jobs
    for node in ("WARD", "WARD", "PACS"):
        jobs.add("send", node, {"resources": []})
    found = scrape(served)
    assert found("roentgate_jobs", state="waiting") == 3
    assert found("roentgate_jobs", state="running") == 0
    assert found("roentgate_node_jobs", node="WARD", state="waiting") == 2
    assert begun <= found("roentgate_node_oldest_job_timestamp_seconds", node="PACS") <= time.time()


def test_connections_to_the_database_are_counted_and_given_back(tmp_path):
    url = postgresql.new_database()
    served = Served(tmp_path, index=url)
    busy, limit = "roentgate_index_connections_busy", "roentgate_index_connections_limit"
    assert (scrape(served)(busy), scrape(served)(limit)) == (0, 16)
    engine = served.archive.index._engine  # type: ignore[attr-defined]
    taken = [engine.take() for _ in range(3)]
    assert scrape(served)(busy) == 3
    for connection in taken:
        engine.give_back(connection)
    assert scrape(served)(busy) == 0
    assert scrape(served)("roentgate_index_connection_wait_seconds_count") > 3
    served.archive.close()
    assert postgres_measures()(limit) == 0
    postgresql.drop_database(url)


def postgres_measures() -> Callable[..., float]:
    text, _ = exposition.write(measures.merge([measures.state()]), [])
    return read(text.decode())


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: apt install prometheus")
def test_prometheus_finds_nothing_wrong_with_names_units_and_texts(tmp_path):
    served = Served(tmp_path)
    served.store(dicoms.ct(1))
    text = served.client.get("/metrics").text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
