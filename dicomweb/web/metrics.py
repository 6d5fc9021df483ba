"""`/metrics`: what this server counts, in the form of Prometheus, all its processes added up.

Figures of the archive are those of `archive.census`, so that a scrape never counts a large index. They are the same
whichever process or replica is asked; in a query they are taken by `max`, the others by `sum`.
"""

from collections.abc import Iterator
from functools import lru_cache

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive.census import room
from dicomweb.errors import Error
from dicomweb.telemetry.certificates import certificates
from dicomweb.telemetry.measures import Gauge, Labels
from dicomweb.web.access import nodes_of
from dicomweb.web.health import Readiness
from dicomweb.web.status import Service, versions
from dicomweb.web.threads import hop_elsewhere


async def metrics(request: Request) -> Response:
    """GET /metrics: measures of all processes of this server."""
    text, kind = await hop_elsewhere(_write, request)
    return Response(text, 200, {"cache-control": "no-store", "content-type": kind})


def _write(request: Request) -> tuple[bytes, str]:
    from dicomweb.telemetry import exposition

    state = request.app.state
    gauges = [*_health(state.readiness), *_held(state.service), *_jobs(request)]
    return exposition.write(state.together.total(), gauges, request.headers.get("accept", ""))


def _health(readiness: Readiness) -> Iterator[Gauge]:
    failing = readiness.failing()
    names = readiness.names
    values = [((name,), float(name not in failing)) for name in names]
    yield Gauge("roentgate_back_end_up", "Whether a back end answers.", ("back_end",), values)
    values = [((name,), float(name in readiness.full)) for name in names]
    yield Gauge("roentgate_back_end_full", "Whether a back end has no room.", ("back_end",), values)
    space = readiness.space
    refused = float(bool(failing or readiness.full or space.problem))
    yield Gauge("roentgate_writes_refused", "Whether nothing can be stored.", (), [((), refused)])
    if space.free is not None:
        doc = "Bytes free on the fullest of the disks on which anything of ours lies."
        yield Gauge("roentgate_free_bytes", doc, (), [((), float(space.free))])
        doc = "Bytes that stay free there: below it nothing is stored."
        yield Gauge("roentgate_free_floor_bytes", doc, (), [((), float(space.floor))])
    if space.most is not None and space.used is not None:
        yield Gauge("roentgate_archive_bytes", "Bytes of all stored versions.", (), [((), float(space.used))])
        yield Gauge("roentgate_archive_limit_bytes", "Bytes of them at most.", (), [((), float(space.most))])
    yield Gauge("roentgate_draining", "Whether this server is about to stop.", (), [((), float(readiness.draining))])


def _held(service: Service) -> Iterator[Gauge]:
    yield _build()
    yield Gauge("roentgate_start_time_seconds", "When the process that answers began.", (), [((), service.started)])
    counted = service.census.counted()
    if counted:
        counts = counted.counts
        for name, doc, value in (
            ("roentgate_stored_studies", "Studies that are held.", counts.studies),
            ("roentgate_stored_series", "Series that are held.", counts.series),
            ("roentgate_stored_instances", "Instances that are held.", counts.instances),
            ("roentgate_stored_bytes", "Bytes of the instances that are held.", counts.bytes),
            ("roentgate_pending_objects", "Objects whose store has begun and not ended.", counts.pending),
            ("roentgate_garbage_objects", "Objects whose bytes are about to be removed.", counts.garbage),
            ("roentgate_counted_timestamp_seconds", "When it was counted what is held.", counted.time),
        ):
            yield Gauge(name, doc, (), [((), float(value))])
    space = room(service.config.storage, service.config.data)
    yield from certificates({"http": service.config.tls_cert})
    if space:
        doc = "Bytes of the disk on which objects lie."
        values = [(("free",), float(space[0])), (("all",), float(space[1]))]
        yield Gauge("roentgate_disk_bytes", doc, ("part",), values)


@lru_cache(maxsize=1)
def _build() -> Gauge:
    return Gauge("roentgate_build_info", "The version that runs.", ("version",), [((versions()["roentgate"],), 1.0)])


def _jobs(request: Request) -> Iterator[Gauge]:
    try:
        queues = request.app.state.archive.index.jobs.queues()
    except Error:
        return
    known = nodes_of(request)
    counts = {"running": 0, "waiting": 0}
    oldest: dict[str, float] = {}
    for node, state, number, created in queues:
        counts[state] += number
        if known is not None and node not in known:
            continue
        oldest[node] = min(oldest.get(node, created), created)
    values = [((state,), float(number)) for state, number in counts.items()]
    yield Gauge("roentgate_jobs", "Jobs that are not over, by their state.", ("state",), values)
    waiting: list[tuple[Labels, float]] = [
        ((node, state), float(number)) for node, state, number, _ in queues if node in oldest
    ]
    yield Gauge("roentgate_node_jobs", "The same for each node.", ("node", "state"), waiting)
    values = [((node,), created) for node, created in oldest.items()]
    doc = "When the oldest job that is not over was made."
    yield Gauge("roentgate_node_oldest_job_timestamp_seconds", doc, ("node",), values)
