"""WADO-RS over HTTP: what clients ask, what they get (PS3.18 10.4), end to end over a store in memory."""

import io
import json
import zipfile

import defusedxml.ElementTree
import dicoms
import pydicom
import pytest
from dicoms import PREFIX
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)
from served import BASE, Served, compressed, multiframe, parts, path_of, written

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.202"
RLE = "1.2.840.10008.1.2.5"

CT = dicoms.ct()
CT_PATH = path_of(CT)
STUDY = f"/studies/{PREFIX}.1"
SERIES = f"{STUDY}/series/{PREFIX}.1.1"
PIXELS = bytes(dicoms.dataset().PixelData)

DICOM = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'
OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
TILES = ", ".join(
    [
        *(f'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.{n}' for n in (80, 81)),
        *(f'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.{n}' for n in (90, 91)),
        *(f'multipart/related; type="image/jpx"; transfer-syntax=1.2.840.10008.1.2.4.{n}' for n in (92, 93)),
        'multipart/related; type="application/octet-stream"; transfer-syntax=*',
        f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG}',
    ]
)
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


@pytest.fixture
def ct(served):
    served.store(CT)
    return served


def jpeg(number: int = 0) -> bytes:
    return b"\xff\xd8\xff\xe0" + bytes([number]) * 100 + b"\xff\xd9"


