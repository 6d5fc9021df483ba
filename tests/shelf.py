"""An index in memory that keeps what `Index.search`, `lookup` and `metadata` promise by trying everything.

Where an index answers by SQL, this one answers by the definition: `matching.satisfies`.
"""

from typing import Any

import orjson

from dicomweb.errors import BadQuery, NotFound
from dicomweb.index import COUNT_LIMIT, Entry, Found, Held, Row
from dicomweb.standard.attributes import ATTRIBUTES, LEVELS, Level
from dicomweb.standard.matching import satisfies
from dicomweb.standard.query import Query

Dataset = dict[str, Any]

_UIDS = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}


def entry(version: int, dataset: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> Entry:
    """An entry for the index, without an object in storage."""
    study, series, instance = (dataset[_UIDS[level]]["Value"][0] for level in ("study", "series", "instance"))
    digest = version.to_bytes(32, "big")
    sop_class = dataset["00080016"]["Value"][0]
    number = dataset.get("00200013", {}).get("Value", [None])[0]
    held = Held(version, f"objects/{version}", study, series, instance, sop_class, syntax, 0, digest, number)
    return Entry(held, dataset, orjson.dumps(dataset), b"")


class Shelf:
    """The reading half of an Index, and `commit`."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self.read = 0
        """How many instances' metadata were asked for."""

    def commit(self, entries: list[Entry]) -> list[None]:
        self._entries |= {one.held.version: one for one in entries}
        return [None] * len(entries)

    def take_away(self, version: int) -> None:
        """As if another process deleted the instance between a search and a reading."""
        del self._entries[version]

    def metadata(self, versions: list[int]) -> list[bytes]:
        if any(version not in self._entries for version in versions):
            raise NotFound("there is no such instance")
        self.read += len(versions)
        return [self._entries[version].metadata for version in versions]

    def search(self, query: Query) -> Found:
        rows = []
        for members in self._groups(query.level).values():
            row = self._row(query.level, members)
            if (query.study and row.study != query.study) or (query.series and row.series != query.series):
                continue
            if any(satisfies(query.keys, {**one.dataset, **row.dataset}) for one in members):
                rows.append(row)
        rows.sort(key=lambda row: (row.study, row.series, row.instance))
        if query.cursor is not None and not query.cursor.isdigit():
            raise BadQuery("the cursor is none of ours")
        start = int(query.cursor or query.offset)
        stop = start + query.limit
        more = len(rows) - stop
        return Found(rows[start:stop], min(max(more, 0), COUNT_LIMIT), str(stop) if more > 0 else None)

    def lookup(self, text: str, limit: int) -> list[Row]:
        names = {"patient": "00100020", "study": "00080050"}
        rows = []
        for level in LEVELS:
            for members in self._groups(level).values():
                row = self._row(level, members)
                tags = [tag for tag in (names.get(level), _UIDS.get(level)) if tag]
                if any(text in row.dataset.get(tag, {}).get("Value", []) for tag in tags):
                    rows.append(row)
        return rows[:limit]

    def _groups(self, level: Level) -> dict[Any, list[Entry]]:
        groups: dict[Any, list[Entry]] = {}
        for one in sorted(self._entries.values(), key=lambda one: one.held.instance):
            uid = one.held.version if level == "patient" else one.dataset[_UIDS[level]]["Value"][0]
            if level == "patient":
                uid = tuple(str(one.dataset.get(tag, {}).get("Value")) for tag in ("00100020", "00100021"))
            groups.setdefault(uid, []).append(one)
        return groups

    def _row(self, level: Level, members: list[Entry]) -> Row:
        first = members[0]
        upper = LEVELS[: LEVELS.index(level) + 1]
        held = {
            f"{one.tag:08X}": first.dataset.get(f"{one.tag:08X}", {"vr": one.vr})
            for one in ATTRIBUTES
            if one.level in upper and not one.computed
        }
        same = self._entries.values()
        study = [one for one in same if one.held.study == first.held.study]
        series = [one for one in study if one.held.series == first.held.series]
        held |= {
            "00080061": {"vr": "CS", "Value": sorted({one.dataset["00080060"]["Value"][0] for one in study})},
            "00201206": {"vr": "IS", "Value": [len({one.held.series for one in study})]},
            "00201208": {"vr": "IS", "Value": [len(study)]},
            "00201200": {"vr": "IS", "Value": [len({one.held.study for one in members})]},
        }
        if level in ("series", "instance"):
            held["00201209"] = {"vr": "IS", "Value": [len(series)]}
        if level == "instance":
            held["00083002"] = {"vr": "UI", "Value": [first.held.syntax]}
        uids = {name: getattr(first.held, name) if name in upper else "" for name in _UIDS}
        return Row(level, **uids, version=first.held.version, dataset=held)
