"""Jobs from end to end: a server, a bridge's runner, and PACS of others."""

import io
import time

import pydicom
import pytest
from dicoms import PREFIX, ct
from exchanged import AET, exchanged
from pacs import FIND, GET, pacs

from dicomweb.errors import Unavailable

STUDY = {"study": f"{PREFIX}.1"}


def uids(count, series=1, study=1):
    return {f"{PREFIX}.{study}.{series}.{number}" for number in range(1, count + 1)}


def test_a_study_is_sent_and_what_arrives_is_what_was_stored(tmp_path):
    with exchanged(tmp_path) as here, pacs() as there:
        here.add_pacs(there)
        here.served.store(*(ct(number, series=series) for series in (1, 2) for number in range(1, 5)))
        job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]))
        assert job["state"] == "done", job
        assert set(there.held) == uids(4) | uids(4, series=2)
        assert (job["progress"]["total"], job["progress"]["done"], job["progress"]["failed"]) == (8, 8, 0)
        assert job["progress"]["bytes"] > 8 * 500
        assert there.held[f"{PREFIX}.1.2.3"].PixelData == ct_pixels(3)


def ct_pixels(number):
    return pydicom.dcmread(io.BytesIO(ct(number))).PixelData


@pytest.mark.parametrize(
    ("resource", "count"),
    [
        ({"patient": "P1"}, 3),
        (STUDY, 3),
        ({**STUDY, "series": f"{PREFIX}.1.1"}, 2),
        ({**STUDY, "series": f"{PREFIX}.1.1", "instance": f"{PREFIX}.1.1.2"}, 1),
    ],
)
def test_patients_studies_series_and_instances_are_sent(tmp_path, resource, count):
    with exchanged(tmp_path) as here, pacs() as there:
        here.add_pacs(there)
        here.served.store(ct(1), ct(2), ct(1, series=2), ct(1, study=2, PatientID="P2"))
        assert here.end_of(here.ask("/aets/PACS/send", resources=[resource]))["state"] == "done"
        assert len(there.held) == count


def test_an_instance_that_is_refused_is_told_of_and_the_others_go_on(tmp_path):
    with exchanged(tmp_path) as here, pacs() as there:
        there.refuse = {f"{PREFIX}.1.1.2"}
        here.add_pacs(there)
        here.served.store(ct(1), ct(2), ct(3))
        job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]))
        assert job["state"] == "failed"
        assert set(there.held) == {f"{PREFIX}.1.1.1", f"{PREFIX}.1.1.3"}
        (failure,) = job["progress"]["failures"]
        assert failure["instance"] == f"{PREFIX}.1.1.2"
        assert "unable to process" in failure["reason"]
        assert job["error"].startswith("1 of 3 instances did not arrive")
        there.refuse.clear()
        there.asked.clear()
        assert here.client.post(f"/jobs/{job['id']}/retry").status_code == 200
        again = here.end_of(job["id"])
        assert (again["state"], again["progress"]["skipped"]) == ("done", 2)
        assert there.asked.count("store") == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"host": "127.0.0.1", "port": 1}, "takes no connection"),
        ({"host": "nowhere.invalid", "port": 104}, "has no address"),
    ],
)
def test_a_node_that_is_not_there_is_tried_again_later(tmp_path, settings, sentence):
    with exchanged(tmp_path) as here:
        here.add_node("PACS", **settings)
        here.served.store(ct())
        job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]), ("waiting",))
        while not job["error"]:
            job = here.end_of(job["id"], ("waiting",))
        assert sentence in job["error"]
        assert job["due"] > job["changed"]


@pytest.mark.parametrize("away", [1, 8])
def test_an_archive_that_is_away_for_a_moment_costs_no_instance(tmp_path, monkeypatch, away):
    monkeypatch.setattr("bridge.jobs._FIRST_PAUSE", 0.2)
    with exchanged(tmp_path) as here, pacs() as there:
        here.add_pacs(there)
        here.served.store(*(ct(number) for number in range(1, 11)))
        left = faults_of(here.served.archive.storage, monkeypatch, away)
        job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]))
        assert not left
        assert (job["state"], job["progress"]["done"]) == ("done", 10), job
        assert set(there.held) == uids(10)
        assert there.asked.count("store") == 10


def test_a_node_that_is_out_of_resources_is_tried_again_later(tmp_path, monkeypatch):
    monkeypatch.setattr("bridge.jobs._FIRST_PAUSE", 0.2)
    with exchanged(tmp_path) as here, pacs() as there:
        there.busy = [0xA700, 0xA701]
        here.add_pacs(there)
        here.served.store(*(ct(number) for number in range(1, 6)))
        job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]))
        assert (job["state"], job["progress"]["done"], job["progress"]["skipped"]) == ("done", 5, 3), job
        assert set(there.held) == uids(5)


