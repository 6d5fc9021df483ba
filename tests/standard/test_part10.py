"""One object in its bytes: with and without what the Standard asks for, whole and cut, harmless and not."""

import io
import struct
import tempfile
import tracemalloc
import zlib
from itertools import accumulate

import pytest
from bytewise import (
    BIG,
    CT,
    DEFLATED,
    ENCODINGS,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    LITTLE,
    PREFIX,
    WITHOUT_VR,
    Encoding,
    file,
    meta,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from realdata import FOLDER, needs_real_files, real_files

from dicomweb.errors import (
    BadIdentity,
    BadObject,
    ObjectTooComplex,
    ObjectTooLarge,
    TruncatedObject,
    UnsupportedSyntax,
)
from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import Part10, read_head, read_object

LIMITS = Limits()
INSTANCE = f"{PREFIX}.1.1.1"
each_syntax = pytest.mark.parametrize("syntax", ENCODINGS, ids=["explicit", "big endian", "implicit", "deflated"])


def read(data: bytes, limits: Limits = LIMITS) -> Part10:
    return read_object(data, limits)


def dataset(encoding: Encoding = LITTLE, value: bytes = bytes(range(1, 9)), vr: str = "OW") -> bytes:
    """Two by two pixels of 16 bits."""
    described = encoding.identity() + encoding.description(2, 2, 16)
    return described + encoding.element(0x7FE00010, vr, value)


def sentences(parsed: Part10) -> list[str]:
    return [warning.sentence for warning in parsed.warnings]


# -- what comes before the data set -------------------------------------------------------------------------


@each_syntax
def test_an_object_is_read_in_every_encoding(syntax):
    data = file(dataset(ENCODINGS[syntax]), syntax)
    parsed = read(data)
    assert (parsed.study, parsed.series, parsed.instance, parsed.sop_class) == (
        f"{PREFIX}.1",
        f"{PREFIX}.1.1",
        INSTANCE,
        CT,
    )
    assert parsed.syntax.uid == syntax
    assert parsed.data_start == len(meta(syntax))
    assert parsed.data_end == len(data)
    assert parsed.meta["00020010"] == {"vr": "UI", "Value": [syntax]}
    assert parsed.meta["00020001"] == {"vr": "OB", "InlineBinary": "AAE="}
    assert not any(tag.startswith("0002") for tag in parsed.dataset)
    assert parsed.dataset["00280010"] == {"vr": "US", "Value": [2]}
    assert parsed.layout.derived == (syntax == DEFLATED)
    assert parsed.warnings == []


@pytest.mark.parametrize("prefix", [b"", b"DICM"])
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG, IMPLICIT])
def test_preamble_and_file_meta_may_be_missing(prefix, syntax):
    data = prefix + dataset(ENCODINGS[syntax])
    parsed = read(data)
    assert parsed.syntax.uid == syntax
    assert parsed.meta == {}
    assert parsed.data_start == len(prefix)
    assert parsed.instance == INSTANCE
    assert "no transfer syntax is named; it was guessed" in sentences(parsed)


@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG])
def test_the_preamble_alone_may_be_missing(syntax):
    whole = LITTLE.identity() + LITTLE.text(0x00100020, "LO", "P")
    parsed = read(file(whole, syntax)[132:])
    assert parsed.syntax.uid == syntax
    assert parsed.meta["00020010"]["Value"] == [syntax]


@pytest.mark.parametrize("length", [0, 4, 10_000, 0xFFFFFFFF])
def test_a_wrong_group_length_does_not_matter(length):
    right = meta()
    wrong = right[:140] + struct.pack("<I", length) + right[144:]
    parsed = read(wrong + dataset())
    assert parsed.data_start == len(right)
    assert parsed.instance == INSTANCE


def test_a_missing_group_length_does_not_matter():
    right = meta()
    assert read(right[:132] + right[144:] + dataset()).instance == INSTANCE


def test_a_file_meta_group_in_implicit_vr_is_read():
    group = WITHOUT_VR.element(0x00020000, "UL", struct.pack("<I", 28)) + WITHOUT_VR.text(0x00020010, "UI", IMPLICIT)
    parsed = read(bytes(128) + b"DICM" + group + dataset(WITHOUT_VR))
    assert parsed.syntax.uid == IMPLICIT
    assert parsed.meta["00020010"] == {"vr": "UI", "Value": [IMPLICIT]}


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG, IMPLICIT])
def test_a_transfer_syntax_that_is_not_named_is_guessed(syntax):
    parsed = read(meta("") + dataset(ENCODINGS[syntax]))
    assert parsed.syntax.uid == syntax
    assert sentences(parsed) == ["no transfer syntax is named; it was guessed"]


