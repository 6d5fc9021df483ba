"""The application entity: listens, lets associations begin, and hands each request to its service.

A thread serves one association. Those who have connected and not yet asked for an association wait in a lobby of
limited size, from which the oldest silent one of the most crowded address has to leave when somebody else comes; so
silence keeps nobody out. Associations have limits in all, for strangers and for each peer.
"""

import contextlib
import logging
import math
import os
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Protocol

from bridge import agents, negotiation, statuses
from bridge.association import Association, Limits, Message, await_request, reject
from bridge.client import Origin
from bridge.commandsets import C_ECHO, C_FIND, C_GET, C_MOVE, C_STORE, N_ACTION, N_EVENT_REPORT, NAMES, RESPONSE
from bridge.commitment import CommitmentService
from bridge.connection import Connection
from bridge.courier import Courier
from bridge.echo import EchoService
from bridge.find import FindService
from bridge.ledger import Ledger
from bridge.negotiation import ACCEPTED, Request
from bridge.nodes import Nodes
from bridge.policy import COMMITMENT, Admitted, Denied, Policy, Rules, name_of
from bridge.refusals import Peer, Refusals
from bridge.retrieve import GetService, MoveService
from bridge.security import ServerTLS
from bridge.seen import Seen
from bridge.spool import Spool
from bridge.store import StoreService
from bridge.visits import Visits
from dicomweb.errors import BadMessage, BadSetting, PeerLeft, PeerSilent
from dicomweb.telemetry import traces
from dicomweb.telemetry.certificates import certificates
from dicomweb.telemetry.measures import Gauge, Histogram, Level, Tally

log = logging.getLogger(__name__)

ASSOCIATIONS = Tally("roentgate_dimse_associations_total", "Associations that peers asked for.", ("outcome",))
REJECTED = Tally("roentgate_dimse_rejections_total", "Associations that were rejected, by the reason.", ("reason",))
_REASONS = {
    negotiation.CALLING_NOT_RECOGNIZED: "calling",
    negotiation.CALLED_NOT_RECOGNIZED: "called",
    negotiation.NO_APPLICATION_CONTEXT: "context",
    negotiation.LOCAL_LIMIT: "limit",
}
UNDER_WAY = Level("roentgate_dimse_associations", "Associations under way.")
REQUESTS = Histogram(
    "roentgate_dimse_request_duration_seconds", "Time until a request was answered.", ("service", "status")
)

_BACKLOG = 256
_LEAST_REQUESTS, _MOST_REQUESTS = 2, 4
"""Store requests under way before objects wait for each other: the server works at one while we receive for another."""
_HANDSHAKE_SECONDS = 10.0
_FINAL_SECONDS = 5.0
"""Before the end of the time that is given, or a quarter of that: retrievals under way give their final answers."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for the bridge.

    Attributes:
        dicomweb: root of the origin server's services.
        data: folder for what the bridge keeps: spool, commitment under way.
        ledger: SQLite file of jobs and refusals where the server keeps none; None is one in `data`.
        attempts, job_hours, kept_days: of jobs there.
        nodes_file: `nodes.toml`, for servers that have no `/nodes`.
        host, port: where we listen; port 0 takes a free one.
        tls_port: where we listen with TLS; 0 is nowhere. `tls_cert`, `tls_key`, `tls_client_ca`: PEM files.
        rules: who may what.
        limits: of associations.
        associations: most at once; a quarter of them is kept for nodes.
        associations_per_peer: most at once of one node, or of one address that is none.
        lobby: most that have connected and asked for nothing yet.
        held_bytes: data sets up to this size are held in memory.
        strict: queries and retrievals that were not negotiated are refused.
        spool: C-STORE is acknowledged from the spool, which holds `spool_bytes` at most and leaves `free_bytes` of its
            disk.
        patience_seconds: with a spool, before commitment says of absent objects that they are missing.
        graceful_seconds: for what is under way when we stop.
        connect_seconds, read_seconds: for the origin server.
        ca: PEM file of the authorities of the origin server's certificate.
        token: the secret that our own web layer and we share; without it there are neither jobs nor an inner face.
        face_url: where the web layer finds our inner face; "" is nowhere. `face_host`: listens at this address instead.
        health_host, health_port: where we tell our health and measures; port 0 is nowhere.
        logged: a line in the log for each association.
    """

    dicomweb: str
    data: Path
    ledger: Path | None = None
    attempts: int = 8
    job_hours: float = 72.0
    kept_days: float = 30.0
    nodes_file: Path | None = None
    host: str = "127.0.0.1"
    port: int = 11112
    tls_port: int = 0
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    rules: Rules = field(default_factory=Rules)
    limits: Limits = field(default_factory=Limits)
    associations: int = 100
    associations_per_peer: int = 25
    lobby: int = 64
    held_bytes: int = 4 << 20
    strict: bool = False
    spool: bool = False
    spool_bytes: int = 10 << 30
    patience_seconds: float = 120.0
    free_bytes: int = 0
    graceful_seconds: float = 25.0
    connect_seconds: float = 5.0
    read_seconds: float = 120.0
    ca: str = ""
    face_url: str = ""
    face_host: str = ""
    token: str = ""
    health_host: str = "127.0.0.1"
    health_port: int = 0
    logged: bool = False


