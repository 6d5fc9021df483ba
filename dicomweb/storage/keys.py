"""What a key may look like, so that no back end can be led out of its root.

Keys are made by us alone; a key that breaks these rules is a fault of the caller, hence ValueError. A part
never begins with a dot: that rules out `.` and `..`, and leaves names with a dot to the back ends (unfinished
files, probes), which never show up in a listing.
"""

import re

_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}"
_KEY = re.compile(rf"{_PART}(?:/{_PART})*")
_PREFIX = re.compile(rf"(?:{_PART}/)*(?:{_PART})?")
_LONGEST = 900
"""S3 allows 1,024 bytes, of which a prefix in the URL takes its share."""


def check_key(key: str) -> str:
    """Return `key` if it is one.

    Args:
        key: parts of ASCII letters, digits, `_`, `-` and (not first) `.`, joined by slashes.

    Raises:
        ValueError: it is no key.
    """
    if len(key) > _LONGEST or not _KEY.fullmatch(key):
        raise ValueError(f"not a storage key: {key!r}")
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` if a key can begin with it; "" is the beginning of all.

    Raises:
        ValueError: no key begins with it.
    """
    if len(prefix) > _LONGEST or not _PREFIX.fullmatch(prefix):
        raise ValueError(f"not the beginning of a storage key: {prefix!r}")
    return prefix
