"""An instance goes between the moment at which it was listed and that at which it is read: what is left of its series
is answered, and what is not is Gone. Who asked for a series that is there hears of no 404."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dicoms
import pytest
from served import Served

STUDY = f"/studies/{dicoms.PREFIX}.1"
SERIES = f"{STUDY}/series/{dicoms.PREFIX}.1.1"
FIRST = f"{SERIES}/instances/{dicoms.PREFIX}.1.1.1"
FORMS = [
    ("/metadata", "application/dicom+json"), ("/metadata", 'multipart/related; type="application/dicom+xml"'),
    ("", 'multipart/related; type="application/dicom"; transfer-syntax=*'), ("/rendered", "image/png"),
    ("/thumbnail", "image/jpeg"), ("/bulkdata", "*/*"), ("/pixeldata", "*/*"),
]  # fmt: skip


@pytest.fixture
def served(tmp_path: Path) -> Served:
    made = Served(tmp_path)
    made.store(dicoms.ct(1), dicoms.ct(2))
    return made


def vanish(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Delete the first instance, bytes included, when something of a version is read for the first time; return what
    that was."""
    first: list[str] = []

    def meddling(place: Any, name: str) -> Callable[..., Any]:
        operation = getattr(place, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if not first:
                first.append(name)
                served.archive.delete(*FIRST.split("/")[2::2])
                served.archive.sweep()
            return operation(*args, **kwargs)

        return call

    for name in ("layout", "metadata"):
        monkeypatch.setattr(served.archive.index, name, meddling(served.archive.index, name))
    for name in ("read", "stream"):
        monkeypatch.setattr(served.archive.storage, name, meddling(served.archive.storage, name))
    return first


@pytest.mark.parametrize(("form", "accept"), FORMS)
def test_a_series_is_answered_without_it(served, monkeypatch, form, accept):
    first = vanish(served, monkeypatch)
    response = served.get(f"{SERIES}{form}", accept)
    assert first
    assert response.status_code == 200, response.text
    assert served.get(f"{SERIES}{form}", accept).content == response.content


@pytest.mark.parametrize(("form", "accept"), [*FORMS, ("/frames/1", "*/*")])
def test_the_instance_itself_is_gone(served, monkeypatch, form, accept):
    vanish(served, monkeypatch)
    assert served.get(f"{FIRST}{form}", accept).status_code == 410


def test_bytes_that_are_lost_for_good_are_looked_for_a_few_times_only(served, monkeypatch):
    (held,) = served.archive.index.present([f"{dicoms.PREFIX}.1.1.1"]).values()
    served.archive.storage.delete(held.key)
    read = served.archive.storage.read
    asked = []
    monkeypatch.setattr(served.archive.storage, "read", lambda *args: asked.append(args) or read(*args))
    assert served.get(f"{FIRST}/frames/1", "*/*").status_code == 500
    assert len(asked) == 3
