"""`roentgate key`: keys are made for a server that runs, and are worthless once revoked."""

import json
import os
import pwd

import httpx
from commands import run, run_json, served

from dicomweb.commands.terminal import audited
from dicomweb.config import Config

NEAR = {"ROENTGATE_ACCESS": "true", "ROENTGATE_ACCESS_REMEMBER_SECONDS": "0"}


def test_a_key_that_is_made_opens_a_running_server_until_it_is_revoked(tmp_path):
    with served(tmp_path, **NEAR) as server:
        url = f"http://127.0.0.1:{server.port}/dicom-web/studies"
        assert httpx.get(url).status_code == 401
        text = run(tmp_path, "key", "add", "viewer", "--role", "read").stdout.strip()
        field = {"authorization": f"Bearer {text}"}
        assert httpx.get(url, headers=field).status_code == 200
        assert httpx.delete(f"{url}/1.2.3", headers=field).status_code == 403
        assert run(tmp_path, "key", "revoke", "viewer").stdout.endswith("opens nothing any more.\n")
        assert httpx.get(url, headers=field).status_code == 401


def test_a_list_shows_what_keys_are_for_and_never_the_keys(tmp_path):
    made = run_json(
        tmp_path, "key", "add", "ct", "--role", "write", "--role", "read", "--days", "2",
        "--study", "1.2.3", "--patient", "4711^^^HERE", "--node", "PACS",
    )  # fmt: skip
    (told,) = run_json(tmp_path, "key", "list")
    assert told == {name: value for name, value in made.items() if name != "key"}
    assert (told["roles"], told["studies"], told["patients"]) == (["read", "write"], ["1.2.3"], ["4711^^^HERE"])
    assert told["expires"] - told["created"] == 2 * 86_400
    shown = run(tmp_path, "key", "list").stdout
    assert "1.2.3, patient 4711^^^HERE, node PACS" in shown
    assert made["key"] not in shown


def test_what_makes_no_key_is_said(tmp_path):
    run(tmp_path, "key", "add", "one", "--role", "read")
    again = run(tmp_path, "key", "add", "one", "--role", "read", status=1)
    assert "there is a key one already" in again.stderr
    assert run(tmp_path, "key", "add", "two", status=2).stderr
    assert "days is a number" in run(tmp_path, "key", "add", "two", "--role", "read", "--days", "0", status=1).stderr
    run(tmp_path, "key", "add", "two", "--role", "read", "--study", "../x", status=1)
    run(tmp_path, "key", "add", "two", "--role", "read", "--patient", "^^^HERE", status=1)
    assert "there is no key two" in run(tmp_path, "key", "revoke", "two", status=1).stderr


def test_a_server_that_asks_who_calls_may_listen_where_others_reach_it_and_another_may_not(tmp_path):
    refused = run(tmp_path, "serve", "--http-host", "0.0.0.0", "--http-port", "0", status=2)
    assert "Set access = true" in refused.stderr
    with served(tmp_path, "--http-host", "0.0.0.0", **NEAR) as server:
        assert httpx.get(f"http://127.0.0.1:{server.port}/dicom-web/studies").status_code == 401


def test_a_user_without_a_name_is_recorded_by_number(tmp_path, monkeypatch):
    def nobody(number: int) -> None:
        raise KeyError(f"uid not found: {number}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    config = Config(data=tmp_path, audit=True, origins={"audit": "here"})
    with audited(config) as trail:
        trail({"event": "key add", "outcome": "success"})
    (file,) = config.audit_folder.glob("*")
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert [record["who"] for record in told if record["event"] == "key add"] == [f"user {os.getuid()}"]
