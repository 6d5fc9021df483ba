"""Every request that OHIF, dicom-microscopy-viewer and Slim were seen to send, word for word, and what they need of the
answer."""

import re
from pathlib import Path
from typing import Any

import dicoms
import phantoms
import pytest
from served import Served, parts

STACK, CINE, PDF, SEG, ECG, SLIDE, NAMED = 1, 2, 3, 4, 5, 6, 7
JSON = "application/dicom+json"
OHIF = "multipart/related; type=application/octet-stream; transfer-syntax=*"
QUOTED = 'multipart/related; type="application/octet-stream"; transfer-syntax="*"'
OCTETS = 'multipart/related; type="application/octet-stream"'
FIELDS = "includefield=00081030%2C00080060%2C00080090%2C00100030"
IMG = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
OF_STUDIES = [
    "0020000D", "00080020", "00080030", "00080050", "00100020", "00100010", "00100030", "00201208", "00081030",
    "00080061", "00080090",
]  # fmt: skip
OF_SERIES = ["0020000D", "0020000E", "00080060", "00200011", "0008103E", "00201209"]
TILES = ", ".join(
    [f'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.{n}' for n in (80, 81)]
    + [f'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.{n}' for n in (90, 91)]
    + [f'multipart/related; type="image/jpx"; transfer-syntax=1.2.840.10008.1.2.4.{n}' for n in (92, 93)]
    + ['multipart/related; type="application/octet-stream"; transfer-syntax=*']
    + ['multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50']
)


def uid(study: int) -> str:
    return f"{dicoms.PREFIX}.{study}"


def series(study: int, number: int = 1) -> str:
    return f"/studies/{uid(study)}/series/{uid(study)}.{number}"


def instance(study: int, number: int = 1, of: int = 1) -> str:
    return f"{series(study, of)}/instances/{uid(study)}.{of}.{number}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    made = Served(tmp_path_factory.mktemp("asked"), inline_bytes=256)
    made.store(*phantoms.slices(STACK, Modality="CT"), phantoms.cine(CINE), phantoms.document(PDF))
    made.store(*phantoms.slices(SEG), phantoms.segmentation(SEG), phantoms.tracing(ECG))
    made.store(*phantoms.slide(SLIDE, phantoms.profile()))
    made.store(
        dicoms.ct(study=NAMED, PatientName="VIEWER^Müller", StudyDescription="HTJ2K test", AccessionNumber="xACCx")
    )
    return made


def found(served: Served, path: str, accept: str = JSON) -> list[str]:
    answer = served.get(path, accept)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].partition(";")[0] == JSON
    return [one["0020000D"]["Value"][0].rpartition(".")[2] for one in answer.json()]


ALL = sorted(map(str, (STACK, CINE, PDF, SEG, ECG, SLIDE, NAMED)))


@pytest.mark.parametrize(
    ("query", "studies"),
    [
        ("", ALL),
        (f"&StudyInstanceUID={uid(STACK)}", [str(STACK)]),
        (f"&StudyInstanceUID={uid(STACK)}%5C{uid(CINE)}", [str(STACK), str(CINE)]),
        ("&PatientName=*VIEWER%5EPHANTOM*", sorted(set(ALL) - {str(NAMED)})),
        ("&PatientName=*viewer%20phantom*", None),
        ("&PatientName=*M%C3%BCller*", [str(NAMED)]),
        ("&PatientName=*muller*", [str(NAMED)]),
        (f"&00100020=*P{NAMED}*", [str(NAMED)]),
        ("&AccessionNumber=*ACCx*", [str(NAMED)]),
        ("&StudyDescription=*HTJ2K*", [str(NAMED)]),
        ("&ModalitiesInStudy=SEG%2CUS", [str(CINE), str(SEG)]),
        ("&StudyDate=20240101-20240131", ALL),
        ("&StudyDate=20240201-20240301", []),
    ],
)
def test_the_list_of_studies_is_searched_as_ohif_does(served: Served, query: str, studies: list[str] | None) -> None:
    there = found(served, f"/studies?limit=101&offset=0&fuzzymatching=true&{FIELDS}{query}")
    assert studies is None or sorted(there) == sorted(studies)


def test_a_study_in_the_list_has_all_that_ohif_shows_of_it(served: Served) -> None:
    (study,) = served.get(f"/studies?limit=101&offset=0&{FIELDS}&StudyInstanceUID={uid(SEG)}", JSON).json()
    for tag in OF_STUDIES:
        assert tag in study, tag
    assert sorted(study["00080061"]["Value"]) == ["CT", "SEG"]
    assert study["00201208"]["Value"] == [6]
    assert "Alphabetic" in study["00100010"]["Value"][0]


