"""The Python library dicomweb-client against a server process on loopback, the way its users call it."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dicoms
import numpy as np
import pydicom
import pytest
import requests
import served as objects
from commands import served
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from realdata import needs_real_files, real_files

STUDY, OTHER = f"{dicoms.PREFIX}.1", f"{dicoms.PREFIX}.2"
FIRST, PACKED = f"{STUDY}.1", f"{STUDY}.2"
"""A series of ten native instances, and one whose frames are encapsulated."""
CINE = [bytes([number]) * 300 for number in range(1, 6)]
STORED = (("application/octet-stream", "*"),)
DICOM = (("application/dicom", "*"),)


@dataclass
class Asked:
    """A client of a server under way.

    Attributes:
        client: of the library.
        url: base URL of the services.
        warned: the Warning header of each answer that had one, in order.
    """

    client: DICOMwebClient
    url: str
    warned: list[str]


def connect(port: int) -> Asked:
    warned: list[str] = []

    def note(response: requests.Response, *_: Any, **__: Any) -> None:
        if "Warning" in response.headers:
            warned.append(response.headers["Warning"])

    url = f"http://127.0.0.1:{port}/dicom-web"
    client = DICOMwebClient(url, session=requests.Session(), callback=note)
    client.set_http_retry_params(retry=False)
    return Asked(client, url, warned)


def read(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def packed() -> list[bytes]:
    """The instances of the second series: a JPEG 2000 cine, a baseline JPEG, an RLE, a JPEG-LS."""
    return [
        objects.compressed(CINE, JPEG2000Lossless, 1, series=2, Modality="US"),
        objects.compressed([b"\xff\xd8jpeg\xff\xd9"], JPEGBaseline8Bit, 2, series=2, Modality="US"),
        objects.compressed([b"rle frame"], RLELossless, 3, series=2, Modality="US"),
        objects.compressed([b"\xff\xd8jls\xff\xd9"], JPEGLSLossless, 4, series=2, Modality="US"),
    ]


def bulky() -> bytes:
    """An instance with a private value, a value inside a sequence and a curve too long for JSON text."""
    ds = dicoms.dataset(1, study=2, PatientName="Müller^Jörg", StudyDescription="KNIE")
    ds.OpticalPathSequence = objects.with_items([{}, {"ICCProfile": bytes(range(256)) * 12}])
    block = ds.private_block(0x0029, "ROENTGATE TEST", create=True)
    block.add_new(0x10, "OB", b"private" * 400)
    return dicoms.part10(ds)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with served(tmp_path_factory.mktemp("served")) as started:
        asked = connect(started.port)
        asked.client.store_instances([read(dicoms.ct(number)) for number in range(1, 11)])
        multi, _ = objects.multiframe(7, 1, series=3, SeriesDescription="LOOP")
        for data in [*packed(), multi, bulky()]:
            asked.client.store_instances([read(data)])
        yield asked
        asked.client._session.close()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Asked]:
    with served(tmp_path) as started:
        asked = connect(started.port)
        yield asked
        asked.client._session.close()


def values(rows: list[dict[str, Any]], tag: str) -> list[Any]:
    return [row[tag]["Value"][0] for row in rows]


# Search


def test_studies_are_found_with_what_the_standard_requires_of_each(asked):
    rows = asked.client.search_for_studies()
    assert sorted(values(rows, "0020000D")) == [STUDY, OTHER]
    first = Dataset.from_json(next(row for row in rows if row["0020000D"]["Value"] == [STUDY]))
    assert sorted(first.ModalitiesInStudy) == ["CT", "US"]
    assert (first.NumberOfStudyRelatedSeries, first.NumberOfStudyRelatedInstances) == (3, 15)
    assert (first.PatientID, first.AccessionNumber, first.StudyDate) == ("P1", "ACC1", "20240131")


@pytest.mark.parametrize(
    "filters",
    [
        {"PatientID": "P2"},
        {"00100020": "P2"},
        {"PatientName": "müller*"},
        {"PatientName": "*MULLER*"},
        {"StudyDescription": "KN?E"},
        {"StudyInstanceUID": OTHER},
        {"StudyInstanceUID": f"{OTHER},{dicoms.PREFIX}.77"},
        {"StudyDate": "20240101-20240201", "AccessionNumber": "ACC2"},
    ],
)
def test_filters_leave_the_study_that_fits(asked, filters):
    assert values(asked.client.search_for_studies(search_filters=filters), "0020000D") == [OTHER]


@pytest.mark.parametrize(
    "filters",
    [{"PatientID": "P"}, {"StudyDate": "-20231231"}, {"ModalitiesInStudy": "MR"}, {"PatientName": "Nobody"}],
)
def test_a_search_that_finds_nothing_is_an_empty_list(asked, filters):
    assert asked.client.search_for_studies(search_filters=filters) == []


def test_fuzzy_matching_finds_words_of_a_name_in_any_order(asked):
    wanted = {"PatientName": "jorg mull"}
    assert asked.client.search_for_studies(search_filters=wanted) == []
    assert values(asked.client.search_for_studies(True, search_filters=wanted), "0020000D") == [OTHER]
    assert asked.client.search_for_studies(False, search_filters=wanted) == []


def test_fields_add_attributes_by_keyword_and_by_tag(asked):
    (row,) = asked.client.search_for_studies(
        fields=["StudyDescription", "00080201", "PatientAge"], search_filters={"PatientID": "P2"}
    )
    assert row["00081030"] == {"vr": "LO", "Value": ["KNIE"]}
    (series,) = asked.client.search_for_series(STUDY, fields=["SeriesDescription"], search_filters={"SeriesNumber": 3})
    assert series["0008103E"]["Value"] == ["LOOP"]
    found = asked.client.search_for_instances(STUDY, FIRST, fields=["00280030", "BitsStored"])
    assert {row["00280101"]["Value"][0] for row in found} == {16}


def test_series_are_found_of_a_study_and_of_all(asked):
    rows = asked.client.search_for_series(STUDY)
    assert values(rows, "00200011") == [1, 2, 3]
    assert values(rows, "00201209") == [10, 4, 1]
    everywhere = asked.client.search_for_series(search_filters={"Modality": "CT"})
    assert sorted(values(everywhere, "0020000E")) == [FIRST, f"{STUDY}.3", f"{OTHER}.1"]
    assert all(row["00100020"]["Value"] for row in everywhere)


def test_instances_are_found_of_a_series_a_study_and_of_all(asked):
    assert values(asked.client.search_for_instances(STUDY, FIRST), "00200013") == list(range(1, 11))
    assert len(asked.client.search_for_instances(STUDY)) == 15
    assert len(asked.client.search_for_instances()) == 16
    (row,) = asked.client.search_for_instances(search_filters={"SOPInstanceUID": f"{FIRST}.4"})
    assert (row["00280010"]["Value"], row["0020000E"]["Value"]) == ([8], [FIRST])


def test_limit_and_offset_page_through_everything_once(asked):
    pages = [asked.client.search_for_instances(limit=5, offset=offset) for offset in (0, 5, 10, 15, 20)]
    assert [len(page) for page in pages] == [5, 5, 5, 1, 0]
    found = [uid for page in pages for uid in values(page, "00080018")]
    assert found == values(asked.client.search_for_instances(), "00080018")
    assert asked.client.search_for_instances(limit=0) == []


def test_a_warning_says_how_many_results_remain(asked):
    asked.warned.clear()
    asked.client.search_for_instances(STUDY, limit=4, offset=1)
    assert asked.warned == [f'299 {asked.url} "There are 10 additional results that can be requested"']


def test_what_remains_is_fetched_by_the_library_itself(asked):
    rows = asked.client.search_for_instances(STUDY, limit=4, get_remaining=True)
    assert len({row["00080018"]["Value"][0] for row in rows}) == len(rows) == 15
    assert len(asked.client.search_for_studies(get_remaining=True)) == 2
    assert len(asked.client.search_for_series(get_remaining=True, limit=1)) == 4


@pytest.mark.parametrize("more", [{"limit": "many"}, {"StudyDate": "yesterday"}, {"offset": "-1"}])
def test_a_value_that_cannot_be_is_a_bad_request(asked, more):
    with pytest.raises(requests.HTTPError) as raised:
        asked.client.search_for_studies(additional_params=more)
    assert raised.value.response.status_code == 400
    assert raised.value.response.json()["detail"]


# Metadata


def test_metadata_of_a_study_a_series_and_an_instance_read_back(asked):
    assert len(asked.client.retrieve_study_metadata(STUDY)) == 15
    series = asked.client.retrieve_series_metadata(STUDY, FIRST)
    assert [one["00200013"]["Value"] for one in series] == [[number] for number in range(1, 11)]
    one = asked.client.retrieve_instance_metadata(STUDY, FIRST, f"{FIRST}.7")
    assert one == series[6]
    ds = Dataset.from_json(one, bulk_data_uri_handler=lambda tag, vr, uri: b"elsewhere")
    expected = dicoms.dataset(7)
    assert ds.PixelData == b"elsewhere"
    assert ds.AvailableTransferSyntaxUID == ExplicitVRLittleEndian
    del ds.PixelData, ds.AvailableTransferSyntaxUID, expected.PixelData
    assert ds == expected


@pytest.mark.parametrize("uids", [(f"{STUDY}.99",), (STUDY, OTHER), (OTHER, FIRST, f"{FIRST}.1")])
def test_what_is_not_there_is_not_found(asked, uids):
    ask = (
        asked.client.retrieve_study_metadata,
        asked.client.retrieve_series_metadata,
        asked.client.retrieve_instance_metadata,
    )[len(uids) - 1]
    with pytest.raises(requests.HTTPError) as raised:
        ask(*uids)
    assert raised.value.response.status_code == 404


# Objects


@pytest.mark.parametrize("method", ["retrieve_study", "iter_study"])
def test_a_study_comes_whole(asked, method):
    found = list(getattr(asked.client, method)(STUDY, media_types=DICOM))
    assert len({ds.SOPInstanceUID for ds in found}) == len(found) == 15


@pytest.mark.parametrize("method", ["retrieve_series", "iter_series"])
@pytest.mark.parametrize("media_types", [None, DICOM, (("application/dicom", ExplicitVRLittleEndian),)])
def test_a_series_comes_whole_and_as_it_was(asked, method, media_types):
    found = {ds.SOPInstanceUID: ds for ds in getattr(asked.client, method)(STUDY, FIRST, media_types=media_types)}
    assert len(found) == 10
    for number in range(1, 11):
        assert found[f"{FIRST}.{number}"] == read(dicoms.ct(number))


@pytest.mark.parametrize("media_types", [None, DICOM, ("application/dicom",)])
def test_an_instance_comes_as_it_was(asked, media_types):
    ds = asked.client.retrieve_instance(STUDY, FIRST, f"{FIRST}.2", media_types=media_types)
    assert ds == read(dicoms.ct(2))
    assert ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_a_compressed_instance_comes_as_it_is_stored(asked):
    for data in packed():
        expected = read(data)
        ds = asked.client.retrieve_instance(STUDY, PACKED, expected.SOPInstanceUID)
        assert ds == expected
        assert ds.file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
    cine = asked.client.retrieve_instance(
        STUDY, PACKED, f"{PACKED}.1", media_types=(("application/dicom", JPEG2000Lossless),)
    )
    assert list(generate_frames(cine.PixelData, number_of_frames=5)) == CINE


# Frames


def frames(asked: Asked, *uids: str, numbers: list[int], media_types: Any = None) -> list[bytes]:
    """Retrieve frames at once and as a stream, which must agree."""
    at_once = asked.client.retrieve_instance_frames(*uids, numbers, media_types=media_types)
    streamed = list(asked.client.iter_instance_frames(*uids, numbers, media_types=media_types))
    assert [bytes(each) for each in at_once] == [bytes(each) for each in streamed]
    return [bytes(each) for each in at_once]


NATIVE = [
    None,
    ("*/*",),
    ("application/octet-stream",),
    STORED,
    (("application/octet-stream", ExplicitVRLittleEndian),),
]


@pytest.mark.parametrize("media_types", NATIVE)
def test_native_frames_come_in_the_order_asked_for(asked, media_types):
    _, expected = objects.multiframe(7)
    uids = (STUDY, f"{STUDY}.3", f"{STUDY}.3.1")
    assert frames(asked, *uids, numbers=[1], media_types=media_types) == expected[:1]
    assert frames(asked, *uids, numbers=[1, 2, 3, 4, 5, 6, 7], media_types=media_types) == expected
    assert frames(asked, *uids, numbers=[6, 2, 2], media_types=media_types) == [expected[5], expected[1], expected[1]]


@pytest.mark.parametrize(
    ("number", "stored", "media_types"),
    [
        (2, b"\xff\xd8jpeg\xff\xd9", None),
        (2, b"\xff\xd8jpeg\xff\xd9", (("image/jpeg", JPEGBaseline8Bit),)),
        (2, b"\xff\xd8jpeg\xff\xd9", STORED),
        (3, b"rle frame", STORED),
        (3, b"rle frame", (("image/dicom-rle", RLELossless),)),
        (3, b"rle frame", (("image/x-dicom-rle", RLELossless),)),
        (4, b"\xff\xd8jls\xff\xd9", (("image/jls", JPEGLSLossless),)),
        (4, b"\xff\xd8jls\xff\xd9", (("image/x-jls", JPEGLSLossless),)),
        (4, b"\xff\xd8jls\xff\xd9", (("image/jls", JPEGLSLossless), ("image/jpeg", JPEGBaseline8Bit))),
        (4, b"\xff\xd8jls\xff\xd9", (("application/octet-stream", "*"), ("image/jls", JPEGLSLossless))),
    ],
)
def test_a_compressed_frame_comes_as_it_is_stored(asked, number, stored, media_types):
    (frame,) = frames(asked, STUDY, PACKED, f"{PACKED}.{number}", numbers=[1], media_types=media_types)
    assert frame.rstrip(b"\0") == stored


@pytest.mark.parametrize("media_types", [(("image/jp2", JPEG2000Lossless),), ("image/jp2",), STORED, ("image/*",)])
def test_several_compressed_frames_come_one_part_each(asked, media_types):
    uids = (STUDY, PACKED, f"{PACKED}.1")
    assert frames(asked, *uids, numbers=[1, 3, 5], media_types=media_types) == [CINE[0], CINE[2], CINE[4]]


def test_frames_beyond_the_last_are_not_found(asked):
    with pytest.raises(requests.HTTPError) as raised:
        asked.client.retrieve_instance_frames(STUDY, FIRST, f"{FIRST}.1", [2])
    assert raised.value.response.status_code == 404


@pytest.mark.parametrize(
    ("media_types", "there"),
    [(("image/jp2",), "transfer-syntax=*"), ((("image/jpeg", JPEGBaseline8Bit),), "image/jls")],
)
def test_a_form_that_cannot_be_made_is_not_acceptable_and_says_what_is(asked, media_types, there):
    with pytest.raises(requests.HTTPError) as raised:
        asked.client.retrieve_instance_frames(STUDY, PACKED, f"{PACKED}.4", [1], media_types=media_types)
    assert raised.value.response.status_code == 406
    assert there in raised.value.response.json()["detail"]


# Bulk data


def bulk(dataset: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield tag and BulkDataURI of every value kept apart, in sequences too."""
    for tag, element in dataset.items():
        if "BulkDataURI" in element:
            yield tag, element["BulkDataURI"]
        if element["vr"] == "SQ":
            for item in element.get("Value", []):
                yield from bulk(item)


