"""What the kernel is really asked for, seen by strace: no name before its bytes, no answer before its folder.

A killed process does not show whether data were synced, since the kernel's cache outlives it. The order of
the system calls does. Killing it at each of them shows the rest: that nothing half-written ever has a name.
"""

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dicomweb.storage.drafts import FOLDER
from dicomweb.storage.filesystem import Filesystem

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed: apt-get install strace"
)

CALLS = "openat,write,pwrite64,fsync,fdatasync,link,linkat,unlink,unlinkat,mkdir,mkdirat,fchmod,close,rename"
SEED = int(os.environ.get("ROENTGATE_TEST_SEED", "1"))

WRITER = """
import os, sys
from pathlib import Path
from dicomweb.storage import Put
from dicomweb.storage.filesystem import Filesystem

root, kind = Path(sys.argv[1]), sys.argv[2]
bodies = [bytes([65 + n]) * 3000 for n in range(3)]
if kind == "file":
    for n, body in enumerate(bodies):
        path = Path(sys.argv[4]) / f"spooled{n}"
        path.write_bytes(body)
        bodies[n] = path
os.write(1, b"begun")
storage = Filesystem(root, writers=int(sys.argv[3]))
for puts in ([0], [1, 2]):
    results = storage.put([Put(f"objects/{n}{n}/{n}", bodies[n], bytes(32)) for n in puts])
    for n, result in zip(puts, results):
        os.write(1, b"stored %d." % n if result is None else f"refused {n}: {result}".encode())
"""


def command(root: Path, kind: str, writers: int = 4) -> list[str]:
    return [sys.executable, "-c", WRITER, str(root), kind, str(writers), str(root.parents[1])]


def strace(*flags: str) -> list[str]:
    return ["strace", "-f", "-y", "-s", "64", "-e", "signal=none", "-e", f"trace={CALLS}", *flags]


@dataclass
class Disk:
    """What is durable, by the rules of POSIX and no more: what fsync was called on, after its last change."""

    dirty: set[str] = field(default_factory=set)
    same: dict[str, str] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)

    def made(self, path: str) -> None:
        self.pending[path] = os.path.dirname(path)

    def synced(self, path: str) -> None:
        self.dirty.discard(path)
        for made, folder in list(self.pending.items()):
            if folder == path:
                del self.pending[made]

    def lacks(self, key: str) -> list[str]:
        """What is still to be synced before the object under this path survives."""
        bytes_of = self.same.get(key, key)
        folders = [str(folder) for folder in Path(key).parents]
        return [f"bytes of {bytes_of}"] * (bytes_of in self.dirty) + [
            f"name of {path}" for path in [key, *folders] if path in self.pending
        ]


LINE = re.compile(r"(?:\[pid +\d+\] |\d+ +)?(\w+)\((.*)\) += (-?\d+)(?:<(.*?)>)?")
ARGUMENT = re.compile(r'(?:(?:\d+|AT_FDCWD)<([^>]*)>)|"((?:[^"\\]|\\.)*)"')


