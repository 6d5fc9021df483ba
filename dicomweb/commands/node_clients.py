"""What the commands that ask nodes have in common: which node is meant, and a bar that follows a transfer."""

import argparse
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bridge.client import Origin
from bridge.transfer import Progress
from dicomweb.commands.terminal import Meter, meter, show_json, show_table, write_size
from dicomweb.config import Config
from dicomweb.errors import BadSetting, Error
from dicomweb.standard.nodes import Node, read_node, read_nodes


def origin_of(config: Config) -> Origin:
    """Return the archive, asked over HTTP; it has to be running."""
    return Origin(config.dicomweb, 8, config.dicomweb_connect_seconds, config.dicomweb_read_seconds,
                  config.dicomweb_ca, config.bridge_token)  # fmt: skip


def node_of(config: Config, text: str, tls: bool = False) -> Node:
    """Return the node that a word of the command line names.

    Args:
        config: says where `nodes.toml` lies, and the running server, which knows more.
        text: a name, or AET@HOST:PORT.
        tls: an address is called over TLS.

    Raises:
        BadSetting: there is no such node.
        BadNode: its description is wrong.
    """
    aet, at, address = text.rpartition("@")
    if at:
        host, colon, port = address.rpartition(":")
        if not colon or not port.isdigit():
            raise BadSetting(f"{text} is no AET@HOST:PORT")
        return read_node("shell", {"aet": aet, "host": host, "port": int(port), "tls": tls})
    file = config.data / "nodes.toml"
    known: list[Node] = []
    with contextlib.suppress(Error):
        known += read_nodes(origin_of(config).call("GET", "/nodes")["nodes"], "/nodes")
    if not known and file.is_file():
        known += read_nodes(file.read_text(encoding="utf-8"))
    for node in known:
        if node.name == text:
            return node
    names = ", ".join(sorted(node.name for node in known)) or "none"
    raise BadSetting(f"there is no node {text}; known are: {names}. AET@HOST:PORT names one directly")


def follow(title: str, progress: Progress, work: Callable[[], None], shown: bool) -> None:
    """Do some work while a bar shows its progress."""
    over = threading.Event()

    def show(bar: Meter) -> None:
        last = False
        while not last:
            last = over.wait(0.1)
            bar.follow(progress.write())

    with meter(title, shown=shown) as bar:
        thread = threading.Thread(target=show, args=(bar,), daemon=True)
        thread.start()
        try:
            work()
        finally:
            over.set()
            thread.join()


def report(progress: Progress, args: argparse.Namespace) -> int:
    """Tell what became of a transfer; 0 if all arrived."""
    told = progress.write()
    if args.json:
        show_json(told)
    else:
        failures: Sequence[Mapping[str, Any]] = told["failures"]
        show_table("Did not arrive", ("instance", "why"), [(one["instance"], one["reason"]) for one in failures])
        skipped = f", {told['skipped']:,} of them before" if told["skipped"] else ""
        failed = f", {told['failed']:,} failed" if told["failed"] else ""
        print(f"{told['done']:,} instances are there{skipped}{failed}  ({write_size(told['bytes'])})")
    return 1 if told["failed"] else 0


def resources_of(
    studies: Sequence[str], series: str | None = None, instance: str | None = None
) -> Iterator[dict[str, str]]:
    """Yield what is meant by options of the command line."""
    if instance and not series:
        raise BadSetting("--instance needs the --series that it is in")
    if series and len(studies) != 1:
        raise BadSetting("--series needs exactly one --study")
    for study in studies:
        named = {"study": study, "series": series or "", "instance": instance or ""}
        yield {level: uid for level, uid in named.items() if uid}
