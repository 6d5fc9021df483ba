"""A mixed load on a replicated service: store, search, retrieve and delete over HTTP and DIMSE, through any of its
processes, each step tried again where a client may, and its effect looked for at another process at once."""

import io
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dicoms
import httpx
import pydicom
from cutting import connected
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from replicated import Replicas
from served import parts

from dicomweb.standard import multipart

PART10 = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
FRAMES = {"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"}
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
PATIENCE = 90.0
"""Seconds within which a step that is tried again must succeed."""

_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_SHARED = 3


@dataclass(frozen=True)
class Object:
    """An instance that was sent.

    Attributes:
        data: as a Part 10 file.
        path: of its resource below `/dicom-web`.
        web: it came over HTTP, so its file is kept as it was sent.
    """

    uid: str
    study: str
    series: str
    data: bytes
    web: bool

    @property
    def path(self) -> str:
        return f"/studies/{self.study}/series/{self.series}/instances/{self.uid}"

    def is_what(self, stored: bytes) -> bool:
        """Say whether a stored file is the object: to its last byte, or its data set to its last byte where the bridge
        wrote the file's header."""
        return stored == self.data if self.web else data_set(stored) == data_set(self.data)


def data_set(file: bytes) -> bytes:
    """What follows the File Meta Information of a Part 10 file."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


@dataclass
class Held:
    """What was acknowledged, all senders together.

    Attributes:
        objects: that must be there, by SOP Instance UID.
        deleted: that must not.
        others: UIDs under which other content was kept.
        jobs: numbers of jobs.
        steps: that were taken, by name; `again` counts those that had to be repeated, by what went wrong.
    """

    objects: dict[str, Object] = field(default_factory=dict)
    deleted: dict[str, Object] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    jobs: list[int] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)


class Interrupted(Exception):
    """A step failed in a way after which a client tries again."""


class Load:
    """Senders in threads of their own.

    Args:
        replicas: who is asked.
        senders: how many.
        steps: of each.
        seed: of what they do.

    Attributes:
        held: what was acknowledged.
    """

    def __init__(self, replicas: Replicas, senders: int, steps: int, seed: int) -> None:
        self.held = Held()
        self._failures: list[BaseException] = []
        self._progress = threading.Condition()
        self._taken = 0
        self._all = senders * steps
        self._senders = [_Sender(self, replicas, number, seed) for number in range(senders)]
        self._threads = [threading.Thread(target=self._run, args=(each, steps)) for each in self._senders]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def reached(self, share: float) -> None:
        """Wait until this share of all steps is taken; raise what went wrong."""
        with self._progress:
            assert self._progress.wait_for(lambda: self._failures or self._taken >= share * self._all, 900)
        for failure in self._failures:
            raise failure

    def finish(self) -> None:
        """Wait until all is done; raise what went wrong."""
        for thread in self._threads:
            thread.join(900)
        self.reached(1.0)

    def _run(self, sender: "_Sender", steps: int) -> None:
        try:
            with sender:
                for _ in range(steps):
                    if self._failures:
                        return
                    sender.step()
                    self.took()
        except BaseException as failure:
            with self._progress:
                self._failures.append(failure)
                self._progress.notify_all()

    def took(self) -> None:
        """Say that a step was taken."""
        with self._progress:
            self._taken += 1
            self._progress.notify_all()


class _Sender:
    """Does one step after the other; knows for certain what became of what it sent."""

    def __init__(self, load: Load, replicas: Replicas, number: int, seed: int) -> None:
        self._held = load.held
        self._replicas = replicas
        self._number = number
        self._random = random.Random(f"{seed} {number}")
        self._client = httpx.Client(timeout=60)
        self._made = 0
        self._private = 0
        self._own: dict[str, Object] = {}
        self._pause = threading.Event()
        self._steps: list[tuple[int, Callable[[], None]]] = [
            (5, self.store), (5, self.send), (2, self.other_content), (3, self.search), (2, self.find), (4, self.view),
            (3, self.retrieve), (2, self.get), (2, self.move), (2, self.delete), (1, self.delete_study), (1, self.job),
        ]  # fmt: skip

    def __enter__(self) -> "_Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def step(self) -> None:
        """Draw a step and take it."""
        weights = [weight for weight, _ in self._steps]
        ((_, step),) = self._random.choices(self._steps, weights)
        step()
        self._held.steps[step.__name__] += 1

    # -- how it asks -------------------------------------------------------------------------------------------
    def _until_done(self, attempt: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return attempt()
            except Interrupted as interruption:
                self._held.again[str(interruption)] += 1
                if time.monotonic() > deadline:
                    raise AssertionError(f"it did not succeed in time: {interruption}") from interruption
            self._pause.wait(0.2)

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask any web process, again where the connection was lost or it says to try later."""

        def attempt() -> httpx.Response:
            root = self._random.choice(self._replicas.webs).url
            try:
                response = self._client.request(method, f"{root}{path}", **more)
            except httpx.TransportError as error:
                raise Interrupted(type(error).__name__) from error
            if response.status_code == 503:
                assert "retry-after" in response.headers, f"503 without Retry-After: {response.text}"
                raise Interrupted("503")
            return response

        answer: httpx.Response = self._until_done(attempt)
        return answer

    def _associated(self, work: Callable[[Any], Any], *contexts: str, **more: Any) -> Any:
        """Do work over an association with any bridge, again where it was lost or short of resources."""

        def attempt() -> Any:
            port = self._random.choice(self._replicas.bridges).port
            if (sock := connected(port)) is None:  # pynetdicom would leave its own socket to the garbage collector
                raise Interrupted("no association")
            sock.close()
            entity = AE(f"SENDER{self._number}")
            for limit in ("acse_timeout", "dimse_timeout", "network_timeout", "connection_timeout"):
                setattr(entity, limit, 60)
            for context in contexts:
                entity.add_requested_context(context, ExplicitVRLittleEndian)
            association = entity.associate("127.0.0.1", port, ae_title="ROENTGATE", **more)
            if not association.is_established:
                raise Interrupted("no association")
            try:
                return work(association)
            finally:
                association.release()

        return self._until_done(attempt)

    def _status(self, answer: Dataset, what: str, *fine: int) -> int:
        """The status of an answer, which is success, or one of those that are fine."""
        if "Status" not in answer:
            raise Interrupted("association lost")
        status = int(answer.Status)
        if status in _OUT_OF_RESOURCES:
            raise Interrupted(f"{what} {status:04X}")
        assert status in (0, *fine), f"{what} is answered by {status:04X}: {answer.get('ErrorComment', '')}"
        return status

    # -- what it knows -------------------------------------------------------------------------------------------
    def _make(self, web: bool) -> list[Object]:
        """New objects: of a study of our own, or of one that all senders store to."""
        shared = self._random.random() < 0.4
        study = self._random.randint(1, _SHARED) if shared else 1000 * (self._number + 1) + self._private
        made = []
        for _ in range(self._random.randint(1, 3)):
            self._made += 1
            series = self._random.randint(1, 2)
            number = 10_000 * (self._number + 1) + self._made
            table = self._random.randbytes(2048)
            ds = dicoms.dataset(number, study=study, series=series, RedPaletteColorLookupTableData=table)
            made.append(Object(ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID, dicoms.part10(ds), web))
        return made

    def _drawn(self) -> Object | None:
        return self._random.choice(list(self._own.values())) if self._own else None

    def _stored(self, objects: Sequence[Object]) -> None:
        """They were acknowledged: found at once, wherever one asks."""
        for one in objects:
            self._own[one.uid] = self._held.objects[one.uid] = one
        last = objects[-1]
        assert self._instances(last.study) >= {one.uid for one in objects if one.study == last.study}

    def _instances(self, study: str) -> set[str]:
        rows = self._ask("GET", f"/dicom-web/studies/{study}/instances?limit=10000").json()
        return {row["00080018"]["Value"][0] for row in rows}

    def _forget(self, objects: Sequence[Object]) -> None:
        """Their deletion was acknowledged: gone at once, wherever one asks, in every form."""
        for one in objects:
            self._held.deleted[one.uid] = self._held.objects.pop(one.uid)
            del self._own[one.uid]
        for one in objects[-2:]:
            for form in ("", "/frames/1", "/metadata", "/rendered", "/bulkdata/00281201"):
                response = self._ask("GET", f"/dicom-web{one.path}{form}", headers={"Accept": "*/*"})
                assert response.status_code == 410, f"{form} of a deleted instance is {response.status_code}"

    # -- steps ---------------------------------------------------------------------------------------------------
    def store(self) -> None:
        objects = self._make(web=True)
        body = multipart.write("b", [("application/dicom", one.data) for one in objects])
        kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
        response = self._ask("POST", "/dicom-web/studies", content=body, headers=kind)
        assert response.status_code == 200, f"STOW is answered by {response.status_code}: {response.text}"
        self._stored(objects)

    def send(self) -> None:
        objects = self._make(web=False)
        waiting = list(objects)

        def work(association: Any) -> None:
            while waiting:
                self._c_store(association, waiting[0].data)
                waiting.pop(0)

        self._associated(work, dicoms.CT)
        self._stored(objects)

    def other_content(self) -> None:
        one = self._drawn()
        if one is None:
            return
        ds = pydicom.dcmread(io.BytesIO(one.data))
        ds.RedPaletteColorLookupTableData = self._random.randbytes(2048)
        other = dicoms.part10(ds)
        self._associated(lambda association: self._c_store(association, other), dicoms.CT)
        self._held.others.add(one.uid)

    def _c_store(self, association: Any, data: bytes) -> None:
        try:
            answer = association.send_c_store(pydicom.dcmread(io.BytesIO(data)))
        except RuntimeError as error:  # the association is gone
            raise Interrupted("association lost") from error
        self._status(answer, "C-STORE")

    def search(self) -> None:
        for study, own in self._studies():
            assert self._instances(study) >= own
        for one in list(self._held.deleted.values())[-3:]:
            assert self._ask("GET", f"/dicom-web/instances?SOPInstanceUID={one.uid}").json() == []

    def _studies(self) -> Iterator[tuple[str, set[str]]]:
        """Some studies that hold something of ours, and what."""
        studies = sorted({one.study for one in self._own.values()})
        for study in self._random.sample(studies, min(3, len(studies))):
            yield study, {one.uid for one in self._own.values() if one.study == study}

    def find(self) -> None:
        for study, own in self._studies():
            asked = Dataset()
            asked.QueryRetrieveLevel = "IMAGE"
            asked.StudyInstanceUID, asked.SOPInstanceUID = study, ""

            def work(association: Any, asked: Dataset = asked) -> set[str]:
                found = set()
                for answer, identifier in association.send_c_find(asked, FIND):
                    if self._status(answer, "C-FIND", 0xFF00) == 0xFF00:
                        found.add(str(identifier.SOPInstanceUID))
                return found

            assert self._associated(work, FIND) >= own

    def view(self) -> None:
        """What a viewer asks for, so that caches of all kinds hold it."""
        one = self._drawn()
        if one is None:
            return
        series = one.path.partition("/instances/")[0]
        for path, accept in (
            (f"{series}/metadata", "application/dicom+json"), (f"{one.path}/frames/1", "multipart/related; type=*/*"),
            (f"{one.path}/rendered", "image/jpeg"), (f"{one.path}/bulkdata/00281201", "*/*"),
            (f"{one.path}/frames/1/thumbnail", "image/png"), (f"{series}/rendered", "image/png"),
        ):  # fmt: skip
            response = self._ask("GET", f"/dicom-web{path}", headers={"Accept": accept})
            assert response.status_code == 200, f"{path} is answered by {response.status_code}: {response.text}"

    def retrieve(self) -> None:
        one = self._drawn()
        if one is None:
            return
        (part,) = parts(self._ask("GET", f"/dicom-web{one.path}", headers=PART10))
        assert one.is_what(part.data)

    def get(self) -> None:
        one = self._drawn()
        if one is None:
            return
        received: dict[str, Dataset] = {}

        def keep(event: evt.Event) -> int:
            received[event.dataset.SOPInstanceUID] = event.dataset
            return 0

        def work(association: Any) -> None:
            for answer, _ in association.send_c_get(_identifier(one), GET):
                self._status(answer, "C-GET", 0xFF00)

        more = {"ext_neg": [build_role(dicoms.CT, scp_role=True)], "evt_handlers": [(evt.EVT_C_STORE, keep)]}
        self._associated(work, GET, dicoms.CT, **more)
        assert received.keys() == {one.uid}
        assert Dataset(received[one.uid]) == Dataset(pydicom.dcmread(io.BytesIO(one.data)))

    def move(self) -> None:
        one = self._drawn()
        if one is None:
            return

        def work(association: Any) -> int:
            for answer, _ in association.send_c_move(_identifier(one), "STORESCP", MOVE):
                if self._status(answer, "C-MOVE", 0xFF00) == 0:
                    return int(answer.NumberOfCompletedSuboperations)
            raise Interrupted("association lost")

        assert self._associated(work, MOVE) == 1

    def delete(self) -> None:
        one = self._drawn()
        if one is None:
            return
        self._delete(one.path)
        self._forget([one])

    def _delete(self, path: str) -> None:
        response = self._ask("DELETE", f"/dicom-web{path}")
        # Of an attempt of which we had no answer, the next one finds what it did.
        assert response.status_code in (204, 410), f"DELETE is answered by {response.status_code}: {response.text}"

    def delete_study(self) -> None:
        """Delete a study that is nobody else's, and begin another one."""
        mine = [one for one in self._own.values() if one.study == f"{dicoms.PREFIX}.{self._own_study()}"]
        if mine:
            self._delete(f"/studies/{mine[0].study}")
            self._forget(mine)
            self._private += 1

    def _own_study(self) -> int:
        return 1000 * (self._number + 1) + self._private

    def job(self) -> None:
        one = self._drawn()
        if one is None:
            return
        response = self._ask("POST", "/aets/STORESCP/send", json={"resources": [{"study": one.study}]})
        assert response.status_code == 202, response.text
        self._held.jobs.append(int(response.headers["location"].rpartition("/")[2]))


def _identifier(one: Object) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = "IMAGE"
    asked.StudyInstanceUID, asked.SeriesInstanceUID, asked.SOPInstanceUID = one.study, one.series, one.uid
    return asked
