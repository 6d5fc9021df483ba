"""npm packages: a tarball of strangers becomes files in one folder, and nothing else.

Of the package's folder `dist` what a browser loads is taken: regular files with plain relative names. Anything
that would lie elsewhere, be a link or a device, or be more than a viewer needs ends it. Files worth it get a
gzipped one beside them, made once, since a viewer is tens of megabytes and every visitor loads it.
"""

import gzip
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from dicomweb.errors import BadPackage

TOP = "package"
"""npm puts everything under this name."""
BUILT = "dist"
MOST_FILES = 5_000
MOST_BYTES = 1 << 30
LONGEST_NAME = 240

_LEFT_OUT = (".map",)
_PLAIN = re.compile(r"[0-9A-Za-z_@+-][0-9A-Za-z_@+. -]*")
_GZIPPED = {".js", ".mjs", ".css", ".html", ".json", ".jsonc", ".wasm", ".svg", ".xml", ".txt", ".ico"}
_GZIP_LEAST = 1400
_GZIP_LEVEL = 6


class _Bounded(io.RawIOBase):
    """What comes out of the compression, up to a limit: a bomb ends here.

    Raises:
        BadPackage: more came out.
    """

    def __init__(self, source: gzip.GzipFile) -> None:
        self._source = source
        self._left = MOST_BYTES

    def readable(self) -> bool:
        """It is (io)."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes (io)."""
        data = self._source.read(size if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise BadPackage(f"the package holds more than {MOST_BYTES >> 20} MiB")
        return data


def unpack(package: Path, into: Path, name: str) -> str:
    """Unpack what a browser loads, and the licence.

    Args:
        package: a tarball as npm makes them.
        into: an empty folder.
        name: what the package must be called.

    Returns:
        Its version.

    Raises:
        BadPackage: it is damaged, another package, holds what no package of a viewer holds, or too much.
        OSError: a file cannot be read or written.
    """
    described: dict[str, object] = {}
    files = 0
    try:
        with gzip.open(package) as source, tarfile.open(fileobj=_Bounded(source), mode="r|") as tar:
            for member in tar:
                path = _place(member)
                if path is None:
                    continue
                files += 1
                if files > MOST_FILES:
                    raise BadPackage(f"the package holds more than {MOST_FILES:,} files")
                content = tar.extractfile(member)
                assert content is not None, "a regular file has content"
                if path == PurePosixPath("package.json"):
                    described = _read_json(content.read(1 << 20))
                elif path.parts[0] == BUILT and path.suffix not in _LEFT_OUT:
                    _write(into.joinpath(*path.parts[1:]), content.read())
                elif path == PurePosixPath("LICENSE"):
                    _write(into / "LICENSE.txt", content.read())
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadPackage(f"{package.name} is no package of npm, or is damaged") from error
    version = described.get("version")
    if described.get("name") != name or not isinstance(version, str):
        raise BadPackage(f"{package.name} is not the package {name}")
    if not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]{0,60}", version):
        raise BadPackage(f"{package.name} has a version that is none: {version[:80]!r}")
    return version


def _place(member: tarfile.TarInfo) -> PurePosixPath | None:
    """Where in the package a file lies; None for a folder.

    Raises:
        BadPackage: it would lie elsewhere, or is no file.
    """
    path = PurePosixPath(member.name)
    if (
        path.parts[:1] != (TOP,)
        or len(member.name) > LONGEST_NAME
        or not all(_PLAIN.fullmatch(part) or part in {".nojekyll"} for part in path.parts)
    ):
        raise BadPackage(f"the package holds a file with the name {member.name[:100]!r}, which is not safe")
    if member.isdir():
        return None
    if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE}:
        raise BadPackage(f"the package holds {member.name[:100]!r}, which is no plain file")
    if len(path.parts) < 2:
        raise BadPackage("the package is a single file")
    return PurePosixPath(*path.parts[1:])


def _read_json(data: bytes) -> dict[str, object]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise BadPackage("its package.json is no JSON") from error
    return found if isinstance(found, dict) else {}


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def zip_files(folder: Path, progress: Callable[[int], None]) -> None:
    """Put a gzipped file beside each that gets smaller by it.

    Args:
        folder: with all below it.
        progress: told the size of each file that was looked at.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for size in pool.map(_zip, paths):
            progress(size)


def _zip(path: Path) -> int:
    data = path.read_bytes()
    if path.suffix in _GZIPPED and len(data) >= _GZIP_LEAST:
        packed = gzip.compress(data, _GZIP_LEVEL, mtime=0)
        if len(packed) < len(data) * 0.9:
            path.with_name(f"{path.name}.gz").write_bytes(packed)
    return len(data)
