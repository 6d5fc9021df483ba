"""Retrieval below HTTP: what is described, what is read, what is kept."""

import io
import tracemalloc

import dicoms
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian
from served import Served, compressed, multiframe, path_of, written

from dicomweb.archive import content, objects
from dicomweb.archive.caches import Cache
from dicomweb.archive.content import Made, Stretch
from dicomweb.archive.copies import Copies
from dicomweb.archive.making import Maker
from dicomweb.archive.retrieve import Retrieval, bulk_type
from dicomweb.archive.retrieve import path_of as resource_path
from dicomweb.archive.shelf import Section, Shelf
from dicomweb.errors import Corrupt, NotAcceptable, NotFound
from dicomweb.index import Held
from dicomweb.standard.frames import Bulk, Layout
from dicomweb.storage.memory import Memory
from dicomweb.workshop import Workshop

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
OCTETS = "application/octet-stream"


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def retrieval(served: Served) -> Retrieval:
    archive = served.archive
    shelf = Shelf(archive.config.cache, 1 << 20, 4 << 20)
    section = Section(shelf, archive.index.known)
    maker = Maker(archive.storage, Workshop(1, 20, 1 << 30), section, 1_000_000)
    return Retrieval(archive.storage, archive.index, Copies(archive.storage, archive.spool), maker, archive.limits)


def only(served: Served) -> Held:
    (held,) = served.archive.index.walk()
    return held


class Counted:
    """A storage that counts what is asked of it."""

    def __init__(self, storage) -> None:
        self._storage = storage
        self.ranges: list[tuple[str, int, int | None]] = []

    def __getattr__(self, name: str):
        return getattr(self._storage, name)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        self.ranges.append((key, start, stop))
        return self._storage.read(key, start, stop)

    def stream(self, key: str, start: int = 0, stop: int | None = None, chunk: int = 1 << 20):
        self.ranges.append((key, start, stop))
        return self._storage.stream(key, start, stop, chunk)


@pytest.fixture
def far(tmp_path, monkeypatch):
    """Makes a server whose storage is far away, with one object."""

    def made(data: bytes) -> Served:
        monkeypatch.setattr(Memory, "remote", True)
        served = Served(tmp_path)
        served.store(data)
        served.archive.storage = Counted(served.archive.storage)
        return served

    return made


@pytest.fixture
def remote(far):
    """Such a server, and the 30 frames of its object."""
    data, frames = multiframe(30)
    return far(data), frames


def frame_of(
    found: Retrieval, held: Held, number: int, start: int = 0, stop: int | None = None, syntax: str = EXPLICIT
) -> bytes:
    (described,) = found.frames(held, found.layout(held), [number], OCTETS, syntax)
    return b"".join(found.read(described.segments, start, stop))


def test_a_frame_of_a_remote_storage_that_is_asked_for_again_stays_near(remote):
    served, frames = remote
    held, found, counted = only(served), retrieval(served), served.archive.storage
    assert [frame_of(found, held, 7) for _ in range(4)] == [frames[6]] * 4
    assert len(counted.ranges) == 2
    assert frame_of(found, held, 7, 5, 20) == frames[6][5:20]
    assert frame_of(retrieval(served), held, 7) == frames[6]  # of another process on the same folder
    assert len(counted.ranges) == 2
    assert frame_of(found, held, 8) == frames[7]
    assert len(counted.ranges) == 3


def test_what_is_asked_for_once_takes_no_room_near(remote):
    served, frames = remote
    held, found = only(served), retrieval(served)
    assert [frame_of(found, held, number) for number in range(1, 31)] == frames
    assert [path for path in served.archive.config.cache.rglob("*") if path.is_file()] == []


def test_frames_that_are_looked_at_in_order_come_several_at_a_time(remote):
    served, frames = remote
    held, found, counted = only(served), retrieval(served), served.archive.storage
    assert [frame_of(found, held, number) for number in range(1, 31)] == frames
    assert len(counted.ranges) == 2  # the first by itself, then all its neighbours
    assert frame_of(found, held, 12, 5, 20) == frames[11][5:20]
    assert len(counted.ranges) == 2


@pytest.mark.parametrize("leaps", [(300, 10, 600, 150), range(2, 600, 50), range(590, 0, -50)], ids=str)
def test_frames_that_are_picked_here_and_there_or_leapt_to_come_alone(far, leaps):
    data, frames = multiframe(600)
    served = far(data)
    held, found, counted = only(served), retrieval(served), served.archive.storage
    for number in leaps:
        assert frame_of(found, held, number) == frames[number - 1]
    assert [stop - start for _, start, stop in counted.ranges] == [len(frames[0])] * len(leaps)


