"""`/session`: people sign in to the explorer, by a key or at the issuer of tokens. An extension.

The browser keeps what was shown, key or token, in a cookie that no script can read and that goes to this server only,
asked for by its own pages. So there are no sessions that servers would have to share, and whoever is revoked is out. A
page of somewhere else can neither read nor do anything in a signed-in person's name: a change by cookie has to come
from a page of our own (`access.Door`).

At the issuer it is OpenID Connect's code flow (OIDC Core 3.1) with PKCE (RFC 7636): the code that comes back is worth
nothing without the verifier, which the browser keeps in another cookie until then.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.access.rights import Principal
from dicomweb.errors import BadRequest, Forbidden, NotFound, NotIdentified, Unavailable
from dicomweb.web import explorer, jsonbodies
from dicomweb.web.access import COOKIE, Door, is_our_own_page
from dicomweb.web.addresses import Addresses
from dicomweb.web.auditing import PRINCIPAL
from dicomweb.web.threads import hop_elsewhere

if TYPE_CHECKING:
    from dicomweb.access.issuer import Issuer

_FLOW = "roentgate-login"
_FLOW_SECONDS = 600
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
    """GET /session: whether anybody is asked who he is, who is signed in, and whether it can be done at the issuer."""
    login: Login | None = request.app.state.login
    if login is None:
        return jsonbodies.respond({"asked": False, "issuer": False, "name": None, "roles": []})
    told: dict[str, object] = {"asked": True, "issuer": login.issuer is not None, "name": None, "roles": []}
    try:
        principal = await login.door.who(request.scope)
        told |= {"name": principal.name, "roles": sorted(principal.roles)}
    except NotIdentified:
        pass
    return jsonbodies.respond(told)


async def begin(request: Request) -> Response:
    """POST /session: sign in by a key; 204 with a cookie."""
    login = _login(request)
    _check_origin(request)
    value = await jsonbodies.read(request)
    key = value.get("key")
    if not isinstance(key, str) or not key.isascii() or not key.strip():
        raise BadRequest("key is the text of an API key")
    principal = await login.door.identify(key.strip().encode(), request.scope)
    return _signed_in(request, login, principal, key.strip(), Response(status_code=204))


async def end(request: Request) -> Response:
    """DELETE /session: sign out; 204."""
    _login(request)
    _check_origin(request)
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path=_path(request), httponly=True, samesite="strict", secure=_secure(request))
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
    # Lax: the issuer sends the browser back, which is a way from elsewhere
    response.set_cookie(
        _FLOW, f"{kept}.{verifier}", _FLOW_SECONDS, path=_path(request) + "session", httponly=True, samesite="lax",
        secure=_secure(request),
    )  # fmt: skip
    response.headers["cache-control"] = "no-store"
    return response


async def arrive(request: Request) -> Response:
    """GET /session/callback: back from the issuer; the code becomes a token, and the browser is signed in."""
    login = _login(request)
    issuer = _issuer(login)
    query = request.query_params
    kept, _, verifier = request.cookies.get(_FLOW, "").partition(".")
    if not kept or not hmac.compare_digest(kept.encode(), query.get("state", "").encode("utf-8", "replace")):
        raise Forbidden("this sign-in was not begun here, or too long ago; begin it again")
    if "code" not in query:
        raise Forbidden("the issuer did not let you in")
    form = {
        "grant_type": "authorization_code",
        "code": query["code"],
        "redirect_uri": _callback(request),
        "client_id": login.client,
        "code_verifier": verifier,
    }
    if login.secret:
        form["client_secret"] = login.secret
    told = await hop_elsewhere(issuer.exchange, form)
    token = str(told.get("access_token") or "")
    principal = await login.door.identify(token.encode("ascii", "replace"), request.scope)
    response = Response(status_code=303, headers={"location": "../"})
    response.delete_cookie(
        _FLOW, path=_path(request) + "session", httponly=True, samesite="lax", secure=_secure(request)
    )
    return _signed_in(request, login, principal, token, response)


def _signed_in(request: Request, login: Login, principal: Principal, shown: str, response: Response) -> Response:
    if len(shown) > _LONGEST:
        raise Forbidden("the token is too long for a browser to keep; have the issuer put less into it")
    request.scope[PRINCIPAL] = principal
    response.set_cookie(
        COOKIE, shown, int(login.seconds), path=_path(request), httponly=True, samesite="strict",
        secure=_secure(request),
    )  # fmt: skip
    response.headers["cache-control"] = "no-store"
    return response


def _login(request: Request) -> Login:
    login: Login | None = request.app.state.login
    if login is None:
        raise NotFound("nobody is asked who he is here, so that nobody signs in")
    return login


def _issuer(login: Login) -> "Issuer":
    if login.issuer is None:
        raise NotFound("there is no issuer at which people could sign in; a key does")
    return login.issuer


def _check_origin(request: Request) -> None:
    """Nobody is signed in or out by a page of somebody else (login CSRF)."""
    if not is_our_own_page(request.scope, request.app.state.addresses):
        raise Forbidden("people sign in and out on a page of this server only")


def _callback(request: Request) -> str:
    root = _root(request)
    if not urlsplit(root).scheme:
        raise Unavailable("public_url is not set, so that the issuer cannot be told where to send people back to")
    return f"{root}/session/callback"


def _root(request: Request) -> str:
    addresses: Addresses = request.app.state.addresses
    return addresses.root(request.scope)


def _path(request: Request) -> str:
    return (urlsplit(_root(request)).path or "") + "/"


def _secure(request: Request) -> bool:
    return (urlsplit(_root(request)).scheme or request.scope.get("scheme")) == "https"


def _challenge(verifier: str) -> str:
    """PKCE's S256 (RFC 7636 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
