"""The bridge as a process: runs until a signal comes, and lets requests under way end."""

import gc
import logging
import os
import signal
import threading
from collections.abc import Callable

from bridge.health import Health
from bridge.server import Bridge, Settings
from bridge.work import Face, Work

log = logging.getLogger(__name__)

_GARBAGE = 20_000
"""Objects that are made before a look for unreachable circles among them; of 700, Python's own figure, a tenth of the
CPU of a search or of a store went into looking."""


_WAKE_SECONDS = 1.0
"""Python runs signal handlers in the main thread, which a signal that came to another one does not wake."""


def serve(settings: Settings, ready: Callable[[Bridge], None]) -> int:
    """Serve until told to stop. A second signal ends the process at once.

    Args:
        settings: what holds.
        ready: called once, when the bridge listens.

    Returns:
        The exit status, 0.

    Raises:
        BadSetting: a setting does not fit this machine, for example a port that is taken.
    """
    stop = threading.Event()

    def on_signal(*_: object) -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        bridge = Bridge(settings)
        work = Work(settings, bridge)
        health = Health(bridge.status, bridge.gauges)
        face: Face | None = None
        try:
            if settings.health_port:
                host = f"[{settings.health_host}]" if ":" in settings.health_host else settings.health_host
                face = Face(health, f"http://{host}:{settings.health_port}", "health_port")
            ready(bridge)
            gc.freeze()
            gc.set_threshold(_GARBAGE)
            while not stop.wait(_WAKE_SECONDS):
                pass
            log.info("the bridge stops; requests under way may go on for %g seconds", settings.graceful_seconds)
        finally:
            health.draining = True
            working = threading.Thread(target=work.stop, name="stop-work")
            working.start()
            bridge.stop()
            working.join()
            if face is not None:
                face.stop()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0
