"""Abandoned: what processes that live no more had under way comes to an end.

An intent alone does not tell that nobody was answered: an index that was restored, or that a standby took over, has
intents of what was acknowledged since. So what is whole in storage is taken in, and a replacement or a deletion whose
tombstone is there takes place; only what has no object, or not all of it, or is there a second time, goes. What this
very process gave up goes too: it told the sender so.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dicomweb.archive import tombstones
from dicomweb.archive.versions import MOMENT, kept_key
from dicomweb.errors import AlreadyStored, BadObject, NotFound
from dicomweb.index import Entry, Held, Index, Intent, Tombstone, owners
from dicomweb.storage import Put, Storage, Stored

log = logging.getLogger(__name__)

_SKEW = 86_400
"""Seconds by which the clocks of those who store and of those who delete may differ."""

Read: TypeAlias = Callable[[int, Stored], Entry | None]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What became of an intent.

    Attributes:
        state: "adopted" (the object is in the index now), "deleted" (the deletion took place), "withdrawn" (there is
            nothing to keep), "unreadable" (a whole object that cannot be understood; it is left as it is).
        key: of the object or tombstone.
        size: bytes of an object.
    """

    state: Literal["adopted", "deleted", "withdrawn", "unreadable"]
    key: str
    size: int = 0


class Abandoned:
    """The use case.

    Args:
        storage, index: what is kept in agreement.
        read: reads the entry of an object with a version; None if it is not whole.
        seconds: after which another machine's intents count as abandoned.
    """

    def __init__(self, storage: Storage, index: Index, read: Read, seconds: float) -> None:
        self._storage = storage
        self._index = index
        self._read = read
        self._seconds = seconds

    def resolve(self, given_up: Collection[int], told: Callable[[], bool]) -> Iterator[Resolved]:
        """Resolve what there is, and yield each once it is done.

        Args:
            given_up: versions that this very process has under way no longer.
            told: says that it is to end; what is left, the next call finds.
        """
        chosen = self._find(given_up)
        futile = [intent for intent in chosen if intent.kind == "object" and intent.version in given_up]
        begun = []
        for intent in chosen:
            if told():
                return
            if intent.kind == "tombstone":
                tombstone = tombstones.find(self._storage, intent.key)
                if tombstone is not None and tombstone.kind == "deleted":
                    self._index.delete(tombstone)
                    yield Resolved("deleted", intent.key)
                    continue
                futile.append(intent)  # unless the replacement takes place yet
                if tombstone is not None and intent.version not in given_up:
                    begun.append(tombstone)
        there = []
        for intent in chosen:
            if intent.kind == "object" and intent.version not in given_up:
                try:
                    there.append((intent, self._storage.size(intent.key)))
                except NotFound:
                    futile.append(intent)
        graves = self._graves(chosen) if there or begun else {}
        for tombstone in begun:
            if tombstone.successor in graves:  # which was current, then
                self._index.delete(tombstone)
                yield Resolved("deleted", tombstone.key)
            else:
                graves.update(dict.fromkeys(tombstone.versions, tombstone))
        for intent, size in sorted(there, key=lambda pair: (self._is_kept(pair[0].version), pair[0].version)):
            if told():
                return
            try:
                adopted = intent.version not in graves and self._adopt(intent, size, graves)
            except BadObject as error:
                log.error("an object of an interrupted store cannot be read, and is left: %s: %s", intent.key, error)
                yield Resolved("unreadable", intent.key, size)
                continue
            if adopted:
                log.warning("an object whose store was interrupted was taken in: %s", intent.key)
                yield Resolved("adopted", intent.key, size)
            else:
                futile.append(intent)
        # In one step: while the tombstone of a replacement is there, the object that it made room for must be too.
        for version, key in self._index.abandon([intent.version for intent in futile]):
            log.info("withdrawn: %016x", version)
            yield Resolved("withdrawn", key)

    def _find(self, given_up: Collection[int]) -> list[Intent]:
        now = time.time()
        old = {intent.version for intent, _ in self._index.pending(now - self._seconds)}
        chosen = []
        for intent, owner in self._index.pending(now):
            alive = owners.is_alive(owner)
            if alive and intent.version not in given_up:
                continue
            # What another machine has under way, or what a commit that seemed to fail may yet make visible.
            if alive is not False and intent.version not in old:
                continue
            chosen.append(intent)
        return chosen

    def _graves(self, chosen: list[Intent]) -> dict[int, Tombstone]:
        """The tombstones that may name what was intended, or what that replaced, by what they name."""
        oldest = min(intent.version for intent in chosen) - _SKEW * MOMENT
        found = tombstones.placed(self._storage, self._index, oldest)
        return {version: grave for grave in found for version in grave.versions}

    def _is_kept(self, version: int) -> bool:
        try:
            self._storage.size(kept_key(version))
        except NotFound:
            return False
        return True

    def _adopt(self, intent: Intent, size: int, graves: dict[int, Tombstone]) -> bool:
        """Take an object in as its store would have, but refuse nothing; False if it is not whole, or adds nothing."""
        entry = self._read(intent.version, Stored(intent.key, size, 0))
        if entry is None:
            return False
        holder = self._index.present([entry.held.instance]).get(entry.held.instance)
        while holder is not None and (grave := graves.get(holder.version)) is not None and grave.kind == "deleted":
            self._index.delete(grave)
            holder = self._index.present([entry.held.instance]).get(entry.held.instance)
        replaced = {
            version: grave
            for version, grave in graves.items()
            if grave.kind == "replaced" and grave.successor in (None, intent.version)
        }
        if holder is not None and holder.version not in replaced:
            if holder.digest == entry.held.digest and self._is_there(holder):
                return False
            key = kept_key(intent.version)
            (problem,) = self._storage.put([Put(key, b"", hashlib.sha256(b"").digest())])
            if problem is not None and not isinstance(problem, AlreadyStored):
                raise problem
        self._index.adopt(entry, replaced)
        return True

    def _is_there(self, holder: Held) -> bool:
        try:
            return self._storage.size(holder.key) == holder.size
        except NotFound:
            return False
