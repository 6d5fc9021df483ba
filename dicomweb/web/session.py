"""`/session`: people sign in to the explorer, by a key or at the issuer of tokens. An extension.

The browser keeps what was shown, key or token, in a cookie that no script can read and that goes to this server only,
asked for by its own pages. So there are no sessions that servers would have to share, and whoever is revoked is out. A
page of somewhere else can neither read nor do anything in a signed-in person's name: a change by cookie has to come
from a page of our own (`access.Door`). Below a share link it is the link that is opened, and its pass that is kept, for
the addresses below it alone.

At the issuer it is OpenID Connect's code flow (OIDC Core 3.1) with PKCE (RFC 7636): the code that comes back is worth
nothing without the verifier, which the browser keeps in another cookie until then. Tokens end within minutes; by what
the issuer gives to renew one (RFC 6749 6), kept in a cookie of its own, our pages have it renewed in time, so that
nobody is thrown out in the middle of reading.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.access.rights import Principal
from dicomweb.access.shares import read_link
from dicomweb.errors import BadRequest, Forbidden, NotFound, NotIdentified, Unavailable
from dicomweb.web import explorer, jsonbodies, links
from dicomweb.web.access import COOKIE, Door, is_our_own_page
from dicomweb.web.addresses import Addresses
from dicomweb.web.auditing import PRINCIPAL, note
from dicomweb.web.cookies import Cookie
from dicomweb.web.paths import LINK
from dicomweb.web.threads import hop_elsewhere

if TYPE_CHECKING:
    from dicomweb.access.issuer import Issuer

_FLOW = Cookie("roentgate-login", "session", site="lax")
"""Of who is at the issuer, which sends the browser back: a way from elsewhere."""
_FLOW_SECONDS = 600
_RENEWAL = Cookie("roentgate-renewal", "session")
_LONGEST = 3900
"""Characters of a cookie that browsers surely keep."""


@dataclass(frozen=True, slots=True)
class Login:
    """How people sign in.

    Attributes:
        door: finds out who they are.
        issuer: where they may sign in; None where there is none, or where we are no client of it.
        client, secret: what we are to the issuer; no secret for a public client.
        scopes: that are asked for.
        seconds: how long the browser keeps a sign-in.
    """

    door: Door
    issuer: "Issuer | None" = None
    client: str = ""
    secret: str = ""
    scopes: str = "openid"
    seconds: float = 43_200.0


async def page(request: Request) -> Response:
    """GET /sign-in: the page on which people sign in and out."""
    return await explorer.named(request, "sign-in.html")


async def state(request: Request) -> Response:
    """GET /session: whether anybody is asked who he is, who is signed in, for how long and for what, whether it can be
    done at the issuer, and whether links can be made."""
    login: Login | None = request.app.state.login
    linked = LINK in request.scope
    told: dict[str, object] = {
        "asked": login is not None,
        "issuer": login is not None and login.issuer is not None and not linked,
        "name": None,
        "roles": [],
        "study": None,
        "seconds": None,
        "renewable": not linked and _kept(request, _RENEWAL) is not None,
        "shares": bool(request.app.state.archive.config.shares) and not linked,
    }
    if login is not None:
        try:
            principal = await login.door.who(request.scope)
            told |= {"name": principal.name, "roles": sorted(principal.roles)}
            if not linked:
                told["seconds"] = _seconds_left(_kept(request, COOKIE) or "")
            elif principal.scope is not None:
                (told["study"],) = principal.scope.studies
        except NotIdentified:
            pass
    return jsonbodies.respond(told)


def _seconds_left(text: str) -> float | None:
    """How long a token that is good stays so; None for what is no token (RFC 7519 4.1.4)."""
    parts = text.split(".")
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "==")) if len(parts) == 3 else {}
        return float(claims["exp"]) - time.time()
    except (ValueError, TypeError, KeyError):
        return None


async def begin(request: Request) -> Response:
    """POST /session: sign in by a key, or open a link by its secret; 204 with a cookie."""
    login: Login | None = request.app.state.login
    if login is None:
        raise _nobody_signs_in()
    _check_origin(request)
    value = await jsonbodies.read(request)
    key = value.get("key")
    if not isinstance(key, str) or not key.isascii() or not key.strip():
        raise BadRequest("key is the text of an API key")
    if LINK in request.scope:
        return await _open(request, login, key.strip(), value.get("passphrase"))
    principal = await login.door.identify(key.strip(), request.scope)
    return _signed_in(request, login, principal, key.strip(), Response(status_code=204))


async def _open(request: Request, login: Login, secret: str, passphrase: object) -> Response:
    """Open the link below which somebody asks."""
    if passphrase is not None and not isinstance(passphrase, str):
        raise BadRequest("passphrase is a text")
    id, _ = read_link(request.scope[LINK])
    note(request, share=id)
    share, text, until = await login.door.links.open(id, secret, passphrase, request.scope)
    request.scope[PRINCIPAL] = share.principal()
    note(request, event="share opened", study=share.study)
    response = Response(status_code=204)
    _keep(request, response, links.COOKIE, text, until - time.time())
    return response


async def renew(request: Request) -> Response:
    """POST /session/renewal: have the issuer give another token before the one that the browser keeps ends; 204."""
    login = _login(request)
    _check_origin(request)
    issuer = _issuer(login)
    kept = _kept(request, _RENEWAL)
    if kept is None:
        raise NotIdentified("there is nothing to renew; sign in again")
    from dicomweb.access.issuer import Refused

    try:
        told = await _exchange(request, login, issuer, {"grant_type": "refresh_token", "refresh_token": kept})
    except Refused as error:
        raise NotIdentified("the issuer wants you to sign in again", shown=True) from error
    return await _signed_in_at_issuer(request, login, {"refresh_token": kept, **told}, Response(status_code=204))


async def end(request: Request) -> Response:
    """DELETE /session: sign out; 204."""
    login: Login | None = request.app.state.login
    if login is None:
        raise _nobody_signs_in()
    _check_origin(request)
    response = Response(status_code=204)
    for cookie in [links.COOKIE] if LINK in request.scope else [COOKIE, _RENEWAL]:
        _keep(request, response, cookie, "", 0)
    return response


async def leave(request: Request) -> Response:
    """GET /session/login: on to the issuer."""
    login = _login(request)
    issuer = _issuer(login)
    verifier, kept = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    told = await hop_elsewhere(issuer.described)
    where = str(told.get("authorization_endpoint") or "")
    if not where:
        raise Unavailable("the issuer of tokens (oidc_issuer) names no page on which people sign in")
    asked = {
        "response_type": "code",
        "client_id": login.client,
        "redirect_uri": _callback(request),
        "scope": login.scopes,
        "state": kept,
        "code_challenge": _challenge(verifier),
        "code_challenge_method": "S256",
    }
    mark = "&" if "?" in where else "?"
    response = Response(status_code=303, headers={"location": f"{where}{mark}{urlencode(asked)}"})
    _keep(request, response, _FLOW, f"{kept}.{verifier}", _FLOW_SECONDS)
    return response


async def arrive(request: Request) -> Response:
    """GET /session/callback: back from the issuer; the code becomes a token, and the browser is signed in."""
    login = _login(request)
    issuer = _issuer(login)
    query = request.query_params
    kept, _, verifier = (_kept(request, _FLOW) or "").partition(".")
    if not kept or not hmac.compare_digest(kept.encode(), query.get("state", "").encode("utf-8", "replace")):
        raise Forbidden("this sign-in was not begun here, or too long ago; begin it again")
    if "code" not in query:
        raise Forbidden("the issuer did not let you in")
    form = {
        "grant_type": "authorization_code",
        "code": query["code"],
        "redirect_uri": _callback(request),
        "code_verifier": verifier,
    }
    told = await _exchange(request, login, issuer, form)
    response = Response(status_code=303, headers={"location": "../sign-in"})  # which knows what was asked for
    _keep(request, response, _FLOW, "", 0)
    return await _signed_in_at_issuer(request, login, told, response)


async def _exchange(request: Request, login: Login, issuer: "Issuer", form: Mapping[str, str]) -> dict[str, Any]:
    """Have the issuer give a token for something, as the client that we are to it (RFC 6749 2.3.1). What it refuses was
    a wrong guess; they are counted apart from those of keys, so that nobody who makes them keeps others out."""
    from dicomweb.access.issuer import Refused

    ours = {"client_id": login.client, **({"client_secret": login.secret} if login.secret else {})}
    guesses, address = login.door.guesses, f"issuer {_addresses(request).client(request.scope)}"
    guesses.check(address)
    try:
        return await hop_elsewhere(issuer.exchange, {**form, **ours})
    except Refused:
        guesses.count(address)
        raise


async def _signed_in_at_issuer(request: Request, login: Login, told: Mapping[str, Any], response: Response) -> Response:
    token, renewal = (str(told.get(name) or "") for name in ("access_token", "refresh_token"))
    principal = await login.door.identify(token, request.scope)
    if renewal.isascii() and 0 < len(renewal) <= _LONGEST:
        _keep(request, response, _RENEWAL, renewal, login.seconds)
    return _signed_in(request, login, principal, token, response)


def _signed_in(request: Request, login: Login, principal: Principal, shown: str, response: Response) -> Response:
    if len(shown) > _LONGEST:
        raise Forbidden("the token is too long for a browser to keep; have the issuer put less into it")
    request.scope[PRINCIPAL] = principal
    _keep(request, response, COOKIE, shown, login.seconds)
    return response


def _kept(request: Request, cookie: Cookie) -> str | None:
    """What the browser keeps in a cookie."""
    return cookie.read(request.scope, _addresses(request))


def _keep(request: Request, response: Response, cookie: Cookie, text: str, seconds: float) -> None:
    """Have the browser keep something for as long; 0 has it forgotten."""
    cookie.keep(response, text, seconds, request.scope, _addresses(request))


def _login(request: Request) -> Login:
    """How people sign in; below a link nobody does."""
    login: Login | None = request.app.state.login
    if login is None or LINK in request.scope:
        raise _nobody_signs_in()
    return login


def _nobody_signs_in() -> NotFound:
    return NotFound("nobody is asked who he is here, so that nobody signs in")


def _issuer(login: Login) -> "Issuer":
    if login.issuer is None:
        raise NotFound("there is no issuer at which people could sign in; a key does")
    return login.issuer


def _check_origin(request: Request) -> None:
    """Nobody is signed in or out by a page of somebody else (login CSRF)."""
    if not is_our_own_page(request.scope, _addresses(request)):
        raise Forbidden("people sign in and out on a page of this server only")


def _callback(request: Request) -> str:
    root = _addresses(request).server(request.scope)
    if not urlsplit(root).scheme:
        raise Unavailable("public_url is not set, so that the issuer cannot be told where to send people back to")
    return f"{root}/session/callback"


def _addresses(request: Request) -> Addresses:
    addresses: Addresses = request.app.state.addresses
    return addresses


def _challenge(verifier: str) -> str:
    """PKCE's S256 (RFC 7636 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