def test_every_bulk_data_uri_of_metadata_leads_to_the_value(asked):
    metadata = asked.client.retrieve_instance_metadata(OTHER, f"{OTHER}.1", f"{OTHER}.1.1")
    expected = {
        "00282000": bytes(range(256)) * 12,
        "00291010": b"private" * 400,
        "7FE00010": dicoms.dataset(1).PixelData,
    }
    found = dict(bulk(metadata))
    assert set(found) == set(expected)
    for tag, uri in found.items():
        assert uri.startswith(f"{asked.url}/studies/{OTHER}/")
        for media_types in (None, ("application/octet-stream",), STORED):
            (value,) = asked.client.retrieve_bulkdata(uri, media_types=media_types)
            assert bytes(value) == expected[tag]
            assert [bytes(each) for each in asked.client.iter_bulkdata(uri, media_types=media_types)] == [expected[tag]]


def test_a_range_of_bulk_data_is_a_part_of_the_whole_answer(asked):
    metadata = asked.client.retrieve_instance_metadata(OTHER, f"{OTHER}.1", f"{OTHER}.1.1")
    uri = dict(bulk(metadata))["00282000"]
    headers = {"Accept": 'multipart/related; type="application/octet-stream"'}
    whole = requests.get(uri, headers=headers, timeout=20)
    some = requests.get(uri, headers={**headers, "Range": "bytes=10-99"}, timeout=20)
    assert (some.status_code, some.headers["Content-Range"]) == (206, f"bytes 10-99/{len(whole.content)}")
    assert some.content == whole.content[10:100]
    (value,) = asked.client.retrieve_bulkdata(uri, byte_range=(0, len(whole.content) - 1))
    assert bytes(value) == bytes(range(256)) * 12


