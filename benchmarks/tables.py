"""The record of the last runs as tables: for people at a terminal, and for README and docs, where they stand between
marks and are written by this module alone."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "last.json"
"""What was measured last, section by section; README's tables are made of it."""
README = ROOT / "README.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
SCALE = ROOT / "docs" / "scale.json"
"""What `scale` measured last."""

Section = Mapping[str, Any]


def number(value: float | None) -> str:
    """Write a number with as many digits as it deserves."""
    if value is None:
        return ""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    digits = 1 if size >= 10 else 2 if size >= 1 else 2 if size >= 0.1 else 3 if size >= 0.01 else 4
    return f"{value:.{digits}f}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _ratio(one: Mapping[str, float], other: Mapping[str, float], name: str) -> float | None:
    return one[name] / other[name] if one.get(name) and other.get(name) else None


def _heading(section: Section) -> str:
    machine = section["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in section["versions"].items())
    rounds = f"; medians of {section['rounds']} rounds" if section["rounds"] > 1 else ""
    return (
        f"{section['date']}: {machine['cores']} cores ({machine['processor']}), {machine['memory GB']:.0f} GB, load "
        f"{machine['load']} at the start; {versions}{rounds}.\n\n"
    )


def _web(section: Section) -> str:
    heads = [
        *("workload", "CPU ms", "Orthanc's", "ratio", "bar", "median, p95 ms", "Orthanc's"),
        *("per second", "Orthanc's", "peak MB", "Orthanc's"),
    ]
    rows = []
    for row in section["rows"]:
        ours, theirs = row["servers"]["roentgate"], row["servers"].get("orthanc", {})
        cells = [row["name"], number(ours["cpu_ms"]), number(theirs.get("cpu_ms"))]
        cells += [number(_ratio(ours, theirs, "cpu_ms")), "" if row["bar"] is None else f"{row['bar']}"]
        for each in (ours, theirs):
            cells.append(f"{number(each['median_ms'])}, {number(each['p95_ms'])}" if each else "")
        for name in ("per_second", "peak_mb"):
            cells += [number(each[name]) if each else "" for each in (ours, theirs)]
        rows.append(cells)
    return table(heads, rows)


def _shared(section: Section) -> str:
    heads = [
        *("workload", "per second", "embedded", "ratio", "CPU ms", "embedded", "ratio"),
        *("median, p95 ms", "embedded", "S3 alone, per second", "its CPU ms"),
    ]
    rows = []
    for row in section["rows"]:
        bare = row["servers"].get("SeaweedFS alone", {})
        base, shared = row["servers"]["roentgate"], row["servers"]["roentgate on S3 and PostgreSQL"]
        cells = [row["name"]]
        for name in ("per_second", "cpu_ms"):
            cells += [number(shared[name]), number(base[name]), number(_ratio(shared, base, name))]
        cells += [f"{number(each['median_ms'])}, {number(each['p95_ms'])}" for each in (shared, base)]
        cells += [number(bare.get(name)) for name in ("per_second", "cpu_ms")]
        rows.append(cells)
    return table(heads, rows)


def _nginx(section: Section) -> str:
    rows = []
    for row in section["rows"]:
        ours, plain = row["servers"]["roentgate"], row["servers"]["nginx"]
        cells = [row["name"], number(ours["cpu_ms"]), number(plain["cpu_ms"]), number(_ratio(ours, plain, "cpu_ms"))]
        for name in ("p95_ms", "per_second", "client"):
            cells += [number(ours[name]), number(plain[name])]
        rows.append(cells)
    heads = [
        *("workload", "CPU ms", "nginx's", "ratio", "p95 ms", "nginx's", "per second", "nginx's"),
        *("client, % of a core", "with nginx"),
    ]
    return table(heads, rows)


def _dimse(section: Section) -> str:
    rows = []
    for row in section["rows"]:
        ours, theirs = row["servers"]["roentgate"], row["servers"].get("orthanc", {})
        cells = [row["name"]]
        for name in ("cpu_ms", "per_second"):
            cells += [number(ours[name]), number(theirs.get(name)), number(_ratio(ours, theirs, name))]
        rows.append(cells)
    return table(["workload", "CPU ms", "Orthanc's", "ratio", "per second", "Orthanc's", "ratio"], rows)


def _bars(section: Section) -> str:
    rows = [
        [each["what"], each["figure"], each["bar"], "yes" if each["met"] else "**no**"]
        for each in section.get("bars", ())
    ]
    return table(["what", "measured", "bar", "met"], rows) if rows else ""


_WRITERS: dict[str, Callable[[Section], str]] = {
    "web": _web,
    "shared": _shared,
    "nginx": _nginx,
    "memory": lambda section: "",
    "dimse": _dimse,
}
_TITLES = {
    "web": "The web services, beside Orthanc",
    "shared": "On S3 and PostgreSQL, 8 clients, beside files and SQLite",
    "nginx": "One CT frame, beside nginx that serves the same bytes as a file",
    "memory": "Memory, start, size of the index",
    "dimse": "DIMSE, beside Orthanc",
}


def write(name: str, section: Section) -> str:
    """Write a section of a record: a heading, its table, and what must hold."""
    made = [part for part in (_WRITERS[name](section), _bars(section)) if part]
    return f"**{_TITLES[name]}.** {_heading(section)}" + "\n".join(made)


def write_scale(record: Mapping[str, Any]) -> str:
    """Write what `scale` measured as tables: ingest, sizes, searches."""
    machine = record["machine"]
    versions = {"Python": machine["python"], "SQLite": machine["sqlite"], "PostgreSQL": record.get("postgresql")}
    named = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    made = [f"{machine['date']}: {machine['cores']} cores, {machine['memory GB']:.0f} GB; {named}.\n"]
    rows = [
        [
            f"{_DATABASES[database]}, {each['instances']:,} instances",
            *(number(each[name]) for name in ("large CPU ms", "empty CPU ms", "rate by CPU")),
            *(number(each[name]) for name in ("large per second", "empty per second")),
        ]
        for database, all_of in record.get("grown", {}).items()
        for each in all_of
    ]
    if rows:
        heads = [
            "large index, in turn with an empty one",
            "CPU ms an instance",
            "empty",
            "rate by CPU",
            "per second",
            "empty",
        ]
        made.append(table(heads, rows))
    rows = []
    for database, stretches in record.get("ingest", {}).items():
        first, last = stretches[0], stretches[-1]
        if len(stretches) > 1:
            grown = (last["bytes"] - first["bytes"]) / (last["instances"] - first["instances"])
            cells = [number(grown), number(first["cpu_ms"]), number(last["cpu_ms"])]
            rows.append([f"{_DATABASES[database]}, CT instances, 0 to {last['instances']:,}", *cells])
    for database, by_size in record.get("bytes", {}).items():
        for size, count in by_size.items():
            rows.append(
                [f"{_DATABASES[database]}, {int(size):,} studies of one instance", number(count / int(size)), "", ""]
            )
    if rows:
        made.append(table(["index", "bytes each", "CPU ms, first", "last"], rows))
    for database, kinds in record.get("searches", {}).items():
        sizes = list(next(iter(kinds.values())))
        heads = [f"{_DATABASES[database]}: CPU ms of a search", *(f"{int(size):,}" for size in sizes), "ratio"]
        rows = [
            [name, *(number(by_size[size]) for size in sizes), number(by_size[sizes[-1]] / by_size[sizes[0]])]
            for name, by_size in kinds.items()
        ]
        made.append(table(heads, rows))
    return "\n".join(made)


_DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def write_performance(record: Mapping[str, Any], path: Path = PERFORMANCE) -> None:
    """Put the tables of `scale` into the document, between their marks."""
    path.write_text(_between(path.read_text(), "scale", write_scale(record)))


def read_record(path: Path = RECORD) -> dict[str, Any]:
    """Read a record; {} where there is none."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def write_readme(path: Path = README) -> None:
    """Put the tables of the record into README, each between its marks."""
    text = path.read_text()
    for name, section in read_record().items():
        text = _between(text, f"bench {name}", write(name, section))
    path.write_text(text)


def _between(text: str, mark: str, made: str) -> str:
    """Put what was made between its marks."""
    before, opening, rest = text.partition(f"<!-- {mark} -->\n")
    _, closing, after = rest.partition(f"<!-- /{mark} -->")
    return f"{before}{opening}{made}{closing}{after}" if closing else text
