"""A server that asks who is calling, with a key and an issuer; how to bring it to each answer about signing in."""

import base64
import contextlib
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from issuing import AUDIENCE, Issuing, issuing
from served import Served

from dicomweb.access import keys
from dicomweb.access.keys import Key

OPERATIONS = {"signIn", "signOut", "signInAtIssuer", "returnFromIssuer"}
KEY = "rg_4f1c09ab3e_aVeryLongSecretOfFortyThreeCharactersInAll0"
OURS = {"origin": "http://localhost:8080"}
BROWSER = {"cookie": "roentgate-login=STATE.VERIFIER"}
BACK = "/session/callback?code=CODE&state=STATE"


@dataclass
class Signing:
    """The server, another one that asks nobody, and the issuer."""

    served: Served
    open: Served
    issuer: Issuing


@contextlib.contextmanager
def signing(folder: Path) -> Iterator[Signing]:
    """Make both, and run the issuer, while the context lasts."""
    with issuing() as issuer:
        known = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_client_id": "we"}
        made = Signing(Served(folder / "asks", access=True, **known), Served(folder / "open"), issuer)
        add_key(made.served)
        yield made
        made.served.archive.close()
        made.open.archive.close()


def add_key(served: Served) -> None:
    """Have it know the key."""
    roles = frozenset(["read"])
    served.archive.index.keys.add(
        Key(keys.id_of(KEY) or "", keys.digest_of(KEY), "viewer", roles, None, None, time.time())
    )


@contextlib.contextmanager
def ready(made: Signing, name: str) -> Iterator[Served]:
    """The server, ready for an operation; the issuer has given a code out."""
    digest = hashlib.sha256(b"VERIFIER").digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    made.issuer.codes["CODE"] = (challenge, "http://localhost:8080/session/callback")
    yield made.served
    made.issuer.codes.clear()


def obtain(made: Signing, name: str, status: str) -> httpx.Response:
    """Bring the server to an answer of this status."""
    with ready(made, name) as served:
        if status == "404":
            served = made.open
        if status == "503":
            made.issuer.codes.clear()
            if name == "signInAtIssuer":
                served = _lonely(made)
        if status == "429":
            served.client._address = "192.0.2.9"
            for number in range(served.config.access_failures):
                served.client.post("/session", json={"key": f"rg_{number}"}, headers=OURS)
        origin = {} if status == "403" else OURS
        try:
            match name:
                case "signIn":
                    key = {"400": "", "401": "rg_nothing"}.get(status, "rg_one more" if status == "429" else KEY)
                    return served.client.post("/session", json={"key": key}, headers=origin)
                case "signOut":
                    return served.client.request("DELETE", "/session", headers=origin)
                case "signInAtIssuer":
                    return served.client.get("/session/login")
            return served.client.get(BACK, headers={} if status == "403" else BROWSER)
        finally:
            served.client._address = "127.0.0.1"


def _lonely(made: Signing) -> Served:
    """A server whose issuer is away."""
    folder = made.served.config.data.parent / "lonely"
    return Served(folder, access=True, oidc_issuer="http://127.0.0.1:1", oidc_audience=AUDIENCE, oidc_client_id="we")
