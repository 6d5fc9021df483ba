"""The bridge in front of a DICOMweb server that offers nothing else: a Roentgate of which only /dicom-web is reached.
Jobs, nodes and refusals are the bridge's own then."""

import contextlib
import queue
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import dimse_port, run, run_json, started
from dicoms import CT, PREFIX, ct
from pacs import Pacs, pacs
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from served import Served
from servers import running

STUDY = f"{PREFIX}.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
COMMITMENT = "1.2.840.10008.1.20.1"


def only_dicomweb(app: Any) -> Any:
    """The application behind something that lets nothing but its DICOMweb services through."""

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/dicom-web"):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"nothing here"})
            return
        await app(scope, receive, send)

    return inner


@contextlib.contextmanager
def strange(folder: Path) -> Iterator[tuple[Served, str]]:
    """A server with the root of its services."""
    served = Served(folder / "web")
    with running(only_dicomweb(served.client.app)) as server:
        yield served, f"http://127.0.0.1:{server.port}/dicom-web"


def write_nodes(folder: Path, there: Pacs, more: str = "") -> None:
    (folder / "data").mkdir(exist_ok=True)
    text = f'[nodes.PACS]\nhost = "127.0.0.1"\nport = {there.port}\n{more}'
    (folder / "data" / "nodes.toml").write_text(text)


def bridge(folder: Path, url: str) -> contextlib.AbstractContextManager[Any]:
    return started(folder, "bridge", "--dicomweb", url, "--dimse-port", "0", ROENTGATE_BRIDGE_TOKEN="SECRET")


def test_jobs_are_done_listed_and_told_of_by_commands(tmp_path):
    with strange(tmp_path) as (served, url), pacs(ct(1, study=7), ct(2, study=7)) as there:
        write_nodes(tmp_path, there)
        served.store(ct(1), ct(2), ct(3))
        sent = run_json(tmp_path, "send", "PACS", "--study", STUDY, "--job", "--dicomweb", url)
        assert (sent["kind"], sent["state"]) == ("send", "waiting")
        with bridge(tmp_path, url):
            (job,) = run_json(tmp_path, "jobs", "--follow", sent["id"], "--dicomweb", url)
            assert (job["state"], job["progress"]["done"]) == ("done", 3)
            brought = run_json(tmp_path, "retrieve", "PACS", "--study", f"{PREFIX}.7", "--job", "--dicomweb", url)
            run(tmp_path, "jobs", "--follow", brought["id"], "--dicomweb", url)
        assert {f"{STUDY}.1.{number}" for number in (1, 2, 3)} <= set(there.held)
        assert len(served.archive.index.present([f"{PREFIX}.7.1.{number}" for number in (1, 2)])) == 2
        listed = run(tmp_path, "jobs", "--dicomweb", url).stdout.splitlines()
        assert [line.split("\t")[:5] for line in listed] == [
            ["2", "retrieve", "PACS", "done", "2 of 2"], ["1", "send", "PACS", "done", "3 of 3"],
        ]  # fmt: skip


def test_a_job_goes_on_in_the_next_bridge_and_sends_nothing_twice(tmp_path):
    with strange(tmp_path) as (served, url), pacs() as there:
        write_nodes(tmp_path, there)
        there.hold_after = 4
        served.store(*(ct(number) for number in range(1, 11)))
        job = run_json(tmp_path, "send", "PACS", "--study", STUDY, "--job", "--dicomweb", url)["id"]
        with bridge(tmp_path, url) as (process, _):
            assert there.stored_some.wait(60)
            process.kill()
            process.wait(60)
        there.hold_after = -1
        there.going_on.set()
        (told,) = run_json(tmp_path, "jobs", "--state", "waiting,running", "--dicomweb", url)
        assert (told["id"], told["state"]) == (job, "running")
        with contextlib.closing(sqlite3.connect(tmp_path / "data" / "bridge" / "ledger.sqlite")) as ledger:
            ledger.execute("UPDATE job SET lease = 0")  # its minute is over
            ledger.commit()
        with bridge(tmp_path, url):
            (told,) = run_json(tmp_path, "jobs", "--follow", job, "--dicomweb", url)
        assert (told["state"], told["attempts"], told["progress"]["total"]) == ("done", 2, 10)
        assert told["progress"]["skipped"] >= 4
        assert len(there.held) == 10
        assert there.asked.count("store") <= 11


