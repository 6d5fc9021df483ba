"""C-FIND, C-MOVE and C-GET as a client of a node, and the associations for them (PS3.4 C.4; PS3.7 9.1).

Keys go out in the character set that the node reads, and answers come back as DICOM JSON in UTF-8. What fails says in
plain words how far it got.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pynetdicom import sop_class
from pynetdicom.presentation import StoragePresentationContexts

from bridge import statuses
from bridge.association import Association, Limits, Message, connect
from bridge.commandsets import C_CANCEL, C_FIND, C_GET, C_MOVE, C_STORE, RESPONSE
from bridge.negotiation import MOST_CONTEXTS, Context, Proposed, Request
from bridge.security import tls_to
from dicomweb.errors import BadMessage, NotAssociated, PeerLeft, PeerSilent, Unavailable
from dicomweb.standard.attributes import Level
from dicomweb.standard.identifiers import read_answer, write_request
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.nodes import Node
from dicomweb.standard.syntaxes import (
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LS,
    JPEG_LS_LOSSY,
    RLE,
    SYNTAXES,
)

NATIVE = (EXPLICIT, IMPLICIT)
"""Transfer syntaxes that every node can be expected to take, the better one first."""

_FIND = {"patient": str(sop_class.PatientRootQueryRetrieveInformationModelFind),
         "study": str(sop_class.StudyRootQueryRetrieveInformationModelFind)}  # fmt: skip
_MOVE = {"patient": str(sop_class.PatientRootQueryRetrieveInformationModelMove),
         "study": str(sop_class.StudyRootQueryRetrieveInformationModelMove)}  # fmt: skip
_GET = {"patient": str(sop_class.PatientRootQueryRetrieveInformationModelGet),
        "study": str(sop_class.StudyRootQueryRetrieveInformationModelGet)}  # fmt: skip
# What is proposed for classes so many that there is no room for all: old nodes take no longer request
_USUAL = (JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LS, JPEG_LS_LOSSY, JPEG_2000_LOSSLESS, JPEG_2000, RLE)
_SECONDS = Limits(request_seconds=15.0, pdu_seconds=30.0, answer_seconds=120.0)
_CONNECT_SECONDS = 5.0
_IDENTIFIER_BYTES = 1 << 24
_PENDING = (statuses.PENDING, statuses.PENDING_OPTIONAL)

UIDs = Mapping[str, str | Sequence[str]]
"""Unique keys of a retrieval by tag, one UID or a list of them each (PS3.4 C.4.2.1.4.1, C.2.2.2.2)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Sub-operations of a C-MOVE or C-GET (PS3.4 C.4.2.1.6); `failed_list` has UIDs, as far as they were told."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warned: int = 0
    status: int = statuses.PENDING
    comment: str = ""
    failed_list: tuple[str, ...] = ()


Take = Callable[[Association, Message], None]
"""Takes an object that a C-GET brings, and answers for it."""


