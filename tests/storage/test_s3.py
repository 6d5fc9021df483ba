"""S3 services that fail: what then holds, and for how long it can take."""

import functools
import hashlib
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
import s3servers
from counting import calls_of
from faultys3 import BUCKET, Faulty

from dicomweb.errors import AlreadyStored, BadSetting, Error, NotFound, OutOfSpace, Unavailable
from dicomweb.storage import Body, Put, open_storage
from dicomweb.storage.patience import Patience
from dicomweb.storage.s3 import S3

TEXT = b"The quick brown fox jumps over the lazy dog." * 100
BOUND = 6.0
"""Seconds within which an operation of `opened` ends, whatever the service does."""


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with Faulty().running() as service:
        yield service


@pytest.fixture
def pauses() -> list[float]:
    """The pauses that were made, or would have been."""
    return []


@pytest.fixture
def opened(faulty: Faulty, pauses: list[float]) -> Iterator[S3]:
    storage = open_on(faulty.url, pauses)
    yield storage
    faulty.released.set()
    storage.close()


@pytest.fixture
def hasty(faulty: Faulty) -> Iterator[S3]:
    """As `ready`, and answers are not waited for long."""
    storage = open_on(faulty.url, seconds=0.2)
    storage.check()
    faulty.requests.clear()
    yield storage
    faulty.released.set()
    storage.close()


def open_on(
    url: str, pauses: list[float] | None = None, part: int = 64 << 20, attempts: int = 4, seconds: float = 10.0
) -> S3:
    sleep = ([] if pauses is None else pauses).append
    patience = Patience(
        connect=max(seconds, 1.0), read=seconds, deadline=5 * seconds, pause=0.1, attempts=attempts, sleep=sleep
    )
    with s3servers.Service(url, "key", "secret", BUCKET).credentials():
        return S3(BUCKET, endpoint=url, region="us-east-1", part=part, patience=patience)


@pytest.fixture
def ready(opened: S3, faulty: Faulty) -> S3:
    """Opened, and what the service offers is known."""
    opened.check()
    faulty.objects.clear()
    faulty.requests.clear()
    faulty.headers.clear()
    return opened


def put_of(body: Body = TEXT, key: str = "objects/one") -> Put:
    content = body.read_bytes() if isinstance(body, Path) else bytes(body)
    return Put(key, body, hashlib.sha256(content).digest())


def hold(faulty: Faulty, body: bytes = TEXT) -> None:
    faulty.objects["objects/one"] = (body, {"x-amz-meta-sha256": hashlib.sha256(body).hexdigest()})


USES: list[Callable[[S3], Any]] = [
    lambda s3: s3.read("objects/one"),
    lambda s3: s3.read("objects/one", 3, 9),
    lambda s3: list(s3.stream("objects/one", chunk=1000)),
    lambda s3: s3.size("objects/one"),
    lambda s3: s3.delete("objects/one"),
    lambda s3: list(s3.list("objects/")),
    lambda s3: s3.sweep(),
    lambda s3: s3.check(),
    lambda s3: raise_from(s3.put([put_of()])),
]


def raise_from(results: list[Exception | None]) -> None:
    if results[0] is not None:
        raise results[0]


@pytest.mark.parametrize("fault", ["500", "503", "429", "409", "drop"])
def test_a_fault_that_passes_is_not_seen(ready: S3, faulty: Faulty, pauses: list[float], fault: str) -> None:
    faulty.faults.extend([fault] * 3)
    assert ready.put([put_of()]) == [None]
    assert faulty.objects["objects/one"][0] == TEXT
    faulty.faults.extend([fault] * 3)
    assert ready.read("objects/one") == TEXT
    assert [pause > 0 for pause in pauses] == [True] * 6
    assert pauses[0] < pauses[2]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("fault", ["503", "drop", "403", "404 bucket", "hang"])
