"""Which association, presentation context and request is refused, and why in plain words.

Who calls is a node, found by AE title and address, or unknown; either has rights. A context of a service that the
caller may not use is refused, since no status of C-FIND and C-MOVE says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pynetdicom import sop_class as tables

from bridge import negotiation
from bridge.negotiation import Context, Proposed, Request
from bridge.nodes import Nodes
from dicomweb.standard.nodes import RIGHTS, Node, Right

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_SERVICE = "1.2.840.10008.4.2"
COMMITMENT = "1.2.840.10008.1.20.1"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"

Root = Literal["patient", "study", "patient only"]

# PS3.4 C.6.1.3, C.6.2.3 and the retired C.6.3.3: information models by SOP Class UID
_MODELS: dict[str, Root] = {
    "1.2.840.10008.5.1.4.1.2.1": "patient",
    "1.2.840.10008.5.1.4.1.2.2": "study",
    "1.2.840.10008.5.1.4.1.2.3": "patient only",
}
FIND: dict[str, Root] = {f"{uid}.1": root for uid, root in _MODELS.items()}
MOVE: dict[str, Root] = {f"{uid}.2": root for uid, root in _MODELS.items()}
GET: dict[str, Root] = {f"{uid}.3": root for uid, root in _MODELS.items()}

# PS3.4 B.5: pynetdicom lists all of them; newer ones begin alike. Those of GG.3 have no patient and no study, and
# are kept nowhere here
_STORAGE = frozenset(map(str, tables._STORAGE_CLASSES.values()))
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_PATIENTLESS = frozenset(map(str, tables._NON_PATIENT_OBJECT_CLASSES.values()))
_STANDARD = "1.2.840.10008."

# PS3.4 C.5.1.1, C.5.2.1: bytes of extended negotiation that we grant where they are asked for: relational queries,
# combined date-time matching, fuzzy names, timezone adjustment; no enhanced view; empty and multiple values
_GRANTED_FIND = (1, 1, 1, 1, 0, 1, 1)
_GRANTED_RETRIEVE = (1, 0)
# PS3.4 B.3.1: level 2 (all attributes are kept), signatures kept as they are, no coercion
_GRANTED_STORAGE = bytes((2, 0, 1, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say.

    Attributes:
        aet: our AE title.
        unknown: `everything`, `refuse`, or rights with `+` between them, for AE titles that are no node.
        check_called: an association that calls another AE title is refused.
        private: SOP classes that no table lists are taken as storage.
    """

    aet: str = "ROENTGATE"
    unknown: str = "everything"
    check_called: bool = True
    private: bool = False

    @property
    def unknown_rights(self) -> frozenset[Right]:
        """What callers that are no node may do."""
        if self.unknown == "everything":
            return frozenset(RIGHTS)
        return frozenset(right for right in RIGHTS if right in self.unknown.split("+"))


@dataclass(frozen=True, slots=True)
class Admitted:
    """An association that may begin: who calls, and what it may do."""

    node: Node | None
    rights: frozenset[Right]

    @property
    def syntaxes(self) -> tuple[str, ...]:
        """Transfer syntaxes in which objects come, () for all."""
        return self.node.accept_syntaxes if self.node else ()


@dataclass(frozen=True, slots=True)
class Denied:
    """An association that is rejected: result, source and reason (PS3.8 Table 9-21), two sentences, and the node
    whose AE title it bears."""

    code: tuple[int, int, int]
    reason: str
    remedy: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class Granted:
    """What is answered to the contexts of a request.

    Attributes:
        contexts: one for each that was proposed.
        roles, extended: as they go into the answer.
        refused: sentences about those that are not accepted, each with a remedy.
    """

    contexts: tuple[Context, ...]
    roles: Mapping[str, tuple[bool, bool]]
    extended: Mapping[str, bytes]
    refused: tuple[tuple[str, str], ...]


