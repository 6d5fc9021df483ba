"""What the audit trail says of requests: who is nobody cannot flood it."""

from collections.abc import Mapping
from typing import Any

from dicomweb.web.addresses import Addresses
from dicomweb.web.auditing import Recorder
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


def test_what_is_got_of_several_studies_is_recorded_for_each():
    lines = Lines()
    recorder = Recorder(lines, Addresses(), 60.0)
    for study in (1, 1, 2):
        recorder.record(scope(study), RETRIEVE, PATH, 200)
    recorder.close()
    assert [(one["study"], one.get("again")) for one in lines.told] == [("1.2.1", None), ("1.2.2", None), ("1.2.1", 1)]
