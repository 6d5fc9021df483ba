"""The whole server as processes, on every pairing of storage and index: what goes in comes out, replicas agree."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import commands
import dicoms
import httpx
import postgresql
import pytest
import s3servers

from dicomweb.standard import multipart

STUDY = f"{dicoms.PREFIX}.1"
PART10 = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
FRAMES = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}


@contextlib.contextmanager
def served(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """A server process; gives the address of its DICOMweb services."""
    folder.mkdir(exist_ok=True)
    with commands.served(folder, **environment) as server:
        yield f"http://127.0.0.1:{server.port}/dicom-web"


def stow(root: str, objects: list[bytes]) -> httpx.Response:
    body = multipart.write("b", [("application/dicom", data) for data in objects])
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    return httpx.post(f"{root}/studies", content=body, headers={"Content-Type": kind}, timeout=30)


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    if request.param == "file":
        yield {"ROENTGATE_STORAGE": f"file:{tmp_path / 'objects'}"}
        return
    with s3servers.moto() as service:
        yield {
            "ROENTGATE_STORAGE": f"s3://{service.bucket}/archive",
            "ROENTGATE_S3_ENDPOINT": service.endpoint,
            "ROENTGATE_S3_REGION": service.region,
            "AWS_ACCESS_KEY_ID": service.key,
            "AWS_SECRET_ACCESS_KEY": service.secret,
        }


@pytest.fixture(params=["sqlite", "postgresql"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    if request.param == "sqlite":
        yield {"ROENTGATE_INDEX": f"sqlite:{tmp_path / 'index.sqlite'}"}
        return
    database = postgresql.new_database()
    yield {"ROENTGATE_INDEX": database}
    postgresql.drop_database(database)


def test_two_servers_on_the_same_back_ends_give_the_same_answers(
    tmp_path: Path, storage: dict[str, str], index: dict[str, str]
) -> None:
    environment = {
        "ROENTGATE_PUBLIC_URL": "https://pacs.example",  # as behind one ingress: the same bytes from each
        **storage,
        **index,
    }
    objects = [dicoms.ct(number) for number in range(1, 6)]
    with served(tmp_path / "one", environment) as one, served(tmp_path / "two", environment) as two:
        assert stow(one, objects[:3]).status_code == 200
        assert stow(two, objects[2:]).status_code == 200
        series = f"studies/{STUDY}/series/{STUDY}.1"
        answers = []
        for root in (one, two):
            found = httpx.get(f"{root}/{series}/instances").json()
            assert [row["00200013"]["Value"] for row in found] == [[number] for number in range(1, 6)]
            metadata = httpx.get(f"{root}/{series}/metadata").content
            whole = httpx.get(f"{root}/studies/{STUDY}", headers=PART10).content
            assert all(data in whole for data in objects)
            frame = httpx.get(f"{root}/{series}/instances/{STUDY}.1.4/frames/1", headers=FRAMES)
            assert dicoms.dataset(4).PixelData in frame.content
            answers.append((metadata, frame.headers["etag"], frame.content))
        assert answers[0] == answers[1]
        assert httpx.delete(f"{two}/{series}/instances/{STUDY}.1.4").status_code == 204
        assert httpx.get(f"{one}/{series}/instances/{STUDY}.1.4/frames/1").status_code == 410
        assert len(httpx.get(f"{one}/{series}/instances").json()) == 4
        assert stow(one, objects[3:4]).status_code == 200
        assert len(httpx.get(f"{two}/{series}/instances").json()) == 5


def test_several_workers_answer_as_one(tmp_path: Path) -> None:
    with served(tmp_path / "one", {"ROENTGATE_WORKERS": "3"}) as root:
        for number in range(1, 13):
            assert stow(root, [dicoms.ct(number)]).status_code == 200
            with httpx.Client() as client:  # another connection, so perhaps another worker
                assert len(client.get(f"{root}/instances").json()) == number
