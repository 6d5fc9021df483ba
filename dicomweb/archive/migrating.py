"""Migration: an archive goes to another storage, another index, or both, whole and compared.

Objects are copied under their keys, so that versions, tombstones and what is kept beside keep their meaning; each is
compared with the digest in its key on the way. What is there already in the same size is passed over, so that a
migration that was interrupted goes on. The new index is made from the objects, as `rebuild` makes it, which gives the
same answers; nodes and API keys, of which no object tells, are copied. Nothing is removed from where it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from dicomweb.archive.spool import Spool
from dicomweb.archive.tombstones import read_tombstone
from dicomweb.archive.upkeep import Finding
from dicomweb.archive.versions import digest_of, version_of
from dicomweb.errors import AlreadyStored, Conflict, Corrupt, Error, NotFound
from dicomweb.index import Held, Index
from dicomweb.storage import Put, Storage, Stored

_OBJECTS = ("objects/", "kept/")
_TOMBSTONES = "tombstones/"
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of one object: "copied", "already" there, or "refused" for a reason."""

    stored: Stored
    state: Literal["copied", "already", "refused"]
    reason: str = ""


def copy_objects(source: Storage, target: Storage, spool: Spool, again: bool = False) -> Iterator[Copied]:
    """Copy what an archive consists of, one object after the other, those of the same size passed over, and what
    tombstones name.

    Args:
        source, target: from where to where.
        spool: for objects on their way.
        again: an index was made there already that agrees, in which tombstones have had their effect.
    """
    graves = (read_tombstone(each.key, source.read(each.key)) for each in source.list(_TOMBSTONES))
    buried = {version for grave in graves for version in grave.versions}
    for prefix in _OBJECTS if again else (*_OBJECTS, _TOMBSTONES):
        there = _Sizes(target, prefix)
        for stored in source.list(prefix):
            if version_of(stored.key) in buried:
                continue
            if there.of(stored.key) == stored.size:
                yield Copied(stored, "already")
                continue
            try:
                _copy(source, target, stored, spool)
            except NotFound:
                yield Copied(stored, "refused", "it went while it was about to be copied")
            except Error as error:
                yield Copied(stored, "refused", str(error))
            else:
                yield Copied(stored, "copied")


class _Sizes:
    """Sizes of what lies under a prefix, asked for in the order of the keys."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        self._listing = storage.list(prefix)
        self._next = next(self._listing, None)

    def of(self, key: str) -> int | None:
        """Return the size of the object under a key, or None."""
        while self._next is not None and self._next.key < key:
            self._next = next(self._listing, None)
        return self._next.size if self._next is not None and self._next.key == key else None


def _copy(source: Storage, target: Storage, stored: Stored, spool: Spool) -> None:
    upload = spool.take(source.stream(stored.key))
    try:
        named = digest_of(stored.key)
        if named and named != upload.sha256.hex():
            raise Corrupt("its bytes are not those that were stored; `roentgate verify` says whose they are")
        _put(target, Put(stored.key, upload.body, upload.sha256))
    finally:
        upload.discard()


def _put(target: Storage, put: Put) -> None:
    (problem,) = target.put([put])
    if isinstance(problem, AlreadyStored):
        raise Conflict("the target has something else under its key")
    if problem is not None:
        raise problem


def copy_settings(source: Index, target: Index) -> None:
    """Copy nodes, API keys and share links; those that are there already stay as they are."""
    known = {row.name for row in target.nodes.all()}
    for row in source.nodes.all():
        if row.name not in known:
            target.nodes.put(row)
    opened = {key.id for key in target.keys.all()}
    for key in source.keys.all():
        if key.id not in opened:
            target.keys.add(key)
    linked = {share.id for share in target.shares.all()}
    for share in source.shares.all():
        if share.id not in linked:
            target.shares.add(share)


def compare(source: Index, target: Index) -> Iterator[Finding]:
    """Yield what one index knows and the other does not, and what they know otherwise."""
    beside = [_beside(index) for index in (source, target)]
    for one, other in zip_longest(_walk(source), _walk(target)):
        if one is None or other is None or one.version != other.version:
            yield _differing(one or other, "only one of the two indexes knows it")
            return
        if one != other or (one.version in beside[0]) != (other.version in beside[1]):
            yield _differing(one, "the two indexes do not say the same of it")


def _differing(held: Held | None, sentence: str) -> Finding:
    assert held is not None
    return Finding("missing", held.key, held.study, held.series, held.instance, sentence)


def _walk(index: Index) -> Iterator[Held]:
    after = 0
    while page := index.walk(after, _PAGE):
        yield from page
        after = page[-1].version


def _beside(index: Index) -> set[int]:
    """Versions that are kept beside others: few, as a rule."""
    after, found = 0, set[int]()
    while page := index.others(_PAGE, after):
        found.update(held.version for held in page)
        after = page[-1].version
    return found
