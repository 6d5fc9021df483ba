"""Tokens of an issuer: those that are good open what their claims say, and nothing else opens anything."""

import asyncio
import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import dicoms
import pytest
from forging import FORGED
from issuing import AUDIENCE, Issuing, issuing
from joserfc import jws
from joserfc.jwk import RSAKey
from served import Served
from servers import running
from starlette.responses import Response

from dicomweb.access import issuer as issuers
from dicomweb.access.issuer import Issuer
from dicomweb.access.tokens import Claims, Tokens
from dicomweb.errors import BadSetting, NotIdentified, Unavailable


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuing]:
    with issuing() as made:
        yield made


@pytest.fixture(scope="module")
def served(issuer: Issuing, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(
        tmp_path_factory.mktemp("tokens"),
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
        access=True,
        access_failures=10_000,
        oidc_studies_claim="studies",
        oidc_patients_claim="patients",
    )
    for study in (1, 2):
        token = issuer.sign(roles=["roentgate-write"], studies="*")
        headers = {"content-type": "application/dicom", "authorization": f"Bearer {token}"}
        assert made.client.post("/dicom-web/studies", content=dicoms.ct(study=study), headers=headers).is_success
    yield made
    made.archive.close()


def status(served: Served, token: str, method: str = "GET", path: str = "/dicom-web/studies") -> int:
    return served.client.request(method, path, headers={"authorization": f"Bearer {token}"}).status_code


@pytest.mark.parametrize("name", FORGED)
def test_a_token_that_is_not_good_is_401(served, issuer, name):
    token = FORGED[name](issuer)
    response = served.client.get("/dicom-web/studies", headers={"authorization": f"Bearer {token}"})
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["www-authenticate"]


def test_good_tokens_open_what_their_roles_say(served, issuer):
    url = f"/dicom-web/studies/{dicoms.PREFIX}.99?reason=test"
    reads = issuer.sign(studies="*")
    assert (status(served, reads), status(served, reads, "DELETE", url)) == (200, 403)
    by_curve = issuer.sign(issuer.keys[1], "ES256", roles="roentgate-read roentgate-delete", studies="*")
    assert (status(served, by_curve), status(served, by_curve, "DELETE", url)) == (200, 404)
    for roles in ([], None, "admin", ["ROENTGATE-READ"], {"roentgate-admin": 1}, 7):
        assert status(served, issuer.sign(roles=roles, studies="*")) == 403
    assert status(served, issuer.sign(exp=int(time.time()) - 30, studies="*")) == 200  # within the leeway
    assert status(served, issuer.sign(aud=["other", AUDIENCE], studies="*")) == 200
    for kind in ("at+jwt", "application/at+jwt", "JWT", "jwt"):
        assert status(served, issuer.sign(header={"typ": kind}, typ="Bearer", studies="*")) == 200


def test_a_name_of_half_characters_or_lines_is_told_and_recorded_all_the_same(issuer, tmp_path):
    made = Served(tmp_path, oidc_issuer=issuer.url, oidc_audience=AUDIENCE, access=True, audit_sync="always")
    key = issuer.keys[0]
    for name in ("half \ud800", "two\nlines"):
        claims = json.dumps(issuer.claims(sub=name)).encode()  # escaped, as JSON may be
        token = jws.serialize_compact({"alg": "RS256", "kid": key.kid}, claims, key, ["RS256"])
        assert status(made, token) == 200
        assert status(made, token, "DELETE", f"/dicom-web/studies/{dicoms.PREFIX}.1") == 403
    made.archive.close()
    trail = [line for path in (tmp_path / "audit").iterdir() for line in path.read_bytes().splitlines()]
    assert {json.loads(line).get("who") for line in trail} >= {"half ?", "two?lines"}


def test_claims_name_the_scope_and_one_that_is_missing_leaves_nothing(served, issuer):
    def found(**claims: Any) -> list[str]:
        headers = {"authorization": f"Bearer {issuer.sign(**claims)}"}
        rows = served.client.get("/dicom-web/studies", headers=headers).json()
        return sorted(row["00100020"]["Value"][0] for row in rows)

    one, two = (f"{dicoms.PREFIX}.{study}" for study in (1, 2))
    assert found() == []
    assert found(studies=[one]) == ["P1"]
    assert found(studies=f"{one} {two}") == found(studies="*") == found(patients=["*"]) == ["P1", "P2"]
    assert found(patients=["P2"]) == ["P2"]
    assert found(patients=["P2^^^ELSEWHERE"]) == []
    assert found(studies=7, patients={"P1": 1}) == []


@pytest.fixture
def rotated(issuer: Issuing) -> Iterator[Issuing]:
    """The issuer, with the keys that it had before afterwards."""
    kept = issuer.keys
    issuer.asked.clear()
    yield issuer
    issuer.keys, issuer.answer = kept, None


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def reader(issuer: Issuing, clock: Clock) -> tuple[Tokens, Issuer]:
    keys = Issuer(issuer.url, keep_seconds=600.0, clock=clock)
    claims = Claims(issuer.url, AUDIENCE, meanings={"roentgate-read": frozenset(["read"])})
    return Tokens(claims, keys, time.time), keys


def test_new_keys_are_fetched_when_they_are_named_but_not_by_everybody_who_names_some(rotated):
    clock = Clock()
    tokens, keys = reader(rotated, clock)
    assert tokens.read(rotated.sign())[0].roles == {"read"}
    rotated.rotate()
    token = rotated.sign()
    with pytest.raises(NotIdentified):
        tokens.read(token)  # the keys were fetched a moment ago
    clock.now += issuers.PAUSE
    assert tokens.read(token)[0].name == "alice"
    fetched = rotated.asked.count("/realm/keys")
    stranger = RSAKey.generate_key(2048)
    for number in range(20):
        with pytest.raises(NotIdentified):
            tokens.read(rotated.sign(stranger, header={"kid": f"stranger-{number}"}))
    assert rotated.asked.count("/realm/keys") == fetched
    assert rotated.asked.count("/realm/.well-known/openid-configuration") == 1
    keys.close()


def test_while_the_issuer_hangs_nobody_waits_for_those_whose_keys_nobody_knows(rotated, tmp_path, monkeypatch):
    monkeypatch.setattr(issuers, "PAUSE", 0.0)
    served = Served(tmp_path, oidc_issuer=rotated.url, oidc_audience=AUDIENCE, access=True)
    asked, over = threading.Event(), threading.Event()

    async def hanging(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await asyncio.to_thread(over.wait, 60)
        await Response(status_code=503)(scope, receive, send)

    with running(served.client.app) as server, contextlib.ExitStack() as held:

        def begin(token: str) -> socket.socket:
            opened = held.enter_context(socket.create_connection(("127.0.0.1", server.port), 60))
            head = f"GET /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
            opened.sendall(head.encode())
            return opened

        assert begin(rotated.sign()).recv(1000).startswith(b"HTTP/1.1 200")
        good = rotated.sign(sub="bob")
        stranger = RSAKey.generate_key(2048)
        rotated.answer = hanging
        strange = [begin(rotated.sign(stranger, header={"kid": f"stranger-{number}"})) for number in range(80)]
        assert asked.wait(60)
        answer = begin(good).recv(1000)
        waiting = not select.select(strange, [], [], 0)[0]
        over.set()
        assert answer.startswith(b"HTTP/1.1 200")
        assert waiting, "they were answered first"
        assert {each.recv(1000)[:12] for each in strange} == {b"HTTP/1.1 401"}
    served.archive.close()


ANSWERS = [
    Response(status_code=503),
    Response(b"no json"),
    Response(b"[]"),
    Response(b'{"keys": []}'),
    Response(b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "x"}]}'),
    Response(b" " * (2 << 20)),
    Response(status_code=302, headers={"location": "http://127.0.0.1:1/"}),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_keys_that_are_at_hand_stay_good_while_the_issuer_fails(rotated, answer):
    clock = Clock()
    tokens, keys = reader(rotated, clock)
    tokens.read(rotated.sign())
    rotated.answer = answer
    clock.now += 10_000
    assert tokens.read(rotated.sign())[0].name == "alice"
    asked = len(rotated.asked)
    assert tokens.read(rotated.sign())[0].name == "alice"
    assert len(rotated.asked) == asked  # it is left in peace for a while
    rotated.answer = None
    clock.now += issuers.PAUSE
    rotated.rotate()
    assert tokens.read(rotated.sign())[0].name == "alice"
    keys.close()


def test_without_any_key_it_is_the_issuer_that_is_away_and_not_the_token_that_is_bad(rotated, tmp_path):
    rotated.answer = Response(status_code=503)
    clock = Clock()
    tokens, keys = reader(rotated, clock)
    with pytest.raises(Unavailable):
        tokens.read(rotated.sign())
    clock.now += issuers.SOON
    rotated.answer = None
    assert tokens.read(rotated.sign())[0].name == "alice"
    keys.close()
    served = Served(tmp_path, oidc_issuer="http://127.0.0.1:1/realm", oidc_audience=AUDIENCE, access=True)
    response = served.client.get("/dicom-web/studies", headers={"authorization": f"Bearer {rotated.sign()}"})
    assert (response.status_code, "retry-after" in response.headers) == (503, True)
    served.archive.close()


def test_a_description_of_somebody_else_is_not_believed(rotated):
    keys = Issuer(rotated.url + "/", clock=Clock())
    with pytest.raises(Unavailable):
        keys.get(None)
    keys.close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"oidc_algorithms": ("HS256",)}, "oidc_algorithms"),
        ({"oidc_algorithms": ("none",)}, "oidc_algorithms"),
        ({"oidc_issuer": "http://idp.example"}, "https"),
        ({"oidc_jwks_url": "http://idp.example/keys"}, "https"),
        ({"oidc_roles": ("reader=everything",)}, "reader=everything"),
        ({"oidc_roles": ("reader",)}, "name=read"),
    ],
)
def test_settings_that_are_not_safe_stop_the_start(tmp_path, settings, sentence):
    given = {"oidc_issuer": "https://idp.example", "oidc_audience": "a", "access": True, **settings}
    with pytest.raises(BadSetting, match=sentence):
        Served(tmp_path, **given)
