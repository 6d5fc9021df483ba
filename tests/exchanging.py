"""A server with a node, jobs in several states and a bridge; how to bring it to each answer."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dicoms
import httpx
from pacs import Pacs, pacs
from served import Served
from servers import running

from bridge.inside import Inside
from bridge.visits import VisitOrigin

TOKEN = "SECRET"
BRIDGE = {"authorization": f"Bearer {TOKEN}"}
NODES = '[nodes.STORESCP]\naet = "PACS"\nhost = "127.0.0.1"\nport = {port}\n'
RUNNING, WAITING, OVER = 1, 2, 3
"""Numbers of the jobs."""
NAMES = {
    "node": "STORESCP", "job": str(OVER), "aet": "STORESCP", "resource": "studies", "version": "0c1d2e3f4a5b6c7d",
    "share": "0c1d2e3f4a5b6c7d", "link": "0c1d2e3f4a5b6c7d",
}  # fmt: skip

OPERATIONS = {
    "listNodes", "getNode", "putNode", "deleteNode", "listJobs", "claimJob", "getJob", "followJob", "cancelJob",
    "retryJob", "reportJob", "finishJob", "listFailures", "listDeletions", "getStatus",
    "listRefusals", "reportRefusal", "clearRefusals", "listAets", "echoAet",
    "sendToAet", "retrieveFromAet", "readVisit", "storeVisit", "getFromAet", "storeAtAet", "verifyInstances",
    "listConflicts", "getConflict",
}  # fmt: skip


@dataclass(frozen=True)
class Around:
    """A PACS, and the inner face of a bridge."""

    pacs: Pacs
    bridge_url: str


@contextlib.contextmanager
def around() -> Iterator[Around]:
    """Run what stands around a server while the context lasts."""
    inside = Inside("ROENTGATE", TOKEN, lambda path: VisitOrigin(f"http://127.0.0.1:1{path}", token=TOKEN))
    with pacs(dicoms.ct()) as there, running(inside.app()) as face:
        yield Around(there, f"http://127.0.0.1:{face.port}")


def served(folder: Path, outside: Around | None = None, **settings: Any) -> Served:
    """Make the server."""
    port = outside.pacs.port if outside else 24290
    url = outside.bridge_url if outside else ""
    made = Served(folder, bridge_token=TOKEN, bridge_url=url, **settings)
    (folder / "nodes.toml").write_text(NODES.format(port=port))
    jobs = made.archive.index.jobs
    for _ in range(3):
        jobs.add("send", "STORESCP", {"resources": [{"study": "1.2.3"}]})
    assert jobs.claim("bridge-0", 3600.0, 8) is not None
    jobs.cancel(OVER)
    return made


IN_FRONT = {
    "listAets", "echoAet", "sendToAet", "retrieveFromAet", "readVisit", "storeVisit", "getFromAet", "storeAtAet",
}  # fmt: skip


def _obtain_in_front(made: Served, name: str, status: str) -> httpx.Response:
    aet = {"404": "NOBODY", "503": "SILENT"}.get(status, "STORESCP")
    if status == "503":
        made.client.request("PUT", "/nodes/SILENT", json={"host": "127.0.0.1", "port": 1})
        if name == "echoAet":
            bridge = made.client.app.state.bridge
            there, bridge._url = bridge._url, ""
            try:
                return made.client.post(f"/aets/{aet}/echo")
            finally:
                bridge._url = there
    stored: dict[str, Any] = {"content": dicoms.ct(study=7), "headers": {"content-type": "application/dicom"}}
    if status == "409":
        stored["content"] = b"nonsense"
    ours = {} if status == "403" else BRIDGE
    transfer = {"json": {"resources": [] if status == "400" else [{"study": "1.2.3"}]}}
    match name:
        case "listAets":
            return made.client.get("/aets")
        case "echoAet":
            return made.client.post(f"/aets/{aet}/echo")
        case "sendToAet":
            return made.client.post(f"/aets/{aet}/send", **transfer)
        case "retrieveFromAet":
            return made.client.post(f"/aets/{aet}/retrieve", **transfer)
        case "readVisit":
            return made.client.get(f"/aets/{aet}/visit/studies", headers=ours)
        case "storeVisit":
            return made.client.post(
                f"/aets/{aet}/visit/studies", **{**stored, "headers": {**stored["headers"], **ours}}
            )
        case "getFromAet":
            return made.client.get(f"/aets/{aet}/studies" + ("?limit=few" if status == "400" else ""))
    return made.client.post(f"/aets/{aet}/studies", **stored)


def conflict(made: Served) -> str:
    """Have an object kept beside another; return its version."""
    for comment in ("one", "other"):
        made.client.post(
            "/dicom-web/studies", content=dicoms.ct(study=9, PatientComments=comment),
            headers={"content-type": "application/dicom", "on-conflict": "keep"},
        )  # fmt: skip
    return str(made.client.get("/conflicts").json()["conflicts"][-1]["version"])


def obtain(made: Served, name: str, status: str) -> httpx.Response:
    """Bring the server to an answer of this status; what it changes is put back."""
    jobs = made.archive.index.jobs
    if (name, status) == ("claimJob", "204"):
        held = [jobs.add("send", "STORESCP", {})]
        while jobs.has_work():
            held.append(jobs.claim("bridge-0", 3600.0, 8))
    number = str(OVER) if status != "404" else "999"
    if name in ("reportJob", "finishJob", "cancelJob") and status in ("200", "400", "403"):
        number = str(jobs.add("send", "STORESCP", {}).id)
        while (job := jobs.claim("bridge-0", 3600.0, 8)) is not None and str(job.id) != number:
            pass
    if name == "retryJob" and status == "409":
        number = str(RUNNING)
    node = "STORESCP" if status != "404" else "NOBODY"
    if name in IN_FRONT:
        return _obtain_in_front(made, name, status)
    good: dict[str, Any] = {
        "putNode": {"aet": "X", "host": "h", "port": 104},
        "claimJob": {"owner": "bridge-1", "wait": 0},
        "reportJob": {"fence": 1, "progress": {"done": 1}},
        "finishJob": {"fence": 1, "state": "done"},
        "reportRefusal": {"kind": "association", "reason": "no"},
        "verifyInstances": {"instances": ["1.2.3"]},
    }
    body = good.get(name)
    if status == "400":
        body = {"nonsense": 1} if body is not None else None
    if (name, status) == ("claimJob", "200"):
        jobs.add("send", "STORESCP", {})
    method, path = {
        "listNodes": ("GET", "/nodes"),
        "getNode": ("GET", f"/nodes/{node}"),
        "putNode": ("PUT", "/nodes/NEW"),
        "deleteNode": ("DELETE", f"/nodes/{'NEW' if status == '204' else 'NOBODY'}"),
        "listJobs": ("GET", "/jobs" + ("?state=odd" if status == "400" else "")),
        "claimJob": ("POST", "/jobs/claim"),
        "getJob": ("GET", f"/jobs/{number}"),
        "followJob": ("GET", f"/jobs/{number}/events"),
        "listFailures": ("GET", f"/jobs/{number}/failures" + ("?limit=few" if status == "400" else "")),
        "listDeletions": ("GET", "/deletions" + ("?before=x" if status == "400" else "")),
        "getStatus": ("GET", "/status"),
        "cancelJob": ("POST", f"/jobs/{number}/cancel"),
        "retryJob": ("POST", f"/jobs/{number}/retry"),
        "reportJob": ("POST", f"/jobs/{number}/report"),
        "finishJob": ("POST", f"/jobs/{number}/finish"),
        "listRefusals": ("GET", "/refusals" + ("?before=x" if status == "400" else "")),
        "reportRefusal": ("POST", "/refusals"),
        "clearRefusals": ("DELETE", "/refusals"),
        "verifyInstances": ("POST", "/verify"),
        "listConflicts": ("GET", "/conflicts" + ("?after=x" if status == "400" else "")),
        "getConflict": ("GET", f"/conflicts/{conflict(made) if status == '200' else '0' * 16}"),
    }[name]
    if (name, status) == ("deleteNode", "204"):
        made.client.request("PUT", "/nodes/NEW", json=good["putNode"])
    headers = {} if status == "403" else BRIDGE
    answer = made.client.request(method, path, headers=headers, json=body)
    if (name, status) == ("retryJob", "200"):
        jobs.cancel(OVER)
    return answer