# -- frames ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        OHIF,
        'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
        OCTETS,
        f"multipart/related; type=application/octet-stream; transfer-syntax={EXPLICIT}",
        'multipart/related; type="*/*"',
        TILES,
        '"application/octet-stream"; transfer-syntax=*',
        'multipart/related; type="application/octet-stream; transfer-syntax=*"',
        "application/dicom+json, multipart/related; type=application/octet-stream",
        'multipart/related; type="image/png", multipart/related; type="application/octet-stream";q=0.5',
        CHROME,
    ],
)
def test_a_native_frame_comes_as_a_part_for_every_accept_that_viewers_send(ct, accept):
    response = ct.get(f"{CT_PATH}/frames/1", accept)
    (part,) = parts(response)
    assert part.data == PIXELS
    assert part.headers["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert b"\r\nContent-Type: application/octet-stream; transfer-syntax=" in response.content
    assert part.headers["content-location"] == f"{BASE}{CT_PATH}/frames/1"
    assert int(response.headers["content-length"]) == len(response.content)


@pytest.mark.parametrize(
    "accept",
    [
        "application/octet-stream; transfer-syntax=*",
        "application/octet-stream",
        'application/octet-stream; transfer-syntax="*"',
    ],
)
def test_a_single_frame_can_come_bare(ct, accept):
    response = ct.get(f"{CT_PATH}/frames/1", accept)
    assert response.content == PIXELS
    assert response.headers["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert response.headers["content-location"] == f"{BASE}{CT_PATH}/frames/1"
    assert response.headers["content-length"] == str(len(PIXELS))


@pytest.mark.parametrize(
    ("syntax", "kind"),
    [
        (JPEG, "image/jpeg"),
        (JPEG_LOSSLESS, "image/jpeg"),
        (JPEG_LS, "image/jls"),
        (JPEG_2000, "image/jp2"),
        (HTJ2K, "image/jphc"),
        (RLE, "image/dicom-rle"),
    ],
)
@pytest.mark.parametrize("accept", [None, "*/*", OHIF, TILES, 'multipart/related; type="*/*"', "own", "image/*"])
def test_a_compressed_frame_comes_as_stored_with_its_own_type(served, syntax, kind, accept):
    data = compressed([jpeg()], syntax)
    served.store(data)
    if accept == "own":
        accept = f'multipart/related; type="{kind}"; transfer-syntax={syntax}'
    elif accept == "image/*":
        accept = 'multipart/related; type="image/*"'
    response = served.get(f"{path_of(data)}/frames/1", accept)
    (part,) = parts(response)
    assert part.data.rstrip(b"\0") == jpeg()
    assert part.headers["content-type"] == f"{kind}; transfer-syntax={syntax}"
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("accept", [OCTETS, f"{OCTETS}; transfer-syntax={EXPLICIT}", "application/octet-stream"])
def test_pixels_that_would_have_to_be_decoded_are_406_with_the_reason(served, accept):
    data = compressed([jpeg()], JPEG_2000)
    served.store(data)
    response = served.get(f"{path_of(data)}/frames/1", accept)
    assert response.status_code == 406
    assert JPEG_2000 in response.json()["detail"]
    assert "transfer-syntax=*" in response.json()["detail"]


def test_a_syntax_that_is_not_the_stored_one_is_406(served):
    data = compressed([jpeg()], JPEG)
    served.store(data)
    accept = f'multipart/related; type="image/jp2"; transfer-syntax={JPEG_2000}'
    assert served.get(f"{path_of(data)}/frames/1", accept).status_code == 406
    implicit = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2'
    assert served.get(f"{path_of(data)}/frames/1", implicit).status_code == 406


@pytest.mark.parametrize("numbers", [[1], [1, 2, 3], [3, 1], [2, 2, 2], [7, 1, 7], [7, 6, 5, 4, 3, 2, 1]])
def test_frames_come_in_the_order_asked_for_repeats_included(served, numbers):
    data, frames = multiframe(7)
    served.store(data)
    listed = ",".join(map(str, numbers))
    found = parts(served.get(f"{path_of(data)}/frames/{listed}", OHIF))
    assert [part.data for part in found] == [frames[number - 1] for number in numbers]
    assert [part.headers["content-location"].rpartition("/")[2] for part in found] == [str(n) for n in numbers]
    assert len({part.headers["content-type"] for part in found}) == 1


def test_a_list_of_frames_cannot_come_bare(served):
    data, _ = multiframe(3)
    served.store(data)
    assert served.get(f"{path_of(data)}/frames/1,2", "application/octet-stream").status_code == 406


def test_commas_may_come_encoded(served):
    data, frames = multiframe(3)
    served.store(data)
    found = parts(served.get(f"{path_of(data)}/frames/1%2C3"))
    assert [part.data for part in found] == [frames[0], frames[2]]


@pytest.mark.parametrize(
    ("listed", "status"),
    [
        ("0", 400),
        ("-1", 400),
        ("a", 400),
        ("1,,2", 400),
        ("1,", 400),
        ("1.5", 400),
        ("8", 404),
        ("1,8", 404),
        ("9999999999", 404),
    ],
)
def test_frames_that_are_none_are_400_and_missing_ones_404(served, listed, status):
    data, _ = multiframe(7)
    served.store(data)
    response = served.get(f"{path_of(data)}/frames/{listed}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_a_list_of_a_million_frames_is_400(ct):
    listed = ",".join(["1"] * 20_000)
    assert ct.get(f"{CT_PATH}/frames/{listed}").status_code == 400


def test_an_object_without_pixels_has_no_frames(served):
    data = dicoms.ct(PixelData=None)
    served.store(data)
    response = served.get(f"{path_of(data)}/frames/1")
    assert response.status_code == 404
    assert "no pixel data" in response.json()["detail"]


def test_a_video_is_one_stream_and_has_no_frames(served):
    stream = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 20
    data = compressed([stream], "1.2.840.10008.1.2.4.102", NumberOfFrames=30)
    served.store(data)
    refused = served.get(f"{path_of(data)}/frames/1")
    assert refused.status_code == 406
    assert "video" in refused.json()["detail"]
    whole = served.get(f"{path_of(data)}/pixeldata", "*/*")
    assert whole.headers["content-type"] == "video/mp4; transfer-syntax=1.2.840.10008.1.2.4.102"
    assert whole.content == stream
    piece = served.get(f"{path_of(data)}/pixeldata", "*/*", range="bytes=0-99")
    assert piece.status_code == 206
    assert piece.content == stream[:100]
    (part,) = parts(served.get(f"{path_of(data)}/bulkdata/7FE00010", 'multipart/related; type="video/mp4"'))
    assert part.data == stream


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("accept", [OHIF, OCTETS, None])
def test_native_frames_of_every_encoding_are_little_endian(served, syntax, accept):
    data = encoded(syntax)
    served.store(data)
    (part,) = parts(served.get(f"{path_of(data)}/frames/1", accept))
    assert part.headers["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    assert part.data == PIXELS


def encoded(syntax: str, number: int = 1, **attributes) -> bytes:
    """A small CT in a transfer syntax; big endian pixels are swapped as pydicom expects them."""
    ds = dicoms.dataset(number, **attributes)
    if syntax == ExplicitVRBigEndian:
        data = bytearray(ds.PixelData)
        data[0::2], data[1::2] = data[1::2], data[0::2]
        ds.PixelData = bytes(data)
    return written(ds, syntax)


def model(data: bytes) -> dict:
    """What a file says, whatever it is encoded in; pixel data as bytes are compared by themselves."""
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.PixelData = bytes(ds.PixelData)
    return {**ds.to_json_dict(), "7FE00010": bytes(ds.PixelData)}


def test_frames_of_single_bits_are_cut_out_bitwise(served):
    bits = [[(row * 7 + frame) % 3 == 0 for row in range(9)] for frame in range(3)]
    flat = [bit for frame in bits for bit in frame]
    packed = bytearray((len(flat) + 7) // 8 + 1)
    for place, bit in enumerate(flat):
        packed[place // 8] |= bit << place % 8
    ds = dicoms.dataset(
        NumberOfFrames=3, Rows=3, Columns=3, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=bytes(packed[:4])
    )
    ds["PixelData"].VR = "OB"
    data = dicoms.part10(ds)
    served.store(data)
    for number, part in enumerate(parts(served.get(f"{path_of(data)}/frames/1,2,3"))):
        assert [part.data[place // 8] >> place % 8 & 1 for place in range(9)] == bits[number]
        assert len(part.data) == 2


def test_frames_that_are_only_deflated_can_be_had_inflated(served):
    import zlib

    def deflated(frame: bytes) -> bytes:
        squeezed = zlib.compressobj(wbits=-15)
        return squeezed.compress(frame) + squeezed.flush()

    frames = [bytes([number]) * 128 for number in range(3)]
    data = compressed([deflated(frame) for frame in frames], "1.2.840.10008.1.2.8.1")
    served.store(data)
    answer = served.get(f"{path_of(data)}/frames/1,2,3", OCTETS)
    assert answer.headers["content-length"] == str(len(answer.content))
    found = parts(answer)
    assert [part.data for part in found] == frames
    assert found[0].headers["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"
    more = served.get(f"{path_of(data)}/frames/{','.join(['1'] * 17)}", OCTETS)
    assert [part.data for part in parts(more)] == frames[:1] * 17
    stored = parts(served.get(f"{path_of(data)}/frames/2", OHIF))[0]
    assert zlib.decompress(stored.data, -15) == frames[1]
    assert stored.headers["content-type"].endswith("1.2.840.10008.1.2.8.1")


def test_uncompressed_frames_in_fragments_come_without_padding(served):
    frames = [bytes([number]) * 9 for number in range(2)]
    data = compressed(frames, "1.2.840.10008.1.2.1.98", Rows=3, Columns=3, BitsAllocated=8, BitsStored=8, HighBit=7)
    served.store(data)
    assert [part.data for part in parts(served.get(f"{path_of(data)}/frames/1,2", OCTETS))] == frames


# -- conditions, ranges, caching -----------------------------------------------------------------------------


def test_what_is_stored_may_be_kept_and_is_revalidated(ct):
    frame = ct.get(f"{CT_PATH}/frames/1", OHIF)
    assert frame.headers["cache-control"] == "private, no-cache"
    assert frame.headers["etag"].startswith('"')
    metadata = ct.get(f"{CT_PATH}/metadata")
    assert metadata.headers["cache-control"] == "private, no-cache"
    assert metadata.headers["etag"].startswith('"')
    assert "Accept" in frame.headers["vary"]


@pytest.mark.parametrize(
    "path",
    ["frames/1", "metadata", "", "bulkdata/7FE00010", "pixeldata", "bulkdata"],
)
def test_what_the_client_holds_is_304_without_touching_storage(ct, path, monkeypatch):
    url = f"{CT_PATH}/{path}".rstrip("/")
    etag = ct.get(url).headers["etag"]

    def forbidden(*_, **__):
        raise AssertionError("storage was touched")

    for name in ("read", "stream", "size"):
        monkeypatch.setattr(ct.archive.storage, name, forbidden)
    again = ct.get(url, if_none_match=etag)
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == etag
    head = ct.client.head(f"/dicom-web{url}")
    assert head.status_code == 200
    assert head.headers["etag"] == etag


def test_each_form_of_a_resource_has_a_tag_of_its_own(ct):
    tags = [
        ct.get(url, accept, accept_encoding=coding).headers["etag"]
        for url, accept, coding in [
            (f"{CT_PATH}/frames/1", OHIF, "identity"),
            (f"{CT_PATH}/frames/1", "application/octet-stream", "identity"),
            (f"{CT_PATH}/frames/1,1", OHIF, "identity"),
            (CT_PATH, DICOM, "identity"),
            (CT_PATH, "application/dicom", "identity"),
            (CT_PATH, "application/zip", "identity"),
            (f"{CT_PATH}/metadata", "*/*", "identity"),
            (f"{CT_PATH}/metadata", "*/*", "gzip"),
            (f"{CT_PATH}/metadata", 'multipart/related; type="application/dicom+xml"', "identity"),
        ]
    ]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("frames/1", OHIF),
        ("frames/1", "application/octet-stream; transfer-syntax=*"),
        ("frames/2,1", OHIF),
        ("bulkdata/7FE00010", "application/octet-stream"),
        ("", "application/dicom"),
        ("", DICOM),
        ("", "application/zip"),
    ],
)
def test_ranges_of_the_same_answer_fit_together(served, path, accept):
    data, _ = multiframe(3)
    served.store(data)
    url = f"{path_of(data)}/{path}".rstrip("/")
    whole = served.get(url, accept)
    size = len(whole.content)
    assert whole.headers["accept-ranges"] == "bytes"
    first = served.get(url, accept, range="bytes=0-99")
    rest = served.get(url, accept, range="bytes=100-", if_range=first.headers["etag"])
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.headers["content-range"] == f"bytes 0-99/{size}"
    assert rest.headers["content-range"] == f"bytes 100-{size - 1}/{size}"
    assert first.content + rest.content == whole.content
    assert first.headers["content-type"] == whole.headers["content-type"]
    assert served.get(url, accept, range="bytes=-50").content == whole.content[-50:]


def test_a_range_outside_is_416_and_of_another_version_the_whole(ct):
    assert ct.get(f"{CT_PATH}/frames/1", OHIF, range="bytes=100000-").status_code == 416
    response = ct.get(f"{CT_PATH}/frames/1", OHIF, range="bytes=0-9", if_range='"other"')
    assert response.status_code == 200


def test_a_thousand_ranges_get_the_whole(ct):
    ranges = ",".join(f"{n}-{n}" for n in range(1000))
    assert ct.get(f"{CT_PATH}/frames/1", OHIF, range=f"bytes={ranges}").status_code == 200


def test_head_tells_the_length_of_everything_but_streams(ct):
    for path in ("/frames/1", "", "/bulkdata/7FE00010"):
        whole = ct.get(f"{CT_PATH}{path}")
        head = ct.client.head(f"/dicom-web{CT_PATH}{path}")
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["content-length"] == str(len(whole.content))


def test_frames_are_never_compressed_by_http(ct):
    response = ct.get(f"{CT_PATH}/frames/1", OHIF, accept_encoding="gzip, deflate, br, zstd")
    assert "content-encoding" not in response.headers


# -- metadata --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "*/*",
        "application/*",
        "application/json",
        "application/dicom+json",
        "application/dicom+json; charset=utf-8",
        "application/dicom+json, multipart/related; type=application/octet-stream",
        OHIF + ", application/dicom+json",
        CHROME,
    ],
)
@pytest.mark.parametrize("path", [STUDY, SERIES, CT_PATH])
def test_metadata_is_json_for_every_accept_that_viewers_send(ct, accept, path):
    response = ct.get(f"{path}/metadata", accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    (dataset,) = response.json()
    assert dataset["00080018"]["Value"] == [f"{PREFIX}.1.1.1"]
    assert not [tag for tag in dataset if tag.startswith("0002")]
    assert dataset["7FE00010"] == {"vr": "OW", "BulkDataURI": f"{BASE}{CT_PATH}/bulkdata/7FE00010"}
    assert list(dataset) == sorted(dataset)


@pytest.mark.parametrize(
    ("syntax", "named"),
    [
        (EXPLICIT, EXPLICIT),
        (ImplicitVRLittleEndian, EXPLICIT),
        (ExplicitVRBigEndian, EXPLICIT),
        (DeflatedExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian),
    ],
)
def test_metadata_names_the_syntax_that_the_instance_can_be_had_in(served, syntax, named):
    served.store(encoded(syntax))
    (dataset,) = served.get(f"{CT_PATH}/metadata").json()
    assert dataset["00083002"] == {"vr": "UI", "Value": [named]}
    assert list(dataset) == sorted(dataset)
    accept = f'multipart/related; type="application/dicom"; transfer-syntax={named}'
    assert served.get(CT_PATH, accept).status_code == 200


def test_metadata_of_a_video_names_its_syntax(served):
    served.store(compressed([b"stream"], "1.2.840.10008.1.2.4.102"))
    (dataset,) = served.get(f"{CT_PATH}/metadata").json()
    assert dataset["00083002"]["Value"] == ["1.2.840.10008.1.2.4.102"]


@pytest.mark.parametrize("accept", [DICOM, "image/png", "text/html", "application/dicom+json;q=0"])
def test_metadata_in_no_accepted_form_is_406(ct, accept):
    response = ct.get(f"{CT_PATH}/metadata", accept)
    assert response.status_code == 406
    assert "application/dicom+json" in response.json()["detail"]


def test_metadata_can_be_xml_one_part_per_instance(ct):
    ct.store(dicoms.ct(2))
    found = parts(ct.get(f"{SERIES}/metadata", 'multipart/related; type="application/dicom+xml"'))
    assert [part.headers["content-type"] for part in found] == ["application/dicom+xml"] * 2
    root = defusedxml.ElementTree.fromstring(found[0].data)
    assert root.tag.endswith("NativeDicomModel")
    uris = [node.get("uri") for node in root.iter() if node.tag.endswith("BulkData")]
    assert uris == [f"{BASE}{CT_PATH}/bulkdata/7FE00010"]


def test_metadata_of_a_study_has_every_instance_by_series_and_number(served):
    served.store(*(dicoms.ct(number, series=series) for series in (2, 1) for number in (3, 1, 2)))
    found = [entry["00080018"]["Value"][0] for entry in served.get(f"{STUDY}/metadata").json()]
    assert found == [f"{PREFIX}.1.{series}.{number}" for series in (1, 2) for number in (1, 2, 3)]


def test_metadata_zipped_and_not_is_the_same_the_first_time_and_again(served):
    served.store(*(dicoms.ct(number) for number in range(1, 6)))
    answers = [
        served.get(f"{SERIES}/metadata", accept_encoding=coding) for coding in ("identity", "gzip", "gzip", "identity")
    ]
    assert [answer.headers.get("content-encoding") for answer in answers] == [None, "gzip", "gzip", None]
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].headers["etag"] != answers[1].headers["etag"] == answers[2].headers["etag"]
    assert len(json.loads(answers[0].content)) == 5
    assert "Accept-Encoding" in answers[0].headers["vary"]


def test_metadata_of_more_than_one_group_is_complete_and_streamed_until_it_is_kept(served, monkeypatch):
    from dicomweb.archive import sealed

    monkeypatch.setattr(sealed, "GROUP", 4)
    served.store(*(dicoms.ct(number) for number in range(1, 12)))
    for coding in ("gzip", "identity"):
        for again in (False, True):
            response = served.get(f"{SERIES}/metadata", accept_encoding=coding)
            numbers = [entry["00200013"]["Value"][0] for entry in response.json()]
            assert numbers == list(range(1, 12))
            assert ("content-length" in response.headers) == (coding == "gzip" and again)


def test_metadata_changes_its_tag_when_the_series_grows(ct):
    before = ct.get(f"{SERIES}/metadata").headers["etag"]
    ct.store(dicoms.ct(2))
    after = ct.get(f"{SERIES}/metadata", if_none_match=before)
    assert after.status_code == 200
    assert len(after.json()) == 2


# -- whole instances -------------------------------------------------------------------------------------------


def test_an_instance_comes_back_as_it_was_sent(ct):
    (part,) = parts(ct.get(CT_PATH, f"{DICOM}; transfer-syntax=*"))
    assert part.data == CT
    assert part.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert part.headers["content-location"] == f"{BASE}{CT_PATH}"
    bare = ct.get(CT_PATH, "application/dicom")
    assert bare.content == CT
    assert bare.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert bare.headers["content-disposition"] == f'attachment; filename="{PREFIX}.1.1.1.dcm"'
    assert bare.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("accept", [None, "*/*", DICOM, "multipart/related; type=application/dicom", CHROME])
@pytest.mark.parametrize("path", [STUDY, SERIES])
def test_a_study_and_a_series_come_as_parts(served, path, accept):
    objects = [dicoms.ct(number) for number in (1, 2, 3)]
    served.store(*objects)
    response = served.get(path, accept)
    assert [part.data for part in parts(response)] == objects
    assert response.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        (STUDY, "application/dicom", 406),
        (CT_PATH, f"{DICOM}; transfer-syntax=1.2.840.10008.1.2", 406),
        (CT_PATH, "image/png", 406),
        (CT_PATH, f"{DICOM}, image/png", 200),
        (CT_PATH, f"{DICOM};q=0", 406),
        (CT_PATH, f"{DICOM}; transfer-syntax={JPEG_2000}", 200),
        (CT_PATH, f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.100", 406),
        (CT_PATH, f"{DICOM}; transfer-syntax=1.2.840.10008.1.2.4.100, {DICOM};q=0.1", 200),
    ],
)
def test_forms_that_cannot_be_made_are_refused_only_when_nothing_else_fits(ct, path, accept, status):
    assert ct.get(path, accept).status_code == status


def test_a_compressed_instance_that_cannot_be_decoded_comes_as_stored(served):
    data = compressed([jpeg()], JPEG_2000)
    served.store(data)
    for accept in (DICOM, "*/*", f"{DICOM}; transfer-syntax=*", f"{DICOM}; transfer-syntax={JPEG_2000}"):
        (part,) = parts(served.get(path_of(data), accept))
        assert part.data == data
        assert part.headers["content-type"] == f"application/dicom; transfer-syntax={JPEG_2000}"
    refused = served.get(path_of(data), f"{DICOM}; transfer-syntax={EXPLICIT}")
    assert refused.status_code == 406
    assert JPEG_2000 in refused.json()["detail"]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("accept", [DICOM, f"{DICOM}; transfer-syntax=*", "*/*"])
def test_encodings_that_are_not_legal_on_the_web_leave_as_explicit_little_endian(served, syntax, accept):
    data = encoded(syntax)
    served.store(data)
    response = served.get(path_of(data), accept)
    (part,) = parts(response)
    assert part.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert int(response.headers["content-length"]) == len(response.content)
    assert pydicom.dcmread(io.BytesIO(part.data)).file_meta.TransferSyntaxUID == EXPLICIT
    assert model(part.data) == model(CT)


def test_a_deflated_instance_comes_inflated_or_as_it_is(served):
    data = encoded(DeflatedExplicitVRLittleEndian)
    served.store(data)
    (as_stored,) = parts(served.get(path_of(data), f"{DICOM}; transfer-syntax=*"))
    assert as_stored.data == data
    (inflated,) = parts(served.get(path_of(data), DICOM))
    assert inflated.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT}"
    assert model(inflated.data) == model(CT)


def test_parts_of_a_mixed_series_each_say_what_they_are(served):
    objects = [
        CT,
        compressed([jpeg()], JPEG, 2),
        encoded(ImplicitVRLittleEndian, 3),
        encoded(DeflatedExplicitVRLittleEndian, 4),
    ]
    served.store(*objects)
    found = parts(served.get(SERIES, f"{DICOM}; transfer-syntax=*"))
    syntaxes = [part.headers["content-type"].rpartition("=")[2] for part in found]
    assert syntaxes == [EXPLICIT, JPEG, EXPLICIT, DeflatedExplicitVRLittleEndian]
    for part, syntax in zip(found, syntaxes, strict=True):
        assert pydicom.dcmread(io.BytesIO(part.data)).file_meta.TransferSyntaxUID == syntax


def test_a_long_series_that_must_be_re_encoded_is_streamed(served):
    served.store(*(encoded(ImplicitVRLittleEndian, number) for number in range(1, 21)))
    response = served.get(SERIES, DICOM)
    assert "content-length" not in response.headers
    found = parts(response)
    assert [pydicom.dcmread(io.BytesIO(part.data)).InstanceNumber for part in found] == list(range(1, 21))


@pytest.mark.parametrize("path", [STUDY, SERIES, CT_PATH])
def test_everything_can_come_as_a_zip(served, path):
    data = compressed([jpeg()], JPEG, 2)
    served.store(CT, data)
    response = served.get(path, "application/zip")
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == f'attachment; filename="{path.rpartition("/")[2]}.zip"'
    assert int(response.headers["content-length"]) == len(response.content)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert archive.read(f"{PREFIX}.1/{PREFIX}.1.1/{PREFIX}.1.1.1.dcm") == CT
        assert len(archive.namelist()) == (1 if path == CT_PATH else 2)


def test_an_accept_parameter_goes_before_the_header(ct):
    response = ct.get(f"{CT_PATH}?accept=application/dicom")
    assert response.content == CT
    zipped = ct.get(f"{CT_PATH}?accept=application%2Fzip", "application/dicom, application/zip")
    assert zipped.headers["content-type"] == "application/zip"


def test_an_own_preamble_is_zeroed_where_that_is_set(tmp_path):
    data = b"MZ" + b"\x90" * 126 + CT[128:]
    keeping, zeroing = Served(tmp_path / "a"), Served(tmp_path / "b", zero_preamble=True)
    for served in (keeping, zeroing):
        served.store(data)
    assert keeping.get(CT_PATH, "application/dicom").content == data
    sent = zeroing.get(CT_PATH, "application/dicom")
    assert sent.content == CT
    assert sent.headers["content-length"] == str(len(CT))
    assert zeroing.get(CT_PATH, "application/dicom", range="bytes=100-140").content == CT[100:141]


# -- what is not there -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/studies/1.2.3",
        "/studies/1.2.3/metadata",
        f"{STUDY}/series/1.2.3",
        f"{SERIES}/instances/1.2.3",
        f"{SERIES}/instances/1.2.3/frames/1",
        f"/studies/1.2.3/series/{PREFIX}.1.1/instances/{PREFIX}.1.1.1",
        f"{STUDY}/series/1.2.3/instances/{PREFIX}.1.1.1/frames/1",
        f"{CT_PATH}/bulkdata/00020000",
        f"{CT_PATH}/bulkdata/nonsense",
        f"{CT_PATH}/nowhere",
    ],
)
def test_what_is_not_there_is_404(ct, path):
    response = ct.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("uid", ["%2E%2E", "a.b", "1.2%00", "%E0%A5%A7.2", "1" * 65, "1.2.3%0D%0AX:1", "1.2%5C3"])
@pytest.mark.parametrize(
    "path",
    ["/studies/{}", "/studies/{}/metadata", "/studies/1.2/series/{}", "/studies/1.2/series/1.2/instances/{}/frames/1"],
)
def test_a_uid_that_is_none_is_400(served, uid, path):
    response = served.get(path.format(uid))
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"


def test_what_was_deleted_is_410_at_every_level(ct):
    assert ct.client.delete(f"/dicom-web{STUDY}").status_code == 204
    for path in (STUDY, f"{STUDY}/metadata", CT_PATH, f"{CT_PATH}/frames/1", f"{CT_PATH}/bulkdata/7FE00010"):
        assert ct.get(path).status_code == 410


def test_lost_bytes_are_an_error_and_metadata_goes_on(ct):
    (held,) = ct.archive.index.members(f"{PREFIX}.1")
    ct.archive.storage.delete(held.key)
    assert ct.get(f"{CT_PATH}/frames/1").status_code == 500
    assert ct.get(CT_PATH).status_code == 500
    assert ct.get(f"{CT_PATH}/metadata").status_code == 200


# -- addresses ---------------------------------------------------------------------------------------------------


def test_slashes_too_many_do_not_matter(ct):
    whole = ct.get(f"{CT_PATH}/metadata").json()
    assert ct.get(f"{CT_PATH}/metadata/").json() == whole
    assert ct.client.get(f"/dicom-web/{CT_PATH}//metadata").json() == whole
    assert ct.get(f"{STUDY}/").status_code == 200


def test_urls_in_answers_follow_the_public_url(tmp_path):
    served = Served(tmp_path, public_url="https://pacs.example/x")
    served.store(CT)
    uri = served.get(f"{CT_PATH}/metadata").json()[0]["7FE00010"]["BulkDataURI"]
    assert uri == f"https://pacs.example/x/dicom-web{CT_PATH}/bulkdata/7FE00010"
    (part,) = parts(served.get(f"{CT_PATH}/frames/1"))
    assert part.headers["content-location"] == f"https://pacs.example/x/dicom-web{CT_PATH}/frames/1"


def test_urls_in_answers_follow_a_trusted_proxy(tmp_path):
    served = Served(tmp_path, trusted_proxies=("127.0.0.1",), proxy_headers="forwarded")
    served.store(CT)
    for root in ("https://one.example", "https://two.example"):
        answer = served.get(f"{CT_PATH}/metadata", forwarded=f"host={root[8:]};proto=https")
        uri = answer.json()[0]["7FE00010"]["BulkDataURI"]
        assert uri == f"{root}/dicom-web{CT_PATH}/bulkdata/7FE00010"


def test_a_path_prefix_stands_before_everything(tmp_path):
    served = Served(tmp_path, path_prefix="/pacs")
    served.store(CT)
    (dataset,) = served.client.get(f"/pacs/dicom-web{CT_PATH}/metadata").json()
    uri = dataset["7FE00010"]["BulkDataURI"]
    assert uri == f"http://localhost:8080/pacs/dicom-web{CT_PATH}/bulkdata/7FE00010"
    assert served.client.get(uri).status_code == 200


def test_off_loopback_urls_in_answers_do_not_repeat_the_host_header(tmp_path):
    served = Served(tmp_path, http_host="0.0.0.0", insecure=True)
    served.store(CT)
    answer = served.get(f"{CT_PATH}/metadata", host="evil.example")
    assert "evil" not in answer.text
    uri = answer.json()[0]["7FE00010"]["BulkDataURI"]
    assert uri == f"/dicom-web{CT_PATH}/bulkdata/7FE00010"
    assert served.client.get(uri).status_code == 200


# -- browsers ------------------------------------------------------------------------------------------------------


def test_pages_of_listed_origins_can_read_frames_and_errors(tmp_path):
    served = Served(tmp_path, cors_origins=("https://viewer.example",))
    served.store(CT)
    for path, status in ((f"{CT_PATH}/frames/1", 200), ("/studies/1.2.3/metadata", 404)):
        response = served.get(path, f"{OCTETS}, */*;q=0.1", origin="https://viewer.example")
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == "https://viewer.example"
        assert "Origin" in response.headers["vary"]
    preflight = served.client.options(
        f"/dicom-web{CT_PATH}/frames/1",
        headers={
            "origin": "https://viewer.example",
            "access-control-request-method": "GET",
            "access-control-request-headers": "accept",
        },
    )
    assert preflight.status_code == 204
    assert int(preflight.headers["access-control-max-age"]) >= 7200


def test_the_base_url_tells_capabilities_and_resources_their_methods(ct):
    assert "application" in ct.client.options("/dicom-web/").json()
    assert ct.client.options(f"/dicom-web{CT_PATH}").headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
    refused = ct.client.request("PUT", f"/dicom-web{CT_PATH}")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
