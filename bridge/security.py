"""TLS as the Standard's BCP 195 profiles have it (PS3.15 B.9, B.12): 1.2 and newer, forward secrecy, and certificates
on both sides where authorities are named."""

import contextlib
import socket
import ssl
import threading
from pathlib import Path

from dicomweb.errors import BadSetting
from dicomweb.standard.nodes import Node

# BCP 195 (RFC 9325 4.2): ephemeral keys and authenticated encryption; TLS 1.3 has no others
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"


class ServerTLS:
    """The TLS of our listening port; files are read again when they change.

    Args:
        certificate, key: PEM files.
        client_ca: PEM file of the authorities of peers' certificates, which are then asked for; "" asks for none.

    Raises:
        BadSetting: they cannot be used.
    """

    def __init__(self, certificate: str, key: str, client_ca: str = "") -> None:
        if not certificate:
            raise BadSetting("dimse_tls_port needs dimse_tls_cert and dimse_tls_key.")
        self._files = (certificate, key, client_ca)
        self._lock = threading.Lock()
        self._seen = self._times()
        self._context = self._load()

    def _times(self) -> list[int]:
        return [Path(file).stat().st_mtime_ns if file and Path(file).exists() else 0 for file in self._files]

    def _load(self) -> ssl.SSLContext:
        certificate, key, client_ca = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        try:
            context.load_cert_chain(certificate, key)
            if client_ca:
                context.load_verify_locations(client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise BadSetting(
                f"dimse_tls_cert, dimse_tls_key or dimse_tls_client_ca cannot be used: {error}."
            ) from error
        return context

    def wrap(self, sock: socket.socket, seconds: float) -> ssl.SSLSocket:
        """Shake hands with somebody who connected.

        Raises:
            ssl.SSLError, OSError: it came to nothing, or took longer.
        """
        with self._lock:
            if (now := self._times()) != self._seen:
                self._seen = now
                with contextlib.suppress(BadSetting):  # half written; the old one holds until they change again
                    self._context = self._load()
            context = self._context
        sock.settimeout(seconds)
        return context.wrap_socket(sock, server_side=True)


def describe(error: BaseException) -> str:
    """Say in words why no TLS is agreed on; of a certificate that does not pass, why."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not pass: {error.verify_message}; see the node's ca"
    reason = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
    if "CERTIFICATE_REQUIRED" in reason:
        return "it wants a certificate of ours; see the node's client_cert"
    return f"no TLS is agreed on: {reason}"


def client_tls(ca: str = "", certificate: str = "", key: str = "") -> ssl.SSLContext:
    """Make the TLS of our associations with others.

    Args:
        ca: PEM file of the authorities of their certificates; "" for those of the system.
        certificate, key: PEM files of ours; "" for none.

    Raises:
        BadSetting: they cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    try:
        if ca:
            context.load_verify_locations(ca)
        else:
            context.load_default_certs()
        if certificate:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise BadSetting(f"the certificates for TLS cannot be used: {error}.") from error
    return context


def tls_to(node: Node) -> ssl.SSLContext | None:
    """Return the TLS of associations with a node; None where it has none. Raises BadSetting."""
    return client_tls(node.ca, node.client_cert, node.client_key) if node.tls else None
