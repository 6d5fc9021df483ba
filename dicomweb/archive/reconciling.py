"""Reconciliation: an index and objects of different days are brought to agree, as after the restore of a backup.

Objects and tombstones tell what the index does not know: what came since is entered, what was deleted or replaced since
goes. What the index knows and no object proves is told, and stays, since it may be sent again. Nothing is emptied,
objects that the index knows are not read, and each step is whole in itself: run it again after an interruption. It may
run beside a server; before one has started is better, since what the index does not know is not found until then.
"""

import itertools
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dicomweb.archive import tombstones
from dicomweb.archive.upkeep import Upkeep
from dicomweb.archive.versions import version_of
from dicomweb.errors import NotFound
from dicomweb.index import Held, Index, Tombstone
from dicomweb.storage import Storage, Stored

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Step:
    """What was looked at, and what became of it.

    Attributes:
        state: "agreed"; "added" (an object that the index did not know); "deleted" (from the index, since a tombstone
            says so); "buried" (bytes that a tombstone names, which are removed); "missing" (a row without its object);
            "refused" (an object that cannot enter).
        key: of the object or tombstone.
        study, series, instance: UIDs, as far as they are known.
        size: bytes of an object.
        detail: a sentence, or "".
    """

    state: Literal["agreed", "added", "deleted", "buried", "missing", "refused"]
    key: str
    study: str = ""
    series: str = ""
    instance: str = ""
    size: int = 0
    detail: str = ""


class Reconciliation:
    """The use case.

    Args:
        storage, index: what is to agree.
        upkeep: enters objects.
    """

    def __init__(self, storage: Storage, index: Index, upkeep: Upkeep) -> None:
        self._storage = storage
        self._index = index
        self._upkeep = upkeep

    def run(self) -> Iterator[Step]:
        """Reconcile, and yield each step once it is done."""
        adopted = set()
        for resolved in self._upkeep.resolve():  # what was only intended when the index was copied
            if resolved.state == "adopted":
                adopted.add(resolved.key)
                yield Step("added", resolved.key, size=resolved.size)
            elif resolved.state == "deleted":
                yield Step("deleted", resolved.key, detail="the deletion was under way when the index was copied")
        graves = tombstones.placed(self._storage, self._index)
        for grave in graves:
            if grave.kind == "deleted":
                yield from self._delete(grave)
        seen = array("Q")
        yield from self._objects(graves, adopted, seen)
        for grave in graves:
            if grave.kind == "replaced":  # by a version that is there now, or was deleted since
                yield from self._delete(grave)
        yield from self._missing(array("Q", sorted(seen)))

    def _delete(self, grave: Tombstone) -> Iterator[Step]:
        if gone := self._index.delete(grave):
            instances = "1 instance" if gone == 1 else f"{gone:,} instances"
            uids = grave.study, grave.series or "", grave.instance or ""
            yield Step("deleted", grave.key, *uids, detail=f"{instances} {grave.kind} since the index was copied")

    def _objects(self, graves: Sequence[Tombstone], adopted: set[str], seen: "array[int]") -> Iterator[Step]:
        buried = {version for grave in graves for version in grave.versions}
        replaced = {version: grave for grave in graves if grave.kind == "replaced" for version in grave.versions}
        kept = {version_of(stored.key) for stored in self._storage.list("kept/")}
        last = []
        listed = iter(self._storage.list("objects/"))
        while page := list(itertools.islice(listed, _PAGE)):
            versions = {stored.key: version_of(stored.key) for stored in page}
            known = self._index.known([version for version in versions.values() if version is not None])
            for stored in page:
                version = versions[stored.key]
                if version is not None:
                    seen.append(version)
                if stored.key in adopted:
                    continue
                if version in known:
                    yield Step("agreed", stored.key, size=stored.size)
                elif version in buried:
                    self._storage.delete(stored.key)
                    yield Step("buried", stored.key, size=stored.size)
                elif version in kept:
                    last.append(stored)  # so that it is not the current one
                else:
                    yield self._enter(stored, replaced)
        for stored in last:
            yield self._enter(stored, replaced)

    def _enter(self, stored: Stored, replaced: Mapping[int, Tombstone]) -> Step:
        finding = self._upkeep.enter(version_of(stored.key), stored, replaced)
        if finding is None:
            return Step("added", stored.key, size=stored.size)
        return Step("refused", stored.key, size=stored.size, detail=finding.detail)

    def _missing(self, seen: "array[int]") -> Iterator[Step]:
        after = 0
        while page := self._index.walk(after, _PAGE):
            for held in page:
                place = bisect_left(seen, held.version)
                if (place == len(seen) or seen[place] != held.version) and not self._is_there(held):
                    uids = held.study, held.series, held.instance
                    yield Step("missing", held.key, *uids, detail="the object is not in storage; send it again")
            after = page[-1].version

    def _is_there(self, held: Held) -> bool:
        """Whether an object came after the objects were listed."""
        try:
            self._storage.size(held.key)
        except NotFound:
            return False
        return True
