"""Objects of several associations in one Store request: who travels with whom, and who hears what."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from bridged import bridged
from dicoms import CT, PREFIX, ct

from bridge.association import Limits, connect
from bridge.client import Stored
from bridge.courier import Courier
from bridge.negotiation import Proposed, Request
from dicomweb.errors import BadRequest, Unavailable
from dicomweb.standard import multipart
from dicomweb.standard.outcomes import CANNOT_UNDERSTAND, MISMATCH, Outcome
from dicomweb.standard.syntaxes import EXPLICIT


class Origin:
    """A server that takes files which say their own UID, and answers when it is let.

    Attributes:
        requests: UIDs of each request, in order.
        bad: UIDs that are refused; `odd`: that are stored with a warning; `poison`: that spoil a whole request.
        fault: ends every request, if there is one.
    """

    def __init__(self):
        self.requests: list[list[str]] = []
        self.bad, self.odd, self.poison = set(), set(), set()
        self.fault = None
        self.most = self.now = 0
        self.open = threading.Event()
        self.came = threading.Semaphore(0)
        self._lock = threading.Lock()

    def store(self, body, content_type, conflict="keep"):
        reader = multipart.PartReader(multipart.boundary_of(content_type))
        uids = []
        for event in reader.feed(b"".join(body)):
            if isinstance(event, multipart.PartStart):
                uids.append("")
            elif isinstance(event, multipart.PartData):
                uids[-1] += bytes(event.data).decode()
        reader.finish()
        with self._lock:
            self.requests.append(uids)
            self.now += 1
            self.most = max(self.most, self.now)
        self.came.release()
        assert self.open.wait(60)
        with self._lock:
            self.now -= 1
        if self.fault is not None:
            raise self.fault
        if self.poison & set(uids):
            raise BadRequest("this request cannot be read")
        told = [self._outcome(uid) for uid in uids]
        failed = [each for each in told if each.reason is not None]
        return Stored(
            [each for each in told if each.reason is None] + failed, ["C000 a sentence"] * bool(failed), False
        )

    def _outcome(self, uid):
        if uid in self.bad:
            return Outcome("failed", CT, uid, reason=CANNOT_UNDERSTAND)
        return Outcome("stored", CT, uid, warning=MISMATCH if uid in self.odd else None)


@contextmanager
def waiting(origin, uids, most=1):
    """One request is under way, of UID "first", and the objects of `uids` wait for it; yields what they will hear."""
    courier = Courier(origin, most, 60.0)
    with ThreadPoolExecutor(32) as pool:
        told = {f"first{number}": pool.submit(store, courier, f"first{number}") for number in range(most)}
        for _ in range(most):
            assert origin.came.acquire(timeout=60)
        futures = [pool.submit(store, courier, uid) for uid in uids]
        while len(courier._waiting) < len(uids):
            assert not any(each.done() for each in futures)
        origin.open.set()
        yield [*told.values()], futures


def store(courier, uid):
    said, _, real = uid.partition("=")
    text = (real or said).encode()
    return courier.store(said, [text[:2], text[2:]], len(text))


def test_an_object_alone_leaves_at_once():
    origin = Origin()
    origin.open.set()
    courier = Courier(origin, 2)
    assert [store(courier, uid).outcomes[0].instance for uid in ("one", "two")] == ["one", "two"]
    assert origin.requests == [["one"], ["two"]]


def test_nothing_of_an_object_stays_when_it_is_stored():
    origin = Origin()
    origin.open.set()
    courier = Courier(origin, 2)
    gc.collect()
    gc.disable()
    try:
        store(courier, "one")
        assert not [each for each in gc.get_objects() if type(each).__name__ == "_Parcel"]
    finally:
        gc.enable()


def test_those_that_come_while_a_request_is_under_way_leave_together_and_each_hears_its_own():
    origin = Origin()
    uids = [f"uid{number}" for number in range(8)]
    with waiting(origin, uids) as (first, futures):
        assert first[0].result(60).outcomes[0].instance == "first0"
        assert [each.result(60).outcomes[0].instance for each in futures] == uids
    assert [len(request) for request in origin.requests] == [1, 8]
    assert origin.most == 1


def test_who_has_waited_for_a_moment_takes_those_that_wait_along():
    origin = Origin()
    courier = Courier(origin, 1, 0.0)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(store, courier, uid) for uid in ("one", "two", "three")]
        assert origin.came.acquire(timeout=60)
        while sum(map(len, origin.requests)) < 3:  # although no request has come back
            assert not any(each.done() for each in futures)
        origin.open.set()
        assert [each.result(60).outcomes[0].instance for each in futures] == ["one", "two", "three"]
    assert courier._under_way == 0


def test_as_many_requests_as_may_be_are_under_way():
    origin = Origin()
    with waiting(origin, [f"uid{number}" for number in range(9)], most=3) as (_, futures):
        assert all(each.result(60).outcomes for each in futures)
    assert origin.most == 3


@pytest.mark.parametrize("kind", ["bad", "odd", "poison"])
def test_one_that_is_refused_or_odd_goes_again_alone_and_the_others_are_stored(kind):
    origin = Origin()
    getattr(origin, kind).add("uid2")
    with waiting(origin, [f"uid{number}" for number in range(4)]) as (_, futures):
        for number in (0, 1, 3):
            assert futures[number].result(60).outcomes[0].reason is None
        if kind == "poison":
            with pytest.raises(BadRequest):
                futures[2].result(60)
        else:
            (outcome,) = futures[2].result(60).outcomes
            assert (outcome.reason, outcome.warning) == (
                (CANNOT_UNDERSTAND, None) if kind == "bad" else (None, MISMATCH)
            )
            assert futures[2].result().sentences == (["C000 a sentence"] if kind == "bad" else [])
    assert ["uid2"] in origin.requests


def test_nobody_hears_of_success_when_the_request_failed():
    origin = Origin()
    origin.fault = Unavailable("the connection to the DICOMweb server broke")
    with waiting(origin, ["one", "two", "three"]) as (first, futures):
        for each in (*first, *futures):
            with pytest.raises(Unavailable, match="broke"):
                each.result(60)
    assert len(origin.requests) == 2


def test_a_fault_of_ours_costs_one_sender_and_leaves_nobody_waiting():
    origin = Origin()
    origin.fault = RuntimeError("a fault")
    with waiting(origin, ["one", "two", "three"]) as (_, futures):
        for each in futures:
            with pytest.raises(RuntimeError):
                each.result(60)


def test_two_objects_with_one_uid_do_not_share_a_request():
    origin = Origin()
    with waiting(origin, ["same", "same", "other"]) as (_, futures):
        assert all(each.result(60).outcomes for each in futures)
    assert sorted(origin.requests[1:], key=len) == [["same"], ["same", "other"]]


def test_an_object_that_says_another_uid_than_its_request_is_not_taken_for_stored():
    origin = Origin()
    with waiting(origin, ["one", "claimed=real", "two"]) as (_, futures):
        assert [each.result(60).outcomes[0].instance for each in futures] == ["one", "real", "two"]
    assert origin.requests[1:] == [["one", "real", "two"], ["real"]]


def test_many_associations_at_once_store_everything_as_it_was_sent(tmp_path):
    with bridged(tmp_path) as system:
        sent = {(study, number): ct(number, study=study) for study in range(1, 9) for number in range(1, 11)}

        def one(study):
            asked = Request(f"MODALITY{study}", "ROENTGATE", (Proposed(1, CT, (EXPLICIT,)),))
            association = connect("127.0.0.1", system.port, asked, Limits(answer_seconds=60.0))
            statuses = []
            for number in range(1, 11):
                uid = f"{PREFIX}.{study}.1.{number}"
                command = {"AffectedSOPClassUID": CT, "CommandField": 1, "Priority": 0, "AffectedSOPInstanceUID": uid}
                statuses.append(association.ask(1, command, data_set(sent[study, number]))["Status"])
            association.release()
            return statuses

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(one, range(1, 9))) == [[0] * 10] * 8
        for (study, number), data in sent.items():
            kept = system.stored(f"{PREFIX}.{study}.1.{number}")
            assert kept.endswith(data_set(data))


def data_set(data):
    return data[144 + int.from_bytes(data[140:144], "little") :]
