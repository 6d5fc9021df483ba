"""Who calls, and whether he may: one door in front of every route, which is not there at all while nobody is asked.

A caller is known by a key or token in `Authorization: Bearer`, by a key in `X-API-Key`, or by the certificate of the
connection; never by what a proxy says of a certificate, nor by anything in a URL, which ends in logs. Share links alone
stand there (RFC 6750 2.3): below `/s/{link}/` it is the link that asks, whoever shows it, by the pass that a browser
keeps or by the secret in the path. What was found lately is remembered by a digest, so that a request costs a look into
a dictionary.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from dicomweb.access import keys, shares
from dicomweb.access.rights import Principal
from dicomweb.access.shares import Share
from dicomweb.archive.archive import Archive
from dicomweb.archive.scoped import ScopedArchive
from dicomweb.connection import CERTIFIED
from dicomweb.errors import Forbidden, NotFound, NotIdentified, PassphraseWanted, TooOften
from dicomweb.standard import resources
from dicomweb.web.addresses import Addresses
from dicomweb.web.auditing import NOTES, PRINCIPAL, Recorder
from dicomweb.web.bridge import Bridge
from dicomweb.web.methods import Methods
from dicomweb.web.paths import LINK
from dicomweb.web.problems import status_of
from dicomweb.web.rights import PUBLIC, Rule, rule_of
from dicomweb.web.threads import hop_elsewhere, hop_index

COOKIE = "roentgate-session"
"""In which a browser keeps the key or token of whoever is signed in (see `session`)."""
LINK_COOKIE = "roentgate-link"
"""In which a browser keeps the pass of a link that it has opened, for the addresses below it alone."""

Known: TypeAlias = tuple[Principal, float]
"""Somebody, and until when that holds."""

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_REMEMBERED = 4096
_LONGEST = 16 << 10
_WINDOW = 60.0
_DOTS = 2
"""In a signed token (RFC 7515 7.1); in what has others somebody guesses a key or the bridge's secret."""

_NOBODY = "this server wants to know who asks: send an API key or token as Authorization: Bearer, or a key as X-API-Key"
_REFUSED = "the key, token or certificate is not valid here, or no longer"
_NO_LINK = "this link is not valid here, or no longer; ask whoever sent it for another one"
_CLOSED = "this link was opened as often as it may be, or closed since many wrong passphrases were tried"
_UNOPENED = "this link has to be opened in a browser before it shows anything"


def knows_study(request: Request, study: str) -> bool:
    """Say whether a study may exist for whoever sent a request. Blocks where that is asked of the index."""
    principal: Principal | None = request.scope.get(PRINCIPAL)
    if principal is None or principal.scope is None:
        return True
    return bool(request.app.state.archive.index.in_scope(study, principal.scope))


def known_to(request: Request) -> tuple[list[str], list[tuple[str, str]]] | None:
    """Return which studies and patients there are for whoever sent a request, in order; None is all."""
    principal: Principal | None = request.scope.get(PRINCIPAL)
    if principal is None or principal.scope is None:
        return None
    return sorted(principal.scope.studies), sorted(principal.scope.patients)


def nodes_of(request: Request) -> frozenset[str] | None:
    """Return the names of the nodes that whoever sent a request may know of; None is all."""
    principal: Principal | None = request.scope.get(PRINCIPAL)
    return None if principal is None else principal.nodes


