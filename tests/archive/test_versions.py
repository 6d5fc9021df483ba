"""Names of stored objects."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from dicomweb.archive.versions import (
    digest_of,
    is_key_of,
    kept_key,
    new_version,
    object_key,
    time_of,
    tombstone_key,
    version_of,
)
from dicomweb.storage.keys import check_key


@given(version=st.integers(0, 2**63 - 1), data=st.binary(max_size=8))
def test_keys_are_keys_and_give_their_version_back(version, data):
    for key in (object_key(hashlib.sha256(data).digest(), version), tombstone_key(version), kept_key(version)):
        assert check_key(key) == key
        assert version_of(key) == version


@given(version=st.integers(0, 2**63 - 1), data=st.binary(max_size=8), bare=st.booleans())
def test_the_key_of_an_object_names_its_digest_and_version(version, data, bare):
    digest = hashlib.sha256(data).digest()
    key = object_key(digest, version, bare)
    assert digest_of(key) == digest.hex()
    assert is_key_of(key, digest, version)
    assert is_key_of(f"objects/ab/cd/{key.rpartition('/')[2]}", digest, version)
    assert not is_key_of(key, digest[::-1], version) or digest == digest[::-1]
    assert not is_key_of(key, digest, version ^ 1)


def test_other_names_have_no_version():
    assert [version_of(key) for key in ("objects/a", "objects/ab/cd/ef-12", "x-" + "g" * 16, "")] == [None] * 4


def test_versions_of_a_process_are_never_the_same_and_sort_by_time(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1.9e9)
    drawn = [new_version() for _ in range(20_000)]
    assert drawn == sorted(set(drawn))
    assert max(map(time_of, drawn)) - 1.9e9 < 0.01
    monkeypatch.setattr("time.time", lambda: 2e9)
    early = new_version()
    monkeypatch.setattr("time.time", lambda: 2e9 + 0.01)
    assert early < new_version() < 2**63