@pytest.mark.parametrize(
    ("named", "real"), [(EXPLICIT, IMPLICIT), (EXPLICIT, BIG), (BIG, EXPLICIT), (IMPLICIT, EXPLICIT), (BIG, IMPLICIT)]
)
def test_a_transfer_syntax_that_is_named_wrongly_is_put_right(named, real):
    parsed = read(meta(named) + dataset(ENCODINGS[real]))
    assert parsed.syntax.uid == real
    assert parsed.instance == INSTANCE
    assert sentences(parsed) == ["the data set is not in the transfer syntax that is named"]


def test_compressed_pixels_in_implicit_vr_keep_their_transfer_syntax():
    whole = WITHOUT_VR.identity() + WITHOUT_VR.description(2, 2) + WITHOUT_VR.pixels([b"\xff\xd8\xff\xe0"])
    parsed = read(meta(JPEG) + whole)
    assert (parsed.syntax.uid, parsed.syntax.implicit, parsed.layout.kind) == (JPEG, True, "encapsulated")


def test_the_head_can_be_read_from_the_first_bytes_alone():
    data = file(dataset())
    head = read_head(data[: len(meta()) + 20], LIMITS)
    assert (head.start, head.syntax.uid) == (len(meta()), EXPLICIT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"%PDF-1.7\n" * 50,
        bytes(1000),
        b"PK\3\4" + bytes(200),
        b"\xff" * 500,
        b"{}",
        b"<html>" * 60,
        bytes(128) + b"DICM",
        bytes(128) + b"DICM" + b"junk" * 10,
        bytes(128) + b"DICN" + dataset(),
    ],
)
def test_what_is_no_dicom_is_refused(data):
    with pytest.raises(BadObject):
        read(data)


@pytest.mark.parametrize("number", ["4.94", "4.95", "4.204", "4.205", "7.1"])
def test_objects_whose_pixels_are_elsewhere_are_refused(number):
    with pytest.raises(UnsupportedSyntax) as caught:
        read(file(dataset(), f"1.2.840.10008.1.2.{number}"))
    assert (caught.value.sop_class, caught.value.instance) == (CT, INSTANCE)


@pytest.mark.parametrize("syntax", ["1.2.276.0.99", "1.2.840.113619.5.2"])
def test_private_transfer_syntaxes_are_kept(syntax):
    assert read(file(dataset(), syntax)).syntax.uid == syntax


def test_a_dicomdir_is_refused_with_its_name():
    with open(get_testdata_file("DICOMDIR"), "rb") as source, pytest.raises(BadObject, match="DICOMDIR"):
        read(source.read())


# -- identity -----------------------------------------------------------------------------------------------

UIDS = {
    0x00080016: ("SOP Class UID", CT),
    0x00080018: ("SOP Instance UID", INSTANCE),
    0x0020000D: ("Study Instance UID", f"{PREFIX}.1"),
    0x0020000E: ("Series Instance UID", f"{PREFIX}.1.1"),
}


def identified(changed: dict[int, str | None]) -> bytes:
    chosen = {tag: uid for tag, (_, uid) in UIDS.items()} | changed
    return b"".join(LITTLE.text(tag, "UI", uid, "utf-8") for tag, uid in chosen.items() if uid is not None)


@pytest.mark.parametrize("tag", UIDS)
@pytest.mark.parametrize(
    "uid", [None, "", " ", "../../etc/passwd", "/1.2", "1.2/3", "1" * 65, "a.b", "1.2\\1.3", "١.٢", "1.\0002"]
)
def test_an_object_without_identity_is_refused(tag, uid):
    with pytest.raises(BadIdentity, match=UIDS[tag][0]):
        read(file(identified({tag: uid})))


@pytest.mark.parametrize("tag", UIDS)
def test_a_uid_with_leading_zeros_is_stored_with_a_warning(tag):
    parsed = read(file(identified({tag: "1.02.3"})))
    assert "1.02.3" in (parsed.study, parsed.series, parsed.instance, parsed.sop_class)
    assert f"{UIDS[tag][0]} is no UID by the letter" in sentences(parsed)


@pytest.mark.parametrize("end", ["\0", " ", "\0\0", " \0"])
def test_padding_of_a_uid_is_no_part_of_it(end):
    assert read(file(identified({0x0020000D: "1.2.3" + end}))).study == "1.2.3"


