"""Many pieces written with few calls of the system (writev(2), sendmsg(2))."""

from collections.abc import Callable, Iterable, Sequence

_VECTOR = 512
"""Pieces in one call, below the least IOV_MAX of systems."""

Piece = bytes | memoryview


def write_all(write: Callable[[Sequence[Piece]], int], pieces: Iterable[Piece]) -> None:
    """Write all of the pieces.

    Args:
        write: takes pieces and returns how many bytes of them it wrote.
        pieces: in their order.

    Raises:
        Whatever `write` raises.
    """
    left = [piece for piece in pieces if piece]
    while left:
        written = write(left[:_VECTOR])
        done = 0
        while done < len(left) and written >= len(left[done]):
            written -= len(left[done])
            done += 1
        del left[:done]
        if written:
            left[0] = memoryview(left[0])[written:]
