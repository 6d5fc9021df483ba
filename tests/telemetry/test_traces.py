"""Trace context and the lines of the log."""

import json
import logging
import re
import sys

import pytest

from dicomweb.telemetry import traces
from dicomweb.telemetry.lines import JsonLines

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_trace_goes_on_in_a_part_of_our_own():
    trace = traces.take_up(f"00-{ID}-{SPAN}-01")
    assert trace.id == ID
    assert trace.span != SPAN
    assert trace.write() == f"00-{ID}-{trace.span}-01"


def test_a_later_version_may_have_more_fields():
    assert traces.take_up(f"01-{ID}-{SPAN}-01-more").id == ID


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"ff-{ID}-{SPAN}-01",
        f"00-{ID}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{ID}-{'0' * 16}-01",
        f"00-{ID.upper()}-{SPAN}-01",
        f"00-{ID}-{SPAN}-01" * 20,
    ],
)
def test_where_no_trace_can_be_read_one_begins(header):
    trace = traces.take_up(header)
    assert trace.id != ID
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace.write())
    assert traces.take_up(header).id != trace.id


def record(**more: object) -> logging.LogRecord:
    made = logging.LogRecord("dicomweb.x", logging.WARNING, "f.py", 1, "two\nlines: %s", ("é",), None)
    vars(made).update(more)
    return made


def test_an_event_is_one_line_of_json():
    text = JsonLines().format(record(fields={"status": 200}))
    assert "\n" not in text
    line = json.loads(text)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "dicomweb.x", "message": "two\nlines: é", "status": 200}


def test_a_line_names_the_trace_that_it_belongs_to():
    token = traces.current.set(traces.take_up(f"00-{ID}-{SPAN}-01"))
    try:
        assert json.loads(JsonLines().format(record()))["trace"] == ID
    finally:
        traces.current.reset(token)
    assert "trace" not in json.loads(JsonLines().format(record()))


def test_an_error_brings_its_stack_within_the_line():
    try:
        raise RuntimeError("hush")
    except RuntimeError:
        text = JsonLines().format(record(exc_info=sys.exc_info()))
    assert "\n" not in text
    assert "RuntimeError: hush" in json.loads(text)["error"]