def test_the_data_set_wins_over_the_file_meta_group():
    parsed = read(meta(sop_class="1.2.3", instance="1.2.4") + dataset())
    assert (parsed.sop_class, parsed.instance) == (CT, INSTANCE)
    assert [warning.kind for warning in parsed.warnings] == ["class"]
    assert sentences(parsed) == ["the File Meta group names another object than the data set"]


def test_a_file_meta_group_that_names_no_object_is_no_contradiction():
    assert read(meta(sop_class="", instance="") + dataset()).warnings == []


@pytest.mark.parametrize("patient", [None, "", "  "])
def test_an_object_without_patient_id_is_stored(patient):
    added = b"" if patient is None else LITTLE.text(0x00100020, "LO", patient)
    assert read(file(LITTLE.uids() + added + LITTLE.family())).warnings == []


def test_an_error_names_the_object_as_far_as_it_was_read():
    known = LITTLE.uids(7)
    for content, instance in (
        (known + b"\x10\0\x20\0LO\xff\0cut", f"{PREFIX}.1.1.7"),
        (b"\x08\0\x05\0CS\xff\0", INSTANCE),
    ):
        with pytest.raises(TruncatedObject) as caught:
            read(file(content))
        assert (caught.value.sop_class, caught.value.instance) == (CT, instance)
    with pytest.raises(BadIdentity) as missing:
        read(file(known))
    assert missing.value.instance == f"{PREFIX}.1.1.7"


# -- pixels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [1, 2, 7])
def test_fewer_pixels_than_are_described_are_truncation(missing):
    with pytest.raises(TruncatedObject):
        read(file(dataset(value=bytes(8 - missing))))


@each_syntax
def test_more_pixels_than_are_described_are_stored_with_a_warning(syntax):
    parsed = read(file(dataset(ENCODINGS[syntax], bytes(20)), syntax))
    assert sentences(parsed) == ["there are more pixel data than are described"]
    assert parsed.layout.count == 1


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_missing_last_padding_byte_is_stored_with_a_warning(syntax):
    encoding = ENCODINGS[syntax]
    described = encoding.identity() + encoding.description(3, 3)
    data = file(described + encoding.element(0x7FE00010, "OB", b"123456789\0"), syntax)
    assert read(data).warnings == []
    parsed = read(data[:-1])
    assert sentences(parsed) == ["the last padding byte is missing"]
    (span,) = parsed.layout.spans(1)
    assert data[span.start : span.stop] == b"123456789"
    with pytest.raises(TruncatedObject):
        read(data[:-2])


def test_one_missing_byte_that_is_no_padding_is_truncation():
    with pytest.raises(TruncatedObject):
        read(file(dataset())[:-1])


def test_pixels_that_are_described_and_missing_are_noted():
    parsed = read(file(LITTLE.identity() + LITTLE.description(2, 2)))
    assert parsed.layout.kind == "none"
    assert [warning.kind for warning in parsed.warnings] == ["class"]


def test_an_object_without_pixels_is_nothing_special():
    parsed = read(file(LITTLE.identity() + LITTLE.text(0x0040A040, "CS", "TEXT")))
    assert (parsed.layout.kind, parsed.layout.count, parsed.warnings) == ("none", 0, [])


# -- deflated -----------------------------------------------------------------------------------------------


def deflated(content: bytes) -> bytes:
    return file(content, DEFLATED)


def test_bulk_of_a_deflated_object_lies_in_the_inflated_data_set():
    content = dataset(value=b"ABCDEFGH")
    scratch = io.BytesIO()
    parsed = read_object(deflated(content), LIMITS, lambda: scratch)
    assert scratch.getvalue() == content
    (span,) = parsed.layout.spans(1)
    assert bytes(parsed.data[span.start : span.stop]) == b"ABCDEFGH"


def test_a_deflated_object_that_was_cut_is_refused_wherever_it_was_cut():
    whole = deflated(dataset())
    stream = len(meta(DEFLATED))
    inflater = zlib.decompressobj(-15)
    inflater.decompress(whole[stream:])
    end = len(whole) - len(inflater.unused_data)
    for cut in range(end):
        with pytest.raises(BadObject):
            read(whole[:cut])


def test_what_is_not_deflated_is_refused():
    with pytest.raises(BadObject):
        read(meta(DEFLATED) + b"\xff" * 100)


