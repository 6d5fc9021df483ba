"""`roentgate check`."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict

from bridge.client import Origin
from bridge.layers import Layer
from bridge.trying import try_entity, try_origin
from dicomweb.commands.node_clients import node_of
from dicomweb.commands.terminal import show_json
from dicomweb.config import Config
from dicomweb.settings.given import read_secret


def run(config: Config, args: argparse.Namespace) -> int:
    """Try a server and an application entity; 0 if all that was tried works.

    Raises:
        BadSetting: the file of the key cannot be read, or the address is none.
    """
    told: list[dict[str, object]] = []
    for part, layer in _steps(config, args):
        told.append({"part": part, **asdict(layer)})
        if not args.json:
            _say(part, layer)
    ok = all(each["ok"] for each in told)
    if args.json:
        show_json({"ok": ok, "steps": told})
    return 0 if ok else 1


def _steps(config: Config, args: argparse.Namespace) -> Iterator[tuple[str, Layer]]:
    token = read_secret(args.key_file, "--key-file") if args.key_file else config.bridge_token
    root = (args.url or config.dicomweb).rstrip("/")
    origin = Origin(root, 4, config.dicomweb_connect_seconds, config.dicomweb_read_seconds, config.dicomweb_ca, token)
    try:
        for layer in try_origin(origin, store=not args.look):
            yield "DICOMweb", layer
    finally:
        origin.close()
    if args.dimse:
        called = args.dimse if "@" in args.dimse or ":" not in args.dimse else f"{config.aet}@{args.dimse}"
        for layer in try_entity(node_of(config, called, args.tls), config.aet, args.refuses):
            yield "DIMSE", layer


def _say(part: str, layer: Layer) -> None:
    """A line as soon as there is something to say: a step may take its time."""
    state = "ok" if layer.ok else "FAILED"
    print(f"{part:9} {layer.name:16} {state:7} {layer.seconds * 1000:8.1f} ms  {layer.detail}")
    sys.stdout.flush()
