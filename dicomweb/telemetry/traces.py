"""Trace context: which piece of work this is part of, across processes (W3C Trace Context).

An association, or a request that came without one, begins a trace; whoever is asked on its behalf gets it as
`traceparent`. The trace's id is what people find the same piece of work by in all logs.
"""

import re
from contextvars import ContextVar
from dataclasses import dataclass
from random import getrandbits

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """A place in a trace.

    Attributes:
        id: of the whole, 32 hexadecimal digits.
        span: of this part of it, 16.
        flags: two, handed on as they came.
    """

    id: str
    span: str
    flags: str = "00"

    def write(self) -> str:
        """Return the value of a `traceparent` header."""
        return f"00-{self.id}-{self.span}-{self.flags}"


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""What this thread or task works for."""


def begin() -> Trace:
    """Begin a trace."""
    return Trace(f"{getrandbits(128):032x}", f"{getrandbits(64):016x}")


def take_up(traceparent: str | None) -> Trace:
    """Go on with a client's trace in a part of our own; begin one where there is none that can be read."""
    found = _FORM.fullmatch(traceparent) if traceparent and len(traceparent) < 200 else None
    if (
        not found
        or found[1] == "ff"
        or (found[1] == "00" and found[5])
        or not int(found[2], 16)
        or not int(found[3], 16)
    ):
        return begin()
    return Trace(found[2], f"{getrandbits(64):016x}", found[4])
