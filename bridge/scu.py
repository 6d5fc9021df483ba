"""C-ECHO, C-FIND, C-MOVE, C-GET and C-STORE as a client of a node (PS3.4 A, B, C.4; PS3.7 9.1).

Data sets are handed on in pieces, so that an object of any size costs a buffer. Keys go out in the character set
that the node reads, and answers come back as DICOM JSON in UTF-8. What fails says in plain words how far it got.
"""

import contextlib
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydicom.dataset import Dataset as Elements
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import sop_class
from pynetdicom.presentation import StoragePresentationContexts

from bridge.association import Association, Limits, Message, connect
from bridge.commandsets import C_CANCEL, C_ECHO, C_FIND, C_GET, C_MOVE, C_STORE, RESPONSE
from bridge.negotiation import MOST_CONTEXTS, Context, Proposed, Request
from bridge.security import client_tls
from bridge.security import describe as describe_tls
from dicomweb.errors import BadMessage, BadObject, Error, NotAssociated, PeerLeft, PeerSilent, Unavailable
from dicomweb.standard.elements import Limits as Walking
from dicomweb.standard.elements import walk
from dicomweb.standard.implicit import write_implicit
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.nodes import Node
from dicomweb.standard.part10 import read_head
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
    syntax_of,
)

PENDING = (0xFF00, 0xFF01)
LEVELS = {"patient": "PATIENT", "study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
UIDS = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}

_ECHO = str(sop_class.Verification)
_FIND = {"patient": str(sop_class.PatientRootQueryRetrieveInformationModelFind),
         "study": str(sop_class.StudyRootQueryRetrieveInformationModelFind)}  # fmt: skip
_MOVE = {"patient": str(sop_class.PatientRootQueryRetrieveInformationModelMove),
         "study": str(sop_class.StudyRootQueryRetrieveInformationModelMove)}  # fmt: skip
_GET = {"patient": str(sop_class.PatientRootQueryRetrieveInformationModelGet),
        "study": str(sop_class.StudyRootQueryRetrieveInformationModelGet)}  # fmt: skip
_NATIVE = (EXPLICIT, IMPLICIT)
# What is proposed for classes so many that there is no room for all: old nodes take no longer request
_USUAL = (JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LS, JPEG_LS_LOSSY, JPEG_2000_LOSSLESS, JPEG_2000, RLE)
_SECONDS = Limits(request_seconds=15.0, pdu_seconds=30.0, answer_seconds=120.0)
_HEAD_BYTES = 1 << 16
_IDENTIFIER_BYTES = 1 << 24
_BROKEN_IN_A_ROW = 3
_TURNED_AWAY_SECONDS = 0.5
_LIST = 200
"""UIDs in one key: more than that overflow the buffers of old devices."""

STATUSES = {
    0xA700: "it is out of resources",
    0xA701: "it is out of resources and cannot count what matches",
    0xA702: "it is out of resources and cannot send what was asked for",
    0xA801: "it does not know the move destination; its administrator must add that AE title",
    0xA900: "it says that the request does not match the SOP class",
    0x0110: "it failed",
    0x0111: "it has another object with this SOP Instance UID",
    0x0117: "it takes the SOP Instance UID for invalid",
    0x0122: "it does not support the SOP class",
    0x0124: "it does not allow this to us",
    0xFE00: "it was cancelled",
}


def describe(status: int, comment: str = "") -> str:
    """Say in words what a status means (PS3.4 C.4, B.2.3); `comment` is what the node said itself."""
    words = STATUSES.get(status)
    if words is None:
        words = {0xA: "it is out of resources or refuses", 0xC: "it is unable to process the request"}.get(
            status >> 12, "it answers with a failure"
        )
    return f"{words} (status {status:04X}{f': {comment}' if comment else ''})"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an echo: its name, whether it was reached, how long it took, and what is to say of it."""

    name: str
    ok: bool
    seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Sub-operations of a C-MOVE or C-GET (PS3.4 C.4.2.1.6); `failed_list` has UIDs, as far as they were told."""

    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warned: int = 0
    status: int = 0xFF00
    comment: str = ""
    failed_list: tuple[str, ...] = ()


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


Take = Callable[[Association, Message], None]
"""Takes an object that a C-GET brings, and answers for it."""


