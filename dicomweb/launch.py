"""One web process: sockets, event loop, server, and a stop that lets running requests end.

Hypercorn serves, with its connections mended by `wire`. SIGTERM or Ctrl-C stops: no new connections, running
requests may go on for `graceful_seconds`; a second signal stops at once.
"""

import asyncio
import contextlib
import errno
import gc
import importlib
import logging
import multiprocessing
import os
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dicomweb.config import Config
from dicomweb.connection import TOLD
from dicomweb.errors import BadSetting, Error
from dicomweb.telemetry.lines import JsonLines, TextLines
from dicomweb.turns import TakesTurns, Turns

_BACKLOG = 1024
_HANG_SECONDS = 10.0
"""How long after `graceful_seconds` the process is ended by force, should a thread hang in a back end."""
_CERTIFICATE_SECONDS = 60.0
_GARBAGE = 20_000
"""Objects that are made before a look for unreachable circles among them; at 700, Python's own figure, some 6 % of the
CPU of a store went into looking. What was made at the start is left out of it."""

_NEEDED = (
    "dicomweb.app",
    "dicomweb.wire",
    "dicomweb.index.sqlite",
    "dicomweb.storage.filesystem",
    "hypercorn.app_wrappers",
    "hypercorn.asyncio.run",
    "uvloop",
)

log = logging.getLogger(__name__)


def begin_log(config: Config) -> None:
    """Send the log to standard error, one line an event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if config.log_format == "json" else TextLines())
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler], force=True)
    for noisy in ("botocore", "boto3", "urllib3", "s3transfer", "asyncio", "hpack", "h2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for notice in config.notices:
        log.warning("%s", notice)


def greeting(config: Config, port: int) -> str:
    """What a user is told when the server answers: the page to open, addresses for programs, the data folder, one line
    to try."""
    from importlib.metadata import version

    root = config.public_url or config.local_url(port)
    local = config.local_url(port)
    where = config.data if config.storage.startswith("file:") else config.storage
    return "\n".join(
        [
            f"Roentgate {version('roentgate')}",
            f"  Explorer   {root}/",
            f"  DICOMweb   {root}/dicom-web",
            f"  API        {root}/docs",
            f"  data       {where}",
            f"  try        curl -s {local}/dicom-web/studies",
            "Ctrl-C stops it.",
        ]
    )


def listen(config: Config) -> list[socket.socket]:
    """Open the listening sockets, one for each address of `http_host`.

    Raises:
        BadSetting: address or port cannot be used; the sentence names the setting.
    """
    host, port = config.http_host.strip("[]"), config.http_port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BadSetting(f"http_host is {host!r}, which is no address or name of this machine.") from error
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            port = sockets[0].getsockname()[1] if sockets else port
            dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
            opened = socket.create_server((str(address[0]), port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setblocking(False)
            sockets.append(opened)
    except OSError as error:
        for each in sockets:
            each.close()
        raise _cannot_listen(host, port, error) from error
    return sockets


def _cannot_listen(host: str, port: int, error: OSError) -> BadSetting:
    if error.errno == errno.EADDRINUSE:
        return BadSetting(
            f"http_port {port} on {host} is taken by another program; choose a free one with --http-port or"
            " ROENTGATE_HTTP_PORT."
        )
    if error.errno == errno.EACCES:
        return BadSetting(f"http_port {port} needs more rights than this user has; choose one above 1023.")
    return BadSetting(f"http_host is {host}, on which this machine cannot listen: {os.strerror(error.errno or 0)}.")


# -- one worker ------------------------------------------------------------------------------------------
def load() -> None:
    """Import what `work` will need, as far as it starts no threads."""
    for name in _NEEDED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def work(
    config: Config,
    sockets: list[socket.socket],
    ready: Callable[[], None],
    measures: Path | None = None,
    turns: Turns | None = None,
    parent: int | None = None,
) -> None:
    """Build the application and serve it on the sockets until a signal comes.

    Args:
        config: what holds.
        sockets: that listen.
        ready: called once it answers.
        measures: folder in which several workers put their measures together.
        turns: in which they take connections; None where there is only this one.
        parent: file descriptor that can be read when the process to whom this one belongs is gone; None: the one that
            started it, if that is one of ours.
    """
    from dicomweb.app import build_or_wait

    application = Announced(build_or_wait(config, measures), ready)
    serving = serve_uvicorn if config.server == "uvicorn" else serve_hypercorn
    with asyncio.Runner(loop_factory=loop_factory(turns)) as runner:
        try:
            runner.run(_until_told(serving, application, config, sockets, parent))
        except Exception:
            if application.failed is not None:
                raise application.failed from None
            raise


def loop_factory(turns: Turns | None = None) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes uvloop's event loop, or Python's own where there is no uvloop; with `turns`, its servers take
    connections in these."""
    base: type[asyncio.AbstractEventLoop]
    try:
        import uvloop
    except ImportError:
        base = asyncio.SelectorEventLoop
    else:
        base = uvloop.Loop
    return base if turns is None else type("Loop", (TakesTurns, base), {"turns": turns})


