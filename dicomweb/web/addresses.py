"""What the client calls this server: the start of every URL in an answer (PS3.18 8.2, W-333).

In order: the configured public URL; what a trusted proxy says the client asked for (`X-Forwarded-*`, or RFC 7239
`Forwarded`: one of them, since a proxy that writes the one hands on the other as the client wrote it); the request
itself while only this machine can ask. Otherwise a Host header is anybody's word, so URLs go out without scheme and
host (RFC 3986 4.2), which holds wherever the client came in.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from starlette.requests import HTTPConnection
from starlette.types import Scope

from dicomweb.web.paths import LINK, LINKS

DICOMWEB = "/dicom-web"
"""Path of the DICOMweb services below the server's root."""

_HOST = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~\-]+)+/?")
_PAIR = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^\s;,\"]*)")
_PORTS = {"http": 80, "https": 443}
_LONGEST = 4096

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class _Hop:
    """What one proxy says of the request that it received; None where it says nothing."""

    source: str | None = None
    scheme: str | None = None
    host: str | None = None


class Addresses:
    """The root under which clients find this server.

    Args:
        public_url: what clients call it, without trailing slash; "" to go by the request.
        trusted_proxies: addresses and networks whose forwarding headers count.
        path_prefix: path before all paths, such as "/pacs"; "" for none.
        local: only this machine can send requests.
        standard: proxies write `Forwarded`, not `X-Forwarded-*`.
    """

    def __init__(
        self,
        public_url: str = "",
        trusted_proxies: Sequence[str] = (),
        path_prefix: str = "",
        local: bool = False,
        standard: bool = False,
    ) -> None:
        self.public_url = public_url.rstrip("/")
        self.path_prefix = path_prefix
        self._local = local
        self._standard = standard
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in trusted_proxies)
        self._trusted = lru_cache(maxsize=1024)(self._is_trusted)

    def root(self, scope: Scope) -> str:
        """Return the server's root as this client writes it, without trailing slash; "" is a legal root of
        URLs that begin with a slash. Whoever asks below a link finds everything below it."""
        link = scope.get(LINK)
        return self.server(scope) + (f"{LINKS}{link}" if link is not None else "")

    def server(self, scope: Scope) -> str:
        """Return the same for whoever asks below a link as for everybody else."""
        if self.public_url:
            return self.public_url
        client = scope.get("client")
        if self._networks and client and self._trusted(client[0]):
            return self._forwarded(scope)
        return (self._asked(scope) if self._local else "") + self.path_prefix

    def dicomweb(self, scope: Scope) -> str:
        """Return the base URL of the DICOMweb services as this client writes it."""
        return self.root(scope) + DICOMWEB

    def client(self, scope: Scope) -> str:
        """Return the address that a request came from, as trusted proxies tell; "" where nobody knows."""
        client = scope.get("client")
        address = str(client[0]) if client else ""
        if self._networks and address and self._trusted(address):
            for hop in reversed(self._hops(scope)):
                address = hop.source or address
                if hop.source is None or not self._trusted(hop.source):
                    break
        return address

    def _is_trusted(self, address: str) -> bool:
        try:
            read = ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            return False
        if isinstance(read, ipaddress.IPv6Address) and read.ipv4_mapped:
            read = read.ipv4_mapped
        return any(read in network for network in self._networks)

    def _asked(self, scope: Scope) -> str:
        """What the request itself says. A Host without port, which some clients send although the server's
        port is another, is completed for this machine's own names and otherwise not believed."""
        server = scope.get("server")
        return _asked(scope.get("scheme", "http"), _header(scope, b"host"), server[1] if server else None)

    def _hops(self, scope: Scope) -> list[_Hop]:
        """What proxies say, the nearest last."""
        return _read_forwarded(_header(scope, b"forwarded")) if self._standard else _read_x_forwarded(scope)

    def _forwarded(self, scope: Scope) -> str:
        """What the outermost trusted proxy says. Each proxy appends to the lists, so they are read from the
        right for as long as the one before is trusted too; what stands further left is the client's word."""
        scheme = host = None
        for hop in reversed(self._hops(scope)):
            scheme = hop.scheme or scheme
            host = hop.host or host
            if hop.source is None or not self._trusted(hop.source):
                break
        if host is None or not _HOST.fullmatch(host):
            host = _header(scope, b"host")
        if scheme not in _PORTS:
            scheme = scope.get("scheme", "http")
        prefix = _header(scope, b"x-forwarded-prefix").rpartition(",")[2].strip()
        if not _PREFIX.fullmatch(prefix) or ".." in prefix:
            prefix = self.path_prefix
        return (f"{scheme}://{host}" if _HOST.fullmatch(host) else "") + prefix.rstrip("/")


