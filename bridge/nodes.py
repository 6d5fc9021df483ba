"""The remote application entities as the bridge knows them: from the web layer's `/nodes`, or in front of somebody
else's server from `nodes.toml`; read again without a restart.

What was known last holds while the web layer is away. The addresses of a host name are looked up anew now and then,
and the last good ones hold while names cannot be resolved.
"""

import logging
import math
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from bridge.client import Origin
from dicomweb.errors import BadNode, Error, Forbidden, NotFound, Unavailable
from dicomweb.standard import nodes
from dicomweb.standard.nodes import Node

log = logging.getLogger(__name__)

_FRESH_SECONDS = 3.0
_ADDRESS_SECONDS = 60.0
_FAILED_SECONDS = 5.0


class Nodes:
    """What nodes there are.

    Args:
        origin: the web layer; None reads the file alone.
        file: `nodes.toml`; used where the web layer has no `/nodes`. It need not be there.

    Attributes:
        ours: the web layer has `/nodes`: it is Roentgate's.
    """

    def __init__(self, origin: Origin | None, file: Path | None = None) -> None:
        self._origin = origin
        self.ours = False
        self._file = file
        self._lock = threading.Lock()
        self._nodes: tuple[Node, ...] = ()
        self._read_at = -math.inf
        self._changed = 0
        self._addresses: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._complaint = ""

    def all(self) -> tuple[Node, ...]:
        """Return every node, as it was said a few seconds ago at most."""
        with self._lock:
            if time.monotonic() - self._read_at >= _FRESH_SECONDS:
                try:
                    self._nodes = self._read()
                    self._complaint = ""
                except Error as error:
                    if self._complaint != str(error):
                        log.warning("nodes stay as they were: %s", error)
                    self._complaint = str(error)
                self._read_at = time.monotonic()
            return self._nodes

    def refresh(self) -> None:
        """Have the nodes read again when they are asked for next."""
        with self._lock:
            self._read_at = -math.inf

    def _read(self) -> tuple[Node, ...]:
        if self._origin is not None:
            try:
                told = self._origin.call("GET", "/nodes")
            except NotFound:
                told = None
            except (Forbidden, Unavailable):
                if self.ours:
                    raise
                told = None
            self.ours = isinstance(told, dict) and isinstance(told.get("nodes"), list)
            if self.ours:
                return nodes.read_nodes(told["nodes"], "/nodes")
        return self._from_file()

    def _from_file(self) -> tuple[Node, ...]:
        if self._file is None or not self._file.is_file():
            return ()
        changed = self._file.stat().st_mtime_ns
        if changed == self._changed:
            return self._nodes
        try:
            read = nodes.read_nodes(self._file.read_text(encoding="utf-8"), self._file.name)
        except (OSError, UnicodeDecodeError) as error:
            raise BadNode(f"{self._file.name} cannot be read: {error}") from error
        self._changed = changed
        return read

    def called(self, aet: str) -> list[Node]:
        """Return the nodes with an AE title."""
        return [node for node in self.all() if node.aet == aet and node.kind == "dimse"]

    def caller(self, aet: str, address: str) -> Node | None:
        """Return the node with this AE title that calls from this address; one that names neither host nor
        sources may call from anywhere."""
        for node in self.called(aet):
            if not (node.host or node.sources) or node.calls_from(address, self.addresses(node)):
                return node
        return None

    def destination(self, aet: str) -> Node:
        """Return the node that a Move Destination names (PS3.4 C.4.2.3.1).

        Raises:
            NotFound: there is none.
            Conflict: there are several.
        """
        return nodes.destination(self.all(), aet)

    def addresses(self, node: Node) -> Iterable[str]:
        """Return the addresses of a node's host, the last good ones while its name cannot be resolved."""
        if not node.host:
            return ()
        until, known = self._addresses.get(node.host, (0.0, ()))
        if time.monotonic() < until:
            return known
        try:
            found = socket.getaddrinfo(node.host, None, type=socket.SOCK_STREAM)
            known, seconds = tuple(dict.fromkeys(str(each[4][0]) for each in found)), _ADDRESS_SECONDS
        except OSError as error:
            log.warning("the host of node %s has no address now: %s", node.name, error)
            seconds = _FAILED_SECONDS
        self._addresses[node.host] = (time.monotonic() + seconds, known)
        return known
