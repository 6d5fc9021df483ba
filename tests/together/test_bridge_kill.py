"""In the middle of 200 instances that are stored, moved or forwarded, something goes away: a process by SIGKILL, a
connection, the index. Nothing that was acknowledged with 0000H is missing afterwards, counts never claim more than what
arrived, and a job ends complete without sending again what was there.

`make test` takes a sample, the same each time; `make test-long` all.
"""

import contextlib
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from commands import dimse_port, environment, greeting_of, http_port, started
from cutting import Relay, relayed
from dicoms import CT, PREFIX, ct
from pacs import pacs
from postgresql import drop_database, new_database

from bridge.association import Limits, connect
from bridge.commandsets import C_MOVE, C_STORE
from bridge.negotiation import Proposed, Request
from dicomweb.errors import PeerLeft, PeerSilent
from dicomweb.standard import identifiers
from dicomweb.standard.syntaxes import EXPLICIT

INSTANCES = 200
STUDY = f"{PREFIX}.1"
UIDS = [f"{STUDY}.1.{number}" for number in range(1, INSTANCES + 1)]
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
TOKEN = "a secret of both"
LEASE = 3.0
AWAY = 1.0
_SMALL = 48 << 10
"""Bytes that a file may have while SQLite is away: enough for each object, not for the index and its log."""
SECONDS = 60
"""For anything that is waited for."""
_WEB = (
    "import sys, dicomweb.web.jobs as jobs; from dicomweb.cli import main; "
    f"jobs.LEASE = {LEASE}; sys.exit(main(sys.argv[1:]))"
)


