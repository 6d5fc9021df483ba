"""DICOMweb in front of a node: `/aets/{aet}/studies...` is asked as `/dicom-web/studies...` is, and answered by the
node (PS3.18 10).

A search becomes C-FIND there. What is retrieved is fetched by the bridge into an archive beside ours
(`archive.visits`), and answered from there by the very handlers of the archive. What is stored becomes C-STORE. For a
node that speaks DICOMweb itself, the same by QIDO-RS, WADO-RS and STOW-RS.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from re import Pattern
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import unquote_plus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope

from dicomweb.archive.archive import Archive
from dicomweb.archive.search import SearchResult, present
from dicomweb.archive.spool import Upload
from dicomweb.archive.visits import Visits
from dicomweb.errors import BadRequest, TooBroad, Unavailable
from dicomweb.index import Row
from dicomweb.standard import keys as asking
from dicomweb.standard import multipart, outcomes, resources
from dicomweb.standard.attributes import Level
from dicomweb.standard.dicomjson import text
from dicomweb.standard.keys import INSTANCE, SERIES, STUDY
from dicomweb.standard.nodes import Node, write_node
from dicomweb.standard.outcomes import Outcome
from dicomweb.standard.query import Query
from dicomweb.web import qido, stow
from dicomweb.web.addresses import DICOMWEB, Addresses
from dicomweb.web.auditing import note
from dicomweb.web.bridge import Bridge, Call
from dicomweb.web.methods import Methods
from dicomweb.web.remembered import Answer, Remembered
from dicomweb.web.threads import departure, hop, hop_elsewhere, hop_index

_MOST_FOUND = 10_000
"""Answers of one C-FIND; then it is cancelled, and the client told."""
_MOST_PARENTS = 200
"""Studies or series that a search below them without their UID is asked in."""
_CURSOR = "after-"
_PIECE = 1 << 18
_OBJECT = "application/dicom"

Dataset = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]

_SEARCHES: dict[Any, Level] = {
    qido.search_patients: "patient",
    qido.search_studies: "study",
    qido.search_series: "series",
    qido.search_instances: "instance",
}


@dataclass(frozen=True, slots=True)
class _Mirrored:
    """A route of the archive: how its path looks below a base, and who answers."""

    pattern: Pattern[str]
    handlers: Mapping[str, Handler]


def in_front(table: Sequence[tuple[str, Methods]]) -> tuple[Methods, Methods]:
    """Make the resources that mirror the archive's own.

    Args:
        table: path and methods of everything below /dicom-web.

    Returns:
        What answers `/aets/{aet}/{resource}`, and for the bridge alone `/aets/{aet}/visit/{resource}`, by which it
        stores what it fetches.
    """
    mirrored = [
        _Mirrored(compile_path(path.removeprefix(DICOMWEB))[0], methods.handlers)
        for path, methods in table
        if path.startswith(f"{DICOMWEB}/")
    ]

    remembered = Remembered()

    async def get(request: Request) -> Response:
        handler, params = _match(mirrored, request, "GET")
        if handler in _SEARCHES:
            call = Call()
            inner = _inner(request, params, call=call)
            return await _unless_left(
                request.receive, hop_elsewhere(_search, inner, _SEARCHES[handler], remembered), call
            )
        if "study" not in params:
            raise HTTPException(404)
        inner = await hop_elsewhere(_fetch, request, params)
        return await handler(inner)

    async def post(request: Request) -> Response:
        handler, params = _match(mirrored, request, "POST")
        if handler is not stow.store:
            raise HTTPException(404)
        node = await hop_index(request.app.state.nodes.get, request.path_params["aet"])
        archive = _Forwarding(request.app.state.archive, node, request.app.state.bridge)
        return await stow.receive(_inner(request, params, archive=archive), hop_elsewhere)

    async def visit(request: Request) -> Response:
        request.app.state.bridge.check(request)
        handler, params = _match(mirrored, request, request.method)
        return await handler(await hop(_visiting, request, params))

    return Methods(GET=get, POST=post), Methods(GET=visit, POST=visit)


async def _unless_left(receive: Receive, work: Awaitable[Response], call: Call) -> Response:
    """Wait for an answer; a client that leaves meanwhile stops what the bridge is asked for it."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(departure(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            call.stop()
        return await working
    finally:
        leaving.cancel()


