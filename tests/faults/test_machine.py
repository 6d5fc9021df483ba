"""What goes wrong with the machine: file descriptors, memory, processor time, the clock, and being told to stop in the
middle (F31 to F34, F39)."""

import contextlib
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from bridged import receiving
from clocks import Clock, needs_faketime
from dicoms import CT, PREFIX, ct, dataset, part10
from programs import SECONDS, SERIES, STUDY, Program, big, bridge, send, uid, until, web
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from bridge.association import Limits, connect
from bridge.negotiation import Proposed, Request
from dicomweb.standard.syntaxes import EXPLICIT

MIB = 1 << 20
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and prlimit of Linux")


def limit(server: Program, count: int) -> None:
    """Leave a process so many file descriptors beyond those that it has."""
    used = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + count, hard))


def store_of(number: int) -> dict[str, object]:
    """The command of a C-STORE request for `dicoms.ct(number)`."""
    return {"AffectedSOPClassUID": CT, "CommandField": 1, "Priority": 0, "AffectedSOPInstanceUID": uid(number)}


@needs_proc
@pytest.mark.parametrize("side", ["web", "bridge"])
def test_without_file_descriptors_new_ones_are_refused_and_old_ones_go_on(tmp_path: Path, side: str) -> None:
    with web(tmp_path) as server, bridge(tmp_path / "b", server.port) as dimse:
        assert send(dimse.port, ct(1)) == [0]
        assert server.read(1).status_code == 200  # over a connection that stays
        asked = Request("MODALITY", "ROENTGATE", (Proposed(1, CT, (EXPLICIT,)),))
        old = connect("127.0.0.1", dimse.port, asked, Limits(answer_seconds=60.0))
        target = server if side == "web" else dimse
        limit(target, 4)
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(socket.create_connection(("127.0.0.1", target.port), 10))
            if side == "web":
                assert server.ask("/health/live").status_code == 200
            else:
                data = ct(2)
                start = data.index(b"DICM") + 16 + int.from_bytes(data[140:144], "little")
                command = {
                    "AffectedSOPClassUID": CT,
                    "CommandField": 1,
                    "Priority": 0,
                    "AffectedSOPInstanceUID": uid(2),
                }
                assert old.ask(1, command, data[start:])["Status"] in (0, 0xA700)
            assert target.process.poll() is None
        old.close()
        until(lambda: server.stow(ct(3), client=server.client).status_code == 200, "it does not recover")
        with httpx.Client(timeout=60) as fresh:
            until(lambda: server.stow(ct(4), client=fresh).status_code == 200, "nobody new is served")
        until(lambda: send(dimse.port, ct(5)) == [0], "no association comes about")
        assert {uid(1), uid(3), uid(4), uid(5)} <= server.found()


@needs_proc
def test_told_to_stop_in_the_middle_everything_ends_or_fails_cleanly(tmp_path: Path) -> None:
    """A store and a retrieval of the web server that are under way end; what comes later finds nobody."""
    data = big(1, 40_000)
    with web(tmp_path, ROENTGATE_GRACEFUL_SECONDS="30") as server:
        assert server.stow(data).status_code == 200
        reading, going_on = threading.Event(), threading.Event()

        def body() -> Iterator[bytes]:
            whole = big(2, 4000)
            yield whole[: 3 * MIB]
            assert going_on.wait(60)
            yield whole[3 * MIB :]

        def store() -> int:
            with httpx.Client(timeout=60) as client:
                kind = {"Content-Type": "application/dicom"}
                return client.post(f"{server.root}/studies", content=body(), headers=kind).status_code

        def read() -> bytes:
            path = f"{server.root}/studies/{STUDY}/series/{SERIES}/instances/{uid(1)}"
            accept = {"Accept": "application/dicom; transfer-syntax=*"}
            with httpx.Client(timeout=60) as client, client.stream("GET", path, headers=accept) as answer:
                pieces = answer.iter_raw(65_536)
                first = next(pieces)
                reading.set()
                assert going_on.wait(60)
                return first + b"".join(pieces)

        with ThreadPoolExecutor(2) as pool:
            stored, got = pool.submit(store), pool.submit(read)
            assert reading.wait(60)
            until(lambda: any((tmp_path / "data" / "scratch").glob("*.part")), "the upload has not begun")
            server.process.terminate()
            until(lambda: "refused" in refused(server.port), "it takes connections")
            going_on.set()
            assert got.result() == data
            assert stored.result() == 200
        assert server.process.wait(60) == 0
    with web(tmp_path) as server:
        assert server.found() == {uid(1), uid(2)}


