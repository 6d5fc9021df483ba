"""The only place where the parts meet: opens storage and index, makes the ASGI application."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from dicomweb.access.issuer import Issuer, is_safe
from dicomweb.access.tokens import ALGORITHMS, Claims, Tokens, read_meanings
from dicomweb.access.trail import Trail
from dicomweb.archive.archive import Archive, open_archive
from dicomweb.archive.census import Census
from dicomweb.archive.copies import Copies
from dicomweb.archive.making import Maker
from dicomweb.archive.nodes import Nodes
from dicomweb.archive.rendering import Renderer
from dicomweb.archive.retrieve import Retrieval
from dicomweb.archive.visits import Repeated, Visits
from dicomweb.config import Config, is_loopback
from dicomweb.errors import BadSetting
from dicomweb.telemetry.together import Together
from dicomweb.web import memory, problems
from dicomweb.web.access import Door
from dicomweb.web.addresses import Addresses
from dicomweb.web.auditing import Recorder
from dicomweb.web.bridge import Bridge
from dicomweb.web.cors import Cors
from dicomweb.web.draining import Draining
from dicomweb.web.hardening import Hardening
from dicomweb.web.health import Readiness
from dicomweb.web.limits import Limits
from dicomweb.web.measured import Measured
from dicomweb.web.paths import Paths
from dicomweb.web.routes import routes
from dicomweb.web.session import Login
from dicomweb.web.status import Service
from dicomweb.web.viewers import Viewers


def build(config: Config, archive: Archive | None = None, measures: Path | None = None) -> Starlette:
    """Make the application.

    Its `state` has what the handlers use: `archive`, `retrieval`, `renderer`, `addresses`, `nodes`, `bridge`,
    `visits`, `service`, `readiness`, `sweeper`, `viewers`.

    Args:
        config: what holds for this process.
        archive: one that is open already and stays so; None opens the one that the settings name, which is
            closed with the application.
        measures: folder in which the processes of one server put their measures together; None if there is but one.

    Raises:
        BadSetting: a URL of a back end cannot be used.
        Unavailable: a back end does not answer, or the index is being rebuilt.
    """
    opened = archive or open_archive(config)
    if archive is None:
        opened.check_index()
    sweeper = opened.sweeper()
    together = Together(measures)
    bridge = Bridge(config.bridge_url, config.bridge_token)

    def readers(one: Archive) -> tuple[Retrieval, Renderer]:
        copies = Copies(one.storage, one.spool)
        maker = Maker(one.storage, opened.workshop, opened.shelf, config.limit_frame_pixels)
        retrieval = Retrieval(one.storage, one.index, copies, maker, one.limits, config.zero_preamble)
        limit = config.limit_frame_pixels
        return retrieval, Renderer(one.index, retrieval, maker, opened.workshop, opened.shelf, copies, limit)

    addresses = Addresses(config.public_url, config.trusted_proxies, config.path_prefix, is_loopback(config.http_host))
    door = None
    issuer = login = None
    if config.access:
        if config.oidc_issuer:
            issuer = Issuer(config.oidc_issuer, config.oidc_jwks_url, config.oidc_ca, config.oidc_keys_seconds)
        door = Door(
            opened,
            bridge,
            addresses,
            None if issuer is None else Tokens(claims_of(config), issuer, time.time).read,
            read_meanings(config.tls_clients),
            remember_seconds=config.access_remember_seconds,
            failures=config.access_failures,
            origins=config.cors_origins,
        )
        login = Login(
            door,
            issuer if config.oidc_client_id else None,
            config.oidc_client_id,
            config.oidc_client_secret,
            config.oidc_scopes,
            config.session_hours * 3600,
        )
    trail = recorder = None
    if config.audit:
        trail = Trail(config.audit_folder, config.audit_sync, config.audit_file_bytes)
        recorder = Recorder(trail, addresses, config.audit_merge_seconds, config.audit_sync == "always")
    visits = Visits(opened, readers)
    census = Census(opened.index)
    leaving = Repeated(visits.sweep, config.sweep_interval_seconds)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        memory.keep()
        sweeper.start()
        together.start()
        leaving.start()
        try:
            yield
        finally:
            sweeper.stop()
            together.stop()
            opened.workshop.close()
            leaving.stop()
            bridge.close()
            if recorder is not None and trail is not None:
                recorder.close()
                trail.close()
            if issuer is not None:
                issuer.close()
            visits.close()
            census.close()
            if archive is None:
                opened.close()

    app = Starlette(
        routes=routes(door, recorder),
        middleware=[
            Middleware(Measured, config.log_requests),
            Middleware(Draining),
            Middleware(Hardening),
            Middleware(Cors, config.cors_origins),
            Middleware(problems.Guard),
            Middleware(
                Limits,
                config.limit_request_bytes,
                config.limit_rate_bytes,
                config.limit_rate_grace_seconds,
            ),
            Middleware(Paths, config.path_prefix),
        ],
        exception_handlers={HTTPException: problems.handle},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.archive = opened
    app.state.retrieval, app.state.renderer = readers(opened)
    app.state.addresses = addresses
    app.state.nodes = Nodes(opened.index.nodes, config.data / "nodes.toml")
    app.state.bridge = bridge
    app.state.login = login
    app.state.visits = visits
    app.state.sweeper = sweeper
    app.state.service = Service(config, census)
    app.state.viewers = Viewers(config.viewers, config.oidc_issuer)
    app.state.together = together
    app.state.readiness = Readiness(index=opened.index, storage=opened.storage)
    return app


def claims_of(config: Config) -> Claims:
    """What the settings expect of tokens.

    Raises:
        BadSetting: an algorithm, a role or an address is none that is safe.
    """
    if not config.oidc_algorithms or not set(config.oidc_algorithms) <= set(ALGORITHMS):
        raise BadSetting(f"oidc_algorithms are some of {', '.join(ALGORITHMS)}; no others are safe.")
    for name in ("oidc_issuer", "oidc_jwks_url"):
        url = getattr(config, name)
        if url and not is_safe(url):
            raise BadSetting(f"{name} is {url!r}; it begins with https:// unless it is this machine.")
    return Claims(
        issuer=config.oidc_issuer,
        audience=config.oidc_audience,
        algorithms=config.oidc_algorithms,
        leeway=config.oidc_leeway_seconds,
        name=config.oidc_name_claim,
        roles=config.oidc_roles_claim,
        meanings=read_meanings(config.oidc_roles),
        studies=config.oidc_studies_claim,
        patients=config.oidc_patients_claim,
        nodes=config.oidc_nodes_claim,
    )
