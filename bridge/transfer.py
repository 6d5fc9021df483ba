"""Instances on their way from one place to another: DICOMweb to DIMSE by WADO and C-STORE, DIMSE to DICOMweb by C-GET
(C-MOVE to ourselves where there is none) and STOW, DIMSE to DIMSE by C-MOVE of three parties, DICOMweb to DICOMweb by
WADO and STOW (PS3.4 B, C.4.2, C.4.3; PS3.18 10.4, 10.5).

What has arrived is asked first and not brought again; where a DICOMweb server refuses an object since it has one of
that UID, both are compared, for the same one in another File Meta group has arrived too. One instance that fails is
told of, and the others go on.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, cast

from bridge import sending, statuses
from bridge.association import Association, Message
from bridge.client import Origin, Stored
from bridge.courier import send, stream
from bridge.lanes import Stop, fan_out
from bridge.places import Listed, Place, RemotePlace, Resource, WebPlace
from bridge.refusals import Peer, Refusals
from bridge.scu import Counts, Remote, UIDs
from bridge.sending import Item
from bridge.sources import read_file
from bridge.store import StoreService
from bridge.visits import message_id
from dicomweb.errors import (
    BadRequest,
    Conflict,
    Error,
    NotAssociated,
    NotFound,
    PeerLeft,
    Unavailable,
)
from dicomweb.standard.attributes import Level
from dicomweb.standard.identifiers import UNIQUE
from dicomweb.standard.outcomes import DUPLICATE_INSTANCE, MEANINGS, Outcome

_LEAST_SHARE, _MOST_SHARE = 8, 200
"""Instances for which another association is begun, and those of one where there are several."""
_FAILURES = 500
"""Failures that are told one by one."""
_REQUEST_BYTES = 16 << 20
_REQUEST_PARTS = 50
_HELD = 4 << 20
_LIST = 200
"""UIDs in one key: more than that overflow the buffers of old devices."""
_IN_A_ROW = 3
"""Instances that fail one after the other for a reason that may pass, before the others are kept for later."""


class Progress:
    """How far a transfer is; written by one thread, read by others.

    Attributes:
        total: instances, as far as they are known.
        done: those that are there, `skipped` of them before; `failed`: those that are not, `temporary` of them
            for a reason that may pass by itself.
        bytes: that went over the network.
        failures: instance and reason, some of them.
    """

    def __init__(self) -> None:
        self.total = self.done = self.skipped = self.failed = self.temporary = self.bytes = 0
        self.failures: list[tuple[str, str]] = []
        self._begun = time.monotonic()
        self._lock = threading.Lock()

    def arrived(self, size: int = 0) -> None:
        """One more is there."""
        with self._lock:
            self.done += 1
            self.bytes += size

    def skip(self, count: int) -> None:
        """So many were there before."""
        with self._lock:
            self.done += count
            self.skipped += count

    def fail(self, instance: str, reason: str, count: int = 1, temporary: bool = False) -> None:
        """One, or several that nobody named, cannot be brought."""
        with self._lock:
            self.failed += count
            self.temporary += count if temporary else 0
            if len(self.failures) < _FAILURES:
                self.failures.append((instance, reason))

    def write(self) -> dict[str, Any]:
        """Write it as JSON."""
        with self._lock:
            seconds = max(time.monotonic() - self._begun, 0.001)
            return {
                "total": self.total, "done": self.done, "skipped": self.skipped, "failed": self.failed,
                "bytes": self.bytes, "rate": round(self.bytes / seconds),
                "failures": [{"instance": instance, "reason": reason} for instance, reason in self.failures],
            }  # fmt: skip


def run(
    source: Place,
    sink: Place,
    resources: Iterable[Resource],
    progress: Progress,
    stop: Stop,
    aet: str,
    ask: bool = True,
) -> None:
    """Bring what a source has of some resources to a sink.

    Args:
        source, sink: where from and where to.
        resources: what.
        progress: is kept up to date.
        stop: asked between instances; true ends the transfer early.
        aet: our AE title.
        ask: whether the sink is asked what it has, which some nodes cannot tell.

    Raises:
        NotFound: the source has nothing of it.
        NotAssociated, Unavailable, Forbidden, ...: nothing more can be brought now.
    """
    try:
        _run(source, sink, resources, progress, stop, aet, ask)
    finally:
        source.close()
        sink.close()


def _run(
    source: Place, sink: Place, resources: Iterable[Resource], progress: Progress, stop: Stop, aet: str, ask: bool
) -> None:
    found = list(dict.fromkeys(one for resource in resources for one in source.listed(resource)))
    if not found:
        raise NotFound("nothing of what was asked for is there")
    progress.total = len(found)
    plan: list[tuple[list[Listed], list[Listed]]] = []
    for (study, series), group in groupby(found, lambda one: (one.study, one.series)):
        whole = list(group)
        there = _there(sink, {"study": study, "series": series}) if ask else set()
        missing = [one for one in whole if one.instance not in there]
        progress.skip(len(whole) - len(missing))
        if stop():
            return
        if missing:
            plan.append((whole, missing))
    if isinstance(source, WebPlace) and isinstance(sink, RemotePlace):
        _send(source.origin, sink, [one for _, missing in plan for one in missing], progress, stop, aet)
        return

    def bring(share: deque[tuple[list[Listed], list[Listed]]], stops: Stop) -> None:
        place = RemotePlace(Remote(source.remote.node, aet)) if isinstance(source, RemotePlace) else source
        whole, missing = share[0]
        _bring(place, sink, whole, missing, progress, stops, aet)

    if not plan:
        return
    lanes = source.remote.node.associations if isinstance(source, RemotePlace) else 1
    fan_out([deque([one]) for one in plan], lanes, bring, stop)


def _there(sink: Place, resource: Resource) -> set[str]:
    """What a sink has of a series; nothing, if it cannot tell."""
    try:
        return {one.instance for one in sink.listed(resource)}
    except NotAssociated as error:
        if error.lasting:  # it stores and does not answer queries
            return set()
        raise


def _bring(
    source: Place,
    sink: Place,
    whole: Sequence[Listed],
    missing: Sequence[Listed],
    progress: Progress,
    stop: Stop,
    aet: str,
) -> None:
    """Bring the missing instances of one series, which has `whole`."""
    if isinstance(source, WebPlace) and isinstance(sink, WebPlace):
        _copy(source.origin, sink.origin, missing, progress, stop)
    elif isinstance(source, RemotePlace) and isinstance(sink, RemotePlace):
        _move(source, sink.remote.node.aet, whole, missing, progress, stop, message_id(False))
    elif isinstance(source, RemotePlace) and isinstance(sink, WebPlace):
        try:
            _get(source, sink.origin, whole, missing, progress, stop, aet)
        except NotAssociated as error:
            if not error.lasting or not (sink.ours or sink.visit):
                raise
            _move_here(source, sink, whole, missing, progress, stop, aet)
    else:
        raise BadRequest("nobody knows how to bring objects from there to there")


# -- DICOMweb to elsewhere ------------------------------------------------------------------------------------


def _send(
    source: Origin, sink: RemotePlace, missing: Sequence[Listed], progress: Progress, stop: Stop, aet: str
) -> None:
    node = sink.remote.node

    def send(share: deque[Listed], stops: Stop) -> None:
        in_a_row = 0
        for sent in sending.send(node, aet, [_item(source, one) for one in share], stops):
            in_a_row = in_a_row + 1 if sent.temporary else 0
            if in_a_row == _IN_A_ROW:
                raise Unavailable(sent.reason)
            share.popleft()
            if sent.reason:
                progress.fail(sent.item.instance, sent.reason, temporary=sent.temporary)
            else:
                progress.arrived(sent.size)

    if not missing:
        return
    lanes = min(node.associations, -(-len(missing) // _LEAST_SHARE))
    size = len(missing) if lanes == 1 else min(-(-len(missing) // lanes), _MOST_SHARE)
    fan_out([deque(missing[start : start + size]) for start in range(0, len(missing), size)], lanes, send, stop)


def _item(origin: Origin, one: Listed) -> Item:
    def pieces(syntax: str) -> Iterator[bytes | memoryview]:
        with origin.retrieve(one.path, syntax) as parts:
            yield from next(iter(parts), iter(()))

    return Item(one.sop_class, one.instance, one.syntax, pieces)


def _copy(source: Origin, sink: Origin, missing: Sequence[Listed], progress: Progress, stop: Stop) -> None:
    """WADO and STOW: small instances share a request, a large one is streamed through."""
    batch: list[tuple[Listed, bytes]] = []
    waiting = 0
    for one in missing:
        if stop():
            return
        try:
            with source.retrieve(one.path, "*") as parts:
                pieces = next(iter(parts), iter(()))
                gathered = bytearray()
                for piece in pieces:
                    gathered += piece
                    if len(gathered) > _REQUEST_BYTES:
                        break
                if len(gathered) > _REQUEST_BYTES:
                    size = [0]
                    try:
                        stored = stream(sink, [_counted(gathered, pieces, size)])
                    except Conflict as error:
                        stored = _duplicates([one], error)
                    _tell(source, sink, stored, [one], progress, size)
                    continue
        except (Unavailable, PeerLeft):
            raise
        except Error as error:
            progress.fail(one.instance, str(error))
            continue
        batch.append((one, bytes(gathered)))
        waiting += len(gathered)
        if waiting >= _REQUEST_BYTES or len(batch) >= _REQUEST_PARTS:
            _post(source, sink, batch, progress)
            batch, waiting = [], 0
    if batch:
        _post(source, sink, batch, progress)


def _counted(gathered: bytearray, rest: Iterable[bytes | memoryview], size: list[int]) -> Iterator[bytes | memoryview]:
    yield bytes(gathered)
    size[0] = len(gathered)
    gathered.clear()
    for piece in rest:
        size[0] += len(piece)
        yield piece


def _post(source: Origin, sink: Origin, batch: Sequence[tuple[Listed, bytes]], progress: Progress) -> None:
    sent = [one for one, _ in batch]
    try:
        stored = send(sink, [[data] for _, data in batch])
    except Conflict as error:
        stored = _duplicates(sent, error)
    _tell(source, sink, stored, sent, progress, [len(data) for _, data in batch])


def _duplicates(sent: Sequence[Listed], error: Conflict) -> Stored:
    """What a 409 without a word about the instances comes to."""
    outcomes = [Outcome("failed", instance=one.instance, reason=DUPLICATE_INSTANCE, detail=str(error)) for one in sent]
    return Stored(outcomes, [], False)


def _is_same(source: Origin, sink: Origin, one: Listed) -> bool:
    """Say whether both have the same data set under a UID, whatever their File Meta groups say."""
    try:
        return _digest(source, one) == _digest(sink, one)
    except (Unavailable, PeerLeft):
        raise
    except Error:  # it does not let us look
        return False


def _digest(origin: Origin, one: Listed) -> bytes:
    with origin.retrieve(one.path, "*") as parts:
        for pieces in parts:
            file = read_file(pieces)
            digest = hashlib.sha256(file.syntax.encode())
            for piece in file.pieces:
                digest.update(piece)
            return digest.digest()
    raise NotFound("the server sent no object")


def _tell(
    source: Origin, sink: Origin, stored: Stored, sent: Sequence[Listed], progress: Progress, sizes: Sequence[int]
) -> None:
    """Count what became of the instances of a Store request."""
    outcomes = {outcome.instance: outcome for outcome in stored.outcomes}
    if stored.temporary:
        raise Unavailable(stored.sentences[0] if stored.sentences else "the server cannot store now")
    for one, size in zip(sent, sizes, strict=True):
        outcome = outcomes.get(one.instance)
        if outcome is None:
            progress.fail(one.instance, "the server does not say what became of it")
        elif outcome.reason == DUPLICATE_INSTANCE and _is_same(source, sink, one):
            progress.skip(1)
        elif outcome.reason is not None:
            progress.fail(one.instance, outcome.detail or MEANINGS.get(outcome.reason, "the server refused it"))
        else:
            progress.arrived(size)


# -- DIMSE to elsewhere ---------------------------------------------------------------------------------------


def _requests(whole: Sequence[Listed], missing: Sequence[Listed]) -> Iterator[tuple[Level, UIDs, Sequence[Listed]]]:
    """What to ask for: the series if all of it is missing, else its instances by lists of UIDs."""
    above = {UNIQUE["study"]: whole[0].study, UNIQUE["series"]: whole[0].series}
    if len(missing) == len(whole) > 1:
        yield "series", above, missing
        return
    for start in range(0, len(missing), _LIST):
        asked = missing[start : start + _LIST]
        yield "instance", {**above, UNIQUE["instance"]: [one.instance for one in asked]}, asked


def _get(
    source: RemotePlace,
    sink: Origin,
    whole: Sequence[Listed],
    missing: Sequence[Listed],
    progress: Progress,
    stop: Stop,
    aet: str,
) -> None:
    counting = _Counting(sink)
    node = source.remote.node
    peer = Peer(node.aet, aet, node.host, node.name)
    service = StoreService(cast("Origin", counting), None, cast("Refusals", _Silence()), aet, _HELD)
    for level, uids, asked in _requests(whole, missing):
        arrived: set[str] = set()
        refused: set[str] = set()

        def take(
            association: Association, message: Message, arrived: set[str] = arrived, refused: set[str] = refused
        ) -> None:
            instance = str(message.command.get("AffectedSOPInstanceUID", ""))
            counting.size = 0
            verdict = service.serve(association, message, peer)
            if verdict.status == 0 or verdict.status >> 12 == 0xB:
                arrived.add(instance)
                progress.arrived(counting.size)
            else:
                refused.add(instance)
                reason = verdict.comment or f"it was not stored (status {verdict.status:04X})"
                progress.fail(instance, reason, temporary=verdict.temporary)

        classes = {one.sop_class for one in asked if one.sop_class}
        counts = source.remote.get(level, uids, classes if all(one.sop_class for one in asked) else (), take, stop)
        if stop():
            return
        _tell_missing(counts, asked, arrived | refused, progress)


def _tell_missing(counts: Counts, asked: Sequence[Listed], seen: set[str], progress: Progress) -> None:
    """Whatever was asked for and did not come has failed, whatever the node counts."""
    for one in asked:
        if one.instance in seen:
            continue
        if one.instance in counts.failed_list:
            reason = "the node could not send it"
        elif counts.status:
            reason = statuses.describe(counts.status, counts.comment)
        else:
            reason = "the node did not send it, and does not say why"
        progress.fail(one.instance, reason)


def _move(
    source: RemotePlace,
    destination: str,
    whole: Sequence[Listed],
    missing: Sequence[Listed],
    progress: Progress,
    stop: Stop,
    message: int,
) -> None:
    for level, uids, asked in _requests(whole, missing):
        before = counts = Counts()
        for counts in source.remote.move(level, uids, destination, stop, message):
            for _ in range(counts.completed + counts.warned - before.completed - before.warned):
                progress.arrived()
            before = Counts(completed=max(counts.completed, before.completed), warned=max(counts.warned, before.warned))
        if stop():
            return
        _tell_moved(counts, len(asked) - before.completed - before.warned, progress)


def _move_here(
    source: RemotePlace,
    sink: WebPlace,
    whole: Sequence[Listed],
    missing: Sequence[Listed],
    progress: Progress,
    stop: Stop,
    aet: str,
) -> None:
    """Let the node send to our listening side, and look afterwards what has come."""
    counted = Progress()
    try:
        _move(source, aet, whole, missing, counted, stop, message_id(sink.visit))
    except (Unavailable, NotAssociated):
        if not counted.done:
            raise
    there = _there(sink, {"study": whole[0].study, "series": whole[0].series})
    reasons = dict(counted.failures)
    other = reasons.get("") or "the node says that it sent it, and it did not come: does our AE title lead to us there?"
    for one in missing:
        if one.instance in there:
            progress.arrived()
        elif not stop():
            progress.fail(one.instance, reasons.get(one.instance, other))


def _tell_moved(counts: Counts, missing: int, progress: Progress) -> None:
    """Of a C-MOVE we know the numbers, and the instances that failed as far as they are told."""
    reason = statuses.describe(counts.status, counts.comment) if counts.status else "the node did not send it"
    if counts.status == statuses.SUBOPERATIONS_FAILED:
        reason = "the node could not send it"
    for uid in counts.failed_list[: max(missing, 0)]:
        progress.fail(uid, reason)
        missing -= 1
    if missing > 0:
        progress.fail("", reason, missing)


class _Counting:
    """An origin that counts the bytes of what is stored there."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.size = 0

    def store(self, body: bytes | Iterable[bytes], content_type: str, conflict: str = "keep") -> Stored:
        """See Origin."""
        body = [body] if isinstance(body, bytes) else body
        if isinstance(body, list):
            self.size = sum(map(len, body))
            return self._origin.store(body, content_type, conflict)
        return self._origin.store(self._count(body), content_type, conflict)

    def _count(self, body: Iterable[bytes]) -> Iterator[bytes]:
        for piece in body:
            self.size += len(piece)
            yield piece


class _Silence:
    """Refusals that the progress tells of need no second place."""

    def note(self, kind: str, peer: Peer, reason: str, advice: str = "") -> None:
        """See Refusals."""
