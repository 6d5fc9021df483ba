"""Storage Commitment Push (PS3.4 J): what the archive really holds is looked up, and reported until the requester has
acknowledged it.

A request lies on disk before it is acknowledged, so that a restart forgets none. The report goes over a new
association to the node that asked, called and calling AE titles exchanged; to somebody without an address it goes
over the association of the request. While the archive does not answer, or objects still wait in the spool, nothing
is reported.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge import statuses
from bridge.association import Association, Limits, Message, connect
from bridge.client import Origin
from bridge.commandsets import N_EVENT_REPORT, Command
from bridge.negotiation import Proposed, Request
from bridge.nodes import Nodes
from bridge.policy import COMMITMENT, COMMITMENT_INSTANCE
from bridge.refusals import Peer, Refusals
from bridge.security import client_tls
from dicomweb.errors import (
    BadMessage,
    BadObject,
    Corrupt,
    Error,
    NotAssociated,
    NotFound,
    PeerLeft,
    PeerSilent,
    Unavailable,
)
from dicomweb.standard import dicomjson, identifiers
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.nodes import Node
from dicomweb.standard.syntaxes import EXPLICIT, IMPLICIT
from dicomweb.standard.uids import is_uid

log = logging.getLogger(__name__)

_BATCH = 50
_PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
_GIVE_UP_SECONDS = 7 * 86400.0
_IDENTIFIER_BYTES = 1 << 26

# PS3.4 J.3.3.1: event types
_ALL_COMMITTED, _SOME_FAILED = 1, 2


@dataclass
class _Request:
    """A request for commitment and how far it is."""

    transaction: str
    references: list[tuple[str, str]]
    aet: str
    address: str
    node: str
    since: float
    attempts: int = 0
    due: float = 0.0


class CommitmentService:
    """Serves N-ACTION of Storage Commitment Push, and reports.

    Args:
        origin: who holds the objects.
        nodes: where reports go.
        refusals: told of what is refused or cannot be reported.
        aet: our AE title.
        folder: where requests lie; made if it is not there.
        limits: of associations for reports.
        waiting: says whether objects that were acknowledged are not in the archive yet.
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
        waiting: Callable[[], bool],
        connect_seconds: float = 10.0,
    ) -> None:
        self._origin = origin
        self._nodes = nodes
        self._refusals = refusals
        self._aet = aet
        self._folder = folder
        self._limits = limits
        self._waiting = waiting
        self._connect_seconds = connect_seconds
        self._condition = threading.Condition()
        self._stopping = False
        self._requests: dict[str, _Request] = {}
        if folder.is_dir():
            for path in sorted(folder.glob("*.json")):
                self._load(path)
        self._thread = threading.Thread(target=self._report_all, name="commitment", daemon=True)
        self._thread.start()

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
        self._thread.join(10.0)

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
        node = self._node(request)
        if node is None:
            association.respond(message, statuses.SUCCESS, more=more)
            self._report_here(association, message, request, peer)
            return
        name = self._keep(request)
        association.respond(message, statuses.SUCCESS, more=more)
        with self._condition:
            self._requests[name] = request
            self._condition.notify_all()

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
        now = time.time()
        return 0, "", _Request(transaction, unique, peer.calling, peer.address, peer.node, now)

    def _keep(self, request: _Request) -> str:
        """Write a request to disk, synced; return its name."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{threading.get_ident()}.json"
        part = self._folder / f"{name}.part"
        with part.open("x") as file:
            json.dump(request.__dict__, file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._folder / name)
        return name

    def _node(self, request: _Request) -> Node | None:
        """Where the report goes: the node that asked, if it can be called."""
        called = [node for node in self._nodes.called(request.aet) if node.host]
        named = [node for node in called if node.name == request.node]
        return next(iter(named or called), None)

    # -- reports --------------------------------------------------------------------------------------------

    def _report_here(self, association: Association, message: Message, request: _Request, peer: Peer) -> None:
        try:
            held = self._look_up(request.references)
            event, dataset = report(request.transaction, request.references, held, self._aet)
            self._tell(association, message.context.number, message.context.syntax, event, dataset)
        except (PeerLeft, PeerSilent, BadMessage):
            self._refusals.note("request", peer, *_UNREPORTED)
            raise
        except Error as error:
            self._refusals.note("request", peer, f"storage commitment cannot be reported: {error}", _UNREPORTED[1])

    def _report_all(self) -> None:
        while True:
            with self._condition:
                now = time.monotonic()
                due = [(name, one) for name, one in self._requests.items() if one.due <= now]
                if not due:
                    soonest = min((one.due for one in self._requests.values()), default=None)
                    self._condition.wait_for(
                        lambda: self._stopping or any(one.attempts == 0 for one in self._requests.values()),
                        None if soonest is None else max(soonest - now, 0.05),
                    )
                if self._stopping:
                    return
            for name, request in due:
                self._attempt(name, request)

    def _attempt(self, name: str, request: _Request) -> None:
        peer = Peer(request.aet, self._aet, request.address, request.node)
        try:
            if self._waiting():
                raise Unavailable("objects still wait in the spool")
            self._report(request)
        except Error as error:
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

    def _report(self, request: _Request) -> None:
        node = self._node(request)
        if node is None:
            raise NotFound(f"no node has the AE title {request.aet} and an address any more")
        held = self._look_up(request.references)
        event, dataset = report(request.transaction, request.references, held, self._aet)
        proposed = (Proposed(1, COMMITMENT, (EXPLICIT, IMPLICIT)),)
        tls = client_tls(node.ca, node.client_cert, node.client_key) if node.tls else None
        asked = Request(self._aet, node.aet, proposed, roles={COMMITMENT: (False, True)})
        association = connect(node.host, node.port, asked, self._limits, tls, self._connect_seconds)
        try:
            context = association.context_for(COMMITMENT)
            if context is None:
                raise NotAssociated(f"{node.name} takes no reports of commitment", lasting=True)
            self._tell(association, context.number, context.syntax, event, dataset)
        finally:
            association.release()

    def _tell(self, association: Association, context: int, syntax: str, event: int, dataset: Dataset) -> None:
        command: dict[str, Any] = {
            "AffectedSOPClassUID": COMMITMENT,
            "CommandField": N_EVENT_REPORT,
            "AffectedSOPInstanceUID": COMMITMENT_INSTANCE,
            "EventTypeID": event,
        }
        answer = association.ask(context, command, identifiers.write(dataset, syntax))
        if status := answer.get("Status", 0):
            raise Unavailable(f"the requester answers the report with {status:04X}")

    # -- what is held ---------------------------------------------------------------------------------------

    def _look_up(self, references: Sequence[tuple[str, str]]) -> dict[str, tuple[str, int]]:
        """Return the SOP class that the archive holds for each SOP Instance UID, and a Failure Reason or 0.

        Raises:
            Unavailable: the archive does not answer; that says nothing about the objects.
        """
        held: dict[str, tuple[str, int]] = {}
        uids = [uid for _, uid in references]
        for start in range(0, len(uids), _BATCH):
            batch = uids[start : start + _BATCH]
            params = [("SOPInstanceUID", ",".join(batch)), ("limit", str(2 * _BATCH))]
            for row in self._origin.search("/instances", params).rows:
                uid = dicomjson.text(row, "00080018")
                study, series = dicomjson.text(row, "0020000D"), dicomjson.text(row, "0020000E")
                held[uid] = dicomjson.text(row, "00080016"), self._problem(study, series, uid)
        return held

    def _problem(self, study: str, series: str, uid: str) -> int:
        """Return a Failure Reason for an object whose bytes are not there to their end; other servers are believed."""
        if not self._nodes.ours:
            return 0
        try:
            self._origin.probe(f"/studies/{study}/series/{series}/instances/{uid}")
        except NotFound:
            return statuses.NO_SUCH_OBJECT
        except Corrupt:
            return statuses.PROCESSING_FAILURE
        return 0


_UNREPORTED = (
    "storage commitment was asked for, and the requester left before the report",
    "Add a node with its AE title, host and port, so that reports can be sent to it later",
)


def report(
    transaction: str, references: Sequence[tuple[str, str]], held: dict[str, tuple[str, int]], aet: str
) -> tuple[int, Dataset]:
    """Make the report about a request (PS3.4 J.3.3.1.1).

    Args:
        transaction: Transaction UID.
        references: SOP Class UID and SOP Instance UID of each object that was asked about.
        held: SOP class and Failure Reason (0 for none) by SOP Instance UID, of those that the archive has.
        aet: AE title that can be asked for the objects.

    Returns:
        The event type, 1 if all are committed, else 2, and the data set.
    """
    committed, failed = [], []
    for sop_class, uid in references:
        item: Dataset = {"00081150": {"vr": "UI", "Value": [sop_class]}, "00081155": {"vr": "UI", "Value": [uid]}}
        known, reason = held.get(uid, ("", statuses.NO_SUCH_OBJECT))
        if not reason and known != sop_class:
            reason = statuses.CLASS_INSTANCE_CONFLICT
        if reason:
            failed.append({**item, "00081197": {"vr": "US", "Value": [reason]}})
        else:
            committed.append(item)
    dataset: Dataset = {
        "00080054": {"vr": "AE", "Value": [aet]},
        "00081195": {"vr": "UI", "Value": [transaction]},
    }
    if failed:
        dataset["00081198"] = {"vr": "SQ", "Value": failed}
    if committed:
        dataset["00081199"] = {"vr": "SQ", "Value": committed}
    return (_SOME_FAILED if failed else _ALL_COMMITTED), dataset
