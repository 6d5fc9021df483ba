"""Installed viewers: programs of others that run in the browser, fetched on request and served beside the archive.

A viewer has a folder of its own below the one that the setting `viewers` names:

    ohif/installed.json      which version there is, and in which of the folders beside it
    ohif/app-config.js       its configuration: ours until somebody edits it, then theirs
    ohif/3.13.2-1f0c9a3e/    its files as they are served, with gzipped ones beside those worth it

What is new is made complete under a name that nobody serves; `installed.json` is then replaced in one step, so a
server that runs shows the old version or the new one.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from dicomweb.errors import BadPackage, NotFound, OutOfSpace
from dicomweb.viewers import ohif

RECORD = "installed.json"
CONFIGURATION = "app-config.js"
DRAFT = ".new-"
"""Begins the names of folders that are being made."""

Progress = Callable[[int], None]
"""Told the size of each file that is done."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A viewer that can be installed.

    Attributes:
        name: in URLs and commands.
        title: for people.
        package: name of the npm package that carries it built.
        version: the one that Roentgate is tested with.
        study: what stands after the viewer's address to show a study, with `{study}` for its UID.
        adapt: makes unpacked files work below any path.
        configuration: text of the configuration that points it at this server.
    """

    name: str
    title: str
    package: str
    version: str
    study: str
    adapt: Callable[[Path], None]
    configuration: str


KINDS = {
    "ohif": Kind(
        "ohif", "OHIF", "@ohif/app", "3.13.2", "viewer?StudyInstanceUIDs={study}", ohif.adapt, ohif.CONFIGURATION
    )
}


@dataclass(frozen=True, slots=True)
class Installed:
    """A viewer that is there.

    Attributes:
        name: of its kind.
        version: as its package says.
        folder: name of the folder with its files.
        configured: SHA-256 of the configuration as it was written; one that differs was edited.
    """

    name: str
    version: str
    folder: str
    configured: str

    def files(self, root: Path) -> Path:
        """Where its files lie."""
        return root / self.name / self.folder


def installed(root: Path, name: str) -> Installed | None:
    """Return what is installed of a viewer, or None.

    Args:
        root: folder of all viewers.
        name: of its kind.
    """
    try:
        record = json.loads((root / name / RECORD).read_bytes())
        there = Installed(**record)
    except (OSError, ValueError, TypeError):
        return None
    plain = re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+-]*", there.folder) is not None
    return there if there.name == name and plain and there.files(root).is_dir() else None


def listed(root: Path) -> list[Installed]:
    """Return every viewer that is installed."""
    return [there for name in KINDS if (there := installed(root, name)) is not None]


def install(root: Path, kind: Kind, package: Path, progress: Progress = lambda _: None) -> Installed:
    """Install a viewer from its npm package, in place of one that is there.

    A configuration that somebody edited is kept.

    Args:
        root: folder of all viewers; made if it is not there.
        kind: which viewer.
        package: the tarball that `npm pack` makes.
        progress: told the size of each file that was unpacked, adapted and gzipped.

    Raises:
        BadPackage: it is no such package, is unsafe, or cannot be placed below a path.
        NotFound: there is no such file.
        OutOfSpace: the folder cannot be written to.
    """
    from dicomweb.viewers.unpacking import unpack, zip_files

    own = root / kind.name
    draft = own / f"{DRAFT}{secrets.token_hex(4)}"
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise OutOfSpace(f"{own} cannot be written to: {error.strerror}") from error
    try:
        version = unpack(package, draft, kind.package)
        kind.adapt(draft)
        zip_files(draft, progress)
        before = installed(root, kind.name)
        folder = f"{version}-{draft.name.removeprefix(DRAFT)}"
        there = Installed(kind.name, version, folder, hashlib.sha256(kind.configuration.encode()).hexdigest())
        if not is_edited(root, before):
            _replace(own / CONFIGURATION, kind.configuration.encode())
        draft.rename(own / folder)
        _replace(own / RECORD, json.dumps(asdict(there)).encode())
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {package}") from error
    except OSError as error:
        raise OutOfSpace(f"{own} cannot be written to: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _clean(own, there.folder)
    return there


def is_edited(root: Path, there: Installed | None) -> bool:
    """Tell whether somebody changed a viewer's configuration since it was written."""
    if there is None:
        return False
    try:
        text = (root / there.name / CONFIGURATION).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(text).hexdigest() != there.configured


def remove(root: Path, name: str) -> Installed:
    """Remove a viewer with its configuration.

    Raises:
        NotFound: it is not installed.
    """
    there = installed(root, name)
    if there is None:
        raise NotFound(f"{name} is not installed in {root}")
    (root / name / RECORD).unlink()
    shutil.rmtree(root / name)
    return there


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(f"{DRAFT}{secrets.token_hex(4)}")
    draft.write_bytes(data)
    os.replace(draft, path)


def _clean(own: Path, folder: str) -> None:
    """Remove what other versions and interrupted installations left."""
    for path in own.iterdir():
        if path.is_dir() and path.name != folder:
            shutil.rmtree(path, ignore_errors=True)


def kind_of(name: str) -> Kind:
    """Return the kind of that name.

    Raises:
        BadPackage: there is none.
    """
    if name not in KINDS:
        raise BadPackage(f"no viewer is called {name!r}; there is {', '.join(KINDS)}")
    return KINDS[name]
