"""An index in memory filled with data sets, without objects in storage."""

from collections.abc import Sequence
from typing import Any

import orjson

from dicomweb.index import Entry, Found, Held, Intent, Row, Tombstone, open_index
from dicomweb.standard.query import Query

Dataset = dict[str, Any]

EXPLICIT = "1.2.840.10008.1.2.1"


class Shelf:
    """An Index that takes bare data sets, and counts how many instances' metadata were read.

    Args:
        datasets: in the DICOM JSON model.
        url: of the index.
    """

    def __init__(self, *datasets: Dataset, url: str = "sqlite::memory:") -> None:
        self.index = open_index(url)
        self.read = 0
        self._last = 0
        self.add(*datasets)

    def add(self, *datasets: Dataset) -> None:
        """Store data sets, each with the next version number; a taken SOP Instance UID is a slip."""
        entries = [self._entry(dataset) for dataset in datasets]
        self.index.intend([Intent(entry.held.version, entry.held.key) for entry in entries])
        assert self.index.commit(entries) == [None] * len(entries)

    def take_away(self, study: str, version: int) -> None:
        """Delete an instance and what is known of it."""
        self._last += 1
        self.index.intend([Intent(self._last, f"tombstones/{self._last}", "tombstone")])
        gone = Tombstone(self._last, f"tombstones/{self._last}", study, None, None, (version,), 0.0)
        assert self.index.delete(gone) == 1
        self.index.collected([version])

    def search(self, query: Query) -> Found:
        return self.index.search(query)

    def lookup(self, text: str, limit: int) -> list[Row]:
        return self.index.lookup(text, limit)

    def metadata(self, versions: Sequence[int]) -> list[bytes]:
        self.read += len(versions)
        return self.index.metadata(versions)

    def close(self) -> None:
        self.index.close()

    def _entry(self, dataset: Dataset) -> Entry:
        self._last += 1
        study, series, instance, sop_class = (
            dataset[name]["Value"][0] for name in ("0020000D", "0020000E", "00080018", "00080016")
        )
        number = dataset.get("00200013", {}).get("Value", [None])[0]
        digest = self._last.to_bytes(32, "big")
        key = f"objects/{self._last}"
        held = Held(self._last, key, study, series, instance, sop_class, EXPLICIT, 0, digest, number)
        return Entry(held, dataset, orjson.dumps(dataset), b"")
