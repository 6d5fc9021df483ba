"""Hypercorn's faults that `wire` mends, each on a real connection."""

import asyncio
import contextlib
import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.events
import pytest
from authority import Authority
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from http2 import FIELDS, Http2Client, reset_many
from servers import running

from dicomweb import wire
from dicomweb.config import Config


async def early(scope, receive, send):
    """Answers at once and never reads a body."""
    await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"no", "more_body": False})


async def echo_size(scope, receive, send):
    """Reads the whole body and answers its size."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def test_an_http2_upload_may_fill_windows_of_megabytes():
    with running(echo_size) as server, Http2Client(server.port) as client:
        raised = False
        for event in client.events():
            raised = raised or isinstance(event, h2.events.WindowUpdated)
            if raised and client.h2.remote_settings.initial_window_size != 65535:
                break
        assert client.h2.remote_settings.initial_window_size == wire.STREAM_WINDOW
        assert client.h2.outbound_flow_control_window == wire.CONNECTION_WINDOW


def test_an_http2_upload_larger_than_the_windows_arrives_whole():
    total = wire.CONNECTION_WINDOW + 12_345
    with running(echo_size) as server, Http2Client(server.port) as client:
        client.begin(1)
        events = client.events()
        sent = 0
        while sent < total:
            room = min(client.h2.local_flow_control_window(1), client.h2.max_outbound_frame_size, total - sent)
            if room <= 0:
                next(events)
                continue
            client.h2.send_data(1, bytes(room))
            client.flush()
            sent += room
        client.h2.end_stream(1)
        client.flush()
        assert client.answer(1) == (200, str(total).encode())


def test_an_http2_connection_survives_bytes_for_a_stream_that_was_answered():
    with running(early) as server, Http2Client(server.port) as client:
        client.begin(1)
        assert client.answer(1) == (413, b"no")
        client.h2.send_data(1, b"still coming", end_stream=True)
        client.begin(3, "GET", end=True)
        assert client.answer(3) == (413, b"no")


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
def test_a_connection_that_the_client_closes_is_given_up_before_its_keep_alive_time_ends(monkeypatch, http2):
    closed = threading.Event()
    run = wire.Connection.run

    async def noted(self):
        await run(self)
        closed.set()

    monkeypatch.setattr(wire.Connection, "run", noted)
    with running(echo_size, keep_alive_seconds=3600) as server:
        if http2:
            with Http2Client(server.port) as client:
                client.begin(1, end=True)
                assert client.answer(1) == (200, b"0")
        else:
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert plain.recv(65536).startswith(b"HTTP/1.1 200")
        assert closed.wait(20)


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_an_answer_ends_with_the_http2_connection_that_it_was_for(size):
    """Hypercorn's task would wait for ever to hand over its end, or what no window takes, and a stop for the task."""
    begun, over = threading.Event(), threading.Event()

    async def answering(scope, receive, send):
        try:
            begun.set()
            while not size and (await receive())["type"] != "http.disconnect":
                pass
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for more in (True, True, False):
                await send({"type": "http.response.body", "body": bytes(size), "more_body": more})
        finally:
            over.set()

    with running(answering, graceful_seconds=60.0) as server:
        with Http2Client(server.port) as client:
            client.begin(1, "GET", end=True)
            assert begun.wait(20)
            if size:
                next(event for event in client.events() if isinstance(event, h2.events.DataReceived))
        assert over.wait(20)


