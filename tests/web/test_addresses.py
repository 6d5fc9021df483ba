import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from dicomweb.web.addresses import Addresses, base_url


def scope(host: str = "pacs:8080", client: str = "127.0.0.1", scheme: str = "http", port: int = 8080, **headers: str):
    fields = [(b"host", host.encode())] if host else []
    fields += [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http",
        "scheme": scheme,
        "headers": fields,
        "client": (client, 40000),
        "server": ("127.0.0.1", port),
    }


BEHIND = Addresses(trusted_proxies=["10.0.0.0/8", "::1"], path_prefix="/pacs")
STANDARD = Addresses(trusted_proxies=["10.0.0.0/8", "::1"], path_prefix="/pacs", standard=True)
"""The same behind proxies that write Forwarded."""


def test_the_public_url_wins_over_everything():
    addresses = Addresses("https://pacs.example/x/", ["10.0.0.0/8"], local=True)
    asked = scope(client="10.0.0.1", x_forwarded_host="evil.example")
    assert addresses.root(asked) == "https://pacs.example/x"
    assert addresses.dicomweb(asked) == "https://pacs.example/x/dicom-web"


def test_on_loopback_the_request_is_believed():
    local = Addresses(local=True)
    assert local.dicomweb(scope("localhost:8080")) == "http://localhost:8080/dicom-web"
    assert local.dicomweb(scope("[::1]:8080")) == "http://[::1]:8080/dicom-web"
    assert local.dicomweb(scope("pacs.example:444", scheme="https")) == "https://pacs.example:444/dicom-web"


def test_off_loopback_a_host_header_is_nobodys_word():
    addresses = Addresses(path_prefix="/pacs")
    assert addresses.dicomweb(scope("evil.example")) == "/pacs/dicom-web"
    assert addresses.dicomweb(scope(x_forwarded_host="evil.example")) == "/pacs/dicom-web"


@pytest.mark.parametrize("host", ['a"b', "a b", "a/b", "a@b", "", "a\r\nb", "x" * 300, "-a"])
def test_a_host_that_is_none_leads_to_urls_without_one(host):
    assert Addresses(local=True).root(scope(host, port=80)) == ""


def test_a_host_without_the_port_is_completed_for_this_machine_only():
    local = Addresses(local=True)
    assert local.root(scope("localhost")) == "http://localhost:8080"
    assert local.root(scope("127.0.0.1")) == "http://127.0.0.1:8080"
    assert local.root(scope("[::1]")) == "http://[::1]:8080"
    assert local.root(scope("pacs.example")) == ""
    assert local.root(scope("pacs.example", port=80)) == "http://pacs.example"


@pytest.mark.parametrize(
    ("headers", "root"),
    [
        ({"forwarded": "for=192.0.2.1;proto=https;host=pacs.example"}, "https://pacs.example/pacs"),
        (
            {"forwarded": 'For="[2001:db8::1]:4711"; Proto=HTTPS ;Host="pacs.example:444"'},
            "https://pacs.example:444/pacs",
        ),
        ({"x_forwarded_proto": "https", "x_forwarded_host": "pacs.example"}, "https://pacs.example/pacs"),
        (
            {"x_forwarded_proto": "https", "x_forwarded_host": "pacs.example", "x_forwarded_port": "444"},
            "https://pacs.example:444/pacs",
        ),
        (
            {"x_forwarded_proto": "https", "x_forwarded_host": "pacs.example", "x_forwarded_port": "443"},
            "https://pacs.example/pacs",
        ),
        ({"x_forwarded_proto": "https"}, "https://pacs:8080/pacs"),
        ({"x_forwarded_prefix": "/other/"}, "http://pacs:8080/other"),
        ({"x_forwarded_prefix": "/a/../b"}, "http://pacs:8080/pacs"),
        ({"x_forwarded_prefix": "//evil.example"}, "http://pacs:8080/pacs"),
        ({"x_forwarded_proto": "javascript"}, "http://pacs:8080/pacs"),
        ({"forwarded": "%%%;;;==,,"}, "http://pacs:8080/pacs"),
        ({}, "http://pacs:8080/pacs"),
    ],
)
def test_a_trusted_proxy_says_what_the_client_asked_for(headers, root):
    addresses = STANDARD if "forwarded" in headers else BEHIND
    assert addresses.root(scope(client="10.1.2.3", **headers)) == root


def test_of_the_headers_that_its_proxies_do_not_write_a_client_is_not_believed():
    lists = {"x_forwarded_for": "192.0.2.1", "x_forwarded_host": "pacs.example", "x_forwarded_proto": "https"}
    single = "for=192.0.2.1;host=pacs.example;proto=https"
    spoofed = scope(client="10.0.0.1", forwarded="for=198.51.100.7;host=evil.example;proto=http", **lists)
    assert (BEHIND.root(spoofed), BEHIND.client(spoofed)) == ("https://pacs.example/pacs", "192.0.2.1")
    evil = {"x_forwarded_for": "198.51.100.7", "x_forwarded_host": "evil.example", "x_forwarded_proto": "http"}
    spoofed = scope(client="10.0.0.1", forwarded=single, **evil)
    assert (STANDARD.root(spoofed), STANDARD.client(spoofed)) == ("https://pacs.example/pacs", "192.0.2.1")


def test_headers_from_elsewhere_do_not_count():
    asked = scope(client="192.0.2.9", forwarded="host=evil.example", x_forwarded_host="evil.example")
    assert BEHIND.root(asked) == "/pacs"


def test_what_stands_left_of_the_first_untrusted_hop_is_the_clients_word():
    forged = "for=198.51.100.7;host=evil.example, for=192.0.2.1;host=pacs.example;proto=https"
    assert STANDARD.root(scope(client="10.0.0.1", forwarded=forged)) == "https://pacs.example/pacs"
    lists = {
        "x_forwarded_for": "198.51.100.7, 192.0.2.1",
        "x_forwarded_host": "evil.example, pacs.example",
        "x_forwarded_proto": "http, https",
    }
    assert BEHIND.root(scope(client="10.0.0.1", **lists)) == "https://pacs.example/pacs"


def test_a_chain_of_trusted_proxies_leads_to_the_outermost():
    chain = "for=192.0.2.1;host=pacs.example;proto=https, for=10.0.0.2;host=inner:81;proto=http"
    assert STANDARD.root(scope(client="10.0.0.1", forwarded=chain)) == "https://pacs.example/pacs"
    lists = {
        "x_forwarded_for": "192.0.2.1, 10.0.0.2",
        "x_forwarded_host": "pacs.example, inner:81",
        "x_forwarded_proto": "https, http",
    }
    assert BEHIND.root(scope(client="10.0.0.1", **lists)) == "https://pacs.example/pacs"
    short = {
        "x_forwarded_for": "192.0.2.1, 10.0.0.2",
        "x_forwarded_host": "pacs.example",
        "x_forwarded_proto": "https",
    }
    assert BEHIND.root(scope(client="10.0.0.1", **short)) == "https://pacs.example/pacs"


def test_an_ipv4_proxy_is_known_on_an_ipv6_socket():
    asked = scope(client="::ffff:10.0.0.1", x_forwarded_host="pacs.example")
    assert BEHIND.root(asked) == "http://pacs.example/pacs"


def test_handlers_ask_for_the_base_url_of_their_request():
    app = Starlette()
    app.state.addresses = Addresses("https://pacs.example")
    assert base_url(Request({**scope(), "app": app})) == "https://pacs.example/dicom-web"
