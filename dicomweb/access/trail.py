"""The audit trail of one process: lines of a chain in files that are only ever added to.

A thread writes, so that whoever has something recorded does not wait for the disk unless that is asked for. While the
disk takes nothing, records wait in memory, the first `MOST` of them, and log and measures say so.
"""

import logging
import os
import queue
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dicomweb.access import chain
from dicomweb.access.chain import BEGIN, END, Checked, Finding
from dicomweb.errors import Unavailable
from dicomweb.telemetry.measures import Level, Tally

WAITING = Level("roentgate_audit_lines_waiting", "Lines of the audit trail that its disk does not take.")
LOST = Tally(
    "roentgate_audit_lines_lost_total", "Lines of the audit trail for which memory had no room while they waited."
)

Sync = Literal["always", "second", "never"]

MOST = 100_000
_TICK = 1.0

log = logging.getLogger(__name__)


class Trail:
    """Writes the trail of this process, from its making to `close`.

    Args:
        folder: is made, and so are files in it that nobody else may read.
        sync: when lines are brought to the disk itself: before `flush` returns, each second, or when the system likes.
        file_bytes: size at which the next file is begun.

    Raises:
        Unavailable: the folder cannot be written.
    """

    def __init__(self, folder: Path, sync: Sync = "second", file_bytes: int = 64 << 20) -> None:
        host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())[:40] or "host"
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        self._chain = f"audit-{moment}-{host}-{os.getpid()}-{secrets.token_hex(3)}"
        self._folder = folder
        self._sync = sync
        self._file_bytes = file_bytes
        self._queue: queue.SimpleQueue[Mapping[str, Any] | threading.Event | None] = queue.SimpleQueue()
        self._waiting: list[bytes] = []
        self._number, self._last = 0, ""
        self._serial, self._size = 0, 0
        self._told = 0
        self._dirty = self._ill = False
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._open()
        except OSError as error:
            raise Unavailable(f"the audit trail cannot be written to audit_folder: {error.strerror}") from error
        self._add({"event": BEGIN, "process": os.getpid()})
        self._write()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def record(self, record: Mapping[str, Any]) -> None:
        """Have something recorded; returns at once. The time is added."""
        self._queue.put({"time": _now(), **record})

    def flush(self) -> None:
        """Return when everything so far is written, and on the disk if that is how it is set."""
        done = threading.Event()
        self._queue.put(done)
        done.wait()

    def close(self) -> None:
        """Write what is left, and end the chain."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    # -- in the thread ----------------------------------------------------------------------------------------
    def _run(self) -> None:
        closing, brought = False, time.monotonic()
        while not closing:
            told: list[threading.Event] = []
            for item in self._take():
                if item is None:
                    closing = True
                elif isinstance(item, threading.Event):
                    told.append(item)
                else:
                    self._add(item)
            if closing:
                self._add({"event": END})
            self._write()
            now = time.monotonic()
            wanted = closing or told or self._sync == "always" or now - brought >= _TICK
            if self._dirty and wanted:
                self._bring()
                brought = now
            for event in told:
                event.set()
        os.close(self._file)

    def _take(self) -> list[Mapping[str, Any] | threading.Event | None]:
        """Wait for something to do, a second at most if there is something left to do, and return all there is."""
        try:
            found = [self._queue.get(timeout=_TICK if self._dirty or self._waiting else None)]
        except queue.Empty:
            return []
        while not self._queue.empty():
            found.append(self._queue.get())
        return found

    def _bring(self) -> None:
        try:
            os.fsync(self._file)
            self._dirty = False
        except OSError as error:
            self._complain(error)

    def _add(self, record: Mapping[str, Any]) -> None:
        if len(self._waiting) >= MOST:
            LOST.add()
            return
        given = record if "time" in record else {"time": _now(), **record}
        line, self._last = chain.write(given, self._number, self._last)
        self._number += 1
        self._waiting.append(line)

    def _write(self) -> None:
        try:
            while self._waiting:
                if self._size >= self._file_bytes:
                    self._continue()
                piece = b"".join(self._waiting)
                done = os.write(self._file, piece)
                self._size += done
                self._dirty = self._sync != "never"
                self._waiting = [piece[done:]] if done < len(piece) else []
            self._ill = False
        except OSError as error:
            self._complain(error)
        left = sum(piece.count(b"\n") for piece in self._waiting)
        WAITING.add(left - self._told)
        self._told = left

    def _continue(self) -> None:
        """Begin the next file, through which the chain goes on."""
        if self._sync != "never":
            os.fsync(self._file)
        file = self._open()
        os.close(self._file)
        self._file = file
        self._size = 0

    def _open(self) -> int:
        self._serial += 1
        name = f"{self._chain}-{self._serial:06}.jsonl"
        return os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    def _complain(self, error: OSError) -> None:
        if not self._ill:
            log.error("the audit trail cannot be written (%s); what happens is kept in memory", error.strerror)
        self._ill = True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def verify(folder: Path) -> tuple[dict[str, int], list[Finding], list[str]]:
    """Check every file of a trail.

    Returns:
        Chains with how many lines are in each; what is wrong; chains that were not ended, since their process still
        runs or was killed.

    Raises:
        Unavailable: the folder cannot be read.
    """
    counts: dict[str, int] = {}
    findings: list[Finding] = []
    open_: list[str] = []
    try:
        names = [path.name for path in folder.iterdir()]
        for name, files in chain.chains(names):
            checked: Checked | None = None
            expected = 1
            for serial, file in files:
                if serial != expected:
                    findings.append(Finding(file, 0, f"the file before it, number {serial - 1:06}, is missing"))
                expected = serial + 1
                with (folder / file).open("rb") as lines:
                    checked = chain.check(file, lines, checked, findings)
            counts[name] = checked.lines if checked else 0
            if checked is None or checked.event != END:
                open_.append(name)
    except OSError as error:
        raise Unavailable(f"the audit trail cannot be read: {error.strerror}") from error
    return counts, findings, open_