def test_a_job_is_canceled_and_begun_again(tmp_path):
    with strange(tmp_path) as (served, url), pacs() as there:
        write_nodes(tmp_path, there)
        served.store(ct(1))
        job = run_json(tmp_path, "send", "PACS", "--study", STUDY, "--job", "--dicomweb", url)["id"]
        run(tmp_path, "jobs", "--cancel", job, "--dicomweb", url)
        assert run_json(tmp_path, "jobs", "--follow", job, "--dicomweb", url, status=1)[0]["state"] == "canceled"
        assert "cannot be canceled" in run(tmp_path, "jobs", "--cancel", job, "--dicomweb", url, status=1).stderr
        assert run_json(tmp_path, "jobs", "--retry", job, "--dicomweb", url)[0]["state"] == "waiting"
        with bridge(tmp_path, url):
            run(tmp_path, "jobs", "--follow", job, "--dicomweb", url)
        assert len(there.held) == 1


def test_what_is_refused_is_told_by_a_command_and_a_move_goes_to_a_node_of_the_file(tmp_path):
    with strange(tmp_path) as (served, url), pacs() as there:
        write_nodes(tmp_path, there)
        served.store(ct(1), ct(2))
        with bridge(tmp_path, url) as (_, greeting):
            entity = AE("TESTER")
            entity.add_requested_context(STUDY_MOVE)
            association = entity.associate("127.0.0.1", dimse_port(greeting), ae_title="ROENTGATE")
            query = Dataset()
            query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", STUDY
            answers = {aet: list(association.send_c_move(query, aet, STUDY_MOVE))[-1][0] for aet in ("NOBODY", "PACS")}
            association.release()
            assert {aet: answer.Status for aet, answer in answers.items()} == {"NOBODY": 0xA801, "PACS": 0}
            assert len(there.held) == 2
        (refused,) = run_json(tmp_path, "refusals", "--dicomweb", url)
        assert refused["calling"] == "TESTER"
        assert "NOBODY" in refused["reason"]
        assert "Add a node with this AE title" in run(tmp_path, "refusals", "--dicomweb", url).stdout


def test_commitment_goes_by_what_a_search_finds(tmp_path):
    reports: queue.Queue = queue.Queue()

    def on_report(event: evt.Event) -> tuple[int, None]:
        reports.put(event.event_information)
        return 0, None

    entity = AE("MODALITY")
    entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    entity.add_requested_context(COMMITMENT)
    modality = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)])
    try:
        with strange(tmp_path) as (served, url), pacs() as there:
            port = modality.socket.getsockname()[1]
            write_nodes(tmp_path, there, f'[nodes.MODALITY]\nhost = "127.0.0.1"\nport = {port}\n')
            served.store(ct(1))
            asked = Dataset()
            asked.TransactionUID = "1.2.826.0.1.3680043.10.1234.78"
            asked.ReferencedSOPSequence = [Dataset(), Dataset()]
            for number, item in enumerate(asked.ReferencedSOPSequence, 1):
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, f"{STUDY}.1.{number}"
            with bridge(tmp_path, url) as (_, greeting):
                association = entity.associate("127.0.0.1", dimse_port(greeting), ae_title="ROENTGATE")
                status, _ = association.send_n_action(asked, 1, COMMITMENT, "1.2.840.10008.1.20.1.1")
                association.release()
                assert status.Status == 0
                report = reports.get(timeout=60)
        assert [one.ReferencedSOPInstanceUID for one in report.ReferencedSOPSequence] == [f"{STUDY}.1.1"]
        assert [one.FailureReason for one in report.FailedSOPSequence] == [0x0112]
    finally:
        modality.shutdown()
        modality.server_close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("send", "PACS@127.0.0.1:104", "--study", "1.2", "--job"),
        ("send", "PACS", "cd", "--job", "--study", "1.2"),
        ("retrieve", "PACS", "--study", "1.2", "--to", "x", "--job"),
        ("jobs", "--state", "sleeping"),
    ],
)
def test_what_cannot_be_a_job_is_told_so(tmp_path, arguments):
    with pacs() as there:
        write_nodes(tmp_path, there)
        run(tmp_path, *arguments, status=2)
