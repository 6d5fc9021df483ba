"""How long each operation of an index takes and how it ends."""

import functools
from collections.abc import Callable
from time import perf_counter
from typing import Any

from dicomweb.errors import Error, OutOfSpace, Unavailable
from dicomweb.index import Index
from dicomweb.telemetry.measures import Histogram

OPERATIONS = Histogram(
    "roentgate_index_operation_duration_seconds", "Time that an operation of the index took.", ("operation", "outcome")
)
NAMES = (
    *("intend", "intend_new", "commit", "keep", "replace", "enter", "adopt", "abandon", "forget", "delete"),
    *("collected", "expire"),
    *("present", "locate", "members", "versions", "layout", "metadata", "search", "lookup", "walk", "changes"),
    *("pending", "garbage", "known", "others", "counts", "check"),
)
"""What is measured."""


def measure(index: Index) -> Index:
    """Measure the operations of an index from now on, and return it."""
    for name in NAMES:
        setattr(index, name, _timed(name, getattr(index, name)))
    return index


def _timed(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
    well, refused, failed = ((name, outcome) for outcome in ("well", "refused", "failed"))
    observe = OPERATIONS.observe

    @functools.wraps(operation)
    def timed(*args: Any, **kwargs: Any) -> Any:
        begun = perf_counter()
        try:
            result = operation(*args, **kwargs)
        except Exception as error:
            broken = isinstance(error, Unavailable | OutOfSpace) or not isinstance(error, Error)
            observe(perf_counter() - begun, failed if broken else refused)
            raise
        observe(perf_counter() - begun, well)
        return result

    return timed
