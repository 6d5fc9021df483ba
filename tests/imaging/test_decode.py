"""Codestreams into numbers: whose word counts, and what becomes of damaged ones and of bombs."""

import io
import struct
import subprocess
import sys
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import described, name_of, picture
from PIL import Image

from dicomweb.errors import Undecodable
from dicomweb.imaging import native, targets
from dicomweb.imaging.colours import to_rgb
from dicomweb.imaging.decode import decode
from dicomweb.imaging.transcode import transcode
from dicomweb.standard import codestreams
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import (
    DEFLATED_FRAME,
    EXPLICIT,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_P14,
    JPEG_LS,
    JPEG_LS_LOSSY,
    JPEG_XL,
    JPEG_XL_LOSSLESS,
    RLE,
    syntax_of,
)

GREY = described(8)
RGB = described(8, photometric="RGB")
COMPRESSED = sorted(uid for uid in targets.targets(EXPLICIT, GREY) if syntax_of(uid).encapsulated)


def encoded(format: Format, syntax: str) -> tuple[bytes, Format]:
    data = native.write(picture(format), format)
    return transcode(data, EXPLICIT, format, syntax), targets.described(format, EXPLICIT, syntax)


def smooth(format: Format) -> NDArray[np.uint8]:
    """A colour picture that survives halved chrominance."""
    down, across = np.mgrid[: format.rows, : format.columns]
    return np.stack((5 * across + 20, 5 * down + 30, 200 - 3 * across), axis=-1).astype(np.uint8)


# -- whose word counts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_jpeg_wraps_around_and_does_not_clamp(predictor: int, bits: int) -> None:
    format = described(bits)
    noise = np.random.default_rng(bits).integers(0, 1 << bits, (37, 42)).astype(native.dtype_of(format))
    noise[::2, ::2], noise[1::2, ::2] = 0, (1 << bits) - 1
    frame = imagecodecs.jpeg8_encode(noise, lossless=True, predictor=predictor, bitspersample=bits)
    assert np.array_equal(decode(bytes(frame), JPEG_LOSSLESS_P14, format)[0], noise)


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL", "YBR_PARTIAL_420", "RGB"])
@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
def test_a_jpeg_with_chrominance_becomes_red_green_and_blue(photometric: str, subsampling: str) -> None:
    format = described(8, photometric=photometric)
    array = smooth(format)
    frame = bytes(imagecodecs.jpeg8_encode(array, level=98, subsampling=subsampling))
    back, after = decode(frame, JPEG_BASELINE, format)
    assert (after.photometric, after.planar) == ("RGB", 0)
    assert np.abs(back.astype(int) - array).max() <= 6


def test_a_jpeg_that_says_it_is_rgb_is_believed() -> None:
    array = smooth(RGB)
    frame = bytes(imagecodecs.jpeg8_encode(array, level=98, colorspace="rgb", outcolorspace="rgb"))
    for photometric in ("RGB", "YBR_FULL_422"):
        back, _ = decode(frame, JPEG_BASELINE, replace(RGB, photometric=photometric))
        assert np.abs(back.astype(int) - array).max() <= 4


def test_of_a_jpeg_that_says_nothing_the_description_decides() -> None:
    array = smooth(RGB)
    frame = bytes(imagecodecs.jpeg8_encode(array, level=98, colorspace="rgb", outcolorspace="rgb"))
    silent = frame[:2] + frame[4 + struct.unpack_from(">H", frame, 4)[0] :]
    for name, number in ((b"R", 1), (b"G", 2), (b"B", 3)):
        silent = silent.replace(name + b"\x11", bytes([number]) + b"\x11").replace(name + b"\x00", bytes([number, 0]))
    picture = codestreams.read_picture(silent, JPEG_BASELINE)
    assert picture is not None
    assert picture.colours == ""
    assert np.abs(decode(silent, JPEG_BASELINE, RGB)[0].astype(int) - array).max() <= 4
    back, _ = decode(silent, JPEG_BASELINE, replace(RGB, photometric="YBR_FULL_422"))
    assert np.abs(back.astype(int) - to_rgb(array, replace(RGB, photometric="YBR_FULL"))).max() <= 8


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_LS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS, RLE])
def test_lossless_chrominance_stays_as_it_is_where_that_is_legal(syntax: str) -> None:
    format = described(8, photometric="YBR_FULL")
    frame, there = encoded(format, syntax)
    back, after = decode(frame, syntax, there)
    assert after.photometric == "YBR_FULL"
    assert np.array_equal(back, picture(format))


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_LS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS])
def test_chrominance_said_to_be_halved_becomes_red_green_and_blue(syntax: str) -> None:
    format = described(8, photometric="YBR_FULL")
    frame, there = encoded(format, syntax)
    back, after = decode(frame, syntax, replace(there, photometric="YBR_FULL_422"))
    assert after.photometric == "RGB"
    assert np.array_equal(back, to_rgb(picture(format), format))


