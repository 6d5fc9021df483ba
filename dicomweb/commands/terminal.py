"""What commands show: a progress bar on a terminal and silence in a pipe; tables, and JSON for programs."""

import contextlib
import getpass
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from dicomweb.config import Config
from dicomweb.errors import BadSetting

if TYPE_CHECKING:
    from dicomweb.archive.archive import Archive


@contextlib.contextmanager
def opened(config: Config, *, make: bool = False) -> Iterator["Archive"]:
    """The archive, closed afterwards.

    Args:
        make: an archive that is not there is made; otherwise a slip in the folder's name would show an empty one.

    Raises:
        BadSetting: there is none.
    """
    from dicomweb.archive.archive import open_archive

    if not make and config.storage.startswith("file:") and not Path(config.storage.removeprefix("file:")).is_dir():
        raise BadSetting(
            f"there is no archive at {config.storage}; --data, or --storage and --index, say where it lies"
        )
    archive = open_archive(config)
    try:
        yield archive
    finally:
        archive.close()


@contextlib.contextmanager
def audited(config: Config) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """What records what a command did, as the user of this machine who runs it, if there is an audit trail.

    Raises:
        Unavailable: it cannot be written.
    """
    if not config.audit:
        yield lambda record: None
        return
    from dicomweb.access.trail import Trail

    trail = Trail(config.audit_folder, config.audit_sync, config.audit_file_bytes)
    try:
        yield lambda record: trail.record({"who": user(), "known": "machine", "from": "shell", **record})
    finally:
        trail.close()


def user() -> str:
    """Who runs this; a container's user may have a number only."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


class _Rate(ProgressColumn):
    """Files and bytes a second."""

    def render(self, task: Task) -> Text:
        seconds = task.finished_time or task.elapsed or 0
        if not seconds:
            return Text("")
        size = task.fields["bytes"] / seconds
        return Text(f"{task.completed / seconds:,.0f}/s  {write_size(size)}/s", style="cyan")


class Meter:
    """Progress of something that goes through many files."""

    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=None, bytes=0, said="")
        self._bytes = 0

    def expect(self, files: int) -> None:
        """Say how many there will be."""
        self._progress.update(self._task, total=files)

    def advance(self, size: int, said: str = "") -> None:
        """One more is done."""
        self._bytes += size
        self._progress.update(self._task, advance=1, bytes=self._bytes, said=said)

    def follow(self, told: Mapping[str, Any]) -> None:
        """Show the progress of a transfer, which somebody else tells (see `bridge.transfer.Progress.write`)."""
        failed = told.get("failed", 0)
        self._progress.update(
            self._task,
            total=told.get("total") or None,  # None leaves it as it is
            completed=told.get("done", 0) + failed,
            bytes=told.get("bytes", 0),
            said=f"failed {failed:,}" if failed else "",
        )


@contextlib.contextmanager
def meter(title: str, shown: bool = True) -> Iterator[Meter]:
    """A progress bar on standard error, if that is a terminal and `shown` holds."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
        console=console,
        disable=not (shown and console.is_terminal),
        expand=True,
        transient=True,
    )
    with progress:
        yield Meter(progress, title)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; in a pipe, lines of fields with tabs between, which no width cuts."""
    if not rows:
        return
    console = Console()
    if not console.is_terminal:
        for row in rows:
            print("\t".join(_one_line(cell) for cell in row))
        return
    table = Table(title=title or None, title_justify="left", pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_one_line(cell)) for cell in row))
    console.print(table)


def _one_line(text: str) -> str:
    """Text from files may hold anything; on a terminal it must not command it."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def show_json(value: object) -> None:
    """Print a value as JSON."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def write_size(size: float) -> str:
    """A number of bytes for people: `525 KB`, `1.2 GB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
