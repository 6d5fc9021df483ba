"""`roentgate rebuild-index`."""

import argparse
import sys
from dataclasses import asdict

from dicomweb.commands.terminal import meter, opened, show_json, show_table
from dicomweb.config import Config
from dicomweb.errors import BadSetting, Damaged
from dicomweb.index import set_aside


def run(config: Config, args: argparse.Namespace) -> int:
    """Rebuild the index; 0 only if every object could be read."""
    if not args.yes:
        if not sys.stdin.isatty():
            raise BadSetting("rebuild-index empties the index first; say --yes to go ahead")
        answer = input("The index is emptied and made anew; is the server stopped? [y/N] ")
        if answer.strip().lower() not in {"y", "yes"}:
            return 1
    try:
        return _rebuild(config, args)
    except Damaged:
        aside = set_aside(config.index)
        if aside is None:
            raise
        print(f"the index was damaged and lies now in {aside.name}", file=sys.stderr)
        return _rebuild(config, args)


def _rebuild(config: Config, args: argparse.Namespace) -> int:
    findings = []
    read = 0
    with opened(config) as archive, meter("Rebuilding", shown=not args.json) as bar:
        for what, finding in archive.rebuild():
            read += 1
            if finding is not None:
                findings.append(finding)
            bar.advance(what.size)
        held = archive.index.counts()
    if args.json:
        show_json(
            {
                "objects": read,
                "instances": held.instances,
                "studies": held.studies,
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        show_table("Not in the index", ("object", "why"), [(each.key, each.detail) for each in findings])
        print(f"{read:,} objects read; the index holds {held.instances:,} instances of {held.studies:,} studies")
    return 1 if findings else 0
