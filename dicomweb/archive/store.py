"""Store: each object is read, written and made visible in the one order that leaves nothing lost,
half-visible or orphaned when the process dies at any point.

Intent (a pending row), object, commit (the flip to visible), in this order; then the outcome. What remains
pending is resolved by `upkeep.sweep`. Objects are the received bytes and are never changed (PS3.4 B.4.1.1,
level 2). The same data set again is a success without a second copy; another data set under the same SOP
Instance UID is refused, kept beside the first, or takes its place, as `on_conflict` says.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from dicomweb.access.rights import Scope
from dicomweb.archive import tombstones
from dicomweb.archive.entries import EntryReader
from dicomweb.archive.room import Room
from dicomweb.archive.sameness import Comparison
from dicomweb.archive.spool import Spool, Upload
from dicomweb.archive.stages import stage
from dicomweb.archive.versions import kept_key, new_version, tombstone_key
from dicomweb.errors import AlreadyStored, Error, ForeignStudy, NotFound, OtherContent, Unavailable, WrongStudy
from dicomweb.index import Entry, Held, Index, Intent, Tombstone
from dicomweb.standard import outcomes, part10
from dicomweb.standard.dicomjson import text
from dicomweb.standard.outcomes import Outcome
from dicomweb.storage import Put, Storage

log = logging.getLogger(__name__)

_PATIENT, _ISSUER = "00100020", "00100021"
_OTHER_CONTENT = "another object with this SOP Instance UID is stored already; it was left as it is"

OnConflict: TypeAlias = Literal["refuse", "keep", "replace"]


@dataclass(slots=True)
class _Candidate:
    """An upload on its way: where its outcome belongs, what was read from it, to what its sender may store."""

    position: int
    upload: Upload
    parsed: part10.Part10
    entry: Entry
    scope: Scope | None


class Store:
    """The store use case.

    Args:
        storage: where objects go.
        index: where they become visible.
        spool: where stored objects are brought for a comparison.
        reader: reads uploads.
        room: whether more may be stored.
        on_conflict: the policy when a call names none.

    Attributes:
        given_up: versions that this process has under way no longer, since the index or storage failed on the
            way, and whose intents are left to the sweep.
    """

    def __init__(
        self, storage: Storage, index: Index, spool: Spool, reader: EntryReader, room: Room, on_conflict: OnConflict
    ) -> None:
        self._storage = storage
        self._index = index
        self._reader = reader
        self._room = room
        self._on_conflict = on_conflict
        self.given_up: set[int] = set()
        self._comparison = Comparison(storage, spool, reader)

    def store(
        self,
        uploads: Sequence[Upload],
        study: str | None = None,
        on_conflict: OnConflict | None = None,
        scope: Scope | None = None,
    ) -> list[Outcome]:
        """Store objects, each by itself (PS3.18 10.5).

        Args:
            uploads: the objects; their spool files are gone afterwards.
            study: Study Instance UID that each must have, or None.
            on_conflict: what to do with other content under a SOP Instance UID that is taken.
            scope: to what the sender may store: studies that it names, and studies of its patients, of which no
                other patient's becomes one. None is everything.

        Returns:
            One outcome per upload, in order. Those that say stored, already or kept are durable.
        """
        results: list[Outcome | None] = [None] * len(uploads)
        candidates = []
        try:
            with stage("parse"):
                for position, upload in enumerate(uploads):
                    try:
                        candidates.append(self._candidate(position, upload, study, scope))
                    except Error as error:
                        results[position] = outcomes.from_error(error)
                    except Exception as error:  # a fault of ours costs this object, not its neighbours
                        log.exception("reading an object failed")
                        results[position] = outcomes.from_error(error)
            self._place(candidates, results, on_conflict or self._on_conflict)
        finally:
            for upload in uploads:
                upload.discard()
        return [result for result in results if result is not None]

    def _candidate(self, position: int, upload: Upload, study: str | None, scope: Scope | None) -> _Candidate:
        parsed = self._reader.parse(upload)
        if study is not None and parsed.study != study:
            sentence = "the object belongs to another study than the one in the URL"
            raise WrongStudy(sentence, parsed.sop_class, parsed.instance)
        if scope is not None and not self._admits(parsed, scope):
            raise ForeignStudy(parsed.sop_class, parsed.instance)
        return _Candidate(position, upload, parsed, self._reader.entry(upload, parsed), scope)

    def _admits(self, parsed: part10.Part10, scope: Scope) -> bool:
        """Say whether an object belongs to a scope, as things are; the commit asks once more."""
        if parsed.study in scope.studies:
            return True
        patient = text(parsed.dataset, _PATIENT).strip(), text(parsed.dataset, _ISSUER).strip()
        return patient in scope.patients and self._index.admits(parsed.study, scope)

    def _place(self, candidates: list[_Candidate], results: list[Outcome | None], on_conflict: OnConflict) -> None:
        try:
            going_on = self._admit(self._intend(candidates, results, on_conflict), results)
            written = self._write(going_on, results)
            self._show(written, results, on_conflict)
        except Error as error:
            log.warning("a store was interrupted: %s", error)
            for candidate in candidates:
                if results[candidate.position] is None:
                    self.given_up.add(candidate.entry.held.version)
                    results[candidate.position] = self._failed(candidate, error)

    def _intend(
        self, candidates: list[_Candidate], results: list[Outcome | None], on_conflict: OnConflict
    ) -> list[_Candidate]:
        """Answer for those that the archive has already, before a byte is written; record intents of the rest and
        return it."""
        if not candidates:
            return []
        intents = {c.position: Intent(c.entry.held.version, c.entry.held.key) for c in candidates}
        with stage("index"):
            present = self._index.intend_new([(intents[c.position], c.entry.held.instance) for c in candidates])
        going_on, others = [], []
        for candidate in candidates:
            held = present.get(candidate.entry.held.instance)
            if held is None:
                going_on.append(candidate)
                continue
            try:
                if self._same(candidate, held):
                    self._assure(candidate, held)
                    results[candidate.position] = self._outcome(candidate, "already")
                elif on_conflict == "refuse":
                    results[candidate.position] = self._refused(candidate, held)
                else:
                    going_on.append(candidate)
                    others.append(intents[candidate.position])
            except Error as error:
                results[candidate.position] = self._failed(candidate, error)
        self._index.intend(others)
        return going_on

    def _admit(self, candidates: list[_Candidate], results: list[Outcome | None]) -> list[_Candidate]:
        """Leave out those for which there is no room, and forget their intents."""
        if not candidates:
            return []
        return self._going_on(candidates, self._room.admit([c.upload.size for c in candidates]), results)

    def _write(self, candidates: list[_Candidate], results: list[Outcome | None]) -> list[_Candidate]:
        """Write objects whose intents are recorded; return those that are durable."""
        if not candidates:
            return []
        with stage("object"):
            problems = self._storage.put([Put(c.entry.held.key, c.upload.body, c.upload.sha256) for c in candidates])
        return self._going_on(candidates, problems, results)

    def _going_on(
        self, candidates: list[_Candidate], problems: Sequence[Exception | None], results: list[Outcome | None]
    ) -> list[_Candidate]:
        """Answer for those that have a problem and forget their intents; return the others."""
        failed = {c.position: problem for c, problem in zip(candidates, problems, strict=True) if problem is not None}
        for candidate in candidates:
            if candidate.position in failed:
                results[candidate.position] = self._failed(candidate, failed[candidate.position])
        self._forget([candidate for candidate in candidates if candidate.position in failed])
        return [candidate for candidate in candidates if candidate.position not in failed]

    def _show(self, written: list[_Candidate], results: list[Outcome | None], on_conflict: OnConflict) -> None:
        """Commit what is durable; settle those whose SOP Instance UID was taken in the meantime."""
        if not written:
            return
        with stage("index"):
            holders = self._index.commit([candidate.entry for candidate in written], written[0].scope)
        for candidate, holder in zip(written, holders, strict=True):
            if holder is None:
                results[candidate.position] = self._outcome(candidate, "stored")
                continue
            try:
                results[candidate.position] = self._settle(candidate, holder, on_conflict)
            except Error as error:
                log.warning("a conflict could not be settled: %s", error)
                self.given_up.add(candidate.entry.held.version)
                results[candidate.position] = self._failed(candidate, error)

    def _settle(self, candidate: _Candidate, holder: Held | ForeignStudy, on_conflict: OnConflict) -> Outcome:
        """Decide about a written object whose SOP Instance UID `holder` has, or whose study is somebody else's."""
        while True:
            if isinstance(holder, ForeignStudy):
                self._storage.delete(candidate.entry.held.key)
                self._index.collected([candidate.entry.held.version])
                return self._failed(candidate, holder)
            successor: Held | ForeignStudy | None
            try:
                if self._same_as_written(candidate, holder):
                    self._withdraw(candidate)
                    return self._outcome(candidate, "already")
                if on_conflict == "refuse":
                    self._withdraw(candidate)
                    return self._refused(candidate, holder)
                if on_conflict == "keep":
                    self._mark_kept(candidate)
                    self._index.keep([candidate.entry])
                    log.warning("kept %016x, other content of a stored instance", candidate.entry.held.version)
                    return self._outcome(candidate, "kept")
                successor = self._replace(candidate, holder)
            except NotFound:  # the holder was deleted while we looked at it
                (successor,) = self._index.commit([candidate.entry], candidate.scope)
                if successor is None:
                    return self._outcome(candidate, "stored")
            if successor is None:
                return self._outcome(candidate, "replaced")
            holder = successor

    def _replace(self, candidate: _Candidate, holder: Held) -> Held | None:
        """Put a tombstone under the old version, then the new one in its place; return another version that
        has taken the place in the meantime."""
        version = new_version()
        tombstone = Tombstone(
            version=version,
            key=tombstone_key(version),
            study=holder.study,
            series=holder.series,
            instance=holder.instance,
            versions=(holder.version,),
            time=time.time(),
            kind="replaced",
            successor=candidate.entry.held.version,
        )
        try:
            tombstones.place(self._storage, self._index, tombstone)
            successor = self._index.replace(candidate.entry, tombstone)
        except Error:
            self.given_up.add(version)
            raise
        if successor is not None:
            tombstones.take_back(self._storage, self._index, tombstone)
        return successor

    def _mark_kept(self, candidate: _Candidate) -> None:
        """Say in storage that this version is not the current one, so that a rebuild knows it too."""
        key = kept_key(candidate.entry.held.version)
        (problem,) = self._storage.put([Put(key, b"", hashlib.sha256(b"").digest())])
        if problem is not None and not isinstance(problem, AlreadyStored):
            raise problem

    def _same(self, candidate: _Candidate, held: Held) -> bool:
        try:
            return self._comparison.same(candidate.upload, candidate.parsed, held)
        except NotFound:
            return False

    def _assure(self, candidate: _Candidate, held: Held) -> None:
        """See that storage has the bytes that the index promises, and put them back where they were lost: success
        tells the sender that it may forget its copy.

        Raises:
            Unavailable: the version was deleted meanwhile; the sender may try again.
        """
        if held.digest != candidate.upload.sha256:  # then the stored object was read for the comparison
            return
        try:
            if self._storage.size(held.key) == held.size:
                return
            self._storage.delete(held.key)
        except NotFound:
            pass
        log.error("the bytes of version %016x were lost or cut; those that came again take their place", held.version)
        (problem,) = self._storage.put([Put(held.key, candidate.upload.body, candidate.upload.sha256)])
        if problem is not None and not isinstance(problem, AlreadyStored):
            raise problem
        current = self._index.present([held.instance]).get(held.instance)
        if current is None or current.version != held.version:
            self._storage.delete(held.key)
            raise Unavailable("the instance was deleted while it was stored; send it again")

    def _same_as_written(self, candidate: _Candidate, holder: Held) -> bool:
        """As `_same`, for an object that lies in storage already and may have left the spool."""
        if holder.digest == candidate.upload.sha256:
            return True
        with self._comparison.stored(candidate.entry.held) as upload:
            return self._comparison.same(upload, candidate.parsed, holder)

    def _withdraw(self, candidate: _Candidate) -> None:
        self._storage.delete(candidate.entry.held.key)
        self._storage.delete(kept_key(candidate.entry.held.version))
        self._index.forget([candidate.entry.held.version])

    def _forget(self, candidates: list[_Candidate]) -> None:
        """Drop intents of objects that were not written; a failed write may still have left bytes."""
        for candidate in candidates:
            try:
                self._withdraw(candidate)
            except Error as error:
                log.warning("an intent is left to the sweep: %s", error)
                self.given_up.add(candidate.entry.held.version)

    def _outcome(self, candidate: _Candidate, state: outcomes.State) -> Outcome:
        held = candidate.entry.held
        return outcomes.accepted(
            held.study, held.series, held.instance, held.sop_class, state, candidate.parsed.warnings
        )

    def _refused(self, candidate: _Candidate, holder: Held) -> Outcome:
        """Refuse other content. Under another study it may be an attempt to take an identity over, or a
        device that makes UIDs twice; both want somebody's attention."""
        if candidate.entry.held.study != holder.study:
            log.error(
                "ALARM: an object of study %s has the SOP Instance UID of version %016x in another study; refused",
                candidate.entry.held.study,
                holder.version,
            )
        return self._failed(candidate, OtherContent(_OTHER_CONTENT))

    def _failed(self, candidate: _Candidate, error: Exception) -> Outcome:
        held = candidate.entry.held
        outcome = outcomes.from_error(error)
        return replace(outcome, sop_class=held.sop_class, instance=held.instance, study=held.study, series=held.series)
