"""The element walker: the model of every VR in every encoding, sequences, bulk, faults of old devices, limits."""

import io
import json
import mmap
import struct
import tempfile
import tracemalloc
import warnings
import zlib
from base64 import b64encode
from itertools import accumulate, pairwise

import pydicom
import pytest
from bytewise import BIG, BIG_ENDIAN, ENCODINGS, EXPLICIT, IMPLICIT, LITTLE, UNDEFINED, WITHOUT_VR, Encoding
from crosscheck import differences, model_of
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_files
from realdata import real_files

from dicomweb.errors import BadObject, ObjectTooComplex, TruncatedObject
from dicomweb.standard import part10
from dicomweb.standard.elements import Limits, Walked, walk
from dicomweb.standard.frames import Bulk
from dicomweb.standard.syntaxes import syntax_of

LIMITS = Limits()
NATIVE = [EXPLICIT, BIG, IMPLICIT]
each_encoding = pytest.mark.parametrize("uid", NATIVE, ids=["explicit", "big endian", "implicit"])
each_explicit = pytest.mark.parametrize("uid", NATIVE[:2], ids=["explicit", "big endian"])


def read(data: bytes, uid: str = EXPLICIT, limits: Limits = LIMITS) -> Walked:
    return walk(data, 0, len(data), syntax_of(uid), limits)


def model(data: bytes, uid: str = EXPLICIT) -> dict:
    return read(data, uid).dataset


# -- values -------------------------------------------------------------------------------------------------

TEXTS = [
    (0x00080054, "AE", b" STORE \\SCP", {"vr": "AE", "Value": ["STORE", "SCP"]}),
    (0x00101010, "AS", b"034Y", {"vr": "AS", "Value": ["034Y"]}),
    (0x00080008, "CS", b"ORIGINAL\\\\PRIMARY ", {"vr": "CS", "Value": ["ORIGINAL", None, "PRIMARY"]}),
    (0x00080008, "CS", b"\\ ", {"vr": "CS", "Value": [None, None]}),
    (0x00080060, "CS", b"  ", {"vr": "CS"}),
    (0x00080020, "DA", b"20240131", {"vr": "DA", "Value": ["20240131"]}),
    (0x00080020, "DA", b"1997.04.30", {"vr": "DA", "Value": ["1997.04.30"]}),
    (0x0008002A, "DT", b"20240131101500.5+0100 ", {"vr": "DT", "Value": ["20240131101500.5+0100"]}),
    (0x00080030, "TM", b"1015", {"vr": "TM", "Value": ["1015"]}),
    (0x00080070, "LO", b" ACME ", {"vr": "LO", "Value": ["ACME"]}),
    (0x00080070, "LO", b"", {"vr": "LO"}),
    (0x00081010, "SH", b"CT\\1", {"vr": "SH", "Value": ["CT", "1"]}),
    (0x00104000, "LT", b"  a\\b\r\n ", {"vr": "LT", "Value": ["  a\\b\r\n"]}),
    (0x00082111, "ST", b" s\\t", {"vr": "ST", "Value": [" s\\t"]}),
    (0x0040A160, "UT", b" u\\t ", {"vr": "UT", "Value": [" u\\t"]}),
    (0x00080119, "UC", b"u\\c ", {"vr": "UC", "Value": ["u", "c"]}),
    (0x00081190, "UR", b"http://a/b\\c ", {"vr": "UR", "Value": ["http://a/b\\c"]}),
    (0x00080016, "UI", b"1.2\\1.3\0", {"vr": "UI", "Value": ["1.2", "1.3"]}),
    (0x00100010, "PN", b"A^B ", {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}),
    (0x00100010, "PN", b"=I=P", {"vr": "PN", "Value": [{"Ideographic": "I", "Phonetic": "P"}]}),
    (
        0x00100010,
        "PN",
        b"A=I=P=X ",
        {"vr": "PN", "Value": [{"Alphabetic": "A", "Ideographic": "I", "Phonetic": "P=X"}]},
    ),
    (
        0x00081070,
        "PN",
        b"A\\\\B=C",
        {"vr": "PN", "Value": [{"Alphabetic": "A"}, None, {"Alphabetic": "B", "Ideographic": "C"}]},
    ),
    (0x00100010, "PN", b"= ", {"vr": "PN"}),
    (0x00180050, "DS", b"1.50", {"vr": "DS", "Value": [1.5]}),
    (0x00180050, "DS", b" -1e-3\\+2.\\.5\\", {"vr": "DS", "Value": [-0.001, 2.0, 0.5, None]}),
    (0x00180050, "DS", b"0.123456789012345678", {"vr": "DS", "Value": ["0.123456789012345678"]}),
    (0x00180050, "DS", b"9007199254740993", {"vr": "DS", "Value": ["9007199254740993"]}),
    (0x00180050, "DS", b"9007199254740993\\1 ", {"vr": "DS", "Value": ["9007199254740993", 1.0]}),
    (0x00180050, "DS", b"1,5 ", {"vr": "DS", "Value": ["1,5"]}),
    (0x00180050, "DS", b"NaN ", {"vr": "DS", "Value": ["NaN"]}),
    (0x00180050, "DS", b"1_0 ", {"vr": "DS", "Value": ["1_0"]}),
    (0x00180050, "DS", b"1e999 ", {"vr": "DS", "Value": ["1e999"]}),
    (0x00200013, "IS", b"7 ", {"vr": "IS", "Value": [7]}),
    (0x00200013, "IS", b" -12\\+3\\", {"vr": "IS", "Value": [-12, 3, None]}),
    (0x00200013, "IS", b"1.0 ", {"vr": "IS", "Value": ["1.0"]}),
    (0x00200013, "IS", b"99999999999999999999", {"vr": "IS", "Value": ["99999999999999999999"]}),
    (0x00200013, "IS", b"1_0 ", {"vr": "IS", "Value": ["1_0"]}),
]  # fmt: skip