def test_a_long_object_that_is_played_costs_a_read_for_each_run(far):
    data, frames = multiframe(640)
    served = far(data)
    held, found, counted = only(served), retrieval(served), served.archive.storage
    assert [frame_of(found, held, number) for number in range(1, 641)] == frames
    assert len(counted.ranges) == 11  # of 64 frames each, and the first frame by itself


def test_compressed_frames_of_any_size_are_cut_out_of_what_came_together(far):
    frames = [bytes([number]) * (2 * number * number) for number in range(1, 41)]
    served = far(compressed(frames, JPEG))
    held, found, counted = only(served), retrieval(served), served.archive.storage
    for number, frame in enumerate(frames, 1):
        assert frame_of(found, held, number, syntax=JPEG) == frame
    assert len(counted.ranges) < 10


def test_a_frame_that_came_wrong_among_its_neighbours_is_refused_alone(remote):
    served, frames = remote
    held, found, storage = only(served), retrieval(served), served.archive.storage
    right = storage.read
    ((begin, _),) = found.layout(held).spans(9)

    def wrong(key, start=0, stop=None):
        data = bytearray(right(key, start, stop))
        if start <= begin < start + len(data):
            data[begin - start] ^= 1
        return bytes(data)

    storage.read = wrong
    for number in (*range(1, 9), *range(10, 31)):
        assert frame_of(found, held, number) == frames[number - 1]
    with pytest.raises(Corrupt):
        frame_of(found, held, 9)
    whole = sum(map(len, frames))
    assert sum(stop - start for _, start, stop in storage.ranges) <= 3 * whole  # not the run again for each frame


def test_frames_that_are_looked_at_in_order_again_stay_near(remote):
    served, frames = remote
    small = only(served)
    served.store(compressed([bytes([number]) * 60_000 for number in range(20)], JPEG, number=2))
    (large,) = (held for held in served.archive.index.walk() if held.version != small.version)
    found, counted = retrieval(served), served.archive.storage
    for _ in range(2):
        assert [frame_of(found, small, number) for number in range(1, 31)] == frames
        for number in range(1, 21):  # which takes all of the memory
            frame_of(found, large, number, syntax=JPEG)
    asked, other = len(counted.ranges), retrieval(served)
    assert [frame_of(other, small, number) for number in range(1, 31)] == frames
    assert len(counted.ranges) == asked


def test_a_part_of_a_frame_is_read_alone_and_does_not_bring_it_near(remote):
    served, frames = remote
    held, found, counted = only(served), retrieval(served), served.archive.storage
    assert [frame_of(found, held, 3, 10, 30) for _ in range(3)] == [frames[2][10:30]] * 3
    assert [stop - start for _, start, stop in counted.ranges] == [20] * 3


def test_what_came_wrong_from_a_remote_storage_is_not_kept(remote):
    served, frames = remote
    held, found, storage = only(served), retrieval(served), served.archive.storage
    right = storage.read
    storage.read = lambda key, start=0, stop=None: b"\1" * (stop - start)
    for _ in range(3):
        with pytest.raises(Corrupt):
            frame_of(found, held, 4)
    storage.read = right
    assert [frame_of(found, held, 4) for _ in range(3)] == [frames[3]] * 3


def test_frames_near_go_with_their_object(remote):
    served, _ = remote
    held, found = only(served), retrieval(served)
    for _ in range(2):
        frame_of(found, held, 1)
    files = [path for path in served.archive.config.cache.rglob("*-*") if path.is_file()]
    assert len(files) == 1
    Shelf(served.archive.config.cache, 0, 1 << 20).forget([held.digest.hex()])
    assert not files[0].exists()


def test_a_frame_is_one_ranged_read_of_its_own_bytes(served):
    data, frames = multiframe(300)
    served.store(data)
    counted = Counted(served.archive.storage)
    served.archive.storage = counted
    found = retrieval(served)
    held = only(served)
    (described,) = found.frames(held, found.layout(held), [250], OCTETS, EXPLICIT)
    assert counted.ranges == []
    assert described.size == len(frames[249])
    assert b"".join(found.read(described.segments)) == frames[249]
    ((key, start, stop),) = counted.ranges
    assert key == held.key
    assert stop - start == len(frames[249])


