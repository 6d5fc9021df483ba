"""The bridge's health, measures, traces and lines of the log."""

import json
import logging
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicoms
import pydicom
import pytest
from authority import Authority
from bridged import AET, bridge_to, bridged
from prometheus_client.parser import text_string_to_metric_families
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]
from servers import running

from bridge import statuses
from bridge.health import Health
from bridge.work import Face
from dicomweb import wire
from dicomweb.errors import BadSetting
from dicomweb.telemetry.certificates import certificates
from dicomweb.telemetry.lines import JsonLines

REQUESTS = "roentgate_dimse_request_duration_seconds_count"


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(health: Health) -> Callable[..., float]:
    with running(health) as server:
        status, text = ask(server.port, "/metrics")
    assert status == 200
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return lambda name, **labels: found.get((name, frozenset(labels.items())), 0.0)


def data_set(folder: Path, **more: Any) -> pydicom.Dataset:
    path = folder / "one.dcm"
    path.write_bytes(dicoms.ct(1, **more))
    return pydicom.dcmread(path)


def test_requests_count_by_service_and_kind_of_status(tmp_path):
    with bridged(tmp_path) as made:
        health = Health(made.bridge.status)
        before = scrape(health)
        association = made.associate(Verification, CTImageStorage)
        assert association.send_c_echo().Status == 0
        assert association.send_c_store(data_set(tmp_path)).Status == 0
        assert scrape(health)("roentgate_dimse_associations") == 1
        association.release()
        entity = AE("TESTER")
        entity.add_requested_context(Verification)
        assert entity.associate("127.0.0.1", made.port, ae_title="NOBODY").is_rejected
        made.bridge.stop()
        after = scrape(health)
    grew = lambda name, **labels: after(name, **labels) - before(name, **labels)  # noqa: E731
    assert grew(REQUESTS, service="C-ECHO", status="success") == 1
    assert grew(REQUESTS, service="C-STORE", status="success") == 1
    assert grew("roentgate_dimse_associations_total", outcome="accepted") == 1
    assert grew("roentgate_dimse_associations_total", outcome="rejected") == 1
    assert grew("roentgate_dimse_refusals_total", kind="association") == 1
    assert after("roentgate_dimse_associations") == 0


def test_a_node_is_counted_by_its_name_strangers_as_one_and_rejections_by_their_reason(tmp_path):
    nodes = '[nodes.CT1]\naet = "TESTER"\nsources = ["127.0.0.0/8"]\nallow = ["echo"]\n'
    with bridge_to("http://127.0.0.1:9/other", tmp_path, nodes, unknown="echo", associations_per_peer=1) as bridge:
        health = Health(bridge.status, bridge.gauges)
        before = scrape(health)
        begun = time.time()
        for calling in ("TESTER", "CANARY"):
            entity = AE(calling)
            entity.add_requested_context(Verification)
            association = entity.associate("127.0.0.1", bridge.port, ae_title=AET)
            assert association.send_c_echo().Status == 0
            if calling == "TESTER":
                assert entity.associate("127.0.0.1", bridge.port, ae_title=AET).is_rejected
            association.release()
        assert not entity.associate("127.0.0.1", bridge.port, ae_title="NOBODY").is_established
        bridge.stop()
        after = scrape(health)
        with running(health) as server:
            text = ask(server.port, "/metrics")[1]
    assert "CANARY" not in text
    counted = "roentgate_dimse_node_requests_total"
    for node in ("CT1", "other"):
        labels = {"node": node, "service": "C-ECHO"}
        assert after(counted, status="success", **labels) - before(counted, status="success", **labels) == 1
        assert begun <= after("roentgate_dimse_node_success_timestamp_seconds", **labels) <= time.time()
    rejected = "roentgate_dimse_rejections_total"
    assert [after(rejected, reason=why) - before(rejected, reason=why) for why in ("limit", "called")] == [1, 1]
    assert "roentgate_build_info{version=" in text


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: apt install prometheus")
def test_prometheus_finds_nothing_wrong_with_what_the_bridge_tells(tmp_path):
    cert, _ = Authority(tmp_path).issue("dimse")
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, unknown="everything", spool=True) as bridge:
        entity = AE("TESTER")
        entity.add_requested_context(CTImageStorage)
        association = entity.associate("127.0.0.1", bridge.port, ae_title=AET)
        assert association.send_c_store(data_set(tmp_path)).Status == 0
        association.release()
        health = Health(bridge.status, lambda: [*bridge.gauges(), *certificates({"dimse": cert})])
        with running(health) as server:
            text = ask(server.port, "/metrics")[1]
    assert "roentgate_spool_oldest_timestamp_seconds 1" in text
    assert 'roentgate_certificate_end_timestamp_seconds{port="dimse"}' in text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_store_that_the_web_layer_cannot_take_counts_as_a_failure(tmp_path):
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, unknown="everything") as bridge:
        health = Health(bridge.status)
        before = scrape(health)
        entity = AE("TESTER")
        entity.add_requested_context(CTImageStorage)
        association = entity.associate("127.0.0.1", bridge.port, ae_title=AET)
        assert association.send_c_store(data_set(tmp_path)).Status == statuses.OUT_OF_RESOURCES
        association.release()
        bridge.stop()
        after = scrape(health)
    assert (
        after(REQUESTS, service="C-STORE", status="failure") - before(REQUESTS, service="C-STORE", status="failure")
        == 1
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0, "success"), (0xFF00, "pending"), (0xFF01, "pending"), (0xFE00, "cancel"), (0xB000, "warning"),
        (0xB007, "warning"), (0x0107, "warning"), (0xA700, "failure"), (0xC000, "failure"), (0x0110, "failure"),
        (None, "none"),
    ],
)  # fmt: skip
def test_statuses_are_of_the_kinds_of_the_standard(status, kind):
    assert statuses.kind_of(status) == kind