@dataclass
class System:
    """Web server and bridge as processes that can be killed and started again, and the relays between all parties.

    Attributes:
        folder: of the data.
        relays: by name: `web` before the web server, `dimse` before the bridge, `node` before the receiver, and `index`
            before PostgreSQL.
        env: of both processes.
    """

    folder: Path
    relays: dict[str, Relay]
    env: dict[str, str]
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start_web(self) -> None:
        command = [sys.executable, "-W", "error", "-c", _WEB, "serve", "--http-port", "0"]
        process = subprocess.Popen(
            command, cwd=self.folder, env=environment(**self.env), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.stack.callback(end, process)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        self.relays["web"].target = http_port(greeting_of(process))
        self.processes["web"] = process

    def start_bridge(self) -> None:
        root = f"http://127.0.0.1:{self.relays['web'].port}/dicom-web"
        context = started(self.folder, "bridge", "--dicomweb", root, "--dimse-port", "0", **self.env)
        process, said = self.stack.enter_context(context)
        threading.Thread(target=process.stderr.read, daemon=True).start()
        self.relays["dimse"].target = dimse_port(said)
        self.processes["bridge"] = process

    def ask(self, path: str, value=None):
        """Ask the web server for JSON, past its relay."""
        url = f"http://127.0.0.1:{self.relays['web'].target}{path}"
        data = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"} if data else {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"[]")

    def found(self) -> set[str]:
        rows = self.ask(f"/dicom-web/instances?limit={2 * INSTANCES}")
        return {row["00080018"]["Value"][0] for row in rows}

    def post(self) -> None:
        """Store all instances, past the bridge."""
        parts = b"".join(
            b"--b\r\nContent-Type: application/dicom\r\n\r\n" + ct(n) + b"\r\n" for n in range(1, INSTANCES + 1)
        )
        url = f"http://127.0.0.1:{self.relays['web'].target}/dicom-web/studies"
        kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
        with urllib.request.urlopen(urllib.request.Request(url, parts + b"--b--", kind), timeout=60) as answer:
            assert answer.status == 200

    # -- what goes wrong ------------------------------------------------------------------------------------

    def harm(self, victim: str) -> None:
        """Let something go away."""
        if victim in ("bridge", "web"):
            os.kill(self.processes[victim].pid, signal.SIGKILL)
        elif victim == "sqlite":
            resource.prlimit(self.processes["web"].pid, resource.RLIMIT_FSIZE, (_SMALL, resource.RLIM_INFINITY))
        else:
            self.relays[victim].cut()

    def go_and_come(self, victim: str, seed: object) -> threading.Thread:
        """Let something go away after a moment of up to 10 ms, the same for the same seed, and come back later."""

        def work() -> None:
            pause = threading.Event()
            pause.wait(random.Random(str(seed)).random() / 100)
            self.harm(victim)
            pause.wait(AWAY)
            self.mend(victim)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def mend(self, victim: str) -> None:
        """Let it come back."""
        if victim in ("bridge", "web"):
            self.processes[victim].wait(60)
            self.start_web() if victim == "web" else self.start_bridge()
        elif victim == "sqlite":
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(self.processes["web"].pid, resource.RLIMIT_FSIZE, unlimited)
        else:
            self.relays[victim].mend()


def end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()


@contextlib.contextmanager
def system(folder: Path, victim: str, receiver: int = 1, **env: str):
    """Run all of it; PostgreSQL holds the index where that is what goes away."""
    with contextlib.ExitStack() as stack:
        targets = {"web": 0, "dimse": 0, "node": receiver}
        relays = {name: stack.enter_context(relayed(port)) for name, port in targets.items()}
        if victim == "index":
            url = new_database()
            stack.callback(drop_database, url)
            parts = urlsplit(url)
            relays["index"] = stack.enter_context(relayed(parts.port))
            place = f"{parts.username}@127.0.0.1:{relays['index'].port}"
            env["ROENTGATE_INDEX"] = urlunsplit(parts._replace(netloc=place))
        (folder / "data").mkdir(exist_ok=True)
        node = f'[nodes.PACS]\nhost = "127.0.0.1"\nport = {relays["node"].port}\n'
        (folder / "data" / "nodes.toml").write_text(node)
        made = System(folder, relays, {"ROENTGATE_BRIDGE_TOKEN": TOKEN, **env}, stack=stack)
        made.start_web()
        made.start_bridge()
        yield made


def until(condition, why: str) -> None:
    pause, deadline = threading.Event(), time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, why
        pause.wait(0.1)


def matrix(names: str, *values: Sequence[object], sample: set[tuple[object, ...]]):
    """All combinations; those that are not in the sample are long."""
    assert sample <= set(itertools.product(*values))
    cases = [
        pytest.param(*case, marks=() if case in sample else pytest.mark.long) for case in itertools.product(*values)
    ]
    return pytest.mark.parametrize(names, cases)


# -- C-STORE --------------------------------------------------------------------------------------------------


def send(port: int, uids: list[str], at=lambda number: None) -> set[str]:
    """Send instances over one association; return those that were acknowledged with 0000H. `at` is told of each."""
    asked = Request("MODALITY", "ROENTGATE", (Proposed(1, CT, (EXPLICIT,)),))
    acknowledged: set[str] = set()
    try:
        association = connect("127.0.0.1", port, asked, Limits(answer_seconds=60.0))
    except (PeerLeft, PeerSilent):
        return acknowledged
    try:
        for uid in uids:
            at(uid)
            command = {
                "AffectedSOPClassUID": CT,
                "CommandField": C_STORE,
                "Priority": 0,
                "AffectedSOPInstanceUID": uid,
            }
            data = ct(int(uid.rpartition(".")[2]))
            start = data.index(b"DICM") + 16 + int.from_bytes(data[140:144], "little")
            if association.ask(1, command, data[start:])["Status"] == 0:
                acknowledged.add(uid)
        association.release()
    except (PeerLeft, PeerSilent):
        pass
    finally:
        association.close()
    return acknowledged


@matrix(
    "victim,after,spool,associations",
    ("bridge", "web", "dimse connection", "web connection", "index", "sqlite"),
    (20, 90, 199),
    ("false", "true"),
    (1, 4),
    sample={
        ("bridge", 20, "false", 4),
        ("bridge", 199, "true", 4),
        ("web", 90, "false", 1),
        ("web connection", 20, "false", 4),
        ("index", 90, "false", 4),
    },
)
def test_nothing_acknowledged_is_missing_afterwards(tmp_path, victim, after, spool, associations, request):
    what = victim.partition(" ")[0]
    with system(tmp_path, what, ROENTGATE_SPOOL=spool) as here:
        breakers: list[threading.Thread] = []

        def at(uid: str) -> None:
            if uid == UIDS[after - 1]:
                breakers.append(here.go_and_come(what, request.node.name))

        shares = [UIDS[number::associations] for number in range(associations)]
        acknowledged: set[str] = set()

        def share(uids: list[str]) -> None:
            acknowledged.update(send(here.relays["dimse"].port, uids, at))

        senders = [threading.Thread(target=share, args=(uids,)) for uids in shares]
        for each in senders:
            each.start()
        for each in senders:
            each.join(SECONDS)
        (breaker,) = breakers
        breaker.join(SECONDS)
        until(lambda: acknowledged <= found(here), "what was acknowledged is missing")
        until(lambda: send(here.relays["dimse"].port, UIDS[-5:]) == set(UIDS[-5:]), "nothing is stored any more")
        until(lambda: acknowledged | set(UIDS[-5:]) <= found(here), "what was acknowledged is missing")


def found(here: System) -> set[str]:
    """What is found, or nothing where the server cannot answer yet."""
    with contextlib.suppress(OSError):
        return here.found()
    return set()


# -- C-MOVE ---------------------------------------------------------------------------------------------------


def move(here: System, check=lambda command: None) -> dict[str, object] | None:
    """Ask for a C-MOVE of the study; each answer is shown to `check`. Return the last one, None if there was none."""
    asked = Request("ASKER", "ROENTGATE", (Proposed(1, MOVE, (EXPLICIT,)),))
    association = connect("127.0.0.1", here.relays["dimse"].port, asked, Limits(answer_seconds=60.0))
    level = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "0020000D": {"vr": "UI", "Value": [STUDY]}}
    command = {"AffectedSOPClassUID": MOVE, "CommandField": C_MOVE, "Priority": 0, "MoveDestination": "PACS"}
    try:
        association.start(1, command, identifiers.write(level, EXPLICIT))
        while (message := association.receive(60.0)) is not None:
            failed = identifiers.read(association.identifier(), EXPLICIT) if message.has_data else {}
            answer = {**message.command, "failed": set(failed.get("00080058", {}).get("Value", ()))}
            check(answer)
            if answer["Status"] not in (0xFF00, 0xFF01):
                association.release()
                return answer
    except (PeerLeft, PeerSilent):
        pass
    finally:
        association.close()
    return None


