"""Bytes under keys; knows nothing of DICOM.

Keys are ASCII paths without a leading slash (`objects/ab/cd/<sha256>-<version>`), made by us only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

Body: TypeAlias = bytes | bytearray | memoryview | Path
"""What `put` takes: bytes, or a file. A file on the same file system may be moved away by `put`."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One object as listed: its key, its size in bytes, and when it was written (seconds since 1970)."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Put:
    """One object to write: its key, its bytes, and their SHA-256 (32 bytes)."""

    key: str
    body: Body
    sha256: bytes


class Storage(Protocol):
    """Objects are written whole and never changed; readers see old bytes or new bytes, never a mixture."""

    def put(self, puts: list[Put]) -> list[Exception | None]:
        """Write objects; when this returns, those without an error are durable.

        Returns:
            One entry per object, in order: None, or why it was not written:
            AlreadyStored (the key exists; left as it is), OutOfSpace, Unavailable.
        """

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes [start, stop) of the object, as slicing would; None is the end.

        Raises:
            NotFound: no object under this key.
            Unavailable: the back end did not answer.
        """

    def stream(
        self, key: str, start: int = 0, stop: int | None = None, chunk: int = 1 << 20
    ) -> Iterator[bytes]:
        """Yield bytes [start, stop) in pieces of at most `chunk` bytes; the object is opened by the first
        `next`, and a reader that closes the iterator early releases it.

        Raises:
            NotFound, Unavailable: as `read`; Unavailable also in the middle.
        """

    def size(self, key: str) -> int:
        """Return the object's size in bytes.

        Raises:
            NotFound, Unavailable: as `read`.
        """

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error.

        Raises:
            Unavailable: as `read`.
        """

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield the objects whose key begins with `prefix`, in order of key, with bounded memory."""

    def check(self) -> None:
        """Raise Unavailable (with a sentence) if the back end cannot be reached or written."""

    def sweep(self) -> None:
        """Remove what an interrupted `put` left behind (temporary files, open multipart uploads)."""

    def close(self) -> None:
        """Release connections and files."""
