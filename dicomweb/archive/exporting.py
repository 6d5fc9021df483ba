"""Export: stored objects leave as the bytes that were received, into a folder or a ZIP archive.

Names come from what the objects say, cleaned so that they are names on every system and lead nowhere, with a
few digits of a digest of the UID, so that they are unique and the same each time. Each object is compared
with its digest while it is copied.
"""

import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from dicomweb.archive import zipped
from dicomweb.errors import Conflict, Corrupt, Error, OutOfSpace, Unavailable
from dicomweb.index import Held, Index
from dicomweb.storage import Storage

_CHUNK = 1 << 20
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one object.

    Attributes:
        name: path below the folder, or in the archive.
        size: bytes.
        state: "already" if the same bytes lay there.
        reason: a sentence for "refused", else "".
    """

    name: str
    size: int
    state: Literal["written", "already", "refused"]
    reason: str = ""


def select(index: Index, study: str, series: str | None = None, instance: str | None = None) -> list[Held]:
    """Return what an export of a study, series or instance consists of.

    Raises:
        NotFound, Gone: there is none.
    """
    if series is not None and instance is not None:
        return [index.locate(study, series, instance)]
    return [held for held in index.members(study, series) if instance in {None, held.instance}]


def name_all(index: Index, helds: Iterable[Held]) -> Iterator[tuple[str, Held]]:
    """Yield a relative path for each object, `patient/study/series/instance.dcm`, from the first object of
    each study and series."""
    studies: dict[str, str] = {}
    series: dict[tuple[str, str], str] = {}
    for held in helds:
        if (held.study, held.series) not in series:
            metadata = orjson.loads(index.metadata([held.version])[0])
            if held.study not in studies:
                studies[held.study] = _study_name(metadata, held.study)
            series[held.study, held.series] = _series_name(metadata, held.series)
        number = f"{held.number:05d}" if held.number is not None and held.number >= 0 else "instance"
        name = f"{number}_{_short(held.instance)}.dcm"
        yield f"{studies[held.study]}/{series[held.study, held.series]}/{name}", held


def to_folder(storage: Storage, named: Iterable[tuple[str, Held]], folder: Path) -> Iterator[Step]:
    """Write objects below a folder; what lies there with the same bytes is left, with others is not touched.

    Yields:
        A step for each object.

    Raises:
        OutOfSpace: the disk is full.
    """
    for name, held in named:
        path = folder / name
        try:
            if path.exists():
                same = path.stat().st_size == held.size and _digest(path) == held.digest
                if not same:
                    raise Conflict("another file lies there; it was left as it is")
                yield Step(name, held.size, "already")
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, _pieces(storage, held))
        except OSError as error:
            if error.errno == 28:
                raise OutOfSpace("there is no more room where the export goes") from error
            yield Step(name, held.size, "refused", (error.strerror or str(error)).lower())
        except Error as error:
            yield Step(name, held.size, "refused", str(error))
        else:
            yield Step(name, held.size, "written")


def to_zip(storage: Storage, named: Iterable[tuple[str, Held]], path: Path) -> Iterator[Step]:
    """Write objects into a new ZIP archive, which appears under its name when it is whole.

    Yields:
        A step for each object, after it was written.

    Raises:
        Conflict: there is something under that name already.
        NotFound, Unavailable, Corrupt: an object cannot be read; there is no archive then.
        OutOfSpace: the disk is full.
        Unavailable: nothing can be written there.
    """
    if path.exists():
        raise Conflict(f"{path} is there already; choose another name or remove it")
    done: list[Step] = []

    def entries() -> Iterator[zipped.Entry]:
        for name, held in named:
            yield zipped.Entry(name, held.size, lambda held=held: _pieces(storage, held))  # type: ignore[misc]
            done.append(Step(name, held.size, "written"))

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in zipped.write(entries()):
                file.write(piece)
                while done:
                    yield done.pop(0)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno == 28:
            raise OutOfSpace("there is no more room where the export goes") from error
        raise
    finally:
        Path(temporary).unlink(missing_ok=True)
    yield from done


def _pieces(storage: Storage, held: Held) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for piece in storage.stream(held.key, chunk=_CHUNK):
        digest.update(piece)
        yield piece
    if digest.digest() != held.digest:
        raise Corrupt(f"the stored bytes of {held.instance} are not those that were received")


def _write(path: Path, pieces: Iterator[bytes]) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
        Path(temporary).chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


# -- names -----------------------------------------------------------------------------------------------
def _study_name(metadata: dict[str, Any], study: str) -> str:
    patient = clean("_".join(filter(None, [_text(metadata, "00100020"), _text(metadata, "00100010")])))
    words = [_text(metadata, "00080020"), _text(metadata, "00081030")]
    described = clean("_".join(filter(None, words)))
    return f"{patient or 'patient'}/{described or 'study'}_{_short(study)}"


def _series_name(metadata: dict[str, Any], series: str) -> str:
    number = _text(metadata, "00200011")
    words = [
        number.zfill(4) if number.isdigit() else number,
        _text(metadata, "00080060"),
        _text(metadata, "0008103E"),
    ]
    return f"{clean('_'.join(filter(None, words))) or 'series'}_{_short(series)}"


def _short(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:8]


def _text(metadata: dict[str, Any], tag: str) -> str:
    values = metadata.get(tag, {}).get("Value") or [""]
    first = values[0]
    if isinstance(first, dict):
        return str(first.get("Alphabetic") or first.get("Ideographic") or first.get("Phonetic") or "")
    return "" if first is None else str(first)


def clean(text: str) -> str:
    """Make a part of a file name from text of an object: letters, digits, `-` and `_` of any script, at most
    40; it never begins with a dot, holds a separator, or ends in what some system would drop."""
    kept = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", text))
    return re.sub(r"__+", "_", kept)[:_LONGEST].strip("_-")
