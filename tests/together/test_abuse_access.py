"""Abuse of a server process with access control, over sockets: what is asked by nobody, by somebody else, or in a way
that nobody means well. `test_abuse_rows` says which row is which test."""

import json
import re
from collections.abc import Iterator

import commands
import dicoms
import httpx
import pytest
from authority import Authority
from besieged import DICOM, FAILURES, TOKEN, VIEWER, Besieged, besieged
from forging import FORGED
from http2 import Http2Client, reset_many
from joserfc.jwk import RSAKey
from known import OURS, THEIRS, UNKNOWN, uid, url
from starlette.responses import Response

from dicomweb.access.rights import ROLES
from dicomweb.web.rights import rule_of
from dicomweb.web.routes import TABLE

EVERY = [(path, method) for path, methods in TABLE for method in methods.handlers]
OF_STUDIES = [path for path, method in EVERY if method == "GET" and ("{study}" in path or path == "/wado")]
STUDIES = "/dicom-web/studies"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    with besieged(tmp_path_factory.mktemp("besieged")) as made:
        yield made


def instance(study: int) -> str:
    return f"{STUDIES}/{uid(study)}/series/{uid(study)}.1/instances/{uid(study)}.1.1"


# -- requests ------------------------------------------------------------------------------------------------
def test_streams_that_are_only_reset_end_a_connection_by_tls_and_a_certificates_name_comes_from_it_alone(tmp_path):
    """A08, A47."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    env = {
        "ROENTGATE_TLS_CERT": cert, "ROENTGATE_TLS_KEY": key, "ROENTGATE_TLS_CLIENT_CA": str(authority.file),
        "ROENTGATE_TLS_CLIENTS": "reader=read", "ROENTGATE_LIMIT_RESETS": "20", "ROENTGATE_LIMIT_RESETS_RATE": "0",
    }  # fmt: skip
    with commands.served(tmp_path, **env) as server:
        with Http2Client(server.port, authority.context("stranger")) as client:
            reset_many(client, 1000)
        forged = {
            "x-ssl-client-s-dn": "CN=reader", "x-forwarded-client-cert": 'Subject="CN=reader"',
            "x-client-cert-cn": "reader", "client-cert": ":cmVhZGVy:", "x-ssl-client-verify": "SUCCESS",
        }  # fmt: skip
        for name, status in (("reader", 200), ("stranger", 401)):
            root = f"https://127.0.0.1:{server.port}"
            with httpx.Client(verify=authority.context(name), base_url=root, timeout=60) as holder:
                assert holder.get(STUDIES, headers=forged).status_code == status


@pytest.mark.parametrize(
    "ranges", [",".join(f"{2 * at}-{2 * at}" for at in range(1000)), ",".join(["0-"] * 1000), "0-9,5-14,-1"]
)
def test_many_ranges_are_answered_by_the_whole_or_not_at_all(there, ranges):
    """A09."""
    with there.client("read") as client:
        path, whole = instance(OURS), {"accept": "application/dicom"}
        answer = client.get(path, headers={"range": f"bytes={ranges}", **whole})
        assert answer.status_code in {200, 416}
        assert answer.status_code == 416 or answer.content == client.get(path, headers=whole).content


def fields_of(said: bytes) -> list[str]:
    """The names of the header fields of an answer, as they stand on the wire."""
    head = said.partition(b"\r\n\r\n")[0]
    return [line.partition(b":")[0].decode("latin-1").lower() for line in re.split(b"\r\n|\r|\n", head)[1:]]


def test_no_value_and_no_query_becomes_a_header_field(there):
    """A11."""
    evil = "x\r\nEvil: 1\r\n\r\n<script>"
    study = dicoms.ct(study=31, PatientName=evil, PatientID=evil, StudyDescription=evil, AccessionNumber="a\nEvil: 1")
    with there.client("write") as writer:
        assert writer.post(STUDIES, content=study, headers=DICOM).status_code in {200, 202}
    who = f"X-Api-Key: {there.keys['read']}\r\nConnection: close\r\nHost: x\r\n"
    one = instance(31)
    for path, accept in (
        (f"{STUDIES}/{uid(31)}", "application/zip"),
        (f"{STUDIES}/{uid(31)}/metadata", "*/*"),
        (f"{STUDIES}?StudyInstanceUID={uid(31)}&includefield=all", "*/*"),
        (f"{STUDIES}?Evil%0d%0aEvil:%201=1&PatientNme%0aEvil:=2", "*/*"),
        (f"{STUDIES}?PatientName=*%0d%0aEvil:*&fuzzymatching=true", "*/*"),
        (f"{one}/rendered", "image/png"),
        (one, "application/dicom"),
        (f"{one}/frames/1%0d%0aEvil:%201", "*/*"),
        ("/lookup?q=%0d%0aEvil:%201", "*/*"),
        ("/s/%0d%0aEvil:%201", "*/*"),
        ("/%0d%0aEvil:%201", "*/*"),
        ("/aets/%0d%0aEvil:%201/studies", "*/*"),
    ):
        said = there.say(f"GET {path} HTTP/1.1\r\nAccept: {accept}\r\n{who}\r\n".encode())
        assert said.startswith(b"HTTP/1.1 "), path
        assert "evil" not in fields_of(said), path
        assert said.count(b"HTTP/1.1 ") == 1, path


def test_nobody_says_under_which_name_or_from_where_he_asks(there):
    """A12: no proxy is trusted, and a Host is anybody's word."""
    forged = {
        "host": "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-for": "192.0.2.66",
        "x-forwarded-proto": "gopher", "x-forwarded-prefix": "/evil",
        "forwarded": "for=192.0.2.66;host=evil.example;proto=https", "x-real-ip": "192.0.2.66",
        "x-original-url": "/evil", "x-rewrite-url": "/evil", "x-http-method-override": "DELETE",
    }  # fmt: skip
    with there.client("read", 12) as client:
        for path in (STUDIES, f"{STUDIES}/{uid(OURS)}/metadata", "/aets", "/openapi.json", "/docs", "/dicom-web"):
            answer = client.get(path, headers=forged)
            assert answer.status_code == 200, path
            assert "evil" not in answer.text + str(answer.headers), path
    assert {record["from"] for record in there.trail() if record.get("from", "").endswith("12")} == {"127.0.0.12"}
    assert "192.0.2.66" not in json.dumps(there.trail())


