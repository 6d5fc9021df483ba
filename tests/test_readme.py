"""README lists every module and every setting, and its tour works word by word."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from commands import served
from pydicom.data import get_testdata_file
from readme import CONFORMANCE, README, ROOT, fill, made, write_map

from benchmarks import tables
from dicomweb.config import settings, write_table

TEXT = README.read_text()


def between(mark: str) -> str:
    return TEXT.partition(f"<!-- {mark} -->\n")[2].partition(f"<!-- /{mark} -->")[0]


def test_the_tables_list_every_setting_in_the_words_of_the_code():
    assert between("settings") == write_table(), "run `make readme`"


def test_the_tables_of_benchmarks_are_what_was_measured():
    for name, section in tables.read_record().items():
        assert between(f"bench {name}") == tables.write(name, section), "run `python -m benchmarks --keep`"


def test_the_conformance_statement_says_what_the_code_does():
    text = CONFORMANCE.read_text()
    assert fill(text, made()[CONFORMANCE]) == text, "run `make readme`"


def test_every_setting_outside_of_the_bridge_is_read_by_some_module():
    code = (
        "\n".join(path.read_text() for path in (ROOT / "dicomweb").rglob("*.py") if path.name != "config.py")
        + (ROOT / "dicomweb" / "config.py").read_text().partition("def check_exposure")[2]
    )
    unread = [
        spec.name
        for spec in settings()
        if spec.group != "bridge" and not re.search(rf"(?:config|self|_settings)\.{spec.name}\b", code)
    ]
    assert unread == []


def test_the_map_lists_every_module_where_it_stands():
    def names(text: str) -> list[str]:
        return [line[: line.index(word) + len(word)] for line in text.splitlines() for word in line.split()[:1]]

    assert names(between("map")) == names(write_map()), "run `make readme`"


def test_files_and_commands_that_it_names_are_there():
    from dicomweb.cli import parser

    for name in re.findall(r"\| `([\w/]+\.py)`", TEXT):
        assert (ROOT / "dicomweb" / name).is_file() or (ROOT / name).is_file(), name
    usage = parser().format_help()
    for command in set(re.findall(r"`roentgate ([a-z-]+)", TEXT)):
        assert re.search(rf"^    {command}\b", usage, re.MULTILINE), command
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)`|^    make ([a-z-]+)$", TEXT, re.MULTILINE)):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), target


def read_several(text: str) -> list[Any]:
    """Read JSON values that follow one another."""
    values = []
    while text := text.lstrip():
        value, end = json.JSONDecoder().raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl on this machine: apt install curl")
def test_the_tour_works_word_by_word(tmp_path):
    tour = between("tour").removeprefix("```sh\n").partition("```")[0]
    assert tour.count("curl") == 5
    with served(tmp_path) as server:
        said = subprocess.run(
            [
                "bash",
                "-euc",
                tour.replace(".venv/bin/python", sys.executable).replace("8080", str(server.port)),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert said.stderr == ""
    stored, found, (metadata,) = read_several(said.stdout)
    assert "00081199" in stored, "ReferencedSOPSequence"
    assert found[0]["00100010"]["Value"][0]["Alphabetic"] == "CompressedSamples^CT1"
    assert metadata["00280010"]["Value"] == [128]
    assert (tmp_path / "frame.raw").stat().st_size == 128 * 128 * 2
    original = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    with zipfile.ZipFile(tmp_path / "study.zip") as packed:
        (name,) = packed.namelist()
        assert packed.read(name) == original
