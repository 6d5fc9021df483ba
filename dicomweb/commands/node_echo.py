"""`roentgate echo`."""

import argparse
from dataclasses import asdict

from bridge.layers import echo
from dicomweb.commands.node_clients import node_of
from dicomweb.commands.terminal import show_json, show_table
from dicomweb.config import Config


def run(config: Config, args: argparse.Namespace) -> int:
    """Try the layers to a node; 0 if all are there."""
    node = node_of(config, args.node, args.tls)
    layers = echo(node, config.aet)
    ok = all(layer.ok for layer in layers)
    if args.json:
        show_json({"ok": ok, "layers": [asdict(layer) for layer in layers]})
    else:
        rows = [
            (layer.name, "ok" if layer.ok else "failed", f"{layer.seconds * 1000:.1f} ms", layer.detail)
            for layer in layers
        ]
        show_table("", ("layer", "", "time", "what"), rows)
    return 0 if ok else 1