class Remote:
    """A remote application entity, for one thread. Searches that follow each other share an association, until `close`.

    Args:
        node: which.
        aet: our own AE title.
        limits: deadlines.
        connect_seconds: for TCP and TLS.
    """

    def __init__(self, node: Node, aet: str, limits: Limits = _SECONDS, connect_seconds: float = 5.0) -> None:
        if not node.host:
            raise NotAssociated(f"node {node.name} has no host and port; it can call us, and we cannot call it", True)
        self.node = node
        self._aet = aet
        self._limits = limits
        self._connect_seconds = connect_seconds
        self._rest: Association | None = None

    def _tls(self) -> ssl.SSLContext | None:
        return client_tls(self.node.ca, self.node.client_cert, self.node.client_key) if self.node.tls else None

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
        request = Request(self._aet, self.node.aet, proposed, roles=roles or {})
        return connect(self.node.host, self.node.port, request, self._limits, self._tls(), self._connect_seconds)

    # -- C-ECHO ---------------------------------------------------------------------------------------------

    def echo(self) -> list[Layer]:
        """Try the layers one after the other: name, TCP, TLS, association, status. The last one in the answer is
        the last that was tried; it alone can have failed (PS3.4 A.4, PS3.8 7.1)."""
        layers = self.reach()
        steps = [("association", self._associate_for_echo), ("status", self._ask_echo)]
        try:
            for name, step in steps:
                if not layers[-1].ok:
                    break
                layers.append(self.try_layer(name, step))
        finally:
            if self._echoing is not None:
                self._echoing.release()
                self._echoing = None
        return layers

    def reach(self) -> list[Layer]:
        """Try the name, TCP, and TLS where the node has it."""
        layers = [self.try_layer("name", self._resolve)]
        steps = [("tcp", self._reach), *([("tls", self._shake_hands)] if self.node.tls else [])]
        for name, step in steps:
            if layers[-1].ok:
                layers.append(self.try_layer(name, step))
        return layers

    @staticmethod
    def try_layer(name: str, step: Callable[[], str]) -> Layer:
        """Try one layer; the step returns what is to say of it, or raises."""
        begun = time.monotonic()
        try:
            detail, ok = step(), True
        except (Error, OSError) as error:
            detail, ok = str(error), False
        return Layer(name, ok, round(time.monotonic() - begun, 6), detail)

    _echoing: Association | None = None

    def _resolve(self) -> str:
        try:
            found = socket.getaddrinfo(self.node.host, self.node.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NotAssociated(f"the name {self.node.host} has no address: check the host, or the DNS") from error
        return ", ".join(dict.fromkeys(str(each[4][0]) for each in found))

    def _reach(self) -> str:
        try:
            with socket.create_connection((self.node.host, self.node.port), self._connect_seconds):
                return f"port {self.node.port} takes connections"
        except TimeoutError as error:
            raise NotAssociated(
                f"port {self.node.port} does not answer in {self._connect_seconds:g} s: a firewall may be in between"
            ) from error
        except ConnectionRefusedError as error:
            raise NotAssociated(
                f"nothing listens on port {self.node.port}: is it started, is the port right?"
            ) from error
        except OSError as error:
            raise NotAssociated(f"it cannot be reached: {error.strerror or error}") from error

    def _shake_hands(self) -> str:
        context = self._tls()
        assert context is not None
        try:
            with (
                socket.create_connection((self.node.host, self.node.port), self._connect_seconds) as plain,
                context.wrap_socket(plain, server_hostname=self.node.host) as secure,
            ):
                # In TLS 1.3 a server may turn our certificate away after the handshake (RFC 8446 4.4.2.4, 6.2)
                secure.settimeout(_TURNED_AWAY_SECONDS)
                with contextlib.suppress(TimeoutError):
                    if not secure.recv(1):
                        raise NotAssociated("it closes the connection after the handshake; see the node's client_cert")
                return f"{secure.version()}, {(secure.cipher() or ('?',))[0]}"
        except (OSError, ssl.SSLError) as error:
            raise NotAssociated(describe_tls(error)) from error

    def _associate_for_echo(self) -> str:
        self._echoing = self.associate([(_ECHO, _NATIVE)])
        told = self._echoing.request.called
        return f"{told} accepts {self._aet}"

    def _ask_echo(self) -> str:
        association = self._echoing
        assert association is not None
        context = _first(association, [_ECHO])
        answer = association.ask(context.number, {"AffectedSOPClassUID": _ECHO, "CommandField": C_ECHO})
        status = int(answer.get("Status", 0x0110))
        if status:
            raise Unavailable(describe(status, str(answer.get("ErrorComment") or "")))
        return "0000"

    # -- C-FIND ---------------------------------------------------------------------------------------------

    def find(self, level: str, keys: Mapping[str, Any], most: int = 1_000_000) -> Iterator[Dataset]:
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
                        yield read_identifier(data, message.context.syntax, self.node.charset)
                    found += 1
                    if found == most:
                        cancel = {"CommandField": C_CANCEL, "MessageIDBeingRespondedTo": 1}
                        association.send(message.context.number, cancel)
                message = None

    def _begin_find(
        self, models: Sequence[str], level: str, keys: Mapping[str, Any]
    ) -> tuple[Association, Message | None]:
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
        association = self.associate([(model, _NATIVE) for model in models])
        with _using(association, self.node.name, ends=False):
            self._ask_find(association, models, level, keys)
        return association, None

    def _ask_find(self, association: Association, models: Sequence[str], level: str, keys: Mapping[str, Any]) -> None:
        context = _first(association, models)
        command = {"AffectedSOPClassUID": context.abstract, "CommandField": C_FIND, "Priority": 0, "MessageID": 1}
        association.send(context.number, command, write_identifier(level, keys, context.syntax, self.node.charset))

    @contextlib.contextmanager
    def _resting(self, association: Association) -> Iterator[None]:
        """Keep an association for the next search when this one has come to its end."""
        with _using(association, self.node.name, ends=False):
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
        level: str,
        uids: Mapping[str, str | Sequence[str]],
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
        association = self.associate([(model, _NATIVE) for model in models])
        with _using(association, self.node.name):
            context = _first(association, models)
            command = {
                "AffectedSOPClassUID": context.abstract, "CommandField": C_MOVE, "Priority": 0,
                "MessageID": message, "MoveDestination": destination,
            }  # fmt: skip
            association.send(context.number, command, write_identifier(level, _keys(uids), context.syntax, ""))
            cancelled = False
            while True:
                received = _receive(association)
                counts = self._counts(association, received, C_MOVE, context.syntax)
                yield counts
                if counts.status not in PENDING:
                    return
                if stop() and not cancelled:
                    cancelled = True
                    association.send(context.number, {"CommandField": C_CANCEL, "MessageIDBeingRespondedTo": message})

    def get(
        self,
        level: str,
        uids: Mapping[str, str | Sequence[str]],
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
        association = self.associate([*((model, _NATIVE) for model in models), *stores], roles)
        with _using(association, self.node.name):
            context = _first(association, models)
            command = {"AffectedSOPClassUID": context.abstract, "CommandField": C_GET, "Priority": 0, "MessageID": 1}
            association.send(context.number, command, write_identifier(level, _keys(uids), context.syntax, ""))
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
                if counts.status not in PENDING:
                    return counts

    def _counts(self, association: Association, message: Message, field_: int, syntax: str) -> Counts:
        if message.field != field_ | RESPONSE:
            raise BadMessage("another message instead of the answer")
        command = message.command
        failed: tuple[str, ...] = ()
        if message.has_data:
            told = read_identifier(association.identifier(_IDENTIFIER_BYTES), syntax, "")
            failed = tuple(str(uid) for uid in told.get("00080058", {}).get("Value") or ())
        return Counts(
            int(command.get("NumberOfRemainingSuboperations") or 0),
            int(command.get("NumberOfCompletedSuboperations") or 0),
            int(command.get("NumberOfFailedSuboperations") or 0),
            int(command.get("NumberOfWarningSuboperations") or 0),
            int(command.get("Status", 0x0110)),
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
        compressed = [uid for uid in syntaxes if uid not in _NATIVE]
        native = [uid for uid in _NATIVE if uid in syntaxes] or list(_NATIVE)
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

    # -- C-STORE --------------------------------------------------------------------------------------------

    def store(self, items: Iterable[Item], stop: Callable[[], bool] = lambda: False) -> Iterator[Sent]:
        """Send instances, over as many associations as their presentation contexts need (PS3.4 B.2).

        An instance goes out as it exists where the node takes that, else in the first of the node's
        `accept_syntaxes`, or of Explicit and Implicit VR Little Endian, in which it can be had. One that cannot be
        sent is told of, and the others go on.

        Raises:
            NotAssociated: no association came about.
            Unavailable: the association broke.
        """
        batch: list[Item] = []
        contexts: dict[tuple[str, str], None] = {}
        for item in items:
            more = {(item.sop_class, syntax): None for syntax in self._wanted(item)}
            if batch and len(contexts | more) > MOST_CONTEXTS:
                yield from self._store_batch(batch, list(contexts), stop)
                batch, contexts = [], {}
                if stop():
                    return
            batch.append(item)
            contexts |= more
        if batch:
            yield from self._store_batch(batch, list(contexts), stop)

    def _wanted(self, item: Item) -> list[str]:
        """Transfer syntaxes for an instance, the best first."""
        if self.node.accept_syntaxes:
            own = [item.syntax] if item.syntax in self.node.accept_syntaxes else []
            return list(dict.fromkeys([*own, *self.node.accept_syntaxes]))
        own = (
            [item.syntax]
            if item.syntax
            else [uid for uid, one in SYNTAXES.items() if one.kept and one.encapsulated][:20]
        )
        return list(dict.fromkeys([*own, *_NATIVE]))

    def _store_batch(
        self, batch: Sequence[Item], contexts: Sequence[tuple[str, str]], stop: Callable[[], bool]
    ) -> Iterator[Sent]:
        """Send what one association has contexts for. An instance over which the node ends the association twice is
        the one at fault, and the others go on over a new one."""
        waiting = deque(batch)
        broken: Item | None = None
        in_a_row = 0
        while waiting and not stop():
            try:
                association = self.associate([(abstract, [syntax]) for abstract, syntax in contexts])
            except NotAssociated as error:
                if "none of the presentation contexts" not in str(error):
                    raise
                yield from (Sent(item, self._not_taken(item)) for item in waiting)
                return
            try:
                with _using(association, self.node.name):
                    while waiting and not stop():
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
        return f"{self.node.name} does not take objects of SOP class {item.sop_class}{how}, nor uncompressed"

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
            except (BadObject, Error) as error:
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
            status = int(answer.get("Status", 0x0110))
            if status == 0 or status >> 12 == 0xB:
                return Sent(item, "", counted.size)
            reason = describe(status, str(answer.get("ErrorComment") or ""))
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
    head = read_head(bytes(begun), Walking())
    actual = head.syntax.uid

    def rest() -> Iterator[bytes | memoryview]:
        yield bytes(begun[head.start :])
        yield from pieces

    if syntax == IMPLICIT and actual == EXPLICIT:
        return IMPLICIT, write_implicit(rest())
    return actual, rest()


# -- identifiers ----------------------------------------------------------------------------------------------


def write_identifier(level: str, keys: Mapping[str, Any], syntax: str, charset: str) -> bytes:
    """Write an identifier (PS3.4 C.4.1.1.3).

    Args:
        level: of the query.
        keys: in the DICOM JSON model.
        syntax: Explicit or Implicit VR Little Endian.
        charset: terms of what the node reads, with backslashes between; "" for UTF-8 where it is needed.
    """
    plain = {tag: element for tag, element in keys.items() if tag not in ("00080005", "00080052")}
    dataset = Elements.from_json(dict(plain))
    dataset.QueryRetrieveLevel = LEVELS[level]
    if not _is_ascii(plain):
        terms = charset.split("\\") if charset else ["ISO_IR 192"]
        dataset.SpecificCharacterSet = terms if len(terms) > 1 else terms[0]
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = syntax == IMPLICIT, True
    write_dataset(out, dataset)
    return out.getvalue()


def _is_ascii(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(_is_ascii(each) for each in value.values())
    if isinstance(value, (list, tuple)):
        return all(_is_ascii(each) for each in value)
    return not isinstance(value, str) or value.isascii()


def read_identifier(data: bytes, syntax: str, charset: str) -> Dataset:
    """Read an identifier into the DICOM JSON model (PS3.4 C.4.1.1.3).

    Args:
        data: its bytes.
        syntax: of the presentation context.
        charset: what the node's answers are in when they do not say.

    Raises:
        BadObject: it cannot be understood.
    """
    found = walk(data, 0, len(data), syntax_of(syntax), Walking()).dataset
    said = found.get("00080005", {}).get("Value")
    if charset and not data.isascii() and (not said or b"\x08\x00\x05\x00" not in data[:64]):
        told = charset.encode() + b" " * (len(charset) & 1)
        first = b"\x08\x00\x05\x00" + (b"" if syntax == IMPLICIT else b"CS")
        first += len(told).to_bytes(4 if syntax == IMPLICIT else 2, "little") + told
        found = walk(first + data, 0, len(first) + len(data), syntax_of(syntax), Walking()).dataset
    return found


def _keys(uids: Mapping[str, str | Sequence[str]]) -> Dataset:
    return {
        tag: {"vr": "UI", "Value": [value] if isinstance(value, str) else list(value)} for tag, value in uids.items()
    }


def batches(uids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut a list of UIDs into lists that devices take as one key."""
    for start in range(0, len(uids), _LIST):
        yield uids[start : start + _LIST]


# -- messages -------------------------------------------------------------------------------------------------


def _first(association: Association, abstracts: Sequence[str]) -> Context:
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
    status = int(message.command.get("Status", 0x0110))
    if status in PENDING:
        return True
    if status not in (0x0000, 0xFE00) and status >> 12 != 0xB:
        raise Unavailable(describe(status, str(message.command.get("ErrorComment") or "")))
    return False


@contextlib.contextmanager
def _using(association: Association, name: str, ends: bool = True) -> Iterator[None]:
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
