"""A client that leaves while a node is being asked for it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from served import Served
from servers import running
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dicomweb.errors import Unavailable
from dicomweb.web.bridge import Bridge, Call

PATIENCE = 60.0


class Slow:
    """A bridge's inner face whose answer never ends; it knows who asked and who left."""

    def __init__(self) -> None:
        self.asked, self.left = threading.Event(), threading.Event()

    async def find(self, request: Request) -> Response:
        await request.body()

        async def lines() -> AsyncIterator[bytes]:
            try:
                yield b' {"0020000D":{"vr":"UI","Value":["1.2.3"]}}\n'
                self.asked.set()
                while True:
                    await asyncio.sleep(0.01)
                    yield b" "
            finally:
                self.left.set()

        return StreamingResponse(lines())

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/find", self.find, methods=["POST"])])


@pytest.fixture
def slow():
    return Slow()


def test_who_gives_up_is_told_at_once_and_the_bridge_hears_of_it(slow):
    with running(slow.app()) as face:
        bridge, call, said = Bridge(f"http://127.0.0.1:{face.port}", "secret"), Call(), []

        def ask() -> None:
            try:
                bridge.ask("/find", {}, call)
            except Unavailable as error:
                said.append(str(error))

        thread = threading.Thread(target=ask)
        thread.start()
        assert slow.asked.wait(PATIENCE)
        call.stop()
        thread.join(PATIENCE)
        assert len(said) == 1
        assert slow.left.wait(PATIENCE)
        with pytest.raises(Unavailable):
            bridge.ask("/find", {}, call)
        bridge.close()


def test_a_client_that_leaves_a_search_ends_it_at_the_bridge(slow, tmp_path: Path):
    with running(slow.app()) as face:
        served = Served(tmp_path, bridge_token="t", bridge_url=f"http://127.0.0.1:{face.port}")
        served.client.request("PUT", "/nodes/PACS", json={"host": "127.0.0.1", "port": 104})
        bodies = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if bodies:
                return bodies.pop()
            await asyncio.to_thread(slow.asked.wait, PATIENCE)
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None: ...

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": "/aets/PACS/studies", "raw_path": b"/aets/PACS/studies", "query_string": b"", "root_path": "",
            "headers": [(b"host", b"localhost:8080")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8080),
        }  # fmt: skip
        asyncio.run(asyncio.wait_for(served.client.app(scope, receive, send), PATIENCE))
        assert slow.left.wait(PATIENCE)
