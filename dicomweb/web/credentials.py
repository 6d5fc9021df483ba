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


def shown(scope: Scope) -> bytes | None:
    """Return the key or token that a request shows in its header fields, or None."""
    key = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return bytes(rest.strip())
        elif name == b"x-api-key":
            key = bytes(value.strip())
    return key


def kept(scope: Scope, cookie: str) -> bytes | None:
    """Return what a browser keeps in a cookie, or None."""
    wanted = cookie.encode()
    for name, value in scope["headers"]:
        if name == b"cookie" and wanted in value:
            for part in value.split(b";"):
                given, _, rest = part.strip().partition(b"=")
                if given == wanted:
                    return bytes(rest.strip(b' "')) or None
    return None


class Recollection:
    """Whom credentials stand for, and which addresses have shown wrong ones.

    Args:
        failures: wrong credentials from one address in a minute, after which it is not listened to.
        clock: seconds since 1970.
    """

    def __init__(self, failures: int = 30, clock: Callable[[], float] = time.time) -> None:
        self._most = failures
        self._clock = clock
        self._known: OrderedDict[tuple[str, bytes], Known] = OrderedDict()
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def find(
        self, place: str, shown: bytes, read: Callable[[float], Awaitable[Known]], address: str, guess: bool
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
        digest = place, hashlib.sha256(shown).digest()
        found = self._known.get(digest)
        now = self._clock()
        if found is None:
            self.check(address, now)
        elif now < found[1]:
            return found[0]
        try:
            principal, until = await read(now)
        except NotIdentified:
            self._known.pop(digest, None)
            if guess:
                self.note_failure(address, now)
            raise
        self._known[digest] = (principal, until)
        self._known.move_to_end(digest)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return principal

    def check(self, address: str, now: float) -> None:
        """Raise TooOften where too many guesses were wrong lately."""
        count, since = self._failed.get(address, (0, now))
        if count >= self._most and now - since < _WINDOW:
            raise TooOften("too many wrong keys or tokens came from this address; try again in a minute")

    def note_failure(self, address: str, now: float) -> None:
        """Count a wrong guess."""
        count, since = self._failed.pop(address, (0, now))
        self._failed[address] = (count + 1, since) if now - since < _WINDOW else (1, now)
        if len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)