class Service(Protocol):
    """Serves the requests of one kind."""

    def serve(self, association: Association, message: Message, peer: Peer) -> object:
        """Answer a request of an association with a peer."""


class Bridge:
    """The bridge under way, from its making to `stop`.

    Args:
        settings: what holds.

    Raises:
        BadSetting: an address or port cannot be used, or a certificate.

    Attributes:
        port, tls_port: where it listens; 0 is nowhere.
        ledger: jobs and refusals where the server keeps none.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.origin = Origin(
            settings.dicomweb,
            settings.associations,
            settings.connect_seconds,
            settings.read_seconds,
            settings.ca,
            settings.token,
        )
        self.nodes = Nodes(self.origin, settings.nodes_file)
        self.policy = Policy(settings.rules, self.nodes)
        self._tls = (
            ServerTLS(settings.tls_cert, settings.tls_key, settings.tls_client_ca) if settings.tls_port else None
        )
        self._listeners = listen("dimse_port", settings.host, settings.port)
        self.port = self._listeners[0].getsockname()[1]
        self.tls_port = 0
        secure: list[socket.socket] = []
        if self._tls is not None:
            try:
                secure = listen("dimse_tls_port", settings.host, settings.tls_port)
            except BadSetting:
                for each in self._listeners:
                    each.close()
                raise
            self.tls_port = secure[0].getsockname()[1]
        self.ledger = Ledger(
            settings.ledger or settings.data / "ledger.sqlite",
            settings.attempts,
            settings.kept_days,
            settings.job_hours,
        )
        self.refusals = Refusals(self.origin, self.ledger.refuse)
        self.seen = Seen()
        self.spool: Spool | None = None
        if settings.spool:
            self.spool = Spool(settings.data / "spool", self.origin, settings.spool_bytes, settings.free_bytes)
        self.commitment = CommitmentService(
            self.origin,
            self.nodes,
            self.refusals,
            settings.rules.aet,
            settings.data / "commitment",
            settings.limits,
            self.spool,
            settings.patience_seconds,
            settings.connect_seconds,
        )
        self._services: Mapping[int, Service] = {
            N_ACTION: self.commitment,
            C_ECHO: EchoService(),
            C_STORE: StoreService(
                self.origin,
                self.spool,
                self.refusals,
                settings.rules.aet,
                settings.held_bytes,
                self._make_visits(),
                self._make_courier(),
                settings.data / "drafts",
            ),
            C_FIND: FindService(self.origin, self.nodes, self.refusals, settings.rules.aet, settings.strict),
            C_GET: GetService(self.origin, self.refusals, settings.strict, self._ends),
            C_MOVE: MoveService(
                self.origin,
                self.refusals,
                settings.strict,
                self._ends,
                self.nodes,
                settings.rules.aet,
                settings.limits,
                settings.connect_seconds,
                settings.tls_cert,
                settings.tls_key,
                settings.tls_client_ca,
            ),
        }
        self._lock = threading.Condition()
        self._lobby: dict[int, tuple[socket.socket, str]] = {}
        self._active: dict[int, _Active] = {}
        self._serial = 0
        self._stopping = False
        self._end = math.inf
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener, False), name="accept", daemon=True).start()
        for listener in secure:
            threading.Thread(target=self._accept, args=(listener, True), name="accept-tls", daemon=True).start()
        self._listeners += secure

    def _make_visits(self) -> Visits | None:
        settings = self._settings
        if not settings.token or not self.origin.server:
            return None
        limits = (settings.connect_seconds, settings.read_seconds, settings.ca)
        return Visits(self.origin.server, settings.token, settings.rules.aet, *limits)

    def _make_courier(self) -> Courier | None:
        """Others' servers may take long for many objects in one request, or refuse all for one."""
        if not self._settings.token or not self.origin.server:
            return None
        return Courier(self.origin, min(max(os.cpu_count() or 1, _LEAST_REQUESTS), _MOST_REQUESTS))

    # -- connections ----------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket, secure: bool) -> None:
        while True:
            try:
                sock, address = listener.accept()
            except OSError as error:
                if self._stopping or listener.fileno() < 0:
                    return
                log.warning("a connection could not be taken: %s", error)  # no file descriptors left, above all
                time.sleep(0.1)
                continue
            with self._lock:
                if self._stopping:
                    sock.close()
                    return
                self._serial += 1
                serial = self._serial
                if len(self._lobby) >= self._settings.lobby:
                    self._evict()
                self._lobby[serial] = (sock, address[0])
            thread = threading.Thread(target=self._begin, args=(serial, sock, address[0], secure), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can be made
                self._leave(serial)
                sock.close()

    def _evict(self) -> None:
        """Send the oldest one of the address that has most in the lobby away."""
        crowded = Counter(address for _, address in self._lobby.values()).most_common(1)[0][0]
        serial = next(serial for serial, (_, address) in self._lobby.items() if address == crowded)
        sock, address = self._lobby.pop(serial)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        log.warning("a connection from %s that asked for nothing was closed to make room", address)

    def _leave(self, serial: int) -> None:
        with self._lock:
            self._lobby.pop(serial, None)

    def _begin(self, serial: int, sock: socket.socket, address: str, secure: bool) -> None:
        connection: Connection | None = None
        try:
            if secure:
                assert self._tls is not None
                sock = self._tls.wrap(sock, _HANDSHAKE_SECONDS)
            connection = Connection(sock, self._settings.limits.pdu_seconds)
            request = await_request(connection, self._settings.limits)
            self._leave(serial)
            self._associate(serial, connection, request, address)
        except ssl.SSLError as error:
            self.refusals.note("association", Peer(address=address), f"no TLS: {error.reason or error}", _TLS_REMEDY)
        except BadMessage as error:
            self.refusals.note("association", Peer(address=address), str(error))
        except (PeerLeft, PeerSilent, OSError) as error:
            log.debug("%s asked for no association: %s", address, error)
        except Exception:
            log.exception("an association with %s ended by a fault of ours", address)
        finally:
            self._leave(serial)
            if connection is not None:
                connection.close()
            else:
                sock.close()

    def _associate(self, serial: int, connection: Connection, request: Request, address: str) -> None:
        begun = perf_counter()
        decision = self.policy.admit(request, address)
        if isinstance(decision, Denied):
            self.refusals.note(
                "association",
                Peer(request.calling, request.called, address, decision.node),
                decision.reason,
                decision.remedy,
            )
            ASSOCIATIONS.add(("rejected",))
            REJECTED.add((_REASONS.get(decision.code, "other"),))
            reject(connection, decision.code)
            return
        traces.current.set(traces.begin())
        active = _Active(decision, address)
        why = self._enter(serial, active)
        if why:
            self.refusals.note(
                "association", active.peer(request), why,
                "It may try again soon; the settings dimse_associations and dimse_associations_per_peer are the limits",
            )  # fmt: skip
            ASSOCIATIONS.add(("rejected",))
            REJECTED.add((_REASONS[negotiation.LOCAL_LIMIT],))
            reject(connection, negotiation.LOCAL_LIMIT)
            return
        try:
            granted = self.policy.grant(request, decision)
            for reason, remedy in granted.refused:
                self.refusals.note("context", active.peer(request), reason, remedy)
            acceptance = negotiation.write_acceptance(
                request, granted.contexts, self._settings.limits.pdu_bytes, granted.roles, granted.extended
            )
            contexts = {each.number: each for each in granted.contexts if each.result == ACCEPTED}
            association = Association(
                connection, request, contexts, request.longest, self._settings.limits, granted.roles, granted.extended
            )
            active.association = association
            connection.send([acceptance])
            ASSOCIATIONS.add(("accepted",))
            UNDER_WAY.add(1)
            try:
                self._serve(association, active)
            finally:
                UNDER_WAY.add(-1)
                if self._settings.logged:
                    self._tell(association, active, perf_counter() - begun)
        except (PeerLeft, PeerSilent, BadMessage) as error:
            log.info("the association with %s at %s ended: %s", request.calling, address, error)
        finally:
            if active.association is not None:
                active.association.abort()
            with self._lock:
                del self._active[serial]
                self._lock.notify_all()

    def _enter(self, serial: int, active: "_Active") -> str:
        """Count an association, or say why it is one too many."""
        settings = self._settings
        with self._lock:
            if self._stopping:
                return "the bridge is stopping"
            others = list(self._active.values())
            if len(others) >= settings.associations:
                return f"there are {len(others)} associations, as many as are allowed"
            if sum(other.counted == active.counted for other in others) >= settings.associations_per_peer:
                return f"it has {settings.associations_per_peer} associations, as many as one peer may have"
            kept = settings.associations // 4
            strangers = sum(other.admitted.node is None for other in others)
            if active.admitted.node is None and strangers >= settings.associations - kept:
                return "the places that are left are kept for known nodes"
            self._active[serial] = active
            return ""

    # -- requests -------------------------------------------------------------------------------------------

    def _serve(self, association: Association, active: "_Active") -> None:
        peer = active.peer(association.request)
        try:
            while association.open and not self._stopping:
                self.commitment.attend(association, peer)
                message = association.receive()
                if message is None:
                    return
                active.busy = True
                active.requests += 1
                begun = perf_counter()
                association.answered = None
                try:
                    with agents.asking_for([f"{peer.calling}@{peer.address}"]):
                        self._dispatch(association, message, peer)
                finally:
                    service, kind = NAMES.get(message.field, "other"), statuses.kind_of(association.answered)
                    REQUESTS.observe(perf_counter() - begun, (service, kind))
                    self.seen.note(peer.node, service, kind)
                active.busy = False
        finally:
            self.commitment.leave(association, peer)

    def _tell(self, association: Association, active: "_Active", seconds: float) -> None:
        peer = active.peer(association.request)
        told = {
            "peer": peer.node or "other", "address": peer.address, "requests": active.requests,
            "seconds": round(seconds, 6),
        }  # fmt: skip
        extra = {"fields": told}
        log.info("association with %s: %d requests in %.3f s", told["peer"], active.requests, seconds, extra=extra)

    def _dispatch(self, association: Association, message: Message, peer: Peer) -> None:
        if message.field == N_EVENT_REPORT | RESPONSE:
            self.commitment.acknowledge(association, message, peer)
            return
        service = self._services.get(message.field)
        name = NAMES.get(message.field, f"command {message.field:04X}")
        if service is None:
            association.skip()
            self.refusals.note("request", peer, f"{name} is not offered here")
            association.respond(message, statuses.UNRECOGNIZED_OPERATION, f"{name} is not offered here")
            return
        abstract = message.context.abstract
        fits = self.policy.right_for(abstract, association.request.services) == _RIGHTS[message.field]
        if not fits or (abstract == COMMITMENT) != (message.field == N_ACTION):
            association.skip()
            reason = f"{name} in a presentation context of {name_of(abstract)}"
            self.refusals.note("request", peer, reason)
            association.respond(message, statuses.NO_SUCH_CLASS, reason)
            return
        try:
            service.serve(association, message, peer)
        except (PeerLeft, PeerSilent, BadMessage):
            raise
        except Exception as error:
            log.exception("%s failed by a fault of ours", name)
            association.skip()
            verdict = statuses.from_error(error)
            association.respond(message, verdict.status, verdict.comment)

    # -- the end --------------------------------------------------------------------------------------------

    def _ends(self) -> bool:
        return time.monotonic() >= self._end

    def stop(self, graceful_seconds: float | None = None) -> None:
        """Take nobody any more, let requests under way end, then end all.

        Args:
            graceful_seconds: how long they may go on; None is what the settings say.
        """
        seconds = self._settings.graceful_seconds if graceful_seconds is None else graceful_seconds
        deadline = time.monotonic() + seconds
        self._end = deadline - min(_FINAL_SECONDS, seconds / 4)
        with self._lock:
            self._stopping = True
            for listener in self._listeners:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                listener.close()
            for sock, _ in self._lobby.values():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            for active in self._active.values():
                if not active.busy and active.association is not None:
                    active.association.interrupt()
            while self._active and (left := deadline - time.monotonic()) > 0:
                self._lock.wait(left)
            late = [active.association for active in self._active.values() if active.association is not None]
        for association in late:
            log.warning("an association was aborted since it did not end in time")
            association.interrupt()
            association.close()
        self.commitment.close()
        if self.spool is not None:
            self.spool.close()
        self.refusals.close()
        self.origin.close()

    def gauges(self) -> Iterator[Gauge]:
        """Yield what is to be told beside `status`."""
        yield from self.seen.gauges()
        yield from certificates({"dimse": self._settings.tls_cert})

    def status(self) -> dict[str, object]:
        """Return what goes on, as JSON for people and programs."""
        with self._lock:
            associations = len(self._active)
            lobby = len(self._lobby)
        return {
            "aet": self._settings.rules.aet,
            "port": self.port,
            "tls_port": self.tls_port,
            "dicomweb": self.origin.url,
            "associations": associations,
            "connections_waiting": lobby,
            "commitments": self.commitment.waiting(),
            "spool": self.spool.status() if self.spool is not None else None,
        }


_RIGHTS = {C_ECHO: "echo", C_STORE: "store", C_FIND: "find", C_GET: "get", C_MOVE: "move", N_ACTION: "store"}
_TLS_REMEDY = (
    "The port speaks TLS 1.2 and newer only, with the cipher suites of BCP 195, and asks for a certificate if"
    " dimse_tls_client_ca is set"
)


@dataclass(slots=True)
class _Active:
    """An association under way: who it is with, and whether a request is being served."""

    admitted: Admitted
    address: str
    association: Association | None = None
    busy: bool = False
    requests: int = 0

    def peer(self, request: Request) -> Peer:
        """Who it is with, for people."""
        node = self.admitted.node.name if self.admitted.node else ""
        return Peer(request.calling, request.called, self.address, node)

    @property
    def counted(self) -> str:
        """What counts as one peer: a node, or an address."""
        return f"node {self.admitted.node.name}" if self.admitted.node else self.address


def listen(setting: str, host: str, port: int) -> list[socket.socket]:
    """Open the listening sockets, one for each address of the host.

    Raises:
        BadSetting: address or port cannot be used; the sentence names the setting.
    """
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BadSetting(f"dimse_host is {host!r}, which is no address or name of this machine.") from error
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            port = sockets[0].getsockname()[1] if sockets else port
            dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
            sockets.append(
                socket.create_server((str(address[0]), port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
            )
    except OSError as error:
        for each in sockets:
            each.close()
        raise BadSetting(
            f"{setting} {port} on {host} cannot be used: {error.strerror or error}; choose another one."
        ) from error
    return sockets
