"""`roentgate find`."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from bridge.scu import Remote
from bridge.webnodes import WebNode
from dicomweb.commands.node_clients import node_of
from dicomweb.commands.terminal import show_json, show_table
from dicomweb.config import Config
from dicomweb.errors import BadSetting
from dicomweb.standard.attributes import Level
from dicomweb.standard.keys import read_asked
from dicomweb.standard.nodes import Node
from dicomweb.standard.query import Query, read_path, write_path

_SHOWN: dict[Level, tuple[str, ...]] = {
    "patient": ("00100020", "00100010", "00100030", "00100040"),
    "study": ("00080020", "00100020", "00100010", "00080061", "00081030", "0020000D"),
    "series": ("00200011", "00080060", "0008103E", "00201209", "0020000E"),
    "instance": ("00200013", "00080016", "00080018"),
}


def run(config: Config, args: argparse.Namespace) -> int:
    """Search at a node; 0 whether it finds something or not."""
    node = node_of(config, args.node, args.tls)
    level: Level = args.level
    pairs = list(_read(args.keys))
    rows = list(_found(node, config.aet, level, pairs, args.limit))
    if args.json:
        show_json(rows)
        return 0
    columns = dict.fromkeys([*_SHOWN[level], *(f"{path[0]:08X}" for name, _ in pairs if (path := read_path(name)))])
    heads = [write_path((int(tag, 16),)) for tag in columns]
    show_table("", heads, [[_plain(row.get(tag)) for tag in columns] for row in rows])
    return 0


def _plain(element: Mapping[str, Any] | None) -> str:
    """The values of an element for people."""
    values = (element or {}).get("Value") or []
    return ", ".join("=".join(one.values()) if isinstance(one, dict) else str(one) for one in values)


def _read(keys: list[str]) -> Iterator[tuple[str, str]]:
    for key in keys:
        name, equals, value = key.partition("=")
        path = read_path(name)
        if not equals or path is None or len(path) != 1:
            raise BadSetting(f"{key!r} is no KEYWORD=VALUE with an attribute's keyword or tag")
        yield name, value


def _found(node: Node, aet: str, level: Level, pairs: list[tuple[str, str]], limit: int) -> Iterator[dict[str, Any]]:
    if node.kind == "dicomweb":
        collection = {"patient": "patients", "study": "studies", "series": "series", "instance": "instances"}[level]
        yield from WebNode(node).search(f"/{collection}", [*pairs, ("limit", str(limit))]).rows
        return
    query = Query(level)
    asked = read_asked(query, [(name, value.replace("%", "%25").replace("+", "%2B")) for name, value in pairs])
    keys = asked.at(level, query) | asked.given()
    with closing(Remote(node, aet)) as remote:
        yield from remote.find(level, keys, limit)
