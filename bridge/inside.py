"""The bridge's inner HTTP face, for our web layer alone: echo, find, retrieve and store at a node, and its status.

Who asks shows `bridge_token` and describes the node, so that nothing has to be looked up here. Answers are JSON lines
(`application/x-ndjson`), sent as they come; the last one is `{"end": true}`, or an error by name with a sentence.
"""

import asyncio
import hmac
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.client import Origin
from bridge.layers import echo
from bridge.places import WebPlace, place_of
from bridge.scu import Remote
from bridge.sending import read_item, send
from bridge.transfer import Progress, run
from bridge.webnodes import WebNode
from dicomweb.errors import BadRequest, Error, Unavailable
from dicomweb.standard import multipart
from dicomweb.standard.nodes import Node, read_node

log = logging.getLogger(__name__)

_REPORT_SECONDS = 0.5
_MOST_FOUND = 100_000


class Inside:
    """The application.

    Args:
        aet: our AE title.
        token: what the web layer shows; "" lets nobody in.
        visits: makes the origin below a path of the web layer, which is `/aets/{node}/visit`.
        status: what the bridge tells of itself.
    """

    def __init__(
        self,
        aet: str,
        token: str,
        visits: Callable[[str], Origin],
        status: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self._aet = aet
        self._token = token
        self._visits = visits
        self._status = status or (lambda: {"aet": aet})

    def app(self) -> Starlette:
        """Return the ASGI application."""
        services = {"/echo": self._echo, "/find": self._find, "/retrieve": self._retrieve}
        routes = [Route(path, self._lines(service), methods=["POST"]) for path, service in services.items()]
        routes += [
            Route("/store", self._store, methods=["POST"]),
            Route("/status", self._tell_status, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    def _is_ours(self, request: Request) -> bool:
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        return bool(self._token) and hmac.compare_digest(shown.encode("utf-8", "replace"), self._token.encode())

    def _lines(self, service: Callable[[Node, Mapping[str, Any]], Iterator[Any]]) -> Callable[..., Any]:
        async def answer(request: Request) -> Response:
            if not self._is_ours(request):
                return JSONResponse({"detail": "this is for the web layer"}, 403)
            try:
                value = json.loads(await request.body())
                node = read_node(value["node"]["name"], value["node"])
            except (ValueError, KeyError, TypeError) as error:
                return JSONResponse({"detail": f"not understood: {error}"}, 400)
            except Error as error:
                return _respond(iter([_error(error)]))
            return _respond(_whole(service(node, value)))

        return answer

    # -- services -------------------------------------------------------------------------------------------

    def _echo(self, node: Node, _: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for layer in echo(node, self._aet):
            yield asdict(layer)

    def _find(self, node: Node, value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if node.kind == "dicomweb":
            with closing(WebNode(node)) as web:
                page = web.search(value["path"], [(name, text) for name, text in value["params"]])
            yield from page.rows
            return
        with closing(Remote(node, self._aet)) as remote:
            yield from remote.find(value["level"], value["keys"], int(value.get("most") or _MOST_FOUND))

    def _retrieve(self, node: Node, value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        sink = WebPlace(self._visits(value["into"]), visit=True)
        progress = Progress()
        run(place_of(node, self._aet), sink, [value["resource"]], progress, lambda: False, self._aet)
        yield progress.write()

    async def _tell_status(self, request: Request) -> Response:
        """How the bridge is, in one line."""
        if not self._is_ours(request):
            return JSONResponse({"detail": "this is for the web layer"}, 403)
        return _respond(_whole(iter([dict(self._status())])))

    async def _store(self, request: Request) -> Response:
        """Objects as parts of a multipart body, held in files until all of them are there; an outcome for each."""
        if not self._is_ours(request):
            return JSONResponse({"detail": "this is for the web layer"}, 403)
        stack = ExitStack()
        try:
            described = json.loads(request.headers["x-node"])
            node = read_node(described["name"], described)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roentgate-")))
            paths = await _receive(request, folder)
        except (Error, ValueError, KeyError) as error:
            stack.close()
            return _respond(iter([_error(error if isinstance(error, Error) else BadRequest(str(error)))]))

        study = request.headers.get("x-study", "")

        def outcomes() -> Iterator[Any]:
            with stack:
                yield from self._send(node, paths, study)

        return _respond(_whole(outcomes()))

    def _send(self, node: Node, paths: list[Path], study: str) -> Iterator[dict[str, Any]]:
        items = []
        for path in paths:
            try:
                items.append(read_item(path, study))
            except Error as error:
                known = {name: getattr(error, name, "") for name in ("instance", "sop_class")}
                yield {**known, "reason": str(error)}
        if not items:
            return
        for sent in send(node, self._aet, items):
            yield {"instance": sent.item.instance, "sop_class": sent.item.sop_class, "reason": sent.reason}


async def _receive(request: Request, folder: Path) -> list[Path]:
    reader = multipart.PartReader(multipart.boundary_of(request.headers.get("content-type", "")))
    paths: list[Path] = []
    with ExitStack() as files:
        file: Any = None
        async for chunk in request.stream():
            for event in reader.feed(chunk):
                if isinstance(event, multipart.PartStart):
                    paths.append(folder / f"{len(paths)}.dcm")
                    file = files.enter_context(paths[-1].open("wb"))
                elif isinstance(event, multipart.PartData):
                    await asyncio.to_thread(file.write, bytes(event.data))
                else:
                    file.close()
    reader.finish()
    if not paths:
        raise BadRequest("the request holds no instance")
    return paths


# -- lines ----------------------------------------------------------------------------------------------------


def _whole(lines: Iterator[Any]) -> Iterator[dict[str, Any]]:
    """The lines, and at the end that they were all, or why not."""
    try:
        yield from lines
    except Error as error:
        yield _error(error)
    except Exception:
        log.exception("an inner request failed by a fault of ours")
        yield _error(Unavailable("the bridge failed; its log says why"))
    else:
        yield {"end": True}


def _error(error: Error) -> dict[str, Any]:
    known = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _NAMES), "Unavailable")
    return {"error": known, "detail": str(error)}


_NAMES = {"BadRequest", "NotAcceptable", "NotFound", "TooBroad", "Unavailable"}


def _respond(lines: Iterator[dict[str, Any]]) -> Response:
    async def body() -> AsyncIterator[bytes]:
        waiting = bytearray()
        yield b" "  # so that the head goes out, and whoever gives up meanwhile has a connection to close
        async for line in iterate_in_threadpool(lines):
            waiting += json.dumps(line).encode() + b"\n"
            if len(waiting) >= 1 << 15:
                yield bytes(waiting)
                waiting.clear()
        if waiting:
            yield bytes(waiting)

    return StreamingResponse(body(), media_type="application/x-ndjson")
