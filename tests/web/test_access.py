"""Keys, roles and scopes on every route: nobody gets more than was declared, and a foreign study is not there."""

import time
from collections.abc import Iterator
from typing import Any

import dicoms
import exchanging
import httpx
import pytest
from known import OURS, THEIRS, UNKNOWN, add_key, store, uid, url
from served import Served, with_items

from dicomweb.access import keys
from dicomweb.access.rights import ROLES, Scope
from dicomweb.web.rights import RULES, rule_of
from dicomweb.web.routes import TABLE

EVERY = [(path, method) for path, methods in TABLE for method in methods.handlers]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = exchanging.served(tmp_path_factory.mktemp("access"), access=True, access_failures=10_000)
    writer = add_key(made, "writer of all", "write")
    for study in (OURS, THEIRS):
        store(made, writer, study)
    yield made
    made.archive.close()


def ask(served: Served, method: str, path: str, study: int, who: dict[str, str]) -> httpx.Response:
    # An empty body, and a resource that nothing can come of: what is asked is whether the door opens.
    return served.client.request(method, url(path, study), headers={"accept": "*/*", **who})


# -- what is declared ----------------------------------------------------------------------------------------
def test_every_route_and_method_declares_whose_it_is_and_nothing_else_is_declared():
    declared = {(path, method) for path, rules in RULES.items() for method in rules}
    assert declared == set(EVERY)


def test_only_what_tells_nothing_of_anybody_is_public():
    public = {path for path, method in EVERY if rule_of(path, method).public}
    viewers = {"/viewer", "/viewer/{viewer}", "/viewer/{viewer}/{path:path}"}
    signing = {"/sign-in", "/session", "/session/login", "/session/callback", "/session/renewal", "/s/{link}"}
    assert public == viewers | signing | {
        "/",
        "/explorer/{file:path}",
        "/docs",
        "/openapi.json",
        "/health/live",
        "/health/ready",
    }


def test_what_changes_something_is_never_for_readers():
    readable = {"/aets/{aet}/echo", "/session", "/session/renewal"}
    for path, method in EVERY:
        if method not in ("GET", "OPTIONS") and path not in readable:
            assert not {"view", "read", "known", "public"} & set(rule_of(path, method).rights), path


# -- nobody, and every role ----------------------------------------------------------------------------------
@pytest.mark.parametrize(("path", "method"), EVERY)
def test_nobody_gets_in_without_a_key_but_where_it_is_public(served, path, method):
    response = ask(served, method, path, OURS, {})
    if rule_of(path, method).public:
        # Who signs in or out has to do so on a page of ours
        assert (response.status_code == 403) == (path in ("/session", "/session/renewal") and method != "GET")
        assert response.status_code != 401
        return
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="Roentgate"'
    assert response.headers["content-type"] == "application/problem+json"


WRONG = [
    "rg_0123456789_" + "A" * 43, "rg_", "x", "", "a.b.c", "rg_0123456789_" + "A" * 42, "é", "A" * 20_000,
]  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:12] or "empty")
def test_a_wrong_key_is_401_and_says_so(served, text):
    response = served.client.get("/dicom-web/studies", headers={"authorization": f"Bearer {text}".encode()})
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="Roentgate", error="invalid_token"'


def roles_of(path: str, method: str) -> set[str]:
    return set(rule_of(path, method).rights)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("path", "method"), EVERY)
def test_a_role_opens_what_is_declared_for_it_and_nothing_else(served, path, method, role):
    rights = roles_of(path, method)
    bridge = rights == {"bridge"}
    includes = {"read": {"read", "view"}, "admin": rights if not bridge else set()}
    opens = bool(rights & {*includes.get(role, {role}), "known", "public"})
    who = add_key(served, f"{role} {method} {path}", role)
    if opens and (method != "GET" or path.endswith(("/events", "/frames", "{resource:path}"))):
        return  # what happens then is for the tests of that resource
    response = ask(served, method, path, OURS, who)
    if opens:
        assert response.status_code not in (401, 403), response.text
    else:
        assert response.status_code == 403
        assert response.json()["status"] == 403


