"""`roentgate spool`."""

import argparse
import time
from pathlib import Path

from bridge import spool
from dicomweb.commands.terminal import show_json, show_table, write_size
from dicomweb.config import Config

_LOOK_SECONDS = 0.25


def run(config: Config, args: argparse.Namespace) -> int:
    """Tell what lies in the bridge's spool; 1 if objects in it were refused for good, or still wait after --drain."""
    folder = config.data / "bridge" / "spool"
    if args.drain is not None:
        return _drain(folder, args.after, args.drain, args.json)
    if args.again:
        spool.put_back(folder)
    told = spool.survey(folder)
    if args.json:
        show_json(told)
        return 1 if told["refused"] else 0
    oldest = told["oldest"]
    since = f", the oldest since {_when(oldest)}" if oldest else ""
    print(f"{told['waiting']:,} objects wait ({write_size(told['bytes'])}){since}")
    rows = [(_when(one["time"]), one["name"], write_size(one["bytes"]), one["reason"]) for one in told["refused"]]
    show_table("Refused by the DICOMweb server", ("when", "file", "bytes", "why"), rows)
    return 1 if rows else 0


def _drain(folder: Path, after: float, seconds: float, as_json: bool) -> int:
    """Wait while the bridge goes on to deliver; what was refused for good waits for nobody."""
    time.sleep(after)
    end = time.monotonic() + seconds
    while (told := spool.survey(folder))["waiting"] and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
    if as_json:
        show_json(told)
    else:
        print(f"{told['waiting']:,} objects wait ({write_size(told['bytes'])})")
    return 1 if told["waiting"] else 0


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
