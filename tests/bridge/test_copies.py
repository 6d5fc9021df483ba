"""DICOMweb to DICOMweb, where the other server has an object of that UID already."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from dicoms import CT, PREFIX, ct

from bridge.client import Origin, Page, Stored
from bridge.places import WebPlace
from bridge.transfer import Progress, run
from dicomweb.errors import Conflict
from dicomweb.standard.outcomes import DUPLICATE_INSTANCE, Outcome

STUDY, SERIES = f"{PREFIX}.1", f"{PREFIX}.1.1"


@dataclass
class Shelf:
    """A DICOMweb server that keeps what it has.

    Attributes:
        held: Part 10 files by SOP Instance UID.
        tells: says of each instance why it is refused; else it answers 409 and no more.
    """

    held: dict[str, bytes] = field(default_factory=dict)
    tells: bool = True

    def search(self, path: str, params: object) -> Page:
        rows = [
            {"0020000E": {"vr": "UI", "Value": [SERIES]}, "00080018": {"vr": "UI", "Value": [uid]},
             "00080016": {"vr": "UI", "Value": [CT]}}
            for uid in self.held
        ]  # fmt: skip
        return Page(rows, "", [])

    @contextlib.contextmanager
    def retrieve(self, path: str, syntax: str) -> Iterator[Iterator[Iterator[bytes]]]:
        data = self.held[path.rpartition("/")[2]]
        yield iter([iter([data[:300], data[300:]])])

    def store(self, body: object, content_type: str, conflict: str = "keep") -> Stored:
        if not self.tells:
            raise Conflict("it is here")
        return Stored([Outcome("failed", instance=uid, reason=DUPLICATE_INSTANCE) for uid in self.held], [], False)


def other_meta(data: bytes) -> bytes:
    """The same data set after a File Meta group that is longer by a Source AE Title."""
    title = b"\x02\0\x16\0AE\x04\0ELSE"
    length = int.from_bytes(data[140:144], "little")
    return (
        data[:140]
        + (length + len(title)).to_bytes(4, "little")
        + data[144 : 144 + length]
        + title
        + (data[144 + length :])
    )


@pytest.mark.parametrize("tells", [True, False], ids=["a reason each", "409 for all"])
def test_a_duplicate_has_arrived_if_its_data_set_is_the_same(tells: bool) -> None:
    ours = Shelf({f"{SERIES}.{number}": ct(number) for number in (1, 2)})
    theirs = Shelf(
        {f"{SERIES}.1": other_meta(ct(1)), f"{SERIES}.2": other_meta(ct(2, PatientName="Somebody else"))}, tells
    )
    progress = Progress()
    source, sink = (WebPlace(cast("Origin", one)) for one in (ours, theirs))
    run(source, sink, [{"study": STUDY}], progress, lambda: False, "ROENTGATE", ask=False)
    assert (progress.total, progress.done, progress.skipped, progress.failed) == (2, 1, 1, 1)
    assert [instance for instance, _ in progress.failures] == [f"{SERIES}.2"]
