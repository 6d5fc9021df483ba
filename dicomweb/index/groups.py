"""Group commit: what several threads want to write at the same time shares one transaction and one fsync.

Whoever comes first leads: it takes what is waiting, runs it in one transaction and tells the others what became
of theirs; meanwhile the next group gathers. So no thread of its own is needed, and a single writer pays for no handing
over. A group that fails is tried again one by one, so that what is wrong with one does not touch the others.

What need not last gathers by itself: it would wait for the sync of others else.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from dicomweb.errors import Unavailable
from dicomweb.index.session import Again, Engine, Session

Handler = Callable[[Session, Sequence[Any]], Sequence[Any]]
"""Does the work of several jobs of a kind; one result per job, an exception where a job alone is at fault."""

_LARGEST = 64
_ATTEMPTS = 8


class _Job:
    __slots__ = ("done", "handler", "result", "work")

    def __init__(self, handler: Handler, work: Any) -> None:
        self.handler = handler
        self.work = work
        self.done = False
        self.result: Any = None


class _Lane:
    """Jobs that wait, and the place of the one who leads.

    Args:
        lasting: what they write does (see `Engine.write`).
    """

    def __init__(self, lasting: bool) -> None:
        self.lasting = lasting
        self.waiting: deque[_Job] = deque()
        self.lead = threading.Lock()


class Groups:
    """What a process writes: two transactions at a time at most, one of them with what need not last.

    Args:
        engine: gives the transactions.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lasting, self._passing = _Lane(True), _Lane(False)

    def do(self, handler: Handler, work: Any, lasting: bool = True) -> Any:
        """Run a job in a transaction, with others if there are; return its result when that is durable.

        Args:
            handler: does the work; jobs with the same handler are given to it together.
            work: this job's share.
            lasting: False where the death of the machine may undo it (see `Engine.write`).

        Raises:
            Unavailable: the transaction could not be made; nothing of the job was done, unless the database was
                lost at the very moment of the commit, or its disk fails: then what was done may be lost or stay.
            Error: what the handler returned for this job.
        """
        job = _Job(handler, work)
        lane = self._lasting if lasting else self._passing
        lane.waiting.append(job)
        with lane.lead:
            while not job.done:
                self._lead(lane)
        if isinstance(job.result, BaseException):
            raise job.result
        return job.result

    def _lead(self, lane: _Lane) -> None:
        group: list[_Job] = []
        while lane.waiting and len(group) < _LARGEST:
            group.append(lane.waiting.popleft())
        try:
            self._together(group, lane.lasting)
        except Again:
            for job in group:
                self._alone(job, lane.lasting)
        except Exception as error:
            # Where the database does not answer, nobody is at fault, and asking for each would take long.
            if len(group) == 1 or isinstance(error, Unavailable):
                for job in group:
                    job.result = error
            else:
                for job in group:
                    self._alone(job, lane.lasting)
        except BaseException as error:
            for job in group:
                job.result = Unavailable("the writer was interrupted")
                job.done = True
            raise error
        for job in group:
            job.done = True

    def _together(self, group: list[_Job], lasting: bool) -> None:
        kinds: dict[Handler, list[_Job]] = {}
        for job in group:
            kinds.setdefault(job.handler, []).append(job)
        results: list[tuple[_Job, Any]] = []
        with self._engine.write(lasting) as session:
            for handler, jobs in kinds.items():
                found = handler(session, [job.work for job in jobs])
                results += zip(jobs, found, strict=True)
        for job, result in results:
            job.result = result

    def _alone(self, job: _Job, lasting: bool) -> None:
        for _ in range(_ATTEMPTS):
            try:
                self._together([job], lasting)
            except Again as error:
                job.result = error
                continue
            except Exception as error:
                job.result = error
            return
