"""Values of a data set that say how its pixels are drawn, read leniently (PS3.3 C.7.6, C.11; PS3.18 F.2).

Descriptions of real objects have texts for numbers, missing values and wrong VRs. Nothing here raises: what cannot
be read is not there. No numpy: the web process reads descriptions, drawing processes draw.
"""

import binascii
import math
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

from dicomweb.errors import NotFound
from dicomweb.standard.leniency import Dataset, first_text

Fetch: TypeAlias = Callable[[str], bytes]
"""Gives the bytes, little endian, of the value that stands under a path such as "00282000"."""

Colour: TypeAlias = tuple[int, int, int]
"""Red, green and blue of sRGB, 0 to 255."""

_BULK = "bulkdata/"


def items(dataset: Dataset, tag: str) -> list[Dataset]:
    """Return the items of a sequence."""
    element = dataset.get(tag)
    if not element or element.get("vr") != "SQ":
        return []
    return [item for item in element.get("Value") or () if isinstance(item, dict)]


def first_item(dataset: Dataset, tag: str) -> Dataset:
    """Return the first item of a sequence, empty where there is none."""
    found = items(dataset, tag)
    return found[0] if found else {}


def values(dataset: Dataset, tag: str) -> list[Any]:
    """Return the values of an attribute as they stand."""
    element = dataset.get(tag)
    return element.get("Value") or [] if element else []


def text(dataset: Dataset, tag: str) -> str:
    """Return the first value as text, "" where there is none."""
    return first_text(dataset.get(tag)).strip()


def code(dataset: Dataset, tag: str) -> str:
    """Return the first value of a CS, upper case."""
    return text(dataset, tag).upper()


def real(value: object) -> float | None:
    """Return a number, or None where the value is none or is not finite."""
    if isinstance(value, str):
        try:
            value = float(value.strip().replace(",", "."))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def reals(dataset: Dataset, tag: str) -> list[float]:
    """Return the values that are numbers, in order."""
    return [number for value in values(dataset, tag) if (number := real(value)) is not None]


def first_real(dataset: Dataset, tag: str) -> float | None:
    """Return the first value if it is a number."""
    found = values(dataset, tag)
    return real(found[0]) if found else None


def whole(dataset: Dataset, tag: str) -> int | None:
    """Return the first value if it is a whole number."""
    number = first_real(dataset, tag)
    return int(number) if number is not None and number == int(number) else None


def binary(dataset: Dataset, tag: str, fetch: Fetch) -> bytes:
    """Return the bytes of a value, wherever they are: inline, as bulk data, or as numbers of 16 bits.

    Raises:
        Unavailable: what `fetch` says of a storage that does not answer.
    """
    element = dataset.get(tag)
    if not element:
        return b""
    if (uri := element.get("BulkDataURI")) is not None:
        try:
            return fetch(str(uri).rpartition(_BULK)[2])
        except NotFound:
            return b""
    if (inline := element.get("InlineBinary")) is not None:
        try:
            return binascii.a2b_base64(inline)
        except (binascii.Error, ValueError):
            return b""
    numbers = [int(number) & 0xFFFF for number in reals(dataset, tag)]
    return struct.pack(f"<{len(numbers)}H", *numbers)


def srgb(lab: list[float]) -> Colour | None:
    """Return the colour that three numbers of DICOM's CIELab name (PS3.3 C.10.7.1.1: L* 0 to 100, a* and b* -128
    to 127, each over 0 to 65535), or None if they are not three."""
    if len(lab) != 3:
        return None
    lightness, a, b = lab[0] / 65535 * 100, lab[1] / 65535 * 255 - 128, lab[2] / 65535 * 255 - 128
    middle = (lightness + 16) / 116
    # CIE 15, white point D50; then Bradford-adapted to the D65 of IEC 61966-2-1
    x, y, z = (
        white * (root**3 if root > 6 / 29 else (root - 4 / 29) * 3 * (6 / 29) ** 2)
        for white, root in ((0.96422, middle + a / 500), (1.0, middle), (0.82521, middle - b / 200))
    )
    linear = (
        3.1338561 * x - 1.6168667 * y - 0.4906146 * z,
        -0.9787684 * x + 1.9161415 * y + 0.0334540 * z,
        0.0719453 * x - 0.2289914 * y + 1.4052427 * z,
    )
    red, green, blue = (_gamma(part) for part in linear)
    return red, green, blue


def _gamma(linear: float) -> int:
    """IEC 61966-2-1."""
    linear = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055))
