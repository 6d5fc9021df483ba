"""Small pictures of every kind, made when asked for."""

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomweb.imaging import native
from dicomweb.standard.pixels import Format


def picture(format: Format, seed: int = 0) -> NDArray[Any]:
    """Numbers as `native.read` gives them: waves with noise, and both ends of the range of Bits Stored."""
    rng = np.random.default_rng(seed)
    shape = (format.rows, format.columns) + ((format.samples,) if format.samples > 1 else ())
    kind = native.dtype_of(format)
    if format.kind != "integer":
        return rng.normal(0, 1e3, shape).astype(kind)
    low = -(1 << (format.stored - 1)) if format.signed else 0
    high = low + (1 << format.stored) - 1
    down, across = np.mgrid[: format.rows, : format.columns]
    waves = (np.sin(across / 7) + np.cos(down / 5)) / 5 + 0.5
    if format.samples > 1:
        waves = np.stack([np.roll(waves, 3 * sample, axis=0) for sample in range(format.samples)], axis=-1)
    values = low + waves * (high - low) + rng.normal(0, 1 + (high - low) / 100, shape)
    array = np.clip(np.rint(values), low, high).astype(kind)
    array.flat[0], array.flat[-1] = low, high
    if format.photometric == "YBR_FULL_422":
        array[:, 1::2, 1:] = array[:, 0::2, 1:]
    return array


def described(
    stored: int, *, allocated: int | None = None, signed: bool = False, photometric: str = "MONOCHROME2",
    planar: int = 0, rows: int = 37, columns: int = 42,
) -> Format:  # fmt: skip
    """A Format of so many bits; three samples where the colour space has them."""
    samples = 1 if photometric.startswith(("MONOCHROME", "PALETTE")) else 3
    allocated = allocated or next(width for width in (1, 8, 16, 32, 64) if width >= stored)
    return Format(rows, columns, samples, photometric, planar, allocated, stored, stored - 1, signed)


GREY = [described(bits, signed=signed) for bits, signed in product((2, 7, 8, 9, 10, 12, 15, 16), (False, True))]
NARROW = [described(bits, allocated=16, signed=signed) for bits, signed in product((8, 5), (False, True))]
WIDE = [described(bits, signed=signed) for bits, signed in product((17, 24, 32), (False, True))]
OTHER = [
    described(1),
    described(12, photometric="MONOCHROME1"),
    described(8, photometric="PALETTE COLOR"),
    described(16, photometric="PALETTE COLOR"),
    described(64),
]
COLOUR = [
    described(bits, photometric=photometric, planar=planar)
    for bits, photometric, planar in product((8, 12, 16), ("RGB", "YBR_FULL"), (0, 1))
]
HALVED = [described(8, photometric="YBR_FULL_422"), described(16, photometric="YBR_FULL_422")]
FLOATS = [
    Format(37, 42, allocated=32, stored=32, high=31, kind="float"),
    Format(37, 42, allocated=64, stored=64, high=63, kind="double"),
]
EVERY = [*GREY, *NARROW, *WIDE, *OTHER, *COLOUR, *HALVED, *FLOATS]


def name_of(format: Format) -> str:
    return (
        f"{format.photometric.replace(' ', '_')}-{format.stored}of{format.allocated}{'s' if format.signed else 'u'}"
        f"{'-planar' if format.planar else ''}{'' if format.kind == 'integer' else format.kind}"
    )
