"""Searches among very many studies: the index is filled by its own code, then a server answers from it."""

import hashlib
import time
from pathlib import Path

from benchmarks import data
from benchmarks.client import drive, get
from benchmarks.servers import Roentgate, running

JSON = "application/dicom+json"
_BATCH = 500
_REPEAT = 20


def fill(url: str, studies: int) -> dict[str, float]:
    """Put one-instance studies into an index; return seconds, CPU seconds and bytes of the file."""
    from dicomweb.index import Entry, Held, Intent, open_index
    from dicomweb.standard import dicomjson, part10
    from dicomweb.standard.elements import Limits

    template = data.header(1, 1, 1)
    parsed = part10.read_object(data.part10(data.image(template, 1, 8, 8)), Limits())
    layout = parsed.layout.to_bytes()
    index = open_index(url)
    begin, before = time.monotonic(), time.process_time()
    for first in range(1, studies + 1, _BATCH):
        entries = []
        for study in range(first, min(first + _BATCH, studies + 1)):
            dataset = {
                **parsed.dataset,
                "0020000D": {"vr": "UI", "Value": [f"{data.ROOT}.{study}"]},
                "0020000E": {"vr": "UI", "Value": [f"{data.ROOT}.{study}.1"]},
                "00080018": {"vr": "UI", "Value": [f"{data.ROOT}.{study}.1.1"]},
                "00080020": {
                    "vr": "DA",
                    "Value": [f"20{10 + study % 15}{1 + study % 12:02d}{1 + study % 28:02d}"],
                },
                "00080050": {"vr": "SH", "Value": [f"A{study:08d}"]},
                "00080060": {"vr": "CS", "Value": ["CT" if study % 3 else "MR"]},
                "00100010": {
                    "vr": "PN",
                    "Value": [{"Alphabetic": f"Family{study % 9973}^Given{study % 89}"}],
                },
                "00100020": {"vr": "LO", "Value": [f"PID{study:07d}"]},
            }
            held = Held(
                version=study,
                key=f"objects/{study:016x}",
                study=f"{data.ROOT}.{study}",
                series=f"{data.ROOT}.{study}.1",
                instance=f"{data.ROOT}.{study}.1.1",
                sop_class=data.CT,
                syntax="1.2.840.10008.1.2.1",
                size=525_000,
                digest=hashlib.sha256(str(study).encode()).digest(),
                number=1,
            )
            entries.append(Entry(held, dataset, dicomjson.write(dataset), layout))
        index.intend([Intent(entry.held.version, entry.held.key) for entry in entries])
        if any(index.commit(entries)):
            raise SystemExit("an entry of the benchmark was there already")
    spent = {"fill s": time.monotonic() - begin, "fill CPU s": time.process_time() - before}
    index.close()
    return spent


def measure(folder: Path, studies: int) -> dict[str, float]:
    """Search among so many studies; return CPU milliseconds a search of each kind."""
    server = Roentgate(folder)
    database = folder / "data" / "index.sqlite"
    database.parent.mkdir(parents=True)
    results = fill(f"sqlite:{database}", studies)
    results["index bytes a study"] = (
        sum(path.stat().st_size for path in database.parent.glob("index.sqlite*")) / studies
    )
    middle = studies // 2
    kinds = {
        "name + date + modality": "PatientName=Family12*&StudyDate=20100101-20201231&ModalitiesInStudy=CT&limit=101",
        "name inside": "PatientName=*amily99*&limit=101&fuzzymatching=true",
        "page of 100": "limit=100",
        "page of 100 at 5,000": "limit=100&offset=5000",
        "by Study Instance UID": f"StudyInstanceUID={data.ROOT}.{middle}",
        "by Patient ID": f"PatientID=PID{middle:07d}",
        "by accession number": f"AccessionNumber=A{middle:08d}",
        "by date": "StudyDate=20150101-20150131&limit=100",
    }
    with running([server]):
        for name, query in kinds.items():
            calls = [get(f"{server.base}/studies?{query}", JSON)] * _REPEAT
            drive(server.port, calls[:2])
            before = server.cpu()
            drive(server.port, calls)
            results[f"QIDO {name}, CPU ms"] = (server.cpu() - before) * 1000 / _REPEAT
    return {name: round(value, 3) for name, value in results.items()}
