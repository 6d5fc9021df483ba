"""`/jobs`: long work, watched and steered by people, claimed and reported by runners. An extension.

A runner is a bridge: it waits for a job by `POST /jobs/claim`, has it for `LEASE` seconds, and keeps it by reporting
progress under the fencing number that came with it. What it says under a number that is no longer the job's is
answered by 409, and it stops.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dicomweb.connection import TOLD
from dicomweb.errors import BadRequest, NotFound
from dicomweb.index.jobs import Jobs
from dicomweb.jobs import LEASE, OVER, STATES, Job
from dicomweb.standard.nodes import write_node
from dicomweb.web import jsonbodies
from dicomweb.web.access import nodes_of
from dicomweb.web.auditing import note
from dicomweb.web.threads import hop_index

WAIT = 20.0
"""Seconds for which a claim waits for a job."""

SHOWN_FAILURES = 5
"""Failures that a job shows by itself; all that are told are at `/jobs/{job}/failures`."""

_LOOK = 0.25
_QUIET = 10.0
_MOST = 1000


async def listing(request: Request) -> Response:
    """GET /jobs?state=&node=&limit=&before=: the latest first; `before` is the number after which to go on."""
    states = [state for text in request.query_params.getlist("state") for state in text.split(",") if state]
    for state in states:
        if state not in STATES:
            raise BadRequest(f"state is one of {', '.join(STATES)}")
    limit = jsonbodies.count(request, "limit", 100, _MOST)
    before = jsonbodies.count(request, "before", 0, 1 << 62) or None
    node = request.query_params.get("node") or None
    found = await hop_index(_latest, _jobs(request), limit, before, states or STATES, node, nodes_of(request))
    return jsonbodies.respond({"jobs": [write(job) for job in found]})


def _latest(
    jobs: Jobs, limit: int, before: int | None, states: Sequence[str], node: str | None, known: frozenset[str] | None
) -> list[Job]:
    """The latest jobs of which every node is known."""
    found: list[Job] = []
    while len(found) < limit:
        page = jobs.latest(limit, before, states, node, known)
        found += [job for job in page if known is None or job.nodes <= known]
        if len(page) < limit:
            break
        before = page[-1].id
    return found[:limit]


async def one(request: Request) -> Response:
    """GET /jobs/{job}."""
    return jsonbodies.respond(write(await hop_index(_jobs(request).get, _number(request))))


async def failures(request: Request) -> Response:
    """GET /jobs/{job}/failures?limit=&offset=: the instances that did not arrive and why, as far as they are told
    one by one; `failed` is how many there are."""
    limit = jsonbodies.count(request, "limit", 100, _MOST)
    offset = jsonbodies.count(request, "offset", 0, 1 << 62)
    progress = (await hop_index(_jobs(request).get, _number(request))).progress
    found = _failures(progress)
    return jsonbodies.respond(
        {
            "failed": progress.get("failed", len(found)),
            "told": len(found),
            "failures": found[offset : offset + limit],
        }
    )


def _failures(progress: Mapping[str, Any]) -> list[Any]:
    told = progress.get("failures")
    return told if isinstance(told, list) else []


async def cancel(request: Request) -> Response:
    """POST /jobs/{job}/cancel: stop it; what has arrived stays."""
    return jsonbodies.respond(write(await hop_index(_jobs(request).cancel, _number(request))))


async def retry(request: Request) -> Response:
    """POST /jobs/{job}/retry: begin again at once; what has arrived already is not sent again."""
    return jsonbodies.respond(write(await hop_index(_jobs(request).retry, _number(request))))


async def events(request: Request) -> Response:
    """GET /jobs/{job}/events: the job each time that it changes, as server-sent events, until it is over.

    It ends before that only if the server is told to stop; a browser's EventSource comes again by itself, and says in
    Last-Event-ID what it was told last. Proxies are asked not to hold events back.
    """
    jobs, number, told_to_stop = _jobs(request), _number(request), _stopping(request)
    job = await hop_index(jobs.get, number)
    known = request.headers.get("last-event-id", "")

    async def stream() -> AsyncIterator[bytes]:
        yield b"retry: 200\n\n"
        told, spoken = job, time.monotonic()
        if told.state in OVER or known != str(_stamp(told)):
            yield _event(told)
        while told.state not in OVER and not told_to_stop():
            await asyncio.sleep(_LOOK)
            try:
                now = await hop_index(jobs.get, number)
            except NotFound:
                return
            if now != told:
                told, spoken = now, time.monotonic()
                yield _event(told)
            elif time.monotonic() - spoken > _QUIET:
                spoken = time.monotonic()
                yield b": still here\n\n"

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(stream(), headers=headers, media_type="text/event-stream")


def _stamp(job: Job) -> int:
    """Names the state that a job is in."""
    return int(job.changed * 1000)


def _event(job: Job) -> bytes:
    kind = "end" if job.state in OVER else "progress"
    return b"event: %s\nid: %d\ndata: %s\n\n" % (kind.encode(), _stamp(job), orjson.dumps(write(job)))


# -- for runners ---------------------------------------------------------------------------------------------
async def claim(request: Request) -> Response:
    """POST /jobs/claim: the job that has waited longest, with the nodes that it needs; 204 if none comes in time."""
    request.app.state.bridge.check(request)
    value = await jsonbodies.read(request)
    owner, wait = value.get("owner", ""), value.get("wait", WAIT)
    if not isinstance(owner, str) or not owner or not isinstance(wait, (int, float)):
        raise BadRequest("a claim has an owner, and wait in seconds")
    jobs, end = _jobs(request), time.monotonic() + min(max(float(wait), 0.0), WAIT)
    told_to_stop = _stopping(request)
    while True:
        gone = await request.is_disconnected() or told_to_stop()
        if not gone and await hop_index(jobs.has_work):
            job = await hop_index(jobs.claim, owner[:200], LEASE, request.app.state.archive.config.job_attempts)
            if job is not None:
                return jsonbodies.respond(
                    {"job": write(job), "lease": LEASE, "nodes": await hop_index(_needed, request, job)}
                )
        if gone or time.monotonic() >= end:
            return Response(status_code=204, headers={"cache-control": "no-store"})
        await asyncio.sleep(_LOOK)


def _needed(request: Request, job: Job) -> dict[str, Any]:
    """The nodes that a job speaks of, as they are now; one that is no more is not among them."""
    nodes = request.app.state.nodes.all()
    names = [job.node, str(job.task.get("destination") or "")]
    return {name: write_node(nodes[name], secrets=True) for name in names if name in nodes}


async def report(request: Request) -> Response:
    """POST /jobs/{job}/report: progress, which keeps the claim; the answer says whether to stop."""
    request.app.state.bridge.check(request)
    value = await jsonbodies.read(request)
    job = await hop_index(
        _jobs(request).report, _number(request), jsonbodies.whole(value, "fence"), _progress(value), LEASE
    )
    return jsonbodies.respond({"cancel": job.cancel, "lease": LEASE})


async def finish(request: Request) -> Response:
    """POST /jobs/{job}/finish: what became of it; `waiting` asks for another attempt in `again` seconds."""
    request.app.state.bridge.check(request)
    value = await jsonbodies.read(request)
    state, error, again = value.get("state"), value.get("error", ""), value.get("again", 0)
    if state not in ("done", "failed", "canceled", "waiting") or not isinstance(error, str):
        raise BadRequest("state is done, failed, canceled or waiting, and error a sentence")
    if not isinstance(again, (int, float)):
        raise BadRequest("again is in seconds")
    config = request.app.state.archive.config
    job = await hop_index(
        _jobs(request).finish, _number(request), jsonbodies.whole(value, "fence"), state, _progress(value), error,
        float(again), config.job_attempts, config.job_hours * 3600,
    )  # fmt: skip
    note(request, kind=job.kind, node=job.node, state=job.state)
    return jsonbodies.respond(write(job))


def _progress(value: dict[str, Any]) -> dict[str, Any]:
    progress = value.get("progress", {})
    if not isinstance(progress, dict):
        raise BadRequest("progress is no object")
    return progress


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.archive.index.jobs
    return jobs


def _stopping(request: Request) -> Callable[[], bool]:
    """What says whether the server was told to stop, which waits for answers under way."""
    told: asyncio.Event | None = request.scope.get(TOLD)
    return told.is_set if told is not None else lambda: False


def _number(request: Request) -> int:
    text = request.path_params["job"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise NotFound("there is no such job")
    return int(text)


def write(job: Job) -> dict[str, Any]:
    """Write a job as JSON, with the first few of its failures."""
    progress = dict(job.progress)
    if len(found := _failures(progress)) > SHOWN_FAILURES:
        progress["failures"] = found[:SHOWN_FAILURES]
    return job.write() | {"progress": progress}
