"""`roentgate check` against real processes: it tells what works and leaves nothing behind."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
import httpx
import pytest
from commands import run, run_json
from served import Served
from servers import running

STEPS = ["search", "right to delete", "store", "find", "fetch", "frame", "delete"]
ECHO = ["name", "tcp", "association", "status"]


@contextlib.contextmanager
def both(folder: Path, **env: str) -> Iterator[tuple[str, str]]:
    """A web server and its bridge; gives the DICOMweb root and HOST:PORT of DIMSE."""
    arguments = ("up", "--http-port", "0", "--dimse-port", "0")
    with commands.started(folder, *arguments, **env) as (_, greeting):
        root = re.search(r"try +curl -s (\S+)/studies", greeting)
        assert root is not None, greeting
        yield root[1], f"127.0.0.1:{commands.dimse_port(greeting)}"


def names(told: dict[str, Any]) -> list[str]:
    return [step["name"] for step in told["steps"]]


def count(root: str, key: str = "") -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return len(httpx.get(f"{root}/instances", headers=headers, timeout=30).json())


def test_all_steps_pass_and_nothing_is_left(tmp_path: Path) -> None:
    with both(tmp_path) as (root, dimse):
        said = run(tmp_path, "check", root.removesuffix("/dicom-web"), status=1).stdout
        assert re.search("search +FAILED .*root of its DICOMweb services, such as .*/dicom-web", said)
        told = run_json(tmp_path, "check", root, "--dimse", dimse)
        assert told["ok"]
        assert names(told) == [*STEPS, *ECHO]
        assert count(root) == 0
        said = run(tmp_path, "check", root, "--look", "--refuses", "--dimse", f"ROENTGATE@{dimse}", status=1).stdout
        assert "it let us in, although we are no node there" in said
        assert "store" not in said
        other = run_json(tmp_path, "check", root, "--look", "--dimse", f"OTHER@{dimse}", status=1)
        assert [step["ok"] for step in other["steps"]] == [True, True, True, False]


def test_with_access_control_a_key_is_needed_and_one_that_may_not_delete_stores_nothing(tmp_path: Path) -> None:
    env = {"ROENTGATE_ACCESS": "true", "ROENTGATE_UNKNOWN_AETS": "refuse"}
    keys: dict[str, Path] = {}
    for name, roles in (("all", ("read", "write", "delete")), ("most", ("read", "write")), ("reader", ("read",))):
        words = [word for role in roles for word in ("--role", role)]
        keys[name] = tmp_path / name
        keys[name].write_text(run(tmp_path, "key", "add", name, *words).stdout)
    with both(tmp_path, **env) as (root, dimse):
        nobody = run_json(tmp_path, "check", root, status=1)
        assert names(nobody) == ["search"]
        whole = run_json(tmp_path, "check", root, "--key-file", keys["all"], "--dimse", dimse, "--refuses")
        assert names(whole) == [*STEPS, "name", "tcp", "refusal"]
        assert "rejects the association" in whole["steps"][-1]["detail"]
        for name in ("most", "reader"):
            told = run_json(tmp_path, "check", root, "--key-file", keys[name], status=1)
            assert names(told) == ["search", "right to delete"]
            assert "nothing was stored" in told["steps"][-1]["detail"]
            assert run_json(tmp_path, "check", root, "--key-file", keys[name], "--look")["ok"]
        assert count(root, keys["all"].read_text().strip()) == 0


def test_a_key_that_cannot_be_read_and_a_server_that_is_away_are_told(tmp_path: Path) -> None:
    said = run(tmp_path, "check", "http://127.0.0.1:1/dicom-web", "--key-file", "nowhere", status=2).stderr
    assert "--key-file names nowhere, which cannot be read" in said
    said = run(tmp_path, "check", "http://127.0.0.1:1/dicom-web", status=1).stdout
    assert re.search("search +FAILED .* cannot be reached", said)


class Twisted:
    """An application whose answers to some paths are altered."""

    def __init__(self, app: Any, within: str) -> None:
        self._app = app
        self._within = within

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            body = message.get("body", b"")
            if scope["method"] == "GET" and re.search(self._within, scope["path"]) and len(body) > 500:
                middle = len(body) // 2
                message = {**message, "body": body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]}
            await send(message)

        await self._app(scope, receive, sending)


@pytest.mark.parametrize(("within", "step"), [("/frames/1$", "frame"), ("/instances/[0-9.]+$", "fetch")])
def test_what_comes_back_altered_is_told_and_still_removed(tmp_path: Path, within: str, step: str) -> None:
    served = Served(tmp_path)
    with running(Twisted(served.client.app, within)) as server:
        done = run(tmp_path, "check", f"http://127.0.0.1:{server.port}/dicom-web", "--json", status=1)
    told = json.loads(done.stdout)
    failed = [each["name"] for each in told["steps"] if not each["ok"]]
    assert (failed, names(told)[-1]) == ([step], "delete")
    assert list(served.archive.index.walk()) == []
