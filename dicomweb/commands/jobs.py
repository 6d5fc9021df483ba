"""`roentgate jobs`."""

import argparse
import time
from typing import Any

from dicomweb.commands.desk import Desk, desk_of
from dicomweb.commands.terminal import meter, show_json, show_table, write_size
from dicomweb.config import Config
from dicomweb.jobs import OVER, STATES

_LOOK_SECONDS = 0.3


def run(config: Config, args: argparse.Namespace) -> int:
    """List jobs, or cancel, retry or follow one; 0 unless the one that was followed did not end well."""
    desk = desk_of(config)
    if args.cancel is not None:
        return _tell([desk.cancel(args.cancel)], args.json)
    if args.retry is not None:
        return _tell([desk.retry(args.retry)], args.json)
    if args.follow is not None:
        job = _follow(desk, args.follow, not args.json)
        _tell([job], args.json)
        return 0 if job["state"] == "done" else 1
    return _tell(desk.latest(args.limit, states=args.state or STATES, node=args.node), args.json)


def _follow(desk: Desk, number: int, shown: bool) -> dict[str, Any]:
    job = desk.get(number)
    with meter(f"Job {number}: {job['kind']} {job['node']}", shown=shown) as bar:
        while True:
            bar.follow(job["progress"])
            if job["state"] in OVER:
                return job
            time.sleep(_LOOK_SECONDS)
            job = desk.get(number)


def _tell(jobs: list[dict[str, Any]], as_json: bool) -> int:
    if as_json:
        show_json(jobs)
        return 0
    rows = []
    for job in jobs:
        told = job["progress"]
        counts = f"{told.get('done', 0):,} of {told.get('total', 0):,}"
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["created"]))
        size = write_size(told.get("bytes", 0))
        rows.append((str(job["id"]), job["kind"], job["node"], job["state"], counts, size, begun, job["error"]))
    show_table("", ("job", "what", "node", "state", "instances", "bytes", "begun", "why"), rows)
    return 0