def test_a_fault_that_lasts_is_unavailable_in_bounded_time(
    hasty: S3, faulty: Faulty, fault: str, use: Callable[[S3], Any]
) -> None:
    hold(faulty)
    faulty.faults.extend([fault] * 50)
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        use(hasty)
    assert time.monotonic() - began < BOUND
    assert len(faulty.requests) <= 5
    assert str(caught.value).endswith(".")
    assert not any(word in str(caught.value) for word in [BUCKET, "objects", "secret", "127.0.0.1"])


def test_a_refusal_is_not_tried_again(ready: S3, faulty: Faulty) -> None:
    faulty.faults.extend(["403"] * 9)
    (result,) = ready.put([put_of()])
    assert str(result) == "The object store refuses access to the bucket: AccessDenied."
    assert len(faulty.requests) == 1


def test_a_full_service_is_out_of_space_and_not_tried_again(ready: S3, faulty: Faulty) -> None:
    faulty.faults.extend(["507"] * 9)
    (result,) = ready.put([put_of()])
    assert isinstance(result, OutOfSpace)
    assert len(faulty.requests) == 1
    with pytest.raises(OutOfSpace, match="no room left"):
        ready.check()


def test_a_service_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    storage = open_on(f"http://127.0.0.1:{port}")
    for use in USES:
        with pytest.raises(Unavailable, match=r"^The object store cannot be reached\.$"):
            use(storage)
    storage.close()


def test_a_service_that_comes_later_needs_no_new_start(faulty: Faulty, opened: S3) -> None:
    faulty.faults.extend(["500"] * 4)
    assert isinstance(opened.put([put_of()])[0], Unavailable)
    assert opened.put([put_of()]) == [None]


def test_a_request_that_hangs_holds_up_no_other(hasty: S3, faulty: Faulty) -> None:
    hold(faulty)
    faulty.faults.extend(["hang"])
    with ThreadPoolExecutor(1) as other:
        slow = other.submit(hasty.read, "objects/one")
        assert faulty.hanging.acquire(timeout=5)
        assert [hasty.read("objects/one", n, n + 1) for n in range(5)] == [TEXT[n : n + 1] for n in range(5)]
        assert slow.result(BOUND) == TEXT


def test_a_write_whose_answer_was_lost_is_a_success(ready: S3, faulty: Faulty) -> None:
    faulty.faults.append("lost")
    assert ready.put([put_of()]) == [None]
    assert faulty.objects["objects/one"][0] == TEXT
    assert [request.split()[0] for request in faulty.requests] == ["PUT", "PUT", "HEAD"]


@pytest.mark.parametrize("other", [b"shorter", TEXT[::-1]])
def test_the_object_of_another_is_not_taken_for_ours(ready: S3, faulty: Faulty, other: bytes) -> None:
    hold(faulty, other)
    faulty.faults.append("drop")
    assert isinstance(ready.put([put_of()])[0], AlreadyStored)
    assert faulty.objects["objects/one"][0] == other


def test_what_was_there_before_is_not_taken_for_ours(ready: S3, faulty: Faulty) -> None:
    hold(faulty)
    assert isinstance(ready.put([put_of()])[0], AlreadyStored)
    assert len(faulty.requests) == 1


def test_bytes_are_signed_and_carry_their_digest(ready: S3, faulty: Faulty) -> None:
    assert ready.put([put_of()]) == [None]
    (headers,) = faulty.headers
    assert headers["x-amz-content-sha256"] == headers["x-amz-meta-sha256"] == hashlib.sha256(TEXT).hexdigest()
    assert headers["x-amz-checksum-sha256"].endswith("=")
    assert headers["if-none-match"] == "*"


def test_bytes_that_are_not_those_of_the_digest_are_refused(ready: S3, faulty: Faulty) -> None:
    (result,) = ready.put([Put("objects/one", TEXT, hashlib.sha256(b"what came in").digest())])
    assert isinstance(result, Unavailable)
    assert not faulty.objects


def test_what_is_too_long_for_one_piece_is_sent_from_its_file_once_there_is_leave(
    ready: S3, faulty: Faulty, large: Path
) -> None:
    assert ready.put([put_of(large)]) == [None]
    assert faulty.objects["objects/one"][0] == large.read_bytes()
    (headers,) = faulty.headers
    assert headers["expect"] == "100-continue"
    assert headers["x-amz-content-sha256"] == hashlib.sha256(large.read_bytes()).hexdigest()


