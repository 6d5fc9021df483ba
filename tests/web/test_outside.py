"""What lies outside of a scope makes no difference: every answer to somebody who may know of a part is, byte for byte,
that of a server which has nothing else. So neither statuses nor counts, pages, tags or words tell of the rest."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import exchanging
import httpx
import pytest
from issuing import AUDIENCE, issuing
from known import OURS, THEIRS, UNKNOWN, store, uid, url
from served import Served

from dicomweb.access import keys, shares
from dicomweb.access.keys import Key
from dicomweb.access.rights import ROLES, Scope
from dicomweb.web.rights import rule_of
from dicomweb.web.routes import TABLE

GONE, KEPT, SAME = 5, 6, 7
"""Foreign studies: one that was deleted, one with an object kept beside another, another one of our patient."""

WHO = ("key of a study", "key of a patient", "token of a study", "token of a patient", "link")


@dataclass
class Worlds:
    """Two servers, of which one has our study alone and the other one more; who asks both, and where."""

    near: Served
    far: Served
    before: str
    who: dict[str, str]

    def ask(self, method: str, path: str, **headers: str) -> None:
        """Both must answer alike."""
        one, other = (
            served.client.request(method, f"{self.before}{path}", headers={"accept": "*/*", **self.who, **headers})
            for served in (self.near, self.far)
        )
        assert told(one) == told(other), path


def told(answer: httpx.Response) -> tuple[Any, ...]:
    """What an answer says. Tags, and boundaries made of them, name versions, which each server numbers as it likes."""
    fields, body = dict(answer.headers.multi_items()), answer.content
    assert len(fields) == len(answer.headers.multi_items()) or fields.get("warning")
    if "etag" in fields:
        fields["etag"] = "-gzip" if "-gzip" in fields["etag"] else ""
    if (boundary := re.search(r'boundary="?([^";]+)', fields.get("content-type", ""))) is not None:
        fields["content-type"] = fields["content-type"].replace(boundary[1], "")
        body = body.replace(boundary[1].encode(), b"")
    return answer.status_code, sorted(fields.items()), answer.headers.get_list("warning"), body


@pytest.fixture(scope="module", params=WHO)
def worlds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    of_patient = "patient" in request.param
    scope = Scope(patients=frozenset([("P1", "")])) if of_patient else Scope(studies=frozenset([uid(OURS)]))
    with issuing() as issuer:
        settings = {
            "access": True, "access_failures": 10_000, "oidc_issuer": issuer.url, "oidc_audience": AUDIENCE,
            "oidc_studies_claim": "studies", "oidc_patients_claim": "patients",
        }  # fmt: skip
        folder = tmp_path_factory.mktemp("outside")
        near, far = (exchanging.served(made(folder / name), None, **settings) for name in ("near", "far"))
        admin, before = known_to_both((near, far), frozenset(ROLES), None), ""
        if "key" in request.param:
            who = known_to_both((near, far), frozenset(ROLES) - {"admin"}, scope)
        elif "token" in request.param:
            roles = [f"roentgate-{role}" for role in ROLES if role != "admin"]
            claim = {"patients": ["P1"]} if of_patient else {"studies": [uid(OURS)]}
            who = {"authorization": f"Bearer {issuer.sign(roles=roles, **claim)}"}
        else:
            share, secret = shares.new_share(uid(OURS), "download", "zoe", time.time(), 3600.0)
            for served in (near, far):
                served.archive.index.shares.add(share)
            who, before = {}, f"/s/{shares.write_root(share, secret)}"
        for served in (near, far):
            for number in (1, 2, 3):
                assert store(served, admin, OURS, number=number).status_code == 200
        fill(far, admin, of_patient)
        yield Worlds(near, far, before, who)
        near.archive.close()
        far.archive.close()


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def known_to_both(both: tuple[Served, Served], roles: frozenset[str], scope: Scope | None) -> dict[str, str]:
    text = keys.new_text()
    for served in both:
        key = Key(keys.id_of(text) or "", keys.digest_of(text), "somebody", roles, scope, None, 1.0)
        served.archive.index.keys.add(key)
    return {"authorization": f"Bearer {text}"}


def fill(far: Served, admin: dict[str, str], of_patient: bool) -> None:
    """Put in what nobody may know of."""
    for study in (THEIRS, GONE, KEPT):
        for number in (1, 2):
            assert store(far, admin, study, number=number).status_code == 200
    assert far.client.delete(f"/dicom-web/studies/{uid(GONE)}?reason=test", headers=admin).status_code == 204
    kept = store(far, {**admin, "on-conflict": "keep"}, KEPT, PatientComments="another")
    assert kept.status_code in (200, 202)
    assert len(far.client.get("/conflicts", headers=admin).json()["conflicts"]) == 1
    if not of_patient:
        # the same patient, accession and description elsewhere
        same = {"PatientID": "P1", "AccessionNumber": f"ACC{OURS}", "PatientName": "Doe^Jane"}
        assert store(far, admin, SAME, **same).status_code == 200
    jobs = far.archive.index.jobs
    jobs.add("send", "STORESCP", {"resources": [{"study": uid(THEIRS)}]})
    share, _ = shares.new_share(uid(THEIRS), "view", "somebody else", time.time(), 3600.0)
    far.archive.index.shares.add(share)


ALL = [(path, method) for path, methods in TABLE for method in (*methods.handlers, "HEAD")]
SAFE = [one for one in ALL if one[1] in ("GET", "HEAD") and not rule_of(*one).public and one[0] != "/shares"]


@pytest.mark.parametrize(("path", "method"), SAFE)
def test_every_resource_is_as_if_there_were_nothing_else(worlds: Worlds, path: str, method: str) -> None:
    for study in (OURS, THEIRS, GONE, KEPT, SAME, UNKNOWN):
        worlds.ask(method, url(path, study))


FOREIGN = [one for one in ALL if "{study}" in one[0] and one[1] in ("GET", "DELETE")]


@pytest.mark.parametrize(("path", "method"), FOREIGN)
def test_foreign_studies_are_not_there_whatever_is_shown_of_them(worlds: Worlds, path: str, method: str) -> None:
    for study in (THEIRS, GONE):
        asked = f"{worlds.before}{url(path, study)}" + ("?reason=test" if method == "DELETE" else "")
        answer = worlds.far.client.request(method, asked, headers=worlds.who)
        assert answer.status_code == (403 if method == "DELETE" and worlds.before else 404)
        for headers in ({"if-none-match": "*"}, {"range": "bytes=0-3"}, {"accept": "nonsense"}, {"if-match": "*"}):
            worlds.ask(method, url(path, study), **headers)


def test_a_tag_that_somebody_else_was_given_is_answered_as_any_other(worlds: Worlds) -> None:
    admin = known_to_both((worlds.near, worlds.far), frozenset(["admin"]), None)
    frame = url("/dicom-web/studies/{study}/series/{series}/instances/{instance}/frames/{frames}", THEIRS)
    tag = worlds.far.client.get(frame, headers=admin).headers["etag"]
    worlds.ask("GET", frame, **{"if-none-match": tag})
    # nor of a list that has more in it
    for path in ("/dicom-web/studies", "/dicom-web/instances", "/lookup?q=P1", "/dicom-web/patients"):
        tag = worlds.far.client.get(path, headers=admin).headers.get("etag", '"x"')
        worlds.ask("GET", path, **{"if-none-match": tag})


QUERIES = [
    "", "limit=1", "limit=0", "limit=2&offset=1", "offset=9", "includefield=all", "orderby=PatientName",
    "orderby=-StudyDate", "limit=1&includefield=all&orderby=PatientID",
    "PatientID=P1", "PatientID=P2", "PatientID=P*", "PatientName=*", "PatientName=doe&fuzzymatching=true",
    "AccessionNumber=ACC1", "AccessionNumber=ACC2", "ModalitiesInStudy=CT", "Modality=CT", "StudyDate=19000101-",
    "00081030=*", "00181030=*", "NumberOfStudyRelatedInstances=3", "NumberOfStudyRelatedInstances=2",
    "includefield=NumberOfPatientRelatedStudies,NumberOfPatientRelatedSeries,NumberOfPatientRelatedInstances",
    "NumberOfPatientRelatedStudies=1", "NumberOfPatientRelatedStudies=2", "PatientComments=another",
    *(f"StudyInstanceUID={uid(study)}" for study in (OURS, THEIRS, GONE, SAME)),
    f"StudyInstanceUID={uid(OURS)},{uid(THEIRS)}", f"SOPInstanceUID={uid(THEIRS)}.1.1",
    f"SeriesInstanceUID={uid(OURS)}.1,{uid(THEIRS)}.1",
]  # fmt: skip
LISTS = [
    "/dicom-web/studies", "/dicom-web/series", "/dicom-web/instances", "/dicom-web/patients",
    f"/dicom-web/studies/{uid(OURS)}/series", f"/dicom-web/studies/{uid(OURS)}/instances",
]  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
def test_searches_and_their_counts_are_as_if_there_were_nothing_else(worlds: Worlds, path: str) -> None:
    for query in QUERIES:
        worlds.ask("GET", f"{path}?{query}")
        worlds.ask("GET", f"{path}?{query}", accept='multipart/related; type="application/dicom+xml"')


@pytest.mark.parametrize("path", LISTS)
def test_the_pages_of_a_search_are_so_too(worlds: Worlds, path: str) -> None:
    where: str | None = f"{worlds.before}{path}?limit=1"
    for _ in range(6):
        assert where is not None
        one, other = (each.client.get(where, headers=worlds.who) for each in (worlds.near, worlds.far))
        assert told(one) == told(other)
        link = re.search(r"<([^>]*)>", one.headers.get("link", ""))
        where = link[1].removeprefix("http://localhost:8080") if link else None
        if where is None:
            return
    raise AssertionError("there are more pages than objects")


def test_a_look_up_is_so_too(worlds: Worlds) -> None:
    for study in (OURS, THEIRS, GONE, SAME, UNKNOWN):
        for below in ("", ".1", ".1.1", ".1.2"):
            worlds.ask("GET", f"/lookup?q={uid(study)}{below}")
    for text in ("P1", "P2", "P6", "ACC1", "ACC2", "nobody"):
        worlds.ask("GET", f"/lookup?q={text}")


def test_a_cursor_of_somebody_else_leads_nowhere_foreign(worlds: Worlds) -> None:
    admin = known_to_both((worlds.near, worlds.far), frozenset(["admin"]), None)
    page = worlds.far.client.get("/dicom-web/studies?limit=1", headers=admin)
    cursor = re.search(r"cursor=([^>&]*)", page.headers["link"])
    assert cursor is not None
    answer = worlds.far.client.get(f"{worlds.before}/dicom-web/studies?cursor={cursor[1]}", headers=worlds.who)
    assert answer.status_code == 200
    assert {row["0020000D"]["Value"][0] for row in answer.json()} <= {uid(OURS)}


def test_links_of_somebody_else_are_not_listed_or_revoked(worlds: Worlds) -> None:
    if worlds.before:
        assert worlds.far.client.get(f"{worlds.before}/shares").status_code == 403
        return
    other = replace(shares.new_share(uid(THEIRS), "view", "x", time.time(), 60.0)[0], maker="root")
    worlds.far.archive.index.shares.add(other)
    body = {"study": uid(THEIRS)}
    answers = [each.client.post("/shares", json=body, headers=worlds.who) for each in (worlds.near, worlds.far)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text == answers[1].text
    assert worlds.far.client.delete(f"/shares/{other.id}", headers=worlds.who).status_code == 404