def _match(mirrored: Sequence[_Mirrored], request: Request, method: str) -> tuple[Handler, dict[str, str]]:
    """Find who answers a resource; what it names is recorded.

    Raises:
        HTTPException: nobody does.
    """
    known = False
    method = "GET" if method == "HEAD" else method
    for one in mirrored:
        if (match := one.pattern.match(f"/{request.path_params['resource']}")) is None:
            continue
        if method in one.handlers:
            params = match.groupdict()
            note(request, **{name: params[name] for name in ("study", "series", "instance") if name in params})
            return one.handlers[method], params
        known = True
    raise HTTPException(405 if known else 404)


class _BelowNode:
    """Addresses below `/aets/{aet}` in place of /dicom-web."""

    def __init__(self, addresses: Addresses, node: str) -> None:
        self._addresses = addresses
        self._node = node

    def root(self, scope: Scope) -> str:
        """See Addresses."""
        return self._addresses.root(scope)

    def dicomweb(self, scope: Scope) -> str:
        """See Addresses."""
        return f"{self._addresses.root(scope)}/aets/{self._node}"


def _inner(request: Request, params: Mapping[str, str], **state: Any) -> Request:
    """The request as a handler of the archive sees it, with other parts behind it."""
    ours = request.app.state
    addresses = _BelowNode(ours.addresses, request.path_params["aet"])
    inner = {name: getattr(ours, name) for name in ("archive", "retrieval", "renderer", "nodes", "bridge")}
    app = SimpleNamespace(state=SimpleNamespace(**{**inner, "addresses": addresses, **state}))
    aet = request.path_params["aet"]
    scope = {**request.scope, "app": app, "path_params": {**params}, "roentgate.aet": aet}
    return Request(scope, request.receive)


def _visiting(request: Request, params: Mapping[str, str]) -> Request:
    """The request as it is answered from what was fetched."""
    node: Node = request.app.state.nodes.get(request.path_params["aet"])
    visited = request.app.state.visits.of(node.name)
    return _inner(request, params, archive=visited.archive, retrieval=visited.retrieval, renderer=visited.renderer)


# -- retrieving ----------------------------------------------------------------------------------------------
def _fetch(request: Request, params: Mapping[str, str]) -> Request:
    """Fetch what is asked for from the node, unless that was done lately, and return the request on it.

    Raises:
        NotFound: the node has no such thing.
        Unavailable: it could not be fetched as a whole.
    """
    node: Node = request.app.state.nodes.get(request.path_params["aet"])
    visits: Visits = request.app.state.visits
    uids = {name: resources.read_uid(params[name]) for name in ("study", "series", "instance") if name in params}
    resource = "/".join(uids.values())
    if not visits.has(node.name, resource):
        with visits.fetching(node.name, uids["study"]):
            if not visits.has(node.name, resource):
                _bring(request.app.state.bridge, node, uids)
                visits.record(node.name, resource)
    return _visiting(request, params)


def _bring(bridge: Bridge, node: Node, uids: Mapping[str, str]) -> None:
    asked = {"node": write_node(node, secrets=True), "resource": uids, "into": f"/aets/{node.name}/visit"}
    for told in bridge.ask("/retrieve", asked):
        if told["failed"]:
            reason = told["failures"][0]["reason"] if told["failures"] else "it does not say why"
            raise Unavailable(
                f"{told['failed']:,} of {told['total']:,} instances did not come from {node.name}: {reason}"
            )


