"""Jobs: claimed, done, reported. Any number of bridges share those of the web layer's `/jobs`.

While a job runs, a second thread reports for it, so that the claim holds however long the network is silent. Who
hears that the claim is lost, or that the job is to stop, stops at the next instance.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bridge.client import Origin
from bridge.places import Place, WebPlace, place_of
from bridge.sending import FAULTS
from bridge.transfer import Progress, run
from dicomweb.errors import Conflict, Error, NotAssociated, NotFound
from dicomweb.jobs import State
from dicomweb.standard.nodes import Node, read_node

log = logging.getLogger(__name__)

_WAIT = 20.0
_REPORT_SECONDS = 1.0
_SILENT_REPORTS = 10
"""Without progress only every so many reports are sent."""
_AGAIN = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 1800.0
_GROWS = 10
"""Attempts after which the pause has long been the longest one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is ours for a time.

    Attributes:
        id, fence: of the job and of the claim.
        kind: send or retrieve.
        node: name of the node.
        task: `resources`, and `destination` of a retrieval.
        attempts: how often it was begun.
        nodes: those that it needs, by name.
    """

    id: int
    fence: int
    kind: str
    node: str
    task: Mapping[str, Any]
    attempts: int = 1
    nodes: Mapping[str, Node] = field(default_factory=dict)


class Queue(Protocol):
    """Where jobs come from."""

    def claim(self, owner: str, wait: float) -> Claim | None:
        """Take a job, waiting for one. Raises NotFound where there are none and never will be."""

    def report(self, claim: Claim, progress: Mapping[str, Any]) -> bool:
        """Tell progress; true is to stop. Raises Conflict when the claim is lost."""

    def finish(self, claim: Claim, state: State, progress: Mapping[str, Any], error: str, again: float) -> None:
        """Tell what became of it. Raises Conflict when the claim is lost."""


class WebQueue:
    """The web layer's `/jobs`.

    Args:
        origin: the web layer; it knows the bridge's token.
    """

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def claim(self, owner: str, wait: float) -> Claim | None:
        """See Queue."""
        told = self._origin.call("POST", "/jobs/claim", {"owner": owner, "wait": wait})
        if not told:
            return None
        job, nodes = told["job"], {name: read_node(name, value) for name, value in told["nodes"].items()}
        return Claim(job["id"], job["fence"], job["kind"], job["node"], job["task"], job["attempts"], nodes)

    def report(self, claim: Claim, progress: Mapping[str, Any]) -> bool:
        """See Queue."""
        told = self._origin.call("POST", f"/jobs/{claim.id}/report", {"fence": claim.fence, "progress": dict(progress)})
        return bool(told["cancel"])

    def finish(self, claim: Claim, state: State, progress: Mapping[str, Any], error: str, again: float) -> None:
        """See Queue."""
        value = {"fence": claim.fence, "state": state, "progress": dict(progress), "error": error, "again": again}
        self._origin.call("POST", f"/jobs/{claim.id}/finish", value)


class Runner:
    """Does jobs in threads of its own, from its making to `stop`.

    Args:
        queue: where they come from.
        origin: our archive.
        aet: our AE title.
        owner: names this bridge.
        threads: jobs at the same time.
        wait: seconds for which a claim waits for a job.
    """

    def __init__(
        self, queue: Queue, origin: Origin, aet: str, owner: str, threads: int = 2, wait: float = _WAIT
    ) -> None:
        self._queue = queue
        self._wait = wait
        self._origin = origin
        self._aet = aet
        self._owner = owner
        self._stopping = threading.Event()
        self._busy: set[threading.Thread] = set()
        self._threads = [
            threading.Thread(target=self._work, name=f"job-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Let jobs end at their next instance; they wait for the next bridge. Claims that are under way are not
        waited for: what one of them brings is given back."""
        self._stopping.set()
        idle = time.monotonic() + min(seconds, 1.0)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max((end if thread in self._busy else idle) - time.monotonic(), 0.0))

    def _work(self) -> None:
        complaint = ""
        while not self._stopping.is_set():
            try:
                claim = self._queue.claim(self._owner, self._wait)
                complaint = ""
            except NotFound:
                log.info("the DICOMweb server has no jobs for bridges")
                return
            except Error as error:
                if complaint != str(error):
                    log.warning("no jobs can be claimed: %s", error)
                complaint = str(error)
                self._stopping.wait(_AGAIN)
                continue
            if claim is not None:
                self._busy.add(threading.current_thread())
                _Run(self._queue, claim, self._origin, self._aet, self._stopping).do()
                self._busy.discard(threading.current_thread())


