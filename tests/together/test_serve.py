"""`roentgate serve` as a process: it says where it is, answers, and stops when told."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import commands
import pytest
from commands import run, run_json, served
from dicoms import ct


def ask(port: int, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def store(port: int, data: bytes) -> int:
    return ask(port, "/dicom-web/studies", data, {"Content-Type": "application/dicom"})[0]


def found(port: int) -> int:
    return len(json.loads(ask(port, "/dicom-web/instances")[1]))


def children(process: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def alive(process: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2][:3]
    return False


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_it_greets_stores_finds_and_stops(tmp_path, server):
    with served(tmp_path, ROENTGATE_SERVER=server) as started:
        assert f"http://127.0.0.1:{started.port}/dicom-web\n" in started.greeting
        assert str(tmp_path / "data") in started.greeting
        assert ask(started.port, "/health/live")[0] == 200
        assert store(started.port, ct(1)) == 200
        assert found(started.port) == 1
        assert started.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_acknowledged_is_there_after_a_stop_and_a_start(tmp_path, number):
    with served(tmp_path) as started:
        assert store(started.port, ct(1)) == 200
        assert started.stop(number) == 0
    with served(tmp_path) as started:
        assert found(started.port) == 1


def test_an_address_beyond_this_machine_is_refused_until_told_to(tmp_path):
    done = run(tmp_path, "serve", "--http-host", "0.0.0.0", "--http-port", "0", status=2)
    assert "access control" in done.stderr
    assert not (tmp_path / "data").exists()
    with served(tmp_path, "--http-host", "0.0.0.0", "--insecure") as started:
        assert ask(started.port, "/health/ready")[0] == 200


def test_a_taken_port_stops_the_start_with_the_name_of_its_setting(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "serve", "--http-port", port, status=2)
    assert f"http_port {port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_cannot_be_used_stops_the_start_with_a_sentence(tmp_path):
    (tmp_path / "data").write_text("a file, no folder")
    done = run(tmp_path, "serve", "--http-port", "0", status=None)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("roentgate: ")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc on this machine")
def test_several_workers_share_the_port_and_end_with_their_supervisor(tmp_path):
    with served(tmp_path, "--workers", "2") as started:
        assert store(started.port, ct(1)) == 200
        before = set(children(started.process.pid))
        assert len(before) == 2
        assert all(found(started.port) == 1 for _ in range(20))
        assert started.stop() == 0
        assert not any(Path(f"/proc/{number}").exists() for number in before)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc on this machine")
def test_workers_are_copies_of_a_supervisor_without_threads_and_end_when_it_is_killed(tmp_path):
    with commands.started(tmp_path, "serve", "--http-port", "0", "--workers", "2") as (supervisor, _):
        workers = children(supervisor.pid)
        assert len(workers) == 2
        assert len(list(Path(f"/proc/{supervisor.pid}/task").iterdir())) == 1
        for each in workers:  # most of what the imports made is one page for all
            shared = re.search(r"Shared_Dirty: +(\d+) kB", Path(f"/proc/{each}/smaps_rollup").read_text())
            assert shared is not None
            assert int(shared[1]) > 10_000
        supervisor.kill()
        supervisor.wait(30)
        deadline = time.monotonic() + 30
        while any(map(alive, workers)):
            assert time.monotonic() < deadline


WAITS = """
import os, signal, sys
from dicomweb import workers
waits = 0
wait = workers._happenings
def counting(*arguments):
    global waits
    waits += 1
    return wait(*arguments)
def say(greeting):
    print(waits)
    os.kill(os.getpid(), signal.SIGTERM)
if __name__ == "__main__":
    workers._happenings = counting
    sys.exit(workers.serve(workers.Config(http_port=0, workers=3), say))
"""


def test_a_supervisor_sleeps_while_its_workers_start(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WAITS], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 6


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc on this machine")
def test_a_worker_that_is_killed_is_replaced(tmp_path):
    with served(tmp_path, "--workers", "2") as started:
        assert store(started.port, ct(1)) == 200
        before = set(children(started.process.pid))
        os.kill(min(before), signal.SIGKILL)
        assert started.process.stderr is not None
        said = started.process.stderr.readline()
        assert "another one takes its place" in said
        while len(set(children(started.process.pid)) - before) < 1:
            assert started.process.poll() is None
        assert found(started.port) == 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc on this machine")
@pytest.mark.long
def test_connections_are_answered_while_workers_are_killed_one_even_as_it_starts(tmp_path):
    with served(tmp_path, "--workers", "2") as started:
        assert started.process.stderr is not None
        known: set[int] = set()
        for _ in range(2):
            while not (fresh := set(children(started.process.pid)) - known):
                assert started.process.poll() is None
            known |= fresh
            os.kill(max(fresh), signal.SIGKILL)
            assert "another one takes its place" in started.process.stderr.readline()
            assert [found(started.port) for _ in range(8)] == [0] * 8
        assert started.stop() == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc on this machine")
def test_after_a_worker_that_is_killed_as_it_starts_there_is_a_pause_in_which_a_stop_is_heard(tmp_path):
    with served(tmp_path, "--workers", "2") as started:
        assert started.process.stderr is not None
        known: set[int] = set()
        for pause in ("", " in 1 s", " in 2 s"):
            while not (fresh := set(children(started.process.pid)) - known):
                assert started.process.poll() is None
            known |= fresh
            os.kill(max(fresh), signal.SIGKILL)
            said = started.process.stderr.readline()
            assert f"another one takes its place{pause}" in said
            assert ("as it started" in said) == bool(pause)
        assert found(started.port) == 0, "the other one answers meanwhile"
        assert started.stop() == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc on this machine")
def test_a_server_whose_worker_cannot_start_stops_with_its_sentence(tmp_path):
    (tmp_path / "data").write_text("a file, no folder")
    done = run(tmp_path, "serve", "--http-port", "0", "--workers", "2", status=None)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert "roentgate: " in done.stderr


def test_an_import_beside_a_running_server_is_found_by_it(tmp_path):
    (tmp_path / "from").mkdir()
    for number in range(1, 11):
        (tmp_path / "from" / f"{number}.dcm").write_bytes(ct(number))
    with served(tmp_path) as started:
        assert store(started.port, ct(1)) == 200
        told = run_json(tmp_path, "import", "from")
        assert (told["stored"], told["already"]) == (9, 1)
        assert found(started.port) == 10


def test_a_setting_of_the_environment_reaches_the_answers(tmp_path):
    with served(tmp_path, ROENTGATE_EMPTY_SEARCH_STATUS="204") as started:
        assert ask(started.port, "/dicom-web/studies") == (204, b"")
