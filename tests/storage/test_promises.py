"""What every Storage promises, asked of each back end."""

import hashlib
import itertools
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dicomweb.errors import AlreadyStored, NotFound, Unavailable
from dicomweb.storage import Body, Put, Storage, Stored
from dicomweb.storage.filesystem import Filesystem

TEXT = b"The quick brown fox jumps over the lazy dog."


def put_of(key: str, body: Body) -> Put:
    content = body.read_bytes() if isinstance(body, Path) else bytes(body)
    return Put(key, body, hashlib.sha256(content).digest())


def store(storage: Storage, key: str, body: Body = TEXT) -> None:
    assert storage.put([put_of(key, body)]) == [None]


def test_what_is_put_is_read_back(storage: Storage) -> None:
    store(storage, "objects/ab/cd/one")
    assert storage.read("objects/ab/cd/one") == TEXT
    assert storage.size("objects/ab/cd/one") == len(TEXT)


def test_what_can_be_opened_has_the_bytes_that_are_read(storage: Storage) -> None:
    store(storage, "objects/ab/cd/one")
    if storage.opener is None:
        assert not isinstance(storage, Filesystem)
        return
    handle = storage.opener("objects/ab/cd/one", 3)
    storage.delete("objects/ab/cd/one")
    try:
        assert os.pread(handle, 100, 4) == TEXT[4:]
    finally:
        os.close(handle)
    with pytest.raises(NotFound):
        storage.opener("objects/ab/cd/one", 3)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_a_body_may_be_any_kind_of_bytes(storage: Storage, make: Callable[[bytes], Body], size: int) -> None:
    content = random.Random(size).randbytes(size)
    store(storage, "objects/one", make(content))
    assert storage.read("objects/one") == content


def test_a_slice_of_a_larger_buffer_is_a_body(storage: Storage) -> None:
    store(storage, "objects/one", memoryview(TEXT)[4:9])
    assert storage.read("objects/one") == b"quick"