class Remote:
    """A remote application entity, for one thread. Searches that follow each other share an association, until `close`.

    Args:
        node: which.
        aet: our own AE title.

    Raises:
        NotAssociated: it has no address.
    """

    def __init__(self, node: Node, aet: str) -> None:
        if not node.host:
            raise NotAssociated(f"node {node.name} has no host and port; it can call us, and we cannot call it", True)
        self.node = node
        self.aet = aet
        self._rest: Association | None = None

    def associate(
        self, contexts: Sequence[tuple[str, Sequence[str]]], roles: Mapping[str, tuple[bool, bool]] | None = None
    ) -> Association:
        """Ask for an association.

        Args:
            contexts: abstract syntax and transfer syntaxes of each, at most 128.
            roles: see `Request.roles`.

        Raises:
            NotAssociated: none came about.
        """
        proposed = tuple(Proposed(2 * n + 1, abstract, tuple(uids)) for n, (abstract, uids) in enumerate(contexts))
        request = Request(self.aet, self.node.aet, proposed, roles=roles or {})
        return connect(self.node.host, self.node.port, request, _SECONDS, tls_to(self.node), _CONNECT_SECONDS)

    # -- C-FIND ---------------------------------------------------------------------------------------------

    def find(self, level: Level, keys: Dataset, most: int = 1_000_000) -> Iterator[Dataset]:
        """Find what matches an identifier (PS3.4 C.4.1).

        Args:
            level: patient, study, series or instance; UIDs of the levels above are among the keys.
            keys: in the DICOM JSON model; without Query/Retrieve Level.
            most: after so many answers the request is cancelled.

        Raises:
            NotAssociated: no association came about.
            Unavailable: the node answered with a failure, or broke off.
        """
        models = [_FIND["patient"]] if level == "patient" else [_FIND["study"], _FIND["patient"]]
        association, message = self._begin_find(models, level, keys)
        with self._resting(association):
            found = 0
            while True:
                if message is None:
                    message = _receive(association)
                if not _is_pending(message, C_FIND):
                    return
                if message.has_data:
                    data = association.identifier(_IDENTIFIER_BYTES)
                    if found < most:
                        yield read_answer(data, message.context.syntax, self.node.charset)
                    found += 1
                    if found == most:
                        cancel = {"CommandField": C_CANCEL, "MessageIDBeingRespondedTo": 1}
                        association.send(message.context.number, cancel)
                message = None

    def _begin_find(self, models: Sequence[str], level: Level, keys: Dataset) -> tuple[Association, Message | None]:
        """Send a request over the association that is at rest, or over a new one; return the first answer too, where
        it had to be waited for to see whether an old association still lives."""
        resting, self._rest = self._rest, None
        if resting is not None:
            if resting.open and any(resting.context_for(model) for model in models):
                try:
                    self._ask_find(resting, models, level, keys)
                    return resting, _receive(resting)
                except (PeerLeft, PeerSilent, BadMessage):
                    resting.abort()
            else:
                resting.release()
        association = self.associate([(model, NATIVE) for model in models])
        with using(association, self.node.name, ends=False):
            self._ask_find(association, models, level, keys)
        return association, None

    def _ask_find(self, association: Association, models: Sequence[str], level: Level, keys: Dataset) -> None:
        context = offered(association, models)
        command = {"AffectedSOPClassUID": context.abstract, "CommandField": C_FIND, "Priority": 0, "MessageID": 1}
        association.send(context.number, command, write_request(level, keys, context.syntax, self.node.charset))

    @contextlib.contextmanager
    def _resting(self, association: Association) -> Iterator[None]:
        """Keep an association for the next search when this one has come to its end."""
        with using(association, self.node.name, ends=False):
            yield
        if self._rest is None and association.open:
            self._rest = association
        else:
            association.release()

    def close(self) -> None:
        """Release what is at rest."""
        if self._rest is not None:
            self._rest.release()
            self._rest = None

    # -- C-MOVE and C-GET -----------------------------------------------------------------------------------

    def move(
        self,
        level: Level,
        uids: UIDs,
        destination: str,
        stop: Callable[[], bool] = lambda: False,
        message: int = 1,
    ) -> Iterator[Counts]:
        """Let the node send to a third application entity, or to us (PS3.4 C.4.2).

        Args:
            level: of what is moved.
            uids: unique keys by DICOM JSON tag, one for each level from the study on.
            destination: AE title of who receives.
            stop: asked after each answer; true cancels.
            message: Message ID, which the node repeats to the destination.

        Yields:
            The counts after each answer; the last ones have the final status.

        Raises:
            NotAssociated, Unavailable: as `find`.
        """
        models = [_MOVE["study"], _MOVE["patient"]]
        association = self.associate([(model, NATIVE) for model in models])
        with using(association, self.node.name):
            context = offered(association, models)
            command = {
                "AffectedSOPClassUID": context.abstract, "CommandField": C_MOVE, "Priority": 0,
                "MessageID": message, "MoveDestination": destination,
            }  # fmt: skip
            association.send(context.number, command, write_request(level, _keys(uids), context.syntax))
            cancelled = False
            while True:
                received = _receive(association)
                counts = self._counts(association, received, C_MOVE, context.syntax)
                yield counts
                if counts.status not in _PENDING:
                    return
                if stop() and not cancelled:
                    cancelled = True
                    association.send(context.number, {"CommandField": C_CANCEL, "MessageIDBeingRespondedTo": message})

    def get(
        self,
        level: Level,
        uids: UIDs,
        classes: Iterable[str],
        take: Take,
        stop: Callable[[], bool] = lambda: False,
    ) -> Counts:
        """Let the node send to us over this association (PS3.4 C.4.3, C.5.3).

        Args:
            level, uids: as `move`.
            classes: SOP classes that are expected; none stands for all that are known.
            take: called with each object; it answers for it.
            stop: asked after each object; true cancels.

        Raises:
            NotAssociated: no association came about, or the node does not know C-GET (`lasting`).
            Unavailable: as `find`.
        """
        models = [_GET["study"], _GET["patient"]]
        stores = self._store_contexts(classes)
        roles = {abstract: (False, True) for abstract, _ in stores}
        association = self.associate([*((model, NATIVE) for model in models), *stores], roles)
        with using(association, self.node.name):
            context = offered(association, models)
            command = {"AffectedSOPClassUID": context.abstract, "CommandField": C_GET, "Priority": 0, "MessageID": 1}
            association.send(context.number, command, write_request(level, _keys(uids), context.syntax))
            cancelled = False
            while True:
                received = _receive(association)
                if received.field == C_STORE:
                    take(association, received)
                    if stop() and not cancelled:
                        cancelled = True
                        cancel = {"CommandField": C_CANCEL, "MessageIDBeingRespondedTo": 1}
                        association.send(context.number, cancel)
                    continue
                counts = self._counts(association, received, C_GET, context.syntax)
                if counts.status not in _PENDING:
                    return counts

    def _counts(self, association: Association, message: Message, field_: int, syntax: str) -> Counts:
        if message.field != field_ | RESPONSE:
            raise BadMessage("another message instead of the answer")
        command = message.command
        failed: tuple[str, ...] = ()
        if message.has_data:
            told = read_answer(association.identifier(_IDENTIFIER_BYTES), syntax)
            failed = tuple(str(uid) for uid in told.get("00080058", {}).get("Value") or ())
        return Counts(
            int(command.get("NumberOfRemainingSuboperations") or 0),
            int(command.get("NumberOfCompletedSuboperations") or 0),
            int(command.get("NumberOfFailedSuboperations") or 0),
            int(command.get("NumberOfWarningSuboperations") or 0),
            int(command.get("Status", statuses.PROCESSING_FAILURE)),
            str(command.get("ErrorComment") or ""),
            failed,
        )

    def _store_contexts(self, classes: Iterable[str]) -> Sequence[tuple[str, Sequence[str]]]:
        """Contexts in which a C-GET may bring objects: as many of one syntax each as there is room for, so that
        compressed pixels come as they are; then one of all syntaxes for each class."""
        wanted = list(dict.fromkeys(classes)) or [str(one.abstract_syntax) for one in StoragePresentationContexts]
        syntaxes = self.node.accept_syntaxes or tuple(
            uid for uid, one in SYNTAXES.items() if one.kept and not one.big_endian and not one.deflated
        )
        compressed = [uid for uid in syntaxes if uid not in NATIVE]
        native = [uid for uid in NATIVE if uid in syntaxes] or list(NATIVE)
        room = MOST_CONTEXTS - len(_GET)
        each = room // max(len(wanted), 1) - 1
        if each >= len(compressed):
            return [(one, uids) for one in wanted for uids in ([uid] for uid in compressed)] + [
                (one, native) for one in wanted
            ]
        if each >= 1:
            return [(one, uids) for one in wanted for uids in (compressed, native) if uids][:room]
        usual = [uid for uid in _USUAL if uid in compressed]
        return [(one, [*usual, *native]) for one in wanted][:room]


