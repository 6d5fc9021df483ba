"""From a data set to the layout of its frames and bulk (PS3.5 8 and A.4, PS3.3 C.7.6.3).

Whether the pixels that are described are all there is decided here as well: an upload that was cut can end
exactly where a value should, with a length to match.
"""

import struct
from binascii import a2b_base64
from dataclasses import replace
from typing import Literal, NamedTuple

from dicomweb.errors import BadObject, TruncatedObject
from dicomweb.standard import fragments
from dicomweb.standard.elements import Pixels, Walked
from dicomweb.standard.frames import Bulk, Layout
from dicomweb.standard.headers import Buffer
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.pixels import Format, read_format
from dicomweb.standard.syntaxes import ENCAPSULATED_UNCOMPRESSED, Syntax
from dicomweb.standard.values import UNITS

_DOCUMENT = "00420011"


class Warning_(NamedTuple):
    """Why an object was stored with a warning.

    Attributes:
        kind: "elements" (something in the data set is not as the Standard has it), "class" (the data set does
            not fit what the object says that it is), "meta" (the File Meta group does not).
        sentence: for people; holds no values of the object.
    """

    kind: Literal["elements", "class", "meta"]
    sentence: str


def text(dataset: Dataset, tag: str) -> str:
    """Return the first value of an attribute (PS3.18 F.2.2) if it is a string, else ""."""
    values = dataset.get(tag, {}).get("Value") or [""]
    return values[0] if isinstance(values[0], str) else ""


def _number(dataset: Dataset, tag: str) -> int:
    values = dataset.get(tag, {}).get("Value") or [0]
    return values[0] if isinstance(values[0], int) and values[0] > 0 else 0


def layout_of(data: Buffer, walked: Walked, syntax: Syntax, warnings: list[Warning_]) -> tuple[Layout, Syntax]:
    """Find out where frames and bulk lie (PS3.5 8 and A.4, PS3.3 C.7.6.3).

    Args:
        data: holds the data set, of a deflated one the inflated.
        walked: the data set; bulk values learn their media types.
        syntax: what it is encoded in.
        warnings: gets what is not as it should be.

    Returns:
        The layout, and the syntax, of which only the data may say that pixels are encapsulated.

    Raises:
        TruncatedObject: there are fewer pixels than are described.
        BadObject: they are encapsulated where they must not be.
    """
    dataset, pixels = walked.dataset, walked.pixels
    bulk = walked.bulk
    if (document := bulk.get(_DOCUMENT)) is not None:
        bulk[_DOCUMENT] = _document(dataset, document)
    if pixels is None or pixels.path not in bulk:
        described = all(_number(dataset, tag) for tag in ("00280010", "00280011", "00280100"))
        if described and "00287FE0" not in dataset:
            warnings.append(Warning_("class", "pixels are described, and there are none"))
        return Layout("none", derived=syntax.deflated, bulk=bulk), syntax
    frames = max(_number(dataset, "00280008"), 1)
    format = read_format(dataset, pixels.path)
    bits = _frame_bits(dataset, pixels.path)
    if pixels.items is not None:
        if not syntax.encapsulated:
            if syntax.name:
                raise BadObject("pixel data are encapsulated in a transfer syntax that has none")
            syntax = replace(syntax, encapsulated=True)
        bulk[pixels.path] = bulk[pixels.path]._replace(media_type=syntax.media_type)
        return _encapsulated(data, dataset, bulk, pixels, syntax, frames, bits, format, warnings), syntax
    if syntax.encapsulated:
        warnings.append(Warning_("class", "pixel data are native in a transfer syntax that encapsulates"))
    return _native(bulk, pixels, syntax, frames, bits, format, warnings), syntax


def _document(dataset: Dataset, bulk: Bulk) -> Bulk:
    """An Encapsulated Document with its media type, and without its padding (PS3.3 C.24.2)."""
    length = _number(dataset, "00420015")
    stop = bulk.start + length if length == bulk.stop - bulk.start - 1 else bulk.stop
    return bulk._replace(stop=stop, media_type=text(dataset, "00420012") or bulk.media_type)


