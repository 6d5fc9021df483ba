"""What a request asks for: the UIDs of its path, and what its client accepts (PS3.18 10.1.1, 8.7.5).

Viewers send thousands of requests with one and the same Accept header; reading it and choosing a form costs
more than the index lookup of a frame, so both are remembered.
"""

from functools import lru_cache

from starlette.requests import Request

from dicomweb.archive.making import pixel_source
from dicomweb.standard import negotiation, resources
from dicomweb.standard.media import Accepted, read_accept
from dicomweb.standard.negotiation import Choice

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
    header, query = _words(request)
    if len(header) + sum(map(len, query)) > _REMEMBERED:
        return read_accept(header or None, query)
    return _read(header, query)


def choose_frames(request: Request, syntax: str, kind: str, single: bool) -> Choice:
    """Choose the form of frames; see `negotiation.for_frames`.

    Args:
        request: whose client accepts something.
        syntax: transfer syntax as stored.
        kind: of the instance's layout.
        single: one frame is asked for.

    Raises:
        NotAcceptable, BadRequest: as `negotiation.for_frames`.
    """
    header, query = _words(request)
    if len(header) + sum(map(len, query)) > _REMEMBERED:
        return negotiation.for_frames(read_accept(header or None, query), pixel_source(syntax, kind), single)
    return _choose_frames(header, query, syntax, kind, single)


def _words(request: Request) -> tuple[str, tuple[str, ...]]:
    header = ",".join(value.decode("latin-1") for name, value in request.scope["headers"] if name == b"accept")
    if b"accept" not in request.scope["query_string"]:
        return header, ()
    return header, tuple(request.query_params.getlist("accept"))


@lru_cache(maxsize=512)
def _read(header: str, query: tuple[str, ...]) -> Accepted:
    return read_accept(header or None, query)


@lru_cache(maxsize=1024)
def _choose_frames(header: str, query: tuple[str, ...], syntax: str, kind: str, single: bool) -> Choice:
    return negotiation.for_frames(_read(header, query), pixel_source(syntax, kind), single)
