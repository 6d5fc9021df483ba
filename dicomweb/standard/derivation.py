"""What changes in a data set whose pixels go out in another transfer syntax (PS3.5 8.2, PS3.3 C.7.6.1.1.5, C.7.6.3).

The Image Pixel Description says what the new bytes are, tables of offsets are gone, lossy compression leaves its
marks for ever. An image that has lost something on its way is another image: it is DERIVED, has a SOP Instance UID
of its own, and names its source. That UID is made of what decides about the pixels, so that the same request gives
the same image on every server.
"""

from base64 import b64encode
from hashlib import sha256
from typing import Any

from dicomweb.standard import encode
from dicomweb.standard.leniency import Dataset, Element
from dicomweb.standard.pixels import Format, number
from dicomweb.standard.syntaxes import syntax_of

# Extended Offset Table, its lengths, Encapsulated Pixel Data Value Total Length (PS3.3 C.7.6.3.1.8)
_TABLES = ("7FE00001", "7FE00002", "7FE00003")

# Shared and Per-Frame Functional Groups Sequence (PS3.3 C.7.6.16)
_SHARED, _PER_FRAME = "52009229", "52009230"

_FRAME_TYPE = "00089007"

FIRSTS = {int(_FRAME_TYPE, 16): b"DERIVED"}
"""What becomes the first value of Frame Type in the functional groups of an image that has lost something, as it does
in Image Type (PS3.3 C.8.16.1.1)."""

# Repeating groups of overlays (PS3.5 7.6)
_OVERLAYS = tuple(f"{group:04X}" for group in range(0x6000, 0x6020, 2))

_LONGEST_TEXT = 1024  # characters of ST (PS3.5 6.2)

# Lossy Image Compression Method, PS3.3 C.7.6.1.1.5.1
_METHODS = {
    "image/jpeg": "ISO_10918_1",
    "image/jls": "ISO_14495_1",
    "image/jp2": "ISO_15444_1",
    "image/jpx": "ISO_15444_1",
    "image/jphc": "ISO_15444_15",
    "image/jxl": "ISO_18181_1",
}


def derived_uid(digest: bytes, wanted: str) -> str:
    """Return the SOP Instance UID of what is made of an object with loss (PS3.5 9.1 and B.2: below 2.25).

    Args:
        digest: of the object's bytes.
        wanted: transfer syntax that it is made into.
    """
    made = bytearray(sha256(b"derived " + wanted.encode() + b" " + digest).digest()[:16])
    made[6] = made[6] & 0x0F | 0x80  # RFC 9562 5.8: a UUID of version 8
    made[8] = made[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(made, 'big')}"


def changes(
    dataset: Dataset, stored: str, wanted: str, made: Format, loses: bool, uid: str, ratio: float
) -> dict[str, Element | None]:
    """Say what changes besides the pixels themselves (PS3.3 C.7.6.1.1.5, PS3.18 W-240).

    Args:
        dataset: the instance's metadata, DICOM JSON model.
        stored, wanted: transfer syntaxes.
        made: what the new frames are.
        loses: whether something is lost on the way.
        uid: SOP Instance UID of what comes out.
        ratio: of the sizes of a frame before and after, where something is lost.

    Returns:
        By tag, the element that stands there instead, or None where there is none any more.
    """
    changed: dict[str, Element | None] = dict(made.attributes())
    changed |= {tag: None for tag in ("00280006", "00280101", "00280102", "00280103") if tag not in changed}
    changed |= dict.fromkeys(_TABLES)
    if syntax_of(stored).lossy is True and not dataset.get("00282110", {}).get("Value"):
        changed["00282110"] = _element("CS", "01")
    if loses:
        changed |= _lossy(dataset, wanted, uid, ratio)
    return changed


def embedded_overlays(dataset: Dataset) -> dict[str, int]:
    """Return the overlays that old objects keep in bits of their samples: group and bit (PS3.5 8.1.2, retired)."""
    return {
        group: bit
        for group in _OVERLAYS
        if f"{group}3000" not in dataset and (bit := number(dataset, f"{group}0102", 0)) > 0
    }


def lifted(group: str, plane: bytes, frames: int, made: Format) -> dict[str, Element | None]:
    """Say what changes in an overlay whose bits have left the samples for Overlay Data (PS3.3 C.9.2).

    Args:
        group: of the overlay, "6000" to "601E".
        plane: its bits, of all frames.
        frames: how many there are.
        made: what the frames are.
    """
    described = {"0010": made.rows, "0011": made.columns, "0100": 1, "0102": 0}
    changed: dict[str, Element | None] = {
        f"{group}{element}": _element("US", value) for element, value in described.items()
    }
    if frames > 1:
        changed |= {f"{group}0015": _element("IS", frames), f"{group}0051": _element("US", 1)}
    padded = plane + bytes(len(plane) & 1)
    return {**changed, f"{group}3000": {"vr": "OW", "InlineBinary": b64encode(padded).decode("ascii")}}


