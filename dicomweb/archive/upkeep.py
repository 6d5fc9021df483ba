"""Upkeep: what an interrupted process left is resolved, bytes of deleted objects go, and the archive is
checked against itself.

Sweep resolves intents and garbage. Verify reads every object again. Rebuild makes the index anew from the
objects and tombstones alone; what it cannot know (when something arrived, the change feed, jobs) begins anew.
"""

import hashlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from dicomweb.archive import tombstones
from dicomweb.archive.abandoned import Abandoned, Resolved
from dicomweb.archive.copies import FORMS, copy_key
from dicomweb.archive.entries import EntryReader
from dicomweb.archive.spool import Spool
from dicomweb.archive.versions import digest_of, is_key_of, kept_key, version_of
from dicomweb.errors import AlreadyStored, BadObject, Error, NotFound, Unavailable
from dicomweb.index import Entry, Held, Index, Tombstone
from dicomweb.storage import Put, Storage, Stored

log = logging.getLogger(__name__)

_PAGE = 500
_REBUILDING = "rebuild/under-way"
"""An empty object that is there from the beginning of a rebuild until its end."""


@dataclass(slots=True)
class Swept:
    """What one sweep did."""

    withdrawn: int = 0
    tombstones: int = 0
    removed: int = 0
    forgotten: int = 0
    adopted: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        kind: "missing" (no object), "corrupt" (other bytes), "orphaned" (no row), "unreadable" (the back end
            did not answer, or an object that cannot be understood).
        key: the object's key.
        study, series, instance: UIDs, as far as they are known.
        detail: a sentence.
    """

    kind: Literal["missing", "corrupt", "orphaned", "unreadable"]
    key: str
    study: str = ""
    series: str = ""
    instance: str = ""
    detail: str = ""


class Sweeper:
    """Runs sweeps in a thread of its own: at start, every so often, and when woken.

    Args:
        sweep: what to run; its errors are logged.
        interval: seconds between sweeps.
    """

    def __init__(self, sweep: "Upkeep", interval: float) -> None:
        self._upkeep = sweep
        self._interval = interval
        self._wake = threading.Event()
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin; the first sweep runs at once."""
        self._thread.start()

    def wake(self) -> None:
        """Sweep soon, since there is garbage."""
        self._wake.set()

    def stop(self) -> None:
        """End; a sweep that may be under way ends with the object that it is at."""
        self._told.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._upkeep.recount()
        except Error as error:
            log.warning("the bytes of what is stored could not be counted: %s", error)
        while not self._told.is_set():
            try:
                swept = self._upkeep.sweep(self._told.is_set)
                if swept != Swept():
                    log.info("swept: %s", swept)
            except Error as error:
                log.warning("a sweep was interrupted and will be repeated: %s", error)
            self._wake.wait(self._interval)
            self._wake.clear()


