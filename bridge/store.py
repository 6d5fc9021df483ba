"""C-STORE to STOW-RS (PS3.4 B, PS3.7 9.1.1).

The data set goes out as it comes in: what is small in one piece, so that it can be sent again if an old connection
breaks, what is larger as a stream. Pixels are never decoded. Success is said after the web layer has said that the
object is stored, or once it lies synced in the spool.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bridge import statuses
from bridge.association import Association, Message
from bridge.client import Origin, Stored
from bridge.courier import Courier, send, stream
from bridge.policy import name_of
from bridge.refusals import Peer, Refusals
from bridge.spool import Spool
from bridge.statuses import Verdict
from bridge.strict import Draft, is_legal
from bridge.visits import Visits
from dicomweb.errors import BadMessage, BadRequest, Error, PeerLeft, PeerSilent, UnsupportedMedia
from dicomweb.standard.encode import write_meta
from dicomweb.standard.leniency import Element
from dicomweb.standard.outcomes import SYNTAX_NOT_SUPPORTED
from dicomweb.standard.reencode import explicit
from dicomweb.standard.syntaxes import syntax_of
from dicomweb.standard.uids import is_uid


class StoreService:
    """Serves C-STORE.

    Args:
        origin: where objects go.
        spool: where they go first, or None.
        refusals: told of what is refused.
        aet: our AE title, for the File Meta group.
        held_bytes: data sets up to this size are held in memory and can be sent twice.
        visits: where those of a node go that we had it send for a viewer (see `visits`); None is with all others.
        courier: takes objects that are held to the origin, together with those of other associations; None is each
            by itself.
        folder: for larger ones that may have to be made anew for the server; None is the system's for such files.
    """

    def __init__(
        self,
        origin: Origin,
        spool: Spool | None,
        refusals: Refusals,
        aet: str,
        held_bytes: int,
        visits: Visits | None = None,
        courier: Courier | None = None,
        folder: Path | None = None,
    ) -> None:
        self._folder = folder
        self._takes_all: bool | None = None
        self._visits = visits
        self._courier = courier
        self._origin = origin
        self._spool = spool
        self._refusals = refusals
        self._aet = aet
        self._held = held_bytes

    def serve(self, association: Association, message: Message, peer: Peer) -> Verdict:
        """Store one object, answer, and return what was answered."""
        command = message.command
        instance = str(command.get("AffectedSOPInstanceUID", ""))
        verdict = self._check(message, instance)
        if verdict is None:
            try:
                meta = self._meta(message, instance, peer)
                visit = self._visits.origin(message.command, peer) if self._visits is not None else None
                verdict = self._store(association, message, meta, visit)
            except (PeerLeft, PeerSilent, BadMessage):
                raise
            except Error as error:
                verdict = statuses.from_error(error)
        association.skip()
        if verdict.status not in (statuses.SUCCESS, 0xB000, 0xB006, 0xB007):
            self._refusals.note(
                "instance",
                peer,
                f"{name_of(message.context.abstract)} {instance}: {verdict.comment} ({verdict.status:04X})",
                "The sender may try again later" if verdict.temporary else "",
            )
        association.respond(message, verdict.status, verdict.comment, more={"AffectedSOPInstanceUID": instance or None})
        return verdict

    def _check(self, message: Message, instance: str) -> Verdict | None:
        sop_class = message.command.get("AffectedSOPClassUID", "")
        if not message.has_data:
            return Verdict(statuses.UNABLE, "the request has no data set")
        if not is_uid(instance):
            return Verdict(statuses.INVALID_INSTANCE, f"no SOP Instance UID: {instance[:32]!r}")
        if sop_class != message.context.abstract:
            return Verdict(statuses.DOES_NOT_MATCH, "the SOP class is not that of the presentation context")
        return None

    def _meta(self, message: Message, instance: str, peer: Peer) -> bytes:
        """Preamble and File Meta group (PS3.10 7.1); who sent the object stands there too."""
        titles = {"00020016": peer.calling, "00020018": self._aet}
        extra: dict[str, Element] = {tag: {"vr": "AE", "Value": [title]} for tag, title in titles.items() if title}
        return write_meta(message.context.abstract, instance, message.context.syntax, extra)

    def _store(self, association: Association, message: Message, meta: bytes, visit: Origin | None) -> Verdict:
        origin = visit or self._origin
        if self._spool is not None and visit is None:
            return self._spool.take(meta, association.data())
        held: list[bytes] = []
        size = 0
        pieces = association.data()
        for piece in pieces:
            held.append(bytes(piece))
            size += len(piece)
            if size > self._held:
                break
        else:
            return store_held(self._sender(origin, message), message, meta, held)
        whole = _chain(held, pieces)
        if is_legal(message.context.syntax) or self._takes_all or visit is not None:
            return read_stored(stream(origin, [_chain([meta], whole)]))
        with Draft(self._folder) as draft:
            return self._drafted(draft, message, meta, whole)

    def _drafted(self, draft: Draft, message: Message, meta: bytes, pieces: Iterator[bytes | memoryview]) -> Verdict:
        """Send a large object that may not be on the web as it is, or in Explicit VR Little Endian to a server that
        has refused one; which of both it is, the first one shows."""
        written = draft.through(pieces)
        if self._takes_all is None:
            try:
                verdict = read_stored(stream(self._origin, [_chain([meta], written)]))
                if verdict.status != SYNTAX_NOT_SUPPORTED:
                    self._takes_all = True
                    return verdict
            except UnsupportedMedia:
                pass
            self._takes_all = False
        for _ in written:  # what the server did not wait for
            pass
        instance = str(message.command.get("AffectedSOPInstanceUID", ""))
        made = draft.anew(message.context.syntax, message.context.abstract, instance)
        return read_stored(stream(self._origin, [made]))

    def _sender(self, origin: Origin, message: Message) -> "Send":
        courier = self._courier
        if courier is None or origin is not self._origin:
            return lambda pieces: send(origin, [pieces])
        instance = str(message.command.get("AffectedSOPInstanceUID", ""))
        return lambda pieces: courier.store(instance, pieces, sum(map(len, pieces)))


def _chain(first: list[bytes], rest: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """What is held, given away piece by piece, and what follows."""
    while first:
        yield first.pop(0)
    yield from rest


Send = Callable[[Sequence[bytes]], Stored]
"""Stores a Part 10 file, given in pieces."""


def store_held(store: Send, message: Message, meta: bytes, held: Sequence[bytes]) -> Verdict:
    """Send an object that is held; in Explicit VR Little Endian if the server takes no other (PS3.18 8.7.3.4).

    Args:
        store: where it goes.
        message: the C-STORE request.
        meta: preamble and File Meta group.
        held: the data set, in pieces.
    """
    legal = is_legal(message.context.syntax)
    try:
        verdict = read_stored(store([meta, *held]))
        if legal or verdict.status != SYNTAX_NOT_SUPPORTED:
            return verdict
    except UnsupportedMedia:
        if legal:
            raise
    data = b"".join(held)
    instance = str(message.command.get("AffectedSOPInstanceUID", ""))
    made = explicit(data, 0, len(data), syntax_of(message.context.syntax), message.context.abstract, instance)
    return read_stored(store([bytes(piece) for piece in made.pieces(lambda first, last: (data[first:last],))]))


def read_stored(stored: Stored) -> Verdict:
    """Return what to answer about the one instance of a Store request.

    Raises:
        BadRequest: the answer tells of none.
    """
    if not stored.outcomes:
        raise BadRequest("the DICOMweb server does not say what became of the object")
    sentence = stored.sentences[0] if stored.sentences else ""
    first, _, rest = sentence.partition(" ")
    sentence = rest if len(first) == 4 and all(c in "0123456789ABCDEF" for c in first) else sentence
    return statuses.from_outcome(stored.outcomes[0], sentence, stored.temporary)
