"""The bridge's health and measures over HTTP, on a port of their own: `/health/live`, `/health/ready`, `/metrics`.

Alive: this process answers. Ready: it takes associations. A spool without room is told of and takes no bridge out of
service, since queries and retrievals go on; nor is it asked whether the web layer answers: a device that is told to
come back later keeps its objects, one that finds nobody to talk to may give up.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from dicomweb.telemetry import exposition
from dicomweb.telemetry.measures import Gauge, merge, state


class Health:
    """An ASGI application that needs nothing else.

    Args:
        status: what the bridge tells of itself, see `Bridge.status`.
        more: further gauges.

    Attributes:
        draining: the bridge is about to stop.
    """

    def __init__(self, status: Callable[[], Mapping[str, Any]], more: Callable[[], Iterable[Gauge]] = tuple) -> None:
        self._status = status
        self._more = more
        self.draining = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            return
        code, body, kind = await asyncio.to_thread(self._answer, scope)
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, scope: Any) -> tuple[int, bytes, str]:
        if scope["method"] not in {"GET", "HEAD"}:
            return _say(405, "only GET and HEAD are known here")
        if scope["path"] == "/health/live":
            return _say(200, "alive")
        if scope["path"] == "/health/ready":
            why = self.unready()
            return _say(503, why) if why else _say(200, "ready", self.full())
        if scope["path"] == "/metrics":
            accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
            text, kind = exposition.write(merge([state()]), self._gauges(), accept.decode("latin-1"))
            return 200, text, kind
        return _say(404, "there is nothing at this address")

    def unready(self) -> str:
        """Say why nobody should come, or "" if everybody may."""
        if self.draining:
            return "the bridge is about to stop"
        return ""

    def full(self) -> str:
        """Say why C-STORE is refused, or "" if it is not."""
        spool = self._status()["spool"]
        if spool and spool["bytes"] >= spool["limit_bytes"]:
            return "the spool is full"
        if spool and spool["free_bytes"] < spool["floor_bytes"]:
            return "the disk of the spool has fewer bytes free than limit_free_bytes keeps"
        return ""

    def _gauges(self) -> Iterator[Gauge]:
        told = self._status()
        yield from self._more()
        yield Gauge("roentgate_build_info", "The version that runs.", ("version",), [((version("roentgate"),), 1.0)])
        yield Gauge(
            "roentgate_dimse_connections_waiting",
            "Connections that have asked for no association yet.",
            (),
            [((), float(told["connections_waiting"]))],
        )
        yield Gauge("roentgate_draining", "Whether this bridge is about to stop.", (), [((), float(self.draining))])
        spool = told["spool"]
        if spool:
            yield Gauge("roentgate_writes_refused", "Whether C-STORE is refused.", (), [((), float(bool(self.full())))])
            for name, doc, key in (
                ("roentgate_spool_objects", "Objects in the spool that wait to be stored.", "waiting"),
                ("roentgate_spool_bytes", "Bytes of them.", "bytes"),
                ("roentgate_spool_limit_bytes", "Bytes of them at most.", "limit_bytes"),
                ("roentgate_spool_free_bytes", "Bytes free on its disk.", "free_bytes"),
                ("roentgate_spool_free_floor_bytes", "Bytes that stay free there.", "floor_bytes"),
                ("roentgate_spool_refused_objects", "Objects that the web layer refused, put aside.", "refused"),
            ):
                yield Gauge(name, doc, (), [((), float(spool[key]))])
            if spool["oldest"]:
                doc = "When the oldest of them came."
                yield Gauge("roentgate_spool_oldest_timestamp_seconds", doc, (), [((), float(spool["oldest"]))])


def _say(code: int, sentence: str, full: str = "") -> tuple[int, bytes, str]:
    told = {"status": sentence} | ({"writes": "refused", "reason": full} if full else {})
    return code, json.dumps(told).encode(), "application/json"


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
