"""DELETE of studies, series and instances."""

from pathlib import Path

import pytest
from dicoms import PREFIX, ct
from served import Served

from dicomweb.config import Config

STUDY = f"/studies/{PREFIX}.1"
SERIES = f"{STUDY}/series/{PREFIX}.1.1"
INSTANCE = f"{SERIES}/instances/{PREFIX}.1.1.1"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path)
    made.store(ct(1), ct(2), ct(1, series=2), ct(1, study=2))
    return made


def delete(served: Served, path: str, **query: str) -> int:
    return int(served.client.delete(f"/dicom-web{path}", params=query).status_code)


@pytest.mark.parametrize(("path", "left"), [(STUDY, 1), (SERIES, 2), (INSTANCE, 3)])
def test_a_deletion_removes_what_it_names_and_nothing_else(served, path, left):
    assert delete(served, path) == 204
    assert len(served.get("/instances").json()) == left
    assert served.get(f"{path}/metadata").status_code == 410
    assert served.get(f"/studies/{PREFIX}.2/metadata").status_code == 200
    assert delete(served, path) == 410
    served.archive.sweep()
    assert len(list(served.archive.storage.list("objects/"))) == left
    assert [finding for _, finding in served.archive.verify() if finding is not None] == []


def test_pictures_of_what_was_deleted_go_with_its_bytes(served):
    for study in (STUDY, f"/studies/{PREFIX}.2"):
        assert served.get(f"{study}/thumbnail", "image/png").status_code == 200
    kept = [path for path in served.config.cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert len(kept) == 2
    assert delete(served, STUDY) == 204
    served.archive.sweep()
    assert [path.exists() for path in kept].count(True) == 1


def test_counts_follow_a_deletion(served):
    assert delete(served, SERIES) == 204
    (study,) = served.get(f"/studies?StudyInstanceUID={PREFIX}.1").json()
    assert study["00201206"]["Value"] == [1]
    assert study["00201208"]["Value"] == [1]


def test_what_is_not_there_is_not_found_and_what_is_no_uid_is_a_bad_request(served):
    assert delete(served, "/studies/1.2.3.4") == 404
    assert delete(served, f"{STUDY}/series/1.2.3.4") == 404
    assert delete(served, f"/studies/{PREFIX}.2/series/{PREFIX}.1.1/instances/{PREFIX}.1.1.1") == 404
    assert delete(served, "/studies/not-a-uid") == 400
    assert len(served.get("/instances").json()) == 4


def test_a_reason_is_kept_with_the_deletion(served):
    assert delete(served, STUDY, reason="wrong patient") == 204
    (key,) = [stored.key for stored in served.archive.storage.list("tombstones/")]
    assert b"wrong patient" in served.archive.storage.read(key)


def test_a_study_that_is_stored_again_is_there_again(served):
    assert delete(served, STUDY) == 204
    served.store(ct(1))
    assert len(served.get(f"{STUDY}/metadata").json()) == 1
    assert served.get(f"{SERIES}/instances/{PREFIX}.1.1.2/metadata").status_code in {404, 410}


def test_all_versions_of_an_instance_go(tmp_path):
    served = Served(tmp_path, on_conflict="keep")
    served.store(ct(1), ct(1, PatientComments="other"))
    assert delete(served, INSTANCE) == 204
    served.archive.sweep()
    left = [stored.key for stored in served.archive.storage.list() if not stored.key.startswith("tombstones/")]
    assert left == []


@pytest.mark.parametrize("reason", [None, "", " \t"])
def test_where_a_reason_is_wanted_nothing_is_deleted_without_one(tmp_path, reason):
    served = Served(tmp_path, delete_reason=True)
    served.store(ct(1))
    for path in (INSTANCE, SERIES, STUDY):
        answer = served.client.delete(f"/dicom-web{path}", params={} if reason is None else {"reason": reason})
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert "without a reason" in answer.json()["detail"]
    assert len(served.get("/instances").json()) == 1
    assert delete(served, INSTANCE, reason=" sent twice ") == 204
    (told,) = served.client.get("/deletions").json()["deletions"]
    assert told["reason"] == "sent twice"


def test_a_reason_is_wanted_where_there_is_access_control_unless_it_is_said_otherwise():
    assert (Config(access=True).delete_reason, Config().delete_reason) == (True, False)
    given = {"ROENTGATE_ACCESS": "true", "ROENTGATE_DELETE_REASON": "false"}
    assert not Config.read(given).delete_reason
