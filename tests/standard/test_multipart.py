"""The reader gives the same events wherever the input is cut; what is written is read back."""

import base64
import email
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomweb.errors import BadRequest, Error, UnsupportedMedia
from dicomweb.standard.multipart import (
    Limits,
    PartData,
    PartEnd,
    PartReader,
    PartStart,
    boundary_for,
    boundary_of,
    is_ours,
    size_of,
    write,
    write_end,
    write_head,
    write_type,
)

B = "abc"


def parts_of(body, boundary=B, limits=None, cuts=(), counted=False):
    """All parts as (headers, data); the order of events is checked on the way."""
    reader = PartReader(boundary, limits, counted)
    found, is_open = [], False
    edges = [0, *cuts, len(body)]
    for start, stop in itertools.pairwise(edges):
        for event in reader.feed(body[start:stop]):
            if isinstance(event, PartStart):
                assert not is_open
                found.append((event.headers, []))
                is_open = True
            elif isinstance(event, PartData):
                assert is_open
                assert len(event.data)
                found[-1][1].append(bytes(event.data))
            else:
                assert isinstance(event, PartEnd)
                is_open = False
    reader.finish()
    assert not is_open
    return [(headers, b"".join(pieces)) for headers, pieces in found]


def data_of(body, **options):
    return [data for _, data in parts_of(body, **options)]


def outcome_of(body, **options):
    try:
        return parts_of(body, **options)
    except Error as error:
        return type(error)


PLAIN = b"--abc\r\nContent-Type: application/dicom\r\n\r\nDATA\r\n--abc--\r\n"


def test_a_body_as_the_standard_prints_it_is_read():
    assert parts_of(PLAIN) == [({"content-type": "application/dicom"}, b"DATA")]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"This is a message\r\nfor old clients\r\n" + PLAIN, id="preamble"),
        pytest.param(b"\r\n" + PLAIN, id="line break first"),
        pytest.param(b"preamble\n" + PLAIN, id="preamble that ends in LF"),
        pytest.param(PLAIN.replace(b"\r\n", b"\n"), id="bare LF everywhere"),
        pytest.param(PLAIN.replace(b"--abc\r\n", b"--abc \t \r\n"), id="white space after the boundary"),
        pytest.param(PLAIN.removesuffix(b"\r\n"), id="no line break after the last boundary"),
        pytest.param(PLAIN + b"epilogue --abc\r\n\r\n--abc\r\nX: y\r\n", id="epilogue"),
        pytest.param(PLAIN.replace(b"application", b"\r\n  application"), id="folded header"),
        pytest.param(PLAIN.replace(b"Content-Type:", b"CONTENT-TYPE :\t"), id="odd spelling of the name"),
        pytest.param(PLAIN.replace(b"DATA\r\n", b"DATA\n"), id="LF before the last boundary only"),
    ],
)
def test_what_real_senders_vary_changes_nothing(body):
    ((headers, data),) = parts_of(body)
    assert headers["content-type"].strip() == "application/dicom"
    assert data == b"DATA"


def test_a_part_without_any_header_has_none_and_keeps_its_data():
    assert parts_of(b"--abc\r\n\r\nDATA\r\n--abc--") == [({}, b"DATA")]


@pytest.mark.parametrize(
    "body",
    [
        b"--abc\r\nA: b\r\n\r\n\r\n--abc--",
        b"--abc\r\nA: b\r\n\r\n--abc--",
        b"--abc\r\nA: b\r\n--abc--",
        b"--abc\r\n\r\n--abc--",
        b"--abc\r\n--abc--",
    ],
)
def test_a_part_may_be_empty(body):
    assert data_of(body) == [b""]


def test_the_first_of_two_headers_of_the_same_name_counts():
    ((headers, _),) = parts_of(b"--abc\r\nA: one\r\na: two\r\n\r\n\r\n--abc--")
    assert headers == {"a": "one"}


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n--ab",
        b"\r\n--abcd\r\n",
        b"--abcd",
        b"x--abc\r\ny",
        b"\r\n--abc \rx",
        b"\r\n --abc\r\n",
        b"\r\n--abc" + b" " * 300 + b"\r\n",
        b"\r",
        b"\n",
        b"\r\n",
        b"x\r",
        b"\r\n\r\n--",
        b"\n\n--ab\r\n--a",
        b"-",
    ],
)
def test_what_only_looks_like_a_delimiter_is_data(data):
    assert data_of(b"--abc\r\nA: b\r\n\r\n" + data + b"\r\n--abc--") == [data]