def test_a_key_opens_by_either_header_field_until_it_is_revoked_or_has_ended(tmp_path):
    served = Served(tmp_path, access=True, access_remember_seconds=0.0)
    text = add_key(served, "viewer", "read")["authorization"].removeprefix("Bearer ")
    shown = [{"authorization": f"Bearer {text}"}, {"authorization": f"bearer {text}"}, {"x-api-key": text}]
    assert [served.client.get("/dicom-web/studies", headers=one).status_code for one in shown] == [200] * 3
    assert served.archive.index.keys.drop(keys.id_of(text) or "")
    assert [served.client.get("/dicom-web/studies", headers=one).status_code for one in shown] == [401] * 3
    ended = add_key(served, "old", "read", expires=time.time() - 1)
    assert served.client.get("/dicom-web/studies", headers=ended).status_code == 401
    served.archive.close()


def test_a_key_in_the_query_opens_nothing(served):
    text = add_key(served, "in a query", "admin")["authorization"].removeprefix("Bearer ")
    for name in ("token", "access_token", "api_key", "x-api-key", "authorization"):
        assert served.client.get(f"/dicom-web/studies?{name}={text}").status_code == 401


def test_an_address_that_tries_many_wrong_keys_is_not_listened_to_but_others_and_known_keys_are(tmp_path):
    served = Served(tmp_path, access=True, access_failures=3, access_remember_seconds=0.0)
    good, later = add_key(served, "good", "read"), add_key(served, "later", "read")

    def status(who: dict[str, str]) -> int:
        return served.client.get("/dicom-web/studies", headers=who).status_code

    assert status(good) == 200
    assert [status({"x-api-key": f"rg_{number}"}) for number in range(4)] == [401, 401, 401, 429]
    assert (status(good), status(later)) == (200, 429)
    assert served.client.get("/dicom-web/studies").status_code == 401  # nobody tried anything
    served.client._address = "127.0.0.2"
    assert status(later) == 200
    served.archive.close()


def test_where_there_is_an_issuer_too_who_guesses_what_is_no_token_is_not_listened_to(tmp_path):
    served = Served(
        tmp_path, access=True, access_failures=3, bridge_token="SECRET", oidc_issuer="http://127.0.0.1:1",
        oidc_audience="x",
    )  # fmt: skip
    guessed = [{"authorization": f"Bearer SECRE{number}"} for number in range(4)]
    assert [served.client.get("/dicom-web/studies", headers=one).status_code for one in guessed][-1] == 429
    served.archive.close()


def test_of_a_key_the_index_holds_what_cannot_be_turned_into_it(served):
    text = add_key(served, "kept", "read")["authorization"].removeprefix("Bearer ")
    kept = next(key for key in served.archive.index.keys.all() if key.name == "kept")
    secret = text.split("_", 2)[2]
    assert secret not in repr(kept)
    assert text.startswith(f"rg_{kept.id}_")


# -- scopes --------------------------------------------------------------------------------------------------
SCOPES = {
    "study": Scope(studies=frozenset([uid(OURS)])),
    "patient": Scope(patients=frozenset([("P1", "")])),
    "both": Scope(frozenset([uid(OURS)]), frozenset([("P1", ""), ("P3", "")])),
}


@pytest.fixture(scope="module", params=SCOPES)
def narrow(request, served) -> dict[str, str]:
    """Somebody with every role but for one study, or one patient."""
    return add_key(served, f"narrow {request.param}", *ROLES, scope=SCOPES[request.param])


OF_STUDIES = [(path, method) for path, method in EVERY if "{study}" in path or path == "/wado"]


@pytest.mark.parametrize(("path", "method"), OF_STUDIES)
def test_a_foreign_study_is_answered_as_one_that_is_not_there(served, narrow, path, method):
    foreign = ask(served, method, path, THEIRS, narrow)
    missing = ask(served, method, path, UNKNOWN, narrow)
    # An object may be the patient's whatever study it is for; an empty body is none
    assert foreign.status_code == missing.status_code
    assert foreign.status_code == 404 or (method == "POST" and foreign.status_code == 415)
    assert foreign.text == missing.text


