"""Every URL and its handlers (PS3.18 10.1 and 9.1; DESIGN's own ones beside them).

The order is that of how often viewers ask and modalities store, since the routes are tried one after the other.
"""

from starlette.types import ASGIApp

from dicomweb.web import (
    aets,
    bulkdata,
    capabilities,
    conflicts,
    delete,
    deletions,
    documentation,
    explorer,
    fronts,
    health,
    jobs,
    metrics,
    nodes,
    qido,
    refusals,
    rendered,
    session,
    shares,
    status,
    stow,
    verify,
    viewers,
    wado,
    wado_uri,
)
from dicomweb.web.access import Door, Guarded
from dicomweb.web.addresses import DICOMWEB
from dicomweb.web.auditing import Recorder
from dicomweb.web.measured import Told
from dicomweb.web.methods import Methods

_STUDY = f"{DICOMWEB}/studies/{{study}}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"


def _retrieved(path: str) -> list[tuple[str, Methods]]:
    """What a study, a series and an instance alike have below them (W-202 to W-216)."""
    return [
        (f"{path}/metadata", Methods(GET=wado.metadata)),
        (f"{path}/bulkdata", Methods(GET=bulkdata.values)),
        (f"{path}/pixeldata", Methods(GET=bulkdata.pixels)),
        (f"{path}/rendered", Methods(GET=rendered.rendered)),
        (f"{path}/thumbnail", Methods(GET=rendered.thumbnail)),
    ]


_ARCHIVE: tuple[tuple[str, Methods], ...] = (
    (f"{_INSTANCE}/frames/{{frames}}", Methods(GET=wado.frames)),
    (_INSTANCE, Methods(GET=wado.instances, DELETE=delete.delete)),
    (f"{DICOMWEB}/studies", Methods(GET=qido.search_studies, POST=stow.store)),
    (f"{_INSTANCE}/frames/{{frames}}/rendered", Methods(GET=rendered.frames)),
    (f"{_INSTANCE}/frames/{{frames}}/thumbnail", Methods(GET=rendered.thumbnail)),
    (f"{_INSTANCE}/bulkdata/{{value:path}}", Methods(GET=bulkdata.value)),
    *_retrieved(_INSTANCE),
    *_retrieved(_SERIES),
    *_retrieved(_STUDY),
    (f"{_STUDY}/series", Methods(GET=qido.search_series)),
    (f"{_SERIES}/instances", Methods(GET=qido.search_instances)),
    (_SERIES, Methods(GET=wado.instances, DELETE=delete.delete)),
    (_STUDY, Methods(GET=wado.instances, POST=stow.store, DELETE=delete.delete)),
    (f"{_STUDY}/instances", Methods(GET=qido.search_instances)),
    (f"{DICOMWEB}/series", Methods(GET=qido.search_series)),
    (f"{DICOMWEB}/instances", Methods(GET=qido.search_instances)),
    (f"{DICOMWEB}/patients", Methods(GET=qido.search_patients)),
    (DICOMWEB, Methods(OPTIONS=capabilities.capabilities, GET=capabilities.capabilities)),
)
"""What the archive answers, in the order in which it is tried."""

_FRONT, _VISIT = fronts.in_front(_ARCHIVE)

TABLE: tuple[tuple[str, Methods], ...] = (
    *_ARCHIVE,
    ("/wado", Methods(GET=wado_uri.retrieve)),
    ("/lookup", Methods(GET=qido.look_up)),
    ("/aets", Methods(GET=aets.listing)),
    ("/aets/{aet}/echo", Methods(POST=aets.echo)),
    ("/aets/{aet}/send", Methods(POST=aets.send)),
    ("/aets/{aet}/retrieve", Methods(POST=aets.retrieve)),
    ("/aets/{aet}/visit/{resource:path}", _VISIT),
    ("/aets/{aet}/{resource:path}", _FRONT),
    ("/nodes", Methods(GET=nodes.listing)),
    ("/nodes/{node}", Methods(GET=nodes.one, PUT=nodes.change, DELETE=nodes.remove)),
    ("/jobs", Methods(GET=jobs.listing)),
    ("/jobs/claim", Methods(POST=jobs.claim)),
    ("/jobs/{job}", Methods(GET=jobs.one)),
    ("/jobs/{job}/failures", Methods(GET=jobs.failures)),
    ("/jobs/{job}/events", Methods(GET=jobs.events)),
    ("/jobs/{job}/cancel", Methods(POST=jobs.cancel)),
    ("/jobs/{job}/retry", Methods(POST=jobs.retry)),
    ("/jobs/{job}/report", Methods(POST=jobs.report)),
    ("/jobs/{job}/finish", Methods(POST=jobs.finish)),
    ("/refusals", Methods(GET=refusals.listing, POST=refusals.report, DELETE=refusals.clear)),
    ("/deletions", Methods(GET=deletions.listing)),
    ("/status", Methods(GET=status.status)),
    ("/conflicts", Methods(GET=conflicts.listing)),
    ("/conflicts/{version}", Methods(GET=conflicts.one)),
    ("/verify", Methods(POST=verify.verify)),
    ("/viewer", Methods(GET=viewers.listing)),
    ("/viewer/{viewer}", Methods(GET=viewers.file)),
    ("/viewer/{viewer}/{path:path}", Methods(GET=viewers.file)),
    ("/health/live", Methods(GET=health.live)),
    ("/health/ready", Methods(GET=health.ready)),
    ("/metrics", Methods(GET=metrics.metrics)),
    ("/", Methods(GET=explorer.page)),
    ("/explorer/{file:path}", Methods(GET=explorer.file)),
    ("/shares", Methods(GET=shares.listing, POST=shares.create, DELETE=shares.revoke_all)),
    ("/shares/{share}", Methods(DELETE=shares.revoke)),
    ("/s/{link}", Methods(GET=shares.opening)),
    ("/sign-in", Methods(GET=session.page)),
    ("/session", Methods(GET=session.state, POST=session.begin, DELETE=session.end)),
    ("/session/renewal", Methods(POST=session.renew)),
    ("/session/login", Methods(GET=session.leave)),
    ("/session/callback", Methods(GET=session.arrive)),
    ("/openapi.json", Methods(GET=documentation.document)),
    ("/docs", Methods(GET=documentation.page)),
)
"""Path and who answers, in the order in which they are tried."""


def routes(door: Door | None = None, recorder: Recorder | None = None) -> list[Told]:
    """Return the table as Starlette takes it, everything behind a door if there is one, and recorded if that is
    wanted."""

    def behind(path: str, methods: Methods) -> ASGIApp:
        return Guarded(door, recorder, methods, path) if door or recorder else methods

    return [Told(path, behind(path, methods)) for path, methods in TABLE]