class Announced:
    """An application that calls `ready` once it has started.

    Attributes:
        failed: the error that kept it from starting, if it is one of ours.
        told: set when the server is to stop, which long answers learn from their scope (`roentgate.told`).
    """

    def __init__(self, app: Any, ready: Callable[[], None]) -> None:
        self._app = app
        self._ready = ready
        self.failed: Error | None = None
        self.told: asyncio.Event | None = None

    def drain(self) -> None:
        """Tell whoever asks that this process is about to stop."""
        self._app.state.readiness.draining = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._app({**scope, TOLD: self.told}, receive, send)
            return

        async def sending(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                gc.freeze()
                gc.set_threshold(_GARBAGE)
                self._ready()

        try:
            await self._app(scope, receive, sending)
        except Error as error:
            self.failed = error
            raise


async def _until_told(
    serving: Callable[..., Awaitable[None]],
    app: Announced,
    config: Config,
    sockets: list[socket.socket],
    parent: int | None,
) -> None:
    loop = asyncio.get_running_loop()
    told = app.told = asyncio.Event()

    def stop() -> None:
        if told.is_set():
            os._exit(130)
        app.drain()
        told.set()
        loop.call_later(config.graceful_seconds + _HANG_SECONDS, os._exit, 1)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if parent is None and (process := multiprocessing.parent_process()) is not None:
        parent = process.sentinel
    if parent is not None:
        # The supervisor alone takes Ctrl-C; a worker whose supervisor is gone stops too.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_reader(parent, _orphaned, loop, parent, stop)
    await serving(app, config, sockets, told)


def _orphaned(loop: asyncio.AbstractEventLoop, sentinel: int, stop: Callable[[], None]) -> None:
    loop.remove_reader(sentinel)
    stop()


async def serve_hypercorn(app: Any, config: Config, sockets: list[socket.socket], told: asyncio.Event) -> None:
    """Serve an ASGI application under Hypercorn until told to stop, and let running requests end."""
    from hypercorn.app_wrappers import ASGIWrapper
    from hypercorn.asyncio.run import worker_serve
    from hypercorn.config import Sockets

    from dicomweb import wire

    wire.mend()
    secure = bool(config.tls_cert)
    settings = hypercorn_settings(config)
    async with _renewal(settings):
        await worker_serve(
            ASGIWrapper(app),
            settings,
            sockets=Sockets(sockets if secure else [], [] if secure else sockets, []),
            shutdown_trigger=told.wait,
        )


def hypercorn_settings(config: Config) -> Any:
    """Hypercorn's configuration object for ours, its TLS contexts kept so that certificates can be
    renewed."""
    from hypercorn.config import Config as Settings

    from dicomweb import wire

    class Renewable(Settings):
        context: ssl.SSLContext | None = None
        bounds: wire.Bounds

        def create_ssl_context(self) -> ssl.SSLContext | None:
            try:
                self.context = super().create_ssl_context()
            except (OSError, ssl.SSLError) as error:
                raise BadSetting(f"tls_cert, tls_key or tls_client_ca cannot be used: {error}.") from error
            return self.context

    settings = Renewable()
    settings.backlog = _BACKLOG
    settings.accesslog = None
    settings.errorlog = logging.getLogger("hypercorn")
    logging.getLogger("hypercorn").setLevel(logging.WARNING)
    settings.graceful_timeout = config.graceful_seconds
    settings.keep_alive_timeout = config.keep_alive_seconds
    settings.keep_alive_max_requests = 1_000_000
    settings.bounds = wire.Bounds(config.limit_stall_seconds, config.limit_resets, config.limit_resets_rate)
    settings.max_app_queue_size = 32
    settings.h2_max_concurrent_streams = 250
    settings.ssl_handshake_timeout = 10.0
    settings.include_server_header = False
    if config.tls_cert:
        settings.certfile, settings.keyfile = config.tls_cert, config.tls_key
    if config.tls_client_ca:
        settings.ca_certs, settings.verify_mode = config.tls_client_ca, ssl.VerifyMode.CERT_REQUIRED
    return settings


@contextlib.asynccontextmanager
async def _renewal(settings: Any) -> Any:
    """Read certificates again when their files change; connections that are open keep the old ones."""
    task = asyncio.create_task(_renew(settings)) if settings.certfile else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()


async def _renew(settings: Any) -> None:
    files = [settings.certfile, settings.keyfile] + ([settings.ca_certs] if settings.ca_certs else [])
    seen = _times(files)
    while True:
        await asyncio.sleep(_CERTIFICATE_SECONDS)
        seen = renew_once(settings, files, seen)


def renew_once(settings: Any, files: list[str], seen: list[int]) -> list[int]:
    """Load the certificate files into the running context if one changed.

    Returns:
        The files' times of change; the old ones if the new certificate cannot be used yet.
    """
    now = _times(files)
    if now == seen or settings.context is None:
        return now
    try:
        settings.context.load_cert_chain(settings.certfile, settings.keyfile)
        if settings.ca_certs:
            settings.context.load_verify_locations(settings.ca_certs)
    except (OSError, ssl.SSLError) as error:
        log.warning("the changed certificate cannot be used, the old one stays: %s", error)
        return seen
    log.info("the changed certificate is in use")
    return now


def _times(files: list[str]) -> list[int]:
    return [Path(file).stat().st_mtime_ns if Path(file).exists() else 0 for file in files]


async def serve_uvicorn(app: Any, config: Config, sockets: list[socket.socket], told: asyncio.Event) -> None:
    """The same under uvicorn, which the tests use too, so that nothing comes to rest on one server.

    Raises:
        BadSetting: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        raise BadSetting("server is uvicorn, which is not installed: `pip install uvicorn`.") from error
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(config.keep_alive_seconds),
            timeout_graceful_shutdown=int(config.graceful_seconds),
            ssl_certfile=config.tls_cert or None,
            ssl_keyfile=config.tls_key or None,
            ssl_ca_certs=config.tls_client_ca or None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if config.tls_client_ca else ssl.CERT_NONE,
        )
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    async def stopping() -> None:
        await told.wait()
        server.should_exit = True

    task = asyncio.create_task(stopping())
    vars(server)["capture_signals"] = contextlib.nullcontext  # signals are ours
    try:
        await server.serve(sockets=sockets)
    finally:
        task.cancel()
    if not server.started:
        raise RuntimeError("uvicorn did not start")
