"""What people look at: pictures, pages, videos, documents and thumbnails over HTTP (PS3.18 10.4.1.1.3, 10.4.1.1.4)."""

import io
import itertools
import shutil

import dicoms
import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from realdata import real_files
from served import Served, compressed, multiframe, parts, path_of, with_items

from dicomweb.imaging import direct, pages
from dicomweb.workshop import Workshop

STATE, REPORT = "1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.88.11"
PDF, ECG, PLAN = "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.840.10008.5.1.4.1.1.481.5"
NO_PIXELS = dict.fromkeys(
    ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
     "SamplesPerPixel", "PhotometricInterpretation")
)  # fmt: skip
RAMP = np.repeat(np.arange(0, 256, dtype="<u2")[np.newaxis], 16, axis=0)


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def ramp(number: int = 1, **attributes: object) -> bytes:
    """Grey from 0 to 255, one step a column."""
    return dicoms.ct(number, **{"Rows": 16, "Columns": 256, "PixelData": RAMP.tobytes(), **attributes})


def without_pixels(sop_class: str, number: int, **attributes: object) -> bytes:
    return dicoms.ct(number, SOPClassUID=sop_class, **{**NO_PIXELS, **attributes})


def opened(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def test_a_window_is_drawn_as_the_standard_has_it(served):
    data = ramp()
    served.store(data)
    answer = served.get(f"{path_of(data)}/rendered?window=128,128,linear", "image/png")
    assert answer.headers["content-type"] == "image/png"
    picture = opened(answer.content)
    assert picture.shape == (16, 256)
    exact = np.clip(((np.arange(256) - 127.5) / 127 + 0.5) * 255, 0, 255)
    assert np.abs(picture[0].astype(float) - exact).max() <= 0.5 + 1e-6


def test_browsers_viewers_and_those_who_do_not_care_get_a_jpeg(served):
    data = ramp()
    served.store(data)
    for accept in ("*/*", None, "image/*", "image/jpeg", "text/html,image/avif,image/webp,*/*;q=0.8"):
        answer = served.get(f"{path_of(data)}/rendered", accept)
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["content-disposition"].startswith("inline")
        assert opened(answer.content).shape == (16, 256)
        assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize(
    "query",
    [
        "viewport=0,0", "viewport=1000000,1000000", "viewport=a,b", "window=1,2", "window=1,2,cubic", "quality=0",
        "quality=101", "annotation=", "iccprofile=maybe", "quality=1&quality=2", "bits=12", "viewport=10,10,900,0",
    ],
)  # fmt: skip
def test_parameters_that_are_none_are_400(served, query):
    data = ramp()
    served.store(data)
    answer = served.get(f"{path_of(data)}/rendered?{query}", "image/png")
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_annotations_that_nobody_knows_are_named_in_a_warning(served):
    data = ramp()
    served.store(data)
    answer = served.get(f"{path_of(data)}/rendered?annotation=patient,weather", "image/png")
    assert answer.status_code == 200
    assert "weather" in answer.headers["warning"]
    assert answer.content != served.get(f"{path_of(data)}/rendered", "image/png").content


def test_the_viewport_fits_and_the_region_is_cut(served):
    data = ramp()
    served.store(data)
    small = opened(served.get(f"{path_of(data)}/rendered?viewport=64,64", "image/png").content)
    assert small.shape == (4, 64)
    part = opened(
        served.get(
            f"{path_of(data)}/rendered?viewport=128,16,128,0,-128,16&window=127.5,256,linear-exact", "image/png"
        ).content
    )
    assert part.shape == (16, 128)
    assert (part[0, 0], part[0, -1]) == (255, 128), "flipped"


def test_the_label_of_a_slide_fits_a_viewport_and_carries_its_profile(served):
    """As slide viewers ask for labels and overviews."""
    pixels = np.zeros((40, 60, 3), "u1") + np.array([200, 30, 40], "u1")
    data = dicoms.ct(
        Rows=40, Columns=60, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
        BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=pixels.tobytes(),
    )  # fmt: skip
    served.store(data)
    for accept, kind in (("image/png", "PNG"), ("image/jpeg", "JPEG")):
        answer = served.get(f"{path_of(data)}/rendered?viewport=30,30&iccprofile=yes", accept)
        label = Image.open(io.BytesIO(answer.content))
        assert (label.format, label.size, label.mode) == (kind, (30, 20), "RGB")
        assert label.info["icc_profile"][36:40] == b"acsp"
        assert np.abs(np.asarray(label).astype(int) - [200, 30, 40]).max() < 8


def test_one_frame_of_several_or_all_of_them_or_a_film(served):
    frames = [RAMP + number for number in range(5)]
    pixels = b"".join(frame.tobytes() for frame in frames)
    data = dicoms.ct(Rows=16, Columns=256, NumberOfFrames=5, PixelData=pixels)
    served.store(data)
    path, window = path_of(data), "window=64,1,linear"
    middle = served.get(f"{path}/rendered?{window}", "image/png")
    assert middle.content == served.get(f"{path}/frames/3/rendered?{window}", "image/png").content
    every = parts(served.get(f"{path}/rendered?{window}", 'multipart/related; type="image/png"'))
    assert [part.headers["content-location"].rpartition("/instances/")[2] for part in every] == [
        f"{read(data).SOPInstanceUID}/frames/{number}/rendered" for number in range(1, 6)
    ]
    assert every[2].data == middle.content
    assert len({part.data for part in every}) == 5
    some = parts(served.get(f"{path}/frames/4,2/rendered?{window}", 'multipart/related; type="image/png"'))
    assert [part.data for part in some] == [every[3].data, every[1].data]
    with Image.open(io.BytesIO(served.get(f"{path}/rendered?window=64,99,linear", "image/gif").content)) as film:
        assert film.n_frames == 5


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def test_many_frames_are_sent_while_they_are_drawn(served):
    data, _ = multiframe(20)
    served.store(data)
    answer = served.get(f"{path_of(data)}/rendered", 'multipart/related; type="image/jpeg"')
    assert "content-length" not in answer.headers
    assert len(parts(answer)) == 20


def test_a_frame_that_is_not_there_is_404_and_no_frame_400(served):
    data = ramp()
    served.store(data)
    assert served.get(f"{path_of(data)}/frames/2/rendered", "image/png").status_code == 404
    assert served.get(f"{path_of(data)}/frames/0/thumbnail", "image/png").status_code == 400
    assert served.get(f"{path_of(data)}/rendered", "application/dicom").status_code == 406
    assert served.get(f"{path_of(data)}/rendered", "text/html").status_code == 406


def test_the_same_picture_is_drawn_once_and_revalidated_for_nothing(served, monkeypatch):
    data = ramp()
    served.store(data)
    run, times = Workshop.run, itertools.count()
    monkeypatch.setattr(Workshop, "run", lambda self, *work: (next(times), run(self, *work))[1])
    url = f"{path_of(data)}/rendered?viewport=99,99"
    first = served.get(url, "image/png")
    assert served.get(url, "image/png").content == first.content
    assert served.get(url, "image/png", if_none_match=first.headers["etag"]).status_code == 304
    assert served.get(f"{path_of(data)}/rendered?viewport=98,98", "image/png").headers["etag"] != first.headers["etag"]
    assert next(times) == 2


def drawn_elsewhere(served: Served, monkeypatch: pytest.MonkeyPatch, data: bytes, query: str = "") -> bool:
    """Whether the picture of an object came from a process of the workshop."""
    served.store(data)
    run, works = Workshop.run, []
    monkeypatch.setattr(Workshop, "run", lambda self, *work: (works.append(work), run(self, *work))[1])
    assert served.get(f"{path_of(data)}/rendered{query}", "image/png").status_code == 200
    return bool(works)


@pytest.mark.parametrize("query", ["", "?window=40,400,sigmoid", "?window=128,128,linear-exact"])
def test_a_plain_grey_picture_needs_no_other_process_and_is_the_same(served, monkeypatch, query):
    data = ramp(WindowCenter=40, WindowWidth=80, RescaleSlope=2, RescaleIntercept=-5, PixelSpacing=[2, 2])
    assert not drawn_elsewhere(served, monkeypatch, data, query)
    here = served.get(f"{path_of(data)}/rendered{query}", "image/png").content
    served.archive.shelf._memory.drop(lambda _: True)
    monkeypatch.setattr(direct, "may_draw", lambda *_: False)
    assert served.get(f"{path_of(data)}/rendered{query}", "image/png").content == here


@pytest.mark.parametrize(
    ("data", "query"),
    [
        (compressed([imagecodecs.jpegls_encode(RAMP)], "1.2.840.10008.1.2.4.80", Rows=16, Columns=256), ""),
        (ramp(Rows=1024, Columns=1024, PixelData=bytes(2 << 20)), ""),
        (ramp(PixelSpacing=[1, 2]), ""),
        (ramp(SamplesPerPixel=3, PhotometricInterpretation="RGB", BitsAllocated=8, BitsStored=8, HighBit=7,
              PlanarConfiguration=0, Columns=170, PixelData=bytes(16 * 170 * 3)), ""),
        (ramp(), "?viewport=99,99"),
        (ramp(), "?annotation=patient"),
        (ramp(), "?iccprofile=yes"),
        (ramp(ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=2, ShutterRightVerticalEdge=9,
              ShutterUpperHorizontalEdge=2, ShutterLowerHorizontalEdge=9), ""),
        (ramp(VOILUTSequence=with_items([{"LUTDescriptor": [256, 0, 8], "LUTData": bytes(256)}])), ""),
    ],
    ids=["compressed", "large", "oblong", "colour", "viewport", "annotation", "profile", "shutter", "table"],
)  # fmt: skip
def test_what_is_not_plain_is_drawn_by_the_workshop(served, monkeypatch, data, query):
    assert drawn_elsewhere(served, monkeypatch, data, query)


def test_a_study_is_a_part_for_each_instance_or_the_picture_that_stands_for_it(served):
    image, second = ramp(1), ramp(2, SeriesInstanceUID=f"{dicoms.PREFIX}.1.1")
    plan = without_pixels(PLAN, 3, SeriesInstanceUID=f"{dicoms.PREFIX}.1.7")
    served.store(image, second, plan)
    study = path_of(image).partition("/series/")[0]
    found = parts(served.get(f"{study}/rendered"))
    assert sorted(part.headers["content-type"] for part in found) == [
        "image/jpeg", "image/jpeg", "text/html; charset=utf-8",
    ]  # fmt: skip
    one = served.get(f"{study}/rendered", "image/png")
    assert one.content == served.get(f"{path_of(second)}/rendered", "image/png").content
    only = parts(served.get(f"{study}/rendered", 'multipart/related; type="image/png"'))
    assert len(only) == 2, "what is no picture is left out where only pictures are accepted"
    page = served.get(f"{study}/rendered", "text/html")
    assert b"<html" in page.content
    assert served.get(f"{study}/rendered", "video/mp4").status_code == 406


def test_what_cannot_be_drawn_is_left_out_of_a_study(served):
    image, damaged = ramp(1), compressed([b"\xff\xd8 no picture"], "1.2.840.10008.1.2.4.70", 2)
    served.store(image, damaged)
    study = path_of(image).partition("/series/")[0]
    (part,) = parts(served.get(f"{study}/rendered"))
    assert part.headers["content-location"].endswith(f"{path_of(image)}/rendered")
    assert served.get(f"{path_of(damaged)}/rendered").status_code == 406


@pytest.mark.parametrize("level", ["study", "series", "instance", "frame"])
def test_every_level_has_a_small_picture_without_patient_text(served, level):
    big = np.tile(RAMP, (64, 4))
    data = dicoms.ct(Rows=1024, Columns=1024, PixelData=big.tobytes())
    served.store(data)
    path = {
        "study": path_of(data).partition("/series/")[0],
        "series": path_of(data).partition("/instances/")[0],
        "instance": path_of(data),
        "frame": f"{path_of(data)}/frames/1",
    }[level]
    answer = served.get(f"{path}/thumbnail?annotation=patient")
    assert answer.headers["content-type"] == "image/jpeg"
    assert opened(answer.content).shape == (256, 256)
    assert len(answer.content) < 16_000
    assert opened(served.get(f"{path}/thumbnail?viewport=64,64").content).shape == (64, 64)
    assert served.get(f"{path}/thumbnail?viewport=64,64,1,1,2,2").status_code == 400
    # A viewer that names the type in the query, and bulk data in the header
    odd = served.get(f"{path}/thumbnail?accept=image%2Fjpeg", 'multipart/related; type="application/octet-stream"')
    assert odd.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    "data",
    [
        without_pixels(PLAN, 2),
        without_pixels(REPORT, 2),
        without_pixels(PDF, 2, EncapsulatedDocument=b"%PDF-1.4 ", MIMETypeOfEncapsulatedDocument="application/pdf"),
        compressed([b"\xff\xd8 no picture"], "1.2.840.10008.1.2.4.70", 2),
        compressed([b"\0\0\1\xb3" + bytes(60)], "1.2.840.10008.1.2.4.100", 2),
        without_pixels("1.2.3.4.5", 2),
    ],
    ids=["plan", "report", "pdf", "damaged", "video", "private"],
)
def test_what_has_no_picture_has_an_icon(served, data):
    served.store(data)
    answer = served.get(f"{path_of(data)}/thumbnail")
    assert answer.status_code == 200
    assert opened(answer.content).shape == (256, 256, 3)


