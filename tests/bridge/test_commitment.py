"""Storage Commitment Push: the report says what the archive really holds, and comes until it is acknowledged."""

import contextlib
import os
import queue
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from bridged import bridge_to, bridged
from dicoms import CT, PREFIX, ct
from programs import send
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF

from dicomweb.errors import Unavailable

COMMITMENT, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
VERIFICATION = "1.2.840.10008.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
TRANSACTION = "1.2.826.0.1.3680043.10.1234.77"


def request(*references: tuple[str, str]) -> Dataset:
    ds = Dataset()
    ds.TransactionUID = TRANSACTION
    ds.ReferencedSOPSequence = []
    for sop_class, uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        ds.ReferencedSOPSequence.append(item)
    return ds


def ask(
    system,
    ds: Dataset,
    reports: "queue.Queue",
    action: int = 1,
    instance: str = INSTANCE,
    waits=False,
    calling: str = "MODALITY",
    between: Callable[[Association], None] = lambda _: None,
) -> Dataset:
    """Ask for commitment; reports on the same association go into the queue. One that `waits` leaves only after its
    answer to a report is on the wire: a handler of pynetdicom returns before that."""
    answered = threading.Event()
    entity = AE(calling)
    entity.add_requested_context(COMMITMENT)
    entity.add_requested_context(VERIFICATION)

    def on_report(event: evt.Event):
        reports.put((event.event_type, event.event_information))
        return 0, None

    def on_sent(event: evt.Event):
        if reports.qsize() and isinstance(event.pdu, P_DATA_TF):
            answered.set()

    handlers = [(evt.EVT_N_EVENT_REPORT, on_report), (evt.EVT_PDU_SENT, on_sent)]
    association = entity.associate("127.0.0.1", system.port, ae_title="ROENTGATE", evt_handlers=handlers)
    assert association.is_established
    status, _ = association.send_n_action(ds, action, COMMITMENT, instance)
    between(association)
    assert not waits or answered.wait(30)
    association.release()
    return status


@contextlib.contextmanager
def modality(reports: "queue.Queue", answers: list[int]):
    """A modality that takes reports on new associations; yields its port and who called whom."""
    entity = AE("MODALITY")
    entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    calls = []

    def on_report(event: evt.Event):
        calls.append((str(event.assoc.requestor.ae_title), str(event.assoc.acceptor.primitive.called_ae_title)))
        if answers and (status := answers.pop(0)):
            return status, None
        reports.put((event.event_type, event.event_information))
        return 0, None

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)])
    try:
        yield server.socket.getsockname()[1], calls
    finally:
        server.shutdown()
        server.server_close()


def node(port: int) -> str:
    return f'[nodes.MODALITY]\nhost = "127.0.0.1"\nport = {port}\n'


def test_all_that_is_held_is_committed_over_a_new_association(tmp_path):
    reports: queue.Queue = queue.Queue()
    with modality(reports, []) as (port, calls), bridged(tmp_path, node(port)) as system:
        system.served.store(ct(1), ct(2))
        assert ask(system, request((CT, f"{PREFIX}.1.1.1"), (CT, f"{PREFIX}.1.1.2")), reports).Status == 0
        event, report = reports.get(timeout=30)
        assert event == 1
        assert report.TransactionUID == TRANSACTION
        assert [one.ReferencedSOPInstanceUID for one in report.ReferencedSOPSequence] == [
            f"{PREFIX}.1.1.1",
            f"{PREFIX}.1.1.2",
        ]
        assert "FailedSOPSequence" not in report
        assert calls == [("ROENTGATE", "MODALITY")]


