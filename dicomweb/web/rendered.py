"""Rendered resources and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4, 8.3.5, 8.7.4).

An instance is answered by one thing, frames of it by one or by parts. A series or a study is answered by parts, one
for each of its instances; where the client would rather have one image, by the one that stands for all (DESIGN).
Drawing waits for the workshop, so handlers run in threads of those that may wait.
"""

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive.content import Content
from dicomweb.archive.rendering import REVISION, Part, Renderer, alike, middle
from dicomweb.archive.retrieve import PREPARED, Retrieval, path_of
from dicomweb.errors import NotAcceptable, NotFound, Undecodable
from dicomweb.imaging import choosing, encapsulated, pages
from dicomweb.imaging.content import Reference
from dicomweb.index import Held
from dicomweb.standard import frames as frame_lists
from dicomweb.standard import negotiation
from dicomweb.standard.media import Accepted
from dicomweb.standard.negotiation import Choice
from dicomweb.standard.rendering import PICTURES, Rendering, read_rendering
from dicomweb.web import bodies
from dicomweb.web.access import known_to, knows_study
from dicomweb.web.addresses import base_url
from dicomweb.web.asking import read_accepted, read_uids
from dicomweb.web.threads import hop_waiting
from dicomweb.web.warnings import write_warning

Fields: TypeAlias = list[tuple[bytes, bytes]]

_DRAWING_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

log = logging.getLogger(__name__)


async def rendered(request: Request) -> Response:
    """GET {study, series or instance}/rendered (PS3.18 10.4.1.1.3)."""
    return await hop_waiting(_rendered, request)


async def frames(request: Request) -> Response:
    """GET {instance}/frames/{frames}/rendered (PS3.18 10.4.1.1.3)."""
    return await hop_waiting(_frames, request)


async def thumbnail(request: Request) -> Response:
    """GET {study, series, instance or frames}/thumbnail: one small picture (PS3.18 10.4.1.1.4)."""
    return await hop_waiting(_thumbnail, request)


def _rendered(request: Request) -> Response:
    uids = read_uids(request)
    retrieval: Retrieval = request.app.state.retrieval
    members = retrieval.members(*uids)
    return _instance(request, members[0]) if len(uids) == 3 else _several(request, members)


def _instance(request: Request, held: Held) -> Response:
    renderer: Renderer = request.app.state.renderer
    choice = negotiation.for_rendered(read_accepted(request), renderer.media_types(held), single=True)
    nature = renderer.nature(held)
    rendering = _read(request, choice, nature == "state")
    if nature in ("picture", "state"):
        return respond_pictures(request, renderer.parts(held), choice, rendering)
    return respond_other(request, held, choice, rendering)


def _frames(request: Request) -> Response:
    numbers = frame_lists.read_list(request.path_params["frames"])
    retrieval: Retrieval = request.app.state.retrieval
    renderer: Renderer = request.app.state.renderer
    held = retrieval.locate(*read_uids(request))
    renderer.check_frames(held, numbers)
    choice = negotiation.for_rendered(read_accepted(request), PICTURES, single=True)
    return respond_pictures(request, [Part(held, number) for number in numbers], choice, _read(request, choice))


