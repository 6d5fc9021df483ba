"""WADO-RS: the Retrieve transaction of the Studies service (PS3.18 10.4).

A handler makes one hop into a thread, where the resource is found, its form chosen, and what is small read. What
has to be made in the workshop first goes on in a thread of those that may wait long. An entity tag is made of
digests of what is stored and of the form, so that a client that has it already costs no storage access.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive import making, sealed, zipped
from dicomweb.archive.content import Content
from dicomweb.archive.retrieve import PREPARED, Retrieval, path_of
from dicomweb.errors import NotAcceptable, Undecodable
from dicomweb.index import Held
from dicomweb.standard import frames as frame_lists
from dicomweb.standard.frames import Layout
from dicomweb.standard.media import JSON, ZIP
from dicomweb.standard.negotiation import Choice, Document, described_syntax, wants_bulkdata
from dicomweb.web import bodies, bulkdata
from dicomweb.web.addresses import base_url
from dicomweb.web.asking import choose_document, choose_frames, choose_instances, read_accepted, read_uids
from dicomweb.web.bodies import Body
from dicomweb.web.threads import hop_index_twice, hop_twice

DESCRIBED = 16
"""Up to so many instances or frames are described before the answer begins, also where that means reading them;
of more the length of the answer is not told unless it costs nothing."""

METADATA_REVISION = 1
"""Counts changes in how the same stored metadata is written, so that clients fetch it anew."""


async def frames(request: Request) -> Response:
    """GET {instance}/frames/{frames}: frames, one part each, or a bare one (PS3.18 10.4.1.1.6)."""
    return await hop_twice(_frames, request)


async def metadata(request: Request) -> Response:
    """GET {study, series or instance}/metadata (PS3.18 10.4.1.1.2)."""
    return await hop_index_twice(_metadata, request)


async def instances(request: Request) -> Response:
    """GET {study}, {series} or {instance}: Part 10 files as parts, bare, or in a ZIP (PS3.18 10.4.1.1.1)."""
    return await hop_twice(_instances, request)


def _frames(request: Request) -> Response | Callable[[], Response]:
    numbers = frame_lists.read_list(request.path_params["frames"])
    retrieval: Retrieval = request.app.state.retrieval
    held = retrieval.locate(*read_uids(request))
    layout = retrieval.layout(held)
    retrieval.check_frames(layout, numbers)
    single = len(numbers) == 1
    choice = choose_frames(request, held, layout, single)
    if retrieval.ready(held, layout, numbers[:PREPARED], choice.syntax):
        return _answer_frames(request, held, layout, numbers, choice)

    def make() -> Response:
        try:
            retrieval.prepare(held, layout, numbers, choice.syntax)
        except Undecodable as error:
            try:
                stored = choose_frames(request, held, layout, single, decodable=False)
            except NotAcceptable:
                raise error from None
            return _answer_frames(request, held, layout, numbers, stored)
        return _answer_frames(request, held, layout, numbers, choice)

    return make


def _answer_frames(request: Request, held: Held, layout: Layout, numbers: Sequence[int], choice: Choice) -> Response:
    retrieval: Retrieval = request.app.state.retrieval
    base = base_url(request)
    form = (choice.media_type, choice.syntax, choice.multipart, base)
    etag = bodies.tag("frames", held.digest, numbers, form, *_revision(choice.syntax != held.syntax))
    if choice.multipart:
        return bodies.respond(
            request,
            lambda: _frame_parts(retrieval, held, layout, numbers, choice, etag, base),
            retrieval.read,
            etag=etag,
        )
    where = f"{base}/{path_of(held)}/frames/{numbers[0]}"
    return bodies.respond(
        request,
        lambda: bodies.single(next(retrieval.frames(held, layout, numbers, choice.media_type, choice.syntax))),
        retrieval.read,
        etag=etag,
        fields=[(b"content-location", where.encode("latin-1"))],
    )


def _frame_parts(
    retrieval: Retrieval, held: Held, layout: Layout, numbers: Sequence[int], choice: Choice, etag: str, base: str
) -> Body:
    """Frames as parts. A few that have to be made are made before the answer begins; more are made one after the
    other as they are sent, and the length of the answer is not told unless it is known without making them."""

    def contents() -> Iterable[Content]:
        return retrieval.frames(held, layout, numbers, choice.media_type, choice.syntax)

    if retrieval.sizes_known(held, layout, choice.syntax):
        return bodies.multiple(contents, etag, base)
    if len(numbers) > PREPARED:
        return bodies.multiple(contents, etag, base, False)
    made = list(contents())
    return bodies.multiple(lambda: made, etag, base)


def _revision(transcoded: bool) -> tuple[int, ...]:
    return (making.REVISION,) if transcoded else ()


def _metadata(request: Request) -> Response | Callable[[], Response]:
    form = choose_document(request)
    retrieval: Retrieval = request.app.state.retrieval
    members = retrieval.members(*read_uids(request))
    base = base_url(request)
    syntax = described_syntax(read_accepted(request), form)
    if syntax:
        return lambda: _answer_described(request, members, form, syntax)
    etag = bodies.tag("metadata", METADATA_REVISION, form, base, sealed.names(members))
    if form == "xml":
        return bodies.respond(
            request,
            lambda: bodies.multiple(lambda: retrieval.documents(members, base), etag, base, known=len(members) == 1),
            retrieval.read,
            etag=etag,
        )
    zipped_ = bodies.accepts_gzip(request.headers.get("accept-encoding"))
    return bodies.respond(
        request,
        lambda: _json(retrieval, members, base, zipped_, request.method == "HEAD"),
        retrieval.read,
        etag=bodies.zipped_tag(etag) if zipped_ else etag,
        fields=[(b"content-encoding", b"gzip")] if zipped_ else [],
        vary=b"Accept, Accept-Encoding",
    )


def _answer_described(request: Request, members: Sequence[Held], form: Document, syntax: str) -> Response:
    """Metadata as they are of instances in another transfer syntax than the stored one."""
    retrieval: Retrieval = request.app.state.retrieval
    base = base_url(request)
    etag = bodies.tag("metadata", METADATA_REVISION, form, base, sealed.names(members), syntax, making.REVISION)

    def texts() -> Iterator[bytes]:
        return itertools.chain((b"[",), retrieval.described(members, syntax, base), (b"]",))

    def body() -> Body:
        if form == "xml":
            return bodies.multiple(lambda: retrieval.documents(members, base, syntax), etag, base, known=False)
        return Body(JSON, texts, None)

    return bodies.respond(request, body, retrieval.read, etag=etag)


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


def _instances(request: Request) -> Response | Callable[[], Response]:
    uids = read_uids(request)
    retrieval: Retrieval = request.app.state.retrieval
    members = retrieval.members(*uids)
    try:
        choices = choose_instances(request, members, len(uids) == 3)
    except NotAcceptable:
        if wants_bulkdata(read_accepted(request)):
            return lambda: bulkdata.respond_values(request, None)
        raise
    if not any(retrieval.transcodes(held, choice.syntax) for held, choice in zip(members, choices, strict=True)):
        return _answer_instances(request, uids, members, choices, [""] * len(members))

    def make() -> Response:
        try:
            stored = choose_instances(request, members, len(uids) == 3, decodable=False)
        except NotAcceptable:
            return _answer_instances(request, uids, members, choices, [""] * len(members))
        alike = (stored[0].media_type, stored[0].multipart) == (choices[0].media_type, choices[0].multipart)
        others = [choice.syntax if alike else "" for choice in stored]
        return _answer_instances(request, uids, members, choices, others)

    return make


def _answer_instances(
    request: Request, uids: Sequence[str], members: Sequence[Held], choices: Sequence[Choice], others: Sequence[str]
) -> Response:
    """Answer with instances in the syntaxes that were chosen, or in the other ones where pixels are undecodable."""
    retrieval: Retrieval = request.app.state.retrieval
    first = choices[0]
    base = base_url(request)
    made = any(choice.syntax != held.syntax for held, choice in zip(members, choices, strict=True))
    form = (first.media_type, first.multipart, base, _digest(members, choices), any(others), *_revision(made))
    etag = bodies.tag("instances", *form)
    fields = []
    if not first.multipart:
        name = f"{uids[-1]}.{'zip' if first.media_type == ZIP else 'dcm'}"
        fields.append((b"content-disposition", f'attachment; filename="{name}"'.encode("latin-1")))
    if len(uids) == 3:
        fields.append((b"content-location", f"{base}/{path_of(members[0])}".encode("latin-1")))
    wanted = [(held, choice.syntax, other) for held, choice, other in zip(members, choices, others, strict=True)]
    return bodies.respond(
        request,
        lambda: _body(retrieval, wanted, first, etag, base),
        retrieval.read,
        etag=etag,
        fields=fields,
    )


Wanted: TypeAlias = tuple[Held, str, str]
"""An instance, the transfer syntax to send it in, and the one to send it in if it cannot be decoded."""


def _digest(members: Sequence[Held], choices: Sequence[Choice]) -> bytes:
    """Name what is sent: the stored bytes of all instances and the syntax of each."""
    hashed = blake2b(digest_size=16)
    for held, choice in zip(members, choices, strict=True):
        hashed.update(held.digest)
        hashed.update(choice.syntax.encode())
    return hashed.digest()


def _body(retrieval: Retrieval, wanted: Sequence[Wanted], first: Choice, etag: str, base: str) -> Body:
    if first.media_type == ZIP:
        return _zip(retrieval, wanted)
    if first.multipart:
        return _parts(retrieval, wanted, etag, base)
    return bodies.single(retrieval.object(*wanted[0]))


def _parts(retrieval: Retrieval, wanted: Sequence[Wanted], etag: str, base: str) -> Body:
    def contents() -> Iterator[Content]:
        return (retrieval.object(*each) for each in wanted)

    if len(wanted) <= DESCRIBED:
        described = list(contents())
        return bodies.multiple(lambda: described, etag, base)
    return bodies.multiple(contents, etag, base, _copied(retrieval, wanted))


def _zip(retrieval: Retrieval, wanted: Sequence[Wanted]) -> Body:
    def entries() -> Iterator[zipped.Entry]:
        return (retrieval.entry(*each) for each in wanted)

    known = len(wanted) <= DESCRIBED or _copied(retrieval, wanted)
    return Body(ZIP, lambda: zipped.write(entries()), zipped.size_of(entries()) if known else None)


def _copied(retrieval: Retrieval, wanted: Iterable[Wanted]) -> bool:
    return all(retrieval.copies(held, syntax) for held, syntax, _ in wanted)