def test_an_rle_frame_has_whole_chrominance_whatever_is_said() -> None:
    format = described(8, photometric="YBR_FULL")
    frame, there = encoded(format, RLE)
    back, after = decode(frame, RLE, replace(there, photometric="YBR_FULL_422"))
    assert after == there
    assert np.array_equal(back, picture(format))
    assert transcode(frame, RLE, replace(there, photometric="YBR_FULL_422"), EXPLICIT) == native.write(back, after)


@pytest.mark.parametrize("syntax", [JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS])
def test_jpeg_2000_with_another_sign_than_described_keeps_its_bits(syntax: str) -> None:
    signed, unsigned = described(12, signed=True), described(12)
    array = picture(signed)
    frame, _ = encoded(signed, syntax)
    assert np.array_equal(decode(frame, syntax, unsigned)[0], array.view("u2") & 0xFFF)
    frame, _ = encoded(unsigned, syntax)
    assert np.array_equal(decode(frame, syntax, signed)[0], (picture(unsigned).astype("i2") << 4) >> 4)


@pytest.mark.parametrize("syntax", [JPEG_LOSSLESS, JPEG_LS, JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS])
def test_fewer_bits_than_described_are_no_harm(syntax: str) -> None:
    frame, _ = encoded(GREY, syntax)
    wide = Format(GREY.rows, GREY.columns, allocated=16, stored=16, high=15, signed=True)
    back, _ = decode(frame, syntax, replace(wide, signed=False))
    assert back.dtype == np.uint16
    assert np.array_equal(back, picture(GREY))


def test_more_bits_than_allocated_are_a_contradiction() -> None:
    frame, _ = encoded(described(16), JPEG_LS)
    with pytest.raises(Undecodable, match="16 bits"):
        decode(frame, JPEG_LS, GREY)


def test_the_codestream_says_which_jpeg_it_is() -> None:
    frame, _ = encoded(GREY, JPEG_LOSSLESS)
    assert np.array_equal(decode(frame, JPEG_BASELINE, GREY)[0], picture(GREY))
    frame, _ = encoded(GREY, JPEG_LS)
    assert np.array_equal(decode(frame, JPEG_LOSSLESS, GREY)[0], picture(GREY))


def test_jpeg_2000_in_the_boxes_of_a_file_is_read() -> None:
    array = picture(GREY)
    boxed = bytes(imagecodecs.jpeg2k_encode(array, codecformat="jp2", level=0, reversible=True))
    assert not boxed.startswith(b"\xff\x4f")
    assert np.array_equal(decode(boxed, JPEG_2000_LOSSLESS, GREY)[0], array)


def test_progressive_jpeg_is_read() -> None:
    out = io.BytesIO()
    array = smooth(RGB)
    Image.fromarray(array).save(out, "JPEG", quality=98, progressive=True)
    back, _ = decode(out.getvalue(), "1.2.840.10008.1.2.4.55", replace(RGB, photometric="YBR_FULL_422"))
    assert np.abs(back.astype(int) - array).max() <= 6


def test_pixels_of_one_bit_come_back_as_bits() -> None:
    format = described(1)
    for syntax in (JPEG_2000_LOSSLESS, HTJ2K_LOSSLESS, DEFLATED_FRAME):
        frame, there = encoded(format, syntax)
        assert np.array_equal(decode(frame, syntax, there)[0], picture(format))
    eight = imagecodecs.jpeg2k_encode(picture(format) * np.uint8(255), codecformat="j2k", level=0, reversible=True)
    assert np.array_equal(decode(bytes(eight), JPEG_2000_LOSSLESS, format)[0], picture(format))


