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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import data, loads, scu
from benchmarks.client import drive, post
from benchmarks.servers import Orthanc, Roentgate, Server, free_port, running

AET = "ROENTGATE"
INSTANCES = 400
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
    """C-FIND by a range of dates: some 3 % of the studies, ten times."""
    for _ in range(10):
        keys = ("StudyDate=20100101-20100531", "PatientName", "StudyInstanceUID", "ModalitiesInStudy")
        _run("findscu", "-S", *_asking(server, "QueryRetrieveLevel=STUDY", *keys))


def find_many(server: Any, accession: str, least: int) -> float:
    """C-FIND by a wildcard over one association that is ours; return the seconds until the first answer."""
    association = scu.associate(server.dimse_port, [scu.FIND])
    begin = time.monotonic()
    identifier = {
        "00080050": {"vr": "SH", "Value": [accession]}, "00100010": {"vr": "PN"}, "0020000D": {"vr": "UI"},
        "00080061": {"vr": "CS"},
    }  # fmt: skip
    times = [time.monotonic() for _ in scu.find(association, identifier)]
    association.release()
    if len(times) < least:
        raise SystemExit(f"{server.name} found {len(times)} of {least} studies")
    return times[0] - begin


def move(server: Any) -> None:
    """C-MOVE of 400 CT instances to a receiver that throws them away."""
    study = f"StudyInstanceUID={data.ROOT}.{MOVED}"
    _run("movescu", "-S", "-aem", "STORESCP", *_asking(server, "QueryRetrieveLevel=STUDY", study))


def get(server: Any, folder: Path) -> None:
    """C-GET of 400 CT instances."""
    folder.mkdir(exist_ok=True)
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
    parser.add_argument("--studies", type=int, default=10_000, help="studies that are searched: 2000 to 10000 (10000)")
    parser.add_argument("--no-orthanc", action="store_true", help="measure Roentgate alone")
    parser.add_argument("--loads", type=int, default=0, metavar="MB", help="also an object this large, 200 idle "
                        "associations, and a store that takes 50 ms")  # fmt: skip
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
    first: dict[str, dict[str, list[float]]] = {}
    facts: dict[str, object] = {}
    try:
        with running(servers), receiver(destination):
            _load(servers, arguments.studies)
            for turn in range(arguments.rounds):
                for name, operations, work in _workloads(folder, turn, arguments.studies):
                    for server in servers if turn % 2 == 0 else servers[::-1]:
                        before, begin = server.cpu(), time.monotonic()
                        told = work(server)
                        spent = time.monotonic() - begin
                        cpu = (server.cpu() - before) * 1000 / operations
                        figures.setdefault(name, {}).setdefault(server.name, []).append((cpu, operations / spent))
                        if told is not None:
                            first.setdefault(name, {}).setdefault(server.name, []).append(told * 1000)
                        print(turn, name, server.name, f"{cpu:.2f} ms CPU, {operations / spent:.0f}/s", flush=True)
            facts["idle PSS MB"] = {server.name: round(server.memory() / 1e6) for server in servers}
        if arguments.loads:
            facts |= loads.measure(folder / "loads", arguments.loads)
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
    for name, firsts in first.items():
        print(f"{name}: first answer after ms", {each: round(statistics.median(ms), 1) for each, ms in firsts.items()})
    print(json.dumps(facts, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"workloads": figures, "first answer ms": first, **facts}, indent=2))


Work = Callable[[Any], float | None]


def _load(servers: Sequence[Server], studies: int) -> None:
    """Studies of one small instance, and one of 400 CT instances."""
    small = list(data.small_studies(studies))
    parts = list(data.ct_series(MOVED, INSTANCES))
    for server in servers:
        path = f"{server.base}/studies"
        drive(server.port, [post(path, small[n : n + 50]) for n in range(0, studies, 50)], clients=4)
        drive(server.port, [post(path, parts[n : n + 50]) for n in range(0, INSTANCES, 50)])


def _workloads(folder: Path, turn: int, studies: int) -> list[tuple[str, int, Work]]:
    """Name, operations and work of each, with files that no server has seen."""
    one, eight = [folder / f"one{turn}"], [folder / f"eight{turn}.{number}" for number in range(8)]
    _write(one[0], 95000 + turn, INSTANCES)
    for number, each in enumerate(eight):
        _write(each, 96000 + 10 * turn + number, INSTANCES // 8)
    return [
        ("C-STORE, 1 association, per instance", INSTANCES, lambda server: store(server, one)),
        ("C-STORE, 8 associations, per instance", INSTANCES, lambda server: store(server, eight)),
        ("C-FIND by date, some 3 % of the studies, per query", 10, find),
        ("C-FIND of 1,000 answers, per answer", 1000, lambda server: find_many(server, "A00011???", 1000)),
        (
            f"C-FIND of {studies:,} answers, per answer",
            studies,
            lambda server: find_many(server, "A0001????", studies - 1),
        ),
        ("C-MOVE, per instance", INSTANCES, move),
        ("C-GET, per instance", INSTANCES, lambda server: get(server, folder / f"got{turn}")),
    ]


if __name__ == "__main__":
    main()
