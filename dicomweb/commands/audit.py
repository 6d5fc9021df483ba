"""`roentgate audit verify`: whether the audit trail is as it was written."""

import argparse
from dataclasses import asdict

from dicomweb.access.trail import verify
from dicomweb.commands.terminal import show_json, show_table
from dicomweb.config import Config


def run(config: Config, args: argparse.Namespace) -> int:
    """Check every line; 0 only if all is as it was written.

    Raises:
        Unavailable: the trail cannot be read.
    """
    counts, findings, open_ = verify(config.audit_folder)
    if args.json:
        show_json({"chains": counts, "findings": [asdict(one) for one in findings], "open": open_})
        return 1 if findings else 0
    show_table(
        "Findings",
        ("file", "line", "what"),
        [(one.file, str(one.line) if one.line else "", one.sentence) for one in findings],
    )
    print(f"{sum(counts.values()):,} lines in {len(counts):,} chains; {len(findings):,} findings")
    if open_:
        print(f"Not ended, because the process still runs or was killed: {', '.join(open_)}")
    return 1 if findings else 0
