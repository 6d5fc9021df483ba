"""Installed viewers are served below any path; nothing but their files is."""

import gzip
import re

import packages
import pytest
from served import Served

from dicomweb import viewers
from dicomweb.viewers import CONFIGURATION, KINDS

BUNDLE = "app.bundle.0f6159c501addfe9.js"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    made = Served(tmp_path_factory.mktemp("viewers"), path_prefix="/pacs")
    packages.install(made.config.viewers)
    return made


@pytest.fixture(scope="module")
def client(served):
    return served.client


def links(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]*)"', page)


def test_viewers_are_listed_with_addresses_relative_to_the_root(client):
    assert client.get("/viewer").json() == {
        "viewers": [
            {
                "name": "ohif",
                "title": "OHIF",
                "version": "3.13.2",
                "path": "viewer/ohif/",
                "study": "viewer/ohif/viewer?StudyInstanceUIDs={study}",
            }
        ]
    }


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("/viewer/ohif", "ohif/"),
        ("/viewer/ohif/", "./"),
        ("/pacs/viewer/ohif/", "./"),
        ("/viewer/ohif/index.html", "./"),
        ("/viewer/ohif/viewer?StudyInstanceUIDs=1.2/3/viewer/ohif/", "./"),
        ("/pacs/viewer/ohif/segmentation/dicomweb", "../"),
        ("/viewer/ohif/a/b/c", "../../"),
        ("/viewer/ohif//a/", "../../"),
    ],
)
def test_whatever_address_names_no_file_is_the_page_and_its_links_lead_to_the_files(client, path, start):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert links(answer.text) == [
        f"{start}{name}" for name in ("assets/icon.png", "app-config.js", BUNDLE, "app.bundle.css")
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (BUNDLE, "text/javascript; charset=utf-8"),
        ("app.bundle.css", "text/css; charset=utf-8"),
        ("codec.wasm", "application/wasm"),
        ("a34f9d1faa5f3315.woff2", "font/woff2"),
        ("assets/icon.png", "image/png"),
        (CONFIGURATION, "text/javascript; charset=utf-8"),
    ],
)
def test_files_have_their_types(client, name, kind):
    answer = client.get(f"/pacs/viewer/ohif/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert int(client.head(f"/viewer/ohif/{name}").headers["content-length"]) > 0


def test_a_file_is_gzipped_for_who_takes_it_and_as_it_is_for_others(client):
    plain = client.get(f"/viewer/ohif/{BUNDLE}", headers={"accept-encoding": "identity"})
    zipped = client.get(f"/viewer/ohif/{BUNDLE}", headers={"accept-encoding": "gzip, br"})
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) < int(plain.headers["content-length"]) == len(plain.content)
    assert zipped.content == plain.content
    assert plain.headers["etag"] != zipped.headers["etag"]
    assert plain.headers["vary"] == "Accept-Encoding"


def test_long_files_come_whole(client, served):
    there = viewers.installed(served.config.viewers, "ohif")
    assert there is not None
    whole = (there.files(served.config.viewers) / "a34f9d1faa5f3315.woff2").read_bytes()
    assert len(whole) > 1 << 20
    assert client.get("/viewer/ohif/a34f9d1faa5f3315.woff2").content == whole


def test_what_is_named_by_its_digest_lasts_and_all_else_is_asked_about_again(client):
    for name, lasts in {
        BUNDLE: True,
        "a34f9d1faa5f3315.woff2": True,
        "app.bundle.css": False,
        CONFIGURATION: False,
    }.items():
        answer = client.get(f"/viewer/ohif/{name}")
        assert ("immutable" in answer.headers["cache-control"]) is lasts
        again = client.get(f"/viewer/ohif/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        f"/viewer/ohif/{name}"
        for name in (
            "missing.js", "../installed.json", "..%2finstalled.json", "%2e%2e/installed.json", "..%5cinstalled.json",
            f"{BUNDLE}.gz", "assets/../../installed.json", "/etc/passwd.txt", "%00.js",
            "assets/..%2f..%2finstalled.json",
        )
    ],
)  # fmt: skip
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404


def test_a_viewer_that_is_not_installed_tells_how_it_is(tmp_path):
    client = Served(tmp_path).client
    for path in ("/viewer/ohif", "/viewer/ohif/viewer", "/viewer/ohif/app.js"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "roentgate viewer install ohif" in answer.json()["detail"]
    assert client.get("/viewer").json() == {"viewers": []}
    assert client.get("/viewer/nothing").status_code == 404


def test_what_is_installed_and_removed_while_the_server_runs_is_seen(tmp_path):
    made = Served(tmp_path)
    there = packages.install(made.config.viewers)
    assert made.client.get("/viewer/ohif/").status_code == 200
    first = made.client.get("/viewer/ohif/app.bundle.css").headers["etag"]
    assert packages.install(made.config.viewers) != there
    assert made.client.get("/viewer/ohif/app.bundle.css").headers["etag"] != first
    viewers.remove(made.config.viewers, "ohif")
    assert made.client.get("/viewer/ohif/").status_code == 404


def test_an_edited_configuration_is_served(tmp_path):
    made = Served(tmp_path)
    packages.install(made.config.viewers)
    assert made.client.get(f"/viewer/ohif/{CONFIGURATION}").text == KINDS["ohif"].configuration
    (made.config.viewers / "ohif" / CONFIGURATION).write_text("mine")
    assert made.client.get(f"/viewer/ohif/{CONFIGURATION}").text == "mine"


def policy(answer) -> dict[str, str]:
    return dict(one.strip().partition(" ")[::2] for one in answer.headers["content-security-policy"].split(";"))


def test_the_page_may_ask_this_server_only_and_runs_its_own_scripts_only(client):
    said = policy(client.get("/viewer/ohif/"))
    assert said["default-src"] == "'self'"
    assert "http" not in str(said)
    assert "'unsafe-inline'" not in said["script-src"]
    assert said["script-src"].count("'sha256-") == 2
    assert said["connect-src"] == "'self' data: blob:"
    assert said["frame-ancestors"] == "'self'"


def test_the_page_may_ask_the_issuer_of_tokens_too(tmp_path):
    made = Served(tmp_path, oidc_issuer="https://login.example/realms/x", oidc_audience="roentgate")
    packages.install(made.config.viewers)
    said = policy(made.client.get("/viewer/ohif/"))
    assert said["connect-src"] == "'self' data: blob: https://login.example"
    assert said["frame-src"] == "'self' blob: https://login.example"
    assert "login.example" not in said["script-src"]


def test_a_worker_is_bound_by_the_policy_of_its_script(client):
    said = policy(client.get(f"/viewer/ohif/{BUNDLE}"))
    assert said["connect-src"] == "'self' data: blob:"
    assert "'unsafe-eval'" in said["script-src"], "codecs make functions of text"


def test_gzipped_files_are_what_they_were(served):
    there = viewers.installed(served.config.viewers, "ohif")
    assert there is not None
    for path in there.files(served.config.viewers).rglob("*.gz"):
        assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()
