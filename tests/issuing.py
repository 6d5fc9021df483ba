"""A small OpenID Connect issuer with real keys, on loopback: it describes itself, tells its keys, and signs tokens."""

import base64
import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from servers import running
from starlette.requests import Request
from starlette.responses import Response

AUDIENCE = "roentgate"


@dataclass
class Issuing:
    """An issuer.

    Attributes:
        url: what it calls itself.
        keys: by which it signs now.
        asked: paths that were asked for.
        answer: what it answers instead, if it is to fail.
        codes: that it gave out: challenge and place to come back to of each.
        renewals: by which it renews tokens, each once; where it gives them out.
        renews: whether it gives any.
        seconds: how long its tokens are good.
    """

    url: str = ""
    keys: list[Key] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answer: Any = None
    codes: dict[str, tuple[str, str]] = field(default_factory=dict)
    renewals: set[str] = field(default_factory=set)
    renews: bool = False
    seconds: int = 300

    def rotate(self) -> None:
        """Sign by new keys from now on."""
        number = len(self.asked) + int(time.monotonic() * 1e6)
        self.keys = [
            RSAKey.generate_key(2048, {"kid": f"rsa-{number}", "use": "sig"}),
            ECKey.generate_key("P-256", {"kid": f"ec-{number}", "use": "sig"}),
        ]

    def claims(self, **more: Any) -> dict[str, Any]:
        """The claims of a good token; None leaves one out."""
        now = int(time.time())
        given = {
            "iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + self.seconds,
            "roles": ["roentgate-read", "something else"], **more,
        }  # fmt: skip
        return {name: value for name, value in given.items() if value is not None}

    def sign(self, key: Key | None = None, algorithm: str = "RS256", header: Any = None, **more: Any) -> str:
        """Sign a token."""
        key = key or self.keys[0]
        return jwt.encode({"alg": algorithm, "kid": key.kid, **(header or {})}, self.claims(**more), key, [algorithm])

    def authorize(self, location: str) -> dict[str, str]:
        """What the issuer's page does when somebody signs in there: return what it sends the browser back with."""
        asked = dict(parse_qsl(urlsplit(location).query))
        assert location.startswith(f"{self.url}/authorize?")
        assert (asked["response_type"], asked["code_challenge_method"], asked["client_id"]) == ("code", "S256", "we")
        code = f"code-{len(self.codes)}"
        self.codes[code] = (asked["code_challenge"], asked["redirect_uri"])
        return {"code": code, "state": asked["state"]}

    def _give(self, form: dict[str, str]) -> tuple[Any, int]:
        """A token for a code, once, to whoever has the verifier (RFC 7636 4.6); or for what renews one (RFC 6749 6)."""
        if form.get("grant_type") == "refresh_token":
            if form.get("refresh_token") not in self.renewals or form.get("client_id") != "we":
                return {"error": "invalid_grant"}, 400
            self.renewals.remove(form["refresh_token"])
            return self._given(), 200
        challenge, place = self.codes.pop(form.get("code", ""), ("", ""))
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        shown = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if not challenge or shown != challenge or form.get("redirect_uri") != place:
            return {"error": "invalid_grant"}, 400
        return self._given(), 200

    def _given(self) -> dict[str, Any]:
        told = {"access_token": self.sign(), "token_type": "Bearer", "expires_in": self.seconds}
        if self.renews:
            told["refresh_token"] = f"renewal-{secrets.token_hex(8)}"
            self.renewals.add(told["refresh_token"])
        return told

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer (ASGI)."""
        request = Request(scope, receive)
        self.asked.append(request.url.path)
        response = self.answer
        if response is None:
            status = 200
            told: Any = {"keys": [key.as_dict(private=False) for key in self.keys]}
            if request.url.path == "/realm/.well-known/openid-configuration":
                told = {
                    "issuer": self.url,
                    "jwks_uri": f"{self.url}/keys",
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": f"{self.url}/token",
                }
            if request.url.path == "/realm/authorize":  # everybody who comes is alice, and lets us know it
                back = self.authorize(str(request.url))
                place = f"{request.query_params['redirect_uri']}?{urlencode(back)}"
                response = Response(status_code=302, headers={"location": place})
            if request.url.path == "/realm/token":
                told, status = self._give(dict(parse_qsl((await request.body()).decode())))
            response = response or Response(orjson.dumps(told), status, media_type="application/json")
        await response(scope, receive, send)


@contextlib.contextmanager
def issuing() -> Iterator[Issuing]:
    """Run an issuer while the context lasts."""
    issuer = Issuing()
    issuer.rotate()
    with running(issuer) as server:
        issuer.url = f"http://127.0.0.1:{server.port}/realm"
        yield issuer
