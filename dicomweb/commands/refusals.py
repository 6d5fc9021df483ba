"""`roentgate refusals`."""

import argparse
import time

from dicomweb.commands.desk import desk_of
from dicomweb.commands.terminal import show_json, show_table
from dicomweb.config import Config


def run(config: Config, args: argparse.Namespace) -> int:
    """List what the bridge refused, the latest first."""
    found = desk_of(config).refusals(args.limit)
    if args.json:
        show_json(found)
        return 0
    rows = []
    for one in found:
        last = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one["last"]))
        who = f"{one['calling'] or '(no AE title)'} at {one['address']}"
        rows.append((last, str(one["count"]), one["kind"], who, one["reason"], one["advice"]))
    show_table("", ("last", "times", "what", "who", "why", "what to change"), rows)
    return 0
