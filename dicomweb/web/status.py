"""`/status`: what is held, what runs, how it is, for people and for the explorer's page. An extension.

Nothing that is asked here reads the archive through: figures come from `archive.census`, health and bridge are asked
at most once a second, and whoever is away is told of instead of failing the answer.
"""

import platform
import time
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive.census import Census, room
from dicomweb.archive.room import Space
from dicomweb.config import Config
from dicomweb.errors import Error
from dicomweb.index import Index
from dicomweb.web import jsonbodies
from dicomweb.web.health import Readiness
from dicomweb.web.threads import hop_elsewhere

_PACKAGES = ("pydicom", "pynetdicom", "imagecodecs", "pillow", "av", "numpy", "starlette", "hypercorn")


class Service:
    """This process: when it began, and who counts for it.

    Args:
        config: what holds for it.
        census: of its index.
    """

    def __init__(self, config: Config, census: Census) -> None:
        self.config = config
        self.census = census
        self.started = time.time()


async def status(request: Request) -> Response:
    """GET /status: counts, bytes, room, versions, health, jobs and the bridge."""
    return jsonbodies.respond(await hop_elsewhere(_status, request))


def _status(request: Request) -> dict[str, Any]:
    state = request.app.state
    service: Service = state.service
    counted, now = service.census.counted(), time.time()
    return {
        "version": versions()["roentgate"],
        "time": now,
        "started": service.started,
        "uptime": round(now - service.started, 1),
        "health": _health(state.readiness),
        "counts": asdict(counted.counts) if counted else None,
        "counted": counted.time if counted else None,
        "storage": _storage(service.config, state.readiness.space),
        "index": {"kind": service.config.index.partition(":")[0]},
        "jobs": _jobs(state.archive.index),
        "bridge": state.bridge.status(),
        "versions": versions(),
    }


def _health(readiness: Readiness) -> dict[str, Any]:
    failing = readiness.failing()
    return {
        "ready": not failing,
        "failing": failing,
        "full": readiness.full,
        "writes": not (failing or readiness.full or readiness.space.problem),
        "problem": readiness.space.problem,
    }


def _storage(config: Config, space: Space) -> dict[str, Any]:
    told: dict[str, Any] = {"kind": config.storage.partition(":")[0]}
    if disk := room(config.storage, config.data):
        told |= {"free": disk[0], "total": disk[1]}
    if space.floor:
        told["floor"] = space.floor
    if space.most is not None:
        told |= {"used": space.used, "limit": space.most}
    return told


def _jobs(index: Index) -> dict[str, int] | None:
    try:
        return index.jobs.open()
    except Error:
        return None


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return the versions of what we are made of, by name; what is not installed is not among them."""
    found = {"roentgate": "", "python": platform.python_version()}
    for name in ("roentgate", *_PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found.pop(name, None)
    return found
