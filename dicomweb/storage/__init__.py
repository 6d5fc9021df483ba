"""Bytes under keys; knows nothing of DICOM.

Keys are ASCII paths without a leading slash (`objects/ab/<sha256>-<version>`), made by us only; `keys.py`
says which. A key that breaks the rules is a fault of the caller: ValueError, before anything is done.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from dicomweb.errors import BadSetting

Body: TypeAlias = bytes | bytearray | memoryview | Path
"""What `put` takes: bytes, or a file of ours. A file on the same file system may be moved away by `put`, so
it is never the user's own; since it may also stay, its maker removes it afterwards if it is still there."""


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
    """Objects are written whole and never changed; readers see old bytes or new bytes, never a mixture.

    Attributes:
        remote: bytes come over a network and through machines of others, so that it is worth comparing them.
        opener: opens the file that an object is, to be closed by whoever asked and reads so many bytes of it; raises
            as `read` does. None where objects are no files of this machine.
    """

    remote: bool
    opener: Callable[[str, int], int] | None

    def put(self, puts: list[Put]) -> list[Exception | None]:
        """Write objects; when this returns, those without an error are durable.

        Returns:
            One entry per object, in order: None, or why it was not written:
            AlreadyStored (the key exists; left as it is), OutOfSpace, Unavailable.
        """

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return bytes [start, stop) of the object, as slicing would; None is the end.

        Raises:
            Vanished: no object under this key.
            Unavailable: the back end did not answer.
        """

    def stream(self, key: str, start: int = 0, stop: int | None = None, chunk: int = 1 << 20) -> Iterator[bytes]:
        """Yield bytes [start, stop) in pieces of at most `chunk` bytes; the object is opened by the first
        `next`, and a reader that closes the iterator early releases it.

        Raises:
            Vanished, Unavailable: as `read`; Unavailable also in the middle.
        """

    def size(self, key: str) -> int:
        """Return the object's size in bytes.

        Raises:
            Vanished, Unavailable: as `read`.
        """

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error.

        Raises:
            Unavailable: as `read`.
        """

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield the objects whose key begins with `prefix`, in order of key, with bounded memory.

        Services differ in whether `b/x` comes before `b-c`, so that order holds among keys of which no part
        is the beginning of another one's.

        Raises:
            Unavailable: as `read`, also in the middle.
        """

    def check(self) -> None:
        """Raise Unavailable (with a sentence) if the back end cannot be reached or written; OutOfSpace if full."""

    def sweep(self) -> None:
        """Remove what an interrupted `put` left behind (temporary files, open multipart uploads)."""

    def close(self) -> None:
        """Release connections and files."""


def open_storage(
    url: str,
    *,
    s3_endpoint: str | None = None,
    s3_region: str | None = None,
    s3_connect_seconds: float = 3.0,
    s3_read_seconds: float = 15.0,
    concurrency: int = 64,
) -> Storage:
    """Open the back end that a URL names.

    Open it in the process that uses it: connections, threads and locks do not survive a fork.

    Args:
        url: `file:FOLDER` (absolute or relative, nothing is percent-decoded), `s3://BUCKET` or
            `s3://BUCKET/PREFIX`, or `memory:`.
        s3_endpoint: http or https URL of the S3 service; None or "" is Amazon's.
        s3_region: region to sign for; None or "" is what boto3 finds.
        s3_connect_seconds: time for a connection.
        s3_read_seconds: time without a single byte.
        concurrency: how many S3 requests may run at once.

    Raises:
        BadSetting: no back end goes by this URL, or its parts are not well formed.
        Unavailable: the folder cannot be made or opened.
    """
    scheme, _, rest = url.partition(":")
    folder = folder_of(url)
    if folder is not None:
        from dicomweb.storage.filesystem import Filesystem

        return Filesystem(folder)
    if scheme == "s3":
        from dicomweb.storage.patience import Patience
        from dicomweb.storage.s3 import S3

        bucket, _, prefix = rest.removeprefix("//").partition("/")
        return S3(
            bucket,
            prefix,
            endpoint=s3_endpoint or None,
            region=s3_region or None,
            concurrency=concurrency,
            patience=Patience(connect=s3_connect_seconds, read=s3_read_seconds),
        )
    if url == "memory:":
        from dicomweb.storage.memory import Memory

        return Memory()
    raise BadSetting(f"storage: {url!r} is no file:FOLDER, s3://BUCKET/PREFIX or memory: URL.")


def folder_of(url: str) -> Path | None:
    """Return the folder that a `file:` URL names; None for any other."""
    scheme, _, rest = url.partition(":")
    if scheme != "file" or not rest:
        return None
    return Path(rest.removeprefix("//") if rest.startswith("///") else rest)