def test_a_deflate_bomb_is_refused_before_it_goes_off():
    bomb = deflated(LITTLE.identity() + LITTLE.element(0x7FE00010, "OB", bytes(200 << 20)))
    assert len(bomb) < 1 << 20
    written = tempfile.TemporaryFile()  # noqa: SIM115
    tracemalloc.start()
    with written, pytest.raises(ObjectTooLarge):
        read_object(bomb, LIMITS, lambda: _Scratch(written))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


class _Scratch:
    def __init__(self, target: io.BufferedRandom) -> None:
        self.target = target
        self.size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        assert self.size < 64 << 20
        return self.target.write(data)

    def getbuffer(self) -> bytes:
        raise AssertionError


def test_a_data_set_may_inflate_up_to_the_limit():
    content = LITTLE.identity() + LITTLE.element(0x00420011, "OB", bytes(5000))
    assert read(deflated(content), Limits(inflate=len(content))).instance == INSTANCE
    with pytest.raises(ObjectTooLarge) as caught:
        read(deflated(content), Limits(inflate=len(content) - 1))
    assert caught.value.instance == INSTANCE


def test_blank_images_may_compress_well():
    content = LITTLE.identity() + LITTLE.description(1024, 1024, 16)
    assert read(deflated(content + LITTLE.element(0x7FE00010, "OW", bytes(2 << 20)))).layout.count == 1


# -- cut anywhere -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    syntax=st.sampled_from([EXPLICIT, BIG, IMPLICIT]),
    padding=st.sampled_from([0, 6, 40]),
    odd=st.booleans(),
    texts=st.lists(st.text("abc", max_size=9), max_size=3),
)
def test_an_object_that_was_cut_is_refused_unless_nothing_is_lost(syntax, padding, odd, texts):
    encoding = ENCODINGS[syntax]
    size = 3 if odd else 4
    names = zip((0x00080070, 0x00080080, 0x00081040), texts, strict=False)
    parts = [
        encoding.text(0x00080016, "UI", CT),
        encoding.text(0x00080018, "UI", INSTANCE),
        *(encoding.text(tag, "LO", text) for tag, text in names),
        encoding.text(0x0020000D, "UI", f"{PREFIX}.1"),
        encoding.text(0x0020000E, "UI", f"{PREFIX}.1.1"),
        encoding.sequence(0x00201115, encoding.item(encoding.us(0x00280010, 1)), undefined=True),
        encoding.us(0x00280010, size),
        encoding.us(0x00280011, size),
        encoding.us(0x00280100, 8),
        encoding.element(0x7FE00010, "OB", bytes(range(1, size * size + 1)) + b"\0" * odd),
    ]
    borders = set(accumulate(map(len, parts), initial=len(meta(syntax))))
    whole = meta(syntax) + b"".join(parts)
    end = len(whole)
    whole += bytes(padding)
    reference = read(whole)
    assert reference.data_end == end
    for cut in range(len(whole)):
        try:
            parsed = read(whole[:cut])
        except BadObject:
            continue
        if cut >= end - odd:
            assert parsed.dataset == reference.dataset
            assert parsed.layout.spans(1)[0].stop <= cut
            assert (cut < end) == ("the last padding byte is missing" in sentences(parsed))
        else:
            # Exactly between two elements nobody can tell, unless pixels are described
            assert cut in borders
            assert {tag: reference.dataset[tag] for tag in parsed.dataset} == parsed.dataset
            assert ("00280100" in parsed.dataset) == (sentences(parsed) != [])


