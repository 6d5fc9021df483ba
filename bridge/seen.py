"""What each node has asked of us, and when it last went well: a modality that has fallen silent is missed.

Nodes are those that are known by name, all others are one; so there are no more rows than nodes.
"""

import threading
import time
from collections.abc import Iterator

from dicomweb.telemetry.measures import Gauge, Tally

REQUESTS = Tally(
    "roentgate_dimse_node_requests_total", "Requests of each node, by how they ended.", ("node", "service", "status")
)
OTHER = "other"
_WELL = ("success", "warning")


class Seen:
    """When each node was last served well, by service."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[tuple[str, str], float] = {}

    def note(self, node: str, service: str, status: str) -> None:
        """Count a request that has ended.

        Args:
            node: the name of the node, or "" for somebody else.
            service: such as C-STORE.
            status: a kind of statuses, see `statuses.kind_of`.
        """
        node = node or OTHER
        REQUESTS.add((node, service, status))
        if status in _WELL:
            with self._lock:
                self._last[node, service] = time.time()

    def gauges(self) -> Iterator[Gauge]:
        """Yield when that was."""
        with self._lock:
            values = sorted(self._last.items())
        if values:
            doc = "When a request of a node last went well."
            yield Gauge("roentgate_dimse_node_success_timestamp_seconds", doc, ("node", "service"), values)