@pytest.mark.parametrize("size", [0, 5000, 3 << 20])
def test_a_body_may_be_a_file(storage: Storage, tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    (tmp_path / "spooled").write_bytes(content)
    store(storage, "objects/one", tmp_path / "spooled")
    assert storage.read("objects/one") == content
    assert not (tmp_path / "spooled").exists() or (tmp_path / "spooled").read_bytes() == content


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_an_object_of_many_parts_is_read_back(storage: Storage, tmp_path: Path, kind: str) -> None:
    content = random.Random(1).randbytes((11 << 20) + 7)
    body: Body = content
    if kind == "file":
        body = tmp_path / "spooled"
        body.write_bytes(content)
    store(storage, "objects/large", body)
    assert hashlib.sha256(storage.read("objects/large")).digest() == hashlib.sha256(content).digest()
    assert storage.size("objects/large") == len(content)


def test_a_large_object_is_not_written_over(storage: Storage) -> None:
    store(storage, "objects/large", bytes(6 << 20))
    results = storage.put([put_of("objects/large", b"\1" * (6 << 20))])
    assert [type(result) for result in results] == [AlreadyStored]
    assert storage.read("objects/large", stop=10) == bytes(10)


def test_a_file_that_is_not_there_is_not_stored(storage: Storage, tmp_path: Path) -> None:
    results = storage.put([Put("objects/one", tmp_path / "missing", bytes(32)), put_of("objects/two", TEXT)])
    assert [type(result) for result in results] == [Unavailable, type(None)]
    with pytest.raises(NotFound):
        storage.read("objects/one")


def test_a_taken_key_keeps_its_first_object(storage: Storage) -> None:
    store(storage, "objects/one", b"first")
    (result,) = storage.put([put_of("objects/one", b"second")])
    assert isinstance(result, AlreadyStored)
    assert storage.read("objects/one") == b"first"


def test_the_same_bytes_under_a_taken_key_are_reported_too(storage: Storage) -> None:
    store(storage, "objects/one")
    (result,) = storage.put([put_of("objects/one", TEXT)])
    assert isinstance(result, AlreadyStored)


def test_results_come_in_the_order_of_the_objects(storage: Storage) -> None:
    store(storage, "objects/3")
    puts = [put_of(f"objects/{n}", b"%d" % n) for n in range(7)]
    results = storage.put(puts)
    assert [type(result) for result in results] == [type(None)] * 3 + [AlreadyStored] + [type(None)] * 3
    assert [storage.read(f"objects/{n}") for n in range(7)] == [b"0", b"1", b"2", TEXT, b"4", b"5", b"6"]


def test_putting_nothing_is_no_error(storage: Storage) -> None:
    assert storage.put([]) == []


def test_of_two_objects_under_one_key_in_one_call_one_is_stored(storage: Storage) -> None:
    results = storage.put([put_of("objects/one", b"a"), put_of("objects/one", b"b")])
    assert sorted(type(result).__name__ for result in results) == ["AlreadyStored", "NoneType"]
    assert storage.read("objects/one") == (b"a" if results[0] is None else b"b")


def test_of_many_writers_of_one_key_exactly_one_wins(storage: Storage) -> None:
    together = threading.Barrier(8)

    def write(number: int) -> Exception | None:
        together.wait()
        return storage.put([put_of("objects/one", b"%d" % number * 100)])[0]

    for _ in range(3):
        with ThreadPoolExecutor(8) as writers:
            results = list(writers.map(write, range(8)))
        winners = [number for number, result in enumerate(results) if result is None]
        assert len(winners) == 1
        assert all(result is None or isinstance(result, AlreadyStored) for result in results)
        assert storage.read("objects/one") == b"%d" % winners[0] * 100
        storage.delete("objects/one")


def test_readers_beside_a_writer_see_nothing_or_all(storage: Storage) -> None:
    content = random.Random(2).randbytes(2 << 20)
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            try:
                seen.add(hashlib.sha256(storage.read("objects/one")).digest())
            except NotFound:
                seen.add(b"")

    with ThreadPoolExecutor(2) as watchers:
        watching = [watchers.submit(watch) for _ in range(2)]
        try:
            for _ in range(5):
                store(storage, "objects/one", content)
                storage.delete("objects/one")
        finally:
            done.set()
        for each in watching:
            each.result()
    assert seen <= {b"", hashlib.sha256(content).digest()}


RANGES = list(
    itertools.product([0, 1, 5, 43, 44, 45, 100, -1, -3, -44, -99], [None, 0, 1, 5, 43, 44, 45, 99, -1, -44, -50])
)


def test_ranges_are_what_slicing_gives(storage: Storage) -> None:
    store(storage, "objects/one")
    for start, stop in RANGES:
        assert storage.read("objects/one", start, stop) == TEXT[start:stop], (start, stop)
        assert b"".join(storage.stream("objects/one", start, stop, 7)) == TEXT[start:stop], (start, stop)


def test_ranges_of_an_empty_object_are_empty(storage: Storage) -> None:
    store(storage, "objects/none", b"")
    for start, stop in [(0, None), (0, 10), (3, None), (3, 9), (-1, None), (0, 0)]:
        assert storage.read("objects/none", start, stop) == b""
        assert list(storage.stream("objects/none", start, stop)) == []


def test_a_stream_comes_in_pieces_of_at_most_a_chunk(storage: Storage) -> None:
    content = random.Random(3).randbytes(1_000_003)
    store(storage, "objects/one", content)
    pieces = list(storage.stream("objects/one", chunk=300_000))
    assert b"".join(pieces) == content
    assert all(0 < len(piece) <= 300_000 for piece in pieces)


def test_a_stream_opens_the_object_with_its_first_piece(storage: Storage) -> None:
    stream = storage.stream("objects/one", chunk=10)
    store(storage, "objects/one")
    assert next(iter(stream)) == TEXT[:10]


def test_a_stream_may_be_left_early(storage: Storage) -> None:
    store(storage, "objects/one", bytes(3 << 20))
    for _ in range(3):
        stream = storage.stream("objects/one", chunk=1 << 16)
        assert len(next(iter(stream))) == 1 << 16
        stream.close()  # type: ignore[attr-defined]
    assert storage.size("objects/one") == 3 << 20


@pytest.mark.parametrize("range_", [(0, None), (2, 4), (0, 0), (5, 2), (-3, None)])
def test_what_is_not_there_is_not_found(storage: Storage, range_: tuple[int, int | None]) -> None:
    with pytest.raises(NotFound):
        storage.read("objects/none", *range_)
    with pytest.raises(NotFound):
        next(iter(storage.stream("objects/none", *range_)))


def test_the_size_of_what_is_not_there_is_not_found(storage: Storage) -> None:
    with pytest.raises(NotFound):
        storage.size("objects/none")


def test_the_beginning_of_a_key_is_no_key(storage: Storage) -> None:
    store(storage, "objects/ab/one")
    for key in ["objects", "objects/ab", "objects/ab/on", "objects/ab/one/more"]:
        with pytest.raises(NotFound):
            storage.read(key)
        with pytest.raises(NotFound):
            storage.size(key)
        storage.delete(key)
    assert storage.read("objects/ab/one") == TEXT


def test_what_is_deleted_is_gone_and_may_be_put_again(storage: Storage) -> None:
    store(storage, "objects/one", b"first")
    storage.delete("objects/one")
    with pytest.raises(NotFound):
        storage.read("objects/one")
    assert list(storage.list()) == []
    store(storage, "objects/one", b"second")
    assert storage.read("objects/one") == b"second"


def test_deleting_what_is_not_there_is_no_error(storage: Storage) -> None:
    storage.delete("objects/none")


def test_a_listing_is_in_order_of_key_and_holds_size_and_time(storage: Storage) -> None:
    keys = ["c/x", "b/z/1", "b/a/2", "b/a/1", "B/x", "0/x", "_/x", "a-9/x", "a.9/x"]
    before = time.time()
    assert storage.put([put_of(key, key.encode()) for key in keys]) == [None] * len(keys)
    listed = list(storage.list())
    assert [stored.key for stored in listed] == sorted(keys)
    assert [stored.size for stored in listed] == [len(key) for key in sorted(keys)]
    assert all(before - 5 <= stored.modified <= time.time() + 5 for stored in listed)


def test_a_listing_holds_keys_that_begin_alike(storage: Storage) -> None:
    keys = {"a", "b-c/x", "b/x", "b.c/x", "b/x-y", "b/a/z", "b0/x"}
    storage.put([put_of(key, b"") for key in keys])
    assert {stored.key for stored in storage.list()} == keys
    assert {stored.key for stored in storage.list("b")} == keys - {"a"}


def test_a_listing_may_begin_anywhere_in_a_key(storage: Storage) -> None:
    keys = ["objects/ab/1", "objects/ab/2", "objects/ac/1", "objectsx/1", "tombstones/1"]
    storage.put([put_of(key, b"") for key in keys])
    for prefix in [
        "",
        "o",
        "objects",
        "objects/",
        "objects/a",
        "objects/ab",
        "objects/ab/",
        "objects/ab/1",
        "x",
    ]:
        listed = [stored.key for stored in storage.list(prefix)]
        assert listed == [key for key in keys if key.startswith(prefix)], prefix


def test_a_listing_of_more_than_a_page_is_complete(storage: Storage) -> None:
    keys = [f"objects/{n % 7}/{n:04}" for n in range(130)]
    assert not any(storage.put([put_of(key, b"") for key in keys]))
    assert [stored.key for stored in storage.list("objects/")] == sorted(keys)


def test_a_listing_survives_deletes_beside_it(storage: Storage) -> None:
    keys = [f"objects/{n}" for n in range(6)]
    storage.put([put_of(key, b"") for key in keys])
    listed = []
    for stored in storage.list():
        listed.append(stored.key)
        storage.delete(stored.key)
    assert listed == keys
    assert list(storage.list()) == []


BAD_KEYS = [
    *("", ".", "..", "/", "/etc/passwd", "../x", "a/../b", "a/./b", "a//b", "a/", ".hidden", "a/.hidden"),
    *("a\0b", "a\nb", "a\n", "a b", "a\\b", "ä", "a%2e", "a:b", "a" * 201, "a/" * 450 + "a", "٣"),
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_is_none_is_refused_before_anything_is_done(storage: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="not a storage key"):
        storage.put([put_of("objects/one", TEXT), put_of(key, TEXT)])
    for use in (storage.read, storage.size, storage.delete):
        with pytest.raises(ValueError, match="not a storage key"):
            use(key)
    with pytest.raises(ValueError, match="not a storage key"):
        next(iter(storage.stream(key)))
    assert list(storage.list()) == []


@pytest.mark.parametrize("prefix", ["/", "..", "a/../", "a//", "a\n", "*"])
def test_a_listing_cannot_begin_outside(storage: Storage, prefix: str) -> None:
    with pytest.raises(ValueError, match="not the beginning"):
        list(storage.list(prefix))


def test_a_check_passes_and_leaves_nothing_to_see(storage: Storage) -> None:
    storage.check()
    storage.check()
    assert list(storage.list()) == []


def test_a_sweep_leaves_what_is_stored(storage: Storage) -> None:
    store(storage, "objects/one")
    storage.sweep()
    assert [stored.key for stored in storage.list()] == ["objects/one"]


def test_a_sweep_leaves_what_is_being_written(storage: Storage, request: pytest.FixtureRequest) -> None:
    # moto says of every upload in parts that it began in 2010, so there the object goes up whole.
    content = os.urandom((4 if request.node.callspec.params["storage"] == "moto" else 11) << 20)
    done = threading.Event()

    def sweep() -> None:
        while not done.is_set():
            storage.sweep()

    with ThreadPoolExecutor(1) as sweeper:
        sweeping = sweeper.submit(sweep)
        try:
            for n in range(5):
                store(storage, f"objects/{n}", content)
        finally:
            done.set()
        sweeping.result()
    assert [stored.size for stored in storage.list()] == [len(content)] * 5


def test_many_threads_put_and_read_at_once(storage: Storage) -> None:
    def work(worker: int) -> list[Stored]:
        for n in range(5):
            body = random.Random(worker * 10 + n).randbytes(20_000)
            store(storage, f"objects/{worker}/{n}", body)
            assert storage.read(f"objects/{worker}/{n}", 100, 900) == body[100:900]
        return list(storage.list(f"objects/{worker}/"))

    with ThreadPoolExecutor(8) as workers:
        assert [len(listed) for listed in workers.map(work, range(8))] == [5] * 8
