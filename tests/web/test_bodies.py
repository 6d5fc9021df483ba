import asyncio
import threading

import pytest
from asgi import Client
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive.content import Content, Made, Stretch, read, total
from dicomweb.errors import BadRange, Unavailable
from dicomweb.storage.memory import Memory
from dicomweb.telemetry import traces
from dicomweb.web import bodies
from dicomweb.web.bodies import Answer, Body, accepts_gzip, document, respond, tag
from dicomweb.web.methods import Methods
from dicomweb.web.problems import Guard

TAG = '"t"'


def stored(**objects: bytes) -> Memory:
    import hashlib

    from dicomweb.storage import Put

    storage = Memory()
    storage.put([Put(key, data, hashlib.sha256(data).digest()) for key, data in objects.items()])
    return storage


STORAGE = stored(a=b"0123456789", b=bytes(range(256)) * 8192)


def reader(segments, start, stop):
    return read(STORAGE, segments, start, stop)


def frame(number: int, segments, syntax: str = "1.2.840.10008.1.2.4.70") -> Content:
    return Content("image/jpeg", syntax, f"studies/1/frames/{number}", segments, total(segments))


TWO = [frame(1, (Stretch("a", 2, 6),)), frame(2, (b"xy", Stretch("a", 0, 3), Made(2, lambda a, b: [b"zz"[a:b]])))]


def served(body: Body | None = None, etag: str = TAG, **more) -> Client:
    body = body or bodies.multiple(lambda: TWO, etag, "http://h/dicom-web")

    async def get(request: Request) -> Response:
        return respond(request, lambda: body, reader, etag=etag, **more)

    return Client(Guard(Methods(GET=get)))


def test_parts_say_what_is_in_them_and_where_it_is():
    response = served().get("/")
    kind = response.headers["content-type"]
    boundary = kind.partition("boundary=")[2]
    assert kind.startswith('multipart/related; type="image/jpeg"; boundary=')
    assert int(response.headers["content-length"]) == len(response.content)
    assert (
        response.content
        == (
            f"--{boundary}\r\nContent-Type: image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70\r\nContent-Length: 4\r\n"
            "Content-Location: http://h/dicom-web/studies/1/frames/1\r\n\r\n2345"
            f"\r\n--{boundary}\r\nContent-Type: image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70\r\n"
            "Content-Length: 7\r\n"
            "Content-Location: http://h/dicom-web/studies/1/frames/2\r\n\r\nxy012zz"
            f"\r\n--{boundary}--\r\n"
        ).encode()
    )


def test_the_first_part_header_stands_at_the_very_beginning():
    content = served().get("/").content
    assert content.startswith(b"--")
    assert content.index(b"\r\n\r\n") < 1000


def test_the_boundary_is_the_same_for_the_same_answer_only():
    kinds = [served(etag=etag).get("/").headers["content-type"] for etag in (TAG, TAG, '"u"')]
    assert kinds[0] == kinds[1] != kinds[2]


def test_any_range_of_a_multipart_answer_is_a_piece_of_the_whole():
    client = served()
    whole = client.get("/").content
    for first in range(0, len(whole), 7):
        for last in {first, first + 5, first + 100, len(whole) - 1}:
            response = client.get("/", headers={"range": f"bytes={first}-{last}"})
            stop = min(last + 1, len(whole))
            assert response.status_code == 206
            assert response.content == whole[first:stop]
            assert response.headers["content-range"] == f"bytes {first}-{stop - 1}/{len(whole)}"
            assert response.headers["content-length"] == str(stop - first)


def test_a_range_of_something_else_gives_the_whole():
    client = served()
    response = client.get("/", headers={"range": "bytes=0-3", "if-range": '"other"'})
    assert response.status_code == 200
    assert len(response.content) == int(response.headers["content-length"])
    assert client.get("/", headers={"range": "bytes=0-3", "if-range": TAG}).status_code == 206