@each_encoding
@pytest.mark.parametrize(("tag", "vr", "value", "element"), TEXTS)
def test_texts_lose_their_padding_and_are_split_where_the_standard_splits_them(uid, tag, vr, value, element):
    assert model(ENCODINGS[uid].element(tag, vr, value), uid) == {f"{tag:08X}": element}


NUMBERS = [
    (0x00280010, "US", "H", (512, 0xFFFF), [512, 65535]),
    (0x00280010, "US", "H", (7,), [7]),
    (0x00189219, "SS", "h", (-2,), [-2]),
    (0x00189219, "SS", "h", (-2, 3), [-2, 3]),
    (0x00081160, "UL", "I", (0xFFFFFFFF,), [0xFFFFFFFF]),
    (0x00186020, "SL", "i", (-5, 5), [-5, 5]),
    (0x00189090, "FD", "d", (0.1, -2.5), [0.1, -2.5]),
    (0x00189090, "FD", "d", (float("nan"),), ["NaN"]),
    (0x00189090, "FD", "d", (1.0, float("inf"), float("-inf")), [1.0, "Infinity", "-Infinity"]),
    (0x00189090, "FD", "d", (1.7e308, 1.7e308), [1.7e308, 1.7e308]),
    (0x0018605A, "FL", "f", (0.5,), [0.5]),
    (0x00340007, "OB", "", (), None),
    (0x00082112, "AT", "HH", (0x0010, 0x0020), ["00100020"]),
    (0x00720054, "SV", "q", (-(2**53) - 1, 5), ["-9007199254740993", 5]),
    (0x00720055, "UV", "Q", (2**64 - 1,), [str(2**64 - 1)]),
]


@each_explicit
@pytest.mark.parametrize(("tag", "vr", "form", "numbers", "values"), [row for row in NUMBERS if row[2]])
def test_numbers_come_out_of_either_byte_order(uid, tag, vr, form, numbers, values):
    encoding = ENCODINGS[uid]
    one = form if len(form) > 1 else form * len(numbers)
    data = encoding.element(tag, vr, struct.pack(encoding.order + one, *numbers))
    assert model(data, uid) == {f"{tag:08X}": {"vr": vr, "Value": values}}


def test_implicit_numbers_take_their_vr_from_the_dictionary():
    data = WITHOUT_VR.us(0x00280010, 512) + WITHOUT_VR.element(0x00280009, "AT", struct.pack("<HH", 0x18, 0x1063))
    assert model(data, IMPLICIT) == {
        "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00280010": {"vr": "US", "Value": [512]},
    }


@pytest.mark.parametrize(("vr", "unit"), [("OB", 1), ("OW", 2), ("OL", 4), ("OF", 4), ("OD", 8), ("OV", 8), ("UN", 1)])
def test_binary_values_are_base64_in_little_endian(vr, unit):
    value = bytes(range(16))
    tag = 0x77771000  # UN of a tag that nobody knows
    swapped = b"".join(value[place : place + unit][::-1] for place in range(0, 16, unit))
    expected = {"77771000": {"vr": vr, "InlineBinary": b64encode(value).decode()}}
    assert model(LITTLE.element(tag, vr, value)) == expected
    assert model(BIG_ENDIAN.element(tag, vr, swapped), BIG) == expected


@each_encoding
def test_zero_length_is_a_vr_and_nothing_else(uid):
    encoding = ENCODINGS[uid]
    tags = [(0x00080050, "SH"), (0x00100010, "PN"), (0x00280010, "US"), (0x00282000, "OB"), (0x00321064, "SQ")]
    data = b"".join(encoding.element(tag, vr) for tag, vr in tags)
    assert model(data, uid) == {f"{tag:08X}": {"vr": vr} for tag, vr in tags}


def test_values_that_their_vr_does_not_allow_are_kept_and_noted():
    data = (
        LITTLE.text(0x00180050, "DS", "thick")
        + LITTLE.text(0x00180060, "DS", "120")
        + LITTLE.element(0x00280010, "US", b"\1\0\2")
        + LITTLE.element(0x00280011, "US", b"\1")
        + LITTLE.element(0x00282110, "CS", b"\xe9t")
    )
    walked = read(data)
    assert walked.dataset["00180050"] == {"vr": "DS", "Value": ["thick"]}
    assert walked.dataset["00280010"] == {"vr": "US", "Value": [1]}
    assert walked.dataset["00280011"] == {"vr": "US"}
    assert walked.dataset["00282110"] == {"vr": "CS", "Value": ["ét"]}
    assert walked.warnings[0] == "4 values are not what their VR allows (CS, DS, US)"


# -- character sets -----------------------------------------------------------------------------------------


@each_encoding
def test_text_follows_the_character_set_and_the_model_says_utf_8(uid):
    encoding = ENCODINGS[uid]
    data = encoding.text(0x00080005, "CS", "ISO_IR 144") + encoding.text(0x00100010, "PN", "Люк", "iso8859_5")
    assert model(data, uid) == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Люк"}]},
    }