def test_a_carriage_return_before_a_bare_line_feed_is_data_if_the_length_says_so():
    body = b"--abc\nContent-Length: 5\n\nDATA\r\n--abc--"
    assert data_of(body) == [b"DATA\r"]
    assert data_of(body.replace(b"5", b"4")) == [b"DATA"]
    assert data_of(body.replace(b"5", b"99")) == [b"DATA"]


def test_base64_is_decoded_with_its_line_breaks():
    data = bytes(range(256)) * 3
    text = base64.encodebytes(data)
    body = b"--abc\r\nContent-Transfer-Encoding: BASE64\r\n\r\n" + text + b"\r\n--abc--"
    assert data_of(body) == [data]
    assert data_of(body, cuts=range(1, len(body))) == [data]


@pytest.mark.parametrize("text", [b"QUJ", b"QUJD!!!!", b"QQ==QQ==", b"QUJDQ", b"Q===", b"QQ==\r\nQUJD"])
def test_base64_that_is_none_is_refused(text):
    with pytest.raises(BadRequest):
        parts_of(b"--abc\r\nContent-Transfer-Encoding: base64\r\n\r\n" + text + b"\r\n--abc--")


@pytest.mark.parametrize("coding", ["binary", "8bit", "7bit", "Binary", ""])
def test_transfer_encodings_that_change_nothing_are_taken(coding):
    body = f"--abc\r\nContent-Transfer-Encoding: {coding}\r\n\r\nDATA\r\n--abc--".encode()
    assert data_of(body) == [b"DATA"]


def test_other_transfer_encodings_are_refused():
    with pytest.raises(UnsupportedMedia, match="Transfer-Encoding"):
        parts_of(b"--abc\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=41\r\n--abc--")


def test_a_part_that_is_itself_multipart_is_refused():
    with pytest.raises(UnsupportedMedia, match="itself multipart"):
        parts_of(b"--abc\r\nContent-Type: Multipart/Mixed; boundary=d\r\n\r\n--d--\r\n--abc--")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "does not contain the boundary"),
        (b"no boundary at all", "does not contain the boundary"),
        (b"--abcd\r\n\r\nDATA\r\n--abcd--", "does not contain the boundary"),
        (b"--abc--", "no part"),
        (b"--abc\r\nA: b\r\n\r\nDATA", "ends before"),
        (b"--abc\r\nA: b\r\n\r\nDATA\r\n--abc", "ends before"),
        (b"--abc\r\nA: b\r\n\r\nDATA\r\n--abc-", "ends before"),
        (b"--abc\r\nA: b\r\n\r\nDATA--abc--", "ends before"),
        (b"--abc\r\nA: b\r\n", "ends before"),
        (b"--abc\r\nDATA\r\n\r\n\r\n--abc--", "no header field"),
        (b"--abc\r\nA b: c\r\n\r\n\r\n--abc--", "no header field"),
        (b"--abc\r\n: c\r\n\r\n\r\n--abc--", "no header field"),
        (b"--abc\r\nA: b\rc\r\n\r\n\r\n--abc--", "no header field"),
        (b"--abc\r\nA: b\0\r\n\r\n\r\n--abc--", "no header field"),
    ],
)
def test_what_is_not_well_formed_is_refused_with_a_sentence(body, sentence):
    with pytest.raises(BadRequest, match=sentence):
        parts_of(body)
    with pytest.raises(BadRequest, match=sentence):
        parts_of(body, cuts=range(1, len(body)))


def test_a_million_empty_parts_stop_at_the_limit():
    reader = PartReader(B)
    count = 0
    with pytest.raises(BadRequest, match="more than 20,000 parts"):  # noqa: PT012
        for _ in range(1000):
            count += sum(isinstance(event, PartStart) for event in reader.feed(b"--abc\r\n\r\n\r\n" * 1000))
    assert 18_000 <= count <= 20_000


def test_a_header_of_a_megabyte_is_refused_before_it_has_arrived():
    reader = PartReader(B)
    reader.feed(b"--abc\r\nX: ")
    with pytest.raises(BadRequest, match="header of a part is longer than 16,384"):  # noqa: PT012
        for _ in range(20):
            reader.feed(b"y" * 1000)


