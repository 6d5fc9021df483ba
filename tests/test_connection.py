"""HTTP/1.1 connections, each on a real socket."""

import asyncio
import contextlib
import json
import socket
import threading

import pytest
from servers import running

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(body: bytes, fields: bytes = b"") -> bytes:
    return b"POST /%s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (body[:1], fields, len(body), body)


async def echo(scope, receive, send):
    """Answers with what it was sent."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answering(*pieces: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()):
    """An application that sends these pieces."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


@contextlib.contextmanager
def connected(app, **settings):
    with running(app, **settings) as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        yield client


def read_all(client) -> bytes:
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 20):
            said += piece
    return said


def read_answer(client) -> tuple[bytes, bytes]:
    """Read one answer with a Content-Length: its head, its body."""
    file = client.makefile("rb")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = file.readline()
        assert line, f"closed after {head!r}"
        head += line
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return head, file.read(int(length.partition(b":")[2]))


def ask(app, request: bytes, **settings) -> bytes:
    """Send one request and read to the end of the connection."""
    with connected(app, **settings) as client:
        client.sendall(request)
        return read_all(client)


def test_a_connection_serves_one_request_after_the_other():
    with connected(echo) as client:
        for body in [b"one", b"x" * 3_000_000, b"", b"three"]:
            client.sendall(post(body))
            head, said = read_answer(client)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert said == body


def test_requests_that_come_at_once_are_answered_in_their_order():
    bodies = [b"first", b"second" * 50_000, b"third"]
    with connected(echo) as client:
        sender = threading.Thread(target=client.sendall, args=(b"".join(map(post, bodies)) + LAST,))
        sender.start()
        said = read_all(client)
        sender.join()
    at = [said.index(body) for body in bodies]
    assert at == sorted(at)
    assert said.count(b"HTTP/1.1 200") == 4


def test_a_request_may_come_byte_by_byte():
    with connected(echo) as client:
        for byte in post(b"slow"):
            client.sendall(bytes([byte]))
        assert read_answer(client)[1] == b"slow"