def test_an_item_may_have_its_own_character_set_and_hands_it_down():
    own = LITTLE.text(0x00080005, "CS", "ISO_IR 126") + LITTLE.text(0x00080104, "LO", "Δι", "iso8859_7")
    inner = LITTLE.sequence(0x00080008, LITTLE.item(LITTLE.text(0x00080104, "LO", "Διο ", "iso8859_7")))
    data = (
        LITTLE.text(0x00080005, "CS", "ISO_IR 144")
        + LITTLE.sequence(
            0x00081140,
            LITTLE.item(own + inner.replace(b"\x08\0\x08\0", b"\x40\0\x43\xa0")),
            LITTLE.item(LITTLE.text(0x00080104, "LO", "Люк ", "iso8859_5")),
        )
        + LITTLE.text(0x00100010, "PN", "Люк ", "iso8859_5")
    )
    first, second = model(data)["00081140"]["Value"]
    assert first["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert first["00080104"]["Value"] == ["Δι"]
    assert first["0040A043"]["Value"][0]["00080104"]["Value"] == ["Διο"]
    assert second["00080104"]["Value"] == ["Люк"]
    assert model(data)["00100010"]["Value"] == [{"Alphabetic": "Люк"}]


def test_the_character_set_is_added_only_where_text_needs_it():
    assert "00080005" not in model(LITTLE.text(0x00100010, "PN", "Plain"))
    dataset = model(LITTLE.text(0x00080004, "LO", "x") + LITTLE.text(0x00100010, "PN", "Mü", "latin_1"))
    assert list(dataset) == ["00080004", "00080005", "00100010"]
    assert dataset["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}


def test_text_outside_of_its_character_set_is_noted():
    walked = read(LITTLE.text(0x00080005, "CS", "ISO_IR 192") + LITTLE.text(0x00100010, "PN", "Mü", "latin_1"))
    assert walked.warnings == ["text is not in the Specific Character Set that the object names"]


# -- sequences ----------------------------------------------------------------------------------------------


@each_encoding
@pytest.mark.parametrize("undefined_items", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_are_read_in_both_forms_of_length(uid, undefined, undefined_items):
    encoding = ENCODINGS[uid]
    inner = encoding.sequence(
        0x00400275, encoding.item(encoding.text(0x00400007, "LO", "deep"), undefined_items), undefined=undefined
    )
    data = encoding.sequence(
        0x00081140,
        encoding.item(encoding.text(0x00081150, "UI", "1.2"), undefined_items),
        encoding.item(b"", undefined_items),
        encoding.item(inner, undefined_items),
        undefined=undefined,
    ) + encoding.text(0x00100020, "LO", "after")
    assert model(data, uid) == {
        "00081140": {
            "vr": "SQ",
            "Value": [
                {"00081150": {"vr": "UI", "Value": ["1.2"]}},
                {},
                {"00400275": {"vr": "SQ", "Value": [{"00400007": {"vr": "LO", "Value": ["deep"]}}]}},
            ],
        },
        "00100020": {"vr": "LO", "Value": ["after"]},
    }


@each_encoding
def test_an_empty_sequence_of_undefined_length_is_empty(uid):
    assert model(ENCODINGS[uid].sequence(0x00081140, undefined=True), uid) == {"00081140": {"vr": "SQ"}}


@each_explicit
def test_unknown_vr_of_undefined_length_is_a_sequence_in_implicit_little_endian(uid):
    item = WITHOUT_VR.item(WITHOUT_VR.us(0x00280010, 5), undefined=True) + WITHOUT_VR.mark(0xE0DD)
    encoding = ENCODINGS[uid]
    data = encoding.text(0x00110010, "LO", "SOMEONE") + encoding.element(0x00111001, "UN", item, UNDEFINED)
    assert model(data, uid)["00111001"] == {"vr": "SQ", "Value": [{"00280010": {"vr": "US", "Value": [5]}}]}


def test_unknown_vr_of_undefined_length_in_explicit_vr_is_read_as_it_was_meant():
    item = LITTLE.item(LITTLE.text(0x00080060, "CS", "CT"), undefined=True) + LITTLE.mark(0xE0DD)
    walked = read(LITTLE.element(0x00111001, "UN", item, UNDEFINED))
    assert walked.dataset["00111001"] == {"vr": "SQ", "Value": [{"00080060": {"vr": "CS", "Value": ["CT"]}}]}
    assert walked.warnings


@each_explicit
def test_unknown_vr_of_a_known_tag_is_read_as_implicit_little_endian(uid):
    encoding = ENCODINGS[uid]
    inside = WITHOUT_VR.item(WITHOUT_VR.text(0x00081150, "UI", "1.2"))
    data = (
        encoding.element(0x00081140, "UN", inside)
        + encoding.element(0x00100010, "UN", b"A^B ")
        + encoding.element(0x00280010, "UN", struct.pack("<H", 5))
        + encoding.element(0x00280106, "UN", struct.pack("<H", 0xFFFE))
        + encoding.element(0x00280103, "US", struct.pack(f"{encoding.order}H", 1))
    )
    assert model(data, uid) == {
        "00081140": {"vr": "SQ", "Value": [{"00081150": {"vr": "UI", "Value": ["1.2"]}}]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]},
        "00280010": {"vr": "US", "Value": [5]},
        "00280103": {"vr": "US", "Value": [1]},
        "00280106": {"vr": "SS", "Value": [-2]},
    }


@pytest.mark.parametrize("value", [b"\xfe\xff\0\xe0\x10\0\0\0", b"junk", b"\x08\0\0\0\xff\xff\xff\xff"])
def test_what_only_looked_like_a_sequence_stays_bytes(value):
    expected = {"vr": "UN", "InlineBinary": b64encode(value).decode()}
    assert model(LITTLE.element(0x00081140, "UN", value)) == {"00081140": expected}


def test_what_was_tried_as_a_sequence_leaves_no_bulk_behind():
    bulk = WITHOUT_VR.element(0x00282000, "OB", bytes(2000))
    value = WITHOUT_VR.item(WITHOUT_VR.text(0x00080005, "CS", "ISO_IR 126") + bulk) + b"junkjunk"
    walked = read(LITTLE.element(0x00081140, "UN", value) + LITTLE.text(0x00100010, "PN", "\xe9t", "latin_1"))
    assert list(walked.bulk) == ["00081140"]
    assert walked.dataset["00100010"]["Value"] == [{"Alphabetic": "ét"}]


@pytest.mark.parametrize("missing", [b"", LITTLE.mark(0xE00D)])
def test_a_sequence_that_does_not_end_is_truncated(missing):
    data = LITTLE.element(0x00081140, "SQ", LITTLE.mark(0xE000, UNDEFINED), UNDEFINED)
    data += LITTLE.text(0x00081150, "UI", "1.2") + missing
    with pytest.raises(TruncatedObject):
        read(data)


def test_an_item_whose_delimiter_is_missing_ends_with_its_sequence():
    item = LITTLE.mark(0xE000, UNDEFINED) + LITTLE.text(0x00081150, "UI", "1.2")
    walked = read(LITTLE.sequence(0x00081140, item, undefined=True) + LITTLE.text(0x00100020, "LO", "after"))
    assert walked.dataset["00081140"]["Value"] == [{"00081150": {"vr": "UI", "Value": ["1.2"]}}]
    assert walked.dataset["00100020"]["Value"] == ["after"]
    assert walked.warnings == ["an item has no delimiter"]


@pytest.mark.parametrize(
    "content",
    [
        b"12345678",
        LITTLE.mark(0xE000, 4) + b"1234",
        LITTLE.mark(0xE000, 100),
        LITTLE.item(LITTLE.element(0x00080050, "SH", b"", 40)),
        LITTLE.mark(0xE001),
        LITTLE.item(LITTLE.mark(0xE000)),
    ],
)
def test_a_sequence_that_holds_something_else_is_refused(content):
    with pytest.raises(BadObject):
        read(LITTLE.sequence(0x00081140, content))


# -- private attributes -------------------------------------------------------------------------------------


def test_implicit_private_attributes_get_the_vr_that_their_creator_gave_them():
    data = (
        WITHOUT_VR.text(0x00190010, "LO", "GEMS_ACQU_01")
        + WITHOUT_VR.text(0x00190011, "LO", "NOBODY")
        + WITHOUT_VR.element(0x00191002, "SL", struct.pack("<i", 912))
        + WITHOUT_VR.element(0x00191102, "SL", struct.pack("<i", 912))
        + WITHOUT_VR.element(0x00191202, "SL", struct.pack("<i", 912))
    )
    number = b64encode(struct.pack("<i", 912)).decode()
    assert model(data, IMPLICIT) == {
        "00190010": {"vr": "LO", "Value": ["GEMS_ACQU_01"]},
        "00190011": {"vr": "LO", "Value": ["NOBODY"]},
        "00191002": {"vr": "SL", "Value": [912]},
        "00191102": {"vr": "UN", "InlineBinary": number},
        "00191202": {"vr": "UN", "InlineBinary": number},
    }


def test_a_creator_holds_for_its_own_item_only():
    item = WITHOUT_VR.item(WITHOUT_VR.element(0x00191002, "SL", struct.pack("<i", 912)))
    data = WITHOUT_VR.sequence(0x00081140, item) + WITHOUT_VR.text(0x00190010, "LO", "GEMS_ACQU_01")
    assert model(data, IMPLICIT)["00081140"]["Value"][0]["00191002"]["vr"] == "UN"


@each_explicit
def test_explicit_private_attributes_of_unknown_vr_are_looked_up_and_little_endian(uid):
    encoding = ENCODINGS[uid]
    data = encoding.text(0x00190010, "LO", "GEMS_ACQU_01")
    data += encoding.element(0x00191002, "UN", struct.pack("<i", 912))
    assert model(data, uid)["00191002"] == {"vr": "SL", "Value": [912]}


def test_a_private_value_that_does_not_fit_its_vr_stays_bytes():
    data = WITHOUT_VR.text(0x00190010, "LO", "GEMS_ACQU_01") + WITHOUT_VR.element(0x00191002, "SL", b"123456")
    assert model(data, IMPLICIT)["00191002"] == {"vr": "UN", "InlineBinary": b64encode(b"123456").decode()}


# -- implicit VR --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sign", "vr", "value"), [(1, "SS", -2), (0, "US", 0xFFFE), (None, "US", 0xFFFE)])
def test_the_sign_of_pixels_decides_between_us_and_ss(sign, vr, value):
    padding = WITHOUT_VR.us(0x00280120, 0xFFFE)
    early = WITHOUT_VR.us(0x00189810, 0xFFFE)
    item = WITHOUT_VR.sequence(0x00283000, WITHOUT_VR.item(WITHOUT_VR.us(0x00283002, 256, 0xFFFE, 16)))
    signs = WITHOUT_VR.us(0x00280103, sign) if sign is not None else b""
    dataset = model(early + signs + padding + item, IMPLICIT)
    assert dataset["00189810"] == {"vr": vr, "Value": [value]}
    assert dataset["00280120"] == {"vr": vr, "Value": [value]}
    assert dataset["00283000"]["Value"][0]["00283002"] == {"vr": vr, "Value": [256, value, 16]}


def test_choices_with_ow_are_ow():
    assert model(WITHOUT_VR.element(0x00283006, "OW", b"\1\2"), IMPLICIT)["00283006"]["vr"] == "OW"


def test_repeating_groups_are_known():
    assert model(WITHOUT_VR.us(0x60020010, 512), IMPLICIT) == {"60020010": {"vr": "US", "Value": [512]}}


# -- bulk ---------------------------------------------------------------------------------------------------


def test_binary_values_above_the_threshold_become_bulk_and_say_where_they_are():
    data = LITTLE.element(0x00282000, "OB", bytes(1024)) + LITTLE.element(0x00420011, "OB", b"x" * 1026)
    walked = read(data)
    assert "InlineBinary" in walked.dataset["00282000"]
    assert walked.dataset["00420011"] == {"vr": "OB", "BulkDataURI": "bulkdata/00420011"}
    bulk = walked.bulk["00420011"]
    assert data[bulk.start : bulk.stop] == b"x" * 1026
    assert list(walked.bulk) == ["00420011"]


@each_encoding
def test_bulk_inside_of_sequences_has_a_path_of_tags_and_indices(uid):
    encoding = ENCODINGS[uid]
    inner = encoding.item(b"") + encoding.item(encoding.element(0x00282000, "OB", b"y" * 2000))
    data = encoding.sequence(0x00480105, encoding.item(encoding.sequence(0x0040A730, inner)))
    walked = read(data, uid)
    element = walked.dataset["00480105"]["Value"][0]["0040A730"]["Value"][1]["00282000"]
    assert element == {"vr": "OB", "BulkDataURI": "bulkdata/00480105/0/0040A730/1/00282000"}
    bulk = walked.bulk["00480105/0/0040A730/1/00282000"]
    assert data[bulk.start : bulk.stop] == b"y" * 2000


@pytest.mark.parametrize(("vr", "swap"), [("OB", 0), ("OW", 2), ("OL", 4), ("OF", 4), ("OD", 8), ("OV", 8), ("UN", 0)])
def test_bulk_in_big_endian_says_which_bytes_to_swap(vr, swap):
    walked = read(BIG_ENDIAN.element(0x77771000, vr, bytes(4000)), BIG)
    assert walked.bulk["77771000"].swap == swap


def test_huge_numbers_become_bulk_and_names_never_do():
    data = (
        WITHOUT_VR.element(0x00100010, "PN", b"N" * 70_000)
        + WITHOUT_VR.element(0x30060050, "DS", b"1\\" * 40_000)
        + WITHOUT_VR.element(0x00700023, "FL", bytes(1200))
    )
    walked = read(data, IMPLICIT)
    assert len(walked.dataset["00100010"]["Value"][0]["Alphabetic"]) == 70_000
    assert walked.dataset["30060050"] == {"vr": "DS", "BulkDataURI": "bulkdata/30060050"}


def test_pixel_data_are_bulk_however_small_but_not_if_empty():
    walked = read(LITTLE.element(0x7FE00010, "OW", b"\1\2"))
    assert walked.dataset["7FE00010"] == {"vr": "OW", "BulkDataURI": "bulkdata/7FE00010"}
    assert walked.pixels is not None
    assert (walked.pixels.start, walked.pixels.stop) == (12, 14)
    assert read(LITTLE.element(0x7FE00010, "OW")).dataset == {"7FE00010": {"vr": "OW"}}


def test_fragments_are_found_without_their_headers():
    data = LITTLE.pixels([b"abcd", b"efghij"], table=b"\0\0\0\0")
    walked = read(data, "1.2.840.10008.1.2.4.50")
    assert walked.dataset == {"7FE00010": {"vr": "OB", "BulkDataURI": "bulkdata/7FE00010"}}
    assert walked.pixels is not None
    items = walked.pixels.items
    assert items is not None
    values = [data[start : following - 8] for start, following in pairwise(items)]
    assert values == [b"\0\0\0\0", b"abcd", b"efghij"]
    assert walked.end == len(data)


def test_an_encapsulated_icon_is_bulk_in_pieces():
    icon = LITTLE.pixels([b"abcd", b"ef"])
    walked = read(LITTLE.sequence(0x00880200, LITTLE.item(icon)), "1.2.840.10008.1.2.4.50")
    bulk = walked.bulk["00880200/0/7FE00010"]
    data = LITTLE.sequence(0x00880200, LITTLE.item(icon))
    assert [data[start:stop] for start, stop in bulk.pieces] == [b"abcd", b"ef"]
    assert walked.pixels is None


def test_bulk_is_never_looked_at():
    # A sparse file of 5 GiB: it is read at once, or never
    head = LITTLE.text(0x00080060, "CS", "SM") + LITTLE.element(0x00420011, "OB", b"", 0xFFFFFFF0)
    tail = LITTLE.text(0x00420012, "LO", "model/stl")
    with tempfile.TemporaryFile() as file:
        file.write(head)
        file.seek(len(head) + 0xFFFFFFF0)
        sequence = LITTLE.sequence(0x00480105, LITTLE.item(tail, undefined=True), undefined=True)
        file.write(tail + sequence + LITTLE.element(0x7FE00010, "OB", b"", 1 << 30))
        file.truncate(file.tell() + (1 << 30))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            walked = walk(mapped, 0, len(mapped), syntax_of(EXPLICIT), LIMITS)
            assert walked.end == len(mapped)
    assert walked.dataset["00420012"]["Value"] == ["model/stl"]
    assert walked.dataset["00480105"]["Value"][0]["00420012"]["Value"] == ["model/stl"]
    assert walked.bulk["00420011"] == Bulk("OB", len(head), len(head) + 0xFFFFFFF0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(b"__" + data)[2:]])
def test_every_kind_of_buffer_gives_the_same(kind):
    data = LITTLE.identity() + LITTLE.description(2, 2) + LITTLE.element(0x7FE00010, "OW", b"1234")
    data += LITTLE.element(0xFFFCFFFC, "OB", bytes(20))
    assert walk(kind(data), 0, len(data), syntax_of(EXPLICIT), LIMITS) == read(data)


# -- faults that are overlooked -----------------------------------------------------------------------------


def test_group_lengths_and_group_0002_are_left_out():
    data = LITTLE.element(0x00020010, "UI", b"1.2\0") + LITTLE.element(0x00080000, "UL", bytes(4))
    data += LITTLE.text(0x00080060, "CS", "CT") + LITTLE.element(0x00190000, "UL", bytes(4))
    assert model(data) == {"00080060": {"vr": "CS", "Value": ["CT"]}}


def test_tags_out_of_order_are_sorted_and_noted():
    walked = read(LITTLE.text(0x00100020, "LO", "P") + LITTLE.text(0x00080060, "CS", "CT"))
    assert list(walked.dataset) == ["00080060", "00100020"]
    assert walked.warnings == ["attributes are not in ascending order"]


def test_of_a_tag_that_is_there_twice_the_first_counts():
    big = LITTLE.element(0x00420011, "OB", b"1" * 2000)
    data = LITTLE.text(0x00100020, "LO", "P1") + LITTLE.text(0x00100020, "LO", "P2") + big + big
    walked = read(data)
    assert walked.dataset["00100020"]["Value"] == ["P1"]
    assert walked.bulk["00420011"].start == data.index(b"1111")
    assert walked.warnings == ["an attribute is there twice; the first one counts (2 times)"]


@pytest.mark.parametrize(
    "tail",
    [
        LITTLE.element(0xFFFCFFFC, "OB", bytes(100)),
        LITTLE.element(0xFFFCFFFC, "OB", b"", 1000),
        bytes(2),
        bytes(7),
        bytes(8),
        bytes(100_001),
        LITTLE.mark(0xE0DD),
    ],
)
def test_padding_behind_the_data_set_is_ignored(tail):
    data = LITTLE.text(0x00100020, "LO", "P1")
    walked = read(data + tail)
    assert walked.dataset == {"00100020": {"vr": "LO", "Value": ["P1"]}}
    assert walked.end == len(data) + (8 if tail.startswith(b"\xfe\xff") else 0)
    assert walked.warnings == []


def test_zero_bytes_behind_an_implicit_data_set_are_ignored():
    data = WITHOUT_VR.text(0x00100020, "LO", "P1")
    assert read(data + bytes(50), IMPLICIT).end == len(data)


def test_one_zero_byte_behind_a_value_of_odd_length_is_its_padding():
    data = LITTLE.element(0x00100020, "LO", b"odd")
    assert read(data + b"\0").dataset == {"00100020": {"vr": "LO", "Value": ["odd"]}}
    with pytest.raises(TruncatedObject):
        read(LITTLE.text(0x00100020, "LO", "even") + b"\0")


@pytest.mark.parametrize("tail", [b"\1", b"junk", b"\0\0\0\1", b"PK\3\4" + bytes(30)])
def test_junk_behind_the_data_set_is_refused(tail):
    with pytest.raises(BadObject):
        read(LITTLE.text(0x00100020, "LO", "P1") + tail)


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (LITTLE.element(0x00080018, "ZZ", b"1.2\0"), {"vr": "UI", "Value": ["1.2"]}),
        (LITTLE.element(0x00080018, "ZZ"), {"vr": "UI"}),
        (b"\x77\x77\x18\x10ZZ\0\0\4\0\0\0abcd", {"vr": "UN", "InlineBinary": "YWJjZA=="}),
        (b"\x08\0\x18\0\4\0\0\x001.2\0", {"vr": "UI", "Value": ["1.2"]}),
        (b"\x77\x77\x18\x10??\0\0\4\0\0\0abcd", {"vr": "UN", "InlineBinary": "YWJjZA=="}),
    ],
)
def test_a_vr_that_does_not_exist_is_guessed_at(element, expected):
    walked = read(element)
    assert list(walked.dataset.values()) == [expected]
    assert walked.warnings == ["an element has a VR that does not exist"]


