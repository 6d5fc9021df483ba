"""How long a remote back end may take, and how often it is asked.

Every operation has a deadline: no attempt begins after it, and a body that still trickles then is given up. A
request that fails for a reason that may pass is repeated after a pause that doubles each time and varies at
random, so that many waiting clients do not come back as one.
"""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

_Answer = TypeVar("_Answer")


class TooSlow(Exception):
    """The deadline of an operation has passed while bytes were still on their way."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The limits of one back end; the defaults bound a request that nobody answers to about 35 s.

    Attributes:
        connect: seconds for a connection.
        read: seconds without a single byte.
        deadline: seconds after which an operation begins no other attempt.
        slowest: bytes per second; what an operation moves extends its deadline by its size over this.
        attempts: how often a request is sent at most.
        pause: seconds before the second attempt, on average.
        clock: seconds that only grow.
        sleep: how to wait.
    """

    connect: float = 3.0
    read: float = 15.0
    deadline: float = 20.0
    slowest: float = 1 << 20
    attempts: int = 4
    pause: float = 0.2
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def persist(self, request: Callable[["Attempt"], _Answer], may_pass: Callable[[Exception], bool]) -> _Answer:
        """Send a request until it is answered, or patience ends.

        Args:
            request: sends it once.
            may_pass: whether the same request may succeed after this error.

        Returns:
            What `request` returns.

        Raises:
            Exception: what the last attempt raised.
        """
        attempt = Attempt(self)
        for number in itertools.count(1):
            attempt.number = number
            try:
                return request(attempt)
            except Exception as error:
                pause = random.uniform(0.5, 1.5) * self.pause * 2 ** (number - 1)
                if number >= self.attempts or not may_pass(error) or attempt.left() <= pause:
                    raise
            self.sleep(pause)
        raise AssertionError("counting ended")


class Attempt:
    """One try of an operation.

    Attributes:
        number: from 1.
    """

    def __init__(self, patience: Patience) -> None:
        self.number = 1
        self._patience = patience
        self._begun = patience.clock()
        self._allowed = patience.deadline

    def moves(self, size: int) -> None:
        """Say how many bytes the operation moves, which gives it more time."""
        self._allowed = self._patience.deadline + size / self._patience.slowest

    def left(self) -> float:
        """Return the seconds to the deadline; negative when it has passed."""
        return self._begun + self._allowed - self._patience.clock()

    def hurry(self) -> None:
        """Raise TooSlow if the deadline has passed."""
        if self.left() < 0:
            raise TooSlow
