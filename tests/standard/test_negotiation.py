"""What is sent: the Standard's worked cases, what viewers really ask, the rules that hold for any list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.errors import BadRequest, Error, NotAcceptable
from dicomweb.standard.media import read_accept
from dicomweb.standard.negotiation import (
    Choice,
    Source,
    for_frames,
    for_instances,
    for_metadata,
    for_pixels,
    for_rendered,
    for_store,
    for_value,
    wants_bulkdata,
)
from dicomweb.standard.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, RLE

BASE = "1.2.840.10008.1.2.4."
BASELINE, LOSSLESS14, LOSSLESS = BASE + "50", BASE + "57", BASE + "70"
JLS, JLS_NEAR, JP2, JP2_LOSSY = BASE + "80", BASE + "81", BASE + "90", BASE + "91"
HTJ2K, RPCL = BASE + "201", BASE + "202"
H264 = BASE + "102"
PRIVATE = "1.3.6.1.4.1.99999.1"

NATIVE = Source(EXPLICIT)
CODED = frozenset({EXPLICIT, LOSSLESS, JLS, JP2, HTJ2K, RPCL, RLE})  # what a server with codecs makes


def stored(syntax, *, lossy=False, makes=frozenset()):
    return Source(syntax, native=False, lossy=lossy, makes=makes - {syntax})


def frames(accept, source=NATIVE, single=True, query=()):
    return for_frames(read_accept(accept, query), source, single)


def instance(accept, source=NATIVE, single=True, query=()):
    return for_instances(read_accept(accept, query), [source], single)[0]


def rendered(accept, types=("image/jpeg", "image/png", "image/gif"), query=(), **where):
    return for_rendered(read_accept(accept, query), types, **({"single": True} | where))


def summary(choice):
    return choice.media_type, choice.multipart, choice.syntax


def parts(kind, syntax=""):
    return kind, True, syntax


def bare(kind, syntax=""):
    return kind, False, syntax


DICOM, OCTETS = "application/dicom", "application/octet-stream"
MULTI_DICOM = 'multipart/related; type="application/dicom"'
MULTI_OCTETS = 'multipart/related; type="application/octet-stream"'


def offered(call, *arguments, **named):
    try:
        return call(*arguments, **named)
    except Error as error:
        return type(error)


# -- worked cases of PS3.18 8.7 and 10.4 -------------------------------------------------------
@pytest.mark.parametrize(
    ("accept", "source", "single", "expected"),
    [
        pytest.param(None, NATIVE, False, parts(DICOM, EXPLICIT), id="no Accept"),
        pytest.param("*/*", NATIVE, False, parts(DICOM, EXPLICIT), id="study, any"),
        pytest.param("application/dicom", NATIVE, False, NotAcceptable, id="one part for a study"),
        pytest.param("application/dicom", NATIVE, True, bare(DICOM, EXPLICIT), id="one part for an instance"),
        pytest.param(f"{MULTI_DICOM}; transfer-syntax=*", stored(JP2), True, parts(DICOM, JP2), id="as stored"),
        pytest.param(
            MULTI_DICOM, stored(JP2, makes=CODED), True, parts(DICOM, EXPLICIT), id="lossless is decompressed"
        ),
        pytest.param(
            MULTI_DICOM,
            stored(BASELINE, lossy=True, makes=CODED),
            True,
            parts(DICOM, BASELINE),
            id="lossy is not",
        ),
        pytest.param(
            f"{MULTI_DICOM}; transfer-syntax={EXPLICIT}",
            stored(BASELINE, lossy=True, makes=CODED),
            True,
            parts(DICOM, EXPLICIT),
            id="lossy is if that is named",
        ),
        pytest.param(f"{MULTI_DICOM}; transfer-syntax={IMPLICIT}", NATIVE, True, NotAcceptable, id="never implicit"),
        pytest.param(f"{MULTI_DICOM}; transfer-syntax={IMPLICIT}, image/png", NATIVE, True, BadRequest, id="mixed"),
        pytest.param(f"{MULTI_DICOM}, image/png", NATIVE, True, parts(DICOM, EXPLICIT), id="mixed, one fits"),
        pytest.param("image/png", NATIVE, True, NotAcceptable, id="only rendered"),
        pytest.param(MULTI_DICOM, Source(IMPLICIT), True, parts(DICOM, EXPLICIT), id="implicit leaves explicit"),
        pytest.param(
            f"{MULTI_DICOM}; transfer-syntax=*",
            Source(IMPLICIT),
            True,
            parts(DICOM, EXPLICIT),
            id="even by *",
        ),
        pytest.param(
            f"{MULTI_DICOM}; transfer-syntax=*",
            Source(BIG_ENDIAN),
            True,
            parts(DICOM, EXPLICIT),
            id="big endian",
        ),
        pytest.param(
            f"{MULTI_DICOM}; transfer-syntax=*",
            Source(DEFLATED),
            True,
            parts(DICOM, DEFLATED),
            id="deflated, *",
        ),
        pytest.param(MULTI_DICOM, Source(DEFLATED), True, parts(DICOM, EXPLICIT), id="deflated is inflated"),
        pytest.param(MULTI_DICOM, stored(JP2), True, parts(DICOM, JP2), id="nobody can decode it"),
        pytest.param(MULTI_DICOM, stored(PRIVATE), True, parts(DICOM, PRIVATE), id="private syntax"),
        pytest.param(
            f"{MULTI_DICOM}; transfer-syntax={EXPLICIT}",
            stored(JP2),
            True,
            NotAcceptable,
            id="cannot, but named",
        ),
        pytest.param(
            f"{MULTI_DICOM}; transfer-syntax={JLS}",
            stored(JP2, makes=CODED),
            True,
            parts(DICOM, JLS),
            id="other",
        ),
        pytest.param("application/zip", stored(JP2, makes=CODED), False, bare("application/zip", JP2), id="zip"),
        pytest.param(
            f"application/zip; transfer-syntax={EXPLICIT}",
            stored(JP2, makes=CODED),
            False,
            bare("application/zip", EXPLICIT),
            id="zip, decompressed",
        ),
        pytest.param("application/*", NATIVE, True, bare(DICOM, EXPLICIT), id="any application type"),
        pytest.param("application/*", stored(JP2, makes=CODED), True, bare(DICOM, EXPLICIT), id="but never zip"),
    ],
)
def test_whole_instances(accept, source, single, expected):
    choice = offered(instance, accept, source, single)
    assert (summary(choice) if isinstance(choice, Choice) else choice) == expected


@pytest.mark.parametrize(
    ("accept", "source", "expected"),
    [
        pytest.param(
            'multipart/related; type="image/jpeg"',
            stored(LOSSLESS),
            parts("image/jpeg", LOSSLESS),
            id="default",
        ),
        pytest.param(
            'multipart/related; type="image/jpeg"',
            stored(BASELINE, lossy=True, makes=CODED),
            parts("image/jpeg", BASELINE),
            id="lossy stays as it is",
        ),
        pytest.param(
            'multipart/related; type="image/jpeg"',
            stored(LOSSLESS14, makes=CODED),
            parts("image/jpeg", LOSSLESS),
            id="the default of image/jpeg",
        ),
        pytest.param(
            'multipart/related; type="image/jpeg"',
            stored(LOSSLESS14),
            parts("image/jpeg", LOSSLESS14),
            id="the default cannot be made",
        ),
        pytest.param(
            f'multipart/related; type="image/jpeg"; transfer-syntax={BASELINE}',
            stored(BASELINE, lossy=True),
            parts("image/jpeg", BASELINE),
            id="named as stored",
        ),
        pytest.param(MULTI_OCTETS, NATIVE, parts(OCTETS, EXPLICIT), id="native"),
        pytest.param(MULTI_OCTETS, stored(JP2, makes=CODED), parts(OCTETS, EXPLICIT), id="decoded"),
        pytest.param(MULTI_OCTETS, stored(BASELINE, lossy=True, makes=CODED), parts(OCTETS, EXPLICIT), id="lossy too"),
        pytest.param(MULTI_OCTETS, stored(JP2), NotAcceptable, id="nobody can decode it"),
        pytest.param('multipart/related; type="image/*"', stored(JP2), parts("image/jp2", JP2), id="any image"),
        pytest.param(
            'multipart/related; type="image/*"',
            Source(EXPLICIT, makes=CODED),
            parts("image/jpeg", LOSSLESS),
            id="any image, native",
        ),
        pytest.param('multipart/related; type="image/*"', NATIVE, NotAcceptable, id="no image can be made"),
        pytest.param("image/jpeg", stored(LOSSLESS), bare("image/jpeg", LOSSLESS), id="single image"),
        pytest.param("application/octet-stream", NATIVE, bare(OCTETS, EXPLICIT), id="single octets"),
        pytest.param("image/x-dicom-rle", stored(RLE), bare("image/dicom-rle", RLE), id="historic name"),
        pytest.param("image/jhc", stored(HTJ2K), bare("image/jphc", HTJ2K), id="name of an old client"),
        pytest.param("*/*", NATIVE, parts(OCTETS, EXPLICIT), id="any, native"),
        pytest.param("*/*", stored(JP2, makes=CODED), parts(OCTETS, EXPLICIT), id="any, lossless"),
        pytest.param("*/*", stored(BASELINE, lossy=True, makes=CODED), parts("image/jpeg", BASELINE), id="any, lossy"),
        pytest.param("*/*", stored(JP2), parts("image/jp2", JP2), id="any, undecodable"),
        pytest.param("*/*", stored(PRIVATE), parts(OCTETS, PRIVATE), id="any, unknown"),
        pytest.param(None, stored(JP2, makes=CODED), parts(OCTETS, EXPLICIT), id="no Accept"),
        pytest.param('multipart/related; type="*/*"', NATIVE, parts(OCTETS, EXPLICIT), id="R53"),
        pytest.param('multipart/related; type="*/*"', stored(JP2), parts("image/jp2", JP2), id="R53, stored"),
        pytest.param(
            'multipart/related; type="*/*"; transfer-syntax=*',
            stored(JP2, makes=CODED),
            parts("image/jp2", JP2),
            id="any type, as stored",
        ),
        pytest.param(
            f'multipart/related; type="image/jls"; transfer-syntax={JLS}',
            Source(EXPLICIT, makes=CODED),
            parts("image/jls", JLS),
            id="transcoded",
        ),
        pytest.param(
            f'multipart/related; type="image/jls"; transfer-syntax={JP2}',
            stored(JP2, makes=CODED),
            NotAcceptable,
            id="a syntax of another type",
        ),
        pytest.param(f"{MULTI_OCTETS}; transfer-syntax={IMPLICIT}", NATIVE, NotAcceptable, id="never implicit"),
        pytest.param(f"{MULTI_OCTETS}; transfer-syntax=*", Source(DEFLATED), parts(OCTETS, EXPLICIT), id="deflated"),
        pytest.param(MULTI_OCTETS, Source(BIG_ENDIAN), parts(OCTETS, EXPLICIT), id="big endian"),
        pytest.param(
            f"{MULTI_OCTETS}; transfer-syntax={JP2}",
            stored(JP2),
            parts("image/jp2", JP2),
            id="octets of a syntax",
        ),
        pytest.param(
            'multipart/related; type="image/jphc"',
            stored(RPCL),
            parts("image/jphc", RPCL),
            id="RPCL as HTJ2K",
        ),
        pytest.param("text/html", NATIVE, NotAcceptable, id="only rendered"),
        pytest.param("text/html, application/dicom", NATIVE, BadRequest, id="mixed, none fits"),
        pytest.param("nonsense", NATIVE, NotAcceptable, id="nonsense"),
    ],
)
def test_frames(accept, source, expected):
    choice = offered(frames, accept, source)
    assert (summary(choice) if isinstance(choice, Choice) else choice) == expected


def test_several_frames_are_never_one_part():
    assert offered(frames, "application/octet-stream", NATIVE, False) is NotAcceptable
    assert frames(f"application/octet-stream, {MULTI_OCTETS};q=0.1", NATIVE, False).multipart


# -- what viewers and browsers really ask --------------------------------------------------------------------
SLIDE_TILES = ", ".join(
    f'multipart/related; type="{kind}"; transfer-syntax={syntax}'
    for kind, syntax in [
        ("image/jls", BASE + "80"),
        ("image/jls", BASE + "81"),
        ("image/jp2", BASE + "90"),
        ("image/jp2", BASE + "91"),
        ("image/jpx", BASE + "92"),
        ("image/jpx", BASE + "93"),
        ("application/octet-stream", "*"),
        ("image/jpeg", BASE + "50"),
    ]
)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
IMG = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
OCTETS_UNQUOTED = "multipart/related; type=application/octet-stream"
OHIF = f"{OCTETS_UNQUOTED}; transfer-syntax=*"
MISQUOTED = f'multipart/related; type="image/jpeg; transfer-syntax={BASELINE}", "{OCTETS}"; transfer-syntax=*'
VIDEO = Source(H264, native=False, lossy=True, video=True)


@pytest.mark.parametrize(
    ("accept", "source", "expected"),
    [
        (OHIF, NATIVE, parts(OCTETS, EXPLICIT)),
        (OHIF, stored(HTJ2K, makes=CODED), parts("image/jphc", HTJ2K)),
        (OHIF, stored(BASELINE, lossy=True, makes=CODED), parts("image/jpeg", BASELINE)),
        (f'{MULTI_OCTETS}; transfer-syntax="*"', stored(RLE, makes=CODED), parts("image/dicom-rle", RLE)),
        (f"{OCTETS_UNQUOTED}; transfer-syntax={EXPLICIT}", stored(JP2, makes=CODED), parts(OCTETS, EXPLICIT)),
        (f"{OCTETS}; transfer-syntax=*", stored(BASELINE, lossy=True), bare("image/jpeg", BASELINE)),
        (SLIDE_TILES, stored(BASELINE, lossy=True, makes=CODED), parts("image/jpeg", BASELINE)),
        (SLIDE_TILES, stored(JP2_LOSSY, lossy=True, makes=CODED), parts("image/jp2", JP2_LOSSY)),
        (SLIDE_TILES, NATIVE, parts(OCTETS, EXPLICIT)),
        (SLIDE_TILES, Source(EXPLICIT, makes=CODED), parts(OCTETS, EXPLICIT)),
        (SLIDE_TILES, stored(HTJ2K), parts("image/jphc", HTJ2K)),
        (MISQUOTED, stored(BASELINE, lossy=True), parts("image/jpeg", BASELINE)),
        (MISQUOTED, NATIVE, parts(OCTETS, EXPLICIT)),
        (f"application/dicom+json, {OHIF}", NATIVE, parts(OCTETS, EXPLICIT)),
    ],
)
def test_frames_as_viewers_ask_for_them(accept, source, expected):
    assert summary(frames(accept, source)) == expected


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+json",
        "application/json",
        "*/*",
        None,
        "application/*",
        "application/dicom+json, multipart/related; type=application/octet-stream",
        "multipart/related; type=application/octet-stream, application/dicom+json",
        "application/dicom+json; multipart/related; type=application/octet-stream",
        "application/dicom+json, application/json",
        'multipart/related; type="application/dicom+json"',
        BROWSER,
        "application/dicom+json;q=0.9, multipart/related; type=application/dicom+xml;q=0.8",
        "application/dicom+json; charset=utf-8",
        'application/json, text/plain, multipart/related; type="application/dicom+xml"',
    ],
)
def test_metadata_and_searches_are_json_for_viewers_and_browsers(accept):
    assert for_metadata(read_accept(accept)) == "json"


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="application/dicom+xml"',
        "multipart/related; type=application/dicom+xml",
        "application/dicom+xml",
        "multipart/related",
        'application/dicom+json;q=0.1, multipart/related; type="application/dicom+xml"',
        'application/dicom+json;q=0, multipart/related; type="application/dicom+xml", */*',
    ],
)
def test_xml_is_sent_to_those_who_ask_for_it(accept):
    assert for_metadata(read_accept(accept)) == "xml"


@pytest.mark.parametrize("accept", ["image/png", "text/html", "application/xml", "*/*;q=0", "nonsense", MULTI_DICOM])
def test_metadata_in_any_other_form_is_refused_with_what_there_is(accept):
    with pytest.raises(NotAcceptable, match=r"there is application/dicom\+json, multipart/related"):
        for_metadata(read_accept(accept))
    assert for_store(read_accept(accept)) == "json"


def test_the_answer_to_store_follows_accept():
    assert for_store(read_accept("*/*")) == "json"
    assert for_store(read_accept("application/dicom+xml")) == "xml"


@pytest.mark.parametrize(
    ("accept", "kind", "expected"),
    [
        ('multipart/related; type="application/pdf", multipart/related; type="application/octet-stream"',
         "application/pdf", parts("application/pdf")),
        ("*/*", "application/pdf", bare("application/pdf")),
        (None, "application/pdf", bare("application/pdf")),
        (BROWSER, "application/pdf", bare("application/pdf")),
        ("application/pdf", "application/pdf", bare("application/pdf")),
        ("application/octet-stream", "application/pdf", bare(OCTETS, EXPLICIT)),
        ("application/octet-stream", OCTETS, bare(OCTETS, EXPLICIT)),
        (MULTI_OCTETS, OCTETS, parts(OCTETS, EXPLICIT)),
        (OHIF, OCTETS, parts(OCTETS, EXPLICIT)),
        ("application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.50", OCTETS, bare(OCTETS, EXPLICIT)),
        ("*/*", OCTETS, bare(OCTETS, EXPLICIT)),
        (BROWSER, OCTETS, bare(OCTETS, EXPLICIT)),
        ('multipart/related; type="*/*"', OCTETS, parts(OCTETS, EXPLICIT)),
        ("*/*", "text/html\r\nX: y", bare(OCTETS, EXPLICIT)),
        ("image/png", OCTETS, NotAcceptable),
    ],
)  # fmt: skip
def test_bulk_data_values(accept, kind, expected):
    choice = offered(for_value, read_accept(accept), kind)
    assert (summary(choice) if isinstance(choice, Choice) else choice) == expected


def test_one_of_several_values_is_always_a_part():
    for accept in ("*/*", MULTI_OCTETS, None):
        assert for_value(read_accept(accept), OCTETS, single=False).multipart
    assert offered(for_value, read_accept(OCTETS), OCTETS, single=False) is NotAcceptable


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (MULTI_OCTETS, True),
        ('multipart/related; type="image/jpeg"', True),
        ('multipart/related; type="image/*"', True),
        ("multipart/related; type=video/H265", True),
        (f"{MULTI_OCTETS};q=0", False),
        (OCTETS, False),
        ("image/jpeg", False),
        ("*/*", False),
        (MULTI_DICOM, False),
    ],
)
def test_bulk_data_types_asked_of_a_study_mean_its_bulk_data(accept, wanted):
    assert wants_bulkdata(read_accept(accept)) is wanted


@pytest.mark.parametrize(
    ("accept", "source", "single", "expected"),
    [
        ("*/*", VIDEO, True, bare("video/mp4", H264)),
        ("video/mp4", VIDEO, True, bare("video/mp4", H264)),
        ("multipart/related; type=video/mp4", VIDEO, True, parts("video/mp4", H264)),
        (f"{MULTI_OCTETS}; transfer-syntax=*", VIDEO, True, parts("video/mp4", H264)),
        ("*/*", NATIVE, True, bare(OCTETS, EXPLICIT)),
        (MULTI_OCTETS, NATIVE, True, parts(OCTETS, EXPLICIT)),
        ("*/*", stored(BASELINE, lossy=True), False, parts("image/jpeg", BASELINE)),
        ("application/octet-stream", VIDEO, True, NotAcceptable),
    ],
)
def test_pixel_data_as_a_bulk_value(accept, source, single, expected):
    choice = offered(for_pixels, read_accept(accept), source, single)
    assert (summary(choice) if isinstance(choice, Choice) else choice) == expected


def test_a_video_has_no_frames_and_the_answer_says_where_it_is():
    with pytest.raises(NotAcceptable, match=r"video has no frames.*bulk data and its rendered form"):
        frames("*/*", VIDEO)


@pytest.mark.parametrize(
    ("accept", "query", "where", "expected"),
    [
        ("*/*", (), {}, bare("image/jpeg")),
        (None, (), {}, bare("image/jpeg")),
        ("image/png;q=0.9, image/jpeg;q=0.1", (), {}, bare("image/png")),
        ("image/png", (), {}, bare("image/png")),
        ("image/*", (), {}, bare("image/jpeg")),
        (IMG, (), {}, bare("image/jpeg")),
        (BROWSER, (), {}, bare("image/jpeg")),
        ("application/dicom", (), {}, NotAcceptable),
        ("application/dicom, text/html", (), {}, BadRequest),
        ("application/dicom, image/png", (), {}, bare("image/png")),
        ("image/jpeg; transfer-syntax=*", (), {}, bare("image/jpeg")),
        (MULTI_OCTETS, ("image/jpeg",), {}, bare("image/jpeg")),
        (f"{MULTI_OCTETS}; transfer-syntax=*", ("image/jpeg",), {}, bare("image/jpeg")),
        (IMG, ("image/jpeg",), {}, bare("image/jpeg")),
        ("image/jpeg", ("image/png",), {}, bare("image/png")),
        ("*/*", ("image/png",), {}, bare("image/png")),
        ("*/*", ("image/tiff",), {}, bare("image/jpeg")),
        ("image/png", ("image/tiff",), {}, bare("image/png")),
        (f"{MULTI_OCTETS}; transfer-syntax=*", (), {}, NotAcceptable),
        ("*/*", (), {"single": False, "representative": True}, parts("image/jpeg")),
        ("image/jpeg", (), {"single": False, "representative": True}, bare("image/jpeg")),
        (IMG, (), {"single": False, "representative": True}, bare("image/jpeg")),
        ("multipart/related; type=image/png", (), {"single": False}, parts("image/png")),
        ("image/png", (), {"single": False}, NotAcceptable),
        ("multipart/related; type=image/png", (), {}, parts("image/png")),
    ],
)
def test_rendered_images_and_thumbnails(accept, query, where, expected):
    choice = offered(rendered, accept, query=query, **where)
    assert (summary(choice) if isinstance(choice, Choice) else choice) == expected


def test_rendered_texts_and_videos():
    assert rendered("*/*", ["text/html", "text/plain"]).media_type == "text/html"
    assert rendered(IMG, ["video/mp4"]).media_type == "video/mp4"
    assert rendered("application/pdf", ["application/pdf"]).content_type == "application/pdf"


def test_the_whole_instance_as_ohif_asks_for_a_segmentation():
    assert summary(instance(MULTI_DICOM)) == parts(DICOM, EXPLICIT)


def test_the_query_parameter_comes_before_the_header():
    choice = instance("*/*", stored(JP2, makes=CODED), query=["application/dicom; transfer-syntax=*"])
    assert summary(choice) == bare(DICOM, JP2)


# -- rules of their own --------------------------------------------------------------------------------------
def test_the_highest_q_wins_whatever_the_order():
    accept = f"{MULTI_OCTETS};q=0.4, multipart/related; type=image/jp2;q=0.5"
    assert frames(accept, stored(JP2, makes=CODED)).media_type == "image/jp2"
    accept = f"multipart/related; type=image/jp2;q=0.4, {MULTI_OCTETS};q=0.5"
    assert frames(accept, stored(JP2, makes=CODED)).media_type == OCTETS


def test_between_equals_nothing_is_transcoded():
    accept = f"{MULTI_OCTETS}, multipart/related; type=image/jp2"
    assert frames(accept, stored(JP2, makes=CODED)).media_type == "image/jp2"
    assert frames(accept, Source(EXPLICIT, makes=CODED)).media_type == OCTETS


def test_a_specific_entry_decides_over_a_wildcard():
    assert rendered("image/jpeg;q=0, */*").media_type == "image/png"
    assert rendered("*/*, image/*;q=0.2, image/png;q=0.1").media_type == "image/jpeg"
    assert offered(rendered, "image/*;q=0, application/pdf") is NotAcceptable
    assert summary(frames(f"{MULTI_OCTETS};q=0, */*", stored(JP2, makes=CODED))) == parts("image/jp2", JP2)


def test_a_named_type_goes_before_a_wildcard_of_the_same_q():
    assert rendered("*/*, image/gif").media_type == "image/gif"


def test_a_q_of_zero_refuses():
    assert offered(instance, "*/*;q=0") is NotAcceptable
    assert offered(frames, f"{MULTI_OCTETS};q=0") is NotAcceptable


def test_the_refusal_lists_what_there_is():
    with pytest.raises(NotAcceptable) as caught:
        frames("image/gif", stored(JP2))
    assert str(caught.value) == (
        "none of the accepted types can be made; there is"
        f' multipart/related; type="image/jp2"; transfer-syntax={JP2}, image/jp2; transfer-syntax={JP2}'
        f"; the pixels are in transfer syntax {JP2}, which cannot be decoded here"
    )
    with pytest.raises(NotAcceptable, match='there is multipart/related; type="application/dicom"; transfer-s'):
        instance("application/dicom", NATIVE, single=False)


def test_every_instance_of_a_study_gets_its_own_transfer_syntax_in_the_same_wrapping():
    sources = [NATIVE, stored(BASELINE, lossy=True), stored(JP2, makes=CODED), NATIVE]
    plain = for_instances(read_accept(MULTI_DICOM), sources, single=False)
    assert [choice.syntax for choice in plain] == [EXPLICIT, BASELINE, EXPLICIT, EXPLICIT]
    as_stored = for_instances(read_accept(f"{MULTI_DICOM}; transfer-syntax=*"), sources, single=False)
    assert [choice.syntax for choice in as_stored] == [EXPLICIT, BASELINE, JP2, EXPLICIT]
    zipped = for_instances(read_accept("application/zip"), sources, single=False)
    assert [choice.syntax for choice in zipped] == [EXPLICIT, BASELINE, JP2, EXPLICIT]
    assert {choice.media_type for choice in zipped} == {"application/zip"}


def test_a_wrapping_that_one_instance_cannot_have_is_none_for_all():
    accept = read_accept(f"{MULTI_DICOM}; transfer-syntax={JP2}, application/zip;q=0.1")
    assert {c.media_type for c in for_instances(accept, [stored(JP2), stored(JP2)], False)} == {DICOM}
    assert {c.media_type for c in for_instances(accept, [stored(JP2), NATIVE], False)} == {"application/zip"}
    with pytest.raises(NotAcceptable):
        for_instances(read_accept(f"{MULTI_DICOM}; transfer-syntax={JP2}"), [stored(JP2), NATIVE], False)


def test_the_content_type_names_the_transfer_syntax_unquoted():
    assert frames("*/*", stored(JP2)).content_type == f"image/jp2; transfer-syntax={JP2}"
    assert rendered("*/*").content_type == "image/jpeg"


KINDS = [
    "*/*",
    "image/*",
    "application/*",
    "image/jpeg",
    "image/jp2",
    "application/octet-stream",
    "application/dicom",
    "application/dicom+json",
    'multipart/related; type="image/jpeg"',
    'multipart/related; type="image/*"',
    "multipart/related; type=application/octet-stream",
    'multipart/related; type="application/dicom"',
    "text/html",
    "application/zip",
]


def lists(*qualities):
    """Accept headers whose entries have these q."""
    entry = st.builds(
        lambda kind, syntax, q: kind + (f"; transfer-syntax={syntax}" if syntax else "") + (q and f";q={q}"),
        st.sampled_from(KINDS),
        st.sampled_from(["", "*", EXPLICIT, IMPLICIT, BASELINE, JP2, LOSSLESS]),
        st.sampled_from(qualities),
    )
    return st.lists(entry, min_size=1, max_size=5).map(", ".join)


sources = st.builds(
    Source,
    st.sampled_from([EXPLICIT, IMPLICIT, DEFLATED]),
    makes=st.sampled_from([frozenset(), CODED - {EXPLICIT}]),
) | st.builds(
    stored,
    st.sampled_from([BASELINE, LOSSLESS, LOSSLESS14, JP2, RLE, PRIVATE]),
    lossy=st.booleans(),
    makes=st.sampled_from([frozenset(), CODED]),
)


@given(lists("", "0", "0.3", "1"), sources, st.booleans())
def test_only_what_can_be_made_and_is_accepted_is_ever_chosen(accept, source, single):
    for call in (frames, instance):
        choice = offered(call, accept, source, single)
        if not isinstance(choice, Choice):
            assert choice in {NotAcceptable, BadRequest}
            continue
        assert choice.syntax in {source.syntax, EXPLICIT} | source.makes
        assert choice.syntax not in {IMPLICIT, BIG_ENDIAN}
        assert choice.q > 0
        assert single or choice.multipart or choice.media_type == "application/zip"
        if source.syntax not in {EXPLICIT, IMPLICIT, DEFLATED} and not source.makes:
            assert choice.syntax == source.syntax


@given(lists("", "0.3", "1"), sources)
def test_adding_a_wildcard_never_makes_a_request_fail(accept, source):
    for call in (frames, instance):
        assert isinstance(call(f"{accept}, */*;q=0.01", source), Choice)


@given(lists("", "0", "0.3", "1"), lists("", "0.3", "1"), sources)
def test_adding_alternatives_never_makes_a_request_fail(accept, more, source):
    for call in (frames, instance):
        if isinstance(offered(call, accept, source), Choice):
            assert isinstance(offered(call, f"{accept}, {more}", source), Choice)
