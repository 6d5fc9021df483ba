"""Storage Commitment Push (PS3.4 J): what the archive really holds is looked up, and reported until the requester has
acknowledged it.

A request lies on disk before it is acknowledged, so that a restart forgets none. The report goes over a new
association to the node that asked, called and calling AE titles exchanged; to somebody without an address it goes
over the association of the request, between whatever else is asked there. While the archive does not answer, or
objects that had come before the request wait in our spool, nothing is reported. They may wait in the spool of another
bridge too, of which we know nothing: so with a spool what is absent is looked for again for a while before it counts
as missing; a while in which the archive answers, since nobody delivers to one that is away. A node that takes no
reports holds up no other.
"""

import json
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge import statuses
from bridge.association import Association, Limits, Message, connect
from bridge.client import Origin
from bridge.commandsets import N_EVENT_REPORT, Command
from bridge.holdings import Holding, Holdings
from bridge.journal import sync
from bridge.negotiation import Context, Proposed, Request
from bridge.nodes import Nodes
from bridge.policy import COMMITMENT, COMMITMENT_INSTANCE, is_storage
from bridge.refusals import Peer, Refusals
from bridge.security import tls_to
from bridge.spool import Spool
from dicomweb.errors import BadMessage, BadObject, Error, NotAssociated, NotFound, Unavailable
from dicomweb.standard import dicomjson, identifiers
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.nodes import Node
from dicomweb.standard.syntaxes import EXPLICIT, IMPLICIT
from dicomweb.standard.uids import is_uid

log = logging.getLogger(__name__)

_THREADS = 4
_LOOK_SECONDS = 0.1
_AGAIN_SECONDS = 1.0
"""Between looks for what may still wait in a spool."""
_PATIENT_ATTEMPTS = 3
_FRESH_SECONDS = 600.0
"""For so long what was looked up holds, where a report has to be sent again."""
_PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
_GIVE_UP_SECONDS = 7 * 86400.0
_IDENTIFIER_BYTES = 1 << 26

# PS3.4 J.3.3.1: event types
_ALL_COMMITTED, _SOME_FAILED = 1, 2


@dataclass
class _Request:
    """A request for commitment and how far it is; `again` says that its Transaction UID was under way for others,
    `mark` what had come to our spool before it."""

    transaction: str
    references: list[tuple[str, str]]
    aet: str
    address: str
    node: str
    since: float
    attempts: int = 0
    due: float = 0.0
    again: bool = False
    mark: int = 0


class _Waits(Unavailable):
    """Objects may still lie in a spool."""


@dataclass
class _Search:
    """What was looked up for a request so far; what is absent may come until `patience` ends (monotonic clock), which
    begins when the archive answers."""

    patience: float = math.inf
    until: float = 0.0
    held: dict[str, Holding] = field(default_factory=dict)


@dataclass
class _Owed:
    """A report that is owed over the association of its request: what was looked up once `looked` is set, and the
    Message ID under which it went out, or 0."""

    request: _Request
    context: Context
    looked: threading.Event = field(default_factory=threading.Event)
    held: Mapping[str, Holding] | None = None
    problem: str = ""
    sent: int = 0


