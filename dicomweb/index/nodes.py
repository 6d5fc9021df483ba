"""Rows of `node`: what was said of nodes at `/nodes`, beside what `nodes.toml` says (`archive.nodes` joins them)."""

from collections.abc import Sequence
from dataclasses import dataclass

from dicomweb.index.forms import storable
from dicomweb.index.groups import Groups
from dicomweb.index.session import Engine, Session


@dataclass(frozen=True, slots=True)
class NodeRow:
    """What was said last of a node.

    Attributes:
        name: of the node.
        description: JSON text of its settings, secrets included; "" where it was deleted.
        seed: JSON text of what `nodes.toml` said of it then; "" for nothing.
    """

    name: str
    description: str
    seed: str = ""


class NodeRows:
    """Nodes by name.

    Args:
        engine: the database.
        groups: its writer.
    """

    def __init__(self, engine: Engine, groups: Groups) -> None:
        self._engine = engine
        self._groups = groups

    def all(self) -> list[NodeRow]:
        """Return every row by name; deletions among them."""
        with self._engine.read() as session:
            return [NodeRow(*row) for row in session.rows("SELECT name, description, seed FROM node ORDER BY name")]

    def put(self, row: NodeRow) -> None:
        """Record what a node is from now on, or that it is no more."""
        self._groups.do(self._do_put, row)

    def _do_put(self, session: Session, works: Sequence[NodeRow]) -> list[None]:
        for row in works:
            session.run(
                "INSERT INTO node (name, description, seed) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET description = excluded.description, seed = excluded.seed",
                (storable(row.name), row.description, row.seed),
            )
        return [None] * len(works)

    def drop(self, name: str) -> None:
        """Forget that anything was said of a node."""
        self._groups.do(self._do_drop, name)

    def _do_drop(self, session: Session, works: Sequence[str]) -> list[None]:
        for name in works:
            session.run("DELETE FROM node WHERE name = ?", (storable(name),))
        return [None] * len(works)