def test_what_the_archive_cannot_take_now_is_retrieved_later(tmp_path, monkeypatch):
    monkeypatch.setattr("bridge.jobs._FIRST_PAUSE", 0.2)
    with exchanged(tmp_path) as here, pacs(*(ct(number) for number in range(1, 6))) as there:
        here.add_pacs(there)
        left = faults_of(here.served.archive.storage, monkeypatch, 2, "put")
        job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[STUDY]))
        assert not left
        assert (job["state"], job["progress"]["done"]) == ("done", 5), job
        assert here.instances() == uids(5)


def faults_of(storage, monkeypatch, count, *operations):
    """Let storage be away for so many calls; return those that are still to come."""
    left = list(range(count))

    def away(operation):
        def call(*arguments, **more):
            if left:
                left.pop()
                raise Unavailable("the disk is away")
            return operation(*arguments, **more)

        return call

    for name in operations or ("read", "stream"):
        monkeypatch.setattr(storage, name, away(getattr(storage, name)))
    return left


def test_an_object_that_ends_the_association_keeps_no_other_out(tmp_path):
    with exchanged(tmp_path) as here, pacs() as there:
        there.abort = {f"{PREFIX}.1.1.2"}
        here.add_pacs(there)
        here.served.store(*(ct(number) for number in range(1, 6)))
        job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]))
        assert job["state"] == "failed"
        assert set(there.held) == uids(5) - there.abort
        (failure,) = job["progress"]["failures"]
        assert failure["instance"] == f"{PREFIX}.1.1.2"
        assert "each time when this instance was sent" in failure["reason"]


def test_a_study_of_many_series_is_asked_for_over_one_association_and_sent_over_another(tmp_path):
    with exchanged(tmp_path) as here, pacs(*(ct(1, series=series) for series in range(1, 9))) as there:
        here.add_pacs(there)
        job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[STUDY]))
        assert job["state"] == "done"
        assert there.asked.count("find IMAGE") == 8
        assert there.associations == 1 + 8
        there.associations = 0
        there.held.clear()
        assert here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]))["state"] == "done"
        assert there.associations == 1


def test_what_is_not_there_fails_at_once(tmp_path):
    with exchanged(tmp_path) as here, pacs() as there:
        here.add_pacs(there)
        job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]))
        assert (job["state"], job["error"]) == ("failed", "nothing of what was asked for is there")


@pytest.mark.parametrize("services", [(*FIND, GET), (*FIND[:1], GET)])
def test_a_study_is_retrieved_by_c_get(tmp_path, services):
    with exchanged(tmp_path) as here, pacs(*(ct(number) for number in range(1, 6)), services=services) as there:
        here.add_pacs(there)
        job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[STUDY]))
        assert job["state"] == "done", job
        assert here.instances() == uids(5)
        assert there.asked[-1] == "get SERIES"
        (held, *_) = here.served.archive.index.walk()
        meta = pydicom.dcmread(io.BytesIO(here.served.archive.storage.read(held.key))).file_meta
        assert (meta.SourceApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == ("PACS", AET)
        again = here.end_of(here.ask("/aets/PACS/retrieve", resources=[STUDY]))
        assert (again["state"], again["progress"]["skipped"]) == ("done", 5)


def test_only_what_is_missing_is_retrieved(tmp_path):
    with exchanged(tmp_path) as here, pacs(*(ct(number) for number in range(1, 6))) as there:
        here.add_pacs(there)
        here.served.store(ct(2), ct(4))
        job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[STUDY]))
        assert (job["state"], job["progress"]["skipped"]) == ("done", 2)
        assert here.instances() == uids(5)
        assert there.asked[-1] == "get IMAGE"


def test_a_third_party_receives_by_c_move(tmp_path):
    with exchanged(tmp_path) as here, pacs(ct(1), ct(2)) as there, pacs(aet="THIRD") as third:
        there.known["THIRD"] = ("127.0.0.1", third.port)
        here.add_pacs(there)
        here.add_pacs(third, "third-one", aet="THIRD")
        job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[STUDY], destination="third-one"))
        assert job["state"] == "done", job
        assert set(third.held) == uids(2)
        assert "move SERIES THIRD" in there.asked
        assert here.instances() == set()


def test_an_unknown_move_destination_is_told_in_plain_words(tmp_path):
    with exchanged(tmp_path) as here, pacs(ct(1), ct(2)) as there, pacs(aet="THIRD") as third:
        here.add_pacs(there)
        here.add_pacs(third, "third-one", aet="THIRD")
        job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[STUDY], destination="third-one"))
        assert job["state"] == "failed"
        assert "does not know the move destination" in job["error"]


def test_a_canceled_job_stops_at_the_next_instance(tmp_path):
    with exchanged(tmp_path) as here, pacs() as there:
        there.hold_after = 2
        here.add_pacs(there)
        here.served.store(*(ct(number) for number in range(1, 21)))
        job = here.ask("/aets/PACS/send", resources=[STUDY])
        assert there.stored_some.wait(60)
        assert here.client.post(f"/jobs/{job}/cancel").json()["cancel"] is True
        until_heard(here, job)
        there.going_on.set()
        ended = here.end_of(job)
        assert ended["state"] == "canceled"
        assert len(there.held) < 20


