"""Transfer syntaxes: how a data set is encoded, how its pixels are, what a frame of it is called on the web
(PS3.5 10 and Annex A, PS3.6 Table A-1, PS3.18 8.7.3).

pydicom's table lacks some of them, so this is our own.
"""

from dataclasses import dataclass

OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Syntax:
    """One transfer syntax.

    Attributes:
        uid: Transfer Syntax UID.
        name: as in PS3.6, or "" for one that it does not list.
        implicit: VRs are not written.
        big_endian: numbers are written with their most significant byte first.
        deflated: the data set is compressed as a whole (PS3.5 A.5).
        encapsulated: pixels lie in fragments. Of a syntax without a name the data decide.
        lossy: whether pixels have lost something; None where the syntax leaves it open.
        media_type: of one frame as stored; application/octet-stream for native pixels.
        video: frames cannot be told apart without decoding the stream.
        kept: whether we take such objects; not those whose pixels are elsewhere.
    """

    uid: str
    name: str
    implicit: bool = False
    big_endian: bool = False
    deflated: bool = False
    encapsulated: bool = False
    lossy: bool | None = False
    media_type: str = OCTETS
    video: bool = False
    kept: bool = True


_ROOT = "1.2.840.10008.1.2"
IMPLICIT = _ROOT
EXPLICIT = f"{_ROOT}.1"
ENCAPSULATED_UNCOMPRESSED = f"{_ROOT}.1.98"
DEFLATED = f"{_ROOT}.1.99"
BIG_ENDIAN = f"{_ROOT}.2"
JPEG_BASELINE = f"{_ROOT}.4.50"
JPEG_EXTENDED = f"{_ROOT}.4.51"
JPEG_LOSSLESS_P14 = f"{_ROOT}.4.57"
JPEG_LOSSLESS = f"{_ROOT}.4.70"
JPEG_LS = f"{_ROOT}.4.80"
JPEG_LS_LOSSY = f"{_ROOT}.4.81"
JPEG_2000_LOSSLESS = f"{_ROOT}.4.90"
JPEG_2000 = f"{_ROOT}.4.91"
JPEG_2000_MULTI_LOSSLESS = f"{_ROOT}.4.92"
JPEG_2000_MULTI = f"{_ROOT}.4.93"
JPEG_XL_LOSSLESS = f"{_ROOT}.4.110"
JPEG_XL_RECOMPRESSION = f"{_ROOT}.4.111"
JPEG_XL = f"{_ROOT}.4.112"
HTJ2K_LOSSLESS = f"{_ROOT}.4.201"
HTJ2K_LOSSLESS_RPCL = f"{_ROOT}.4.202"
HTJ2K = f"{_ROOT}.4.203"
RLE = f"{_ROOT}.5"
DEFLATED_FRAME = f"{_ROOT}.8.1"


def _native(uid: str, name: str, *, implicit: bool = False, big: bool = False, deflated: bool = False) -> Syntax:
    return Syntax(uid, name, implicit=implicit, big_endian=big, deflated=deflated)


def _frames(uid: str, name: str, media_type: str, lossy: bool | None) -> Syntax:
    return Syntax(uid, name, encapsulated=True, lossy=lossy, media_type=media_type)


def _videos(number: int, name: str, media_type: str) -> list[Syntax]:
    """A video syntax and its fragmentable twin, whose UID ends in .1 (PS3.6 Table A-1, since 2019)."""
    return [
        Syntax(
            f"{_ROOT}.4.{number}{suffix}",
            prefix + name,
            encapsulated=True,
            lossy=True,
            media_type=media_type,
            video=True,
        )
        for suffix, prefix in (("", ""), (".1", "Fragmentable "))
    ]


def _elsewhere(uid: str, name: str, *, deflated: bool = False) -> Syntax:
    """Pixels lie behind a URL (JPIP), or are sent beside the data set (SMPTE ST 2110)."""
    return Syntax(uid, name, deflated=deflated, lossy=None, kept=False)


# PS3.6 Table A-1; PS3.18 Tables 8.7.3-2, 8.7.3-4, 8.7.3-5. The retired JPEG processes are those of old files.
_RETIRED_JPEG = (
    (52, "JPEG Extended (Processes 3 & 5)", True),
    (53, "JPEG Spectral Selection, Non-Hierarchical (Processes 6 & 8)", True),
    (54, "JPEG Spectral Selection, Non-Hierarchical (Processes 7 & 9)", True),
    (55, "JPEG Full Progression, Non-Hierarchical (Processes 10 & 12)", True),
    (56, "JPEG Full Progression, Non-Hierarchical (Processes 11 & 13)", True),
    (58, "JPEG Lossless, Non-Hierarchical (Process 15)", False),
    (59, "JPEG Extended, Hierarchical (Processes 16 & 18)", True),
    (60, "JPEG Extended, Hierarchical (Processes 17 & 19)", True),
    (61, "JPEG Spectral Selection, Hierarchical (Processes 20 & 22)", True),
    (62, "JPEG Spectral Selection, Hierarchical (Processes 21 & 23)", True),
    (63, "JPEG Full Progression, Hierarchical (Processes 24 & 26)", True),
    (64, "JPEG Full Progression, Hierarchical (Processes 25 & 27)", True),
    (65, "JPEG Lossless, Hierarchical (Process 28)", False),
    (66, "JPEG Lossless, Hierarchical (Process 29)", False),
)

