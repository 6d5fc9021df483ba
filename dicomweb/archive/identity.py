"""Which storage an index belongs to: an id that lies in storage as an object, and that the index remembers.

Processes that share an index but not its storage (a folder for each, yesterday's database with another bucket) would
list what they cannot give, and store where nobody else looks. Such a process does not start, and one under which its
storage is exchanged is ready no more.
"""

import hashlib
import secrets

from dicomweb.errors import AlreadyStored, Incompatible, NotFound
from dicomweb.index import Index
from dicomweb.storage import Put, Storage

KEY = "archive/identity"

_OTHER = (
    "the index belongs to another storage than this one: processes that share an index share one bucket or folder;"
    " where this is the right one, `roentgate rebuild-index` makes the index anew from it"
)


class Identity:
    """The tie between a storage and an index.

    Args:
        storage, index: the two.
    """

    def __init__(self, storage: Storage, index: Index) -> None:
        self._storage = storage
        self._index = index
        self._known = ""

    def settle(self) -> None:
        """See that the two belong together; from now on they do, if the index belonged to no storage.

        Raises:
            Incompatible: they do not.
        """
        there, known = _read(self._storage), self._index.belong()
        if not there and (not known or self._holds_objects()):
            there = _place(self._storage, known or secrets.token_hex(16))
        self._known = known or self._index.belong(there)
        if there != self._known:
            raise Incompatible(_OTHER)

    def claim(self) -> None:
        """Have the index belong to this storage, whatever it belonged to."""
        there = _read(self._storage) or _place(self._storage, secrets.token_hex(16))
        self._known = self._index.belong(there, anew=True)

    def check(self) -> None:
        """See that storage answers, and is the one that it was.

        Raises:
            Unavailable, OutOfSpace: as `Storage.check`.
            Incompatible: it is another one.
        """
        self._storage.check()
        if self._known and _read(self._storage) != self._known:
            raise Incompatible(_OTHER)

    def _holds_objects(self) -> bool:
        """Say whether storage has what the index knows, so that only its identity was lost."""
        for held in self._index.walk(0, 1):
            try:
                return self._storage.size(held.key) == held.size
            except NotFound:
                return False
        return False


def carry(source: Storage, target: Storage) -> None:
    """Give a storage the identity of the one that was copied to it."""
    if identity := _read(source):
        target.delete(KEY)
        _place(target, identity)


def _read(storage: Storage) -> str:
    try:
        return storage.read(KEY).decode("ascii", "replace")
    except NotFound:
        return ""


def _place(storage: Storage, identity: str) -> str:
    """Write an identity where there is none; return the one that is there then."""
    data = identity.encode()
    (problem,) = storage.put([Put(KEY, data, hashlib.sha256(data).digest())])
    if problem is not None and not isinstance(problem, AlreadyStored):
        raise problem
    return _read(storage)
