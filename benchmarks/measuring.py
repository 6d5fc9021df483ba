"""Rounds in which servers alternate, and what each workload cost each of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import data, pixels
from benchmarks.client import BadAnswers, Call, Load, drive, post
from benchmarks.servers import Server
from benchmarks.workloads import CT_STUDIES, HUGE, MULTI_FRAME, Workload

BUSY = 70.0
"""Percent of a core from which on the load generator may be what limits the rate: it is one Python process."""


@dataclass(slots=True)
class Figures:
    """What one workload cost one server, by round.

    Attributes:
        cpu_ms: CPU milliseconds of the server's processes for each operation.
        median_ms, p95_ms: of the times that requests took.
        per_second: operations.
        peak_mb: of memory, the sum of what each process had at most.
        client: percent of a core that the load generator took.
    """

    cpu_ms: list[float] = field(default_factory=list)
    median_ms: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Return the medians of the rounds; of memory the largest."""
        found = {name: statistics.median(values) for name, values in asdict(self).items() if values}
        if self.peak_mb:
            found["peak_mb"] = max(self.peak_mb)
        return {name: round(value, 4) for name, value in found.items()}


def load(servers: Sequence[Server], studies: int, huge: bool, pictures: int = 0) -> None:
    """Store the data that the reading workloads ask for.

    Args:
        servers: all get the same.
        studies: of one small instance.
        huge: with the object of 300 MB.
        pictures: rounds for which there is something to transcode and draw.
    """
    small = [[data.small_study(n)] for n in range(1, studies + 1)]
    _store(servers, small, clients=4)
    for study in CT_STUDIES:
        parts = list(data.ct_series(study))
        _store(servers, [parts[n : n + 50] for n in range(0, len(parts), 50)])
    _store(servers, [[data.multi_frame(MULTI_FRAME, 300, 256, 256)]])
    for part in pixels.load(pictures) if pictures else ():
        _store(servers, [[part]])
    if huge:
        _store(servers, [[data.multi_frame(HUGE, 600, 512, 512)]])
    for server in servers if pictures else ():
        _drive(server, "warming up", pixels.first(server.base), 8)


def _store(servers: Sequence[Server], requests: Sequence[Sequence[bytes]], clients: int = 1) -> None:
    for server in servers:
        _drive(server, "loading", [post(f"{server.base}/studies", parts) for parts in requests], clients)


def _drive(server: Server, name: str, calls: Sequence[Call], clients: int) -> Load:
    try:
        return drive(server.port, calls, clients)
    except BadAnswers as error:
        raise BadAnswers(f"{server.name}, {name}: {error}") from error


def measure(server: Server, workload: Workload, calls: Sequence[Call], kept: Figures) -> None:
    """Run a workload once, and keep what it cost."""
    server.reset_peak()
    before, own = server.cpu(), time.process_time()
    outcome = _drive(server, workload.name, calls, workload.clients)
    own = time.process_time() - own
    kept.cpu_ms.append((server.cpu() - before) * 1000 / workload.operations)
    times = sorted(outcome.latencies)
    kept.median_ms.append(statistics.median(times) * 1000)
    kept.p95_ms.append(times[int(len(times) * 0.95)] * 1000)
    kept.per_second.append(workload.operations / outcome.seconds)
    kept.peak_mb.append(server.peak() / 1e6)
    kept.client.append(own * 100 / outcome.seconds)


def _can(server: Server, workload: Workload, ours: Server) -> bool:
    return (server is ours or not workload.alone) and (server.jpeg_2000 or not workload.jpeg_2000)


def alternate(
    servers: Sequence[Server],
    workloads: Sequence[Workload],
    rounds: int,
    told: Callable[[str], None],
) -> dict[str, dict[str, Figures]]:
    """Run all workloads on all servers in turn, the other way round in every other round.

    Returns:
        Figures by workload and server.
    """
    figures = {each.name: {server.name: Figures() for server in servers} for each in workloads}
    for turn in range(rounds):
        for workload in workloads:
            if workload.once and turn:
                continue
            calls: dict[str, Sequence[Call]] = {}
            for server in servers if turn % 2 == 0 else servers[::-1]:
                if _can(server, workload, servers[0]):
                    if server.base not in calls:
                        calls[server.base] = workload.calls(server.base, turn)
                    measure(server, workload, calls[server.base], figures[workload.name][server.name])
        told(f"round {turn + 1} of {rounds} done")
    return figures


def rows_of(workloads: Sequence[Workload], figures: Mapping[str, Mapping[str, Figures]]) -> list[dict[str, Any]]:
    """Return what a section of the record holds of each workload."""
    return [
        {
            "name": each.name,
            "bar": each.bar,
            "servers": {name: kept.summary() for name, kept in figures[each.name].items() if kept.cpu_ms},
        }
        for each in workloads
    ]