def test_pixel_data_of_a_cine_come_one_part_per_frame(asked):
    metadata = asked.client.retrieve_instance_metadata(STUDY, PACKED, f"{PACKED}.1")
    uri = metadata["7FE00010"]["BulkDataURI"]
    assert [bytes(each) for each in asked.client.retrieve_bulkdata(uri, media_types=STORED)] == CINE
    assert [bytes(each) for each in asked.client.iter_bulkdata(uri, media_types=("image/jp2",))] == CINE


# Store and delete


def test_what_was_stored_is_named_in_the_answer(empty):
    answer = empty.client.store_instances([read(dicoms.ct(number)) for number in (1, 2, 3)])
    assert answer.RetrieveURL == f"{empty.url}/studies/{STUDY}"
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [
        f"{FIRST}.{number}" for number in (1, 2, 3)
    ]
    assert "FailedSOPSequence" not in answer
    for item in answer.ReferencedSOPSequence:
        assert (
            item.RetrieveURL == f"{empty.url}/studies/{STUDY}/series/{FIRST}/instances/{item.ReferencedSOPInstanceUID}"
        )
    again = empty.client.store_instances([read(dicoms.ct(2))])
    assert len(again.ReferencedSOPSequence) == 1
    assert len(empty.client.search_for_instances()) == 3