def test_a_vr_that_does_not_exist_and_a_length_that_cannot_be_are_refused():
    with pytest.raises(BadObject):
        read(b"\x08\0\x18\0\xff\xfe\xfd\xfc1.2\0")


# -- limits and truncation ----------------------------------------------------------------------------------


def nested(depth: int, encoding: Encoding, undefined: bool) -> bytes:
    data = b""
    for _ in range(depth):
        data = encoding.sequence(0x0040A730, encoding.item(data, undefined), undefined=undefined)
    return data


@each_encoding
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_may_be_nested_up_to_the_limit(uid, undefined):
    encoding = ENCODINGS[uid]
    limits = Limits(depth=5)
    assert read(nested(5, encoding, undefined), uid, limits).dataset
    with pytest.raises(ObjectTooComplex):
        read(nested(6, encoding, undefined), uid, limits)


@pytest.mark.parametrize("uid", NATIVE)
def test_ten_thousand_levels_are_refused_without_exhausting_the_stack(uid):
    encoding = ENCODINGS[uid]
    level = encoding.element(0x0040A730, "SQ", b"", UNDEFINED) + encoding.mark(0xE000, UNDEFINED)
    with pytest.raises(ObjectTooComplex):
        read(level * 10_000, uid)


def test_unknown_vr_inside_of_unknown_vr_is_tried_once_each():
    # Each level could be tried twice, which would double the work with every level
    data = b"junk"
    for _ in range(60):
        data = WITHOUT_VR.item(WITHOUT_VR.element(0x00081140, "SQ", data))
    assert read(LITTLE.element(0x00081140, "UN", data)).dataset["00081140"]["vr"] == "UN"


