"""Where jobs and refusals are kept: at our web server, or in the bridge's own file in front of somebody else's."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

from bridge.client import Origin
from bridge.ledger import Ledger
from dicomweb.commands.node_clients import origin_of
from dicomweb.commands.terminal import show_json
from dicomweb.config import Config
from dicomweb.errors import Unavailable
from dicomweb.standard.nodes import Node


class Desk(Protocol):
    """Takes jobs and tells of them; they are JSON objects as `/jobs` gives them. The bridge's `Ledger` is one."""

    def add(self, kind: str, node: str, task: Mapping[str, Any]) -> dict[str, Any]:
        """Add a job: `send` or `retrieve`."""

    def latest(self, limit: int, *, states: Sequence[str], node: str) -> list[dict[str, Any]]:
        """Return jobs in these states, the latest first, of one node or (`""`) of all."""

    def get(self, number: int) -> dict[str, Any]:
        """Return a job. Raises NotFound."""

    def cancel(self, number: int) -> dict[str, Any]:
        """Stop a job. Raises NotFound, Conflict."""

    def retry(self, number: int) -> dict[str, Any]:
        """Begin a job again. Raises NotFound, Conflict."""

    def refusals(self, limit: int) -> list[dict[str, Any]]:
        """Return what was refused, the latest first."""


class WebDesk:
    """Our web server's `/jobs` and `/refusals`."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def add(self, kind: str, node: str, task: Mapping[str, Any]) -> dict[str, Any]:
        """See Desk."""
        job: dict[str, Any] = self._origin.call("POST", f"/aets/{node}/{kind}", dict(task))
        return job

    def latest(self, limit: int, *, states: Sequence[str], node: str) -> list[dict[str, Any]]:
        """See Desk."""
        query = urlencode([("limit", str(limit)), ("state", ",".join(states)), ("node", node)])
        jobs: list[dict[str, Any]] = self._origin.call("GET", f"/jobs?{query}")["jobs"]
        return jobs

    def get(self, number: int) -> dict[str, Any]:
        """See Desk."""
        job: dict[str, Any] = self._origin.call("GET", f"/jobs/{number}")
        return job

    def cancel(self, number: int) -> dict[str, Any]:
        """See Desk."""
        job: dict[str, Any] = self._origin.call("POST", f"/jobs/{number}/cancel")
        return job

    def retry(self, number: int) -> dict[str, Any]:
        """See Desk."""
        job: dict[str, Any] = self._origin.call("POST", f"/jobs/{number}/retry")
        return job

    def refusals(self, limit: int) -> list[dict[str, Any]]:
        """See Desk."""
        refusals: list[dict[str, Any]] = self._origin.call("GET", f"/refusals?limit={limit}")["refusals"]
        return refusals


def desk_of(config: Config) -> Desk:
    """Return where jobs are kept.

    Raises:
        Unavailable: the server does not answer, and the bridge has no file of its own.
    """
    origin = origin_of(config)
    try:
        if origin.is_ours():
            return WebDesk(origin)
    except Unavailable:
        if not config.ledger.is_file():
            raise
    return Ledger(config.ledger, config.job_attempts, config.job_days, config.job_hours)


def add_job(config: Config, kind: str, node: Node, task: Mapping[str, Any], as_json: bool) -> int:
    """Add a job and tell its number."""
    job = desk_of(config).add(kind, node.name, task)
    if as_json:
        show_json(job)
    else:
        print(f"job {job['id']} waits for the bridge; `roentgate jobs --follow {job['id']}` tells how far it is")
    return 0
