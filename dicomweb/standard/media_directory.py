"""DICOMDIR: which files a medium says that it holds (PS3.10 8.6, PS3.3 F.3.2.2). Only the names are read; the
records repeat what the files say themselves."""

import struct

from dicomweb.errors import BadObject
from dicomweb.standard.elements import Limits, walk
from dicomweb.standard.syntaxes import EXPLICIT, syntax_of

SOP_CLASS = "1.2.840.10008.1.3.10"

_LIMITS = Limits()
_GROUP_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"


def is_directory(head: bytes) -> bool:
    """Say whether a file begins like a DICOMDIR: the Media Storage SOP Class UID of its File Meta Information
    is that of the Basic Directory (PS3.10 8.6).

    Args:
        head: the first kilobyte.
    """
    before, found, after = head[132:].partition(SOP_CLASS.encode())
    return head[128:132] == b"DICM" and bool(found) and b"\x02\x00\x02\x00UI" in before and after[:1] in b"\0 \x02"


def read_files(data: bytes) -> list[tuple[str, ...]]:
    """Return the Referenced File ID of each record that has one, as path components (PS3.10 8.5, PS3.3
    Table F.3-3).

    Raises:
        BadObject: it is no DICOMDIR that can be read.
    """
    # PS3.10 8.6: a DICOMDIR is Explicit VR Little Endian; PS3.10 7.1: the group length comes first.
    if not is_directory(data[:1024]) or data[132:140] != _GROUP_LENGTH:
        raise BadObject("it is not a DICOMDIR that can be read")
    (length,) = struct.unpack_from("<L", data, 140)
    walked = walk(data, 144 + length, len(data), syntax_of(EXPLICIT), _LIMITS)
    records = walked.dataset.get("00041220", {}).get("Value", [])
    files = [tuple(record.get("00041500", {}).get("Value", ())) for record in records]
    return [tuple(str(part) for part in file) for file in files if file]
