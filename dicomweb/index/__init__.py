"""Which instances there are, what they say, where their frames lie.

A *version* is one stored object, named by a 63-bit integer that is never used again. Each SOP Instance UID has
at most one current version; only current versions are visible to searches and retrievals.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dicomweb.access.rights import Scope
from dicomweb.errors import BadSetting, ForeignStudy, Unavailable
from dicomweb.standard.attributes import Level
from dicomweb.standard.query import Query

if TYPE_CHECKING:
    from dicomweb.index.access import AccessKeys
    from dicomweb.index.jobs import Jobs
    from dicomweb.index.nodes import NodeRows
    from dicomweb.index.refusals import Refusals
    from dicomweb.index.shares import Shares
    from dicomweb.index.visits import Visits


@dataclass(frozen=True, slots=True)
class Intent:
    """That an object is about to be written: recorded before its bytes are, so that a crash in between
    leaves nothing that nobody knows of. `kind` is "object" or "tombstone"."""

    version: int
    key: str
    kind: Literal["object", "tombstone"] = "object"


@dataclass(frozen=True, slots=True)
class Held:
    """What a reader needs in order to serve a stored instance.

    Attributes:
        version: names the stored object for ever.
        key: where its bytes are in storage.
        study, series, instance, sop_class, syntax: UIDs (syntax: transfer syntax as stored).
        size: bytes of the object.
        digest: SHA-256 of the received bytes (32 bytes).
        number: Instance Number, or None.
    """

    version: int
    key: str
    study: str
    series: str
    instance: str
    sop_class: str
    syntax: str
    size: int
    digest: bytes
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object as it enters the index.

    Attributes:
        held: identity and place.
        dataset: its metadata as DICOM JSON model (PS3.18 F), from which columns are taken.
        metadata: the same, serialized (UTF-8, one JSON object); BulkDataURIs are relative to the instance.
        layout: `standard.frames.Layout` as bytes.
    """

    held: Held
    dataset: dict[str, Any]
    metadata: bytes
    layout: bytes


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deletion: `series` and `instance` are None where the whole study or series went.

    Attributes:
        version: id of the tombstone itself, from the same number space as objects.
        key: where it lies in storage.
        versions: the object versions that it deletes, exactly.
        time: when, in seconds since 1970.
        reason: what the one who deleted said, or "".
        kind: "deleted", or "replaced" where a newer version took the instance's place (not Gone then).
        successor: that version; None where that is not known. Written in storage only.
    """

    version: int
    key: str
    study: str
    series: str | None
    instance: str | None
    versions: tuple[int, ...]
    time: float
    reason: str = ""
    kind: Literal["deleted", "replaced"] = "deleted"
    successor: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One search result.

    Attributes:
        level: of the result.
        study, series, instance: UIDs as far as the level has them, else "".
        version: of the instance that speaks for the entity (the current one with the lowest SOP Instance
            UID); its metadata has what `dataset` has not.
        dataset: DICOM JSON model: all attributes of `standard.attributes` held for this level and the ones
            above, computed ones included, tags in any order; empty ones have no Value.
    """

    level: Level
    study: str
    series: str
    instance: str
    version: int
    dataset: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A page of search results.

    Attributes:
        rows: in the query's order.
        remaining: how many more there are after the page, counted up to `COUNT_LIMIT`.
        cursor: names the place after the last row, or None at the end.
    """

    rows: list[Row]
    remaining: int = 0
    cursor: str | None = None


COUNT_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the change feed: a visible change, numbered without gaps in visibility."""

    number: int
    kind: Literal["stored", "replaced", "deleted"]
    study: str
    series: str
    instance: str
    version: int
    time: float


@dataclass(frozen=True, slots=True)
class Counts:
    """What the index holds."""

    patients: int
    studies: int
    series: int
    instances: int
    bytes: int
    pending: int
    garbage: int
    other_versions: int
    modalities: dict[str, int] = field(default_factory=dict)


