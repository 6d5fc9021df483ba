"""Share links: they lead to their study and nowhere else, end when they should, and leave their secrets nowhere."""

import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import dicoms
import httpx
import pytest
from known import OURS, THEIRS, UNKNOWN, add_key, store, uid, url
from served import Served

from dicomweb.access import shares
from dicomweb.access.rights import Scope
from dicomweb.config import Config
from dicomweb.errors import BadSetting
from dicomweb.web.rights import rule_of
from dicomweb.web.routes import TABLE

PAGE = {"origin": "http://localhost:8080"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = make(tmp_path_factory.mktemp("shares"))
    yield made
    made.archive.close()


def make(folder: Any, **settings: Any) -> Served:
    """A server with two studies, what was found of credentials forgotten at once."""
    given = {"access_failures": 10_000, "access_remember_seconds": 0.0, **settings}
    made = Served(folder, access=True, **given)
    for study in (OURS, THEIRS):
        store(made, add_key(made, f"writer {study}", "write"), study)
    return made


def share(served: Served, who: dict[str, str] | None = None, study: int = OURS, **wanted: Any) -> dict[str, Any]:
    """Make a link."""
    who = who or add_key(served, f"sharer {time.monotonic_ns()}", "read", "share")
    answer = served.client.post("/shares", json={"study": uid(study), **wanted}, headers=who)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def secret_of(made: dict[str, Any]) -> str:
    return str(made["url"]).partition("#")[2]


def root_of(made: dict[str, Any]) -> str:
    """What stands before paths for a program."""
    return str(made["dicomweb"]).removeprefix("http://localhost:8080").removesuffix("/dicom-web")


def open_link(served: Served, made: dict[str, Any], **more: Any) -> httpx.Response:
    given = {"key": secret_of(made), **more}
    return served.client.post(f"/s/{made['id']}/session", json=given, headers=PAGE)


def browser(served: Served, made: dict[str, Any], **more: Any) -> dict[str, str]:
    """What a browser sends once it has opened a link."""
    answer = open_link(served, made, **more)
    assert answer.status_code == 204, answer.text
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


# -- making ----------------------------------------------------------------------------------------------------
def test_a_link_is_told_once_and_of_its_secret_a_digest_is_kept(served):
    who = add_key(served, "zoe", "read", "share")
    made = share(served, who, right="download", days=2, openings=3, passphrase="drei Affen")
    assert made["url"].startswith(f"http://localhost:8080/s/{made['id']}#")
    assert len(secret_of(made)) * 6 >= 128
    assert made["dicomweb"] is None  # a program could not say the passphrase
    assert made["expires"] - made["created"] == 2 * 86_400
    listed = served.client.get("/shares", headers=who).json()["shares"]
    assert [one["id"] for one in listed] == [made["id"]]
    assert listed[0] == {name: value for name, value in made.items() if name not in ("url", "dicomweb")}
    kept = repr(served.archive.index.shares.get(made["id"]))
    assert secret_of(made) not in kept
    assert "Affen" not in kept


WRONG = [
    {"study": "../x"}, {"study": 7}, {}, {"study": uid(OURS), "right": "write"}, {"study": uid(OURS), "days": 31},
    {"study": uid(OURS), "days": 0}, {"study": uid(OURS), "days": "2"}, {"study": uid(OURS), "openings": 0},
    {"study": uid(OURS), "openings": True}, {"study": uid(OURS), "passphrase": 1}, {"study": uid(OURS), "role": "read"},
    {"study": uid(OURS), "passphrase": "x" * 300}, {"study": ["1"]}, {"study": uid(OURS), "right": ["view"]},
]  # fmt: skip


@pytest.mark.parametrize("wanted", WRONG, ids=range(len(WRONG)))
def test_what_makes_no_link_is_400(served, wanted):
    who = add_key(served, f"wrong {time.monotonic_ns()}", "read", "share")
    assert served.client.post("/shares", json=wanted, headers=who).status_code == 400


def test_nobody_gives_more_than_he_has(served):
    reader = add_key(served, "reader only", "read")
    assert served.client.post("/shares", json={"study": uid(OURS)}, headers=reader).status_code == 403
    looker = add_key(served, "looker", "view", "share")
    assert share(served, looker)["right"] == "view"
    wanted = {"study": uid(OURS), "right": "download"}
    assert served.client.post("/shares", json=wanted, headers=looker).status_code == 403
    narrow = add_key(served, "narrow", "read", "share", scope=Scope(studies=frozenset([uid(OURS)])))
    assert share(served, narrow)["study"] == uid(OURS)
    foreign, missing = (
        served.client.post("/shares", json={"study": uid(study)}, headers=narrow) for study in (THEIRS, UNKNOWN)
    )
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text == missing.text


def test_everybody_sees_and_revokes_his_own_and_an_administrator_all(served):
    one, other = add_key(served, "one", "read", "share"), add_key(served, "other", "read", "share")
    admin = add_key(served, "admin", "admin")
    made = share(served, one)
    path = f"/shares/{made['id']}"

    def listed(who: dict[str, str]) -> bool:
        return made["id"] in {each["id"] for each in served.client.get("/shares", headers=who).json()["shares"]}

    assert (listed(one), listed(other), listed(admin)) == (True, False, True)
    assert served.client.delete(path, headers=other).status_code == 404
    assert served.client.delete(path, headers=one).status_code == 204
    assert served.client.delete(path, headers=admin).status_code == 404
    assert served.client.delete(f"/shares/{share(served, one)['id']}", headers=admin).status_code == 204


def test_links_are_told_apart_by_who_made_them_and_not_by_his_name(served):
    one, other = add_key(served, "same name", "read", "share"), add_key(served, "same name", "read", "share")
    made = share(served, one)
    assert made["owner"] == f"key {one['authorization'][len('Bearer rg_') :][:10]}"
    assert made["id"] not in served.client.get("/shares", headers=other).text
    assert served.client.delete(f"/shares/{made['id']}", headers=other).status_code == 404
    assert served.client.delete("/shares", params={"owner": made["owner"]}, headers=other).status_code == 403
    assert served.client.get(f"{root_of(made)}/dicom-web/studies").status_code == 200


def test_a_link_ends_with_the_key_that_made_it(served):
    who, other = add_key(served, "leaving", "read", "share"), add_key(served, "staying", "read", "share")
    made, others = share(served, who), share(served, other)
    held = browser(served, made)
    inside = f"/s/{made['id']}/dicom-web/studies"
    assert served.client.get(inside, headers=held).status_code == 200
    assert served.archive.index.keys.drop(made["owner"].removeprefix("key "))
    assert served.client.get(inside, headers=held).status_code == 401
    assert served.client.get(f"{root_of(made)}/dicom-web/studies").status_code == 401
    assert open_link(served, made).status_code == 401
    listed = served.client.get("/shares", headers=add_key(served, "looking", "admin")).json()["shares"]
    assert made["id"] not in {one["id"] for one in listed}
    assert served.client.get(f"{root_of(others)}/dicom-web/studies").status_code == 200
    short = add_key(served, "short", "read", "share", expires=time.time() + 3600)
    assert share(served, short, days=7)["expires"] <= time.time() + 3600


def test_a_key_that_is_revoked_while_it_makes_a_link_makes_none(tmp_path):
    served = make(tmp_path, access_remember_seconds=60.0)
    who = add_key(served, "revoked", "read", "share")
    made = share(served, who)
    assert served.archive.index.keys.drop(made["owner"].removeprefix("key "))
    assert served.client.post("/shares", json={"study": uid(OURS)}, headers=who).status_code == 401  # known still
    assert served.archive.index.shares.all() == []
    served.archive.close()


def test_all_links_of_somebody_are_revoked_at_once(served):
    one, other, admin = (add_key(served, name, *roles) for name, *roles in (
        ("many", "read", "share"), ("few", "read", "share"), ("revoking", "admin"),
    ))  # fmt: skip
    several, kept = [share(served, one) for _ in range(3)], share(served, other)
    gone = served.client.delete("/shares", params={"owner": several[0]["owner"]}, headers=admin)
    assert (gone.status_code, gone.json()) == (200, {"revoked": 3})
    for made in several:
        assert served.client.get(f"{root_of(made)}/dicom-web/studies").status_code == 401
    assert served.client.get(f"{root_of(kept)}/dicom-web/studies").status_code == 200
    own = served.client.delete("/shares", params={"owner": kept["owner"]}, headers=other)
    assert (own.status_code, own.json()) == (200, {"revoked": 1})
    assert served.client.delete("/shares", headers=admin).status_code == 400


def test_where_nobody_is_asked_or_it_is_not_wanted_there_are_no_links(tmp_path):
    open_, unwanted = Served(tmp_path / "open"), Served(tmp_path / "not", access=True, origins={"shares": "given"})
    admin = add_key(unwanted, "admin", "admin")
    made, secret = shares.new_share(uid(OURS), "view", "x", time.time(), 60.0)
    for served, who in ((open_, {}), (unwanted, admin)):
        served.archive.index.shares.add(made)
        assert served.client.post("/shares", json={"study": uid(OURS)}, headers=who).status_code == 404
        assert served.client.get("/shares", headers=who).status_code == 404
        assert served.client.delete("/shares", params={"owner": "x"}, headers=who).status_code == 404
        root = f"/s/{shares.write_root(made, secret)}"
        for path in ("", "/dicom-web/studies", "/session", "/"):
            assert served.client.get(f"{root}{path}", headers=who).status_code == 404
        assert served.client.get("/session").json()["shares"] is False
        served.archive.close()
    with pytest.raises(BadSetting, match="shares needs access"):
        Config(shares=True)


# -- opening ---------------------------------------------------------------------------------------------------
def test_a_link_leads_to_the_page_that_opens_it_and_the_pass_is_for_its_addresses_alone(served):
    made = share(served)
    onward = served.client.get(f"/s/{made['id']}")
    assert (onward.status_code, onward.headers["location"]) == (303, f"{made['id']}/sign-in")
    assert served.client.get(f"/s/{made['id']}/sign-in").headers["referrer-policy"] == "no-referrer"
    answer = open_link(served, made)
    assert answer.headers["cache-control"] == "no-store"
    kept = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", f"Path=/s/{made['id']}/"} <= {part.strip() for part in kept.split(";")}
    held = {"cookie": kept.partition(";")[0]}
    told = served.client.get(f"/s/{made['id']}/session", headers=held).json()
    assert (told["name"], told["roles"], told["study"]) == (f"link {made['id']}", ["view"], uid(OURS))
    rows = served.client.get(f"/s/{made['id']}/dicom-web/studies", headers=held)
    assert [row["0020000D"]["Value"] for row in rows.json()] == [[uid(OURS)]]
    # neither at the root, nor below another link, whatever the browser sends there
    other = share(served, study=THEIRS)
    assert served.client.get("/dicom-web/studies", headers=held).status_code == 401
    assert served.client.get(f"/s/{other['id']}/dicom-web/studies", headers=held).status_code == 401


def test_below_a_link_it_is_the_link_that_asks_whoever_else_does(served):
    made = share(served)
    admin = add_key(served, "admin below a link", "admin")
    assert served.client.get(f"/s/{made['id']}/dicom-web/studies", headers=admin).status_code == 401
    assert served.client.get(f"{root_of(made)}/nodes", headers=admin).status_code == 403
    held = browser(served, made)
    both = {"cookie": f"roentgate-session={admin['authorization'].removeprefix('Bearer ')}; {held['cookie']}"}
    rows = served.client.get(f"/s/{made['id']}/dicom-web/studies", headers=both).json()
    assert [row["0020000D"]["Value"] for row in rows] == [[uid(OURS)]]


def test_an_unopened_link_and_a_wrong_secret_open_nothing(served):
    made = share(served)
    assert served.client.get(f"/s/{made['id']}/dicom-web/studies").status_code == 401
    wrong, unknown = (open_link(served, {**made, **change}) for change in ({"url": "#" + "A" * 32}, {"id": "0" * 16}))
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text == unknown.text
    for link in (f"{made['id']}.{'A' * 32}", f"{made['id']}.", f"{made['id']}.x", "x", f"{made['id']}.{'A' * 33}"):
        assert served.client.get(f"/s/{link}/dicom-web/studies").status_code in (401, 404)
    assert open_link(served, made, key="").status_code == 400
    foreign = {"key": secret_of(made)}
    for headers in ({}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = served.client.post(f"/s/{made['id']}/session", json=foreign, headers=headers)
        assert answer.status_code == 403


def test_a_pass_that_was_changed_or_is_of_another_link_opens_nothing(served):
    made, other = share(served), share(served)
    held = browser(served, made)["cookie"].removeprefix("roentgate-link=")
    secret, until, signed = held.split(".")
    strange = [
        f"{secret}.{int(until) + 1}.{signed}", f"{secret}.{until}.{signed[::-1]}", f"{secret}.{until}.",
        f"{secret_of(other)}.{until}.{signed}", secret, "", "\u00e9", "A" * 9000,
    ]  # fmt: skip
    for text in strange:
        headers = {"cookie": f"roentgate-link={text}".encode()}
        assert served.client.get(f"/s/{made['id']}/dicom-web/studies", headers=headers).status_code == 401, text
    for text in (held, f"{secret}.{until}.{browser(served, other)['cookie'].split('.')[2]}"):
        headers = {"cookie": f"roentgate-link={text}"}
        assert served.client.get(f"/s/{other['id']}/dicom-web/studies", headers=headers).status_code == 401


def test_behind_a_prefix_links_and_their_passes_lie_below_it(tmp_path):
    known = {"public_url": "https://pacs.example/images", "path_prefix": "/images"}
    served = make(tmp_path, **known)
    made = share(served)
    assert made["url"].startswith(f"https://pacs.example/images/s/{made['id']}#")
    page = {"origin": "https://pacs.example"}
    for before in ("/images", ""):  # as the proxy leaves it or not
        answer = served.client.post(f"{before}/s/{made['id']}/session", json={"key": secret_of(made)}, headers=page)
        kept = {part.strip() for part in answer.headers["set-cookie"].split(";")}
        assert {"Secure", "HttpOnly", f"Path=/images/s/{made['id']}/"} <= kept
        assert served.client.get(f"{before}/s/{made['id']}").headers["location"] == f"{made['id']}/sign-in"
    rows = served.client.get(f"/images/s/{made['id']}.{secret_of(made)}/dicom-web/studies").json()
    assert rows[0]["00081190"]["Value"] == [f"{made['dicomweb']}/studies/{uid(OURS)}"]
    served.archive.close()


STRANGE = [
    "/s/{link}/../nodes", "/s/{link}/%2e%2e/nodes", "/s/{link}/./nodes", "/s/{link}//nodes", "/s/{link}/s/{link}/nodes",
    "/s/{link}/dicom-web/../../../nodes", "/s/{link}%2fnodes", "//s/{link}/nodes", "/s/{link}/nodes/",
    "/s/{link};/nodes", "/s/{link}%00/nodes", "/s/{link}/%73/x/nodes", "/s/x", "/s/%0d%0aa:b", "/s/a:b/",
]  # fmt: skip


@pytest.mark.parametrize("path", STRANGE)
def test_no_way_of_writing_leads_from_a_link_to_what_it_does_not_open(served, path):
    made = share(served, right="download")
    link = root_of(made).removeprefix("/s/")
    answer = served.client.get(path.format(link=link))
    assert answer.status_code in (401, 403, 404)
    assert "STORESCP" not in answer.text


def test_a_link_that_has_ended_or_was_revoked_opens_nothing_for_those_who_opened_it_either(served):
    admin = add_key(served, "ends links", "admin")
    made = share(served, admin)
    held, inside = browser(served, made), f"/s/{made['id']}/dicom-web/studies"
    assert served.client.get(inside, headers=held).status_code == 200
    assert served.client.get(f"{root_of(made)}/dicom-web/studies").status_code == 200
    served.client.delete(f"/shares/{made['id']}", headers=admin)
    assert served.client.get(inside, headers=held).status_code == 401
    assert served.client.get(f"{root_of(made)}/dicom-web/studies").status_code == 401
    assert open_link(served, made).status_code == 401
    ended, secret = shares.new_share(uid(OURS), "view", "x", time.time() - 100, 50.0)
    served.archive.index.shares.add(ended)
    told = {"id": ended.id, "url": f"#{secret}"}
    assert open_link(served, told).status_code == 401
    until = time.time() + 1000
    headers = {"cookie": f"roentgate-link={ended.write_pass(secret, until)}"}
    assert served.client.get(f"/s/{ended.id}/dicom-web/studies", headers=headers).status_code == 401


def test_a_pass_ends_with_the_session(tmp_path):
    served = make(tmp_path, session_hours=0.5)
    answer = open_link(served, share(served))
    age = re.search(r"Max-Age=(\d+)", answer.headers["set-cookie"])
    assert age is not None
    assert 1700 <= int(age[1]) <= 1800
    served.archive.close()


def test_who_leaves_a_link_forgets_its_pass(served):
    made = share(served)
    held = browser(served, made)
    out = served.client.request("DELETE", f"/s/{made['id']}/session", headers={**held, **PAGE})
    assert out.status_code == 204
    assert any(
        field.startswith("roentgate-link=") and "Max-Age=0" in field and f"Path=/s/{made['id']}/;" in field
        for field in out.headers.get_list("set-cookie")
    )


def test_a_link_that_may_be_opened_twice_is_not_opened_a_third_time_but_goes_on_in_both_browsers(served):
    made = share(served, openings=2)
    held = [browser(served, made) for _ in range(2)]
    assert open_link(served, made).status_code == 403
    inside = f"/s/{made['id']}/dicom-web/studies"
    assert [served.client.get(inside, headers=one).status_code for one in held] == [200, 200]
    assert made["dicomweb"] is None
    # and no program opens it by its secret, which nobody would count
    assert served.client.get(f"/s/{made['id']}.{secret_of(made)}/dicom-web/studies").status_code == 401


def test_openings_at_the_same_moment_are_counted_each(served):
    made = share(served, openings=3)
    kept = served.archive.index.shares
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(kept.open(made["id"]))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(not share.closed for share in found) == 3
    share_ = kept.get(made["id"])
    assert share_ is not None
    assert share_.opened == 3


def test_a_passphrase_is_wanted_and_ten_wrong_ones_close_the_link_for_good(served):
    made = share(served, passphrase="drei Affen")
    missing, wrong = open_link(served, made), open_link(served, made, passphrase="zwei Affen")
    assert (missing.status_code, missing.json()["type"]) == (401, "urn:roentgate:passphrase")
    assert (wrong.status_code, wrong.json()["type"]) == (401, "urn:roentgate:passphrase")
    # whoever does not have the secret is told of no passphrase
    assert open_link(served, {**made, "url": "#" + "A" * 32}).json()["type"] == "about:blank"
    held = browser(served, made, passphrase="drei Affen")
    assert served.client.get(f"/s/{made['id']}.{secret_of(made)}/dicom-web/studies").status_code == 401
    for _ in range(shares.MOST_WRONG):
        assert open_link(served, made, passphrase="vier Affen").status_code == 401
    assert open_link(served, made, passphrase="drei Affen").status_code == 403
    # those who said it go on
    assert served.client.get(f"/s/{made['id']}/dicom-web/studies", headers=held).status_code == 200
    assert open_link(served, made, passphrase=7).status_code == 400
    assert open_link(served, share(served), passphrase="none is wanted").status_code == 204


def test_who_guesses_secrets_is_not_listened_to_and_keeps_nobody_from_signing_in(tmp_path):
    served = make(tmp_path, access_failures=3)
    made = share(served)
    wrong = {**made, "url": "#" + "A" * 32}
    assert [open_link(served, wrong).status_code for _ in range(4)] == [401, 401, 401, 429]
    assert open_link(served, made).status_code == 429
    assert served.client.get(f"/s/{made['id']}.{'A' * 32}/dicom-web/studies").status_code == 429
    reader = add_key(served, "reader", "read")
    assert served.client.get("/dicom-web/studies", headers=reader).status_code == 200
    served.client._address = "127.0.0.2"
    assert open_link(served, made).status_code == 204
    assert [served.client.get(f"/s/{made['id']}.{'B' * 32}/wado").status_code for _ in range(4)][-1] == 429
    served.archive.close()


# -- what a link reaches ---------------------------------------------------------------------------------------
EVERY = [(path, method) for path, methods in TABLE for method in methods.handlers]
PUBLIC = [path for path, method in EVERY if rule_of(path, method).public and method == "GET"]


@pytest.fixture(scope="module", params=["view", "download"])
def held(request, served) -> tuple[str, dict[str, str], str]:
    """Where a link leads, what its browser sends, and its right."""
    made = share(served, right=request.param)
    return f"/s/{made['id']}", browser(served, made), request.param


def ask(served: Served, held: tuple[str, dict[str, str], str], method: str, path: str, study: int) -> httpx.Response:
    headers = {"accept": "*/*", **held[1], **PAGE}
    return served.client.request(method, f"{held[0]}{url(path, study)}", headers=headers)


@pytest.mark.parametrize(("path", "method"), [one for one in EVERY if not rule_of(*one).public])
def test_a_link_opens_its_study_and_nothing_else_on_every_route(served, held, path, method):
    rule = rule_of(path, method)
    needed = {"view", "known"} if held[2] == "view" else {"view", "read", "known"}
    if rule.whole or not set(rule.rights) & needed:
        assert ask(served, held, method, path, OURS).status_code == 403
        return
    answer = ask(served, held, method, path, OURS)
    assert answer.status_code not in (401, 403)
    if "{study}" in path or path == "/wado":
        foreign, missing = (ask(served, held, method, path, study) for study in (THEIRS, UNKNOWN))
        assert foreign.status_code == missing.status_code == 404
        assert foreign.text == missing.text


def test_what_a_link_answers_has_only_addresses_below_it(served):
    made = share(served, right="download")
    root = root_of(made)
    for path in ("/studies", f"/studies/{uid(OURS)}/metadata", f"/studies/{uid(OURS)}/instances"):
        text = served.client.get(f"{root}/dicom-web{path}").text
        for found in re.findall(r"http://localhost:8080[^\"]*", text):
            assert found.startswith(f"{made['dicomweb']}/studies/{uid(OURS)}")
    frame = f"{root}/dicom-web/studies/{uid(OURS)}/series/{uid(OURS)}.1/instances/{uid(OURS)}.1.1/frames/1"
    answer = served.client.get(frame)
    assert answer.status_code == 200
    assert "public" not in answer.headers["cache-control"]


def test_below_a_link_nobody_signs_in_otherwise_and_nothing_else_is_opened(served, held):
    root, headers, _ = held
    for path in ("/session/login", "/session/callback?code=x&state=y"):
        assert served.client.get(f"{root}{path}", headers=headers).status_code == 404
    assert served.client.post(f"{root}/session/renewal", headers={**headers, **PAGE}).status_code == 404
    key = add_key(served, f"key {time.monotonic_ns()}", "admin")["authorization"].removeprefix("Bearer ")
    answer = served.client.post(f"{root}/session", json={"key": key}, headers={**headers, **PAGE})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


def test_a_link_to_a_study_that_was_deleted_leads_nowhere(tmp_path):
    served = make(tmp_path)
    made = share(served)
    served.client.delete(f"/dicom-web/studies/{uid(OURS)}?reason=test", headers=add_key(served, "deleter", "delete"))
    assert served.client.get(f"{root_of(made)}/dicom-web/studies").json() == []
    assert open_link(served, made).status_code == 204
    who = add_key(served, "late", "read", "share")
    assert served.client.post("/shares", json={"study": uid(OURS)}, headers=who).status_code in (404, 410)
    served.archive.close()


def test_links_that_ended_long_ago_are_forgotten(served):
    old, _ = shares.new_share(uid(OURS), "view", "x", time.time() - 50 * 86_400, 86_400.0)
    served.archive.index.shares.add(old)
    assert served.archive.index.shares.get(old.id) is not None
    share(served)
    assert served.archive.index.shares.get(old.id) is None


# -- what is recorded ------------------------------------------------------------------------------------------
def test_making_opening_use_and_revoking_are_recorded_and_no_secret_is(tmp_path, caplog):
    caplog.set_level("DEBUG")
    served = make(tmp_path, audit_sync="always", audit_merge_seconds=0.0, log_requests=True)
    who = add_key(served, "zoe", "read", "share")
    made = share(served, who, right="download", days=1)
    held = browser(served, made)
    inside = f"/s/{made['id']}"
    served.client.get(f"{inside}/dicom-web/studies?PatientID=P1", headers=held)
    served.client.get(f"{root_of(made)}/dicom-web/studies/{uid(OURS)}", headers={"accept": "application/zip"})
    served.client.get(f"{root_of(made)}/dicom-web/studies/{uid(THEIRS)}")
    served.client.get(f"{root_of(made)}/nothing/here")
    open_link(served, {**made, "url": "#" + "A" * 32})
    protected = share(served, who, passphrase="drei Affen")
    open_link(served, protected, passphrase="zwei Affen")
    served.client.delete(f"/shares/{made['id']}", headers=who)
    served.client.get(f"{root_of(made)}/dicom-web/studies")
    told = served.client.get("/metrics", headers=add_key(served, "scraper", "read")).text
    served.archive.close()
    lines = [line for path in (tmp_path / "audit").iterdir() for line in path.read_text().splitlines()]
    records = [json.loads(line) for line in lines]

    def found(event: str) -> list[dict[str, Any]]:
        return [one for one in records if one["event"] == event]

    created, opened, revoked = (found(f"share {what}")[0] for what in ("created", "opened", "revoked"))
    assert (created["who"], created["share"], created["study"]) == ("zoe", made["id"], uid(OURS))
    assert (opened["who"], opened["known"], opened["study"]) == (f"link {made['id']}", "link", uid(OURS))
    assert (revoked["who"], revoked["share"]) == ("zoe", made["id"])
    by_link = [one for one in records if one.get("known") == "link"]
    assert {one["event"] for one in by_link} >= {"query", "export", "retrieve"}
    assert {one["outcome"] for one in found("login failure")} == {"refused"}
    assert {one.get("share") for one in found("login failure")} >= {made["id"], protected["id"]}
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("dicomweb")]
    assert logged
    everything = "\n".join([*lines, *logged, told])
    for secret in (secret_of(made), secret_of(protected), held["cookie"].split(".")[-1], "Affen", "A" * 32):
        assert secret not in everything


def test_what_is_remembered_of_a_link_is_no_key(tmp_path):
    served = make(tmp_path, access_remember_seconds=60.0)
    made = share(served)
    held = browser(served, made)["cookie"].removeprefix("roentgate-link=")
    link = root_of(made).removeprefix("/s/")
    assert served.client.get(f"/s/{link}/dicom-web/studies").status_code == 200
    assert served.client.get(
        f"/s/{made['id']}/dicom-web/studies", headers={"cookie": f"roentgate-link={held}"}
    ).is_success
    for text in (f"{made['id']} {held}", f"{link} ", link, held):
        for name, value in (("x-api-key", text), ("authorization", f"Bearer {text}")):
            assert served.client.get("/dicom-web/studies", headers={name: value}).status_code == 401
        cookie = {"cookie": f"roentgate-session={text}"}
        assert served.client.get("/dicom-web/studies", headers=cookie).status_code == 401
    served.archive.close()


def test_a_client_that_asks_for_hours_is_answered_without_the_index(tmp_path):
    served = make(tmp_path, access_remember_seconds=60.0)
    made = share(served)
    frame = f"{root_of(made)}/dicom-web/studies"
    assert served.client.get(frame).status_code == 200
    served.archive.index.shares.drop(made["id"])
    assert served.client.get(frame).status_code == 200  # as with keys: remembered for access_remember_seconds
    served.archive.close()


def test_the_same_link_is_good_at_every_replica(tmp_path):
    one = make(tmp_path / "one")
    made = share(one, passphrase="x")
    held = browser(one, made, passphrase="x")
    from asgi import Client

    from dicomweb.app import build

    other = Client(build(one.config, one.archive))
    assert other.get(f"/s/{made['id']}/dicom-web/studies", headers=held).status_code == 200
    one.archive.close()


def test_images_of_study_are_not_needed_to_see_the_pages(served):
    made = share(served)
    for path in ("/", "/sign-in", "/explorer/app.js"):
        assert served.client.get(f"/s/{made['id']}{path}").status_code == 200
    assert served.client.get(f"/s/{made['id']}/explorer/nothing.js").status_code == 404
    assert dicoms.PREFIX not in served.client.get(f"/s/{made['id']}/").text
