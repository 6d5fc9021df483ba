"""How the log is written: as text, or as lines of JSON for programs that collect them, one object an event with the
trace that it belongs to. A stack names places in the code, and no values, which may be a patient's.
"""

import json
import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from dicomweb.telemetry.traces import current

TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_OF_VALUES = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
"""Errors whose text Python, or a library, makes of the values at hand."""
_OF_ROWS = ("IntegrityError", "DataError")
"""The same of databases (PEP 249)."""

_ExcInfo = tuple[Any, Any, Any]


def write_stack(error: BaseException) -> str:
    """Return the stack of an error and of those that led to it, without the text of errors that is made of values."""
    return "\n".join(_stacks(error, set()))


def _stacks(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _stacks(before, seen)
        yield "which led to"
    yield "Traceback (most recent call last):"
    yield "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    kind = type(error)
    hidden = isinstance(error, _OF_VALUES) or any(each.__name__ in _OF_ROWS for each in kind.__mro__)
    yield f"{kind.__module__}.{kind.__qualname__}" + (" (its text may hold values)" if hidden else f": {error}")
    for one in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        if id(one) not in seen:
            yield "in which"
            yield from _stacks(one, seen)


class TextLines(logging.Formatter):
    """Formats a record as one line of text, and a stack below it where one was logged."""

    def __init__(self) -> None:
        super().__init__(TEXT)

    def formatException(self, ei: _ExcInfo) -> str:
        """See logging.Formatter."""
        return "" if ei[1] is None else write_stack(ei[1])


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON.

    `time`, `level`, `logger` and `message` are always there, `trace` where there is one, `error` with a stack where
    one was logged; what a call gives as `extra={"fields": {...}}` stands beside them.
    """

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = current.get()
        if trace is not None:
            line["trace"] = trace.id
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = write_stack(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)