def test_an_encapsulated_object_that_was_cut_is_refused_within_its_pixels():
    described = LITTLE.identity() + LITTLE.description(2, 2, frames=2)
    whole = file(described + LITTLE.pixels([b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1"]), JPEG)
    for cut in range(len(file(described, JPEG)) + 1, len(whole)):
        with pytest.raises(TruncatedObject):
            read(whole[:cut])


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_objects_do_no_more_than_being_refused(data):
    syntax = data.draw(st.sampled_from([EXPLICIT, BIG, IMPLICIT, DEFLATED, JPEG]))
    encoding = ENCODINGS.get(syntax, LITTLE)
    content = dataset(encoding) if syntax != JPEG else LITTLE.identity() + LITTLE.pixels([b"ab", b"cd"], b"\0\0\0\0")
    whole = bytearray(file(content, syntax))
    for place in data.draw(st.lists(st.integers(128, len(whole) - 1), min_size=1, max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    try:
        parsed = read(bytes(whole))
    except BadObject:
        return
    for number in range(1, min(parsed.layout.count, 3) + 1):
        for start, stop in parsed.layout.spans(number):
            assert 0 <= start <= stop <= len(parsed.data)


def test_a_huge_count_of_frames_takes_no_memory():
    content = LITTLE.identity() + LITTLE.description(1, 1, 8, 2**31 - 1) + LITTLE.pixels([b"\xff\xd8\xff\xe0"])
    assert read(file(content, JPEG)).layout.count == 1
    with pytest.raises(TruncatedObject):
        read(file(LITTLE.identity() + LITTLE.description(1, 1, 8, 2**31 - 1) + LITTLE.element(0x7FE00010, "OB", b"ab")))


def test_nesting_is_limited():
    content = b""
    for _ in range(100):
        content = LITTLE.sequence(0x0040A730, LITTLE.item(content))
    with pytest.raises(ObjectTooComplex) as caught:
        read(file(LITTLE.identity() + content))
    assert caught.value.instance == INSTANCE


# -- every real file ----------------------------------------------------------------------------------------

# Refused, and why; whatever is not listed is stored.
REFUSED: dict[str, type[BadObject]] = {
    "built/knee-no-sop-instance-uid.dcm": BadIdentity,
    "built/knee-no-study-uid.dcm": BadIdentity,
    "built/knee-truncated-header.dcm": TruncatedObject,
    "built/knee-truncated-pixels.dcm": TruncatedObject,
    "built/knee-uid-70-chars.dcm": BadIdentity,
    "dcm4che/dcm4che-test-data__3gb-bulk-data-truncated.dcm": TruncatedObject,
    "dwv/annotation__dwv034__sr-arrow.dcm": BadIdentity,
    "dwv/annotation__dwv034__sr-circle.dcm": BadIdentity,
    "dwv/annotation__dwv034__sr-ellipse.dcm": BadIdentity,
    "dwv/annotation__dwv034__sr-protractor.dcm": BadIdentity,
    "dwv/annotation__dwv034__sr-rectangle.dcm": BadIdentity,
    "dwv/annotation__dwv034__sr-roi.dcm": BadIdentity,
    "dwv/annotation__dwv034__sr-ruler.dcm": BadIdentity,
    "dwv/bbmri.dcmdir.dcm": BadIdentity,
    "dwv/leadtools-8BitsJpegLossyGrayScale.dcm": BadIdentity,
    "fo-dicom/GH364.dcm": BadObject,  # the header of a sequence is missing
    "fo-dicom/GH487.dcm": BadIdentity,
    "orthanc-tests/PrivateMDNTags.dic.dcm": BadObject,  # a text file
    "pydicom-data/HTJ2K_08_RGB.dcm": BadIdentity,
    "pydicom/pydicom__MR_truncated.dcm": TruncatedObject,
    "pydicom/pydicom__SC_rgb_jls_lossy_line.dcm": BadIdentity,
    "pydicom/pydicom__palettes__fall.dcm": BadIdentity,
    "pydicom/pydicom__rtplan_truncated.dcm": TruncatedObject,
}


@needs_real_files
@pytest.mark.parametrize("path", real_files(), ids=lambda path: str(path.relative_to(FOLDER)))
def test_every_real_file_is_read_or_refused_for_its_reason(path):
    data = path.read_bytes()
    reason = REFUSED.get(str(path.relative_to(FOLDER)))
    if reason is not None:
        with pytest.raises(BadObject) as caught:
            read(data)
        assert type(caught.value) is reason
        return
    parsed = read(data)
    assert parsed.layout.kind != "opaque"
    assert 0 < parsed.data_start < parsed.data_end <= len(data) or parsed.meta == {}
    for number in range(1, parsed.layout.count + 1):
        for start, stop in parsed.layout.spans(number):
            assert 0 < start < stop <= len(parsed.data)


@needs_real_files
@pytest.mark.parametrize("path", real_files()[::7], ids=lambda path: str(path.relative_to(FOLDER)))
def test_no_real_file_may_lose_its_end(path):
    data = path.read_bytes()
    if str(path.relative_to(FOLDER)) in REFUSED:
        pytest.skip("refused anyway")
    whole = read(data)
    if whole.layout.kind == "none":
        pytest.skip("without pixels a cut between two elements cannot be told")
    end = whole.data_end
    for cut in (*range(end - 20, end), end // 2, end * 3 // 4, whole.data_start + 50):
        try:
            parsed = read(data[:cut])
        except BadObject:
            continue
        assert parsed.dataset == whole.dataset, cut
        assert sentences(parsed) != sentences(whole)