def test_a_header_at_the_limit_is_read_and_one_byte_more_is_not():
    def body(length):
        return b"--abc\r\nX: " + b"y" * (length - 3) + b"\r\n\r\nDATA\r\n--abc--"

    limits = Limits(header=100)
    assert data_of(body(99), limits=limits) == [b"DATA"]
    with pytest.raises(BadRequest, match="longer than 100"):
        data_of(body(100), limits=limits)


def test_a_wrong_boundary_is_found_out_before_the_whole_body_was_read():
    reader = PartReader("other")
    reader.feed(PLAIN)
    with pytest.raises(BadRequest, match="does not begin with the boundary"):  # noqa: PT012
        for _ in range(3):
            reader.feed(bytes(500_000))


def test_what_is_held_between_two_pieces_is_no_more_than_a_delimiter():
    reader = PartReader(B)
    reader.feed(b"--abc\r\n\r\n")
    for piece in (b"x" * 1000, b"\r\n" * 1000, b"\r" * 1000, b"\r\n--ab" * 100, b"\r\n--abc" + b" " * 5000):
        taken = sum(len(event.data) for event in reader.feed(piece))
        assert len(reader._held) < 300
        assert taken > len(piece) - 300


def test_large_data_is_handed_on_without_a_copy():
    reader = PartReader(B)
    reader.feed(b"--abc\r\n\r\n")
    reader.feed(b"begin")
    piece = bytes(1 << 20)
    (event,) = reader.feed(piece)
    assert event.data is piece


def test_data_that_is_counted_is_not_searched_and_what_is_left_of_it_is_known():
    reader = PartReader(B, counted=True)
    reader.feed(b"--abc\r\nContent-Length: 12\r\n\r\n")
    assert reader.left == 12
    (event,) = reader.feed(b"\r\n--abc--")
    assert (event.data, reader.left) == (b"\r\n--abc--", 3)
    data, end = reader.feed(b"abc\r\n--abc--\r\n")
    assert (bytes(data.data), end, reader.left) == (b"abc", PartEnd(), 0)
    reader.finish()


@pytest.mark.parametrize("stated", [3, 6, 7, 30])
def test_data_that_is_not_as_long_as_it_says_is_refused_wherever_it_is_cut(stated):
    body = b"--abc\r\nContent-Length: %d\r\n\r\nDATA\r\n--abc--\r\n" % stated
    for cuts in ((), range(1, len(body)), *((cut,) for cut in range(1, len(body)))):
        with pytest.raises(BadRequest, match=r"not as long|before its last"):
            parts_of(body, cuts=cuts, counted=True)


headers = st.dictionaries(
    st.sampled_from(["Content-Type", "X-One", "x-two", "Content-Location"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
    max_size=3,
)
tricky = st.lists(
    st.sampled_from([b"\r\n", b"\n", b"\r", b"--", b"--abc", b"\r\n--ab", b"c", b" ", b"--abcd", b"\0", b"x: y"])
    | st.binary(max_size=5),
    max_size=12,
).map(b"".join)


@given(st.lists(st.tuples(headers, st.binary(max_size=200)), min_size=1, max_size=5), st.data())
def test_what_is_written_is_read_back_wherever_it_is_cut(parts, data):
    boundary = boundary_for("etag")
    pieces = []
    stated = data.draw(st.booleans())
    for number, (fields, content) in enumerate(parts):
        told = {**fields, "Content-Length": str(len(content))} if stated else fields
        pieces += [write_head(boundary, "application/dicom", told, first=not number), content]
    body = b"".join([*pieces, write_end(boundary)])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=10)))
    found = parts_of(body, boundary=boundary, cuts=cuts, counted=data.draw(st.booleans()))
    assert [content for _, content in found] == [content for _, content in parts]
    for (got, _), (given_, _) in zip(found, parts, strict=True):
        assert got["content-type"] == "application/dicom"
        assert all(got[name.lower()] == value for name, value in given_.items() if name != "Content-Type")


