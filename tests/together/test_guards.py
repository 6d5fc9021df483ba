"""What protects the whole server: bodies too large, compressed, endless or dripping, on real connections."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from commands import served
from dicoms import ct

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    settings = {
        "ROENTGATE_LIMIT_REQUEST_BYTES": "8 MiB",
        "ROENTGATE_LIMIT_RATE_BYTES": "1000",
        "ROENTGATE_LIMIT_RATE_GRACE_SECONDS": "0.3",
    }
    folder = tmp_path_factory.mktemp("guards")
    with served(folder, **settings) as started:
        started.folder = folder
        yield started


def connect(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def head(**fields: str) -> bytes:
    lines = [
        "POST /dicom-web/studies HTTP/1.1",
        "Host: localhost",
        *(f"{k.replace('_', '-')}: {v}" for k, v in fields.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(connection) -> tuple[int, dict]:
    """Read one answer with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, f"closed after {data!r}"
        data += piece
    fields, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in fields.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return int(data.split()[1]), json.loads(body)


def curl_speaks_http2() -> bool:
    if not shutil.which("curl"):
        return False
    return b"HTTP2" in subprocess.run(["curl", "--version"], capture_output=True, check=False).stdout


def healthy(server) -> bool:
    """A whole small upload still goes through, and nothing lies in the spool."""
    with connect(server) as client:
        body = ct(1)
        client.sendall(head(Content_Type="application/dicom", Content_Length=str(len(body))) + body)
        stored = answer(client)[0]
    until = time.monotonic() + 10
    while list((server.folder / "data" / "scratch").glob("*")) and time.monotonic() < until:
        with connect(server) as client:  # those who left are noticed while others are answered
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer(client)
    return stored == 200 and not list((server.folder / "data" / "scratch").glob("*"))


def memory_of(server) -> int:
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM"))


def test_ten_gigabytes_announced_are_refused_before_a_byte_is_sent(server):
    with connect(server) as client:
        client.sendall(head(Content_Type="application/dicom", Content_Length=str(10 << 30)))
        status, problem = answer(client)
    assert status == 413
    assert "8,388,608 bytes" in problem["detail"]
    assert healthy(server)


def test_a_client_that_sends_all_the_same_still_hears_why(server):
    with connect(server) as client:
        client.sendall(head(Content_Type="application/dicom", Content_Length=str(16 * MIB)))
        client.sendall(bytes(16 * MIB))
        assert answer(client)[0] == 413
    assert healthy(server)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc on this machine")
def test_an_endless_chunked_body_is_cut_at_the_limit_and_leaves_nothing(server):
    assert healthy(server)
    before = memory_of(server)
    piece = b"100000\r\n" + os.urandom(MIB) + b"\r\n"
    with connect(server) as client:
        client.sendall(head(Content_Type="application/dicom", Transfer_Encoding="chunked"))
        for _ in range(9):
            client.sendall(piece)
        assert answer(client)[0] == 413
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                client.sendall(piece)
            pytest.fail("the server went on taking the body")
    assert healthy(server)
    assert memory_of(server) - before < 32 * MIB


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
def test_a_compressed_body_is_refused_with_the_reason(server, coding):
    with connect(server) as client:
        client.sendall(
            head(Content_Type="application/dicom", Content_Encoding=coding, Content_Length="100") + bytes(100)
        )
        status, problem = answer(client)
    assert status == 415
    assert "Content-Encoding" in problem["detail"]


def test_a_body_that_drips_is_given_up_and_others_are_served_meanwhile(server):
    with connect(server) as client:
        client.sendall(head(Content_Type="application/dicom", Content_Length="1000000"))
        client.sendall(b"x")
        assert healthy(server)
        status, problem = answer(client)
    assert status == 408
    assert "1,000 bytes a second" in problem["detail"]
    assert healthy(server)


def test_a_body_that_stops_and_goes_away_leaves_nothing(server):
    for _ in range(20):
        with connect(server) as client:
            client.sendall(head(Content_Type="application/dicom", Content_Length="5000000") + os.urandom(2 * MIB))
    assert healthy(server)


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad\rHeader: y\r\n\r\n",
        b"GET /\r\n\r\n\x00\x01",
    ],
    ids=["two lengths", "negative length", "bare CR", "no version"],
)
def test_requests_that_two_readers_could_take_for_different_ones_are_refused_and_the_connection_closed(
    server, request_
):
    with connect(server) as client:
        client.sendall(request_)
        said = b""
        with contextlib.suppress(ConnectionError):
            while piece := client.recv(65536):
                said += piece
    assert said[:12] in {b"HTTP/1.1 400", b""}


@pytest.mark.skipif(not curl_speaks_http2(), reason="no curl with HTTP/2 on this machine: apt install curl")
def test_on_http2_the_answer_to_too_much_is_heard_too(server, tmp_path):
    (tmp_path / "large").write_bytes(bytes(40 * MIB))
    begun = time.monotonic()
    fields = ["-H", "Content-Type: application/dicom", "--data-binary", f"@{tmp_path / 'large'}"]
    url = f"http://127.0.0.1:{server.port}/dicom-web/studies"
    done = subprocess.run(
        ["curl", "-s", "--http2-prior-knowledge", "-w", "\\n%{http_code}", *fields, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "413", done
    assert time.monotonic() - begun < 20
    assert healthy(server)


def test_a_request_that_ends_in_two_places_is_refused_and_nothing_after_it_is_answered(server):
    hidden = b"0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(head(Content_Type="application/dicom", Content_Length="4", Transfer_Encoding="chunked"))
        connection.sendall(hidden)
        assert answer(connection)[0] == 400
        assert connection.recv(1000) == b""
