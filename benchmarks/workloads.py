"""What is measured: each workload makes the calls of one round and says how many operations they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import data
from benchmarks.client import Call, get, post

JSON = "application/dicom+json"
FRAMES = "multipart/related; type=application/octet-stream; transfer-syntax=*"
GZIP = "Accept-Encoding: gzip\r\n"
"""What every browser sends; Orthanc ignores it unless told otherwise."""
PART10 = "multipart/related; type=application/dicom; transfer-syntax=*"

CT_STUDIES = (90001, 90002)
MULTI_FRAME, HUGE = 90003, 90004
STORED = 91000
"""Studies from here on are stored by the workloads themselves."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the table.

    Attributes:
        name: as in the table.
        calls: makes the calls of a round, from the base path and the number of the round.
        operations: how many operations one round is.
        clients: how many connections share the calls.
        bar: CPU ratio to Orthanc 1.10 that we want to stay below, or None.
        once: measured in the first round only, since what comes after is served from caches.
        alone: nothing that Orthanc can do.
        jpeg_2000: needs a server that can decode and make JPEG 2000.
    """

    name: str
    calls: Callable[[str, int], Sequence[Call]]
    operations: int
    clients: int = 1
    bar: float | None = None
    once: bool = False
    alone: bool = False
    jpeg_2000: bool = False


def _study(number: int) -> str:
    return f"/studies/{data.ROOT}.{number}"


def _series(number: int) -> str:
    return f"{_study(number)}/series/{data.ROOT}.{number}.1"


def instance(study: int, number: int) -> str:
    """Return the path of an instance below the base path."""
    return f"{_series(study)}/instances/{data.ROOT}.{study}.1.{number}"


def _frames(base: str, count: int) -> list[Call]:
    return [get(f"{base}{instance(CT_STUDIES[0], 1 + n % 200)}/frames/1", FRAMES) for n in range(count)]


def stow(at: int, size: int, requests: int, small: bool = False) -> Callable[[str, int], list[Call]]:
    """So many Store requests of so many instances each, of studies that nobody has seen."""

    def calls(base: str, turn: int) -> list[Call]:
        made = []
        for request in range(requests):
            study = STORED + turn * 10_000 + at + request
            if small:
                parts = [data.part10(data.image(data.header(study, 1, n), 1, 40, 40)) for n in range(1, size + 1)]
            else:
                parts = list(data.ct_series(study, size))
            made.append(post(f"{base}/studies", parts))
        return made

    return calls


def _open(base: str, turn: int) -> list[Call]:
    """What a viewer in a browser asks; texts it takes compressed, as every browser does."""
    study = CT_STUDIES[1]
    uid = f"{data.ROOT}.{study}"
    include = "includefield=00081030%2C00080060%2C00080090%2C00100030"
    return [
        get(f"{base}/studies?limit=101&offset=0&fuzzymatching=true&{include}&StudyInstanceUID={uid}", JSON, GZIP),
        get(f"{base}{_study(study)}/series?includefield=00080021%2C00080031%2C0008103E%2C00200011", JSON, GZIP),
        get(f"{base}/studies?00100020=PID{study:07d}&limit=101&offset=0&fuzzymatching=true&{include}", JSON, GZIP),
        get(f"{base}{_series(study)}/metadata", JSON, GZIP),
        *(get(f"{base}{instance(study, n)}/frames/1", FRAMES) for n in range(1, 61)),
    ]


WORKLOADS: tuple[Workload, ...] = (
    Workload("STOW, 1 CT instance a request", stow(0, 1, 80), 80, bar=0.5),
    Workload("STOW, 50 CT instances a request", stow(1000, 50, 3), 150, bar=0.5),
    Workload("STOW, 1 CT instance, 8 clients", stow(2000, 1, 80), 80, clients=8, bar=0.5),
    Workload("STOW, 9 KB instances, 50 a request", stow(3000, 50, 4, small=True), 200, bar=0.7),
    Workload(
        "QIDO studies, name + date + modality",
        lambda base, _: (
            [
                get(
                    f"{base}/studies?PatientName=Family1*&StudyDate=20100101-20201231&ModalitiesInStudy=CT",
                    JSON,
                )
            ]
            * 20
        ),
        20,
        bar=0.08,
    ),
    Workload(
        "QIDO studies, page of 100",
        lambda base, _: [get(f"{base}/studies?limit=100", JSON)] * 20,
        20,
        bar=0.06,
    ),
    Workload(
        "QIDO one study by UID",
        lambda base, _: [get(f"{base}/studies?StudyInstanceUID={data.ROOT}.{n}", JSON) for n in range(1, 101)],
        100,
        bar=0.3,
    ),
    Workload(
        "QIDO 200 instances of a series",
        lambda base, _: [get(f"{base}{_series(CT_STUDIES[0])}/instances", JSON)] * 10,
        10,
        bar=0.02,
    ),
    Workload(
        "series metadata, first time",
        lambda base, _: [get(f"{base}{_series(CT_STUDIES[1])}/metadata", JSON, GZIP)],
        1,
        bar=0.06,
        once=True,
    ),
    Workload(
        "series metadata, again",
        lambda base, _: [get(f"{base}{_series(CT_STUDIES[1])}/metadata", JSON, GZIP)] * 20,
        20,
        bar=0.015,
    ),
    Workload(
        "series metadata, client without gzip",
        lambda base, _: [get(f"{base}{_series(CT_STUDIES[1])}/metadata", JSON)] * 20,
        20,
    ),
    Workload(
        "instance metadata",
        lambda base, _: [get(f"{base}{instance(CT_STUDIES[0], n)}/metadata", JSON) for n in range(1, 201)],
        200,
        bar=0.35,
    ),
    Workload(
        "metadata of the 300-frame object",
        lambda base, _: [get(f"{base}{instance(MULTI_FRAME, 1)}/metadata", JSON)] * 15,
        15,
        bar=0.03,
    ),
    Workload("one CT frame, 1 client", lambda base, _: _frames(base, 400), 400, bar=0.35),
    Workload("one CT frame, 8 clients", lambda base, _: _frames(base, 400), 400, clients=8, bar=0.35),
    Workload("one CT frame, 32 clients", lambda base, _: _frames(base, 800), 800, clients=32, bar=0.35),
    Workload(
        "one frame of the 300-frame object",
        lambda base, _: [get(f"{base}{instance(MULTI_FRAME, 1)}/frames/{n}", FRAMES) for n in range(1, 300, 12)],
        25,
        bar=0.01,
    ),
    Workload(
        "ten frames of it in one request",
        lambda base, _: [get(f"{base}{instance(MULTI_FRAME, 1)}/frames/1,20,40,60,80,100,120,140,160,180", FRAMES)] * 4,
        4,
        bar=0.02,
    ),
    Workload(
        "one frame of the 300 MB object",
        lambda base, _: [get(f"{base}{instance(HUGE, 1)}/frames/{n}", FRAMES) for n in range(1, 600, 100)],
        6,
        bar=0.001,
    ),
    Workload("whole series, 104 MB", lambda base, _: [get(f"{base}{_series(CT_STUDIES[0])}", PART10)] * 4, 4, bar=0.9),
    Workload(
        "one instance, 8 clients",
        lambda base, _: [get(f"{base}{instance(CT_STUDIES[0], 1 + n % 200)}", PART10) for n in range(400)],
        400,
        clients=8,
        bar=0.45,
    ),
    Workload("a viewer opens a study", _open, 1, clients=6, bar=0.1),
)
