"""`roentgate retrieve`."""

import argparse
from pathlib import Path

from bridge.folders import FolderPlace
from bridge.places import Place, WebPlace, place_of
from bridge.transfer import Progress
from bridge.transfer import run as transfer
from dicomweb.commands.desk import add_job
from dicomweb.commands.node_clients import follow, node_of, origin_of, report, resources_of
from dicomweb.config import Config
from dicomweb.errors import BadSetting


def run(config: Config, args: argparse.Namespace) -> int:
    """Retrieve; 0 only if everything arrived."""
    node = node_of(config, args.node, args.tls)
    resources = list(resources_of(args.study, args.series, args.instance))
    if args.job:
        if args.to or node.name != args.node or "@" in (args.destination or ""):
            raise BadSetting("a job brings something from a node that has a name, to the archive or to such a node")
        destination = node_of(config, args.destination).name if args.destination else ""
        return add_job(config, "retrieve", node, {"resources": resources, "destination": destination}, args.json)
    source = place_of(node, config.aet)
    progress = Progress()
    sink: Place
    if args.to is not None:
        sink = FolderPlace(Path(args.to))
    elif args.destination:
        sink = place_of(node_of(config, args.destination), config.aet)
    else:
        sink = WebPlace(origin_of(config), ours=True)

    def work() -> None:
        transfer(source, sink, resources, progress, lambda: False, config.aet)

    follow(f"Retrieving from {node.name}", progress, work, not args.json)
    return report(progress, args)
