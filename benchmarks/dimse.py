"""`python -m benchmarks.dimse`: C-STORE, C-FIND, C-MOVE and C-GET by DCMTK's programs, beside Orthanc.

CPU is that of the server's processes, of ours the web server and the bridge together.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.client import drive, post
from benchmarks.servers import Orthanc, Roentgate, Server, free_port, running

AET = "ROENTGATE"
STUDIES = 2000
MOVED = 90001
_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}  # Debian's DCMTK waits 40 ms a message without it


class _Dimse:
    """Where DIMSE is spoken, and the one node that objects are sent to."""

    dimse_port: int
    destination: int


class RoentgateUp(Roentgate, _Dimse):
    """Web server and bridge."""

    def __init__(self, folder: Path, destination: int) -> None:
        super().__init__(folder)
        self.dimse_port, self.destination = free_port(), destination

    def command(self) -> list[str]:
        """Both processes, and the node."""
        folder = self.folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nodes.toml").write_text(f'[nodes.STORESCP]\nhost = "127.0.0.1"\nport = {self.destination}\n')
        return [*super().command()[:-1], "up", "--dimse-port", str(self.dimse_port)]


class OrthancDimse(Orthanc, _Dimse):
    """Orthanc with its DICOM server."""

    def __init__(self, folder: Path, destination: int) -> None:
        super().__init__(folder)
        self.dimse_port, self.destination = free_port(), destination

    def command(self) -> list[str]:
        """Orthanc with the settings that concern DIMSE."""
        command = super().command()
        path = Path(command[-1])
        settings: dict[str, Any] = json.loads(path.read_text())
        settings |= {
            "DicomServerEnabled": True,
            "DicomAet": AET,
            "DicomPort": self.dimse_port,
            "DicomAlwaysAllowEcho": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomThreadsCount": 16,
            "MaximumPduLength": 131072,
            "SynchronousCMove": True,
            "DicomModalities": {
                "dest": ["STORESCP", "127.0.0.1", self.destination],
                "mover": ["MOVESCU", "127.0.0.1", 1],
            },
        }
        path.write_text(json.dumps(settings))
        return command


def _run(*arguments: object) -> None:
    subprocess.run([str(each) for each in arguments], env=_ENVIRONMENT, check=True, capture_output=True)


def _asking(server: Any, *keys: str) -> list[str]:
    query = [part for key in keys for part in ("-k", key)]
    return ["-aec", AET, "127.0.0.1", str(server.dimse_port), *query]


def _write(folder: Path, study: int, count: int) -> None:
    folder.mkdir(parents=True)
    for number, part in enumerate(data.ct_series(study, count)):
        (folder / f"{number:04d}.dcm").write_bytes(part)


def store(server: Any, folders: list[Path]) -> None:
    """C-STORE, one association for each folder, all at once."""
    calls = [
        subprocess.Popen(
            ["storescu", "-aec", AET, "127.0.0.1", str(server.dimse_port), "--scan-directories", str(folder)],
            env=_ENVIRONMENT,
            stdout=subprocess.DEVNULL,
        )
        for folder in folders
    ]
    assert [call.wait() for call in calls] == [0] * len(calls)


def find(server: Any) -> None:
    """C-FIND by a range of dates: some 55 of 2,000 studies, ten times."""
    for _ in range(10):
        keys = ("StudyDate=20100101-20100531", "PatientName", "StudyInstanceUID", "ModalitiesInStudy")
        _run("findscu", "-S", *_asking(server, "QueryRetrieveLevel=STUDY", *keys))


def move(server: Any) -> None:
    """C-MOVE of 200 CT instances to a receiver that throws them away."""
    study = f"StudyInstanceUID={data.ROOT}.{MOVED}"
    _run("movescu", "-S", "-aem", "STORESCP", *_asking(server, "QueryRetrieveLevel=STUDY", study))


def get(server: Any, folder: Path) -> None:
    """C-GET of 200 CT instances."""
    study = f"StudyInstanceUID={data.ROOT}.{MOVED}"
    _run("getscu", "-S", "+B", "-od", folder, *_asking(server, "QueryRetrieveLevel=STUDY", study))


@contextmanager
def receiver(port: int) -> Iterator[None]:
    """DCMTK's storescp, which throws away what it gets."""
    process = subprocess.Popen(["storescp", "--ignore", "-aet", "STORESCP", str(port)], env=_ENVIRONMENT)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dimse", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds that the servers alternate for (3)")
    parser.add_argument("--no-orthanc", action="store_true", help="measure Roentgate alone")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    if shutil.which("storescu") is None:
        raise SystemExit("DCMTK is needed: apt-get install dcmtk")
    folder = Path(tempfile.mkdtemp(prefix="roentgate-dimse-"))
    destination = free_port()
    servers: list[Server] = [RoentgateUp(folder / "roentgate", destination)]
    if Orthanc.present() and not arguments.no_orthanc:
        servers.append(OrthancDimse(folder / "orthanc", destination))
    figures: dict[str, dict[str, list[tuple[float, float]]]] = {}
    try:
        with running(servers), receiver(destination):
            for server in servers:
                posts = [post(f"{server.base}/studies", [data.small_study(n)]) for n in range(1, STUDIES + 1)]
                drive(server.port, posts, clients=4)
                parts = list(data.ct_series(MOVED))
                drive(server.port, [post(f"{server.base}/studies", parts[n : n + 50]) for n in range(0, 200, 50)])
            for turn in range(arguments.rounds):
                _write(folder / f"one{turn}", 95000 + turn, 200)
                for number in range(8):
                    _write(folder / f"eight{turn}.{number}", 96000 + 10 * turn + number, 25)
                eight = [folder / f"eight{turn}.{number}" for number in range(8)]
                one = [folder / f"one{turn}"]
                rows: list[tuple[str, int, Callable[[Any], None]]] = [
                    ("C-STORE, 1 association, per instance", 200, lambda server, one=one: store(server, one)),
                    ("C-STORE, 8 associations, per instance", 200, lambda server, eight=eight: store(server, eight)),
                    ("C-FIND among 2,000 studies, per query", 10, find),
                    ("C-MOVE, per instance", 200, move),
                    ("C-GET, per instance", 200, lambda server: get(server, folder)),
                ]
                for name, operations, work in rows:
                    for server in servers if turn % 2 == 0 else servers[::-1]:
                        before, begin = server.cpu(), time.monotonic()
                        work(server)
                        spent = time.monotonic() - begin
                        cpu = (server.cpu() - before) * 1000 / operations
                        figures.setdefault(name, {}).setdefault(server.name, []).append((cpu, operations / spent))
            print("idle PSS MB:", {server.name: round(server.memory() / 1e6) for server in servers})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, by_server in figures.items():
        shown = {
            server: (
                round(statistics.median(cpu for cpu, _ in rounds), 2),
                round(statistics.median(rate for _, rate in rounds), 1),
            )
            for server, rounds in by_server.items()
        }
        print(f"{name:40} (CPU ms, per second): {shown}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
