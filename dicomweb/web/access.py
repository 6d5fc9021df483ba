"""Who calls, and whether he may: one door in front of every route, which is not there at all while nobody is asked.

A caller is known by a key or token in `Authorization: Bearer`, by a key in `X-API-Key`, or by the certificate of the
connection; never by what a proxy says of a certificate, nor by anything in a URL, which ends in logs. Share links alone
stand there (RFC 6750 2.3; see `links`).
"""

import time
from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from dicomweb.access import keys
from dicomweb.access.rights import Principal
from dicomweb.archive.archive import Archive
from dicomweb.archive.scoped import ScopedArchive
from dicomweb.connection import CERTIFIED
from dicomweb.errors import Forbidden, NotFound, NotIdentified
from dicomweb.standard import resources
from dicomweb.web.addresses import Addresses
from dicomweb.web.auditing import NOTES, PRINCIPAL, Recorder
from dicomweb.web.bridge import Bridge
from dicomweb.web.cookies import Cookie
from dicomweb.web.credentials import Guesses, Known, Recollection, shown
from dicomweb.web.links import Links
from dicomweb.web.methods import Methods
from dicomweb.web.paths import LINK
from dicomweb.web.problems import status_of
from dicomweb.web.rights import PUBLIC, Rule, rule_of
from dicomweb.web.threads import hop_index, hop_keys

if TYPE_CHECKING:
    from dicomweb.access.tokens import Tokens

COOKIE = Cookie("roentgate-session")
"""In which a browser keeps the key or token of whoever is signed in (see `session`)."""
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_LONGEST = 16 << 10
_DOTS = 2
"""In a signed token (RFC 7515 7.1); in what has others somebody guesses a key or the bridge's secret."""

_NOBODY = "this server wants to know who asks: send an API key or token as Authorization: Bearer, or a key as X-API-Key"
_REFUSED = "the key, token or certificate is not valid here, or no longer"


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
        tokens: make principals of tokens; None where there is no issuer.
        remember_seconds: how long what was found of a credential holds, and so how long a key opens after it was
            revoked.
        failures: wrong credentials from one address in a minute, after which it is not listened to.
        pass_seconds: how long a link stays open in a browser that has opened it.
        origins: whose pages may change something in the name of who holds a certificate, such as
            "https://viewer.example".
        clock: seconds since 1970.

    Attributes:
        guesses: those that were wrong.
        links: finds out for whom a share link asks.
    """

    def __init__(
        self,
        archive: Archive,
        bridge: Bridge,
        addresses: Addresses,
        tokens: "Tokens | None" = None,
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
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self.guesses = Guesses(failures, clock)
        self._recollection = Recollection(self.guesses, clock)
        self.links = Links(archive, addresses, self.guesses, self._recollection, remember_seconds, pass_seconds, clock)

    async def who(self, scope: Scope) -> Principal:
        """Return who sent a request.

        Raises:
            NotIdentified: nobody knows.
            TooOften: its address has tried too many wrong keys lately.
        """
        if (link := scope.get(LINK)) is not None:
            return await self.links.who(link, scope)
        credential = shown(scope)
        if credential is None:
            credential = COOKIE.read(scope, self._addresses)
            changes = credential is not None and scope["method"] not in _SAFE
            if changes and not is_our_own_page(scope, self._addresses):
                raise Forbidden("a page of another server may change nothing in the name of whoever is signed in here")
        if credential is None:
            name = scope.get("state", {}).get(CERTIFIED, "")
            if name in self._certificates:
                if scope["method"] not in _SAFE and self._is_foreign_page(scope):
                    raise Forbidden(
                        "a page of another server may change nothing in the name of who holds a certificate"
                    )
                return Principal(name, "certificate", self._certificates[name], identity=f"certificate {name}")
            raise NotIdentified(_NOBODY)
        return await self.identify(credential, scope)

    def _is_foreign_page(self, scope: Scope) -> bool:
        """Say whether a page of a server that is neither ours nor listed sent a request. A browser shows its
        certificate whoever asks for it; programs say nothing of pages."""
        sent = {name: value for name, value in scope["headers"] if name in (b"sec-fetch-site", b"origin")}
        listed = sent.get(b"origin", b"").decode("latin-1").lower() in self._origins
        return bool(sent) and not listed and not is_our_own_page(scope, self._addresses)

    async def identify(self, credential: str, scope: Scope) -> Principal:
        """Return whose key or token something is.

        Raises:
            NotIdentified: it is none that is good.
            TooOften: as `who`.
        """

        async def read(now: float) -> Known:
            if len(credential) > _LONGEST:
                raise NotIdentified(_REFUSED, shown=True)
            if self._bridge.knows(credential):
                return Principal("bridge", "bridge", frozenset(("read", "write"))), now + self._remember
            if credential.startswith(keys.PREFIX) or self._tokens is None:
                return await hop_index(self._open, credential, now)
            known = self._tokens.read_at_hand(credential)
            return known if known is not None else await hop_keys(self._tokens.read, credential)

        # A token that has ended is nobody's guess
        guess = self._tokens is None or credential.count(".") != _DOTS
        return await self._recollection.find("", credential, read, self._addresses.client(scope), guess)

    def _open(self, text: str, now: float) -> Known:
        id = keys.id_of(text)
        key = self._archive.index.keys.get(id) if id is not None else None
        if key is None or not key.opens(text, now):
            raise NotIdentified(_REFUSED, shown=True)
        until = now + self._remember
        return key.principal(), until if key.expires is None else min(until, key.expires)

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
            # A scope that names studies only is asked without a hop into a thread.
            known = study in principal.scope.studies
            if not known and principal.scope.patients:
                # What may be stored into a study depends on the object: here it would show whether there is the study
                stores = scope["method"] == "POST"
                known = stores or await hop_index(self._archive.index.in_scope, study, principal.scope)
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
