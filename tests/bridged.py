"""A whole application with a bridge in front of it, both on free ports of loopback, and what asks them."""

import contextlib
import dataclasses
import io
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from served import Served
from servers import running

from bridge.association import Limits
from bridge.policy import Rules
from bridge.server import Bridge, Settings

AET = "ROENTGATE"
TOKEN = "a secret of both"


def needs(program: str) -> pytest.MarkDecorator:
    """Skip where one of DCMTK's programs is not installed."""
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"no {program}: apt-get install dcmtk")


@dataclass
class Bridged:
    """The application, the bridge, and the port of the web server."""

    served: Served
    bridge: Bridge
    web_port: int
    folder: Path

    @property
    def port(self) -> int:
        return self.bridge.port

    def associate(self, *abstract: str, syntaxes: Sequence[str] | None = None, **more: Any) -> Association:
        """An association by pynetdicom, which must come about."""
        entity = AE(more.pop("calling", "TESTER"))
        for limit in ("acse_timeout", "dimse_timeout", "network_timeout"):
            setattr(entity, limit, 60)
        for uid in abstract:
            entity.add_requested_context(uid, *([list(syntaxes)] if syntaxes else []))
        association = entity.associate("127.0.0.1", self.port, ae_title=AET, **more)
        assert association.is_established
        return association

    def stored(self, instance: str) -> bytes:
        """The bytes of a stored instance, as they were received."""
        held = self.served.archive.index.present([instance])[instance]
        return self.served.archive.storage.read(held.key)

    def instances(self) -> set[str]:
        """The SOP Instance UIDs of all that is found."""
        return {held.instance for held in self.served.archive.index.walk()}


@contextlib.contextmanager
def bridged(folder: Path, nodes: str = "", web: dict[str, Any] | None = None, **settings: Any) -> Iterator[Bridged]:
    """Run both while the context lasts.

    Args:
        folder: for what is under way.
        nodes: text of `nodes.toml` of the web server.
        web: settings of the web application.
        settings: of the bridge; those of `Rules` and `Limits` among them by their own names.
    """
    served = Served(folder / "web", **{"bridge_token": TOKEN, **(web or {})})
    served.config.data.mkdir(parents=True, exist_ok=True)
    (served.config.data / "nodes.toml").write_text(nodes)
    with (
        running(served.client.app) as server,
        bridge_to(f"http://127.0.0.1:{server.port}/dicom-web", folder, nodes, **settings) as bridge,
    ):
        yield Bridged(served, bridge, server.port, folder)


@contextlib.contextmanager
def bridge_to(url: str, folder: Path, nodes: str = "", **settings: Any) -> Iterator[Bridge]:
    """Run a bridge in front of a DICOMweb server while the context lasts."""
    file = folder / "nodes.toml"
    file.write_text(nodes)
    rules = {each.name: settings.pop(each.name) for each in dataclasses.fields(Rules) if each.name in settings}
    limits = {each.name: settings.pop(each.name) for each in dataclasses.fields(Limits) if each.name in settings}
    bridge = Bridge(
        Settings(
            url, folder / "bridge", nodes_file=file, port=0, rules=Rules(**rules), limits=Limits(**limits),
            **{"graceful_seconds": 5.0, "token": TOKEN, **settings},
        )
    )  # fmt: skip
    try:
        yield bridge
    finally:
        bridge.stop()


def run(*arguments: object, status: int | None = 0, **env: str) -> str:
    """Run one of DCMTK's programs; return what it printed. Without Nagle's delay, which its build has on."""
    import os

    done = subprocess.run(
        [str(each) for each in arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
        env={**os.environ, "TCP_NODELAY": "1", **env},
    )
    assert status is None or done.returncode == status, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def same_data_set(left: bytes, right: bytes) -> None:
    """Assert that two Part 10 files have the same data set, byte for byte or at least value for value."""
    one, other = (pydicom.dcmread(io.BytesIO(each), force=True) for each in (left, right))
    assert one.file_meta.TransferSyntaxUID == other.file_meta.TransferSyntaxUID
    assert Dataset(one) == Dataset(other)


@dataclass
class Receiver:
    """A storage SCP by pynetdicom that keeps what it gets.

    Attributes:
        port: where it listens.
        received: Part 10 files.
        commands: of the C-STORE requests: Move Originator AE title and Message ID.
        statuses: what it answers, one by one; then success.
    """

    port: int = 0
    received: list[bytes] = field(default_factory=list)
    commands: list[tuple[str, int]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def store(self, event: evt.Event) -> int:
        if self.statuses and (status := self.statuses.pop(0)):
            return status
        out = io.BytesIO()
        file = pydicom.dataset.FileDataset(None, event.dataset, file_meta=event.file_meta, preamble=b"\0" * 128)
        file.save_as(out, enforce_file_format=True)
        self.received.append(out.getvalue())
        request = event.request
        self.commands.append((str(request.MoveOriginatorApplicationEntityTitle), request.MoveOriginatorMessageID))
        return 0


@contextlib.contextmanager
def receiving(
    contexts: Sequence[tuple[str, Sequence[str]]], aet: str = "STORESCP", handlers: Sequence[Any] = ()
) -> Iterator[Receiver]:
    """Run a storage SCP that accepts SOP classes in transfer syntaxes."""
    receiver = Receiver()
    entity = AE(aet)
    for abstract, syntaxes in contexts:
        entity.add_supported_context(abstract, list(syntaxes))
    handlers = handlers or [(evt.EVT_C_STORE, receiver.store)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers))
    receiver.port = server.socket.getsockname()[1]
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
