"""`roentgate migrate`."""

import argparse
import dataclasses
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dicomweb.archive.identity import carry
from dicomweb.archive.migrating import compare, copy_objects, copy_settings
from dicomweb.archive.spool import Spool
from dicomweb.commands.terminal import meter, opened, show_json, show_table, write_size
from dicomweb.config import Config
from dicomweb.errors import BadSetting
from dicomweb.index import open_index, upgrades

if TYPE_CHECKING:
    from dicomweb.archive.archive import Archive
    from dicomweb.archive.upkeep import Finding


def run(config: Config, args: argparse.Namespace) -> int:
    """Migrate, or bring the index up to date where nothing says where to; 0 only if everything is there and the same.

    Raises:
        BadSetting: there is nowhere to go, the archive is there already, or the index is of a newer version.
        Unavailable: a back end does not answer.
    """
    if not (args.to_storage or args.to_index):
        return _upgrade(config, args.json)
    target = dataclasses.replace(config, storage=args.to_storage or config.storage, index=args.to_index or config.index)
    if args.to_index:
        target = dataclasses.replace(target, files={})
    moves, indexes = target.storage != config.storage, target.index != config.index
    if not moves and not indexes:
        raise BadSetting("--to-storage, --to-index or both say where to, which must be elsewhere")
    counted = {"copied": 0, "already": 0, "refused": 0}
    refused: list[tuple[str, str]] = []
    findings: list[Finding] = []
    size = 0
    with opened(config) as source, opened(target, make=True) as there:
        source.check_index()
        agree = indexes and next(compare(source.index, there.index), None) is None
        if moves:
            with meter("Copying", shown=not args.json) as bar:
                counts = source.index.counts()
                bar.expect(counts.instances + counts.other_versions)
                for step in copy_objects(source.storage, there.storage, Spool(config.scratch), agree):
                    counted[step.state] += 1
                    size += step.stored.size if step.state == "copied" else 0
                    if step.state == "refused":
                        refused.append((step.stored.key, step.reason))
                    bar.advance(step.stored.size, f"refused {len(refused):,}" if refused else "")
        if moves and not refused:
            carry(source.storage, there.storage)
        if indexes and not refused:
            copy_settings(source.index, there.index)
            if not agree:
                _rebuild(there, args)
            there.identity.claim()
            findings = list(compare(source.index, there.index))
        instances = there.index.counts().instances
    if args.json:
        told = {"instances": instances, "bytes": size, "differing": [asdict(each) for each in findings]}
        show_json({**counted, **told, "reasons": [{"key": key, "reason": why} for key, why in refused]})
    else:
        show_table("Not copied", ("object", "why"), refused)
        show_table("Not the same", ("object", "why"), [(each.key, each.detail) for each in findings])
        print(
            f"{counted['copied']:,} objects copied ({write_size(size)}), {counted['already']:,} were there already;"
            f" the index holds {instances:,} instances"
        )
    return 1 if refused or findings else 0


def _upgrade(config: Config, as_json: bool) -> int:
    if config.index.startswith("sqlite:") and not Path(config.index.removeprefix("sqlite:")).is_file():
        raise BadSetting(f"there is no index at {config.index}; --data or --index say where it lies")
    open_index(config.index).close()
    if as_json:
        show_json({"schema": upgrades.version()})
    else:
        print(f"the index is up to date (schema {upgrades.version()})")
    return 0


def _rebuild(there: "Archive", args: argparse.Namespace) -> None:
    with meter("Making the index", shown=not args.json) as bar:
        for what, _ in there.rebuild():
            bar.advance(what.size)
