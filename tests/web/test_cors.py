import pytest
from asgi import Client
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.errors import NotFound
from dicomweb.web.cors import Cors
from dicomweb.web.methods import Methods
from dicomweb.web.problems import Guard

VIEWER = "https://viewer.example"
SLIDE_ACCEPT = "accept,authorization"


async def get(request: Request) -> Response:
    if request.query_params:
        raise NotFound("no such study")
    return Response("fine", headers={"vary": "Accept"})


def client(*origins: str) -> Client:
    return Client(Cors(Guard(Methods(GET=get)), origins))


def preflight(origin: str, *origins: str, headers: str = SLIDE_ACCEPT):
    asked = {
        "origin": origin,
        "access-control-request-method": "GET",
        "access-control-request-headers": headers,
    }
    return client(*origins).options("/", headers=asked)


def test_a_listed_origin_may_read_answers_and_what_viewers_look_at():
    response = client(VIEWER).get("/", headers={"origin": VIEWER})
    assert response.headers["access-control-allow-origin"] == VIEWER
    exposed = response.headers["access-control-expose-headers"].split(", ")
    assert {"Content-Range", "ETag", "Location", "Content-Location", "Warning"} <= set(exposed)
    assert set(response.headers["vary"].split(", ")) == {"Accept", "Origin"}


def test_errors_can_be_read_too():
    response = client(VIEWER).get("/?x", headers={"origin": VIEWER})
    assert response.status_code == 404
    assert response.headers["access-control-allow-origin"] == VIEWER


def test_another_origin_may_not():
    response = client(VIEWER).get("/", headers={"origin": "https://evil.example"})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
    assert "Origin" in response.headers["vary"]


def test_a_preflight_names_methods_headers_and_how_long_it_holds():
    response = preflight(VIEWER, VIEWER)
    assert response.status_code == 204
    assert "content-length" not in response.headers  # RFC 9110 8.6: never with 204
    assert response.headers["access-control-allow-origin"] == VIEWER
    allowed = response.headers["access-control-allow-headers"].split(", ")
    assert {"accept", "authorization", "content-type", "range", "if-none-match"} <= set(allowed)
    assert "DELETE" in response.headers["access-control-allow-methods"]
    assert int(response.headers["access-control-max-age"]) >= 7200
    assert "Origin" in response.headers["vary"]


def test_a_preflight_of_another_origin_allows_nothing():
    response = preflight("https://evil.example", VIEWER)
    assert response.status_code == 204
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_every_origin_may_read_without_credentials():
    response = client("*").get("/", headers={"origin": "https://any.example"})
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers
    assert preflight("https://any.example", "*").headers["access-control-allow-origin"] == "*"


def test_headers_that_a_page_adds_are_allowed_and_nothing_that_is_no_name():
    response = preflight(VIEWER, VIEWER, headers="x-request-id, bad\theader, accept")
    allowed = response.headers["access-control-allow-headers"].split(", ")
    assert "x-request-id" in allowed
    assert not any("bad" in name for name in allowed)


def test_options_that_is_no_preflight_reaches_the_resource():
    response = client(VIEWER).options("/", headers={"origin": VIEWER})
    assert "GET" in response.headers["allow"]
    assert response.headers["access-control-allow-origin"] == VIEWER


@pytest.mark.parametrize("headers", [{}, {"origin": VIEWER}])
def test_without_origins_nothing_is_said(headers):
    response = client().get("/", headers=headers)
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert response.headers["vary"] == "Accept"


FOREIGN = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


@pytest.mark.parametrize(
    ("headers", "origins", "status"),
    [
        (FOREIGN, (), 403),
        (FOREIGN, (VIEWER,), 403),
        ({**FOREIGN, "origin": VIEWER}, (VIEWER,), 405),
        (FOREIGN, ("*",), 405),
        ({**FOREIGN, "authorization": "Bearer x"}, (), 405),  # no page sends that unasked
        ({"origin": "http://localhost", "sec-fetch-site": "same-origin"}, (), 405),
        ({"origin": "https://evil.example"}, (), 405),  # no browser says so; what may be done is asked elsewhere
        ({}, (), 405),
    ],
)
def test_a_page_of_another_site_changes_nothing_through_the_browser_of_somebody_near(headers, origins, status):
    assert client(*origins).post("/", headers=headers, content=b"{}").status_code == status
    assert client(*origins).get("/", headers=headers).status_code == 200
