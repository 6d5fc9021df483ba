"""Where objects to import lie: files, folders, ZIP archives, and media with a DICOMDIR (PS3.10 8, PS3.12).

Names found on disk or in an archive only ever name what is read; nothing is written under them. What leads
out of
the folder or archive that the user named is refused all the same: a medium that does so is not to be trusted.
"""

import contextlib
import os
import stat
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dicomweb.errors import BadObject
from dicomweb.standard import media_directory

MOST_ENTRIES = 500_000
"""Entries of a ZIP archive at most; its directory is read as a whole."""
_INFLATE_FREE = 256 << 20
"""Below this size an entry may be as compressible as it likes: blank slices are."""
_DIRECTORY_SIZE = 256 << 20
_UNSAFE = "its name leads out of the archive"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may be a DICOM object.

    Attributes:
        name: what a person calls it: a path, or `archive.zip!entry`.
        size: bytes, as far as the directory knows.
        asked: the user named it; else it was found and may well be something else.
        open: opens it for reading; called once, in any thread.
    """

    name: str
    size: int
    asked: bool
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that is not opened, and why, as the end of a sentence."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an archive may contain.

    Attributes:
        most_bytes: largest entry, inflated.
        most_ratio: inflated bytes per deflated byte of an entry above 256 MiB.
    """

    most_bytes: int
    most_ratio: int


def find(paths: Iterable[Path], bounds: Bounds) -> Iterator[Candidate | Refusal]:
    """Yield what lies at and below the paths: folders by name, then what they hold, ZIP archives opened.

    A path that is a DICOMDIR stands for the files that it names. Symbolic links that the user names are
    followed; those found on the way only where they stay inside of the folder that the user named.
    """
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            yield Refusal(str(path), _reason(error))
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _folder(path, path.resolve(), bounds)
        elif not stat.S_ISREG(status.st_mode):
            yield Refusal(str(path), "it is neither a file nor a folder")
        elif _is_zip(path):
            yield from _archive(path, bounds)
        elif _is_directory_file(path):
            yield from _media(path)
        else:
            yield _file(path, status.st_size, asked=True)


def _folder(folder: Path, root: Path, bounds: Bounds) -> Iterator[Candidate | Refusal]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        yield Refusal(str(folder), _reason(error))
        return
    for entry in entries:
        path = Path(entry.path)
        try:
            if entry.is_symlink():
                if not path.resolve(strict=True).is_relative_to(root):
                    yield Refusal(str(path), "it is a symbolic link that leads out of the folder")
                    continue
                if entry.is_dir():
                    continue  # what it shows is met at its own place
            if entry.is_dir():
                yield from _folder(path, root, bounds)
            elif not entry.is_file():
                continue  # sockets, pipes and devices hold no objects
            elif entry.name.lower().endswith(".zip") and _is_zip(path):
                yield from _archive(path, bounds)
            else:
                yield _file(path, entry.stat().st_size, asked=False)
        except OSError as error:
            yield Refusal(str(path), _reason(error))


def _file(path: Path, size: int, asked: bool) -> Candidate:
    return Candidate(str(path), size, asked, lambda: path.open("rb", buffering=0))


# -- ZIP archives ----------------------------------------------------------------------------------------
def _archive(path: Path, bounds: Bounds) -> Iterator[Candidate | Refusal]:
    try:
        _check_directory(path)
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
        yield Refusal(str(path), f"it is no ZIP archive that can be read: {_reason(error)}")
        return
    entries = archive.infolist()
    if sum(entry.compress_size for entry in entries) > path.stat().st_size:
        yield Refusal(str(path), "its entries overlap, as those of a ZIP bomb do")
        return
    for entry in entries:
        name = f"{path}!{entry.filename}"
        if entry.is_dir():
            continue
        reason = _distrust(entry, bounds)
        if reason:
            yield Refusal(name, reason)
        else:
            yield Candidate(name, entry.file_size, False, _opener(archive, entry))


def _opener(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    return lambda: archive.open(entry)  # type: ignore[return-value]


def _distrust(entry: zipfile.ZipInfo, bounds: Bounds) -> str:
    """Return why an entry is not opened, or ""."""
    name = entry.filename.replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or (len(name) > 1 and name[1] == ":") or "\0" in name:
        return _UNSAFE
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "it is a symbolic link"
    if entry.flag_bits & 0x1:
        return "it is encrypted; decrypt the archive first"
    if entry.file_size > bounds.most_bytes:
        return f"it inflates to {entry.file_size:,} bytes, above the limit of {bounds.most_bytes:,}"
    if entry.file_size > max(_INFLATE_FREE, bounds.most_ratio * entry.compress_size):
        return f"it inflates to more than {bounds.most_ratio} times its size, as a ZIP bomb does"
    return ""


def _check_directory(path: Path) -> None:
    """Read how large the archive's directory is, since `zipfile` reads all of it at once (APPNOTE 4.3.14-16).

    Raises:
        ValueError: it has more entries than we read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 65_557 - 20))
        tail = file.read()
        end = tail.rfind(b"PK\5\6")
        if end < 0 or len(tail) < end + 22:
            raise ValueError("it has no directory")
        entries, length = struct.unpack_from("<HL", tail, end + 10)
        if end >= 20 and tail[end - 20 : end - 16] == b"PK\6\7":
            (place,) = struct.unpack_from("<Q", tail, end - 20 + 8)
            file.seek(place)
            record = file.read(56)
            if len(record) == 56 and record[:4] == b"PK\6\6":
                entries, length = struct.unpack_from("<QQ", record, 32)
    if entries > MOST_ENTRIES or length > _DIRECTORY_SIZE:
        raise ValueError(f"it says that it has {entries:,} entries, and the limit is {MOST_ENTRIES:,}")


def _is_zip(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(4) in {b"PK\3\4", b"PK\5\6"}
    return False


# -- media with a DICOMDIR -------------------------------------------------------------------------------
def _is_directory_file(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return media_directory.is_directory(file.read(1024))
    return False


def _media(path: Path) -> Iterator[Candidate | Refusal]:
    try:
        names = media_directory.read_files(path.read_bytes())
    except (BadObject, OSError) as error:
        yield Refusal(str(path), _reason(error))
        return
    root = path.parent.resolve()
    for components in names:
        said = f"{path.parent}/{'/'.join(components)}"
        strange = any(part in {"", ".", ".."} or set(part) & set("/\\\0") for part in components)
        found = None if strange else _locate(root, components)
        if strange or (found is not None and not found.resolve().is_relative_to(root)):
            yield Refusal(said, "the DICOMDIR names a file outside of the medium")
        elif found is None:
            yield Refusal(said, "the DICOMDIR names it, but it is not there")
        else:
            yield _file(found, found.stat().st_size, asked=True)


def _locate(root: Path, components: tuple[str, ...]) -> Path | None:
    """Find a file by its components, whatever their case and version suffix became on the way to this
    disk."""
    place = root
    for component in components:
        direct = place / component
        if not direct.exists():
            wanted = component.lower()
            try:
                names = [name for name in os.listdir(place) if name.lower().partition(";")[0] == wanted]
            except OSError:
                return None
            if not names:
                return None
            direct = place / names[0]
        place = direct
    return place if place.is_file() else None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error).rstrip(".") or type(error).__name__
