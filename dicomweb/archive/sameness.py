"""Whether two objects with one SOP Instance UID say the same.

Equal bytes are the same object. Otherwise the data sets are compared as DICOM JSON models and bulk values,
without File Meta group and trailing padding, whatever byte order or VR encoding each is written in: an object
that comes back through a bridge carries another File Meta group and is still the same (PS3.10 7.1).
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from dicomweb.archive.entries import EntryReader
from dicomweb.archive.spool import Spool, Upload
from dicomweb.errors import BadObject
from dicomweb.index import Held
from dicomweb.standard import part10, syntaxes
from dicomweb.standard.frames import Bulk
from dicomweb.standard.headers import Buffer
from dicomweb.standard.values import swapped
from dicomweb.storage import Storage

_PIECE = 1 << 20


class Comparison:
    """Compares an upload with what is stored under its SOP Instance UID."""

    def __init__(self, storage: Storage, spool: Spool, reader: EntryReader) -> None:
        self._storage = storage
        self._spool = spool
        self._reader = reader

    def same(self, upload: Upload, parsed: part10.Part10, held: Held) -> bool:
        """Say whether the stored object and the upload are the same data set.

        Raises:
            NotFound, Unavailable: the stored object cannot be read.
        """
        if held.digest == upload.sha256:
            return True
        if parsed.syntax.uid != held.syntax and (
            parsed.syntax.encapsulated or syntaxes.syntax_of(held.syntax).encapsulated
        ):
            return False
        if (parsed.study, parsed.series) != (held.study, held.series):
            return False
        with self.stored(held) as other:
            try:
                with self._reader.open(other) as theirs, self._reader.open(upload) as ours:
                    return _equal(theirs, ours)
            except BadObject:
                return False

    @contextlib.contextmanager
    def stored(self, held: Held) -> Iterator[Upload]:
        """Bring a stored object within reach as a buffer, in memory or spooled."""
        upload = self._spool.take(self._storage.stream(held.key))
        try:
            yield upload
        finally:
            upload.discard()


def _equal(one: part10.Part10, other: part10.Part10) -> bool:
    if _comparable(one.dataset) != _comparable(other.dataset) or one.layout.bulk.keys() != other.layout.bulk.keys():
        return False
    return all(
        _same_value(one.data, bulk, other.data, other.layout.bulk[path]) for path, bulk in one.layout.bulk.items()
    )


def _comparable(dataset: dict[str, Any]) -> dict[str, Any]:
    """The model without the VR of binary values, at all levels: OB and OW name the same bytes in different
    encodings."""
    return {tag: _comparable_element(element) for tag, element in dataset.items()}


def _comparable_element(element: dict[str, Any]) -> dict[str, Any]:
    if "BulkDataURI" in element or "InlineBinary" in element:
        return {**element, "vr": ""}
    if element["vr"] == "SQ" and "Value" in element:
        return {"vr": "SQ", "Value": [_comparable(item) for item in element["Value"]]}
    return element


def _same_value(one: Buffer, first: Bulk, other: Buffer, second: Bulk) -> bool:
    size = first.stop - first.start
    if size != second.stop - second.start:
        return False
    for offset in range(0, size, _PIECE):
        stop = min(offset + _PIECE, size)
        left = swapped(bytes(one[first.start + offset : first.start + stop]), first.swap)
        right = swapped(bytes(other[second.start + offset : second.start + stop]), second.swap)
        if left != right:
            return False
    return True
