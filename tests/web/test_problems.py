import asyncio
import inspect
import logging

import orjson
import pytest
from asgi import Client
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dicomweb import errors
from dicomweb.web import problems
from dicomweb.web.methods import Methods
from dicomweb.web.problems import Guard, answer, status_of


def body_of(response: Response) -> dict:
    return orjson.loads(response.body)


def every_error() -> list[type[errors.Error]]:
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.Error) and kind not in {errors.Error, errors.BadSetting, errors.BadPackage}
    ]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_tells_its_sentence(kind):
    error = kind("no such study", 7) if kind is errors.BadRange else kind("no such study")
    assert any(ancestor in problems.STATUS for ancestor in kind.__mro__)
    response = answer(error)
    assert response.status_code == status_of(error)
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    body = body_of(response)
    assert body["status"] == response.status_code
    sentence = str(error)
    assert body["detail"] == f"{sentence[0].upper()}{sentence[1:]}."
    assert body["title"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BadQuery("x"), 400),
        (errors.NotFound("x"), 404),
        (errors.Gone("x"), 410),
        (errors.NotAcceptable("x"), 406),
        (errors.TooSlow("x"), 408),
        (errors.Conflict("x"), 409),
        (errors.TooBroad("x"), 413),
        (errors.TooLarge("x"), 413),
        (errors.UnsupportedMedia("x"), 415),
        (errors.BadRange("x", 7), 416),
        (errors.Unavailable("x"), 503),
        (errors.OutOfSpace("x"), 507),
        (KeyError("x"), 500),
    ],
)
def test_the_nearest_listed_ancestor_decides(error, status):
    assert status_of(error) == status


def test_a_range_that_cannot_be_served_tells_the_size():
    assert answer(errors.BadRange("x", 7)).headers["content-range"] == "bytes */7"


def test_what_did_not_answer_may_be_asked_again():
    assert int(answer(errors.Unavailable("x")).headers["retry-after"]) > 0


def served(endpoint, raises: bool = False) -> Client:
    app = Starlette(
        routes=[Route("/x", Methods(GET=endpoint))],
        middleware=[Middleware(Guard)],
        exception_handlers={HTTPException: problems.handle},
    )
    return Client(app, raises)


SECRETS = "/srv/data/index.sqlite: SELECT * FROM patients WHERE name = 'Doe^Jane'"


@pytest.mark.parametrize("error", [KeyError(SECRETS), RuntimeError(SECRETS), RecursionError(), errors.Error(SECRETS)])
def test_what_nobody_foresaw_says_nothing_of_the_inside(error, caplog):
    async def fail(_: Request) -> Response:
        raise error

    response = served(fail).get("/x")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    for word in ("Traceback", "srv", "SELECT", "Doe", "KeyError", "Recursion"):
        assert word not in response.text
    assert any(record.exc_info for record in caplog.records), "the log has the stack"


def test_errors_of_handlers_become_problem_documents():
    async def fail(_: Request) -> Response:
        raise errors.Gone("the study was deleted")

    response = served(fail).get("/x")
    assert response.status_code == 410
    assert response.json()["detail"] == "The study was deleted."


def test_unknown_paths_and_methods_become_problem_documents():
    async def fine(_: Request) -> Response:
        return Response("fine")

    client = served(fine)
    assert client.get("/nowhere").json()["status"] == 404
    wrong = client.post("/x")
    assert wrong.status_code == 405
    assert "GET" in wrong.headers["allow"]
    assert wrong.json()["status"] == 405


@pytest.mark.parametrize(
    ("error", "level"),
    [(errors.Unavailable("storage went away"), "ERROR"), (errors.NotFound("the object is gone"), "INFO")],
)
def test_an_error_in_the_middle_of_an_answer_leaves_it_unfinished(caplog, error, level):
    sent = []

    async def breaking(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise error

    async def send(message):
        sent.append(message)

    caplog.set_level(logging.INFO)
    asyncio.run(Guard(breaking)({"type": "http"}, None, send))
    assert [message.get("more_body") for message in sent] == [None, True]
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [(level, None)]


def test_what_nobody_foresaw_in_the_middle_of_an_answer_goes_on_to_the_server():
    async def pieces():
        yield b"half"
        raise KeyError("x")

    async def broken(_: Request) -> Response:
        return StreamingResponse(pieces())

    with pytest.raises(KeyError):
        served(broken, raises=True).get("/x")


def test_damaged_objects_are_one_line_of_the_log_that_says_what_to_do(caplog):
    assert problems.answer(errors.Corrupt("a stored object is shorter than it was")).status_code == 500
    (record,) = caplog.records
    assert record.exc_info is None
    assert "roentgate verify" in record.getMessage()
