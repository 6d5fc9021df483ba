"""Index and objects of different days, an altered object, a client that leaves: what is told, and what mends it
(F7, F20, F37, F38)."""

import shutil
import socket
from pathlib import Path

import commands
from dicoms import ct
from programs import SERIES, STUDY, big, files, uid, until, web


def findings(folder: Path) -> set[tuple[str, str]]:
    """Kind and instance of what `verify` finds."""
    told = commands.run_json(folder, "verify", status=1)
    return {(each["kind"], each["instance"]) for each in told["findings"]}


def test_yesterdays_index_with_todays_objects_is_mended_by_the_objects(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "index.bak"
    with web(tmp_path) as server:
        assert server.stow(ct(1), ct(2)).status_code == 200
    shutil.copy(data / "index.sqlite", backup)
    with web(tmp_path) as server:
        assert server.stow(ct(3)).status_code == 200
        deleted = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{uid(2)}"
        assert server.ask(deleted, "DELETE").status_code == 204
        today = server.ask("/dicom-web/instances").content.replace(str(server.port).encode(), b"")
    for leftover in data.glob("index.sqlite-*"):
        leftover.unlink()
    shutil.copy(backup, data / "index.sqlite")
    assert ("orphaned", "") in findings(tmp_path)
    told = commands.run_json(tmp_path, "reconcile")
    assert {name: told[name] for name in ("agreed", "added", "deleted", "missing")} == {
        "agreed": told["agreed"], "added": 1, "deleted": 1, "missing": 0
    }  # fmt: skip
    assert commands.run_json(tmp_path, "reconcile")["added"] == 0
    with web(tmp_path) as server:
        assert server.ask("/dicom-web/instances").content.replace(str(server.port).encode(), b"") == today
        assert server.read(2).status_code == 410
        assert server.read(3).content == ct(3)
    commands.run(tmp_path, "verify")


def test_todays_index_with_yesterdays_objects_names_what_is_missing_until_it_is_sent_again(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "files.bak"
    with web(tmp_path) as server:
        assert server.stow(ct(1)).status_code == 200
    shutil.copytree(data / "files", backup)
    later = ct(2)
    with web(tmp_path) as server:
        assert server.stow(later).status_code == 200
    shutil.rmtree(data / "files")
    shutil.move(backup, data / "files")
    assert findings(tmp_path) == {("missing", uid(2))}
    told = commands.run_json(tmp_path, "reconcile", status=1)
    assert (told["added"], [each["instance"] for each in told["findings"]]) == (0, [uid(2)])
    with web(tmp_path) as server:
        answer = server.read(2)
        assert (answer.status_code, "missing" in answer.json()["detail"]) == (500, True)
        assert server.read(1).status_code == 200
        assert server.found() == {uid(1), uid(2)}
        assert "roentgate verify" in server.said()
        assert server.stow(later).status_code == 200
        assert server.read(2).content == later
    commands.run(tmp_path, "verify")


def test_an_object_that_was_cut_or_altered_on_disk_is_told_of_and_hides_no_other(tmp_path: Path) -> None:
    with web(tmp_path) as server:
        assert server.stow(ct(1), ct(2), ct(3)).status_code == 200
        cut, altered = (
            path for path, _ in zip(sorted((tmp_path / "data" / "files" / "objects").rglob("*-*")), "ab", strict=False)
        )
        cut.write_bytes(cut.read_bytes()[:-10])
        altered.write_bytes(altered.read_bytes()[:-1] + b"\xff")
        statuses = sorted(server.read(number).status_code for number in (1, 2, 3))
        assert statuses == [200, 200, 500]
        assert len(server.found()) == 3
        assert server.ask(f"/dicom-web/studies/{STUDY}/metadata").status_code == 200
        assert "roentgate verify" in server.said()
    assert {kind for kind, _ in findings(tmp_path)} == {"corrupt"}
    assert len(findings(tmp_path)) == 2


def test_a_client_that_leaves_in_the_middle_stores_what_was_complete_or_nothing(tmp_path: Path) -> None:
    """And what it sends again is stored once."""
    objects = [big(number, 600) for number in range(1, 21)]
    with web(tmp_path) as server:
        boundary = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(boundary + data + b"\r\n" for data in objects)
        head = (
            f"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body) + 5}\r\n"
            'Content-Type: multipart/related; type="application/dicom"; boundary=b\r\n\r\n'
        )
        with socket.create_connection(("127.0.0.1", server.port), 30) as client:
            client.sendall(head.encode() + body[: len(body) // 2])
        until(lambda: not [name for name in files(tmp_path) if name.endswith(".part")], "what was begun is left")
        before = server.found()
        assert before < {uid(number) for number in range(1, 21)}
        assert all(server.read(int(instance.rpartition(".")[2])).status_code == 200 for instance in before)
        assert server.stow(*objects).status_code == 200
        assert len(server.found()) == 20
    commands.run(tmp_path, "verify")