def test_what_goes_wrong_tells_nothing_of_the_inside_or_the_patient(there):
    """A13, and that what is stored and damaged is no exception."""
    canary = {"PatientName": "CANARY^ZOE", "PatientID": "CANARYID"}
    objects = there.folder / "data" / "files" / "objects"
    before = set(objects.rglob("*"))
    with there.client("admin", 13) as client:
        client.headers.update(there.who("admin"))
        assert client.post(STUDIES, content=dicoms.ct(study=33, **canary), headers=DICOM).is_success
        (stored,) = [path for path in set(objects.rglob("*")) - before if path.is_file()]
        stored.chmod(0o600)
        stored.write_bytes(b"damaged")
        answers = {
            "damaged": client.get(f"{instance(33)}/frames/1"),
            "gone": (stored.unlink(), client.get(instance(33), headers={"accept": "application/dicom"}))[1],
            "refused": client.post(STUDIES, content=dicoms.ct(study=33, **canary)[:-99], headers=DICOM),
            "conflict": client.post(STUDIES, content=dicoms.ct(study=33, Modality="MR", **canary), headers=DICOM),
            "query": client.get(f"{STUDIES}?StudyDate='%20OR%201=1--"),
            "cursor": client.get(f"{STUDIES}?cursor=%00'"),
            "no such": client.get("/dicom-web/studies/1.2.3.4/metadata"),
            "no uid": client.get("/dicom-web/studies/..%2f..%2fetc/metadata"),
            "no json": client.post("/shares", content=b"{" * 5000),
            "no multipart": client.post(STUDIES, content=b"x", headers={"content-type": "multipart/related"}),
            "no form": client.get(f"{instance(OURS)}/rendered?window=nan,inf,linear"),
        }
    assert [name for name, answer in answers.items() if answer.status_code < 400] == []
    for name, answer in answers.items():
        for word in (str(there.folder), "Traceback", 'File "', "SELECT", "sqlite", "CANARY", ".py", stored.name):
            assert word not in answer.text, name


