"""The bridge's own SQLite file: jobs and refusals in front of a DICOMweb server that keeps none.

Bridges and commands of one machine share it. What becomes of a job `dicomweb.jobs` says, as for the web layer's
`/jobs`. The file is made when the first job or refusal goes in.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bridge.jobs import Claim
from bridge.nodes import Nodes
from dicomweb.errors import NotFound, Unavailable
from dicomweb.jobs import CLAIMABLE, COLUMNS, LEASE, OVER, STATES, WAKING, Job, State, as_column

_LOOK_SECONDS = 0.5
_BUSY_SECONDS = 30.0
_KEPT_REFUSALS = 10_000
_FIELDS = ("kind", "calling", "called", "address", "node", "reason", "advice")
_COLUMNS = ", ".join(COLUMNS)
_TABLES = """
CREATE TABLE IF NOT EXISTS job (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, node TEXT NOT NULL, task TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', created REAL NOT NULL, changed REAL NOT NULL, due REAL NOT NULL,
    owner TEXT NOT NULL DEFAULT '', lease REAL NOT NULL DEFAULT 0, fence INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, cancel INTEGER NOT NULL DEFAULT 0, progress TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS job_open ON job (due, id) WHERE state IN ('waiting', 'running');
CREATE TABLE IF NOT EXISTS refusal (
    kind TEXT, calling TEXT, called TEXT, address TEXT, node TEXT, reason TEXT, advice TEXT,
    first REAL NOT NULL, last REAL NOT NULL, count INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (kind, calling, called, address, node, reason, advice)
);
CREATE INDEX IF NOT EXISTS refusal_last ON refusal (last);
"""


class Ledger:
    """The file.

    Args:
        path: where it lies or will lie.
        attempts: after so many a job has failed, if it is `hours` old.
        kept_days: for which jobs that are over are remembered.
        hours: see `attempts`.
    """

    def __init__(self, path: Path, attempts: int = 8, kept_days: float = 30.0, hours: float = 72.0) -> None:
        self.path = path
        self._attempts = attempts
        self._patience = hours * 3600
        self._kept = kept_days * 86_400
        self._lock = threading.Lock()
        self._made = False

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction that may write. Raises Unavailable."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock, closing(sqlite3.connect(self.path, _BUSY_SECONDS, isolation_level=None)) as connection:
                if not self._made:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(_TABLES)
                    self._made = True
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self.path} cannot be used: {error}") from error

    # -- jobs, for people ------------------------------------------------------------------------------------

    def add(self, kind: str, node: str, task: Mapping[str, Any]) -> dict[str, Any]:
        """Add a job and return it; it waits for a bridge."""
        now = time.time()
        with self._open() as connection:
            connection.execute("DELETE FROM job WHERE state IN (?, ?, ?) AND changed < ?", (*OVER, now - self._kept))
            number = connection.execute(
                "INSERT INTO job (kind, node, task, created, changed, due) VALUES (?, ?, ?, ?, ?, ?)",
                (kind, node, as_column(task), now, now, now),
            ).lastrowid
            return _get(connection, number or 0).write()

    def get(self, number: int) -> dict[str, Any]:
        """Return a job. Raises NotFound."""
        with self._open() as connection:
            return _get(connection, number).write()

    def latest(
        self, limit: int = 100, before: int | None = None, states: Sequence[str] = STATES, node: str = ""
    ) -> list[dict[str, Any]]:
        """Return jobs in these states, the latest first, with numbers below `before`, of one node or of all."""
        if not self.path.is_file():
            return []
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM job WHERE state IN ({', '.join('?' * len(states))})"
                " AND id < ? AND ? IN ('', node) ORDER BY id DESC LIMIT ?",
                (*states, (1 << 62) if before is None else before, node, limit),
            )
            return [Job.read(row).write() for row in rows]

    def cancel(self, number: int) -> dict[str, Any]:
        """Stop a job: one that waits at once, another when its bridge reports. Raises NotFound, Conflict."""
        return self._change(number, lambda job: job.canceled(time.time())).write()

    def retry(self, number: int) -> dict[str, Any]:
        """Let a job that is over, or waits, begin again at once. Raises NotFound, Conflict."""
        return self._change(number, lambda job: job.retried(time.time())).write()

    def _change(self, number: int, change: Callable[[Job], Job]) -> Job:
        with self._open() as connection:
            job = _get(connection, number)
            return _save(connection, job, change(job))

    # -- jobs, for bridges -----------------------------------------------------------------------------------

    def claim(self, owner: str) -> dict[str, Any] | None:
        """Take the job that has waited longest, or one whose bridge fell silent; None if there is none."""
        if not self.path.is_file():
            return None
        now = time.time()
        with self._open() as connection:
            while row := connection.execute(
                f"SELECT {_COLUMNS} FROM job WHERE {CLAIMABLE} ORDER BY due, id LIMIT 1", (now, now)
            ).fetchone():
                found = Job.read(row)
                job = _save(connection, found, found.claimed(owner, LEASE, self._attempts, now))
                if job.state == "running":
                    return job.write()
            return None

    def report(self, number: int, fence: int, progress: Mapping[str, Any]) -> bool:
        """Record progress, which keeps the claim; true is to stop. Raises NotFound, Conflict."""
        return self._change(number, lambda job: job.reported(fence, progress, LEASE, time.time())).cancel

    def finish(
        self, number: int, fence: int, state: State, progress: Mapping[str, Any], error: str, again: float
    ) -> dict[str, Any]:
        """Record what became of a job; `waiting` asks for another attempt in `again` seconds. Where it is done, others
        of its node that wait begin now.

        Raises:
            NotFound, Conflict: the claim is lost.
        """
        limits = self._attempts, self._patience
        return self._change(
            number, lambda job: job.finished(fence, state, progress, error, again, *limits, time.time())
        ).write()

    # -- refusals --------------------------------------------------------------------------------------------

    def refuse(self, told: Mapping[str, str]) -> None:
        """Record a refusal; the same one again counts."""
        now = time.time()
        with self._open() as connection:
            connection.execute(
                f"INSERT INTO refusal ({', '.join(_FIELDS)}, first, last) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET last = excluded.last, count = count + 1",
                (*(told.get(name, "")[:1000] for name in _FIELDS), now, now),
            )
            connection.execute(
                "DELETE FROM refusal WHERE last < (SELECT last FROM refusal ORDER BY last DESC LIMIT 1 OFFSET ?)",
                (_KEPT_REFUSALS - 1,),
            )

    def refusals(self, limit: int = 100, before: float | None = None) -> list[dict[str, Any]]:
        """Return refusals that happened before a time, the latest first."""
        if not self.path.is_file():
            return []
        names = ("id", *_FIELDS, "first", "last", "count")
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT rowid, {', '.join(names[1:])} FROM refusal WHERE last < ?"
                " ORDER BY last DESC, rowid DESC LIMIT ?",
                (time.time() + 1e6 if before is None else before, limit),
            )
            return [dict(zip(names, row, strict=True)) for row in rows]


def _get(connection: sqlite3.Connection, number: int) -> Job:
    row = connection.execute(f"SELECT {_COLUMNS} FROM job WHERE id = ?", (number,)).fetchone()
    if row is None:
        raise NotFound(f"there is no job {number}")
    return Job.read(row)


def _save(connection: sqlite3.Connection, before: Job, job: Job) -> Job:
    changes = job.changes(before)
    columns = ", ".join(f"{name} = ?" for name in changes)
    connection.execute(f"UPDATE job SET {columns} WHERE id = ?", (*changes.values(), job.id))
    if woken := job.waking(job.changed):
        connection.execute(WAKING, woken)
    return job


class LedgerQueue:
    """The jobs of the file, as a `Queue`.

    Args:
        ledger: the file.
        nodes: those that jobs speak of.
    """

    def __init__(self, ledger: Ledger, nodes: Nodes) -> None:
        self._ledger = ledger
        self._nodes = nodes
        self._closed = threading.Event()

    def close(self) -> None:
        """Let those who wait for a job wait no longer."""
        self._closed.set()

    def claim(self, owner: str, wait: float) -> Claim | None:
        """See Queue."""
        end = time.monotonic() + wait
        while True:
            job = self._ledger.claim(owner)
            if job is not None:
                named = (job["node"], str(job["task"].get("destination") or ""))
                nodes = {node.name: node for node in self._nodes.all() if node.name in named}
                return Claim(job["id"], job["fence"], job["kind"], job["node"], job["task"], job["attempts"], nodes)
            if time.monotonic() >= end or self._closed.wait(_LOOK_SECONDS):
                return None

    def report(self, claim: Claim, progress: Mapping[str, Any]) -> bool:
        """See Queue."""
        return self._ledger.report(claim.id, claim.fence, progress)

    def finish(self, claim: Claim, state: State, progress: Mapping[str, Any], error: str, again: float) -> None:
        """See Queue."""
        self._ledger.finish(claim.id, claim.fence, state, progress, error, again)
