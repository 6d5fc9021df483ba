"""WADO-URI: one object by query parameters (PS3.18 9). DICOM objects here; rendered ones come with rendering.

The Accept header of real clients names what they send to the RESTful services; where `contentType` is there, it
alone decides (W-361).
"""

import re

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive.retrieve import Retrieval
from dicomweb.errors import BadRequest, NotAcceptable
from dicomweb.standard import negotiation, resources
from dicomweb.standard.media import AS_STORED, DICOM, Accepted, Range
from dicomweb.standard.syntaxes import sent_as
from dicomweb.web import bodies
from dicomweb.web.asking import read_accepted
from dicomweb.web.threads import hop_waiting

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_NO_RENDERING = "rendered images cannot be made here yet; ask for contentType=application/dicom"


async def retrieve(request: Request) -> Response:
    """GET /wado?requestType=WADO&studyUID=&seriesUID=&objectUID=: one object (PS3.18 9.4)."""
    return await hop_waiting(_retrieve, request)


def _retrieve(request: Request) -> Response:
    if _parameter(request, "requestType") != "WADO":
        raise BadRequest("requestType must be there and be WADO")
    uids = [_uid(request, name) for name in ("studyUID", "seriesUID", "objectUID")]
    syntax = _parameter(request, "transferSyntax")
    if syntax and syntax != AS_STORED and not (_UID.fullmatch(syntax) and len(syntax) <= 64):
        raise BadRequest("transferSyntax must be one UID, or * for the stored one")
    if _parameter(request, "anonymize"):
        if _parameter(request, "anonymize") != "yes":
            raise BadRequest("anonymize can be yes, or left out")
        raise NotAcceptable("objects cannot be de-identified here; leave anonymize out")
    _check_content_type(request)
    if unfit := [name for name in ("windowCenter", "windowWidth") if _parameter(request, name)]:
        raise BadRequest(f"{unfit[0]} does not go with application/dicom")
    retrieval: Retrieval = request.app.state.retrieval
    held = retrieval.locate(*uids)
    wanted = Accepted((Range(DICOM, False, syntax),))
    (choice,) = negotiation.for_instances(wanted, [retrieval.source(held, syntax != AS_STORED)], True)
    etag = bodies.tag("object", held.digest, choice.syntax)
    name = f'attachment; filename="{held.instance}.dcm"'
    return bodies.respond(
        request,
        lambda: bodies.single(retrieval.object(held, choice.syntax, "" if syntax else sent_as(held.syntax))),
        retrieval.read,
        etag=etag,
        cache=bodies.LASTING,
        fields=[(b"content-disposition", name.encode("latin-1"))],
    )


def _check_content_type(request: Request) -> None:
    """Read `contentType`, or Accept where it is missing (W-361, W-362).

    Raises:
        BadRequest: contentType has parameters that it may not have.
        NotAcceptable: a rendered form is asked for.
    """
    text = _parameter(request, "contentType")
    if not text:
        # Without contentType the default is a rendered image; only who names application/dicom gets it.
        if DICOM not in {entry.media_type for entry in read_accepted(request).header}:
            raise NotAcceptable(_NO_RENDERING)
        return
    kinds = []
    for entry in text.split(","):
        kind, *parameters = (piece.strip().lower() for piece in entry.split(";"))
        if any(parameter.startswith(("transfer-syntax", "charset")) for parameter in parameters):
            raise BadRequest("contentType has no transfer-syntax and no charset; there is transferSyntax")
        kinds.append(kind)
    if not {DICOM, "application/*", "*/*"} & set(kinds):
        raise NotAcceptable(_NO_RENDERING)


def _parameter(request: Request, name: str) -> str:
    values = request.query_params.getlist(name)
    if len(set(values)) > 1:
        raise BadRequest(f"{name} is there more than once")
    return values[0].strip() if values else ""


def _uid(request: Request, name: str) -> str:
    text = _parameter(request, name)
    if not text:
        raise BadRequest(f"{name} is missing")
    return resources.read_uid(text)
