"""Files that are being written, and how to tell whether their writer still lives.

Each writer has a folder of drafts beside a lock file that it holds locked (flock) as long as it lives. A
process id would not do: it is used again, and means nothing to another container on the same volume. The
kernel releases the lock when the writer ends, however it ends; so a lock that can be taken marks drafts that
nobody will finish. Where the file system knows no locks, drafts are given up after a day without a write.
"""

import contextlib
import fcntl
import itertools
import os
import secrets
import threading
import time

FOLDER = ".drafts"
_GIVEN_UP_AFTER = 86400.0


class Drafts:
    """The drafts of one writer under a root folder, and the sweep of those whose writer is gone.

    Args:
        root: descriptor of the root folder; names are relative to it.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._guard = threading.Lock()
        self._numbers = itertools.count()
        self._session: str | None = None
        self._lock = -1

    def create(self) -> tuple[str, int]:
        """Make an empty draft that only its owner may read.

        Returns:
            Its name relative to the root, and a descriptor to write to.

        Raises:
            OSError: as the file system has it.
        """
        with self._guard:
            if self._session is None:
                self._session = self._begin()
        name = f"{FOLDER}/{self._session}/{next(self._numbers)}"
        return name, os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._root)

    def remove(self, name: str) -> None:
        """Remove a draft; one that is not there, or cannot be removed now, is left to the sweep."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._root)

    def _begin(self) -> str:
        """Open a session: lock first, folder second, so that a folder is never seen without a held lock."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(FOLDER, 0o700, dir_fd=self._root)
        while True:
            session = secrets.token_hex(8)
            name = f"{FOLDER}/{session}.lock"
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._root)
            # A sweep may take and remove the new file before we lock it: then it is not ours.
            if _take(lock) is not False and _is_named(lock, name, self._root):
                os.mkdir(f"{FOLDER}/{session}", 0o700, dir_fd=self._root)
                self._lock = lock
                return session
            os.close(lock)

    def sweep(self) -> None:
        """Remove the drafts of writers that are gone.

        Raises:
            OSError: as the file system has it.
        """
        sessions = {name.removesuffix(".lock") for name in _names(FOLDER, self._root)}
        for session in sorted(sessions - {self._session}):
            self._sweep(session)

    def _sweep(self, session: str) -> None:
        folder, name = f"{FOLDER}/{session}", f"{FOLDER}/{session}.lock"
        lock, taken = -1, None
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(name, os.O_RDWR, dir_fd=self._root)
            taken = _take(lock)
        try:
            drafts = [f"{folder}/{draft}" for draft in _names(folder, self._root)]
            if taken or (taken is None and self._given_up([folder, name, *drafts])):
                for draft in drafts:
                    self.remove(draft)
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(folder, dir_fd=self._root)
                self.remove(name)
        finally:
            if lock >= 0:
                os.close(lock)

    def _given_up(self, names: list[str]) -> bool:
        """Whether none of these files was written for a day."""
        last = 0.0
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                last = max(last, os.stat(name, dir_fd=self._root).st_mtime)
        return last < time.time() - _GIVEN_UP_AFTER

    def close(self) -> None:
        """End the session; drafts that other threads still hold are left to the sweep."""
        with self._guard:
            if self._session is not None:
                with contextlib.suppress(OSError):
                    os.rmdir(f"{FOLDER}/{self._session}", dir_fd=self._root)
                    os.unlink(f"{FOLDER}/{self._session}.lock", dir_fd=self._root)
                os.close(self._lock)
                self._session, self._lock = None, -1


def _take(lock: int) -> bool | None:
    """Take the lock without waiting: whether it is ours now; None where the file system knows no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_named(descriptor: int, name: str, root: int) -> bool:
    """Whether the open file is still the one under this name."""
    try:
        return os.path.samestat(os.stat(name, dir_fd=root), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _names(folder: str, root: int) -> list[str]:
    """The names in a folder; [] if it is not there."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    except FileNotFoundError:
        return []
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)
