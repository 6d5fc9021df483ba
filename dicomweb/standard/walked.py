"""What a walk over the elements of a data set is allowed, and what it finds (PS3.5 7, PS3.18 F)."""

from array import array
from dataclasses import dataclass
from typing import NamedTuple

from dicomweb.standard.frames import Bulk
from dicomweb.standard.leniency import Dataset


@dataclass(frozen=True, slots=True)
class Limits:
    """What one object may hold.

    Attributes:
        depth: sequences inside of each other.
        elements: elements of all data sets and items together.
        attributes: elements of one data set or item.
        items: items of one sequence, or fragments of pixel data.
        inline: largest binary value in bytes that is written into the model.
        inflate: largest size in bytes of an inflated data set.
        inflate_ratio: how many times larger than before it may be, beyond the first megabytes.
    """

    depth: int = 64
    elements: int = 20_000_000
    attributes: int = 65_536
    items: int = 1_000_000
    inline: int = 1024
    inflate: int = 1 << 30
    inflate_ratio: int = 200


class Pixels(NamedTuple):
    """The pixel element of the top level.

    Attributes:
        path: "7FE00010", "7FE00008" or "7FE00009".
        vr: as written, or as the data dictionary has it.
        start: where the value begins.
        stop: where it ends, no further than the data set.
        length: as declared; one more than there is, where the last padding byte is missing.
        items: of encapsulated pixels, where the value of each item begins (the first is the Basic Offset
            Table), and behind the last one where the value of the next would begin; else None.
    """

    path: str
    vr: str
    start: int
    stop: int
    length: int
    items: "array[int] | None" = None


class Walked(NamedTuple):
    """A data set.

    Attributes:
        dataset: DICOM JSON model, tags ascending, BulkDataURIs relative to the instance ("bulkdata/...").
        bulk: where these values lie, by what follows "bulkdata/".
        pixels: the pixel element, or None.
        warnings: a sentence for each kind of fault that was overlooked.
        end: where the data set ended, trailing padding not counted.
    """

    dataset: Dataset
    bulk: dict[str, Bulk]
    pixels: Pixels | None
    warnings: list[str]
    end: int
