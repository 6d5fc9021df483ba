"""An index filled through its own code: entries as a store makes them, from a few parsed objects, so that making them
costs little beside indexing them."""

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from benchmarks import data
from dicomweb.archive.versions import new_version, object_key
from dicomweb.index import Entry, Held, Index, Intent
from dicomweb.standard import dicomjson, part10
from dicomweb.standard.elements import Limits

FAMILIES, GIVEN = 5_000, 300
MODALITIES = ("CT", "MR", "CT", "CR", "US")
_SYLLABLES = (
    *("ka", "lo", "mi", "ner", "sti", "bau", "er", "schmi", "wel", "ton"),
    *("rod", "gue", "zan", "pet", "ro", "va", "lin", "dar", "nguy", "ho"),
)
_FIRST_DAY, _DAYS = date(2010, 1, 1), 15 * 365
_SIZE = 525_000
_MARK = re.compile(rb"@([a-z]+)@")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a study is made of."""

    series: int = 2
    instances: int = 50

    @property
    def study(self) -> int:
        """Instances of a study."""
        return self.series * self.instances


CT = Shape()
"""As a scanner makes them: two series of 50 instances."""
SMALL = Shape(1, 1)
"""As many studies as possible, for searches among studies."""


def scattered(number: int) -> int:
    """Return a number below 2 to the 32 that looks drawn, and is another for each number below that."""
    number = (number * 0x9E3779B1) & 0xFFFFFFFF
    number ^= number >> 15
    return (number * 0x85EBCA77) & 0xFFFFFFFF


def uid_of(study: int) -> str:
    """Return the UID of a study. They come in no order, as those of several scanners do."""
    return f"{data.ROOT}.{scattered(study) % 16}.{scattered(study):010d}.{study}"


def name_of(study: int) -> tuple[str, str]:
    """Return the family and given name of a study's patient, made of syllables; each patient has two studies."""
    patient = study // 2
    return _word(scattered(patient) % FAMILIES, 3), _word(scattered(patient + 1) % GIVEN, 2)


def _word(number: int, syllables: int) -> str:
    found = ""
    for _ in range(syllables):
        number, place = divmod(number, len(_SYLLABLES))
        found += _SYLLABLES[place]
    return found.capitalize()


def day_of(study: int) -> str:
    """Return the date of a study: any of fifteen years."""
    return f"{_FIRST_DAY + timedelta(days=scattered(study + 7) % _DAYS):%Y%m%d}"


def values_of(study: int, series: int) -> dict[str, str]:
    """Return what differs from series to series."""
    family, given = name_of(study)
    patient, uid = study // 2, uid_of(study)
    return {
        "study": uid,
        "series": f"{uid}.{series}",
        "day": day_of(study),
        "accession": f"A{study:09d}",
        "modality": MODALITIES[scattered(study) % len(MODALITIES)],
        "name": f"{family}^{given}",
        "patient": f"PID{patient:08d}",
        "description": f"CHEST {scattered(study) % 40}",
        "referrer": f"Referrer^Nr{scattered(study) % 400}",
    }


_MARKED = {
    "0020000D": ("UI", "study"),
    "0020000E": ("UI", "series"),
    "00080018": ("UI", "instance"),
    "00080020": ("DA", "day"),
    "00080050": ("SH", "accession"),
    "00080060": ("CS", "modality"),
    "00100010": ("PN", "name"),
    "00100020": ("LO", "patient"),
    "00081030": ("LO", "description"),
    "00080090": ("PN", "referrer"),
}


def _element(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [{"Alphabetic": value} if vr == "PN" else value]}


class Maker:
    """Makes entries of a shape."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._last = 0
        self._templates = [self._template(number) for number in range(1, shape.instances + 1)]

    @staticmethod
    def _template(number: int) -> tuple[dict[str, Any], list[bytes], bytes]:
        """The data set of an instance, its metadata cut at what differs from study to study, and its layout."""
        parsed = part10.read_object(data.part10(data.image(data.header(1, 1, number), 1, 512, 512)), Limits())
        dataset = dict(parsed.dataset)
        for tag, (vr, name) in _MARKED.items():
            dataset[tag] = _element(vr, f"@{name}@")
        return dataset, _MARK.split(dicomjson.write(dataset, ordered=True)), parsed.layout.to_bytes()

    def series(self, number: int) -> list[Entry]:
        """Make the instances of a series, counted over all studies."""
        study, place = divmod(number, self.shape.series)
        values = values_of(study, place + 1)
        return [
            self.entry(at, {**values, "instance": f"{values['series']}.{at}"})
            for at in range(1, self.shape.instances + 1)
        ]

    def entry(self, at: int, values: Mapping[str, str]) -> Entry:
        """Make the instance of this number in its series, with these values of what differs."""
        dataset, pieces, layout = self._templates[at - 1]
        own = {**dataset, **{tag: _element(vr, values[name]) for tag, (vr, name) in _MARKED.items()}}
        encoded = {name: value.encode() for name, value in values.items()}
        text = b"".join(encoded[piece.decode()] if odd % 2 else piece for odd, piece in enumerate(pieces))
        digest = hashlib.sha256(text).digest()
        # So many are made in a millisecond that two might draw the same one
        self._last = version = max(new_version(), self._last + 1)
        held = Held(
            version=version,
            key=object_key(digest, version),
            study=values["study"],
            series=values["series"],
            instance=values["instance"],
            sop_class=data.CT,
            syntax="1.2.840.10008.1.2.1",
            size=_SIZE,
            digest=digest,
            number=at,
        )
        return Entry(held, own, text, layout)


@dataclass(frozen=True, slots=True)
class Stretch:
    """What some instances took to index.

    Attributes:
        instances: there were after it.
        per_second: instances a second, while the index worked.
        cpu_ms: CPU milliseconds for each instance, of us and of the database.
    """

    instances: int
    per_second: float
    cpu_ms: float


def fill(
    index: Index,
    maker: Maker,
    target: int,
    database: Callable[[], float] = lambda: 0.0,
    *,
    stretch: int = 50_000,
    batch: int = 50,
    first: int = 0,
) -> Iterator[Stretch]:
    """Bring an index to so many instances, from where it is, and tell what each stretch took.

    Args:
        index: empty, or filled by this function with studies of the same shape.
        maker: of what comes into it.
        target: instances in the end.
        database: CPU seconds of the database's processes so far, if it has any.
        stretch: instances between two reports.
        batch: instances that are committed together, as in a Store request.
        first: number of the first series, where others than this function fill the index, too.
    """
    shape = maker.shape
    counts = index.counts()
    there, series = counts.instances, first + counts.series
    together = max(1, batch // shape.instances)
    counted, seconds, spent, before = 0, 0.0, 0.0, database()
    while there < target:
        entries = [entry for each in range(series, series + together) for entry in maker.series(each)]
        clock, used = time.perf_counter(), time.process_time()
        commit(index, entries)
        seconds += time.perf_counter() - clock
        spent += time.process_time() - used
        series += together
        there += len(entries)
        counted += len(entries)
        if there // stretch != (there - len(entries)) // stretch or there >= target:
            spent += database() - before
            yield Stretch(there, round(counted / seconds, 1), round(spent * 1000 / counted, 4))
            counted, seconds, spent, before = 0, 0.0, 0.0, database()


def commit(index: Index, entries: Sequence[Entry]) -> None:
    """Index entries as the archive does: announced first, made visible after their bytes are safe."""
    index.intend([Intent(entry.held.version, entry.held.key) for entry in entries])
    if any(index.commit(entries)):
        raise SystemExit("an entry of the benchmark was there already")