def test_a_range_outside_is_416_with_the_size():
    response = served().get("/", headers={"range": "bytes=100000-"})
    assert response.status_code == 416
    assert response.headers["content-range"].startswith("bytes */")


def test_what_the_client_holds_is_not_made_again():
    def never() -> Body:
        raise AssertionError("made although the client has it")

    async def get(request: Request) -> Response:
        return respond(request, never, reader, etag=TAG)

    response = Client(Methods(GET=get)).get("/", headers={"if-none-match": TAG})
    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["etag"] == TAG
    assert response.headers["cache-control"] == "private, no-cache"


def test_head_tells_the_length_and_reads_nothing():
    def forbidden(segments, start, stop):
        raise AssertionError("read for HEAD")

    body = bodies.single(TWO[0])

    async def get(request: Request) -> Response:
        return respond(request, lambda: body, forbidden, etag=TAG)

    response = Client(Methods(GET=get)).head("/")
    assert response.status_code == 200
    assert response.headers["content-length"] == "4"
    assert response.headers["accept-ranges"] == "bytes"


def test_long_bodies_are_streamed_and_whole():
    data = STORAGE.read("b")
    response = served(bodies.single(frame(1, (Stretch("b", 0, len(data)),)))).get("/")
    assert response.content == data
    assert response.headers["content-length"] == str(len(data))
    part = served(bodies.single(frame(1, (Stretch("b", 0, len(data)),)))).get(
        "/", headers={"range": f"bytes=7-{len(data) - 9}"}
    )
    assert part.content == data[7 : len(data) - 8]


def test_a_body_of_unknown_length_is_streamed_without_one():
    body = Body("text/plain", lambda: (b"piece" for _ in range(3)), None)
    response = served(body).get("/")
    assert response.content == b"piecepiecepiece"
    assert "content-length" not in response.headers
    assert response.headers["accept-ranges"] == "none"


def test_a_failure_before_the_first_piece_has_its_own_status():
    def failing():
        raise Unavailable("storage does not answer")
        yield [b""]

    async def get(_: Request) -> Response:
        return Answer(200, [], batches=failing())

    assert Client(Guard(Methods(GET=get))).get("/").status_code == 503


class Watched:
    """Batches that tell how many were drawn, and whether they were closed."""

    def __init__(self, count: int) -> None:
        self.drawn = 0
        self.count = count
        self.closed = threading.Event()

    def batches(self):
        try:
            for _ in range(self.count):
                self.drawn += 1
                yield [bytes(1000)]
        finally:
            self.closed.set()


async def run(answer: Answer, receive, send) -> None:
    await answer({"type": "http", "method": "GET"}, receive, send)


def test_a_body_is_read_for_the_trace_of_its_request_to_its_end():
    trace, told = traces.begin(), []

    def batches():
        try:
            for _ in range(3):
                told.append(traces.current.get())
                yield [b"x"]
        finally:
            told.append(traces.current.get())

    async def get(_: Request) -> Response:
        traces.current.set(trace)
        return Answer(200, [], batches=batches())

    assert Client(Methods(GET=get)).get("/").content == b"xxx"
    assert told == [trace] * 4


def test_a_client_that_takes_nothing_has_two_batches_made_at_most():
    watched = Watched(100)

    async def check() -> None:
        taken = asyncio.Event()
        stuck = asyncio.Event()

        async def send(message) -> None:
            if message.get("body"):
                taken.set()
                await stuck.wait()

        async def receive():
            await asyncio.Event().wait()

        task = asyncio.ensure_future(run(Answer(200, [], batches=watched.batches()), receive, send))
        await taken.wait()
        assert watched.drawn <= 2
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(check())
    assert watched.closed.wait(10)
    assert watched.drawn <= 2