def test_what_is_not_held_is_listed_with_its_reason(tmp_path):
    reports: queue.Queue = queue.Queue()
    with modality(reports, []) as (port, _), bridged(tmp_path, node(port)) as system:
        system.served.store(ct(1), ct(2), ct(3))
        held = system.served.archive.index.present([f"{PREFIX}.1.1.3"])[f"{PREFIX}.1.1.3"]
        system.served.archive.storage.delete(held.key)
        asked = [(CT, f"{PREFIX}.1.1.1"), (MR, f"{PREFIX}.1.1.2"), (CT, f"{PREFIX}.1.1.3"), (CT, f"{PREFIX}.1.1.4")]
        ask(system, request(*asked), reports)
        event, report = reports.get(timeout=30)
        assert event == 2
        assert [one.ReferencedSOPInstanceUID for one in report.ReferencedSOPSequence] == [f"{PREFIX}.1.1.1"]
        failed = {one.ReferencedSOPInstanceUID: one.FailureReason for one in report.FailedSOPSequence}
        assert failed[f"{PREFIX}.1.1.2"] == 0x0119
        assert failed[f"{PREFIX}.1.1.4"] == 0x0112
        assert failed[f"{PREFIX}.1.1.3"] in (0x0112, 0x0110)


def test_a_report_that_is_not_acknowledged_comes_again(tmp_path):
    reports: queue.Queue = queue.Queue()
    with modality(reports, [0x0110]) as (port, calls), bridged(tmp_path, node(port)) as system:
        system.served.store(ct(1))
        ask(system, request((CT, f"{PREFIX}.1.1.1")), reports)
        assert reports.get(timeout=30)[0] == 1
        assert len(calls) == 2


def test_a_request_outlives_the_bridge(tmp_path):
    reports: queue.Queue = queue.Queue()
    with bridged(tmp_path, node(9)) as system:
        system.served.store(ct(1))
        assert ask(system, request((CT, f"{PREFIX}.1.1.1")), reports).Status == 0
    assert len(list((tmp_path / "bridge" / "commitment").glob("*.json"))) == 1
    with modality(reports, []) as (port, _), bridged(tmp_path, node(port)):
        event, report = reports.get(timeout=30)
        assert event == 2  # that archive was in memory, so that its object is gone
        assert report.FailedSOPSequence[0].FailureReason == 0x0112


