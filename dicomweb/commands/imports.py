"""`roentgate import`."""

import argparse
import contextlib
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dicomweb.archive import importing
from dicomweb.archive.sources import Bounds
from dicomweb.commands.terminal import Meter, meter, opened, show_json, show_table, write_size
from dicomweb.config import Config
from dicomweb.errors import Error, OutOfSpace, Unavailable

_STATES = ("stored", "already", "kept", "replaced", "refused", "passed over")
_WORDS = {"already": "already there", "kept": "kept beside another"}


def run(config: Config, args: argparse.Namespace) -> int:
    """Import; 0 only if everything that is a DICOM object went in."""
    bounds = Bounds(config.limit_part_bytes, config.limit_inflate_ratio)
    counts: Counter[str] = Counter()
    size = 0
    noted: list[importing.Step] = []
    interrupted = False
    problem: Error | None = None
    with opened(config, make=True) as archive, meter("Importing", shown=not args.json) as bar:
        archive.identity.settle()
        _measure(args.paths, bounds, bar)
        steps = importing.run(args.paths, archive.spool, archive.store, bounds, args.threads, archive.room)
        try:
            with contextlib.closing(steps):
                for step in steps:
                    counts[step.state] += 1
                    size += step.size
                    if step.state in {"refused", "kept"} or step.warned:
                        noted.append(step)
                    bar.advance(step.size, _said(counts))
        except KeyboardInterrupt:
            interrupted = True
        except (OutOfSpace, Unavailable) as error:
            problem = error
    _report(counts, size, noted, args.json, interrupted)
    if problem is not None:
        raise problem
    return 130 if interrupted else 1 if counts["refused"] else 0


def _measure(paths: Sequence[Path], bounds: Bounds, bar: Meter) -> None:
    """Count in the background, so that a large folder begins at once and its time left is known soon."""

    def count() -> None:
        files, _ = importing.measure(paths, bounds)
        bar.expect(files)

    threading.Thread(target=count, name="measure", daemon=True).start()


def _said(counts: Counter[str]) -> str:
    return "  ".join(f"{_WORDS.get(state, state)} {counts[state]:,}" for state in _STATES if counts[state])


def _report(counts: Counter[str], size: int, noted: list[importing.Step], as_json: bool, interrupted: bool) -> None:
    noted.sort(key=lambda step: step.name)
    refused = [step for step in noted if step.state == "refused"]
    others = [step for step in noted if step.state != "refused"]
    if as_json:
        show_json(
            {
                **{state.replace(" ", "_"): counts[state] for state in _STATES},
                "bytes": size,
                "interrupted": interrupted,
                "refusals": [{"name": step.name, "reason": step.reason} for step in refused],
                "warnings": [{"name": step.name, "state": step.state, "reason": step.reason} for step in others],
            }
        )
        return
    show_table("Stored, with a warning", ("file", "what"), [(step.name, step.reason) for step in others])
    show_table("Refused", ("file", "why"), [(step.name, step.reason) for step in refused])
    print(f"{_said(counts) or 'nothing there'}  ({write_size(size)})")
    if interrupted:
        print("Interrupted. Run it again to go on; what is stored is skipped.")