def events(log: str) -> Iterator[tuple[str, list[str]]]:
    """The calls that succeeded, in the order in which they returned: name and paths."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        process, _, rest = line.partition(" ")
        rest = rest.strip()
        if rest.endswith("<unfinished ...>"):
            begun[process] = rest.removesuffix("<unfinished ...>").rstrip()
            continue
        if match := re.match(r"<\.\.\. \w+ resumed>(.*)", rest):
            rest = begun.pop(process) + match[1]
        if (match := LINE.match(rest)) and int(match[3]) >= 0:
            yield match[1], [a or b for a, b in ARGUMENT.findall(match[2])]


def joined(folder: str, name: str) -> str:
    return os.path.normpath(os.path.join(folder, name))


def replay(calls: Iterable[tuple[str, list[str]]], root: Path) -> list[str]:
    """Follow the calls; return each answer together with what was not durable when it was given."""
    disk, found = Disk(), []
    here = os.getcwd()
    for call, arguments in calls:
        if call == "write" and arguments[-1].startswith("stored"):
            number = arguments[-1][7]
            found += [f"{number}: {lack}" for lack in disk.lacks(str(root / f"objects/{number}{number}/{number}"))]
            found.append(f"stored {number}")
        elif call in ("write", "fchmod"):
            disk.dirty.add(arguments[0])
        elif call in ("fsync", "fdatasync"):
            disk.synced(arguments[0])
        elif call in ("mkdir", "mkdirat"):
            disk.made(joined(arguments[0] if call == "mkdirat" else here, arguments[-1]))
        elif call == "linkat":
            source, target = joined(*arguments[:2]), joined(*arguments[2:4])
            if source in disk.dirty:
                found.append(f"name before the bytes of {source}")
            disk.same[target] = source
            disk.made(target)
    return found


def traced(tmp_path: Path, kind: str) -> list[tuple[str, list[str]]]:
    """What a writer asks of the kernel; its root is new/root."""
    log = tmp_path / "log"
    run = [*strace("-o", str(log)), *command(tmp_path / "new" / "root", kind)]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    return list(events(log.read_text()))


ALL_STORED = ["stored 0", "stored 1", "stored 2"]


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_all_that_an_object_needs_is_synced_before_the_answer(tmp_path: Path, kind: str) -> None:
    assert replay(traced(tmp_path, kind), tmp_path / "new" / "root") == ALL_STORED


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_not_one_sync_could_be_left_out(tmp_path: Path, kind: str) -> None:
    calls = traced(tmp_path, kind)
    syncs = [at for at, (call, _) in enumerate(calls) if call in ("fsync", "fdatasync")]
    assert len(syncs) >= 3 + 7
    for at in syncs:
        assert replay(calls[:at] + calls[at + 1 :], tmp_path / "new" / "root") != ALL_STORED, calls[at]


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT"])
@pytest.mark.parametrize("call", ["fdatasync", "fsync", "linkat", "write", "mkdirat"])
def test_an_error_of_the_kernel_is_an_answer_and_leaves_nothing(tmp_path: Path, call: str, error: str) -> None:
    root = tmp_path / "root"
    Filesystem(root).close()
    when = ":when=2+" if call == "write" else ""  # the first write says that it begins
    run = subprocess.run(
        [*strace("-o", "/dev/null", "-e", f"inject={call}:error={error}{when}"), *command(root, "bytes")],
        check=False,
        capture_output=True,
    )
    assert b"stored" not in run.stdout
    assert [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    if call != "write":
        reason = {"EIO": b"Input/output error"}.get(error, b"no room left")
        assert run.stdout.count(b"refused") == run.stdout.count(reason) == 3


KILLS = [
    (kind, call, number)
    for kind, counts in {
        "bytes": {"write": 7, "fdatasync": 3, "linkat": 3, "unlinkat": 3, "fsync": 7, "mkdirat": 5},
        "file": {"fsync": 10, "fchmod": 3, "linkat": 3, "unlink": 3},
    }.items()
    for call, most in counts.items()
    for number in range(1, most + 1)
]
SAMPLE = random.Random(SEED).sample(KILLS, 16)


@pytest.mark.parametrize(
    ("kind", "call", "number"),
    [pytest.param(*kill, marks=[] if kill in SAMPLE else [pytest.mark.long]) for kill in KILLS],
)
def test_a_kill_at_any_call_loses_nothing_and_leaves_nothing_half(
    tmp_path: Path, kind: str, call: str, number: int
) -> None:
    root = tmp_path / "new" / "root"
    kill = f"inject={call}:signal=KILL:when={number}"
    run = subprocess.run(
        [*strace("-o", "/dev/null", "-e", kill), *command(root, kind, writers=1)],
        check=False,
        capture_output=True,
    )
    files = Filesystem(root)
    files.sweep()
    bodies = {f"objects/{n}{n}/{n}": bytes([65 + n]) * 3000 for n in range(3)}
    listed = {stored.key: files.read(stored.key) for stored in files.list()}
    assert listed.items() <= bodies.items()
    answered = re.findall(rb"stored (\d)\.", run.stdout)
    assert {f"objects/{n}{n}/{n}" for n in map(int, answered)} <= set(listed)
    assert list((root / FOLDER).glob("*")) == []
    if kind == "file":
        spooled = [(tmp_path / f"spooled{n}").exists() for n in range(3)]
        assert all(there or key in listed for there, key in zip(spooled, bodies, strict=True))
    files.close()
