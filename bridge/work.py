"""What the bridge does beside its associations: jobs, and the inner face that the web layer asks (Hypercorn in a thread
of its own). Our web layer's jobs and the face need the secret that it knows too; where the server is none of ours, jobs
are those of the bridge's own file.
"""

import asyncio
import logging
import os
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

from bridge.client import Origin
from bridge.inside import Inside
from bridge.jobs import Runner, WebQueue
from bridge.ledger import LedgerQueue
from bridge.server import Bridge, Settings
from bridge.visits import Visits
from dicomweb.errors import BadSetting

log = logging.getLogger(__name__)

_STOP_SECONDS = 10.0


class Work:
    """Jobs and the inner face, from their making to `stop`.

    Args:
        settings: of the bridge.
        bridge: which it is.

    Raises:
        BadSetting: the inner face cannot listen where `bridge_url` says.
    """

    def __init__(self, settings: Settings, bridge: Bridge) -> None:
        self._runners: list[Runner] = []
        self._face: Face | None = None
        self._graceful = settings.graceful_seconds
        origin, aet = bridge.origin, settings.rules.aet
        limits = (settings.connect_seconds, settings.read_seconds, settings.ca)
        shared = bool(settings.token and origin.server)
        if shared and settings.face_url:
            visits = Visits(origin.server, settings.token, aet, *limits)
            inside = Inside(aet, settings.token, visits.at, bridge.status).app()
            self._face = Face(inside, settings.face_url, "bridge_url", settings.face_host)
        owner = f"{socket.gethostname()}:{os.getpid()}"
        self._origin = jobs = Origin(settings.dicomweb, 8, *limits, settings.token)
        self._own = LedgerQueue(bridge.ledger, bridge.nodes)
        self._runners.append(Runner(self._own, jobs, aet, owner))
        if shared:
            self._runners.append(Runner(WebQueue(jobs), jobs, aet, owner))

    def stop(self) -> None:
        """Take no job any more; those under way end at their next instance and wait for the next bridge."""
        self._own.close()
        for runner in self._runners:
            runner.stop(min(self._graceful, _STOP_SECONDS))
        if self._face is not None:
            self._face.stop()
        self._origin.close()


class Face:
    """An ASGI application under Hypercorn in a thread of its own, from its making to `stop`.

    Args:
        app: the application.
        url: where it listens; `http://` with a host and a port.
        setting: which setting says so.
        at: listens at this address instead of that host, which may be a name that others know us by.

    Raises:
        BadSetting: nobody can listen there.
    """

    def __init__(self, app: Any, url: str, setting: str, at: str = "") -> None:
        parts = urlsplit(url)
        host, port = at.strip("[]") or parts.hostname or "127.0.0.1", parts.port or 80
        try:
            self._socket = socket.create_server((host, port), family=_family(host, port), backlog=256)
        except OSError as error:
            where = f"{url} at {at}" if at else url
            raise BadSetting(f"{setting} is {where}, where this machine cannot listen: {error.strerror}.") from error
        self.port: int = self._socket.getsockname()[1]
        self._socket.setblocking(False)
        self._loop = asyncio.new_event_loop()
        self._told = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(app,), name="face", daemon=True)
        self._thread.start()

    def _run(self, app: Any) -> None:
        from hypercorn.app_wrappers import ASGIWrapper
        from hypercorn.asyncio.run import worker_serve
        from hypercorn.config import Config, Sockets

        config = Config()
        config.accesslog = config.errorlog = None
        config.graceful_timeout = _STOP_SECONDS
        config.keep_alive_timeout = 60.0
        serving = worker_serve(
            ASGIWrapper(app), config, sockets=Sockets([], [self._socket], []), shutdown_trigger=self._told.wait
        )
        try:
            self._loop.run_until_complete(serving)
        finally:
            self._loop.close()
            self._socket.close()

    def stop(self) -> None:
        """Let requests under way end, for a while."""
        self._loop.call_soon_threadsafe(self._told.set)
        self._thread.join(_STOP_SECONDS + 5.0)


def _family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
