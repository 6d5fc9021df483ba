"""Objects that come over several associations at once travel to the web layer in one Store request (PS3.18 10.5).

Nobody waits for company: while fewer requests are under way than may be, an object leaves alone and at once. What
comes meanwhile gathers, and leaves together when a request is back, or after a moment if the server takes long, as
one does whose object store is far. So one association is as quick as without, and many share the cost of requests
and of what the archive syncs. Each sender hears of its own object, and of success
only after the web layer has said that this object is stored.
"""

import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bridge import agents
from bridge.client import Origin, Stored
from dicomweb.errors import Error, Unavailable
from dicomweb.standard import multipart
from dicomweb.standard.outcomes import Outcome

OBJECT = "application/dicom"
_PATIENCE_SECONDS = 0.02
"""How long an object waits for a request to come back before it takes those that wait along in one more."""
_MOST_PARTS = 32
_MOST_BYTES = 16 << 20


@dataclass(slots=True, eq=False)
class _Parcel:
    """An object on its way.

    Attributes:
        instance: its SOP Instance UID, by which its outcome is known.
        pieces: the file.
        size: bytes of it.
        agent: for whom it is sent.
        told: set when there is an answer, or when this one has to lead.
        company: those who travel with it, itself among them, if it has to lead.
        stored: what became of it; None if it has to go alone.
        error: what ended the request.
    """

    instance: str
    pieces: Sequence[bytes]
    size: int
    agent: str
    told: threading.Event = field(default_factory=threading.Event)
    company: "list[_Parcel]" = field(default_factory=list)
    stored: Stored | None = None
    error: Error | None = None


class Courier:
    """Sends objects to a server, those together that come at the same time. Its methods may be called by any thread.

    Args:
        origin: the server.
        most: requests under way at the same time, unless they take long.
        patience: seconds that an object waits for one of them.
    """

    def __init__(self, origin: Origin, most: int, patience: float = _PATIENCE_SECONDS) -> None:
        self._origin = origin
        self._patience = patience
        self._most = most
        self._lock = threading.Lock()
        self._waiting: list[_Parcel] = []
        self._under_way = 0

    def store(self, instance: str, pieces: Sequence[bytes], size: int) -> Stored:
        """Store an object and return what became of it.

        Args:
            instance: its SOP Instance UID.
            pieces: the Part 10 file.
            size: bytes of it.

        Raises:
            Unavailable, OutOfSpace, TooLarge, Forbidden, UnsupportedMedia, BadRequest: as `Origin.store`.
        """
        parcel = _Parcel(instance, pieces, size, agents.current())
        with self._lock:
            self._waiting.append(parcel)
            if self._under_way < self._most:
                self._lead(parcel)
        if not parcel.company and not parcel.told.wait(self._patience):
            with self._lock:
                if parcel in self._waiting:
                    self._lead(parcel)
            if not parcel.company:
                parcel.told.wait()
        if parcel.company:
            try:
                self._carry(parcel.company)
            finally:
                self._hand_over(parcel)
                parcel.company = []  # it holds itself, and with it bytes that the collector of circles does not count
        if parcel.error is not None:
            raise parcel.error
        return parcel.stored if parcel.stored is not None else send(self._origin, [parcel.pieces])

    def _lead(self, parcel: _Parcel) -> None:
        """Let one that waits go, and others with it."""
        self._under_way += 1
        self._waiting.remove(parcel)
        self._waiting.insert(0, parcel)
        parcel.company = self._gather()

    def _gather(self) -> list[_Parcel]:
        """Take from those that wait, in their order, as many as may travel together; one of each UID."""
        company: dict[str, _Parcel] = {}
        size, left = 0, []
        for parcel in self._waiting:
            full = len(company) == _MOST_PARTS or (company and size + parcel.size > _MOST_BYTES)
            if full or parcel.instance in company:
                left.append(parcel)
            else:
                company[parcel.instance] = parcel
                size += parcel.size
        self._waiting = left
        return list(company.values())

    def _carry(self, company: list[_Parcel]) -> None:
        """Send a request and give each its answer. Whoever is not plainly stored goes alone, so that it gets the
        sentence that is meant for it, and one that spoils a request spoils nobody else's."""
        try:
            with agents.asking_for(parcel.agent for parcel in company):
                stored = send(self._origin, [parcel.pieces for parcel in company])
        except Unavailable as error:
            for parcel in company:
                parcel.error = Unavailable(str(error))
            return
        except Error as error:
            if len(company) == 1:
                company[0].error = error
            return
        if len(company) == 1:
            company[0].stored = stored
            return
        outcomes: dict[str, list[Outcome]] = {}
        for outcome in stored.outcomes:
            outcomes.setdefault(outcome.instance, []).append(outcome)
        for parcel in company:
            found = outcomes.get(parcel.instance, [])
            if len(found) == 1 and found[0].reason is None and found[0].warning is None:
                parcel.stored = Stored(found, (), temporary=False)

    def _hand_over(self, leader: _Parcel) -> None:
        """Wake those who travelled with the leader, and let one of those who wait lead the next."""
        with self._lock:
            self._under_way -= 1
            following = self._waiting[:1] if self._under_way < self._most else []
            for parcel in following:
                self._lead(parcel)
        for parcel in [*following, *leader.company]:
            parcel.told.set()


def send(origin: Origin, files: Sequence[Sequence[bytes]]) -> Stored:
    """Send Part 10 files, each in pieces, in one Store request; see `Origin.store`."""
    boundary = multipart.boundary_for(secrets.token_hex(16))
    body: list[bytes] = []
    for number, pieces in enumerate(files):
        length = {"Content-Length": str(sum(map(len, pieces)))}
        body += [multipart.write_head(boundary, OBJECT, length, first=not number), *pieces]
    return origin.store([*body, multipart.write_end(boundary)], multipart.write_type(boundary, OBJECT))


def stream(origin: Origin, files: Iterable[Iterable[bytes | memoryview]]) -> Stored:
    """Send Part 10 files as they come, in one Store request; see `Origin.store`."""
    boundary = multipart.boundary_for(secrets.token_hex(16))
    return origin.store(_body(boundary, files), multipart.write_type(boundary, OBJECT))


def _body(boundary: str, files: Iterable[Iterable[bytes | memoryview]]) -> Iterator[bytes]:
    for number, pieces in enumerate(files):
        yield multipart.write_head(boundary, OBJECT, first=not number)
        for piece in pieces:
            yield bytes(piece)
    yield multipart.write_end(boundary)