async def endless(scope, receive, send):
    """Answers for as long as somebody is there."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    gone = asyncio.ensure_future(receive())
    while not gone.done() or gone.result()["type"] != "http.disconnect":
        if gone.done():
            gone = asyncio.ensure_future(receive())
        await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})


def noting_ends(app):
    """The application, and a semaphore that is released whenever one of its answers is over."""
    over = threading.Semaphore(0)

    async def counting(*args):
        try:
            await app(*args)
        finally:
            over.release()

    return counting, over


def test_a_stream_of_which_the_client_takes_nothing_is_ended_and_others_go_on():
    app, over = noting_ends(endless)
    with running(app, limit_stall_seconds=1.0) as server, Http2Client(server.port) as client:
        for stream in (1, 3):
            client.begin(stream, "GET", end=True)
        ended, taken = 0, 0
        for event in client.events():
            if isinstance(event, h2.events.DataReceived) and event.stream_id == 3:
                client.h2.acknowledge_received_data(event.flow_controlled_length, 3)
                client.flush()
                taken += ended == 1
            elif isinstance(event, h2.events.DataReceived):  # its window stays shut, that of the connection does not
                client.h2.increment_flow_control_window(event.flow_controlled_length)
                client.flush()
            elif isinstance(event, h2.events.StreamReset):
                assert (event.stream_id, event.error_code) == (1, ErrorCodes.CANCEL)
                ended = 1
            if taken > 20:
                break
        assert over.acquire(timeout=20)
        assert not over.acquire(blocking=False)


@pytest.mark.parametrize("shut", ["the window of the connection", "its socket"])
def test_a_client_of_http2_that_takes_nothing_holds_no_stream(shut):
    app, over = noting_ends(endless)
    with running(app, limit_stall_seconds=0.2) as server, Http2Client(server.port) as client:
        if shut == "its socket":
            client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: (1 << 31) - 1})
            client.h2.increment_flow_control_window((1 << 31) - 1 - 65_535)
        for number in range(4):
            client.begin(2 * number + 1, "GET", end=True)
        for _ in range(4):
            assert over.acquire(timeout=20)


def test_a_connection_whose_client_gave_up_all_it_asked_for_ends_with_its_keep_alive_time():
    with running(endless, keep_alive_seconds=1) as server, Http2Client(server.port) as client:
        client.begin(1, "GET", end=True)
        client.h2.reset_stream(1, ErrorCodes.CANCEL)
        client.flush()
        while client.socket.recv(65536):
            pass


MALFORMED = {
    "no path": [(":method", "CONNECT"), (":authority", "x")],
    "a path of bytes": [FIELDS[0], (":path", b"/\xc3\xa9"), *FIELDS[2:]],
    "a method of bytes": [(":method", b"G\xc3\x8bT"), *FIELDS[1:]],
    "a path of two words": [FIELDS[0], (":path", "/ x"), *FIELDS[2:]],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_request_ends_its_own_stream_of_http2_and_no_other(fields, caplog):
    with running(echo_size) as server, Http2Client(server.port) as client:
        client.h2.config.validate_outbound_headers = False
        client.begin(1)
        client.h2.send_headers(3, fields, end_stream=True)
        client.flush()
        ended = next(event for event in client.events() if isinstance(event, h2.events.StreamReset))
        assert (ended.stream_id, ended.error_code) == (3, ErrorCodes.PROTOCOL_ERROR)
        client.h2.send_data(1, b"hello", end_stream=True)
        client.flush()
        assert client.answer(1) == (200, b"5")
    assert caplog.text == ""


def test_what_goes_wrong_in_http2_tells_the_log_nothing_of_what_was_sent(caplog, monkeypatch):
    async def failing(*_):
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(wire.H2Protocol, "_create_stream", failing)
    with running(echo_size) as server, Http2Client(server.port) as client:
        client.begin(1, end=True)
        with contextlib.suppress(ConnectionError):
            while client.socket.recv(65536):
                pass
    assert "nobody foresaw this" in caplog.text
    assert "PRI *" not in caplog.text


def test_an_upload_that_nobody_reads_does_not_hold_the_connection_for_ever():
    with running(early) as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"4000\r\n" + bytes(0x4000) + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(10_000):
                client.sendall(piece)
            pytest.fail("the server went on taking the upload")


def test_another_hypercorn_whose_parts_lie_elsewhere_is_not_taken_for_mended(monkeypatch):
    wire.mend()
    wire.mend()
    monkeypatch.delattr("hypercorn.protocol.h2.HTTPStream")
    with pytest.raises(ImportError, match=r"hypercorn\.protocol\.h2"):
        wire.mend()


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_both_servers_answer_the_same(server):
    with (
        running(echo_size, server=server) as started,
        socket.create_connection(("127.0.0.1", started.port), timeout=20) as client,
    ):
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
        answer = b""
        while not answer.endswith(b"\r\n\r\n5"):
            answer += client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"server:" not in answer.lower()


def counted(app, calls: list[str]):
    async def counting(scope, receive, send):
        calls.append(scope["type"])
        await app(scope, receive, send)

    return counting


@pytest.fixture(params=["prior knowledge", "TLS"])
def speaking(request, tmp_path) -> tuple[dict[str, str], ssl.SSLContext | None]:
    """Settings of a server, and what its clients need for TLS where it speaks that."""
    if request.param == "prior knowledge":
        return {}, None
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    return {"tls_cert": cert, "tls_key": key}, authority.context("client")


def test_who_opens_streams_only_to_reset_them_is_cut_off_and_others_are_served(speaking):
    settings, tls = speaking
    calls: list[str] = []
    with running(counted(early, calls), **settings) as server, Http2Client(server.port, tls) as other:
        for _ in range(3):
            with Http2Client(server.port, tls) as client:
                reset_many(client, 10_000)
            stream = other.h2.get_next_available_stream_id()
            other.begin(stream, "GET", end=True)
            assert other.answer(stream) == (413, b"no")
    assert len(calls) < 10_000


@pytest.mark.parametrize("most", [3, 500])
def test_a_client_may_give_up_as_many_streams_as_the_setting_says_and_go_on(speaking, most):
    settings, tls = speaking
    limits = {} if most == Config().limit_resets else {"limit_resets": most, "limit_resets_rate": 0.0}

    def give_up(client: Http2Client, count: int) -> None:
        for _ in range(count):
            stream = client.h2.get_next_available_stream_id()
            client.h2.send_headers(stream, FIELDS, end_stream=True)
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()

    with running(early, **settings, **limits) as server, Http2Client(server.port, tls) as client:
        give_up(client, most)
        stream = client.h2.get_next_available_stream_id()
        client.begin(stream, "GET", end=True)
        assert client.answer(stream) == (413, b"no")
        if limits:
            give_up(client, 1)
            ended = next(event for event in client.events() if isinstance(event, h2.events.ConnectionTerminated))
            assert ended.error_code == ErrorCodes.ENHANCE_YOUR_CALM
