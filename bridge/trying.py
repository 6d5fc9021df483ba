"""Whether a DICOMweb server and an application entity work, tried from outside and step by step.

One object is stored that says of itself what it is, found, fetched, compared and deleted (PS3.18 10.4 to 10.6). Whether
it may be deleted is tried first, on a study that nobody has: nothing is stored that would have to stay.
"""

import base64
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from bridge.client import Origin
from bridge.layers import Layer, echo, reach, try_layer
from dicomweb.errors import Conflict, Corrupt, Error, Forbidden, Gone, NotAssociated, NotFound
from dicomweb.standard import multipart
from dicomweb.standard.encode import write_dataset, write_meta
from dicomweb.standard.leniency import Dataset
from dicomweb.standard.nodes import Node
from dicomweb.standard.syntaxes import EXPLICIT

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PATIENT = "ROENTGATE-TRY"
_REASON = "a trial was over"
_SIDE = 64


class Sample:
    """A small image of nobody, under UIDs of its own (PS3.5 B.2).

    Attributes:
        study, series, instance: UIDs.
        path: of the instance, below the root.
        dataset: its bytes without the File Meta group.
        part10: its bytes as a file.
        pixels: of its one frame.
    """

    def __init__(self, now: datetime) -> None:
        self.study, self.series, self.instance = (f"2.25.{uuid.uuid4().int}" for _ in range(3))
        self.path = f"/studies/{self.study}/series/{self.series}/instances/{self.instance}"
        self.pixels = bytes(4 * (row ^ column) & 0xFF for row in range(_SIDE) for column in range(_SIDE))
        self.dataset = b"".join(write_dataset(self._described(now)))
        self.part10 = write_meta(SECONDARY_CAPTURE, self.instance, EXPLICIT) + self.dataset

    def _described(self, now: datetime) -> Dataset:
        """PS3.3 A.8.1: Secondary Capture Image."""
        texts = {
            "00080016": ("UI", SECONDARY_CAPTURE),
            "00080018": ("UI", self.instance),
            "00080020": ("DA", f"{now:%Y%m%d}"),
            "00080030": ("TM", f"{now:%H%M%S}"),
            "00080060": ("CS", "OT"),
            "00080064": ("CS", "SYN"),
            "00081030": ("LO", "Made to try the archive; may be deleted"),
            "00100020": ("LO", PATIENT),
            "0020000D": ("UI", self.study),
            "0020000E": ("UI", self.series),
            "00280004": ("CS", "MONOCHROME2"),
        }
        numbers = {"00280002": 1, "00280010": _SIDE, "00280011": _SIDE, "00280100": 8, "00280101": 8, "00280102": 7}
        dataset: Dataset = {tag: {"vr": vr, "Value": [text]} for tag, (vr, text) in texts.items()}
        dataset |= {tag: {"vr": "US", "Value": [number]} for tag, number in numbers.items()}
        dataset["00280103"] = {"vr": "US", "Value": [0]}
        dataset["00100010"] = {"vr": "PN", "Value": [{"Alphabetic": "ROENTGATE^TRY"}]}
        for tag, vr in (("00080050", "SH"), ("00080090", "PN"), ("00100030", "DA"), ("00100040", "CS")):
            dataset[tag] = {"vr": vr}
        for tag, vr, number in (("00200010", "SH", "1"), ("00200011", "IS", 1), ("00200013", "IS", 1)):
            dataset[tag] = {"vr": vr, "Value": [number]}
        dataset["7FE00010"] = {"vr": "OB", "InlineBinary": base64.b64encode(self.pixels).decode()}
        return dataset


