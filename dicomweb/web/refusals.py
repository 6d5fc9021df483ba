"""`/refusals`: associations, requests and instances that the bridge refused, in plain words. An extension."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.errors import BadRequest
from dicomweb.index.refusals import Refusal, RefusalRow, Refusals
from dicomweb.web import jsonbodies
from dicomweb.web.auditing import note
from dicomweb.web.threads import hop_index

_MOST = 1000
_FIELDS = ("kind", "calling", "called", "address", "node", "reason", "advice")


async def listing(request: Request) -> Response:
    """GET /refusals?limit=&before=: the latest first; `before` is the `last` of the one after which to go on."""
    limit = jsonbodies.count(request, "limit", 100, _MOST)
    before = jsonbodies.time(request, "before")
    refusals: Refusals = request.app.state.archive.index.refusals
    rows = await hop_index(refusals.latest, limit, before)
    return jsonbodies.respond({"refusals": [_write(row) for row in rows]})


async def report(request: Request) -> Response:
    """POST /refusals: the bridge tells what it refused; 204."""
    request.app.state.bridge.check(request)
    value = await jsonbodies.read(request)
    fields = [value.get(name, "") for name in _FIELDS]
    if not all(isinstance(field, str) for field in fields) or not value.get("kind") or not value.get("reason"):
        raise BadRequest(f"a refusal has texts: {', '.join(_FIELDS)}; kind and reason say something")
    refusal = Refusal(*fields)
    note(request, agent=f"{refusal.calling}@{refusal.address}", refused=refusal.kind)
    await hop_index(request.app.state.archive.index.refusals.add, refusal)
    return Response(status_code=204)


async def clear(request: Request) -> Response:
    """DELETE /refusals: forget them all; 204."""
    await hop_index(request.app.state.archive.index.refusals.clear)
    return Response(status_code=204)


def _write(row: RefusalRow) -> dict[str, Any]:
    told = {name: getattr(row.refusal, name) for name in _FIELDS}
    return {"id": row.id, **told, "first": row.first, "last": row.last, "count": row.count}
