"""From an object's bytes to what the index is told of it; the same for a store and for a rebuild, so that
both give the same answers."""

import contextlib
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice

from dicomweb.archive.spool import Spool, Upload
from dicomweb.archive.versions import new_version, object_key
from dicomweb.index import Entry, Held
from dicomweb.standard import dicomjson, part10
from dicomweb.standard.elements import Limits
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.syntaxes import Syntax, sent_as

AVAILABLE = "00083002"
"""Available Transfer Syntax UID."""


class EntryReader:
    """Reads uploads.

    Args:
        spool: where a deflated data set is inflated to.
        limits: what an object may contain.
        checked: compute checksums of frames and bulk values.
    """

    def __init__(self, spool: Spool, limits: Limits, checked: bool) -> None:
        self._spool = spool
        self._limits = limits
        self._checked = checked

    @contextlib.contextmanager
    def open(self, upload: Upload) -> Iterator[part10.Part10]:
        """Read identity, metadata and layout of an object (PS3.10 7.1); its `data` are good inside the block.

        Raises:
            BadObject: it cannot be understood, or is above the limits.
        """
        with self._spool.scratches() as make, upload.open() as buffer:
            parsed = part10.read_object(buffer, self._limits, make)
            try:
                yield parsed
            finally:
                parsed.data = b""

    def parse(self, upload: Upload) -> part10.Part10:
        """As `open`, without the data, and with checksums if they are wanted.

        Raises:
            BadObject: as `open`.
        """
        with self.open(upload) as parsed:
            if self._checked:
                parsed.layout = parsed.layout.checked(parsed.data)
            return parsed

    def entry(self, upload: Upload, parsed: part10.Part10, version: int | None = None) -> Entry:
        """Make the index entry of a parsed object, under a new version or the one that its key names."""
        version = new_version() if version is None else version
        held = Held(
            version=version,
            key=object_key(upload.sha256, version, bare=not _is_file(upload, parsed)),
            study=parsed.study,
            series=parsed.series,
            instance=parsed.instance,
            sop_class=parsed.sop_class,
            syntax=parsed.syntax.uid,
            size=upload.size,
            digest=upload.sha256,
            number=dicomjson.integer(parsed.dataset.get("00200013")),
        )
        metadata = dicomjson.write(with_syntax(parsed.dataset, parsed.syntax), ordered=True)
        return Entry(held, parsed.dataset, metadata, parsed.layout.to_bytes())


def _is_file(upload: Upload, parsed: part10.Part10) -> bool:
    """Say whether an object begins as a file must: preamble, prefix, File Meta group (PS3.10 7.1)."""
    with upload.open() as buffer:
        return bool(parsed.meta) and bytes(buffer[128:132]) == b"DICM"


def with_syntax(dataset: Dataset, syntax: Syntax) -> Dataset:
    """Return the data set with Available Transfer Syntax UID (0008,3002), which metadata name in place of group
    0002: by it viewers know a video (PS3.18 10.4.1.1.2). Of encodings that are not legal on the web it is the
    one that they are sent in.

    Args:
        dataset: tags ascending; left as it is.
        syntax: what it is stored in.
    """
    before = bisect_left(list(dataset), AVAILABLE)
    items = iter(dataset.items())
    named = dict(islice(items, before))
    named[AVAILABLE] = {}  # its place
    named.update(items)
    named[AVAILABLE] = {"vr": "UI", "Value": [sent_as(syntax.uid)]}
    return named
