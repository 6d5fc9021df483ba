"""An association: DIMSE messages over a connection, in either role (PS3.7 6 and 9, PS3.8 7 and 9).

One thread serves one association, and nothing polls. A data set is not gathered but handed on as its fragments
arrive, so that an object of many gigabytes costs a buffer. What the other side may not do ends the association
with A-ABORT; every wait has its deadline.
"""

import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bridge import commandsets, negotiation
from bridge.commandsets import C_CANCEL, DATA, NO_DATA, RESPONSE, Command
from bridge.connection import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    RELEASE_RP,
    RELEASE_RQ,
    Connection,
    unexpected,
)
from bridge.connection import DATA as P_DATA
from bridge.negotiation import Context, Request
from bridge.security import describe
from dicomweb.errors import BadMessage, Error, NotAssociated, PeerLeft, PeerSilent
from dicomweb.standard.syntaxes import DEFLATED

_COMMAND_BYTES = 1 << 16
_REQUEST_BYTES = 1 << 20
_ANY_PDU = 1 << 20
"""What we send at once to somebody who takes PDUs of any length."""
_LEAST_PDU = 16
_TOGETHER = 1 << 19
"""Bytes that are sent by one call where they come in pieces."""
_CANCELS = 16
_CLOSING_SECONDS = 2.0
_PDV = struct.Struct(">IBB")
_HEAD = struct.Struct(">BxIIBB")

