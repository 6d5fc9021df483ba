"""Destinations that are away for a day, and come back (F26)."""

import signal
from pathlib import Path

import pytest
from clocks import Clock, needs_faketime
from dicoms import PREFIX, ct
from pacs import Pacs, pacs
from ports import free_port
from programs import Program, bridge, files, program, until, web

TOKEN = "a secret of both"
STEPS, STEP = 5, 6 * 3600
STUDIES = (1, 2)


def studies() -> list[bytes]:
    return [ct(number, study=study) for study in STUDIES for number in (1, 2)]


def jobs(server: Program) -> list[dict[str, object]]:
    """The jobs, the first one first."""
    found: list[dict[str, object]] = server.ask("/jobs").json()["jobs"]
    return found[::-1]


def send_all(server: Program, node: str) -> None:
    for study in STUDIES:
        asked = server.ask(f"/aets/{node}/send", "POST", json={"resources": [{"study": uid_of(study)}]})
        assert asked.status_code == 202, asked.text


def uid_of(study: int) -> str:
    return f"{PREFIX}.{study}"


@pytest.mark.long
@needs_faketime
def test_what_is_for_destinations_that_are_away_for_a_day_arrives_once(tmp_path: Path) -> None:
    """The clock of the server goes on by more than a day; in between the server and its bridge are killed."""
    clock = Clock(tmp_path / "clock")
    shared = {"ROENTGATE_BRIDGE_TOKEN": TOKEN, "ROENTGATE_JOB_ATTEMPTS": "3"}
    dimse, dicomweb = free_port(), free_port()

    def later(server: Program, numbers: range) -> None:
        """Let the clock go on, and each job be tried."""
        for number in numbers:
            tried = [job["attempts"] for job in jobs(server)]
            clock.set(f"+{number * STEP}")
            until(
                lambda tried=tried: all(
                    job["state"] == "waiting" and int(str(job["attempts"])) > int(str(before))
                    for job, before in zip(jobs(server), tried, strict=True)
                ),
                "a job is not tried again",
            )

    with web(tmp_path, clean=False, **shared, **clock.environment) as server:
        assert server.stow(*studies()).status_code == 200
        root = f"http://127.0.0.1:{dicomweb}/dicom-web"
        for name, settings in (
            ("PACS", {"host": "127.0.0.1", "port": dimse}),
            ("WEB", {"kind": "dicomweb", "url": root}),
        ):
            assert server.ask(f"/nodes/{name}", "PUT", json=settings).status_code == 200
            send_all(server, name)
        with bridge(tmp_path / "b", server.port, clean=False, **shared) as sender:
            later(server, range(1, STEPS // 2))
            sender.stop(signal.SIGKILL)
        server.stop(signal.SIGKILL)
    with web(tmp_path, **shared, **clock.environment) as server, bridge(tmp_path / "b", server.port, **shared):
        later(server, range(STEPS // 2, STEPS))
        with pacs(port=dimse) as there, program(tmp_path / "w", "serve", "--http-port", str(dicomweb)) as other:
            clock.set(f"+{STEPS * STEP}")
            until(lambda: all(job["state"] == "done" for job in jobs(server)), "not all is done")
            check(there, other, tmp_path / "w")


def check(there: Pacs, other: Program, folder: Path) -> None:
    expected = {f"{uid_of(study)}.1.{number}" for study in STUDIES for number in (1, 2)}
    assert set(there.held) == other.found() == expected
    assert there.asked.count("store") == len(expected)
    assert len([name for name in files(folder) if "/objects/" in name]) == len(expected)
