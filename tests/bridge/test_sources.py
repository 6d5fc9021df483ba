"""Files of the web layer as a retrieval passes them on: what their File Meta group says, and the rest untouched."""

import struct

import pytest

from bridge.sources import read_file
from dicomweb.standard import dicomjson
from dicomweb.standard.elements import Limits, walk
from dicomweb.standard.syntaxes import EXPLICIT, syntax_of


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    if vr == b"OB":
        return struct.pack("<HH2sHI", 2, tag, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, tag, vr, len(value)) + value


def file(instance: bytes) -> tuple[bytes, int]:
    """A file of this Media Storage SOP Instance UID, and where its File Meta group ends."""
    group = b"".join(
        (
            element(1, b"OB", b"\0\1"),
            element(2, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
            element(3, b"UI", instance),
            element(0x10, b"UI", b"1.2.840.10008.1.2.1\0"),
        )
    )
    head = bytes(128) + b"DICM" + element(0, b"UL", struct.pack("<I", len(group))) + group
    return head + b"the rest", len(head)


@pytest.mark.parametrize("instance", [b"1.2.3\0", b"1.2.34", b"1.2.3 ", b" 1.2.3", b"1.2\\1.3\0", b"", b"1.2.3\0\0\0"])
def test_uids_are_those_that_the_reader_of_all_elements_reads(instance):
    data, end = file(instance)
    meta = walk(data[:end], 132, end, syntax_of(EXPLICIT), Limits(), meta=True).dataset
    found = read_file(iter([data[:150], data[150:]]))
    assert found.uid == dicomjson.text(meta, "00020003")
    assert (found.sop_class, found.syntax) == ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")
    assert b"".join(bytes(piece) for piece in found.pieces) == b"the rest"
