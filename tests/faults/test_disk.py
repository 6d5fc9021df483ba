"""No room, no inodes, no writing, no syncing: what is not stored is said not to be, what is stored goes on being read,
and all goes on by itself when the disk does (F4, F5, F6, F7)."""

from pathlib import Path

import commands
import pytest
from dicoms import ct
from programs import SERIES, STUDY, big, bridge, failures, files, send, uid, until, web
from smalldisks import Disk, failing_disk, needs_ext4, needs_mount, small_disk

OUT_OF_RESOURCES = 0xA700
LARGE = 2100
"""Kilobytes of an object that does not wait in memory."""
RENDERED = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{uid(1)}/rendered"

NO_FLOOR = {"ROENTGATE_LIMIT_FREE_BYTES": "0"}
"""These disks are smaller than what is kept free elsewhere: here they shall really be full."""
PLACES = {
    "everything": "ROENTGATE_DATA",
    "store": "ROENTGATE_STORAGE",
    "scratch": "ROENTGATE_SCRATCH",
    "index": "ROENTGATE_INDEX",
}
CASES = [
    pytest.param(
        place, kind, marks=() if (place, kind) in {("everything", "bytes"), ("store", "inodes")} else pytest.mark.long
    )
    for place in PLACES
    for kind in ("bytes", "inodes")
    if (place, kind) != ("index", "inodes")  # its files are there already
]


def setting(place: str, disk: Disk) -> dict[str, str]:
    """The setting that puts a place on a disk."""
    text = {"store": f"file:{disk.path}/files", "index": f"sqlite:{disk.path}/index.sqlite"}.get(place, str(disk.path))
    return {PLACES[place]: text, **NO_FLOOR}


def whole(folder: Path, env: dict[str, str]) -> None:
    """Assert that every object is there as it was stored, and none that no row tells of."""
    commands.run(folder, "verify", **env)


@needs_mount
@pytest.mark.parametrize(("place", "kind"), CASES)
def test_a_full_disk_refuses_what_comes_and_reads_go_on(tmp_path: Path, place: str, kind: str) -> None:
    with small_disk(tmp_path / "disk") as disk:
        env = setting(place, disk)
        with web(tmp_path, **env) as server:
            assert server.stow(ct(1), big(9, LARGE)).status_code == 200
            disk.fill(kind)
            objects = [big(number, LARGE) for number in (2, 3)]
            answer = server.stow(*objects)
            assert answer.status_code == 507, answer.text
            assert failures(answer) == [OUT_OF_RESOURCES] * 2
            assert server.read(1).content == ct(1)
            assert server.found() == {uid(1), uid(9)}
            assert server.ask(RENDERED, headers={"Accept": "image/png"}).status_code == 200
            ready = server.ask("/health/ready")
            assert ready.status_code == 200, ready.text
            assert place in ("scratch", "index") or ready.json()["full"]
            disk.empty()
            until(lambda: server.stow(*objects).status_code == 200, "it does not recover by itself")
            assert server.found() == {uid(1), uid(2), uid(3), uid(9)}
            assert not [name for name in files(tmp_path) if name.endswith((".part", ".tmp"))]
            assert "Traceback" not in server.said()
        whole(tmp_path, env)


@needs_mount
@pytest.mark.parametrize("spool", [pytest.param("false", marks=pytest.mark.long), "true"])
@pytest.mark.parametrize("kind", ["bytes", pytest.param("inodes", marks=pytest.mark.long)])
def test_a_modality_is_told_to_come_again_while_a_disk_is_full(tmp_path: Path, spool: str, kind: str) -> None:
    with small_disk(tmp_path / "disk") as disk:
        env = {"ROENTGATE_BRIDGE_TOKEN": "a secret of both", **NO_FLOOR}
        ours = {"ROENTGATE_DATA": str(disk.path)} if spool == "false" else {}
        theirs = {"ROENTGATE_DATA": str(disk.path)} if spool == "true" else {}
        with (
            web(tmp_path, **env, **ours) as server,
            bridge(tmp_path / "b", server.port, ROENTGATE_SPOOL=spool, **env, **theirs) as dimse,
        ):
            assert send(dimse.port, ct(1)) == [0]
            until(lambda: server.found() == {uid(1)}, "it was not delivered")
            disk.fill(kind)
            assert send(dimse.port, big(2, LARGE), big(3, LARGE)) == [OUT_OF_RESOURCES, OUT_OF_RESOURCES]
            assert server.found() == {uid(1)}
            disk.empty()
            until(lambda: send(dimse.port, big(2, LARGE)) == [0], "it does not recover by itself")
            until(lambda: server.found() == {uid(1), uid(2)}, "it was not delivered")
            assert not [name for name in files(tmp_path) if name.endswith((".part", ".tmp"))]
            assert "Traceback" not in server.said() + dimse.said()


@needs_mount
@pytest.mark.parametrize(
    "harm", ["bytes", *(pytest.param(each, marks=pytest.mark.long) for each in ("inodes", "read-only"))]
)
def test_a_cache_folder_that_takes_nothing_fails_no_read(tmp_path: Path, harm: str) -> None:
    with small_disk(tmp_path / "disk", "1m", 40) as disk, web(tmp_path, ROENTGATE_CACHE=str(disk.path)) as server:
        assert server.stow(ct(1), big(2, 600)).status_code == 200
        disk.protect() if harm == "read-only" else disk.fill(harm)
        drawn = server.ask(RENDERED, headers={"Accept": "image/png"})
        assert (drawn.status_code, drawn.content[:4]) == (200, b"\x89PNG")
        for number in (1, 2):
            frame = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{uid(number)}/frames/1"
            kind = "image/jls; transfer-syntax=1.2.840.10008.1.2.4.80"
            assert server.ask(frame, headers={"Accept": kind}).status_code == 200
        assert server.stow(ct(3)).status_code == 200
        assert "Traceback" not in server.said()


@needs_ext4
def test_a_disk_that_became_read_only_refuses_what_comes_and_is_read(tmp_path: Path) -> None:
    with failing_disk(tmp_path / "disk") as disk:
        env = setting("store", disk)
        with web(tmp_path, **env) as server:
            assert server.stow(ct(1)).status_code == 200
            disk.fail()
            answer = server.stow(ct(2))
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
            assert server.read(1).content == ct(1)
            assert server.found() == {uid(1)}
            until(lambda: not server.ready(), "it says that it is ready")
            assert "Traceback" not in server.said()
        disk.repair()
        with web(tmp_path, **env) as server:
            assert server.stow(ct(2)).status_code == 200
            assert server.ready()
        whole(tmp_path, env)