# -- damage, bombs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("format", [GREY, RGB], ids=name_of)
def test_a_frame_that_is_cut_is_refused(syntax: str, format: Format) -> None:
    frame, there = encoded(replace(format, rows=90, columns=110), syntax)
    for left in (0, 1, 20, len(frame) // 10, len(frame) // 2, len(frame) * 9 // 10, len(frame) - 4):
        with pytest.raises(Undecodable) as caught:
            decode(frame[:left], syntax, there)
        assert str(caught.value)[0].islower()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_padding_behind_a_frame_is_no_harm(syntax: str) -> None:
    frame, there = encoded(GREY, syntax)
    assert np.array_equal(decode(frame + b"\0", syntax, there)[0], decode(frame, syntax, there)[0])


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("change", [{"rows": 36}, {"columns": 43}, {"rows": 60_000, "columns": 60_000}])
def test_a_frame_of_another_size_than_described_is_refused(syntax: str, change: dict[str, int]) -> None:
    if syntax in targets.PLAIN and "rows" in change and change["rows"] == 36:
        pytest.skip("samples alone do not say how many there are")
    frame, there = encoded(GREY, syntax)
    with pytest.raises(Undecodable):
        decode(frame, syntax, replace(there, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_frame_of_other_samples_than_described_is_refused(syntax: str) -> None:
    frame, there = encoded(GREY, syntax)
    with pytest.raises(Undecodable):
        decode(frame, syntax, replace(there, samples=3, photometric="RGB"))
    for samples in (2, 255, 65535):
        with pytest.raises(Undecodable, match=f"pixels of {samples} samples"):
            decode(frame, syntax, replace(there, samples=samples))


@pytest.mark.parametrize("syntax", [EXPLICIT, *COMPRESSED])
def test_a_frame_above_the_limit_is_refused(syntax: str) -> None:
    frame, there = encoded(GREY, syntax) if syntax != EXPLICIT else (native.write(picture(GREY), GREY), GREY)
    pixels = GREY.rows * GREY.columns
    assert decode(frame, syntax, there, pixels)[0].shape == (GREY.rows, GREY.columns)
    with pytest.raises(Undecodable, match="above the limit of 1,553"):
        decode(frame, syntax, there, pixels - 1)


GIANT = Format(60_000, 60_000, allocated=8, stored=8, high=7)


def _giant(syntax: str) -> bytes:
    """A small frame whose header says 60,000 by 60,000."""
    frame = bytearray(encoded(GREY, syntax)[0])
    if frame.startswith(b"\xff\xd8"):
        place = next(frame.index(marker) for marker in (b"\xff\xc0", b"\xff\xc3", b"\xff\xf7") if marker in frame)
        struct.pack_into(">HH", frame, place + 5, GIANT.rows, GIANT.columns)
    elif frame.startswith(b"\xff\x4f"):
        struct.pack_into(">II", frame, 8, GIANT.columns, GIANT.rows)
        struct.pack_into(">II", frame, 24, GIANT.columns, GIANT.rows)
    return bytes(frame)


@pytest.mark.parametrize("syntax", [*COMPRESSED, EXPLICIT])
def test_bombs_are_refused_before_room_is_made_for_them(syntax: str) -> None:
    """In a process of its own that has room for a hundredth of the picture."""
    frame = _giant(syntax) if syntax != EXPLICIT else bytes(1000)
    code = (
        "import resource, sys\n"
        "from dicomweb.imaging.decode import decode\n"
        "from dicomweb.imaging.transcode import transcode\n"
        "from dicomweb.standard.pixels import Format\n"
        "from dicomweb.errors import Undecodable\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (36 << 20), used + (36 << 20)))\n"
        "syntax, frame = sys.argv[1], bytes.fromhex(sys.argv[2])\n"
        "format = Format(60000, 60000, allocated=8, stored=8, high=7)\n"
        "for call in (lambda: decode(frame, syntax, format, 10**8), lambda: transcode(frame, syntax, format,\n"
        "             '1.2.840.10008.1.2.5' if syntax.endswith('2.1') else '1.2.840.10008.1.2.1', None, 10**8)):\n"
        "    try: call()\n"
        "    except Undecodable as error: assert 'above the limit' in str(error), error\n"
        "    else: sys.exit('decoded')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, syntax, frame.hex()], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("syntax", [uid for uid in COMPRESSED if uid not in targets.PLAIN | targets.JPEG_XL_ALL])
def test_a_codestream_larger_than_described_is_refused(syntax: str) -> None:
    with pytest.raises(Undecodable, match="60,000 by 60,000 pixels, and 42 by 37 are described"):
        decode(_giant(syntax), syntax, GREY)


DAMAGED = [
    JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LS, JPEG_LS_LOSSY, JPEG_2000, JPEG_2000_LOSSLESS, HTJ2K,
    HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, JPEG_XL, JPEG_XL_LOSSLESS, RLE, DEFLATED_FRAME,
]  # fmt: skip


@pytest.mark.parametrize("syntax", DAMAGED)
def test_damage_is_refused_or_decoded_and_kills_nobody(syntax: str) -> None:
    """In a process of its own; twice, with other bytes in memory before, so that none of those can be seen."""
    code = (
        "import random, sys\n"
        "import numpy as np\n"
        "from pictures import described, picture\n"
        "from dicomweb.errors import Undecodable\n"
        "from dicomweb.imaging import native, targets\n"
        "from dicomweb.imaging.decode import decode\n"
        "from dicomweb.imaging.transcode import transcode\n"
        "from dicomweb.standard.syntaxes import EXPLICIT\n"
        "syntax = sys.argv[1]\n"
        "for format in (described(12), described(8, photometric='RGB'), described(8)):\n"
        "    if syntax not in targets.targets(EXPLICIT, format): continue\n"
        "    frame = transcode(native.write(picture(format), format), EXPLICIT, format, syntax)\n"
        "    there = targets.described(format, EXPLICIT, syntax)\n"
        "    for seed in range(60):\n"
        "        random.seed(seed)\n"
        "        damaged = bytearray(frame)\n"
        "        for _ in range(random.choice((1, 3, 20))):\n"
        "            damaged[random.randrange(len(damaged))] = random.randrange(256)\n"
        "        if seed % 3 == 0:\n"
        "            cut = random.randrange(len(damaged) - 10)\n"
        "            damaged = damaged[:cut] + damaged[-2:]\n"
        "        seen = []\n"
        "        for octet in (0xAA, 0x55):\n"
        "            before = [np.full(size, octet, 'u1') for size in (1554, 3108, 4662, 6216, 9324) * 8]\n"
        "            del before\n"
        "            try: seen.append(decode(bytes(damaged), syntax, there)[0].tobytes())\n"
        "            except Undecodable as error: seen.append(str(error))\n"
        "        assert seen[0] == seen[1], seed\n"
    )
    command = [sys.executable, "-c", code, syntax]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(sys.path)})
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr


@settings(max_examples=60)
@given(st.binary(max_size=400), st.sampled_from(sorted(targets.DECODED)))
def test_what_is_no_frame_at_all_is_refused(data: bytes, syntax: str) -> None:
    with pytest.raises(Undecodable):
        decode(data, syntax, GREY)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.66", "1.2.3", ""])
def test_what_nobody_here_decodes_is_said(syntax: str) -> None:
    with pytest.raises(Undecodable, match="is not decoded here"):
        decode(b"", syntax, GREY)


def test_a_frame_that_memory_is_too_small_for_is_refused() -> None:
    code = (
        "import resource, sys\n"
        "import numpy as np\n"
        "from dicomweb.errors import Undecodable\n"
        "from dicomweb.imaging.decode import decode\n"
        "from dicomweb.imaging.plain import wrap\n"
        "from dicomweb.standard.pixels import Format\n"
        "from dicomweb.standard.syntaxes import RLE\n"
        "format = Format(4000, 4000, allocated=32, stored=32, high=31)\n"
        "frame = wrap(bytes(64_000_000), RLE, format)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (40 << 20), used + (40 << 20)))\n"
        "try: decode(frame, RLE, format)\n"
        "except Undecodable as error: assert 'memory' in str(error), error\n"
        "else: sys.exit('decoded')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
