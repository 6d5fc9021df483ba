"""One frame from a transfer syntax into another, by the shortest way there is (PS3.5 8.2, A.4)."""

import imagecodecs

from dicomweb.errors import Undecodable
from dicomweb.imaging import plain
from dicomweb.imaging.decode import admit, check, decode
from dicomweb.imaging.encode import encode
from dicomweb.imaging.targets import PLAIN, SAME_BYTES, described, targets
from dicomweb.standard import syntaxes
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import EXPLICIT, JPEG_BASELINE, JPEG_XL_RECOMPRESSION


def transcode(
    data: bytes,
    stored: str,
    format: Format,
    wanted: str,
    quality: int | None = None,
    most_pixels: int | None = None,
) -> bytes:
    """Make a frame of one transfer syntax into one of another.

    Native bytes, and what holds them byte for byte, keep every bit; between codestreams the bits that count are
    kept. JPEG goes into JPEG XL and back without being decoded.

    Args:
        data: the frame: native bytes, or the joined codestream.
        stored: its Transfer Syntax UID.
        format: as stored.
        wanted: Transfer Syntax UID: one of `targets`, or `stored` itself.
        quality: 1 to 100 for a lossy syntax; None is the usual one.
        most_pixels: rows times columns that there may be at most; None is no limit.

    Returns:
        The frame, without padding; `targets.described` says what it is.

    Raises:
        Undecodable: the frame cannot be decoded, or not be made into what is wanted.
    """
    if wanted == stored:
        return data
    admit(stored, format, most_pixels)
    if wanted not in targets(stored, format):
        raise Undecodable(
            f"frames of {syntaxes.syntax_of(stored).name or stored} as described are not made into "
            f"{syntaxes.syntax_of(wanted).name or wanted}"
        )
    if {stored, wanted} == {JPEG_BASELINE, JPEG_XL_RECOMPRESSION}:
        return _recompressed(data, stored, format)
    if (stored, wanted) in SAME_BYTES:
        return data
    cells = described(format, stored, EXPLICIT)
    if stored in PLAIN and wanted in PLAIN and described(format, stored, wanted) == cells:
        return plain.wrap(plain.unwrap(data, stored, cells), wanted, cells)
    array, made = decode(data, stored, format)
    return encode(array, made, wanted, quality)


def _recompressed(data: bytes, stored: str, format: Format) -> bytes:
    """Between JPEG and JPEG XL that holds one, bit for bit (ISO 18181-2 9)."""
    check(data, stored, format)
    try:
        if stored == JPEG_BASELINE:
            return bytes(imagecodecs.jpegxl_encode_jpeg(data, numthreads=1))
        return bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=1))
    except (RuntimeError, ValueError) as error:
        raise Undecodable("a frame is damaged, or holds no JPEG to go back to") from error