@matrix(
    "victim,after",
    ("bridge", "web", "dimse connection", "web connection", "node connection", "index", "sqlite"),
    (20, 90, 199),
    sample={("web", 90), ("node connection", 20)},
)
def test_a_move_never_claims_more_than_what_arrived(tmp_path, victim, after, request):
    what = victim.partition(" ")[0]
    with pacs() as there, system(tmp_path, what, there.port) as here:
        here.post()
        there.hold_after = after

        def check(answer) -> None:
            done = answer.get("NumberOfCompletedSuboperations", 0) + answer.get("NumberOfWarningSuboperations", 0)
            assert done <= len(there.held), "the counts claim more than what arrived"

        def interrupt() -> None:
            assert there.stored_some.wait(SECONDS)
            there.going_on.set()
            here.go_and_come(what, request.node.name).join(SECONDS)

        breaker = threading.Thread(target=interrupt)
        breaker.start()
        answer = move(here, check)
        breaker.join(SECONDS)
        if answer is not None and answer["Status"] in (0, 0xB000, 0xA702):
            counts = [answer.get(f"NumberOf{name}Suboperations", 0) for name in ("Completed", "Warning", "Failed")]
            assert sum(counts) == INSTANCES
            assert set(UIDS) - set(there.held) <= answer["failed"], "what is missing is not listed"
            assert (answer["Status"] == 0) == (counts[2] == 0)
        until(lambda: (move(here, check) or {}).get("Status") == 0, "the study cannot be moved afterwards")
        assert set(there.held) == set(UIDS)


# -- jobs -----------------------------------------------------------------------------------------------------


@matrix(
    "victim,after",
    ("bridge", "web", "web connection", "node connection", "index", "sqlite"),
    (20, 90, 199),
    sample={("bridge", 90), ("web", 20), ("index", 90)},
)
def test_a_job_goes_on_and_sends_nothing_again_that_had_arrived(tmp_path, victim, after, request):
    what = victim.partition(" ")[0]
    with pacs() as there, system(tmp_path, what, there.port) as here:
        here.post()
        there.hold_after = after
        job = here.ask("/aets/PACS/send", {"resources": [{"study": STUDY}]})["id"]
        assert there.stored_some.wait(SECONDS)
        there.going_on.set()
        here.go_and_come(what, request.node.name).join(SECONDS)

        def over() -> bool:
            with contextlib.suppress(OSError):
                return here.ask(f"/jobs/{job}")["state"] not in ("waiting", "running")
            return False

        until(over, "the job comes to no end")
        told = here.ask(f"/jobs/{job}")
        assert told["state"] == "done", told
        assert set(there.held) == set(UIDS)
        assert told["progress"]["done"] == told["progress"]["total"] == INSTANCES
        sent = there.asked.count("store")
        assert sent <= INSTANCES + 1, "what had arrived was sent again"