def test_when_the_client_leaves_nothing_more_is_read():
    watched = Watched(100_000)

    async def check() -> None:
        sent = 0

        async def send(message) -> None:
            nonlocal sent
            sent += bool(message.get("body"))

        async def receive():
            return {"type": "http.request", "body": b""} if sent < 3 else {"type": "http.disconnect"}

        gone = asyncio.Event()

        async def receiving():
            if sent >= 3:
                gone.set()
                return {"type": "http.disconnect"}
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b"", "more_body": True}

        await run(Answer(200, [], batches=watched.batches()), receiving, send)
        assert gone.is_set()

    asyncio.run(check())
    assert watched.closed.wait(10)
    assert watched.drawn < 100_000


def text(data: bytes, status: int = 200, **more) -> Client:
    async def get(request: Request) -> Response:
        return document(request, data, "application/dicom+json", status=status, **more)

    return Client(Methods(GET=get))


LONG = b'{"a":"' + b"x" * 5000 + b'"}'


def test_json_is_zipped_for_those_who_take_it():
    raw = text(LONG).get("/", headers={"accept-encoding": "gzip"})
    assert raw.headers["content-encoding"] == "gzip"
    assert int(raw.headers["content-length"]) < 200
    assert raw.content == LONG
    assert "Accept-Encoding" in raw.headers["vary"]
    plain = text(LONG).get("/", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["etag"] != raw.headers["etag"]


def test_short_json_is_not_zipped():
    assert "content-encoding" not in text(b"[]").get("/", headers={"accept-encoding": "gzip"}).headers


def test_json_that_the_client_holds_is_not_sent():
    for coding in ("gzip", "identity"):
        client = text(LONG)
        etag = client.get("/", headers={"accept-encoding": coding}).headers["etag"]
        again = client.get("/", headers={"accept-encoding": coding, "if-none-match": etag})
        assert again.status_code == 304
        assert again.content == b""


def test_an_answer_that_is_no_success_is_always_sent():
    client = text(b"[1]", status=409)
    etag = client.get("/").headers["etag"]
    assert client.get("/", headers={"if-none-match": etag}).status_code == 409


def test_head_of_json_has_its_length():
    response = text(b"[1]").head("/")
    assert response.headers["content-length"] == "3"
    assert response.content == b""


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.8", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity", False),
        ("br", False),
    ],
)
def test_accept_encoding_is_read_as_rfc_9110_says(header, expected):
    assert accepts_gzip(header) is expected


def test_equal_facts_have_equal_tags_only():
    assert tag("a", 1, b"x") == tag("a", 1, b"x")
    assert len({tag("a", 1), tag("a", "1"), tag("a1"), tag(("a",), 1)}) == 4
    assert tag(1).startswith('"')


def test_segments_can_be_read_from_anywhere_to_anywhere():
    segments = (b"abc", Stretch("a", 0, 10), Made(4, lambda a, b: [b"WX"[a:b], b"YZ"[max(a - 2, 0) : max(b - 2, 0)]]))
    whole = b"abc0123456789WXYZ"
    assert total(segments) == len(whole)
    for start in range(len(whole) + 1):
        for stop in [*range(start, len(whole) + 1), None]:
            assert b"".join(read(STORAGE, segments, start, stop)) == whole[start:stop]


def test_a_range_beyond_the_end_raises():
    with pytest.raises(BadRange):
        respond(
            Request({"type": "http", "method": "GET", "headers": [(b"range", b"bytes=99-")]}),
            lambda: bodies.single(TWO[0]),
            reader,
            etag=TAG,
        )


@pytest.mark.parametrize(("parts", "passes"), [(1, 1), (bodies._DESCRIBED, 1), (bodies._DESCRIBED + 1, 2)])
def test_parts_are_described_once_unless_they_are_many(parts: int, passes: int):
    made = []

    def contents():
        made.append(True)
        return [frame(number, (b"part %d." % number,)) for number in range(1, parts + 1)]

    answer = served(bodies.multiple(contents, TAG, "http://h/dicom-web")).get("/")
    assert [answer.content.count(b"part %d." % number) for number in range(1, parts + 1)] == [1] * parts
    assert len(made) == passes
