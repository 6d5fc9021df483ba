"""SQLite's log of writes (WAL), synced by ourselves, so that nobody's turn to write is held up by it.

What a failed sync has left behind, no later one tells (fsync(2)): the kernel holds it to be written. So the log is
written again, byte for byte, before anything is added to it or told of it. A mark in a file tells all processes of
it, also those that come when the one whose sync failed is no more.
"""

import errno
import itertools
import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from dicomweb.errors import OutOfSpace, Unavailable

_PIECE = 1 << 20
_WHOLE, _BROKEN = b"0", b"1"


class Log:
    """The file of the log.

    Args:
        connection: of which the log is; as long as it is open, the log is this file.
        path: of the database.
        mark: file that tells of a sync that failed; all processes with this database name the same.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, mark: Path) -> None:
        connection.execute("SELECT 1 FROM sqlite_master").close()  # or there may be no log yet
        self._file = os.open(f"{path.resolve()}-wal", os.O_RDWR)
        self._mark = os.open(mark, os.O_CREAT | os.O_RDWR, 0o600)
        if not os.fstat(self._mark).st_size:
            os.pwrite(self._mark, _WHOLE, 0)  # now, since there may be no room for it later
        self._one = threading.Lock()  # of several syncs at once, one alone is told that they failed
        self._failed = False  # where the mark could not be set
        self._clock = itertools.count(1)
        self._synced = 0  # when the last sync began that ended well

    def sync(self) -> None:
        """Return when what was written is durable; a sync that began later than this was called does for it, too.

        Raises:
            OSError: it is not, and may be lost with the machine, unless `mend` succeeds.
        """
        asked = next(self._clock)
        with self._one:
            if self._broken():
                raise OSError(errno.EIO, "a sync before this one failed")
            if self._synced < asked:
                begun = next(self._clock)
                self._sync()
                self._synced = begun

    def mend(self) -> None:
        """Write the log again if a sync failed; then all of it is durable. Whoever calls has begun to write, so that
        nobody adds to it meanwhile.

        Raises:
            OutOfSpace: that fails as well, since the disk is full.
            Unavailable: it fails for another reason.
        """
        if not self._broken():
            return
        with self._one:
            try:
                place, size = 0, os.fstat(self._file).st_size
                while place < size:
                    written = os.pwrite(self._file, os.pread(self._file, _PIECE, place), place)
                    if not written:
                        raise OSError(errno.EIO, "the disk takes nothing")
                    place += written
                self._sync()
            except OSError as error:
                full = error.errno in {errno.ENOSPC, errno.EDQUOT}
                kind = OutOfSpace if full else Unavailable
                raise kind(f"the index's log of writes could not be synced: {error.strerror}") from error
            self._failed = False
            os.pwrite(self._mark, _WHOLE, 0)

    def _broken(self) -> bool:
        return self._failed or os.pread(self._mark, 1, 0) == _BROKEN

    def _sync(self) -> None:
        try:
            _data_sync(self._file)
        except OSError:
            self._failed = True
            with suppress(OSError):
                os.pwrite(self._mark, _BROKEN, 0)
            raise

    def close(self) -> None:
        """Let go of the file."""
        with self._one:
            os.close(self._file)
            os.close(self._mark)
            self._file = self._mark = -1


def _data_sync(file: int) -> None:
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(file)
