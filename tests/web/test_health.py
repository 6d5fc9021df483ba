from asgi import Client
from starlette.applications import Starlette
from starlette.routing import Route

from dicomweb.errors import Incompatible, OutOfSpace, Unavailable
from dicomweb.web import health
from dicomweb.web.health import Readiness
from dicomweb.web.methods import Methods


class Part:
    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.asked = 0

    def check(self) -> None:
        self.asked += 1
        if self.fails:
            raise Unavailable("connection to 10.0.0.7 as user archive refused")


def client(**parts: Part) -> Client:
    app = Starlette(routes=[Route("/live", Methods(GET=health.live)), Route("/ready", Methods(GET=health.ready))])
    app.state.readiness = Readiness(**parts)
    return Client(app)


def test_alive_does_not_ask_the_back_ends():
    part = Part(True)
    response = client(storage=part).get("/live")
    assert response.json() == {"status": "alive"}
    assert part.asked == 0


def test_ready_when_all_answer():
    response = client(storage=Part(False), index=Part(False)).get("/ready")
    assert response.status_code == 200
    assert response.json() == {"status": "ready"}


def test_a_full_disk_is_named_and_takes_no_reader_away():
    class Full(Part):
        def check(self) -> None:
            raise OutOfSpace("the file store has no room left")

    response = client(storage=Full(False), index=Part(False)).get("/ready")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "writes": "refused", "full": ["storage"]}


def test_not_ready_names_the_part_and_nothing_of_the_inside():
    response = client(storage=Part(True), index=Part(False)).get("/ready")
    assert response.status_code == 503
    assert "storage" in response.json()["detail"]
    assert "index" not in response.json()["detail"]
    assert "10.0.0.7" not in response.text
    assert response.headers["retry-after"]


def test_what_does_not_go_together_is_told_in_its_own_words():
    class Misfit(Part):
        def check(self) -> None:
            raise Incompatible("the index was made by a newer Roentgate")

    response = client(storage=Part(False), index=Misfit(False)).get("/ready")
    assert response.status_code == 503
    assert response.json()["detail"] == "Not ready: the index was made by a newer Roentgate."


def test_many_questions_reach_the_back_ends_once():
    part = Part(False)
    readiness = Readiness(storage=part)
    for _ in range(50):
        assert readiness.failing() == []
    assert part.asked == 1