# -- searching -----------------------------------------------------------------------------------------------
def _search(request: Request, level: Level, remembered: Remembered) -> Response:
    node: Node = request.app.state.nodes.get(request.scope["roentgate.aet"])
    bridge: Bridge = request.app.state.bridge
    call: Call = request.app.state.call
    asked = qido.read(request, level)
    base = request.app.state.addresses.dicomweb(request.scope)
    if node.kind == "dicomweb":
        if asked.query.cursor:
            raise BadRequest("searches at a DICOMweb server elsewhere have no cursor here; use offset")
        return qido.write(request, asked, _pass_on(bridge, node, asked, base, call), base)
    first = _read_cursor(asked.query.cursor) if asked.query.cursor else asked.query.offset
    key = (node, level, asked.query.study, asked.query.series, _apart_from_page(asked.params))
    answer = remembered.find(key) if first else None
    if answer is None:
        search = _Asking(bridge, call, node, asked.query, asking.read_asked(asked.query, asked.params))
        rows = asking.ordered(asked.query, search.rows())
        answer = Answer(rows, (*asked.query.warnings, *search.warnings()))
    last = first + asked.query.limit
    remaining = max(len(answer.rows) - last, 0)
    if remaining:
        remembered.keep(key, answer)
    page = present(asked.query, base, [_row(level, row) for row in answer.rows[first:last]])
    cursor = f"{_CURSOR}{last}" if remaining and asked.query.limit else None
    return qido.write(request, asked, SearchResult(page, remaining, cursor, answer.warnings), base)


def _apart_from_page(params: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in params if pair[0] not in ("limit", "offset", "cursor"))


def _read_cursor(cursor: str) -> int:
    """Read how many rows of an answer came before. Raises BadRequest."""
    count = cursor.removeprefix(_CURSOR)
    if count == cursor or not count.isascii() or not count.isdigit() or len(count) > 9:
        raise BadRequest("the cursor is not from an answer of this node")
    return int(count)


def _row(level: Level, dataset: Dataset) -> Row:
    return Row(level, text(dataset, STUDY), text(dataset, SERIES), text(dataset, INSTANCE), 0, dataset)


