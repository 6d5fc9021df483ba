"""What goes wrong between us and an object store: it refuses, hangs, loses answers, breaks off, drips, gives other
bytes, lets us in no more. In front of a real one (SeaweedFS) where it is installed, else of moto (F8 to F13, F40)."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import commands
import httpx
import numpy as np
import PIL.Image
import postgresql
import pydicom
import pytest
import s3servers
from dicoms import ct
from faultproxy import Proxy, proxy
from programs import SERIES, STUDY, Program, big, bridge, failures, send, uid, until, web

UNAVAILABLE = 0x0110
OUT_OF_RESOURCES = 0xA700
PATIENCE = {"ROENTGATE_S3_READ_SECONDS": "1", "ROENTGATE_S3_CONNECT_SECONDS": "1"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3servers.Service]:
    if s3servers.weed_binary() is None:
        with s3servers.moto() as made:
            yield made
        return
    with s3servers.weed(tmp_path_factory.mktemp("weed")) as made:
        yield made


@pytest.fixture(scope="module")
def proxied(service: s3servers.Service) -> Iterator[Proxy]:
    with proxy(service.endpoint) as made:
        yield made


@pytest.fixture
def store(proxied: Proxy) -> Iterator[Proxy]:
    """The proxy, with which nothing is wrong before and after a test."""
    proxied.requests.clear()
    yield proxied
    proxied.mend()


def settings(service: s3servers.Service, endpoint: str, folder: Path) -> dict[str, str]:
    return {
        "ROENTGATE_STORAGE": f"s3://{service.bucket}/{folder.name}",
        "ROENTGATE_S3_ENDPOINT": endpoint,
        "ROENTGATE_S3_REGION": service.region,
        "AWS_ACCESS_KEY_ID": service.key,
        "AWS_SECRET_ACCESS_KEY": service.secret,
        "AWS_EC2_METADATA_DISABLED": "true",
        **PATIENCE,
    }


@dataclass
class Place:
    """A server on the store: its process, its folder, its settings."""

    server: Program
    folder: Path
    env: dict[str, str]

    def verify(self) -> None:
        """Assert that every object is there as it was stored, and none that no row tells of."""
        commands.run(self.folder, "verify", **self.env)


@pytest.fixture(scope="module")
def place(service: s3servers.Service, proxied: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server that all tests share, each with objects of its own; 1 and 9 are stored."""
    folder = tmp_path_factory.mktemp("place")
    env = settings(service, proxied.url, folder)
    with web(folder, **env) as made:
        assert made.stow(ct(1), big(9, 3000)).status_code == 200
        yield Place(made, folder, env)


@pytest.fixture
def server(place: Place, store: Proxy) -> Program:
    return place.server


def put_keys(store: Proxy) -> set[str]:
    return {path for method, path, _ in store.requests if method == "PUT" and "/objects/" in path}


def test_bursts_of_refusals_are_outlived(server: Program, store: Proxy) -> None:
    for number, fault in ((20, "500"), (21, "503")):
        store.suffer(fault, count=2)
        assert server.stow(ct(number)).status_code == 200
        store.suffer(fault, count=2)
        assert server.read(1).content == ct(1)
        assert store.suffered(fault) == 4


@pytest.mark.long
def test_a_store_that_goes_on_refusing_is_told_as_such_and_nothing_is_half(
    place: Place, server: Program, store: Proxy, tmp_path: Path
) -> None:
    objects = ct(31), ct(32)
    store.suffer("503")
    answer = server.stow(*objects)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert failures(answer) == [UNAVAILABLE] * 2
    assert not {uid(31), uid(32)} & server.found()
    assert server.read(1).status_code == 503
    with bridge(tmp_path, server.port) as dimse:
        assert send(dimse.port, ct(31)) == [OUT_OF_RESOURCES]
        store.mend()
        assert send(dimse.port, ct(31)) == [0]
    assert server.stow(*objects).status_code == 200
    assert {uid(31), uid(32)} <= server.found()
    place.verify()


