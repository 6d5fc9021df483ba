"""For whom the bridge asks: the application entities whose requests it is serving, told to our own web layer for its
audit trail."""

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from functools import lru_cache

FIELD = "Roentgate-Agent"
"""Header field that names them: `AET@address`, with commas between."""
_LONGEST = 1000

_agents: ContextVar[str] = ContextVar("agents", default="")


def current() -> str:
    """Return those for whom this thread asks, or ""."""
    return _agents.get()


@contextlib.contextmanager
def asking_for(agents: Iterable[str]) -> Iterator[None]:
    """Ask for these while the context lasts."""
    token = _agents.set(_written(frozenset(agents)))
    try:
        yield
    finally:
        _agents.reset(token)


@lru_cache(maxsize=1024)
def _written(agents: frozenset[str]) -> str:
    told = ", ".join(sorted(filter(None, agents)))[:_LONGEST]
    return "".join(c if " " <= c <= "~" else "?" for c in told)
