"""Frame lists, layouts, and the frame locator over every shape of encapsulation."""

import io
import struct
import time
import warnings
import zlib
from base64 import b64encode

import numpy as np
import pydicom
import pytest
from bytewise import BIG, BIG_ENDIAN, EXPLICIT, JPEG, LITTLE, UNDEFINED, file
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_files
from pydicom.encaps import generate_frames
from realdata import real_files

from dicomweb.errors import BadObject, BadRequest, Corrupt, NotFound
from dicomweb.standard.elements import Limits
from dicomweb.standard.frames import Bulk, Layout, Span, read_list
from dicomweb.standard.part10 import Part10, read_object

LIMITS = Limits()
RLE = "1.2.840.10008.1.2.5"
J2K = "1.2.840.10008.1.2.4.90"
VIDEO = "1.2.840.10008.1.2.4.102"
UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
SOI = b"\xff\xd8\xff"


def read(data: bytes) -> Part10:
    return read_object(data, LIMITS)


def frame(parsed: Part10, number: int) -> bytes:
    data = b"".join(bytes(parsed.data[start:stop]) for start, stop in parsed.layout.spans(number))
    finished = parsed.layout.finish(number, data)
    assert parsed.layout.frame_size(number) == len(finished)
    return finished


def frames(parsed: Part10) -> list[bytes]:
    return [frame(parsed, number) for number in range(1, parsed.layout.count + 1)]


def sentences(parsed: Part10) -> list[str]:
    return [warning.sentence for warning in parsed.warnings]


def encapsulated(
    fragments: list[bytes], *, count: int = 0, table: bytes = b"", syntax: str = JPEG, extended: bytes = b""
) -> bytes:
    """A file with these fragments; each gets its padding."""
    padded = [fragment + b"\0" * (len(fragment) % 2) for fragment in fragments]
    dataset = LITTLE.identity() + LITTLE.description(4, 4, frames=count)
    if extended:
        dataset += LITTLE.element(0x7FE00001, "OV", extended)
        dataset += LITTLE.element(0x7FE00002, "OV", struct.pack("<Q", 0) * (len(extended) // 8))
    return file(dataset + LITTLE.pixels(padded, table), syntax)


# -- lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1", [1]),
        ("3,1,3", [3, 1, 3]),
        ("1, 2", [1, 2]),
        ("1%2C2%2c3", [1, 2, 3]),
        ("007", [7]),
        ("2147483647", [2**31 - 1]),
    ],
)
def test_frame_lists_are_read_in_any_order(text, numbers):
    assert read_list(text) == numbers


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1,,2", "1,", "1-3", "a", "1.0", "+1", "１", "²", "1" * 11, "1;2", "1,0"]
)
def test_what_is_no_list_of_frames_is_refused(text):
    with pytest.raises(BadRequest):
        read_list(text)


def test_a_list_may_not_be_endless():
    assert len(read_list(",".join(["1"] * 5), limit=5)) == 5
    with pytest.raises(BadRequest):
        read_list(",".join(["1"] * 6), limit=5)
    with pytest.raises(BadRequest):
        read_list("1," * 1_000_000 + "1")


# -- native -------------------------------------------------------------------------------------------------


def test_native_frames_follow_each_other():
    data = LITTLE.identity() + LITTLE.description(2, 3, 16, 3) + LITTLE.element(0x7FE00010, "OW", bytes(range(36)))
    parsed = read(file(data))
    assert parsed.layout.kind == "native"
    assert frames(parsed) == [bytes(range(12)), bytes(range(12, 24)), bytes(range(24, 36))]
    assert parsed.layout.pixels == "7FE00010"


@pytest.mark.parametrize("number", [0, -1, 4])
def test_there_is_no_frame_beyond_the_last_one(number):
    data = LITTLE.identity() + LITTLE.description(1, 2, 8, 3) + LITTLE.element(0x7FE00010, "OB", bytes(6))
    with pytest.raises(NotFound):
        read(file(data)).layout.spans(number)


@pytest.mark.parametrize(("vr", "bits", "unit"), [("OW", 16, 2), ("OW", 8, 2), ("OB", 8, 1), ("OW", 32, 2)])
@pytest.mark.parametrize("columns", [3, 4])
def test_big_endian_frames_come_out_little_endian(vr, bits, unit, columns):
    size = 3 * columns * bits // 8
    little = bytes(place % 251 for place in range(size * 3))
    little += b"\0" * (len(little) % 2)
    big = np.frombuffer(little, f"<u{unit}").astype(f">u{unit}").tobytes()
    data = BIG_ENDIAN.identity() + BIG_ENDIAN.description(3, columns, bits, 3)
    parsed = read(file(data + BIG_ENDIAN.element(0x7FE00010, vr, big), BIG))
    assert frames(parsed) == [little[place : place + size] for place in range(0, size * 3, size)]


