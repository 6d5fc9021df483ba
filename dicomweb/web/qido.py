"""QIDO-RS: the Search transaction of the Studies service (PS3.18 10.6), our `/patients`, and `/lookup`.

A handler makes one hop into a thread, where the query is read, searched and written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive.search import SearchResult, lookup, search
from dicomweb.errors import BadQuery
from dicomweb.index import COUNT_LIMIT
from dicomweb.standard import dicomjson, media, multipart, nativexml, resources
from dicomweb.standard.attributes import Level
from dicomweb.standard.negotiation import for_metadata
from dicomweb.standard.query import Limits, Query, read_qido, split
from dicomweb.web import bodies
from dicomweb.web.addresses import base_url
from dicomweb.web.threads import hop_index
from dicomweb.web.warnings import write_warning

if TYPE_CHECKING:
    from dicomweb.archive.archive import Archive

_LOOKUP_MOST = 100
_LONGEST_IDENTIFIER = 256


async def search_patients(request: Request) -> Response:
    """GET /patients: patients by ID and issuer, an extension that takes the parameters of /studies."""
    return await hop_index(_answer, request, "patient")


async def search_studies(request: Request) -> Response:
    """GET /studies (PS3.18 10.6.1.1)."""
    return await hop_index(_answer, request, "study")


async def search_series(request: Request) -> Response:
    """GET /series and /studies/{study}/series (PS3.18 10.6.1.1)."""
    return await hop_index(_answer, request, "series")


async def search_instances(request: Request) -> Response:
    """GET /instances, /studies/{study}/instances and /studies/{study}/series/{series}/instances
    (PS3.18 10.6.1.1)."""
    return await hop_index(_answer, request, "instance")


async def look_up(request: Request) -> Response:
    """GET /lookup?q=: the resources that a Patient ID, Accession Number or UID names; an extension.

    The answer is an object with `query`, the text, and `results`, see `archive.search.lookup`.
    """
    return await hop_index(_answer_lookup, request)


def _answer(request: Request, level: Level) -> Response:
    archive: Archive = request.app.state.archive
    asked = read(request, level)
    base = base_url(request)
    return write(request, asked, search(archive.index, asked.query, base), base)


@dataclass(frozen=True, slots=True)
class Asked:
    """A search as it was asked for: the query, its parameters, the form of the answer ("json" or "xml")."""

    query: Query
    params: list[tuple[str, str]]
    form: str


def read(request: Request, level: Level) -> Asked:
    """Read a search (PS3.18 10.6.1).

    Raises:
        BadQuery, BadIdentity: it is malformed.
        NotAcceptable: the client takes neither JSON nor XML.
    """
    archive: Archive = request.app.state.archive
    params = split(request.scope["query_string"])
    wanted = [unquote(value) for name, value in params if name == "accept"]
    form = for_metadata(media.read_accept(request.headers.get("accept"), wanted))
    study, series = (_uid(request, name) for name in ("study", "series"))
    limits = Limits(archive.config.search_page, archive.config.search_page_limit)
    return Asked(read_qido(level, study, series, params, limits), params, form)


def write(request: Request, asked: Asked, result: SearchResult, base: str) -> Response:
    """Write the answer of a search (PS3.18 10.6.3)."""
    query = asked.query
    fields = _fields(result, base, _path(query.level, query.study, query.series), asked.params)
    if not result.rows and (asked.form == "xml" or request.app.state.archive.config.empty_search_status == 204):
        # A multipart body has one part at least, so an empty answer in XML has no body (PS3.18 8.6.1.2.1).
        cache = [(b"cache-control", bodies.REVALIDATED), (b"vary", b"Accept")]
        return bodies.Answer(204, [*cache, *fields])
    if asked.form == "xml":
        data, content_type = _write_xml(result)
    else:
        data, content_type = _write_json(result), media.JSON
    return bodies.document(request, data, content_type, fields=fields)


def _uid(request: Request, name: str) -> str | None:
    text = request.path_params.get(name)
    return None if text is None else resources.read_uid(text)


def _path(level: Level, study: str | None, series: str | None) -> str:
    collection = {"patient": "patients", "study": "studies", "series": "series", "instance": "instances"}[level]
    above = (f"/studies/{study}" if study else "") + (f"/series/{series}" if series else "")
    return f"{above}/{collection}"


def _write_json(result: SearchResult) -> bytes:
    try:
        return orjson.dumps(result.rows)
    except TypeError:
        return dicomjson.write_all(result.rows)


def _write_xml(result: SearchResult) -> tuple[bytes, str]:
    """One part per result (PS3.18 10.6.4, W-345)."""
    documents = [(media.XML, nativexml.write(row)) for row in result.rows]
    boundary = multipart.boundary_for(bodies.tag(documents))
    return multipart.write(boundary, documents), multipart.write_type(boundary, media.XML)


def _fields(result: SearchResult, base: str, path: str, params: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Warnings (PS3.18 8.3.4.4.1), and where the next page is (RFC 8288)."""
    warnings = list(result.warnings)
    if result.remaining:
        count = f"at least {COUNT_LIMIT}" if result.remaining >= COUNT_LIMIT else str(result.remaining)
        warnings.insert(0, f"There are {count} additional results that can be requested")
    fields = [(b"warning", write_warning(base, text)) for text in warnings]
    if result.cursor is not None:
        kept = [f"{name}={value}" for name, value in params if name not in ("cursor", "offset")]
        query = "&".join([*kept, f"cursor={quote(result.cursor, safe='')}"])
        target = quote(f"{base}{path}?{query}", safe="%:/?&=+,*[]!$()@;~'")
        fields.append((b"link", f'<{target}>; rel="next"'.encode("ascii")))
    return fields


def _answer_lookup(request: Request) -> Response:
    archive: Archive = request.app.state.archive
    values = [value.strip() for value in request.query_params.getlist("q")]
    if len(values) != 1 or not values[0]:
        raise BadQuery("lookup takes one identifier: /lookup?q=IDENTIFIER")
    if len(values[0]) > _LONGEST_IDENTIFIER or "\0" in values[0]:
        raise BadQuery(f"an identifier has at most {_LONGEST_IDENTIFIER} characters, none of them NUL")
    results = lookup(archive.index, values[0], base_url(request), _LOOKUP_MOST)
    data = orjson.dumps({"query": values[0], "results": results})
    return bodies.document(request, data, "application/json")
