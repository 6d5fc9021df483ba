"""`roentgate viewer`: install, list and remove the viewers that the server offers beside the archive."""

import argparse
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path

from dicomweb.commands.terminal import meter, show_json, show_table
from dicomweb.config import Config
from dicomweb.errors import BadPackage, BadSetting, NotFound, Unavailable
from dicomweb.viewers import CONFIGURATION, KINDS, Kind, install, installed, is_edited, kind_of, listed, remove

PATIENCE = 1800.0
"""Seconds that npm may take to fetch a package."""


def run(config: Config, args: argparse.Namespace) -> int:
    """Do what was asked; 0 if it is done."""
    root = Path(args.to).expanduser().absolute() if args.to else config.viewers
    if args.action == "list":
        return _list(config, root, args)
    if not args.viewer:
        raise BadSetting(f"say which viewer: {', '.join(KINDS)}")
    kind = kind_of(args.viewer)
    if args.action == "remove":
        there = remove(root, kind.name)
        show_json(asdict(there)) if args.json else print(f"{kind.title} {there.version} is removed.")
        return 0
    return _install(config, root, kind, args)


def _install(config: Config, root: Path, kind: Kind, args: argparse.Namespace) -> int:
    edited = is_edited(root, installed(root, kind.name))
    with tempfile.TemporaryDirectory(prefix="roentgate-viewer-") as folder:
        if args.source is not None:
            package = Path(args.source)
            if not package.is_file():
                raise NotFound(f"there is no file {package}")
        else:
            package = _fetch(kind, args.release or kind.version, Path(folder), shown=not args.json)
        with meter(f"Installing {kind.title}", shown=not args.json) as bar:
            there = install(root, kind, package, bar.advance)
    if args.json:
        show_json({**asdict(there), "path": str(there.files(root)), "configuration": str(root / kind.name)})
        return 0
    print(f"{kind.title} {there.version} is installed in {root / kind.name}.")
    if edited:
        print(f"{CONFIGURATION} there was edited by somebody and is kept as it is.")
    if root == config.viewers:
        print(f"The server offers it at {config.public_url or config.local_url()}/viewer/{kind.name}/ .")
    else:
        print(f"A server whose setting `viewers` is {root} offers it at /viewer/{kind.name}/ .")
    return 0


def _fetch(kind: Kind, version: str, folder: Path, shown: bool) -> Path:
    """Have npm fetch a package from wherever it is configured to, with its digest checked.

    Raises:
        BadPackage: npm knows no such version.
        BadSetting: the version is not one.
        Unavailable: npm is not there or gets no answer.
    """
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,60}", version):
        raise BadSetting(f"--version is {version!r}; a version looks like {kind.version}")
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(
            "npm, which fetches viewers, is not on this machine: install Node.js, or fetch the package elsewhere with"
            f" `npm pack {kind.package}@{version}` and install it here with --from"
        )
    what = f"{kind.package}@{version}"
    command = [npm, "pack", what, "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    with meter(f"Fetching {what} with npm", shown=shown):
        try:
            done = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"npm did not fetch {what} within {PATIENCE / 60:.0f} minutes") from error
    packages = sorted(folder.glob("*.tgz"))
    if done.returncode or len(packages) != 1:
        said = re.findall(r"npm (?:ERR!|error)\s+(?!code|A complete|\s)(.+)", done.stderr)
        reason = f": {said[0].strip()[:200]}" if said else ""
        if "E404" in done.stderr or "ETARGET" in done.stderr:
            raise BadPackage(f"npm knows no {what}{reason}")
        raise Unavailable(f"npm could not fetch {what}{reason}. --from takes a package that is here already")
    return packages[0]


def _list(config: Config, root: Path, args: argparse.Namespace) -> int:
    there = listed(root)
    if args.json:
        show_json([{**asdict(one), "path": str(one.files(root))} for one in there])
        return 0
    base = f"{config.public_url or config.local_url()}/viewer"
    rows = [(KINDS[one.name].title, one.version, f"{base}/{one.name}/", str(root / one.name)) for one in there]
    show_table("", ("viewer", "version", "address", "folder"), rows)
    if not rows:
        print(f"No viewer is installed in {root}. `roentgate viewer install {next(iter(KINDS))}` installs one.")
    return 0
