"""What the archive really holds: asked before anybody is told that objects are safe (PS3.4 J.3.3).

Our own web layer reads each object again and compares it with its digest (`/verify`), some at a time, so that a
request about thousands disturbs nobody and those of several requesters take turns. Of other servers only what a search
finds is known.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bridge import statuses
from bridge.client import Origin
from bridge.nodes import Nodes
from dicomweb.errors import Forbidden, NotFound, Unavailable
from dicomweb.standard import dicomjson

log = logging.getLogger(__name__)

_FOUND_BATCH = 50
_READ_BATCH = 100
_READ_SECONDS = 900.0
"""For an answer: the largest object on a slow disk."""
_AT_ONCE = 2

# PS3.3 C.14.1.1 by what `/verify` says of an object
_REASONS = {
    "missing": statuses.NO_SUCH_OBJECT,
    "corrupt": statuses.PROCESSING_FAILURE,
    "unreadable": statuses.PROCESSING_FAILURE,
}


@dataclass(frozen=True, slots=True)
class Holding:
    """What the archive has under a SOP Instance UID: its SOP class, and why it is not safe (Failure Reason) or 0."""

    sop_class: str
    reason: int = 0


class Holdings:
    """Looks up what the archive holds.

    Args:
        origin: the archive.
        nodes: know whether it is Roentgate's.
        stopping: says that nobody waits for an answer any more.
    """

    def __init__(self, origin: Origin, nodes: Nodes, stopping: Callable[[], bool]) -> None:
        self._origin = origin
        self._nodes = nodes
        self._stopping = stopping
        self._turns = threading.Semaphore(_AT_ONCE)
        self._told = False

    def look_up(self, uids: Sequence[str], last: bool) -> Mapping[str, Holding]:
        """Return what the archive holds of some SOP Instance UIDs; what is missing it does not have.

        Args:
            uids: which.
            last: what cannot be read now counts as damaged, since nobody asks again.

        Raises:
            Unavailable: it does not answer, or cannot read; that says nothing about the objects.
        """
        self._nodes.all()
        if self._nodes.ours:
            try:
                return self._read(uids, last)
            except (NotFound, Forbidden) as error:
                if not self._told:
                    log.warning("storage commitment goes by what a search finds, objects are not read again: %s", error)
                self._told = True
        return self._find(uids)

    def _read(self, uids: Sequence[str], last: bool) -> dict[str, Holding]:
        held: dict[str, Holding] = {}
        left = list(uids)
        while left:
            batch, rest = left[:_READ_BATCH], left[_READ_BATCH:]
            with self._turns:
                if self._stopping():
                    raise Unavailable("the bridge stops")
                told = self._origin.call("POST", "/verify", {"instances": batch}, _READ_SECONDS)
            for one in told["checked"]:
                if one["state"] == "unreadable" and not last:
                    raise Unavailable(f"an object cannot be read now: {one['detail']}")
                if one["state"] != "absent":
                    held[one["instance"]] = Holding(one["sop_class"], _REASONS.get(one["state"], 0))
            left = [*told["left"], *rest]
        return held

    def _find(self, uids: Sequence[str]) -> dict[str, Holding]:
        held: dict[str, Holding] = {}
        for start in range(0, len(uids), _FOUND_BATCH):
            batch = uids[start : start + _FOUND_BATCH]
            params = [("SOPInstanceUID", ",".join(batch)), ("limit", str(2 * _FOUND_BATCH))]
            with self._turns:
                if self._stopping():
                    raise Unavailable("the bridge stops")
                rows = self._origin.search("/instances", params).rows
            for row in rows:
                held[dicomjson.text(row, "00080018")] = Holding(dicomjson.text(row, "00080016"))
        return held
