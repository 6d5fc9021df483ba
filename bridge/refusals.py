"""Explain mode: each refused association, rejected presentation context, refused request and empty query leaves one
line that says in plain words why, and what to change.

The lines stand in the log, and go to the web layer if that is ours, for whoever looks at `/refusals`, else into the
bridge's own file. Nothing ever waits for that: what cannot be told is dropped.
"""

import contextlib
import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from bridge.client import Origin
from dicomweb.errors import Error, Forbidden, NotFound
from dicomweb.telemetry.measures import Tally

log = logging.getLogger(__name__)

REFUSED = Tally("roentgate_dimse_refusals_total", "Refused by the bridge, by what it was.", ("kind",))

Kind = Literal["association", "context", "request", "query", "instance"]
_WAITING = 200
_PATH = "/refusals"
_SILENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Who asks: AE titles that it calls itself and us by, its address, and the node that it is, or ""."""

    calling: str = ""
    called: str = ""
    address: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was not done: what was refused, to whom, why, and what to change; the last may be ""."""

    kind: Kind
    peer: Peer
    reason: str
    advice: str = ""

    @property
    def line(self) -> str:
        """One line for people. What a peer sent cannot break it."""
        peer = self.peer
        text = f"{self.kind} refused: {peer.calling or '(no AE title)'} at {peer.address}: {self.reason}"
        text = f"{text.rstrip('.')}. {self.advice}" if self.advice else text
        return "".join(c if c.isprintable() else " " for c in text)


class Refusals:
    """Takes refusals of all threads, and tells them.

    Args:
        origin: where the web layer is; None tells the log alone.
        keep: takes them, as JSON, where the server keeps none.
    """

    def __init__(self, origin: Origin | None, keep: Callable[[Mapping[str, str]], None] | None = None) -> None:
        self._origin = origin
        self._keep = keep
        self._queue: queue.Queue[Refusal | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._tell, name="refusals", daemon=True)
        self._silent_until = 0.0
        self._thread.start()

    def note(self, kind: Kind, peer: Peer, reason: str, advice: str = "") -> None:
        """Tell about a refusal; returns at once."""
        REFUSED.add((kind,))
        refusal = Refusal(kind, peer, reason, advice)
        log.log(logging.INFO if kind == "query" else logging.WARNING, "%s", refusal.line)
        if self._origin is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(refusal)

    def _tell(self) -> None:
        while (refusal := self._queue.get()) is not None:
            if self._origin is None:
                continue
            told = {
                "kind": refusal.kind,
                **dataclasses.asdict(refusal.peer),
                "reason": refusal.reason,
                "advice": refusal.advice,
            }
            try:
                if not self._is_told(self._origin, told) and self._keep is not None:
                    self._keep(told)
            except Error as error:
                log.debug("a refusal could not be told: %s", error)

    def _is_told(self, origin: Origin, told: Mapping[str, str]) -> bool:
        """Tell the web layer; false where it is none of ours, which is asked now and then only."""
        if time.monotonic() < self._silent_until:
            return False
        try:
            origin.call("POST", _PATH, told)
        except (NotFound, Forbidden):
            self._silent_until = time.monotonic() + _SILENT_SECONDS
            return False
        return True

    def close(self) -> None:
        """Tell what waits, for a moment."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
            self._thread.join(2.0)
