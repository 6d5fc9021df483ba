"""Measures, added up over processes and told to Prometheus."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dicomweb.telemetry import exposition, measures
from dicomweb.telemetry.measures import SECONDS, Gauge, Histogram, Level, Tally, merge, state
from dicomweb.telemetry.together import Together


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """What a test makes is gone after it."""
    known = dict(measures.MEASURES)
    measures.MEASURES.clear()
    yield
    measures.MEASURES.clear()
    measures.MEASURES.update(known)


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What Prometheus reads, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_many_threads_lose_no_count():
    tally, histogram = Tally("t_total", "d", ("a",)), Histogram("h_seconds", "d")

    def work() -> None:
        for _ in range(2000):
            tally.add(("x",))
            histogram.observe(0.003)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert tally.rows() == [(("x",), [16_000.0])]
    ((_, row),) = histogram.rows()
    assert sum(row[:-1]) == 16_000
    assert row[-1] == pytest.approx(48.0)


@pytest.mark.parametrize("seconds", [0.0, *SECONDS, 61.0])
def test_a_duration_counts_in_the_buckets_whose_bound_it_does_not_exceed(seconds):
    Histogram("h_seconds", "d").observe(seconds)
    found = samples(exposition.write(merge([state()]), [])[0])
    for bound in SECONDS:
        assert found["h_seconds_bucket", frozenset({("le", f"{bound:g}")})] == (seconds <= bound)
    assert found["h_seconds_bucket", frozenset({("le", "+Inf")})] == 1
    assert found["h_seconds_count", frozenset()] == 1
    assert found["h_seconds_sum", frozenset()] == seconds


def test_labels_are_as_many_as_the_measure_has():
    with pytest.raises(ValueError, match="t_total has the labels"):
        Tally("t_total", "d", ("a",)).add(("x", "y"))


def test_prometheus_reads_tallies_levels_and_gauges():
    Tally("t_total", "d", ("a",)).add(("x",), 3)
    Level("l", "d").add(2)
    text, kind = exposition.write(merge([state()]), [Gauge("g", "d", ("b",), [(('quo"te',), 1.5)])])
    assert kind.startswith("text/plain")
    found = samples(text)
    assert found["t_total", frozenset({("a", "x")})] == 3
    assert found["l", frozenset()] == 2
    assert found["g", frozenset({("b", 'quo"te')})] == 1.5


def test_openmetrics_is_written_for_whoever_asks_for_it():
    Tally("t_total", "d").add()
    text, kind = exposition.write(merge([state()]), [], "application/openmetrics-text;version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


OTHER = """
import sys
from pathlib import Path
from dicomweb.telemetry.measures import Level, Tally
from dicomweb.telemetry.together import Together
Tally("t_total", "d").add((), 5)
Level("l", "d").add(7)
together = Together(Path(sys.argv[1]))
together.total()
print("written", flush=True)
sys.stdin.read()
"""


def test_processes_add_up_and_one_that_has_ended_takes_no_count_with_it(tmp_path):
    Tally("t_total", "d").add((), 2)
    Level("l", "d").add(1)
    together = Together(tmp_path)
    assert together.total() == {"t_total": {(): [2.0]}, "l": {(): [1.0]}}
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"written\n"
        assert together.total() == {"t_total": {(): [7.0]}, "l": {(): [8.0]}}
    finally:
        other.kill()
        other.communicate()
    assert together.total() == {"t_total": {(): [7.0]}, "l": {(): [1.0]}}, "what is under way there ended with it"


def test_what_was_told_is_written_for_the_others_before(tmp_path):
    tally = Tally("t_total", "d")
    together = Together(tmp_path)
    for count in range(1, 4):
        tally.add()
        told = together.total()["t_total"][()]
        assert told == [count]
        assert json.loads((tmp_path / f"{os.getpid()}.json").read_bytes())["t_total"] == [[[], told]]


def test_a_process_that_ends_well_writes_its_last_counts(tmp_path):
    tally, level = Tally("t_total", "d"), Level("l", "d")
    together = Together(tmp_path)
    together.start()
    tally.add((), 4)
    level.add(1)
    together.stop()
    assert json.loads((tmp_path / f"{os.getpid()}.json").read_bytes()) == {"t_total": [[[], [4.0]]]}
