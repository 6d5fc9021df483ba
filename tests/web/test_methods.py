from asgi import Client
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.web.methods import Methods


async def get(_: Request) -> Response:
    return Response("body", headers={"x-from": "get"})


async def post(request: Request) -> Response:
    return Response(await request.body())


CLIENT = Client(Methods(GET=get, POST=post))


def test_each_method_has_its_handler():
    assert CLIENT.get("/").text == "body"
    assert CLIENT.post("/", content=b"sent").text == "sent"


def test_head_is_get_without_body():
    response = CLIENT.head("/")
    assert response.status_code == 200
    assert response.headers["x-from"] == "get"
    assert response.headers["content-length"] == "4"
    assert response.content == b""


def test_options_names_the_methods():
    response = CLIENT.options("/")
    assert response.status_code == 204
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"


def test_another_method_is_refused_with_allow():
    response = CLIENT.request("BREW", "/")
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert response.json()["status"] == 405
