"""The archive as one object: a storage and an index, and the use cases that keep them in agreement."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dicomweb.access.rights import Scope
from dicomweb.archive import delete as deletion
from dicomweb.archive.entries import EntryReader
from dicomweb.archive.identity import Identity
from dicomweb.archive.reconciling import Reconciliation, Step
from dicomweb.archive.room import open_room
from dicomweb.archive.shelf import Shelf
from dicomweb.archive.spool import Spool, Upload
from dicomweb.archive.store import OnConflict, Store
from dicomweb.archive.upkeep import Finding, Sweeper, Swept, Upkeep
from dicomweb.config import Config
from dicomweb.errors import OutOfSpace, Unavailable
from dicomweb.index import Held, Index, open_index
from dicomweb.index.measured import measure
from dicomweb.settings import mask
from dicomweb.standard.elements import Limits
from dicomweb.standard.outcomes import Outcome
from dicomweb.storage import Storage, Stored, open_storage
from dicomweb.storage.measured import Measured
from dicomweb.workshop import Workshop


class Archive:
    """Everything that the web layer and the command line do with stored objects.

    Attributes:
        storage, index, config: what it was opened with.
        spool: where incoming objects wait.
        identity: the tie between storage and index.
        workshop: where pixels are worked on.
        shelf: where what was made of stored objects is kept.
        room: whether more may be stored.
    """

    def __init__(self, storage: Storage, index: Index, config: Config, shelf: Shelf | None = None) -> None:
        self.storage = storage
        self.index = index
        self.config = config
        self.identity = Identity(storage, index)
        self.limits = Limits(
            depth=config.limit_nesting,
            elements=config.limit_elements,
            items=config.limit_items,
            inline=config.inline_bytes,
            inflate=config.limit_inflate_bytes,
            inflate_ratio=config.limit_inflate_ratio,
        )
        self.room = open_room(config, index)
        self.spool = Spool(config.scratch, largest=config.limit_part_bytes)
        self.shelf = shelf or Shelf(
            config.cache, config.cache_memory_bytes, config.cache_disk_bytes, config.limit_free_bytes
        )
        self.workshop = Workshop(config.codec_processes, config.limit_codec_seconds, config.limit_codec_bytes)
        reader = EntryReader(self.spool, self.limits, checked=storage.remote)
        self._store = Store(storage, index, self.spool, reader, self.room, config.on_conflict)
        self._upkeep = Upkeep(
            storage,
            index,
            self.spool,
            reader,
            config.abandoned_seconds,
            config.tombstone_days * 86_400,
            self._store.given_up,
            self.shelf.forget,
        )

    def store(
        self,
        uploads: Sequence[Upload],
        study: str | None = None,
        on_conflict: OnConflict | None = None,
        scope: Scope | None = None,
    ) -> list[Outcome]:
        """Store objects; see `Store.store`."""
        return self._store.store(uploads, study, on_conflict, scope)

    def unpack(self, data: bytes) -> bytes:
        """Decode a PNG or GIF in the workshop; see `imaging.unpacking.convert`.

        Raises:
            Undecodable: as there.
        """
        return self.workshop.run("dicomweb.imaging.unpacking", "convert", data)

    def delete(self, study: str, series: str | None = None, instance: str | None = None, reason: str = "") -> int:
        """Delete a resource; see `delete.delete`."""
        given_up = self._store.given_up
        return deletion.delete(self.storage, self.index, study, series, instance, reason, given_up)

    def sweep(self) -> Swept:
        """Resolve what interrupted processes left; see `Upkeep.sweep`."""
        return self._upkeep.sweep()

    def sweeper(self) -> Sweeper:
        """Make what sweeps in the background; the caller starts and stops it."""
        return Sweeper(self._upkeep, self.config.sweep_interval_seconds)

    def verify(self) -> Iterator[tuple[Held | Stored, Finding | None]]:
        """Check every object; see `Upkeep.verify`."""
        return self._upkeep.verify()

    def check(self, instances: Sequence[str]) -> Iterator[tuple[Held | None, Finding | None]]:
        """Check some instances; see `Upkeep.check`."""
        return self._upkeep.check(instances)

    def rebuild(self) -> Iterator[tuple[Stored, Finding | None]]:
        """Make the index anew, of this storage; see `Upkeep.rebuild`."""
        self.identity.claim()
        return self._upkeep.rebuild()

    def reconcile(self) -> Iterator[Step]:
        """Bring index and objects of different days to agree; see `Reconciliation.run`."""
        return Reconciliation(self.storage, self.index, self._upkeep).run()

    def check_index(self) -> None:
        """See that the index is whole enough to serve from, and that of this storage; see `Upkeep.check_index` and
        `Identity.settle`."""
        self._upkeep.check_index()
        self.identity.settle()

    def close(self) -> None:
        """Release storage, index and workshop."""
        self.workshop.close()
        self.index.close()
        self.storage.close()


def open_archive(config: Config, shelf: Shelf | None = None) -> Archive:
    """Open the archive that the settings name.

    Args:
        config: the settings.
        shelf: one that it shares with another archive; None makes its own.

    Raises:
        BadSetting: a URL cannot be used.
        Unavailable, OutOfSpace: a back end does not answer; the sentence names the setting.
    """
    with _naming("storage", config.storage):
        storage = open_storage(
            config.storage,
            s3_endpoint=config.s3_endpoint or None,
            s3_region=config.s3_region or None,
            s3_connect_seconds=config.s3_connect_seconds,
            s3_read_seconds=config.s3_read_seconds,
        )
    try:
        with _naming("index", config.index):
            login = config.index_now if "index" in config.files else None
            index = open_index(
                config.index,
                scan_limit=config.scan_limit_instances,
                login=login,
                seconds=config.limit_query_seconds,
            )
    except BaseException:
        storage.close()
        raise
    return Archive(Measured(storage), measure(index), config, shelf)


@contextmanager
def _naming(setting: str, url: str) -> Iterator[None]:
    """Say in errors which setting names what cannot be opened, and what it holds."""
    try:
        yield
    except (Unavailable, OutOfSpace) as error:
        raise type(error)(f"{setting} is {mask(url) if '//' in url else url}, which cannot be used: {error}") from error