def test_the_name_of_a_request_is_synced_as_well_before_it_is_acknowledged(tmp_path, monkeypatch):
    folder = tmp_path / "bridge" / "commitment"
    whole: list[bool] = []  # whether the request was there under its name when its folder was synced
    sync = os.fsync

    def seen(number: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{number}")) == folder:
            whole.append(bool(list(folder.glob("*.json"))))
        sync(number)

    with bridged(tmp_path, node(9)) as system:
        monkeypatch.setattr("bridge.commitment.os.fsync", seen)
        assert ask(system, request((CT, f"{PREFIX}.1.1.1")), queue.Queue()).Status == 0
        assert whole == [True]


def test_a_request_that_cannot_be_kept_is_not_acknowledged(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with bridged(tmp_path, node(9)) as system:
        with monkeypatch.context() as patch:
            patch.setattr("bridge.commitment.os.fsync", full)
            assert ask(system, request((CT, f"{PREFIX}.1.1.1")), queue.Queue()).Status == 0x0213
        assert not list((tmp_path / "bridge" / "commitment").iterdir())
        assert ask(system, request((CT, f"{PREFIX}.1.1.1")), queue.Queue()).Status == 0


def test_somebody_without_an_address_is_told_over_the_same_association(tmp_path):
    reports: queue.Queue = queue.Queue()
    with bridged(tmp_path) as system:
        system.served.store(ct(1))
        ask(system, request((CT, f"{PREFIX}.1.1.1")), reports, waits=True)
        assert reports.get(timeout=1)[0] == 1


def failures(report: Dataset) -> dict[str, int]:
    return {str(one.ReferencedSOPInstanceUID): int(one.FailureReason) for one in report.FailedSOPSequence}


def test_an_object_with_one_other_byte_on_disk_is_not_committed(tmp_path):
    reports: queue.Queue = queue.Queue()
    with (
        modality(reports, []) as (port, _),
        bridged(tmp_path, node(port), {"storage": f"file:{tmp_path / 'objects'}"}) as system,
    ):
        system.served.store(ct(1), ct(2))
        held = system.served.archive.index.present([f"{PREFIX}.1.1.2"])[f"{PREFIX}.1.1.2"]
        path = Path(tmp_path / "objects" / held.key)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)
        ask(system, request((CT, f"{PREFIX}.1.1.1"), (CT, f"{PREFIX}.1.1.2")), reports)
        event, report = reports.get(timeout=30)
        assert event == 2
        assert [one.ReferencedSOPInstanceUID for one in report.ReferencedSOPSequence] == [f"{PREFIX}.1.1.1"]
        assert failures(report) == {f"{PREFIX}.1.1.2": 0x0110}


def test_what_is_asked_about_thousands_is_looked_up_in_several_requests(tmp_path, monkeypatch):
    monkeypatch.setattr("dicomweb.web.verify.SECONDS", 0.0)
    reports: queue.Queue = queue.Queue()
    with modality(reports, []) as (port, _), bridged(tmp_path, node(port)) as system:
        system.served.store(*(ct(number) for number in range(1, 8)))
        asked = [(CT, f"{PREFIX}.1.1.{number}") for number in range(1, 8)] + [
            (CT, f"{PREFIX}.9.{n}") for n in range(200)
        ]
        ask(system, request(*asked), reports)
        event, report = reports.get(timeout=60)
        assert event == 2
        assert len(report.ReferencedSOPSequence) == 7
        assert failures(report) == {uid: 0x0112 for _, uid in asked[7:]}


def test_a_class_that_is_no_storage_is_told_apart_from_an_object_that_is_missing(tmp_path):
    reports: queue.Queue = queue.Queue()
    with modality(reports, []) as (port, _), bridged(tmp_path, node(port)) as system:
        ask(system, request((VERIFICATION, "1.2.3"), (CT, "1.2.4")), reports)
        assert failures(reports.get(timeout=30)[1]) == {"1.2.3": 0x0122, "1.2.4": 0x0112}


def test_a_transaction_that_is_under_way_for_other_objects_fails_and_the_same_request_is_one(tmp_path):
    reports: queue.Queue = queue.Queue()
    web = {"storage": f"file:{tmp_path / 'objects'}", "index": f"sqlite:{tmp_path / 'index.db'}"}
    with bridged(tmp_path, node(9), web) as system:
        system.served.store(ct(1), ct(2))
        for number in (1, 1, 2):
            assert ask(system, request((CT, f"{PREFIX}.1.1.{number}")), reports).Status == 0
        assert len(list((tmp_path / "bridge" / "commitment").glob("*.json"))) == 2
    with modality(reports, []) as (port, _), bridged(tmp_path, node(port), web):
        (first, _), (second, report) = (reports.get(timeout=30) for _ in range(2))
        assert (first, second) == (1, 2)
        assert failures(report) == {f"{PREFIX}.1.1.2": 0x0131}


def test_a_requester_is_served_while_its_objects_are_looked_at(tmp_path):
    reports: queue.Queue = queue.Queue()
    going_on = threading.Event()
    with bridged(tmp_path) as system:
        system.served.store(ct(1))
        check = system.served.archive.check

        def held_up(instances):
            assert going_on.wait(60)
            return check(instances)

        def between(association: Association) -> None:
            assert association.send_c_echo().Status == 0
            assert reports.empty()
            going_on.set()

        system.served.archive.check = held_up
        ask(system, request((CT, f"{PREFIX}.1.1.1")), reports, waits=True, between=between)
        assert reports.get(timeout=1)[0] == 1


def test_somebody_who_leaves_before_the_report_is_told_of_at_refusals(tmp_path, caplog):
    going_on = threading.Event()
    with bridged(tmp_path) as system:
        system.served.archive.check = lambda _: going_on.wait(60) and iter(())
        assert ask(system, request((CT, f"{PREFIX}.1.1.1")), queue.Queue()).Status == 0
        going_on.set()
    assert "the requester left before the report" in caplog.text


def test_a_node_that_says_nothing_holds_up_no_report_to_another(tmp_path):
    reports: queue.Queue = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as silent, modality(reports, []) as (port, _):
        nodes = node(port) + f'[nodes.SILENT]\nhost = "127.0.0.1"\nport = {silent.getsockname()[1]}\n'
        with bridged(tmp_path, nodes, request_seconds=300.0) as system:
            system.served.store(ct(1))
            for calling in ("SILENT", "SILENT", "MODALITY"):
                ask(system, request((CT, f"{PREFIX}.1.1.1")), reports, calling=calling)
            assert reports.get(timeout=60)[0] == 1
            silent.accept()[0].close()


NOWHERE = "http://127.0.0.1:9/dicom-web"


def spooled(folder: Path, *numbers: int) -> None:
    """Let a bridge without a server acknowledge objects, and end."""
    folder.mkdir()
    with bridge_to(NOWHERE, folder, spool=True) as bridge:
        assert send(bridge.port, *map(ct, numbers)) == [0] * len(numbers)


def looks(system) -> threading.Event:
    """An event that is set once the archive was asked what it holds."""
    check, looked = system.served.archive.check, threading.Event()

    def watched(instances):
        yield from check(instances)
        looked.set()

    system.served.archive.check = watched
    return looked


@pytest.mark.parametrize("known", [True, False], ids=["new association", "same association"])
def test_an_object_that_waits_in_another_bridges_spool_is_not_missing(tmp_path, known):
    reports: queue.Queue = queue.Queue()
    spooled(tmp_path / "other", 1)
    with (
        modality(reports, []) as (port, _),
        bridged(tmp_path, node(port) if known else "", spool=True) as system,
        contextlib.ExitStack() as stack,
    ):
        looked = looks(system)

        def between(_: object) -> None:
            assert looked.wait(60)
            url = f"http://127.0.0.1:{system.web_port}/dicom-web"
            stack.enter_context(bridge_to(url, tmp_path / "other", spool=True))

        ask(system, request((CT, f"{PREFIX}.1.1.1")), reports, waits=not known, between=between)
        event, report = reports.get(timeout=60)
        assert event == 1, report


def test_while_the_archive_was_away_no_patience_was_used_up(tmp_path):
    """Other bridges could not deliver either: what is absent at its first answer may still come."""
    reports: queue.Queue = queue.Queue()
    asked: list[str] = []
    with modality(reports, []) as (port, _), bridged(tmp_path, node(port), spool=True, patience_seconds=0.9) as system:
        check = system.served.archive.check

        def away_at_first(instances):
            asked.extend(instances)
            if len(asked) == 1:
                raise Unavailable("the archive is away")
            yield from list(check(instances))
            if len(asked) == 2:
                system.served.store(ct(1))

        system.served.archive.check = away_at_first
        ask(system, request((CT, f"{PREFIX}.1.1.1")), reports)
        event, report = reports.get(timeout=60)
        assert (event, len(asked)) == (1, 3), report


def test_an_object_that_came_in_no_spool_is_missing_in_the_end(tmp_path):
    reports: queue.Queue = queue.Queue()
    with modality(reports, []) as (port, _), bridged(tmp_path, node(port), spool=True, patience_seconds=0.5) as system:
        system.served.store(ct(1))
        ask(system, request((CT, f"{PREFIX}.1.1.1"), (CT, f"{PREFIX}.1.1.2")), reports)
        event, report = reports.get(timeout=60)
        assert (event, failures(report)) == (2, {f"{PREFIX}.1.1.2": 0x0112})


def test_nothing_is_reported_before_our_own_spool_has_delivered_it(tmp_path):
    """Whatever the patience is, and by the next bridge of the same folder."""
    reports: queue.Queue = queue.Queue()
    settings = {"spool": True, "patience_seconds": 0.0}
    with modality(reports, []) as (port, _):
        with bridge_to(NOWHERE, tmp_path, node(port), **settings) as bridge:
            assert send(bridge.port, ct(1)) == [0]
            assert ask(bridge, request((CT, f"{PREFIX}.1.1.1")), reports).Status == 0
            assert bridge.commitment.waiting() == 1
        with bridged(tmp_path, node(port), **settings):
            event, report = reports.get(timeout=60)
            assert event == 1, report


@pytest.mark.parametrize(
    ("ds", "action", "instance", "status"),
    [
        (request((CT, "1.2.3")), 2, INSTANCE, 0x0123),
        (request((CT, "1.2.3")), 1, "1.2.3.4", 0x0112),
        (request(), 1, INSTANCE, 0x0115),
    ],
)
def test_requests_that_mean_nothing_are_refused(tmp_path, ds, action, instance, status):
    with bridged(tmp_path) as system:
        assert ask(system, ds, queue.Queue(), action, instance).Status == status
