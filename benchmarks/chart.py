"""The chart of what `benchmarks.scale` measured: rate of ingest and cost of searches against size. Matplotlib draws it
(`pip install matplotlib`); nothing else needs it."""

from pathlib import Path
from typing import Any

_COLOURS = {"sqlite": "#1f9d76", "postgresql": "#3b82c4"}
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_GREY = "#808a94"
"""Readable on white and on black alike, as the colours are; the picture has no background."""
_SHOWN = (
    "name + dates + modality",
    "part of a name",
    "page of 100, after half of them, by cursor",
    "Patient ID",
    "sorted by name, backwards",
    "200 instances of a series",
)


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw the record of a run.

    Args:
        record: as `scale` writes it.
        path: of the PNG.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({
        "font.size": 9, "axes.edgecolor": _GREY, "axes.labelcolor": _GREY, "xtick.color": _GREY, "ytick.color": _GREY,
        "text.color": _GREY, "axes.spines.top": False, "axes.spines.right": False,
    })  # fmt: skip
    figure, (cost, searches) = pyplot.subplots(1, 2, figsize=(10.5, 4.4), constrained_layout=True)
    _ingest(cost, record)
    _searches(searches, record)
    figure.savefig(path, dpi=110, transparent=True)
    pyplot.close(figure)


def _ingest(axes: Any, record: dict[str, Any]) -> None:
    highest = 0.0
    for database, colour in _COLOURS.items():
        stretches = record.get("ingest", {}).get(database) or []
        sampled = record.get("grown", {}).get(database) or []
        points = [(each["instances"] / 1e6, 1000 / each["cpu_ms"]) for each in stretches]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, label=f"{_NAMES[database]}, while it was filled")
        for place, each in enumerate(sampled):
            pair = ([0, each["instances"] / 1e6], [1000 / each["empty CPU ms"], 1000 / each["large CPU ms"]])
            label = None if place else f"{_NAMES[database]}, empty and large in turn"
            axes.plot(*pair, "o--", linewidth=0.8, color=colour, markerfacecolor="none", label=label)
            highest = max(highest, *pair[1])
        highest = max([highest, *(1000 / each["cpu_ms"] for each in stretches)])
    axes.set_ylim(0, highest * 1.4 or 1)
    axes.set_xlabel("million instances in the index")
    axes.set_ylabel("instances indexed in a second of CPU")
    axes.set_title("Ingest: studies of 2 series of 50 CT instances", loc="left", fontsize=9)
    axes.legend(frameon=False, fontsize=8)


def _searches(axes: Any, record: dict[str, Any]) -> None:
    for database, colour in _COLOURS.items():
        found = record.get("searches", {}).get(database) or {}
        for place, name in enumerate(_SHOWN):
            by_size = found.get(name)
            if not by_size:
                continue
            sizes = [int(size) for size in by_size]
            style = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))[place]
            label = name if database == "sqlite" or "sqlite" not in record.get("searches", {}) else None
            axes.plot(sizes, list(by_size.values()), color=colour, linestyle=style, marker=".", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("studies in the index")
    axes.set_ylabel("CPU ms of a search, server and database")
    axes.set_title("Searches (green SQLite, blue PostgreSQL)", loc="left", fontsize=9)
    axes.legend(frameon=False, fontsize=7, loc="upper left")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * 8)
