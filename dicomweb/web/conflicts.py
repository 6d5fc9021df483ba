"""`/conflicts`: objects that came under a SOP Instance UID which had other content already, and are kept beside the one
that is found, so that no sender's queue stands still and nothing is lost. An extension, for administrators.
"""

from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive.archive import Archive
from dicomweb.archive.versions import is_bare, time_of
from dicomweb.errors import BadRequest, NotFound
from dicomweb.index import Held
from dicomweb.web import jsonbodies
from dicomweb.web.auditing import note
from dicomweb.web.bodies import Answer
from dicomweb.web.threads import hop, hop_index

_MOST = 1000
_WIDTH = 16
_LARGEST = (1 << 63) - 1


async def listing(request: Request) -> Response:
    """GET /conflicts?limit=&after=: in the order in which they came; `after` is the `version` after which to go on."""
    limit = jsonbodies.count(request, "limit", 100, _MOST)
    text = request.query_params.get("after", "")
    after = _read_version(text) if text else 0
    if after is None:
        raise BadRequest("after is the version of a conflict")
    found = await hop_index(request.app.state.archive.index.others, limit, after)
    return jsonbodies.respond({"conflicts": [_write(held) for held in found]})


async def one(request: Request) -> Response:
    """GET /conflicts/{version}: the object, as it was received."""
    return await hop(_content, request, request.path_params["version"])


def _content(request: Request, text: str) -> Response:
    archive: Archive = request.app.state.archive
    version = _read_version(text)
    found = archive.index.others(1, version - 1) if version is not None else []
    if not found or found[0].version != version:
        raise NotFound("there is no such conflict")
    (held,) = found
    note(request, study=held.study, series=held.series, instance=held.instance, version=text.lower())
    kind = "application/octet-stream" if is_bare(held.key) else "application/dicom"
    fields = {
        "content-type": kind, "content-length": str(held.size), "cache-control": "no-store",
        "content-disposition": f'attachment; filename="{held.instance}-{text}.dcm"',
    }  # fmt: skip
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in fields.items()]
    return Answer(200, raw, batches=_batches(archive, held))


def _batches(archive: Archive, held: Held) -> Iterator[list[bytes]]:
    for chunk in archive.storage.stream(held.key):
        yield [chunk]


def _read_version(text: str) -> int | None:
    try:
        version = int(text, 16) if len(text) == _WIDTH and text.isalnum() and text.isascii() else None
    except ValueError:
        return None
    return version if version is not None and version <= _LARGEST else None


def _write(held: Held) -> dict[str, Any]:
    return {
        "version": f"{held.version:0{_WIDTH}x}", "time": time_of(held.version), "study": held.study,
        "series": held.series, "instance": held.instance, "sop_class": held.sop_class, "syntax": held.syntax,
        "size": held.size, "digest": held.digest.hex(),
    }  # fmt: skip