def _frame_bits(dataset: Dataset, path: str) -> int:
    """Bits of one native frame (PS3.5 8.1.1), 0 where its description is incomplete."""
    pixel = {"7FE00008": 32, "7FE00009": 64}.get(path) or _number(dataset, "00280100")
    samples = _number(dataset, "00280002") or 1
    if samples == 3 and text(dataset, "00280004") == "YBR_FULL_422":
        samples = 2
    return _number(dataset, "00280010") * _number(dataset, "00280011") * samples * pixel


def _native(
    bulk: dict[str, Bulk],
    pixels: Pixels,
    syntax: Syntax,
    frames: int,
    bits: int,
    format: Format,
    warnings: list[Warning_],
) -> Layout:
    """Native pixels (PS3.5 8.1). OW is made of words of 16 bits in big endian too, whatever Bits Allocated
    says (PS3.5 7.3, 8.1.1): DCMTK reads and writes it so, some writers swap 32 bits at once."""
    length = pixels.stop - pixels.start
    swap = UNITS.get(pixels.vr, 0) if syntax.big_endian else 0
    if not bits:
        if pixels.length > length:
            raise TruncatedObject("the data set ends inside of the pixel data")
        warnings.append(Warning_("class", "the description of the pixels is incomplete"))
        return Layout(
            "opaque",
            1,
            first=pixels.start,
            stop=pixels.stop,
            swap=swap,
            derived=syntax.deflated,
            pixels=pixels.path,
            format=format,
            bulk=bulk,
        )
    needed = (frames * bits + 7) // 8
    if length < needed:
        raise TruncatedObject(f"the pixel data have {length:,} bytes, and {needed:,} are described")
    if pixels.length > length:
        warnings.append(Warning_("elements", "the last padding byte is missing"))
    elif length > needed + (needed & 1):
        warnings.append(Warning_("class", "there are more pixel data than are described"))
    return Layout(
        "bits" if bits % 8 else "native",
        frames,
        first=pixels.start,
        stop=pixels.stop,
        size=bits,
        swap=swap,
        derived=syntax.deflated,
        pixels=pixels.path,
        format=format,
        bulk=bulk,
    )


def _encapsulated(
    data: Buffer,
    dataset: Dataset,
    bulk: dict[str, Bulk],
    pixels: Pixels,
    syntax: Syntax,
    frames: int,
    bits: int,
    format: Format,
    warnings: list[Warning_],
) -> Layout:
    assert pixels.items is not None
    size = (bits + 7) // 8 if syntax.uid == ENCAPSULATED_UNCOMPRESSED else 0
    found = fragments.group(data, pixels.items, frames, size, _extended(data, dataset, bulk))
    if found.note and not syntax.video:
        warnings.append(Warning_("class", found.note))
    first = found.starts[0]
    width = 8 if found.starts[-1] - first > 0xFFFFFFFF else 4
    offsets = [start - first for start in found.starts]
    firsts = found.firsts or ()
    kind: Literal["video", "opaque", "encapsulated"] = (
        "video" if syntax.video else "opaque" if found.total is None else "encapsulated"
    )
    return Layout(
        kind,
        found.total if kind == "encapsulated" and found.total is not None else 1,
        first=first,
        stop=pixels.stop,
        size=size,
        derived=False,
        fragments=struct.pack(f"<{len(offsets)}{'Q' if width == 8 else 'I'}", *offsets),
        groups=struct.pack(f"<{len(firsts)}I", *firsts) if kind == "encapsulated" else b"",
        width=width,
        pixels=pixels.path,
        format=format,
        bulk=bulk,
    )


def _extended(data: Buffer, dataset: Dataset, bulk: dict[str, Bulk]) -> bytes:
    """The Extended Offset Table (PS3.3 C.7.6.3.1.8), or nothing."""
    if (place := bulk.get("7FE00001")) is not None:
        return bytes(data[place.start : place.stop])
    return a2b_base64(dataset.get("7FE00001", {}).get("InlineBinary", ""))