class Upkeep:
    """The upkeep use cases.

    Args:
        storage, index: what is kept in agreement.
        spool: where large objects are brought within reach.
        reader: reads objects.
        abandoned: seconds after which another machine's intents count as abandoned.
        tombstone_life: seconds for which a deletion is remembered.
        given_up: versions that this very process has under way no longer; more may be added at any time, and
            those that are resolved are taken out.
        forget: removes what was made from objects with these digests, whose bytes went.
    """

    def __init__(
        self,
        storage: Storage,
        index: Index,
        spool: Spool,
        reader: EntryReader,
        abandoned: float,
        tombstone_life: float,
        given_up: set[int] | None = None,
        forget: Callable[[Collection[str]], None] | None = None,
    ) -> None:
        self._storage = storage
        self._index = index
        self._spool = spool
        self._reader = reader
        self._abandoned = Abandoned(storage, index, self._entry, abandoned)
        self._tombstone_life = tombstone_life
        self._given_up = set() if given_up is None else given_up
        self._forget = forget

    # -- sweep -------------------------------------------------------------------------------------------
    def sweep(self, told: Callable[[], bool] = lambda: False) -> Swept:
        """Resolve what is pending of processes that live no more, and remove bytes that nothing refers to.

        Args:
            told: says that it is to end; what is left, the next sweep finds.
        """
        swept = Swept()
        if self._index.doubtful():
            swept.adopted = self._adopt(told)
        for resolved in self.resolve(told):
            swept.adopted += resolved.state == "adopted"
            swept.tombstones += resolved.state == "deleted"
            swept.withdrawn += resolved.state == "withdrawn"
        while not told() and (garbage := self._index.garbage(_PAGE)):
            removed = []
            for version, key in itertools.takewhile(lambda _: not told(), garbage):
                self._storage.delete(key)  # before its copies: see `Copies.get`
                for form in FORMS:
                    self._storage.delete(copy_key(form, version))
                self._storage.delete(kept_key(version))
                removed.append((version, key))
            self._index.collected([version for version, _ in removed])
            swept.removed += len(removed)
            if self._forget is not None:
                self._forget({digest for _, key in removed if (digest := digest_of(key))})
        if told():
            return swept
        for tombstone in self._index.expire(time.time() - self._tombstone_life):
            self._storage.delete(tombstone.key)
            swept.forgotten += 1
        self._storage.sweep()
        self._spool.sweep()
        return swept

    def _adopt(self, told: Callable[[], bool]) -> int:
        """Enter the objects that no row tells of: their intents were lost when the machine went down. Each is whole,
        and its sender, who had no answer yet, may well hold it to be stored."""
        count = 0
        for stored, finding in self._orphans():
            if told():
                return count
            version = version_of(stored.key)
            if finding is not None:
                finding = self.enter(version, stored)
                log.warning("an object without a row: %s", stored.key if finding is None else finding)
                count += finding is None
        self._index.trust()
        return count

    def resolve(self, told: Callable[[], bool] = lambda: False) -> Iterator[Resolved]:
        """Resolve what processes that live no more had under way; see `Abandoned.resolve`."""
        given_up = frozenset(self._given_up)
        self._given_up -= given_up.difference(intent.version for intent, _ in self._index.pending(time.time()))
        yield from self._abandoned.resolve(given_up, told)

    # -- verify ------------------------------------------------------------------------------------------
    def verify(self) -> Iterator[tuple[Held | Stored, Finding | None]]:
        """Read every object again and compare it with the index, then look for objects without a row.

        Yields:
            What was checked, and what was found about it, or None if it is as it should be.
        """
        after = 0
        while page := self._index.walk(after, _PAGE):
            for held in page:
                yield held, self._check(held)
            after = page[-1].version
        yield from self._orphans()

    def check(self, instances: Sequence[str]) -> Iterator[tuple[Held | None, Finding | None]]:
        """Read stored instances again and compare them with the index.

        Args:
            instances: SOP Instance UIDs.

        Yields:
            For each what the index has of it, or None, and what was found about it, or None if it is as it should be.
        """
        for instance in instances:
            held = self._index.present([instance]).get(instance)
            finding = self._check(held) if held else None
            if held and finding:  # it may have been replaced or deleted meanwhile
                now = self._index.present([instance]).get(instance)
                if now is None or now.version != held.version:
                    held, finding = now, self._check(now) if now else None
            yield held, finding

    def _check(self, held: Held) -> Finding | None:
        digest = hashlib.sha256()
        size = 0
        try:
            for chunk in self._storage.stream(held.key):
                digest.update(chunk)
                size += len(chunk)
        except NotFound:
            return self._finding("missing", held, "the object is not in storage")
        except Error as error:
            return self._finding("unreadable", held, str(error))
        if size != held.size:
            return self._finding("corrupt", held, f"the object has {size:,} bytes instead of {held.size:,}")
        if digest.digest() != held.digest:
            return self._finding("corrupt", held, "the object's bytes are not those that were stored")
        return None

    def _finding(self, kind: Literal["missing", "corrupt", "unreadable"], held: Held, detail: str) -> Finding:
        return Finding(kind, held.key, held.study, held.series, held.instance, detail)

    def _orphans(self) -> Iterator[tuple[Stored, Finding | None]]:
        page: list[Stored] = []
        for stored in self._storage.list("objects/"):
            page.append(stored)
            if len(page) == _PAGE:
                yield from self._unknown(page)
                page = []
        yield from self._unknown(page)

    def _unknown(self, page: list[Stored]) -> Iterator[tuple[Stored, Finding | None]]:
        versions = {stored.key: version_of(stored.key) for stored in page}
        known = self._index.known([version for version in versions.values() if version is not None])
        for stored in page:
            if versions[stored.key] not in known:
                yield (
                    stored,
                    Finding("orphaned", stored.key, detail="no row of the index refers to the object"),
                )

    # -- rebuild -----------------------------------------------------------------------------------------
    def rebuild(self) -> Iterator[tuple[Stored, Finding | None]]:
        """Empty the index and fill it from the objects and tombstones alone.

        Those that a tombstone names do not enter, and their bytes go. Those that are marked as kept enter
        last, so that they are not the current ones again; all others in the order of their versions.

        Yields:
            Each object that was looked at, and why it could not enter, or None.
        """
        buried: set[int] = set()
        graves: list[Tombstone] = []
        for stored in self._storage.list("tombstones/"):
            tombstone = tombstones.read_tombstone(stored.key, self._storage.read(stored.key))
            graves.append(tombstone)
            buried.update(tombstone.versions)
        (problem,) = self._storage.put([Put(_REBUILDING, b"", hashlib.sha256(b"").digest())])
        if problem is not None and not isinstance(problem, AlreadyStored):
            raise problem
        kept = {version_of(stored.key) for stored in self._storage.list("kept/")}
        found = [(version_of(stored.key), stored) for stored in self._storage.list("objects/")]
        found.sort(key=lambda pair: (pair[0] in kept, pair[0] or 0))
        self._index.clear()
        for grave in graves:
            if grave.kind == "deleted":
                self._index.delete(grave)
        for version, stored in found:
            if version in buried:
                self._storage.delete(stored.key)
                yield stored, None
            else:
                yield stored, self.enter(version, stored)
        for grave in graves:
            if grave.kind == "replaced":
                self._storage.delete(grave.key)
        self._storage.delete(_REBUILDING)

    def recount(self) -> None:
        """Count the bytes of what is stored anew, if somebody may not have; see `Index.recount`."""
        self._index.recount()

    def check_index(self) -> None:
        """See that the index is not one that knows less than storage holds, as far as that shows at once.

        Raises:
            Unavailable: a rebuild is under way, or was interrupted.
        """
        if any(self._storage.list(_REBUILDING)):
            raise Unavailable(
                "the index is being rebuilt, or that was interrupted: let `roentgate rebuild-index` run to its end"
            )
        if not self._index.walk(0, 1) and any(self._storage.list("objects/")):
            log.warning("the index is empty although objects are stored: `roentgate rebuild-index` makes it from them")

    def enter(
        self, version: int | None, stored: Stored, graves: Mapping[int, Tombstone] = MappingProxyType({})
    ) -> Finding | None:
        """Enter an object that no row tells of; see `Index.enter`.

        Returns:
            Why it could not enter, or None.
        """
        if version is None:
            return Finding("orphaned", stored.key, detail="the object's key names no version")
        try:
            entry = self._entry(version, stored)
        except (BadObject, NotFound) as error:
            return Finding("unreadable", stored.key, detail=str(error))
        if entry is None:
            return Finding("corrupt", stored.key, detail="the object's bytes are not those that were stored")
        self._index.enter(entry, graves)
        return None

    def _entry(self, version: int, stored: Stored) -> Entry | None:
        """Read the object's entry; None if its bytes do not have the digest in its key."""
        upload = self._spool.take(self._storage.stream(stored.key))
        try:
            if not is_key_of(stored.key, upload.sha256, version):
                return None
            entry = self._reader.entry(upload, self._reader.parse(upload), version)
            return replace(entry, held=replace(entry.held, key=stored.key))
        finally:
            upload.discard()
