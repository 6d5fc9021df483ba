"""Small file systems that can be filled, where the tests may mount some (root on Linux)."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_mount = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="needs root on Linux, to mount a small file system",
)

needs_ext4 = pytest.mark.skipif(
    needs_mount.args[0] or shutil.which("mkfs.ext4") is None or not Path("/dev/loop-control").exists(),
    reason="needs root on Linux with loop devices and mkfs.ext4: apt-get install e2fsprogs",
)


@dataclass
class Disk:
    """A mounted file system."""

    path: Path

    @property
    def _filler(self) -> Path:
        return self.path / "filler"

    def fill(self, kind: str = "bytes") -> None:
        """Leave no room: not one byte, or not one inode."""
        if kind == "inodes":
            self._filler.mkdir(exist_ok=True)
            self._until_full(lambda number: (self._filler / str(number)).touch())
            return
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                self._until_full(lambda _, size=size: file.write(bytes(size)))

    def _until_full(self, step: Callable[[int], object]) -> None:
        for number in range(1 << 20):
            try:
                step(number)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return
        raise AssertionError("it does not get full")

    def empty(self) -> None:
        """Give the room back."""
        shutil.rmtree(self._filler) if self._filler.is_dir() else self._filler.unlink()

    def protect(self) -> None:
        """Let nobody write there any more; nobody may be writing."""
        subprocess.run(["mount", "-o", "remount,ro", self.path], check=True)


@dataclass
class FailingDisk(Disk):
    """A mounted ext4 in a file."""

    image: Path

    def fail(self) -> None:
        """Let the kernel find an error, upon which it makes the file system read-only."""
        source = subprocess.run(["findmnt", "-no", "SOURCE", self.path], check=True, capture_output=True, text=True)
        Path(f"/sys/fs/ext4/{Path(source.stdout.strip()).name}/trigger_fs_error").write_text("1")

    def repair(self) -> None:
        """Check it and mount it anew, which nobody may be using."""
        subprocess.run(["umount", self.path], check=True)
        subprocess.run(["fsck.ext4", "-fy", self.image], check=False, capture_output=True)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop,errors=remount-ro", self.image, self.path], check=True)


@contextlib.contextmanager
def small_disk(path: Path, size: str = "24m", inodes: int = 2000) -> Iterator[Disk]:
    """Mount a file system in memory at a folder while the context lasts."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes}", "none", path], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@contextlib.contextmanager
def failing_disk(path: Path) -> Iterator[FailingDisk]:
    """Mount an ext4 of 32 MiB at a folder while the context lasts."""
    path.mkdir(parents=True, exist_ok=True)
    disk = FailingDisk(path, path.with_suffix(".img"))
    with disk.image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", disk.image], check=True)
    disk.mount()
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", path], check=True)
