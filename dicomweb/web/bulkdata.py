"""Bulk data: one value by its BulkDataURI, all of a resource, its pixel data alone (PS3.18 10.4.1.1.5, W-220,
W-235, W-236).

A value goes out as it is, little endian. Compressed Pixel Data goes out frame by frame, a part each; a video as
the one stream that it is (W-081 to W-083).
"""

from collections.abc import Iterator, Sequence

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive import making
from dicomweb.archive.content import Content
from dicomweb.archive.making import NATIVE_KINDS, pixel_source
from dicomweb.archive.retrieve import PIXELS, Retrieval, bulk_type
from dicomweb.errors import NotAcceptable, NotFound, Undecodable
from dicomweb.index import Held
from dicomweb.standard import negotiation, resources
from dicomweb.standard.frames import Layout
from dicomweb.standard.media import EXPLICIT, Accepted
from dicomweb.standard.negotiation import Choice
from dicomweb.web import bodies
from dicomweb.web.addresses import base_url
from dicomweb.web.asking import read_accepted, read_uids
from dicomweb.web.threads import hop_waiting

STREAMS = {"video", "opaque"}
"""Kinds of layouts whose pixels go out as the one value that they are."""


async def value(request: Request) -> Response:
    """GET {instance}/bulkdata/{tags and item indices}: what a BulkDataURI of the metadata names."""
    return await hop_waiting(_value, request)


async def values(request: Request) -> Response:
    """GET {study, series or instance}/bulkdata: all bulk data, each part under its BulkDataURI."""
    return await hop_waiting(respond_values, request, None)


async def pixels(request: Request) -> Response:
    """GET {study, series or instance}/pixeldata: top-level pixel data alone (PS3.18 10.4.3.3.6)."""
    return await hop_waiting(respond_values, request, PIXELS)


def _value(request: Request) -> Response:
    path = resources.read_value(request.path_params["value"])
    retrieval: Retrieval = request.app.state.retrieval
    held = retrieval.locate(*read_uids(request))
    contents, multipart = _one(retrieval, held, path, read_accepted(request), True)
    return _respond(request, [held], contents, multipart)


def respond_values(request: Request, paths: Sequence[str] | None) -> Response:
    """Answer with the bulk data of a resource. Blocks: call in a thread.

    Args:
        request: for a study, series or instance.
        paths: of the values wanted; None is all.

    Raises:
        NotFound: there are none.
        NotAcceptable: one of them cannot be sent in a form that the client accepts.
    """
    uids = read_uids(request)
    retrieval: Retrieval = request.app.state.retrieval
    members = retrieval.members(*uids)
    accepted = read_accepted(request)
    found: list[Content] = []
    multipart = True
    for held in members:
        bulk = retrieval.layout(held).bulk
        here = [path for path in bulk if paths is None or path in paths]
        for path in here:
            alone = len(uids) == 3 and len(here) == 1
            contents, multipart = _one(retrieval, held, path, accepted, alone)
            found += contents
    if not found:
        kind = "bulk data" if paths is None else "pixel data"
        raise NotFound(f"there is no {kind} in this {('study', 'series', 'instance')[len(uids) - 1]}")
    return _respond(request, members, found, multipart)


def _one(retrieval: Retrieval, held: Held, path: str, accepted: Accepted, alone: bool) -> tuple[list[Content], bool]:
    """Describe one value, in several contents if it is compressed frames, and say whether as parts.

    Args:
        retrieval: where it is.
        held: the instance.
        path: of the value.
        accepted: by the client.
        alone: nothing else is sent.

    Raises:
        NotFound: there is no such value.
        NotAcceptable: it cannot be sent in a form that the client accepts.
    """
    layout = retrieval.layout(held)
    if path not in layout.bulk:
        raise NotFound("there is no such bulk data in the instance")
    if path not in PIXELS:
        choice = negotiation.for_value(accepted if alone else _in_parts(accepted), bulk_type(layout.bulk[path]))
        return [retrieval.value(held, layout, path, choice.media_type, choice.syntax)], choice.multipart
    choice = _choose_pixels(held, layout, accepted, alone)
    try:
        retrieval.prepare(held, layout, range(1, layout.count + 1), choice.syntax)
    except Undecodable as error:
        try:
            choice = _choose_pixels(held, layout, accepted, alone, decodable=False)
        except NotAcceptable:
            raise error from None
    if choice.syntax == EXPLICIT and layout.kind == "encapsulated":
        return [retrieval.decoded(held, layout, choice.media_type, choice.syntax)], choice.multipart
    if layout.kind in STREAMS or (layout.kind in NATIVE_KINDS and choice.syntax == EXPLICIT):
        return [retrieval.value(held, layout, path, choice.media_type, choice.syntax)], choice.multipart
    frames: Iterator[Content] = retrieval.frames(
        held, layout, range(1, layout.count + 1), choice.media_type, choice.syntax
    )
    return list(frames), choice.multipart


def _choose_pixels(held: Held, layout: Layout, accepted: Accepted, alone: bool, decodable: bool = True) -> Choice:
    """Choose the form of pixel data: one value if they are or get native, or are one stream, else a part a frame."""
    source = pixel_source(held.syntax, layout.kind, layout.format if decodable else None)
    streams = layout.kind in STREAMS or layout.kind in NATIVE_KINDS or layout.count == 1
    if not streams and EXPLICIT in source.makes and alone:
        choice = negotiation.for_pixels(accepted, source, True)
        if choice.syntax == EXPLICIT:
            return choice
    choice = negotiation.for_pixels(accepted, source, alone and streams)
    if not choice.multipart and layout.count > 1 and layout.kind in NATIVE_KINDS and choice.syntax != EXPLICIT:
        return negotiation.for_pixels(accepted, source, False)
    return choice


def _in_parts(accepted: Accepted) -> Accepted:
    """Leave out what asks for a bare value, which several cannot be (W-041)."""
    return Accepted(
        tuple(entry for entry in accepted.header if entry.multipart is not False),
        tuple(entry for entry in accepted.query if entry.multipart is not False),
    )


def _respond(request: Request, members: Sequence[Held], contents: list[Content], multipart: bool) -> Response:
    retrieval: Retrieval = request.app.state.retrieval
    base = base_url(request)
    described = [(content.location, content.media_type, content.syntax) for content in contents]
    etag = bodies.tag("bulk", [held.digest for held in members], described, multipart, base, making.REVISION)
    if multipart:
        return bodies.respond(
            request,
            lambda: bodies.multiple(lambda: contents, etag, base),
            retrieval.read,
            etag=etag,
        )
    (content,) = contents
    fields = [
        (b"content-location", f"{base}/{content.location}".encode("latin-1")),
        (b"content-disposition", f'attachment; filename="{content.name}"'.encode("latin-1")),
        (b"content-security-policy", b"default-src 'none'; sandbox"),
    ]
    return bodies.respond(request, lambda: bodies.single(content), retrieval.read, etag=etag, fields=fields)
