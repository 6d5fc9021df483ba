"""How long the stages of a store take: `spool` until the bytes are here, `parse`, `index` (twice), `object`."""

from contextlib import AbstractContextManager
from time import perf_counter
from typing import Literal, TypeAlias

from dicomweb.telemetry.measures import Histogram

Stage: TypeAlias = Literal["spool", "parse", "index", "object"]

STAGES = Histogram(
    "roentgate_store_stage_duration_seconds",
    "Time that a stage of storing a batch of objects took.",
    ("stage",),
)


class _Clock:
    __slots__ = ("_begun", "_labels")

    def __init__(self, name: Stage) -> None:
        self._labels = (name,)

    def __enter__(self) -> None:
        self._begun = perf_counter()

    def __exit__(self, *_: object) -> None:
        STAGES.observe(perf_counter() - self._begun, self._labels)


def stage(name: Stage) -> AbstractContextManager[None]:
    """Measure what is done inside. No generator, which would cost twice as much."""
    return _Clock(name)
