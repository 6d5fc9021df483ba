"""C-GET and C-MOVE to WADO-RS and C-STORE sub-operations (PS3.4 C.4.2, C.4.3, PS3.7 9.1.3, 9.1.4).

Objects pass through as they are stored where the receiver takes them so. Where it does not, native data sets are
re-encoded here, and compressed pixels are asked for in a transfer syntax that it takes. What cannot be sent counts as
failed and is listed; one bad instance or one association that ends stops nothing else.

The Standard leaves open what becomes of a C-MOVE whose requester goes away: we stop. When the bridge has to end, what
was not sent yet counts as failed, and the final answer says so.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from bridge import statuses
from bridge.association import Association, Limits, Message, connect
from bridge.client import Origin
from bridge.commandsets import C_STORE, Command
from bridge.negotiation import Context, Proposed, Request
from bridge.nodes import Nodes
from bridge.plans import candidates, plan
from bridge.policy import GET, MOVE
from bridge.refusals import Peer, Refusals
from bridge.security import client_tls
from bridge.sources import File, Instance, Wanted, files, one, resolve
from dicomweb.errors import (
    BadMessage,
    BadObject,
    BadSetting,
    Conflict,
    Error,
    Forbidden,
    NotAssociated,
    NotFound,
    PeerLeft,
    PeerSilent,
)
from dicomweb.standard import identifiers
from dicomweb.standard.implicit import write_implicit
from dicomweb.standard.nodes import Node
from dicomweb.standard.syntaxes import (
    EXPLICIT,
    IMPLICIT,
    SYNTAXES,
)

PENDING_SECONDS = 1.0
"""Between two pending answers, so that requesters neither give up nor are flooded."""
_COUNT = 0xFFFF
_WAIT_SECONDS = 0.5
_HELD_BYTES = 4 << 20
_LISTED = 1000  # UIDs in the failed list that fit a value of 64 KiB


class Cancelled(Exception):
    """The requester cancelled."""


class Ended(Exception):
    """The bridge has to end."""


@dataclass
class Progress:
    """A retrieval under way: its counts, and its pending answers (PS3.4 C.4.2.1.6 to C.4.2.1.9).

    Attributes:
        association, message: of the requester.
        total: sub-operations in all.
        completed, warned: how many went well.
        failed: SOP Instance UIDs of the others.
        interleave: pending answers may be sent while a sub-operation is under way, which goes over another
            association.
        ends: says that no time is left.
    """

    association: Association
    message: Message
    total: int
    interleave: bool
    ends: Callable[[], bool]
    completed: int = 0
    warned: int = 0
    failed: list[str] = field(default_factory=list)
    comment: str = ""
    _last: float = 0.0
    _counted: set[str] = field(default_factory=set)

    @property
    def counts(self) -> dict[str, int]:
        """The counts of completed, failed and warned sub-operations."""
        return {
            "NumberOfCompletedSuboperations": min(self.completed, _COUNT),
            "NumberOfFailedSuboperations": min(len(self.failed), _COUNT),
            "NumberOfWarningSuboperations": min(self.warned, _COUNT),
        }

    @property
    def remaining(self) -> int:
        """Sub-operations that are still to come."""
        return min(max(self.total - self.completed - self.warned - len(self.failed), 0), _COUNT)

    def done(self, instance: Instance, status: int, comment: str = "") -> None:
        """Count a sub-operation by the status that the receiver answered."""
        self._counted.add(instance.uid)
        if status == statuses.SUCCESS:
            self.completed += 1
        elif status >> 12 == 0xB or status in (0x0107, 0x0116):
            self.warned += 1
        else:
            self.fail(instance, comment or f"the receiver answers {status:04X}")

    def fail(self, instance: Instance, why: str) -> None:
        """Count a sub-operation that failed."""
        self._counted.add(instance.uid)
        self.failed.append(instance.uid)
        self.comment = self.comment or why

    def fail_rest(self, instances: Iterable[Instance], why: str) -> None:
        """Count all sub-operations as failed that were not counted yet."""
        for instance in instances:
            if instance.uid not in self._counted:
                self.fail(instance, why)

    def tick(self) -> None:
        """Send a pending answer if it is time for one, and look whether the request was cancelled.

        Raises:
            Cancelled: it was.
            Ended: there is no time left.
            PeerLeft: the requester is gone.
        """
        if self.association.cancelled(self.message.command.get("MessageID", 0)):
            raise Cancelled
        if self.ends():
            raise Ended
        if time.monotonic() - self._last >= PENDING_SECONDS:
            self._last = time.monotonic()
            more = {"NumberOfRemainingSuboperations": self.remaining, **self.counts}
            self.association.respond(self.message, statuses.PENDING, more=more)

    def finish(self, cancelled: bool) -> None:
        """Send the final answer (PS3.4 Tables C.4-2, C.4-3)."""
        more = self.counts
        status, comment = statuses.SUCCESS, ""
        if cancelled:
            status, more = statuses.CANCELLED, {"NumberOfRemainingSuboperations": self.remaining, **more}
        elif self.failed and not (self.completed or self.warned):
            status, comment = statuses.CANNOT_PERFORM, self.comment
        elif self.failed or self.warned:
            status, comment = statuses.SUBOPERATIONS_FAILED, self.comment
        data = None
        if self.failed:
            listed = {"00080058": {"vr": "UI", "Value": self.failed[:_LISTED]}}
            data = identifiers.write(listed, self.message.context.syntax)
        self.association.respond(self.message, status, comment, data, more)


class Sender(Protocol):
    """How sub-operations reach the receiver."""

    def send(self, instance: Instance, file: File, progress: Progress) -> None:
        """Send an object and count what became of it."""


class _Retrieving:
    """What C-GET and C-MOVE have in common.

    Args:
        origin: where objects come from.
        refusals: told of what is refused.
        strict: what was not negotiated is refused.
        ends: says that the bridge ends, and that a final answer has to be given now.
    """

    name: ClassVar[str]
    models: ClassVar[Mapping[str, identifiers.Root]]

    def __init__(self, origin: Origin, refusals: Refusals, strict: bool, ends: Callable[[], bool]) -> None:
        self._origin = origin
        self._refusals = refusals
        self._strict = strict
        self._ends = ends

    def serve(self, association: Association, message: Message, peer: Peer) -> None:
        """Answer a retrieval."""
        try:
            wanted = self._resolve(association, message, peer)
            progress = Progress(association, message, len(wanted.instances), self.name == "C-MOVE", self._ends)
            cancelled = False
            try:
                if wanted.instances:
                    progress.tick()
                    self._transfer(wanted, progress, peer)
            except Cancelled:
                cancelled = True
            except Ended:
                progress.fail_rest(wanted.instances, "the bridge was told to stop")
            progress.finish(cancelled)
        except (PeerLeft, PeerSilent, BadMessage):
            raise
        except Error as error:
            self._refuse(association, message, peer, error)
            return
        if progress.failed:
            self._refusals.note(
                "request", peer, f"{self.name}: {len(progress.failed)} of {progress.total} failed: {progress.comment}"
            )
        elif not progress.total:
            self._refusals.note("query", peer, f"{self.name}: nothing of what was asked for is here")

    def _refuse(self, association: Association, message: Message, peer: Peer, error: Error) -> None:
        verdict = statuses.from_error(error)
        status, advice = verdict.status, ""
        if isinstance(error, _NoDestination):
            status, advice = statuses.UNKNOWN_DESTINATION, "Add a node with this AE title, its host and port"
        elif isinstance(error, _NotAllowed):
            advice = "Add that node to its destinations, if that is meant"
        elif isinstance(error, BadObject):
            status = statuses.DOES_NOT_MATCH
        elif status == statuses.OUT_OF_RESOURCES:
            status = statuses.CANNOT_COUNT
        self._refusals.note("request", peer, f"{self.name}: {verdict.comment} ({status:04X})", advice)
        association.respond(message, status, verdict.comment)

    def _resolve(self, association: Association, message: Message, peer: Peer) -> Wanted:
        abstract = message.context.abstract
        data = association.identifier() if message.has_data else b""
        self._check(message, peer)
        identifier = identifiers.read(data, message.context.syntax)
        relational = association.extended.get(abstract, b"\0")[:1] == b"\1"
        return resolve(self._origin, identifier, self.models[abstract], relational, self._strict)

    def _check(self, message: Message, peer: Peer) -> None:
        """Raise an error if the request cannot be carried out, before anything is looked for."""

    def _transfer(self, wanted: Wanted, progress: Progress, peer: Peer) -> None:
        raise NotImplementedError

    def _send_all(self, sender: Sender, instances: Sequence[Instance], whole: bool, progress: Progress) -> None:
        with contextlib.closing(files(self._origin, instances, whole)) as found:
            for instance, file in found:
                if isinstance(file, Error):
                    progress.fail(instance, str(file))
                else:
                    sender.send(instance, file, progress)
                progress.tick()


class GetService(_Retrieving):
    """Serves C-GET: sub-operations go over the association of the request."""

    name = "C-GET"
    models = GET

    def _transfer(self, wanted: Wanted, progress: Progress, peer: Peer) -> None:
        association = progress.association
        contexts = [
            context
            for context in association.contexts.values()
            if association.roles.get(context.abstract, (True, False))[1] and context.abstract not in GET
        ]
        self._send_all(_Over(self._origin, association, contexts, {}), wanted.instances, wanted.whole, progress)


class _NotAllowed(Forbidden):
    """A Move Destination that the requester may not name."""


class _NoDestination(Error):
    """A Move Destination that names no node, or several."""


class MoveService(_Retrieving):
    """Serves C-MOVE: sub-operations go over associations with the destination.

    Args:
        origin: where objects come from.
        refusals: told of what is refused.
        strict: what was not negotiated is refused.
        ends: see GetService.
        nodes: the destinations.
        aet: our AE title.
        limits: of the associations.
        connect_seconds: for their connections.
        certificate, key: PEM files that we show where a node names none.
        ca: PEM file of authorities, likewise.
    """

    name = "C-MOVE"
    models = MOVE

    def __init__(
        self,
        origin: Origin,
        refusals: Refusals,
        strict: bool,
        ends: Callable[[], bool],
        nodes: Nodes,
        aet: str,
        limits: Limits,
        connect_seconds: float = 10.0,
        certificate: str = "",
        key: str = "",
        ca: str = "",
    ) -> None:
        super().__init__(origin, refusals, strict, ends)
        self._nodes = nodes
        self._aet = aet
        self._limits = limits
        self._connect_seconds = connect_seconds
        self._certificates = (certificate, key, ca)

    def _destination(self, message: Message) -> Node:
        try:
            return self._nodes.destination(str(message.command.get("MoveDestination", "")))
        except (NotFound, Conflict) as error:
            raise _NoDestination(str(error)) from error

    def _check(self, message: Message, peer: Peer) -> None:
        destination = self._destination(message)
        for node in self._nodes.called(peer.calling):
            if node.name == peer.node and node.destinations and destination.name not in node.destinations:
                raise _NotAllowed(f"node {node.name} may not have objects moved to {destination.name}")

    def _transfer(self, wanted: Wanted, progress: Progress, peer: Peer) -> None:
        node = self._destination(progress.message)
        originator = {
            "MoveOriginatorApplicationEntityTitle": peer.calling,
            "MoveOriginatorMessageID": progress.message.command.get("MessageID", 0),
        }
        for proposed, instances in plan(wanted.instances, node.accept_syntaxes):
            self._group(node, proposed, instances, wanted.whole, progress, originator)

    def _group(
        self,
        node: Node,
        proposed: tuple[Proposed, ...],
        instances: Sequence[Instance],
        whole: bool,
        progress: Progress,
        originator: Command,
    ) -> None:
        """Send what one set of presentation contexts is for; over a second association if the first one ends."""
        left = {instance.uid: instance for instance in instances}
        for _ in range(2):
            association: Association | None = None
            try:
                association = self._connect(node, proposed)
                sender = _Over(self._origin, association, list(association.contexts.values()), originator, left)
                self._send_all(sender, list(left.values()), whole, progress)
                left.clear()
            except NotAssociated as error:
                for instance in left.values():
                    progress.fail(instance, f"{node.name}: {error}")
                left.clear()
            except _ReceiverLeft as error:
                progress.comment = progress.comment or f"{node.name}: {error}"
            except (Cancelled, Ended):
                if association is not None:
                    association.release()
                raise
            finally:
                if association is not None:
                    association.release() if not left else association.abort()
            if not left:
                return
        for instance in left.values():
            progress.fail(instance, f"{node.name} ended the association twice")

    def _connect(self, node: Node, proposed: tuple[Proposed, ...]) -> Association:
        certificate, key, ca = self._certificates
        tls = None
        if node.tls:
            shown = (node.client_cert, node.client_key) if node.client_cert else (certificate, key)
            try:
                tls = client_tls(node.ca or ca, *shown)
            except BadSetting as error:
                raise NotAssociated(str(error), lasting=True) from error
        request = Request(self._aet, node.aet, proposed)
        return connect(node.host, node.port, request, self._limits, tls, self._connect_seconds)


class _ReceiverLeft(Error):
    """The association with the destination ended."""


class _Over:
    """Sends over an association.

    Args:
        origin: where objects come from in another transfer syntax.
        association: with the receiver.
        contexts: that may be used.
        originator: elements of the command that say who asked for it.
        left: instances that are not sent yet, which shrinks; None where nobody wants to know.
    """

    def __init__(
        self,
        origin: Origin,
        association: Association,
        contexts: Sequence[Context],
        originator: Command,
        left: dict[str, Instance] | None = None,
    ) -> None:
        self._origin = origin
        self._association = association
        self._originator = originator
        self._left = left
        self._contexts: dict[str, dict[str, Context]] = {}
        for context in contexts:
            self._contexts.setdefault(context.abstract, {}).setdefault(context.syntax, context)

    def send(self, instance: Instance, file: File, progress: Progress) -> None:
        """Send an object in a transfer syntax that the receiver takes, and count what became of it."""
        if self._left is not None:
            self._left.pop(instance.uid, None)
        accepted = self._contexts.get(file.sop_class, {})
        if not accepted:
            progress.fail(instance, f"the receiver does not take SOP class {file.sop_class}")
            return
        context = accepted.get(file.syntax)
        if context is not None:
            self._deliver(instance, context, file.pieces, progress)
        elif file.syntax == EXPLICIT and IMPLICIT in accepted:
            self._deliver(instance, accepted[IMPLICIT], write_implicit(file.pieces), progress)
        else:
            self._transcoded(instance, file.syntax, accepted, progress)

    def _transcoded(self, instance: Instance, stored: str, accepted: dict[str, Context], progress: Progress) -> None:
        """Ask for the object in what the receiver takes: uncompressed first, for that loses nothing."""
        why = ""
        for syntax in candidates(stored, accepted):
            context = accepted.get(syntax) or accepted[IMPLICIT]
            for _, file in one(self._origin, instance, syntax):
                if isinstance(file, Error):
                    why = str(file)
                elif file.syntax != syntax:
                    why = f"the DICOMweb server has it in transfer syntax {file.syntax} only"
                else:
                    pieces = file.pieces if context.syntax == syntax else write_implicit(file.pieces)
                    self._deliver(instance, context, pieces, progress)
                    return
        name = SYNTAXES[stored].name if stored in SYNTAXES else stored
        progress.fail(
            instance, f"it is stored in {name}, which the receiver does not take" + (f": {why}" if why else "")
        )

    def _deliver(
        self, instance: Instance, context: Context, pieces: Iterable[bytes | memoryview], progress: Progress
    ) -> None:
        command = {
            "AffectedSOPClassUID": context.abstract,
            "CommandField": C_STORE,
            "Priority": 0,
            "AffectedSOPInstanceUID": instance.uid,
            **self._originator,
        }
        data = iter(_ticking(pieces, progress) if progress.interleave else pieces)
        try:
            held = _gather(data)
        except (PeerLeft, PeerSilent, BadMessage):
            raise
        except Error as error:
            progress.fail(instance, str(error))
            return
        if not held:
            progress.fail(instance, "the object is empty")
            return
        requester = progress.association
        try:
            request = self._association.start(context.number, command, itertools.chain(held, data))
            if progress.interleave:
                while not self._association.waits(_WAIT_SECONDS):
                    progress.tick()
            answer = self._association.answer(request)
        except Ended:
            self._association.abort()  # in the middle of an object, or of the wait for its answer
            raise
        except (PeerLeft, PeerSilent, BadMessage) as error:
            if self._association is requester or not requester.open:
                raise
            progress.fail(instance, str(error))
            raise _ReceiverLeft(str(error)) from error
        except Error as error:  # the object ended in its middle, and with it the association
            progress.fail(instance, str(error))
            if self._association is requester:
                raise PeerLeft(f"an object could not be read to its end: {error}") from error
            raise _ReceiverLeft(str(error)) from error
        progress.done(instance, answer.get("Status", statuses.UNABLE), answer.get("ErrorComment", ""))


def _gather(data: Iterator[bytes | memoryview]) -> list[bytes | memoryview]:
    """Take the beginning of an object, or all of it if it is not large: so that one which cannot be read to its end
    costs itself and not the association, and a receiver that is slow keeps no answer of the web server open."""
    held, size = [], 0
    for piece in data:
        held.append(piece)
        size += len(piece)
        if size >= _HELD_BYTES:
            break
    return held


def _ticking(pieces: Iterable[bytes | memoryview], progress: Progress) -> Iterator[bytes | memoryview]:
    for piece in pieces:
        progress.tick()
        yield piece
