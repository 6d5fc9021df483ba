"""Memory that the server shares with one process of the workshop: frames and pictures go through it in one copy each,
where a socket would take them in many small pieces and as many changes from one process to the other. It grows and
never shrinks, which is sealed where the system can: a process that was taken over cannot pull it from under the
server."""

import fcntl
import mmap
import os
import tempfile

_LEAST = 1 << 20


class Area:
    """A stretch of memory with a file handle, which another process may open as an Area too. One of the two uses it
    at a time.

    Args:
        handle: of an area that is there already; None makes one.
    """

    def __init__(self, handle: int | None = None) -> None:
        if handle is None:
            handle = _nameless()
            os.ftruncate(handle, _LEAST)
        self.handle = handle
        self._map = mmap.mmap(handle, 0)

    def write(self, *pieces: bytes) -> int:
        """Put bytes at the beginning, and return how many they are.

        Raises:
            OSError: there is no memory for them; the area is as it was.
        """
        size = sum(map(len, pieces))
        if os.fstat(self.handle).st_size < size:
            os.ftruncate(self.handle, size + (size >> 2))
        self._reach(size)
        place = 0
        for piece in pieces:
            self._map[place : place + len(piece)] = piece
            place += len(piece)
        return size

    def read(self, size: int) -> memoryview:
        """Give a view of the first bytes; to be released before anything else is done here.

        Raises:
            OSError: there is no memory for them.
        """
        self._reach(size)
        return memoryview(self._map)[:size]

    def close(self) -> None:
        """Let go of it."""
        self._map.close()
        os.close(self.handle)

    def _reach(self, size: int) -> None:
        """See that so much is mapped, whoever made it larger."""
        mapped = len(self._map)
        if mapped < size:
            self._map.close()
            try:
                self._map = mmap.mmap(self.handle, 0)
            except OSError:
                self._map = mmap.mmap(self.handle, mapped)
                raise


def _nameless() -> int:
    """A file without a name, in memory where the system offers that."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("workshop", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return handle
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