class CommitmentService:
    """Serves N-ACTION of Storage Commitment Push, and reports.

    Args:
        origin: who holds the objects.
        nodes: where reports go.
        refusals: told of what is refused or cannot be reported.
        aet: our AE title.
        folder: where requests lie; made if it is not there.
        limits: of associations for reports.
        spool: where objects wait that were acknowledged and are not in the archive yet, if there is one.
        patience_seconds: with a spool, for so long absent objects may still be on their way from another bridge's.
        connect_seconds: for the connections of reports.
    """

    def __init__(
        self,
        origin: Origin,
        nodes: Nodes,
        refusals: Refusals,
        aet: str,
        folder: Path,
        limits: Limits,
        spool: Spool | None,
        patience_seconds: float = 120.0,
        connect_seconds: float = 10.0,
    ) -> None:
        self._nodes = nodes
        self._refusals = refusals
        self._aet = aet
        self._folder = folder
        self._limits = limits
        self._spool = spool
        self._patience = patience_seconds if spool is not None else 0.0
        self._connect_seconds = connect_seconds
        self._condition = threading.Condition()
        self._stopping = False
        self._requests: dict[str, _Request] = {}
        self._searches: dict[str, _Search] = {}
        self._busy: set[str] = set()
        self._owed: dict[Association, deque[_Owed]] = {}
        self._holdings = Holdings(origin, nodes, lambda: self._stopping)
        if folder.is_dir():
            for path in sorted(folder.glob("*.json")):
                self._load(path)
        self._threads = [threading.Thread(target=self._work, name="commitment", daemon=True) for _ in range(_THREADS)]
        for thread in self._threads:
            thread.start()

    def _load(self, path: Path) -> None:
        try:
            told = json.loads(path.read_text())
            told["references"] = [(str(sop_class), str(uid)) for sop_class, uid in told["references"]]
            self._requests[path.name] = _Request(**told)
        except (ValueError, TypeError, KeyError) as error:
            log.error("the request for commitment in %s cannot be read: %s", path.name, error)

    def close(self) -> None:
        """Stop reporting; the rest is reported after the next start."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        end = time.monotonic() + 10.0
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))

    def waiting(self) -> int:
        """Return how many requests are not reported yet."""
        with self._condition:
            return len(self._requests)

    # -- requests -------------------------------------------------------------------------------------------

    def serve(self, association: Association, message: Message, peer: Peer) -> None:
        """Take a request and acknowledge it (PS3.4 J.3.2)."""
        command = message.command
        more = {
            "AffectedSOPClassUID": COMMITMENT,
            "AffectedSOPInstanceUID": COMMITMENT_INSTANCE,
            "ActionTypeID": command.get("ActionTypeID"),
        }
        try:
            data = association.identifier(_IDENTIFIER_BYTES) if message.has_data else b""
            status, why, request = self._read(command, data, message.context.syntax, peer)
        except BadObject as error:
            status, why, request = statuses.INVALID_ARGUMENT, f"the data set cannot be read: {error}", None
        if request is None:
            self._refusals.note("request", peer, f"N-ACTION of storage commitment: {why} ({status:04X})")
            association.respond(message, status, why, more=more)
            return
        if self._node(request) is None:
            association.respond(message, statuses.SUCCESS, more=more)
            self._owe(association, _Owed(request, message.context))
            return
        with self._condition:
            key = request.aet, request.transaction
            same = [one for one in self._requests.values() if (one.aet, one.transaction) == key]
        if not any(one.references == request.references for one in same):
            request.again = bool(same)
            try:
                name = self._keep(request)
            except OSError as error:
                why = f"the bridge has no room to keep the request: {error.strerror}"
                log.error("storage commitment: %s", why)
                self._refusals.note("request", peer, f"N-ACTION of storage commitment: {why}")
                association.respond(message, statuses.RESOURCE_LIMITATION, why, more=more)
                return
            with self._condition:
                self._requests[name] = request
                self._condition.notify_all()
        association.respond(message, statuses.SUCCESS, more=more)

    def _read(self, command: Command, data: bytes, syntax: str, peer: Peer) -> tuple[int, str, _Request | None]:
        if command.get("RequestedSOPInstanceUID") != COMMITMENT_INSTANCE:
            return statuses.NO_SUCH_OBJECT, "only the well-known instance can be asked", None
        if command.get("ActionTypeID") != 1:
            return statuses.NO_SUCH_ACTION, "the only action type is 1", None
        dataset = identifiers.read(data, syntax)
        transaction = dicomjson.text(dataset, "00081195")
        items = [item for item in dicomjson.values(dataset, "00081199") if isinstance(item, dict)]
        references = [(dicomjson.text(item, "00081150"), dicomjson.text(item, "00081155")) for item in items]
        if not is_uid(transaction):
            return statuses.INVALID_ARGUMENT, "Transaction UID (0008,1195) is missing or no UID", None
        if not references or not all(is_uid(sop_class) and is_uid(uid) for sop_class, uid in references):
            return statuses.INVALID_ARGUMENT, "Referenced SOP Sequence (0008,1199) is missing or incomplete", None
        unique = list(dict.fromkeys(references))
        mark = self._spool.mark() if self._spool is not None else 0
        request = _Request(transaction, unique, peer.calling, peer.address, peer.node, time.time(), mark=mark)
        return 0, "", request

    def _keep(self, request: _Request) -> str:
        """Write a request to disk, synced under its name; return that.

        Raises:
            OSError: the disk does not take it; nothing is left of it.
        """
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True)
            sync(self._folder.parent)
        name = f"{time.time_ns():020d}-{threading.get_ident()}.json"
        part = self._folder / f"{name}.part"
        try:
            with part.open("x") as file:
                json.dump(request.__dict__, file)
                file.flush()
                os.fsync(file.fileno())
            part.rename(self._folder / name)
            sync(self._folder)
        except OSError:
            part.unlink(missing_ok=True)
            (self._folder / name).unlink(missing_ok=True)
            raise
        return name

    def _node(self, request: _Request) -> Node | None:
        """Where the report goes: the node that asked, if it can be called."""
        called = [node for node in self._nodes.called(request.aet) if node.host]
        named = [node for node in called if node.name == request.node]
        return next(iter(named or called), None)

    # -- reports over the association of the request ----------------------------------------------------------

    def _owe(self, association: Association, owed: _Owed) -> None:
        waiting = self._owed.setdefault(association, deque())
        waiting.append(owed)
        if len(waiting) == 1:
            self._begin(owed)

    def _begin(self, owed: _Owed) -> None:
        threading.Thread(target=self._look, args=(owed,), name="commitment-look", daemon=True).start()

    def _look(self, owed: _Owed) -> None:
        search, end = _Search(), time.monotonic() + self._patience
        try:
            while owed.held is None:
                last = time.monotonic() >= (end if math.isinf(search.patience) else search.patience)
                try:
                    self._look_up(owed.request, search, last=True)
                    owed.held = search.held
                except _Waits:
                    with self._condition:
                        if last or self._stopping:
                            raise
                        self._condition.wait(_AGAIN_SECONDS)
        except Error as error:
            owed.problem = str(error)
        except Exception:
            log.exception("commitment could not be looked up by a fault of ours")
            owed.problem = "a fault of the bridge, which is in its log"
        owed.looked.set()

    def _look_up(self, request: _Request, search: _Search, last: bool) -> None:
        """Look for what is not found yet.

        Raises:
            _Waits: some of it may still lie in a spool.
            Unavailable: the archive does not answer.
        """
        if self._spool is not None and self._spool.waits(request.mark):
            raise _Waits("objects still wait in the spool")
        if time.monotonic() >= search.until:
            search.until, search.held = time.monotonic() + _FRESH_SECONDS, {}
        absent = [uid for _, uid in request.references if uid not in search.held]
        try:
            if absent:
                search.held |= self._holdings.look_up(absent, last)
        except Unavailable:
            search.patience = math.inf
            raise
        search.patience = min(search.patience, time.monotonic() + self._patience)
        left = sum(uid not in search.held and is_storage(sop_class) for sop_class, uid in request.references)
        if left and time.monotonic() < search.patience:
            raise _Waits(f"{left} objects are not in the archive, and may still wait in a spool")

    def attend(self, association: Association, peer: Peer) -> None:
        """Wait until the other side sends something, or nothing is owed to it, and send reports as they are ready."""
        waiting = self._owed.get(association, ())
        while waiting and not waiting[0].sent and not association.waits(_LOOK_SECONDS):
            owed = waiting[0]
            if not owed.looked.is_set():
                continue
            if owed.held is None:
                self._refusals.note("request", peer, f"storage commitment cannot be reported: {owed.problem}", _ADVICE)
                self._done(association)
                continue
            event, dataset = report(owed.request, owed.held, self._aet)
            data = identifiers.write(dataset, owed.context.syntax)
            owed.sent = association.start(owed.context.number, _command(event), data)["MessageID"]

    def acknowledge(self, association: Association, message: Message, peer: Peer) -> None:
        """Take the answer to a report."""
        association.skip()
        waiting = self._owed.get(association)
        if not waiting or message.command.get("MessageIDBeingRespondedTo") != waiting[0].sent:
            raise BadMessage("an answer to something that was not asked")
        if status := message.command.get("Status", 0):
            self._refusals.note("request", peer, f"the report of commitment was answered with {status:04X}", _ADVICE)
        self._done(association)

    def _done(self, association: Association) -> None:
        waiting = self._owed[association]
        waiting.popleft()
        if waiting:
            self._begin(waiting[0])
        else:
            del self._owed[association]

    def leave(self, association: Association, peer: Peer) -> None:
        """The association has ended: what is owed there cannot be told."""
        if self._owed.pop(association, None):
            reason = "storage commitment was asked for, and the requester left before the report"
            self._refusals.note("request", peer, reason, _ADVICE)

    # -- reports over new associations --------------------------------------------------------------------------

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            name, request = taken
            try:
                self._attempt(name, request)
            finally:
                with self._condition:
                    self._busy.discard(request.aet)
                    self._condition.notify_all()

    def _take(self) -> tuple[str, _Request] | None:
        """Wait for a request whose time has come and whose node gets no other report now; None when we stop."""
        with self._condition:
            while not self._stopping:
                free = ((one.due, name) for name, one in self._requests.items() if one.aet not in self._busy)
                due, name = min(free, default=(math.inf, ""))
                left = due - time.monotonic()
                if left <= 0:
                    request = self._requests[name]
                    self._busy.add(request.aet)
                    return name, request
                self._condition.wait(None if math.isinf(left) else left)
            return None

    def _attempt(self, name: str, request: _Request) -> None:
        peer = Peer(request.aet, self._aet, request.address, request.node)
        try:
            self._report(name, request)
        except Error as error:
            if self._stopping:
                request.due = math.inf
                return
            if isinstance(error, _Waits):
                request.due = time.monotonic() + _AGAIN_SECONDS
                return
            request.attempts += 1
            request.due = time.monotonic() + _PAUSES[min(request.attempts, len(_PAUSES)) - 1]
            if request.attempts == 1:
                reason = f"storage commitment is not reported yet: {error}"
                self._refusals.note("request", peer, reason, "It is tried again, for a week")
            if time.time() - request.since < _GIVE_UP_SECONDS:
                return
            self._refusals.note("request", peer, f"storage commitment was given up after a week: {error}")
        except Exception:
            log.exception("a report of commitment failed by a fault of ours")
            request.attempts += 1
            request.due = time.monotonic() + _PAUSES[-1]
            return
        (self._folder / name).unlink(missing_ok=True)
        with self._condition:
            self._requests.pop(name, None)
            self._searches.pop(name, None)

    def _report(self, name: str, request: _Request) -> None:
        node = self._node(request)
        if node is None:
            raise NotFound(f"no node has the AE title {request.aet} and an address any more")
        search = self._searches.setdefault(name, _Search())
        self._look_up(request, search, last=request.attempts >= _PATIENT_ATTEMPTS)
        event, dataset = report(request, search.held, self._aet)
        proposed = (Proposed(1, COMMITMENT, (EXPLICIT, IMPLICIT)),)
        asked = Request(self._aet, node.aet, proposed, roles={COMMITMENT: (False, True)})
        association = connect(node.host, node.port, asked, self._limits, tls_to(node), self._connect_seconds)
        try:
            context = association.context_for(COMMITMENT)
            if context is None:
                raise NotAssociated(f"{node.name} takes no reports of commitment", lasting=True)
            data = identifiers.write(dataset, context.syntax)
            if status := association.ask(context.number, _command(event), data).get("Status", 0):
                raise Unavailable(f"the requester answers the report with {status:04X}")
        finally:
            association.release()


_ADVICE = "Add a node with its AE title, host and port, so that reports can be sent to it later"


def _command(event: int) -> dict[str, Any]:
    return {
        "AffectedSOPClassUID": COMMITMENT,
        "CommandField": N_EVENT_REPORT,
        "AffectedSOPInstanceUID": COMMITMENT_INSTANCE,
        "EventTypeID": event,
    }


def report(request: _Request, held: Mapping[str, Holding], aet: str) -> tuple[int, Dataset]:
    """Make the report about a request (PS3.4 J.3.3.1.1, PS3.3 C.14).

    Args:
        request: what was asked.
        held: by SOP Instance UID, of those that the archive has.
        aet: AE title that can be asked for the objects.

    Returns:
        The event type, 1 if all are committed, else 2, and the data set.
    """
    committed, failed = [], []
    for sop_class, uid in request.references:
        item: Dataset = {"00081150": {"vr": "UI", "Value": [sop_class]}, "00081155": {"vr": "UI", "Value": [uid]}}
        reason = statuses.DUPLICATE_TRANSACTION if request.again else _reason(sop_class, held.get(uid))
        if reason:
            failed.append({**item, "00081197": {"vr": "US", "Value": [reason]}})
        else:
            committed.append(item)
    dataset: Dataset = {
        "00080054": {"vr": "AE", "Value": [aet]},
        "00081195": {"vr": "UI", "Value": [request.transaction]},
    }
    if failed:
        dataset["00081198"] = {"vr": "SQ", "Value": failed}
    if committed:
        dataset["00081199"] = {"vr": "SQ", "Value": committed}
    return (_SOME_FAILED if failed else _ALL_COMMITTED), dataset


def _reason(sop_class: str, held: Holding | None) -> int:
    """The Failure Reason (PS3.3 C.14.1.1) of an object that was asked about, 0 if it is safe."""
    if held is None:
        return statuses.NO_SUCH_OBJECT if is_storage(sop_class) else statuses.NO_SUCH_CLASS
    return held.reason or (0 if held.sop_class == sop_class else statuses.CLASS_INSTANCE_CONFLICT)