def test_a_bucket_of_another_region_is_found_there(ready: S3, faulty: Faulty) -> None:
    faulty.faults.extend(["301", "301"])
    assert ready.put([put_of()]) == [None]
    assert faulty.objects["objects/one"][0] == TEXT
    faulty.faults.extend(["301", "301"])
    assert ready.read("objects/one", 5, 3000) == TEXT[5:3000]
    assert "/eu-central-1/s3/" in faulty.headers[-1]["authorization"]


def test_a_write_and_a_read_are_one_request_and_few_calls(ready: S3, faulty: Faulty) -> None:
    counts = []
    for use in (lambda n: ready.put([put_of(key=f"objects/{n}")]), lambda n: ready.read(f"objects/{n}", 7, 1000)):
        use(0)
        faulty.requests.clear()
        counts.append(calls_of(functools.partial(use, 0 if counts else 1)))
        assert len(faulty.requests) == 1
    assert max(counts) <= 2200


@pytest.mark.parametrize("conditional", [False, None])
def test_without_conditional_writes_a_taken_key_is_seen_before(
    opened: S3, faulty: Faulty, conditional: bool | None
) -> None:
    faulty.conditional = conditional
    assert opened.put([put_of()]) == [None]
    assert "if-none-match" not in faulty.headers[-1]
    assert isinstance(opened.put([put_of(b"other")])[0], AlreadyStored)
    assert faulty.objects["objects/one"][0] == TEXT


def test_without_checksums_objects_are_stored_all_the_same(opened: S3, faulty: Faulty) -> None:
    faulty.checksums = False
    assert opened.put([put_of()]) == [None]
    assert opened.put([put_of(key="objects/two")]) == [None]
    assert "x-amz-checksum-sha256" not in faulty.headers[-1]
    assert faulty.objects["objects/two"][0] == TEXT


def test_what_the_service_offers_is_asked_once_and_leaves_nothing(opened: S3, faulty: Faulty) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = threads.map(lambda n: opened.put([put_of(key=f"objects/{n}")])[0], range(8))
        assert list(results) == [None] * 8
    assert sum("probe" in request for request in faulty.requests) == 3
    assert sorted(faulty.objects) == [f"objects/{n}" for n in range(8)]


def test_a_body_that_breaks_off_is_read_again(ready: S3, faulty: Faulty) -> None:
    hold(faulty)
    faulty.faults.extend(["short", "short"])
    assert ready.read("objects/one") == TEXT
    faulty.faults.extend(["short"])
    assert ready.read("objects/one", 7, 3000) == TEXT[7:3000]


def test_a_body_that_always_breaks_off_is_never_taken_for_whole(ready: S3, faulty: Faulty) -> None:
    hold(faulty)
    faulty.faults.extend(["short"] * 9)
    with pytest.raises(Unavailable, match="broke off"):
        ready.read("objects/one")


def test_a_stream_that_breaks_off_goes_on_where_it_was(ready: S3, faulty: Faulty) -> None:
    hold(faulty)
    faulty.faults.extend(["short"] * 3)
    assert b"".join(ready.stream("objects/one", chunk=100)) == TEXT
    ranges = [headers.get("range", "") for headers in faulty.headers]
    assert ranges == ["", "bytes=2200-", "bytes=3300-", "bytes=3800-"]


def test_a_stream_never_mixes_two_objects(ready: S3, faulty: Faulty) -> None:
    hold(faulty)
    faulty.faults.append("short")
    stream = ready.stream("objects/one", chunk=1000)
    assert next(iter(stream)) == TEXT[:1000]
    hold(faulty, TEXT[::-1])
    with pytest.raises(Error):
        list(stream)