@pytest.mark.parametrize(("tag", "vr", "unit"), [(0x7FE00008, "OF", 4), (0x7FE00009, "OD", 8)])
def test_floating_point_pixels_are_frames_too(tag, vr, unit):
    values = np.arange(12, dtype=f"f{unit}")
    for encoding, uid in ((LITTLE, EXPLICIT), (BIG_ENDIAN, BIG)):
        data = encoding.identity() + encoding.description(2, 3, unit * 8, 2)
        pixels = encoding.element(tag, vr, values.astype(f"{encoding.order}f{unit}").tobytes())
        parsed = read(file(data + pixels, uid))
        assert b"".join(frames(parsed)) == values.astype(f"<f{unit}").tobytes()
        assert parsed.layout.count == 2


@settings(deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    count=st.integers(1, 9),
    big=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_frames_of_single_bits_are_cut_out_wherever_they_begin(rows, columns, count, big, seed):
    bits = np.random.default_rng(seed).integers(0, 2, (count, rows * columns), dtype=np.uint8)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    packed += b"\0" * (len(packed) % 2)
    stored = np.frombuffer(packed, "<u2").astype(">u2").tobytes() if big else packed
    encoding, uid = (BIG_ENDIAN, BIG) if big else (LITTLE, EXPLICIT)
    data = encoding.identity() + encoding.description(rows, columns, 1, count)
    parsed = read(file(data + encoding.element(0x7FE00010, "OW", stored), uid))
    assert parsed.layout.kind == ("bits" if rows * columns % 8 else "native")
    for number, expected in enumerate(bits, 1):
        assert frame(parsed, number) == np.packbits(expected, bitorder="little").tobytes()


def test_subsampled_colour_takes_two_samples():
    data = LITTLE.identity() + LITTLE.us(0x00280002, 3) + LITTLE.text(0x00280004, "CS", "YBR_FULL_422")
    data += LITTLE.text(0x00280008, "IS", "2") + LITTLE.us(0x00280010, 2) + LITTLE.us(0x00280011, 2)
    data += LITTLE.us(0x00280100, 8) + LITTLE.element(0x7FE00010, "OB", bytes(range(16)))
    assert frames(read(file(data))) == [bytes(range(8)), bytes(range(8, 16))]


def test_pixels_without_a_full_description_are_one_stream():
    parsed = read(file(LITTLE.identity() + LITTLE.us(0x00280010, 4) + LITTLE.element(0x7FE00010, "OW", bytes(32))))
    assert (parsed.layout.kind, parsed.layout.count) == ("opaque", 1)
    assert frames(parsed) == [bytes(32)]


@pytest.mark.parametrize("text", ["0", "-3", "many", ""])
def test_a_number_of_frames_that_makes_no_sense_is_one(text):
    data = LITTLE.identity() + LITTLE.text(0x00280008, "IS", text)
    data += LITTLE.description(2, 2) + LITTLE.element(0x7FE00010, "OB", bytes(4))
    assert read(file(data)).layout.count == 1


# -- encapsulated -------------------------------------------------------------------------------------------


def offsets(groups: list[list[bytes]], form: str) -> bytes:
    """A table of where the first fragment of each group begins."""
    table, place = b"", 0
    for fragments in groups:
        table += struct.pack(form, place)
        place += sum(8 + len(fragment) + len(fragment) % 2 for fragment in fragments)
    return table


BODY = st.binary(min_size=1, max_size=30).map(lambda data: data.replace(b"\xff", b"\xfe"))
ONE_EACH = st.lists(BODY.map(lambda data: [SOI + data]), min_size=1, max_size=6)
SEVERAL = st.lists(
    st.tuples(BODY.map(lambda data: SOI + data), st.lists(BODY, max_size=3)).map(lambda pair: [pair[0], *pair[1]]),
    min_size=1,
    max_size=6,
)


@settings(deadline=None, max_examples=200)
@given(groups=ONE_EACH | SEVERAL, table=st.sampled_from(["basic", "extended", "none", "wrong", "short", "odd"]))
def test_frames_are_found_in_every_shape_of_encapsulation(groups, table):
    fragments = [fragment for fragments in groups for fragment in fragments]
    basic = extended = b""
    if table == "basic":
        basic = offsets(groups, "<I")
    elif table == "extended":
        extended = offsets(groups, "<Q")
    elif table == "wrong":
        basic = offsets(groups, "<I")[:-4] + b"\x55\0\0\0"
    elif table == "short":
        basic = offsets(groups, "<I")[4:]
    elif table == "odd":
        basic = b"\1\2"
    data = encapsulated(fragments, count=len(groups), table=basic, extended=extended)
    parsed = read(data)
    expected = [b"".join(one + b"\0" * (len(one) % 2) for one in fragments) for fragments in groups]
    assert frames(parsed) == expected
    assert parsed.layout.kind == "encapsulated"
    again = Layout.from_bytes(parsed.layout.to_bytes())
    assert [again.spans(number) for number in range(1, again.count + 1)] == [
        parsed.layout.spans(number) for number in range(1, parsed.layout.count + 1)
    ]
    assert parsed.layout.bulk_spans("7FE00010") == tuple(
        span for number in range(1, len(groups) + 1) for span in parsed.layout.spans(number)
    )


@settings(deadline=None)
@given(
    size=st.integers(1, 40),
    count=st.integers(1, 5),
    piece=st.integers(1, 20).map(lambda half: 2 * half),
)
def test_uncompressed_frames_in_fragments_lose_their_padding(size, count, piece):
    wanted = [bytes((number + place) % 256 for place in range(size)) for number in range(count)]
    fragments = [one[place : place + piece] for one in wanted for place in range(0, size, piece)]
    padded = [fragment + b"\0" * (len(fragment) % 2) for fragment in fragments]
    dataset = LITTLE.identity() + LITTLE.description(1, size, frames=count) + LITTLE.pixels(padded)
    assert frames(read(file(dataset, UNCOMPRESSED))) == wanted


def test_the_padded_lengths_of_an_extended_table_do_not_matter():
    data = encapsulated([SOI + b"a", SOI + b"bcd"], count=2, extended=struct.pack("<QQ", 0, 12))
    assert frames(read(data)) == [SOI + b"a", SOI + b"bcd"]


def test_a_single_frame_is_all_fragments_whatever_they_begin_with():
    assert frames(read(encapsulated([SOI + b"a", SOI + b"b", b"cd"]))) == [SOI + b"a" + SOI + b"bcd"]


def test_rle_frames_are_told_apart_by_number_only():
    assert frames(read(encapsulated([b"aa", b"bb", b"cc"], count=3, syntax=RLE))) == [b"aa", b"bb", b"cc"]


@pytest.mark.parametrize(
    ("start", "syntax"),
    [
        (b"\xff\x4f\xff\x51", J2K),
        (b"\0\0\0\x0cjP  ", J2K),
        (b"\xff\x0a", "1.2.840.10008.1.2.4.110"),
        (b"\0\0\0\x0cJXL ", "1.2.840.10008.1.2.4.110"),
        (SOI, "1.2.840.10008.1.2.4.80"),
    ],
)
def test_every_codec_has_its_marker(start, syntax):
    first, second = start + b"1" * (2 + len(start) % 2), start + b"2" * (2 + len(start) % 2)
    parsed = read(encapsulated([first, b"34", second], count=2, syntax=syntax))
    assert frames(parsed) == [first + b"34", second]


def test_frames_that_are_more_or_fewer_than_said_are_all_there():
    parsed = read(encapsulated([SOI + b"a", b"bb", SOI + b"c"], count=5))
    assert frames(parsed) == [SOI + b"abb", SOI + b"c"]
    assert sentences(parsed) == ["there is another number of frames than Number of Frames says"]


def test_frames_that_cannot_be_told_apart_are_one_stream():
    parsed = read(encapsulated([b"aa", b"bb", b"cc"], count=2, syntax=RLE))
    assert (parsed.layout.kind, parsed.layout.count) == ("opaque", 1)
    assert frames(parsed) == [b"aabbcc"]
    assert sentences(parsed) == ["the frames cannot be told apart"]


def test_a_first_frame_in_the_place_of_the_table_is_a_frame():
    items = [SOI + b"a", SOI + b"bcd"]
    content = b"".join(LITTLE.mark(0xE000, len(one)) + one for one in items) + LITTLE.mark(0xE0DD)
    for count, chosen in ((2, items), (1, items[:1])):
        body = content if count == 2 else content[: 8 + 4] + LITTLE.mark(0xE0DD)
        dataset = LITTLE.identity() + LITTLE.description(2, 2, frames=count)
        parsed = read(file(dataset + LITTLE.element(0x7FE00010, "OB", body, UNDEFINED), JPEG))
        assert frames(parsed) == chosen


@pytest.mark.parametrize("items", [0, 1])
def test_pixel_data_without_fragments_have_no_frames(items):
    content = LITTLE.mark(0xE000) * items + LITTLE.mark(0xE0DD)
    dataset = LITTLE.identity() + LITTLE.description(2, 2)
    parsed = read(file(dataset + LITTLE.element(0x7FE00010, "OB", content, UNDEFINED), JPEG))
    assert parsed.layout.count == 0
    assert sentences(parsed) != []
    assert Layout.from_bytes(parsed.layout.to_bytes()) == parsed.layout


def test_a_video_is_one_stream():
    parsed = read(encapsulated([b"abcd", b"efgh"], count=30, syntax=VIDEO))
    assert (parsed.layout.kind, parsed.layout.count) == ("video", 1)
    assert frames(parsed) == [b"abcdefgh"]
    assert parsed.layout.bulk["7FE00010"].media_type == "video/mp4"
    assert sentences(parsed) == []


def test_pixels_of_a_private_syntax_are_encapsulated_if_they_lie_in_fragments():
    parsed = read(encapsulated([b"aa", b"bb"], count=2, syntax="1.2.276.0.99"))
    assert parsed.syntax.encapsulated
    assert frames(parsed) == [b"aa", b"bb"]


@pytest.mark.parametrize("uid", [EXPLICIT, BIG])
def test_fragments_in_a_native_syntax_are_refused(uid):
    encoding = LITTLE if uid == EXPLICIT else BIG_ENDIAN
    data = encoding.identity() + encoding.description(2, 2) + encoding.pixels([b"aa"])
    with pytest.raises(BadObject):
        read(file(data, uid))


# -- layouts as bytes ---------------------------------------------------------------------------------------

BULKS = st.dictionaries(
    st.from_regex(r"[0-9A-F]{8}(/[0-9]{1,3}/[0-9A-F]{8}){0,2}", fullmatch=True),
    st.builds(
        Bulk,
        st.sampled_from(["OB", "OW", "UN", "DS"]),
        st.integers(0, 2**40),
        st.integers(0, 2**40),
        st.sampled_from([0, 2, 4, 8]),
        st.sampled_from(["application/octet-stream", "application/pdf", "modèle/stl"]),
        st.lists(st.builds(Span, st.integers(0, 2**40), st.integers(0, 2**40)), max_size=3).map(tuple),
    ),
    max_size=4,
)


@given(
    st.sampled_from(["none", "native", "bits", "encapsulated", "video", "opaque"]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**50),
    st.integers(0, 2**50),
    st.sampled_from([0, 2, 4, 8]),
    st.booleans(),
    BULKS,
)
def test_layouts_are_read_back_as_written(kind, count, first, size, swap, derived, bulk):
    layout = Layout(kind, count, first=first, stop=first + 9, size=size, swap=swap, derived=derived, bulk=bulk)
    again = Layout.from_bytes(layout.to_bytes())
    assert again == layout
    assert hash(again) == hash(layout)
    assert (again.kind, again.count, again.swap, again.derived) == (kind, count, swap, derived)
    assert dict(again.bulk) == bulk


@given(st.binary(max_size=200))
def test_what_is_no_layout_is_noticed(data):
    try:
        layout = Layout.from_bytes(data)
        dict(layout.bulk)
        layout.to_bytes()
    except Corrupt:
        return
    raise AssertionError(data)


def test_a_layout_cannot_be_changed_through_its_bulk():
    layout = Layout("none", bulk={"00420011": Bulk("OB", 0, 2)})
    with pytest.raises(TypeError):
        layout.bulk["00420011"] = Bulk("OB", 0, 3)  # type: ignore[index]
    with pytest.raises(NotFound):
        layout.bulk_spans("00420012")


def test_offsets_beyond_four_gigabytes_fit():
    place = (5 << 30) + 8
    table = struct.pack("<4Q", 0, 1 << 31, place, place + 100)
    layout = Layout("encapsulated", 3, first=1000, stop=9, fragments=table, width=8, pixels="7FE00010")
    again = Layout.from_bytes(layout.to_bytes())
    assert again.spans(3) == (Span(1000 + place, 1000 + place + 92),)


def test_one_frame_of_a_hundred_thousand_is_found_without_reading_the_table():
    count = 100_000
    table = struct.pack(f"<{count + 1}I", *range(0, 100 * (count + 1), 100))
    data = Layout("encapsulated", count, first=5000, stop=9, fragments=table, pixels="7FE00010").to_bytes()
    assert len(data) < 5 * count
    begin = time.perf_counter()
    for number in range(1, 101):
        stop = 5000 + number * 100_000
        assert Layout.from_bytes(data).spans(number * 1000) == (Span(stop - 100, stop - 8),)
    assert (time.perf_counter() - begin) / 100 < 0.005


# -- checksums ----------------------------------------------------------------------------------------------


def test_frames_and_values_have_the_checksums_of_their_bytes_and_keep_them():
    layouts = [
        encapsulated([SOI + b"a", SOI + b"bcd"], count=2),
        encapsulated([b"ab", b"cd", b"e"], count=1),
        encapsulated([b"\0\0\0\1g" + bytes(20)], syntax=VIDEO),
        file(
            LITTLE.identity() + LITTLE.description(3, 5, frames=3) + LITTLE.element(0x7FE00010, "OW", bytes(range(46)))
        ),
        file(
            BIG_ENDIAN.identity() + BIG_ENDIAN.description(1, 2, 16) + BIG_ENDIAN.element(0x7FE00010, "OW", b"abcd"),
            BIG,
        ),
        file(LITTLE.identity() + LITTLE.element(0x00420011, "OB", bytes(9000))),
    ]
    for data in layouts:
        parsed = read(data)
        checked = parsed.layout.checked(parsed.data)
        apart = checked.kind not in ("none", "video")
        for layout in (checked, Layout.from_bytes(checked.to_bytes())):
            for number in range(1, layout.count + 1) if apart else ():
                stored = b"".join(bytes(parsed.data[start:stop]) for start, stop in layout.spans(number))
                assert layout.frame_checksum(number) == zlib.crc32(stored)
            for path in layout.bulk:
                whole = b"".join(bytes(parsed.data[start:stop]) for start, stop in layout.bulk_spans(path))
                expected = None if apart and path == layout.pixels else zlib.crc32(whole)
                assert layout.value_checksum(path) == expected


def test_a_layout_from_before_there_were_checksums_has_none():
    layout = read(encapsulated([SOI + b"a", SOI + b"bcd"], count=2)).layout
    again = Layout.from_bytes(layout.to_bytes())
    assert (again, again.frame_checksum(2)) == (layout, None)


# -- against pydicom ----------------------------------------------------------------------------------------

FILES = [*map(str, real_files()), *sorted(name for name in get_testdata_files() if name.endswith(".dcm"))]


def opened(path: str) -> tuple[pydicom.Dataset, Part10]:
    with open(path, "rb") as source:
        data = source.read()
    try:
        parsed = read(data)
    except BadObject as error:
        pytest.skip(f"refused: {error}")
    if parsed.layout.pixels != "7FE00010":
        pytest.skip("no Pixel Data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(io.BytesIO(data), force=True), parsed
        except OSError as error:
            pytest.skip(f"pydicom cannot read it: {error}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.rpartition("/")[2])
def test_every_file_has_the_frames_that_pydicom_finds(path):
    ds, parsed = opened(path)
    layout = parsed.layout
    try:
        pixels = ds.PixelData
    except NotImplementedError:
        pytest.skip("pydicom cannot read it")
    if not layout.fragment_count:
        size = layout.frame_size(1)
        unit = layout.swap
        if unit:
            pixels = np.frombuffer(pixels, f">u{unit}").astype(f"<u{unit}").tobytes()
        if layout.kind == "native":
            assert frames(parsed) == [pixels[place * size : (place + 1) * size] for place in range(layout.count)]
        return
    if layout.kind == "video":
        (stream,) = frames(parsed)
        assert stream == b"".join(generate_frames(pixels, number_of_frames=1))
        return
    count = int(ds.get("NumberOfFrames", 1) or 1)
    tables = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths) if "ExtendedOffsetTable" in ds else None
    expected = list(generate_frames(pixels, number_of_frames=count, extended_offsets=tables))
    assert frames(parsed) == expected
    assert layout.count == count


def test_bulk_documents_have_their_media_type_and_no_padding():
    document = b"%PDF-1.7 " + b"x" * 2000
    dataset = LITTLE.identity() + LITTLE.element(0x00420011, "OB", document + b"\0")
    dataset += LITTLE.text(0x00420012, "LO", "application/pdf")
    dataset += LITTLE.element(0x00420015, "UL", struct.pack("<I", len(document)))
    data = file(dataset)
    bulk = read(data).layout.bulk["00420011"]
    assert bulk.media_type == "application/pdf"
    assert data[bulk.start : bulk.stop] == document
    assert b64encode(data)
