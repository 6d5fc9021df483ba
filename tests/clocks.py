"""A clock for processes of their own that a file sets while they run (libfaketime)."""

import shutil
from pathlib import Path

import pytest

needs_faketime = pytest.mark.skipif(shutil.which("faketime") is None, reason="no faketime: apt-get install faketime")


class Clock:
    """Tells the time until it is set.

    Args:
        path: of its file, which is made.

    Attributes:
        environment: of the processes that look at it; their monotonic clock is the machine's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set("+0")
        self.environment = {
            "LD_PRELOAD": str(next(Path("/usr/lib").rglob("libfaketime.so.1"))),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: str) -> None:
        """Go before or behind the machine's clock from now on, by seconds ("+3600") or in other units ("+1d")."""
        self._path.write_text(offset)
