"""Searches of each kind among very many studies, through a running server: CPU of each."""

import http.client
import statistics
from collections.abc import Iterator
from urllib.parse import quote

from benchmarks.client import drive, get
from benchmarks.filling import Maker, Shape, commit, family_of, uid_of, values_of
from benchmarks.servers import Server
from dicomweb.index import Index

JSON = "application/dicom+json"
ROUNDS, EACH = 3, 10

SPECIAL, MANY = 90_000_000, 200
"""A study of so many instances, which each of these databases has besides."""

BROAD = "broad"
"""Begins the names of kinds whose answers are as many times more as there are more studies."""


def add_special(index: Index) -> None:
    """Store the study of many instances, if it is not there."""
    if not index.present([f"{uid_of(SPECIAL)}.1.1"]):
        commit(index, Maker(Shape(1, MANY)).series(SPECIAL))


def kinds(studies: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the kinds of searches among so many studies: name, and paths below the base with other values each."""
    chosen = [studies * (2 * n + 1) // (2 * EACH) for n in range(EACH)]
    families = [family_of(n) for n in chosen]
    these = [values_of(n, 1) for n in chosen]
    years = "StudyDate=20100101-20201231"

    def each(path: str, *values: list[str]) -> list[str]:
        return [path.format(*(quote(value) for value in found)) for found in zip(*values, strict=True)]

    modalities = [one["modality"] for one in these]
    of_special = f"/studies/{uid_of(SPECIAL)}/series/{uid_of(SPECIAL)}.1/instances"
    ids, accessions = [one["patient"] for one in these], [one["accession"] for one in these]
    yield (
        "name begins with a family name + dates + modality",
        each(f"/studies?PatientName={{}}%5E*&{years}&ModalitiesInStudy={{}}&limit=50", families, modalities),
    )
    yield (
        f"{BROAD}: name begins with 2 % of all names + dates + modality",
        [f"/studies?PatientName=Family{n}*&{years}&ModalitiesInStudy=CT&limit=50" for n in range(20, 20 + EACH)],
    )
    yield "family name inside a name", each("/studies?PatientName=*{}%5E*&limit=50", [one[1:] for one in families])
    yield f"{BROAD}: part of 2 % of all names", [
        f"/studies?PatientName=*amily{n}*&limit=50" for n in range(20, 20 + EACH)
    ]
    yield "words of a name in any order", each(
        "/studies?PatientName={}%20{}&fuzzymatching=true&limit=50",
        [one["name"].partition("^")[2] for one in these],
        families,
    )
    yield "page of 100", ["/studies?limit=100"] * EACH
    yield "page of 100 after half of them, by cursor", ["{cursor}"] * EACH
    yield "Study Instance UID", each("/studies?StudyInstanceUID={}", [one["study"] for one in these])
    yield "Patient ID", each("/studies?PatientID={}&limit=50", ids)
    yield "Accession Number", each("/studies?AccessionNumber={}&limit=50", accessions)
    yield "part of a Patient ID", each("/studies?PatientID=*{}*&limit=50", [one[4:] for one in ids])
    yield "part of an Accession Number", each("/studies?AccessionNumber=*{}*&limit=50", [one[3:] for one in accessions])
    yield "one day", each("/studies?StudyDate={}&limit=50", [one["day"] for one in these])
    yield f"{BROAD}: a month + modality", [
        f"/studies?StudyDate=2016{n:02d}01-2016{n:02d}31&ModalitiesInStudy=MR&limit=50" for n in range(1, EACH + 1)
    ]
    yield f"{BROAD}: modality", ["/studies?ModalitiesInStudy=MR&limit=50"] * EACH
    yield "modality that no study has", ["/studies?ModalitiesInStudy=PT&limit=50"] * EACH
    yield f"{BROAD}: word of the description", [f"/studies?StudyDescription=*HEST%20{n}*&limit=50" for n in range(10, 20)]
    yield "sorted by name", ["/studies?orderby=PatientName&limit=50"] * EACH
    yield "sorted by name, backwards", ["/studies?orderby=-PatientName&limit=50"] * EACH
    yield "sorted by date, oldest first", ["/studies?orderby=StudyDate&limit=50"] * EACH
    yield "sorted by Patient ID", ["/studies?orderby=PatientID&limit=50"] * EACH
    yield "sorted by birth date", ["/studies?orderby=PatientBirthDate&limit=50"] * EACH
    yield "200 instances of a series", [of_special] * EACH
    yield "instances of a series by an attribute without index", [f"{of_special}?RescaleType=HU&limit=50"] * EACH
    yield "series of a study", each("/studies/{}/series", [one["study"] for one in these])
    yield f"{BROAD}: series of a modality", ["/series?Modality=MR&limit=50"] * EACH
    yield "page of 50 instances", ["/instances?limit=50"] * EACH
    yield "page of 50 patients", ["/patients?limit=50"] * EACH
    yield "patients by a family name", each("/patients?PatientName=*{}%5E*&limit=50", families)
    yield "lookup of an identifier", each("/lookup?q={}", accessions)


def measure(server: Server, studies: int) -> dict[str, float]:
    """Return the CPU milliseconds of a search of each kind, the median of some rounds."""
    found = {}
    for name, paths in kinds(studies):
        paths = [_deep(server, studies) if path == "{cursor}" else f"{server.base}{path}" for path in paths]
        if name.startswith("lookup"):
            paths = [path.removeprefix(server.base) for path in paths]
        calls = [get(path, JSON) for path in paths]
        drive(server.port, calls[:2])
        rounds = []
        for _ in range(ROUNDS):
            before = server.cpu()
            drive(server.port, calls)
            rounds.append((server.cpu() - before) * 1000 / len(calls))
        found[name] = round(statistics.median(rounds), 2)
    return found


def _deep(server: Server, studies: int) -> str:
    """The path of the page after half of the studies, from the link that a page before it has."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.request("GET", f"{server.base}/studies?limit=100&offset={studies // 2 - 100}")
    answer = connection.getresponse()
    link = answer.getheader("Link") or ""
    answer.read()
    connection.close()
    address = link.partition("<")[2].partition(">")[0]
    return "/" + address.split("/", 3)[3]
