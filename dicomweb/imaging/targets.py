"""What the frames of an instance can be made into, and what then describes them (PS3.5 8.2, A.4).

Everything is known from the Image Pixel Description and the transfer syntax alone, so that a request can be
answered, or refused, before a pixel is read: this module imports no codec.

The Standard lets some codestreams be lossless or lossy (JPEG 2000 .91, HTJ2K .203, JPEG XL .112, JPEG-LS .81).
Who asks for one of these gets a lossy one: the lossless ones have transfer syntaxes of their own.
"""

from dataclasses import replace

from dicomweb.standard import syntaxes
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import (
    DEFLATED_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_2000_MULTI,
    JPEG_2000_MULTI_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_P14,
    JPEG_LS,
    JPEG_LS_LOSSY,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    JPEG_XL_RECOMPRESSION,
    RLE,
)

# Frames that hold the samples themselves, byte for byte (PS3.5 8.1, A.4.2, A.4.11; PS3.5 2025a A.4.14).
NATIVE = frozenset(uid for uid, syntax in syntaxes.SYNTAXES.items() if not syntax.encapsulated and syntax.kept)
PLAIN = NATIVE | {ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAME, RLE}

# PS3.5 10.2 to 10.4. Retired are hierarchical JPEG, which no decoder reads, and lossless arithmetic (Process 15).
_UNREAD_JPEG = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (58, *range(59, 67)))
JPEG = frozenset(
    uid for uid, syntax in syntaxes.SYNTAXES.items() if syntax.media_type == "image/jpeg" and uid not in _UNREAD_JPEG
)
JPEG_LS_BOTH = frozenset((JPEG_LS, JPEG_LS_LOSSY))
JPEG_2000_ALL = frozenset((JPEG_2000_LOSSLESS, JPEG_2000, JPEG_2000_MULTI_LOSSLESS, JPEG_2000_MULTI))
HTJ2K_ALL = frozenset((HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K))
JPEG_XL_ALL = frozenset((JPEG_XL_LOSSLESS, JPEG_XL_RECOMPRESSION, JPEG_XL))
DECODED = PLAIN | JPEG | JPEG_LS_BOTH | JPEG_2000_ALL | HTJ2K_ALL | JPEG_XL_ALL

LOSSY_TARGETS = frozenset((JPEG_BASELINE, JPEG_EXTENDED, JPEG_LS_LOSSY, JPEG_2000, HTJ2K, JPEG_XL))

# Frames of the first are frames of the second as they are: a narrower syntax is a case of a wider one.
SAME_BYTES = frozenset(((HTJ2K_LOSSLESS_RPCL, HTJ2K_LOSSLESS), (JPEG_LOSSLESS, JPEG_LOSSLESS_P14)))

_GREY = frozenset(("MONOCHROME1", "MONOCHROME2"))
_COLOUR = frozenset(("RGB", "YBR_FULL", "YBR_FULL_422"))
# Not legal in native form, or not what a decoder gives (PS3.3 C.7.6.3.1.2, D-131).
_BECOME_RGB = frozenset(("YBR_RCT", "YBR_ICT", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "YBR_FULL_422", "XYB"))
# Their decoders turn luminance and chrominance into red, green and blue.
_CONVERTED = frozenset(uid for uid in JPEG if syntaxes.syntax_of(uid).lossy) | {JPEG_XL_RECOMPRESSION, JPEG_XL}
_LONGEST_SIDE = 65535


def decodable(stored: str, format: Format) -> bool:
    """Whether frames can be decoded, as far as their description tells.

    Args:
        stored: Transfer Syntax UID.
        format: as stored.
    """
    if stored not in DECODED or not (format.rows > 0 and format.columns > 0):
        return False
    if format.kind != "integer":
        return stored in NATIVE and format.samples == 1
    if format.samples not in {1, 3, 4} or not 0 < format.stored <= format.allocated:
        return False
    if format.allocated == 1:
        return format.samples == 1 and stored not in JPEG
    return format.allocated in {8, 16, 32, 64} if stored in PLAIN else format.allocated in {8, 16, 32}


def targets(stored: str, format: Format) -> frozenset[str]:
    """The transfer syntaxes that frames can be made into, besides the one they are stored in; empty where nobody
    can decode them.

    Args:
        stored: Transfer Syntax UID.
        format: as stored.

    Returns:
        UIDs; `EXPLICIT` stands for decoded samples, little endian.
    """
    if not decodable(stored, format):
        return frozenset()
    decoded = _decoded(format, stored)
    reached = {uid for uid in _ENCODED if _fits(decoded, uid)}
    if stored == JPEG_BASELINE:
        reached.add(JPEG_XL_RECOMPRESSION)
    return frozenset(reached - {stored} - ({EXPLICIT} if stored in NATIVE else set()))


