"""Nodes: the remote application entities and DICOMweb servers that we know, and how they are written (PS3.8 7.1.1.4,
PS3.5 6.2 for AE titles, PS3.15 B for TLS).

A node is described alike in `nodes.toml`, in the JSON of `/nodes` and in the index. Here a description becomes a
value or an exact sentence about what is wrong with it; nothing is looked up or connected to.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from dicomweb.errors import BadNode, Conflict, NotFound
from dicomweb.standard.charsets import Decoder
from dicomweb.standard.syntaxes import SYNTAXES
from dicomweb.standard.uids import is_uid

Right = Literal["echo", "store", "find", "get", "move"]
RIGHTS: tuple[Right, ...] = get_args(Right)
"""What a node may ask of us: the services of PS3.4 A, B and C.4 by their verbs."""

LONGEST_AET = 16  # PS3.5 6.2, VR of AE
LONGEST_NAME = 64
MOST_ASSOCIATIONS = 16
MASK = "********"
"""Stands for a secret that is not told."""
SECRETS = ("password", "client_secret")

# PS3.5 6.2: the default character repertoire without backslash and control characters
_AET = re.compile(r"[\x20-\x5b\x5d-\x7e]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_HEADER_TEXT = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Node:
    """A remote application entity, or a remote DICOMweb server.

    Attributes:
        name: unique among nodes, where AE titles of several hospitals collide.
        aet: its AE title; case counts.
        host, port: where it listens ("" and 0 of a DICOMweb server, and of one that only calls).
        tls: it is called over TLS.
        allow: what it may ask of us.
        accept_syntaxes: transfer syntaxes (UIDs) in which objects come from it and go to it, the most wanted
            first; () for all.
        charset: Specific Character Set (defined terms with backslashes between them) of its answers when they do
            not say, and of what we send it when it cannot read UTF-8; "" for UTF-8 where needed.
        sources: networks (CIDR) that it may call from, beside the addresses of its host.
        destinations: names of the nodes to which it may have objects moved, where it may move; () for all.
        associations: most at once that one job has with it.
        kind: what it speaks.
        url: root of its DICOMweb services, without a slash at the end.
        ca: PEM file of the authorities of its certificate; "" for those of the system.
        client_cert, client_key: PEM files of the certificate that we show it.
        user, password: for HTTP Basic (RFC 7617).
        token_url, client_id, client_secret, scope: for OAuth client credentials (RFC 6749 4.4).
        proxy: URL of the HTTP proxy on the way to it.
    """

    name: str
    aet: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False
    allow: tuple[Right, ...] = ("echo", "store")
    accept_syntaxes: tuple[str, ...] = ()
    charset: str = ""
    sources: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    associations: int = 1
    kind: Literal["dimse", "dicomweb"] = "dimse"
    url: str = ""
    ca: str = ""
    client_cert: str = ""
    client_key: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    token_url: str = ""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    scope: str = ""
    proxy: str = ""

    def may(self, right: Right) -> bool:
        """Say whether the node may ask for this service."""
        return right in self.allow

    def calls_from(self, address: str, resolved: Iterable[str] = ()) -> bool:
        """Say whether an address is one of the node's.

        Args:
            address: of the caller, IPv4 or IPv6.
            resolved: the addresses that the node's host name has now.
        """
        caller = _address(address)
        if any(_address(each) == caller for each in resolved):
            return True
        return any(caller in ipaddress.ip_network(network) for network in self.sources)


def read_aet(text: str, where: str = "the AE title") -> str:
    """Read an AE title: spaces around it do not count, case does (PS3.5 6.2, Q-157).

    Args:
        text: as a person or a device writes it.
        where: begins the sentence about what is wrong.

    Raises:
        BadNode: empty or only spaces, longer than 16 characters, or with a character that no AE title has.
    """
    title = text.strip(" ")
    if not title:
        raise BadNode(f"{where} is empty; an AE title has 1 to {LONGEST_AET} characters")
    if len(title) > LONGEST_AET:
        raise BadNode(f"{where} {title[:40]!r} is longer than {LONGEST_AET} characters")
    if not _AET.fullmatch(title):
        bad = next(character for character in title if not _AET.fullmatch(character))
        raise BadNode(f"{where} {title!r} holds {bad!r}; an AE title has printable ASCII without backslash")
    return title


def read_nodes(source: str | Sequence[Mapping[str, Any]], where: str = "nodes.toml") -> tuple[Node, ...]:
    """Read nodes from the text of a `nodes.toml`, or from JSON objects as `/nodes` lists them (PS3.8 7.1.1.4).

    Args:
        source: TOML with one table `[nodes.NAME]` for each, or objects that each have a `name`.
        where: names the source in sentences.

    Raises:
        BadNode: what is wrong, and in which node.
    """
    if isinstance(source, str):
        return tuple(read_node(name, table, where) for name, table in _tables(source, where))
    nodes: dict[str, Node] = {}
    for each in source:
        if not isinstance(each, Mapping) or not isinstance(each.get("name"), str):
            raise BadNode(f"{where}: a node is an object with a name")
        if each["name"] in nodes:
            raise BadNode(f"{where}: there are two nodes called {each['name']}")
        nodes[each["name"]] = read_node(each["name"], each, where)
    return tuple(nodes.values())


def _tables(text: str, where: str) -> Iterable[tuple[str, Any]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadNode(f"{where} is not TOML: {error}") from error
    for name in document:
        if name != "nodes":
            raise BadNode(f"{where} has {name!r} at its top; every node is a table such as [nodes.{_example(name)}]")
    tables = document.get("nodes", {})
    if not isinstance(tables, dict):
        raise BadNode(f"{where}: nodes is no table; every node is one, such as [nodes.STORESCP]")
    return tables.items()


def _example(name: str) -> str:
    return name if _NAME.fullmatch(name) else "STORESCP"


def read_node(name: str, value: object, where: str = "", previous: Node | None = None) -> Node:
    """Read one node (PS3.8 7.1.1.4, PS3.5 6.2).

    Args:
        name: what it is called; letters, digits, `.`, `_` and `-`, up to 64.
        value: its settings by name, as TOML or JSON give them; those that are missing have their defaults.
        where: names the source in sentences, or "".
        previous: the node as it was; its secrets hold where `value` has `MASK` in their place.

    Raises:
        BadNode: a sentence that names the node and the setting.
    """
    start = f"{where}: " if where else ""
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        raise BadNode(
            f"{start}{name[:80]!r} cannot be the name of a node; it has 1 to {LONGEST_NAME} letters, digits and . _ -"
            " and begins with a letter or digit"
        )
    start = f"{start}node {name}: "
    if not isinstance(value, Mapping):
        raise BadNode(f"{start}its settings are no table")
    if value.get("name", name) != name:
        raise BadNode(f"{start}its name cannot be changed to {value['name']!r}; add a new node and delete this one")
    reading = _Reading(start, value)
    reading.check_names()
    found: dict[str, Any] = {"name": name}
    for one in fields(Node):
        if one.name in _TEXTS:
            found[one.name] = reading.text(one.name)
    for secret in (*SECRETS, "proxy"):
        if found[secret] and previous is not None and found[secret] == _masked(previous, secret):
            found[secret] = getattr(previous, secret)
        if MASK in found[secret]:
            raise BadNode(f"{start}{secret} holds {MASK}, which stands for a secret that is known already; none is")
    found["aet"] = reading.aet(found["aet"], name, found["kind"])
    found["host"] = reading.host(found["host"])
    found["port"] = reading.port()
    found["tls"] = reading.flag("tls")
    found["allow"] = tuple(right for right in RIGHTS if right in reading.rights())
    found["accept_syntaxes"] = tuple(dict.fromkeys(reading.syntax(each) for each in reading.texts("accept_syntaxes")))
    found["charset"] = reading.charset(found["charset"])
    found["destinations"] = tuple(dict.fromkeys(reading.texts("destinations")))
    found["associations"] = reading.associations()
    found["sources"] = tuple(dict.fromkeys(reading.network(each) for each in reading.texts("sources")))
    for url in ("url", "token_url", "proxy"):
        found[url] = reading.url(url, found[url])
    node = Node(**found)
    _check_together(start, node)
    return node


_TEXTS = {one.name for one in fields(Node) if one.type is str and one.name != "name"} | {"kind"}


def _check_together(start: str, node: Node) -> None:
    if node.kind == "dicomweb":
        if not node.url:
            raise BadNode(f"{start}a node of kind dicomweb needs a url, such as https://pacs.example/dicom-web")
        for name in ("host", "port", "tls", "sources", "charset", "destinations"):
            if getattr(node, name):
                raise BadNode(f"{start}{name} is for nodes of kind dimse; a DICOMweb server is named by its url")
    else:
        if bool(node.host) != bool(node.port):
            missing = "port" if node.host else "host"
            raise BadNode(f"{start}{missing} is missing; host and port go together")
        for name in ("url", "user", "password", "token_url", "client_id", "client_secret", "scope", "proxy"):
            if getattr(node, name):
                raise BadNode(f'{start}{name} is for nodes of kind = "dicomweb"')
    if bool(node.client_cert) != bool(node.client_key):
        raise BadNode(f"{start}client_cert and client_key go together: name both or neither")
    if bool(node.user) != bool(node.password):
        raise BadNode(f"{start}user and password go together: name both or neither")
    if len({bool(node.token_url), bool(node.client_id), bool(node.client_secret)}) > 1:
        raise BadNode(f"{start}token_url, client_id and client_secret go together: name all or none")
    if node.user and node.client_id:
        raise BadNode(f"{start}user and client_id are two ways to log in; choose one")


class _Reading:
    """The settings of one node while they are read; `start` begins every sentence."""

    def __init__(self, start: str, value: Mapping[str, Any]) -> None:
        self._start = start
        self._value = value
        self.given = set(value)

    def check_names(self) -> None:
        known = [one.name for one in fields(Node)]
        for name in self._value:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1, 0.6)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known[1:])}"
                raise BadNode(f"{self._start}{name!r} is no setting of a node; {hint}")

    def text(self, name: str) -> str:
        value = self._value.get(name, "dimse" if name == "kind" else "")
        if not isinstance(value, str):
            raise BadNode(f"{self._start}{name} is {value!r}, which is no text in quotes")
        if name == "kind" and value not in ("dimse", "dicomweb"):
            raise BadNode(f"{self._start}kind is {value!r}; it is dimse or dicomweb")
        if "\0" in value or "\n" in value or "\r" in value:
            raise BadNode(f"{self._start}{name} holds a line break or NUL")
        if name in ("user", "password", "client_id", "client_secret", "scope") and not _HEADER_TEXT.fullmatch(value):
            raise BadNode(f"{self._start}{name} holds other characters than printable ASCII")
        return value

    def texts(self, name: str) -> list[str]:
        value = self._value.get(name, [])
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
            raise BadNode(f'{self._start}{name} is {value!r}, which is no list of texts such as ["…"]')
        return list(value)

    def aet(self, text: str, name: str, kind: str) -> str:
        if not text.strip(" ") and kind == "dicomweb":
            return ""
        if "aet" not in self.given:
            try:
                return read_aet(name)
            except BadNode as error:
                raise BadNode(f"{self._start}aet is missing, and its name cannot stand for it: {error}") from error
        return read_aet(text, f"{self._start}aet")

    def host(self, text: str) -> str:
        host = text.strip().removeprefix("[").removesuffix("]")
        if not host:
            return ""
        if _is_address(host):
            return host
        if "://" in host or "/" in host:
            raise BadNode(f"{self._start}host is {text!r}; it is a name or an address alone, without scheme and path")
        name, colon, port = host.rpartition(":")
        if colon and port.isdigit() and _HOST.fullmatch(name):
            raise BadNode(f"{self._start}host is {text!r}; the port stands by itself: port = {port}")
        if len(host) > 253 or not _HOST.fullmatch(host):
            raise BadNode(f"{self._start}host is {text!r}, which is no host name or address")
        return host

    def port(self) -> int:
        value = self._value.get("port", 0)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadNode(f"{self._start}port is {value!r}, which is no number")
        if "port" in self.given and not 0 <= value <= 65535:
            raise BadNode(f"{self._start}port is {value}; ports are 1 to 65535")
        return value

    def associations(self) -> int:
        value = self._value.get("associations", 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_ASSOCIATIONS:
            raise BadNode(f"{self._start}associations is {value!r}; a job has 1 to {MOST_ASSOCIATIONS} at once")
        return value

    def flag(self, name: str) -> bool:
        value = self._value.get(name, False)
        if not isinstance(value, bool):
            raise BadNode(f"{self._start}{name} is {value!r}; it is true or false")
        return value

    def rights(self) -> list[str]:
        if "allow" not in self.given:
            return ["echo", "store"]
        rights = self.texts("allow")
        for right in rights:
            if right not in RIGHTS:
                raise BadNode(f"{self._start}allow holds {right!r}; rights are {', '.join(RIGHTS)}")
        return rights

    def syntax(self, text: str) -> str:
        uid = text.strip() if is_uid(text.strip()) else _BY_NAME.get(text.strip().casefold(), "")
        if not uid:
            raise BadNode(
                f"{self._start}accept_syntaxes holds {text!r}, which is neither a transfer syntax's UID nor its name"
            )
        if uid in SYNTAXES and not SYNTAXES[uid].kept:
            raise BadNode(f"{self._start}accept_syntaxes holds {text!r}, whose pixels lie elsewhere")
        return uid

    def charset(self, text: str) -> str:
        terms = [each.strip() for each in text.split("\\")] if text.strip() else []
        if Decoder(terms).faulty:
            raise BadNode(f"{self._start}charset is {text!r}, which is no Specific Character Set such as ISO_IR 100")
        return "\\".join(terms)

    def network(self, text: str) -> str:
        try:
            return str(ipaddress.ip_network(text.strip(), strict=False))
        except ValueError as error:
            raise BadNode(
                f"{self._start}sources holds {text!r}, which is no address or network such as 10.0.0.0/8"
            ) from error

    def url(self, name: str, text: str) -> str:
        if not text:
            return ""
        try:
            parts = urlsplit(text)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            whole = False
        if not whole or any(character.isspace() for character in text):
            raise BadNode(f"{self._start}{name} is {text!r}, which is no URL such as https://pacs.example/dicom-web")
        if parts.username is not None and name != "proxy":
            raise BadNode(f"{self._start}{name} holds a login; it belongs into user and password")
        if parts.query or parts.fragment:
            raise BadNode(f"{self._start}{name} is {text!r}; it has no ? or # part")
        return text.rstrip("/")


_BY_NAME = {syntax.name.casefold(): uid for uid, syntax in SYNTAXES.items() if syntax.name}


def write_node(node: Node, *, secrets: bool = False) -> dict[str, Any]:
    """Write a node as a JSON object, which `read_node` reads back (PS3.8 7.1.1.4).

    Args:
        node: what is written; settings at their defaults are left out, but for those that every reader asks for.
        secrets: whether secrets stand there; else `MASK` does where there is one.
    """
    always = {"name", "aet", "kind", "allow"} | ({"host", "port", "tls"} if node.kind == "dimse" else {"url"})
    written: dict[str, Any] = {}
    for one in fields(Node):
        value = getattr(node, one.name)
        if one.name not in always and value == one.default:
            continue
        if not secrets and one.name in (*SECRETS, "proxy"):
            value = _masked(node, one.name)
        written[one.name] = list(value) if isinstance(value, tuple) else value
    return written


def _masked(node: Node, name: str) -> str:
    """A secret as it is told: `MASK`; of a proxy's URL the password alone is one."""
    text: str = getattr(node, name)
    if name != "proxy":
        return MASK if text else ""
    return re.sub(r"(?<=://)([^:/@]*):[^/@]*@", rf"\1:{MASK}@", text)


def destination(nodes: Iterable[Node], aet: str) -> Node:
    """Return the node that a Move Destination names, which is exactly one (PS3.4 C.4.2.3.1, Q-082).

    Args:
        nodes: all that are known.
        aet: AE title; spaces around it do not count.

    Raises:
        NotFound: no node that can be called has this AE title.
        Conflict: several have it.
    """
    title = aet.strip(" \0")
    found = [node for node in nodes if node.aet == title and node.kind == "dimse" and node.host]
    if not found:
        raise NotFound(f"no node has the AE title {title!r} and an address; add one to nodes.toml or at /nodes")
    if len(found) > 1:
        names = ", ".join(sorted(node.name for node in found))
        raise Conflict(f"several nodes have the AE title {title!r}: {names}; nobody can tell which is meant")
    return found[0]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address of a caller; an IPv4 one inside IPv6 counts as IPv4, a zone does not count."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
