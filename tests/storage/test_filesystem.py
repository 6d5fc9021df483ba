"""What files add to the promises: who may read them, a disk that fails, what a writer that ended leaves."""

import contextlib
import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomweb.errors import AlreadyStored, BadSetting, Error, NotFound, OutOfSpace, Unavailable
from dicomweb.storage import Body, Put, measured, open_storage
from dicomweb.storage.drafts import FOLDER, Drafts
from dicomweb.storage.filesystem import Filesystem

TEXT = b"The quick brown fox jumps over the lazy dog."
OTHER_FILE_SYSTEM = Path("/dev/shm")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def files(root: Path) -> Iterator[Filesystem]:
    storage = Filesystem(root)
    yield storage
    storage.close()


def put_of(body: Body = TEXT, key: str = "objects/ab/one") -> Put:
    content = body.read_bytes() if isinstance(body, Path) else bytes(body)
    return Put(key, body, hashlib.sha256(content).digest())


def everything(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.suffix != ".lock" and path.is_file())


def test_objects_and_folders_are_for_their_owner_only(files: Filesystem, root: Path, tmp_path: Path) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(TEXT)
    spooled.chmod(0o644)
    mask = os.umask(0)
    try:
        assert files.put([put_of(), put_of(spooled, "objects/ab/two")]) == [None, None]
    finally:
        os.umask(mask)
    for path in [root, *root.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_file_beside_the_root_is_moved_and_not_copied(files: Filesystem, root: Path, tmp_path: Path) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(TEXT)
    number = spooled.stat().st_ino
    assert files.put([put_of(spooled)]) == [None]
    assert (root / "objects/ab/one").stat().st_ino == number
    assert not spooled.exists()


def test_a_file_that_was_not_stored_stays(files: Filesystem, tmp_path: Path) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(TEXT)
    assert files.put([put_of(b"first")]) == [None]
    assert isinstance(files.put([put_of(spooled)])[0], AlreadyStored)
    assert spooled.read_bytes() == TEXT


def link_to(path: Path) -> Path:
    (path.parent / "link").symlink_to(path)
    return path.parent / "link"


def second_name_of(path: Path) -> Path:
    (path.parent / "second").hardlink_to(path)
    return path.parent / "second"


@pytest.mark.parametrize("other_name", [link_to, second_name_of])
def test_a_file_with_another_name_is_copied(
    files: Filesystem, root: Path, tmp_path: Path, other_name: Callable[[Path], Path]
) -> None:
    owned = tmp_path / "owned"
    owned.write_bytes(TEXT)
    assert files.put([put_of(other_name(owned))]) == [None]
    owned.write_bytes(b"changed")
    assert files.read("objects/ab/one") == TEXT
    assert (root / "objects/ab/one").stat().st_nlink == 1


def test_a_file_of_another_file_system_is_copied(files: Filesystem, tmp_path: Path) -> None:
    if not OTHER_FILE_SYSTEM.is_dir() or OTHER_FILE_SYSTEM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system at /dev/shm")
    path = OTHER_FILE_SYSTEM / f"roentgate-test-{os.getpid()}"
    content = os.urandom((2 << 20) + 3)
    path.write_bytes(content)
    try:
        assert files.put([put_of(path)]) == [None]
        assert files.read("objects/ab/one") == path.read_bytes() == content
    finally:
        path.unlink()


def test_a_file_that_only_seemed_movable_is_copied(
    files: Filesystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(TEXT)
    link = os.link

    def refuse(source: str, *args: Any, **more: Any) -> None:
        if source == str(spooled):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link(source, *args, **more)

    monkeypatch.setattr(os, "link", refuse)
    assert files.put([put_of(spooled)]) == [None]
    assert files.read("objects/ab/one") == TEXT


def test_nothing_is_left_but_the_objects(files: Filesystem, root: Path) -> None:
    puts = [put_of(b"%d" % n, f"objects/{n}") for n in range(5)]
    files.put(puts)
    files.put(puts)
    files.check()
    assert everything(root) == [root / f"objects/{n}" for n in range(5)]
    files.close()
    assert list((root / FOLDER).iterdir()) == []


CALLS = ["write", "fdatasync", "fsync", "link", "mkdir", "open"]
FAULTS = [
    (errno.ENOSPC, OutOfSpace),
    (errno.EDQUOT, OutOfSpace),
    (errno.EIO, Unavailable),
    (errno.EROFS, Unavailable),
]


@contextlib.contextmanager
def failing(call: str, number: int, only: Callable[..., bool] = lambda *_, **__: True) -> Iterator[list[int]]:
    """Let a call of the operating system fail with an error number; count how often it did."""
    true: Callable[..., Any] = getattr(os, call)
    failed: list[int] = []

    def fail(*args: Any, **more: Any) -> Any:
        if only(*args, **more):
            failed.append(number)
            raise OSError(number, os.strerror(number), "/secret/path")
        return true(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, fail)
        yield failed


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("number", "expected"), FAULTS)
@pytest.mark.parametrize("count", [1, 3])
def test_what_a_failing_disk_does_not_take_is_not_stored_and_leaves_nothing(
    files: Filesystem, root: Path, call: str, number: int, expected: type[Error], count: int
) -> None:
    puts = [put_of(key=f"objects/{n}/one") for n in range(count)]
    with failing(call, number) as failed:
        results = files.put(puts)
    assert failed
    assert [type(result) for result in results] == [expected] * count
    assert all("secret" not in str(result) for result in results)
    assert everything(root) == []
    assert files.put(puts) == [None] * count
    assert [files.read(put.key) for put in puts] == [TEXT] * count


def test_a_failed_sync_is_not_tried_again(files: Filesystem) -> None:
    for call in ("fdatasync", "fsync"):
        with failing(call, errno.EIO) as failed:
            assert isinstance(files.put([put_of()])[0], Unavailable)
        # One file, or each of its three folders once.
        assert len(failed) == (1 if call == "fdatasync" else 3)


def test_one_object_that_fails_spoils_no_other(files: Filesystem, root: Path) -> None:
    puts = [put_of(b"%d" % n, f"objects/{n}/one") for n in range(4)]
    taken = root / "objects/2"
    with failing("link", errno.EIO, lambda _, target, **__: target == "objects/2/one"):
        results = files.put(puts)
    assert [type(result) for result in results] == [type(None), type(None), Unavailable, type(None)]
    assert [path.parent.name for path in everything(root)] == ["0", "1", "3"]
    assert list(taken.glob("*")) == []


def test_a_folder_that_is_not_synced_fails_its_objects_only(files: Filesystem, root: Path) -> None:
    puts = [put_of(b"%d" % n, f"objects/{n % 2}/{n}") for n in range(4)]
    assert files.put([put_of(key="objects/0/x"), put_of(key="objects/1/x")]) == [None, None]
    bad = (root / "objects/1").stat().st_ino
    with failing("fsync", errno.EIO, lambda descriptor: os.fstat(descriptor).st_ino == bad):
        results = files.put(puts)
    assert [type(result) for result in results] == [type(None), Unavailable] * 2
    assert [stored.key for stored in files.list()] == [
        "objects/0/0",
        "objects/0/2",
        "objects/0/x",
        "objects/1/x",
    ]


def test_the_spooled_file_outlives_a_failed_sync_of_the_folder(files: Filesystem, tmp_path: Path) -> None:
    spooled = tmp_path / "spooled"
    spooled.write_bytes(TEXT)
    folder = lambda descriptor: stat.S_ISDIR(os.fstat(descriptor).st_mode)  # noqa: E731
    with failing("fsync", errno.EIO, folder):
        assert isinstance(files.put([put_of(spooled)])[0], Unavailable)
    assert spooled.read_bytes() == TEXT
    with pytest.raises(NotFound):
        files.size("objects/ab/one")


@pytest.mark.parametrize("call", ["pread", "open", "fstat"])
def test_a_disk_that_cannot_be_read_is_unavailable(files: Filesystem, call: str) -> None:
    files.put([put_of()])
    with failing(call, errno.EIO):
        for use in (files.read, lambda key: list(files.stream(key))):
            with pytest.raises(Unavailable, match="Input/output error"):
                use("objects/ab/one")


def test_a_disk_that_cannot_be_listed_or_cleared_is_unavailable(files: Filesystem) -> None:
    files.put([put_of()])
    with failing("scandir", errno.EIO), pytest.raises(Unavailable):
        list(files.list())
    with failing("stat", errno.EIO), pytest.raises(Unavailable):
        files.size("objects/ab/one")
    with failing("unlink", errno.EIO), pytest.raises(Unavailable):
        files.delete("objects/ab/one")
    with failing("fsync", errno.EIO), pytest.raises(Unavailable):
        files.delete("objects/ab/one")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["fdatasync", "link", "write"])
