import re

import defusedxml.ElementTree
import pytest
from asgi import Client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from dicomweb.web import capabilities
from dicomweb.web.addresses import DICOMWEB, Addresses
from dicomweb.web.methods import Methods
from dicomweb.web.problems import Guard
from dicomweb.web.routes import TABLE

WADL = "{http://wadl.dev.java.net/2009/02}"


def client() -> Client:
    app = Starlette(
        routes=[Route("/dicom-web", Methods(OPTIONS=capabilities.capabilities))], middleware=[Middleware(Guard)]
    )
    app.state.addresses = Addresses("https://pacs.example/x")
    return Client(app)


def test_capabilities_are_one_application_with_one_resources_element():
    response = client().options("/dicom-web")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    resources = response.json()["application"]["resources"]
    assert resources["@base"] == "https://pacs.example/x/dicom-web"
    assert [one["@path"] for one in resources["resource"]][:2] == ["studies", "series"]


def test_the_wadl_form_says_the_same():
    response = client().options("/dicom-web", headers={"accept": "application/vnd.sun.wadl+xml"})
    assert response.headers["content-type"] == "application/vnd.sun.wadl+xml"
    root = defusedxml.ElementTree.fromstring(response.content)
    assert root.tag == f"{WADL}application"
    (resources,) = root
    assert resources.get("base") == "https://pacs.example/x/dicom-web"

    def count(node) -> int:
        return len(node.get("method", [])) + sum(map(count, node.get("resource", [])))

    told = client().options("/dicom-web").json()["application"]["resources"]
    assert len(list(root.iter(f"{WADL}method"))) == count(told)
    types = {one.get("mediaType") for one in root.iter(f"{WADL}representation")}
    assert 'multipart/related; type="application/dicom"' in types


def test_a_form_that_is_neither_is_406():
    assert client().options("/dicom-web", headers={"accept": "image/png"}).status_code == 406


def test_capabilities_that_the_client_holds_are_not_sent():
    etag = client().options("/dicom-web").headers["etag"]
    again = client().options("/dicom-web", headers={"if-none-match": etag})
    assert again.status_code == 304


@pytest.mark.parametrize("direction", ["told but not there", "there but not told"])
def test_what_is_told_is_what_there_is(direction):
    def plain(path: str) -> str:
        return re.sub(r"\{[^}]*\}", "{}", path)

    told = {plain(path): methods for path, methods in capabilities.paths().items()}
    there = {
        plain(path.removeprefix(DICOMWEB)): set(methods.handlers)
        for path, methods in TABLE
        if path.startswith(f"{DICOMWEB}/")
    }
    if direction == "told but not there":
        assert {path: methods for path, methods in told.items() if there.get(path) != methods} == {}
    else:
        assert set(there) - set(told) == set()
