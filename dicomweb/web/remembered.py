"""Answers of nodes, remembered for a while, so that who turns pages of a search sees one answer, and the node is asked
once.

The first page is always asked for anew. Another process, or one that has forgotten, asks again.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

SECONDS = 120.0
"""For so long an answer is remembered after its last page was read."""
_MOST = 16
_MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """All rows of an answer in their order, and sentences about it."""

    rows: Sequence[dict[str, Any]]
    warnings: tuple[str, ...]


class Remembered:
    """Answers by what was asked; its methods may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: OrderedDict[Hashable, tuple[float, Answer]] = OrderedDict()

    def find(self, asked: Hashable) -> Answer | None:
        """Return what is remembered of a search."""
        with self._lock:
            until, answer = self._answers.get(asked, (0.0, None))
            if answer is None or time.monotonic() >= until:
                self._answers.pop(asked, None)
                return None
            self._answers[asked] = time.monotonic() + SECONDS, answer
            self._answers.move_to_end(asked)
            return answer

    def keep(self, asked: Hashable, answer: Answer) -> None:
        """Remember an answer; those that nobody read for long go, and the oldest ones beyond a limit."""
        with self._lock:
            self._answers[asked] = time.monotonic() + SECONDS, answer
            self._answers.move_to_end(asked)
            now = time.monotonic()
            for key in [key for key, (until, _) in self._answers.items() if until <= now]:
                del self._answers[key]
            while len(self._answers) > 1 and (
                len(self._answers) > _MOST or sum(len(one.rows) for _, one in self._answers.values()) > _MOST_ROWS
            ):
                self._answers.popitem(last=False)