def test_the_answer_to_a_store_says_where_the_study_is(empty):
    """PS3.18 10.5.3.2: Location, if a resource was created; of two studies there is no one place."""

    def store(*objects: bytes) -> requests.Response:
        body = b"".join(b"--B\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n" for data in objects)
        kind = 'multipart/related; type="application/dicom"; boundary=B'
        headers = {"Content-Type": kind}
        return requests.post(f"{empty.url}/studies", data=body + b"--B--", headers=headers, timeout=20)

    assert store(dicoms.ct(1)).headers["Location"] == f"{empty.url}/studies/{STUDY}"
    assert "Location" not in store(dicoms.ct(2), dicoms.ct(2, study=2)).headers
    refused = store(dicoms.ct(1, PatientComments="other"))
    assert (refused.status_code, "Location" in refused.headers) == (409, False)


def test_of_a_mixed_batch_each_instance_has_its_own_outcome(empty):
    answer = empty.client.store_instances([read(dicoms.ct(1)), read(dicoms.ct(1, study=2))], study_instance_uid=STUDY)
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [f"{FIRST}.1"]
    (failed,) = answer.FailedSOPSequence
    assert failed.ReferencedSOPInstanceUID == f"{OTHER}.1.1"
    assert failed.FailureReason
    assert values(empty.client.search_for_studies(), "0020000D") == [STUDY]