READ_OF_STUDIES = [path for path, method in OF_STUDIES if method == "GET"]


@pytest.mark.parametrize("path", READ_OF_STUDIES)
def test_ones_own_study_is_there_on_every_route(served, narrow, path):
    everything = add_key(served, f"reader of all {path} {narrow['authorization'][:16]}", "read")
    mine, all_ = (ask(served, "GET", path, OURS, who) for who in (narrow, everything))
    assert mine.status_code == all_.status_code
    assert mine.status_code not in (401, 403)
    assert mine.content == all_.content


@pytest.mark.parametrize(("path", "method"), [one for one in EVERY if rule_of(*one).whole])
def test_who_may_know_of_some_studies_only_has_nothing_to_do_with_what_is_about_more(served, narrow, path, method):
    assert ask(served, method, path, OURS, narrow).status_code == 403


LEVELS = ["studies", "series", "instances"]


@pytest.mark.parametrize("collection", LEVELS)
@pytest.mark.parametrize(
    "query", ["", "limit=1", "limit=0", "offset=1", "PatientID=P2", "includefield=all", "00181030=*"]
)
def test_searches_find_and_count_ones_own_only(served, narrow, collection, query):
    response = served.client.get(f"/dicom-web/{collection}?{query}", headers=narrow)
    assert response.status_code == 200
    assert {row["0020000D"]["Value"][0] for row in response.json()} <= {uid(OURS)}
    told = response.headers.get("warning", "")
    assert "additional" not in told or (query == "limit=0" and "are 1 additional" in told)


@pytest.mark.parametrize(("name", "found"), [("study", []), ("patient", ["P1"]), ("both", ["P1"])])
def test_a_patient_is_listed_where_all_of_him_is_in_scope(served, name, found):
    who = add_key(served, f"lists patients of {name}", "read", scope=SCOPES[name])
    rows = served.client.get("/dicom-web/patients", headers=who).json()
    assert [row["00100020"]["Value"][0] for row in rows] == found


@pytest.mark.parametrize("identifier", ["P2", "ACC2", uid(THEIRS), f"{uid(THEIRS)}.1", f"{uid(THEIRS)}.1.1"])
def test_lookup_finds_nothing_foreign(served, narrow, identifier):
    assert served.client.get(f"/lookup?q={identifier}", headers=narrow).json()["results"] == []
    own = identifier.replace("P2", "P1").replace("ACC2", "ACC1").replace(uid(THEIRS), uid(OURS))
    found = served.client.get(f"/lookup?q={own}", headers=narrow).json()["results"]
    assert all(one["level"] == "patient" or one.get("StudyInstanceUID") == uid(OURS) for one in found)
    assert found or own == "P1"


def test_what_is_stored_must_be_in_scope(tmp_path):
    served = Served(tmp_path, access=True, on_conflict="replace")
    all_ = add_key(served, "all", "write", "read")
    for study in (OURS, THEIRS):
        assert store(served, all_, study).status_code == 200
    of_study = add_key(served, "of a study", "write", scope=SCOPES["study"])
    of_patient = add_key(served, "of a patient", "write", scope=SCOPES["patient"])
    for who in (of_study, of_patient):
        assert store(served, who, OURS, number=2).status_code == 200
        refused = store(served, who, THEIRS, number=2)
        assert refused.status_code == 409
        assert refused.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0x0124]
        # another's study does not become one's own by one's patient's name
        assert store(served, who, THEIRS, number=3, PatientID="P1").status_code == 409
        # nor is what others stored replaced by an object of the same UID
        assert store(served, who, OURS, SOPInstanceUID=f"{uid(THEIRS)}.1.1").status_code == 409
    assert store(served, of_patient, 7, PatientID="P1").status_code == 200
    assert store(served, of_study, 8, PatientID="P1").status_code == 409
    counts = served.archive.index.counts()
    assert (counts.studies, counts.instances) == (3, 4)
    served.archive.close()