def _lossy(dataset: Dataset, wanted: str, uid: str, ratio: float) -> dict[str, Element | None]:
    """What marks an image that has lost something, behind the marks of what it lost before."""
    known = syntax_of(wanted)
    description = "; ".join([*_plain(dataset, "00082111"), f"Lossy compression by Roentgate: {known.name}"])
    changed: dict[str, Element | None] = {
        "00080008": _element("CS", "DERIVED", *(_places(dataset, "00080008")[1:] or ["PRIMARY"])),
        "00080018": _element("UI", uid),
        "00082111": _element("ST", description[-_LONGEST_TEXT:]),
        "00082112": _element("SQ", _source(dataset)),
        "00089215": _element("SQ", *_plain(dataset, "00089215"), _code("113040", "Lossy Compression")),
        "00282110": _element("CS", "01"),
        "00282112": _element("DS", *_values(dataset, "00282112"), float(f"{ratio:.4g}")),
        "00282114": _element("CS", *_values(dataset, "00282114"), _METHODS.get(known.media_type, "")),
    }
    if _SHARED in dataset:
        changed["00081115"] = _element("SQ", *_series_of(dataset))
    return changed


def encoded(changed: dict[str, Element | None]) -> dict[int, bytes | None]:
    """Write changes as elements in Explicit VR Little Endian (PS3.5 7.1.2)."""
    return {
        int(tag, 16): None if element is None else b"".join(encode.write_dataset({tag: element}))
        for tag, element in changed.items()
    }


def derived_frames(dataset: Dataset) -> dict[str, Element]:
    """Return the functional groups as `FIRSTS` says, of an image that has lost something (PS3.3 C.8.16.1.1)."""
    return {tag: _derived_within(dataset[tag]) for tag in (_SHARED, _PER_FRAME) if tag in dataset}


def _derived_within(sequence: Element) -> Element:
    """A sequence whose items, and those in their sequences, have DERIVED as the first value of Frame Type."""
    items = [
        {
            tag: {**element, "Value": ["DERIVED", *element["Value"][1:]]}
            if tag == _FRAME_TYPE and element.get("Value")
            else _derived_within(element)
            if element.get("vr") == "SQ"
            else element
            for tag, element in item.items()
        }
        for item in sequence.get("Value") or []
    ]
    return {**sequence, "Value": items} if items else sequence


def _values(dataset: Dataset, tag: str) -> list[Any]:
    return [value for value in dataset.get(tag, {}).get("Value") or [] if value is not None]


def _plain(dataset: Dataset, tag: str) -> list[Any]:
    """Values that are written alike in every character set: the data set keeps its own."""
    return [value for value in _values(dataset, tag) if str(value).isascii()]


def _places(dataset: Dataset, tag: str) -> list[Any]:
    """Values where the place of each has a meaning, empty ones as None."""
    return dataset.get(tag, {}).get("Value") or []


def _element(vr: str, *values: Any) -> Element:
    return {"vr": vr, "Value": list(values)}


def _source(dataset: Dataset) -> Dataset:
    """An item of Source Image Sequence (PS3.3 C.7.6.1): the object as stored, not compressed any further."""
    return {
        "00081150": _element("UI", *_values(dataset, "00080016")[:1]),
        "00081155": _element("UI", *_values(dataset, "00080018")[:1]),
        "0040A170": _element("SQ", _code("121320", "Uncompressed predecessor")),
    }


def _series_of(dataset: Dataset) -> list[Dataset]:
    """Items of Referenced Series Sequence, among them the source; IODs with functional groups list there what they
    refer to (PS3.3 C.12.2)."""
    reference = {tag: element for tag, element in _source(dataset).items() if tag != "0040A170"}
    own, others = _values(dataset, "0020000E"), []
    references: list[Any] = [reference]
    for item in _plain(dataset, "00081115"):
        if _values(item, "0020000E") == own:
            references = [*_values(item, "0008114A"), *references]
        else:
            others.append(item)
    return [*others, {"0008114A": _element("SQ", *references), "0020000E": _element("UI", *own[:1])}]


def _code(value: str, meaning: str) -> Dataset:
    """A code of PS3.16 (PS3.3 8.8)."""
    return {
        "00080100": _element("SH", value),
        "00080102": _element("SH", "DCM"),
        "00080104": _element("LO", meaning),
    }
