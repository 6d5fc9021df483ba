"""The layers between us and a node, tried one after the other, so that it can be told which one fails: name, TCP, TLS,
then the association of an application entity and its C-ECHO (PS3.4 A.4, PS3.8 7.1), or a smallest search of a
DICOMweb server."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from pynetdicom import sop_class

from bridge import statuses
from bridge.association import Association
from bridge.commandsets import C_ECHO
from bridge.scu import NATIVE, Remote, offered
from bridge.security import describe, tls_to
from bridge.webnodes import WebNode
from dicomweb.errors import Error, NotAssociated, Unavailable
from dicomweb.standard.nodes import Node

_VERIFICATION = str(sop_class.Verification)
_CONNECT_SECONDS = 5.0
_TURNED_AWAY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its name, whether it was reached, how long it took, and what is to say of it."""

    name: str
    ok: bool
    seconds: float
    detail: str


def try_layer(name: str, step: Callable[[], str]) -> Layer:
    """Try one layer; the step returns what is to say of it, or raises."""
    begun = time.monotonic()
    try:
        detail, ok = step(), True
    except (Error, OSError) as error:
        detail, ok = str(error), False
    return Layer(name, ok, round(time.monotonic() - begun, 6), detail)


def echo(node: Node, aet: str) -> list[Layer]:
    """Try all layers to a node. The last one in the answer is the last that was tried; it alone can have failed.

    Args:
        node: of any kind.
        aet: our AE title.

    Raises:
        NotAssociated: it is an application entity without an address.
    """
    return _echo_web(node) if node.kind == "dicomweb" else _echo_entity(Remote(node, aet))


def reach(node: Node) -> list[Layer]:
    """Try the name, TCP, and TLS where the node has it; as `echo` else."""
    steps = [("name", _resolve), ("tcp", _connect), *([("tls", _shake_hands)] if node.tls else [])]
    return list(_until_one_fails((name, partial(step, node)) for name, step in steps))


def _until_one_fails(steps: Iterable[tuple[str, Callable[[], str]]]) -> Iterator[Layer]:
    for name, step in steps:
        layer = try_layer(name, step)
        yield layer
        if not layer.ok:
            return


def _resolve(node: Node) -> str:
    try:
        found = socket.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotAssociated(f"the name {node.host} has no address: check the host, or the DNS") from error
    return ", ".join(dict.fromkeys(str(each[4][0]) for each in found))


def _connect(node: Node) -> str:
    try:
        with socket.create_connection((node.host, node.port), _CONNECT_SECONDS):
            return f"port {node.port} takes connections"
    except TimeoutError as error:
        raise NotAssociated(
            f"port {node.port} does not answer in {_CONNECT_SECONDS:g} s: a firewall may be in between"
        ) from error
    except ConnectionRefusedError as error:
        raise NotAssociated(f"nothing listens on port {node.port}: is it started, is the port right?") from error
    except OSError as error:
        raise NotAssociated(f"it cannot be reached: {error.strerror or error}") from error


def _shake_hands(node: Node) -> str:
    context = tls_to(node)
    assert context is not None
    try:
        with (
            socket.create_connection((node.host, node.port), _CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=node.host) as secure,
        ):
            # In TLS 1.3 a server may turn our certificate away after the handshake (RFC 8446 4.4.2.4, 6.2)
            secure.settimeout(_TURNED_AWAY_SECONDS)
            with contextlib.suppress(TimeoutError):
                if not secure.recv(1):
                    raise NotAssociated("it closes the connection after the handshake; see the node's client_cert")
            return f"{secure.version()}, {(secure.cipher() or ('?',))[0]}"
    except OSError as error:
        raise NotAssociated(describe(error)) from error


def _echo_entity(remote: Remote) -> list[Layer]:
    layers = reach(remote.node)
    if not layers[-1].ok:
        return layers
    with contextlib.ExitStack() as stack:
        held: list[Association] = []

        def associate() -> str:
            held.append(remote.associate([(_VERIFICATION, NATIVE)]))
            stack.callback(held[0].release)
            return f"{held[0].request.called} accepts {remote.aet}"

        steps = [("association", associate), ("status", lambda: _ask(held[0]))]
        return [*layers, *_until_one_fails(steps)]


def _ask(association: Association) -> str:
    context = offered(association, [_VERIFICATION])
    answer = association.ask(context.number, {"AffectedSOPClassUID": _VERIFICATION, "CommandField": C_ECHO})
    status = int(answer.get("Status", statuses.PROCESSING_FAILURE))
    if status:
        raise Unavailable(statuses.describe(status, str(answer.get("ErrorComment") or "")))
    return "0000"


def _echo_web(node: Node) -> list[Layer]:
    layers: list[Layer] = []
    if not node.proxy:
        parts = urlsplit(node.url)
        tls = parts.scheme == "https"
        layers = reach(replace(node, host=parts.hostname or "", port=parts.port or (443 if tls else 80), tls=tls))
        if not layers[-1].ok:
            return layers
    return [*layers, try_layer("status", lambda: _search(node))]


def _search(node: Node) -> str:
    with contextlib.closing(WebNode(node)) as web:
        web.search("/studies", [("limit", "1")])
    return "200"