def test_other_content_under_the_same_uid_is_refused_and_the_first_is_kept(empty):
    empty.client.store_instances([read(dicoms.ct(1))])
    with pytest.raises(requests.HTTPError) as raised:
        empty.client.store_instances([read(dicoms.ct(1, PatientComments="other"))])
    assert raised.value.response.status_code == 409
    answer = Dataset.from_json(raised.value.response.json())
    assert [item.FailureReason for item in answer.FailedSOPSequence] == [0x0111]
    assert "PatientComments" not in empty.client.retrieve_instance(STUDY, FIRST, f"{FIRST}.1")


def test_more_than_a_chunk_is_stored_and_comes_back_in_chunks(empty):
    pixels = np.random.default_rng(1).integers(0, 65535, (12, 512, 512), dtype=np.uint16)
    ds = dicoms.dataset(1, NumberOfFrames=12, Rows=512, Columns=512, PixelData=pixels.tobytes())
    empty.client.store_instances([read(dicoms.part10(ds))])
    assert empty.client.retrieve_instance(STUDY, FIRST, f"{FIRST}.1").PixelData == pixels.tobytes()
    empty.client.set_chunk_size(10_000)
    (streamed,) = empty.client.iter_series(STUDY, FIRST)
    assert streamed.PixelData == pixels.tobytes()
    found = empty.client.iter_instance_frames(STUDY, FIRST, f"{FIRST}.1", list(range(1, 13)))
    assert b"".join(bytes(frame) for frame in found) == pixels.tobytes()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_an_object_in_a_syntax_of_old_comes_little_endian_and_explicit(empty, syntax):
    ds = dicoms.dataset(1)
    data = objects.written(ds, syntax)
    stored = requests.post(f"{empty.url}/studies", data=data, headers={"Content-Type": "application/dicom"}, timeout=20)
    assert stored.status_code == 200
    found = empty.client.retrieve_instance(STUDY, FIRST, f"{FIRST}.1", media_types=("application/dicom",))
    assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert found.PatientName == ds.PatientName
    (frame,) = empty.client.retrieve_instance_frames(STUDY, FIRST, f"{FIRST}.1", [1])
    assert bytes(frame) == bytes(found.PixelData)


