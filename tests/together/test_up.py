"""`roentgate up` and `roentgate bridge` as processes: they say where they are, answer, and stop when told."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import dicoms
import pytest
from commands import dimse_port, run, served, started
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

CT = dicoms.CT
VERIFICATION = "1.2.840.10008.1.1"


def up(folder: Path, *arguments: object, **env: str):
    return started(folder, "up", "--http-port", "0", "--dimse-port", "0", *arguments, **env)


def associate(port: int, *classes: str) -> Association:
    entity = AE("TESTER")
    for each in classes:
        entity.add_requested_context(each, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="ROENTGATE")
    assert association.is_established
    return association


def file(folder: Path) -> Path:
    path = folder / "ct.dcm"
    path.write_bytes(dicoms.ct(1))
    return path


def children(process: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def alive(process: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2][:3]
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_a_modality_stores_is_found_over_http_and_both_stop_when_told(tmp_path, number):
    with up(tmp_path) as (process, greeting):
        association = associate(dimse_port(greeting), VERIFICATION, CT)
        assert association.send_c_echo().Status == 0
        assert association.send_c_store(file(tmp_path)).Status == 0
        association.release()
        url = re.search(r"try +curl -s (\S+)", greeting)[1]
        done = subprocess.run(["curl", "-s", url], capture_output=True, check=True)
        assert len(json.loads(done.stdout)) == 1
        assert str(tmp_path / "data") in greeting
        process.send_signal(number)
        assert process.wait(60) == 0


@pytest.mark.parametrize("place", [0, 1])
def test_if_one_dies_the_other_is_stopped(tmp_path, place):
    with up(tmp_path) as (process, _):
        both = [each for each in children(process.pid) if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]
        assert len(both) == 2
        os.kill(both[place], signal.SIGKILL)
        assert process.wait(60) == 1
        assert not any(map(alive, both))


def test_a_taken_port_stops_the_start_with_the_name_of_its_setting(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path, "up", "--http-port", "0", "--dimse-port", port, status=2)
    assert f"dimse_port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_bridge_alone_serves_a_web_server_that_runs_elsewhere(tmp_path):
    with served(tmp_path) as web:
        url = f"http://127.0.0.1:{web.port}/dicom-web"
        with started(tmp_path, "bridge", "--dicomweb", url, "--dimse-port", "0") as (process, greeting):
            association = associate(dimse_port(greeting), CT)
            assert association.send_c_store(file(tmp_path)).Status == 0
            association.release()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


def test_a_request_under_way_ends_and_then_the_association_does(tmp_path):
    with up(tmp_path) as (process, greeting):
        association = associate(dimse_port(greeting), CT)
        assert association.send_c_store(file(tmp_path)).Status == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        association.join(30)
        assert association.is_aborted or association.is_released


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_left_of_it_when_it_is_killed(tmp_path, workers):
    with up(tmp_path, "--workers", workers) as (process, _):
        process.kill()
        process.communicate(timeout=60)  # ends when nobody holds its output any more