_ABORT_BY_USER = (0, 0)
ABORT_UNEXPECTED = (2, 2)  # PS3.8 Table 9-26: service provider, unexpected PDU


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines and sizes of associations.

    Attributes:
        request_seconds: for the association request, and for its answer where we ask (ARTIM, PS3.8 9.1.5).
        idle_seconds: between two requests.
        pdu_seconds: within a PDU.
        answer_seconds: for the answer to a request of ours.
        pdu_bytes: largest PDU that we take.
        message_bytes: largest data set.
    """

    request_seconds: float = 30.0
    idle_seconds: float = 600.0
    pdu_seconds: float = 60.0
    answer_seconds: float = 600.0
    pdu_bytes: int = 1 << 18
    message_bytes: int = 8 << 30


@dataclass(frozen=True, slots=True)
class Message:
    """A message whose data set, if there is one, is still to be read.

    Attributes:
        context: in which it came.
        command: what it says.
    """

    context: Context
    command: Command

    @property
    def field(self) -> int:
        """Command Field."""
        return int(self.command["CommandField"])

    @property
    def has_data(self) -> bool:
        """Whether a data set follows."""
        return self.command.get("CommandDataSetType", NO_DATA) != NO_DATA


class Association:
    """An association that is established. Its methods block and belong to one thread, but for `interrupt`.

    Attributes:
        request: how it was asked for.
        contexts: presentation contexts in force, by number.
        roles: what was granted, by SOP Class UID: whether the requester is SCU, and SCP.
        extended: granted application information by SOP Class UID (PS3.7 D.3.3.5).
        open: it has neither ended nor been released.
        answered: status of the last answer; whoever serves a request sets None before.
    """

    def __init__(
        self,
        connection: Connection,
        request: Request,
        contexts: Mapping[int, Context],
        longest: int,
        limits: Limits,
        roles: Mapping[str, tuple[bool, bool]] | None = None,
        extended: Mapping[str, bytes] | None = None,
    ) -> None:
        self._connection = connection
        self.request = request
        self.contexts = contexts
        self.roles = roles or {}
        self.extended = extended or {}
        self.open = True
        self.answered: int | None = None
        self._limits = limits
        most = _ANY_PDU if longest == 0 else max(min(longest, _ANY_PDU), _LEAST_PDU)
        self._piece = (most - 6) & ~1
        self._pdu_left = self._pdv_left = 0
        self._number = self._control = 0
        self._last = True
        self._data_left = 0
        self._cancels: deque[int] = deque(maxlen=_CANCELS)
        self._message_number = 0

    # -- receiving ------------------------------------------------------------------------------------------

    def receive(self, seconds: float | None = None) -> Message | None:
        """Wait for the next message; its data set is read by `data` or passed over by the next call.

        Args:
            seconds: how long to wait; None is the idle time.

        Returns:
            The message, or None after the other side asked for release, which is granted.

        Raises:
            PeerLeft, PeerSilent, BadMessage: as `Connection`; the association is no longer open.
        """
        while True:
            self.skip()
            try:
                message = self._command(self._limits.idle_seconds if seconds is None else seconds)
            except BadMessage:
                self.abort(ABORT_UNEXPECTED)
                raise
            if message is None or message.field != C_CANCEL:
                return message
            self._cancels.append(message.command.get("MessageIDBeingRespondedTo", -1))

    def _command(self, seconds: float) -> Message | None:
        data = bytearray()
        while True:
            if not self._fragment(seconds):
                return None
            if not self._control & 1:
                raise BadMessage("a data set without a command before it")
            while self._pdv_left:
                if len(data) + self._pdv_left > _COMMAND_BYTES:
                    raise BadMessage("a command set is too long")
                data += self._some()
            if self._control & 2:
                break
        context = self.contexts.get(self._number)
        if context is None:
            raise BadMessage(f"a message in presentation context {self._number}, which was not accepted")
        message = Message(context, commandsets.read(data))
        self._last = not message.has_data
        self._data_left = self._limits.message_bytes
        return message

    def data(self) -> Iterator[memoryview]:
        """Yield the data set of the last message, in pieces that hold until the next one is asked for.

        Raises:
            BadMessage: it is larger than the limit, or something else comes between; the association is over.
        """
        try:
            while self._pdv_left or not self._last:
                if not self._pdv_left:
                    self._data_fragment()
                    continue
                yield self._some()
        except BadMessage:
            self.abort(ABORT_UNEXPECTED)
            raise

    def _data_fragment(self) -> None:
        number = self._number
        if not self._fragment(self._limits.pdu_seconds):
            raise BadMessage("release is asked for within a message")
        if self._control & 1 or self._number != number:
            raise BadMessage("another message begins within a data set")
        self._data_left -= self._pdv_left
        if self._data_left < 0:
            raise BadMessage(f"a data set is larger than {self._limits.message_bytes:,} bytes")
        self._last = bool(self._control & 2)

    def identifier(self, most: int = 1 << 22) -> bytes:
        """Read the data set of the last message as a whole.

        Raises:
            BadMessage: it has more than `most` bytes; the association is over.
        """
        gathered = bytearray()
        for piece in self.data():
            gathered += piece
            if len(gathered) > most:
                self.abort(ABORT_UNEXPECTED)
                raise BadMessage(f"an identifier is larger than {most:,} bytes")
        return bytes(gathered)

    def skip(self) -> None:
        """Pass over what is left of the last message's data set."""
        for _ in self.data():
            pass

    def _some(self) -> memoryview:
        piece = self._connection.some(self._pdv_left)
        self._pdv_left -= len(piece)
        self._pdu_left -= len(piece)
        return piece

    def _fragment(self, seconds: float) -> bool:
        """Come to the next presentation data value (PS3.8 9.3.5); False if release was asked for instead."""
        while not self._pdu_left:
            try:
                kind, length = self._connection.header(seconds)
            except Error:
                self.close()
                raise
            if kind == P_DATA:
                if length > self._limits.pdu_bytes:
                    raise BadMessage(f"a PDU of {length:,} bytes, more than was agreed on")
                self._pdu_left = length
            elif kind == RELEASE_RQ:
                self._connection.whole(min(length, 4))
                self._end(struct.pack(">BxI4x", RELEASE_RP, 4))
                return False
            elif kind == ABORT:
                self.close()
                raise PeerLeft("the other side aborted the association")
            else:
                raise unexpected(kind)
        if self._pdu_left < 6:
            raise BadMessage("a P-DATA-TF ends inside an item")
        length, self._number, self._control = _PDV.unpack(self._connection.take(6))
        self._pdu_left -= 6
        self._pdv_left = length - 2
        if length < 2 or self._pdv_left > self._pdu_left:
            raise BadMessage("an item is longer than its P-DATA-TF")
        return True

    def cancelled(self, message: int) -> bool:
        """Say whether the request with this Message ID was cancelled; reads what waits, and does not wait.

        Raises:
            PeerLeft: the other side is gone.
            BadMessage: it sent something else than C-CANCEL while its request was under way.
        """
        while self._pdu_left or self._connection.waits():
            received = self._command(self._limits.pdu_seconds)
            if received is None:
                raise PeerLeft("the other side released the association while its request was under way")
            self._note(received)
        return message in self._cancels

    def _note(self, received: Message) -> None:
        if received.field != C_CANCEL:
            self.abort(ABORT_UNEXPECTED)
            raise BadMessage("another request while one is under way, which was not agreed on")
        self._cancels.append(received.command.get("MessageIDBeingRespondedTo", -1))

    # -- sending --------------------------------------------------------------------------------------------

    def send(self, context: int, command: Command, data: bytes | Iterable[bytes | memoryview] | None = None) -> None:
        """Send a message.

        Args:
            context: number of the presentation context.
            command: what it says; Command Data Set Type is set here.
            data: the data set, whole or in pieces of any size.

        Raises:
            PeerLeft, PeerSilent: the association is over.
        """
        if data is not None and context in self.contexts and self.contexts[context].syntax == DEFLATED:
            data = _padded([data] if isinstance(data, bytes) else data)
        pieces = self._commanded(context, command, data is not None)
        try:
            if data is None or isinstance(data, bytes):
                self._connection.send(pieces if data is None else [*pieces, *self._fragments(context, data)])
            else:
                self._send_pieces(context, pieces, data)
        except (PeerLeft, BadMessage):
            self.close()
            raise
        except BaseException:  # the data set ends in its middle: nothing else can follow
            self.abort(_ABORT_BY_USER)
            raise

    def _commanded(self, context: int, command: Command, has_data: bool) -> list[bytes | memoryview]:
        """A command set as P-DATA-TF PDUs (PS3.8 9.3.5)."""
        encoded = commandsets.write({**command, "CommandDataSetType": DATA if has_data else NO_DATA})
        return list(self._fragments(context, encoded, command=1))

    def _fragments(self, context: int, data: bytes, command: int = 0) -> Iterator[bytes | memoryview]:
        """Bytes as P-DATA-TF PDUs of one fragment each: those of a command set if `command` is 1, of a data set if
        it is 0 (PS3.8 9.3.5, E.2)."""
        if len(data) <= self._piece:
            yield _HEAD.pack(P_DATA, len(data) + 6, len(data) + 2, context, command | 2)
            yield data
            return
        view = memoryview(data)
        for start in range(0, len(data), self._piece):
            part = view[start : start + self._piece]
            control = command | (2 if start + self._piece >= len(data) else 0)
            yield _HEAD.pack(P_DATA, len(part) + 6, len(part) + 2, context, control)
            yield part

    def _send_pieces(self, context: int, pieces: list[bytes | memoryview], data: Iterable[bytes | memoryview]) -> None:
        held: list[bytes | memoryview] = []
        size = waiting = 0
        for piece in data:
            view = memoryview(piece)
            while size + len(view) > self._piece:  # one fragment is held back, which may be the last
                count = self._piece - size
                pieces += [_HEAD.pack(P_DATA, self._piece + 6, self._piece + 2, context, 0), *held, view[:count]]
                view = view[count:]
                held, size, waiting = [], 0, waiting + self._piece
                if waiting >= _TOGETHER:
                    self._connection.send(pieces)
                    pieces, waiting = [], 0
            if view:
                held.append(view)
                size += len(view)
        pieces += [_HEAD.pack(P_DATA, size + 6, size + 2, context, 2), *held]
        self._connection.send(pieces)

    def respond(
        self,
        message: Message,
        status: int,
        comment: str = "",
        data: bytes | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Answer a request; `more` are further elements of the command."""
        self.answered = status
        self.send(message.context.number, commandsets.respond(message.command, status, comment, more or {}), data)

    def respond_each(self, message: Message, status: int, answers: Sequence[bytes]) -> None:
        """Answer a request several times, each time with a data set; all leave together."""
        if not answers:
            return
        self.answered = status
        context = message.context.number
        head = self._commanded(context, commandsets.respond(message.command, status), has_data=True)
        pieces = [piece for data in answers for piece in (*head, *self._fragments(context, data))]
        try:
            self._connection.send([b"".join(pieces)])
        except PeerLeft:
            self.close()
            raise
        except PeerSilent:
            self.abort(_ABORT_BY_USER)
            raise

    def ask(self, context: int, command: Command, data: bytes | Iterable[bytes | memoryview] | None = None) -> Command:
        """Send a request, wait for its answer and return that; a C-CANCEL that comes between is remembered.

        Args:
            context: number of the presentation context.
            command: without Message ID, which is given here.
            data: the data set.
        """
        return self.answer(self.start(context, command, data))

    def start(
        self, context: int, command: Command, data: bytes | Iterable[bytes | memoryview] | None = None
    ) -> Command:
        """Send a request as `ask` does, without waiting; return it with its Message ID, for `answer`."""
        self._message_number = self._message_number % 0xFFFF + 1
        command = {**command, "MessageID": self._message_number}
        self.send(context, command, data)
        return command

    def answer(self, command: Command) -> Command:
        """Wait for the answer to a request that was sent, see `ask`."""
        while True:
            received = self.receive(self._limits.answer_seconds)
            if received is None:
                raise PeerLeft("the other side released the association instead of answering")
            answers = received.field == command["CommandField"] | RESPONSE
            if answers and received.command.get("MessageIDBeingRespondedTo") == command["MessageID"]:
                self.skip()
                return received.command
            self.abort(ABORT_UNEXPECTED)
            raise BadMessage("another message instead of the answer")

    def waits(self, seconds: float) -> bool:
        """Say whether something of the other side can be read within so many seconds."""
        return bool(self._pdu_left) or self._connection.waits(seconds)

    def context_for(self, abstract: str, syntax: str | None = None) -> Context | None:
        """Return a context in force for a SOP class, of this transfer syntax if one is named."""
        for context in self.contexts.values():
            if context.abstract == abstract and (syntax is None or context.syntax == syntax):
                return context
        return None

    # -- the end --------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Ask for release and wait until it is granted (PS3.8 7.2)."""
        if not self.open:
            return
        with contextlib.suppress(Error):
            self._connection.send([struct.pack(">BxI4x", RELEASE_RQ, 4)])
            for _ in range(_CANCELS):
                kind, length = self._connection.header(self._limits.request_seconds)
                if kind == RELEASE_RQ:  # both asked at once (PS3.8 7.2.2.7)
                    self._connection.send([struct.pack(">BxI4x", RELEASE_RP, 4)])
                elif kind != P_DATA:
                    break
                if length > self._limits.pdu_bytes:
                    break
                self._connection.whole(length)
        self.close()

    def abort(self, source: tuple[int, int] = _ABORT_BY_USER) -> None:
        """End the association at once (PS3.8 7.3)."""
        if self.open:
            self._end(struct.pack(">BxIxxBB", ABORT, 4, *source))

    def _end(self, pdu: bytes) -> None:
        self.open = False
        with contextlib.suppress(Error):
            self._connection.send([pdu])
        self._connection.await_end(_CLOSING_SECONDS)
        self._connection.close()

    def close(self) -> None:
        """Close the connection without a word."""
        self.open = False
        self._connection.close()

    def interrupt(self) -> None:
        """Let the thread that waits for the next message see an end; may be called from any thread."""
        self._connection.interrupt()


# -- how associations begin -----------------------------------------------------------------------------------


def await_request(connection: Connection, limits: Limits) -> Request:
    """Wait for the association request of somebody who connected (PS3.8 9.2, Sta2).

    Raises:
        PeerLeft, PeerSilent: nothing came.
        BadMessage: something else came; an A-ABORT was sent.
    """
    try:
        kind, length = connection.header(limits.request_seconds)
        if kind != ASSOCIATE_RQ:
            raise unexpected(kind)
        if length > _REQUEST_BYTES:
            raise BadMessage(f"an association request of {length:,} bytes")
        return negotiation.read_request(struct.pack(">BxI", kind, length) + connection.whole(length))
    except BadMessage:
        with contextlib.suppress(Error):
            connection.send([struct.pack(">BxIxxBB", ABORT, 4, *ABORT_UNEXPECTED)])
        connection.await_end(_CLOSING_SECONDS)
        raise


def reject(connection: Connection, reason: tuple[int, int, int]) -> None:
    """Refuse an association and wait for the other side to close (PS3.8 9.3.4)."""
    with contextlib.suppress(Error):
        connection.send([negotiation.write_rejection(reason)])
    connection.await_end(_CLOSING_SECONDS)


def _padded(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """A deflated data set, whose length may be odd where fragments' is even (PS3.5 A.5, PS3.8 E.2)."""
    size = 0
    for piece in pieces:
        size += len(piece)
        yield piece
    if size & 1:
        yield b"\0"


def connect(
    host: str,
    port: int,
    request: Request,
    limits: Limits,
    tls: ssl.SSLContext | None = None,
    connect_seconds: float = 10.0,
) -> Association:
    """Ask for an association.

    Args:
        host, port: of the other side.
        request: what is asked for.
        limits: of the association.
        tls: how to speak TLS; None is without.
        connect_seconds: for TCP and TLS.

    Raises:
        NotAssociated: none came about; the sentence says how far it got.
    """
    where = f"{host} port {port}"
    try:
        sock = socket.create_connection((host, port), connect_seconds)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=host)
    except socket.gaierror as error:
        raise NotAssociated(f"the name {host} has no address") from error
    except ssl.SSLError as error:
        raise NotAssociated(f"{where}: {describe(error)}", lasting=True) from error
    except OSError as error:
        raise NotAssociated(f"{where} takes no connection: {error.strerror or error}") from error
    connection = Connection(sock, limits.pdu_seconds)
    try:
        connection.send([negotiation.write_request(request, limits.pdu_bytes)])
        kind, length = connection.header(limits.request_seconds)
        if length > _REQUEST_BYTES:
            raise BadMessage("an answer to an association request that is too long")
        pdu = struct.pack(">BxI", kind, length) + connection.whole(length)
        if kind == ASSOCIATE_RJ:
            raise negotiation.read_rejection(pdu)
        if kind != ASSOCIATE_AC:
            raise unexpected(kind)
        contexts, longest, roles = negotiation.read_acceptance(pdu, request)
    except NotAssociated:
        connection.close()
        raise
    except Error as error:
        connection.close()
        raise NotAssociated(f"{where} does not answer an association request: {error}") from error
    association = Association(connection, request, contexts, longest, limits, roles)
    if not contexts:
        association.release()
        raise NotAssociated(f"{where} accepts none of the presentation contexts", lasting=True)
    return association
