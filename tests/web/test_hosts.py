"""Names under which a server may be asked for: what a page whose name leads here from one moment to the next cannot
get by (A12)."""

import http.client
import socket

import pytest
from dicoms import ct
from served import Served
from servers import running

from dicomweb.config import Config


def ask(port: int, host: str | None, path: str = "/dicom-web/studies", method: str = "GET") -> tuple[int, str]:
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        line = "" if host is None else f"Host: {host}\r\n"
        version = "1.0" if host is None else "1.1"
        client.sendall(f"{method} {path} HTTP/{version}\r\n{line}Connection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(client)
        answer.begin()
        return answer.status, answer.read().decode()


OURS = ["localhost", "LOCALHOST:8080", "localhost.", "roentgate.localhost", "127.0.0.1:1", "[::1]:8080", "10.1.2.3", ""]
FOREIGN = ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "x"]


@pytest.fixture
def port(tmp_path):
    served = Served(tmp_path)
    served.store(ct(1))
    with running(served.client.app) as server:
        yield server.port


@pytest.mark.parametrize("host", OURS)
def test_an_open_server_on_loopback_answers_to_its_own_names_and_to_addresses(port, host):
    assert ask(port, host)[0] == 200


def test_who_names_no_host_is_no_browser(port):
    assert ask(port, None)[0] == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize(
    "path", ["/dicom-web/studies", "/", "/status", "/metrics", "/health/live", "/openapi.json", "/x"]
)
def test_every_address_refuses_other_names_and_says_which_setting_helps(port, host, path):
    status, text = ask(port, host, path)
    assert status == 421
    assert "allowed_hosts" in text
    assert "1CT1" not in text
    assert "evil" not in text


def test_nothing_is_changed_under_a_foreign_name(tmp_path):
    served = Served(tmp_path)
    served.store(ct(1))
    study = served.client.get("/dicom-web/studies").json()[0]["0020000D"]["Value"][0]
    with running(served.client.app) as server:
        assert ask(server.port, "evil.example", f"/dicom-web/studies/{study}", "DELETE")[0] == 421
        assert ask(server.port, "localhost", f"/dicom-web/studies/{study}/metadata")[0] == 200


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({"public_url": "https://pacs.example/x"}, "pacs.example", 200),
        ({"allowed_hosts": ("pacs", "*.ward.example")}, "pacs:8080", 200),
        ({"allowed_hosts": ("pacs", "*.ward.example")}, "a.b.ward.example", 200),
        ({"allowed_hosts": ("pacs", "*.ward.example")}, "ward.example", 421),
        ({"allowed_hosts": ("pacs", "*.ward.example")}, "xward.example", 421),
        ({"allowed_hosts": ("*",)}, "evil.example", 200),
        ({"http_host": "0.0.0.0", "insecure": True}, "evil.example", 200),
        ({"http_host": "0.0.0.0", "insecure": True, "allowed_hosts": ("pacs",)}, "evil.example", 421),
        ({"http_host": "0.0.0.0", "insecure": True, "allowed_hosts": ("pacs",)}, "10.244.0.7:8080", 200),
        ({"access": True}, "evil.example", 401),
        ({"access": True, "allowed_hosts": ("pacs",)}, "evil.example", 421),
    ],
)
def test_settings_say_which_names_count(tmp_path, settings, host, status):
    assert Served(tmp_path, **settings).client.get("/dicom-web/studies", headers={"host": host}).status_code == status


def test_the_names_are_checked_by_default_where_nobody_asks_who_is_calling():
    assert Config().host_names() == ("localhost", "127.0.0.1")
    assert Config(access=True).host_names() is None
    assert Config(http_host="0.0.0.0", insecure=True).host_names() is None
