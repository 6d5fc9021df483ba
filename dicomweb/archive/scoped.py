"""The archive as somebody sees it who may know of a part of it only: what lies outside does not exist.

Searches are narrowed in the index itself, so that counts and pages are those of the part. What is stored must belong to
it: to a study that is named, or to a patient who is and to no study of anybody else.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dicomweb.access.rights import Scope
from dicomweb.archive.archive import Archive
from dicomweb.archive.entries import EntryReader
from dicomweb.archive.spool import Upload
from dicomweb.archive.store import OnConflict
from dicomweb.errors import Error, Forbidden
from dicomweb.index import Found, Index, Row
from dicomweb.standard import outcomes, part10
from dicomweb.standard.dicomjson import text
from dicomweb.standard.outcomes import Outcome
from dicomweb.standard.query import Query

_PATIENT, _ISSUER = "00100020", "00100021"


class ScopedIndex:
    """Searches of an index, as far as a scope goes; the rest of it is the index's own.

    Args:
        index: what is searched.
        scope: what may be found.
    """

    def __init__(self, index: Index, scope: Scope) -> None:
        self._index = index
        self._scope = scope

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def search(self, query: Query) -> Found:
        """See Index."""
        return self._index.search(query, self._scope)

    def lookup(self, text: str, limit: int) -> list[Row]:
        """See Index."""
        return self._index.lookup(text, limit, self._scope)


class ScopedArchive:
    """Searches and stores of an archive, as far as a scope goes; the rest of it is the archive's own.

    Args:
        archive: the whole.
        scope: the part.

    Attributes:
        index: searches of the part.
    """

    def __init__(self, archive: Archive, scope: Scope) -> None:
        self._archive = archive
        self._scope = scope
        self._reader = EntryReader(archive.spool, archive.limits)
        self.index = ScopedIndex(archive.index, scope)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)

    def store(
        self, uploads: Sequence[Upload], study: str | None = None, on_conflict: OnConflict | None = None
    ) -> list[Outcome]:
        """Store those objects that belong to the part; see Archive. What others stored is never replaced."""
        if on_conflict is None and self._archive.config.on_conflict == "replace":
            on_conflict = "refuse"
        refusals: list[Outcome | None] = []
        taken = []
        for upload in uploads:
            try:
                refusal = self._refusal(self._reader.parse(upload))
            except Error as error:
                refusal = outcomes.from_error(error)
            refusals.append(refusal)
            if refusal is None:
                taken.append(upload)
            else:
                upload.discard()
        stored = iter(self._archive.store(taken, study, on_conflict) if taken else [])
        return [refusal or next(stored) for refusal in refusals]

    def _refusal(self, parsed: part10.Part10) -> Outcome | None:
        """What becomes of an object that does not belong to the part."""
        if parsed.study in self._scope.studies:
            return None
        patient = text(parsed.dataset, _PATIENT).strip(), text(parsed.dataset, _ISSUER).strip()
        if patient in self._scope.patients and admits(self._archive.index, parsed.study, self._scope):
            return None
        error = Forbidden("the object belongs to a study or patient that whoever sends it may not store to")
        return replace(outcomes.from_error(error), sop_class=parsed.sop_class, instance=parsed.instance)


def admits(index: Index, study: str, scope: Scope) -> bool:
    """Say whether something may be stored into a study: it is in the scope, or it is not there and the scope has
    patients whose it could be."""
    return index.in_scope(study, scope) or (bool(scope.patients) and not index.versions(study))
