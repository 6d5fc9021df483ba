"""Searches of each kind among very many studies, through a running server: CPU of each."""

import http.client
import statistics
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from benchmarks.client import Call, drive, get
from benchmarks.filling import Maker, Shape, commit, name_of, uid_of, values_of
from benchmarks.servers import Server
from dicomweb.index import Index

_BEGINNINGS = ("Ka", "Lo", "Mi", "Ner", "Sti", "Bau", "Er", "Wel", "Ton", "Rod")
JSON = "application/dicom+json"
ROUNDS, EACH = 3, len(_BEGINNINGS)

SPECIAL, MANY = 90_000_000, 200
"""A study of so many instances, which each of these databases has besides."""

BROAD = "broad"
"""Begins the names of kinds that more studies answer the more there are; others have as many answers at each size."""

DEEP = "after half of them, by cursor"


def add_special(index: Index) -> None:
    """Store the study of many instances, if it is not there."""
    if not index.present([f"{uid_of(SPECIAL)}.1.1"]):
        commit(index, Maker(Shape(1, MANY)).series(SPECIAL))


def kinds(studies: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the kinds of searches among so many studies: name, and paths below the base with other values each."""
    chosen = [studies * (2 * n + 1) // (2 * EACH) for n in range(EACH)]
    these = [values_of(n, 1) for n in chosen]
    families, given = zip(*(name_of(n) for n in chosen), strict=True)
    years = "StudyDate=20100101-20241231"

    def each(path: str, *values: Sequence[str]) -> list[str]:
        return [path.format(*(quote(value) for value in found)) for found in zip(*values, strict=True)]

    modalities = [one["modality"] for one in these]
    of_special = f"/studies/{uid_of(SPECIAL)}/series/{uid_of(SPECIAL)}.1/instances"
    ids, accessions = [one["patient"] for one in these], [one["accession"] for one in these]
    yield (
        "name + dates + modality",
        each(f"/studies?PatientName={{}}%5E{{}}&{years}&ModalitiesInStudy={{}}&limit=50", families, given, modalities),
    )
    yield (
        f"{BROAD}: beginning of 5 % of all names + dates + modality",
        [f"/studies?PatientName={name}*&{years}&ModalitiesInStudy=CT&limit=50" for name in _BEGINNINGS],
    )
    yield "part of a name", each("/studies?PatientName=*{}%5E{}*&limit=50", [one[1:] for one in families], given)
    yield (
        f"{BROAD}: part of some 15 % of all names",
        [f"/studies?PatientName=*{name[1:]}*&limit=50" for name in _BEGINNINGS],
    )
    yield (
        "words of a name in any order",
        each("/studies?PatientName={}%20{}&fuzzymatching=true&limit=50", given, families),
    )
    yield "page of 100", ["/studies?limit=100"] * EACH
    yield f"page of 100, {DEEP}", ["/studies?limit=100"] * EACH
    yield "Study Instance UID", each("/studies?StudyInstanceUID={}", [one["study"] for one in these])
    yield "Patient ID", each("/studies?PatientID={}&limit=50", ids)
    yield "Accession Number", each("/studies?AccessionNumber={}&limit=50", accessions)
    yield "part of a Patient ID", each("/studies?PatientID=*{}*&limit=50", [one[4:] for one in ids])
    yield "part of an Accession Number", each("/studies?AccessionNumber=*{}*&limit=50", [one[3:] for one in accessions])
    yield f"{BROAD}: one day", each("/studies?StudyDate={}&limit=50", [one["day"] for one in these])
    yield (
        f"{BROAD}: a month + modality",
        [f"/studies?StudyDate=2016{n:02d}01-2016{n:02d}31&ModalitiesInStudy=MR&limit=50" for n in range(1, EACH + 1)],
    )
    yield f"{BROAD}: modality", ["/studies?ModalitiesInStudy=MR&limit=50"] * EACH
    yield "modality that no study has", ["/studies?ModalitiesInStudy=PT&limit=50"] * EACH
    yield (
        f"{BROAD}: word of the description",
        [f"/studies?StudyDescription=*HEST%20{n}*&limit=50" for n in range(10, 20)],
    )
    yield "sorted by name", ["/studies?orderby=PatientName&limit=50"] * EACH
    yield f"sorted by name, {DEEP}", ["/studies?orderby=PatientName&limit=50"] * EACH
    yield "sorted by name, backwards", ["/studies?orderby=-PatientName&limit=50"] * EACH
    yield "sorted by date, oldest first", ["/studies?orderby=StudyDate&limit=50"] * EACH
    yield "sorted by Patient ID", ["/studies?orderby=PatientID&limit=50"] * EACH
    yield "sorted by Accession Number, backwards", ["/studies?orderby=-AccessionNumber&limit=50"] * EACH
    yield "200 instances of a series", [of_special] * EACH
    yield "instances of a series by an attribute without index", [f"{of_special}?RescaleType=HU&limit=50"] * EACH
    yield "series of a study", each("/studies/{}/series", [one["study"] for one in these])
    yield f"{BROAD}: series of a modality", ["/series?Modality=MR&limit=50"] * EACH
    yield "page of 50 instances", ["/instances?limit=50"] * EACH
    yield "page of 50 patients", ["/patients?limit=50"] * EACH
    yield "patients by name", each("/patients?PatientName=*{}%5E{}*&limit=50", families, given)
    yield "lookup of an identifier", each("/lookup?q={}", accessions)


def measure(servers: Mapping[int, Server], only: str = "") -> Iterator[tuple[str, dict[int, float]]]:
    """Yield the CPU milliseconds of a search of each kind, the median of some rounds, in which the sizes take turns.

    Args:
        servers: by the studies that each has.
        only: part of the names of kinds.
    """
    sizes = list(servers)
    asked = {size: dict(kinds(size)) for size in sizes}
    for name in asked[sizes[0]]:
        if only not in name:
            continue
        calls = {size: _calls(servers[size], size, name, asked[size][name]) for size in sizes}
        rounds: dict[int, list[float]] = {size: [] for size in sizes}
        for turn in range(ROUNDS + 1):
            for size in sizes if turn % 2 else sizes[::-1]:
                server = servers[size]
                before = server.cpu()
                drive(server.port, calls[size])
                rounds[size].append((server.cpu() - before) * 1000 / EACH)
        # The first round warms up what is kept: statements, connections, pages
        yield name, {size: round(statistics.median(values[1:]), 3) for size, values in rounds.items()}


def _calls(server: Server, size: int, name: str, paths: list[str]) -> list[Call]:
    if DEEP in name:
        return [get(_deep(server, f"{server.base}{paths[0]}", size), JSON)] * EACH
    base = "" if name.startswith("lookup") else server.base
    return [get(f"{base}{path}", JSON) for path in paths]


def _deep(server: Server, path: str, studies: int) -> str:
    """The page of a search after half of the studies, from the link that a page before it has."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.request("GET", f"{path}&offset={studies // 2 - 100}")
    answer = connection.getresponse()
    link = answer.getheader("Link") or ""
    answer.read()
    connection.close()
    address = link.partition("<")[2].partition(">")[0]
    return "/" + address.split("/", 3)[3]
