"""The grammar of UIDs (PS3.5 9.1), and how much of it old devices may break."""

import re

from dicomweb.errors import BadIdentity

LONGEST = 64

# PS3.5 9.1: components of ASCII digits, without leading zeros
_STRICT = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*", re.ASCII)
# What is harmless: digits and dots
_LENIENT = re.compile(r"[0-9.]+", re.ASCII)


def is_uid(text: str) -> bool:
    """Say whether a text is a UID to the letter (PS3.5 9.1)."""
    return len(text) <= LONGEST and _STRICT.fullmatch(text) is not None


def read_uid(text: str) -> str:
    """Read a UID that identifies an object, leniently (PS3.5 9.1).

    Leading zeros of a component are kept, as they make another UID; padding at the end goes (PS3.5 6.2). What
    is made of digits and dots can do no harm in a path or a query; nothing else passes.

    Raises:
        BadIdentity: empty, longer than 64 characters, no digit at all, or anything but digits and dots.
    """
    text = text.rstrip(" \0")
    if not text:
        raise BadIdentity("a UID is empty")
    if len(text) > LONGEST:
        raise BadIdentity(f"a UID is longer than {LONGEST} characters")
    if _LENIENT.fullmatch(text) is None or not text.strip("."):
        raise BadIdentity("a UID has other characters than digits and dots")
    return text
