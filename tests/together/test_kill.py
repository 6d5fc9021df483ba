"""The store and delete paths, killed by SIGKILL at every call that changes a file."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import dicoms
import pytest

from dicomweb.archive.archive import Archive, open_archive
from dicomweb.config import Config
from dicomweb.errors import NotFound

HERE = Path(__file__).parent
SAMPLE = 24

needs_compiler = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None,
    reason="needs Linux and a C compiler: apt-get install gcc",
)


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("killer") / "killer.so"
    source = HERE / "killer.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", library, source, "-ldl"], check=True)
    return library


def run(killer: Path, data: Path, at: int, after: bool, count: Path | None = None) -> list[str]:
    """Run the process, killed at one call; return the lines that it said."""
    environment = {**os.environ, "LD_PRELOAD": str(killer), "KILL_AT": str(at)}
    if after:
        environment["KILL_AFTER"] = "1"
    if count is not None:
        environment["KILL_COUNT"] = str(count)
    program = [sys.executable, str(HERE / "stored_until_killed.py"), str(data)]
    done = subprocess.run(program, env=environment, stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == (0 if at == 0 else -9), f"ended by itself before call {at}"
    return done.stdout.decode().splitlines()


def calls(killer: Path, folder: Path) -> int:
    count = folder / "count"
    run(killer, folder / "counted", 0, False, count)
    return int(count.read_text())


def visible(archive: Archive, study: str) -> set[str]:
    try:
        return {held.instance for held in archive.index.members(study)}
    except NotFound:
        return set()


def check(data: Path, lines: list[str]) -> None:
    """What was acknowledged holds; what is visible is whole; nothing is left over."""
    study = f"{dicoms.PREFIX}.1"
    archive = open_archive(Config(data=data, storage="", index=""))
    try:
        archive.sweep()
        seen = visible(archive, study)
        acknowledged: set[str] = set()
        for word, instance in (line.split() for line in lines):
            acknowledged.add(instance)
            if word == "deleted":
                acknowledged.discard(instance)
                assert instance not in seen, f"{instance} was deleted and is back"
        under_way = {f"{study}.1.1"} if lines and lines[-1].startswith("replaced") else set()
        lost = acknowledged - seen - under_way  # a deletion that is not acknowledged yet may have taken place
        assert not lost, f"acknowledged and lost: {lost}"
        if any(line.startswith("replaced") for line in lines):
            (second,) = [held for held in archive.index.members(study) if held.instance.endswith(".2")]
            assert b"other" in archive.storage.read(second.key)
        findings = [finding for _, finding in archive.verify() if finding is not None]
        assert findings == []
        assert archive.index.counts().pending == 0
        keys = {stored.key for stored in archive.storage.list("objects/")}
        assert len(keys) == len(archive.index.walk())
        left = list(data.rglob("*.part")) + list(data.rglob("*.tmp"))
        assert left == []
    finally:
        archive.close()


@needs_compiler
def test_a_store_killed_at_a_sample_of_calls_loses_and_leaves_nothing(killer: Path, tmp_path: Path) -> None:
    total = calls(killer, tmp_path)
    choice = random.Random(20240131)
    for number in sorted(choice.sample(range(1, total + 1), SAMPLE)):
        for_one = tmp_path / str(number)
        check(for_one, run(killer, for_one, number, after=choice.random() < 0.5))


@needs_compiler
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_store_killed_at_any_call_loses_and_leaves_nothing(killer: Path, tmp_path: Path, after: bool) -> None:
    for number in range(1, calls(killer, tmp_path) + 1):
        for_one = tmp_path / str(number)
        check(for_one, run(killer, for_one, number, after))
        shutil.rmtree(for_one)
