"""Work that goes wrong costs the request that asked for it, and nothing else."""

import gc
import itertools
import os
import platform
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicomweb.errors import Corrupt, Unavailable, Undecodable
from dicomweb.workshop import Lent, Workshop

MEMORY = 256 << 20


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    made = Workshop(2, seconds=20, memory=MEMORY)
    yield made
    made.close()
    gc.collect()


def works(workshop: Workshop) -> bool:
    return zlib.decompress(workshop.run("zlib", "compress", b"abc")) == b"abc"


def test_bytes_come_back(workshop):
    assert works(workshop)
    assert workshop.run("zlib", "compress", bytes(1 << 20)) == zlib.compress(bytes(1 << 20))


def test_a_process_is_used_again(workshop):
    assert workshop.run("os", "urandom", 4) != workshop.run("os", "urandom", 4)
    assert len(workshop._resting) == 1


@pytest.mark.parametrize(
    "work",
    [
        ("signal", "raise_signal", signal.SIGSEGV),
        ("os", "_exit", 3),
        ("os", "_exit", 0),
        ("zlib", "decompress", b"no"),
        ("os", "getpid"),
    ],
)
def test_what_fails_is_refused_and_the_next_one_is_done(workshop, work):
    with pytest.raises(Undecodable, match="cannot be worked on"):
        workshop.run(*work)
    assert works(workshop)


def test_work_that_somebody_else_ends_may_be_tried_again(workshop):
    with pytest.raises(Unavailable, match="may succeed later"):
        workshop.run("signal", "raise_signal", signal.SIGKILL)
    assert works(workshop)


def test_a_process_that_was_killed_while_it_rested_costs_nobody_anything(workshop):
    assert works(workshop)
    (process,) = workshop._resting
    process._process.kill()
    process._process.wait(20)
    assert works(workshop)


def test_work_that_takes_too_long_is_ended():
    workshop = Workshop(1, seconds=1.0, memory=MEMORY)
    assert works(workshop)
    with pytest.raises(Undecodable, match="limit of 1 seconds"):
        workshop.run("time", "sleep", 60)
    assert works(workshop)
    workshop.close()


def test_work_that_takes_too_much_memory_is_refused(workshop):
    with pytest.raises(Undecodable, match="limit of memory"):
        workshop.run("builtins", "bytes", 4 * MEMORY)
    assert works(workshop)


def test_a_result_for_which_there_is_no_memory_is_refused(workshop):
    with pytest.raises(Undecodable, match="limit of memory"):
        workshop.run("builtins", "bytes", MEMORY * 7 // 10)
    assert works(workshop)


def test_a_process_that_cannot_be_started_leaves_nothing_behind(workshop, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    before = os.listdir("/dev/fd")
    with pytest.raises(Unavailable):
        works(workshop)
    assert len(os.listdir("/dev/fd")) == len(before)


def test_a_process_that_went_while_idle_is_replaced_unseen():
    workshop = Workshop(1, seconds=20, memory=MEMORY, idle=0.05)
    assert works(workshop)
    (process,) = workshop._resting
    process._process.wait(20)
    assert works(workshop)
    workshop.close()


def test_no_more_processes_work_than_are_allowed(workshop):
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: works(workshop), range(40)))
    assert len(workshop._resting) <= 2


def test_who_waits_too_long_for_a_process_is_asked_to_come_back():
    workshop = Workshop(1, seconds=20, memory=MEMORY, patience=0.01)
    workshop._places.acquire()
    with pytest.raises(Unavailable):
        works(workshop)
    workshop._places.release()
    assert works(workshop)
    workshop.close()


def _goes(pid: str) -> bool:
    """Whether a process ends within twenty seconds."""
    return any(not Path(f"/proc/{pid}").exists() or threading.Event().wait(0.01) for _ in range(2000))