def test_elements_are_counted():
    data = b"".join(LITTLE.element(0x77770010 + number, "LO") for number in range(20))
    assert len(read(data, limits=Limits(elements=20)).dataset) == 20
    with pytest.raises(ObjectTooComplex):
        read(data, limits=Limits(elements=19))


def test_a_data_set_of_a_million_attributes_is_given_up_early():
    data = b"".join(
        struct.pack("<HH4s", group, number, b"LO\0\0") for group in range(0x1000, 0x1010) for number in range(1, 65_000)
    )
    tracemalloc.start()
    with pytest.raises(ObjectTooComplex):
        read(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 << 20
    item = LITTLE.item(data[: 8 * 20])
    assert read(LITTLE.sequence(0x00081140, item, item), limits=Limits(attributes=20)).dataset
    with pytest.raises(ObjectTooComplex):
        read(LITTLE.sequence(0x00081140, item, item), limits=Limits(attributes=19))


def test_elements_of_all_items_are_counted_together():
    item = LITTLE.item(LITTLE.text(0x00081150, "UI", "1.2"))
    data = LITTLE.sequence(0x00081140, *[item] * 10)
    assert read(data, limits=Limits(elements=21)).dataset
    with pytest.raises(ObjectTooComplex):
        read(data, limits=Limits(elements=20))


def test_items_and_fragments_are_counted():
    limits = Limits(items=3)
    item = LITTLE.item(b"")
    assert read(LITTLE.sequence(0x00081140, *[item] * 3), limits=limits).dataset
    with pytest.raises(ObjectTooComplex):
        read(LITTLE.sequence(0x00081140, *[item] * 4), limits=limits)
    with pytest.raises(ObjectTooComplex):
        read(LITTLE.pixels([b"ab"] * 4), limits=limits)


def test_an_error_says_which_object_it_was():
    with pytest.raises(TruncatedObject) as caught:
        read(LITTLE.uids(7) + LITTLE.element(0x00100020, "LO", b"cut", 50))
    assert caught.value.sop_class == "1.2.840.10008.5.1.4.1.1.2"
    assert caught.value.instance.endswith(".7")
    assert "cut" not in str(caught.value)


@pytest.mark.parametrize("length", [4, 0xFFF0, 0xFFFFFFF0])
def test_a_declared_length_beyond_the_end_is_truncation(length):
    for tag, vr in ((0x00100010, "PN"), (0x00420011, "OB"), (0x00081140, "SQ"), (0x00189810, "US")):
        for uid in NATIVE:
            encoding = ENCODINGS[uid]
            if encoding.implicit or vr in ("OB", "SQ") or length <= 0xFFFF:
                with pytest.raises(TruncatedObject):
                    read(encoding.element(tag, vr, b"abc", length), uid)


# -- generated data sets ------------------------------------------------------------------------------------

TAGS = st.integers(0x00080060, 0x7FDFFFFE).filter(lambda tag: tag & 0xFFFF and tag >> 16 != 0xFFFE)


@st.composite
def elements(draw, encoding: Encoding, depth: int = 2) -> list[bytes]:
    """Elements in ascending order, sequences among them."""
    parts = []
    for tag in sorted(draw(st.sets(TAGS, max_size=5))):
        vr = draw(st.sampled_from(["LO", "US", "OB", "UN", "PN", "DS", "UT", "SQ"]))
        if vr == "SQ" and depth:
            undefined = draw(st.booleans()) or encoding.implicit
            items = [
                encoding.item(b"".join(content), draw(st.booleans()))
                for content in draw(st.lists(elements(encoding, depth - 1), max_size=3))
            ]
            parts.append(encoding.sequence(tag, *items, undefined=undefined))
        elif vr != "SQ":
            if encoding.implicit:
                tag = tag & 0xFFFF | 0x77760000  # bytes of no known kind
            value = draw(st.binary(max_size=20)).replace(b"\x1b", b"")
            parts.append(encoding.element(tag, vr, value + b" " * (len(value) % 2)))
    return parts


@pytest.mark.parametrize("uid", NATIVE)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_data_set_that_was_cut_is_refused_unless_it_was_cut_between_two_elements(uid, data):
    encoding = ENCODINGS[uid]
    pixels = encoding.element(0x7FE00010, "OW", bytes(range(1, 31)))
    parts = [encoding.text(0x00080018, "UI", "1.2.3"), *data.draw(elements(encoding)), pixels]
    whole = b"".join(parts)
    borders = {0, *accumulate(map(len, parts))}
    for cut in range(len(whole)):
        try:
            walked = walk(whole, 0, cut, syntax_of(uid), LIMITS)
        except BadObject:
            continue
        if walked.pixels is not None:  # its last byte, which may be padding: the described size decides
            assert cut == len(whole) - 1
            assert walked.pixels.length == 30
            assert walked.pixels.stop - walked.pixels.start == 29
        else:
            assert cut in borders


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300), st.sampled_from(NATIVE))
def test_no_bytes_do_more_than_being_refused(data, uid):
    try:
        walked = read(data, uid)
    except BadObject:
        return
    json.dumps(walked.dataset, allow_nan=False)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_data_sets_do_no_more_than_being_refused(data):
    uid = data.draw(st.sampled_from(NATIVE))
    encoding = ENCODINGS[uid]
    whole = bytearray(encoding.identity() + nested(3, encoding, data.draw(st.booleans())))
    whole += b"".join(data.draw(elements(encoding)))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    try:
        walked = read(bytes(whole), uid)
    except BadObject:
        return
    json.dumps(walked.dataset, allow_nan=False)
    assert all(0 <= bulk.start <= bulk.stop <= len(whole) for bulk in walked.bulk.values())
    assert list(walked.dataset) == sorted(walked.dataset)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_the_three_encodings_of_a_data_set_have_one_model(data):
    values = data.draw(
        st.fixed_dictionaries(
            {
                0x00080060: st.sampled_from(["CT", "MR"]),
                0x00100010: st.text("abc^= ", min_size=1, max_size=10),
                0x00100020: st.text("abc\\ ", max_size=10),
                0x00180050: st.floats(-1000, 1000).map(lambda number: f"{number:.6g}"),
            }
        )
    )
    rows = data.draw(st.integers(0, 0xFFFF))
    models = []
    for uid in NATIVE:
        encoding = ENCODINGS[uid]
        content = b"".join(
            encoding.text(tag, vr, values[tag])
            for tag, vr in ((0x00080060, "CS"), (0x00100010, "PN"), (0x00100020, "LO"), (0x00180050, "DS"))
        )
        whole = content + encoding.us(0x00280010, rows)
        undefined = data.draw(st.booleans())
        item = encoding.item(content + encoding.us(0x00280010, rows), undefined)
        models.append(model(whole + encoding.sequence(0x0040A730, item, undefined=not undefined), uid))
    assert models[0] == models[1] == models[2]