def refused(port: int) -> str:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError as error:
        return str(error)
    return ""


@needs_proc
def test_a_bridge_that_is_told_to_stop_in_the_middle_of_an_object_takes_it(tmp_path: Path) -> None:
    data = big(1, 20_000)
    start = data.index(b"DICM") + 16 + int.from_bytes(data[140:144], "little")
    begun = start + 16 * MIB  # more than the buffers of a connection hold, so that the bridge has read some of it
    with web(tmp_path) as server, bridge(tmp_path / "b", server.port, ROENTGATE_GRACEFUL_SECONDS="30") as dimse:

        def pieces() -> Iterator[bytes]:
            yield data[start:begun]
            dimse.process.terminate()
            until(lambda: "refused" in refused(dimse.port), "it takes connections")
            yield data[begun:]

        asked = Request("MODALITY", "ROENTGATE", (Proposed(1, CT, (EXPLICIT,)),))
        association = connect("127.0.0.1", dimse.port, asked, Limits(answer_seconds=60.0))
        assert association.ask(1, store_of(1), pieces())["Status"] == 0
        association.close()
        assert dimse.process.wait(60) == 0
        assert server.found() == {uid(1)}


@contextlib.contextmanager
def moving(server: Program, dimse: Program, going_on: threading.Event) -> Iterator[Callable[[], Dataset]]:
    """A C-MOVE of all that is there to a receiver that holds its second object up until it is told to go on; yields
    what waits for the final answer."""
    held = threading.Event()
    received: list[str] = []

    def store(event: evt.Event) -> int:
        received.append(str(event.request.AffectedSOPInstanceUID))
        if len(received) == 2:
            held.set()
            assert going_on.wait(SECONDS)
        return 0

    handlers = [(evt.EVT_C_STORE, store)]
    with receiving([(CT, [EXPLICIT])], handlers=handlers) as receiver, ThreadPoolExecutor(1) as pool:
        there = {"host": "127.0.0.1", "port": receiver.port}
        assert server.ask("/nodes/STORESCP", "PUT", json=there).status_code == 200
        entity = AE("VIEWER")
        entity.dimse_timeout = entity.network_timeout = SECONDS
        entity.add_requested_context(STUDY_MOVE)
        association = entity.associate("127.0.0.1", dimse.port, ae_title="ROENTGATE")
        assert association.is_established
        wanted = Dataset()
        wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", STUDY
        answers = pool.submit(lambda: list(association.send_c_move(wanted, "STORESCP", STUDY_MOVE)))
        try:
            assert held.wait(SECONDS)
            yield lambda: answers.result()[-1][0]
        finally:
            going_on.set()
            association.abort()


def counted(final: Dataset) -> tuple[int, int, int]:
    """Status of a final answer, and how many sub-operations were completed and failed."""
    return (final.Status, final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations)


@needs_proc
def test_a_move_that_can_end_in_time_ends_though_the_bridge_was_told_to_stop(tmp_path: Path) -> None:
    going_on = threading.Event()
    with web(tmp_path) as server, bridge(tmp_path / "b", server.port, ROENTGATE_GRACEFUL_SECONDS="30") as dimse:
        assert server.stow(*(ct(number) for number in range(1, 7))).status_code == 200
        with moving(server, dimse, going_on) as final:
            dimse.process.terminate()
            until(lambda: "refused" in refused(dimse.port), "it takes connections")
            going_on.set()
            assert counted(final()) == (0, 6, 0)
            assert dimse.process.wait(SECONDS) == 0


