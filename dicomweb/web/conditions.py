"""What the client holds already, and which piece it wants: conditional and range requests (RFC 9110 13, 14;
PS3.18 8.6.1.1, 8.5)."""

import re

from dicomweb.errors import BadRange

_TAGS = re.compile(r'(?:W/)?("[^"]*")')
_RANGE = re.compile(r"\s*bytes\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})\s*", re.IGNORECASE)


def unchanged(if_none_match: str | None, etag: str) -> bool:
    """Say whether the client holds the representation that `etag` (quoted) names (RFC 9110 13.1.2)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in _TAGS.findall(if_none_match)


def read_range(header: str | None, if_range: str | None, etag: str, size: int) -> tuple[int, int] | None:
    """Read a Range header (RFC 9110 14.2).

    Several ranges in one request, other units, and what is not well formed are passed over, which is always
    legal; so is a Range whose If-Range names another representation (a date never names ours).

    Args:
        header: value of Range, or None.
        if_range: value of If-Range, or None.
        etag: of the representation, quoted and strong.
        size: of the representation, in bytes.

    Returns:
        The bytes to send, [start, stop), or None for all of them.

    Raises:
        BadRange: no byte of the representation lies in the range.
    """
    match = _RANGE.fullmatch(header) if header else None
    if match is None or (if_range is not None and if_range.strip() != etag):
        return None
    first, last = match[1], match[2]
    if not first and not last:
        return None
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), size if not last else min(int(last) + 1, size)
        if last and int(last) < start:
            return None
    if start >= stop:
        raise BadRange(f"the range lies outside of the {size:,} bytes that there are", size)
    return start, stop
