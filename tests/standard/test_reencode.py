import io
import struct
from pathlib import Path
from typing import Any

import dicoms
import models
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oddities import Oddity
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from realdata import needs_real_files, real_files

from dicomweb.errors import BadObject, ObjectTooComplex, TruncatedObject
from dicomweb.standard import elements, part10
from dicomweb.standard.elements import Limits
from dicomweb.standard.reencode import Copy, Reencoded, explicit
from dicomweb.standard.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, syntax_of
from dicomweb.standard.values import swapped

IDS = {"sop_class": dicoms.CT, "instance": "1.2.3"}


def element(tag: int, value: bytes, length: int | None = None) -> bytes:
    """An element or an item header with value, in Implicit VR Little Endian."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def body(file: bytes) -> bytes:
    """The data set of a Part 10 file."""
    (length,) = struct.unpack_from("<I", file, 140)
    return file[144 + length :]


def big_endian(ds: Dataset) -> bytes:
    """The data set in Explicit VR Big Endian; values of bytes are written as they are."""
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = False, False
    write_dataset(out, ds)
    return out.getvalue()


def whole(source: bytes, syntax: str = IMPLICIT, **more: Any) -> bytes:
    """The data set re-encoded, as one file."""
    made = explicit(source, 0, len(source), syntax_of(syntax), **IDS, **more)
    file = b"".join(made.pieces(lambda start, stop: [source[start:stop]]))
    assert len(file) == made.size
    return file


def again(source: bytes, syntax: str = IMPLICIT) -> Dataset:
    """The data set re-encoded, as pydicom reads it."""
    return pydicom.dcmread(io.BytesIO(whole(source, syntax)))


def everything() -> Dataset:
    """A data set with an element of every VR, sequences, private blocks and large values."""
    ds = dicoms.dataset()
    ds["PixelData"].VR = "OW"
    ds.add_new(0x00081140, "SQ", [Dataset(), dicoms.dataset(2, PixelData=None)])
    ds.add_new(0x00080001, "UL", 7)
    ds.add_new(0x00081163, "FD", [1.5, -2.25])
    ds.add_new(0x00089459, "FL", 0.5)
    ds.add_new(0x00081161, "UL", [1, 1 << 31])
    ds.add_new(0x00209165, "AT", [0x00209056, 0x00209057])
    ds.add_new(0x00189810, "US", 3)
    ds.add_new(0x00280106, "US", 60_000)
    ds.add_new(0x00283006, "OW", b"\1\2\3\4")
    ds.add_new(0x0040A13A, "DT", "2024")
    ds.add_new(0x00660016, "OF", struct.pack("<2f", 1.5, 2.5))
    ds.add_new(0x00660040, "OL", struct.pack("<2I", 1, 1 << 31))
    ds.add_new(0x00720082, "SV", [-1, 1 << 40])
    ds.add_new(0x00720083, "UV", [1 << 63])
    ds.add_new(0x7FE00001, "OV", struct.pack("<Q", 1 << 40))
    block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x08, "CS", "IMAGE NUM 4")
    block.add_new(0x10, "OB", bytes(range(256)) * 40)
    ds.private_block(0x0031, "ROENTGATE UNKNOWN", create=True).add_new(0x01, "OB", b"\1\2")
    return ds


def values(ds: Dataset) -> list[Any]:
    """Tags and values, without VRs and group lengths, items in place."""
    listed: list[Any] = []
    for one in ds:
        value = [values(item) for item in one.value] if one.VR == "SQ" else one.value
        listed.append((f"{one.tag:08X}", value))
    return listed


# -- whole data sets ----------------------------------------------------------------------------------------


def test_implicit_vr_becomes_explicit_with_every_value_the_same():
    ds = everything()
    read = again(body(dicoms.part10(ds, IMPLICIT)))
    assert read.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert values(read) == values(ds)
    assert [one.VR for one in read] == [one.VR if one.tag != 0x00311001 else "UN" for one in ds]


def test_big_endian_becomes_little_endian_with_every_value_the_same():
    ds = everything()
    big = everything()
    for tag, unit in {0x00283006: 2, 0x7FE00010: 2, 0x00660016: 4, 0x00660040: 4, 0x7FE00001: 8}.items():
        big[tag].value = swapped(big[tag].value, unit)
    read = again(big_endian(big), BIG_ENDIAN)
    assert values(read) == values(ds)
    assert [one.VR for one in read] == [one.VR for one in ds]


def test_an_inflated_data_set_is_one_range():
    inflated = body(dicoms.ct())
    made = explicit(inflated, 0, len(inflated), syntax_of(DEFLATED), **IDS)
    assert made.segments[1:] == (Copy(0, len(inflated), 0),)
    assert body(whole(inflated, DEFLATED)) == inflated


def test_file_meta_says_what_the_file_is_and_keeps_where_it_came_from():
    source = body(dicoms.part10(dicoms.dataset(), IMPLICIT))
    meta = {"00020016": {"vr": "AE", "Value": ["SCANNER"]}, "00020010": {"vr": "UI", "Value": [IMPLICIT]}}
    read = pydicom.dcmread(io.BytesIO(whole(source, meta=meta))).file_meta
    assert (read.MediaStorageSOPInstanceUID, read.SourceApplicationEntityTitle) == ("1.2.3", "SCANNER")
    assert read.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_pixel_data_are_a_range_of_the_source():
    pixels = bytes(range(256)) * 256
    source = b"lead in" + body(dicoms.part10(dicoms.dataset(PixelData=pixels), IMPLICIT))
    made = explicit(source, 7, len(source), syntax_of(IMPLICIT), **IDS)
    assert made.segments[-1] == Copy(len(source) - len(pixels), len(source), 0)
    assert len(made.segments) == 2


def test_the_buffer_may_end_where_the_pixels_begin():
    pixels = bytes(65536)
    source = body(dicoms.part10(dicoms.dataset(PixelData=pixels), IMPLICIT))
    assert explicit(source[: -len(pixels)], 0, len(source), syntax_of(IMPLICIT), **IDS) == explicit(
        source, 0, len(source), syntax_of(IMPLICIT), **IDS
    )


# -- value representations ----------------------------------------------------------------------------------


def test_the_sign_of_pixels_decides_between_us_and_ss_also_before_it_and_inside_of_items():
    inner = element(0x00280106, b"\xff\xff")
    source = (
        element(0x00189810, b"\xfe\xff")
        + element(0x00081140, element(0xFFFEE000, inner))
        + element(0x00280103, b"\1\0")
        + element(0x00283000, element(0xFFFEE000, element(0x00280103, b"\0\0") + inner))
    )
    read = again(source)
    assert read[0x00189810].VR == "SS"
    assert read[0x00189810].value == -2
    assert read[0x00081140].value[0][0x00280106].value == -1
    assert read[0x00283000].value[0][0x00280106].value == 65535


def test_a_long_value_of_either_sign_goes_out_as_un():
    source = element(0x00280103, b"\1\0") + element(0x00283002, b"\1\0" * 40_000)
    assert b"\x28\0\2\x30UN\0\0" + struct.pack("<I", 80_000) in whole(source)


def test_private_attributes_have_the_vr_of_their_creator_and_un_without():
    source = (
        element(0x00290010, b"SIEMENS CSA HEADER")
        + element(0x00290011, b"NOBODY")
        + element(0x00291008, b"IMAGE NUM 4 ")
        + element(0x00291108, b"IMAGE NUM 4 ")
        + element(0x00291208, b"IMAGE NUM 4 ")
    )
    assert body(whole(source))[40:] == (
        b"\x29\0\x08\x10CS\x0c\0IMAGE NUM 4 "
        b"\x29\0\x08\x11UN\0\0\x0c\0\0\0IMAGE NUM 4 "
        b"\x29\0\x08\x12UN\0\0\x0c\0\0\0IMAGE NUM 4 "
    )


def test_a_text_too_long_for_its_vr_goes_out_as_un_with_the_same_bytes():
    source = element(0x00204000, b"x" * 65_536)
    assert body(whole(source)) == b"\x20\0\0\x40UN\0\0\0\0\1\0" + b"x" * 65_536


def test_un_of_undefined_length_holds_implicit_vr_whatever_is_around():
    item = element(0xFFFEE000, element(0x00080060, b"CT"), 0xFFFFFFFF) + element(0xFFFEE00D, b"")
    big = struct.pack(">HH2sHI", 0x0029, 0x1001, b"UN", 0, 0xFFFFFFFF) + item + element(0xFFFEE0DD, b"")
    little = element(0x00291001, item + element(0xFFFEE0DD, b""), 0xFFFFFFFF)
    for source, syntax in ((big, BIG_ENDIAN), (little, IMPLICIT)):
        read = again(source, syntax)
        assert read[0x00291001].VR == "SQ"
        assert read[0x00291001].value[0].Modality == "CT"


# -- sloppy and broken data ---------------------------------------------------------------------------------


def test_group_lengths_and_padding_are_dropped_and_odd_lengths_made_even():
    source = (
        element(0x00080000, b"\1\0\0\0")
        + element(0x00080060, b"CTX")
        + element(0x00282000, b"\1\2\3")
        + element(0xFFFCFFFC, bytes(64))
    )
    assert body(whole(source)) == b"\x08\0\x60\0CS\4\0CTX \x28\0\0\x20OB\0\0\4\0\0\0\1\2\3\0"


def test_the_last_padding_byte_may_be_missing():
    source = element(0x00082111, b"x" * 5001, 5002)
    assert body(whole(source)) == b"\x08\0\x11\x21ST\x8a\x13" + b"x" * 5001 + b" "


def test_sequences_of_defined_and_undefined_length_come_out_alike():
    inner = element(0x00080060, b"CT")
    defined = element(0x00081140, element(0xFFFEE000, inner) + element(0xFFFEE000, b""))
    end, last = element(0xFFFEE00D, b""), element(0xFFFEE0DD, b"")
    items = element(0xFFFEE000, inner + end, 0xFFFFFFFF) + element(0xFFFEE000, end, 0xFFFFFFFF)
    assert whole(defined) == whole(element(0x00081140, items + last, 0xFFFFFFFF))


@pytest.mark.parametrize(
    "source",
    [
        element(0x00080060, b"CT", 8),
        element(0x00081140, b"", 8),
        element(0x00081140, element(0xFFFEE000, b"", 8)),
        element(0x00081140, b"", 0xFFFFFFFF),
        element(0x00081140, b"\xfe\xff", 0xFFFFFFFF),
    ],
)
def test_data_that_end_too_early_are_refused(source):
    with pytest.raises(TruncatedObject):
        whole(source)


def test_sequences_hold_items_only():
    with pytest.raises(BadObject, match="items"):
        whole(element(0x00081140, element(0x00080060, b"CT")))


def test_sequences_may_be_nested_as_deep_as_the_limit_and_no_deeper():
    def nested(depth: int) -> bytes:
        source = b""
        for _ in range(depth):
            source = element(0x00081140, element(0xFFFEE000, source))
        return source

    assert whole(nested(64))
    for deep in (nested(65), element(0x00081140, b"\xfe\xff\0\xe0\xff\xff\xff\xff", 0xFFFFFFFF) * 5_000):
        with pytest.raises(ObjectTooComplex):
            whole(deep)


@given(st.binary(max_size=200), st.sampled_from([IMPLICIT, BIG_ENDIAN]))
def test_whatever_the_bytes_are_they_are_written_or_refused(source, syntax):
    try:
        file = whole(source, syntax)
    except BadObject:
        return
    assert file[128:132] == b"DICM"


# -- parts of the file --------------------------------------------------------------------------------------


@given(st.data(), st.sampled_from([0, 2, 4, 8]), st.integers(1, 40))
def test_any_part_of_the_file_is_what_it_is_of_the_whole(data, unit, chunk):
    source = bytes(range(96))
    made = Reencoded((b"head", Copy(8, 88, unit), b"tail", Copy(0, 8, 0)), 96)

    def read(start, stop):
        return (source[place : min(place + chunk, stop)] for place in range(start, stop, chunk))

    file = b"".join(made.pieces(read))
    assert file == b"head" + swapped(source[8:88], unit) + b"tail" + source[:8]
    start = data.draw(st.integers(0, 96))
    stop = data.draw(st.integers(start, 96))
    assert b"".join(made.pieces(read, start, stop)) == file[start:stop]


def test_bytes_are_swapped_in_units_and_a_rest_stays():
    assert swapped(b"abcdefghi", 2) == b"badcfehgi"
    assert swapped(b"abcdefghi", 4) == b"dcbahgfei"
    assert swapped(b"abcdefghi", 8) == b"hgfedcbai"
    assert swapped(b"abc", 0) == b"abc"


# -- beside the element walker ------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 1 << 32), st.booleans())
@example(159, False)  # a sequence that is delimited before its length is over
def test_whatever_the_element_walker_reads_is_the_same_for_it_after_reencoding(seed, big):
    source = Oddity(seed, big).data
    syntax = syntax_of(BIG_ENDIAN if big else IMPLICIT)
    try:
        before = elements.walk(source, 0, len(source), syntax, Limits())
    except BadObject:
        return
    file = whole(source, syntax.uid)
    start = len(file) - len(body(file))
    after = elements.walk(file, start, len(file), syntax_of(EXPLICIT), Limits())
    assert models.with_even_lengths(after.dataset) == models.with_even_lengths(before.dataset)
    assert after.bulk.keys() == before.bulk.keys()


# -- real files ---------------------------------------------------------------------------------------------


def beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024)


def candidates() -> list[Path]:
    """Real files that seem to be in one of the syntaxes in question."""
    names = [f"{syntax}\0".encode() for syntax in (IMPLICIT, BIG_ENDIAN)] + [DEFLATED.encode()]
    return [path for path in real_files() if any(name in beginning(path) for name in names)]


@needs_real_files
@pytest.mark.parametrize("path", candidates(), ids=lambda path: path.name)
def test_a_real_file_reencoded_is_the_same_data_set_for_the_element_walker(path):
    try:
        parsed = part10.read_object(path.read_bytes(), Limits())
    except BadObject:
        return  # what is not stored is never re-encoded
    source = parsed.data
    inflated = parsed.syntax.deflated
    made = explicit(
        source,
        0 if inflated else parsed.data_start,
        len(source) if inflated else parsed.data_end,
        parsed.syntax,
        sop_class=parsed.sop_class,
        instance=parsed.instance,
        meta=parsed.meta,
    )
    explicit_file = b"".join(made.pieces(lambda start, stop: [bytes(source[start:stop])]))
    assert len(explicit_file) == made.size
    again = part10.read_object(explicit_file, Limits())
    assert again.syntax.uid == EXPLICIT
    assert again.dataset == parsed.dataset
    assert again.layout.count == parsed.layout.count
    for number in range(1, parsed.layout.count + 1):
        frames = [
            layout.finish(number, b"".join(bytes(data[start:stop]) for start, stop in layout.spans(number)))
            for layout, data in ((parsed.layout, source), (again.layout, explicit_file))
        ]
        assert frames[0] == frames[1]