class Index(Protocol):
    """Metadata of everything stored, with durable, atomic changes; safe to call from several threads.

    Every method may raise Unavailable, those that read TookTooLong. Changes are durable when the method returns. Others
    may read them a moment before; what `present`, `intend_new`, `garbage` and `changes` tell is durable.

    Attributes:
        nodes, jobs, refusals, visits, keys, shares: what concerns other systems and people; `clear` leaves them alone.
    """

    nodes: "NodeRows"
    jobs: "Jobs"
    refusals: "Refusals"
    visits: "Visits"
    keys: "AccessKeys"
    shares: "Shares"

    # -- writing -----------------------------------------------------------------------------------------
    def intend(self, intents: Sequence[Intent]) -> None:
        """Record that these objects are about to be written.

        The death of this process does not undo it; that of the machine may, for objects (not for tombstones) of
        which nothing was committed yet. The index is `doubtful` then.
        """

    def intend_new(self, intents: Sequence[tuple[Intent, str]]) -> dict[str, Held]:
        """As `intend`, but for those that are there already.

        Args:
            intents: each with the SOP Instance UID that its object has.

        Returns:
            What `present` returns for these UIDs. Of those there are no intents were recorded.
        """

    def doubtful(self) -> bool:
        """Whether the machine went down since `trust` was called, so that storage may have objects that no row tells
        of."""

    def trust(self) -> None:
        """Say that storage was searched for such objects since the machine was started."""

    def commit(self, entries: Sequence[Entry], scope: Scope | None = None) -> list[Held | ForeignStudy | None]:
        """Make entries visible, each by itself, and drop their intents.

        Args:
            entries: what was written.
            scope: a study that is there must be in it, whoever made it meanwhile; None admits to all.

        Returns:
            For each entry None if it is now current and visible; else the current version that already has
            its SOP Instance UID (in any study): then nothing changed and its intent stays; or ForeignStudy if its study
            is not in the scope: then it is garbage. Two entries of one call may have the same SOP Instance UID: the
            first wins.

        Raises:
            Unavailable: an intent is no longer there (a sweep took it, or a standby took over that had not heard of
                it); nothing of the call was done.
        """

    def keep(self, entries: Sequence[Entry]) -> None:
        """Record entries as versions that are not current, and drop their intents."""

    def replace(self, entry: Entry, tombstone: Tombstone) -> Held | None:
        """Make `entry` current in place of the one version that `tombstone` names; that one goes to the
        garbage, both intents are dropped. If another version is current by now, return it and do nothing."""

    def enter(self, entry: Entry, graves: Mapping[int, Tombstone]) -> None:
        """Take in an object that is there and known to be whole, in one step: a process that dies on the way leaves no
        intent, by which the sweep would remove the object.

        It becomes current where its SOP Instance UID is free, or held by a version that `graves` has a tombstone of a
        replacement for; else it is a version that is not current. Whether it was intended does not matter, and what
        somebody else has taken in or removed meanwhile stays as it is.
        """

    def adopt(self, entry: Entry, graves: Mapping[int, Tombstone]) -> None:
        """As `enter`, if the object is still intended; else somebody else resolved that, and nothing is done."""

    def abandon(self, versions: Sequence[int]) -> list[tuple[int, str]]:
        """Make garbage of what is still intended, all at once, and return it."""

    def forget(self, versions: Sequence[int]) -> None:
        """Drop intents whose object is not (or no longer) in storage."""

    def delete(self, tombstone: Tombstone) -> int:
        """Remove the versions that the tombstone names, in one transaction: readers see all or nothing of it.

        Aggregates are put right, keys move to the garbage, the tombstone is remembered, changes are
        recorded, the tombstone's intent is dropped. Versions that are not there are passed over.

        Returns:
            How many current instances went.
        """

    def pending(self, older_than: float) -> list[tuple[Intent, str]]:
        """Return intents, with the name of the process that made them, recorded before `older_than`
        (seconds since 1970)."""

    def garbage(self, limit: int = 1000) -> list[tuple[int, str]]:
        """Return (version, key) of objects that nothing refers to any more and whose bytes may go, in this order: the
        tombstone of a replacement that did not take place before the object that it made room for."""

    def known(self, versions: Sequence[int]) -> set[int]:
        """Return those of these versions that the index knows of: stored, intended, or garbage."""

    def collected(self, versions: Sequence[int]) -> None:
        """Drop garbage rows whose bytes are gone; a row that something refers to is left."""

    def expire(self, before: float) -> list[Tombstone]:
        """Forget tombstones from before `before` of which no garbage is left, and return them."""

    def clear(self) -> None:
        """Empty the index, for a rebuild."""

    def belong(self, storage: str = "", anew: bool = False) -> str:
        """Return the id of the storage that the index belongs to, "" if to none; `clear` leaves it.

        Args:
            storage: id of the one to which it belongs from now on, if it belonged to none.
            anew: also if it belonged to another one.
        """

    # -- reading -----------------------------------------------------------------------------------------
    def present(self, instances: Sequence[str]) -> dict[str, Held]:
        """Return the current version of each of these SOP Instance UIDs that there is."""

    def locate(self, study: str, series: str, instance: str) -> Held:
        """Return the current version of one instance.

        Raises:
            NotFound: there is none under this study and series.
            Gone: it, its series or its study was deleted, and the tombstone still lives.
        """

    def members(self, study: str, series: str | None = None) -> list[Held]:
        """Return the current instances of a study or series by series number, Series Instance UID, instance
        number, SOP Instance UID; missing numbers last.

        Raises:
            NotFound, Gone: as `locate`.
        """

    def versions(self, study: str, series: str | None = None, instance: str | None = None) -> list[int]:
        """Return all versions under a resource, current or not; [] if there are none."""

    def others(self, limit: int, after: int = 0) -> list[Held]:
        """Return versions that are not current, by version, after `after`."""

    def layout(self, version: int) -> bytes:
        """Return the layout of one version. Raises Vanished."""

    def metadata(self, versions: Sequence[int]) -> list[bytes]:
        """Return the metadata of these versions, serialized as they came in, in order. Raises Vanished."""

    def search(self, query: Query, scope: Scope | None = None) -> Found:
        """Find entities of the query's level, those in a scope if there is one. A patient is in it where all of the
        patient is.

        Keys on attributes that have no column are tried on what the level holds, then on the metadata of the
        entity's instances: an entity matches if one of its instances satisfies all such keys.

        Raises:
            TooBroad: more than the scan limit of instances would have to be read.
            BadQuery: cursor or order cannot be used.
        """

    def lookup(self, text: str, limit: int, scope: Scope | None = None) -> list[Row]:
        """Return the resources whose Patient ID, Accession Number, Study, Series or SOP Instance UID equals
        `text`, patients first, those in a scope if there is one."""

    def in_scope(self, study: str, scope: Scope) -> bool:
        """Say whether a study is in a scope: named there, or of a patient who is."""

    def admits(self, study: str, scope: Scope) -> bool:
        """Say whether something may be stored into a study: it is in the scope, or it is not there and the scope has
        patients whose it could be."""

    def walk(self, after: int = 0, limit: int = 1000) -> list[Held]:
        """Return every version, current or not, by version: for checks of the whole archive."""

    def deletions(self, limit: int, before: float | None = None) -> list[Tombstone]:
        """Return what was deleted before a time (seconds since 1970; None: ever) and whose tombstone lives, the
        latest first."""

    def changes(self, after: int = 0, limit: int = 1000) -> list[Change]:
        """Return changes with a number above `after`, in order, none missing that is committed later."""

    def used(self) -> int:
        """Return the bytes of all versions, current or not: a figure that is kept, not counted."""

    def recount(self) -> None:
        """Put `used` right where an older version of this program, which does not keep it, may have written."""

    def counts(self) -> Counts:
        """Count what is held."""

    def check(self) -> None:
        """Raise Unavailable (with a sentence) if the index cannot be read or written, OutOfSpace if it is full."""

    def close(self) -> None:
        """Release connections."""


