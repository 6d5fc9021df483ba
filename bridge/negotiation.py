"""Association negotiation as values: who asks for what, and what is granted (PS3.7 D.3, PS3.8 9.3.2 to 9.3.4).

pynetdicom reads and writes the PDUs. What is granted is decided here and in `policy`: of the transfer syntaxes of a
context the one that keeps pixels as the other side has them, and its VRs.

A device asks with the same bytes each time, often for each image anew, and a request for all storage classes takes
pynetdicom 17 ms: as much as storing three CT images. So the last ones are remembered, and so are the answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
)
from pynetdicom.presentation import PresentationContext

from dicomweb.errors import BadMessage, NotAssociated
from dicomweb.standard.encode import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomweb.standard.syntaxes import BIG_ENDIAN, EXPLICIT, IMPLICIT, SYNTAXES

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

# PS3.8 9.3.3.2: Result/Reason of a presentation context
ACCEPTED, USER_REJECTION, NO_REASON, ABSTRACT_SYNTAX, TRANSFER_SYNTAXES = range(5)

# PS3.8 Table 9-21: result, source, reason of A-ASSOCIATE-RJ
NO_APPLICATION_CONTEXT = (1, 1, 2)
CALLING_NOT_RECOGNIZED = (1, 1, 3)
CALLED_NOT_RECOGNIZED = (1, 1, 7)
LOCAL_LIMIT = (2, 3, 2)

_REJECTIONS = {
    (1, 2): "it does not know the application context",
    (1, 3): "it does not know our AE title",
    (1, 7): "it is not called so",
    (2, 2): "it does not speak this version of the protocol",
    (3, 1): "it is congested",
    (3, 2): "it has as many associations as it allows",
}

MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255
_REMEMBERED = 32
_REMEMBERED_BYTES = 16 << 10
"""Of a request that is remembered; one for all storage classes has 6 to 11 KB."""


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context that is in force, or with a result other than 0, one that is refused.

    Attributes:
        number: Presentation Context ID.
        abstract: Abstract Syntax UID.
        syntax: Transfer Syntax UID.
        result: as in PS3.8 Table 9-18.
    """

    number: int
    abstract: str
    syntax: str
    result: int = ACCEPTED


@dataclass(frozen=True, slots=True)
class Proposed:
    """A presentation context as it is asked for: its number, abstract syntax and transfer syntaxes."""

    number: int
    abstract: str
    syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """An association request (PS3.8 9.3.2).

    Attributes:
        calling, called: AE titles, without spaces around them.
        contexts: in order.
        application: Application Context Name.
        longest: largest PDU that the other side takes; 0 is any.
        implementation: Implementation Version Name, or the Class UID where there is none.
        roles: by SOP Class UID, whether the requester wants to be SCU and SCP (PS3.7 D.3.3.4).
        extended: application information by SOP Class UID (PS3.7 D.3.3.5).
        services: service class by SOP Class UID, from common extended negotiation (PS3.7 D.3.3.6).
    """

    calling: str
    called: str
    contexts: tuple[Proposed, ...]
    application: str = APPLICATION_CONTEXT
    longest: int = 0
    implementation: str = ""
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    extended: Mapping[str, bytes] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)


def read_request(pdu: bytes) -> Request:
    """Read an A-ASSOCIATE-RQ (PS3.8 9.3.2). What comes back is shared, and may not be changed.

    Raises:
        BadMessage: it is not one.
    """
    return _read_known(pdu) if len(pdu) <= _REMEMBERED_BYTES else _read_request(pdu)


def _read_request(pdu: bytes) -> Request:
    try:
        read = A_ASSOCIATE_RQ()
        read.decode(pdu)
        primitive = read.to_primitive()
        contexts = tuple(
            Proposed(context.context_id, str(context.abstract_syntax or ""), tuple(map(str, context.transfer_syntax)))
            for context in primitive.presentation_context_definition_list
        )
        calling, called = str(primitive.calling_ae_title).strip(), str(primitive.called_ae_title).strip()
        told = _told(primitive.user_information)
    except Exception as error:  # whatever pynetdicom raises about bytes that are no request
        raise BadMessage("an association request cannot be read") from error
    if not contexts or len({context.number for context in contexts}) != len(contexts):
        raise BadMessage("an association request has no presentation context, or one number twice")
    return Request(calling, called, contexts, str(primitive.application_context_name or ""), **told)


_read_known = lru_cache(maxsize=_REMEMBERED)(_read_request)


def _told(items: Iterable[Any]) -> dict[str, Any]:
    """What the user information says."""
    told: dict[str, Any] = {"roles": {}, "extended": {}, "services": {}}
    for item in items:
        if isinstance(item, MaximumLengthNotification):
            told["longest"] = item.maximum_length_received or 0
        elif isinstance(item, ImplementationVersionNameNotification):
            told["implementation"] = str(item.implementation_version_name or "").strip()
        elif isinstance(item, ImplementationClassUIDNotification):
            told.setdefault("implementation", str(item.implementation_class_uid or ""))
        elif isinstance(item, SCP_SCU_RoleSelectionNegotiation):
            told["roles"][str(item.sop_class_uid)] = (bool(item.scu_role), bool(item.scp_role))
        elif isinstance(item, SOPClassExtendedNegotiation):
            told["extended"][str(item.sop_class_uid)] = bytes(item.service_class_application_information or b"")
        elif isinstance(item, SOPClassCommonExtendedNegotiation):
            told["services"][str(item.sop_class_uid)] = str(item.service_class_uid)
    return told


