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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import data, loads, scu
from benchmarks.client import drive, post
from benchmarks.servers import Orthanc, Roentgate, Server, free_port, running

AET = "ROENTGATE"
INSTANCES = 400
STUDIES = 10_000
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


@dataclass(slots=True)
class Measured:
    """What the servers did.

    Attributes:
        servers: that were measured.
        rows: of each workload, as `measuring.rows_of` has them.
        bars: what must hold besides.
        rounds: of each workload and server CPU ms, operations a second, ms until the first answer or None.
    """

    servers: list[Server]
    rows: list[dict[str, Any]] = field(default_factory=list)
    bars: list[dict[str, Any]] = field(default_factory=list)
    rounds: dict[str, dict[str, list[tuple[float, float, float | None]]]] = field(default_factory=dict)


def present() -> bool:
    """Whether DCMTK's programs are installed."""
    return all(shutil.which(program) for program in ("storescu", "findscu", "movescu", "getscu", "storescp"))


def measure(folder: Path, rounds: int, studies: int, orthanc: bool, told: Callable[[str], None]) -> Measured:
    """Run all workloads on all servers in turn.

    Args:
        folder: for servers and files.
        rounds: that the servers alternate for.
        studies: that are searched: 2000 to 10000.
        orthanc: run it beside ours where it is installed.
        told: is told how it goes on.
    """
    destination = free_port()
    servers: list[Server] = [RoentgateUp(folder / "roentgate", destination)]
    if orthanc and Orthanc.present():
        servers.append(OrthancDimse(folder / "orthanc", destination))
    found = Measured(servers)
    with running(servers), receiver(destination):
        told("dimse: loading")
        _load(servers, studies)
        bars: dict[str, _Workload] = {}
        for turn in range(rounds):
            for workload in _workloads(folder, turn, studies):
                bars[workload.name] = workload
                for server in servers if turn % 2 == 0 else servers[::-1]:
                    before, begin = server.cpu(), time.monotonic()
                    first = workload.work(server)
                    spent = time.monotonic() - begin
                    cpu = (server.cpu() - before) * 1000 / workload.operations
                    by_server = found.rounds.setdefault(workload.name, {})
                    by_server.setdefault(server.name, []).append(
                        (cpu, workload.operations / spent, None if first is None else first * 1000)
                    )
            told(f"dimse: round {turn + 1} of {rounds} done")
    for name, by_server in found.rounds.items():
        summary = {server: _summary(kept) for server, kept in by_server.items()}
        found.rows.append({"name": name, "bar": bars[name].bar, "servers": summary})
        if bars[name].rate is not None and "orthanc" in summary:
            ratio = summary["roentgate"]["per_second"] / summary["orthanc"]["per_second"]
            found.bars.append({
                "what": f"{name}: per second / Orthanc's", "figure": f"{ratio:.2f}",
                "bar": f"at least {bars[name].rate}", "met": ratio >= (bars[name].rate or 0.0),
            })  # fmt: skip
    return found


def _summary(rounds: Sequence[tuple[float, float, float | None]]) -> dict[str, float]:
    names = ("cpu_ms", "per_second", "first_ms")
    columns = ([value for value in column if value is not None] for column in zip(*rounds, strict=True))
    return {name: round(statistics.median(values), 4) for name, values in zip(names, columns, strict=True) if values}


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dimse", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds that the servers alternate for (3)")
    parser.add_argument("--studies", type=int, default=STUDIES, help=f"studies that are searched: 2000 to {STUDIES}")
    parser.add_argument("--no-orthanc", action="store_true", help="measure Roentgate alone")
    parser.add_argument("--loads", type=int, default=0, metavar="MB", help="also an object this large, 200 idle "
                        "associations, and a store that takes 50 ms")  # fmt: skip
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    if not present():
        raise SystemExit("DCMTK is needed: apt-get install dcmtk")
    folder = Path(tempfile.mkdtemp(prefix="roentgate-dimse-"))
    facts: dict[str, object] = {}
    try:
        found = measure(
            folder,
            arguments.rounds,
            arguments.studies,
            not arguments.no_orthanc,
            lambda words: print(words, flush=True),
        )
        if arguments.loads:
            facts |= loads.measure(folder / "loads", arguments.loads)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for row in found.rows:
        print(f"{row['name']:40} {row['servers']}")
    print(json.dumps(facts, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"workloads": found.rounds, "rows": found.rows, **facts}, indent=2))


@dataclass(frozen=True, slots=True)
class _Workload:
    """A workload: its work on a server, which may tell the seconds until the first answer; what we want of CPU and
    rate over Orthanc's."""

    name: str
    operations: int
    work: Callable[[Any], float | None]
    bar: float | None = None
    rate: float | None = None


def _load(servers: Sequence[Server], studies: int) -> None:
    """Studies of one small instance, and one of 400 CT instances."""
    small = list(data.small_studies(studies))
    parts = list(data.ct_series(MOVED, INSTANCES))
    for server in servers:
        path = f"{server.base}/studies"
        drive(server.port, [post(path, small[n : n + 50]) for n in range(0, studies, 50)], clients=4)
        drive(server.port, [post(path, parts[n : n + 50]) for n in range(0, INSTANCES, 50)])


def _workloads(folder: Path, turn: int, studies: int) -> list[_Workload]:
    """The workloads of a round, with files that no server has seen."""
    one, eight = [folder / f"one{turn}"], [folder / f"eight{turn}.{number}" for number in range(8)]
    _write(one[0], 95000 + turn, INSTANCES)
    for number, each in enumerate(eight):
        _write(each, 96000 + 10 * turn + number, INSTANCES // 8)
    return [
        _Workload(f"C-STORE of {INSTANCES} CT instances, 1 association, each", INSTANCES,
                  lambda server: store(server, one), bar=1.0, rate=1.0),
        _Workload(f"C-STORE of {INSTANCES} CT instances, 8 associations, each", INSTANCES,
                  lambda server: store(server, eight), bar=1.0, rate=1.2),
        _Workload(f"C-FIND by date, some 3 % of {studies:,} studies", 10, find, bar=1.0),
        _Workload("C-FIND of 1,000 answers, each", 1000,
                  lambda server: find_many(server, "A00011???", 1000)),
        _Workload(f"C-FIND of {studies:,} answers, each", studies,
                  lambda server: find_many(server, "A0001????", studies - 1)),
        _Workload(f"C-MOVE of {INSTANCES} CT instances, each", INSTANCES, move, bar=1.0),
        _Workload(f"C-GET of {INSTANCES} CT instances, each", INSTANCES,
                  lambda server: get(server, folder / f"got{turn}"), bar=1.0),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
