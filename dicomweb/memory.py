"""Freed memory is kept for the next body, and for the next frame in a process of the workshop.

The C library gives a block of half a megabyte back to the system as soon as it is free, and the next body of
that size costs a page fault for each of its pages. Measured for one CT frame: 614 µs of CPU with what glibc
does by itself, 137 with what is set here; a series of 104 MB costs half the system time.
"""

import contextlib
import ctypes

# glibc's malloc.h; other C libraries have no mallopt, or ignore these
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8

LARGEST_BLOCK = 32 << 20
"""The greatest value that M_MMAP_THRESHOLD takes (half of glibc's HEAP_MAX_SIZE)."""


def keep(block: int = 4 << 20, free: int = 64 << 20, arenas: int = 4) -> bool:
    """Set how the C library treats freed memory in this process.

    Args:
        block: bytes up to which a block comes from memory that is kept.
        free: bytes that are kept at most at the end of each arena.
        arenas: how many there are at most; threads share them.

    Returns:
        Whether this C library let itself be told.
    """
    with contextlib.suppress(OSError, AttributeError):
        tell = ctypes.CDLL(None).mallopt
        settings = ((_MMAP_THRESHOLD, block), (_TRIM_THRESHOLD, free), (_ARENA_MAX, arenas))
        told = [tell(number, value) == 1 for number, value in settings]
        return all(told)
    return False


def give_back() -> None:
    """Give freed memory that is kept back to the system."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