@pytest.mark.parametrize("uid", NATIVE)
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_what_repeats_itself_is_read_as_if_it_did_not(uid, data):
    encoding = ENCODINGS[uid]
    # In a bytes object, what repeats itself is used again; in a memoryview it is read each time
    charsets = st.sampled_from(["", "ISO_IR 144", "ISO_IR 126", "ISO_IR 192"]).map(
        lambda term: encoding.text(0x00080005, "CS", term) if term else b""
    )
    texts = st.sampled_from([b"\xc4\xe9", b"plain ", b"\xd0\x9b"]).map(
        lambda text: encoding.element(0x00080104, "LO", text)
    )
    signs = st.sampled_from([b"", encoding.us(0x00280103, 1), encoding.us(0x00280103, 0)])
    creators = st.sampled_from(
        [b"", encoding.text(0x00190010, "LO", "GEMS_ACQU_01"), encoding.text(0x00190010, "LO", "X")]
    )
    private = encoding.element(0x00191002, "UN", b"\1\2\3\4")
    padding = encoding.element(0x00280120, "UN" if not encoding.implicit else "US", b"\xfe\xff")
    bulk = st.sampled_from([b"", encoding.element(0x00282000, "OB", bytes(2000))])
    undefined = st.booleans()
    single = st.tuples(charsets, texts, creators).map(lambda parts: b"".join(parts) + private)
    single = st.tuples(single, signs, bulk).map(lambda parts: parts[0] + parts[1] + padding + parts[2])
    inner = st.tuples(
        undefined, st.lists(st.tuples(single, undefined).map(lambda pair: encoding.item(*pair)), max_size=2)
    ).map(lambda pair: encoding.sequence(0x00081140, *pair[1], undefined=pair[0]))
    frame = st.tuples(charsets, inner, signs).map(b"".join)
    frames = st.lists(st.tuples(frame, undefined).map(lambda pair: encoding.item(*pair)), max_size=6)
    content = data.draw(charsets) + encoding.sequence(0x52009230, *data.draw(frames), undefined=data.draw(undefined))
    whole = data.draw(signs) + content if data.draw(undefined) else content
    again = walk(memoryview(whole), 0, len(whole), syntax_of(uid), LIMITS)
    assert read(whole, uid)[:3] == again[:3]