def _thumbnail(request: Request) -> Response:
    uids = read_uids(request)
    retrieval: Retrieval = request.app.state.retrieval
    renderer: Renderer = request.app.state.renderer
    number = None
    if "frames" in request.path_params:
        numbers = frame_lists.read_list(request.path_params["frames"])
        held = retrieval.locate(*uids)
        renderer.check_frames(held, numbers)
        number = numbers[len(numbers) // 2]
    elif len(uids) == 3:
        held = retrieval.locate(*uids)
    else:
        held, number = renderer.representative(retrieval.members(*uids))
    choice = negotiation.for_rendered(read_accepted(request), PICTURES, single=True)
    rendering = _read(request, choice, thumbnail=True)
    etag = bodies.tag("thumbnail", held.digest, number, rendering, choice.multipart, REVISION)

    def contents() -> Iterable[Content]:
        return (renderer.thumbnail(held, number, rendering),)

    return _respond(request, contents, choice, etag, rendering)


def respond_pictures(request: Request, parts: Sequence[Part], choice: Choice, rendering: Rendering) -> Response:
    """Answer with pictures of one instance, or of what a presentation state shows: all as parts, all as one moving
    picture, or the one in the middle. Blocks: call in a thread.

    Args:
        request: for its conditions.
        parts: in order; at least one.
        choice: of the form.
        rendering: as the client wants it.

    Raises:
        Undecodable, BadRequest: they cannot be drawn, or not so.
    """
    renderer: Renderer = request.app.state.renderer
    facts = [(part.held.digest, part.number, part.by) for part in parts]
    etag = bodies.tag("rendered", facts, rendering, choice.multipart, REVISION)
    moving = choice.media_type == "image/gif" and len({part.held.version for part in parts}) == 1

    def contents() -> Iterator[Content]:
        if choice.multipart:
            yield from (renderer.picture(part, rendering) for part in parts)
        elif moving and len(parts) > 1:
            yield renderer.animation(parts, rendering)
        else:
            yield renderer.picture(parts[choosing.middle_frame(len(parts)) - 1], rendering)

    return _respond(request, contents, choice, etag, rendering, len(parts))


def respond_other(request: Request, held: Held, choice: Choice, rendering: Rendering) -> Response:
    """Answer with what is no picture: a video, a report, a drawing, a document. Blocks: call in a thread.

    Raises:
        Undecodable: it cannot be drawn.
    """
    renderer: Renderer = request.app.state.renderer
    base = base_url(request)
    links: list[str] = []

    def link(reference: Reference) -> str:
        links.append(_link(request, base, reference))
        return links[-1]

    content = renderer.other(held, rendering, link)
    # What a report leads to depends on what is here, and on what whoever asks may know of
    etag = bodies.tag("rendered", held.digest, rendering, choice.multipart, base, links, REVISION)
    return _respond(request, lambda: (content,), choice, etag, rendering)


def _link(request: Request, base: str, reference: Reference) -> str:
    """The URL of what a report refers to, as far as it is here for whoever asks."""
    retrieval: Retrieval = request.app.state.retrieval
    if not knows_study(request, reference.study):
        return ""
    try:
        held = retrieval.locate(reference.study, reference.series, reference.instance)
    except NotFound:
        return ""
    shown = f"/frames/{','.join(map(str, reference.frames))}" if reference.frames else ""
    return f"{base}/{path_of(held)}{shown}/rendered"


# -- series and studies --------------------------------------------------------------------------------------


def _several(request: Request, members: Sequence[Held]) -> Response:
    """A part for each instance, or the one image that stands for all."""
    renderer: Renderer = request.app.state.renderer
    accepted = read_accepted(request)
    held, number = renderer.representative(members)
    groups = alike(members)
    types = dict.fromkeys(kind for each in (held, *map(middle, groups)) for kind in renderer.media_types(each))
    choice = negotiation.for_rendered(accepted, list(types), single=False, representative=True)
    if not choice.multipart:
        if choice.media_type not in renderer.media_types(held):
            fit = [group for group in groups if choice.media_type in renderer.media_types(middle(group))]
            held, number = renderer.representative([each for group in fit for each in group])
        rendering = _read(request, choice, renderer.nature(held) == "state")
        if renderer.nature(held) == "picture":
            return respond_pictures(request, [Part(held, number)], choice, rendering)
        if renderer.nature(held) == "state":
            return respond_pictures(request, renderer.parts(held), choice, rendering)
        return respond_other(request, held, choice, rendering)
    chosen = ((each, _choose(accepted, renderer.media_types(each))) for each in members)
    wanted = [(each, _read(request, found)) for each, found in chosen if found is not None]
    facts = [(each.digest, rendering) for each, rendering in wanted]
    base = base_url(request)
    leads = any(renderer.nature(each) not in ("picture", "state") for each, _ in wanted)
    etag = bodies.tag("rendered", facts, base, known_to(request) if leads else None, REVISION)
    link = functools.partial(_link, request, base)

    def contents() -> Iterator[Content]:
        some, failed = False, None
        for each, rendering in wanted:
            try:
                for content in _contents(renderer, each, rendering, link):
                    some = True
                    yield content
            except (Undecodable, NotFound, NotAcceptable) as error:
                log.info("an instance is left out of a rendered answer: %s", error)
                failed = failed or error
        if failed is not None and not some:
            raise failed

    return _respond(request, contents, choice, etag, wanted[0][1], len(wanted))


def _contents(
    renderer: Renderer, held: Held, rendering: Rendering, link: Callable[[Reference], str]
) -> Iterator[Content]:
    if renderer.nature(held) in ("picture", "state"):
        yield from (renderer.picture(part, rendering) for part in renderer.parts(held))
    else:
        yield renderer.other(held, rendering, link)


def _choose(accepted: Accepted, media_types: Sequence[str]) -> Choice | None:
    try:
        return negotiation.for_rendered(accepted, media_types, single=False)
    except NotAcceptable:
        return None


# -- answers -------------------------------------------------------------------------------------------------


def _read(request: Request, choice: Choice, state: bool = False, thumbnail: bool = False) -> Rendering:
    renderer: Renderer = request.app.state.renderer
    pairs = request.query_params.multi_items()
    return read_rendering(pairs, choice.media_type, thumbnail, state=state, most_pixels=renderer.most_pixels)


def _respond(
    request: Request,
    contents: Callable[[], Iterable[Content]],
    choice: Choice,
    etag: str,
    rendering: Rendering,
    count: int = 1,
) -> Response:
    """Answer with one content, or with parts: few are made before the answer begins, many as they are sent."""
    retrieval: Retrieval = request.app.state.retrieval
    base = base_url(request)
    fields: Fields = [(b"warning", write_warning(base, sentence)) for sentence in rendering.warnings]
    if not choice.multipart:
        (content,) = contents()
        fields += _fields(content, base)
        return bodies.respond(request, lambda: bodies.single(content), retrieval.read, etag=etag, fields=fields)
    if count <= PREPARED:
        made = list(contents())
        body = bodies.multiple(lambda: made, etag, base)
    else:
        body = bodies.multiple(contents, etag, base, known=False)
    return bodies.respond(request, lambda: body, retrieval.read, etag=etag, fields=fields)


def _fields(content: Content, base: str) -> Fields:
    """Where it is from, what to call it, and what a browser may do with it (A20)."""
    kind = content.media_type.partition(";")[0]
    saved = kind not in encapsulated.SHOWN and not kind.startswith(("image/", "video/")) and kind != "text/html"
    fields = [
        (b"content-location", f"{base}/{content.location}".encode("latin-1")),
        (b"content-disposition", f'{"attachment" if saved else "inline"}; filename="{content.name}"'.encode("latin-1")),
    ]
    if kind.startswith(("image/", "video/")) and kind != "image/svg+xml":
        return fields
    policy = {"text/html": pages.POLICY, "image/svg+xml": _DRAWING_POLICY}.get(kind, encapsulated.POLICY)
    return [*fields, (b"content-security-policy", policy.encode("ascii"))]
