"""Specific Character Set: the examples of PS3.5 Annexes H, I, J and K, and what devices make of the rules."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.standard.charsets import Decoder, encode, normalised

# PS3.5 H.3.1, H.3.2, I.2, J.1, J.2, J.3, K.2, and the same names in other sets
NAMES = [
    (
        ["", "ISO 2022 IR 87"],
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (
        ["", "ISO 2022 IR 149"],
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (["ISO_IR 192"], "Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東="),
    (["GB18030"], "Wang^XiaoDong=王^小东=".encode("gb18030"), "Wang^XiaoDong=王^小东="),
    (["GBK"], "Wang^XiaoDong=王^小东=".encode("gbk"), "Wang^XiaoDong=王^小东="),
    (
        ["", "ISO 2022 IR 58"],
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
    (["ISO_IR 100"], b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    (["ISO_IR 101"], "Dvořák^Šárka".encode("iso8859_2"), "Dvořák^Šárka"),
    (["ISO_IR 144"], "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
    (["ISO_IR 126"], "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
    (["ISO_IR 127"], "قباني^لنزار".encode("iso8859_6"), "قباني^لنزار"),
    (["ISO_IR 138"], "שרון^דבורה".encode("iso8859_8"), "שרון^דבורה"),
    (["ISO_IR 148"], "Çavuşoğlu".encode("iso8859_9"), "Çavuşoğlu"),
    (["ISO_IR 166"], "สมชาย".encode("iso8859_11"), "สมชาย"),
    (["ISO_IR 203"], "Œuvre^5€".encode("iso8859_15"), "Œuvre^5€"),
    (["ISO_IR 13"], "ﾔﾏﾀﾞ^ﾀﾛｳ".encode("shift_jis"), "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    ([], b"Plain^Paul", "Plain^Paul"),
]


@pytest.mark.parametrize(("terms", "data", "text"), NAMES, ids=["+".join(row[0]) or "none" for row in NAMES])
def test_names_come_out_in_every_character_set(terms, data, text):
    decoder = Decoder(terms)
    assert decoder.decode(data, True) == text
    assert not decoder.faulty


def test_several_sets_may_meet_in_one_value():
    decoder = Decoder(["ISO 2022 IR 100", "ISO 2022 IR 144", "ISO 2022 IR 126"])
    data = b"\xe9\\\x1b-L\xbb\xee\xda\\\x1b-F\xc4\xe9\\\xe9"
    assert decoder.decode(data) == "é\\Люк\\Δι\\é"
    assert not decoder.faulty


def test_jis_x_0212_is_known():
    assert Decoder(["", "ISO 2022 IR 159"]).decode(b"\x1b$(D0!\x1b(B") == "丂"


@pytest.mark.parametrize(("data", "name", "text"), [
    (b"\x1b-L\xbb^\xe9", True, "Л^é"),
    (b"\x1b-L\xbb=\xe9", True, "Л=é"),
    (b"\x1b-L\xbb\\\xe9", False, "Л\\é"),
    (b"\x1b-L\xbb\r\n\xe9", False, "Л\r\né"),
    (b"\x1b-L\xbb\t\xe9", False, "Л\té"),
    (b"\x1b-L\xbb\x0c\xe9", False, "Л\x0cé"),
    (b"\x1b-L\xbb^\xe9", False, "Л^щ"),
])  # fmt: skip
def test_code_extension_ends_at_delimiters(data, name, text):
    assert Decoder(["ISO 2022 IR 100", "ISO 2022 IR 144"]).decode(data, name) == text


def test_a_backslash_inside_of_a_character_separates_nothing():
    # 5CH is the second byte of these characters
    for term, codec, text in (("GB18030", "gb18030", "誠"), ("GBK", "gbk", "俓"), ("ISO_IR 13", "shift_jis", "ソ表")):
        data = text.encode(codec)
        assert b"\\" in data
        assert Decoder([term]).decode(data + b"\\x") == text + "\\x"
    assert Decoder(["", "ISO 2022 IR 87"]).decode(b"\x1b$B%\\\x1b(B\\x") == "ボ\\x"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ISO_IR 100", "ISO_IR 100"),
        ("ISO-IR 100", "ISO_IR 100"),
        ("ISO IR 100", "ISO_IR 100"),
        ("iso_ir 100 ", "ISO_IR 100"),
        ("ISO_IR_100", "ISO_IR 100"),
        ("ISOIR100", "ISO_IR 100"),
        ("ISO_2022-IR-100", "ISO 2022 IR 100"),
        ("ISO 2022 IR 100\0", "ISO 2022 IR 100"),
        ("ISO 8859-1", "ISO_IR 100"),
        ("ISO8859-15", "ISO_IR 203"),
        ("UTF-8", "ISO_IR 192"),
        ("utf8", "ISO_IR 192"),
        ("LATIN1", "ISO_IR 100"),
        ("gb18030", "GB18030"),
        ("GB2312", "GB18030"),
        ("Klingon", "KLINGON"),
    ],
)
def test_misspelt_terms_are_understood(written, meant):
    assert normalised(written) == meant


def test_a_misspelt_term_decodes_as_the_right_one():
    assert Decoder(["ISO-IR 192"]).decode("é".encode()) == "é"
    assert Decoder(["ISO_2022-IR-100", "ISO 2022-IR 144"]).decode(b"\xe9\\\x1b-L\xbb") == "é\\Л"


@pytest.mark.parametrize(
    ("terms", "data", "text"),
    [
        ([], "Müller".encode(), "Müller"),
        ([], "Müller".encode("latin_1"), "Müller"),
        (["ISO_IR 6"], "Müller".encode(), "Müller"),
        (["KLINGON"], "Müller".encode("latin_1"), "Müller"),
        (["ISO_IR 192"], b"M\xfcller", "M\ufffdller"),
        (["ISO_IR 127"], b"\xa1", "\ufffd"),
        (["", "ISO 2022 IR 149"], "홍".encode("euc_kr"), "홍"),
    ],
)
def test_bytes_outside_of_the_set_are_kept_readable_and_noted(terms, data, text):
    decoder = Decoder(terms)
    assert decoder.decode(data) == text
    assert decoder.faulty


def test_an_escape_sequence_of_a_set_that_was_not_announced_works():
    assert Decoder(["ISO_IR 100"]).decode(b"\x1b$B;3ED\x1b(B") == "山田"


def test_a_set_that_the_writer_forgot_to_repeat_stays_in_place():
    # After `^` the escape sequence is due again; many Korean devices leave it out
    decoder = Decoder(["", "ISO 2022 IR 149"])
    assert decoder.decode(b"\x1b$)C\xc8\xab^\xb1\xe6\xb5\xbf", True) == "홍^길동"


def test_utf_8_stands_alone_even_beside_others():
    assert Decoder(["ISO_IR 192", "ISO 2022 IR 87"]).decode("山".encode()) == "山"
    assert Decoder(["", "ISO_IR 192"]).decode("山".encode()) == "山"


def test_whether_text_was_plain_is_remembered():
    decoder = Decoder()
    decoder.decode(b"plain")
    assert not decoder.seen
    decoder.decode("é".encode())
    assert decoder.seen


TERMS = st.lists(
    st.sampled_from(
        ["", "ISO_IR 6", "ISO_IR 13", "ISO_IR 100", "ISO_IR 192", "GB18030", "GBK", "nonsense"]
        + [f"ISO 2022 IR {number}" for number in (6, 13, 58, 87, 100, 126, 144, 149, 159, 166)]
    ),
    max_size=4,
)
PIECES = st.sampled_from(
    [
        b"\x1b$B",
        b"\x1b(B",
        b"\x1b(J",
        b"\x1b)I",
        b"\x1b$)C",
        b"\x1b$)A",
        b"\x1b$(D",
        b"\x1b-F",
        b"\x1b",
        b"\\",
        b"^",
        b"=",
    ]
)


@given(TERMS, st.lists(PIECES | st.binary(max_size=6)).map(b"".join), st.booleans())
def test_no_bytes_stop_a_decoder(terms, data, name):
    text = Decoder(terms).decode(data, name)
    text.encode()  # no lone surrogates


@given(TERMS, st.text("abcXYZ 0123456789^=\\.,-\r\n", max_size=40), st.booleans())
def test_ascii_is_the_same_in_every_character_set(terms, text, name):
    decoder = Decoder(terms)
    assert decoder.decode(text.encode("ascii"), name) == text
    assert not decoder.seen


@pytest.mark.parametrize("data", [b"\x1b$B" + b"\x21\x02" * 500_000, b"\x1b-L\xe9^" * 200_000, b"\x1b" * 1_000_000])
def test_long_nonsense_takes_no_longer_than_its_length(data):
    begin = time.perf_counter()
    Decoder(["", "ISO 2022 IR 87"]).decode(data, True)
    assert time.perf_counter() - begin < 20


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        (["ISO_IR 100"], "Müller^Jörg"),
        (["ISO_IR 192"], "山田^太郎"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 87", "ISO 2022 IR 159"], "山田^ÿ"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东"),
        (["", "ISO 2022 IR 100", "ISO 2022 IR 144"], "Люк^Müller"),
        (["GB18030"], "王^小东"),
    ],
)
def test_what_is_encoded_is_decoded_again(terms, text):
    encoded = encode(text, terms, True)
    assert encoded is not None
    assert Decoder(terms).decode(encoded, True) == text


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ([], "ü"),
        (["ISO_IR 100"], "山"),
        (["ISO_IR 13"], "山"),
        (["", "ISO 2022 IR 87"], "ü"),
        (["", "ISO 2022 IR 100"], "Люк"),
    ],
)
def test_what_a_character_set_cannot_say_is_not_encoded(terms, text):
    assert encode(text, terms) is None