def test_a_check_finds_a_disk_that_takes_nothing(files: Filesystem, root: Path, call: str, number: int) -> None:
    error = OutOfSpace if number == errno.ENOSPC else Unavailable
    with failing(call, number), pytest.raises(error, match=r"\.$"):
        files.check()
    assert everything(root) == []
    files.check()


def test_a_short_write_is_gone_on_with(files: Filesystem, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    assert files.put([put_of()]) == [None]
    assert files.read("objects/ab/one") == TEXT


def test_a_file_that_was_cut_short_is_not_read_as_whole(
    files: Filesystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.put([put_of(bytes(1000))])
    stream = files.stream("objects/ab/one", chunk=100)
    next(iter(stream))
    os.truncate(root / "objects/ab/one", 150)
    with pytest.raises(Unavailable, match="fewer bytes"):
        list(stream)


def test_links_and_folders_under_a_key_are_no_objects(files: Filesystem, root: Path, tmp_path: Path) -> None:
    files.put([put_of()])
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "objects/ab/link").symlink_to(tmp_path / "secret")
    with pytest.raises(NotFound):
        files.read("objects/ab/link")
    with pytest.raises(NotFound):
        files.size("objects/ab/link")
    assert [stored.key for stored in files.list()] == ["objects/ab/one"]


def test_folders_that_someone_removed_are_made_again(files: Filesystem, root: Path) -> None:
    files.put([put_of()])
    files.delete("objects/ab/one")
    (root / "objects/ab").rmdir()
    (root / "objects").rmdir()
    assert files.put([put_of()]) == [None]
    assert files.read("objects/ab/one") == TEXT


def test_a_root_that_was_moved_away_is_still_the_root(files: Filesystem, root: Path, tmp_path: Path) -> None:
    root.rename(tmp_path / "moved")
    root.mkdir()
    assert files.put([put_of()]) == [None]
    assert list(root.iterdir()) == []
    assert (tmp_path / "moved/objects/ab/one").read_bytes() == TEXT


def test_what_one_process_stores_another_reads(files: Filesystem, root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dicomweb.storage import Put, open_storage\n"
        "storage = open_storage(f'file:{sys.argv[1]}')\n"
        "assert storage.put([Put('objects/ab/one', b'from afar', bytes(32))]) == [None]\n"
        "storage.close()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)
    assert files.read("objects/ab/one") == b"from afar"
    assert isinstance(files.put([put_of()])[0], AlreadyStored)


def test_a_root_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="Not a directory") as caught:
        Filesystem(tmp_path / "file" / "root")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("form", ["file:{}", "file://{}"])
def test_the_url_of_a_folder_is_its_path(tmp_path: Path, form: str) -> None:
    storage = open_storage(form.format(tmp_path / "with space %41"))
    storage.put([put_of()])
    storage.close()
    assert (tmp_path / "with space %41/objects/ab/one").read_bytes() == TEXT


def test_the_url_of_a_folder_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage("file:here/files")
    storage.put([put_of()])
    storage.close()
    assert (tmp_path / "here/files/objects/ab/one").read_bytes() == TEXT


@pytest.mark.parametrize("url", ["", "file:", "files", "/data", "ftp://x/y", "memory:x", "http://host/x"])
def test_a_url_of_no_back_end_is_refused(url: str) -> None:
    with pytest.raises(BadSetting, match="storage: "):
        open_storage(url)


WRITER = """
import os, sys
from dicomweb.storage.drafts import Drafts
drafts = Drafts(os.open(sys.argv[1], os.O_RDONLY))
name, descriptor = drafts.create()
os.write(descriptor, b"half an obj")
print(name, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def writer(root: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Another process, in the middle of a draft."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, root / process.stdout.readline().decode().strip()
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_sweep_removes_what_a_killed_writer_left(files: Filesystem, root: Path) -> None:
    with writer(root) as (process, draft):
        assert draft.read_bytes() == b"half an obj"
        files.sweep()
        assert draft.exists()
        process.kill()
        process.wait()
        files.sweep()
        assert not draft.exists()
    files.sweep()
    assert list((root / FOLDER).iterdir()) == []


def test_a_sweep_leaves_its_own_drafts(root: Path) -> None:
    root.mkdir()
    descriptor = os.open(root, os.O_RDONLY)
    drafts = Drafts(descriptor)
    name, file = drafts.create()
    drafts.sweep()
    assert (root / name).exists()
    os.close(file)
    drafts.close()
    drafts.sweep()
    assert (root / name).exists() is False
    os.close(descriptor)


def test_without_locks_a_sweep_removes_drafts_after_a_day(
    files: Filesystem, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with writer(root) as (_, draft):
        files.sweep()
        assert draft.exists()
        for path in [draft, draft.parent, draft.parent.with_suffix(".lock")]:
            os.utime(path, (0, 0))
        os.utime(draft)
        files.sweep()
        assert draft.exists()
        os.utime(draft, (0, 0))
        files.sweep()
        assert not draft.exists()


def test_a_writer_without_locks_can_write(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    files = Filesystem(root)
    assert files.put([put_of()]) == [None]
    files.close()
    assert list((root / FOLDER).iterdir()) == []


def test_bytes_of_a_file_that_is_opened_count_as_read(tmp_path):
    storage = measured.Measured(Filesystem(tmp_path))
    assert storage.put([Put("objects/ab/cd/one", b"bytes", hashlib.sha256(b"bytes").digest())]) == [None]
    before = dict(measured.BYTES.rows()).get(("out",), [0])[0]
    assert storage.opener is not None
    os.close(storage.opener("objects/ab/cd/one", 5))
    assert dict(measured.BYTES.rows())[("out",)][0] == before + 5
