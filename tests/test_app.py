"""The application as a whole: what it opens, what it starts, what surrounds every answer."""

import asyncio
import dataclasses

import pytest
from asgi import Client
from served import Served

from dicomweb.app import build
from dicomweb.archive.archive import open_archive
from dicomweb.config import Config
from dicomweb.errors import BadSetting


def config(tmp_path, **settings) -> Config:
    return dataclasses.replace(Config(data=tmp_path, storage="memory:", index="sqlite::memory:"), **settings)


def run_lifespan(app) -> list[str]:
    """Start and stop the application as a server does; return what it answered."""
    said: list[str] = []

    async def run() -> None:
        coming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive():
            return coming.pop(0)

        async def send(message):
            said.append(message["type"])

        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)

    asyncio.run(run())
    return said


def test_the_sweeper_runs_while_the_application_does(tmp_path, monkeypatch):
    app = build(config(tmp_path))
    events = []
    monkeypatch.setattr(app.state.sweeper, "start", lambda: events.append("start"))
    monkeypatch.setattr(app.state.sweeper, "stop", lambda: events.append("stop"))
    assert run_lifespan(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert events == ["start", "stop"]


def test_what_it_opened_is_closed_and_what_it_was_given_stays_open(tmp_path, monkeypatch):
    closed = []
    given = open_archive(config(tmp_path))
    monkeypatch.setattr(given, "close", lambda: closed.append("given"))
    run_lifespan(build(config(tmp_path), given))
    assert closed == []
    own = build(config(tmp_path))
    monkeypatch.setattr(own.state.archive, "close", lambda: closed.append("own"))
    run_lifespan(own)
    assert closed == ["own"]


def test_a_back_end_that_is_none_stops_the_start(tmp_path):
    with pytest.raises(BadSetting):
        build(config(tmp_path, storage="ftp://nowhere"))


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/dicom-web/studies", "/wado", "/dicom-web/studies/a.b"])
def test_every_answer_says_that_nothing_is_to_be_sniffed(tmp_path, path):
    response = Served(tmp_path).client.get(path)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


def test_a_body_above_the_limit_is_413_in_plain_words(tmp_path):
    served = Served(tmp_path, limit_request_bytes=1000)
    response = served.client.post(
        "/dicom-web/studies", content=bytes(2000), headers={"content-type": "application/dicom"}
    )
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"


def test_it_serves_health(tmp_path):
    client = Client(build(config(tmp_path)))
    assert client.get("/health/live").status_code == 200
    assert client.get("/health/ready").json() == {"status": "ready"}
