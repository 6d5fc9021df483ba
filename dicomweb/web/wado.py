"""WADO-RS: the Retrieve transaction of the Studies service (PS3.18 10.4).

A handler makes one hop into a thread, where the resource is found, its form chosen, and what is small read. An
entity tag is made of digests of what is stored and of the form, so that a client that has it already costs no
storage access.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive import sealed, zipped
from dicomweb.archive.content import Content
from dicomweb.archive.retrieve import Retrieval, path_of
from dicomweb.errors import NotAcceptable
from dicomweb.index import Held
from dicomweb.standard import frames as frame_lists
from dicomweb.standard.media import JSON, SYNTAXES, ZIP
from dicomweb.standard.negotiation import Choice
from dicomweb.web import bodies, bulkdata
from dicomweb.web.addresses import base_url
from dicomweb.web.asking import choose_document, choose_frames, choose_instances, read_accepted, read_uids
from dicomweb.web.bodies import LASTING, REVALIDATED, Body
from dicomweb.web.threads import hop

DESCRIBED = 16
"""Up to so many instances or frames are described before the answer begins, also where that means reading them;
of more the length of the answer is not told unless it costs nothing."""

METADATA_REVISION = 1
"""Counts changes in how the same stored metadata is written, so that clients fetch it anew."""


async def frames(request: Request) -> Response:
    """GET {instance}/frames/{frames}: frames, one part each, or a bare one (PS3.18 10.4.1.1.6)."""
    return await hop(_frames, request)


async def metadata(request: Request) -> Response:
    """GET {study, series or instance}/metadata (PS3.18 10.4.1.1.2)."""
    return await hop(_metadata, request)


async def instances(request: Request) -> Response:
    """GET {study}, {series} or {instance}: Part 10 files as parts, bare, or in a ZIP (PS3.18 10.4.1.1.1)."""
    return await hop(_instances, request)


def _frames(request: Request) -> Response:
    numbers = frame_lists.read_list(request.path_params["frames"])
    retrieval: Retrieval = request.app.state.retrieval
    held = retrieval.locate(*read_uids(request))
    layout = retrieval.layout(held)
    retrieval.check_frames(layout, numbers)
    choice = choose_frames(request, held.syntax, layout.kind, len(numbers) == 1)
    base = base_url(request)
    form = (choice.media_type, choice.syntax, choice.multipart, base)
    etag = bodies.tag("frames", held.digest, numbers, form)

    def contents() -> Iterator[Content]:
        return retrieval.frames(held, layout, numbers, choice.media_type, choice.syntax)

    if choice.multipart:
        known = len(numbers) <= DESCRIBED or retrieval.sizes_known(held, choice.syntax)
        return bodies.respond(
            request,
            lambda: bodies.multiple(contents, etag, base, known),
            retrieval.read,
            etag=etag,
            cache=LASTING,
        )
    where = f"{base}/{path_of(held)}/frames/{numbers[0]}"
    return bodies.respond(
        request,
        lambda: bodies.single(next(contents())),
        retrieval.read,
        etag=etag,
        cache=LASTING,
        fields=[(b"content-location", where.encode("latin-1"))],
    )


def _metadata(request: Request) -> Response:
    form = choose_document(request)
    retrieval: Retrieval = request.app.state.retrieval
    members = retrieval.members(*read_uids(request))
    base = base_url(request)
    etag = bodies.tag("metadata", METADATA_REVISION, form, base, sealed.names(members))
    if form == "xml":
        return bodies.respond(
            request,
            lambda: bodies.multiple(lambda: retrieval.documents(members, base), etag, base, known=len(members) == 1),
            retrieval.read,
            etag=etag,
            cache=REVALIDATED,
        )
    zipped_ = bodies.accepts_gzip(request.headers.get("accept-encoding"))
    return bodies.respond(
        request,
        lambda: _json(retrieval, members, base, zipped_, request.method == "HEAD"),
        retrieval.read,
        etag=bodies.zipped_tag(etag) if zipped_ else etag,
        cache=REVALIDATED,
        fields=[(b"content-encoding", b"gzip")] if zipped_ else [],
        vary=b"Accept, Accept-Encoding",
    )


def _json(retrieval: Retrieval, members: Sequence[Held], base: str, gzipped: bool, head: bool) -> Body:
    """Metadata as one JSON array: with its length if all of it is at hand or it is one group's worth, else as a
    stream that is complete however many instances there are."""

    def pieces() -> Iterator[bytes]:
        if gzipped:
            yield from sealed.gzipped(sealed.array(retrieval.seals(members, base)))
        elif retrieval.sealed(members, base):
            yield from sealed.plain(sealed.array(retrieval.seals(members, base)))
        else:
            yield from itertools.chain((b"[",), retrieval.texts(members, base), (b"]",))

    ready = gzipped and retrieval.sealed(members, base)
    if not ready and (head or len(members) > sealed.GROUP):
        return Body(JSON, pieces, None)
    whole = list(pieces())
    return Body(JSON, lambda: whole, sum(map(len, whole)))


def _instances(request: Request) -> Response:
    uids = read_uids(request)
    retrieval: Retrieval = request.app.state.retrieval
    members = retrieval.members(*uids)
    try:
        choices = choose_instances(request, [held.syntax for held in members], len(uids) == 3)
    except NotAcceptable:
        # What bulk data come as, asked of a whole resource, is an old way to ask for them (W-051, W-053).
        wanted = read_accepted(request).header
        if any(entry.multipart and entry.media_type in SYNTAXES for entry in wanted):
            return bulkdata.respond_values(request, None)
        raise
    first = choices[0]
    base = base_url(request)
    etag = bodies.tag("instances", first.media_type, first.multipart, base, _digest(members, choices))
    fields = []
    if not first.multipart:
        name = f"{uids[-1]}.{'zip' if first.media_type == ZIP else 'dcm'}"
        fields.append((b"content-disposition", f'attachment; filename="{name}"'.encode("latin-1")))
    if len(uids) == 3:
        fields.append((b"content-location", f"{base}/{path_of(members[0])}".encode("latin-1")))
    return bodies.respond(
        request,
        lambda: _body(retrieval, members, choices, etag, base),
        retrieval.read,
        etag=etag,
        cache=LASTING if len(uids) == 3 else REVALIDATED,
        fields=fields,
    )


def _digest(members: Sequence[Held], choices: Sequence[Choice]) -> bytes:
    """Name what is sent: the stored bytes of all instances and the syntax of each."""
    hashed = blake2b(digest_size=16)
    for held, choice in zip(members, choices, strict=True):
        hashed.update(held.digest)
        hashed.update(choice.syntax.encode())
    return hashed.digest()


def _body(retrieval: Retrieval, members: Sequence[Held], choices: Sequence[Choice], etag: str, base: str) -> Body:
    first = choices[0]
    if first.media_type == ZIP:
        return _zip(retrieval, members, choices)
    if first.multipart:
        return _parts(retrieval, members, choices, etag, base)
    return bodies.single(retrieval.object(members[0], first.syntax))


def _parts(retrieval: Retrieval, members: Sequence[Held], choices: Sequence[Choice], etag: str, base: str) -> Body:
    def contents() -> Iterator[Content]:
        return (retrieval.object(held, choice.syntax) for held, choice in zip(members, choices, strict=True))

    if len(members) <= DESCRIBED:
        described = list(contents())
        return bodies.multiple(lambda: described, etag, base)
    return bodies.multiple(contents, etag, base, _copied(retrieval, members, choices))


def _zip(retrieval: Retrieval, members: Sequence[Held], choices: Sequence[Choice]) -> Body:
    def entries() -> Iterator[zipped.Entry]:
        return (retrieval.entry(held, choice.syntax) for held, choice in zip(members, choices, strict=True))

    known = len(members) <= DESCRIBED or _copied(retrieval, members, choices)
    return Body(ZIP, lambda: zipped.write(entries()), zipped.size_of(entries()) if known else None)


def _copied(retrieval: Retrieval, members: Iterable[Held], choices: Iterable[Choice]) -> bool:
    return all(retrieval.copies(held, choice.syntax) for held, choice in zip(members, choices, strict=True))
