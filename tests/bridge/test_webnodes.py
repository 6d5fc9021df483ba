"""DICOMweb servers elsewhere: how we are let in."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from loopback import Quiet, serving

from bridge.webnodes import WebNode
from dicomweb.errors import Forbidden, Unavailable
from dicomweb.standard.nodes import read_node


@dataclass
class Elsewhere:
    """A server that lets in who shows the right thing.

    Attributes:
        root: its URL.
        wanted: the Authorization that opens it.
        asked: method, path and Authorization of each request.
        tokens: what the token service gives, one after the other.
    """

    root: str = ""
    wanted: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    made = Elsewhere()

    class Handler(Quiet):
        def answer(self, status: int, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            shown = self.headers.get("Authorization", "")
            made.asked.append(("GET", self.path, shown))
            self.answer(
                200 if shown == made.wanted else 401, [] if shown == made.wanted else {"detail": "who are you?"}
            )

        def do_POST(self) -> None:
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                while size := int(self.rfile.readline(), 16):
                    self.rfile.read(size + 2)
                self.rfile.readline()
                taken = self.headers.get("Authorization", "") == made.wanted
                self.answer(200 if taken else 401, {} if taken else {"detail": "who are you?"})
                return
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            made.asked.append(("POST", self.path, self.headers.get("Authorization", "")))
            made.forms.append(form)
            if made.tokens:
                self.answer(200, {"access_token": made.tokens.pop(0), "expires_in": 3600, "token_type": "Bearer"})
            else:
                self.answer(401, {"error": "invalid_client"})

    with serving(Handler) as made.root:
        yield made


@pytest.fixture
def there():
    with elsewhere() as made:
        yield made


def node(there, **more):
    return read_node("there", {"kind": "dicomweb", "url": f"{there.root}/dicom-web", **more})


def basic(text):
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def oauth(there):
    return node(there, token_url=f"{there.root}/token", client_id="us", client_secret="s3cret", scope="dicom")


def search(one):
    try:
        return one.search("/studies", []).rows
    finally:
        one.close()


def test_a_password_is_shown(there):
    there.wanted = basic("me:p@ss:word")
    assert search(WebNode(node(there, user="me", password="p@ss:word"))) == []


def test_a_node_has_longer_for_its_answers_than_a_server_next_to_us(there, monkeypatch):
    there.wanted = basic("me:secret")
    web = WebNode(node(there, user="me", password="secret"))
    ask, given = web._pool.request, []
    monkeypatch.setattr(web._pool, "request", lambda *what, **how: given.append(how["timeout"]) or ask(*what, **how))
    assert search(web) == []
    assert [(each.connect_timeout, each.read_timeout) for each in given] == [(10.0, 300.0)]


def test_a_token_is_fetched_once_and_shown(there):
    there.wanted, there.tokens = "Bearer one", ["one", "two"]
    web = WebNode(oauth(there))
    web.search("/studies", [])
    web.search("/studies", [])
    web.close()
    assert there.forms == ["grant_type=client_credentials&scope=dicom"]
    assert there.asked[0] == ("POST", "/token", basic("us:s3cret"))


def test_a_token_that_is_withdrawn_is_fetched_anew(there):
    there.wanted, there.tokens = "Bearer two", ["one", "two"]
    assert search(WebNode(oauth(there))) == []
    assert [method for method, *_ in there.asked] == ["POST", "GET", "POST", "GET"]


def test_a_token_that_ends_before_an_object_that_is_streamed_lets_it_be_tried_again(there):
    """It cannot be sent twice; a token that was fetched for it and is not taken is no matter of time."""
    there.wanted, there.tokens = "Bearer one", ["one", "two", "three"]
    web = WebNode(oauth(there))
    web.search("/studies", [])
    there.wanted = "Bearer two"
    with pytest.raises(Unavailable, match="ended its token"):
        web.store(iter([b"an ", b"object"]), "application/dicom")
    assert web.search("/studies", []) == web.search("/studies", [])
    web.close()
    there.wanted, there.tokens = "Bearer other", ["four"]
    fresh = WebNode(oauth(there))
    with pytest.raises(Forbidden):
        fresh.store(iter([b"an ", b"object"]), "application/dicom")
    fresh.close()


def test_who_gets_no_token_is_told_why(there):
    with pytest.raises(Forbidden, match="gives no token: invalid_client"):
        search(WebNode(oauth(there)))


def test_who_is_not_let_in_is_told_what_the_server_says(there):
    there.wanted = "Bearer other"
    with pytest.raises(Forbidden, match="who are you"):
        search(WebNode(node(there)))


def test_a_proxy_is_asked_in_place_of_the_server(there):
    there.wanted = ""
    one = node(there, proxy=there.root.replace("http://", "http://me:secret@"))
    assert (
        search(WebNode(read_node("x", {"kind": "dicomweb", "url": "http://far.invalid/dicom-web", "proxy": one.proxy})))
        == []
    )
    assert there.asked[0][1] == "http://far.invalid/dicom-web/studies"


def test_a_proxy_that_is_not_there_is_named_as_what_cannot_be_reached():
    dead = read_node("x", {"kind": "dicomweb", "url": "http://far.invalid/dicom-web", "proxy": "http://127.0.0.1:1"})
    with pytest.raises(Unavailable, match="the proxy on the way to node x cannot be reached"):
        search(WebNode(dead))
    with pytest.raises(Unavailable, match="the proxy on the way to node x cannot be reached"):
        WebNode(dead).store([b"object"], "multipart/related")
