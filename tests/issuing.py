"""A small OpenID Connect issuer with real keys, on loopback: it describes itself, tells its keys, and signs tokens."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

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
    """

    url: str = ""
    keys: list[Key] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answer: Response | None = None

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
            "iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300,
            "roles": ["roentgate-read", "something else"], **more,
        }  # fmt: skip
        return {name: value for name, value in given.items() if value is not None}

    def sign(self, key: Key | None = None, algorithm: str = "RS256", header: Any = None, **more: Any) -> str:
        """Sign a token."""
        key = key or self.keys[0]
        return jwt.encode({"alg": algorithm, "kid": key.kid, **(header or {})}, self.claims(**more), key, [algorithm])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer (ASGI)."""
        request = Request(scope, receive)
        self.asked.append(request.url.path)
        response = self.answer
        if response is None:
            told: Any = {"keys": [key.as_dict(private=False) for key in self.keys]}
            if request.url.path == "/realm/.well-known/openid-configuration":
                told = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            response = Response(orjson.dumps(told), media_type="application/json")
        await response(scope, receive, send)


@contextlib.contextmanager
def issuing() -> Iterator[Issuing]:
    """Run an issuer while the context lasts."""
    issuer = Issuing()
    issuer.rotate()
    with running(issuer) as server:
        issuer.url = f"http://127.0.0.1:{server.port}/realm"
        yield issuer