def test_a_bridge_that_stops_is_not_ready_and_one_with_a_full_spool_says_so():
    told: dict[str, Any] = {"connections_waiting": 0, "spool": None}
    health = Health(lambda: told)
    with running(health) as server:
        assert ask(server.port, "/health/ready") == (200, '{"status": "ready"}')
        spool = {"waiting": 3, "bytes": 10, "limit_bytes": 10, "refused": 0, "oldest": None}
        spool |= {"free_bytes": 7, "floor_bytes": 7}
        told["spool"] = spool
        refused = {"status": "ready", "writes": "refused", "reason": "the spool is full"}
        status, text = ask(server.port, "/health/ready")
        assert (status, json.loads(text)) == (200, refused)
        assert "roentgate_writes_refused 1.0" in ask(server.port, "/metrics")[1]
        assert "roentgate_spool_objects 3.0" in ask(server.port, "/metrics")[1]
        spool["bytes"] = 9
        assert ask(server.port, "/health/ready") == (200, '{"status": "ready"}')
        assert "roentgate_writes_refused 0.0" in ask(server.port, "/metrics")[1]
        spool["floor_bytes"] = 8
        assert "limit_free_bytes" in json.loads(ask(server.port, "/health/ready")[1])["reason"]
        health.draining = True
        assert ask(server.port, "/health/ready")[0] == 503
        assert ask(server.port, "/health/live") == (200, '{"status": "alive"}')
        assert ask(server.port, "/health/live", "HEAD") == (200, "")
        assert ask(server.port, "/health/live", "POST")[0] == 405
        assert ask(server.port, "/dicom-web/studies")[0] == 404


def test_a_face_answers_in_the_process_of_a_web_server():
    wire.mend()
    face = Face(Health(lambda: {"connections_waiting": 0, "spool": None}), "http://127.0.0.1:0", "bridge_url")
    try:
        assert ask(face.port, "/health/live")[0] == 200
    finally:
        face.stop()


def test_a_face_listens_at_an_address_of_its_own_under_a_name_that_others_know():
    health = Health(lambda: {"connections_waiting": 0, "spool": None})
    face = Face(health, "http://bridge.example.invalid:0", "bridge_url", "127.0.0.1")
    try:
        assert ask(face.port, "/health/live")[0] == 200
        with pytest.raises(BadSetting, match=f"health_port is http://127.0.0.1:{face.port}, where this machine cannot"):
            Face(health, f"http://127.0.0.1:{face.port}", "health_port")
    finally:
        face.stop()


def test_an_association_is_one_trace_from_the_device_to_the_request_that_stores(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with bridged(tmp_path, web={"log_requests": True}, logged=True) as made:
        association = made.associate(CTImageStorage)
        for number in (1, 2):
            instance = data_set(tmp_path, PatientName="CANARY^JANE", InstanceNumber=number)
            instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = f"{dicoms.PREFIX}.9.{number}"
            assert association.send_c_store(instance).Status == 0
        association.release()
        made.bridge.stop()
    stored = [each for each in caplog.records if each.name == "dicomweb.requests"]
    lines = [json.loads(JsonLines().format(each)) for each in caplog.records if each.name == "bridge.server"]
    (line,) = [line for line in lines if "requests" in line]
    assert (line["requests"], line["peer"], line["address"]) == (2, "other", "127.0.0.1")
    assert len([each for each in stored if each.fields["method"] == "POST"]) >= 2
    assert "CANARY" not in caplog.text
