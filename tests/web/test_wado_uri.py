"""WADO-URI over HTTP (PS3.18 9)."""

import io

import dicoms
import pydicom
import pytest
from dicoms import PREFIX
from pydicom.uid import ImplicitVRLittleEndian
from served import Served, compressed, written

EXPLICIT = "1.2.840.10008.1.2.1"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
UIDS = f"studyUID={PREFIX}.1&seriesUID={PREFIX}.1.1&objectUID={PREFIX}.1.1.1"
DICOM = "contentType=application/dicom"
CT = dicoms.ct()


@pytest.fixture
def served(tmp_path):
    served = Served(tmp_path)
    served.store(CT)
    return served


def get(served: Served, query: str, accept: str | None = "*/*"):
    return served.client.get(f"/wado?{query}", headers={"accept": accept})


@pytest.mark.parametrize(
    "query",
    [
        f"requestType=WADO&{UIDS}&{DICOM}",
        f"{DICOM}&{UIDS}&requestType=WADO",
        f"requestType=WADO&{UIDS}&contentType=application%2Fdicom",
        f"requestType=WADO&{UIDS}&{DICOM}&transferSyntax=*",
        f"requestType=WADO&{UIDS}&{DICOM}&transferSyntax={EXPLICIT}",
        f"requestType=WADO&{UIDS}&contentType=application/dicom,image/jpeg",
        f"requestType=WADO&{UIDS}&{DICOM}&unknown=1",
    ],
)
@pytest.mark.parametrize("accept", ["*/*", None, "multipart/related; type=application/octet-stream; transfer-syntax=*"])
def test_an_object_comes_whatever_the_accept_header_says(served, query, accept):
    response = get(served, query, accept)
    assert response.content == CT
    assert response.headers["content-type"].startswith("application/dicom")
    assert response.headers["content-disposition"].startswith("attachment")


def test_without_content_type_the_accept_header_can_name_dicom(served):
    assert get(served, f"requestType=WADO&{UIDS}", "application/dicom").content == CT


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"{UIDS}&{DICOM}", 400),
        (f"requestType=wado&{UIDS}&{DICOM}", 400),
        (f"requestType=WADO&requestType=X&{UIDS}&{DICOM}", 400),
        (f"requestType=WADO&studyUID=1&seriesUID=2&{DICOM}", 400),
        (f"requestType=WADO&studyUID=1&seriesUID=2&objectUID=../x&{DICOM}", 400),
        (f"requestType=WADO&{UIDS}&{DICOM};transfer-syntax=1.2", 400),
        (f"requestType=WADO&{UIDS}&{DICOM}%3Bcharset=utf-8", 400),
        (f"requestType=WADO&{UIDS}&{DICOM}&transferSyntax=abc", 400),
        (f"requestType=WADO&{UIDS}&{DICOM}&transferSyntax=1.2.840.10008.1.2.4.100", 406),
        (f"requestType=WADO&{UIDS}&{DICOM}&transferSyntax=1.2.840.10008.1.2", 406),
        (f"requestType=WADO&{UIDS}&{DICOM}&anonymize=maybe", 400),
        (f"requestType=WADO&{UIDS}&{DICOM}&anonymize=yes", 406),
        (f"requestType=WADO&{UIDS}&{DICOM}&windowCenter=40&windowWidth=400", 400),
        (f"requestType=WADO&{UIDS}&contentType=image/tiff", 406),
        (f"requestType=WADO&{UIDS}&contentType=video/mp4", 406),
        (f"requestType=WADO&{UIDS}&contentType=image/png&frameNumber=2", 400),
        (f"requestType=WADO&{UIDS}&contentType=image/png&frameNumber=0", 400),
        (f"requestType=WADO&{UIDS}&contentType=image/png&windowCenter=40", 400),
        (f"requestType=WADO&{UIDS}&contentType=image/png&region=0.5,0,0.5,1", 400),
        (f"requestType=WADO&{UIDS}&contentType=image/png&presentationUID=1.2", 400),
        (f"requestType=WADO&{UIDS}&contentType=image/png&presentationUID=1.2&presentationSeriesUID=1.3", 404),
        (f"requestType=WADO&{UIDS}&contentType=image/png;transfer-syntax=1.2", 400),
        (f"requestType=WADO&studyUID=1.9&seriesUID=1.9&objectUID=1.9&{DICOM}", 404),
        (f"requestType=WADO&studyUID={PREFIX}.1&seriesUID=1.9&objectUID={PREFIX}.1.1.1&{DICOM}", 404),
    ],
)
def test_what_is_wrong_is_told(served, query, status):
    response = get(served, query)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.json()["detail"]) > 10


def test_what_was_deleted_is_410(served):
    served.client.delete(f"/dicom-web/studies/{PREFIX}.1")
    assert get(served, f"requestType=WADO&{UIDS}&{DICOM}").status_code == 410


def test_the_default_is_explicit_little_endian(tmp_path):
    served = Served(tmp_path)
    served.store(written(dicoms.dataset(), ImplicitVRLittleEndian))
    for more in ("", "&transferSyntax=*"):
        sent = get(served, f"requestType=WADO&{UIDS}&{DICOM}{more}").content
        assert pydicom.dcmread(io.BytesIO(sent)).file_meta.TransferSyntaxUID == EXPLICIT


def test_what_cannot_be_decoded_comes_as_stored(tmp_path):
    served = Served(tmp_path)
    data = compressed([b"\xff\x4f\xff\x51"], JPEG_2000)
    served.store(data)
    assert get(served, f"requestType=WADO&{UIDS}&{DICOM}").content == data
    assert get(served, f"requestType=WADO&{UIDS}&{DICOM}&transferSyntax={JPEG_2000}").content == data
    assert get(served, f"requestType=WADO&{UIDS}&{DICOM}&transferSyntax={EXPLICIT}").status_code == 406


def test_an_object_that_the_client_holds_is_not_sent_and_pieces_can_be_had(served):
    query = f"requestType=WADO&{UIDS}&{DICOM}"
    whole = get(served, query)
    url = f"/wado?{query}"
    assert served.client.get(url, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    assert served.client.get(url, headers={"range": "bytes=128-131"}).content == b"DICM"
    assert served.client.head(url).headers["content-length"] == str(len(CT))