class Policy:
    """Decides about requests for associations.

    Args:
        rules: what the settings say.
        nodes: whom we know.
    """

    def __init__(self, rules: Rules, nodes: Nodes) -> None:
        self._rules = rules
        self._nodes = nodes

    def admit(self, request: Request, address: str) -> Admitted | Denied:
        """Decide whether an association may begin (PS3.8 9.3.4, PS3.7 D)."""
        if request.application != negotiation.APPLICATION_CONTEXT:
            return Denied(
                negotiation.NO_APPLICATION_CONTEXT,
                f"it asks for the application context {request.application!r}",
                "Only DICOM's own is spoken here",
            )
        if self._rules.check_called and request.called != self._rules.aet:
            return Denied(
                negotiation.CALLED_NOT_RECOGNIZED,
                f"it calls {request.called!r}, and we are {self._rules.aet!r}",
                f"Set the called AE title to {self._rules.aet} there, or the setting check_called_aet to false here",
            )
        node = self._nodes.caller(request.calling, address)
        if node is not None:
            return Admitted(node, frozenset(node.allow))
        known = self._nodes.called(request.calling)
        if known:
            return Denied(
                negotiation.CALLING_NOT_RECOGNIZED,
                f"{request.calling} is known as node {known[0].name}, but does not call from {address}",
                f"Add {address} to the sources of node {known[0].name} if it is the same device",
                known[0].name,
            )
        if self._rules.unknown == "refuse":
            return Denied(
                negotiation.CALLING_NOT_RECOGNIZED,
                f"no node has the AE title {request.calling!r}",
                "Add a node for it (nodes.toml or /nodes), or let the setting unknown_aets allow strangers something",
            )
        return Admitted(None, self._rules.unknown_rights)

    def grant(self, request: Request, admitted: Admitted) -> Granted:
        """Decide about each presentation context, role and item of extended negotiation (PS3.7 D.3)."""
        contexts, refused = [], []
        roles: dict[str, tuple[bool, bool]] = {}
        gets = any(proposed.abstract in GET for proposed in request.contexts)
        for proposed in request.contexts:
            context, why = self._context(proposed, request, admitted, gets)
            contexts.append(context)
            if why is not None:
                refused.append(why)
            elif proposed.abstract in request.roles:
                roles[proposed.abstract] = _role(proposed.abstract, request.roles[proposed.abstract], admitted.rights)
        extended = {
            uid: answer for uid, information in request.extended.items() if (answer := _extended(uid, information))
        }
        accepted = {context.abstract for context in contexts if context.result == negotiation.ACCEPTED}
        return Granted(
            tuple(contexts), roles, {uid: extended[uid] for uid in extended if uid in accepted}, tuple(refused)
        )

    def _context(
        self, proposed: Proposed, request: Request, admitted: Admitted, gets: bool
    ) -> tuple[Context, tuple[str, str] | None]:
        fallback = proposed.syntaxes[0] if proposed.syntaxes else "1.2.840.10008.1.2"
        right = self.right_for(proposed.abstract, request.services)

        def refuse(result: int, why: str, remedy: str) -> tuple[Context, tuple[str, str]]:
            return Context(proposed.number, proposed.abstract, fallback, result), (why, remedy)

        named = name_of(proposed.abstract)
        if right is None:
            private = not proposed.abstract.startswith(_STANDARD)
            remedy = "Set private_sop_classes to true if these are objects to be stored" if private else ""
            return refuse(negotiation.ABSTRACT_SYNTAX, f"{named} is not offered here", remedy)
        receives = right == "store" and gets and request.roles.get(proposed.abstract, (True, False))[1]
        if right not in admitted.rights and not (receives and "get" in admitted.rights):
            who = f"node {admitted.node.name}" if admitted.node else "strangers"
            remedy = f"Add {right} to what {who} may do, if that is meant"
            return refuse(negotiation.USER_REJECTION, f"{named} needs the right {right}, which it has not", remedy)
        if right == "store" and proposed.abstract != COMMITMENT:
            syntax = negotiation.choose_syntax(proposed.syntaxes, admitted.syntaxes, self._rules.private)
        else:
            syntax = negotiation.choose_native(proposed.syntaxes)
        if not syntax:
            offered = ", ".join(proposed.syntaxes[:4])
            remedy = "See accept_syntaxes of the node" if admitted.syntaxes else ""
            return refuse(
                negotiation.TRANSFER_SYNTAXES, f"none of the transfer syntaxes for {named} will do: {offered}", remedy
            )
        return Context(proposed.number, proposed.abstract, syntax), None

    def right_for(self, abstract: str, services: Mapping[str, str] | None = None) -> Right | None:
        """Return the right that a SOP class needs, None if we do not offer it.

        Args:
            abstract: SOP Class UID.
            services: service classes that the other side named (PS3.7 D.3.3.6).
        """
        if abstract == VERIFICATION:
            return "echo"
        if abstract in FIND:
            return "find"
        if abstract in MOVE:
            return "move"
        if abstract in GET:
            return "get"
        if abstract == COMMITMENT or is_storage(abstract):
            return "store"
        if (services or {}).get(abstract) == STORAGE_SERVICE:
            return "store"
        if self._rules.private and not abstract.startswith(_STANDARD):
            return "store"
        return None


def is_storage(abstract: str) -> bool:
    """Say whether a SOP class of the Standard is one of storage (PS3.4 B.5)."""
    return abstract not in _PATIENTLESS and (abstract in _STORAGE or abstract.startswith(_STORAGE_ROOT))


def name_of(uid: str) -> str:
    """Return the name of a SOP class, or its UID."""
    from pydicom.uid import UID

    return str(UID(uid).name) if uid else "(no SOP class)"


def _role(abstract: str, asked: tuple[bool, bool], rights: frozenset[Right]) -> tuple[bool, bool]:
    """Roles of the requester that are granted, of those it asked for (PS3.7 D.3.3.4, PS3.4 C.5.3)."""
    scu, scp = asked
    if abstract == COMMITMENT:
        return scu, False
    return scu and "store" in rights, scp and "get" in rights


def _extended(uid: str, information: bytes) -> bytes:
    """The bytes that are granted: never one that was not asked for, as many as were offered (PS3.4 C.5.1.1)."""
    if uid in FIND:
        return bytes(a & g for a, g in zip(information, _GRANTED_FIND, strict=False))
    if uid in MOVE or uid in GET:
        return bytes(a & g for a, g in zip(information, _GRANTED_RETRIEVE, strict=False))
    return _GRANTED_STORAGE if is_storage(uid) else b""
