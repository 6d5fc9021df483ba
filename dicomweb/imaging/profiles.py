"""ICC profiles: those of well-known colour spaces, and pictures brought into one (ICC.1:2001-04; PS3.18 8.3.5.1.5).

The profiles are written here, byte for byte the same each time, so that equal requests have equal answers.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from dicomweb.standard.rendering import Space

# Primaries adapted to D50 (columns X, Y, Z of red, green and blue), and the exponent of the curve; None is that of
# IEC 61966-2-1. ISO 22028-2 for ROMM RGB, Adobe RGB (1998) 4.3.
_SPACES: dict[str, tuple[str, Sequence[tuple[float, float, float]], float | None]] = {
    "srgb": (
        "sRGB",
        ((0.4360747, 0.2225045, 0.0139322), (0.3850649, 0.7168786, 0.0971045), (0.1430804, 0.0606169, 0.7141733)),
        None,
    ),
    "adobergb": (
        "Adobe RGB (1998) compatible",
        ((0.6097559, 0.3111242, 0.0194811), (0.2052401, 0.6256560, 0.0608902), (0.1492240, 0.0632197, 0.7448387)),
        563 / 256,
    ),
    "rommrgb": (
        "ROMM RGB",
        ((0.7976749, 0.2880402, 0.0), (0.1351917, 0.7118741, 0.0), (0.0313534, 0.0000857, 0.8252100)),
        1.8,
    ),
}
_WHITE = (0.9642, 1.0, 0.8249)
_MARKER = b"ICC_PROFILE\0"


@lru_cache
def profile_of(space: Space) -> bytes:
    """Return the profile of a named space: srgb, adobergb or rommrgb."""
    name, primaries, exponent = _SPACES[space]
    curve = _curve(exponent)
    tags = [(f"{letter}XYZ".encode(), _xyz(one)) for letter, one in zip("rgb", primaries, strict=True)]
    tags += [(f"{letter}TRC".encode(), curve) for letter in "rgb"]
    return _profile(b"RGB ", name, tags)


@lru_cache
def gray_profile() -> bytes:
    """Return the profile of grays whose curve is that of sRGB."""
    return _profile(b"GRAY", "Gray with the curve of sRGB", [(b"kTRC", _curve(None))])


def is_colour(profile: bytes) -> bool:
    """Say whether these bytes can be the profile of a picture in red, green and blue (ICC.1:2001-04 6.1)."""
    whole = len(profile) >= 132 and int.from_bytes(profile[:4], "big") <= len(profile) + 3
    return whole and profile[16:20] == b"RGB " and profile[36:40] == b"acsp"


def converted(picture: NDArray[Any], profile: bytes, space: Space) -> NDArray[Any]:
    """Bring a picture into a named space.

    Args:
        picture: (rows, columns, 3), uint8 or uint16.
        profile: of it; one that cannot be used counts as sRGB.
        space: srgb, adobergb or rommrgb.
    """
    for source in (profile, profile_of("srgb")):
        if not is_colour(source):
            continue
        if source == profile_of(space):
            return picture
        try:
            return np.asarray(
                imagecodecs.cms_transform(
                    np.ascontiguousarray(picture), source, profile_of(space), colorspace="rgb", outcolorspace="rgb"
                )
            )
        except (imagecodecs.CmsError, ValueError):
            continue
    return picture


def embedded(codestream: bytes) -> bytes:
    """Return the profile inside of a JPEG codestream (ICC.1:2001-04 B.4), b"" where there is none."""
    if not codestream.startswith(b"\xff\xd8"):
        return b""
    pieces: dict[int, bytes] = {}
    place = 2
    while place + 4 <= len(codestream) and codestream[place] == 0xFF and codestream[place + 1] != 0xDA:
        length = int.from_bytes(codestream[place + 2 : place + 4], "big")
        if codestream[place + 1] == 0xE2 and codestream.startswith(_MARKER, place + 4):
            pieces[codestream[place + 16]] = codestream[place + 18 : place + 2 + length]
        place += 2 + length
    return b"".join(pieces[number] for number in sorted(pieces))


def in_jpeg(codestream: bytes, profile: bytes) -> bytes:
    """Put a profile into a JPEG picture, behind its first marker (ICC.1:2001-04 B.4)."""
    size = 65_519
    pieces = [profile[start : start + size] for start in range(0, len(profile), size)]
    segments = b"".join(
        struct.pack(">HH12sBB", 0xFFE2, len(piece) + 16, _MARKER, number, len(pieces)) + piece
        for number, piece in enumerate(pieces, 1)
    )
    # APP0 of JFIF comes first where it is there
    start = 2
    if codestream[2:4] == b"\xff\xe0":
        start += 2 + int.from_bytes(codestream[4:6], "big")
    return codestream[:start] + segments + codestream[start:]


def _profile(space: bytes, name: str, tags: list[tuple[bytes, bytes]]) -> bytes:
    """ICC.1:2001-04 6.1 to 6.3: header, table of tags, their values, each at a multiple of four bytes."""
    plain = name.encode("ascii") + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(plain)) + plain + bytes(4 + 4 + 2 + 1 + 67)
    tags = [
        (b"desc", description), (b"cprt", b"text\0\0\0\0No copyright, use freely\0"), (b"wtpt", _xyz(_WHITE)), *tags
    ]  # fmt: skip
    place = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    placed: dict[bytes, int] = {}
    for signature, value in tags:
        if value not in placed:
            placed[value] = place + len(body)
            body += value + bytes(-len(value) % 4)
        table += signature + struct.pack(">II", placed[value], len(value))
    header = struct.pack(">I4sI4s4s4s", place + len(body), b"\0\0\0\0", 0x02100000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    header += struct.pack(">3i", *(round(part * 65536) for part in _WHITE)) + bytes(48)
    return header + table + body


def _xyz(parts: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(part * 65536) for part in parts))


def _curve(exponent: float | None) -> bytes:
    """ICC.1:2001-04 6.5.3: one exponent, or 1,024 entries of the curve of IEC 61966-2-1."""
    if exponent is not None:
        return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256)) + bytes(2)
    steps = [step / 1023 for step in range(1024)]
    linear = [step / 12.92 if step <= 0.04045 else ((step + 0.055) / 1.055) ** 2.4 for step in steps]
    return b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *(round(part * 65535) for part in linear))