@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_that_repeat_themselves_follow_the_sign_around_them(undefined):
    inner = WITHOUT_VR.sequence(0x00081140, WITHOUT_VR.item(WITHOUT_VR.us(0x00280120, 0xFFFE)), undefined=undefined)
    items = [WITHOUT_VR.item(inner + WITHOUT_VR.us(0x00280103, sign), undefined) for sign in (0, 1, 0)]
    frames = model(WITHOUT_VR.sequence(0x52009230, *items), IMPLICIT)["52009230"]["Value"]
    assert [frame["00081140"]["Value"][0]["00280120"]["Value"] for frame in frames] == [[0xFFFE], [-2], [0xFFFE]]


def test_sequences_that_repeat_themselves_have_bulk_of_their_own():
    inner = LITTLE.sequence(0x00081140, LITTLE.item(LITTLE.element(0x00282000, "OB", b"x" * 700)))
    walked = read(LITTLE.sequence(0x52009230, *[LITTLE.item(inner)] * 2), limits=Limits(inline=100))
    assert list(walked.bulk) == ["52009230/0/00081140/0/00282000", "52009230/1/00081140/0/00282000"]
    assert len(set(walked.bulk.values())) == 2


def test_sequences_that_repeat_themselves_are_counted_each_time():
    inner = LITTLE.sequence(0x00081140, LITTLE.item(LITTLE.text(0x00081150, "UI", "1.2")))
    data = LITTLE.sequence(0x52009230, *[LITTLE.item(inner)] * 10)
    # ten items, in each a sequence with an item with an element; and the sequence around them
    assert read(data, limits=Limits(elements=41)).dataset
    with pytest.raises(ObjectTooComplex):
        read(data, limits=Limits(elements=40))


