import pytest

from dicomweb.errors import BadRange
from dicomweb.web.conditions import read_range, unchanged

TAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", "abc"', True),
        ('"x","y"', False),
        ("*", True),
        ("abc", False),
        ("", False),
        ('"abcd"', False),
    ],
)
def test_an_entity_tag_in_the_list_means_unchanged(header, expected):
    assert unchanged(header, TAG) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 10)),
        ("bytes=3-6", (3, 7)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-4", (6, 10)),
        ("bytes=-99", (0, 10)),
        ("Bytes = 1 - 2", (1, 3)),
        ("bytes=0-1,5-6", None),
        ("bytes=5-3", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("items=0-1", None),
        ("", None),
        (None, None),
        ("bytes=" + ",".join(["0-1"] * 1000), None),
    ],
)
def test_one_range_of_bytes_is_read_and_others_are_passed_over(header, expected):
    assert read_range(header, None, TAG, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=999999999999999999-"])
def test_a_range_outside_is_refused_with_the_size(header):
    with pytest.raises(BadRange) as caught:
        read_range(header, None, TAG, 10)
    assert caught.value.size == 10


@pytest.mark.parametrize(
    ("if_range", "expected"),
    [(TAG, (0, 1)), ('"other"', None), ('W/"abc"', None), ("Tue, 01 Jan 2030 00:00:00 GMT", None)],
)
def test_a_range_of_another_representation_is_passed_over(if_range, expected):
    assert read_range("bytes=0-0", if_range, TAG, 10) == expected
