"""The nodes that hold now: `nodes.toml` in the data folder, and what was said at `/nodes` since.

Both are read when somebody asks, so that neither needs a restart. Whoever spoke last wins: an edit or deletion at
`/nodes` hides what the file says of that node until the file says something else of it.
"""

import json
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicomweb.errors import BadNode, NotFound
from dicomweb.index.nodes import NodeRow, NodeRows
from dicomweb.standard.nodes import Node, read_node, read_nodes, write_node

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _File:
    """What was read of the file, and its stamp; `problem` is why it could not be read this time."""

    stamp: tuple[int, int, int] | None = None
    nodes: dict[str, Node] = field(default_factory=dict)
    problem: str = ""


class Nodes:
    """All nodes by name.

    Args:
        rows: what was said at `/nodes`.
        path: of `nodes.toml`, which need not be there.
    """

    def __init__(self, rows: NodeRows, path: Path) -> None:
        self._rows = rows
        self._path = path
        self._file = _File()
        self._lock = threading.Lock()

    def all(self) -> dict[str, Node]:
        """Return all nodes by name, in order."""
        return self._join(self._read_file().nodes)

    def problem(self) -> str:
        """Return a sentence about a file that cannot be used, or "". Until it can, what it said last holds."""
        return self._read_file().problem

    def get(self, name: str) -> Node:
        """Return a node. Raises NotFound."""
        node = self.all().get(name)
        if node is None:
            raise NotFound(f"there is no node {name!r}; nodes.toml or /nodes can add it")
        return node

    def put(self, name: str, value: object) -> Node:
        """Add or change a node.

        Args:
            name: of the node.
            value: its settings, see `standard.nodes.read_node`; masked secrets stay as they are.

        Raises:
            BadNode: what is wrong with it.
        """
        seeds = self._read_file().nodes
        node = read_node(name, value, previous=self._join(seeds).get(name))
        self._rows.put(NodeRow(name, _write(node), _write(seeds.get(name))))
        return node

    def delete(self, name: str) -> None:
        """Remove a node. Raises NotFound."""
        seeds = self._read_file().nodes
        if name not in self._join(seeds):
            raise NotFound(f"there is no node {name!r}")
        if name in seeds:
            self._rows.put(NodeRow(name, "", _write(seeds[name])))
        else:
            self._rows.drop(name)

    def _join(self, seeds: dict[str, Node]) -> dict[str, Node]:
        nodes = dict(seeds)
        for row in self._rows.all():
            if row.name in seeds and _write(seeds[row.name]) != row.seed:
                continue  # the file was changed since
            if row.description:
                nodes[row.name] = read_node(row.name, json.loads(row.description))
            else:
                nodes.pop(row.name, None)
        return {name: nodes[name] for name in sorted(nodes)}

    def _read_file(self) -> _File:
        with self._lock:
            try:
                status = self._path.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            except OSError:
                self._file = _File()
                return self._file
            if stamp != self._file.stamp:
                self._file = self._reread(stamp)
            return self._file

    def _reread(self, stamp: tuple[int, int, int]) -> _File:
        try:
            nodes = {node.name: node for node in read_nodes(self._path.read_text(encoding="utf-8"), self._path.name)}
        except (BadNode, UnicodeDecodeError, OSError) as error:
            sentence = str(error) if isinstance(error, BadNode) else f"{self._path.name} cannot be read"
            log.error("%s; the nodes are as they were before", sentence)
            return _File(stamp, self._file.nodes, sentence)
        return _File(stamp, nodes)


def _write(node: Node | None) -> str:
    """A node as one text that is the same for the same node; "" for none."""
    value: dict[str, Any] | None = write_node(node, secrets=True) if node else None
    return json.dumps(value, sort_keys=True) if value else ""
