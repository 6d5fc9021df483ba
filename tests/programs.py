"""Roentgate as processes that things go wrong around: what they say goes to a file, and they are asked over HTTP and
DIMSE by clients that never wait for ever."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from commands import dimse_port, http_port, started
from dicoms import CT, PREFIX, ct

from bridge.association import Limits, connect
from bridge.negotiation import Proposed, Request
from dicomweb.errors import PeerLeft, PeerSilent
from dicomweb.standard import multipart
from dicomweb.standard.syntaxes import EXPLICIT

STUDY = f"{PREFIX}.1"
SERIES = f"{STUDY}.1"
SECONDS = 60.0
"""For anything that is waited for."""


def uid(number: int) -> str:
    """SOP Instance UID of `dicoms.ct(number)`."""
    return f"{SERIES}.{number}"


@dataclass
class Program:
    """A process under way.

    Attributes:
        port: of HTTP, or of DIMSE for a bridge.
        log: what it says on standard error.
        client: asks it.
    """

    process: "subprocess.Popen[str]"
    greeting: str
    port: int
    log: Path
    client: httpx.Client

    @property
    def root(self) -> str:
        """Of the DICOMweb services."""
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def said(self) -> str:
        """What it has said on standard error."""
        return self.log.read_text(errors="replace")

    def ask(self, path: str, method: str = "GET", **more: Any) -> httpx.Response:
        """Ask for a path of the server."""
        return self.client.request(method, f"http://127.0.0.1:{self.port}{path}", **more)

    def stow(self, *objects: bytes, client: httpx.Client | None = None) -> httpx.Response:
        """Store objects by one request."""
        body = multipart.write("b", [("application/dicom", data) for data in objects])
        kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
        return (client or self.client).post(f"{self.root}/studies", content=body, headers=kind)

    def found(self) -> set[str]:
        """SOP Instance UIDs of all that is found."""
        answer = self.ask("/dicom-web/instances?limit=10000")
        assert answer.status_code == 200, answer.text
        return {row["00080018"]["Value"][0] for row in answer.json()}

    def read(self, number: int) -> httpx.Response:
        """Retrieve an instance of `dicoms.ct`, as it is stored."""
        path = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{uid(number)}"
        return self.ask(path, headers={"Accept": "application/dicom; transfer-syntax=*"})

    def ready(self) -> bool:
        """Whether it says that it is ready."""
        return self.ask("/health/ready").status_code == 200

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


@contextlib.contextmanager
def program(
    folder: Path,
    *arguments: object,
    through: tuple[object, ...] = (),
    clean: bool = True,
    **env: str,
) -> Iterator[Program]:
    """Run a command that greets, until the context ends.

    Args:
        folder: where it runs.
        arguments: of `roentgate`.
        through: a command in front, such as strace.
        clean: it must end with status 0.
        env: its settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{arguments[0]}.log"
    with (
        started(folder, *arguments, through=[*map(str, through)], log=log, **env) as (process, greeting),
        httpx.Client(timeout=SECONDS) as client,
    ):
        port = dimse_port(greeting) if arguments[0] == "bridge" else http_port(greeting)
        yield Program(process, greeting, port, log, client)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0 or not clean, log.read_text()


def web(folder: Path, **more: Any) -> "contextlib.AbstractContextManager[Program]":
    """`roentgate serve` on a free port; see `program`."""
    return program(folder, "serve", "--http-port", "0", **more)


def bridge(folder: Path, port: int, **more: Any) -> "contextlib.AbstractContextManager[Program]":
    """`roentgate bridge` in front of a web server's port; see `program`."""
    root = f"http://127.0.0.1:{port}/dicom-web"
    return program(folder, "bridge", "--dicomweb", root, "--dimse-port", "0", **more)


def send(port: int, *objects: bytes, seconds: float = SECONDS) -> list[int | None]:
    """Send objects by C-STORE over one association; return their statuses, None where no answer came."""
    asked = Request("MODALITY", "ROENTGATE", (Proposed(1, CT, (EXPLICIT,)),))
    statuses: list[int | None] = []
    try:
        association = connect("127.0.0.1", port, asked, Limits(answer_seconds=seconds))
    except (PeerLeft, PeerSilent):
        return [None] * len(objects)
    try:
        for data in objects:
            start = data.index(b"DICM") + 16 + int.from_bytes(data[140:144], "little")
            place = data.index(b"\x08\x00\x18\x00UI") + 8
            length = int.from_bytes(data[place - 2 : place], "little")
            instance = data[place : place + length].rstrip(b"\0").decode()
            command = {"AffectedSOPClassUID": CT, "CommandField": 1, "Priority": 0, "AffectedSOPInstanceUID": instance}
            statuses.append(association.ask(1, command, data[start:])["Status"])
        association.release()
    except (PeerLeft, PeerSilent):
        statuses += [None] * (len(objects) - len(statuses))
    finally:
        association.close()
    return statuses


def until(condition: Callable[[], bool], why: str, seconds: float = SECONDS) -> None:
    """Ask again and again until it is so; what cannot be asked is not so."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.HTTPError):
            if condition():
                return
        assert time.monotonic() < deadline, why
        pause.wait(0.05)


def failures(answer: httpx.Response) -> list[int]:
    """Failure Reasons of a Store response, also of objects of which nothing is known."""
    told = json.loads(answer.content)
    return [
        item["00081197"]["Value"][0]
        for sequence in ("00081198", "0008119A")
        for item in told.get(sequence, {}).get("Value", [])
    ]


def files(folder: Path) -> list[str]:
    """Names of all files below a folder that are no part of a SQLite database."""
    return sorted(
        os.path.relpath(path, folder) for path in folder.rglob("*") if path.is_file() and "sqlite" not in path.name
    )


def big(number: int, kilobytes: int) -> bytes:
    """An instance of about so many kilobytes."""
    return ct(number, Rows=512, Columns=kilobytes, PixelData=bytes([number, 0]) * (512 * kilobytes))
