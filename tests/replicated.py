"""Several web processes and bridges as one service: on one PostgreSQL and one S3 store, behind balancers, each a
process that can be killed and started again where it was."""

import contextlib
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import postgresql
import s3servers
from commands import environment
from cutting import Relay, connected
from ports import free_ports

TOKEN = "a secret of all"
PUBLIC = "https://pacs.example"
LEASE = 3.0
"""Seconds for which a bridge has a job without a report: few, so that what a killed one had soon goes on."""

_PROGRAM = (
    "import sys, dicomweb.web.jobs as jobs; from dicomweb.cli import main; "
    f"jobs.LEASE = {LEASE}; sys.exit(main(sys.argv[1:]))"
)


class Balancer(Relay):
    """Relays each connection to one of several ports, whichever listens.

    Args:
        targets: the ports.
        seed: of the order in which they are tried.
    """

    def __init__(self, targets: Sequence[int], seed: object) -> None:
        self.targets = list(targets)
        self._random = random.Random(str(seed))
        super().__init__(0)

    def _reach(self) -> socket.socket | None:
        order = self._random.sample(self.targets, len(self.targets))
        return next(filter(None, map(connected, order)), None)


class Replica:
    """One process of the service.

    Args:
        folder: of its own data and log.
        arguments: of `roentgate`.
        env: its settings.

    Attributes:
        port: where clients ask it.
    """

    def __init__(self, folder: Path, port: int, arguments: Sequence[str], env: dict[str, str]) -> None:
        self.folder = folder
        self.port = port
        self._arguments = arguments
        self._env = env
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir()

    @property
    def url(self) -> str:
        """The address of a web process."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, steps: str = "") -> None:
        """Start it, and wait until it answers.

        Args:
            steps: what a later version has more of `schema.STEPS`, as Python.
        """
        newer = f"from dicomweb.index import schema; schema.STEPS += ({steps},); " if steps else ""
        with (self.folder / "log").open("a") as log:
            process = self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", newer + _PROGRAM, *self._arguments],
                cwd=self.folder,
                env=environment(**self._env),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert process.stdout is not None
        if not any(line.startswith("Ctrl-C") for line in process.stdout):
            process.wait()
            raise AssertionError(f"it did not start: {self.said()}")
        threading.Thread(target=process.stdout.read, daemon=True).start()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; return the exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(60)

    def discard(self) -> None:
        """End it, however it is."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def said(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text()


class Replicas:
    """The service.

    Args:
        folder: for data and logs.
        env: what all processes are set to beside back ends.
        webs, bridges: how many.

    Attributes:
        webs, bridges: the processes.
        web, bridge: ports of the balancers before them, for HTTP and DIMSE.
        settings: back ends, as a command needs them.
    """

    def __init__(self, folder: Path, back_ends: dict[str, str], webs: int, bridges: int, seed: object) -> None:
        http, dimse, face = (free_ports(count) for count in (webs, bridges, bridges))
        self._balancers = [
            Balancer(ports, f"{seed} {name}") for name, ports in (("w", http), ("d", dimse), ("f", face))
        ]
        self.web, self.bridge, faces = (balancer.port for balancer in self._balancers)
        self.settings = {"ROENTGATE_PUBLIC_URL": PUBLIC, "ROENTGATE_BRIDGE_TOKEN": TOKEN, **back_ends}
        self.webs = [
            Replica(
                folder / f"web-{number}",
                port,
                ["serve", "--http-port", str(port)],
                {**self.settings, "ROENTGATE_WORKERS": "1", "ROENTGATE_BRIDGE_URL": f"http://127.0.0.1:{faces}"},
            )
            for number, port in enumerate(http)
        ]
        self.bridges = [
            Replica(
                folder / f"bridge-{number}",
                port,
                ["bridge", "--dicomweb", f"http://127.0.0.1:{self.web}/dicom-web", "--dimse-port", str(port)],
                {**self.settings, "ROENTGATE_BRIDGE_URL": f"http://127.0.0.1:{own}"},
            )
            for number, (port, own) in enumerate(zip(dimse, face, strict=True))
        ]

    def start(self) -> None:
        """Start all, at once, as a cluster does."""
        starters = [threading.Thread(target=each.start) for each in (*self.webs, *self.bridges)]
        for each in starters:
            each.start()
        for each in starters:
            each.join()

    def close(self) -> None:
        """End all."""
        for each in (*self.bridges, *self.webs):
            each.discard()
        for balancer in self._balancers:
            balancer.close()

    def said(self) -> str:
        """What all have logged."""
        return "\n".join(f"{each.folder.name}: {each.said()}" for each in (*self.webs, *self.bridges))


@contextlib.contextmanager
def back_ends(folder: Path) -> Iterator[dict[str, str]]:
    """The settings of an empty PostgreSQL database and an empty bucket, which are there while the context lasts."""
    with contextlib.ExitStack() as stack:
        database = postgresql.new_database()
        stack.callback(postgresql.drop_database, database)
        real = s3servers.weed_binary() is not None
        service = stack.enter_context(s3servers.weed(folder) if real else s3servers.moto())
        yield {
            "ROENTGATE_INDEX": database,
            "ROENTGATE_STORAGE": f"s3://{service.bucket}/archive",
            "ROENTGATE_S3_ENDPOINT": service.endpoint,
            "ROENTGATE_S3_REGION": service.region,
            "AWS_ACCESS_KEY_ID": service.key,
            "AWS_SECRET_ACCESS_KEY": service.secret,
        }


@contextlib.contextmanager
def replicated(folder: Path, *, webs: int = 2, bridges: int = 2, seed: object = 0, **env: str) -> Iterator[Replicas]:
    """Run the service while the context lasts."""
    place = folder / "s3"
    place.mkdir()
    with back_ends(place) as settings:
        made = Replicas(folder, {**settings, **env}, webs, bridges, seed)
        try:
            made.start()
            yield made
        finally:
            made.close()
