"""The promises of nodes, jobs and refusals, held to by every back end."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from entries import entry, store

from dicomweb.errors import Conflict, NotFound
from dicomweb.index import Index, beside, open_index
from dicomweb.index.nodes import NodeRow
from dicomweb.index.refusals import Refusal, Refusals
from dicomweb.standard.matching import Key, read
from dicomweb.standard.query import Query

LEASE = 60.0


# -- nodes ----------------------------------------------------------------------------------------------------
def test_the_last_word_about_a_node_counts(index: Index) -> None:
    assert index.nodes.all() == []
    index.nodes.put(NodeRow("B", "{}", "seed"))
    index.nodes.put(NodeRow("A", '{"aet":"ä\\\\"}'))
    index.nodes.put(NodeRow("B", ""))
    assert index.nodes.all() == [NodeRow("A", '{"aet":"ä\\\\"}'), NodeRow("B", "")]
    index.nodes.drop("B")
    assert [row.name for row in index.nodes.all()] == ["A"]


# -- jobs -----------------------------------------------------------------------------------------------------
def test_jobs_are_claimed_in_the_order_in_which_they_came_and_listed_the_latest_first(index: Index) -> None:
    first, second = index.jobs.add("send", "A", {"study": "1"}), index.jobs.add("send", "B", {"study": "2"})
    assert [job.id for job in index.jobs.latest()] == [second.id, first.id]
    assert [job.id for job in index.jobs.latest(before=second.id)] == [first.id]
    assert [job.id for job in index.jobs.latest(node="A")] == [first.id]
    assert index.jobs.has_work()
    claimed = index.jobs.claim("one", LEASE, 3)
    assert claimed is not None
    assert (claimed.id, claimed.state, claimed.fence, claimed.attempts) == (first.id, "running", 1, 1)
    assert claimed.task == {"study": "1"}
    other = index.jobs.claim("two", LEASE, 3)
    assert other is not None
    assert other.id == second.id
    assert index.jobs.claim("three", LEASE, 3) is None
    assert not index.jobs.has_work()
    assert index.jobs.latest(states=["waiting"]) == []


def test_progress_and_the_end_are_remembered(index: Index) -> None:
    number = index.jobs.add("send", "A", {}).id
    claimed = index.jobs.claim("one", LEASE, 3)
    assert claimed is not None
    assert index.jobs.report(number, claimed.fence, {"done": 3, "name": "\0\\"}, LEASE).cancel is False
    assert index.jobs.get(number).progress == {"done": 3, "name": "\0\\"}
    done = index.jobs.finish(number, claimed.fence, "done", {"done": 4})
    assert (done.state, done.progress, done.error) == ("done", {"done": 4}, "")
    with pytest.raises(Conflict, match="is done, not running"):
        index.jobs.report(number, claimed.fence, {}, LEASE)


def test_a_job_whose_runner_falls_silent_goes_to_another_and_the_first_is_refused(index: Index) -> None:
    number = index.jobs.add("send", "A", {}).id
    silent = index.jobs.claim("silent", 0.0, 3)
    assert silent is not None
    other = index.jobs.claim("other", LEASE, 3)
    assert other is not None
    assert (other.id, other.fence, other.attempts) == (number, silent.fence + 1, 2)
    for late in (
        lambda: index.jobs.report(number, silent.fence, {"done": 9}, LEASE),
        lambda: index.jobs.finish(number, silent.fence, "done", {"done": 9}),
    ):
        with pytest.raises(Conflict, match="claimed by another runner"):
            late()
    assert index.jobs.get(number).progress == {}
    assert index.jobs.finish(number, other.fence, "done", {}).state == "done"


def test_a_job_that_outlives_its_runners_too_often_has_failed(index: Index) -> None:
    number = index.jobs.add("send", "A", {}).id
    for _ in range(3):
        assert index.jobs.claim("dies", 0.0, 3) is not None
    assert index.jobs.claim("lives", LEASE, 3) is None
    assert index.jobs.get(number).state == "failed"
    assert "3 attempts" in index.jobs.get(number).error


def test_a_failure_that_may_pass_waits_for_its_next_attempt_until_there_were_enough(index: Index) -> None:
    number = index.jobs.add("send", "A", {}).id
    claimed = index.jobs.claim("one", LEASE, 2)
    assert claimed is not None
    waiting = index.jobs.finish(number, claimed.fence, "waiting", {}, "no answer", again=3600.0, most=2)
    assert (waiting.state, waiting.error) == ("waiting", "no answer")
    assert waiting.due > waiting.changed + 3000
    assert index.jobs.claim("one", LEASE, 2) is None
    index.jobs.retry(number)
    for again in range(2):
        claimed = index.jobs.claim("one", LEASE, 2)
        assert claimed is not None
        state = index.jobs.finish(number, claimed.fence, "waiting", {}, "no answer", again=0.0, most=2).state
        assert state == ("waiting", "failed")[again]


def test_a_job_of_a_node_that_is_away_waits_until_it_is_old_however_many_attempts_there_were(index: Index) -> None:
    number = index.jobs.add("send", "A", {}).id
    for patience in (3600.0, 3600.0, 3600.0, 0.0):
        claimed = index.jobs.claim("one", LEASE, 2)
        assert claimed is not None
        ended = index.jobs.finish(
            number, claimed.fence, "waiting", {}, "no answer", again=0.0, most=2, patience=patience
        )
        assert ended.state == ("waiting" if patience else "failed")


def test_when_a_job_is_done_others_of_its_node_begin_at_once_in_their_order(index: Index, monkeypatch) -> None:
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)
    numbers = [index.jobs.add("send", node, {}).id for node in "AABAA"]
    for again in (900.0, 1800.0, 900.0, 30.0):
        claimed = index.jobs.claim("one", LEASE, 8)
        assert claimed is not None
        index.jobs.finish(claimed.id, claimed.fence, "waiting", {}, "no answer", again=again, most=8)
    last = index.jobs.claim("one", LEASE, 8)
    assert last is not None
    now += 20.0  # so that none of the others was tried a minute ago
    index.jobs.finish(last.id, last.fence, "done", {})
    assert not index.jobs.has_work()
    now += 100.0
    (late,) = (index.jobs.claim("one", LEASE, 8),)
    assert late is not None
    assert late.id == numbers[3]
    index.jobs.finish(late.id, late.fence, "done", {})
    claimed_now = [index.jobs.claim("one", LEASE, 8) for _ in range(3)]
    assert [job and job.id for job in claimed_now] == [numbers[0], numbers[1], None]


def test_a_waiting_job_is_canceled_at_once_and_a_running_one_when_its_runner_hears_of_it(index: Index) -> None:
    waiting = index.jobs.add("send", "A", {}).id
    assert index.jobs.cancel(waiting).state == "canceled"
    assert index.jobs.claim("one", LEASE, 3) is None
    running = index.jobs.add("send", "A", {}).id
    claimed = index.jobs.claim("one", LEASE, 3)
    assert claimed is not None
    assert index.jobs.cancel(running).state == "running"
    assert index.jobs.report(running, claimed.fence, {}, LEASE).cancel is True
    assert index.jobs.finish(running, claimed.fence, "canceled", {}).state == "canceled"
    with pytest.raises(Conflict, match="is canceled and cannot be canceled"):
        index.jobs.cancel(running)
    again = index.jobs.retry(running)
    assert (again.state, again.cancel, again.attempts) == ("waiting", False, 0)


def test_a_canceled_job_whose_runner_died_is_not_begun_again(index: Index) -> None:
    number = index.jobs.add("send", "A", {}).id
    claimed = index.jobs.claim("dies", LEASE, 3)
    assert claimed is not None
    index.jobs.cancel(number)
    index.jobs.report(number, claimed.fence, {}, 0.0)
    assert index.jobs.claim("lives", LEASE, 3) is None
    assert index.jobs.get(number).state == "canceled"


def test_a_running_job_is_not_retried_and_what_is_not_there_is_not_found(index: Index) -> None:
    number = index.jobs.add("send", "A", {}).id
    index.jobs.claim("one", LEASE, 3)
    with pytest.raises(Conflict, match="is running"):
        index.jobs.retry(number)
    for ask in (index.jobs.get, index.jobs.cancel, index.jobs.retry):
        with pytest.raises(NotFound, match=f"no job {number + 1}"):
            ask(number + 1)


def test_jobs_that_are_over_are_forgotten_and_others_never(index: Index) -> None:
    over, waiting = index.jobs.add("send", "A", {}), index.jobs.add("send", "A", {})
    index.jobs.cancel(over.id)
    index.jobs.forget(over.created - 1)
    assert len(index.jobs.latest()) == 2
    index.jobs.forget(over.created + 1000)
    assert [job.id for job in index.jobs.latest()] == [waiting.id]


def test_no_job_is_claimed_by_two(index: Index) -> None:
    for _ in range(20):
        index.jobs.add("send", "A", {})
    start = threading.Barrier(4)

    def take(owner: str) -> list[int]:
        start.wait(30)
        taken = []
        while (job := index.jobs.claim(owner, LEASE, 3)) is not None:
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [number for numbers in pool.map(take, "abcd") for number in numbers]
    assert len(taken) == len(set(taken)) == 20


def test_nodes_jobs_and_refusals_survive_the_process_and_a_rebuild(shared_url: str) -> None:
    index = open_index(shared_url)
    number = index.jobs.add("send", "A", {}).id
    index.jobs.claim("one", LEASE, 3)
    index.nodes.put(NodeRow("A", "{}"))
    index.refusals.add(Refusal("association", "X", "Y", "::1", "", "no"))
    index.clear()
    index.close()
    index = open_index(shared_url)
    assert (index.jobs.get(number).state, index.jobs.get(number).owner) == ("running", "one")
    assert len(index.nodes.all()) == len(index.refusals.latest()) == 1
    index.close()


# -- refusals -------------------------------------------------------------------------------------------------
def refusal(calling: str = "CT1", reason: str = "it is no node") -> Refusal:
    return Refusal("association", calling, "ROENTGATE", "192.0.2.1", "", reason, "add it to nodes.toml")


def test_the_same_refusal_is_one_row_that_counts(index: Index) -> None:
    for each in (refusal(), refusal("CT2"), refusal()):
        index.refusals.add(each)
    latest, earlier = index.refusals.latest()
    assert (latest.refusal, latest.count) == (refusal(), 2)
    assert (earlier.refusal, earlier.count) == (refusal("CT2"), 1)
    assert latest.first <= earlier.first <= latest.last
    assert [row.id for row in index.refusals.latest(before=latest.last)] == [earlier.id]
    assert [row.id for row in index.refusals.latest(limit=1)] == [latest.id]
    index.refusals.clear()
    assert index.refusals.latest() == []


def test_only_the_latest_refusals_are_kept(index: Index) -> None:
    few = Refusals(index.refusals._engine, index.refusals._groups, kept=3)
    for number in range(6):
        few.add(refusal(reason=f"reason {number} \0"))
    assert [row.refusal.reason[:8] for row in few.latest()] == ["reason 5", "reason 4", "reason 3"]


# -- visits ---------------------------------------------------------------------------------------------------
def test_a_visit_covers_what_is_below_it_and_is_over_when_nothing_of_the_study_came_lately(index: Index) -> None:
    begun = time.time()
    index.visits.record("PACS", "1.2/3")
    assert index.visits.has("PACS", "1.2/3", begun)
    assert index.visits.has("PACS", "1.2/3/4", begun)
    assert not index.visits.has("PACS", "1.2", begun)
    assert not index.visits.has("OTHER", "1.2/3", begun)
    assert not index.visits.has("PACS", "1.2/3", time.time() + 10)
    index.visits.record("PACS", "1.2")
    index.visits.record("PACS", "1.20")
    assert index.visits.over(begun) == []
    assert index.visits.over(time.time() + 10) == [("PACS", "1.2"), ("PACS", "1.20")]
    index.visits.forget("PACS", "1.2")
    assert index.visits.over(time.time() + 10) == [("PACS", "1.20")]


def test_an_index_beside_another_is_empty_and_stays_apart(url: str) -> None:
    first = open_index(url)
    store(first, entry())
    other = open_index(beside(url, "PACS-1.x"))
    assert list(other.walk()) == []
    store(other, entry(instance="1.1.1.2"))
    assert [held.instance for held in first.walk()] == ["1.1.1.1"]
    other.close()
    if url != "sqlite::memory:":
        again = open_index(beside(url, "PACS-1.x"))
        assert [held.instance for held in again.walk()] == ["1.1.1.2"]
        assert again.search(Query("study", keys=(Key(0x00100010, read("PN", "*a*")),))).remaining == 0
        again.close()
    first.close()
