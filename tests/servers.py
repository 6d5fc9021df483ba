"""Runs an ASGI application under a real server on a free port of loopback, in a thread."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dicomweb import launch
from dicomweb.config import Config


@dataclass
class Running:
    """A server under way.

    Attributes:
        port: where it listens.
        loop: its event loop.
        told: set in that loop to stop it.
        thread: ends when the server has stopped.
    """

    port: int
    loop: asyncio.AbstractEventLoop
    told: asyncio.Event
    thread: threading.Thread

    def stop(self) -> None:
        """Tell the server to stop; returns at once."""
        self.loop.call_soon_threadsafe(self.told.set)


@contextlib.contextmanager
def running(app: Any, *, server: str = "hypercorn", **settings: Any) -> Iterator[Running]:
    """Serve `app` while the context lasts.

    Args:
        app: an ASGI application; it need not know lifespans.
        server: hypercorn or uvicorn.
        settings: as fields of Config.
    """
    config = Config(http_port=0, **{"graceful_seconds": 5.0, **settings})
    sockets = launch.listen(config)
    started: list[Any] = []
    up = threading.Event()

    async def main() -> None:
        told = asyncio.Event()

        def ready() -> None:
            started.extend([asyncio.get_running_loop(), told])
            up.set()

        serve = launch.serve_uvicorn if server == "uvicorn" else launch.serve_hypercorn
        await serve(launch.Announced(_alive(app), ready), config, sockets, told)

    def run() -> None:
        with asyncio.Runner(loop_factory=launch.loop_factory()) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert up.wait(20), "the server did not start"
        loop, told = started
        server_ = Running(sockets[0].getsockname()[1], loop, told, thread)
        yield server_
    finally:
        if thread.is_alive() and up.is_set():
            server_.stop()
        thread.join(30)
        for each in sockets:
            each.close()
    assert not thread.is_alive(), "the server did not stop"


def _alive(app: Any) -> Any:
    """The application, with a lifespan in which nothing happens."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return wrapped