def test_a_report_is_a_page_that_runs_nothing_and_leads_to_its_images(served):
    image = ramp(1)
    reference = {"ReferencedSOPClassUID": dicoms.CT, "ReferencedSOPInstanceUID": read(image).SOPInstanceUID}
    text = {
        "RelationshipType": "CONTAINS", "ValueType": "TEXT", "TextValue": "<script>alert(1)</script> & more",
        "ConceptNameCodeSequence": [code("121071", "Finding")],
    }  # fmt: skip
    shown = {
        "RelationshipType": "CONTAINS", "ValueType": "IMAGE", "ReferencedSOPSequence": with_items([reference]),
        "ConceptNameCodeSequence": [code("121200", "Illustration of ROI")],
    }  # fmt: skip
    evidence = with_items([{**reference}])
    series = with_items([{"SeriesInstanceUID": read(image).SeriesInstanceUID, "ReferencedSOPSequence": evidence}])
    study = with_items([{"StudyInstanceUID": read(image).StudyInstanceUID, "ReferencedSeriesSequence": series}])
    report = without_pixels(
        REPORT, 2, Modality="SR", ValueType="CONTAINER", ContinuityOfContent="SEPARATE",
        ConceptNameCodeSequence=[code("11528-7", "Radiology Report")], ContentSequence=with_items([text, shown]),
        CurrentRequestedProcedureEvidenceSequence=study, PatientName="Evil<b>^Name",
    )  # fmt: skip
    served.store(image, report)
    page = served.get(f"{path_of(report)}/rendered", "text/html,*/*;q=0.8")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == pages.POLICY
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "<script" not in page.text
    assert "<b>^" not in page.text
    assert f'href="http://localhost:8080/dicom-web{path_of(image)}/rendered"' in page.text
    plain = served.get(f"{path_of(report)}/rendered", "text/plain")
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert "Radiology Report" in plain.text


