"""Packages of viewers as npm makes them: a small one that is laid out like OHIF's, and ones that mean harm."""

import io
import json
import tarfile
from pathlib import Path

from dicomweb.viewers import KINDS, Installed
from dicomweb.viewers import install as install_package

INDEX = (
    '<!doctype html><html><head><meta name="viewport" content="width=device-width">'
    '<script>console.time("x"),window.PUBLIC_URL="/"</script><link rel="icon" href="/assets/icon.png">'
    '<script rel="preload" as="script" src="/app-config.js"></script>'
    '<script rel="preload" as="script" type="module" src="/init-service-worker.js"></script>'
    '<script>function browserImportFunction(n){return import(n)}window.PUBLIC_URL="/"</script>'
    '<script defer src="/app.bundle.0f6159c501addfe9.js"></script><link href="/app.bundle.css" rel="stylesheet">'
    "</head><body></body></html>"
)
SCRIPT = "__webpack_require__.p = \"/\"; window.browserImportFunction('/other/other.min.js');" + "// padding\n" * 500
WASM = bytes(range(256)) * 16
FILES: dict[str, bytes] = {
    "dist/index.html": INDEX.encode(),
    "dist/app.bundle.0f6159c501addfe9.js": SCRIPT.encode(),
    "dist/app.bundle.css": b"@font-face{src:url(/a34f9d1faa5f3315.woff2)}",
    "dist/a34f9d1faa5f3315.woff2": b"font" * 300_000,
    "dist/codec.wasm": WASM,
    "dist/app.bundle.js.map": b"{}",
    "dist/app-config.js": b"window.config = {};",
    "dist/init-service-worker.js": b"",
    "dist/assets/icon.png": b"png",
    "LICENSE": b"MIT",
}


def described(name: str = "@ohif/app", version: str = "3.13.2") -> bytes:
    """The package.json."""
    return json.dumps({"name": name, "version": version}).encode()


def pack(
    path: Path, files: dict[str, bytes] | None = None, *more: tarfile.TarInfo, package: bytes | None = None
) -> Path:
    """Write a package.

    Args:
        path: the tarball.
        files: what is in it below `package/`; None takes the small viewer.
        more: further members without content.
        package: its package.json; None takes that of OHIF.
    """
    with tarfile.open(path, "w:gz") as tar:
        content = {"package.json": described() if package is None else package, **(FILES if files is None else files)}
        for name, data in content.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in more:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def install(root: Path) -> Installed:
    """Install the small viewer."""
    root.mkdir(parents=True, exist_ok=True)
    return install_package(root, KINDS["ohif"], pack(root / "small.tgz"))
