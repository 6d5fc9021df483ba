"""`/deletions`: what was deleted, when and why, while its tombstone lives. An extension."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.index import Tombstone
from dicomweb.web import jsonbodies
from dicomweb.web.threads import hop_index

_MOST = 1000


async def listing(request: Request) -> Response:
    """GET /deletions?limit=&before=: the latest first; `before` is the `time` of the one after which to go on."""
    limit = jsonbodies.count(request, "limit", 100, _MOST)
    before = jsonbodies.time(request, "before")
    found = await hop_index(request.app.state.archive.index.deletions, limit, before)
    return jsonbodies.respond({"deletions": [_write(one) for one in found]})


def _write(one: Tombstone) -> dict[str, Any]:
    named = {"study": one.study, "series": one.series, "instance": one.instance}
    told: dict[str, Any] = {level: uid for level, uid in named.items() if uid is not None}
    return told | {"time": one.time, "reason": one.reason, "objects": len(one.versions)}