# -- against pydicom ----------------------------------------------------------------------------------------

# We refuse these, pydicom does not: cut off, or no DICOM at all
REFUSED = {
    "dcm4che-test-data__3gb-bulk-data-truncated.dcm",
    "GH364.dcm",
    "knee-truncated-header.dcm",
    "knee-truncated-pixels.dcm",
    "MR_truncated.dcm",
    "no_meta.dcm",
    "PrivateMDNTags.dic.dcm",
    "pydicom__MR_truncated.dcm",
    "pydicom__rtplan_truncated.dcm",
    "rtplan_truncated.dcm",
}
# pydicom swaps the bytes of UN, and does not swap those of OW, in big endian files
BIG_ENDIAN_FAULTS = {
    "CTImage.dcm_BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm",
    "pydicom__OBXXXX1A_expb.dcm",
}
# pydicom cannot say what is in them: a delimiter too many, a VR that does not exist, UN of undefined length that
# is little endian in a big endian file
UNSAYABLE = {
    "h264-hp41.dcm",
    "hevc-main-p51.dcm",
    "mpeg2-mpml.dcm",
    "knee-bad-vr.dcm",
    "GH177_D_CLUNIE_CT1_IVRLE_BigEndian_undefined_length.dcm",
}
BUNDLED = sorted(name for name in get_testdata_files() if name.endswith(".dcm") and "DICOMDIR" not in name)
FILES = [*map(str, real_files()), *BUNDLED]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.rpartition("/")[2])
def test_every_file_says_the_same_as_pydicom_reads_from_it(path):
    name = path.rpartition("/")[2]
    with open(path, "rb") as file:
        data = file.read()
    if name in REFUSED:
        with pytest.raises(BadObject):
            read_file(data)
        return
    walked = read_file(data)
    if name in UNSAYABLE:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
        theirs = model_of(pydicom.dcmread(io.BytesIO(data), force=True))
    found = differences(theirs, walked.dataset)
    if name in BIG_ENDIAN_FAULTS:
        assert found
        assert all(line.split(" ")[0][3] in "13579" or line.endswith("bytes") for line in found)
    else:
        assert found == []


def read_file(data: bytes) -> Walked:
    head = part10.read_head(data, LIMITS)
    if not head.syntax.deflated:
        return walk(data, head.start, len(data), head.syntax, LIMITS)
    inflated = zlib.decompressobj(-15).decompress(data[head.start :])
    return walk(inflated, 0, len(inflated), head.syntax, LIMITS)
