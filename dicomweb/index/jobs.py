"""Rows of `job`: long work that outlives the process that does it.

A job waits until a runner claims it. The claim is a lease with a fencing number: whoever does not report before the
lease ends may lose the job to another runner, and what it says afterwards under its old number is refused. So any
number of runners share the jobs, and none is lost or done by two at the same time.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from dicomweb.errors import Conflict, NotFound
from dicomweb.index.forms import storable
from dicomweb.index.groups import Groups
from dicomweb.index.session import Engine, Session, SqlRow, as_list, one_of

State = Literal["waiting", "running", "done", "failed", "canceled"]
STATES: tuple[State, ...] = ("waiting", "running", "done", "failed", "canceled")
OVER = ("done", "failed", "canceled")


@dataclass(frozen=True, slots=True)
class Job:
    """Long work.

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
    task: dict[str, Any]
    state: State
    created: float
    changed: float
    due: float
    owner: str = ""
    lease: float = 0.0
    fence: int = 0
    attempts: int = 0
    cancel: bool = False
    progress: Mapping[str, Any] | None = None
    error: str = ""

    @property
    def nodes(self) -> frozenset[str]:
        """Names of all nodes that it concerns: its own, and the one to which it brings something."""
        return frozenset((self.node, str(self.task.get("destination") or self.node)))


_COLUMNS = "id, kind, node, task, state, created, changed, due, owner, lease, fence, attempts, cancel, progress, error"
_OPEN = "((state = 'waiting' AND due <= ?) OR (state = 'running' AND lease <= ?))"


