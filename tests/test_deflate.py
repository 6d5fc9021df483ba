"""Deflate, gzip and CRC-32: read by zlib, and made of no more than it makes itself."""

import gzip
import random
import zlib

import pytest

from dicomweb.deflate import crc32, write_gzip, write_zlib

SOURCE = random.Random(7)
TEXT = b"".join(b'{"0020000D":{"vr":"UI","Value":["1.2.840.%d"]}},' % SOURCE.randrange(10**9) for _ in range(2_000))
NOISE = SOURCE.randbytes(100_000)


@pytest.mark.parametrize("data", [b"", b"a", TEXT, NOISE], ids=["nothing", "one byte", "text", "noise"])
def test_what_is_written_is_read_by_zlib(data):
    assert zlib.decompress(write_zlib(data)) == data
    assert gzip.decompress(write_gzip(data)) == data


def test_what_cannot_be_compressed_hardly_grows_and_text_takes_little_more_than_by_zlib():
    assert len(write_zlib(NOISE)) < len(NOISE) * 1.01
    assert len(write_gzip(TEXT)) < len(gzip.compress(TEXT, 1)) * 1.1


def test_the_same_text_gives_the_same_bytes_whenever_it_is_compressed():
    packed = write_gzip(TEXT)
    assert packed[4:8] == bytes(4)  # RFC 1952 2.3.1: MTIME 0 says that there is no time
    assert packed == write_gzip(bytearray(TEXT))


def test_a_checksum_goes_on_from_that_of_what_came_before():
    for cut in (0, 1, 15, 4_097, len(NOISE)):
        assert crc32(memoryview(NOISE)[cut:], crc32(NOISE[:cut])) == zlib.crc32(NOISE)