_ALL = [
    _native(IMPLICIT, "Implicit VR Little Endian", implicit=True),
    _native(EXPLICIT, "Explicit VR Little Endian"),
    _frames(ENCAPSULATED_UNCOMPRESSED, "Encapsulated Uncompressed Explicit VR Little Endian", OCTETS, False),
    _native(DEFLATED, "Deflated Explicit VR Little Endian", deflated=True),
    _native(BIG_ENDIAN, "Explicit VR Big Endian", big=True),
    _native("1.2.840.10008.1.20", "Papyrus 3 Implicit VR Little Endian", implicit=True),
    _frames(JPEG_BASELINE, "JPEG Baseline (Process 1)", "image/jpeg", True),
    _frames(JPEG_EXTENDED, "JPEG Extended (Processes 2 & 4)", "image/jpeg", True),
    _frames(JPEG_LOSSLESS_P14, "JPEG Lossless, Non-Hierarchical (Process 14)", "image/jpeg", False),
    _frames(JPEG_LOSSLESS, "JPEG Lossless, Non-Hierarchical, First-Order Prediction", "image/jpeg", False),
    *(_frames(f"{_ROOT}.4.{number}", name, "image/jpeg", lossy) for number, name, lossy in _RETIRED_JPEG),
    _frames(JPEG_LS, "JPEG-LS Lossless Image Compression", "image/jls", False),
    _frames(JPEG_LS_LOSSY, "JPEG-LS Lossy (Near-Lossless) Image Compression", "image/jls", True),
    _frames(JPEG_2000_LOSSLESS, "JPEG 2000 Image Compression (Lossless Only)", "image/jp2", False),
    _frames(JPEG_2000, "JPEG 2000 Image Compression", "image/jp2", None),
    _frames(JPEG_2000_MULTI_LOSSLESS, "JPEG 2000 Part 2 Multi-component (Lossless Only)", "image/jpx", False),
    _frames(JPEG_2000_MULTI, "JPEG 2000 Part 2 Multi-component", "image/jpx", None),
    _elsewhere(f"{_ROOT}.4.94", "JPIP Referenced"),
    _elsewhere(f"{_ROOT}.4.95", "JPIP Referenced Deflate", deflated=True),
    *_videos(100, "MPEG2 Main Profile / Main Level", "video/mpeg"),
    *_videos(101, "MPEG2 Main Profile / High Level", "video/mpeg"),
    *_videos(102, "MPEG-4 AVC/H.264 High Profile / Level 4.1", "video/mp4"),
    *_videos(103, "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", "video/mp4"),
    *_videos(104, "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", "video/mp4"),
    *_videos(105, "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", "video/mp4"),
    *_videos(106, "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", "video/mp4"),
    *_videos(107, "HEVC/H.265 Main Profile / Level 5.1", "video/H265")[:1],
    *_videos(108, "HEVC/H.265 Main 10 Profile / Level 5.1", "video/H265")[:1],
    _frames(JPEG_XL_LOSSLESS, "JPEG XL Lossless", "image/jxl", False),
    _frames(JPEG_XL_RECOMPRESSION, "JPEG XL JPEG Recompression", "image/jxl", None),
    _frames(JPEG_XL, "JPEG XL", "image/jxl", None),
    _frames(HTJ2K_LOSSLESS, "High-Throughput JPEG 2000 (Lossless Only)", "image/jphc", False),
    _frames(
        HTJ2K_LOSSLESS_RPCL,
        "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)",
        "image/jphc",
        False,
    ),
    _frames(HTJ2K, "High-Throughput JPEG 2000", "image/jphc", None),
    _elsewhere(f"{_ROOT}.4.204", "JPIP HTJ2K Referenced"),
    _elsewhere(f"{_ROOT}.4.205", "JPIP HTJ2K Referenced Deflate", deflated=True),
    _frames(RLE, "RLE Lossless", "image/dicom-rle", False),
    _elsewhere(f"{_ROOT}.7.1", "SMPTE ST 2110-20 Uncompressed Progressive Active Video"),
    _elsewhere(f"{_ROOT}.7.2", "SMPTE ST 2110-20 Uncompressed Interlaced Active Video"),
    _elsewhere(f"{_ROOT}.7.3", "SMPTE ST 2110-30 PCM Digital Audio"),
    _frames(DEFLATED_FRAME, "Deflated Image Frame Compression", OCTETS, False),
]

SYNTAXES: dict[str, Syntax] = {syntax.uid: syntax for syntax in _ALL}


def syntax_of(uid: str) -> Syntax:
    """Return the transfer syntax of a UID (PS3.6 Table A-1).

    One that the table does not list, private ones above all, is taken to be Explicit VR Little Endian with
    an empty name; whether its pixels are encapsulated is for the data to say (PS3.5 10, A.4).
    """
    return SYNTAXES.get(uid) or Syntax(uid, "", lossy=None)


def sent_as(uid: str) -> str:
    """Return the transfer syntax that an object stored in `uid` is sent in over the web if it is asked for as
    it is: Implicit VR and Big Endian are not legal there (PS3.18 8.7.3.4, W-011)."""
    syntax = syntax_of(uid)
    return EXPLICIT if syntax.implicit or syntax.big_endian else uid


def stored_as(uid: str) -> tuple[str, ...]:
    """Return every transfer syntax that `sent_as` turns into `uid` (PS3.18 8.7.3.4); () if that is none."""
    others = [other for other in SYNTAXES if other != uid and sent_as(other) == uid]
    return (uid, *others) if sent_as(uid) == uid else ()