def test_a_series_in_a_study_has_all_that_ohif_shows_of_it(served: Served) -> None:
    for fields in ("00080021%2C00080031%2C0008103E%2C00200011", "0008103E%2C00080021"):
        (one,) = served.get(f"/studies/{uid(STACK)}/series?includefield={fields}", JSON).json()
        for tag in OF_SERIES:
            assert tag in one, tag
        assert one["00201209"]["Value"] == [5]


@pytest.mark.parametrize(
    "accept", [JSON, f"{JSON}, multipart/related; type=application/octet-stream", "application/json", "*/*"]
)
@pytest.mark.parametrize(
    "path",
    [
        f"/studies/{uid(STACK)}/series",
        f"/studies/{uid(STACK)}/metadata",
        f"{series(STACK)}/metadata",
        f"{series(STACK)}/instances?limit=1&includefield=00080018",
        f"{instance(SLIDE)}/metadata",
    ],
)
def test_json_is_never_refused_for_what_else_is_accepted(served: Served, path: str, accept: str) -> None:
    answer = served.get(path, accept)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, JSON)
    assert answer.json()


def test_metadata_says_what_a_film_is(served: Served) -> None:
    (one,) = served.get(f"{instance(CINE)}/metadata", JSON).json()
    assert one["00083002"]["Value"] == ["1.2.840.10008.1.2.4.50"]
    assert one["00280008"]["Value"] == [12]


@pytest.mark.parametrize(
    ("accept", "kind", "multipart"),
    [
        (OHIF, "image/jpeg", True),
        (QUOTED, "image/jpeg", True),
        (TILES, "image/jpeg", True),
        ("application/octet-stream; transfer-syntax=*", "image/jpeg", False),
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
            "application/octet-stream",
            True,
        ),
    ],
)
@pytest.mark.parametrize("path", [f"{instance(CINE)}/frames/12", f"{instance(SLIDE)}/frames/64"])
def test_frames_come_as_each_profile_of_ohif_asks(
    served: Served, path: str, accept: str, kind: str, multipart: bool
) -> None:
    answer = served.get(path, accept)
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "content-encoding" not in answer.headers
    if multipart:
        (part,) = parts(answer)
        assert part.headers["content-type"].partition(";")[0] == kind
    else:
        assert answer.headers["content-type"].partition(";")[0] == kind


@pytest.mark.parametrize("study", [STACK, CINE, SLIDE])
def test_the_head_of_a_part_is_what_naive_parsers_look_for(served: Served, study: int) -> None:
    body = served.get(f"{instance(study)}/frames/1", OHIF).content
    head, _, _ = body[:1000].partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    assert lines[0].startswith("--")
    assert [line for line in lines if re.fullmatch(r"Content-Type: [\w/-]+; transfer-syntax=[0-9.]+", line)]
    assert body.endswith((f"\r\n{lines[0]}--\r\n".encode(), f"\r\n{lines[0]}--".encode()))


def test_byte_ranges_of_a_frame_join_to_the_whole(served: Served) -> None:
    path = f"{instance(CINE)}/frames/1"
    whole = served.get(path, OHIF)
    first = served.get(path, OHIF, range="bytes=0-99")
    rest = served.get(path, OHIF, range=f"bytes=100-{len(whole.content) - 1}")
    open_end = served.get(path, OHIF, range="bytes=100-")
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.headers["content-range"] == f"bytes 0-99/{len(whole.content)}"
    assert first.content + rest.content == first.content + open_end.content == whole.content


def test_a_whole_segmentation_comes_as_dicom(served: Served) -> None:
    (part,) = parts(served.get(instance(SEG, 1, 2), 'multipart/related; type="application/dicom"'))
    assert part.data[128:132] == b"DICM"


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (f"{instance(ECG)}/bulkdata/54000100/0/54001010", "application/octet-stream"),
        (f"{instance(ECG)}/bulkdata/54000100/0/54001010", OCTETS),
        (f"{instance(SLIDE)}/bulkdata/00480105/0/00282000", OCTETS),
        (
            f"{instance(PDF)}/bulkdata/00420011",
            'multipart/related; type="application/pdf", multipart/related; type="application/octet-stream"',
        ),
        (f"{instance(PDF)}/bulkdata/00420011", "*/*"),
    ],
)
def test_bulk_data_come_from_where_the_metadata_say(served: Served, path: str, accept: str) -> None:
    metadata = served.get(f"{path.partition('/bulkdata/')[0]}/metadata", JSON)
    assert f'"BulkDataURI":"http://localhost:8080/dicom-web{path}"' in metadata.text
    answer = served.get(path, accept)
    assert answer.status_code == 200
    assert len(parts(answer)[0].data if accept.startswith("multipart") else answer.content) > 256


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ("thumbnail?viewport=256%2C256", "image/jpeg"),
        ("thumbnail?accept=image%2Fjpeg", OCTETS),
        ("rendered?viewport=256%2C256", "image/jpeg"),
        ("thumbnail?accept=image/jpeg", IMG),
    ],
)
@pytest.mark.parametrize("path", [series(STACK), instance(STACK), instance(SLIDE), instance(CINE), series(SEG, 2)])
def test_thumbnails_come_by_every_strategy(served: Served, path: str, query: str, accept: str) -> None:
    answer = served.get(f"{path}/{query}", accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg"), answer.text


def test_wado_uri_gives_an_object_whatever_accept_says(served: Served) -> None:
    what = f"studyUID={uid(STACK)}&seriesUID={uid(STACK)}.1&objectUID={uid(STACK)}.1.1"
    url = f"/wado?requestType=WADO&{what}&contentType=application/dicom&transferSyntax=*"
    answer = served.client.get(url, headers={"accept": OHIF})
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "application/dicom")
    assert answer.content[128:132] == b"DICM"


