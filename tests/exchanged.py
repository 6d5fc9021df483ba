"""A whole server with the inner face and the job runner of a bridge, on free ports of loopback."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from exchanging import TOKEN
from pacs import Pacs
from served import Served
from servers import running

from bridge.client import Origin
from bridge.inside import Inside
from bridge.jobs import Runner, WebQueue
from bridge.visits import VisitOrigin

AET = "ROENTGATE"


@dataclass
class Exchanged:
    """The server under way.

    Attributes:
        served: the application.
        root: its URL.
        client: asks it.
    """

    served: Served
    root: str
    client: httpx.Client

    def runner(self, threads: int = 1, owner: str = "bridge-1") -> Runner:
        """Begin to do jobs; the caller stops it."""
        origin = Origin(f"{self.root}/dicom-web", token=TOKEN)
        return Runner(WebQueue(origin), origin, AET, owner, threads, wait=0.5)

    def add_node(self, name: str, **settings: Any) -> None:
        """Make a node known."""
        answer = self.client.put(f"/nodes/{name}", json=settings)
        assert answer.status_code == 200, answer.text

    def add_pacs(self, made: Pacs, name: str = "PACS", **settings: Any) -> None:
        """Make a PACS known."""
        self.add_node(name, host="127.0.0.1", port=made.port, **settings)

    def ask(self, path: str, **value: Any) -> int:
        """Ask for a job and return its number."""
        answer = self.client.post(path, json=value)
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"{self.root}/jobs/{answer.json()['id']}"
        return int(answer.json()["id"])

    def end_of(self, job: int, states: tuple[str, ...] = ("done", "failed", "canceled")) -> Mapping[str, Any]:
        """Follow the events of a job until it is in one of these states, and return it."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with self.client.stream("GET", f"/jobs/{job}/events") as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        told = httpx.Response(200, content=line[6:]).json()
                        if told["state"] in states:
                            return told
        raise AssertionError(f"job {job} came to no end: {self.client.get(f'/jobs/{job}').json()}")

    def instances(self) -> set[str]:
        """SOP Instance UIDs of the archive."""
        return {held.instance for held in self.served.archive.index.walk()}


@contextlib.contextmanager
def exchanged(folder: Path, *, runs: bool = True, **settings: Any) -> Iterator[Exchanged]:
    """Run a server and its bridge's inner parts while the context lasts.

    Args:
        folder: for what is under way.
        runs: whether jobs are done.
        settings: of the Config.
    """
    inside = Inside(AET, TOKEN, lambda path: VisitOrigin(f"{places['root']}{path}", token=TOKEN))
    places: dict[str, str] = {}
    with running(inside.app()) as face:
        served = Served(folder, bridge_token=TOKEN, bridge_url=f"http://127.0.0.1:{face.port}", **settings)
        with running(served.client.app) as server:
            places["root"] = f"http://127.0.0.1:{server.port}"
            with httpx.Client(base_url=places["root"], timeout=60) as client:
                made = Exchanged(served, places["root"], client)
                runner = made.runner(2) if runs else None
                try:
                    yield made
                finally:
                    if runner is not None:
                        runner.stop(30)
