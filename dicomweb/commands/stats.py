"""`roentgate stats`."""

import argparse
from dataclasses import asdict

from dicomweb.commands.terminal import opened, show_json, show_table, write_size
from dicomweb.config import Config


def run(config: Config, args: argparse.Namespace) -> int:
    """Count what the archive holds."""
    with opened(config) as archive:
        counts = archive.index.counts()
    if args.json:
        show_json(asdict(counts))
        return 0
    rows = [
        ("patients", f"{counts.patients:,}"),
        ("studies", f"{counts.studies:,}"),
        ("series", f"{counts.series:,}"),
        ("instances", f"{counts.instances:,}"),
        ("bytes", f"{counts.bytes:,} ({write_size(counts.bytes)})"),
        ("versions beside another", f"{counts.other_versions:,}"),
        ("stores under way", f"{counts.pending:,}"),
        ("objects to be removed", f"{counts.garbage:,}"),
    ]
    rows += [(f"series of {modality or 'no modality'}", f"{n:,}") for modality, n in counts.modalities.items()]
    show_table("", ("what", "how many"), rows)
    return 0