def test_instances_series_and_studies_are_deleted(empty):
    for study in (1, 2):
        for series in (1, 2):
            empty.client.store_instances([read(dicoms.ct(number, study=study, series=series)) for number in (1, 2)])
    empty.client.delete_instance(STUDY, FIRST, f"{FIRST}.1")
    assert values(empty.client.search_for_instances(STUDY, FIRST), "00080018") == [f"{FIRST}.2"]
    empty.client.delete_series(STUDY, FIRST)
    assert values(empty.client.search_for_series(STUDY), "0020000E") == [PACKED]
    empty.client.delete_study(STUDY)
    assert values(empty.client.search_for_studies(), "0020000D") == [OTHER]
    for ask in (
        lambda: empty.client.retrieve_study_metadata(STUDY),
        lambda: empty.client.delete_study(STUDY),
        lambda: empty.client.retrieve_instance(STUDY, FIRST, f"{FIRST}.1"),
    ):
        assert status_of(ask) == 410
    empty.client.store_instances([read(dicoms.ct(1))])
    assert len(empty.client.retrieve_study_metadata(STUDY)) == 1


def status_of(ask: Callable[[], Any]) -> int:
    with pytest.raises(requests.HTTPError) as raised:
        ask()
    return raised.value.response.status_code


# Real objects


def handful() -> list[Path]:
    """The first file of each folder of real files, and a few of their transfer syntaxes."""
    chosen = {path.parent: path for path in reversed(real_files()) if path.stat().st_size < 1 << 20}
    return sorted(chosen.values())


@needs_real_files
def test_real_objects_are_stored_found_and_retrieved(empty):
    stored = []
    for path in handful():
        response = requests.post(
            f"{empty.url}/studies",
            data=path.read_bytes(),
            headers={"Content-Type": "application/dicom"},
            timeout=20,
        )
        if response.status_code in {200, 202}:
            stored.append(path)
    assert stored
    rows = empty.client.search_for_instances(get_remaining=True)
    assert len(rows) == len(stored)
    empty.client._permissive_uid = True
    for row in rows:
        uids = tuple(row[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
        metadata = empty.client.retrieve_instance_metadata(*uids)
        whole = empty.client.retrieve_instance(*uids)
        assert whole.SOPInstanceUID == uids[2] == metadata["00080018"]["Value"][0]
        for _, uri in bulk(metadata):
            assert all(empty.client.retrieve_bulkdata(uri, media_types=STORED))
        if "PixelData" in whole and not whole.file_meta.TransferSyntaxUID.startswith("1.2.840.10008.1.2.4.10"):
            count = int(whole.get("NumberOfFrames") or 1)
            numbers = sorted({1, count})
            assert len(frames(empty, *uids, numbers=numbers, media_types=STORED)) == len(numbers)
