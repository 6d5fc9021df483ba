"""Tombstones: objects that say which versions are no more, durable before a deletion or a replacement takes
effect, so that it survives the loss of the index."""

import hashlib
import logging
import time

import orjson

from dicomweb.archive.versions import version_of
from dicomweb.errors import Corrupt, Error, NotFound
from dicomweb.index import Index, Intent, Tombstone
from dicomweb.storage import Put, Storage

log = logging.getLogger(__name__)


def place(storage: Storage, index: Index, tombstone: Tombstone) -> None:
    """Make a tombstone durable in storage, under an intent that says that it is about to take effect.

    Raises:
        OutOfSpace, Unavailable: it could not be written; it will not take effect later either, unless the
            back end cannot be reached to take it back.
    """
    index.intend([Intent(tombstone.version, tombstone.key, "tombstone")])
    body = write_tombstone(tombstone)
    (problem,) = storage.put([Put(tombstone.key, body, hashlib.sha256(body).digest())])
    if problem is None:
        return
    take_back(storage, index, tombstone)  # a write that failed may still have left bytes
    raise problem


def take_back(storage: Storage, index: Index, tombstone: Tombstone) -> None:
    """Remove a tombstone that has not taken effect and will not; if that fails, the sweep does it."""
    try:
        storage.delete(tombstone.key)
        index.forget([tombstone.version])
    except Error as error:
        log.warning("a tombstone that took no effect is left to the sweep: %s", error)


def find(storage: Storage, key: str) -> Tombstone | None:
    """Read a tombstone from storage; None if it is not there. Raises Corrupt."""
    try:
        return read_tombstone(key, storage.read(key))
    except NotFound:
        return None


def placed(storage: Storage, index: Index, oldest: int = 0) -> list[Tombstone]:
    """Return the tombstones in storage that nobody is about to place, of this version or a younger one.

    Whoever places one records its intent before, and takes back the tombstone before the intent. So what is listed, has
    no intent after that, and is there after that, has taken effect.

    Raises:
        Corrupt: one cannot be read.
    """
    listed = [stored.key for stored in storage.list("tombstones/") if (version_of(stored.key) or 0) >= oldest]
    under_way = {intent.key for intent, _ in index.pending(time.time())}
    found = (find(storage, key) for key in listed if key not in under_way)
    return [tombstone for tombstone in found if tombstone is not None]


def write_tombstone(tombstone: Tombstone) -> bytes:
    """Return the bytes of a tombstone object."""
    return orjson.dumps(
        {
            "version": f"{tombstone.version:016x}",
            "kind": tombstone.kind,
            "study": tombstone.study,
            "series": tombstone.series,
            "instance": tombstone.instance,
            "versions": [f"{version:016x}" for version in tombstone.versions],
            "time": tombstone.time,
            "reason": tombstone.reason,
            "successor": None if tombstone.successor is None else f"{tombstone.successor:016x}",
        }
    )


def read_tombstone(key: str, data: bytes) -> Tombstone:
    """Undo `write_tombstone`.

    Raises:
        Corrupt: the bytes are no tombstone.
    """
    try:
        fields = orjson.loads(data)
        return Tombstone(
            version=int(fields["version"], 16),
            key=key,
            study=fields["study"],
            series=fields["series"],
            instance=fields["instance"],
            versions=tuple(int(version, 16) for version in fields["versions"]),
            time=float(fields["time"]),
            reason=fields["reason"],
            kind=fields["kind"],
            successor=int(successor, 16) if (successor := fields.get("successor")) else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt("a tombstone cannot be read") from error