@pytest.mark.long
def test_others_are_served_while_the_store_hangs(server: Program, store: Proxy) -> None:
    """More requests hang than there are threads for what asks the store: searches, metadata and health go on."""
    store.suffer("hang")
    limits = httpx.Limits(max_connections=60)
    with ThreadPoolExecutor(60) as pool, httpx.Client(timeout=120, limits=limits) as client:
        path = f"{server.root}/studies/{STUDY}/series/{SERIES}/instances/{uid(1)}"
        accept = {"Accept": "application/dicom; transfer-syntax=*"}
        reads = [pool.submit(client.get, path, headers=accept) for _ in range(50)]
        until(lambda: store.hanging >= 40, "they do not hang")
        assert {uid(1), uid(9)} <= server.found()
        assert not all(each.done() for each in reads), "the search waited for those that hang"
        assert server.ask(f"/dicom-web/studies/{STUDY}/metadata").status_code == 200
        assert server.ask("/health/live").status_code == 200
        assert server.ask("/health/ready").status_code == 503
        assert {each.result().status_code for each in reads} == {503}
    store.mend()
    until(server.ready, "it is not ready again")
    assert server.read(1).content == ct(1)


def test_an_answer_that_is_lost_after_the_object_was_written_is_a_success(
    place: Place, server: Program, store: Proxy
) -> None:
    store.suffer("lost", "PUT", count=1, of="/objects/")
    assert server.stow(ct(41)).status_code == 200
    assert store.suffered("lost") == 1
    assert len(put_keys(store)) == 1, "the second attempt had another key"
    assert server.read(41).content == ct(41)
    assert server.stow(ct(41)).status_code == 200
    place.verify()


def test_a_body_that_is_reset_is_asked_for_again(server: Program, store: Proxy) -> None:
    for number, data in ((1, ct(1)), (9, big(9, 3000))):
        store.suffer("reset", "GET", count=1, of="/objects/")
        assert server.read(number).content == data
    assert store.suffered("reset") == 2
    store.suffer("reset", "GET")
    assert server.read(1).status_code == 503


@pytest.mark.long
def test_a_store_that_drips_takes_nobody_elses_threads(server: Program, store: Proxy) -> None:
    store.suffer("slow", "GET", of="/objects/")
    limits = httpx.Limits(max_connections=60)
    with ThreadPoolExecutor(60) as pool, httpx.Client(timeout=120, limits=limits) as client:
        path = f"{server.root}/studies/{STUDY}/series/{SERIES}/instances/{uid(9)}"
        accept = {"Accept": "application/dicom; transfer-syntax=*"}
        reads = [pool.submit(client.get, path, headers=accept) for _ in range(50)]
        until(lambda: store.suffered("slow") >= 40 or any(each.done() for each in reads), "nobody reads")
        assert store.suffered("slow") >= 40, [each.result().text for each in reads if each.done()]
        assert {uid(1), uid(9)} <= server.found()
        assert server.ask(f"/dicom-web/studies/{STUDY}/metadata").status_code == 200
        store.mend()
        assert all(each.result().content == big(9, 3000) or each.result().status_code == 503 for each in reads)


def test_other_bytes_than_were_stored_never_look_whole_and_are_not_kept(
    place: Place, server: Program, store: Proxy
) -> None:
    store.suffer("wrong", "GET", of="/objects/")
    answer = server.read(1)
    assert answer.status_code == 500
    assert "stored bytes" in answer.json()["detail"]
    with pytest.raises(httpx.RemoteProtocolError):
        server.read(9)
    assert {uid(1), uid(9)} <= server.found()
    assert "other bytes came" in server.said()
    done = commands.run(place.folder, "verify", status=None, **place.env)
    assert done.returncode == 1
    assert "not those that were stored" in done.stdout + done.stderr
    store.mend()
    assert server.read(1).content == ct(1)
    assert server.read(9).content == big(9, 3000)


