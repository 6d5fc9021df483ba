"""Bytes of a file that a process of the workshop reads itself: it is handed the open file, so that a frame is copied
once on its way there, where bytes are copied three times."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from dicomweb.errors import Corrupt, Unavailable


@dataclass(frozen=True, slots=True)
class Lent:
    """An argument of a piece of work, which the function that does it gets as bytes.

    Attributes:
        open: opens the file; it is closed when the work is done.
        start, stop: the bytes are [start, stop) of it.
    """

    open: Callable[[], int]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Borrowed:
    """What the process is told of it: bytes [start, stop) of the file of this number among those that came along."""

    number: int
    start: int
    stop: int


def read(handle: int, start: int, stop: int) -> bytes:
    """Read [start, stop) of a file, all of it.

    Raises:
        Corrupt: the file is shorter.
        Unavailable: it cannot be read.
    """
    pieces: list[bytes] = []
    try:
        while start < stop:
            piece = os.pread(handle, stop - start, start)
            if not piece:
                raise Corrupt("a stored object is shorter than it was when it was stored")
            pieces.append(piece)
            start += len(piece)
    except OSError as error:
        raise Unavailable("a stored object cannot be read") from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
