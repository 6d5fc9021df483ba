"""What is uploaded, as a file object over memory or a stretch of a file, of which one block is held."""

import io
import os
from collections.abc import Callable

from dicomweb.storage.patience import Attempt


class Source:
    """[start, stop) of memory or of an open file, to be read by an HTTP client.

    Several sources may read one file at the same time: the file's own position is not used.

    Args:
        whole: the bytes, or the descriptor of the file.
        start: first byte.
        stop: byte after the last one.
        attempt: its deadline ends the reading.
    """

    def __init__(self, whole: memoryview | int, start: int, stop: int, attempt: Attempt) -> None:
        self._whole = whole
        self._start = start
        self._size = stop - start
        self._position = 0
        self._hurry: Callable[[], None] = attempt.hurry

    def read(self, amount: int | None = None) -> bytes:
        """Return the next bytes, b"" at the end.

        Raises:
            TooSlow: the deadline has passed.
            OSError: the file cannot be read, or ends early.
        """
        self._hurry()
        left = self._size - self._position
        count = left if amount is None or amount < 0 else min(amount, left)
        begin = self._start + self._position
        if isinstance(self._whole, int):
            piece = os.pread(self._whole, count, begin)
            if count and not piece:
                raise OSError("the file ends early")
        else:
            piece = bytes(self._whole[begin : begin + count])
        self._position += len(piece)
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as files do."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, min(base + offset, self._size))
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position
