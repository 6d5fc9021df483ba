"""Certificates of clients: who holds one may do what the settings say of its name, over HTTP/1.1 and HTTP/2."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from authority import Authority
from served import Served
from servers import running

from dicomweb.config import Config
from dicomweb.errors import BadSetting
from dicomweb.wire import certified

STUDIES = "/dicom-web/studies"


@dataclass
class Secured:
    """A server that asks for certificates."""

    served: Served
    authority: Authority
    port: int

    def ask(self, name: str, method: str = "GET", path: str = STUDIES, **headers: str) -> int:
        """The status of an answer to the holder of a certificate; it is asked for twice on one connection."""
        with httpx.Client(verify=self.authority.context(name), base_url=f"https://127.0.0.1:{self.port}") as client:
            first, second = (client.request(method, path, headers=headers).status_code for _ in range(2))
        assert first == second
        return first


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority(folder)
    cert, key = authority.issue("server")
    tls: dict[str, Any] = {"tls_cert": cert, "tls_key": key, "tls_client_ca": str(authority.file)}
    clients = ("reader=read", "ct.hospital.example=read+delete", "a=b=read")
    served = Served(folder / "data", **tls, tls_clients=clients, access=True, cors_origins=("https://viewer.example",))
    with running(served.client.app, **tls) as server:
        yield Secured(served, authority, server.port)
    served.archive.close()


def test_the_name_of_a_certificate_says_what_its_holder_may_do(secured):
    assert secured.ask("reader") == 200
    assert secured.ask("reader", "DELETE", f"{STUDIES}/1.2.3?reason=test") == 403
    assert secured.ask("ct.hospital.example", "DELETE", f"{STUDIES}/1.2.3?reason=test") == 404
    assert secured.ask("a=b") == 200
    assert secured.ask("stranger") == 401
    assert secured.ask("READER") == 401


def test_nobody_becomes_somebody_by_header_fields_about_a_certificate(secured):
    forged = {
        "x-ssl-client-s-dn": "CN=reader", "x-client-cert": "reader", "x-forwarded-client-cert": "Subject=CN=reader",
        "ssl-client-subject-dn": "CN=reader", "client-cert": ":cmVhZGVy:",
    }  # fmt: skip
    assert secured.ask("stranger", **forged) == 401
    for field, value in forged.items():
        assert secured.served.client.get(STUDIES, headers={field: value}).status_code == 401


def test_a_key_that_is_shown_besides_decides(secured):
    assert secured.ask("reader", authorization="Bearer rg_nothing") == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 404),
        ({"sec-fetch-site": "same-origin"}, 404),
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "https://evil.example"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "https://viewer.example"}, 404),
    ],
)
def test_no_foreign_page_changes_anything_by_the_certificate_that_a_browser_shows(secured, headers, status):
    assert secured.ask("ct.hospital.example", "DELETE", f"{STUDIES}/1.2.3?reason=test", **headers) == status
    assert secured.ask("reader", **headers) == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: apt-get install curl")
@pytest.mark.parametrize("name", ["reader", "stranger"])
def test_it_is_the_same_over_http2(secured, name):
    cert, key = secured.authority.issue(name)
    done = subprocess.run(
        ["curl", "-s", "--http2", "-o", "-", "-w", " %{http_version} %{http_code}", "--cacert",
         str(secured.authority.file), "--cert", cert, "--key", key, f"https://127.0.0.1:{secured.port}{STUDIES}"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.endswith(f" 2 {200 if name == 'reader' else 401}")


def test_a_name_that_stands_twice_in_a_certificate_is_nobodys():
    def subject(*names: str) -> dict[str, Any]:
        return {"subject": tuple((("commonName", name),) for name in names)}

    assert [certified(one) for one in (subject("a"), subject("a", "b"), subject(), {}, None)] == ["a", "", "", "", ""]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tls_clients": ("a=read",)}, "tls_client_ca"),
        ({"tls_clients": ("a=read",), "server": "uvicorn"}, "hypercorn"),
    ],
)
def test_settings_that_could_not_hold_stop_the_start(tmp_path: Path, settings, sentence):
    with pytest.raises(BadSetting, match=sentence):
        Config(data=tmp_path, **settings)