@needs_proc
def test_a_move_that_cannot_end_in_time_is_answered_with_what_was_sent(tmp_path: Path) -> None:
    with web(tmp_path) as server, bridge(tmp_path / "b", server.port, ROENTGATE_GRACEFUL_SECONDS="8") as dimse:
        assert server.stow(*(ct(number) for number in range(1, 7))).status_code == 200
        with moving(server, dimse, threading.Event()) as final:
            dimse.process.terminate()
            assert counted(final()) == (0xB000, 1, 5)
            assert dimse.process.wait(SECONDS) == 0
        assert "Traceback" not in dimse.said()


@needs_proc
def test_a_move_is_answered_rightly_though_the_server_was_told_to_stop(tmp_path: Path) -> None:
    """The objects that the server was sending arrive; what would have been asked for after it has failed."""
    going_on = threading.Event()
    with web(tmp_path) as server, bridge(tmp_path / "b", server.port) as dimse:
        objects = [ct(number, series=series) for series in (1, 2) for number in range(1, 5)]
        assert server.stow(*objects).status_code == 200
        with moving(server, dimse, going_on) as final:
            server.process.terminate()
            assert server.process.wait(SECONDS) == 0
            going_on.set()
            status, completed, failed = counted(final())
            assert completed + failed == 8
            assert completed >= 2
            assert status == (0xB000 if failed else 0)


@needs_faketime
def test_a_clock_that_jumps_reorders_nothing_and_loses_nothing(tmp_path: Path) -> None:
    """The clock of the server alone goes forward by an hour and back by two, as a file tells it while it runs."""
    clock = Clock(tmp_path / "clock")
    with web(tmp_path, **clock.environment) as server:
        page = "/dicom-web/instances?limit=2&orderby=InstanceNumber"
        for number, offset in enumerate(("+0", "+3600", "-3600", "+60", "+0"), 1):
            clock.set(offset)
            assert server.stow(ct(number)).status_code == 200
            assert server.read(number).content == ct(number)
            assert server.ready()
        assert server.found() == {uid(number) for number in range(1, 6)}
        first = server.ask(page)
        following = first.headers["link"].partition(">")[0].lstrip("<")
        clock.set("-3600")
        rest = server.client.get(following).json()
        seen = [row["00200013"]["Value"][0] for row in [*first.json(), *rest]]
        assert seen == [1, 2, 3, 4]
        deleted = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{uid(5)}"
        assert server.ask(deleted, "DELETE").status_code == 204
        clock.set("+3600")
        assert server.read(5).status_code == 410
        assert server.stow(ct(5)).status_code == 200
        measures = server.ask("/metrics").text
        assert not [line for line in measures.splitlines() if "seconds_sum" in line and " -" in line]
        assert "Traceback" not in server.said()


@needs_faketime
def test_a_clock_that_jumps_loses_no_job_and_lets_nobody_finish_it_twice(tmp_path: Path) -> None:
    """A lease that seems to be over an hour early goes to another runner, and the first one is told so."""
    clock = Clock(tmp_path / "clock")
    with web(tmp_path, ROENTGATE_BRIDGE_TOKEN="a secret of both", **clock.environment) as server:
        shown = {"Authorization": "Bearer a secret of both"}
        assert server.stow(ct(1)).status_code == 200
        assert server.ask("/nodes/PACS", "PUT", json={"host": "127.0.0.1", "port": 104}).status_code == 200
        asked = server.ask("/aets/PACS/send", "POST", json={"resources": [{"study": STUDY}]})
        assert asked.status_code == 202
        job = asked.json()["id"]

        def claim(owner: str) -> int | None:
            answer = server.ask("/jobs/claim", "POST", json={"owner": owner, "wait": 0}, headers=shown)
            return answer.json()["job"]["fence"] if answer.status_code == 200 else None

        def tell(what: str, fence: int | None, **more: object) -> int:
            value = {"fence": fence, "progress": {}, **more}
            return server.ask(f"/jobs/{job}/{what}", "POST", json=value, headers=shown).status_code

        first = claim("first")
        clock.set("-3600")
        assert claim("another") is None
        assert tell("report", first) == 200
        clock.set("+3600")
        second = claim("second")
        assert second is not None
        assert second != first
        assert (tell("report", first), tell("finish", first, state="done", error="", again=0)) == (409, 409)
        assert claim("another") is None
        clock.set("+0")
        assert claim("another") is None
        assert tell("finish", second, state="done", error="", again=0) < 300
        told = server.ask(f"/jobs/{job}").json()
        assert (told["state"], told["owner"], told["attempts"]) == ("done", "second", 2)