def base_url(request: HTTPConnection) -> str:
    """Return the base URL of the DICOMweb services as the client of this request writes it, without trailing
    slash: absolute, or "/dicom-web" where no absolute one can be trusted (PS3.18 8.2)."""
    addresses: Addresses = request.app.state.addresses
    return addresses.dicomweb(request.scope)


def _header(scope: Scope, name: bytes) -> str:
    values = [value for key, value in scope["headers"] if key == name]
    return b",".join(values).decode("latin-1").strip() if values else ""


@lru_cache(maxsize=256)
def _asked(scheme: str, host: str, port: int | None) -> str:
    if not host or not _HOST.fullmatch(host):
        return ""
    if port and port != _PORTS.get(scheme) and not _has_port(host):
        if not _is_loopback(host):
            return ""
        host = f"{host}:{port}"
    return f"{scheme}://{host}"


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]")


@lru_cache(maxsize=1024)
def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _read_forwarded(text: str) -> list[_Hop]:
    """Read a Forwarded header (RFC 7239 4); [] if there is none or nothing in it can be read."""
    hops = []
    for element in _split(text[:_LONGEST]):
        pairs = {name.lower(): _unquote(value) for name, value in _PAIR.findall(element)}
        if pairs:
            hops.append(_Hop(_node(pairs.get("for")), _lower(pairs.get("proto")), pairs.get("host") or None))
    return hops


def _read_x_forwarded(scope: Scope) -> list[_Hop]:
    """Read X-Forwarded-For, -Proto, -Host and -Port, counted from the right: the last entries are the nearest
    proxy's. Of a header shorter than the list of addresses, its first entry holds for the proxies before."""
    sources = _list(scope, b"x-forwarded-for")
    schemes = _list(scope, b"x-forwarded-proto")
    hosts = _list(scope, b"x-forwarded-host")
    ports = _list(scope, b"x-forwarded-port")
    count = max(map(len, (sources, schemes, hosts, ports)))
    hops = []
    for back in range(count, 0, -1):
        scheme, host, port = (values[-min(back, len(values))] if values else None for values in (schemes, hosts, ports))
        scheme = _lower(scheme)
        if host and port and port.isdigit() and not _has_port(host) and int(port) != _PORTS.get(scheme or ""):
            host = f"{host}:{port}"
        hops.append(_Hop(_node(sources[-back]) if back <= len(sources) else None, scheme, host))
    return hops


def _list(scope: Scope, name: bytes) -> list[str]:
    text = _header(scope, name)[:_LONGEST]
    return [part.strip() for part in text.split(",") if part.strip()]


def _split(text: str) -> list[str]:
    """Split at commas outside of quotes."""
    return re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+', text)


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[:1] == '"' else text


def _lower(text: str | None) -> str | None:
    return text.lower() if text else None


def _node(text: str | None) -> str | None:
    """Reduce a node name (RFC 7239 6) to its address: brackets and port removed."""
    if not text:
        return None
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.rpartition(":")
    return host if port.isdigit() and ":" not in host and host else text
