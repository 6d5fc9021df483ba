"""Objects for servers that take Explicit VR only, as the web has them (PS3.18 8.7.3.4), while devices send Implicit VR
or Big Endian: what does not fit into memory lies in a file while it is made anew.
"""

import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from dicomweb.errors import OutOfSpace
from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import read_object
from dicomweb.standard.reencode import explicit
from dicomweb.standard.syntaxes import syntax_of

_PIECE = 1 << 20


def is_legal(syntax: str) -> bool:
    """Say whether objects in a transfer syntax may be on the web."""
    known = syntax_of(syntax)
    return not (known.implicit or known.big_endian)


class Draft:
    """A file without a name that holds an object while it arrives, so that it can be sent once more. A context
    manager.

    Args:
        folder: where, made if it is not there; None is the system's for such files.
    """

    def __init__(self, folder: Path | None) -> None:
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise _no_room(error) from error

    def __enter__(self) -> "Draft":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def through(self, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
        """Yield pieces, each once it is written. Raises OutOfSpace."""
        for piece in pieces:
            try:
                self._file.write(piece)
            except OSError as error:
                raise _no_room(error) from error
            yield bytes(piece)

    def anew(self, syntax: str, sop_class: str, instance: str) -> Iterator[bytes]:
        """Yield the pieces of a Part 10 file in Explicit VR Little Endian, made of the data set that was written.

        Args:
            syntax: transfer syntax of the data set.
            sop_class, instance: for the File Meta group.

        Raises:
            BadObject: the data set cannot be read.
        """
        self._file.flush()
        yield from _anew(self._file, 0, syntax, sop_class, instance)


def anew(path: Path) -> Iterator[bytes] | None:
    """Return the pieces of a Part 10 file in Explicit VR Little Endian, made of another one; None if that one is legal
    as it is. Raises BadObject."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        read = read_object(mapped, Limits())
    if is_legal(read.syntax.uid):
        return None

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from _anew(file, read.data_start, read.syntax.uid, read.sop_class, read.instance)

    return pieces()


def _anew(file: BinaryIO, start: int, syntax: str, sop_class: str, instance: str) -> Iterator[bytes]:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        made = explicit(mapped, start, len(mapped), syntax_of(syntax), sop_class, instance)

        def read(first: int, last: int) -> Iterator[bytes]:
            for place in range(first, last, _PIECE):
                yield mapped[place : min(place + _PIECE, last)]

        for piece in made.pieces(read):
            yield bytes(piece)


def _no_room(error: OSError) -> OutOfSpace:
    return OutOfSpace(f"an object cannot be kept while it is sent: {os.strerror(error.errno or 0)}")
