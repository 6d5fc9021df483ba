"""npm packages: what a browser loads comes out, and nothing leaves the folder."""

import gzip
import tarfile
from pathlib import Path

import packages
import pytest

from dicomweb.errors import BadPackage
from dicomweb.viewers import unpacking
from dicomweb.viewers.unpacking import unpack, zip_files


def unpacked(tmp_path: Path, package: Path) -> Path:
    into = tmp_path / "into"
    into.mkdir()
    unpack(package, into, "@ohif/app")
    return into


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_is_built_comes_out_with_the_licence_and_without_source_maps(tmp_path):
    package = packages.pack(tmp_path / "p.tgz")
    into = unpacked(tmp_path, package)
    built = {name.removeprefix("dist/") for name in packages.FILES if name.startswith("dist/")}
    assert names(into) == built - {"app.bundle.js.map"} | {"LICENSE.txt"}
    assert (into / "codec.wasm").read_bytes() == packages.WASM


def test_the_version_is_that_of_the_package(tmp_path):
    (tmp_path / "into").mkdir()
    package = packages.pack(tmp_path / "p.tgz", package=packages.described(version="4.0.0-beta.12"))
    assert unpack(package, tmp_path / "into", "@ohif/app") == "4.0.0-beta.12"


@pytest.mark.parametrize(
    "name",
    [
        "../evil.js",
        "dist/../../evil.js",
        "/etc/evil",
        "dist/./../x/../../y",
        "dist\\..\\evil.js",
        "dist/C:evil",
        "dist/\x1b[2J",
        "dist/.htaccess",
    ],
)
def test_a_file_that_would_lie_elsewhere_ends_it(tmp_path, name):
    member = tarfile.TarInfo(name if name.startswith(("/", "..")) else f"package/{name}")
    with pytest.raises(BadPackage, match="not safe"):
        unpacked(tmp_path, packages.pack(tmp_path / "p.tgz", None, member))
    assert names(tmp_path) <= {"p.tgz"} | {f"into/{one}" for one in names(tmp_path / "into")}


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_links_and_devices_end_it(tmp_path, kind):
    member = tarfile.TarInfo("package/dist/link")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(BadPackage):
        unpacked(tmp_path, packages.pack(tmp_path / "p.tgz", None, member))
    assert not (tmp_path / "into" / "link").exists()


def test_a_folder_is_no_harm(tmp_path):
    member = tarfile.TarInfo("package/dist/empty")
    member.type = tarfile.DIRTYPE
    assert not (unpacked(tmp_path, packages.pack(tmp_path / "p.tgz", None, member)) / "empty").is_file()


def test_too_many_files_end_it(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MOST_FILES", 5)
    with pytest.raises(BadPackage, match="more than 5 files"):
        unpacked(tmp_path, packages.pack(tmp_path / "p.tgz"))


def test_a_bomb_ends_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MOST_BYTES", 4 << 20)
    bomb = packages.pack(tmp_path / "p.tgz", {"dist/zeros.js": bytes(64 << 20)})
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(BadPackage, match="more than 4 MiB"):
        unpacked(tmp_path, bomb)


@pytest.mark.parametrize(
    "data", [b"", b"no package at all", gzip.compress(b"no tar at all" * 100, mtime=0), b"\x1f\x8b\x08\x00"]
)
def test_what_is_no_package_is_refused(tmp_path, data):
    (tmp_path / "p.tgz").write_bytes(data)
    with pytest.raises(BadPackage):
        unpacked(tmp_path, tmp_path / "p.tgz")


def test_a_package_that_ends_too_early_is_refused(tmp_path):
    package = packages.pack(tmp_path / "p.tgz")
    whole = package.read_bytes()
    package.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadPackage):
        unpacked(tmp_path, package)


@pytest.mark.parametrize(
    "described",
    [
        b"{}",
        b"[]",
        b"no JSON",
        packages.described("left-pad"),
        packages.described(version="../../x"),
        packages.described(version=""),
    ],
)
def test_another_package_or_version_is_refused(tmp_path, described):
    with pytest.raises(BadPackage):
        unpacked(tmp_path, packages.pack(tmp_path / "p.tgz", package=described))


def test_what_gets_smaller_has_a_gzipped_file_beside_it(tmp_path):
    text, noise = b"abc" * 10_000, bytes(range(256)) * 2
    for name, data in {"a.js": text, "b.js": noise, "c.png": text, "d/e.wasm": text}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    seen: list[int] = []
    zip_files(tmp_path, seen.append)
    assert {name for name in names(tmp_path) if name.endswith(".gz")} == {"a.js.gz", "d/e.wasm.gz"}
    assert gzip.decompress((tmp_path / "a.js.gz").read_bytes()) == text
    assert sorted(seen) == sorted([len(text)] * 3 + [len(noise)])
