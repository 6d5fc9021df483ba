"""The Image Pixel Description: what the bytes of a frame mean (PS3.3 C.7.6.3, PS3.5 8).

A Format is read once from a data set and says how to read, or how to write, each of its frames. Transcoding
turns one Format into another, whose attributes describe the new bytes.
"""

import struct
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from dicomweb.standard.leniency import Dataset

Kind: TypeAlias = Literal["integer", "float", "double"]
_KINDS: tuple[Kind, ...] = get_args(Kind)

FLOAT = "7FE00008"
DOUBLE = "7FE00009"

# rows, columns, samples, planar, allocated, stored, high, signed, kind; the photometric interpretation follows
_PACKED = struct.Struct("<IIHBHHHBB")


@dataclass(frozen=True, slots=True)
class Format:
    """How the samples of a frame are written.

    Attributes:
        rows, columns: of a frame, in pixels; 0 where the data set does not say.
        samples: per pixel.
        photometric: Photometric Interpretation, upper case.
        planar: Planar Configuration: 1 is by plane; 0 with one sample.
        allocated: bits that a sample takes: 1 or a multiple of 8.
        stored: bits of it that count.
        high: the highest of those.
        signed: whether samples are two's complement.
        kind: of numbers; integer but for Float and Double Float Pixel Data.
    """

    rows: int
    columns: int
    samples: int = 1
    photometric: str = "MONOCHROME2"
    planar: int = 0
    allocated: int = 16
    stored: int = 16
    high: int = 15
    signed: bool = False
    kind: Kind = "integer"

    def to_bytes(self) -> bytes:
        """Write the format in a form of our own (PS3.3 C.7.6.3.1)."""
        head = _PACKED.pack(
            self.rows, self.columns, self.samples, self.planar, self.allocated, self.stored, self.high,
            self.signed, _KINDS.index(self.kind),
        )  # fmt: skip
        return head + self.photometric.encode("ascii", "replace")[:255]

    @classmethod
    def from_bytes(cls, data: bytes) -> "Format":
        """Read what `to_bytes` wrote (PS3.3 C.7.6.3.1).

        Raises:
            struct.error, IndexError: it is something else.
        """
        rows, columns, samples, planar, allocated, stored, high, signed, kind = _PACKED.unpack_from(data)
        photometric = data[_PACKED.size :].decode("ascii")
        return cls(rows, columns, samples, photometric, planar, allocated, stored, high, bool(signed), _KINDS[kind])

    @property
    def frame_bits(self) -> int:
        """Bits of one frame in native form (PS3.5 8.1.1, 8.2.12); YBR_FULL_422 has two samples a pixel."""
        samples = 2 if self.photometric == "YBR_FULL_422" and self.samples == 3 else self.samples
        return self.rows * self.columns * samples * self.allocated

    def attributes(self) -> dict[str, dict[str, Any]]:
        """Return the Image Pixel Description as DICOM JSON model (PS3.3 C.7.6.3.1); floating point samples have
        no Bits Stored, High Bit nor Pixel Representation (D-146)."""
        described = {
            "00280002": self.samples,
            "00280010": self.rows,
            "00280011": self.columns,
            "00280100": self.allocated,
        }
        if self.samples > 1:
            described["00280006"] = self.planar
        if self.kind == "integer":
            described |= {"00280101": self.stored, "00280102": self.high, "00280103": int(self.signed)}
        elements: dict[str, dict[str, Any]] = {tag: {"vr": "US", "Value": [value]} for tag, value in described.items()}
        elements["00280004"] = {"vr": "CS", "Value": [self.photometric]}
        return elements


def read_format(dataset: Dataset, pixels: str) -> Format:
    """Read the Image Pixel Description of a data set, leniently (PS3.3 C.7.6.3.1).

    Args:
        dataset: DICOM JSON model.
        pixels: path of the pixel element: "7FE00010", "7FE00008" or "7FE00009".
    """
    allocated = {FLOAT: 32, DOUBLE: 64}.get(pixels) or min(number(dataset, "00280100", 16), 0xFFFF)
    stored = number(dataset, "00280101", allocated)
    stored = stored if 0 < stored <= allocated else allocated
    samples = min(number(dataset, "00280002", 1) or 1, 0xFFFF)
    photometric = (dataset.get("00280004", {}).get("Value") or [""])[0]
    return Format(
        rows=number(dataset, "00280010", 0),
        columns=number(dataset, "00280011", 0),
        samples=samples,
        photometric=(photometric if isinstance(photometric, str) else "").strip().upper()
        or ("RGB" if samples == 3 else "MONOCHROME2"),
        planar=number(dataset, "00280006", 0) & 1 if samples > 1 else 0,
        allocated=allocated,
        stored=stored,
        high=min(number(dataset, "00280102", stored - 1), 0xFFFF),
        signed=bool(number(dataset, "00280103", 0) & 1),
        kind={FLOAT: "float", DOUBLE: "double"}.get(pixels, "integer"),  # type: ignore[arg-type]
    )


def number(dataset: Dataset, tag: str, default: int) -> int:
    """Return the first value of an attribute (PS3.18 F.2.2) if it is a whole number that is not negative."""
    values = dataset.get(tag, {}).get("Value") or [default]
    return values[0] if isinstance(values[0], int) and 0 <= values[0] <= 0xFFFFFFFF else default
