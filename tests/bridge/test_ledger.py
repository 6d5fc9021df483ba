"""The bridge's own file of jobs and refusals: what holds for `/jobs` of the web layer holds there."""

import threading
import time

import pytest

from bridge import ledger
from bridge.ledger import Ledger
from dicomweb.errors import Conflict, NotFound, Unavailable

TASK = {"resources": [{"study": "1.2.3"}]}


@pytest.fixture
def file(tmp_path) -> Ledger:
    return Ledger(tmp_path / "bridge" / "ledger.sqlite", attempts=2, hours=0.0)


def test_what_is_only_looked_at_is_not_made(file):
    assert (file.claim("one"), file.latest(), file.refusals()) == (None, [], [])
    assert not file.path.exists()


def test_jobs_are_claimed_in_their_order_once_each_and_outlive_who_added_them(file):
    first, second = file.add("send", "A", TASK), file.add("retrieve", "B", TASK)
    again = Ledger(file.path)
    claimed = [again.claim("one"), file.claim("two"), again.claim("three")]
    assert [job and job["id"] for job in claimed] == [first["id"], second["id"], None]
    assert claimed[0] == {
        **first, "state": "running", "owner": "one", "fence": 1, "attempts": 1, "changed": claimed[0]["changed"]
    }  # fmt: skip
    assert claimed[0]["task"] == TASK


def test_two_who_claim_at_the_same_time_never_have_the_same_job(file):
    for _ in range(20):
        file.add("send", "A", TASK)
    taken: list[int] = []

    def take() -> None:
        mine = Ledger(file.path)
        while job := mine.claim("one"):
            taken.append(job["id"])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 21))


def test_a_claim_that_ran_out_goes_to_another_and_the_first_is_told(file, monkeypatch):
    monkeypatch.setattr(ledger, "LEASE", -1.0)
    number = file.add("send", "A", TASK)["id"]
    file.claim("one")
    second = file.claim("two")
    assert (second["id"], second["fence"], second["attempts"]) == (number, 2, 2)
    for late in (lambda: file.report(number, 1, {}), lambda: file.finish(number, 1, "done", {}, "", 0)):
        with pytest.raises(Conflict):
            late()
    assert file.report(number, 2, {"done": 1}) is False
    assert file.claim("three") is None  # two attempts were all
    assert (file.get(number)["state"], file.get(number)["progress"]) == ("failed", {"done": 1})
    assert file.retry(number)["attempts"] == 0


def test_a_job_waits_is_tried_again_and_fails_in_the_end(file):
    number = file.add("send", "A", TASK)["id"]
    file.claim("one")
    assert file.finish(number, 1, "waiting", {}, "away", 60.0)["state"] == "waiting"
    assert file.claim("one") is None
    file.retry(number)
    for fence, state in ((2, "waiting"), (3, "failed")):
        assert file.claim("one")["fence"] == fence
        assert file.finish(number, fence, "waiting", {}, "away", 0.0)["state"] == state


def test_a_job_waits_for_a_node_as_long_as_it_is_young_and_others_of_the_node_bring_it_back(file, monkeypatch):
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)
    patient = Ledger(file.path, attempts=1, hours=24.0)
    numbers = [patient.add("send", "A", TASK)["id"] for _ in range(3)]
    for again in (1800.0, 1800.0, 100.0):
        claimed = patient.claim("one")
        assert patient.finish(claimed["id"], claimed["fence"], "waiting", {}, "away", again)["state"] == "waiting"
    now += 120.0
    first = patient.claim("one")
    assert first["id"] == numbers[2]
    assert patient.claim("one") is None
    patient.finish(first["id"], first["fence"], "done", {}, "", 0.0)
    assert [patient.claim("one")["id"] for _ in range(2)] == numbers[:2]
    now += 86_400.0
    assert patient.finish(numbers[0], 2, "waiting", {}, "away", 1800.0)["state"] == "failed"


def test_a_job_is_canceled_at_once_or_when_its_bridge_reports(file):
    waiting, running = (file.add("send", "A", TASK)["id"] for _ in range(2))
    file.cancel(waiting)
    assert file.get(waiting)["state"] == "canceled"
    assert file.claim("one")["id"] == running
    assert file.cancel(running)["state"] == "running"
    assert file.report(running, 1, {}) is True
    with pytest.raises(Conflict):
        file.retry(running)
    assert file.finish(running, 1, "waiting", {}, "", 0.0)["state"] == "canceled"
    with pytest.raises(Conflict):
        file.cancel(running)
    with pytest.raises(NotFound):
        file.cancel(99)


def test_jobs_are_listed_by_state_node_and_page_and_forgotten_when_they_are_long_over(file):
    numbers = [file.add("send", node, TASK)["id"] for node in ("A", "B", "A")]
    file.cancel(numbers[0])
    assert [job["id"] for job in file.latest()] == [3, 2, 1]
    assert [job["id"] for job in file.latest(states=("canceled",))] == [1]
    assert [job["id"] for job in file.latest(node="A", before=3)] == [1]
    assert [job["id"] for job in file.latest(1)] == [3]
    Ledger(file.path, kept_days=-1).add("send", "A", TASK)
    assert [job["id"] for job in file.latest()] == [4, 3, 2]


def test_the_same_refusal_counts_and_others_stand_by_themselves(file):
    told = {"kind": "request", "calling": "CT", "called": "US", "address": "1.2.3.4", "node": "", "reason": "no"}
    for reason in ("no", "no", "never"):
        file.refuse({**told, "reason": reason})
    assert [(one["reason"], one["count"]) for one in file.refusals()] == [("never", 1), ("no", 2)]
    assert len(file.refusals(limit=1)) == 1
    assert file.refusals(before=file.refusals()[0]["last"])[0]["reason"] == "no"


def test_a_file_that_cannot_be_used_is_told_as_such(tmp_path):
    (tmp_path / "bad").write_bytes(b"no database at all, and long enough to be looked at" * 100)
    with pytest.raises(Unavailable):
        Ledger(tmp_path / "bad").add("send", "A", TASK)