def _keys(uids: UIDs) -> Dataset:
    return {
        tag: {"vr": "UI", "Value": [value] if isinstance(value, str) else list(value)} for tag, value in uids.items()
    }


# -- messages -------------------------------------------------------------------------------------------------


def offered(association: Association, abstracts: Sequence[str]) -> Context:
    """Return the context of the first of some abstract syntaxes that was accepted. Raises NotAssociated."""
    for abstract in abstracts:
        if (context := association.context_for(abstract)) is not None:
            return context
    raise NotAssociated(f"{association.request.called} does not offer this service to us", lasting=True)


def _receive(association: Association) -> Message:
    message = association.receive(_SECONDS.answer_seconds)
    if message is None:
        raise PeerLeft("it released the association instead of answering")
    return message


def _is_pending(message: Message, field_: int) -> bool:
    """Say whether an answer is one of several; false for the final one.

    Raises:
        Unavailable: that is a failure.
    """
    if message.field != field_ | RESPONSE:
        raise BadMessage("another message instead of the answer")
    status = int(message.command.get("Status", statuses.PROCESSING_FAILURE))
    if status in _PENDING:
        return True
    if status not in (statuses.SUCCESS, statuses.CANCELLED) and status >> 12 != 0xB:
        raise Unavailable(statuses.describe(status, str(message.command.get("ErrorComment") or "")))
    return False


@contextlib.contextmanager
def using(association: Association, name: str, ends: bool = True) -> Iterator[None]:
    """Release the association at the end, if it `ends` there; what is left in its middle is aborted.

    Raises:
        Unavailable: it broke.
    """
    try:
        yield
    except (PeerLeft, PeerSilent, BadMessage) as error:
        association.abort()
        raise Unavailable(f"{name} broke the association: {error}") from error
    except BaseException:
        association.abort()
        raise
    if ends:
        association.release()
