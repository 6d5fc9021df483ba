"""What a request asks for: the UIDs of its path, and what its client accepts (PS3.18 10.1.1, 8.7.5).

Viewers send thousands of requests with one and the same Accept header; reading it and choosing a form costs
more than the index lookup of a frame, so both are remembered.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import _lru_cache_wrapper, lru_cache
from typing import TypeVar

from starlette.requests import Request

from dicomweb.archive.making import pixel_source
from dicomweb.archive.retrieve import Retrieval
from dicomweb.index import Held
from dicomweb.standard import negotiation, resources
from dicomweb.standard.frames import Layout
from dicomweb.standard.media import AS_STORED, EXPLICIT, Accepted, read_accept
from dicomweb.standard.negotiation import Choice, Document, Source
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import syntax_of

T = TypeVar("T")

_REMEMBERED = 600
"""Headers longer than this are read each time, so that nobody fills the memory with them."""


def read_uids(request: Request) -> tuple[str, ...]:
    """Return the UIDs of the path: of a study, of a series in it, of an instance in that.

    Raises:
        BadRequest: one of them is none.
    """
    params = request.path_params
    return tuple(resources.read_uid(params[name]) for name in ("study", "series", "instance") if name in params)


def read_accepted(request: Request) -> Accepted:
    """Return what the Accept header and the `accept` parameter of a request say."""
    return _remembered(_read, request)


def choose_document(request: Request) -> Document:
    """Choose the form of metadata; see `negotiation.for_metadata`.

    Raises:
        NotAcceptable: as there.
    """
    return _remembered(_choose_document, request)


def choose_frames(request: Request, held: Held, layout: Layout, single: bool, decodable: bool = True) -> Choice:
    """Choose the form of frames; see `negotiation.for_frames`.

    Args:
        request: whose client accepts something.
        held: the instance.
        layout: of the instance.
        single: one frame is asked for.
        decodable: False where it has been tried to decode them, in vain.

    Raises:
        NotAcceptable, BadRequest: as there.
    """
    format = layout.format if decodable else None
    return _remembered(_choose_frames, request, held.syntax, layout.kind, format, single)


def choose_instances(request: Request, members: Sequence[Held], single: bool, decodable: bool = True) -> list[Choice]:
    """Choose the form of whole instances; see `negotiation.for_instances`.

    Args:
        request: whose client accepts something.
        members: the instances.
        single: the target is one instance.
        decodable: False where it has been tried to decode them, in vain.

    Raises:
        NotAcceptable, BadRequest: as there.
    """
    retrieval: Retrieval = request.app.state.retrieval
    native, encapsulated = _transcoding(read_accepted(request)) if decodable else (False, False)
    sources = [
        retrieval.source(held, encapsulated if syntax_of(held.syntax).encapsulated else native) for held in members
    ]
    distinct = tuple(dict.fromkeys(sources))
    chosen = _remembered(_choose_instances, request, distinct, single)
    if len(distinct) == 1:
        return [chosen[0]] * len(members)
    of = dict(zip(distinct, chosen, strict=True))
    return [of[source] for source in sources]


@lru_cache(maxsize=512)
def _transcoding(accepted: Accepted) -> tuple[bool, bool]:
    """Say whether other transfer syntaxes than the stored one can matter for native and for compressed objects."""
    syntaxes = {entry.syntax for entry in (*accepted.query, *accepted.header) if entry.q > 0}
    return bool(syntaxes - {"", AS_STORED, EXPLICIT}), bool(syntaxes - {AS_STORED})


def _remembered(choose: "_lru_cache_wrapper[T]", request: Request, *facts: Hashable) -> T:
    """Call `choose` with what the client accepts and these facts; pass its memory by for headers so long that
    they could fill it."""
    header = ",".join(value.decode("latin-1") for name, value in request.scope["headers"] if name == b"accept")
    query: tuple[str, ...] = ()
    if b"accept" in request.scope["query_string"]:
        query = tuple(request.query_params.getlist("accept"))
    if len(header) + sum(map(len, query)) > _REMEMBERED:
        plain: Callable[..., T] = choose.__wrapped__
        return plain(header, query, *facts)
    return choose(header, query, *facts)


@lru_cache(maxsize=512)
def _read(header: str, query: tuple[str, ...]) -> Accepted:
    return read_accept(header or None, query)


@lru_cache(maxsize=512)
def _choose_document(header: str, query: tuple[str, ...]) -> Document:
    return negotiation.for_metadata(_read(header, query))


@lru_cache(maxsize=1024)
def _choose_frames(
    header: str, query: tuple[str, ...], syntax: str, kind: str, format: Format | None, single: bool
) -> Choice:
    return negotiation.for_frames(_read(header, query), pixel_source(syntax, kind, format), single)


@lru_cache(maxsize=512)
def _choose_instances(
    header: str, query: tuple[str, ...], sources: tuple[Source, ...], single: bool
) -> tuple[Choice, ...]:
    return tuple(negotiation.for_instances(_read(header, query), sources, single))