def test_objects_of_one_request_are_judged_each_by_itself(tmp_path):
    served = Served(tmp_path, access=True)
    who = add_key(served, "of a study", "write", scope=SCOPES["study"])
    objects = [dicoms.ct(study=THEIRS), dicoms.ct(study=OURS), b"no object", dicoms.ct(2, study=OURS)]
    parts = b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n" for data in objects)
    headers = {"content-type": 'multipart/related; type="application/dicom"; boundary=b', **who}
    response = served.client.post("/dicom-web/studies", content=parts + b"--b--\r\n", headers=headers)
    assert response.status_code == 202
    told = response.json()
    assert [one["00081155"]["Value"] for one in told["00081199"]["Value"]] == [
        [f"{uid(OURS)}.1.1"],
        [f"{uid(OURS)}.1.2"],
    ]
    assert [one["00081197"]["Value"] for one in told["00081198"]["Value"]] == [[0x0124]]
    assert [one["00081197"]["Value"] for one in told["0008119A"]["Value"]] == [[0xC000]]
    served.archive.close()


def report(*studies: int) -> bytes:
    """A report in our study that refers to an image of each of these."""
    found, evidence = [], []
    for study in studies:
        image = {"ReferencedSOPClassUID": dicoms.CT, "ReferencedSOPInstanceUID": f"{uid(study)}.1.1"}
        series = {"SeriesInstanceUID": f"{uid(study)}.1", "ReferencedSOPSequence": with_items([image])}
        evidence.append({"StudyInstanceUID": uid(study), "ReferencedSeriesSequence": with_items([series])})
        named = {"CodeValue": "121200", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Illustration of ROI"}
        found.append(
            {
                "RelationshipType": "CONTAINS", "ValueType": "IMAGE", "ReferencedSOPSequence": with_items([image]),
                "ConceptNameCodeSequence": with_items([named]),
            }
        )  # fmt: skip
    return dicoms.ct(
        9, study=OURS, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22", Modality="SR", ValueType="CONTAINER",
        ContentSequence=with_items(found), CurrentRequestedProcedureEvidenceSequence=with_items(evidence),
        PixelData=None, Rows=None, Columns=None,
    )  # fmt: skip


def test_a_report_of_ones_own_leads_to_nothing_foreign(tmp_path):
    served = Served(tmp_path, access=True)
    everybody = add_key(served, "everybody", "read", "write")
    for study in (OURS, THEIRS):
        assert store(served, everybody, study).status_code == 200
    narrow = add_key(served, "narrow", "read", "write", scope=SCOPES["study"])
    headers = {"content-type": "application/dicom", **narrow}
    stored = served.client.post("/dicom-web/studies", content=report(OURS, THEIRS, UNKNOWN), headers=headers)
    assert stored.status_code in (200, 202), stored.text

    def led_to(who: dict[str, str]) -> list[int]:
        where = f"/dicom-web/studies/{uid(OURS)}/series/{uid(OURS)}.1/instances/{uid(OURS)}.1.9/rendered"
        page = served.client.get(where, headers={"accept": "text/html", **who})
        assert page.status_code == 200
        tags.append(page.headers["etag"])
        return [study for study in (OURS, THEIRS, UNKNOWN) if f"/studies/{uid(study)}/" in page.text]

    tags: list[str] = []
    assert led_to(everybody) == [OURS, THEIRS]
    assert led_to(narrow) == [OURS]
    assert led_to(narrow) == [OURS]
    assert tags[0] != tags[1] == tags[2], "what one may see is never taken for what another one saw"
    served.archive.close()


# -- nodes ---------------------------------------------------------------------------------------------------
def test_who_may_know_of_some_nodes_only_sees_no_other_and_no_job_of_one(served):
    jobs = served.archive.index.jobs
    foreign = jobs.add("send", "ELSEWHERE", {"resources": [{"study": "1.2.3"}]})
    one = add_key(served, "one node", *ROLES, nodes=frozenset(["STORESCP"]))
    none = add_key(served, "no node", *ROLES, nodes=frozenset(["OTHER"]))

    def get(path: str, who: dict[str, str]) -> Any:
        return served.client.get(path, headers=who)

    assert [aet["name"] for aet in get("/aets", one).json()["aets"]] == ["STORESCP"]
    assert [node["name"] for node in get("/nodes", one).json()["nodes"]] == ["STORESCP"]
    assert get("/nodes", none).json()["nodes"] == []
    assert get("/aets", none).json()["aets"] == []
    assert ("ELSEWHERE" in get("/metrics", one).text, "STORESCP" in get("/metrics", one).text) == (False, True)
    assert {job["node"] for job in get("/jobs", one).json()["jobs"]} == {"STORESCP"}
    assert get("/jobs", none).json()["jobs"] == []
    onwards = [
        jobs.add("retrieve", "STORESCP", {"resources": [], "destination": name}) for name in ("STORESCP", "ELSEWHERE")
    ]
    assert [get(f"/jobs/{job.id}", one).status_code for job in onwards] == [200, 404]
    assert served.client.post(f"/jobs/{onwards[1].id}/retry", headers=one).status_code == 404
    assert [job["id"] for job in get("/jobs?limit=2", one).json()["jobs"]] == [onwards[0].id, exchanging.OVER]
    assert get(f"/jobs/{foreign.id}", one).status_code == 404
    assert get(f"/jobs/{foreign.id}", one).json()["detail"].startswith("There is no job")
    body = {"resources": [{"study": uid(OURS)}]}
    there, missing = (served.client.post(f"/aets/{name}/send", json=body, headers=none) for name in ("STORESCP", "NOT"))
    assert there.status_code == missing.status_code == 404
    assert there.text.replace("STORESCP", "NOT") == missing.text
    assert served.client.post("/aets/STORESCP/send", json=body, headers=one).status_code == 202


def test_the_bridge_is_known_by_its_token_and_may_neither_delete_nor_administrate(served):
    bridge = exchanging.BRIDGE
    assert served.client.get("/dicom-web/studies", headers=bridge).status_code == 200
    assert served.client.get("/nodes", headers=bridge).status_code == 200
    assert served.client.delete(f"/dicom-web/studies/{uid(UNKNOWN)}", headers=bridge).status_code == 403
    assert served.client.request("PUT", "/nodes/NEW", json={}, headers=bridge).status_code == 403


@pytest.mark.parametrize("version", ["f" * 16, "8" + "0" * 15])
def test_a_version_that_is_larger_than_any_is_none(served, version):
    admin = add_key(served, f"asks for {version}", "admin")
    assert served.client.get(f"/conflicts/{version}", headers=admin).status_code == 404
    assert served.client.get(f"/conflicts?after={version}", headers=admin).status_code == 400


def test_access_control_has_objects_sent_without_what_stands_before_them(tmp_path):
    served = Served(tmp_path, access=True)
    assert served.config.zero_preamble
    assert not Served(tmp_path).config.zero_preamble
    served.archive.close()


def test_storing_into_a_study_of_others_tells_nobody_whether_it_is_there(tmp_path):
    served = Served(tmp_path, access=True)
    writer = add_key(served, "writer", "write")
    for study in (OURS, THEIRS):
        assert store(served, writer, study).is_success
    narrow = add_key(served, "narrow", "write", scope=Scope(patients=frozenset([("P1", "")])))
    foreign, missing = (store(served, narrow, study, f"/{uid(study)}", PatientID="P7") for study in (THEIRS, UNKNOWN))
    assert (foreign.status_code, foreign.text.replace(uid(THEIRS), uid(UNKNOWN))) == (409, missing.text)
    assert missing.status_code == 409
    before = served.client.get(f"/dicom-web/studies/{uid(THEIRS)}/instances", headers=add_key(served, "r", "read"))
    assert store(served, narrow, THEIRS, f"/{uid(THEIRS)}", PatientID="P1", InstanceNumber="9").status_code == 409
    after = served.client.get(f"/dicom-web/studies/{uid(THEIRS)}/instances", headers=add_key(served, "s", "read"))
    assert before.json() == after.json()
    served.archive.close()
