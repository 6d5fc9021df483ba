"""Measures of several processes added up: each keeps a file of its own in one folder, whoever is asked reads all.

What is told never goes back: a process writes its own file before it reads those of the others, files are replaced
whole, and those of processes that have ended stay. A process that nobody asks writes once a second if it has counted.
"""

import json
import os
import threading
from pathlib import Path

from dicomweb.telemetry.measures import MEASURES, Labels, Level, Row, State, merge, state

SECONDS = 1.0
"""Seconds between two writings of a process that nobody asks."""


class Together:
    """The measures of all processes that share a folder.

    Args:
        folder: theirs alone; None where there is only this process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._written = b""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="measures", daemon=True)

    def start(self) -> None:
        """Begin to write, if there is anybody to write for."""
        if self._folder is not None:
            self._thread.start()

    def stop(self) -> None:
        """Write for the last time."""
        self._stopped.set()
        if self._folder is not None and self._thread.is_alive():
            self._thread.join()
            self._write(ended=True)

    def total(self) -> dict[str, dict[Labels, Row]]:
        """Return the sums over all processes."""
        if self._folder is None:
            return merge([state()])
        self._write()
        return merge(_read(path) for path in sorted(self._folder.glob("*.json")))

    def _go_on(self) -> None:
        while not self._stopped.wait(SECONDS):
            self._write()

    def _write(self, ended: bool = False) -> None:
        assert self._folder is not None
        with self._lock:
            now = _steady(state()) if ended else state()
            text = json.dumps(now).encode()
            if text == self._written:
                return
            path = self._folder / f"{os.getpid()}.json"
            draft = path.with_suffix(".draft")
            draft.write_bytes(text)
            draft.replace(path)
            self._written = text


def _read(path: Path) -> State:
    found: State = json.loads(path.read_bytes())
    return found if _lives(int(path.stem)) else _steady(found)


def _steady(found: State) -> State:
    """What stays true of a process that has ended."""
    return {name: rows for name, rows in found.items() if not isinstance(MEASURES.get(name), Level)}


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