def test_describing_a_stored_object_reads_nothing(served):
    served.store(dicoms.ct())
    counted = Counted(served.archive.storage)
    served.archive.storage = counted
    held = only(served)
    described = retrieval(served).object(held, EXPLICIT)
    assert described.size == held.size
    assert described.segments == (Stretch(held.key, 0, held.size),)
    assert counted.ranges == []


def test_the_layout_is_asked_of_the_index_once(served, monkeypatch):
    served.store(dicoms.ct())
    found = retrieval(served)
    held = only(served)
    layout = found.layout(held)
    monkeypatch.setattr(served.archive.index, "layout", lambda _: pytest.fail("asked again"))
    assert found.layout(held) is layout


def large(syntax: str, before: bool = True) -> tuple[bytes, Dataset]:
    """An object with large values before, in and behind its pixel data."""
    ds = dicoms.dataset(Rows=256, Columns=512)
    ds.PixelData = np.arange(256 * 512, dtype="<u2").tobytes()
    block = ds.private_block(0x0029, "ACME", create=True)
    if before:
        block.add_new(1, "OB", bytes(range(256)) * 400)
    block.add_new(2, "LO", "behind the large one")
    ds.DataSetTrailingPadding = bytes(1000)
    return written(ds, syntax), ds


@pytest.mark.parametrize("before", [True, False])
def test_re_encoding_does_not_read_large_values_and_keeps_them(served, before):
    data, ds = large(ImplicitVRLittleEndian, before)
    served.store(data)
    counted = Counted(served.archive.storage)
    served.archive.storage = counted
    found = retrieval(served)
    described = found.object(only(served), EXPLICIT)
    read = [(start, len(data) if stop is None else min(stop, len(data))) for _, start, stop in counted.ranges]
    for start, stop in read[1:]:
        assert stop - start < objects._HOLE
    sent = b"".join(found.read(described.segments))
    assert len(sent) == described.size
    again = pydicom.dcmread(io.BytesIO(sent))
    assert again.file_meta.TransferSyntaxUID == EXPLICIT
    assert again.PixelData == ds.PixelData
    assert again[0x00291002].value == b"behind the large one"  # the dictionary does not know it: UN
    if before:
        assert again[0x00291001].value == bytes(range(256)) * 400


def test_holes_change_nothing_of_what_is_sent(served, monkeypatch):
    data, _ = large(ImplicitVRLittleEndian)
    served.store(data)
    held = only(served)
    found = retrieval(served)
    with_holes = b"".join(found.read(found.object(held, EXPLICIT).segments))
    monkeypatch.setattr(objects, "_HOLE", 1 << 40)
    assert b"".join(found.read(found.object(held, EXPLICIT).segments)) == with_holes


