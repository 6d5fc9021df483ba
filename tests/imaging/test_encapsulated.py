"""Documents inside of objects."""

from base64 import b64decode
from typing import Any

import pytest
from dicoms import dataset
from documents import bulk
from realdata import real

from dicomweb.imaging import encapsulated
from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import read_object

PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def document(data: bytes, media_type: str | None, sop_class: str = PDF) -> tuple[dict[str, Any], dict[str, bytes]]:
    ds = dataset(Rows=None, Columns=None, PixelData=None, BitsAllocated=None, DocumentTitle="Letter\x1b")
    ds.SOPClassUID, ds.EncapsulatedDocument = sop_class, data + b"\0" * (len(data) & 1)
    ds.EncapsulatedDocumentLength = len(data)
    if media_type is not None:
        ds.MIMETypeOfEncapsulatedDocument = media_type
    return bulk(ds)


@pytest.mark.parametrize(
    ("said", "sop_class", "media_type", "shown", "ending"),
    [
        ("application/pdf", PDF, "application/pdf", True, "pdf"),
        (None, PDF, "application/pdf", True, "pdf"),
        ("text/XML", "1.2.840.10008.5.1.4.1.1.104.2", "text/xml", False, "xml"),
        ("application/xml", "1.2.840.10008.5.1.4.1.1.104.2", "text/xml", False, "xml"),
        ("model/stl", "1.2.840.10008.5.1.4.1.1.104.3", "model/stl", False, "stl"),
        (None, "1.2.840.10008.5.1.4.1.1.104.4", "model/obj", False, "obj"),
        ("text/html", PDF, "application/octet-stream", False, "bin"),
        ("image/svg+xml", PDF, "application/octet-stream", False, "bin"),
        ("application/x-unheard-of", "1.2.3", "application/octet-stream", False, "bin"),
    ],
)
def test_a_document_goes_out_as_what_it_is_and_as_nothing_that_a_browser_would_run(
    said, sop_class, media_type, shown, ending
):
    model, _ = document(b"x" * 3001, said, sop_class)
    found = encapsulated.read(model)
    assert found is not None
    assert (found.media_type, found.file_ending) == (media_type, ending)
    assert (media_type in encapsulated.SHOWN) is shown
    assert found.title == "Letter␛"
    assert found.size == 3001


def test_its_bytes_are_a_bulk_value_or_in_the_data_set():
    model, values = document(b"y" * 3001, None)
    large = encapsulated.read(model)
    assert large is not None
    assert large.inline is None
    assert values[encapsulated.PATH][: large.size] == b"y" * 3001
    small = encapsulated.read(document(b"z" * 11, None)[0])
    assert small is not None
    assert b64decode(small.inline or "")[: small.size] == b"z" * 11


def test_an_object_without_a_document_has_none():
    assert encapsulated.read({}) is None
    assert encapsulated.read({"00420011": {"vr": "OB"}}) is None


def test_a_real_pdf_is_found():
    data = real("orthanc-tests/sample-pdf.dcm").read_bytes()
    read = read_object(data, Limits())
    found = encapsulated.read(read.dataset)
    assert found is not None
    assert found.media_type == "application/pdf"
    at = read.layout.bulk[encapsulated.PATH]
    assert data[at.start : at.stop].startswith(b"%PDF")


def test_a_real_object_whose_document_is_empty_has_none():
    assert encapsulated.read(read_object(real("orthanc-tests/Issue137.dcm").read_bytes(), Limits()).dataset) is None