@settings(max_examples=400)
@given(st.lists(tricky, max_size=5), st.data())
def test_any_input_gives_the_same_wherever_it_is_cut(pieces, data):
    body = data.draw(st.sampled_from([b"", b"--abc\r\n", b"--abc\r\n\r\n"])) + b"\r\n--abc\r\n\r\n".join(pieces)
    body += data.draw(st.sampled_from([b"", b"\r\n--abc--", b"\n--abc--\r\n"]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    limits = Limits(parts=4, header=40, preamble=30)
    whole = outcome_of(body, limits=limits)
    assert outcome_of(body, limits=limits, cuts=cuts) == whole
    assert outcome_of(body, limits=limits, cuts=range(1, len(body))) == whole


@given(st.lists(tricky, min_size=1, max_size=4), st.data())
def test_data_that_is_counted_may_hold_delimiters(pieces, data):
    body = write(B, [("application/dicom", piece) for piece in pieces])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    for chosen in (cuts, range(1, len(body))):
        assert data_of(body, cuts=chosen, counted=True) == pieces


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_no_bytes_whatever_raise_anything_but_our_errors(body, start):
    outcome_of(start + b"\r\n--abc\r\n" + body)
    outcome_of(body)


def test_a_boundary_is_the_same_for_the_same_answer_and_legal():
    assert boundary_for('"x"') == boundary_for('"x"') != boundary_for('"y"')
    assert is_ours(boundary_for('"x"'))
    assert not is_ours("abc")
    assert boundary_of(write_type(boundary_for('"x"'), "application/dicom")) == boundary_for('"x"')
    assert len(boundary_for("x" * 1000)) <= 70


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', "abc"),
        ('multipart/related; type="application/dicom"; boundary="abc"', "abc"),
        ("Multipart/Related;BOUNDARY=abc;type=application/dicom", "abc"),
        ('multipart/related; boundary="a;b, c=(d)"; type="application/dicom"', "a;b, c=(d)"),
        ("multipart/related; boundary=----=_Part_7_1.2; type=application/dicom", "----=_Part_7_1.2"),
        ('multipart/related; boundary="abc', "abc"),
        ('multipart/related; type="application/dicom; transfer-syntax=1.2"; boundary=abc', "abc"),
        ('multipart/related; boundary = "abc" ', "abc"),
        ("multipart/form-data; boundary=abc", "abc"),
    ],
)
def test_boundaries_are_read_quoted_and_unquoted(content_type, boundary):
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/related",
        "multipart/related; boundary=",
        'multipart/related; boundary=""',
        "multipart/related; boundary=" + "x" * 10_000,
        "multipart/related; boundary=" + "x" * 201,
        "multipart/related; boundary=a\nb",
        "multipart/related; boundary=\u00e9",
        "",
        "multipart",
    ],
)
def test_a_missing_or_impossible_boundary_is_refused(content_type):
    with pytest.raises(BadRequest):
        boundary_of(content_type)


def test_other_types_have_no_boundary():
    with pytest.raises(UnsupportedMedia, match="application/dicom, not multipart"):
        boundary_of("application/dicom; boundary=abc")


def test_heads_are_spelled_as_viewers_search_for_them():
    jpeg = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70"
    assert write_head(B, jpeg, {"Content-Length": "4"}, first=True).split(b"\r\n") == [
        b"--abc",
        b"Content-Type: image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70",
        b"Content-Length: 4",
        b"",
        b"",
    ]
    assert write_head(B, "text/html") == b"\r\n--abc\r\nContent-Type: text/html\r\n\r\n"
    assert write_end(B) == b"\r\n--abc--\r\n"


def test_values_from_data_cannot_add_a_header():
    head = write_head(B, "a/b\r\nX: y", {"Content-Location": "/x\r\nSet-Cookie: y\u00e9"})
    assert head.count(b"\r\n") == 5
    assert b"\nX:" not in head
    assert b"\nSet-Cookie" not in head


def test_the_size_of_a_body_is_known_before_its_data():
    heads = [write_head(B, "application/dicom", first=True), write_head(B, "application/dicom")]
    body = heads[0] + b"x" * 10 + heads[1] + b"y" * 7 + write_end(B)
    assert size_of(heads, [10, 7], write_end(B)) == len(body)


def test_another_reader_understands_what_is_written():
    boundary = boundary_for("x")
    body = write(boundary, [("application/octet-stream", b"one\n"), ("application/octet-stream", b"\r\ntwo")])
    message = email.message_from_bytes(
        b"Content-Type: " + write_type(boundary, "application/octet-stream").encode() + b"\r\n\r\n" + body
    )
    assert message.get_content_type() == "multipart/related"
    assert message.get_param("type") == "application/octet-stream"
    assert [part.get_payload(decode=True) for part in message.get_payload()] == [b"one\n", b"\r\ntwo"]
