"""The bridge's health, measures, traces and lines of the log."""

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicoms
import pydicom
import pytest
from bridged import AET, bridge_to, bridged
from prometheus_client.parser import text_string_to_metric_families
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]
from servers import running

from bridge import statuses
from bridge.health import Health
from bridge.work import Face
from dicomweb.errors import BadSetting
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


def test_a_bridge_that_stops_or_has_a_full_spool_is_not_ready():
    told: dict[str, Any] = {"connections_waiting": 0, "spool": None}
    health = Health(lambda: told)
    with running(health) as server:
        assert ask(server.port, "/health/ready") == (200, '{"status": "ready"}')
        spool = {"waiting": 3, "bytes": 10, "limit_bytes": 10, "refused": 0}
        told["spool"] = spool
        status, text = ask(server.port, "/health/ready")
        assert (status, "spool is full" in text) == (503, True)
        assert "roentgate_spool_objects 3.0" in ask(server.port, "/metrics")[1]
        spool["bytes"] = 9
        assert ask(server.port, "/health/ready")[0] == 200
        health.draining = True
        assert ask(server.port, "/health/ready")[0] == 503
        assert ask(server.port, "/health/live") == (200, '{"status": "alive"}')
        assert ask(server.port, "/health/live", "HEAD") == (200, "")
        assert ask(server.port, "/health/live", "POST")[0] == 405
        assert ask(server.port, "/dicom-web/studies")[0] == 404


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
