"""/verify: what is stored is read again, and what is said of it is what lies there."""

import httpx
import pytest
from dicoms import CT, PREFIX, ct
from served import Served

TOKEN = "SECRET"
OURS = {"authorization": f"Bearer {TOKEN}"}
UIDS = [f"{PREFIX}.1.1.{number}" for number in range(1, 5)]


@pytest.fixture
def served(tmp_path) -> Served:
    made = Served(tmp_path, bridge_token=TOKEN, storage=f"file:{tmp_path / 'objects'}")
    made.store(ct(1), ct(2), ct(3))
    return made


def verify(served: Served, instances: object, headers=OURS) -> httpx.Response:
    return served.client.post("/verify", json={"instances": instances}, headers=headers)


def states(answer: httpx.Response) -> list[tuple[str, str]]:
    return [(one["instance"], one["state"]) for one in answer.json()["checked"]]


def test_what_is_held_missing_damaged_and_absent_is_told_apart(served, tmp_path):
    held = served.archive.index.present(UIDS)
    (tmp_path / "objects" / held[UIDS[1]].key).unlink()
    damaged = tmp_path / "objects" / held[UIDS[2]].key
    data = damaged.read_bytes()
    damaged.chmod(0o600)
    damaged.write_bytes(data[:400] + b"X" + data[401:])
    answer = verify(served, UIDS)
    assert states(answer) == list(zip(UIDS, ["held", "missing", "corrupt", "absent"], strict=True))
    assert [one["sop_class"] for one in answer.json()["checked"]] == [CT, CT, CT, ""]
    assert answer.json()["left"] == []


def test_a_request_takes_a_bounded_time_and_names_what_is_left(served, monkeypatch):
    monkeypatch.setattr("dicomweb.web.verify.SECONDS", 0.0)
    answer = verify(served, UIDS)
    assert states(answer) == [(UIDS[0], "held")]
    assert answer.json()["left"] == UIDS[1:]


def test_an_object_that_is_deleted_while_it_is_read_is_absent_and_not_missing(served, monkeypatch):
    stream = served.archive.storage.stream

    def deleting(key, *more):
        monkeypatch.setattr(served.archive.storage, "stream", stream)
        served.archive.delete(f"{PREFIX}.1")
        served.archive.sweep()
        return stream(key, *more)

    monkeypatch.setattr(served.archive.storage, "stream", deleting)
    assert states(verify(served, UIDS[:1])) == [(UIDS[0], "absent")]


@pytest.mark.parametrize("instances", [None, "1.2.3", [1], ["no uid"], ["1.2"] * 1001])
def test_what_names_no_instances_is_refused(served, instances):
    assert verify(served, instances).status_code == 400


def test_others_than_the_bridge_are_refused(served):
    assert verify(served, UIDS, {}).status_code == 403
