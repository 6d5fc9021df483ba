"""`roentgate viewer`: from npm or a file into the folder, listed, replaced, removed."""

import os
import stat
from pathlib import Path

import commands
import packages
import pytest

NPM = """#!/bin/sh
# As npm pack: the package goes to the folder named last.
test "$1 $2" = "pack @ohif/app@{known}" || {{ echo "npm error code ETARGET" >&2
  echo "npm error notarget No matching version found for $2." >&2; exit 1; }}
for last; do :; done
cp {package} "$last/"
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return packages.pack(tmp_path / "ohif-app-3.13.2.tgz")


@pytest.fixture
def npm(tmp_path: Path, package: Path) -> str:
    """A PATH on which npm knows one version."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "npm"
    script.write_text(NPM.format(known="3.13.2", package=package))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"


def test_a_file_is_installed_listed_and_removed(tmp_path, package):
    done = commands.run(tmp_path, "viewer", "install", "ohif", "--from", package)
    assert "OHIF 3.13.2 is installed" in done.stdout
    assert "http://127.0.0.1:8080/viewer/ohif/" in done.stdout
    (there,) = commands.run_json(tmp_path, "viewer", "list")
    assert (there["name"], there["version"]) == ("ohif", "3.13.2")
    assert Path(there["path"], "index.html").is_file()
    assert Path(there["path"]).is_relative_to(tmp_path / "data" / "viewers")
    assert "3.13.2" in commands.run(tmp_path, "viewer", "list").stdout
    assert "removed" in commands.run(tmp_path, "viewer", "remove", "ohif").stdout
    assert commands.run_json(tmp_path, "viewer", "list") == []
    assert "roentgate viewer install ohif" in commands.run(tmp_path, "viewer", "list").stdout


def test_npm_fetches_the_version_that_is_tested_with(tmp_path, npm):
    done = commands.run(tmp_path, "viewer", "install", "ohif", PATH=npm)
    assert "OHIF 3.13.2 is installed" in done.stdout


def test_a_version_that_npm_does_not_know_is_told(tmp_path, npm):
    done = commands.run(tmp_path, "viewer", "install", "ohif", "--version", "9.9.9", status=1, PATH=npm)
    assert "npm knows no @ohif/app@9.9.9" in done.stderr
    assert not (tmp_path / "data" / "viewers" / "ohif" / "installed.json").exists()


@pytest.mark.parametrize("version", ["../x", "1.0 && rm", "-g", "@evil/app"])
def test_what_is_no_version_never_reaches_npm(tmp_path, npm, version):
    done = commands.run(tmp_path, "viewer", "install", "ohif", f"--version={version}", status=2, PATH=npm)
    assert "a version looks like 3.13.2" in done.stderr


def test_without_npm_the_sentence_tells_of_from(tmp_path):
    done = commands.run(tmp_path, "viewer", "install", "ohif", status=1, PATH=str(tmp_path))
    assert "Node.js" in done.stderr
    assert "npm pack @ohif/app@3.13.2" in done.stderr
    assert "--from" in done.stderr


def test_another_folder_may_be_named(tmp_path, package):
    done = commands.run(tmp_path, "viewer", "install", "ohif", "--from", package, "--to", tmp_path / "image")
    assert (tmp_path / "image" / "ohif" / "installed.json").is_file()
    assert f"`viewers` is {tmp_path / 'image'}" in done.stdout
    (there,) = commands.run_json(tmp_path, "viewer", "list", "--to", tmp_path / "image")
    assert there["version"] == "3.13.2"
    assert commands.run_json(tmp_path, "viewer", "list") == []


def test_that_an_edited_configuration_is_kept_is_told(tmp_path, package):
    commands.run(tmp_path, "viewer", "install", "ohif", "--from", package)
    (tmp_path / "data" / "viewers" / "ohif" / "app-config.js").write_text("mine")
    done = commands.run(tmp_path, "viewer", "install", "ohif", "--from", package)
    assert "was edited" in done.stdout
    assert (tmp_path / "data" / "viewers" / "ohif" / "app-config.js").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["install"], 2, "say which viewer"),
        (["install", "nothing"], 1, "no viewer is called 'nothing'"),
        (["install", "ohif", "--from", "missing.tgz"], 1, "there is no file"),
        (["remove", "ohif"], 1, "not installed"),
        (["polish", "ohif"], 2, "invalid choice"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path, arguments, status, said):
    done = commands.run(tmp_path, "viewer", *arguments, status=status)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