def try_origin(origin: Origin, store: bool = True) -> Iterator[Layer]:
    """Try a server, one step after the other; the one that fails is the last but for cleaning up.

    Args:
        origin: which.
        store: also store, fetch and delete; False searches only.
    """
    searched = try_layer("search", lambda: _search(origin))
    yield searched
    if not searched.ok or not store:
        return
    sample = Sample(datetime.now(UTC))
    steps: list[tuple[str, Callable[[], str]]] = [
        ("store", lambda: _store(origin, sample)),
        ("find", lambda: _find(origin, sample)),
        ("fetch", lambda: _fetch(origin, sample)),
        ("frame", lambda: _frame(origin, sample)),
    ]
    allowed = try_layer("right to delete", lambda: _may_delete(origin, sample))
    yield allowed
    if not allowed.ok:
        return
    try:
        for name, step in steps:
            done = try_layer(name, step)
            yield done
            if not done.ok:
                break
    finally:
        # Even if the answer to the store was lost, or whoever waits for us has lost patience
        cleaned = try_layer("delete", lambda: _delete(origin, sample))
    yield cleaned


def try_entity(node: Node, aet: str, refuses: bool = False) -> Iterator[Layer]:
    """Try an application entity by C-ECHO.

    Args:
        node: which.
        aet: our AE title.
        refuses: we are no node there, and it must turn us away for that.
    """
    if not refuses:
        yield from echo(node, aet)
        return
    layers = reach(node)
    yield from layers
    if layers[-1].ok:
        yield try_layer("refusal", lambda: _refused(node, aet))


def _search(origin: Origin) -> str:
    try:
        rows = origin.search("/studies", [("limit", "1")]).rows
    except NotFound as error:
        raise NotFound(
            f"{error} The URL has to be the root of its DICOMweb services, such as {origin.url}/dicom-web"
        ) from error
    return "answers, with a study" if rows else "answers; there is no study"


def _may_delete(origin: Origin, sample: Sample) -> str:
    try:
        origin.delete(f"/studies/{sample.study}", _REASON)
    except (NotFound, Gone):
        return "there"
    except Forbidden as error:
        raise Forbidden(
            f"missing, so that nothing was stored, which would have had to stay: show a key that may read, write and"
            f" delete, or try without storing ({error})"
        ) from error
    return "there"


def _store(origin: Origin, sample: Sample) -> str:
    body = multipart.write("roentgate-try", [("application/dicom", sample.part10)])
    kind = 'multipart/related; type="application/dicom"; boundary=roentgate-try'
    stored = origin.store(body, kind)
    for outcome in stored.outcomes:
        if outcome.reason is not None:
            raise Conflict(f"it was refused ({outcome.reason:04X}): {outcome.detail or 'no reason was told'}")
    return f"{len(sample.part10):,} bytes"


def _find(origin: Origin, sample: Sample) -> str:
    keys = [("StudyInstanceUID", sample.study), ("PatientID", PATIENT)]
    rows = origin.search("/instances", keys).rows
    found = [row.get("00080018", {}).get("Value") for row in rows]
    if found != [[sample.instance]]:
        raise Conflict(f"a search for the instance finds {len(found)}, not that one")
    return "one instance"


def _fetch(origin: Origin, sample: Sample) -> str:
    with origin.retrieve(sample.path, "*") as parts:
        files = [b"".join(bytes(piece) for piece in part) for part in parts]
    if len(files) != 1 or not files[0].endswith(sample.dataset):
        raise Corrupt("what comes back is not the data set that was stored")
    return "as it was stored"


def _frame(origin: Origin, sample: Sample) -> str:
    if origin.frame(sample.path, 1) != sample.pixels:
        raise Corrupt("the frame is not the one that was stored")
    return "as it was stored"


def _delete(origin: Origin, sample: Sample) -> str:
    try:
        origin.delete(f"/studies/{sample.study}", _REASON)
    except (NotFound, Gone):
        return "nothing was there"
    if origin.search("/instances", [("StudyInstanceUID", sample.study)]).rows:
        raise Conflict(f"it is still found: delete the study {sample.study}")
    return "nothing is left"


def _refused(node: Node, aet: str) -> str:
    try:
        layers = echo(node, aet)
    except Error as error:
        raise NotAssociated(f"it was not tried: {error}") from error
    if layers[-1].ok:
        raise Forbidden("it let us in, although we are no node there")
    if layers[-1].name != "association" or "rejects the association" not in layers[-1].detail:
        raise NotAssociated(layers[-1].detail)
    return layers[-1].detail