def described(format: Format, stored: str, wanted: str) -> Format:
    """The Format of frames after they were made into another transfer syntax (PS3.5 8.2, D-130, D-131).

    Native samples keep their colour space and Planar Configuration, where both are legal for what is wanted. A
    codestream has a precision of its own, and decoders hand out no larger cells than it needs: Bits Allocated says so.

    Args:
        format: as stored.
        stored: Transfer Syntax UID.
        wanted: one of `targets`, or `stored` itself.
    """
    if wanted == stored or (stored, wanted) in SAME_BYTES or {stored, wanted} == _REVERSIBLE:
        return format
    decoded = _decoded(format, stored)
    if wanted in NATIVE or wanted in {ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAME}:
        return decoded
    photometric = "YBR_FULL" if decoded.photometric == "YBR_FULL_422" else decoded.photometric
    if wanted == RLE:
        return replace(decoded, photometric=photometric)
    stored_bits, allocated = decoded.stored, decoded.allocated
    if wanted == JPEG_BASELINE:
        stored_bits = allocated = 8
        photometric = photometric if decoded.samples == 1 else "YBR_FULL_422"
    elif wanted == JPEG_EXTENDED:
        stored_bits, allocated = 12, 16
    elif allocated > 1:
        allocated = 8 if stored_bits <= 8 else min(allocated, 16) if stored_bits <= 16 else allocated
    if photometric == "RGB" and wanted in {JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL}:
        photometric = "YBR_RCT"
    elif photometric == "RGB" and wanted in {JPEG_2000, HTJ2K}:
        photometric = "YBR_ICT"
    elif decoded.samples == 3 and wanted == JPEG_XL:
        photometric = "XYB"
    return replace(
        decoded,
        photometric=photometric,
        planar=0,
        allocated=allocated,
        stored=stored_bits,
        high=stored_bits - 1,
    )


def loses(stored: str, format: Format, wanted: str) -> bool:
    """Whether making `wanted` loses something of the stored pixels.

    Args:
        stored: Transfer Syntax UID.
        format: as stored.
        wanted: one of `targets`, or `stored` itself.
    """
    if wanted == stored or {stored, wanted} == _REVERSIBLE:
        return False
    return wanted in LOSSY_TARGETS


def _decoded(format: Format, stored: str) -> Format:
    """The Format of frames decoded to native form. RLE knows no chrominance that is halved (PS3.5 8.2.2); it says
    YBR_FULL whatever was written."""
    photometric, planar = format.photometric, format.planar
    if stored in PLAIN:
        halved = stored == RLE and photometric == "YBR_FULL_422"
        return replace(format, photometric="YBR_FULL") if halved else format
    converted = stored in _CONVERTED and photometric.startswith("YBR")
    if format.samples == 3 and (converted or photometric in _BECOME_RGB):
        photometric, planar = "RGB", 0
    return replace(format, photometric=photometric, planar=planar, high=format.stored - 1)


def _fits(format: Format, wanted: str) -> bool:
    """Whether an encoder represents samples of this kind (PS3.5 8.2.1 to 8.2.15)."""
    if wanted in {EXPLICIT, ENCAPSULATED_UNCOMPRESSED}:
        return wanted == EXPLICIT or format.kind == "integer"
    if format.kind != "integer":
        return False
    if wanted == DEFLATED_FRAME:
        return True
    if wanted == RLE:
        return format.allocated != 1 and format.samples * format.allocated <= 15 * 8
    if format.allocated not in {1, 8, 16, 32} or format.samples not in {1, 3}:
        return False
    if format.samples == 3 and format.photometric not in _COLOUR:
        return False
    if format.samples == 1 and format.photometric not in _GREY | {"PALETTE COLOR"}:
        return False
    if wanted in LOSSY_TARGETS and (format.photometric == "PALETTE COLOR" or format.stored == 1):
        return False
    low, high, signed_too = _BITS[wanted]
    if wanted == JPEG_EXTENDED and format.samples != 1:
        return False
    if wanted == JPEG_XL_LOSSLESS and format.photometric not in _GREY | {"RGB"}:
        return False
    return (
        max(format.rows, format.columns) <= _LONGEST_SIDE
        and low <= format.stored <= high
        and (signed_too or not format.signed)
    )


# Bits Stored that an encoder takes, and whether it represents signed samples. Fewer than 6 have nothing to lose.
_BITS = {
    JPEG_BASELINE: (6, 8, False),
    JPEG_EXTENDED: (9, 12, False),
    JPEG_LOSSLESS_P14: (2, 16, True),
    JPEG_LOSSLESS: (2, 16, True),
    JPEG_LS: (2, 16, True),
    JPEG_LS_LOSSY: (6, 16, False),
    JPEG_2000_LOSSLESS: (1, 24, True),
    JPEG_2000: (6, 16, True),
    HTJ2K_LOSSLESS: (1, 32, True),
    HTJ2K_LOSSLESS_RPCL: (1, 32, True),
    HTJ2K: (6, 16, True),
    JPEG_XL_LOSSLESS: (2, 16, False),
    JPEG_XL: (6, 16, False),
}
_ENCODED = frozenset((EXPLICIT, ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAME, RLE, *_BITS))
_REVERSIBLE = {JPEG_BASELINE, JPEG_XL_RECOMPRESSION}
