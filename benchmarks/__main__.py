"""`python -m benchmarks`: load the servers with the same data, alternate between them, print tables, write JSON."""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks import pixels, tables
from benchmarks.sections import SECTIONS, Options


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Roentgate, beside Orthanc, nginx, PostgreSQL and SeaweedFS where these are installed.",
        epilog="example: python -m benchmarks --sections web,nginx --rounds 2 --json figures.json",
    )
    parser.add_argument("--sections", default="", help=f"with commas: {', '.join(SECTIONS)} (all)")
    parser.add_argument("--only", default="", help="run workloads of web, shared and nginx whose name contains this")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one round, less data, web and nginx if no sections are named: under two minutes",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        choices=range(1, pixels.ROUNDS + 1),
        help="rounds that the servers alternate for (3)",
    )
    parser.add_argument("--no-orthanc", action="store_true", help="measure without Orthanc")
    parser.add_argument("--large", type=int, default=300, metavar="MB", help="of the large object in `memory` (300)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--keep", action="store_true", help="put the figures into benchmarks/last.json and the tables into README.md"
    )
    arguments = parser.parse_args()
    names = (
        arguments.sections.split(",") if arguments.sections else ["web", "nginx"] if arguments.quick else [*SECTIONS]
    )
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"no such section: {', '.join(unknown)}")
    if arguments.keep and (arguments.only or arguments.quick or arguments.no_orthanc):
        parser.error("only whole sections are kept")
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="roentgate-bench-"))
    folder.chmod(0o755)  # for PostgreSQL and nginx, which run as somebody else where root starts them
    record = {}

    def told(words: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {words}", flush=True)

    try:
        for name in names:
            measure, missing = SECTIONS[name]
            if wanting := missing():
                told(f"{name}: left out, for want of {wanting}")
                continue
            rounds = 1 if arguments.quick else arguments.rounds
            options = Options(
                folder / name,
                rounds,
                arguments.only,
                arguments.quick,
                not arguments.no_orthanc,
                arguments.large,
                told,
            )
            record[name] = measure(options)
            if arguments.keep:
                tables.RECORD.write_text(json.dumps(tables.read_record() | {name: record[name]}, indent=1) + "\n")
                tables.write_readme()
    finally:
        # Not section by section: ext4 without a journal steps over what was deleted lately, one file after the other
        shutil.rmtree(folder, ignore_errors=True)
    for name, section in record.items():
        print(tables.write(name, section))
    told("done")
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
