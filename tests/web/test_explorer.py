"""The explorer's files: served with a policy under which nothing foreign runs, relative to their own address, and
written so that text of DICOM objects cannot become markup."""

import re

import pytest
from served import Served

from dicomweb.web import explorer

FILES = explorer.files()
SCRIPTS = {name: data.decode() for name, (data, _) in FILES.items() if name.endswith(".js")}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    return Served(tmp_path_factory.mktemp("explorer"), path_prefix="/pacs").client


def test_the_page_goes_out_with_a_policy_that_allows_this_server_only(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(one.strip().partition(" ")[::2] for one in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert "http" not in str(policy)


def test_every_file_is_served_as_it_is_and_asked_about_again(client):
    for name, (data, kind) in FILES.items():
        answer = client.get(f"/explorer/{name}")
        assert (answer.content, answer.headers["content-type"]) == (data, kind)
        assert "no-cache" in answer.headers["cache-control"]
        again = client.get(f"/explorer/{name}", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304


def test_names_of_tags_and_uids_are_served_for_those_who_look_at_attributes(client):
    names = client.get("/explorer/dictionary.json").json()
    assert names["tags"]["00100010"] == "Patient's Name"
    assert names["uids"]["1.2.840.10008.5.1.4.1.1.2"] == "CT Image Storage"
    assert next(name for value, mask, name in names["masks"] if 0x60023000 & mask == value) == "Overlay Data"
    assert names["private"]["SIEMENS MR HEADER"]["00190C"] == "B_value"


@pytest.mark.parametrize("name", ["../web/explorer.py", "..%2fconfig.py", "", "pages", "app.py"])
def test_nothing_else_is_served(client, name):
    assert client.get(f"/explorer/{name}").status_code == 404


def test_a_prefix_without_its_slash_is_sent_to_the_one_with_it(client):
    answer = client.get("/pacs")
    assert (answer.status_code, answer.headers["location"]) == (308, "pacs/")
    assert client.get("/pacs/").content == client.get("/").content


def test_every_module_that_is_imported_exists():
    for name, text in SCRIPTS.items():
        folder = name.rpartition("/")[0]
        for target in re.findall(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""", text):
            assert _joined(folder, target) in FILES, f"{name} imports {target}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_text_never_becomes_markup(name):
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|\beval\(|new Function|setHTML"
    assert re.findall(sinks, SCRIPTS[name]) == []


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_loaded_from_elsewhere(name):
    text = FILES[name][0].decode().replace("http://www.w3.org/2000/svg", "")
    assert re.findall(r"https?://|(?:src|href)=\"/|url\((?!#)", text) == []


def test_first_load_weighs_less_than_300_kilobytes():
    page = FILES["index.html"][0].decode()
    seen = {"index.html", *re.findall(r'(?:src|href)="explorer/([^"]+)"', page)}
    waiting = [name for name in seen if name in SCRIPTS] + ["pages/studies.js"]
    waiting += [_joined("", target) for target in re.findall(r'"(\./actions/[^"]+)"', SCRIPTS["app.js"])]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        targets = re.findall(r"""from\s+["'](\.[^"']+)["']""", SCRIPTS[name])
        waiting += {_joined(name.rpartition("/")[0], target) for target in targets} - seen
    assert {"work.css", "icon.svg", "components/list.js", "actions/send.js", "upload/zip.js"} <= seen
    assert sum(len(FILES[name][0]) for name in seen) < 300_000


def _joined(folder: str, target: str) -> str:
    parts = folder.split("/") if folder else []
    for step in target.split("/"):
        if step == "..":
            parts.pop()
        elif step != ".":
            parts.append(step)
    return "/".join(parts)
