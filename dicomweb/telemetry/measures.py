"""Measures of this process: how often, how long. Counted where it happens, for less than a microsecond.

A measure is made once, at the top of the module that counts, and belongs to the process, as its memory does. Labels
are few and from lists of ours; whatever strangers send becomes `other` before it gets here.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Labels: TypeAlias = tuple[str, ...]
Row: TypeAlias = list[float]
State: TypeAlias = Mapping[str, Sequence[tuple[Sequence[str], Sequence[float]]]]
"""Measures as data: by name, for each set of labels a row of numbers; it goes from process to process as JSON."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Upper bounds of durations, in seconds."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """What holds now, asked when it is told: a name, what it means, and a number for each set of labels."""

    name: str
    doc: str
    labels: tuple[str, ...]
    values: Sequence[tuple[Labels, float]]


class Measure:
    """A family of numbers under one name.

    Args:
        name: in the form that Prometheus wants, unit in it.
        doc: what is counted.
        labels: their names.
    """

    width = 1

    def __init__(self, name: str, doc: str, labels: tuple[str, ...] = ()) -> None:
        self.name = name
        self.doc = doc
        self.labels = labels
        self._lock = threading.Lock()
        self._rows: dict[Labels, Row] = {}
        MEASURES[name] = self

    def _row(self, labels: Labels) -> Row:
        row = self._rows.get(labels)
        if row is None:
            if len(labels) != len(self.labels):
                raise ValueError(f"{self.name} has the labels {self.labels}")
            row = self._rows[labels] = [0.0] * self.width
        return row

    def rows(self) -> list[tuple[Labels, Row]]:
        """Return the numbers as they are now."""
        with self._lock:
            return [(labels, row.copy()) for labels, row in self._rows.items()]


class Tally(Measure):
    """What only grows."""

    def add(self, labels: Labels = (), amount: float = 1.0) -> None:
        """Count."""
        with self._lock:
            self._row(labels)[0] += amount


class Level(Measure):
    """What goes up and down, such as requests under way; those of a process that has ended count no more."""

    def add(self, amount: float, labels: Labels = ()) -> None:
        """Go up by an amount, or down by a negative one."""
        with self._lock:
            self._row(labels)[0] += amount


class Histogram(Measure):
    """Durations in seconds: how many up to each bound, above the last one, and their sum."""

    width = len(SECONDS) + 2

    def observe(self, seconds: float, labels: Labels = ()) -> None:
        """Count a duration."""
        with self._lock:
            row = self._row(labels)
            row[bisect_left(SECONDS, seconds)] += 1
            row[-1] += seconds


MEASURES: dict[str, Measure] = {}
"""Every measure of this process by name."""


def state() -> State:
    """Return all measures of this process as data."""
    return {name: rows for name, measure in MEASURES.items() if (rows := measure.rows())}


def merge(states: Iterable[State]) -> dict[str, dict[Labels, Row]]:
    """Add up the measures of several processes."""
    total: dict[str, dict[Labels, Row]] = {}
    for each in states:
        for name, rows in each.items():
            family = total.setdefault(name, {})
            for labels, row in rows:
                known = family.get(tuple(labels))
                family[tuple(labels)] = list(row) if known is None else [a + b for a, b in zip(known, row, strict=True)]
    return total
