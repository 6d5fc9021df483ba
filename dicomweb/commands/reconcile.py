"""`roentgate reconcile`."""

import argparse
from collections import Counter
from dataclasses import asdict

from dicomweb.commands.terminal import meter, opened, show_json, show_table
from dicomweb.config import Config

_LEFT = ("missing", "refused")


def run(config: Config, args: argparse.Namespace) -> int:
    """Reconcile; 0 only if index and objects agree now."""
    states: Counter[str] = Counter()
    left = []
    with opened(config) as archive, meter("Reconciling", shown=not args.json) as bar:
        archive.check_index()
        counts = archive.index.counts()
        bar.expect(counts.instances + counts.other_versions)
        for step in archive.reconcile():
            states[step.state] += 1
            if step.state in _LEFT:
                left.append(step)
            bar.advance(step.size, f"added {states['added']:,}" if states["added"] else "")
        held = archive.index.counts()
    if args.json:
        told = {state: states[state] for state in ("agreed", "added", "deleted", "buried", *_LEFT)}
        show_json({**told, "instances": held.instances, "findings": [asdict(step) for step in left]})
    else:
        rows = [(each.state, each.instance, each.key, each.detail) for each in left]
        show_table("Left as it is", ("what", "instance", "object", "why"), rows)
        print(
            f"{states['agreed']:,} objects were known, {states['added']:,} are added, {states['deleted']:,} deletions"
            f" and {states['buried']:,} objects of deleted instances are carried out, {len(left):,} left as they are"
        )
    return 1 if left else 0
