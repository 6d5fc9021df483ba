"""The log as lines of JSON, for programs that collect them: one object an event, with the trace that it belongs to."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from dicomweb.telemetry.traces import current

TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


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
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
