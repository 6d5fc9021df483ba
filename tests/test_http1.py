"""HTTP/1.1 messages as bytes: read wherever they are cut, refused where two readers could disagree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb import http1
from dicomweb.http1 import BadMessage, ChunkReader, LengthReader

NO_HOSTS = (b"a b", b"a/b", b"u@a", b"a,b c", b"[::1", b"a:b", b"a:80:80", b"\xe9", b"%4", b'"a"', b"a?", b"a#")
NO_TARGETS = (
    b"*",
    b"a",
    b"studies",
    b"x:80",
    b"http://",
    b"http:///a",
    b"http://u@x/",
    b"http://:80/",
    b"ftp://x/a",
    b"?q",
)
NO_TARGETS += (b"/a#b", b"http://x/#b", b"http://x#b")
GET = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept:  text/plain \t\r\nX-Empty:\r\n\r\n"


def head(text: bytes) -> http1.Head:
    found = http1.read_head(text)
    assert found is not None
    return found[0]


def post(fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"POST / HTTP/" + version + b"\r\nHost: x\r\n" + fields + b"\r\n"


def test_a_head_is_read_with_what_follows_it():
    found = http1.read_head(GET + b"next")
    assert found is not None
    read, rest = found
    assert (read.method, read.target, read.version, read.length) == ("GET", b"/a?b=c", "1.1", 0)
    assert read.fields == [(b"host", b"x"), (b"accept", b"text/plain"), (b"x-empty", b"")]
    assert (read.last, read.expects, rest) == (False, False, b"next")


def test_a_head_that_is_not_whole_is_waited_for():
    assert [http1.read_head(GET[:end]) for end in range(len(GET))] == [None] * len(GET)


def test_an_empty_line_before_a_request_is_passed_over():
    assert head(b"\r\n" + GET) == head(GET)


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"http://x", b"/"), (b"http://x?q", b"/?q"), (b"HTTPS://x:1/a", b"/a"), (b"//a", b"//a"), (b"/a:b@c", b"/a:b@c")],
)
def test_of_an_absolute_target_path_and_query_are_left(target, path):
    assert head(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n").target == path


@pytest.mark.parametrize(
    ("target", "host"),
    [(b"/", b"x"), (b"http://y", b"y"), (b"http://y:81/a", b"y:81"), (b"http://[::1]:81?q", b"[::1]:81")],
)
def test_the_host_that_an_absolute_target_names_wins(target, host):
    read = head(b"GET " + target + b" HTTP/1.1\r\nA: b\r\nHost: x\r\n\r\n")
    assert [value for name, value in read.fields if name == b"host"] == [host]
    assert (b"a", b"b") in read.fields


def test_options_may_ask_about_the_server_as_a_whole():
    assert head(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n").target == b"/"


@pytest.mark.parametrize("host", [b"", b"a-b.example:80", b"10.0.0.1", b"[fe80::1]:80", b"a_b", b"%41", b"x:"])
def test_what_can_be_a_host_is_taken(host):
    assert head(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").fields == [(b"host", host)]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", 400),
        *((b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400) for host in NO_HOSTS),
        (b"GET http://y/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET http://y/ HTTP/1.1\r\n\r\n", 400),
        *((b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400) for target in NO_TARGETS),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
        (post(b"A : b\r\n"), 400),
        (post(b"A: b\r\n folded\r\n"), 400),
        (post(b"A: b\rc\r\n"), 400),
        (post(b"A: b\nB: c\r\n"), 400),
        (post(b"A: \0\r\n"), 400),
        (post(b": b\r\n"), 400),
        (post(b"no colon\r\n"), 400),
        (post(b"Content-Length: -1\r\n"), 400),
        (post(b"Content-Length: +1\r\n"), 400),
        (post(b"Content-Length: 1, 1\r\n"), 400),
        (post(b"Content-Length:\r\n"), 400),
        (post(b"Content-Length: 1\r\nContent-Length: 1\r\n"), 400),
        (post(b"Transfer-Encoding: gzip, chunked\r\n"), 501),
        (post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 501),
        (post(b"Transfer-Encoding: xchunked\r\n"), 501),
        (post(b"Transfer-Encoding: chunked\r\n", b"1.0"), 400),
        (b"GET /" + b"a" * http1.HEAD_BYTES, 431),
    ],
)
def test_what_two_readers_could_read_differently_is_refused(text, status):
    with pytest.raises(BadMessage) as refused:
        http1.read_head(text)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("text", "length", "last", "expects"),
    [
        (post(b"Content-Length: 5\r\n"), 5, False, False),
        (post(b"Transfer-Encoding: Chunked\r\n"), None, False, False),
        (post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), None, True, False),
        (post(b"Connection: te, Close\r\n"), 0, True, False),
        (post(b"Content-Length: 5\r\nExpect: 100-Continue\r\n"), 5, False, True),
        (post(b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"1.0"), 5, True, False),
        (b"GET / HTTP/1.0\r\n\r\n", 0, True, False),
    ],
)
def test_the_head_tells_where_the_body_ends_and_whether_another_request_may_follow(text, length, last, expects):
    read = head(text)
    assert (read.length, read.last, read.expects) == (length, last, expects)


CHUNKS = b"5;a=b\r\nhello\r\n00C\r\n world\r\n\r\n0!\r\n0\r\n"  # 0x0C is 12


def feed(reader, text: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """Feed pieces to a reader; return the body and what is left when it is done."""
    body, rest, start = b"", b"", 0
    for stop in [*sorted(cuts), len(text)]:
        if reader.done:
            rest += text[start:stop]
        else:
            piece, behind = reader.feed(text[start:stop])
            body, rest = body + piece, rest + behind
        start = stop
    return body, rest


@given(
    st.lists(st.integers(0, len(CHUNKS) + 20), max_size=12),
    st.sampled_from([b"", b"Trailer: x\r\nAnother: y\r\n"]),
)
def test_chunks_give_the_same_body_wherever_they_are_cut(cuts, trailers):
    text = CHUNKS + trailers + b"\r\nGET"
    reader = ChunkReader()
    assert feed(reader, text, [min(cut, len(text)) for cut in cuts]) == (b"hello world\r\n\r\n0!", b"GET")
    assert reader.done


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"x\r\n", 400),
        (b"-5\r\n", 400),
        (b"5\nhello\r\n", 400),
        (b"5;\0\r\n", 400),
        (b"f" * 16 + b"\r\n", 400),
        (b"5\r\nhello!\r\n", 400),
        (b"0" * 2000, 400),
        (b"0\r\nbad trailer\r\n\r\n", 400),
        (b"0\r\n" + b"a" * (http1.HEAD_BYTES + 1), 431),
    ],
)
def test_chunks_that_are_none_are_refused(text, status):
    with pytest.raises(BadMessage) as refused:
        ChunkReader().feed(text)
    assert refused.value.status == status


@given(st.integers(0, 30), st.lists(st.integers(0, 40), max_size=6))
def test_a_body_of_known_length_ends_where_it_says(length, cuts):
    text = bytes(range(40))
    reader = LengthReader(length)
    assert feed(reader, text, cuts) == (text[:length], text[length:])
    assert reader.done


def test_the_head_of_an_answer_is_one_line_a_field():
    assert http1.write_head(200, "OK", [(b"a", b"b")]) == b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"


@pytest.mark.parametrize("value", [b"x\r\nSet-Cookie: y", b"x\ny", b"x\ry", b"x\0y"])
def test_a_value_that_would_end_its_line_is_not_written(value):
    with pytest.raises(ValueError, match="line end"):
        http1.write_head(200, "OK", [(b"warning", value)])


@pytest.mark.parametrize("end", [b"\0", b"\x7f", b"\r", b"x"])
def test_a_field_of_many_spaces_takes_no_more_than_one_look_at_each(end):
    """Two places that both fit spaces would take seconds: as many ways as there are to share them out."""
    head = b"GET / HTTP/1.1\r\nHost: x\r\nA:" + b" " * 16_000 + end + b"\r\n\r\n"
    assert _steps(http1._FIELDS.pattern) == []
    if end == b"x":
        found = http1.read_head(head)
        assert found is not None
        assert (b"a", b"x") in found[0].fields
    else:
        with pytest.raises(http1.BadMessage):
            http1.read_head(head)


def _steps(pattern: bytes) -> list[bytes]:
    """Repetitions that stand side by side and share a character: where a pattern may take quadratic time."""
    import re

    sets = re.findall(rb"(\[(?:\\.|[^\]])*\])[*+](?=(\[(?:\\.|[^\]])*\])[*+]|\((\[(?:\\.|[^\]])*\])[*+])", pattern)
    return [b" ".join(each) for each in sets]
