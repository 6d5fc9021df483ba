"""What a request shows of who sends it, and what was found of that lately.

What was found is remembered by a digest, so that a request costs a look into a dictionary. An address that shows many
wrong keys is not listened to for a while, but for what was good before: whoever shows that is no guesser, though he may
share an address with one, as all do who come through a proxy.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.types import Scope

from dicomweb.access.rights import Principal
from dicomweb.errors import NotIdentified, TooOften

Known: TypeAlias = tuple[Principal, float]
"""Somebody, and until when that holds."""

_REMEMBERED = 4096
_WINDOW = 60.0


def shown(scope: Scope) -> str | None:
    """Return the key or token that a request shows in its header fields, or None."""
    key = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return str(rest.strip(), "latin-1")
        elif name == b"x-api-key":
            key = str(value.strip(), "latin-1")
    return key


class Guesses:
    """Wrong guesses by the address that they came from.

    Args:
        most: from one address in a minute, after which it is not listened to.
        clock: seconds since 1970.
    """

    def __init__(self, most: int = 30, clock: Callable[[], float] = time.time) -> None:
        self._most = most
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise TooOften where too many were wrong lately."""
        now = self._clock()
        count, since = self._wrong.get(address, (0, now))
        if count >= self._most and now - since < _WINDOW:
            raise TooOften("too many wrong keys or tokens came from this address; try again in a minute")

    def count(self, address: str) -> None:
        """Count a wrong one."""
        now = self._clock()
        count, since = self._wrong.pop(address, (0, now))
        self._wrong[address] = (count + 1, since) if now - since < _WINDOW else (1, now)
        if len(self._wrong) > _REMEMBERED:
            self._wrong.popitem(last=False)


class Recollection:
    """Whom credentials stand for.

    Args:
        guesses: those that were wrong.
        clock: seconds since 1970.
    """

    def __init__(self, guesses: Guesses, clock: Callable[[], float] = time.time) -> None:
        self._guesses = guesses
        self._clock = clock
        self._known: OrderedDict[tuple[str, bytes], Known] = OrderedDict()

    async def find(
        self, place: str, shown: str, read: Callable[[float], Awaitable[Known]], address: str, guess: bool
    ) -> Principal:
        """Return what was found of something lately, or is found now.

        Args:
            place: where it counts; the same thing is another one elsewhere.
            shown: the thing.
            read: finds out, at a time; raises NotIdentified.
            address: under which it counts that a guess was wrong.
            guess: whether it is one if it is wrong.

        Raises:
            NotIdentified: it stands for nobody.
            TooOften: too many guesses were wrong lately.
        """
        digest = place, hashlib.sha256(shown.encode("utf-8", "surrogatepass")).digest()
        found = self._known.get(digest)
        now = self._clock()
        if found is None:
            self._guesses.check(address)
        elif now < found[1]:
            return found[0]
        try:
            principal, until = await read(now)
        except NotIdentified:
            self._known.pop(digest, None)
            if guess:
                self._guesses.count(address)
            raise
        self._known[digest] = (principal, until)
        self._known.move_to_end(digest)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return principal
