"""`roentgate verify`."""

import argparse
from dataclasses import asdict

from dicomweb.commands.terminal import meter, opened, show_json, show_table, write_size
from dicomweb.config import Config


def run(config: Config, args: argparse.Namespace) -> int:
    """Verify; 0 only if everything is as it should be."""
    findings = []
    checked = size = 0
    with opened(config) as archive, meter("Verifying", shown=not args.json) as bar:
        archive.identity.settle()
        counts = archive.index.counts()
        bar.expect(counts.instances + counts.other_versions)
        for what, finding in archive.verify():
            checked += 1
            size += what.size
            if finding is not None:
                findings.append(finding)
            bar.advance(what.size, f"found {len(findings):,}" if findings else "")
    if args.json:
        show_json({"checked": checked, "bytes": size, "findings": [asdict(finding) for finding in findings]})
    else:
        show_table(
            "Not as it should be",
            ("what", "instance", "object", "detail"),
            [(each.kind, each.instance, each.key, each.detail) for each in findings],
        )
        verdict = f"{len(findings):,} not as they should be" if findings else "all as they should be"
        print(f"{checked:,} objects read ({write_size(size)}), {verdict}")
    return 1 if findings else 0