class Jobs:
    """Jobs by number.

    Args:
        engine: the database.
        groups: its writer.
    """

    def __init__(self, engine: Engine, groups: Groups) -> None:
        self._engine = engine
        self._groups = groups

    # -- for those who want something done ---------------------------------------------------------------
    def add(self, kind: str, node: str, task: Mapping[str, Any]) -> Job:
        """Add a job; it waits for a runner."""
        job: Job = self._groups.do(self._do_add, (kind, node, orjson.dumps(dict(task)).decode()))
        return job

    def _do_add(self, session: Session, works: Sequence[tuple[str, str, str]]) -> list[Job]:
        now = time.time()
        columns = ("kind", "node", "task", "state", "created", "changed", "due")
        numbers = [
            session.insert("job", columns, (kind, storable(node), task, "waiting", now, now, now))
            for kind, node, task in works
        ]
        return [self._get(session, number) for number in numbers]

    def get(self, number: int) -> Job:
        """Return a job. Raises NotFound."""
        with self._engine.read() as session:
            return self._get(session, number)

    def _get(self, session: Session, number: int, more: str = "") -> Job:
        rows = session.rows(f"SELECT {_COLUMNS} FROM job WHERE id = ?{more}", (number,))
        if not rows:
            raise NotFound(f"there is no job {number}")
        return _job(rows[0])

    def latest(
        self,
        limit: int = 100,
        before: int | None = None,
        states: Sequence[str] = STATES,
        node: str | None = None,
        nodes: Iterable[str] | None = None,
    ) -> list[Job]:
        """Return jobs in these states, the latest first, with numbers below `before`, of one node, of some or of
        all."""
        conditions, values = [one_of(self._engine.dialect, "state")], [as_list(self._engine.dialect, states)]
        if before is not None:
            conditions.append("id < ?")
            values.append(before)
        if node is not None:
            conditions.append("node = ?")
            values.append(storable(node))
        if nodes is not None:
            conditions.append(one_of(self._engine.dialect, "node"))
            values.append(as_list(self._engine.dialect, [storable(name) for name in sorted(nodes)]))
        with self._engine.read() as session:
            rows = session.rows(
                f"SELECT {_COLUMNS} FROM job WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?",
                (*values, limit),
            )
        return [_job(row) for row in rows]

    def open(self) -> dict[str, int]:
        """Count the jobs that wait and those that run."""
        with self._engine.read() as session:
            rows = session.rows("SELECT state, count(*) FROM job WHERE state IN ('waiting', 'running') GROUP BY state")
        return {"waiting": 0, "running": 0, **dict(rows)}

    def queues(self) -> list[tuple[str, str, int, float]]:
        """Return for each node and state of jobs that are not over how many there are, and when the oldest was made."""
        with self._engine.read() as session:
            rows = session.rows(
                "SELECT node, state, count(*), min(created) FROM job WHERE state IN ('waiting', 'running')"
                " GROUP BY node, state ORDER BY node, state"
            )
        return [(str(node), str(state), int(count), float(oldest)) for node, state, count, oldest in rows]

    def cancel(self, number: int) -> Job:
        """Stop a job: one that waits is canceled at once, the runner of another is told when it reports.

        Raises:
            NotFound: there is none.
            Conflict: it is over.
        """
        job: Job = self._groups.do(self._do_cancel, number)
        return job

    def _do_cancel(self, session: Session, works: Sequence[int]) -> list[Any]:
        return [self._each(session, number, self._cancel) for number in works]

    def _cancel(self, session: Session, job: Job) -> None:
        if job.state in OVER:
            raise Conflict(f"job {job.id} is {job.state} and cannot be canceled")
        now = time.time()
        state = "canceled" if job.state == "waiting" or job.lease <= now else "running"
        session.run("UPDATE job SET state = ?, cancel = 1, changed = ? WHERE id = ?", (state, now, job.id))

    def retry(self, number: int) -> Job:
        """Let a job that is over, or that waits for its next attempt, begin again at once.

        Raises:
            NotFound: there is none.
            Conflict: it is under way.
        """
        job: Job = self._groups.do(self._do_retry, number)
        return job

    def _do_retry(self, session: Session, works: Sequence[int]) -> list[Any]:
        return [self._each(session, number, self._retry) for number in works]

    def _retry(self, session: Session, job: Job) -> None:
        if job.state == "running":
            raise Conflict(f"job {job.id} is running; cancel it first")
        now = time.time()
        session.run(
            "UPDATE job SET state = 'waiting', cancel = 0, attempts = 0, error = '', due = ?, changed = ? WHERE id = ?",
            (now, now, job.id),
        )

    def forget(self, before: float) -> None:
        """Delete jobs that were over before a time (seconds since 1970)."""
        self._groups.do(self._do_forget, before)

    def _do_forget(self, session: Session, works: Sequence[float]) -> list[None]:
        session.run(
            "DELETE FROM job WHERE state IN ('done', 'failed', 'canceled') AND changed < ?",
            (max(works),),
        )
        return [None] * len(works)

    # -- for runners -------------------------------------------------------------------------------------
    def has_work(self) -> bool:
        """Say whether a claim would find a job, without writing."""
        now = time.time()
        with self._engine.read() as session:
            return bool(session.rows(f"SELECT 1 FROM job WHERE {_OPEN} LIMIT 1", (now, now)))

    def claim(self, owner: str, lease: float, most: int) -> Job | None:
        """Take the job that has waited longest, or one whose runner fell silent.

        Args:
            owner: names the runner.
            lease: seconds until it has to report.
            most: attempts; a job that outlived so many runners has failed.

        Returns:
            The job, or None if there is none to be done now.
        """
        job: Job | None = self._groups.do(self._do_claim, (owner, lease, most))
        return job

    def _do_claim(self, session: Session, works: Sequence[tuple[str, float, int]]) -> list[Job | None]:
        return [self._claim(session, *work) for work in works]

    def _claim(self, session: Session, owner: str, lease: float, most: int) -> Job | None:
        now = time.time()
        skip = " FOR UPDATE SKIP LOCKED" if self._engine.dialect == "postgresql" else ""
        while rows := session.rows(
            f"SELECT {_COLUMNS} FROM job WHERE {_OPEN} ORDER BY due, id LIMIT 1{skip}", (now, now)
        ):
            job = _job(rows[0])
            if job.state == "running" and job.cancel:
                session.run("UPDATE job SET state = 'canceled', changed = ? WHERE id = ?", (now, job.id))
            elif job.state == "running" and job.attempts >= most:
                error = f"given up after {job.attempts} attempts that broke off without a word"
                session.run(
                    "UPDATE job SET state = 'failed', changed = ?, error = ? WHERE id = ?", (now, error, job.id)
                )
            else:
                session.run(
                    "UPDATE job SET state = 'running', owner = ?, lease = ?, fence = fence + 1, "
                    "attempts = attempts + 1, changed = ?, error = '' WHERE id = ?",
                    (storable(owner), now + lease, now, job.id),
                )
                return self._get(session, job.id)
        return None

    def report(self, number: int, fence: int, progress: Mapping[str, Any], lease: float) -> Job:
        """Record progress and prolong the claim.

        Returns:
            The job; its `cancel` says whether the runner is to stop.

        Raises:
            NotFound: there is no such job.
            Conflict: another runner has it by now, or it is over.
        """
        text = orjson.dumps(dict(progress)).decode()
        job: Job = self._groups.do(self._do_report, (number, fence, text, lease))
        return job

    def _do_report(self, session: Session, works: Sequence[tuple[int, int, str, float]]) -> list[Any]:
        results: list[Any] = []
        for number, fence, text, lease in works:

            def write(session: Session, job: Job, fence: int = fence, text: str = text, lease: float = lease) -> None:
                _check_fence(job, fence)
                now = time.time()
                session.run(
                    "UPDATE job SET progress = ?, lease = ?, changed = ? WHERE id = ?",
                    (text, now + lease, now, job.id),
                )

            results.append(self._each(session, number, write))
        return results

    def finish(
        self,
        number: int,
        fence: int,
        state: State,
        progress: Mapping[str, Any],
        error: str = "",
        again: float = 0.0,
        most: int = 1,
    ) -> Job:
        """Record what became of a job.

        Args:
            number: of the job.
            fence: of the claim.
            state: done, failed, canceled; waiting for another attempt in `again` seconds, unless it had `most`.
            progress: the last.
            error: why it failed, or waits again.

        Raises:
            NotFound: there is no such job.
            Conflict: another runner has it by now, or it is over.
        """
        text = orjson.dumps(dict(progress)).decode()
        job: Job = self._groups.do(self._do_finish, (number, fence, state, text, error, again, most))
        return job

    def _do_finish(self, session: Session, works: Sequence[tuple[int, int, State, str, str, float, int]]) -> list[Any]:
        results: list[Any] = []
        for number, *rest in works:

            def write(session: Session, job: Job, rest: Any = rest) -> None:
                fence, state, text, error, again, most = rest
                _check_fence(job, fence)
                if state == "waiting":
                    state = "canceled" if job.cancel else "failed" if job.attempts >= most else "waiting"
                now = time.time()
                session.run(
                    "UPDATE job SET state = ?, progress = ?, error = ?, due = ?, lease = 0, changed = ? WHERE id = ?",
                    (state, text, storable(error[:2000]), now + again, now, job.id),
                )

            results.append(self._each(session, number, write))
        return results

    def _each(self, session: Session, number: int, change: Any) -> Any:
        """Change one job; what is wrong with that is its result, so that the others of the group go on."""
        try:
            job = self._get(session, number, " FOR UPDATE" if self._engine.dialect == "postgresql" else "")
            change(session, job)
        except (NotFound, Conflict) as error:
            return error
        return self._get(session, number)


def _check_fence(job: Job, fence: int) -> None:
    if job.fence != fence:
        raise Conflict(f"job {job.id} was claimed by another runner meanwhile")
    if job.state != "running":
        raise Conflict(f"job {job.id} is {job.state}, not running")


def _job(row: SqlRow) -> Job:
    number, kind, node, task, state, created, changed, due, owner, lease, fence, attempts, cancel, progress, error = row
    return Job(
        number, kind, node, orjson.loads(task), state, created, changed, due, owner, lease, fence, attempts,
        bool(cancel), orjson.loads(progress), error,
    )  # fmt: skip
