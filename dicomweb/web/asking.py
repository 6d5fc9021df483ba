"""What a request asks for: the UIDs of its path, and what its client accepts (PS3.18 10.1.1, 8.7.5).

Viewers send thousands of requests with one and the same Accept header; reading it and choosing a form costs
more than the index lookup of a frame, so both are remembered.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import _lru_cache_wrapper, lru_cache
from typing import TypeVar

from starlette.requests import Request

from dicomweb.archive.making import object_source, pixel_source
from dicomweb.standard import negotiation, resources
from dicomweb.standard.media import Accepted, read_accept
from dicomweb.standard.negotiation import Choice, Document

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


def choose_frames(request: Request, syntax: str, kind: str, single: bool) -> Choice:
    """Choose the form of frames; see `negotiation.for_frames`.

    Args:
        request: whose client accepts something.
        syntax: transfer syntax as stored.
        kind: of the instance's layout.
        single: one frame is asked for.

    Raises:
        NotAcceptable, BadRequest: as there.
    """
    return _remembered(_choose_frames, request, syntax, kind, single)


def choose_instances(request: Request, syntaxes: Sequence[str], single: bool) -> list[Choice]:
    """Choose the form of whole instances; see `negotiation.for_instances`.

    Args:
        request: whose client accepts something.
        syntaxes: transfer syntax of each instance as stored.
        single: the target is one instance.

    Raises:
        NotAcceptable, BadRequest: as there.
    """
    distinct = tuple(dict.fromkeys(syntaxes))
    chosen = _remembered(_choose_instances, request, distinct, single)
    if len(distinct) == 1:
        return [chosen[0]] * len(syntaxes)
    of = dict(zip(distinct, chosen, strict=True))
    return [of[syntax] for syntax in syntaxes]


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
def _choose_frames(header: str, query: tuple[str, ...], syntax: str, kind: str, single: bool) -> Choice:
    return negotiation.for_frames(_read(header, query), pixel_source(syntax, kind), single)


@lru_cache(maxsize=512)
def _choose_instances(
    header: str, query: tuple[str, ...], syntaxes: tuple[str, ...], single: bool
) -> tuple[Choice, ...]:
    sources = [object_source(syntax) for syntax in syntaxes]
    return tuple(negotiation.for_instances(_read(header, query), sources, single))
