"""A PACS of others, by pynetdicom: it stores, finds, and sends by C-GET and C-MOVE what it holds."""

import contextlib
import fnmatch
import io
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

FIND = (StudyRootQueryRetrieveInformationModelFind, PatientRootQueryRetrieveInformationModelFind)
GET, MOVE = StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelMove
_LEVELS = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}


@dataclass
class Pacs:
    """The PACS under way.

    Attributes:
        port: where it listens.
        held: objects by SOP Instance UID.
        known: addresses of move destinations by AE title.
        asked: what was asked of it, a word for each.
        syntaxes: transfer syntax of each object that was stored.
        refuse, abort: UIDs of objects that are refused, or over which the association is aborted.
        busy: statuses that are answered to the next C-STORE requests.
        associations: how many there were.
        hold_after: number of the object before which C-STORE and C-GET wait until `going_on`; `stored_some` tells.
    """

    port: int = 0
    held: dict[str, Dataset] = field(default_factory=dict)
    known: dict[str, tuple[str, int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    syntaxes: dict[str, str] = field(default_factory=dict)
    refuse: set[str] = field(default_factory=set)
    abort: set[str] = field(default_factory=set)
    busy: list[int] = field(default_factory=list)
    associations: int = 0
    going_on: threading.Event = field(default_factory=threading.Event)
    stored_some: threading.Event = field(default_factory=threading.Event)
    hold_after: int = -1

    def add(self, *objects: bytes) -> None:
        """Put Part 10 objects in."""
        for data in objects:
            read = pydicom.dcmread(io.BytesIO(data))
            self.held[read.SOPInstanceUID] = read

    def matching(self, asked: Dataset) -> list[Dataset]:
        """What an identifier asks for, one for each entity of its level."""
        found: dict[str, Dataset] = {}
        for one in self.held.values():
            if all(_accepts(element, one) for element in asked if element.keyword != "QueryRetrieveLevel"):
                found.setdefault(one[_LEVELS[asked.QueryRetrieveLevel]].value, one)
        return list(found.values())

    def _echo(self, event: Any) -> int:
        self.asked.append("echo")
        return 0

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        self.asked.append(f"find {asked.QueryRetrieveLevel}")
        for one in self.matching(asked):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            answer = Dataset()
            answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
            answer.SpecificCharacterSet = "ISO_IR 192"
            for element in asked:
                if element.keyword and element.keyword in one:
                    answer[element.keyword] = one[element.keyword]
            if asked.QueryRetrieveLevel == "STUDY":
                answer.NumberOfStudyRelatedInstances = sum(
                    other.StudyInstanceUID == one.StudyInstanceUID for other in self.held.values()
                )
            yield 0xFF00, answer

    def _instances(self, asked: Dataset) -> list[Dataset]:
        return [
            one
            for one in self.held.values()
            if all(_accepts(element, one) for element in asked if element.keyword != "QueryRetrieveLevel")
        ]

    def _get(self, event: Any) -> Iterator[Any]:
        self.asked.append(f"get {event.identifier.QueryRetrieveLevel}")
        found = self._instances(event.identifier)
        yield len(found)
        for number, one in enumerate(found):
            self._pause(number)
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, one

    def _move(self, event: Any) -> Iterator[Any]:
        self.asked.append(f"move {event.identifier.QueryRetrieveLevel} {event.move_destination}")
        yield self.known.get(event.move_destination, (None, None))
        found = self._instances(event.identifier)
        yield len(found)
        for one in found:
            yield 0xFF00, one

    def _store(self, event: Any) -> int:
        self._pause(len(self.syntaxes))
        read = event.dataset
        if read.SOPInstanceUID in self.abort:
            event.assoc.abort()
            return 0xC001
        if self.busy:
            return self.busy.pop()
        if read.SOPInstanceUID in self.refuse:
            return 0xC001
        read.file_meta = event.file_meta
        self.held[read.SOPInstanceUID] = read
        self.syntaxes[read.SOPInstanceUID] = event.context.transfer_syntax
        self.asked.append("store")
        return 0

    def _accepted(self, event: Any) -> None:
        self.associations += 1

    def _pause(self, number: int) -> None:
        if number == self.hold_after:
            self.stored_some.set()
            assert self.going_on.wait(60), "nobody let it go on"


def _accepts(element: Any, held: Dataset) -> bool:
    if element.keyword not in _LEVELS.values() and element.keyword not in ("PatientID", "PatientName", "Modality"):
        return True
    value = element.value
    if value in (None, "") or not str(value):
        return True
    if element.keyword not in held:
        return False
    stored = str(held[element.keyword].value)
    wanted = [str(one) for one in value] if isinstance(value, (list, pydicom.multival.MultiValue)) else [str(value)]
    return any(stored == one or fnmatch.fnmatchcase(stored.casefold(), one.casefold()) for one in wanted)


@contextlib.contextmanager
def pacs(
    *objects: bytes,
    aet: str = "PACS",
    services: tuple[Any, ...] = (*FIND, GET, MOVE),
    syntaxes: Any = None,
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> Iterator[Pacs]:
    """Run a PACS while the context lasts.

    Args:
        objects: Part 10 objects that it holds.
        aet: its AE title.
        services: SOP classes that it offers beside storage and verification.
        syntaxes: transfer syntaxes that it stores; None is the uncompressed ones.
        tls: what it speaks TLS with, if it does.
        port: where it listens; 0 is any that is free.
    """
    made = Pacs()
    made.add(*objects)
    entity = AE(aet)
    for service in (Verification, *services):
        entity.add_supported_context(service)
    for context in StoragePresentationContexts:
        given = [syntaxes] if syntaxes else []
        entity.add_supported_context(context.abstract_syntax, *given, scu_role=True, scp_role=True)
    entity.add_requested_context(CTImageStorage)
    handlers = [
        (evt.EVT_C_ECHO, made._echo), (evt.EVT_C_FIND, made._find), (evt.EVT_C_GET, made._get),
        (evt.EVT_C_MOVE, made._move), (evt.EVT_C_STORE, made._store),
        (evt.EVT_ACCEPTED, made._accepted),
    ]  # fmt: skip
    for limit in ("acse_timeout", "dimse_timeout", "network_timeout"):
        setattr(entity, limit, 60)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls)
    made.port = server.socket.getsockname()[1]
    try:
        yield made
    finally:
        made.going_on.set()
        server.shutdown()
