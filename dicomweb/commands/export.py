"""`roentgate export`."""

import argparse
from itertools import chain

from dicomweb.archive import exporting
from dicomweb.commands.terminal import audited, meter, opened, show_json, show_table, write_size
from dicomweb.config import Config
from dicomweb.errors import BadSetting


def run(config: Config, args: argparse.Namespace) -> int:
    """Export; 0 only if everything was written or lay there already."""
    if args.instance and not args.series:
        raise BadSetting("--instance needs --series")
    if args.series and len(args.study) > 1:
        raise BadSetting("--series goes with one --study")
    refused = []
    counts = {"written": 0, "already": 0, "refused": 0}
    size = 0
    with opened(config) as archive, audited(config) as trail, meter("Exporting", shown=not args.json) as bar:
        outcome = "failed"
        try:
            helds = list(
                chain.from_iterable(
                    exporting.select(archive.index, study, args.series, args.instance) for study in args.study
                )
            )
            bar.expect(len(helds))
            named = exporting.name_all(archive.index, helds)
            write = exporting.to_zip if args.to.suffix.lower() == ".zip" else exporting.to_folder
            for step in write(archive.storage, named, args.to):
                counts[step.state] += 1
                size += step.size
                if step.state == "refused":
                    refused.append(step)
                bar.advance(step.size)
            outcome = "failed" if refused else "success"
        finally:
            trail({"event": "export", "outcome": outcome, "studies": args.study, "to": str(args.to), **counts})
    if args.json:
        refusals = [{"name": step.name, "reason": step.reason} for step in refused]
        show_json({**counts, "bytes": size, "to": str(args.to), "refusals": refusals})
    else:
        show_table("Refused", ("file", "why"), [(step.name, step.reason) for step in refused])
        already = f", {counts['already']:,} there already" if counts["already"] else ""
        print(f"{counts['written']:,} written to {args.to}{already}  ({write_size(size)})")
    return 1 if refused else 0