def test_a_stream_that_makes_no_headway_ends(ready: S3, faulty: Faulty) -> None:
    hold(faulty)
    faulty.faults.extend(["short"] * 9)
    with pytest.raises(Unavailable, match="broke off"):
        list(ready.stream("objects/one", chunk=4000))


def test_a_body_that_trickles_is_given_up_at_the_deadline(hasty: S3, faulty: Faulty) -> None:
    hold(faulty)
    for use in (lambda: hasty.read("objects/one"), lambda: list(hasty.stream("objects/one"))):
        faulty.faults.append("trickle")
        began = time.monotonic()
        with pytest.raises(Unavailable):
            use()
        assert time.monotonic() - began < BOUND


def test_ranges_that_the_service_ignores_are_cut_here(ready: S3, faulty: Faulty) -> None:
    hold(faulty)
    faulty.faults.extend(["no ranges"] * 3)
    assert ready.read("objects/one", 10, 20) == TEXT[10:20]
    assert ready.read("objects/one", 4000, 9999) == TEXT[4000:]
    assert b"".join(ready.stream("objects/one", 5)) == TEXT[5:]


def test_reads_share_one_connection(ready: S3, faulty: Faulty) -> None:
    hold(faulty, bytes(1 << 20))
    ready.read("objects/one")
    before = faulty.connections
    for n in range(20):
        assert len(ready.read("objects/one", n, n + 300_000)) == 300_000
        assert len(list(ready.stream("objects/one", chunk=1 << 18))) == 4
    assert faulty.connections == before


