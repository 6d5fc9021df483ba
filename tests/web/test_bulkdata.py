"""Bulk data over HTTP: every BulkDataURI that metadata hands out, in the forms that viewers ask for it."""

import io

import dicoms
import pydicom
import pytest
from dicoms import PREFIX
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from served import BASE, Served, compressed, multiframe, parts, path_of, with_items, written

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG = "1.2.840.10008.1.2.4.50"
OCTETS = 'multipart/related; type="application/octet-stream"'
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
PROFILE = bytes(range(256)) * 20
WAVE = bytes(range(250, 0, -2)) * 40
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 9 + b"x\n%%EOF"


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def uris(dataset: dict) -> list[str]:
    """Every BulkDataURI of a data set, at any depth."""
    found = []
    for element in dataset.values():
        if "BulkDataURI" in element:
            found.append(element["BulkDataURI"])
        if element["vr"] == "SQ":
            for item in element.get("Value", []):
                found += uris(item)
    return found


def rich(syntax: str = EXPLICIT, number: int = 1) -> bytes:
    """An instance with bulk data at the top, in sequences and in sequences of sequences."""
    ds = dicoms.dataset(number)
    ds.OpticalPathSequence = with_items([{"OpticalPathIdentifier": "1", "ICCProfile": PROFILE}])
    ds.WaveformSequence = with_items([{"WaveformData": b"short!"}, {"WaveformBitsAllocated": 16, "WaveformData": WAVE}])
    for item in ds.WaveformSequence:
        item["WaveformData"].VR = "OW"
    inner = Dataset()
    inner.EncapsulatedDocument = PDF + b"\0" * (len(PDF) % 2)
    ds.ContentSequence = [Dataset()]
    ds.ContentSequence[0].ContentSequence = [inner]
    return written(ds, syntax)


def pdf() -> bytes:
    ds = dicoms.dataset(PixelData=None)
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocument = PDF + b"\0" * (len(PDF) % 2)
    ds.EncapsulatedDocumentLength = len(PDF)
    return dicoms.part10(ds)


@pytest.mark.parametrize(
    ("accept", "kind", "bare"),
    [
        (
            'multipart/related; type="application/pdf", multipart/related; type="application/octet-stream"',
            "application/pdf",
            False,
        ),
        (OCTETS, "application/octet-stream", False),
        ("application/pdf", "application/pdf", True),
        ("application/octet-stream", "application/octet-stream", True),
        ("*/*", "application/pdf", True),
        (None, "application/pdf", True),
        (CHROME, "application/pdf", True),
    ],
)
def test_a_pdf_comes_in_every_form_that_viewers_ask_for(served, accept, kind, bare):
    data = pdf()
    served.store(data)
    (uri,) = uris(served.get(f"{path_of(data)}/metadata").json()[0])
    assert uri == f"{BASE}{path_of(data)}/bulkdata/00420011"
    response = served.get(uri.removeprefix(BASE), accept)
    if bare:
        assert response.content == PDF
        assert response.headers["content-type"].partition(";")[0] == kind
        assert response.headers["content-disposition"].startswith("attachment")
    else:
        (part,) = parts(response)
        assert part.data == PDF
        assert part.headers["content-type"].partition(";")[0] == kind
        assert part.headers["content-location"] == uri


@pytest.mark.parametrize(
    "named", ["text/html", "image/svg+xml", "application/xhtml+xml", "x\r\nX-Evil: 1", "", "text/xml"]
)
def test_a_document_that_a_browser_might_run_is_octets(served, named):
    ds = dicoms.dataset(PixelData=None)
    ds.add_new(0x00420012, "LO", named)
    ds.EncapsulatedDocument = b"<script>alert(1)</script>" * 100
    data = written(ds, EXPLICIT)
    served.store(data)
    response = served.get(f"{path_of(data)}/bulkdata/00420011", "*/*")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/octet-stream")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]
    assert "x-evil" not in response.headers