def test_any_piece_of_a_re_encoded_big_endian_object_is_a_piece_of_the_whole(served):
    ds = dicoms.dataset(Rows=64, Columns=64)
    ds.PixelData = bytes(range(256)) * 32
    served.store(written(ds, ExplicitVRBigEndian))
    found = retrieval(served)
    described = found.object(only(served), EXPLICIT)
    whole = b"".join(found.read(described.segments))
    assert len(whole) == described.size
    assert pydicom.dcmread(io.BytesIO(whole)).PixelData == bytes(byte ^ 1 for byte in bytes(range(256))) * 32
    for start in (0, 1, 131, described.size // 2 | 1, described.size - 3):
        for stop in (start + 1, start + 1001, described.size):
            assert b"".join(found.read(described.segments, start, stop)) == whole[start:stop]


def test_a_large_object_is_streamed_in_bounded_memory(served):
    ds = dicoms.dataset(Rows=4096, Columns=4096)
    ds.PixelData = bytes(4096 * 4096 * 2)
    served.store(written(ds, ImplicitVRLittleEndian))
    found = retrieval(served)
    held = only(served)
    tracemalloc.start()
    try:
        size = sum(map(len, found.read(found.object(held, EXPLICIT).segments)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 32 << 20
    assert peak < 8 << 20


@pytest.mark.parametrize("damage", ["shortened", "removed"])
def test_an_object_that_is_no_longer_whole_is_not_sent_as_if_it_were(served, damage):
    served.store(dicoms.ct())
    found = retrieval(served)
    held = only(served)
    data = served.archive.storage.read(held.key)
    served.archive.storage.delete(held.key)
    if damage == "shortened":
        import hashlib

        from dicomweb.storage import Put

        served.archive.storage.put([Put(held.key, data[:-10], hashlib.sha256(data[:-10]).digest())])
    with pytest.raises(Corrupt):
        list(found.read(found.object(held, EXPLICIT).segments))


@pytest.mark.parametrize(
    ("layout", "error"),
    [(Layout("none"), NotFound), (Layout("video", 1), NotAcceptable), (Layout("opaque", 1), NotAcceptable)],
)
def test_what_has_no_frames_says_why(served, layout, error):
    with pytest.raises(error):
        retrieval(served).check_frames(layout, [1])


def test_a_frame_beyond_the_last_is_not_there(served):
    with pytest.raises(NotFound, match="1 frame"):
        retrieval(served).check_frames(Layout("native", 1), [2])


def test_names_in_an_archive_are_made_of_uids_alone(served):
    served.store(dicoms.ct(PatientName="../../etc/passwd"))
    held = only(served)
    entry = retrieval(served).entry(held, EXPLICIT)
    assert entry.name == f"{held.study}/{held.series}/{held.instance}.dcm"
    assert entry.size == held.size
    assert f"/{resource_path(held)}" == path_of(dicoms.ct())


@pytest.mark.parametrize(
    ("named", "sent"),
    [
        ("application/pdf", "application/pdf"),
        ("APPLICATION/PDF; x=y", "application/pdf"),
        ("model/stl", "model/stl"),
        ("image/jpeg", "image/jpeg"),
        ("image/svg+xml", OCTETS),
        ("text/html", OCTETS),
        ("text/xml", OCTETS),
        ("application/javascript", OCTETS),
        ("", OCTETS),
        ("x\r\ny: z", OCTETS),
    ],
)
def test_only_types_that_no_browser_runs_are_passed_on(named, sent):
    assert bulk_type(Bulk("OB", 0, 1, media_type=named)) == sent


# -- pieces and batches ----------------------------------------------------------------------------------------


def test_small_pieces_are_joined_and_large_ones_left_alone():
    big = bytes(100_000)
    batches = list(content.gather([b"a", b"b", big, b"c", big, b"d"]))
    assert batches == [[b"ab", big, b"c", big, b"d"]]
    assert batches[0][1] is big


def test_batches_are_bounded():
    batches = list(content.gather((bytes(100_000) for _ in range(100)), 1 << 20))
    assert b"".join(piece for batch in batches for piece in batch) == bytes(10_000_000)
    assert all(sum(map(len, batch)) <= (1 << 20) + 100_000 for batch in batches)
    assert list(content.gather([])) == []


def test_many_small_pieces_become_a_few():
    batches = list(content.gather(bytes([n % 256]) * 1000 for n in range(5000)))
    assert b"".join(piece for batch in batches for piece in batch) == b"".join(
        bytes([n % 256]) * 1000 for n in range(5000)
    )
    assert sum(map(len, batches)) < 30


def test_a_made_piece_is_made_from_where_it_is_wanted(served):
    asked = []

    def make(start: int, stop: int):
        asked.append((start, stop))
        return [bytes(stop - start)]

    segments = (b"ab", Made(10, make), b"cd")
    assert b"".join(content.read(served.archive.storage, segments, 5, 8)) == bytes(3)
    assert asked == [(3, 6)]


# -- caches ----------------------------------------------------------------------------------------------------


def test_a_cache_forgets_what_was_used_longest_ago():
    cache: Cache[int, str] = Cache(10_000)
    for number in range(6):
        cache.put(number, str(number), 1000)
        cache.get(0)
    cache.put(6, "6", 1000)
    for number in range(7, 12):
        cache.put(number, str(number), 1000)
        assert cache.get(0) == "0"
    assert cache.get(1) is None
    assert cache.get(11) == "11"


def test_a_cache_does_not_take_what_would_push_everything_out():
    cache: Cache[int, str] = Cache(10_000)
    cache.put(1, "one", 100)
    cache.put(2, "giant", 9_000)
    assert cache.get(2) is None
    assert cache.get(1) == "one"


def test_putting_again_replaces():
    cache: Cache[int, str] = Cache(10_000)
    for _ in range(100):
        cache.put(1, "one", 1000)
    cache.put(2, "two", 1000)
    assert (cache.get(1), cache.get(2)) == ("one", "two")