def until_heard(here, job):
    """Wait until the runner has reported once more, which is when it hears of a cancellation."""
    first = here.client.get(f"/jobs/{job}").json()["changed"]
    deadline = time.monotonic() + 60
    while here.client.get(f"/jobs/{job}").json()["changed"] == first:
        assert time.monotonic() < deadline


def test_a_job_whose_runner_is_killed_goes_on_in_another_and_nothing_is_sent_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("dicomweb.web.jobs.LEASE", 3.0)
    with exchanged(tmp_path, runs=False) as here, pacs() as there:
        there.hold_after = 4
        here.add_pacs(there)
        here.served.store(*(ct(number) for number in range(1, 11)))
        job = here.ask("/aets/PACS/send", resources=[STUDY])
        process = killable(here.root)
        try:
            assert there.stored_some.wait(60)
        finally:
            process.kill()
            process.wait(30)
        there.hold_after = -1
        there.going_on.set()
        runner = here.runner(owner="bridge-2")
        try:
            ended = here.end_of(job)
        finally:
            runner.stop(30)
        assert (ended["state"], ended["attempts"], ended["owner"]) == ("done", 2, "bridge-2")
        assert set(there.held) == uids(10)
        assert ended["progress"]["skipped"] >= 4
        assert there.asked.count("store") <= 11


def killable(root):
    """A runner in a process of its own."""
    import subprocess
    import sys

    from exchanging import TOKEN

    program = (
        "import threading; from bridge.client import Origin; from bridge.jobs import Runner, WebQueue;"
        f"origin = Origin('{root}/dicom-web', token='{TOKEN}');"
        f"Runner(WebQueue(origin), origin, '{AET}', 'bridge-1', 1); threading.Event().wait()"
    )
    return subprocess.Popen([sys.executable, "-c", program])


def test_two_servers_exchange_over_dicomweb(tmp_path):
    with exchanged(tmp_path / "one") as one, exchanged(tmp_path / "two", runs=False) as two:
        one.add_node("two", kind="dicomweb", url=f"{two.root}/dicom-web")
        one.served.store(ct(1), ct(2), ct(1, series=2))
        two.served.store(ct(1, study=7), ct(2, study=7))
        sent = one.end_of(one.ask("/aets/two/send", resources=[STUDY]))
        assert sent["state"] == "done", sent
        brought = one.end_of(one.ask("/aets/two/retrieve", resources=[{"study": f"{PREFIX}.7"}]))
        assert brought["state"] == "done", brought
        assert one.instances() == two.instances() == uids(2) | uids(1, series=2) | uids(2, study=7)
        for index in (one.served.archive.index, two.served.archive.index):
            assert {held.digest for held in index.walk()} == {held.digest for held in one.served.archive.index.walk()}


def test_one_stream_of_events_lasts_as_long_as_the_job(tmp_path, monkeypatch):
    monkeypatch.setattr("dicomweb.web.jobs.WAIT", 0.0)
    with exchanged(tmp_path) as here, pacs() as there:
        there.hold_after = 1
        here.add_pacs(there)
        here.served.store(*(ct(number) for number in range(1, 4)))
        job = here.ask("/aets/PACS/send", resources=[STUDY])
        assert there.stored_some.wait(60)
        with here.client.stream("GET", f"/jobs/{job}/events") as answer:
            kinds = []
            for line in answer.iter_lines():
                kinds += [line] if line.startswith("event:") else []
                if len(kinds) == 2:  # it went on after the first one
                    there.going_on.set()
        assert kinds[0] == "event: progress"
        assert kinds[-1] == "event: end"


def test_a_job_has_as_many_associations_as_the_node_is_said_to_take(tmp_path):
    sent = [ct(number, series=series) for series in range(1, 5) for number in range(1, 11)]
    with exchanged(tmp_path) as here, pacs() as there:
        here.add_pacs(there, associations=4)
        here.served.store(*sent)
        job = here.end_of(here.ask("/aets/PACS/send", resources=[STUDY]))
        assert (job["state"], job["progress"]["done"], job["progress"]["failed"]) == ("done", 40, 0)
        assert len(there.held) == there.asked.count("store") == 40
        assert there.associations == 4
    with exchanged(tmp_path / "other") as here, pacs(*sent) as there:
        here.add_pacs(there, associations=3)
        job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[STUDY]))
        assert (job["state"], job["progress"]["done"]) == ("done", 40)
        assert len(here.instances()) == 40


def test_jobs_run_beside_each_other(tmp_path):
    with exchanged(tmp_path) as here, pacs() as slow, pacs() as quick:
        slow.hold_after = 0
        here.add_pacs(slow, "SLOW", aet="PACS")
        here.add_pacs(quick, "QUICK", aet="PACS")
        here.served.store(ct())
        first = here.ask("/aets/SLOW/send", resources=[STUDY])
        assert slow.stored_some.wait(60)
        assert here.end_of(here.ask("/aets/QUICK/send", resources=[STUDY]))["state"] == "done"
        slow.going_on.set()
        assert here.end_of(first)["state"] == "done"
