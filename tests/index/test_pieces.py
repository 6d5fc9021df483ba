"""Metadata in compressed pieces."""

from random import Random

import pytest

from dicomweb.index.pieces import compress, compress_itself, expand


def model(size: int) -> bytes:
    """Something that begins and ends as metadata do, of so many bytes, none of which is like those before it."""
    return b"{" + Random(size).randbytes(size - 3) + b"}}"


def check(size: int) -> None:
    text = model(size)
    assert expand(compress_itself(text), text) == text
    other = b"{" + b"a" * (size - 3) + b"}}"
    assert expand(compress_itself(other), other) == other


@pytest.mark.parametrize("size", [3, 4, 5, 6, 7, 258, 259, 260, 261, 262, 263, 519, 7000, 32_505, 32_506, 40_000])
def test_metadata_that_are_their_own_dictionary_come_back(size: int) -> None:
    check(size)


@pytest.mark.long
def test_metadata_of_every_length_come_back_where_they_are_their_own_dictionary() -> None:
    for size in range(3, 32_800):
        check(size)


def test_metadata_with_other_ends_come_back_where_they_are_their_own_dictionary() -> None:
    for text in (b"", b"{}", b"[1]", b"{" + bytes(5000) + b"]}"):
        assert expand(compress_itself(text), text) == text


def test_a_piece_that_is_its_own_dictionary_is_made_once_for_its_length() -> None:
    one, other = model(5000), b"{" + b"ab" * 2498 + b"}}}"
    assert len(one) == len(other)
    assert compress_itself(one) is compress_itself(other)
    assert len(compress_itself(one)) < 64


def test_a_piece_that_is_like_another_instance_is_short() -> None:
    one = model(5000)
    other = one.replace(b"}}", b"!}}")
    piece = compress(other, one)
    assert expand(piece, one) == other
    assert len(piece) < 64
