"""QIDO-RS over HTTP (PS3.18 10.6), `/patients` and `/lookup`."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from asgi import Client
from shelf import Shelf
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from dicomweb.config import Config
from dicomweb.standard import nativexml
from dicomweb.standard.multipart import PartReader, boundary_of
from dicomweb.web import problems, qido
from dicomweb.web.addresses import Addresses
from dicomweb.web.methods import Methods

BASE = "http://localhost:8080/dicom-web"
PATHS = [
    "/patients",
    "/studies",
    "/series",
    "/instances",
    "/studies/1.2.1/series",
    "/studies/1.2.1/instances",
    "/studies/1.2.1/series/1.2.1.1/instances",
]


def ct(study: int, series: int, number: int, **changes: Any) -> dict[str, Any]:
    dataset: dict[str, Any] = {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00080018": {"vr": "UI", "Value": [f"1.2.{study}.{series}.{number}"]},
        "00080020": {"vr": "DA", "Value": [f"202401{study:02}"]},
        "00080050": {"vr": "SH", "Value": [f"ACC{study}"]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg", "Ideographic": "山田^太郎"}]},
        "00100020": {"vr": "LO", "Value": [f"P{study}"]},
        "0020000D": {"vr": "UI", "Value": [f"1.2.{study}"]},
        "0020000E": {"vr": "UI", "Value": [f"1.2.{study}.{series}"]},
        "00200011": {"vr": "IS", "Value": [series]},
        "00200013": {"vr": "IS", "Value": [number]},
    }
    return dict(sorted((dataset | changes).items()))


def client(index: Any, **settings: Any) -> Client:
    base = "/dicom-web"
    app = Starlette(
        routes=[
            Route(f"{base}/patients", Methods(GET=qido.search_patients)),
            Route(f"{base}/studies", Methods(GET=qido.search_studies)),
            Route(f"{base}/series", Methods(GET=qido.search_series)),
            Route(f"{base}/instances", Methods(GET=qido.search_instances)),
            Route(f"{base}/studies/{{study}}/series", Methods(GET=qido.search_series)),
            Route(f"{base}/studies/{{study}}/instances", Methods(GET=qido.search_instances)),
            Route(f"{base}/studies/{{study}}/series/{{series}}/instances", Methods(GET=qido.search_instances)),
            Route("/lookup", Methods(GET=qido.look_up)),
        ],
        middleware=[Middleware(problems.Guard)],
    )
    app.state.archive = SimpleNamespace(index=index, config=Config(**settings))
    app.state.addresses = Addresses(local=True)
    return Client(app)


@pytest.fixture
def index() -> Iterator[Shelf]:
    shelf = Shelf(ct(1, 1, 1), ct(1, 1, 2), ct(1, 2, 1), ct(2, 1, 1), ct(3, 1, 1))
    yield shelf
    shelf.close()


@pytest.fixture
def web(index: Shelf) -> Client:
    return client(index)


@pytest.mark.parametrize(("path", "count"), list(zip(PATHS, [3, 3, 4, 5, 2, 3, 2], strict=True)))
def test_every_search_resource_answers_in_dicom_json(web: Client, path: str, count: int) -> None:
    answer = web.get(f"/dicom-web{path}", headers={"accept-encoding": "identity"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert len(answer.json()) == count
    assert "warning" not in answer.headers
    assert "link" not in answer.headers


def test_names_come_out_as_they_went_in(web: Client) -> None:
    answer = web.get("/dicom-web/studies", params={"PatientName": "muller*", "limit": "1"})
    assert answer.json()[0]["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg", "Ideographic": "山田^太郎"}]


def test_links_begin_as_the_client_wrote_the_address(web: Client) -> None:
    (study,) = web.get("/dicom-web/studies?AccessionNumber=ACC2").json()
    assert study["00081190"]["Value"] == [f"{BASE}/studies/1.2.2"]


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/*",
        "application/json",
        "application/dicom+json",
        "application/dicom+json, multipart/related; type=application/octet-stream",
        "text/html, application/xhtml+xml, */*;q=0.8",
        'multipart/related; type="application/dicom+xml";q=0.1, application/dicom+json',
    ],
)
def test_json_is_what_clients_get_that_take_it(web: Client, accept: str | None) -> None:
    answer = web.get("/dicom-web/studies", headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")


@pytest.mark.parametrize(
    "url_and_accept",
    [
        ("/dicom-web/studies", 'multipart/related; type="application/dicom+xml"'),
        ("/dicom-web/studies?accept=application/dicom+xml", "*/*"),
        ("/dicom-web/studies?accept=application/dicom%2Bxml", "*/*"),
    ],
)
def test_xml_has_one_part_for_each_result(web: Client, url_and_accept: tuple[str, str]) -> None:
    url, accept = url_and_accept
    answer = web.get(url, headers={"accept": accept})
    assert answer.status_code == 200
    content_type = answer.headers["content-type"]
    assert content_type.startswith('multipart/related; type="application/dicom+xml"; boundary=')
    assert answer.content.count(b"Content-Type: application/dicom+xml\r\n") == 3
    reader = PartReader(boundary_of(content_type))
    assert len(reader.feed(answer.content)) >= 9
    reader.finish()
    documents = re.findall(rb"<\?xml.*?</NativeDicomModel>", answer.content, re.DOTALL)
    studies = web.get("/dicom-web/studies", headers={"accept": "application/dicom+json"}).json()
    assert [nativexml.read(document)["0020000D"] for document in documents] == [study["0020000D"] for study in studies]
    assert web.get(url, headers={"accept": accept}).content == answer.content


def test_what_cannot_be_made_is_answered_by_what_can(web: Client) -> None:
    answer = web.get("/dicom-web/studies", headers={"accept": "image/png"})
    assert answer.status_code == 406
    assert "application/dicom+json" in answer.json()["detail"]


def test_nothing_found_is_an_empty_array(web: Client) -> None:
    for query in ["PatientID=nobody", "offset=1000000000", "StudyInstanceUID=9.9.9", "limit=0"]:
        answer = web.get(f"/dicom-web/studies?{query}")
        assert (answer.status_code, answer.content) == (200, b"[]"), query
    assert web.get("/dicom-web/studies/9.9.9/series").json() == []


def test_nothing_found_is_204_where_the_setting_says_so(index: Shelf) -> None:
    web = client(index, empty_search_status=204)
    for query in ["PatientID=nobody", "limit=0"]:
        answer = web.get(f"/dicom-web/studies?{query}")
        assert (answer.status_code, answer.content) == (204, b""), query
    assert web.get("/dicom-web/studies").status_code == 200


def test_nothing_found_in_xml_has_no_body(web: Client) -> None:
    answer = web.get(
        "/dicom-web/studies?PatientID=nobody",
        headers={"accept": 'multipart/related; type="application/dicom+xml"'},
    )
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "StudyDate=x",
        "PatientID=1&PatientID=2",
        "cursor=!",
        "PatientName=%FF",
        "includefield=all,x",
    ],
)
def test_what_makes_no_sense_is_a_problem_with_a_sentence(web: Client, query: str) -> None:
    answer = web.get(f"/dicom-web/studies?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    "path", ["/studies/abc/series", "/studies/1.2/series/%2e%2e/instances", "/studies/1%00/series"]
)
def test_what_is_no_uid_in_the_path_is_refused(web: Client, path: str) -> None:
    assert web.get(f"/dicom-web{path}").status_code in (400, 404)


def test_more_results_are_announced_and_linked(web: Client) -> None:
    answer = web.get("/dicom-web/instances?limit=2&PatientName=M%C3%BC*&offset=0")
    text = "There are 3 additional results that can be requested"
    assert answer.headers["warning"] == f'299 {BASE} "{text}"'
    seen = [row["00080018"]["Value"][0] for row in answer.json()]
    while "next" in answer.links:
        url = answer.links["next"]["url"]
        assert url.startswith(f"{BASE}/instances?limit=2&PatientName=M%C3%BC*&cursor=")
        answer = web.get(url)
        seen += [row["00080018"]["Value"][0] for row in answer.json()]
    assert "warning" not in answer.headers
    assert len(seen) == len(set(seen)) == 5


def test_the_next_page_stays_in_its_study(web: Client) -> None:
    answer = web.get("/dicom-web/studies/1.2.1/series/1.2.1.1/instances?limit=1")
    assert answer.links["next"]["url"].startswith(f"{BASE}/studies/1.2.1/series/1.2.1.1/instances?limit=1&cursor=")


def test_results_come_in_the_order_asked_for(web: Client) -> None:
    def order(by: str) -> list[str]:
        return [row["00100020"]["Value"][0] for row in web.get(f"/dicom-web/studies?orderby={by}").json()]

    assert order("PatientID") == ["P1", "P2", "P3"]
    assert order("-00100020") == ["P3", "P2", "P1"]
    assert order("-NumberOfStudyRelatedInstances,PatientID") == ["P1", "P2", "P3"]
    assert web.get("/dicom-web/studies?orderby=OtherPatientNames").status_code == 400


def test_pages_follow_the_settings(index: Shelf) -> None:
    web = client(index, search_page=2, search_page_limit=3)
    assert len(web.get("/dicom-web/instances").json()) == 2
    assert len(web.get("/dicom-web/instances?limit=1000").json()) == 3


def test_what_was_ignored_is_said_in_a_warning(web: Client) -> None:
    answer = web.get("/dicom-web/studies?nonsense=1&limit=1")
    warnings = answer.headers.get_list("warning")
    assert warnings[0] == f'299 {BASE} "There are 2 additional results that can be requested"'
    assert "nonsense" in warnings[1]
    assert len(answer.json()) == 1


def test_a_warning_holds_nothing_that_breaks_a_header(web: Client) -> None:
    answer = web.get("/dicom-web/studies?x%0D%0ASet-Cookie:a=1&%22q%22=1&%E5%B1%B1=1")
    assert "set-cookie" not in answer.headers
    (warning,) = answer.headers.get_list("warning")
    assert warning.isascii()
    assert warning.isprintable()
    assert '\\"q\\"' in warning
    assert "\\\\u5c71" in warning


def test_a_link_holds_nothing_that_breaks_a_header(web: Client) -> None:
    answer = web.get("/dicom-web/studies?limit=1&x=%0D%0Aa&y=<>&z=山")
    link = answer.headers["link"]
    assert link.isascii()
    assert link.count("<") == link.count(">") == 1
    assert web.get(answer.links["next"]["url"]).status_code == 200


def test_head_tells_what_get_would(web: Client) -> None:
    get, head = web.get("/dicom-web/studies"), web.head("/dicom-web/studies")
    assert head.content == b""
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["content-type"] == get.headers["content-type"]


def test_an_unchanged_answer_is_not_sent_again(web: Client) -> None:
    etag = web.get("/dicom-web/studies").headers["etag"]
    assert web.get("/dicom-web/studies", headers={"if-none-match": etag}).status_code == 304


def test_long_answers_are_compressed_for_who_takes_it(web: Client) -> None:
    answer = web.get("/dicom-web/instances", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()) == 5


def test_values_that_json_cannot_say_do_not_stop_an_answer(index: Shelf) -> None:
    found = index.search
    surrogate = {"vr": "LO", "Value": ["\ud800"]}

    def search(query: Any) -> Any:
        answer = found(query)
        answer.rows[0].dataset["00100020"] = surrogate
        return answer

    index.search = search  # type: ignore[method-assign]
    answer = client(index).get("/dicom-web/studies")
    assert (answer.status_code, len(answer.json())) == (200, 3)


# -- lookup -------------------------------------------------------------------------------------------------
def test_lookup_finds_any_identifier(web: Client) -> None:
    answer = web.get("/lookup?q=ACC2")
    assert answer.headers["content-type"] == "application/json"
    (result,) = answer.json()["results"]
    assert (result["level"], result["url"]) == ("study", f"{BASE}/studies/1.2.2")
    assert answer.json()["query"] == "ACC2"
    assert web.get("/lookup", params={"q": " 1.2.1.1.2 "}).json()["results"][0]["level"] == "instance"
    assert web.get("/lookup?q=nobody").json()["results"] == []


@pytest.mark.parametrize("query", ["", "q=", "q=%20", "q=a&q=b", "q=" + "x" * 257, "q=a%00"])
def test_lookup_wants_one_identifier(web: Client, query: str) -> None:
    assert web.get(f"/lookup?{query}").status_code == 400


def test_a_link_from_lookup_leads_to_the_studies_of_the_patient(web: Client) -> None:
    (patient,) = web.get("/lookup?q=P1").json()["results"]
    (study,) = web.get(patient["url"]).json()
    assert study["0020000D"]["Value"] == ["1.2.1"]
