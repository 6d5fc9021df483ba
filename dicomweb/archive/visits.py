"""What was fetched from nodes for viewers: beside the archive, apart for each node, and for a time only.

Each node has an archive of its own, in the same storage under another prefix and in an index beside the archive's, so
that nothing of it is found by searches of ours, and what two nodes say under one UID never meets.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dicomweb.archive.archive import Archive, open_archive
from dicomweb.archive.rendering import Renderer
from dicomweb.archive.retrieve import Retrieval
from dicomweb.config import Config
from dicomweb.errors import Error, NotFound
from dicomweb.index import beside

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Visited:
    """What was fetched from one node."""

    archive: Archive
    retrieval: Retrieval
    renderer: Renderer


class Visits:
    """The archives beside the archive, opened when they are first asked for.

    Args:
        archive: the archive itself, whose index remembers what was fetched when.
        readers: makes what retrieves and renders from an archive.
    """

    def __init__(self, archive: Archive, readers: Callable[[Archive], tuple[Retrieval, Renderer]]) -> None:
        self._readers = readers
        self._archive = archive
        self._life = archive.config.visit_hours * 3600
        self._open: dict[str, Visited] = {}
        self._lock = threading.Lock()
        self._fetching: dict[tuple[str, str], tuple[threading.Lock, list[None]]] = {}

    def of(self, node: str) -> Visited:
        """Return what was fetched from a node.

        Raises:
            Unavailable: a back end does not answer.
        """
        with self._lock:
            if node not in self._open:
                self._open[node] = self._make(node)
            return self._open[node]

    def _make(self, node: str) -> Visited:
        config = self._archive.config
        storage = config.storage if config.storage.startswith("memory:") else f"{config.storage}/visits/{node}"
        archive = open_archive(_apart(config, storage, beside(config.index_now(), node)), self._archive.shelf)
        return Visited(archive, *self._readers(archive))

    def has(self, node: str, resource: str) -> bool:
        """Say whether all of a resource was fetched lately; see `index.visits`."""
        return self._archive.index.visits.has(node, resource, time.time() - self._life)

    def record(self, node: str, resource: str) -> None:
        """Remember that all of a resource was fetched just now."""
        self._archive.index.visits.record(node, resource)

    @contextmanager
    def fetching(self, node: str, study: str) -> Iterator[None]:
        """One at a time fetches of a study, so that viewers that ask for all of its series at once do not each
        fetch the same."""
        key = (node, study)
        with self._lock:
            lock, users = self._fetching.setdefault(key, (threading.Lock(), []))
            users.append(None)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                users.pop()
                if not users:
                    self._fetching.pop(key, None)

    def sweep(self) -> int:
        """Remove the studies whose time is over, and return how many those were."""
        visits = self._archive.index.visits
        swept: set[str] = set()
        count = 0
        for node, study in visits.over(time.time() - self._life):
            try:
                self.of(node).archive.delete(study, reason="its time was over")
            except NotFound:
                pass
            except Error as error:
                log.warning("study %s of node %s stays for now: %s", study, node, error)
                continue
            visits.forget(node, study)
            swept.add(node)
            count += 1
        for node in swept:
            self.of(node).archive.sweep()
        return count

    def close(self) -> None:
        """Release what was opened."""
        with self._lock:
            for visited in self._open.values():
                visited.archive.close()
            self._open.clear()


def _apart(config: Config, storage: str, index: str) -> Config:
    """The settings of an archive beside the archive: a node's latest word counts, deletions are not remembered."""
    return dataclasses.replace(
        config, storage=storage, index=index, on_conflict="replace", tombstone_days=0.0, abandoned_seconds=3600.0
    )


class Repeated:
    """Calls something every so often in a thread of its own; its errors are logged.

    Args:
        call: what to call.
        interval: seconds between calls; the first comes after as many.
    """

    def __init__(self, call: Callable[[], object], interval: float) -> None:
        self._call = call
        self._interval = interval
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visits", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the call that may be under way."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            try:
                self._call()
            except Error as error:
                log.warning("what was fetched from nodes stays for now: %s", error)