def test_an_upload_of_one_file_is_stored(served: Served) -> None:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n--b--" % dicoms.ct(study=90)
    kind = 'multipart/related; type="application/dicom"; boundary="b"'
    answer = served.client.post("/dicom-web/studies", content=body, headers={"content-type": kind, "accept": "*/*"})
    assert answer.status_code == 200, answer.text
    served.client.delete(f"/dicom-web/studies/{uid(90)}")


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/studies?ModalitiesInStudy=SM", 1),
        ("/studies?ModalitiesInStudy=SM&PatientName=*Phantom*&fuzzymatching=true", 1),
        (f"/series?Modality=SM&StudyInstanceUID={uid(SLIDE)}", 1),
        (f"/studies/{uid(SLIDE)}/series?Modality=SM", 1),
        (f"/studies/{uid(SLIDE)}/instances?Modality=SR", 0),
        (f"/studies/{uid(SLIDE)}/instances?Modality=PR", 0),
        (f"/studies/{uid(SLIDE)}/series?Modality=ANN", 0),
        (f"/studies/{uid(SEG)}/series?Modality=SEG", 1),
        (f"/studies/{uid(SLIDE)}/series?Modality=OT", 0),
        (f"{series(SLIDE)}/instances", 2),
    ],
)
def test_slim_finds_its_slides(served: Served, path: str, count: int) -> None:
    answer = served.get(path, JSON)
    assert answer.status_code == 200
    assert len(answer.json()) == count


@pytest.mark.parametrize("query", ["", "?viewport=64,64", "?viewport=64,64&iccprofile=yes", "?iccprofile=yes"])
def test_overviews_of_slides_come_as_png(served: Served, query: str) -> None:
    answer = served.get(f"{instance(SLIDE, 2)}/rendered{query}", "image/png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert (b"iCCP" in answer.content) is ("iccprofile" in query)


def test_values_of_slides_have_the_vr_that_makes_their_arrays(served: Served) -> None:
    (one,) = served.get(f"{instance(SLIDE)}/metadata", JSON).json()
    assert one["00480105"]["Value"][0]["00282000"]["vr"] == "OB"
    (wave,) = served.get(f"{instance(ECG)}/metadata", JSON).json()
    assert wave["54000100"]["Value"][0]["54001010"]["vr"] == "OW"


def test_many_frames_of_a_slide_come_in_one_answer(served: Served) -> None:
    numbers = ",".join(map(str, range(1, 65)))
    found = parts(served.get(f"{instance(SLIDE)}/frames/{numbers}", OHIF))
    assert len(found) == 64
    first = {key: value for key, value in found[0].headers.items() if key in {"content-type"}}
    assert all(part.headers["content-type"] == first["content-type"] for part in found)


def test_a_second_visit_costs_little(served: Served) -> None:
    frame = served.get(f"{instance(STACK)}/frames/1", OHIF)
    metadata = served.get(f"{series(STACK)}/metadata", JSON)
    assert "no-store" not in frame.headers["cache-control"] + metadata.headers["cache-control"]
    for path, accept, answer in (
        (f"{instance(STACK)}/frames/1", OHIF, frame),
        (f"{series(STACK)}/metadata", JSON, metadata),
    ):
        again = served.get(path, accept, if_none_match=answer.headers["etag"])
        assert (again.status_code, again.content) == (304, b"")


def test_addresses_behind_a_proxy_are_the_proxys(tmp_path: Path) -> None:
    made = Served(tmp_path, trusted_proxies=("127.0.0.1/32",), inline_bytes=0)
    made.store(phantoms.document(PDF))
    headers: dict[str, Any] = {"x-forwarded-proto": "https", "x-forwarded-host": "pacs.example", "accept": JSON}
    answer = made.client.get(f"/dicom-web{instance(PDF)}/metadata", headers=headers)
    assert f'"BulkDataURI":"https://pacs.example/dicom-web{instance(PDF)}/bulkdata/00420011"' in answer.text
