"""Rows of `job`: see `dicomweb.jobs` for what becomes of one."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dicomweb.errors import Conflict, NotFound
from dicomweb.index.forms import storable
from dicomweb.index.groups import Groups
from dicomweb.index.session import Engine, Session, as_list, one_of
from dicomweb.jobs import CLAIMABLE, COLUMNS, STATES, WAKING, Job, State, as_column

_COLUMNS = ", ".join(COLUMNS)


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
        job: Job = self._groups.do(self._do_add, (kind, node, as_column(task)))
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
        return Job.read(rows[0])

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
        return [Job.read(row) for row in rows]

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
        return self._change(number, lambda job: job.canceled(time.time()))

    def retry(self, number: int) -> Job:
        """Let a job that is over, or that waits for its next attempt, begin again at once.

        Raises:
            NotFound: there is none.
            Conflict: it is under way.
        """
        return self._change(number, lambda job: job.retried(time.time()))

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
            return bool(session.rows(f"SELECT 1 FROM job WHERE {CLAIMABLE} LIMIT 1", (now, now)))

    def claim(self, owner: str, lease: float, most: int) -> Job | None:
        """Take the job that has waited longest, or one whose runner fell silent.

        Args:
            owner: names the runner.
            lease: seconds until it has to report.
            most: attempts; a job that outlived so many runners has failed.

        Returns:
            The job, or None if there is none to be done now.
        """
        job: Job | None = self._groups.do(self._do_claim, (storable(owner), lease, most))
        return job

    def _do_claim(self, session: Session, works: Sequence[tuple[str, float, int]]) -> list[Job | None]:
        return [self._claim(session, *work) for work in works]

    def _claim(self, session: Session, owner: str, lease: float, most: int) -> Job | None:
        now = time.time()
        skip = " FOR UPDATE SKIP LOCKED" if self._engine.dialect == "postgresql" else ""
        while rows := session.rows(
            f"SELECT {_COLUMNS} FROM job WHERE {CLAIMABLE} ORDER BY due, id LIMIT 1{skip}", (now, now)
        ):
            found = Job.read(rows[0])
            job = _save(session, found, found.claimed(owner, lease, most, now))
            if job.state == "running":
                return job
        return None

    def report(self, number: int, fence: int, progress: Mapping[str, Any], lease: float) -> Job:
        """Record progress and prolong the claim.

        Returns:
            The job; its `cancel` says whether the runner is to stop.

        Raises:
            NotFound: there is no such job.
            Conflict: another runner has it by now, or it is over.
        """
        return self._change(number, lambda job: job.reported(fence, progress, lease, time.time()))

    def finish(
        self,
        number: int,
        fence: int,
        state: State,
        progress: Mapping[str, Any],
        error: str = "",
        again: float = 0.0,
        most: int = 1,
        patience: float = 0.0,
    ) -> Job:
        """Record what became of a job. Where it is done, others of its node that wait begin now.

        Args:
            number: of the job.
            fence: of the claim.
            state: done, failed, canceled; waiting for another attempt in `again` seconds, unless it had `most` and is
                `patience` seconds old.
            progress: the last.
            error: why it failed, or waits again.

        Raises:
            NotFound: there is no such job.
            Conflict: another runner has it by now, or it is over.
        """
        why = storable(error)
        return self._change(
            number, lambda job: job.finished(fence, state, progress, why, again, most, patience, time.time())
        )

    def _change(self, number: int, change: Callable[[Job], Job]) -> Job:
        job: Job = self._groups.do(self._do_change, (number, change))
        return job

    def _do_change(self, session: Session, works: Sequence[tuple[int, Callable[[Job], Job]]]) -> list[Any]:
        """Change jobs; what is wrong with one is its result, so that the others of the group go on."""
        lock = " FOR UPDATE" if self._engine.dialect == "postgresql" else ""
        results: list[Any] = []
        for number, change in works:
            try:
                job = self._get(session, number, lock)
                results.append(_save(session, job, change(job)))
            except (NotFound, Conflict) as error:
                results.append(error)
        return results


def _save(session: Session, before: Job, job: Job) -> Job:
    changes = job.changes(before)
    columns = ", ".join(f"{name} = ?" for name in changes)
    session.run(f"UPDATE job SET {columns} WHERE id = ?", (*changes.values(), job.id))
    if woken := job.waking(job.changed):
        session.run(WAKING, woken)
    return job
