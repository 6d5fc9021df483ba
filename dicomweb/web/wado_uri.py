"""WADO-URI: one object by query parameters, as it is or as people look at it (PS3.18 9).

The Accept header of real clients names what they send to the RESTful services; where `contentType` is there, it
alone decides (W-361).
"""

import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive import making
from dicomweb.archive.rendering import Part, Renderer
from dicomweb.archive.retrieve import Retrieval
from dicomweb.errors import BadRequest, NotAcceptable, NotFound
from dicomweb.index import Held
from dicomweb.standard import negotiation, resources
from dicomweb.standard.media import AS_STORED, DICOM, Accepted, Range
from dicomweb.standard.negotiation import Choice
from dicomweb.standard.rendering import PICTURES, read_wado_uri
from dicomweb.standard.syntaxes import sent_as
from dicomweb.web import bodies, rendered
from dicomweb.web.asking import read_accepted
from dicomweb.web.threads import hop_waiting

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")


async def retrieve(request: Request) -> Response:
    """GET /wado?requestType=WADO&studyUID=&seriesUID=&objectUID=: one object (PS3.18 9.4, 9.5)."""
    return await hop_waiting(_retrieve, request)


def _retrieve(request: Request) -> Response:
    if _parameter(request, "requestType") != "WADO":
        raise BadRequest("requestType must be there and be WADO")
    uids = [_uid(request, name) for name in ("studyUID", "seriesUID", "objectUID")]
    kinds = _content_types(request)
    retrieval: Retrieval = request.app.state.retrieval
    held = retrieval.locate(*uids)
    kind = _choose(request, held, kinds)
    return _object(request, held) if kind == DICOM else _rendered(request, held, kind)


def _object(request: Request, held: Held) -> Response:
    syntax = _parameter(request, "transferSyntax")
    if syntax and syntax != AS_STORED and not (_UID.fullmatch(syntax) and len(syntax) <= 64):
        raise BadRequest("transferSyntax must be one UID, or * for the stored one")
    if _parameter(request, "anonymize"):
        if _parameter(request, "anonymize") != "yes":
            raise BadRequest("anonymize can be yes, or left out")
        raise NotAcceptable("objects cannot be de-identified here; leave anonymize out")
    if unfit := [name for name in ("windowCenter", "windowWidth") if _parameter(request, name)]:
        raise BadRequest(f"{unfit[0]} does not go with application/dicom")
    retrieval: Retrieval = request.app.state.retrieval
    wanted = Accepted((Range(DICOM, False, syntax),))
    (choice,) = negotiation.for_instances(wanted, [retrieval.source(held, syntax != AS_STORED)], True)
    etag = bodies.tag("object", held.digest, choice.syntax, making.REVISION)
    name = f'attachment; filename="{held.instance}.dcm"'
    return bodies.respond(
        request,
        lambda: bodies.single(retrieval.object(held, choice.syntax, "" if syntax else sent_as(held.syntax))),
        retrieval.read,
        etag=etag,
        fields=[(b"content-disposition", name.encode("latin-1"))],
    )


def _rendered(request: Request, held: Held, kind: str) -> Response:
    """A picture of one frame, or what there is to look at where there are no pictures (PS3.18 9.5)."""
    renderer: Renderer = request.app.state.renderer
    choice = Choice(kind, multipart=False)
    asked = read_wado_uri(request.query_params.multi_items(), kind, most_pixels=renderer.most_pixels)
    if kind not in PICTURES or renderer.nature(held) == "waveform":
        return rendered.respond_other(request, held, choice, asked.rendering)
    parts = _parts(request, held, asked.state)
    if asked.frame is not None and renderer.nature(held) == "video":
        try:
            renderer.check_frames(held, [asked.frame])
        except NotFound as error:
            raise BadRequest(str(error)) from error
        parts = [Part(held, asked.frame)]
    elif asked.frame is not None:
        parts = [part for part in parts if part.number == asked.frame and part.held.version == held.version]
        if not parts or (len(renderer.parts(held)) == 1 and asked.frame > 1):
            raise BadRequest(f"there is no frame {asked.frame}")
    return rendered.respond_pictures(request, parts, choice, asked.rendering)


def _parts(request: Request, held: Held, state: tuple[str, str] | None) -> Sequence[Part]:
    renderer: Renderer = request.app.state.renderer
    if state is None:
        return renderer.parts(held)
    retrieval: Retrieval = request.app.state.retrieval
    return renderer.shown(retrieval.locate(held.study, *state), held)


def _choose(request: Request, held: Held, kinds: Sequence[str]) -> str:
    """Choose among the accepted types; without contentType, application/dicom only for those who name it (W-362)."""
    renderer: Renderer = request.app.state.renderer
    made: tuple[str, ...] = ()
    for kind in kinds:
        if kind in (DICOM, "application/*"):
            return DICOM
        made = made or renderer.media_types(held)
        fit = [each for each in made if kind in (each, "*/*", f"{each.partition('/')[0]}/*")]
        if fit:
            return fit[0]
    raise NotAcceptable(f"none of the accepted types can be made; there is {', '.join((DICOM, *made))}")


def _content_types(request: Request) -> list[str]:
    """Read `contentType`, or Accept where it is missing, the most welcome first (W-361, W-362).

    Raises:
        BadRequest: contentType has parameters that it may not have.
    """
    text = _parameter(request, "contentType")
    if not text:
        entries = sorted(read_accepted(request).header, key=lambda entry: -entry.q)
        return [entry.media_type for entry in entries if entry.q > 0]
    kinds = []
    for entry in text.split(","):
        kind, *parameters = (piece.strip().lower() for piece in entry.split(";"))
        if any(parameter.startswith(("transfer-syntax", "charset")) for parameter in parameters):
            raise BadRequest("contentType has no transfer-syntax and no charset; there is transferSyntax")
        kinds.append(kind)
    return kinds


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
