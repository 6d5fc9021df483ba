"""What a request body may cost, and what happens to the rest of one that is answered early."""

import asyncio

import pytest

from dicomweb.errors import BadRequest, TooLarge, TooSlow, UnsupportedMedia
from dicomweb.web.draining import Draining
from dicomweb.web.limits import Limits


class Client:
    """A client as an ASGI server shows it: body pieces in, messages out. After the pieces it falls silent,
    unless they end the body."""

    def __init__(self, *pieces: bytes, ends: bool = True, headers: dict[str, str] | None = None) -> None:
        self.pieces = list(pieces)
        self.ends = ends
        self.taken = 0
        self.sent: list[dict] = []
        self.taken_when_answered: int | None = None
        fields = {"transfer-encoding": "chunked"} if headers is None else headers
        self.scope = {
            "type": "http",
            "method": "POST",
            "http_version": "1.1",
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
        }

    async def receive(self):
        if self.pieces:
            piece = self.pieces.pop(0)
            self.taken += 1
            return {"type": "http.request", "body": piece, "more_body": bool(self.pieces) or not self.ends}
        if self.ends:
            return {"type": "http.request", "body": b"", "more_body": False}
        return await asyncio.Event().wait()

    async def send(self, message):
        self.sent.append(message)
        if message.get("body"):
            self.taken_when_answered = self.taken

    def run(self, app):
        asyncio.run(app(self.scope, self.receive, self.send))

    @property
    def answer(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def read_all(receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return body


async def reply(send, text: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text, "more_body": False})


def raised_by(client: Client, most_bytes: int = 100, least_rate: int = 0, grace: float = 1.0):
    """What reading the whole body raises, and how many pieces had been taken by then."""
    caught: list[Exception] = []

    async def app(scope, receive, send):
        try:
            await read_all(receive)
        except Exception as error:
            caught.append(error)

    client.run(Limits(app, most_bytes, least_rate, grace))
    return (caught[0] if caught else None), client.taken


def test_a_body_within_the_limits_arrives_as_it_was_sent():
    client = Client(b"one", b"two", b"three")

    async def app(scope, receive, send):
        await reply(send, await read_all(receive))

    client.run(Limits(app, 11, 1, 1.0))
    assert client.answer == b"onetwothree"


def test_a_content_length_above_the_limit_is_refused_before_a_byte_is_read():
    error, taken = raised_by(Client(b"x" * 10, headers={"content-length": "101"}))
    assert isinstance(error, TooLarge)
    assert "100 bytes" in str(error)
    assert taken == 0


def test_a_content_length_at_the_limit_is_read():
    error, taken = raised_by(Client(b"x" * 100, headers={"content-length": "100"}))
    assert (error, taken) == (None, 1)


def test_a_chunked_body_is_cut_when_it_passes_the_limit():
    error, taken = raised_by(Client(*[b"x" * 30] * 100, ends=False))
    assert isinstance(error, TooLarge)
    assert taken == 4


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br", "identity, gzip", "GZIP"])
def test_a_compressed_body_is_refused_before_a_byte_is_read(coding):
    error, taken = raised_by(Client(b"x", headers={"content-encoding": coding, "content-length": "1"}))
    assert isinstance(error, UnsupportedMedia)
    assert taken == 0


def test_the_identity_coding_is_no_coding():
    assert raised_by(Client(b"x", headers={"content-encoding": "identity", "content-length": "1"})) == (
        None,
        1,
    )


def test_a_content_length_that_is_no_number_is_a_bad_request():
    error, _ = raised_by(Client(b"x", headers={"content-length": "-1"}))
    assert isinstance(error, BadRequest)


def test_a_client_that_falls_silent_in_the_middle_is_given_up():
    error, taken = raised_by(Client(b"x", ends=False), least_rate=1000, grace=0.01)
    assert isinstance(error, TooSlow)
    assert taken == 1


def test_what_was_sent_early_buys_time_later():
    limits = Limits(None, 1 << 30, least_rate=1000, grace=20)
    assert limits.patience(0, 0) == 20
    assert limits.patience(60, 60.0) < 0, "one byte a second for a minute is too slow"
    assert limits.patience(1_000_000, 600.0) > 0, "a megabyte in ten minutes is not"


def test_without_a_least_rate_a_client_may_take_its_time():
    assert Limits(None, 1, least_rate=0, grace=1).patience(0, 1e9) is None


def test_time_that_the_handler_takes_for_itself_does_not_count(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("dicomweb.web.limits.time.monotonic", lambda: now[0])
    client = Client(*[b"x"] * 10)

    async def app(scope, receive, send):
        while (await receive())["more_body"]:
            now[0] += 1000.0
        await reply(send, b"done")

    client.run(Limits(app, 100, least_rate=1000, grace=0.5))
    assert client.answer == b"done"


def test_once_the_answer_has_begun_the_body_is_no_longer_judged():
    client = Client(b"x" * 1000, headers={"content-length": "1000"})

    async def app(scope, receive, send):
        await reply(send, b"early")
        await read_all(receive)

    client.run(Limits(app, 10, least_rate=1, grace=1.0))
    assert client.answer == b"early"


# -- draining --------------------------------------------------------------------------------------------
async def refuse(scope, receive, send):
    """Answers without reading anything."""
    await reply(send, b"no")


def test_an_early_answer_goes_out_at_once_and_ends_when_the_body_has_been_read():
    client = Client(*[b"x"] * 50)
    client.run(Draining(refuse))
    assert client.taken_when_answered == 0
    assert client.taken == 50
    assert client.answer == b"no"
    assert [message.get("more_body") for message in client.sent] == [None, True, False]


def test_an_endless_body_is_read_up_to_the_bound_only():
    client = Client(*[b"x" * 100] * 50, ends=False)
    client.run(Draining(refuse, most_bytes=1000))
    assert client.taken == 10
    assert client.sent[-1]["more_body"] is False


def test_a_client_that_stops_sending_does_not_hold_the_answer_for_ever():
    client = Client(b"x", ends=False)
    client.run(Draining(refuse, most_seconds=0.01))
    assert client.sent[-1]["more_body"] is False


def test_a_body_that_was_read_is_answered_in_one_piece():
    client = Client(b"one", b"two")

    async def app(scope, receive, send):
        await reply(send, await read_all(receive))

    client.run(Draining(app))
    assert [message.get("body") for message in client.sent] == [None, b"onetwo"]


@pytest.mark.parametrize("headers", [{}, {"content-length": "0"}])
def test_a_request_without_a_body_is_not_waited_for(headers):
    client = Client(ends=False, headers=headers)
    client.run(Draining(refuse))
    assert client.answer == b"no"
    assert client.taken == 0


def test_on_http2_a_body_may_come_without_a_length():
    client = Client(b"x", b"y", headers={})
    client.scope["http_version"] = "2"
    client.run(Draining(refuse))
    assert client.taken == 2


def test_what_is_no_request_passes_through():
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["type"], receive, send))

    receive, send = object(), object()
    asyncio.run(Draining(Limits(app, 1, 1, 1.0))({"type": "lifespan"}, receive, send))
    assert seen == [("lifespan", receive, send)]