@pytest.mark.parametrize(
    "syntax", [EXPLICIT, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_uri_of_the_metadata_leads_to_its_value_little_endian(served, syntax):
    data = rich(syntax)
    served.store(data)
    (dataset,) = served.get(f"{path_of(data)}/metadata").json()
    values = {
        uri.partition("/bulkdata/")[2]: served.get(uri.removeprefix(BASE), "application/octet-stream")
        for uri in uris(dataset)
    }
    swap = syntax == ExplicitVRBigEndian

    def words(value: bytes) -> bytes:
        return bytes(value[place ^ 1] for place in range(len(value))) if swap else value

    assert {path: answer.content for path, answer in values.items()} == {
        "00480105/0/00282000": PROFILE,
        "54000100/1/54001010": words(WAVE),
        "0040A730/0/0040A730/0/00420011": PDF + b"\0" * (len(PDF) % 2),
        "7FE00010": words(bytes(dicoms.dataset().PixelData)),
    }
    for answer in values.values():
        assert answer.headers["content-type"] == f"application/octet-stream; transfer-syntax={EXPLICIT}"


@pytest.mark.parametrize("accept", [OCTETS, "application/octet-stream", "*/*", None, CHROME])
def test_a_value_in_a_sequence_comes_bare_and_as_a_part(served, accept):
    data = rich()
    served.store(data)
    response = served.get(f"{path_of(data)}/bulkdata/00480105/0/00282000", accept)
    content = parts(response)[0].data if accept == OCTETS else response.content
    assert content == PROFILE
    assert response.headers["cache-control"] == "private, no-cache"


def test_ranges_of_a_bare_value_fit_together(served):
    data = rich()
    served.store(data)
    url = f"{path_of(data)}/bulkdata/00480105/0/00282000"
    pieces = [served.get(url, "*/*", range=f"bytes={at}-{at + 999}") for at in range(0, len(PROFILE), 1000)]
    assert {piece.status_code for piece in pieces} == {206}
    assert b"".join(piece.content for piece in pieces) == PROFILE


def test_all_bulk_data_of_a_resource_come_under_their_uris(served):
    objects = [rich(number=number) for number in (1, 2)]
    served.store(*objects)
    for level, of in (
        (path_of(objects[0]), objects[:1]),
        (f"/studies/{PREFIX}.1/series/{PREFIX}.1.1", objects),
        (f"/studies/{PREFIX}.1", objects),
    ):
        expected = [uri for entry in served.get(f"{level}/metadata").json() for uri in uris(entry)]
        found = parts(served.get(f"{level}/bulkdata", OCTETS))
        assert sorted(part.headers["content-location"] for part in found) == sorted(expected)
        assert len(found) == 4 * len(of)
        for part in found:
            one = served.get(part.headers["content-location"].removeprefix(BASE), "application/octet-stream")
            assert one.content == part.data


def test_octets_of_a_whole_resource_are_its_bulk_data(served):
    data = rich()
    served.store(data)
    for path in (path_of(data), f"/studies/{PREFIX}.1"):
        assert parts(served.get(path, OCTETS)) == parts(served.get(f"{path}/bulkdata", OCTETS))


@pytest.mark.parametrize(
    ("syntax", "accept"),
    [
        (JPEG, 'multipart/related; type="image/*"'),
        ("1.2.840.10008.1.2.4.107", 'multipart/related; type="video/H265"'),
    ],
)
def test_what_bulk_data_come_as_asked_of_a_whole_resource_means_them(served, syntax, accept):
    data = compressed([b"\xff\xd8\xff\xd9"], syntax)
    served.store(data)
    (part,) = parts(served.get(f"/studies/{PREFIX}.1", accept))
    assert part.data == b"\xff\xd8\xff\xd9"


def test_pixel_data_alone_leave_other_bulk_data_out(served):
    data = rich()
    served.store(data)
    (part,) = parts(served.get(f"{path_of(data)}/pixeldata", OCTETS))
    assert part.headers["content-location"] == f"{BASE}{path_of(data)}/bulkdata/7FE00010"
    bare = served.get(f"{path_of(data)}/pixeldata", "application/octet-stream")
    assert bare.content == part.data == bytes(dicoms.dataset().PixelData)


def test_native_frames_are_one_value(served):
    data, frames = multiframe(5)
    served.store(data)
    assert served.get(f"{path_of(data)}/bulkdata/7FE00010", "*/*").content == b"".join(frames)
    (part,) = parts(served.get(f"{path_of(data)}/bulkdata/7FE00010", OCTETS))
    assert part.data == b"".join(frames)


@pytest.mark.parametrize("accept", ["*/*", 'multipart/related; type="image/jpeg"', f"{OCTETS}; transfer-syntax=*"])
def test_compressed_frames_are_a_part_each(served, accept):
    frames = [bytes([255, 216, 255, number, 255, 217]) for number in range(4)]
    data = compressed(frames, JPEG)
    served.store(data)
    for path in ("bulkdata/7FE00010", "pixeldata"):
        found = parts(served.get(f"{path_of(data)}/{path}", accept))
        assert [part.data for part in found] == frames
        assert {part.headers["content-type"] for part in found} == {f"image/jpeg; transfer-syntax={JPEG}"}


def test_compressed_pixels_that_would_have_to_be_decoded_are_406(served):
    data = compressed([b"\xff\xd8\xff\xd9"], JPEG)
    served.store(data)
    assert served.get(f"{path_of(data)}/bulkdata/7FE00010", "application/octet-stream").status_code == 406
    assert served.get(f"{path_of(data)}/pixeldata", OCTETS).status_code == 406


def test_float_pixels_are_frames_and_bulk_data(served):
    import struct

    ds = dicoms.dataset(PixelData=None, Rows=4, Columns=4, BitsAllocated=32, BitsStored=None, HighBit=None)
    values = struct.pack("<16f", *range(16))
    ds.FloatPixelData = values
    data = written(ds, EXPLICIT)
    served.store(data)
    (part,) = parts(served.get(f"{path_of(data)}/frames/1"))
    assert part.data == values
    assert served.get(f"{path_of(data)}/pixeldata", "*/*").content == values


def test_an_object_without_bulk_data_has_none(served):
    data = dicoms.ct(PixelData=None)
    served.store(data)
    for path in ("bulkdata", "pixeldata", "bulkdata/7FE00010", "bulkdata/00100010"):
        response = served.get(f"{path_of(data)}/{path}")
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"


def test_what_was_inflated_for_one_request_serves_the_next(served, monkeypatch):
    data = rich(DeflatedExplicitVRLittleEndian)
    served.store(data)
    first = served.get(f"{path_of(data)}/frames/1").content
    (held,) = served.archive.index.members(f"{PREFIX}.1")
    kept = [stored.key for stored in served.archive.storage.list("cache/")]
    assert kept == [f"cache/inflated/{held.version:016x}"]
    served.archive.storage.delete(held.key)
    assert served.get(f"{path_of(data)}/frames/1").content == first
    assert served.get(f"{path_of(data)}/bulkdata/00480105/0/00282000", "*/*").content == PROFILE


def test_an_inflated_copy_may_go_at_any_time(served):
    data = rich(DeflatedExplicitVRLittleEndian)
    served.store(data)
    first = served.get(f"{path_of(data)}/frames/1").content
    for stored in served.archive.storage.list("cache/"):
        served.archive.storage.delete(stored.key)
    assert served.get(f"{path_of(data)}/frames/1").content == first


def test_a_re_encoded_instance_has_its_bulk_data_unharmed(served):
    data = rich(ImplicitVRLittleEndian)
    served.store(data)
    sent = served.get(path_of(data), "application/dicom").content
    ds = pydicom.dcmread(io.BytesIO(sent))
    assert ds.file_meta.TransferSyntaxUID == EXPLICIT
    assert ds.OpticalPathSequence[0].ICCProfile == PROFILE
    assert ds.WaveformSequence[1].WaveformData == WAVE
