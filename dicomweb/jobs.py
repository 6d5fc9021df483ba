"""The life of a job: long work that outlives the process that does it. Rules alone; whoever keeps jobs loads one, asks
what becomes of it and saves that, in one transaction.

A job waits until a runner claims it. The claim is a lease with a fencing number: whoever does not report before the
lease ends may lose the job to another runner, and what it says afterwards under its old number is refused. So any
number of runners share the jobs, and none is lost or done by two at the same time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from dicomweb.errors import Conflict

State = Literal["waiting", "running", "done", "failed", "canceled"]
OVER: tuple[State, ...] = ("done", "failed", "canceled")
STATES: tuple[State, ...] = ("waiting", "running", *OVER)

LEASE = 60.0
"""Seconds for which a claim holds without a report."""
CLAIMABLE = "((state = 'waiting' AND due <= ?) OR (state = 'running' AND lease <= ?))"
"""Which jobs can be claimed, as SQL; both values are the time. The one with the least `due` and `id` comes first."""
WAKING = "UPDATE job SET due = created WHERE node = ? AND state = 'waiting' AND due > ? AND changed < ?"
"""Lets jobs that wait begin now, in the order in which they came, as SQL; see `Job.waking`."""

_WOKEN_AFTER = 60.0
"""Seconds between attempts at a job at least, however often others of its node are done."""
_LONGEST_ERROR = 2000


@dataclass(frozen=True, slots=True)
class Job:
    """Long work. What happens to it makes a new Job of it.

    Attributes:
        id: names it; a later job has a larger one.
        kind: what is to be done, such as "send".
        node: name of the node that it concerns.
        task: what exactly, as JSON.
        state: waiting (from `due` on), running, done, failed or canceled.
        created, changed, due: seconds since 1970.
        owner: the runner that claimed it last.
        lease: until when the claim holds.
        fence: counts the claims.
        attempts: claims since it was added or retried.
        cancel: whether its runner is to stop.
        progress: what its runner reported last, as JSON.
        error: why it failed or waits again, or "".
    """

    id: int
    kind: str
    node: str
    task: Mapping[str, Any]
    state: State
    created: float
    changed: float
    due: float
    owner: str = ""
    lease: float = 0.0
    fence: int = 0
    attempts: int = 0
    cancel: bool = False
    progress: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def read(cls, row: Sequence[Any]) -> "Job":
        """Read a row that has COLUMNS."""
        told = dict(zip(COLUMNS, row, strict=True))
        for name in ("task", "progress"):
            told[name] = json.loads(told[name])
        return cls(**{**told, "cancel": bool(told["cancel"])})

    @property
    def nodes(self) -> frozenset[str]:
        """Names of all nodes that it concerns: its own, and the one to which it brings something."""
        return frozenset((self.node, str(self.task.get("destination") or self.node)))

    def write(self) -> dict[str, Any]:
        """Write it as JSON."""
        return {name: getattr(self, name) for name in COLUMNS if name != "lease"}

    def changes(self, before: "Job") -> dict[str, Any]:
        """Return what is not as it was before, by column and as it stands there."""
        return {name: as_column(value) for name in COLUMNS if (value := getattr(self, name)) != getattr(before, name)}

    # -- for those who want something done -------------------------------------------------------------------

    def canceled(self, now: float) -> "Job":
        """Stop it: at once where nobody is at it, else its runner is told when it reports. Raises Conflict."""
        if self.state in OVER:
            raise Conflict(f"job {self.id} is {self.state} and cannot be canceled")
        idle = self.state == "waiting" or self.lease <= now
        return replace(self, state="canceled" if idle else "running", cancel=True, changed=now)

    def retried(self, now: float) -> "Job":
        """Let it begin again at once, whether it is over or waits for its next attempt. Raises Conflict."""
        if self.state == "running":
            raise Conflict(f"job {self.id} is running; cancel it first")
        return replace(self, state="waiting", cancel=False, attempts=0, error="", due=now, changed=now)

    # -- for runners -----------------------------------------------------------------------------------------

    def claimed(self, owner: str, lease: float, most: int, now: float) -> "Job":
        """Give it to a runner. One whose runner fell silent may be over instead: it was to stop, or has had enough
        attempts.

        Args:
            owner: names the runner.
            lease: seconds until it has to report.
            most: attempts.
            now: seconds since 1970.
        """
        if self.state == "running" and self.cancel:
            return replace(self, state="canceled", changed=now)
        if self.state == "running" and self.attempts >= most:
            error = f"given up after {self.attempts} attempts that broke off without a word"
            return replace(self, state="failed", changed=now, error=error)
        return replace(
            self, state="running", owner=owner, lease=now + lease, fence=self.fence + 1, attempts=self.attempts + 1,
            changed=now, error="",
        )  # fmt: skip

    def reported(self, fence: int, progress: Mapping[str, Any], lease: float, now: float) -> "Job":
        """Record progress and prolong the claim. Raises Conflict where that is lost."""
        self._check(fence)
        return replace(self, progress=progress, lease=now + lease, changed=now)

    def finished(
        self,
        fence: int,
        state: State,
        progress: Mapping[str, Any],
        error: str,
        again: float,
        most: int,
        patience: float,
        now: float,
    ) -> "Job":
        """Record what became of it.

        Args:
            fence: of the claim.
            state: done, failed, canceled; waiting for another attempt in `again` seconds, unless it had `most` and is
                `patience` seconds old.
            progress: the last.
            error: why it failed, or waits again.

        Raises:
            Conflict: the claim is lost.
        """
        self._check(fence)
        if state == "waiting":
            given_up = self.attempts >= most and now - self.created >= patience
            state = "canceled" if self.cancel else "failed" if given_up else "waiting"
        return replace(
            self, state=state, progress=progress, error=error[:_LONGEST_ERROR], due=now + again, lease=0.0, changed=now
        )

    def waking(self, now: float) -> tuple[str, float, float] | None:
        """Return the values of `WAKING` if it is to be done: this one is done, so the node is there for the others."""
        return (self.node, now, now - _WOKEN_AFTER) if self.state == "done" else None

    def _check(self, fence: int) -> None:
        if self.fence != fence:
            raise Conflict(f"job {self.id} was claimed by another runner meanwhile")
        if self.state != "running":
            raise Conflict(f"job {self.id} is {self.state}, not running")


def as_column(value: Any) -> Any:
    """Return a value as it stands in its column: JSON as text, what is true or false as a number."""
    if isinstance(value, Mapping):
        return json.dumps(dict(value))
    return int(value) if isinstance(value, bool) else value


COLUMNS = tuple(each.name for each in fields(Job))
