"""Content-Type and Accept as clients really send them."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.errors import BadRequest, Error
from dicomweb.standard import media
from dicomweb.standard.media import (
    Range,
    default_syntax,
    plain_name,
    read_accept,
    read_ranges,
    read_type,
    type_of,
)
from dicomweb.standard.syntaxes import EXPLICIT, SYNTAXES

JPEG = "1.2.840.10008.1.2.4.50"


@pytest.mark.parametrize(
    ("text", "name", "params"),
    [
        ("application/dicom", "application/dicom", {}),
        ("Application/DICOM ; Transfer-Syntax=1.2", "application/dicom", {"transfer-syntax": "1.2"}),
        ('a/b;x="y;z,=w"', "a/b", {"x": "y;z,=w"}),
        (r'a/b;x="say \"hi\""', "a/b", {"x": 'say "hi"'}),
        ("a/b;;x=1;", "a/b", {"x": "1"}),
        ("a/b;x", "a/b", {}),
        ('"application/dicom"', "application/dicom", {}),
        (
            'multipart/related; type="application/dicom; transfer-syntax=1.2"; boundary=b',
            "multipart/related",
            {"type": "application/dicom", "transfer-syntax": "1.2", "boundary": "b"},
        ),
        ("application/dicom+json; charset=utf-8", "application/dicom+json", {"charset": "utf-8"}),
    ],
)
def test_content_types_are_read(text, name, params):
    kind = read_type(text)
    assert (kind.name, kind.params) == (name, params)


@pytest.mark.parametrize("text", ["", ";", "dicom", "a/", "/b", "a/b/c", "a b/c", "a/b" + "x" * 10_000, "\0/\0"])
def test_what_is_no_media_type_is_refused(text):
    with pytest.raises(BadRequest, match="not a media type"):
        read_type(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Application/PDF", "application/pdf"),
        ("application/pdf; version=1", "application/pdf"),
        ("image/x-jls", "image/jls"),
        ("video/h265", "video/H265"),
        ("text/html\r\nX: y", ""),
        ("application/pdf\0", "application/pdf"),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_a_type_from_a_data_set_is_reduced_to_what_may_stand_in_a_header(text, name):
    assert plain_name(text) == name


def test_every_media_type_has_the_default_that_the_standard_gives_it():
    assert {kind: default_syntax(kind).removeprefix("1.2.840.10008.1.2.") for kind in media.SYNTAXES} == {
        "application/octet-stream": "1",
        "image/jpeg": "4.70",
        "image/dicom-rle": "5",
        "image/jls": "4.80",
        "image/jp2": "4.90",
        "image/jpx": "4.92",
        "image/jphc": "4.201",
        "image/jxl": "4.110",
        "video/mpeg": "4.101",
        "video/mp4": "4.102",
        "video/H265": "4.107",
    }
    assert default_syntax("image/x-dicom-rle") == "1.2.840.10008.1.2.5"
    assert default_syntax("application/pdf") == ""


def test_every_transfer_syntax_has_one_media_type():
    uids = [uid for kinds in media.SYNTAXES.values() for uid in kinds]
    assert len(uids) == len(set(uids))
    assert all(type_of(uid) == kind for kind, kinds in media.SYNTAXES.items() for uid in kinds)
    compressed = [s for s in SYNTAXES.values() if s.kept and s.media_type != "application/octet-stream"]
    assert {s.uid for s in compressed} == set(uids) - {EXPLICIT}
    assert type_of("1.2.3.4") == "application/octet-stream"


def octets(syntax="", multipart=True, q=1.0):
    return Range("application/octet-stream", multipart, syntax, q=q)


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("*/*", [Range("*/*", None)]),
        ("application/dicom+json", [Range("application/dicom+json")]),
        (
            "application/dicom+json;q=0.5, */*;q=0.1",
            [Range("application/dicom+json", q=0.5), Range("*/*", None, q=0.1)],
        ),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", [octets("*")]),
        ('multipart/related; type="application/octet-stream"; transfer-syntax="*"', [octets("*")]),
        ("multipart/related;type='application/octet-stream'", [octets()]),
        ("Multipart/Related; Type=Application/Octet-Stream; Transfer-Syntax=*", [octets("*")]),
        ("multipart/related; transferSyntax=1.2.3; type=application/octet-stream", [octets("1.2.3")]),
        ('multipart/related; type="image/jpeg; transfer-syntax=1.2.3"', [Range("image/jpeg", True, "1.2.3")]),
        ('multipart/related; type="*/*"', [Range("*/*", True)]),
        ("multipart/related", [Range("*/*", True)]),
        ("multipart/*", [Range("*/*", True)]),
        ("multipart/form-data; type=image/jpeg, image/png", [Range("image/png")]),
        (
            'multipart/related; type="a/b";transfer-syntax=1.2,"application/octet-stream"; transfer-syntax=*',
            [Range("a/b", True, "1.2"), octets("*")],
        ),
        (
            "multipart/related; type=image/jpeg; type=image/jp2; q=0.5",
            [Range("image/jpeg", True), Range("image/jp2", True, q=0.5)],
        ),
        (
            "multipart/related; type=image/jpeg, type=image/jp2",
            [Range("image/jpeg", True), Range("image/jp2", True)],
        ),
        (
            "multipart/related, type=application/octet-stream, transfer-syntax=*, q=0.3",
            [octets("*", q=0.3)],
        ),
        (
            "application/dicom+json; multipart/related; type=application/octet-stream",
            [Range("application/dicom+json"), octets()],
        ),
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=1.2.3,1.2.4",
            [octets("1.2.3"), octets("1.2.4")],
        ),
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=1.2;transfer-syntax=1.3;q=0.2",
            [octets("1.2"), octets("1.3", q=0.2)],
        ),
        (
            "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
            [
                Range("text/html"),
                Range("image/gif"),
                Range("image/jpeg"),
                Range("*/*", None, q=0.2),
                Range("*/*", None, q=0.2),
            ],
        ),
        ("image/x-jls, image/jll, image/jhc", [Range("image/jls"), Range("image/jpeg"), Range("image/jphc")]),
        ("application/dicom; charset=utf-8", [Range("application/dicom", charset="utf-8")]),
        ("application/dicom; q=7", [Range("application/dicom")]),
        ("application/dicom; q=1.5", [Range("application/dicom")]),
        ("application/dicom; q=-1, */*; q=nan", [Range("application/dicom"), Range("*/*", None)]),
        ("application/dicom; q=0.000", [Range("application/dicom", q=0.0)]),
        ("application/dicom; transfer-syntax=junk", [Range("application/dicom", syntax="?")]),
        ('multipart/related; type="application/octet-stream', [octets()]),
        ("junk, , ;;, =, a=b, type=, 1.2.3", []),
        ("", []),
    ],
)
def test_accept_headers_are_read_for_what_they_mean(text, ranges):
    assert list(read_ranges(text)) == ranges


def test_no_accept_header_is_any():
    assert read_accept(None) == read_accept("") == read_accept(" ") == read_accept("*/*")


def test_a_header_of_nonsense_accepts_nothing():
    assert read_accept("nonsense").header == ()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("image/jpeg", Range("image/jpeg")),
        ("image%2Fjpeg", Range("image/jpeg")),
        ("application/dicom json", Range("application/dicom+json")),
        ('multipart/related; type="application/dicom xml"', Range("application/dicom+xml", True)),
        ("application/dicom;transfer-syntax=*", Range("application/dicom", syntax="*")),
    ],
)
def test_the_query_parameter_is_read_as_the_header_is(value, wanted):
    assert read_accept("*/*", [value]).query == (wanted,)


def test_wildcards_do_not_count_in_the_query_parameter():
    assert read_accept("image/png", ["*/*, image/*, image/gif"]).query == (Range("image/gif"),)


def test_several_query_parameters_count_together():
    assert read_accept(None, ["image/gif", "image/png;q=0.5"]).query == (
        Range("image/gif"),
        Range("image/png", q=0.5),
    )


def test_only_so_many_entries_are_looked_at():
    assert len(read_ranges("a/b," * 5000)) == 100


words = [
    "multipart/related",
    "type",
    "image/jpeg",
    "*/*",
    "transfer-syntax",
    JPEG,
    "q",
    "0.5",
    *";,=\"' \\/%*",
]
nearly = st.lists(st.sampled_from(words) | st.text(string.printable + "\u00e9\u0661\0", max_size=3), max_size=40).map(
    "".join
)


@given(nearly)
def test_no_text_whatever_raises_anything_but_our_errors(text):
    for range_ in read_accept(text, [text]).header:
        assert 0 <= range_.q <= 1
        assert range_.media_type.count("/") == 1
    try:
        read_type(text)
    except Error:
        pass
    else:
        assert read_type(text).name.count("/") == 1


@given(nearly, nearly)
def test_what_stands_before_and_after_does_not_hide_a_good_entry(before, after):
    good = Range("application/dicom+json", False)
    for range_ in (good, Range("image/png", False)):
        text = f"{before}, {range_.media_type}, {after}"
        assert any(found.media_type == range_.media_type for found in read_ranges(text))
