"""Upgrades: old and new program work side by side on one database, as far as the steps between them allow it."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from commands import environment
from entries import entry, store

from dicomweb.errors import Incompatible
from dicomweb.index import Index, open_index, schema
from dicomweb.index.schema import Step
from dicomweb.standard.query import Query

EXPAND = (
    "Step(lambda dialect: ['CREATE TABLE later (id integer)',"
    " \"ALTER TABLE study ADD COLUMN later integer NOT NULL DEFAULT 7\", 'CREATE INDEX study_later ON study (later)'])"
)
CONTRACT = "Step(lambda dialect: ['ALTER TABLE study RENAME COLUMN bytes TO octets'], contracts=True)"


@dataclass
class Program:
    """A program of another version, as a process of its own that opens an index and does one thing with it."""

    steps: str

    def run(self, url: str, action: str = "pass") -> "subprocess.CompletedProcess[str]":
        code = (
            "import sys; sys.path[:0] = ['tests']\n"
            "from dicomweb.index import schema, open_index\nfrom dicomweb.index.schema import Step\n"
            f"schema.STEPS = {self.steps}\n"
            "from entries import entry, store\n"
            f"index = open_index({url!r})\n{action}\nindex.close()\n"
        )
        command = [sys.executable, "-W", "error", "-c", code]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)


OLDER = Program("schema.STEPS[:1]")
EXPANDED = Program(f"(*schema.STEPS, {EXPAND})")
CONTRACTED = Program(f"(*schema.STEPS, {EXPAND}, {CONTRACT})")


@pytest.fixture
def ours(shared_url: str) -> Iterator[Index]:
    """An index that this program has open, with a study in it."""
    index = open_index(shared_url)
    store(index, entry())
    yield index
    index.close()


def studies(index: Index) -> int:
    return len(index.search(Query("study")).rows)


def test_programs_that_start_at_once_take_the_steps_once(shared_url: str) -> None:
    assert OLDER.run(shared_url).returncode == 0
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: EXPANDED.run(shared_url), range(4)))
    assert [(each.returncode, each.stderr) for each in done] == [(0, "")] * 4


def test_an_older_program_goes_on_beside_a_newer_one_and_may_come_back(ours: Index, shared_url: str) -> None:
    done = EXPANDED.run(shared_url, "store(index, entry('1.2', '1.2.1', '1.2.1.1'))")
    assert done.returncode == 0, done.stderr
    ours.check()
    assert studies(ours) == 2
    store(ours, entry("1.3", "1.3.1", "1.3.1.1"))
    again = open_index(shared_url)  # as after `helm rollback`
    again.check()
    assert studies(again) == 3
    store(again, entry("1.4", "1.4.1", "1.4.1.1"))
    again.close()
    read = "with index._engine.read() as session: print(session.rows('SELECT DISTINCT later FROM study'))"
    assert EXPANDED.run(shared_url, read).stdout == "[(7,)]\n"


def test_an_older_program_is_not_ready_and_does_not_start_where_something_was_taken_away(
    ours: Index, shared_url: str
) -> None:
    done = CONTRACTED.run(shared_url)
    assert done.returncode == 0, done.stderr
    for ask in (ours.check, lambda: open_index(shared_url)):
        with pytest.raises(Incompatible, match="made by a newer Roentgate"):
            ask()
    expanded = EXPANDED.run(shared_url)
    assert "made by a newer Roentgate" in expanded.stderr


def test_a_step_that_fails_leaves_the_index_as_it_was(ours: Index, shared_url: str) -> None:
    broken = Program(f"(*schema.STEPS, {EXPAND}, Step(lambda dialect: ['CREATE TABLE study (id integer)']))")
    assert broken.run(shared_url).returncode != 0
    ours.check()
    store(ours, entry("1.2", "1.2.1", "1.2.1.1"))
    assert EXPANDED.run(shared_url).returncode == 0


def test_an_index_from_before_the_rule_is_taken_over(shared_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    index = open_index(shared_url)
    with index._engine.write() as session:  # type: ignore[attr-defined]
        session.run("DELETE FROM about WHERE name = 'oldest'")
    index.close()
    open_index(shared_url).close()
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, Step(lambda dialect: ["CREATE TABLE later (id integer)"])))
    for _ in range(2):
        index = open_index(shared_url)
        index.check()
        index.close()
