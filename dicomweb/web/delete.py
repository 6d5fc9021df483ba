"""DELETE of a study, series or instance: no transaction of the Standard, offered as DICOMweb servers do.

Readers see all of it or nothing; the bytes go afterwards. A reason may be given as `?reason=` and is kept with
the deletion.
"""

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.standard import resources
from dicomweb.web.threads import hop


async def delete(request: Request) -> Response:
    """DELETE {study}, {series} or {instance}: 204 once the deletion is durable."""
    uids = [
        resources.read_uid(request.path_params[name])
        for name in ("study", "series", "instance")
        if name in request.path_params
    ]
    archive = request.app.state.archive
    await hop(archive.delete, *uids, reason=request.query_params.get("reason", "")[:1000])
    if (sweeper := getattr(request.app.state, "sweeper", None)) is not None:
        sweeper.wake()
    return Response(status_code=204)
