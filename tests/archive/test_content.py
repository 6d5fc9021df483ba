"""What is read of stored objects."""

import hashlib

import pytest

from dicomweb.archive.content import Stretch, whole
from dicomweb.errors import Corrupt
from dicomweb.storage import Put
from dicomweb.storage.memory import Memory

LARGE = bytes(range(256)) * (40 << 10)


@pytest.fixture
def storage() -> Memory:
    """A storage with one object of ten megabytes."""
    held = Memory()
    assert held.put([Put("objects/one", LARGE, hashlib.sha256(LARGE).digest())]) == [None]
    return held


def test_a_large_stretch_alone_is_read_by_one_call_and_not_put_together(
    storage: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    read = storage.read
    monkeypatch.setattr(storage, "read", lambda *args: given.append(read(*args)) or given[-1])
    assert whole(storage, (Stretch("objects/one", 3, 9 << 20),)) is given[0]
    assert given == [LARGE[3 : 9 << 20]]


def test_several_stretches_are_joined(storage: Memory) -> None:
    parts = (Stretch("objects/one", 0, 5 << 20), b"between", Stretch("objects/one", 7, 9))
    assert whole(storage, parts) == LARGE[: 5 << 20] + b"between" + LARGE[7:9]


def test_an_object_that_is_shorter_than_it_was_is_corrupt(storage: Memory) -> None:
    for first in (0, len(LARGE) - 5):
        with pytest.raises(Corrupt, match="shorter"):
            whole(storage, (Stretch("objects/one", first, len(LARGE) + 1),))