def write_acceptance(
    request: Request,
    contexts: Sequence[Context],
    longest: int,
    roles: Mapping[str, tuple[bool, bool]],
    extended: Mapping[str, bytes],
) -> bytes:
    """Write an A-ASSOCIATE-AC (PS3.8 9.3.3).

    Args:
        request: what is answered.
        contexts: one for each that was proposed.
        longest: largest PDU that we take.
        roles: granted roles, of those that were asked for.
        extended: granted application information, of what was asked for.
    """
    titles = (request.calling, request.called, request.application)
    return _write_acceptance(titles, tuple(contexts), longest, tuple(roles.items()), tuple(extended.items()))


@lru_cache(maxsize=_REMEMBERED)
def _write_acceptance(
    titles: tuple[str, str, str],
    contexts: tuple[Context, ...],
    longest: int,
    roles: tuple[tuple[str, tuple[bool, bool]], ...],
    extended: tuple[tuple[str, bytes], ...],
) -> bytes:
    primitive = _begin(*titles)
    primitive.result = 0
    primitive.result_source = 1
    primitive.user_information = _user_information(longest, dict(roles), dict(extended))
    results = []
    for context in contexts:
        result = PresentationContext()
        result.context_id = context.number
        result.transfer_syntax = [context.syntax]
        result.result = context.result
        results.append(result)
    primitive.presentation_context_definition_results_list = results
    return bytes(A_ASSOCIATE_AC(primitive).encode())


def write_rejection(reason: tuple[int, int, int]) -> bytes:
    """Write an A-ASSOCIATE-RJ with a result, source and reason (PS3.8 9.3.4)."""
    primitive = A_ASSOCIATE()
    primitive.result, primitive.result_source, primitive.diagnostic = reason
    return bytes(A_ASSOCIATE_RJ(primitive).encode())


def write_request(request: Request, longest: int) -> bytes:
    """Write an A-ASSOCIATE-RQ (PS3.8 9.3.2).

    Args:
        request: what is asked; its own `longest` is of no account.
        longest: largest PDU that we take.
    """
    primitive = _begin(request.calling, request.called, request.application)
    primitive.user_information = _user_information(longest, request.roles, request.extended)
    proposed = []
    for context in request.contexts:
        one = PresentationContext()
        one.context_id, one.abstract_syntax = context.number, context.abstract
        one.transfer_syntax = list(context.syntaxes)
        proposed.append(one)
    primitive.presentation_context_definition_list = proposed
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


def read_acceptance(pdu: bytes, request: Request) -> tuple[dict[int, Context], int, Mapping[str, tuple[bool, bool]]]:
    """Read the A-ASSOCIATE-AC that answers a request (PS3.8 9.3.3).

    Returns:
        The contexts in force by number, the largest PDU that the other side takes, the roles that it grants.

    Raises:
        BadMessage: it is not one.
    """
    try:
        read = A_ASSOCIATE_AC()
        read.decode(pdu)
        primitive = read.to_primitive()
        abstracts = {context.number: context.abstract for context in request.contexts}
        contexts = {
            each.context_id: Context(each.context_id, abstracts[each.context_id], str(each.transfer_syntax[0]))
            for each in primitive.presentation_context_definition_results_list
            if each.result == ACCEPTED and each.context_id in abstracts
        }
        told = _told(primitive.user_information)
    except Exception as error:
        raise BadMessage("the answer to an association request cannot be read") from error
    return contexts, told.get("longest", 0), told["roles"]


def read_rejection(pdu: bytes) -> NotAssociated:
    """Read an A-ASSOCIATE-RJ as an error with a sentence (PS3.8 9.3.4)."""
    result, source, reason = (pdu[7], pdu[8], pdu[9]) if len(pdu) >= 10 else (1, 1, 1)
    why = _REJECTIONS.get((source, reason), "it gives no reason")
    return NotAssociated(f"the other side rejects the association: {why}", lasting=result == 1)


def _begin(calling: str, called: str, application: str) -> A_ASSOCIATE:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = application
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    return primitive


def _user_information(longest: int, roles: Mapping[str, tuple[bool, bool]], extended: Mapping[str, bytes]) -> list[Any]:
    length = MaximumLengthNotification()
    length.maximum_length_received = longest
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    items: list[Any] = [length, implementation, version]
    for uid, (scu, scp) in roles.items():
        role = SCP_SCU_RoleSelectionNegotiation()
        role.sop_class_uid, role.scu_role, role.scp_role = uid, scu, scp
        items.append(role)
    for uid, information in extended.items():
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = uid, information
        items.append(item)
    return items


def choose_syntax(proposed: Sequence[str], wanted: Sequence[str] = (), private: bool = False) -> str:
    """Choose the transfer syntax of a storage context (PS3.8 9.3.3.2; the order is ours).

    Compressed and deflated ones come first, in the order in which they are proposed, since then nobody has to
    decode; then Explicit VR Little Endian, Implicit VR, Big Endian.

    Args:
        proposed: Transfer Syntax UIDs.
        wanted: what a node's settings allow, the most wanted first; () allows all.
        private: whether one that no table lists is taken where nothing else is offered.

    Returns:
        The UID, or "" if none will do.
    """
    if wanted:
        return next((uid for uid in wanted if uid in proposed), "")
    known = [uid for uid in proposed if uid in SYNTAXES and SYNTAXES[uid].kept]
    native = (EXPLICIT, IMPLICIT, BIG_ENDIAN)
    first = next((uid for uid in known if uid not in native), "")
    plain = next((uid for uid in native if uid in known), "")
    if first or plain:
        return first or plain
    return next((uid for uid in proposed if uid not in SYNTAXES), "") if private else ""


def choose_native(proposed: Sequence[str]) -> str:
    """Choose the transfer syntax of a context that carries identifiers: little endian, explicit VRs first; "" if
    none is proposed (PS3.5 10.1)."""
    return next((uid for uid in (EXPLICIT, IMPLICIT) if uid in proposed), "")
