"""A server process as a hospital runs one, to be attacked over sockets: access control, an issuer of tokens, keys of
all kinds, two studies of which some may know of one only, and a log of every word.

It listens on loopback under a name of which nobody can tell that it is, so that it trusts nobody for being near.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import commands
import dicoms
import httpx
from issuing import AUDIENCE, Issuing, issuing
from known import OURS, THEIRS, uid

from dicomweb.access import keys
from dicomweb.access.keys import Key
from dicomweb.access.rights import ROLES, Scope
from dicomweb.archive.archive import open_archive
from dicomweb.config import Config

HOST = "127.1"
TOKEN = "BRIDGETOKEN-0123456789abcdef"
VIEWER = "https://viewer.example"
FAILURES = 10
"""Wrong keys from one address, after which it is not listened to."""
NODES = "".join(f'[nodes.{name}]\nhost = "127.0.0.1"\nport = 1\n' for name in ("NEAR", "FAR"))
DICOM = {"content-type": "application/dicom"}

WHO: dict[str, dict[str, Any]] = {
    **{role: {"roles": [role]} for role in ROLES},
    "narrow": {"roles": ROLES, "scope": Scope(studies=frozenset([uid(OURS)]))},
    "patient": {"roles": ROLES, "scope": Scope(patients=frozenset([(f"P{OURS}", "")]))},
    "near": {"roles": ("read", "write", "admin"), "nodes": frozenset(["NEAR"])},
    "late": {"roles": ("read",)},
    "ended": {"roles": ROLES, "expires": 1.0},
}
"""Keys by the names of who has them."""


@dataclass
class Besieged:
    """The server.

    Attributes:
        folder: in which it runs.
        port: where it listens.
        issuer: whose tokens it takes.
        keys: by name.
        process: its process.
    """

    folder: Path
    port: int
    issuer: Issuing
    keys: dict[str, str]
    process: commands.Served

    def who(self, name: str) -> dict[str, str]:
        """The header field that shows a key."""
        return {"authorization": f"Bearer {self.keys[name]}"}

    def client(self, name: str = "", last: int = 1) -> httpx.Client:
        """A client that shows a key, or none, from an address of loopback that ends in this number."""
        transport = httpx.HTTPTransport(local_address=f"127.0.0.{last}")
        headers = self.who(name) if name else {}
        return httpx.Client(base_url=self.root, transport=transport, headers=headers, timeout=60)

    @property
    def root(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def say(self, request: bytes, last: int = 1) -> bytes:
        """Send these very bytes; return all that comes until the connection ends, or everything there is to say."""
        with socket.create_connection(("127.0.0.1", self.port), 30, (f"127.0.0.{last}", 0)) as connection:
            connection.sendall(request)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            said = b""
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(65536):
                    said += piece
        return said

    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text()

    def trail(self) -> list[dict[str, Any]]:
        """What was recorded so far."""
        files = sorted((self.folder / "data" / "audit").iterdir())
        return [json.loads(line) for path in files for line in path.read_bytes().splitlines()]


def seed(data: Path) -> dict[str, str]:
    """Put the keys into the index of a server that has not started yet; return their texts."""
    archive = open_archive(Config(data=data))
    texts = {}
    for name, given in WHO.items():
        texts[name] = keys.new_text()
        more = {"scope": None, "nodes": None, "created": time.time(), **given, "roles": frozenset(given["roles"])}
        archive.index.keys.add(
            Key(id=keys.id_of(texts[name]) or "", digest=keys.digest_of(texts[name]), name=name, **more)
        )
    archive.close()
    return texts


@contextlib.contextmanager
def besieged(folder: Path, **more: str) -> Iterator[Besieged]:
    """Run it while the context lasts."""
    data = folder / "data"
    data.mkdir()
    (data / "nodes.toml").write_text(NODES)
    settings = folder / "roentgate.toml"
    settings.write_text(f'bridge_token = "{TOKEN}"\n')
    settings.chmod(0o644)
    texts = seed(data)
    with issuing() as issuer:
        env = {
            "ROENTGATE_ACCESS": "true",
            "ROENTGATE_HTTP_HOST": HOST,
            "ROENTGATE_ACCESS_FAILURES": str(FAILURES),
            "ROENTGATE_ACCESS_REMEMBER_SECONDS": "0",
            "ROENTGATE_OIDC_ISSUER": issuer.url,
            "ROENTGATE_OIDC_AUDIENCE": AUDIENCE,
            "ROENTGATE_OIDC_CLIENT_ID": "we",
            "ROENTGATE_OIDC_STUDIES_CLAIM": "studies",
            "ROENTGATE_CORS_ORIGINS": VIEWER,
            "ROENTGATE_AUDIT_SYNC": "always",
            "ROENTGATE_LOG_LEVEL": "debug",
            "ROENTGATE_LOG_REQUESTS": "true",
            **more,
        }
        with commands.served(folder, log=folder / "log", **env) as process:
            made = Besieged(folder, process.port, issuer, texts, process)
            with made.client("write") as writer:
                for study in (OURS, THEIRS):
                    assert writer.post("/dicom-web/studies", content=dicoms.ct(study=study), headers=DICOM).is_success
            yield made
