"""A server that asks who is calling, with a key and an issuer; how to bring it to each answer about signing in."""

import base64
import contextlib
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from issuing import AUDIENCE, Issuing, issuing
from pydicom.data import get_testdata_file
from served import Served
from starlette.responses import Response

from dicomweb.access import keys
from dicomweb.access.keys import Key
from dicomweb.access.shares import new_share

OPERATIONS = {
    "getSession", "signIn", "signOut", "signInAtIssuer", "returnFromIssuer", "renewSession",
    "listShares", "createShare", "revokeShare", "revokeShares", "openShare",
}  # fmt: skip
SHARE = "0c1d2e3f4a5b6c7d"
KEY = "rg_4f1c09ab3e_aVeryLongSecretOfFortyThreeCharactersInAll0"
OURS = {"origin": "http://localhost:8080"}
STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
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
        with_study = add_key(made.served, KEY.replace("4f1c", "5f1c"), "write")
        ct = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
        headers = {"content-type": "application/dicom", **with_study}
        assert made.served.client.post("/dicom-web/studies", content=ct, headers=headers).is_success
        yield made
        made.served.archive.close()
        made.open.archive.close()


def add_key(served: Served, text: str = KEY, *roles: str) -> dict[str, str]:
    """Have it know the key; return the field that shows it."""
    given = frozenset(roles or ("view", "share"))
    served.archive.index.keys.add(
        Key(keys.id_of(text) or "", keys.digest_of(text), "viewer", given, None, None, time.time())
    )
    return {"authorization": f"Bearer {text}"}


@contextlib.contextmanager
def ready(made: Signing, name: str) -> Iterator[Served]:
    """The server, ready for an operation; the issuer has given a code out."""
    digest = hashlib.sha256(b"VERIFIER").digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    made.issuer.codes["CODE"] = (challenge, "http://localhost:8080/session/callback")
    made.issuer.renewals.add("RENEWAL")
    kept = made.served.archive.index.shares
    share, _ = new_share(STUDY, "view", "viewer", time.time(), 3600.0, owner="key 4f1c09ab3e")
    kept.add(replace(share, id=SHARE))
    yield made.served
    kept.drop(SHARE)
    made.issuer.codes.clear()
    made.issuer.renewals.clear()


def obtain(made: Signing, name: str, status: str) -> httpx.Response:
    """Bring the server to an answer of this status."""
    with ready(made, name) as served:
        if status == "404":
            served = made.open
        if status == "503":
            made.issuer.codes.clear()
            made.issuer.answer = Response(status_code=500) if name == "renewSession" else None
            if name in {"signInAtIssuer", "getSession"}:
                served = _lonely(made)
        if status == "429":
            served.client._address = "192.0.2.9"
            for number in range(served.config.access_failures):
                served.client.post("/session", json={"key": f"rg_{number}"}, headers=OURS)
                if name in {"renewSession", "returnFromIssuer"}:
                    kept = {"cookie": f"roentgate-renewal=nothing-{number}"}
                    served.client.post("/session/renewal", headers={**OURS, **kept})
        origin = {} if status == "403" else OURS
        who = {"authorization": f"Bearer {KEY}"}
        try:
            match name:
                case "getSession":
                    shown = {"429": "rg_one more", "503": made.issuer.sign()}.get(status, KEY)
                    return served.client.get("/session", headers={"authorization": f"Bearer {shown}"})
                case "signIn":
                    key = {"400": "", "401": "rg_nothing"}.get(status, "rg_one more" if status == "429" else KEY)
                    return served.client.post("/session", json={"key": key}, headers=origin)
                case "signOut":
                    return served.client.request("DELETE", "/session", headers=origin)
                case "signInAtIssuer":
                    return served.client.get("/session/login")
                case "renewSession":
                    kept = {"cookie": f"roentgate-renewal={'nothing' if status == '401' else 'RENEWAL'}"}
                    return served.client.post("/session/renewal", headers={**origin, **kept})
                case "listShares":
                    return served.client.get("/shares", headers=who)
                case "createShare":
                    wanted = {"study": "x" if status == "400" else STUDY}
                    return served.client.post(
                        "/shares", json=wanted | ({"right": "download"} if status == "403" else {}), headers=who
                    )
                case "revokeShare":
                    return served.client.delete(f"/shares/{SHARE}", headers=who)
                case "revokeShares":
                    owner = {"400": "", "403": "key 0123456789"}.get(status, "key 4f1c09ab3e")
                    return served.client.delete("/shares", params={"owner": owner}, headers=who)
                case "openShare":
                    return served.client.get(f"/s/{SHARE}")
            return served.client.get(BACK, headers={} if status == "403" else BROWSER)
        finally:
            made.issuer.answer = None
            served.client._address = "127.0.0.1"


def _lonely(made: Signing) -> Served:
    """A server whose issuer is away."""
    folder = made.served.config.data.parent / "lonely"
    return Served(folder, access=True, oidc_issuer="http://127.0.0.1:1", oidc_audience=AUDIENCE, oidc_client_id="we")
