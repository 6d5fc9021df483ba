"""A server with a node, jobs in several states and a bridge's secret; how to bring it to each answer."""

from pathlib import Path
from typing import Any

import httpx
from served import Served

TOKEN = "SECRET"
BRIDGE = {"authorization": f"Bearer {TOKEN}"}
NODES = '[nodes.STORESCP]\nhost = "127.0.0.1"\nport = 24290\n'
RUNNING, WAITING, OVER = 1, 2, 3
"""Numbers of the jobs."""
NAMES = {"node": "STORESCP", "job": str(OVER)}

OPERATIONS = {
    "listNodes", "getNode", "putNode", "deleteNode", "listJobs", "claimJob", "getJob", "followJob", "cancelJob",
    "retryJob", "reportJob", "finishJob", "listRefusals", "reportRefusal", "clearRefusals",
}  # fmt: skip


def served(folder: Path, **settings: Any) -> Served:
    """Make the server."""
    made = Served(folder, bridge_token=TOKEN, **settings)
    (folder / "nodes.toml").write_text(NODES)
    jobs = made.archive.index.jobs
    for _ in range(3):
        jobs.add("send", "STORESCP", {"resources": [{"study": "1.2.3"}]})
    assert jobs.claim("bridge-0", 3600.0, 8) is not None
    jobs.cancel(OVER)
    return made


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
    good: dict[str, Any] = {
        "putNode": {"aet": "X", "host": "h", "port": 104},
        "claimJob": {"owner": "bridge-1", "wait": 0},
        "reportJob": {"fence": 1, "progress": {"done": 1}},
        "finishJob": {"fence": 1, "state": "done"},
        "reportRefusal": {"kind": "association", "reason": "no"},
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
        "cancelJob": ("POST", f"/jobs/{number}/cancel"),
        "retryJob": ("POST", f"/jobs/{number}/retry"),
        "reportJob": ("POST", f"/jobs/{number}/report"),
        "finishJob": ("POST", f"/jobs/{number}/finish"),
        "listRefusals": ("GET", "/refusals" + ("?before=x" if status == "400" else "")),
        "reportRefusal": ("POST", "/refusals"),
        "clearRefusals": ("DELETE", "/refusals"),
    }[name]
    if (name, status) == ("deleteNode", "204"):
        made.client.request("PUT", "/nodes/NEW", json=good["putNode"])
    headers = {} if status == "403" else BRIDGE
    answer = made.client.request(method, path, headers=headers, json=body)
    if (name, status) == ("retryJob", "200"):
        jobs.cancel(OVER)
    return answer