SCAN_LIMIT = 100_000


def set_aside(url: str) -> Path | None:
    """Rename the file of a damaged SQLite index, which nobody may have open, so that a new one can take its place.

    Returns:
        Where it lies now; None if the index is no file of ours.

    Raises:
        Unavailable: the file cannot be renamed.
    """
    path = file_of(url)
    if path is None:
        return None
    number = 1
    while (aside := path.with_name(f"{path.name}-damaged-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
        for more in ("-wal", "-shm"):  # they belong to the old file and would spoil the new one
            path.with_name(path.name + more).unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"the damaged index cannot be put aside: {error.strerror}") from error
    return aside


def file_of(url: str) -> Path | None:
    """Return the path of an SQLite index; None in memory and for other databases."""
    if not url.startswith("sqlite:"):
        return None
    place = url.removeprefix("sqlite:")
    place = place.removeprefix("//") if place.startswith("///") else place
    if not place:
        raise BadSetting("index: sqlite: needs the path of a file, such as sqlite:data/index.sqlite")
    return None if place == ":memory:" else Path(place)


def beside(url: str, name: str) -> str:
    """Return the URL of another index beside this one, in a folder `visits` or a schema of the same database, which
    is made if it is not there.

    Args:
        url: of an index, as `open_index` takes it.
        name: of the other one: letters, digits and `.`, `_`, `-`.

    Raises:
        Unavailable: the database does not answer, or the folder cannot be made.
    """
    if url.startswith(("postgresql://", "postgres://")):
        from dicomweb.index.postgres import make_schema

        return make_schema(url, name)
    path = file_of(url)
    if path is None:
        return url
    folder = path.parent / "visits"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise Unavailable(f"the folder for what is fetched from nodes cannot be made: {error.strerror}") from error
    return f"sqlite:{folder / name}.sqlite"


def open_index(
    url: str,
    *,
    scan_limit: int = SCAN_LIMIT,
    login: Callable[[], str] | None = None,
    seconds: float = 0.0,
) -> Index:
    """Open an index, making or upgrading its tables first.

    Args:
        url: `sqlite:PATH`, `sqlite::memory:` (gone when closed), or `postgresql://...` as libpq reads it.
        scan_limit: how many instances one search may read for keys that have no column.
        login: gives a PostgreSQL URL whose user and password each new connection takes; None takes those of `url`.
        seconds: longest that the index may work on one question; 0 is no limit.

    Raises:
        BadSetting: the URL names no back end that we have.
        Incompatible: the tables are of a version that this program is too old for.
        Unavailable: the database cannot be reached.
    """
    from dicomweb.index.database import Database
    from dicomweb.index.session import Engine

    engine: Engine
    if url.startswith("sqlite:"):
        from dicomweb.index.sqlite import SqliteEngine

        engine = SqliteEngine(file_of(url), seconds)
    elif url.startswith(("postgresql://", "postgres://")):
        from dicomweb.index.postgres import PostgresEngine

        engine = PostgresEngine(url, login, seconds)
    else:
        raise BadSetting("index: the URL must begin with sqlite: or postgresql:")
    return Database(engine, scan_limit)
