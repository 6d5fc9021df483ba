"""The archive as somebody sees it who may know of a part of it only: what lies outside does not exist.

Searches are narrowed in the index itself, so that counts and pages are those of the part. What is stored must belong to
it: to a study that is named, or to a patient who is and to no study of anybody else.
"""

from collections.abc import Sequence
from typing import Any

from dicomweb.access.rights import Scope
from dicomweb.archive.archive import Archive
from dicomweb.archive.spool import Upload
from dicomweb.archive.store import OnConflict
from dicomweb.index import Found, Index, Row
from dicomweb.standard.outcomes import Outcome
from dicomweb.standard.query import Query


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
        self.index = ScopedIndex(archive.index, scope)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)

    def store(
        self, uploads: Sequence[Upload], study: str | None = None, on_conflict: OnConflict | None = None
    ) -> list[Outcome]:
        """Store those objects that belong to the part; see Archive. What others stored is never replaced."""
        if on_conflict is None and self._archive.config.on_conflict == "replace":
            on_conflict = "refuse"
        return self._archive.store(uploads, study, on_conflict, self._scope)