class _Asking:
    """One search at one node, by C-FIND from level to level (PS3.4 C.4.1.2.1)."""

    def __init__(self, bridge: Bridge, call: Call, node: Node, query: Query, asked: asking.Asked) -> None:
        self._bridge = bridge
        self._call = call
        self._node = write_node(node, secrets=True)
        self._query = query
        self._asked = asked
        self._unknown: set[str] = set()
        self._cut = False

    def rows(self) -> list[Dataset]:
        """Return everything that matches.

        Raises:
            TooBroad: it would have to be asked for in too many studies or series.
        """
        found = self._find(self._query.level)
        matching = []
        for row in found:
            self._unknown |= {f"{key.tag:08X}" for key in asking.unchecked(self._query.keys, row)}
            if asking.matches(self._query.keys, row):
                matching.append(row)
        return matching

    def warnings(self) -> Iterator[str]:
        """Yield what the client should know of the answer."""
        if self._unknown:
            names = ", ".join(sorted(self._unknown))
            yield f"The node does not tell these attributes, so that nobody can say whether they match: {names}"
        if self._cut:
            yield f"The node has more than {_MOST_FOUND:,} answers; the others were left out"

    def _find(self, level: Level) -> list[Dataset]:
        fixed = {STUDY: self._asked.study, SERIES: self._asked.series}
        if level in ("patient", "study"):
            return self._ask(level, {})
        if level == "series":
            parents = self._parents("study", [STUDY], fixed)
        else:
            parents = self._parents("series", [STUDY, SERIES], fixed)
        if len(parents) > _MOST_PARENTS:
            raise TooBroad(
                f"the node would have to be asked in {len(parents):,} places; add a key such as StudyInstanceUID or"
                " PatientID, StudyDate, Modality"
            )
        found = []
        for parent in parents:
            uids = {tag: text(parent, tag) for tag in ((STUDY,) if level == "series" else (STUDY, SERIES))}
            for row in self._ask(level, uids):
                found.append({**parent, **{tag: one for tag, one in row.items() if len(one) > 1 or tag not in parent}})
        return found

    def _parents(self, level: Level, unique: Sequence[str], fixed: Mapping[str, str]) -> list[Dataset]:
        """The studies or series to ask in: those that are named, else those that match what is asked of them."""
        if self._named(unique, fixed):
            return [{tag: {"vr": "UI", "Value": [fixed[tag]]} for tag in unique}]
        return self._find(level)

    def _named(self, unique: Sequence[str], fixed: Mapping[str, str]) -> bool:
        """Whether the path names them; where it does not, their own attributes are part of the answer."""
        by_path = {STUDY: self._query.study, SERIES: self._query.series}
        return all(fixed[tag] and by_path[tag] for tag in unique)

    def _ask(self, level: Level, uids: Mapping[str, str]) -> list[Dataset]:
        keys = self._asked.at(level, self._query)
        if level == "study" and self._asked.study:
            uids = {STUDY: self._asked.study, **uids}
        if level == "series" and self._asked.series:
            uids = {SERIES: self._asked.series, **uids}
        keys |= {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
        told = {"node": self._node, "level": level, "keys": keys, "most": _MOST_FOUND}
        rows = self._bridge.ask("/find", told, self._call)
        self._cut |= len(rows) >= _MOST_FOUND
        for row in rows:
            row.pop("00080052", None)
            row |= {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
        return rows


def _pass_on(bridge: Bridge, node: Node, asked: qido.Asked, base: str, call: Call) -> SearchResult:
    """The same search at a DICOMweb server; links in the answer lead to us."""
    query = asked.query
    above = (f"/studies/{query.study}" if query.study else "") + (f"/series/{query.series}" if query.series else "")
    collection = {"patient": "patients", "study": "studies", "series": "series", "instance": "instances"}[query.level]
    params = [
        (unquote_plus(name), unquote_plus(value))
        for name, value in asked.params
        if name not in ("accept", "charset", "limit", "offset")
    ]
    params += [("limit", str(query.limit)), ("offset", str(query.offset))]
    told = {"node": write_node(node, secrets=True), "path": f"{above}/{collection}", "params": params}
    rows = bridge.ask("/find", told, call)
    for row in rows:
        uids = [text(row, tag) for tag in (STUDY, SERIES, INSTANCE)]
        uids[0] = uids[0] or query.study or ""
        uids[1] = uids[1] or query.series or ""
        depth = {"patient": 0, "study": 1, "series": 2, "instance": 3}[query.level]
        if depth and all(uids[:depth]):
            url = resources.retrieve_url(base, *uids[:depth])
            row["00081190"] = {"vr": "UR", "Value": [url]}
    return SearchResult(rows, 0, None, query.warnings)


# -- storing -------------------------------------------------------------------------------------------------
class _Forwarding:
    """An archive as Store sees it, whose objects go to a node."""

    def __init__(self, archive: Archive, node: Node, bridge: Bridge) -> None:
        self.config = archive.config
        self.spool = archive.spool
        self.room = archive.room.of_disks()
        self.unpack = archive.unpack
        self._node = node
        self._bridge = bridge

    def store(
        self, uploads: Sequence[Upload], study: str | None = None, on_conflict: str | None = None
    ) -> list[Outcome]:
        """Send objects to the node; see Archive."""
        boundary = multipart.boundary_for(secrets.token_hex(16))
        headers = {"x-node": json.dumps(write_node(self._node, secrets=True)), "x-study": study or ""}
        try:
            told = list(
                self._bridge.lines("/store", _body(boundary, uploads), multipart.write_type(boundary, _OBJECT), headers)
            )
        finally:
            for upload in uploads:
                upload.discard()
        return [_outcome(one) for one in told]


def _outcome(told: Mapping[str, Any]) -> Outcome:
    if not told["reason"]:
        return Outcome("stored", told["sop_class"], told["instance"])
    return Outcome(
        "failed", told["sop_class"], told["instance"], reason=outcomes.PROCESSING_FAILURE, detail=told["reason"]
    )


def _body(boundary: str, uploads: Sequence[Upload]) -> Iterator[bytes]:
    for number, upload in enumerate(uploads):
        yield multipart.write_head(boundary, _OBJECT, first=number == 0)
        with upload.open() as buffer:
            data = cast("bytes", buffer)
            for start in range(0, upload.size, _PIECE):
                yield data[start : start + _PIECE]
    yield multipart.write_end(boundary)
