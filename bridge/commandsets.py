"""Command sets: what a DIMSE message asks or answers, as values (PS3.7 6.3, 9.3, 10.3 and Annex E).

They are always encoded in Implicit VR Little Endian and hold a handful of elements, so that a table and `struct`
do; a command that is not understood is refused by name.
"""

import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

from dicomweb.errors import BadMessage

Command: TypeAlias = dict[str, Any]
"""Elements by keyword; numbers as int, text as str, tags as list of int."""

# PS3.7 Table E.1-1: elements by tag, with the VR; group length is made when a command is written
_ELEMENTS: dict[int, tuple[str, str]] = {
    0x0002: ("AffectedSOPClassUID", "UI"),
    0x0003: ("RequestedSOPClassUID", "UI"),
    0x0100: ("CommandField", "US"),
    0x0110: ("MessageID", "US"),
    0x0120: ("MessageIDBeingRespondedTo", "US"),
    0x0600: ("MoveDestination", "AE"),
    0x0700: ("Priority", "US"),
    0x0800: ("CommandDataSetType", "US"),
    0x0900: ("Status", "US"),
    0x0901: ("OffendingElement", "AT"),
    0x0902: ("ErrorComment", "LO"),
    0x0903: ("ErrorID", "US"),
    0x1000: ("AffectedSOPInstanceUID", "UI"),
    0x1001: ("RequestedSOPInstanceUID", "UI"),
    0x1002: ("EventTypeID", "US"),
    0x1005: ("AttributeIdentifierList", "AT"),
    0x1008: ("ActionTypeID", "US"),
    0x1020: ("NumberOfRemainingSuboperations", "US"),
    0x1021: ("NumberOfCompletedSuboperations", "US"),
    0x1022: ("NumberOfFailedSuboperations", "US"),
    0x1023: ("NumberOfWarningSuboperations", "US"),
    0x1030: ("MoveOriginatorApplicationEntityTitle", "AE"),
    0x1031: ("MoveOriginatorMessageID", "US"),
}
_TAGS = {keyword: (element, vr) for element, (keyword, vr) in _ELEMENTS.items()}

# PS3.7 Table E.1-1, Command Field; an answer has the highest bit set
C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030
N_EVENT_REPORT, N_GET, N_SET, N_ACTION, N_CREATE, N_DELETE = 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150
C_CANCEL = 0x0FFF
RESPONSE = 0x8000

NAMES = {
    C_STORE: "C-STORE", C_GET: "C-GET", C_FIND: "C-FIND", C_MOVE: "C-MOVE", C_ECHO: "C-ECHO",
    N_EVENT_REPORT: "N-EVENT-REPORT", N_GET: "N-GET", N_SET: "N-SET", N_ACTION: "N-ACTION",
    N_CREATE: "N-CREATE", N_DELETE: "N-DELETE", C_CANCEL: "C-CANCEL",
}  # fmt: skip

# PS3.7 9.3: Command Data Set Type of a message without a data set; any other value says that there is one
NO_DATA = 0x0101
DATA = 0x0001

LONGEST_COMMENT = 64  # PS3.7 Table E.1-1: Error Comment is LO


def read(data: bytes | bytearray) -> Command:
    """Read a command set (PS3.7 6.3.1).

    Elements that the table does not have are passed over; of values of US the first counts.

    Raises:
        BadMessage: it ends inside an element, holds something of another group, or lacks Command Field.
    """
    command: Command = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < 8:
            raise BadMessage("a command set ends inside an element")
        group, element, length = struct.unpack_from("<HHI", data, position)
        position += 8
        if group != 0 or length > end - position:
            raise BadMessage("a command set holds something else than command elements")
        known = _ELEMENTS.get(element)
        if known is not None and length:
            keyword, vr = known
            value = bytes(data[position : position + length])
            if vr == "US":
                if length < 2:
                    raise BadMessage(f"{keyword} of a command is too short")
                command[keyword] = struct.unpack_from("<H", value)[0]
            elif vr == "AT":
                pairs = struct.iter_unpack("<HH", value[: length - length % 4])
                command[keyword] = [high << 16 | low for high, low in pairs]
            else:
                command[keyword] = value.decode("latin-1").strip(" \0")
        position += length
    if "CommandField" not in command:
        raise BadMessage("a command set has no Command Field")
    return command


def write(command: Mapping[str, Any]) -> bytes:
    """Write a command set, group length first (PS3.7 6.3.1). Elements that are None are left out."""
    body = bytearray()
    for keyword in sorted(command, key=lambda name: _TAGS[name][0]):
        (element, vr), value = _TAGS[keyword], command[keyword]
        if value is None:
            continue
        if vr == "US":
            encoded = struct.pack("<H", value)
        elif vr == "AT":
            encoded = b"".join(struct.pack("<HH", tag >> 16, tag & 0xFFFF) for tag in value)
        else:
            encoded = value.encode("ascii", "replace")
            if len(encoded) & 1:
                encoded += b"\0" if vr == "UI" else b" "
        body += struct.pack("<HHI", 0, element, len(encoded)) + encoded
    return struct.pack("<HHII", 0, 0, 4, len(body)) + bytes(body)


def respond(request: Command, status: int, comment: str = "", more: Mapping[str, Any] | None = None) -> Command:
    """Make the answer to a request (PS3.7 9.3, 10.3).

    Args:
        request: what is answered.
        status: of the answer.
        comment: a sentence for people; what is longer than 64 characters is cut at a word.
        more: further elements by keyword, which win.
    """
    return {
        "AffectedSOPClassUID": request.get("AffectedSOPClassUID") or request.get("RequestedSOPClassUID"),
        "CommandField": request["CommandField"] | RESPONSE,
        "MessageIDBeingRespondedTo": request.get("MessageID", 0),
        "CommandDataSetType": NO_DATA,
        "Status": status,
        "ErrorComment": shorten(comment) or None,
        **(more or {}),
    }


def shorten(comment: str) -> str:
    """Cut a sentence to the length of an Error Comment, at a word where that loses little (VR of LO)."""
    text = " ".join(comment.replace("\\", "/").split())
    if len(text) <= LONGEST_COMMENT:
        return text
    cut = text[: LONGEST_COMMENT - 2]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) > LONGEST_COMMENT // 2 else cut) + ".."
