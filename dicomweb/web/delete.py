"""DELETE of a study, series or instance: no transaction of the Standard, offered as DICOMweb servers do.

Readers see all of it or nothing; the bytes go afterwards. A reason given as `?reason=` is kept with the deletion;
with `delete_reason` there is none without.
"""

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.errors import BadRequest
from dicomweb.standard import resources
from dicomweb.web.threads import hop

_LONGEST = 1000
"""Characters of a reason that are kept."""


async def delete(request: Request) -> Response:
    """DELETE {study}, {series} or {instance}: 204 once the deletion is durable."""
    uids = [
        resources.read_uid(request.path_params[name])
        for name in ("study", "series", "instance")
        if name in request.path_params
    ]
    reason = request.query_params.get("reason", "").strip()[:_LONGEST]
    if request.app.state.service.config.delete_reason and not reason:
        raise BadRequest("nothing is deleted here without a reason: say why with ?reason=, which is kept and listed")
    await hop(request.app.state.archive.delete, *uids, reason=reason)
    if (sweeper := getattr(request.app.state, "sweeper", None)) is not None:
        sweeper.wake()
    return Response(status_code=204)
