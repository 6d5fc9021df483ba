"""Share links at the door: whom one stands for below `/s/{link}/`, and how it is opened.

It is the link that asks there, whoever shows it, by the pass that a browser keeps or by the secret in the path.
"""

import time
from collections.abc import Callable

from starlette.types import Scope

from dicomweb.access import shares
from dicomweb.access.rights import Principal
from dicomweb.access.shares import Share
from dicomweb.archive.archive import Archive
from dicomweb.errors import Forbidden, NotIdentified, PassphraseWanted
from dicomweb.web.addresses import Addresses
from dicomweb.web.cookies import Cookie
from dicomweb.web.credentials import Guesses, Known, Recollection
from dicomweb.web.threads import hop_index

COOKIE = Cookie("roentgate-link", ours=False)
"""In which a browser keeps the pass of a link that it has opened. Another pass shows what another link would."""

_NO_LINK = "this link is not valid here, or no longer; ask whoever sent it for another one"
_CLOSED = "this link was opened as often as it may be, or closed since many wrong passphrases were tried"
_UNOPENED = "this link has to be opened in a browser before it shows anything"


class Links:
    """Finds out whom a link stands for.

    Args:
        archive: whose index has the links.
        addresses: know where a request came from.
        guesses: those that were wrong.
        recollection: of what was found lately.
        remember_seconds: how long that holds.
        pass_seconds: how long a link stays open in a browser that has opened it.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        archive: Archive,
        addresses: Addresses,
        guesses: Guesses,
        recollection: Recollection,
        remember_seconds: float,
        pass_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive = archive
        self._addresses = addresses
        self._guesses = guesses
        self._recollection = recollection
        self._remember = remember_seconds
        self._pass_seconds = pass_seconds
        self._clock = clock

    async def who(self, link: str, scope: Scope) -> Principal:
        """Return whom a link stands for, where it has been opened or its secret is in the path.

        Raises:
            NotIdentified: it has not been opened, or has ended.
            TooOften: too many wrong secrets came from this address lately.
        """
        id, secret = shares.read_link(link)
        given = COOKIE.read(scope, self._addresses) or ""
        if not secret and not given:
            raise NotIdentified(_UNOPENED)

        async def read(now: float) -> Known:
            share = await hop_index(self._archive.index.shares.get, id)
            if share is None:
                raise NotIdentified(_NO_LINK, shown=True)
            until = share.expires if secret and share.bare and share.knows(secret, now) else None
            if not secret:
                until = share.admits(given, now)
            if until is None:
                raise NotIdentified(_NO_LINK, shown=True)
            return share.principal(), min(until, now + self._remember)

        # A pass that has ended is nobody's guess; nobody who guesses secrets keeps others from signing in
        return await self._recollection.find(link, given, read, self._guesser(scope), bool(secret))

    def _guesser(self, scope: Scope) -> str:
        """What failures to open a link are counted under."""
        return f"link {self._addresses.client(scope)}"

    async def open(self, id: str, secret: str, passphrase: str | None, scope: Scope) -> tuple[Share, str, float]:
        """Open a link, which counts; return it with a pass, and until when that is good.

        Raises:
            NotIdentified: the secret is wrong or the link has ended, or the passphrase is wrong or missing.
            Forbidden: it was opened as often as it may be, or closed since many passphrases were wrong.
            TooOften: too many wrong secrets came from this address lately.
        """
        address, now = self._guesser(scope), self._clock()
        self._guesses.check(address)
        try:
            share = await hop_index(self._check, id, secret, passphrase, now)
        except NotIdentified as error:
            if not isinstance(error, PassphraseWanted):  # whoever has the secret is no guesser; his tries are counted
                self._guesses.count(address)
            raise
        until = min(share.expires, now + self._pass_seconds)
        return share, share.write_pass(secret, until), until

    def _check(self, id: str, secret: str, passphrase: str | None, now: float) -> Share:
        known = self._archive.index.shares
        share = known.get(id)
        if share is None or not share.knows(secret, now):
            raise NotIdentified(_NO_LINK, shown=True)
        if share.passphrase and not share.closed:
            if not passphrase:
                raise PassphraseWanted("this link has a passphrase, which whoever sent it knows")
            if not known.try_passphrase(id):
                raise Forbidden(_CLOSED)
            if len(passphrase) > shares.LONGEST_PASSPHRASE or not shares.is_passphrase(passphrase, share.passphrase):
                raise PassphraseWanted("this is not the passphrase of the link", shown=True)
            known.was_right(id)
        opened = known.open(id)
        if opened is None:
            raise NotIdentified(_NO_LINK, shown=True)
        if opened.closed:
            raise Forbidden(_CLOSED)
        return opened
