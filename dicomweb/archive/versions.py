"""Names of stored objects: version ids that are never used again, and the keys made from them.

Keys hold the digest and the version, never a UID of the object, so that nothing a sender wrote becomes a
path, and so that a cleaner can never remove what a concurrent store has just written.
"""

import secrets
import threading
import time

_EPOCH = 1_577_836_800  # 2020-01-01T00:00:00Z, in seconds since 1970
_RANDOM_BITS = 22
_STEP_BITS = 10
MOMENT = 1000 << _RANDOM_BITS
"""How much greater a version is that was made a second later."""

_JITTER_MS = 100
_BARE = ".bare"


class _Drawn:
    """What this process drew last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def after(self, version: int) -> int:
        """Return a version, or one behind the last where it would not be; unless the clock was set back since."""
        with self._lock:
            if 0 <= self._last - version < _JITTER_MS << _RANDOM_BITS:
                version = self._last + 1 + secrets.randbits(_STEP_BITS)
            self._last = version
            return version


_drawn = _Drawn()


def new_version() -> int:
    """Return a version id of 63 bits: milliseconds since 2020, then 22 random bits; they sort by time.

    Those that a process draws in the same millisecond ascend, so that it never draws one twice.
    """
    milliseconds = int((time.time() - _EPOCH) * 1000)
    return _drawn.after(milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS))


def time_of(version: int) -> float:
    """Return when a version id was made, in seconds since 1970."""
    return _EPOCH + (version >> _RANDOM_BITS) / 1000


def object_key(sha256: bytes, version: int, bare: bool = False) -> str:
    """Return the key of an object: `objects/ab/<sha256>-<version>`, with `.bare` behind it where the bytes
    are a data set without what makes it a file (preamble, prefix, File Meta group; PS3.10 7.1). Whoever sends
    the object on sees by its key that these have to be put before it.

    Folders are 256, so that they are soon all there: 65,536 of them want another one for nearly every object, which
    takes two syncs more.
    """
    digest = sha256.hex()
    return f"objects/{digest[:2]}/{digest}-{version:016x}{_BARE if bare else ''}"


def is_key_of(key: str, sha256: bytes, version: int) -> bool:
    """Say whether a key names this digest and version, in whatever folder: there were other folders once."""
    return key.removesuffix(_BARE).rpartition("/")[2] == f"{sha256.hex()}-{version:016x}"


def is_bare(key: str) -> bool:
    """Say whether an object's key tells that the bytes are no Part 10 file."""
    return key.endswith(_BARE)


def tombstone_key(version: int) -> str:
    """Return the key of a tombstone."""
    return f"tombstones/{version:016x}"


def kept_key(version: int) -> str:
    """Return the key of the empty object that says that a stored version is kept beside the current one."""
    return f"kept/{version:016x}"


def digest_of(key: str) -> str:
    """Return the digest that the key of an object names, in hexadecimal; "" if it is no such key."""
    digest, hyphen, _ = key.rpartition("/")[2].rpartition("-")
    return digest if hyphen else ""


def version_of(key: str) -> int | None:
    """Return the version that a key names, or None if it is no such key."""
    name = key.removesuffix(_BARE).rpartition("/")[2].rpartition("-")[2]
    try:
        return int(name, 16) if len(name) == 16 else None
    except ValueError:
        return None
