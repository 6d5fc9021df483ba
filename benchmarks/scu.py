"""A DIMSE client for what DCMTK's programs do not tell: when answers come, one large object, many associations."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bridge.association import Association, Limits, connect
from bridge.commandsets import C_FIND, C_GET, C_STORE
from bridge.negotiation import Proposed, Request
from dicomweb.standard import identifiers
from dicomweb.standard.syntaxes import EXPLICIT

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
_PENDING = (0xFF00, 0xFF01)


def associate(port: int, classes: Sequence[str], calling: str = "BENCH", stored: Sequence[str] = ()) -> Association:
    """Associate with the server on a port, one context for each class; `stored` may come to us by C-GET."""
    contexts = tuple(Proposed(2 * number + 1, each, (EXPLICIT,)) for number, each in enumerate((*classes, *stored)))
    roles = dict.fromkeys(stored, (True, True))
    asked = Request(calling, "ROENTGATE", contexts, roles=roles)
    return connect("127.0.0.1", port, asked, Limits(answer_seconds=600.0))


def store(association: Association, sop_class: str, instance: str, data: bytes | Iterable[bytes]) -> int:
    """C-STORE; return the status."""
    context = association.context_for(sop_class)
    assert context is not None
    command = {
        "AffectedSOPClassUID": sop_class, "CommandField": C_STORE, "Priority": 0, "AffectedSOPInstanceUID": instance,
    }  # fmt: skip
    return int(association.ask(context.number, command, data)["Status"])


def find(association: Association, keys: Mapping[str, Any]) -> Iterator[bytes]:
    """C-FIND of studies; yield the identifiers as they come."""
    context = association.context_for(FIND)
    assert context is not None
    identifier = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, **keys}
    command = {"AffectedSOPClassUID": FIND, "CommandField": C_FIND, "Priority": 0}
    association.start(context.number, command, identifiers.write(identifier, EXPLICIT))
    while (message := association.receive(600.0)) is not None and message.command.get("Status") in _PENDING:
        yield association.identifier()


def get(association: Association, study: str) -> int:
    """C-GET of a study; return the bytes of the data sets that came."""
    context = association.context_for(GET)
    assert context is not None
    identifier = {"00080052": {"vr": "CS", "Value": ["STUDY"]}, "0020000D": {"vr": "UI", "Value": [study]}}
    command = {"AffectedSOPClassUID": GET, "CommandField": C_GET, "Priority": 0}
    association.start(context.number, command, identifiers.write(identifier, EXPLICIT))
    size = 0
    while (message := association.receive(600.0)) is not None:
        if message.field == C_STORE:
            size += sum(map(len, association.data()))
            association.respond(message, 0)
        elif message.command.get("Status") not in _PENDING:
            break
    return size
