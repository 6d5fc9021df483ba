"""The only place where the parts meet: opens storage and index, makes the ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from dicomweb import memory
from dicomweb.access.trail import Trail
from dicomweb.archive.archive import Archive, open_archive
from dicomweb.archive.census import Census
from dicomweb.archive.copies import Copies
from dicomweb.archive.making import Maker
from dicomweb.archive.nodes import Nodes
from dicomweb.archive.rendering import Renderer
from dicomweb.archive.retrieve import Retrieval
from dicomweb.archive.shelf import Section
from dicomweb.archive.visits import Repeated, Visits
from dicomweb.config import Config, is_loopback
from dicomweb.errors import Damaged, Unavailable
from dicomweb.telemetry.together import Together
from dicomweb.web import problems
from dicomweb.web.addresses import Addresses
from dicomweb.web.auditing import Recorder
from dicomweb.web.bridge import Bridge
from dicomweb.web.cors import Cors
from dicomweb.web.draining import Draining
from dicomweb.web.hardening import Hardening
from dicomweb.web.health import Readiness
from dicomweb.web.hosts import Hosts
from dicomweb.web.limits import Limits
from dicomweb.web.measured import Measured
from dicomweb.web.paths import Paths
from dicomweb.web.routes import routes
from dicomweb.web.status import Service
from dicomweb.web.viewers import Viewers
from dicomweb.web.waiting import Waiting


def build(config: Config, archive: Archive | None = None, measures: Path | None = None) -> Starlette:
    """Make the application.

    Its `state` has what the handlers use: `archive`, `retrieval`, `renderer`, `addresses`, `nodes`, `bridge`, `login`,
    `visits`, `service`, `readiness`, `sweeper`, `viewers`, `together`.

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
        try:
            opened.check_index()
        except BaseException:
            opened.close()
            raise
    sweeper = opened.sweeper()
    together = Together(measures)
    bridge = Bridge(config.bridge_url, config.bridge_token)

    def readers(one: Archive) -> tuple[Retrieval, Renderer]:
        copies = Copies(one.storage, one.spool)
        section = Section(opened.shelf, one.index.known)
        maker = Maker(one.storage, opened.workshop, section, config.limit_frame_pixels)
        retrieval = Retrieval(one.storage, one.index, copies, maker, one.limits, config.zero_preamble)
        limit = config.limit_frame_pixels
        return retrieval, Renderer(one.index, retrieval, maker, opened.workshop, opened.shelf, section, copies, limit)

    local = is_loopback(config.http_host)
    addresses = Addresses(
        config.public_url, config.trusted_proxies, config.path_prefix, local, config.proxy_headers == "forwarded"
    )
    entrance = None
    if config.access:
        from dicomweb.web.entrance import open_entrance

        entrance = open_entrance(config, opened, bridge, addresses)
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
            if entrance is not None:
                entrance.close()
            visits.close()
            census.close()
            if archive is None:
                opened.close()

    app = Starlette(
        routes=routes(entrance.door if entrance else None, recorder),
        middleware=[
            Middleware(Measured, config.log_requests),
            Middleware(Draining),
            Middleware(Hardening),
            Middleware(Cors, config.cors_origins),
            Middleware(problems.Guard),
            *([Middleware(Hosts, names)] if (names := config.host_names()) is not None else []),
            Middleware(
                Limits,
                config.limit_request_bytes,
                config.limit_rate_bytes,
                config.limit_rate_grace_seconds,
            ),
            Middleware(Paths, config.path_prefix, config.shares),
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
    app.state.login = entrance.login if entrance else None
    app.state.visits = visits
    app.state.sweeper = sweeper
    app.state.service = Service(config, census)
    app.state.viewers = Viewers(config.viewers, config.oidc_issuer)
    app.state.together = together
    app.state.readiness = Readiness(opened.room, index=opened.index, storage=opened.identity)
    return app


def build_or_wait(config: Config, measures: Path | None = None) -> Starlette | Waiting:
    """Make the application, or what stands in for it while a back end elsewhere does not answer.

    Raises:
        BadSetting: a URL of a back end cannot be used.
        Unavailable: a back end on this machine does not answer, or the index is damaged.
    """
    try:
        return build(config, measures=measures)
    except Unavailable as error:
        elsewhere = config.index.startswith("postgresql:") or config.storage.startswith("s3:")
        if not elsewhere or isinstance(error, Damaged):
            raise
        return Waiting(
            lambda: build(config, measures=measures),
            lambda answer: Draining(Hardening(Paths(answer, config.path_prefix))),
            error,
        )
