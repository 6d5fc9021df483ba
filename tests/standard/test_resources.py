"""URLs of the Studies service: what is written is read back, and nothing but digits and dots is a UID."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.errors import BadRequest, NotFound
from dicomweb.standard.resources import (
    TEMPLATES,
    Resource,
    instance_url,
    read_path,
    read_uid,
    read_value,
    retrieve_url,
    series_url,
    study_url,
    write_path,
)

BASE = "https://pacs.example/dicom-web"


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/studies", Resource(aspect="studies")),
        ("/series", Resource(aspect="series")),
        ("/instances", Resource(aspect="instances")),
        ("/studies/1.2", Resource("1.2")),
        ("/studies/1.2/metadata", Resource("1.2", aspect="metadata")),
        ("/studies/1.2/series", Resource("1.2", aspect="series")),
        ("/studies/1.2/instances", Resource("1.2", aspect="instances")),
        ("/studies/1.2/series/3", Resource("1.2", "3")),
        ("/studies/1.2/series/3/instances", Resource("1.2", "3", aspect="instances")),
        ("/studies/1.2/series/3/instances/4.5", Resource("1.2", "3", "4.5")),
        ("/studies/1.2/series/3/instances/4.5/rendered", Resource("1.2", "3", "4.5", aspect="rendered")),
        ("/studies/1.2/series/3/instances/4.5/bulkdata", Resource("1.2", "3", "4.5", aspect="bulkdata")),
        ("/studies/1.2/series/3/instances/4.5/frames/2,1,2", Resource("1.2", "3", "4.5", frames="2,1,2")),
        (
            "/studies/1.2/series/3/instances/4.5/frames/7/thumbnail",
            Resource("1.2", "3", "4.5", frames="7", aspect="thumbnail"),
        ),
        (
            "/studies/1.2/series/3/instances/4.5/bulkdata/00480105/0/00282000",
            Resource("1.2", "3", "4.5", value="00480105/0/00282000"),
        ),
    ],
)
def test_paths_name_resources_and_are_written_again(path, resource):
    assert read_path(path) == resource
    assert write_path(resource) == path


def test_every_template_is_read():
    for template in TEMPLATES:
        path = template.path.format(study="1.2", series="1.3", instance="1.4", frames="1", value="7FE00010")
        assert write_path(read_path(path)) == path


@pytest.mark.parametrize("path", ["//studies/1.2", "/studies/1.2/", "/studies//1.2//", "studies/1.2"])
def test_doubled_slashes_and_one_at_the_end_are_passed_over(path):
    assert read_path(path) == Resource("1.2")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/patients",
        "/studies/1.2/frames/1",
        "/studies/1.2/series/3/frames/1",
        "/studies/1.2/series/3/instances/4/frames",
        "/studies/1.2/series/3/instances/4/frames/1/metadata",
        "/studies/1.2/Metadata",
        "/series/1.2",
    ],
)
def test_other_paths_are_not_found(path):
    with pytest.raises(NotFound):
        read_path(path)


ILLEGAL = [
    "..",
    ".",
    "...",
    "",
    "1.2/../3",
    "/etc/passwd",
    "1.2\0",
    "1.2 ",
    "1.2\n",
    "a" * 65,
    "1.2.a",
    "1" * 65,
    "\u0661.\u0662",
    "1.2\u00b2",
    "\uff11",
    "-1",
    "1,2",
    "1.2%2F3",
]


@pytest.mark.parametrize("text", ILLEGAL)
def test_what_has_other_than_digits_and_dots_is_no_uid(text):
    with pytest.raises(BadRequest, match="digits and dots"):
        read_uid(text)


@pytest.mark.parametrize("text", ["1", "1.2.840", "1" * 64, "01.002", "2.25." + "9" * 39, "1..2", ".1"])
def test_what_the_archive_stores_can_be_named(text):
    assert read_uid(text) == text


@pytest.mark.parametrize("text", [uid for uid in ILLEGAL if uid and "/" not in uid])
def test_an_illegal_uid_in_a_path_is_a_bad_request(text):
    for path in (
        f"/studies/{text}",
        f"/studies/1/series/{text}",
        f"/studies/1/series/2/instances/{text}/rendered",
    ):
        with pytest.raises(BadRequest):
            read_path(path)


@pytest.mark.parametrize("frames", ["a", "1,", ",1", "1,,2", "-1", "1.5", "1 2", "\u0661"])
def test_frames_are_numbers_with_commas_between(frames):
    with pytest.raises(BadRequest, match="numbers with commas"):
        read_path(f"/studies/1/series/2/instances/3/frames/{frames}")


def test_the_path_of_a_bulk_value_is_tags_and_indices_in_turn():
    assert read_value("7fe00010") == "7FE00010"
    assert read_value("00480105/0/00282000") == "00480105/0/00282000"
    assert read_value("00480105/12/00282000/0/00091001") == "00480105/12/00282000/0/00091001"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7FE0001",
        "7FE000100",
        "7FE00010/",
        "/7FE00010",
        "7FE00010/0",
        "7FE00010/00/00282000",
        "7FE00010/-1/00282000",
        "7FE00010/00282000",
        "7FE00010/a/00282000",
        "../../etc",
        "PixelData",
        "7FE00010\n",
        "\uff17FE00010",
        "00480105/0/" * 250 + "00282000",
        "00480105/" + "9" * 10 + "/00282000",
    ],
)
def test_no_other_path_of_a_bulk_value_can_exist(text):
    with pytest.raises(NotFound):
        read_value(text)


def test_urls_are_built_below_the_base():
    assert study_url(BASE, "1") == f"{BASE}/studies/1"
    assert series_url(BASE, "1", "2") == f"{BASE}/studies/1/series/2"
    assert instance_url(BASE, "1", "2", "3") == f"{BASE}/studies/1/series/2/instances/3"
    assert retrieve_url(BASE, "1") == study_url(BASE, "1")
    assert retrieve_url(BASE, "1", "2") == series_url(BASE, "1", "2")
    assert retrieve_url(BASE, "1", "2", "3") == instance_url(BASE, "1", "2", "3")


uids = st.from_regex(r"[0-9]{1,5}(\.[0-9]{1,6}){0,8}", fullmatch=True)
resources = st.one_of(
    st.builds(Resource, uids, aspect=st.sampled_from(["", "metadata", "series", "instances", "thumbnail"])),
    st.builds(Resource, uids, uids, aspect=st.sampled_from(["", "rendered", "pixeldata", "instances"])),
    st.builds(Resource, uids, uids, uids, aspect=st.sampled_from(["", "metadata", "rendered", "bulkdata"])),
    st.builds(
        Resource,
        uids,
        uids,
        uids,
        frames=st.lists(st.integers(1, 10**6), min_size=1, max_size=5).map(lambda n: ",".join(map(str, n))),
        aspect=st.sampled_from(["", "rendered", "thumbnail"]),
    ),
    st.builds(
        Resource,
        uids,
        uids,
        uids,
        value=st.from_regex(r"([0-9A-F]{8}/[0-9]/){0,3}[0-9A-F]{8}", fullmatch=True),
    ),
)


@given(resources)
def test_what_is_written_is_read_back(resource):
    assert read_path(write_path(resource)) == resource


steps = st.lists(
    st.sampled_from(["studies", "series", "instances", "frames", "bulkdata", "metadata", "1.2", "..", "", "7FE00010"])
    | st.text(string.printable + "\u0661\u00e9", max_size=5),
    max_size=10,
)


@given(steps)
def test_no_path_whatever_raises_anything_but_our_errors(path):
    try:
        resource = read_path("/".join(path))
    except (BadRequest, NotFound):
        pass
    else:
        assert read_path(write_path(resource)) == resource
