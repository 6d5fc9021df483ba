"""People sign in to the explorer, by a key or at an issuer; nobody else does in their name."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from issuing import AUDIENCE, Issuing, issuing
from served import Served

from dicomweb.access import keys
from dicomweb.access.keys import Key

OURS = {"origin": "http://localhost:8080"}
THEIRS = {"origin": "https://evil.example"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuing]:
    with issuing() as made:
        yield made


@pytest.fixture
def served(issuer: Issuing, tmp_path: Path) -> Iterator[Served]:
    made = Served(
        tmp_path,
        access=True,
        access_remember_seconds=0.0,
        oidc_issuer=issuer.url,
        oidc_audience=AUDIENCE,
        oidc_client_id="we",
    )
    yield made
    made.archive.close()


def new_key(served: Served, *roles: str) -> str:
    text = keys.new_text()
    given = Key(keys.id_of(text) or "", keys.digest_of(text), "zoe", frozenset(roles), None, None, time.time())
    served.archive.index.keys.add(given)
    return text


def cookies(response: httpx.Response) -> dict[str, str]:
    """What the answer has the browser keep: the whole field by name."""
    return {field.partition("=")[0]: field for field in response.headers.get_list("set-cookie")}


def sent(field: str) -> dict[str, str]:
    """The field by which a browser sends it back."""
    return {"cookie": f"a=b; {field.partition(';')[0]}; c=d"}


def sign_in(served: Served, key: str, **headers: str) -> httpx.Response:
    return served.client.post("/session", json={"key": key}, headers={**OURS, **headers})


def test_who_signs_in_by_a_key_is_known_until_the_key_is_revoked_or_he_signs_out(served):
    text = new_key(served, "read")
    answer = sign_in(served, text)
    assert (answer.status_code, answer.headers["cache-control"]) == (204, "no-store")
    kept = cookies(answer)["roentgate-session"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in kept.split(";")}
    browser = sent(kept)
    assert served.client.get("/dicom-web/studies", headers=browser).status_code == 200
    told = served.client.get("/session", headers=browser).json()
    assert told == {
        "asked": True, "issuer": True, "name": "zoe", "roles": ["read"],
        "study": None, "seconds": None, "renewable": False, "shares": True,
    }  # fmt: skip
    out = served.client.request("DELETE", "/session", headers={**browser, **OURS})
    assert "Max-Age=0" in cookies(out)["roentgate-session"]
    assert served.client.get("/session").json()["name"] is None
    assert served.archive.index.keys.drop(keys.id_of(text) or "")
    assert served.client.get("/dicom-web/studies", headers=browser).status_code == 401
    assert served.client.get("/session", headers=browser).json()["name"] is None


@pytest.mark.parametrize("body", [{}, {"key": 7}, {"key": ""}, {"key": "ü"}, []])
def test_what_is_no_key_is_400(served, body):
    assert served.client.post("/session", json=body, headers=OURS).status_code == 400


def test_a_wrong_key_signs_nobody_in(served):
    answer = sign_in(served, "rg_0123456789_" + "A" * 43)
    assert (answer.status_code, cookies(answer)) == (401, {})


FROM = [
    (OURS, True),
    (THEIRS, False),
    ({}, False),
    ({"origin": "null"}, False),
    ({"origin": "http://localhost:8081"}, False),
    ({"sec-fetch-site": "same-origin"}, True),
    ({"sec-fetch-site": "same-site", **OURS}, False),
    ({"sec-fetch-site": "cross-site", **OURS}, False),
    ({"sec-fetch-site": "none"}, False),
]


@pytest.mark.parametrize(("headers", "ours"), FROM)
def test_only_a_page_of_this_server_changes_anything_in_the_name_of_who_is_signed_in(served, headers, ours):
    browser = sent(cookies(sign_in(served, new_key(served, "read", "delete")))["roentgate-session"])
    delete = served.client.request("DELETE", "/dicom-web/studies/1.2.3?reason=test", headers={**browser, **headers})
    assert delete.status_code == (404 if ours else 403)
    assert served.client.post("/session", json={"key": "x"}, headers=headers).status_code == (401 if ours else 403)
    assert served.client.request("DELETE", "/session", headers=headers).status_code == (204 if ours else 403)
    # What is shown in a header field no foreign page can send
    shown = {"authorization": f"Bearer {new_key(served, 'delete')}", **headers}
    assert served.client.request("DELETE", "/dicom-web/studies/1.2.3?reason=test", headers=shown).status_code == 404


def begun(served: Served) -> tuple[str, dict[str, str]]:
    """Begin at the issuer: where the browser is sent, and what it keeps."""
    answer = served.client.get("/session/login")
    assert answer.status_code == 303
    kept = cookies(answer)["roentgate-login"]
    assert {"HttpOnly", "SameSite=lax", "Path=/session"} <= {part.strip() for part in kept.split(";")}
    return answer.headers["location"], sent(kept)


def arrive(served: Served, back: dict[str, Any], browser: dict[str, str]) -> httpx.Response:
    return served.client.get("/session/callback", params=back, headers=browser)


def test_who_signs_in_at_the_issuer_comes_back_known(served, issuer):
    location, browser = begun(served)
    assert "http%3A%2F%2Flocalhost%3A8080%2Fsession%2Fcallback" in location
    verifier = re.search(r"roentgate-login=[^.]*\.([\w-]{43,128})", browser["cookie"])
    assert verifier is not None
    assert verifier[1] not in location
    answer = arrive(served, issuer.authorize(location), browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "../sign-in")
    assert "Max-Age=0" in cookies(answer)["roentgate-login"]
    known = sent(cookies(answer)["roentgate-session"])
    assert served.client.get("/session", headers=known).json()["name"] == "alice"
    assert served.client.get("/dicom-web/studies", headers=known).status_code == 200


def test_nobody_comes_back_who_did_not_leave_from_here(served, issuer):
    location, browser = begun(served)
    back = issuer.authorize(location)
    assert arrive(served, back, {}).status_code == 403
    assert arrive(served, {**back, "state": "other"}, browser).status_code == 403
    assert arrive(served, {"state": back["state"], "error": "access_denied"}, browser).status_code == 403
    _, other = begun(served)
    assert arrive(served, back, other).status_code == 403
    kept = other["cookie"].partition("roentgate-login=")[2].partition(".")[2]
    stolen = {"cookie": re.sub(r"\..*;", f".{kept}", browser["cookie"])}
    assert arrive(served, back, stolen).status_code == 503  # the issuer gives nothing for another verifier


def test_a_code_is_worth_something_once(served, issuer):
    location, browser = begun(served)
    back = issuer.authorize(location)
    assert arrive(served, back, browser).status_code == 303
    assert arrive(served, back, browser).status_code == 503


def test_a_token_is_renewed_before_it_ends_and_whoever_is_put_out_at_the_issuer_signs_in_again(served, issuer):
    issuer.renews, issuer.seconds = True, 120
    try:
        location, browser = begun(served)
        answer = arrive(served, issuer.authorize(location), browser)
        kept = cookies(answer)
        assert {"HttpOnly", "SameSite=strict", "Path=/session"} <= {
            part.strip() for part in kept["roentgate-renewal"].split(";")
        }
        both = {
            "cookie": "; ".join(kept[name].partition(";")[0] for name in ("roentgate-session", "roentgate-renewal"))
        }
        told = served.client.get("/session", headers=both).json()
        assert told["renewable"] is True
        assert 100 < told["seconds"] <= 120
        for foreign in ({}, THEIRS):
            assert served.client.post("/session/renewal", headers={**both, **foreign}).status_code == 403
        issuer.seconds = 300
        again = served.client.post("/session/renewal", headers={**both, **OURS})
        assert again.status_code == 204
        renewed = cookies(again)
        assert renewed["roentgate-renewal"] != kept["roentgate-renewal"]
        known = sent(renewed["roentgate-session"])
        assert served.client.get("/session", headers=known).json()["seconds"] > 120
        assert served.client.get("/dicom-web/studies", headers=known).status_code == 200
        # what was used is worth nothing, and nothing is said of it
        used = served.client.post("/session/renewal", headers={**both, **OURS})
        assert (used.status_code, cookies(used)) == (401, {})
        assert served.client.post("/session/renewal", headers=OURS).status_code == 401
        gone = served.client.request("DELETE", "/session", headers={**both, **OURS})
        assert all("Max-Age=0" in field for field in cookies(gone).values())
        assert set(cookies(gone)) == {"roentgate-session", "roentgate-renewal"}
    finally:
        issuer.renews, issuer.seconds = False, 300


def test_behind_a_prefix_and_tls_the_cookie_is_for_it_alone(issuer, tmp_path):
    served = Served(tmp_path, access=True, public_url="https://pacs.example/images", path_prefix="/images")
    kept = cookies(sign_in(served, new_key(served, "read"), origin="https://pacs.example"))
    assert list(kept) == ["__Host-roentgate-session%2Fimages"]
    (field,) = kept.values()
    parts = {part.strip() for part in field.split(";")}
    assert {"Secure", "Path=/", "HttpOnly"} <= parts
    assert not any(part.lower().startswith("domain") for part in parts)
    assert served.client.get("/images/session", headers=sent(field)).json()["name"] == "zoe"
    assert sign_in(served, new_key(served, "read")).status_code == 403  # another origin than the public one
    assert served.client.get("/session/login").status_code == 404  # no issuer
    served.archive.close()


def test_a_page_of_a_sibling_subdomain_signs_nobody_in_as_somebody_else(issuer, tmp_path):
    """Such a page may set cookies for us, but none whose name begins with __Host-."""
    served = Served(
        tmp_path, access=True, access_remember_seconds=0.0, public_url="https://pacs.example",
        oidc_issuer=issuer.url, oidc_audience=AUDIENCE, oidc_client_id="we",
    )  # fmt: skip
    page = {"origin": "https://pacs.example"}
    issuer.renews = True
    try:
        left = served.client.get("/session/login")
        (flow,) = cookies(left).values()
        back = issuer.authorize(left.headers["location"])
        planted = sent(flow.removeprefix("__Host-"))
        assert arrive(served, back, planted).status_code == 403
        answer = arrive(served, back, sent(flow))
        kept = cookies(answer)
    finally:
        issuer.renews = False
    assert all(name.startswith("__Host-") and "Path=/;" in f"{field};" for name, field in kept.items())
    session, renewal = kept["__Host-roentgate-session"], kept["__Host-roentgate-renewal"]
    assert served.client.get("/session", headers=sent(session)).json()["name"] == "alice"
    theirs = sent(session.removeprefix("__Host-"))
    assert served.client.get("/session", headers=theirs).json()["name"] is None
    assert served.client.get("/dicom-web/studies", headers=theirs).status_code == 401
    both = {"cookie": f"{theirs['cookie']}; {sent(session)['cookie']}"}
    assert served.client.get("/session", headers=both).json()["name"] == "alice"
    told = served.client.get("/session", headers=sent(renewal.removeprefix("__Host-"))).json()
    assert told["renewable"] is False
    planted = sent(renewal.removeprefix("__Host-"))
    assert served.client.post("/session/renewal", headers={**planted, **page}).status_code == 401
    gone = cookies(served.client.request("DELETE", "/session", headers={**sent(session), **page}))
    assert set(gone) == {"__Host-roentgate-session", "__Host-roentgate-renewal"}
    assert all("Max-Age=0" in field and "Secure" in field for field in gone.values())
    served.archive.close()


def test_what_the_issuer_refuses_counts_as_a_wrong_guess_and_soon_reaches_it_no_more(issuer, tmp_path):
    served = Served(
        tmp_path, access=True, access_failures=3,
        oidc_issuer=issuer.url, oidc_audience=AUDIENCE, oidc_client_id="we",
    )  # fmt: skip
    before = issuer.asked.count("/realm/token")

    def renew(text: str) -> int:
        kept = {"cookie": f"roentgate-renewal={text}"}
        return served.client.post("/session/renewal", headers={**kept, **OURS}).status_code

    def come_back(code: str) -> int:
        _, browser = begun(served)
        state = browser["cookie"].partition("roentgate-login=")[2].partition(".")[0]
        return arrive(served, {"state": state, "code": code}, browser).status_code

    assert [renew("one"), come_back("two"), renew("three"), renew("four"), come_back("five")] == [
        401,
        503,
        401,
        429,
        429,
    ]
    assert issuer.asked.count("/realm/token") - before == 3
    assert sign_in(served, new_key(served, "read")).status_code == 204  # which these keep nobody from
    issuer.renewals.add("good")
    served.client._address = "192.0.2.7"
    assert renew("good") == 204
    served.archive.close()


def test_where_nobody_is_asked_nobody_signs_in(tmp_path):
    served = Served(tmp_path)
    told = served.client.get("/session").json()
    assert (told["asked"], told["issuer"], told["name"], told["roles"], told["shares"]) == (
        False,
        False,
        None,
        [],
        False,
    )
    assert sign_in(served, "x").status_code == 404
    assert served.client.request("DELETE", "/session", headers=OURS).status_code == 404
    assert served.client.get("/session/callback").status_code == 404
    served.archive.close()


def test_the_page_is_there_without_signing_in_and_runs_nothing_foreign(served):
    answer = served.client.get("/sign-in")
    assert answer.status_code == 200
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert served.client.get("/explorer/sign-in.js").status_code == 200
