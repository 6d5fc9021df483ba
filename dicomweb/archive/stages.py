"""How long the stages of a store take: `spool` until the bytes are here, `parse`, `index` (twice), `object`."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal, TypeAlias

from dicomweb.telemetry.measures import Histogram

Stage: TypeAlias = Literal["spool", "parse", "index", "object"]

STAGES = Histogram(
    "roentgate_store_stage_duration_seconds",
    "Time that a stage of storing a batch of objects took.",
    ("stage",),
)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Measure what is done inside."""
    begun = perf_counter()
    try:
        yield
    finally:
        STAGES.observe(perf_counter() - begun, (name,))