@pytest.mark.parametrize("key", ["PatientName", "PatientID", "00081030", "StudyDescription", "AccessionNumber"])
def test_a_filter_is_a_value_whatever_is_in_it(there, key):
    """A60."""
    values = ["'", '"', "%", "_", "\\", "\x00", "'; DROP TABLE instance; --", "' OR '1'='1", "%' ESCAPE '", "[a-z]"]
    with there.client("read") as client:
        all_ = len(client.get(STUDIES).json())
        for value in values:
            answer = client.get(STUDIES, params={key: value})
            assert answer.status_code in {200, 400}, value
            assert answer.status_code == 400 or answer.json() == [], value
        assert len(client.get(STUDIES).json()) == all_


def test_no_text_keeps_a_server_busy(there):
    """A61: each is answered, and so is whoever asks next."""
    many = 6000
    with there.client("read") as client:
        for fields in (
            {"accept": "a/b" + ";q=0.1" * (many // 6)},
            {"accept": "multipart/related; type=" + '"' * many},
            {"accept": "," * many},
            {"accept": 'multipart/related; type="' + "\\" * many},
            {"range": "bytes=" + "0" * many + "-"},
            {"if-none-match": '"a' * (many // 2)},
            {"accept-encoding": "gzip;q=0." + "0" * many},
            {"accept-charset": "-" * many},
            {"forwarded": 'for="' + "\\" * many},
            {"cookie": "roentgate-session" + "=" * many},
            {"authorization": "Bearer " + "." * many},
            {"traceparent": "0" * many},
        ):
            assert client.get(f"{STUDIES}/{uid(OURS)}/metadata", headers=fields).status_code < 500, fields
        for query in (
            "StudyDate=" + "1" * many, "StudyDate=" + "-" * many, "StudyTime=" + "0" * many + "-",
            "PatientName=" + "*" * many, "PatientName=" + "*?" * 2000, "PatientName=" + "^" * many,
            "PatientName=" + "=" * many, "fuzzymatching=true&PatientName=" + "a " * (many // 2),
            "StudyInstanceUID=" + "1." * (many // 2), "StudyInstanceUID=" + "1," * (many // 2),
            "includefield=" + "." * many, "orderby=" + "-" * many, "&" * many, "00100010." * 600 + "=x",
        ):  # fmt: skip
            assert client.get(f"{STUDIES}?{query}").status_code < 500, query[:40]
        assert client.get("/health/live").status_code == 200


# -- who asks ------------------------------------------------------------------------------------------------
def test_a_token_that_is_not_good_opens_nothing(there):
    """A41."""
    with there.client(last=41) as client:
        for name, forge in FORGED.items():
            answer = client.get(STUDIES, headers={"authorization": f"Bearer {forge(there.issuer)}"})
            if answer.status_code != 431:  # a field of more than the server reads
                assert answer.status_code == 401, name
                assert 'error="invalid_token"' in answer.headers["www-authenticate"], name
        assert client.get(STUDIES).headers["www-authenticate"] == 'Bearer realm="Roentgate"'
        good = there.issuer.sign(studies=uid(OURS))
        assert len(client.get(STUDIES, headers={"authorization": f"Bearer {good}"}).json()) == 1


def share(there: Besieged) -> tuple[str, str]:
    """A link to our study by which it can be downloaded: its id, and the root below it."""
    with there.client("admin") as admin:
        made = admin.post("/shares", json={"study": uid(OURS), "right": "download"}).json()
    return made["id"], made["dicomweb"].removesuffix("/dicom-web")


@pytest.mark.parametrize("by", ["narrow", "patient", "link"])
def test_a_foreign_study_is_not_there_by_any_way(there, by):
    """A42: on every route, in searches, in what they count, and through one's own study."""
    root = share(there)[1] if by == "link" else ""
    with there.client("" if by == "link" else by) as client:
        for path in OF_STUDIES:
            theirs, missing = (client.get(root + url(path, study)) for study in (THEIRS, UNKNOWN))
            assert theirs.status_code == missing.status_code == 404, path
            assert theirs.text == missing.text, path
        for path in ("/dicom-web/studies", "/dicom-web/series", "/dicom-web/instances", "/dicom-web/patients"):
            for query in ("", "includefield=all", "fuzzymatching=true", "limit=0", f"StudyInstanceUID={uid(THEIRS)}"):
                answer = client.get(f"{root}{path}?{query}")
                assert uid(THEIRS) not in answer.text + answer.headers.get("warning", "")
                assert "are 2" not in answer.headers.get("warning", "")
        for text in ("P2", uid(THEIRS), f"{uid(THEIRS)}.1.1"):
            assert client.get(f"{root}/lookup", params={"q": text}).json()["results"] == []
        assert client.get(f"{root}{instance(OURS)}/metadata").status_code == 200
        series, one = f"{uid(THEIRS)}.1", f"{uid(THEIRS)}.1.1"
        for path in (
            f"{STUDIES}/{uid(OURS)}/series/{series}/metadata",
            f"{STUDIES}/{uid(OURS)}/series/{series}/instances/{one}",
            f"{STUDIES}/{uid(OURS)}/series/{uid(OURS)}.1/instances/{one}/frames/1",
            f"{STUDIES}/{uid(OURS)}%2f..%2f{uid(THEIRS)}/metadata",
            f"/wado?requestType=WADO&studyUID={uid(OURS)}&seriesUID={series}&objectUID={one}",
            f"/wado?requestType=WADO&studyUID={uid(THEIRS)}&studyUID={uid(OURS)}&seriesUID={series}&objectUID={one}",
        ):
            assert client.get(root + path).status_code in {400, 404}, path
        for path, method in EVERY:
            if rule_of(path, method).whole:
                assert client.request(method, root + url(path, OURS)).status_code == 403, path


def test_a_link_opens_by_its_own_secret_and_only_until_it_is_revoked(there):
    """A42, A43: no other spelling of its address leads anywhere, and no key is asked where a link asks."""
    id, root = share(there)
    secret = root.rpartition(".")[2]
    with there.client(last=44) as client, there.client("admin") as admin:
        assert client.get(f"{root}{STUDIES}").status_code == 200
        for path in (
            f"/s/{id}{STUDIES}", f"/S/{id}.{secret}{STUDIES}", f"/s/{id}.{secret[:-1]}{STUDIES}",
            f"/s/{id}.{secret.swapcase()}{STUDIES}", f"/s/{id}.{secret}%0a{STUDIES}", f"/s/{id}.{secret}/..{STUDIES}",
            f"/s/{id}.{'A' * 32}/s/{id}.{secret}{STUDIES}", f"/s/{id}.{secret}%00{STUDIES}",
        ):  # fmt: skip
            assert client.get(path).status_code in {401, 404}, path
        assert admin.get(f"/s/{id}{STUDIES}").status_code == 401
        assert len(admin.get(f"{root}{STUDIES}").json()) == 1
        assert admin.delete(f"/shares/{id}").status_code == 204
        assert client.get(f"{root}{STUDIES}").status_code == 401
    assert secret not in there.log() + json.dumps(there.trail())


def test_what_an_issuer_said_lasts_while_it_is_away_and_strangers_make_nobody_ask_it(there):
    """A45."""
    issuer, stranger = there.issuer, RSAKey.generate_key(2048)

    def ask(client: httpx.Client, token: str) -> int:
        return client.get(STUDIES, headers={"authorization": f"Bearer {token}"}).status_code

    with there.client(last=45) as client:
        assert ask(client, issuer.sign(studies="*")) == 200
        asked = issuer.asked.count("/realm/keys")
        issuer.answer = Response(status_code=503)
        try:
            for number in range(30):
                assert ask(client, issuer.sign(stranger, header={"kid": f"nobody-{number}"}, studies="*")) == 401
            assert ask(client, issuer.sign(studies="*", sub="bob")) == 200
            assert issuer.asked.count("/realm/keys") <= asked + 1
        finally:
            issuer.answer = None


def test_nobody_does_more_than_his_role_allows_or_at_another_node(there):
    """A46: each role where another one is asked for, and a key for one node at another."""
    of_a_kind = {rule_of(*each).rights: each for each in EVERY}
    for role in ROLES:
        with there.client(role) as client:
            for rights, (path, method) in of_a_kind.items():
                has = {"known", "public", role, *(["view"] if role == "read" else [])}
                if role == "admin":
                    has |= {*rights} - {"bridge"}
                if not has & {*rights}:
                    assert client.request(method, url(path, OURS)).status_code == 403, (role, method, path)
    work = {"resources": [{"study": uid(OURS)}]}
    with there.client("admin") as admin, there.client("near") as near:
        assert admin.post("/aets/FAR/send", json=work).status_code == 202
        for method, path in (
            ("GET", "/nodes/FAR"), ("PUT", "/nodes/FAR"), ("DELETE", "/nodes/FAR"), ("POST", "/aets/FAR/send"),
            ("POST", "/aets/FAR/retrieve"), ("POST", "/aets/FAR/echo"), ("GET", "/aets/FAR/studies"),
        ):  # fmt: skip
            missing = near.request(method, path.replace("FAR", "NONE"), json=work)
            there_ = near.request(method, path, json=work)
            assert (there_.status_code, there_.text.replace("FAR", "NONE")) == (404, missing.text), path
        assert near.post("/aets/NEAR/retrieve", json={**work, "destination": "FAR"}).status_code == 404
        for path in ("/aets", "/nodes", "/jobs", "/jobs?node=FAR", "/metrics", "/status"):
            assert "FAR" not in near.get(path).text, path


def test_only_listed_pages_read_answers_and_their_viewers_may_ask_for_frames(there):
    """A48."""
    with there.client("read") as client, there.client(last=48) as nobody:
        for origin in ("https://evil.example", "null", f"{VIEWER}.evil.example", "http://viewer.example"):
            answer = client.get(STUDIES, headers={"origin": origin})
            assert "access-control-allow-origin" not in answer.headers, origin
            assert "Origin" in answer.headers["vary"]
        answer = client.get(STUDIES, headers={"origin": VIEWER})
        given = {name: answer.headers.get(f"access-control-allow-{name}") for name in ("origin", "credentials")}
        assert given == {"origin": VIEWER, "credentials": "true"}
        asked = {"origin": VIEWER, "access-control-request-method": "GET", "access-control-request-headers": "accept"}
        preflight = nobody.options(f"{instance(OURS)}/frames/1", headers=asked)
        assert preflight.status_code == 204
        assert "accept" in preflight.headers["access-control-allow-headers"]
        foreign = nobody.options(STUDIES, headers={**asked, "origin": "https://evil.example"})
        assert "access-control-allow-methods" not in foreign.headers


PAGES: list[dict[str, str]] = [
    {},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site", "origin": VIEWER},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"referer": "http://127.0.0.1/"},
]


def test_a_page_of_somebody_else_changes_nothing_for_who_is_signed_in(there):
    """A49: by no method of any route; and no GET changes anything."""
    with there.client(last=49) as client:
        signed = client.post("/session", json={"key": there.keys["admin"]}, headers={"origin": there.root})
        cookie = signed.headers["set-cookie"]
        assert {"httponly", "samesite=strict"} <= {part.strip().lower() for part in cookie.split(";")}
        kept = {"cookie": cookie.partition(";")[0]}
        client.cookies.clear()
        assert client.get("/nodes", headers=kept).status_code == 200
        changing = [(path, method) for path, method in EVERY if method not in {"GET", "OPTIONS"}]
        for page in PAGES:
            for path, method in changing if page is PAGES[0] else [("/nodes/{node}", "PUT"), ("/session", "POST")]:
                answer = client.request(method, url(path, OURS), headers={**kept, **page})
                assert answer.status_code == 403, (page, method, path)

        def state() -> list[str]:
            told = ("/nodes", "/jobs", "/shares", "/dicom-web/instances")
            return [client.get(path, headers=kept).text for path in told]

        before = state()
        for path, method in EVERY:
            if method == "GET" and not path.startswith("/aets/") and not path.endswith("/events"):
                client.get(url(path, OURS), headers=kept)
        assert state() == before


def test_who_guesses_keys_is_not_listened_to_others_are_and_it_is_recorded(there):
    """A50."""
    with there.client(last=50) as client:

        def ask(key: str) -> int:
            return client.get(STUDIES, headers={"x-api-key": key}).status_code

        assert ask(there.keys["read"]) == 200
        guesses = [f"rg_{number:010}_{'A' * 43}" for number in range(FAILURES + 2)]
        assert [ask(guess) for guess in guesses] == [401] * FAILURES + [429] * 2
        assert ask(there.keys["late"]) == 429  # which could be the next guess
        assert ask(there.keys["read"]) == 200  # which was good before
        assert ask(there.keys["ended"]) == 429
    with there.client("late", 51) as other:
        assert other.get(STUDIES).status_code == 200
    told = [record for record in there.trail() if record.get("from") == "127.0.0.50"]
    assert {record["event"] for record in told if record["status"] in (401, 429)} == {"login failure"}
    assert not any(guess in there.log() for guess in guesses)


# -- operation -----------------------------------------------------------------------------------------------
def test_what_is_counted_names_no_study_and_nobody(there):
    """A57."""
    with there.client("admin") as client:
        asked = (f"{STUDIES}/{uid(OURS)}/metadata", "/no/1.2.3.4", f"{STUDIES}?PatientID=P1", "/s/0123456789abcdef/x")
        for path in asked:
            client.get(path)
        client.request("BREW", STUDIES)
        told = client.get("/metrics").text
    for word in (uid(OURS), "1.2.3.4", "P1", "0123456789abcdef", "BREW", "127.0.0", '"admin"', '"alice"', "rg_"):
        assert word not in told, word


def test_a_deletion_needs_the_right_and_a_reason_and_both_are_kept(there):
    """A62."""
    study = f"{STUDIES}/{uid(62)}"
    with there.client("delete") as deleter, there.client("write") as writer:
        assert writer.post(STUDIES, content=dicoms.ct(study=62), headers=DICOM).is_success
        assert writer.delete(f"{study}?reason=mine").status_code == 403
        for query in ("", "?reason=", "?reason=%20"):
            assert deleter.delete(f"{study}{query}").status_code == 400
        assert deleter.delete(f"{study}?reason=stored%20twice").status_code == 204
    with there.client("read") as reader:
        assert reader.get(f"{study}/metadata").status_code == 410
        told = reader.get("/deletions").text
    assert "stored twice" in told
    (record,) = [one for one in there.trail() if one["event"] == "delete" and one["outcome"] == "success"]
    assert (record["who"], record["study"]) == ("delete", uid(62))


def test_what_runs_is_no_older_than_what_is_safe(there):
    """A64."""
    with there.client("read") as client:
        running = client.get("/status").json()["versions"]
    for name, floor in {"pydicom": (3, 0, 2), "pynetdicom": (3, 0, 4), "pillow": (11,), "hypercorn": (0, 18)}.items():
        assert tuple(int(number) for number in re.findall("[0-9]+", running[name])) >= floor, name


def test_a_file_with_a_secret_that_others_can_read_is_told_of_at_the_start(there):
    """A66."""
    assert "roentgate.toml holds the secret bridge_token and other users" in there.log()
    assert TOKEN not in there.log()


def test_no_line_of_the_log_is_anybody_elses(there):
    """A55: what clients send makes no line of its own, and nothing of it that is about patients stands there."""
    marks = "%0a2026-01-01 00:00:00,000 ERROR   dicomweb: CANARYLINE"
    fields = dict.fromkeys(("traceparent", "user-agent", "referer", "roentgate-agent", "origin"), "CANARYLINE")
    with there.client("read") as client:
        for path in (f"/{marks}", f"{STUDIES}?PatientName={marks}", f"/aets/{marks}/studies", f"/viewer/{marks}"):
            client.get(path, headers=fields)
    assert "CANARYLINE" not in there.log()