def test_a_missing_object_is_told_from_a_missing_bucket(ready: S3, faulty: Faulty) -> None:
    with pytest.raises(NotFound):
        ready.size("objects/one")
    faulty.faults.extend(["404 bucket"] * 2)
    with pytest.raises(Unavailable, match="bucket"):
        ready.size("objects/one")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of three parts and a bit, for `in_parts`."""
    path = tmp_path / "large"
    path.write_bytes(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(100_000)))
    return path


@pytest.fixture
def in_parts(faulty: Faulty, pauses: list[float]) -> Iterator[S3]:
    storage = open_on(faulty.url, pauses, part=1_000_000)
    storage.check()
    faulty.objects.clear()
    faulty.requests.clear()
    yield storage
    faulty.released.set()
    storage.close()


def test_a_part_that_fails_is_sent_again_alone(in_parts: S3, faulty: Faulty, large: Path) -> None:
    faulty.faults.extend(["", "", "500", "503"])
    assert in_parts.put([put_of(large)]) == [None]
    assert faulty.objects["objects/one"][0] == large.read_bytes()
    assert sum("partNumber" in request for request in faulty.requests) == 4 + 2


@pytest.mark.parametrize("fault", ["500", "403", "507", "drop"])
def test_an_upload_that_fails_is_taken_back(in_parts: S3, faulty: Faulty, large: Path, fault: str) -> None:
    faulty.faults.extend(["", "", *[fault] * 16])
    (result,) = in_parts.put([put_of(large)])
    assert isinstance(result, OutOfSpace if fault == "507" else Unavailable)
    faulty.faults.clear()
    assert "objects/one" not in faulty.objects
    if fault != "drop":
        assert faulty.requests[-1].startswith("DELETE uploadId=")
    assert large.exists()


def test_a_completion_whose_answer_was_lost_is_a_success(in_parts: S3, faulty: Faulty, large: Path) -> None:
    faulty.faults.extend(["", "", "", "", "", "", "lost"])
    assert in_parts.put([put_of(large)]) == [None]
    assert faulty.objects["objects/one"][0] == large.read_bytes()
    assert faulty.requests[-1] == "HEAD objects/one"


def test_an_object_that_appears_during_the_upload_stays(in_parts: S3, faulty: Faulty, large: Path) -> None:
    faulty.faults.extend(["", "", "", "", "", "", "412"])
    assert isinstance(in_parts.put([put_of(large)])[0], AlreadyStored)
    assert not faulty.uploads


def test_memory_does_not_grow_with_the_object(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(48 << 20)
    with Faulty(keeps=False).running() as faulty:
        storage = open_on(faulty.url, part=12 << 20)
        storage.check()
        tracemalloc.start()
        try:
            assert storage.put([Put("objects/one", path, bytes(32))]) == [None]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        storage.close()
    assert peak < 12 << 20


def test_a_service_that_stops_reading_is_given_up(faulty: Faulty, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(16 << 20)
    storage = open_on(faulty.url, attempts=2, seconds=0.2)
    storage.check()
    faulty.faults.extend(["hang"] * 9)
    began = time.monotonic()
    (result,) = storage.put([Put("objects/one", path, bytes(32))])
    assert isinstance(result, Unavailable)
    assert time.monotonic() - began < BOUND
    faulty.released.set()
    storage.close()


def test_uploads_begun_long_ago_are_swept_away(moto_service: s3servers.Service) -> None:
    # moto says of every upload that it began in 2010.
    with moto_service.credentials():
        storage = S3(moto_service.bucket, "swept", endpoint=moto_service.endpoint, region="us-east-1")
        client = boto3.session.Session().client("s3", endpoint_url=moto_service.endpoint, region_name="us-east-1")
    for key in ["swept/objects/one", "swept/objects/two", "other/objects/one"]:
        client.create_multipart_upload(Bucket=moto_service.bucket, Key=key)
    storage.sweep()
    left = client.list_multipart_uploads(Bucket=moto_service.bucket).get("Uploads", [])
    assert [upload["Key"] for upload in left] == ["other/objects/one"]
    client.close()
    storage.close()


def test_without_credentials_the_sentence_says_so(faulty: Faulty, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, s3servers.Service("", "", "", BUCKET).credentials():
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, str(tmp_path / "none"))
        storage = S3(BUCKET, endpoint=faulty.url, region="us-east-1")
        with pytest.raises(Unavailable, match=r"^There are no credentials for the object store\.$"):
            storage.check()
        storage.close()


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("s3://", None),
        ("s3:///x", None),
        ("s3://a b/x", None),
        ("s3://archive/../x", None),
        ("s3://archive", "no"),
    ],
)
def test_settings_that_cannot_be_are_refused(url: str, endpoint: str | None) -> None:
    with pytest.raises(BadSetting, match=r"^storage: "):
        open_storage(url, s3_endpoint=endpoint, s3_region="us-east-1")


def test_the_service_named_in_the_environment_can_be_reached(named_service: s3servers.Service) -> None:
    with named_service.credentials():
        storage = open_storage(
            f"s3://{named_service.bucket}/{named_service.prefix}",
            s3_endpoint=named_service.endpoint,
            s3_region=named_service.region,
        )
    storage.check()
    storage.close()


def test_a_prefix_keeps_archives_in_one_bucket_apart(moto_service: s3servers.Service) -> None:
    with moto_service.credentials():
        one, two = (
            open_storage(
                f"s3://{moto_service.bucket}/{prefix}",
                s3_endpoint=moto_service.endpoint,
                s3_region="us-east-1",
            )
            for prefix in ("apart/one", "apart/one2/")
        )
    assert one.put([put_of()]) == [None]
    assert list(two.list()) == []
    assert two.put([put_of(b"other")]) == [None]
    assert one.read("objects/one") == TEXT
    assert [stored.key for stored in one.list()] == [stored.key for stored in two.list()] == ["objects/one"]
    for storage in (one, two):
        storage.delete("objects/one")
        storage.close()


def test_a_reader_that_takes_its_time_does_not_spend_the_deadline(faulty: Faulty) -> None:
    later = [0.0]
    with s3servers.Service(faulty.url, "key", "secret", BUCKET).credentials():
        patience = Patience(clock=lambda: time.monotonic() + later[0])
        storage = S3(BUCKET, endpoint=faulty.url, region="us-east-1", patience=patience)
    hold(faulty, bytes(300_000))
    pieces = []
    for piece in storage.stream("objects/one", chunk=100_000):
        pieces.append(piece)
        later[0] += 3600
    assert b"".join(pieces) == bytes(300_000)
    storage.close()