def test_processes_end_with_the_server(tmp_path):
    code = (
        "import os, sys; from dicomweb.workshop import Workshop; w = Workshop(1, 20, 1 << 28);"
        "w.run('zlib', 'compress', b'x'); print(w._resting[0]._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert _goes(done.stdout.strip())


def test_work_without_end_ends_also_when_the_server_was_killed():
    code = (
        "import os, threading, dicomweb.workshop as workshop; w = workshop.Workshop(1, 0.5, 1 << 28);"
        "made = w._take(); print(made._process.pid, flush=True);"
        "w._give_back(made);"
        "threading.Thread(target=w.run, args=('signal', 'pause'), daemon=True).start();"
        "[None for _ in iter(lambda: made.used, True)]; os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert _goes(done.stdout.strip())


def test_after_closing_nothing_rests(workshop):
    assert works(workshop)
    (process,) = workshop._resting
    workshop.close()
    assert process._process.returncode == 0
    assert works(workshop)
    assert workshop._resting == []


LENT = bytes(range(256)) * (16 << 12)


@pytest.fixture
def lend(tmp_path) -> Callable[..., Lent]:
    file = tmp_path / "object"
    file.write_bytes(b"head" + LENT)
    whole = 4 + len(LENT)
    return lambda start=4, stop=whole: Lent(lambda: os.open(file, os.O_RDONLY), start, stop)


def test_what_is_lent_is_read_there_and_nothing_of_it_is_sent(workshop, lend):
    assert works(workshop)
    before = len(os.listdir("/dev/fd"))
    assert zlib.decompress(workshop.run("zlib", "compress", lend(), 1)) == LENT
    assert zlib.decompress(workshop.run("zlib", "compress", lend(8, 12))) == LENT[4:8]
    (process,) = workshop._resting
    assert os.fstat(process._area.handle).st_size < len(LENT) // 8
    assert len(os.listdir("/dev/fd")) == before
    if sys.platform == "linux":
        opened = Path(f"/proc/{process._process.pid}/fd")
        assert not [handle for handle in opened.iterdir() if os.readlink(handle).endswith("object")]


def test_a_lent_file_that_is_too_short_or_cannot_be_opened_costs_its_request_alone(workshop, lend, tmp_path):
    with pytest.raises(Corrupt, match="shorter"):
        workshop.run("zlib", "compress", lend(0, 5 + len(LENT)))
    with pytest.raises(Unavailable, match="cannot be read"):
        workshop.run("zlib", "compress", Lent(lambda: os.open(tmp_path, os.O_RDONLY), 0, 10))
    with pytest.raises(FileNotFoundError):
        workshop.run("zlib", "compress", Lent(lambda: os.open(tmp_path / "nothing", os.O_RDONLY), 0, 10))
    assert works(workshop)
    assert len(workshop._resting) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not take the server's memory for the process's")
def test_a_process_is_not_worn_by_what_the_server_held():
    """What `getrusage` tells of a process begins with what whoever started it held."""
    large = """
from dicomweb.workshop import Workshop
from dicomweb.workshop.process import WORN
held = b"x" * (WORN + (64 << 20))
workshop = Workshop(1, 20, 1 << 28)
workshop.run("zlib", "compress", b"abc")
(first,) = workshop._resting
workshop.run("zlib", "compress", b"abc")
(second,) = workshop._resting
print(first is second)
workshop.close()
"""
    told = subprocess.run([sys.executable, "-c", large], capture_output=True, text=True, timeout=60, check=False)
    assert told.stdout == "True\n", told.stderr


def test_the_limit_of_memory_holds_for_the_first_frame_that_is_lent(workshop, tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2 * MEMORY)
    large = Lent(lambda: os.open(tmp_path / "large", os.O_RDONLY), 0, 2 * MEMORY)
    with pytest.raises(Undecodable, match="memory"):
        workshop.run("zlib", "crc32", large)


def _faults(workshop: Workshop) -> int:
    """Page faults of the one process so far."""
    (process,) = workshop._resting
    return int(Path(f"/proc/{process._process.pid}/stat").read_text().rpartition(")")[2].split()[7])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc, which alone is told")
def test_the_memory_of_one_frame_is_used_again_for_the_next_and_given_back_when_none_comes(workshop, lend):
    workshop.run("zlib", "compress", lend(), 1)
    before = _faults(workshop)
    for _ in range(3):
        workshop.run("zlib", "compress", lend(), 1)
    assert _faults(workshop) - before < len(LENT) // os.sysconf("SC_PAGE_SIZE") // 4
    (process,) = workshop._resting
    status = Path(f"/proc/{process._process.pid}/status")

    def held(name: str) -> int:
        return 1024 * int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith(name)))

    less = held("VmHWM:") - len(LENT) // 2
    resting = (held("VmRSS:") for _ in iter(lambda: threading.Event().wait(0.02), True))
    assert any(size < less for size in itertools.islice(resting, 500))