class _Run:
    """One job."""

    def __init__(self, queue: Queue, claim: Claim, origin: Origin, aet: str, stopping: threading.Event) -> None:
        self._queue = queue
        self._claim = claim
        self._origin = origin
        self._aet = aet
        self._stopping = stopping
        self._progress = Progress()
        self._over = threading.Event()
        self._cancelled = self._lost = False

    def do(self) -> None:
        """Do it, and tell what became of it."""
        reporter = threading.Thread(target=self._report, name=f"report-{self._claim.id}", daemon=True)
        reporter.start()
        try:
            state, error, again = self._try()
        finally:
            self._over.set()
            reporter.join()
        if self._lost:
            log.warning("job %d went to another bridge", self._claim.id)
            return
        try:
            self._queue.finish(self._claim, state, self._progress.write(), error, again)
        except Error as failure:
            log.warning("job %d is %s, and that cannot be told: %s", self._claim.id, state, failure)

    def _try(self) -> tuple[State, str, float]:
        pause = min(_FIRST_PAUSE * 4.0 ** min(self._claim.attempts - 1, _GROWS), _LONGEST_PAUSE)
        try:
            self._run()
        except NotAssociated as error:
            return ("failed" if error.lasting else "waiting"), str(error), pause
        except FAULTS as error:
            return "waiting", str(error), pause
        except Error as error:
            return "failed", str(error), 0.0
        except Exception:
            log.exception("job %d failed by a fault of ours", self._claim.id)
            return "waiting", "it failed by a fault of ours, which is in the log of the bridge", pause
        if self._cancelled:
            return "canceled", "", 0.0
        if self._stopping.is_set():
            return "waiting", "the bridge was stopped", 0.0
        if self._progress.failed:
            first = self._progress.failures[0][1] if self._progress.failures else ""
            count = f"{self._progress.failed:,} of {self._progress.total:,} instances did not arrive"
            return ("waiting" if self._progress.temporary else "failed"), f"{count}: {first}", pause
        return "done", "", 0.0

    def _run(self) -> None:
        claim = self._claim
        if claim.node not in claim.nodes:
            raise NotFound(f"node {claim.node} is no more")
        ours: Place = WebPlace(self._origin, ours=True)
        theirs = place_of(claim.nodes[claim.node], self._aet)
        source, sink = (ours, theirs) if claim.kind == "send" else (theirs, ours)
        name = str(claim.task.get("destination") or "")
        if claim.kind == "retrieve" and name:
            if name not in claim.nodes:
                raise NotFound(f"node {name} is no more")
            sink = place_of(claim.nodes[name], self._aet)
        elif claim.kind not in ("send", "retrieve"):
            raise NotFound(f"this bridge does not know jobs of the kind {claim.kind}")
        ask = sink is ours or claim.attempts > 1 or claim.fence > 1
        run(source, sink, list(claim.task.get("resources") or ()), self._progress, self._stops, self._aet, ask)

    def _stops(self) -> bool:
        return self._cancelled or self._lost or self._stopping.is_set()

    def _report(self) -> None:
        told: Mapping[str, Any] = {}
        silent = 0
        while not self._over.wait(_REPORT_SECONDS):
            now = self._progress.write()
            silent += 1
            if {**now, "rate": 0} == {**told, "rate": 0} and silent < _SILENT_REPORTS:
                continue
            told, silent = now, 0
            try:
                self._cancelled |= self._queue.report(self._claim, now)
            except (Conflict, NotFound):
                self._lost = True
                return
            except Error as error:
                log.warning("progress of job %d cannot be told: %s", self._claim.id, error)
