"""`roentgate send`."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfileobj

from bridge.places import WebPlace, place_of
from bridge.sending import Item, read_item, send
from bridge.transfer import Progress
from bridge.transfer import run as transfer
from dicomweb.archive.sources import Bounds, Candidate, find
from dicomweb.commands.desk import add_job
from dicomweb.commands.node_clients import follow, node_of, origin_of, report, resources_of
from dicomweb.config import Config
from dicomweb.errors import BadSetting, Error
from dicomweb.standard.nodes import Node


def run(config: Config, args: argparse.Namespace) -> int:
    """Send; 0 only if everything arrived."""
    if not args.paths and not args.study:
        raise BadSetting("there is nothing to send; name a PATH or a --study")
    node = node_of(config, args.node, args.tls)
    if args.job:
        if args.paths or node.name != args.node:
            raise BadSetting("a job sends a --study of the archive to a node that has a name; files go at once")
        return add_job(config, "send", node, {"resources": list(resources_of(args.study))}, args.json)
    progress = Progress()

    def work() -> None:
        if args.paths:
            _send_files(config, node, args.paths, progress)
        if args.study:
            ours, theirs = WebPlace(origin_of(config), ours=True), place_of(node, config.aet)
            resources = list(resources_of(args.study))
            transfer(ours, theirs, resources, progress, lambda: False, config.aet, not args.again)

    follow(f"Sending to {node.name}", progress, work, not args.json)
    return report(progress, args)


def _send_files(config: Config, node: Node, paths: list[Path], progress: Progress) -> None:
    """Send files as they are. They are looked at twice: what is to be sent is agreed on before."""
    bounds = Bounds(config.limit_part_bytes, config.limit_inflate_ratio)
    with tempfile.TemporaryDirectory(prefix="roentgate-") as folder:
        items = list(_items(paths, bounds, Path(folder), progress))
        progress.total += len(items) + progress.failed
        for sent in send(node, config.aet, items):
            if sent.reason:
                progress.fail(sent.item.instance, sent.reason)
            else:
                progress.arrived(sent.size)


def _items(paths: list[Path], bounds: Bounds, folder: Path, progress: Progress) -> Iterator[Item]:
    """What there is to send; what lies in an archive is laid out in a folder."""
    for number, one in enumerate(find(paths, bounds)):
        if not isinstance(one, Candidate):
            progress.fail(one.name, one.reason)
            continue
        path = Path(one.name)
        try:
            if not path.is_file():
                path = folder / f"{number}.dcm"
                with one.open() as source, path.open("wb") as out:
                    copyfileobj(source, out, 1 << 20)
            yield read_item(path)
        except Error as error:
            if one.asked:  # else it lies beside images and may well be something else
                progress.fail(one.name, str(error))
