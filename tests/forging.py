"""Tokens that look as if an issuer had given them out for us, and did not."""

import base64
import hmac
import json
import time
from typing import Any

from issuing import Issuing
from joserfc.jwk import ECKey, RSAKey


def part(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unsigned(issuer: Issuing) -> str:
    return f"{part({'alg': 'none', 'kid': issuer.keys[0].kid})}.{part(issuer.claims(studies='*'))}."


def confused(issuer: Issuing) -> str:
    """Signed by HMAC with the public key for a secret."""
    signed = f"{part({'alg': 'HS256', 'kid': issuer.keys[0].kid})}.{part(issuer.claims(studies='*'))}"
    secret = issuer.keys[0].as_pem(private=False)
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), 'sha256'))}"


def tampered(issuer: Issuing) -> str:
    head, _, signature = issuer.sign(studies="*").split(".")
    return ".".join([head, part(issuer.claims(studies="*", roles=["roentgate-admin"])), signature])


def embedded(issuer: Issuing) -> str:
    own = RSAKey.generate_key(2048, {"kid": issuer.keys[0].kid or ""})
    return issuer.sign(own, header={"jwk": own.as_dict(private=False)}, studies="*")


NOW = int(time.time())
FORGED = {
    "expired": lambda issuer: issuer.sign(exp=NOW - 3600, studies="*"),
    "without an end": lambda issuer: issuer.sign(exp=None, studies="*"),
    "not yet valid": lambda issuer: issuer.sign(nbf=NOW + 3600, studies="*"),
    "for others": lambda issuer: issuer.sign(aud="other", studies="*"),
    "for nobody": lambda issuer: issuer.sign(aud=None, studies="*"),
    "of another issuer": lambda issuer: issuer.sign(iss="https://evil.example", studies="*"),
    "of no issuer": lambda issuer: issuer.sign(iss=None, studies="*"),
    "of nobody": lambda issuer: issuer.sign(sub=None, studies="*"),
    "unsigned": unsigned,
    "key confusion": confused,
    "tampered": tampered,
    "its own key": embedded,
    "another key": lambda issuer: issuer.sign(
        RSAKey.generate_key(2048, {"kid": issuer.keys[0].kid or ""}), studies="*"
    ),
    "an unknown key": lambda issuer: issuer.sign(RSAKey.generate_key(2048, {"kid": "nobody's"}), studies="*"),
    "an algorithm that is not allowed": lambda issuer: issuer.sign(algorithm="PS256", studies="*"),
    "another kind of key": lambda issuer: issuer.sign(
        ECKey.generate_key("P-256", {"kid": issuer.keys[0].kid or ""}), "ES256", studies="*"
    ),
    "of who somebody is": lambda issuer: issuer.sign(at_hash="x", studies="*"),
    "of who somebody is, as one issuer says it": lambda issuer: issuer.sign(typ="ID", studies="*"),
    "of who signed out": lambda issuer: issuer.sign(header={"typ": "logout+jwt"}, studies="*"),
    "of what happened": lambda issuer: issuer.sign(events={"x": {}}, studies="*"),
    "no token": lambda _: "a.b.c",
    "deep": lambda _: base64.urlsafe_b64encode(b'{"a":' * 900).decode() + ".e30.AA",
    "large": lambda issuer: issuer.sign(studies="*", padding="x" * 20_000),
}
