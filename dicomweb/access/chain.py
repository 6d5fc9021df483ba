"""Lines of an audit trail, each with the hash of the one before it, so that one that is changed, added or taken out
shows.

A line is a JSON object whose last two members are `prev`, the hash of the line before ("" at the beginning), and
`hash`, SHA-256 of the line up to there. A chain goes through the files of one process, whose names end in a number, and
ends with the event `end`. What was cut off at the end of a chain whose process did not end it, a chain that is away as
a whole, and lines that were written anew with all hashes after them, nobody can tell; whoever fears that keeps a copy
elsewhere as it is written.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

FORM = re.compile(r"(audit-[A-Za-z0-9_.-]+)-([0-9]{6})\.jsonl")
"""Names of files: chain and number."""

BEGIN, END = "begin", "end"
_TAIL = re.compile(rb',"hash":"([0-9a-f]{64})"\}\n')
_TAIL_LENGTH = len(b',"hash":""}\n') + 64


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a trail: in which file, at which line (0: all of it), and what."""

    file: str
    line: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a file came to.

    Attributes:
        lines: that are good.
        last: hash of the last one.
        event: of the last one.
    """

    lines: int
    last: str
    event: str


def write(record: Mapping[str, Any], number: int, previous: str) -> tuple[bytes, str]:
    """Write a line.

    Args:
        record: what it says.
        number: how many lines of the chain come before.
        previous: hash of the line before, "" for none.

    Returns:
        The line, and its hash.
    """
    body = orjson.dumps({"number": number, **record, "prev": previous})[:-1]
    digest = hashlib.sha256(body).hexdigest()
    return body + b',"hash":"' + digest.encode() + b'"}\n', digest


def read(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None if it is not as it was written."""
    tail = _TAIL.fullmatch(line[-_TAIL_LENGTH:])
    body = line[:-_TAIL_LENGTH]
    if tail is None or hashlib.sha256(body).hexdigest().encode() != tail[1]:
        return None
    try:
        found: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found.get("number"), int) and isinstance(found.get("prev"), str) else None


def check(name: str, lines: Iterable[bytes], before: Checked | None, findings: list[Finding]) -> Checked:
    """Check the lines of a file.

    Args:
        name: of the file, for findings.
        lines: with their ends.
        before: what the file before it came to; None where it is the first of its chain.
        findings: is added to.

    Returns:
        What it came to, good or not.
    """
    previous = before.last if before else ""
    number = before.lines if before else 0
    event = ""
    for place, line in enumerate(lines, 1):
        record = read(line)
        if record is None:
            findings.append(Finding(name, place, "the line is not as it was written"))
            previous, number = _hash_of(line) or previous, number + 1
            continue
        if record["number"] != number or record["prev"] != previous:
            missing = record["number"] - number
            what = (
                f"{missing:,} lines before it are missing" if missing > 0 else "it does not follow the line before it"
            )
            findings.append(Finding(name, place, what))
        previous, number, event = record["hash"], record["number"] + 1, str(record.get("event", ""))
    return Checked(number, previous, event)


def _hash_of(line: bytes) -> str | None:
    tail = _TAIL.fullmatch(line[-_TAIL_LENGTH:])
    return tail[1].decode() if tail else None


def chains(names: Iterable[str]) -> Iterator[tuple[str, Sequence[tuple[int, str]]]]:
    """Yield each chain with the numbers and names of its files, in order; names of other forms are passed over."""
    found: dict[str, list[tuple[int, str]]] = {}
    for name in sorted(names):
        if (match := FORM.fullmatch(name)) is not None:
            found.setdefault(match[1], []).append((int(match[2]), name))
    yield from found.items()
