"""UIDs to the letter, and as devices write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.errors import BadIdentity
from dicomweb.standard.uids import is_uid, read_uid


@pytest.mark.parametrize("text", ["1", "0", "1.2.840.10008.1.2", "2.25." + "9" * 59, "0.0.0"])
def test_a_uid_is_components_of_digits(text):
    assert is_uid(text)
    assert read_uid(text) == text


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "1..2", "1.02", "00", "1.2 ", "a.b", "1.2\n", "1" * 65, "١.٢", "1.2\0"]
)
def test_what_breaks_a_rule_is_no_uid(text):
    assert not is_uid(text)


@pytest.mark.parametrize(
    ("text", "uid"),
    [("1.02.3", "1.02.3"), ("1.2.3\0", "1.2.3"), ("1.2.3 ", "1.2.3"), ("1.2.3 \0\0", "1.2.3"), ("1..2", "1..2")],
)
def test_leading_zeros_are_kept_and_padding_goes(text, uid):
    assert read_uid(text) == uid


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\0",
        ".",
        "...",
        "1" * 65,
        "../../etc",
        "/etc/passwd",
        "1.2/3",
        "1.2\\3",
        "1.2\0.3",
        "1.2.x",
        "١.٢",
        "1.２",
        "1 2",
        "1.2\n",
        " 1.2",
    ],
)
def test_what_could_do_harm_is_refused(text):
    with pytest.raises(BadIdentity):
        read_uid(text)


@given(st.text(max_size=70))
def test_whatever_is_read_is_short_and_made_of_ascii_digits_and_dots(text):
    try:
        uid = read_uid(text)
    except BadIdentity:
        return
    assert 0 < len(uid) <= 64
    assert set(uid) <= set("0123456789.")
    assert set(uid) != {"."}