def test_nothing_is_made_or_sent_of_frames_that_came_wrong(server: Program, store: Proxy) -> None:
    """And so nothing wrong is kept: what is asked for again is what was stored."""
    instance = f"/dicom-web/studies/{STUDY}/series/{SERIES}/instances/{uid(1)}"
    jls = 'multipart/related; type="image/jls"'
    asked = [
        (f"{instance}/rendered", "image/png"),
        (f"{instance}/thumbnail", "image/jpeg"),
        (f"{instance}/frames/1", jls),
        (f"{instance}/frames/1", "multipart/related; type=application/octet-stream"),
    ]
    store.suffer("wrong", "GET", of="/objects/")
    statuses = [server.ask(path, headers={"Accept": accept}).status_code for path, accept in asked]
    assert statuses == [500] * 4
    assert store.suffered("wrong") == 4
    store.mend()
    answers = [server.ask(path, headers={"Accept": accept}) for path, accept in asked]
    assert [answer.status_code for answer in answers] == [200] * 4
    pixels = pydicom.dcmread(io.BytesIO(ct(1))).PixelData
    assert pixels in answers[3].content
    picture = np.asarray(PIL.Image.open(io.BytesIO(answers[0].content)))
    assert picture.shape == (8, 8)


def test_a_key_that_is_refused_makes_not_ready_and_ends_nothing(place: Place, server: Program, store: Proxy) -> None:
    store.suffer("403", "PUT DELETE POST")
    answer = server.stow(ct(51))
    assert answer.status_code == 503
    assert failures(answer) == [UNAVAILABLE]
    assert server.read(1).content == ct(1)
    until(lambda: not server.ready(), "it says that it is ready")
    assert "storage" in server.ask("/health/ready").json()["detail"]
    assert "refuses access to the bucket: AccessDenied" in server.said()
    store.mend()
    until(server.ready, "it is not ready again")
    assert server.stow(ct(51)).status_code == 200


def test_a_server_waits_for_a_store_that_is_away_at_its_start(
    service: s3servers.Service, tmp_path: Path, store: Proxy
) -> None:
    env = settings(service, store.url, tmp_path)
    store.suffer("403")
    with web(tmp_path, **env) as server:
        assert server.ask("/health/live").status_code == 200
        assert not server.ready()
        answer = server.stow(ct(1))
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        store.mend()
        until(server.ready, "it does not become ready")
        assert server.stow(ct(1)).status_code == 200
        assert server.read(1).content == ct(1)


@pytest.mark.long
def test_a_name_that_cannot_be_resolved_is_told_and_waited_for(service: s3servers.Service, tmp_path: Path) -> None:
    env = settings(service, "http://nowhere.invalid:8333", tmp_path)
    with web(tmp_path, **env) as server:
        assert server.ask("/health/live").status_code == 200
        assert server.ask("/health/ready").status_code == 503
        assert server.stow(ct(1)).status_code == 503
        assert "object store cannot be reached" in server.said()
        assert "Traceback" not in server.said()


@pytest.mark.long
def test_the_same_study_at_two_replicas_at_once_is_there_once(service: s3servers.Service, tmp_path: Path) -> None:
    database = postgresql.new_database()
    objects = [ct(number) for number in range(1, 31)]
    plain = settings(service, service.endpoint, tmp_path)
    env = {name: text for name, text in plain.items() if name not in PATIENCE}
    try:
        env |= {"ROENTGATE_INDEX": database, "ROENTGATE_WORKERS": "1"}
        with web(tmp_path / "one", **env) as one, web(tmp_path / "two", **env) as two, ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(each.stow, *order) for each in (one, two) for order in (objects, objects[::-1])]
            assert [failures(each.result()) for each in answers] == [[]] * 4
            assert one.found() == two.found() == {uid(number) for number in range(1, 31)}
            commands.run(tmp_path, "verify", **env)
    finally:
        postgresql.drop_database(database)
