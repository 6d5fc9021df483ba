"""How much is held, for people who look at the status: counted now and then, however many ask.

Counting reads each study once, which takes seconds where there are a million. So it is done in a thread of its own,
at most for a twentieth of the time, and whoever asks gets the last figures with the time at which they held.
"""

import logging
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from dicomweb.errors import Error
from dicomweb.index import Counts, Index
from dicomweb.storage import folder_of

log = logging.getLogger(__name__)

FRESH = 5.0
"""Seconds for which figures hold, if counting them was quick."""
_SHARE = 20.0
_PATIENCE = 1.0
_CLOSE = 10.0


@dataclass(frozen=True, slots=True)
class Counted:
    """What was held at a time (seconds since 1970)."""

    counts: Counts
    time: float


class Census:
    """Counts what an index holds.

    Args:
        index: what is counted.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._last: Counted | None = None
        self._due = 0.0
        self._thread: threading.Thread | None = None

    def counted(self) -> Counted | None:
        """Return the last figures, waiting for the first ones for a moment; None if they take longer.

        Figures that are no longer fresh are returned all the same while new ones are being counted, unless those are
        there within the same moment.
        """
        with self._lock:
            if time.monotonic() >= self._due and self._thread is None:
                self._thread = threading.Thread(target=self._count, name="census", daemon=True)
                self._thread.start()
            thread = self._thread
        if thread is not None:
            thread.join(_PATIENCE)
        return self._last

    def close(self) -> None:
        """Wait until nobody counts any more."""
        with self._lock:
            self._due = float("inf")
            thread = self._thread
        if thread is not None:
            thread.join(_CLOSE)

    def _count(self) -> None:
        begun = time.monotonic()
        try:
            self._last = Counted(self._index.counts(), time.time())
        except Error as error:
            log.warning("what is held cannot be counted: %s", error)
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now + max(FRESH, _SHARE * (now - begun)))
            self._thread = None


def room(storage: str, data: Path) -> tuple[int, int] | None:
    """Return bytes free and in all of the disk on which objects lie; None if they lie on no disk of ours.

    Args:
        storage: URL of the storage.
        data: the data folder, which lies there unless the URL says otherwise.
    """
    folder = folder_of(storage)
    if folder is None:
        return None
    try:
        usage = shutil.disk_usage(folder if folder.exists() else data)
    except OSError:
        return None
    return usage.free, usage.total
