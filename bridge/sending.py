"""Instances sent to a node: by C-STORE to an application entity (PS3.4 B, PS3.7 9.1.1), by STOW-RS to a DICOMweb
server (PS3.18 10.5).

Data sets are handed on in pieces, so that an object of any size costs a buffer. One instance that cannot be sent is
told of, and the others go on.
"""

import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from bridge import courier, statuses
from bridge.association import Association
from bridge.commandsets import C_STORE
from bridge.lanes import Stop
from bridge.negotiation import MOST_CONTEXTS
from bridge.scu import NATIVE, Remote, using
from bridge.webnodes import WebNode
from dicomweb.errors import BadMessage, BadObject, Error, NotAssociated, PeerLeft, PeerSilent, Unavailable, WrongStudy
from dicomweb.standard.elements import Limits
from dicomweb.standard.implicit import write_implicit
from dicomweb.standard.nodes import Node
from dicomweb.standard.part10 import read_head, read_object
from dicomweb.standard.syntaxes import EXPLICIT, IMPLICIT, SYNTAXES

FAULTS = (NotAssociated, Unavailable, PeerLeft, PeerSilent, BadMessage)
"""What may pass by itself, so that the same is tried again later."""

_HEAD_BYTES = 1 << 16
_BROKEN_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Item:
    """An instance that is to be sent.

    Attributes:
        sop_class, instance: UIDs.
        syntax: transfer syntax in which it exists; "" if that is not known.
        open: yields the pieces of its Part 10 file in a transfer syntax, `*` for that in which it exists.
    """

    sop_class: str
    instance: str
    syntax: str
    open: Callable[[str], Iterator[bytes | memoryview]] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of an instance: why it failed, or ""; bytes that went out; whether it may succeed later."""

    item: Item
    reason: str = ""
    size: int = 0
    temporary: bool = False


def read_item(path: Path, study: str = "") -> Item:
    """An object in a file as what is to be sent; it goes out as it is, or in Implicit VR.

    Raises:
        BadObject: it cannot be understood, or belongs to another study than the one that is named.
    """
    if not path.stat().st_size:
        raise BadObject("the object is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        read = read_object(mapped, Limits())
    if study and read.study != study:
        raise WrongStudy("the object belongs to another study", read.sop_class, read.instance)

    def pieces(_: str) -> Iterator[bytes | memoryview]:
        with path.open("rb") as file:
            while piece := file.read(1 << 18):
                yield piece

    return Item(read.sop_class, read.instance, read.syntax.uid, pieces)


def send(node: Node, aet: str, items: Iterable[Item], stop: Stop = lambda: False) -> Iterator[Sent]:
    """Send instances to a node, and yield what became of each.

    To an application entity an instance goes out as it exists where the node takes that, else in the first of the
    node's `accept_syntaxes`, or of Explicit and Implicit VR Little Endian, in which it can be had.

    Args:
        node: of any kind.
        aet: our AE title.
        items: which.
        stop: asked between instances; true ends the sending.

    Raises:
        NotAssociated: no association came about.
        Unavailable: the association broke, or the server does not answer.
    """
    if node.kind == "dicomweb":
        with closing(WebNode(node)) as web:
            for item in items:
                if stop():
                    return
                yield _post(web, item)
        return
    yield from _Entity(Remote(node, aet), stop).store(items)


def _post(web: WebNode, item: Item) -> Sent:
    try:
        pieces = [bytes(piece) for piece in item.open("*")]
        outcome = next(iter(courier.send(web, [pieces]).outcomes), None)
    except FAULTS:
        raise
    except Error as error:
        return Sent(item, str(error))
    if outcome is None or outcome.reason is not None:
        return Sent(item, (outcome.detail if outcome else "") or "refused")
    return Sent(item, "", sum(map(len, pieces)))


class _Entity:
    """An application entity to which instances are sent.

    Args:
        remote: which.
        stop: see `send`.
    """

    def __init__(self, remote: Remote, stop: Stop) -> None:
        self._remote = remote
        self._node = remote.node
        self._stop = stop

    def store(self, items: Iterable[Item]) -> Iterator[Sent]:
        """Send over as many associations as presentation contexts need (PS3.4 B.2)."""
        batch: list[Item] = []
        contexts: dict[tuple[str, str], None] = {}
        for item in items:
            more = {(item.sop_class, syntax): None for syntax in self._wanted(item)}
            if batch and len(contexts | more) > MOST_CONTEXTS:
                yield from self._store_batch(batch, list(contexts))
                batch, contexts = [], {}
                if self._stop():
                    return
            batch.append(item)
            contexts |= more
        if batch:
            yield from self._store_batch(batch, list(contexts))

    def _wanted(self, item: Item) -> list[str]:
        """Transfer syntaxes for an instance, the best first."""
        if self._node.accept_syntaxes:
            own = [item.syntax] if item.syntax in self._node.accept_syntaxes else []
            return list(dict.fromkeys([*own, *self._node.accept_syntaxes]))
        own = (
            [item.syntax]
            if item.syntax
            else [uid for uid, one in SYNTAXES.items() if one.kept and one.encapsulated][:20]
        )
        return list(dict.fromkeys([*own, *NATIVE]))

    def _store_batch(self, batch: Sequence[Item], contexts: Sequence[tuple[str, str]]) -> Iterator[Sent]:
        """Send what one association has contexts for. An instance over which the node ends the association twice is
        the one at fault, and the others go on over a new one."""
        waiting = deque(batch)
        broken: Item | None = None
        in_a_row = 0
        while waiting and not self._stop():
            try:
                association = self._remote.associate([(abstract, [syntax]) for abstract, syntax in contexts])
            except NotAssociated as error:
                if "none of the presentation contexts" not in str(error):
                    raise
                yield from (Sent(item, self._not_taken(item)) for item in waiting)
                return
            try:
                with using(association, self._node.name):
                    while waiting and not self._stop():
                        yield self._store_one(association, waiting[0])
                        waiting.popleft()
                        in_a_row = 0
            except Unavailable as error:
                if association.open or not isinstance(error.__cause__, (PeerLeft, PeerSilent, BadMessage)):
                    raise
                if waiting[0] is not broken:
                    broken = waiting[0]
                    continue
                in_a_row += 1
                if in_a_row > _BROKEN_IN_A_ROW:
                    raise
                yield Sent(waiting.popleft(), f"{error}, each time when this instance was sent")

    def _not_taken(self, item: Item) -> str:
        known = SYNTAXES.get(item.syntax)
        how = f" as {known.name}" if known and known.name else ""
        return f"{self._node.name} does not take objects of SOP class {item.sop_class}{how}, nor uncompressed"

    def _store_one(self, association: Association, item: Item) -> Sent:
        usable = [uid for uid in self._wanted(item) if association.context_for(item.sop_class, uid) is not None]
        if not usable:
            return Sent(item, self._not_taken(item))
        reason = ""
        for syntax in dict.fromkeys(["*" if usable[0] == item.syntax or not item.syntax else usable[0], *usable]):
            try:
                actual, pieces = _open(item, syntax)
                context = association.context_for(item.sop_class, actual)
                if context is None:
                    reason = self._not_taken(replace(item, syntax=actual))
                    continue
            except Error as error:
                if isinstance(error, Unavailable):
                    return Sent(item, str(error), temporary=True)
                reason = str(error)
                continue
            counted = _Counted(pieces)
            command = {
                "AffectedSOPClassUID": item.sop_class, "CommandField": C_STORE, "Priority": 0,
                "AffectedSOPInstanceUID": item.instance,
            }  # fmt: skip
            answer = association.ask(context.number, command, counted)
            status = int(answer.get("Status", statuses.PROCESSING_FAILURE))
            if status == statuses.SUCCESS or status >> 12 == 0xB:
                return Sent(item, "", counted.size)
            reason = statuses.describe(status, str(answer.get("ErrorComment") or ""))
            return Sent(item, reason, counted.size, temporary=status >> 8 == 0xA7)
        return Sent(item, reason)


class _Counted:
    """An iterable of pieces that knows how many bytes went through it."""

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        self._pieces = pieces
        self.size = 0

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for piece in self._pieces:
            self.size += len(piece)
            yield piece


def _open(item: Item, syntax: str) -> tuple[str, Iterable[bytes | memoryview]]:
    """Open an instance, and return the transfer syntax in which it comes and the pieces of its data set. Implicit
    VR, which the web does not allow, is written here."""
    pieces = iter(item.open(EXPLICIT if syntax == IMPLICIT else syntax))
    begun = bytearray()
    for piece in pieces:
        begun += piece
        if len(begun) >= _HEAD_BYTES:
            break
    head = read_head(bytes(begun), Limits())
    actual = head.syntax.uid

    def rest() -> Iterator[bytes | memoryview]:
        yield bytes(begun[head.start :])
        yield from pieces

    if syntax == IMPLICIT and actual == EXPLICIT:
        return IMPLICIT, write_implicit(rest())
    return actual, rest()
