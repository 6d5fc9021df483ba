"""Sockets, greeting, certificates, and a stop that lets running requests end."""

import asyncio
import contextlib
import socket
import ssl
import threading

import pytest
from authority import Authority
from servers import running

from dicomweb import launch, workers
from dicomweb.config import Config
from dicomweb.errors import BadSetting

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello", "more_body": False})


def read_all(connection) -> bytes:
    answer = b""
    while data := connection.recv(65536):
        answer += data
    return answer


def test_a_port_that_is_taken_is_told_by_the_name_of_its_setting():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadSetting, match=rf"http_port {port} on 127\.0\.0\.1 is taken.*ROENTGATE_HTTP_PORT"):
            launch.listen(Config(http_port=port))


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_told_by_the_name_of_its_setting(host):
    with pytest.raises(BadSetting, match="http_host is"):
        launch.listen(Config(http_host=host, http_port=0))


def test_every_address_of_a_name_is_listened_on_at_the_same_port():
    sockets = launch.listen(Config(http_host="localhost", http_port=0))
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
    finally:
        for each in sockets:
            each.close()


def test_the_greeting_tells_addresses_data_and_a_line_to_try(tmp_path):
    lines = launch.greeting(Config(data=tmp_path), 8123).splitlines()
    assert lines[1].split() == ["Explorer", "http://127.0.0.1:8123/"]
    assert any(line.endswith("http://127.0.0.1:8123/dicom-web") for line in lines)
    assert any(line.endswith(str(tmp_path)) for line in lines)
    assert any("curl -s http://127.0.0.1:8123/dicom-web/studies" in line for line in lines)
    public = launch.greeting(Config(public_url="https://pacs.example", storage="s3://bucket"), 8123)
    assert "https://pacs.example/\n" in public
    assert "https://pacs.example/dicom-web" in public
    assert "s3://bucket" in public


def test_a_start_that_others_could_reach_is_refused_before_anything_is_opened(tmp_path):
    with pytest.raises(BadSetting, match="access control"):
        workers.serve(Config(http_host="0.0.0.0", http_port=0, data=tmp_path / "data"))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
def test_a_running_request_ends_before_the_server_does(server):
    begun, release = threading.Event(), asyncio.Event()

    async def slow(scope, receive, send):
        begun.set()
        await release.wait()
        await hello(scope, receive, send)

    with running(slow, server=server, graceful_seconds=20) as started:
        with socket.create_connection(("127.0.0.1", started.port), timeout=20) as client:
            client.sendall(REQUEST)
            assert begun.wait(20)
            started.stop()
            started.loop.call_soon_threadsafe(started.loop.call_later, 0.05, release.set)
            assert read_all(client).endswith(b"hello")
        started.thread.join(20)
        assert not started.thread.is_alive()


def test_a_request_that_does_not_end_is_cut_when_its_time_is_over():
    begun = threading.Event()

    async def endless(scope, receive, send):
        begun.set()
        await asyncio.Event().wait()

    with running(endless, graceful_seconds=0.05) as started:
        with socket.create_connection(("127.0.0.1", started.port), timeout=20) as client:
            client.sendall(REQUEST)
            assert begun.wait(20)
            started.stop()
            assert b"200" not in read_all(client)
        started.thread.join(20)
        assert not started.thread.is_alive()


# -- TLS -------------------------------------------------------------------------------------------------
@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def ask(port: int, authority: Authority, client: tuple[str, str] | None = None) -> bytes:
    context = ssl.create_default_context(cafile=str(authority.file))
    if client:
        context.load_cert_chain(*client)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(REQUEST)
        return read_all(secured)


def test_it_speaks_tls_with_the_certificate_that_the_settings_name(authority):
    cert, key = authority.issue("server")
    with running(hello, tls_cert=cert, tls_key=key) as server:
        assert ask(server.port, authority).endswith(b"hello")


def test_clients_without_a_certificate_are_turned_away_when_one_is_asked_for(authority):
    cert, key = authority.issue("server")
    with running(hello, tls_cert=cert, tls_key=key, tls_client_ca=str(authority.file)) as server:
        answer = b""
        with contextlib.suppress(ssl.SSLError, ConnectionError):  # TLS 1.3 tells the client only afterwards
            answer = ask(server.port, authority)
        assert answer == b""
        assert ask(server.port, authority, authority.issue("client")).endswith(b"hello")


def test_a_changed_certificate_is_used_without_a_restart_and_a_broken_one_is_not(authority):
    cert, key = authority.issue("server")
    settings = launch.hypercorn_settings(Config(tls_cert=cert, tls_key=key))
    context = settings.create_ssl_context()
    files = [cert, key]
    seen = launch.renew_once(settings, files, [0, 0])
    assert launch.renew_once(settings, files, seen) == seen
    assert settings.context is context, "connections to come use the same context"
    with open(cert, "w") as file:
        file.write("half a certificate")
    assert launch.renew_once(settings, files, [0, 0]) == [0, 0], "tried again next time"


def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path):
    cert = tmp_path / "cert.pem"
    cert.write_text("no certificate")
    settings = launch.hypercorn_settings(Config(tls_cert=str(cert), tls_key=str(cert)))
    with pytest.raises(BadSetting, match="tls_cert"):
        settings.create_ssl_context()
