"""Compressed pixels as clients send them in a Store request (PS3.18 10.5.1.4, Table 10.5.2-1).

Many clients name a media type and no transfer syntax, and mean what is in the file. Table 8.7.3-5 has a default for
each type, which is lossless; a photograph that was stored under it would say that it had lost nothing. So the
codestream is asked, and the default holds where it does not tell.
"""

import struct
from typing import Any

from dicomweb.standard import codestreams, media, syntaxes
from dicomweb.standard.codestreams import Picture
from dicomweb.standard.headers import Buffer

CONVERTED = frozenset(("image/png", "image/gif"))
"""Media types of pixels that no transfer syntax can carry, and that become uncompressed (Table 10.5.2-1)."""

_BOXES = 64
_JPEG = {0xC0: syntaxes.JPEG_BASELINE, 0xC1: syntaxes.JPEG_EXTENDED}
_JPEG_2000 = frozenset(("image/jp2", "image/jpx", "image/jphc", "image/jph"))
_REVERSIBLE = 1
# PS3.3 C.7.6.1.1.5.1
_METHODS = {
    "image/jpeg": "ISO_10918_1",
    "image/jls": "ISO_14495_1",
    "image/jp2": "ISO_15444_1",
    "image/jpx": "ISO_15444_1",
    "image/jphc": "ISO_15444_15",
    "image/jxl": "ISO_18181_1",
}


def syntax_of(head: bytes, media_type: str) -> str:
    """Return the transfer syntax that pixels of a part without one are in (PS3.18 Table 8.7.3-5), or "".

    Args:
        head: the beginning of the part, `codestreams.HEAD` bytes or all of it.
        media_type: of the part, lower case.
    """
    kind = "image/jphc" if media_type == "image/jph" else media_type
    default = media.default_syntax(kind)
    if head.startswith(b"\xff\xd8") and kind in {"image/jpeg", "image/jls"}:
        return _jpeg(head, default)
    if kind in _JPEG_2000:
        reversible = _reversible(head)
        if reversible is False:
            return {
                "image/jp2": syntaxes.JPEG_2000,
                "image/jpx": syntaxes.JPEG_2000_MULTI,
                "image/jphc": syntaxes.HTJ2K,
            }[kind]
        return default
    if kind == "image/jxl":
        if b"jbrd" in head[:4096]:
            return syntaxes.JPEG_XL_RECOMPRESSION
        picture = codestreams.read_picture(head, default)
        return default if picture is not None and picture.photometric == "RGB" else syntaxes.JPEG_XL
    return default


def _jpeg(head: bytes, default: str) -> str:
    """By the process that a JPEG or a JPEG-LS frame begins with, and by what its scan says of loss."""
    picture = codestreams.read_picture(head, syntaxes.JPEG_BASELINE)
    if picture is None:
        return default
    scan = _scan(head)
    if picture.process == 0xC3:
        return syntaxes.JPEG_LOSSLESS if scan in {1, None} else syntaxes.JPEG_LOSSLESS_P14
    if picture.process == 0xF7:
        return syntaxes.JPEG_LS if scan in {0, None} else syntaxes.JPEG_LS_LOSSY
    if picture.process == 0xC2:
        return "1.2.840.10008.1.2.4.55"
    return _JPEG.get(picture.process, default)


def _scan(head: bytes) -> int | None:
    """The first parameter behind the components of a scan: the predictor of lossless JPEG, the error that JPEG-LS
    allows (ISO 10918-1 B.2.3, 14495-1 C.2.3); None where there is no scan yet."""
    place = head.find(b"\xff\xda")
    if place < 0 or place + 5 > len(head):
        return None
    place += 5 + 2 * head[place + 4]
    return head[place] if place < len(head) else None


def _reversible(head: bytes) -> bool | None:
    """Whether a JPEG 2000 codestream uses the transformation that loses nothing (ISO 15444-1 A.6.1)."""
    start = head.find(b"\xff\x4f\xff\x51")
    coding = head.find(b"\xff\x52", start) if start >= 0 else -1
    return head[coding + 13] == _REVERSIBLE if 0 <= coding < len(head) - 13 else None


def codestream(data: Buffer, media_type: str) -> tuple[int, int]:
    """Return where the bytes of a part lie that become a frame: of JPEG 2000 in its file format the codestream in the
    boxes (PS3.5 A.4.4 leaves the boxes out), of all else the whole.

    Args:
        data: the part.
        media_type: of the part.
    """
    if media_type not in _JPEG_2000 or bytes(data[4:12]) != b"jP  \r\n\x87\n":
        return 0, len(data)
    place = 0
    for _ in range(_BOXES):
        if place + 8 > len(data):
            break
        size, kind = struct.unpack_from(">I4s", data, place)
        inner = place + 8
        if size == 1 and inner + 8 <= len(data):
            (size,) = struct.unpack_from(">Q", data, inner)
            inner += 8
        stop = len(data) if size == 0 else min(place + size, len(data))
        if kind == b"jp2c" and inner < stop:
            return inner, stop
        if size < 8:
            break
        place += size
    return 0, len(data)


def described(picture: Picture, head: bytes, syntax: str) -> dict[str, Any]:
    """Return the attributes that pixels in a transfer syntax bring along (PS3.3 C.7.6.3, C.7.6.1.1.5): their
    description, and, if they have certainly lost something, that they have.

    Args:
        picture: what the first frame says of itself.
        head: its beginning.
        syntax: what it is in.
    """
    known = syntaxes.syntax_of(syntax)
    if not _loses(known, picture, head) or known.media_type not in _METHODS:
        return picture.attributes()
    marks = {
        "00282110": {"vr": "CS", "Value": ["01"]},
        "00282114": {"vr": "CS", "Value": [_METHODS[known.media_type]]},
    }
    return {**picture.attributes(), **marks}


def _loses(known: syntaxes.Syntax, picture: Picture, head: bytes) -> bool:
    if known.lossy is not None:
        return known.lossy
    if known.media_type in _JPEG_2000:
        return _reversible(head) is False
    return picture.photometric == "XYB" or known.uid == syntaxes.JPEG_XL_RECOMPRESSION
