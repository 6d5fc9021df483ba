"""`python -m benchmarks`: load the servers with the same data, alternate between them, print a table, write JSON."""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import data, large, pixels, scale
from benchmarks.client import drive, post
from benchmarks.servers import Orthanc, Roentgate, Server, running
from benchmarks.workloads import CT_STUDIES, HUGE, MULTI_FRAME, WORKLOADS, Workload


@dataclass(slots=True)
class Figures:
    """What one workload cost one server, by round."""

    cpu_ms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)


def load(server: Server, studies: int, huge: bool) -> None:
    """Store the data that the reading workloads ask for."""
    posts = [post(f"{server.base}/studies", [data.small_study(n)]) for n in range(1, studies + 1)]
    drive(server.port, posts, clients=4)
    for study in CT_STUDIES:
        parts = list(data.ct_series(study))
        drive(server.port, [post(f"{server.base}/studies", parts[n : n + 50]) for n in range(0, 200, 50)])
    drive(server.port, [post(f"{server.base}/studies", [data.multi_frame(MULTI_FRAME, 300, 256, 256)])])
    for part in pixels.load():
        drive(server.port, [post(f"{server.base}/studies", [part])])
    if huge:
        drive(server.port, [post(f"{server.base}/studies", [data.multi_frame(HUGE, 600, 512, 512)])])


def measure(server: Server, workload: Workload, turn: int) -> tuple[float, float, float, float]:
    """Run one round; return CPU ms per operation, seconds, p95 ms, peak MB."""
    calls = workload.calls(server.base, turn)
    server.reset_peak()
    before = server.cpu()
    outcome = drive(server.port, calls, workload.clients)
    cpu = server.cpu() - before
    p95 = sorted(outcome.latencies)[int(len(outcome.latencies) * 0.95)] * 1000
    return cpu * 1000 / workload.operations, outcome.seconds, p95, server.peak() / 1e6


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Roentgate, and Orthanc beside it where Debian's packages orthanc and "
        "orthanc-dicomweb are installed.",
        epilog="example: python -m benchmarks --quick --json figures.json",
    )
    parser.add_argument("--quick", action="store_true", help="one round, less data: under two minutes")
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        choices=range(1, pixels.ROUNDS + 1),
        help="rounds that the servers alternate for (3)",
    )
    parser.add_argument("--only", default="", help="run workloads whose name contains this")
    parser.add_argument("--no-orthanc", action="store_true", help="measure Roentgate alone")
    parser.add_argument("--large", type=int, default=0, metavar="MB", help="also store and fetch an object this large")
    parser.add_argument("--studies", type=int, default=0, help="also search among so many studies (100000)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    console = Console(width=170)
    folder = Path(tempfile.mkdtemp(prefix="roentgate-bench-"))
    servers: list[Server] = [Roentgate(folder / "roentgate")]
    if Orthanc.present() and not arguments.no_orthanc:
        servers.append(Orthanc(folder / "orthanc"))
    chosen = [each for each in (*WORKLOADS, *pixels.WORKLOADS) if arguments.only in each.name]
    if arguments.quick:
        chosen = [each for each in chosen if "300 MB" not in each.name]
    figures: dict[str, dict[str, Figures]] = {
        each.name: {server.name: Figures() for server in servers} for each in chosen
    }
    facts: dict[str, object] = {
        "date": time.strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "servers": [server.name for server in servers],
    }
    try:
        with running(servers):
            for server in servers:
                console.print(f"loading {server.name} (first answer after {server.start_seconds:.2f} s)")
                facts[f"{server.name} start s"] = round(server.start_seconds, 3)
                facts[f"{server.name} idle PSS MB"] = round(server.memory() / 1e6, 1)
                load(server, 200 if arguments.quick else 2000, not arguments.quick)
            for turn in range(rounds):
                for workload in chosen:
                    if workload.once and turn:
                        continue
                    order = servers if turn % 2 == 0 else servers[::-1]
                    for server in order:
                        if workload.alone and server is not servers[0]:
                            continue
                        cpu, seconds, p95, peak = measure(server, workload, turn)
                        kept = figures[workload.name][server.name]
                        kept.cpu_ms.append(cpu)
                        kept.seconds.append(seconds)
                        kept.p95_ms.append(p95)
                        kept.per_second.append(workload.operations / seconds)
                        kept.peak_mb.append(peak)
                console.print(f"round {turn + 1} of {rounds} done")
            if arguments.large:
                facts["large object"] = large.measure(servers[0], arguments.large)
        if arguments.studies:
            facts["many studies"] = scale.measure(folder / "scale", arguments.studies)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(table(chosen, figures, [server.name for server in servers]))
    console.print(facts)
    if arguments.json:
        plain = {name: {key: asdict(value) for key, value in row.items()} for name, row in figures.items()}
        arguments.json.write_text(json.dumps({"facts": facts, "workloads": plain}, indent=1))


def table(chosen: list[Workload], figures: dict[str, dict[str, Figures]], names: list[str]) -> Table:
    """Lay the medians out: CPU per operation, operations per second, p95, and the ratio to Orthanc."""
    made = Table(title="medians of the rounds; CPU is the server's, per operation")
    made.add_column("workload")
    for name in names:
        for column in ("CPU ms", "per s", "p95 ms", "peak MB"):
            made.add_column(f"{name}\n{column}", justify="right")
    if len(names) == 2:
        made.add_column("CPU\nratio", justify="right")
        made.add_column("bar", justify="right")
    for workload in chosen:
        row = [workload.name]
        medians = []
        for name in names:
            kept = figures[workload.name][name]
            if not kept.cpu_ms:
                row += [""] * 4
                continue
            medians.append(statistics.median(kept.cpu_ms))
            row += [
                f"{medians[-1]:.2f}",
                f"{statistics.median(kept.per_second):.0f}",
                f"{statistics.median(kept.p95_ms):.1f}",
                f"{max(kept.peak_mb):.0f}",
            ]
        if len(medians) == 2:
            ratio = medians[0] / medians[1] if medians[1] else float("nan")
            row += [f"{ratio:.3f}", f"{workload.bar}" if workload.bar else ""]
        made.add_row(*row)
    return made


if __name__ == "__main__":
    main()