def test_a_chunked_body_arrives_whole():
    with connected(echo) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"10000\r\n" + b"a" * 65536 + b"\r\n1\r\nb\r\n0\r\n\r\n")
        assert read_answer(client)[1] == b"a" * 65536 + b"b"
        client.sendall(LAST)
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_an_answer_of_unknown_length_goes_in_chunks_or_to_the_end_of_the_connection():
    app = answering(b"hello", b" world")
    head, _, body = ask(app, LAST).partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    head, _, body = ask(app, b"GET / HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body == b"hello world"


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_an_answer_that_can_have_no_body_has_none(method, status):
    with connected(answering(b"never seen", status=status, headers=((b"etag", b'"x"'),))) as client:
        client.sendall(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n" + method + LAST[3:])
        said = read_all(client)
    assert said.count(b'etag: "x"\r\n') == 2
    assert b"never" not in said
    assert b"transfer-encoding" not in said
    assert said.endswith(b"connection: close\r\n\r\n")


def test_every_answer_says_when_it_was_made():
    assert b"\r\ndate: " in ask(echo, LAST)


def test_a_client_that_waits_is_told_to_go_on_when_the_body_is_wanted():
    with connected(echo) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"ok")
        assert read_answer(client)[1] == b"ok"


def test_a_client_that_waits_is_not_told_to_go_on_when_nobody_wants_the_body():
    async def refusing(scope, receive, send):
        await answering(b"no", status=413, headers=((b"content-length", b"2"),))(scope, receive, send)
        said.append((await receive())["type"])

    said: list[str] = []
    request = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n"
    answer = ask(refusing, request)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer
    assert said == ["http.disconnect"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_what_is_no_request_is_answered_by_a_problem_document_and_ends_the_connection(request_, status):
    head, _, body = ask(echo, request_ + GET).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status


def test_chunks_that_go_wrong_under_way_end_the_connection_and_tell_the_application():
    begun, left = threading.Event(), threading.Event()

    async def app(scope, receive, send):
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    with connected(app) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na")
        assert begun.wait(20)
        client.sendall(b"XX")
        assert read_all(client).startswith(b"HTTP/1.1 400 ")
        assert left.wait(20)


def test_a_request_whose_body_is_refused_at_once_is_not_done():
    done = []

    async def app(scope, receive, send):
        done.append(scope["method"])

    answer = ask(app, b"DELETE / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert done == []


def test_an_application_that_fails_before_its_answer_gives_500(caplog):
    async def failing(scope, receive, send):
        raise ValueError("on purpose")

    assert ask(failing, GET).startswith(b"HTTP/1.1 500 ")
    assert "on purpose" in caplog.text


def test_an_answer_that_breaks_off_does_not_look_whole(caplog):
    async def failing(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("on purpose")

    said = ask(failing, GET)
    assert said.endswith(b"4\r\nhalf\r\n")


def test_a_value_with_a_line_end_does_not_reach_the_client(caplog):
    said = ask(answering(headers=((b"warning", b"a\r\nSet-Cookie: b"),)), GET)
    assert said.startswith(b"HTTP/1.1 500 ")
    assert b"Set-Cookie" not in said


def test_an_answer_shorter_than_it_says_ends_the_connection():
    assert ask(answering(b"abc", headers=((b"content-length", b"5"),)), GET).endswith(b"\r\n\r\nabc")


def test_an_answer_longer_than_it_says_is_cut(caplog):
    assert ask(answering(b"abc", b"def", headers=((b"content-length", b"5"),)), GET).endswith(b"\r\n\r\nabc")
    assert "longer than its Content-Length" in caplog.text


def test_a_body_that_nobody_takes_is_not_read_on_and_arrives_whole_in_the_end():
    release = asyncio.Event()
    size = 96 << 20

    async def late(scope, receive, send):
        await release.wait()
        total, more = 0, True
        while more:
            message = await receive()
            total += len(message["body"])
            more = message["more_body"]
        await answering(b"%d" % total)(scope, receive, send)

    with (
        running(late, keep_alive_seconds=60) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=1) as client,
    ):
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
        sent, piece = 0, bytes(1 << 20)
        with contextlib.suppress(TimeoutError):
            while sent < size:
                sent += client.send(piece[: size - sent])
        assert sent < size
        server.loop.call_soon_threadsafe(release.set)
        client.settimeout(30)
        client.sendall(bytes(size - sent))
        assert b"%d" % size in read_all(client)


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off():
    sent, ended = [0], threading.Event()

    async def endless(scope, receive, send):
        gone = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done() or gone.result()["type"] != "http.disconnect":
            if gone.done():
                gone = asyncio.ensure_future(receive())
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
            sent[0] += 1
        ended.set()

    with connected(endless, limit_stall_seconds=0.2) as client:
        client.sendall(GET)
        assert ended.wait(20)
        assert sent[0] < 100


def test_a_connection_on_which_nothing_is_asked_is_closed():
    with connected(echo, keep_alive_seconds=1) as client:
        client.sendall(GET)
        read_answer(client)
        assert client.recv(1) == b""


def test_half_a_request_does_not_hold_a_connection():
    with connected(echo, keep_alive_seconds=1) as client:
        client.sendall(GET[:20])
        assert client.recv(1) == b""


def test_the_application_is_told_when_the_client_leaves():
    begun, left = threading.Event(), threading.Event()

    async def waiting(scope, receive, send):
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    with connected(waiting) as client:
        client.sendall(GET)
        assert begun.wait(20)
        client.close()
        assert left.wait(20)


def test_a_client_that_sends_no_more_still_gets_its_answer():
    with connected(echo) as client:
        client.sendall(post(b"last words"))
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).endswith(b"last words")


def test_a_stopping_server_lets_idle_connections_go_and_serves_no_further_request():
    begun, release = threading.Event(), asyncio.Event()

    async def slow(scope, receive, send):
        begun.set()
        await release.wait()
        await echo(scope, receive, send)

    with running(slow, graceful_seconds=20) as server:
        address = ("127.0.0.1", server.port)
        with (
            socket.create_connection(address, timeout=20) as idle,
            socket.create_connection(address, timeout=20) as busy,
        ):
            busy.sendall(post(b"one") + post(b"two"))
            assert begun.wait(20)
            server.stop()
            assert idle.recv(1) == b""
            server.loop.call_soon_threadsafe(release.set)
            said = read_all(busy)
    assert said.endswith(b"one")
    assert b"connection: close" in said


def test_an_answer_that_ends_with_its_connection_and_breaks_off_does_not_look_whole():
    """HTTP/1.0 knows no chunks: the end of the connection is the end of the answer."""

    async def broken(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    def read(client) -> None:
        while client.recv(1 << 16):
            pass

    with connected(broken) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            read(client)


async def receive_departure(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


def test_who_leaves_in_the_middle_of_a_body_is_noticed():
    left = threading.Event()

    async def waiting(scope, receive, send):
        await receive_departure(receive)
        left.set()

    with connected(waiting) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        client.shutdown(socket.SHUT_WR)
        assert left.wait(20)
