"""Deflate, gzip and CRC-32 (RFC 1950 to 1952) at the speed of ISA-L, which has them in the processor's vector
instructions: for what is compressed while somebody waits for it, and for checksums of whole frames. What is
compressed once and kept, such as the metadata of instances, stays with zlib where that makes it smaller.
"""

from typing import TypeAlias

from isal import isal_zlib

Buffer: TypeAlias = bytes | bytearray | memoryview

_QUICK = 1  # level 0 is no quicker, and a third larger
_GZIP = 16 + 15


def write_zlib(data: Buffer) -> bytes:
    """Compress into the zlib format (RFC 1950)."""
    return isal_zlib.compress(data, _QUICK)


def write_gzip(data: Buffer) -> bytes:
    """Compress into the gzip format (RFC 1952); the same bytes give the same result, whenever it is made."""
    return isal_zlib.compress(data, _QUICK, _GZIP)


def crc32(data: Buffer, before: int = 0) -> int:
    """Return the CRC-32 (RFC 1952 8) of data, and of what came before them if its CRC-32 is given."""
    return isal_zlib.crc32(data, before)