CGROUPS = Path("/sys/fs/cgroup")
needs_cgroups = pytest.mark.skipif(
    not os.access(CGROUPS / "memory" / "cgroup.procs", os.W_OK)
    or not os.access(CGROUPS / "cpu" / "cgroup.procs", os.W_OK),
    reason="needs root, and the controllers memory and cpu of cgroups version 1",
)


@contextlib.contextmanager
def group(controller: str, settings: dict[str, int], *programs: Program) -> Iterator[Path]:
    """Put processes into a cgroup while the context lasts."""
    folder = CGROUPS / controller / f"roentgate-{os.getpid()}"
    folder.mkdir()
    try:
        for name, number in settings.items():
            (folder / name).write_text(str(number))
        for each in programs:
            (folder / "cgroup.procs").write_text(str(each.process.pid))
        yield folder
    finally:
        for number in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (CGROUPS / controller / "cgroup.procs").write_text(number)
        folder.rmdir()


@pytest.mark.long
@needs_cgroups
def test_a_server_that_gets_little_of_the_processor_is_alive(tmp_path: Path) -> None:
    """A tenth of a core, and more work than that can do."""
    with web(tmp_path) as server:
        assert server.stow(*(ct(number) for number in range(1, 50))).status_code == 200
        with (
            group("cpu", {"cpu.cfs_period_us": 100_000, "cpu.cfs_quota_us": 10_000}, server),
            ThreadPoolExecutor(8) as pool,
        ):
            path = f"{server.root}/studies/{STUDY}/metadata"
            busy = [pool.submit(httpx.get, path, timeout=120) for _ in range(24)]
            for _ in range(3):
                with httpx.Client(timeout=10) as probe:  # as the chart's probe has it
                    assert probe.get(f"http://127.0.0.1:{server.port}/health/live").status_code == 200
            assert {each.result().status_code for each in busy} == {200}


@needs_cgroups
@pytest.mark.long
def test_half_a_gigabyte_of_memory_is_enough_for_an_object_of_two(tmp_path: Path) -> None:
    """It is stored by STOW-RS and by C-STORE, and read; the limit holds for each process, cached pages included."""
    frames = 2048
    pixels = {"Rows": 1024, "Columns": 1024, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": b""}
    empty = part10(dataset(1, NumberOfFrames=frames, **pixels))
    head = empty[:-4] + (frames * MIB).to_bytes(4, "little")
    other = head.replace(f"{PREFIX}.1.1.1".encode(), f"{PREFIX}.1.1.2".encode())

    def pieces(first: bytes) -> Iterator[bytes]:
        yield first
        for number in range(frames):
            yield bytes([number % 256]) * MIB

    with (
        web(tmp_path) as server,
        bridge(tmp_path / "b", server.port) as dimse,
        group("memory", {"memory.limit_in_bytes": 512 * MIB}, server, dimse) as memory,
    ):
        kind = {"Content-Type": "application/dicom"}
        with httpx.Client(timeout=280) as client:
            assert client.post(f"{server.root}/studies", content=pieces(head), headers=kind).status_code == 200
        asked = Request("MODALITY", "ROENTGATE", (Proposed(1, CT, (EXPLICIT,)),))
        association = connect("127.0.0.1", dimse.port, asked, Limits(answer_seconds=280.0))
        start = other.index(b"DICM") + 16 + int.from_bytes(other[140:144], "little")
        assert association.ask(1, store_of(2), pieces(other[start:]))["Status"] == 0
        association.release()
        for number in (1, 2):
            path = f"{server.root}/studies/{STUDY}/series/{SERIES}/instances/{uid(number)}"
            accept = {"Accept": "application/dicom; transfer-syntax=*"}
            size = 0
            with httpx.stream("GET", path, headers=accept, timeout=280) as answer:
                for piece in answer.iter_raw():
                    size += len(piece)
            assert size > frames * MIB
        assert "oom_kill 0" in (memory / "memory.oom_control").read_text()
        assert "Traceback" not in server.said() + dimse.said()