def code(value: str, meaning: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, "DCM", meaning
    return ds


@pytest.mark.parametrize("size", [20, 5001])
def test_a_pdf_is_the_pdf_and_a_page_of_a_stranger_is_saved_not_shown(served, size):
    document = b"%PDF-1.4\n" + bytes(size)
    padded = document + b"\0" * (len(document) & 1)
    pdf = without_pixels(
        PDF, 1, EncapsulatedDocument=padded, EncapsulatedDocumentLength=len(document),
        MIMETypeOfEncapsulatedDocument="application/pdf",
    )  # fmt: skip
    page = without_pixels(
        PDF, 2, EncapsulatedDocument=b"<script>x</script>", MIMETypeOfEncapsulatedDocument="text/html"
    )
    served.store(pdf, page)
    answer = served.get(f"{path_of(pdf)}/rendered", 'multipart/related; type="application/pdf", application/pdf')
    assert parts(answer)[0].data == document
    answer = served.get(f"{path_of(pdf)}/rendered")
    assert (answer.headers["content-type"], answer.content) == ("application/pdf", document)
    assert answer.headers["content-disposition"].startswith("inline")
    saved = served.get(f"{path_of(page)}/rendered")
    assert saved.headers["content-type"] == "application/octet-stream"
    assert saved.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in saved.headers["content-security-policy"]


def test_a_clinical_document_whose_style_sheet_a_browser_would_run_is_saved(served):
    text = b'<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"/>'
    document = without_pixels(
        "1.2.840.10008.5.1.4.1.1.104.2", 1, EncapsulatedDocument=text + b"\0" * (len(text) & 1),
        EncapsulatedDocumentLength=len(text), MIMETypeOfEncapsulatedDocument="text/XML",
    )  # fmt: skip
    served.store(document)
    answer = served.get(f"{path_of(document)}/rendered")
    assert (answer.headers["content-type"], answer.content) == ("text/xml", text)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["content-security-policy"]


def test_waveforms_are_drawings(served):
    channel = Dataset()
    channel.ChannelSensitivity, channel.ChannelBaseline, channel.WaveformBitsStored = "1", "0", 16
    channel.ChannelSourceSequence = [code("2:1", "Lead I")]
    channel.ChannelSensitivityUnitsSequence = [code("uV", "microvolt")]
    group = Dataset()
    group.MultiplexGroupTimeOffset, group.WaveformOriginality = "0", "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples, group.SamplingFrequency = 1, 1000, "500"
    group.ChannelDefinitionSequence = [channel]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.WaveformData = (np.sin(np.arange(1000) / 20) * 500).astype("<i2").tobytes()
    data = without_pixels(ECG, 1, Modality="ECG", WaveformSequence=[group])
    served.store(data)
    drawn = served.get(f"{path_of(data)}/rendered")
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert b"<svg" in drawn.content
    assert b"<script" not in drawn.content
    assert "default-src 'none'" in drawn.headers["content-security-policy"]
    assert opened(served.get(f"{path_of(data)}/rendered", "image/png").content).shape[1] > 500
    small = opened(served.get(f"{path_of(data)}/thumbnail").content)
    assert max(small.shape[:2]) == 256


def state_of(image: bytes, **attributes: object) -> bytes:
    ds = read(image)
    referenced = with_items([{"ReferencedSOPClassUID": dicoms.CT, "ReferencedSOPInstanceUID": ds.SOPInstanceUID}])
    series = with_items([{"SeriesInstanceUID": ds.SeriesInstanceUID, "ReferencedImageSequence": referenced}])
    return without_pixels(
        STATE, 9, Modality="PR", SeriesInstanceUID=f"{dicoms.PREFIX}.1.9", ReferencedSeriesSequence=series,
        PresentationLUTShape="INVERSE", **attributes,
    )  # fmt: skip


def test_a_presentation_state_shows_its_images_its_way(served):
    image = ramp()
    window = Dataset()
    window.WindowCenter, window.WindowWidth = "128", "256"
    state = state_of(image, SoftcopyVOILUTSequence=[window])
    served.store(image, state)
    shown = opened(served.get(f"{path_of(state)}/rendered", "image/png").content)
    plain = opened(served.get(f"{path_of(image)}/rendered?window=128,256,linear", "image/png").content)
    assert np.abs(shown.astype(int) + plain - 255).max() <= 1, "inverted"
    ds = read(state)
    by_query = served.client.get(
        f"/wado?requestType=WADO&studyUID={ds.StudyInstanceUID}&seriesUID={read(image).SeriesInstanceUID}"
        f"&objectUID={read(image).SOPInstanceUID}&contentType=image/png"
        f"&presentationSeriesUID={ds.SeriesInstanceUID}&presentationUID={ds.SOPInstanceUID}"
    )
    assert np.array_equal(opened(by_query.content), shown)
    assert served.get(f"{path_of(state)}/rendered?window=1,2,linear", "image/png").status_code == 400


def test_a_state_whose_images_are_elsewhere_is_404(served):
    state = state_of(ramp())
    served.store(state)
    assert served.get(f"{path_of(state)}/rendered", "image/png").status_code == 404
    assert served.get(f"{path_of(state)}/thumbnail").status_code == 200


def test_wado_uri_gives_pictures(served):
    data, _ = multiframe(5)
    served.store(data)
    ds = read(data)
    uids = f"studyUID={ds.StudyInstanceUID}&seriesUID={ds.SeriesInstanceUID}&objectUID={ds.SOPInstanceUID}"
    base = f"/wado?requestType=WADO&{uids}"
    assert served.client.get(base, headers={"accept": "*/*"}).headers["content-type"] == "image/jpeg"
    frame = served.client.get(f"{base}&contentType=image/png&frameNumber=2&windowCenter=2&windowWidth=8")
    shown = served.get(f"{path_of(data)}/frames/2/rendered?window=2,8,linear", "image/png")
    assert frame.content == shown.content
    small = served.client.get(f"{base}&contentType=image/png&rows=4")
    assert opened(small.content).shape == (4, 4)
    window = served.client.get(f"{base}&contentType=image/png&frameNumber=3&windowCenter=2&windowWidth=8")
    assert window.content != frame.content


# -- bombs and accidents -------------------------------------------------------------------------------------
def test_a_picture_of_too_many_pixels_is_refused_and_the_rest_goes_on(tmp_path):
    served = Served(tmp_path, limit_frame_pixels=1000)
    data, small = ramp(1), dicoms.ct(2)
    served.store(data, small)
    refused = served.get(f"{path_of(data)}/rendered")
    assert refused.status_code == 406
    assert "pixels" in refused.json()["detail"]
    assert served.get(f"{path_of(small)}/rendered").status_code == 200


def test_work_that_takes_too_long_costs_its_request_alone(tmp_path, monkeypatch):
    served = Served(tmp_path, limit_codec_seconds=0.1, codec_processes=1)
    data = ramp()
    served.store(data)
    run = Workshop.run
    monkeypatch.setattr(Workshop, "run", lambda self, *work: run(self, "time", "sleep", 60))
    assert served.get(f"{path_of(data)}/rendered?viewport=99,99").status_code == 406
    assert served.get(f"{path_of(data)}/frames/1", "application/octet-stream").content == RAMP.tobytes()
    monkeypatch.undo()


# -- video ---------------------------------------------------------------------------------------------------
VIDEOS = [file for file in real_files() if file.name in {"h264-hp41.dcm", "mpeg2-mpml.dcm", "hevc-main-p51.dcm"}]


@pytest.mark.parametrize("file", VIDEOS, ids=[file.stem for file in VIDEOS])
def test_a_real_video_is_served_by_byte_ranges_and_has_a_still(served, file):
    data = file.read_bytes()
    served.store(data)
    path = path_of(data)
    whole = served.get(f"{path}/rendered", "*/*", range="bytes=0-")
    assert whole.status_code == 206
    assert whole.headers["content-type"] == ("video/mpeg" if "mpeg2" in file.name else "video/mp4")
    assert whole.headers["accept-ranges"] == "bytes"
    piece = served.get(f"{path}/rendered", "*/*", range="bytes=100-199", if_range=whole.headers["etag"])
    assert piece.content == whole.content[100:200]
    still = opened(served.get(f"{path}/thumbnail").content)
    assert max(still.shape[:2]) <= 256
    assert still.std() > 5, "a real frame"
    assert opened(served.get(f"{path}/frames/3/rendered", "image/png").content).shape[2] == 3
    assert served.get(f"{path}/frames/1", "*/*").status_code == 406


@pytest.mark.parametrize("file", VIDEOS[:1], ids=[file.stem for file in VIDEOS[:1]])
def test_a_real_video_has_as_many_frames_as_it_says(served, file):
    data = file.read_bytes()
    served.store(data)
    path, ds = path_of(data), read(data)
    count = int(ds.NumberOfFrames)
    last = served.get(f"{path}/frames/{count}/rendered", "image/png")
    assert last.content != served.get(f"{path}/frames/1/rendered", "image/png").content
    for resource in ("rendered", "thumbnail"):
        assert served.get(f"{path}/frames/{count + 1}/{resource}").status_code == 404
    uids = f"studyUID={ds.StudyInstanceUID}&seriesUID={ds.SeriesInstanceUID}&objectUID={ds.SOPInstanceUID}"
    base = f"/wado?requestType=WADO&{uids}&contentType=image/png"
    assert served.client.get(f"{base}&frameNumber={count}").content == last.content
    assert served.client.get(f"{base}&frameNumber={count + 1}").status_code == 400


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="no ffprobe on this machine: apt install ffmpeg")
@pytest.mark.parametrize("file", [file for file in VIDEOS if "mpeg2" not in file.name], ids=lambda file: file.stem)
def test_a_real_video_leaves_as_an_mp4_whose_index_comes_first(served, file, tmp_path):
    import subprocess

    served.store(file.read_bytes())
    (tmp_path / "video.mp4").write_bytes(served.get(f"{path_of(file.read_bytes())}/rendered", "video/mp4").content)
    said = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0",
         str(tmp_path / "video.mp4")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert said.stdout.strip().strip(",") == "36"
    head = (tmp_path / "video.mp4").read_bytes()[:4096]
    assert head.index(b"moov") < 100
