"""What the audit trail says of requests: of which study, whatever the path; and who is nobody cannot flood it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dicoms
import exchanging
from served import Served

from dicomweb.web.addresses import Addresses
from dicomweb.web.auditing import NOTES, Recorder
from dicomweb.web.rights import Rule

RETRIEVE = Rule(("read",), "retrieve")
PATH = "/dicom-web/studies/{study}"


class Lines:
    """A trail that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Any]] = []

    def record(self, record: Mapping[str, Any]) -> None:
        self.told.append(record)

    def flush(self) -> None:
        """Nothing waits."""


def scope(study: int, address: str = "10.0.0.7") -> dict[str, Any]:
    params = {"study": f"1.2.{study}"}
    return {"method": "GET", "path_params": params, "query_string": b"", "headers": [], "client": (address, 1)}


def test_nobodys_requests_for_many_studies_are_counted_in_one_record_for_each_address():
    lines, now = Lines(), 0.0
    recorder = Recorder(lines, Addresses(), 60.0, clock=lambda: now)
    for study in range(50):
        recorder.record(scope(study), RETRIEVE, PATH, 401)
    recorder.record(scope(1, "10.0.0.8"), RETRIEVE, PATH, 401)
    assert [(one["event"], one["from"]) for one in lines.told] == [
        ("login failure", "10.0.0.7"),
        ("login failure", "10.0.0.8"),
    ]
    now = 61.0
    recorder.record(scope(1), RETRIEVE, PATH, 401)
    (again,) = (one for one in lines.told if "again" in one)
    assert (again["again"], "study" in again) == (49, False)


def test_what_a_handler_knows_of_the_study_counts_as_what_the_path_says():
    lines = Lines()
    recorder = Recorder(lines, Addresses(), 60.0)
    for study in ("1.2.1", "1.2.1", "1.2.2", "1.2.2\n"):
        asked = {**scope(0), "path_params": {"aet": "X"}, NOTES: {"study": study}}
        recorder.record(asked, Rule(("read",), "query or retrieve"), "/aets/{aet}/{resource:path}", 200)
    assert [one["study"] for one in lines.told] == ["1.2.1", "1.2.2", "?"]


def trail_of(folder: Path, event: str) -> list[dict[str, Any]]:
    told = [json.loads(line) for path in (folder / "audit").iterdir() for line in path.read_bytes().splitlines()]
    return [one for one in told if one["event"] == event]


def test_it_is_recorded_of_which_study_something_was_asked_at_a_node(tmp_path):
    served = exchanging.served(tmp_path, audit=True, audit_sync="always")
    for study in ("1.2.3", "1.2.4"):
        assert served.client.get(f"/aets/STORESCP/studies/{study}/metadata").status_code == 503  # there is no bridge
        assert served.client.get(f"/aets/STORESCP/studies/{study}/series").status_code == 503
    served.archive.close()
    assert [(one["aet"], one["study"]) for one in trail_of(tmp_path, "query or retrieve")] == [
        ("STORESCP", "1.2.3"),
        ("STORESCP", "1.2.4"),
    ]


def test_the_record_of_what_was_refused_lies_there_before_the_answer_ends_too(tmp_path):
    served = Served(tmp_path, access=True, audit_sync="always", audit_merge_seconds=0.0)
    for count in range(1, 30):
        assert served.client.get("/dicom-web/studies").status_code == 401
        assert len(trail_of(tmp_path, "login failure")) == count
    served.archive.close()


def test_it_is_recorded_which_object_that_was_kept_beside_another_was_got(tmp_path):
    served = Served(tmp_path, audit=True, audit_sync="always", on_conflict="keep")
    for study in (1, 2):
        served.store(dicoms.ct(study=study), dicoms.ct(study=study, PatientName="Other"))
    kept = served.client.get("/conflicts").json()["conflicts"]
    for one in kept:
        assert served.client.get(f"/conflicts/{one['version']}").status_code == 200
    served.archive.close()
    told = [(one["study"], one["instance"], one["version"]) for one in trail_of(tmp_path, "retrieve")]
    assert told == [(one["study"], one["instance"], one["version"]) for one in kept]


def test_what_is_got_of_several_studies_is_recorded_for_each():
    lines = Lines()
    recorder = Recorder(lines, Addresses(), 60.0)
    for study in (1, 1, 2):
        recorder.record(scope(study), RETRIEVE, PATH, 200)
    recorder.close()
    assert [(one["study"], one.get("again")) for one in lines.told] == [("1.2.1", None), ("1.2.2", None), ("1.2.1", 1)]