class Door:
    """Finds out who calls.

    Args:
        archive: whose index has the keys.
        bridge: knows its own token.
        addresses: know where a request came from.
        certificates: roles by the name in a client's certificate.
        tokens: makes a principal of a token with the time when it is to be read again, or raises NotIdentified;
            None where there is no issuer.
        remember_seconds: how long what was found of a credential holds, and so how long a key opens after it was
            revoked.
        failures: wrong credentials from one address in a minute, after which it is not listened to.
        pass_seconds: how long a link stays open in a browser that has opened it.
        origins: whose pages may change something in the name of who holds a certificate, such as
            "https://viewer.example".
        clock: seconds since 1970.
    """

    def __init__(
        self,
        archive: Archive,
        bridge: Bridge,
        addresses: Addresses,
        tokens: Callable[[str], Known] | None = None,
        certificates: Mapping[str, frozenset[str]] | None = None,
        remember_seconds: float = 5.0,
        failures: int = 30,
        pass_seconds: float = 43_200.0,
        origins: Collection[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive = archive
        self._bridge = bridge
        self._addresses = addresses
        self._tokens = tokens
        self._certificates = certificates or {}
        self._remember = remember_seconds
        self._most = failures
        self._pass_seconds = pass_seconds
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._clock = clock
        self._known: OrderedDict[tuple[str, bytes], Known] = OrderedDict()
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def who(self, scope: Scope) -> Principal:
        """Return who sent a request.

        Raises:
            NotIdentified: nobody knows.
            TooOften: its address has tried too many wrong keys lately.
        """
        if (link := scope.get(LINK)) is not None:
            return await self._who_has(link, scope)
        shown = _credential(scope)
        if shown is None:
            shown = _cookie(scope, COOKIE)
            changes = shown is not None and scope["method"] not in _SAFE
            if changes and not is_our_own_page(scope, self._addresses):
                raise Forbidden("a page of another server may change nothing in the name of whoever is signed in here")
        if shown is None:
            name = scope.get("state", {}).get(CERTIFIED, "")
            if name in self._certificates:
                if scope["method"] not in _SAFE and self._is_foreign_page(scope):
                    raise Forbidden(
                        "a page of another server may change nothing in the name of who holds a certificate"
                    )
                return Principal(name, "certificate", self._certificates[name])
            raise NotIdentified(_NOBODY)
        return await self.identify(shown, scope)

    def _is_foreign_page(self, scope: Scope) -> bool:
        """Say whether a page of a server that is neither ours nor listed sent a request. A browser shows its
        certificate whoever asks for it; programs say nothing of pages."""
        sent = {name: value for name, value in scope["headers"] if name in (b"sec-fetch-site", b"origin")}
        listed = sent.get(b"origin", b"").decode("latin-1").lower() in self._origins
        return bool(sent) and not listed and not is_our_own_page(scope, self._addresses)

    async def identify(self, shown: bytes, scope: Scope) -> Principal:
        """Return whose key or token something is.

        Raises:
            NotIdentified: it is none that is good.
            TooOften: as `who`.
        """
        text = shown.decode("latin-1")

        async def read(now: float) -> Known:
            if len(shown) > _LONGEST:
                raise NotIdentified(_REFUSED, shown=True)
            if self._bridge.knows(text):
                return Principal("bridge", "bridge", frozenset(("read", "write"))), now + self._remember
            if text.startswith(keys.PREFIX) or self._tokens is None:
                return await hop_index(self._open, text, now)
            return await hop_elsewhere(self._tokens, text)

        # A token that has ended is nobody's guess
        guess = self._tokens is None or text.count(".") != _DOTS
        return await self._remembered("", shown, read, self._addresses.client(scope), guess)

    async def _remembered(
        self, link: str, shown: bytes, read: Callable[[float], Awaitable[Known]], address: str, guess: bool
    ) -> Principal:
        """Return what was found of something lately, or is found now; count that it was wrong if that is a guess."""
        digest = link, hashlib.sha256(shown).digest()
        found = self._known.get(digest)
        now = self._clock()
        if found is not None and now < found[1]:
            return found[0]
        self._check_failures(address, now)
        try:
            principal, until = await read(now)
        except NotIdentified:
            self._known.pop(digest, None)
            if guess:
                self._note_failure(address, now)
            raise
        self._known[digest] = (principal, until)
        self._known.move_to_end(digest)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return principal

    def _open(self, text: str, now: float) -> Known:
        id = keys.id_of(text)
        key = self._archive.index.keys.get(id) if id is not None else None
        if key is None or not key.opens(text, now):
            raise NotIdentified(_REFUSED, shown=True)
        until = now + self._remember
        return key.principal(), until if key.expires is None else min(until, key.expires)

    # -- links ----------------------------------------------------------------------------------------------
    async def _who_has(self, link: str, scope: Scope) -> Principal:
        """Return whom a link stands for, where it has been opened or its secret is in the path.

        Raises:
            NotIdentified, TooOften: as `who`.
        """
        id, secret = shares.read_link(link)
        kept = _cookie(scope, LINK_COOKIE)
        if not secret and kept is None:
            raise NotIdentified(_UNOPENED)
        text = (kept or b"").decode("latin-1")

        async def read(now: float) -> Known:
            share = await hop_index(self._archive.index.shares.get, id)
            if share is None:
                raise NotIdentified(_NO_LINK, shown=True)
            until = share.expires if secret and share.bare and share.knows(secret, now) else None
            if not secret:
                until = share.admits(text, now)
            if until is None:
                raise NotIdentified(_NO_LINK, shown=True)
            return share.principal(), min(until, now + self._remember)

        # A pass that has ended is nobody's guess; nobody who guesses secrets keeps others from signing in
        return await self._remembered(link, kept or b"", read, self._linking(scope), bool(secret))

    def _linking(self, scope: Scope) -> str:
        """What failures to open a link are counted under."""
        return f"link {self._addresses.client(scope)}"

    async def open_link(self, id: str, secret: str, passphrase: str | None, scope: Scope) -> tuple[Share, str, float]:
        """Open a link, which counts; return it with a pass, and until when that is good.

        Raises:
            NotIdentified: the secret is wrong or the link has ended, or the passphrase is wrong or missing.
            Forbidden: it was opened as often as it may be, or closed since many passphrases were wrong.
            TooOften: too many wrong secrets came from this address lately.
        """
        address, now = self._linking(scope), self._clock()
        self._check_failures(address, now)
        try:
            share = await hop_index(self._check_link, id, secret, passphrase, now)
        except NotIdentified as error:
            if not isinstance(error, PassphraseWanted):  # whoever has the secret is no guesser; his tries are counted
                self._note_failure(address, now)
            raise
        until = min(share.expires, now + self._pass_seconds)
        return share, share.write_pass(secret, until), until

    def _check_link(self, id: str, secret: str, passphrase: str | None, now: float) -> Share:
        kept = self._archive.index.shares
        share = kept.get(id)
        if share is None or not share.knows(secret, now):
            raise NotIdentified(_NO_LINK, shown=True)
        if share.passphrase and not share.closed:
            if not passphrase:
                raise PassphraseWanted("this link has a passphrase, which whoever sent it knows")
            if not kept.try_passphrase(id):
                raise Forbidden(_CLOSED)
            if len(passphrase) > shares.LONGEST_PASSPHRASE or not shares.is_passphrase(passphrase, share.passphrase):
                raise PassphraseWanted("this is not the passphrase of the link", shown=True)
            kept.was_right(id)
        opened = kept.open(id)
        if opened is None:
            raise NotIdentified(_NO_LINK, shown=True)
        if opened.closed:
            raise Forbidden(_CLOSED)
        return opened

    def _check_failures(self, address: str, now: float) -> None:
        count, since = self._failed.get(address, (0, now))
        if count >= self._most and now - since < _WINDOW:
            raise TooOften("too many wrong keys or tokens came from this address; try again in a minute")

    def _note_failure(self, address: str, now: float) -> None:
        count, since = self._failed.pop(address, (0, now))
        self._failed[address] = (count + 1, since) if now - since < _WINDOW else (1, now)
        if len(self._failed) > _REMEMBERED:
            self._failed.popitem(last=False)

    # -- what somebody may reach ----------------------------------------------------------------------------
    async def admit(self, scope: Scope, rule: Rule) -> Scope:
        """Find out who calls and whether he may, and return the request's scope as its handler is to see it.

        Raises:
            NotIdentified, TooOften: as `who`.
            Forbidden: a role is missing, or the resource is about more than the caller may know of.
            NotFound: what is asked for does not exist for the caller.
        """
        principal = await self.who(scope)
        scope[PRINCIPAL] = principal
        if not principal.may(rule.rights):
            needed = " or ".join(right for right in rule.rights if right != "bridge") or "be the bridge"
            raise Forbidden(f"this needs the right to {needed}, which {principal.name} does not have")
        if principal.scope is None:
            if principal.nodes is not None:
                await self._check_node(scope, principal)
            return scope
        if rule.whole:
            raise Forbidden(f"{principal.name} may know of some studies only, and this is about more than those")
        study = _study(scope)
        if study is not None:
            index = self._archive.index
            asked = index.admits if scope["method"] == "POST" else index.in_scope
            # A scope that names studies only is asked without a hop into a thread.
            known = study in principal.scope.studies
            if not known and principal.scope.patients:
                known = await hop_index(asked, study, principal.scope)
            if not known:
                raise NotFound("there is no such study")
        state = scope["app"].state
        scope["app"] = SimpleNamespace(state=_Part(state, ScopedArchive(self._archive, principal.scope)))
        return scope

    async def _check_node(self, scope: Scope, principal: Principal) -> None:
        """Raise NotFound for a node, or a job of a node, that does not exist for the caller."""
        params = scope["path_params"]
        name = params.get("aet") or params.get("node")
        if name is not None and not principal.knows_node(name):
            raise NotFound(f"there is no node {name!r}; nodes.toml or /nodes can add it")
        if (number := params.get("job")) is not None and number.isascii() and number.isdigit() and len(number) <= 18:
            job = await hop_index(self._archive.index.jobs.get, int(number))
            if not all(map(principal.knows_node, job.nodes)):
                raise NotFound(f"there is no job {int(number)}")


class Guarded:
    """A resource behind the door (ASGI), what is asked of it recorded.

    Args:
        door: finds out who calls; None lets everybody in.
        recorder: keeps the audit trail; None keeps none.
        methods: the resource.
        path: of its route.
    """

    def __init__(self, door: Door | None, recorder: Recorder | None, methods: Methods, path: str) -> None:
        self._door = door
        self._recorder = recorder
        self._methods = methods
        self._path = path
        self._rules = {method: rule_of(path, method) for method in methods.handlers}
        if "GET" in self._rules:
            self._rules["HEAD"] = self._rules["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or raise why not (see `Door.admit`)."""
        rule = self._rules.get(scope["method"], PUBLIC)
        if rule.public and not (rule.event and self._recorder):
            await self._methods(scope, receive, send)
        elif self._recorder is not None:
            await self._recorded(self._recorder, rule, scope, receive, send)
        else:
            await self._answer(rule, scope, receive, send)

    async def _answer(self, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        if self._door is not None and not rule.public:
            scope = await self._door.admit(scope, rule)
        await self._methods(scope, receive, send)

    async def _recorded(self, recorder: Recorder, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; the record is made before the answer ends."""
        status = 0
        over = False
        if rule.event:
            scope[NOTES] = {}

        async def sending(message: Message) -> None:
            nonlocal status, over
            if message["type"] == "http.response.start":
                status = message["status"]
                if rule.event in ("send", "fetch") and status == 202:
                    place = dict(message["headers"]).get(b"location", b"")
                    scope[NOTES]["job"] = place.rpartition(b"/")[2].decode("latin-1")
            elif not message.get("more_body", False):
                over = True
                recorder.record(scope, rule, self._path, status)
                if recorder.waits:
                    await hop_index(recorder.flush)
            await send(message)

        try:
            await self._answer(rule, scope, receive, sending)
        except BaseException as error:
            if not over:
                failed = status_of(error) if isinstance(error, Exception) else 499
                recorder.record(scope, rule, self._path, status or failed, whole=not status)
                if recorder.waits and isinstance(error, Exception):  # the answer that tells of it is still to come
                    await hop_index(recorder.flush)
            raise


class _Part:
    """The state of the application with another archive in it."""

    def __init__(self, state: Any, archive: ScopedArchive) -> None:
        self._state = state
        self.archive = archive

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)


def _credential(scope: Scope) -> bytes | None:
    """The key or token that a request shows, or None."""
    key = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return bytes(rest.strip())
        elif name == b"x-api-key":
            key = bytes(value.strip())
    return key


def _cookie(scope: Scope, cookie: str) -> bytes | None:
    """What a browser keeps in a cookie, or None."""
    wanted = cookie.encode()
    for name, value in scope["headers"]:
        if name == b"cookie" and wanted in value:
            for part in value.split(b";"):
                given, _, rest = part.strip().partition(b"=")
                if given == wanted:
                    return bytes(rest.strip(b' "')) or None
    return None


def is_our_own_page(scope: Scope, addresses: Addresses) -> bool:
    """Say whether a request was made by a page of this server, as the browser tells (Fetch Metadata, RFC 6454 7)."""
    fields = {name: value for name, value in scope["headers"] if name in (b"sec-fetch-site", b"origin", b"host")}
    if (site := fields.get(b"sec-fetch-site")) is not None:
        return site == b"same-origin"
    origin = fields.get(b"origin", b"").decode("latin-1")
    root = urlsplit(addresses.root(scope))
    if root.netloc:
        return origin == f"{root.scheme}://{root.netloc}"
    return bool(origin) and urlsplit(origin).netloc == fields.get(b"host", b"").decode("latin-1")


def _study(scope: Scope) -> str | None:
    """The study that a request names, in its path or as WADO-URI does; "" if it names one that is none."""
    params = scope["path_params"]
    if "study" in params:
        return resources.read_uid(params["study"])
    if scope["path"].endswith("/wado"):
        return Request(scope).query_params.get("studyUID", "").strip()
    return None
