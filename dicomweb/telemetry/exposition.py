"""Measures as Prometheus and OpenMetrics read them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import CollectorRegistry

from dicomweb.telemetry.measures import MEASURES, SECONDS, Gauge, Histogram, Labels, Tally

_BOUNDS = [*(format(bound, "g") for bound in SECONDS), "+Inf"]


def write(
    total: Mapping[str, Mapping[Labels, Sequence[float]]], gauges: Iterable[Gauge], accept: str = ""
) -> tuple[bytes, str]:
    """Write measures and gauges in the form that the client takes.

    Args:
        total: numbers by name and labels, see `measures.merge`.
        gauges: what holds now.
        accept: the request's Accept header.

    Returns:
        The text and its media type.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told([*_families(total), *map(_gauge, gauges)]))
    encode, kind = choose_encoder(accept)
    return encode(registry), kind


class _Told:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _families(total: Mapping[str, Mapping[Labels, Sequence[float]]]) -> Iterator[Metric]:
    for name, rows in total.items():
        measure = MEASURES.get(name)
        if isinstance(measure, Tally):
            counter = CounterMetricFamily(name.removesuffix("_total"), measure.doc, labels=measure.labels)
            for labels, row in sorted(rows.items()):
                counter.add_metric(labels, row[0])
            yield counter
        elif isinstance(measure, Histogram):
            histogram = HistogramMetricFamily(name, measure.doc, labels=measure.labels)
            for labels, row in sorted(rows.items()):
                buckets = list(zip(_BOUNDS, accumulate(row[:-1]), strict=True))
                histogram.add_metric(labels, buckets, row[-1])
            yield histogram
        elif measure is not None:
            values = [(labels, row[0]) for labels, row in sorted(rows.items())]
            yield _gauge(Gauge(name, measure.doc, measure.labels, values))


def _gauge(gauge: Gauge) -> Metric:
    family = GaugeMetricFamily(gauge.name, gauge.doc, labels=gauge.labels)
    for labels, value in gauge.values:
        family.add_metric(labels, value)
    return family
