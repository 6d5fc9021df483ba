"""The spool: acknowledged from disk, delivered later in order, bounded, and nothing that was acknowledged is lost."""

import json
import os
import threading
import time

import commands
import pytest
from bridged import AET, bridge_to, bridged
from dicoms import CT, PREFIX, ct, dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from served import Served, written
from servers import running

from bridge.client import Stored
from bridge.journal import Journal
from bridge.spool import Spool, put_back, survey
from dicomweb.errors import BadRequest, Conflict, Forbidden, UnsupportedMedia
from dicomweb.standard.outcomes import Outcome


def store(bridge, folder, *numbers: int) -> list[int]:
    """C-STORE small instances and return the statuses."""
    entity = AE("MODALITY")
    entity.add_requested_context(CT, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", bridge.port, ae_title=AET)
    statuses = []
    for number in numbers:
        path = folder / f"{number}.dcm"
        path.write_bytes(ct(number))
        statuses.append(association.send_c_store(path).Status)
    association.release()
    return statuses


def until(condition, seconds: float = 30.0) -> None:
    """Wait for another thread; the bound is generous."""
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        pause.wait(0.05)


def test_what_is_acknowledged_without_a_web_layer_is_delivered_when_there_is_one(tmp_path):
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, spool=True) as bridge:
        assert store(bridge, tmp_path, *range(1, 11)) == [0] * 10
        assert bridge.spool.status()["waiting"] == 10
    served = Served(tmp_path / "web")
    with running(served.client.app) as server:
        url = f"http://127.0.0.1:{server.port}/dicom-web"
        with bridge_to(url, tmp_path, spool=True) as bridge:
            until(lambda: bridge.spool.status()["delivered"] == 10)
            assert bridge.spool.status()["bytes"] == 0
    assert len({held.instance for held in served.archive.index.walk()}) == 10


def test_a_mark_tells_what_had_come_from_what_comes_later(tmp_path):
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, spool=True) as bridge:
        before = bridge.spool.mark()
        assert store(bridge, tmp_path, 1) == [0]
        between = bridge.spool.mark()
        assert store(bridge, tmp_path, 2) == [0]
        assert [bridge.spool.waits(mark) for mark in (before, between)] == [False, True]


def test_with_a_web_layer_everything_passes_through(tmp_path):
    with bridged(tmp_path, spool=True) as system:
        assert store(system.bridge, tmp_path, *range(1, 6)) == [0] * 5
        until(lambda: len(system.instances()) == 5)
        until(lambda: system.bridge.status()["spool"]["waiting"] == 0)


def test_a_full_spool_tells_senders_to_come_again(tmp_path):
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, spool=True, spool_bytes=3000) as bridge:
        statuses = store(bridge, tmp_path, 1, 2, 3, 4, 5)
        assert statuses[0] == 0
        assert statuses[-1] == 0xA700
        assert bridge.spool.status()["bytes"] <= 3000


def test_an_object_that_is_refused_for_good_is_set_aside_and_blocks_nothing(tmp_path):
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, spool=True) as bridge:
        assert store(bridge, tmp_path, 1, 2, 3) == [0, 0, 0]
    second = sorted((tmp_path / "bridge" / "spool").glob("*.dcm"))[1]
    second.write_bytes(second.read_bytes()[:-60])  # as if it had come so
    with bridged(tmp_path, spool=True) as system:
        until(lambda: system.bridge.spool.status()["refused"] == 1)
        until(lambda: system.bridge.spool.status()["waiting"] == 0)
        assert system.instances() == {f"{PREFIX}.1.1.1", f"{PREFIX}.1.1.3"}
    (aside,) = (tmp_path / "bridge" / "spool" / "refused").glob("*.json")
    assert "ends" in json.loads(aside.read_text())["reason"]


class Fussy:
    """A server that takes no Implicit VR, and answers in turn to what was made anew for it."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def store(self, body, content_type, conflict="keep"):
        sent = b"".join(body)
        if f"{ImplicitVRLittleEndian}\0".encode() in sent:
            raise UnsupportedMedia("no Implicit VR here")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


STORED = Stored([Outcome("stored", CT, "1.2")], (), temporary=False)
FULL = Stored([Outcome("failed", CT, "1.2", reason=0xA700)], (), temporary=True)


@pytest.mark.parametrize(
    ("answers", "refused"),
    [
        ((BadRequest("no"), STORED), 1),
        ((Conflict("no"), STORED), 1),
        ((FULL, STORED, STORED), 0),
        ((Forbidden("no"), STORED, STORED), 0),
    ],
)
def test_what_was_made_anew_blocks_nothing_when_it_is_refused_and_waits_when_there_is_no_room(
    tmp_path, answers, refused
):
    (tmp_path / f"{1:016d}.dcm").write_bytes(written(dataset(1), ImplicitVRLittleEndian))
    (tmp_path / f"{2:016d}.dcm").write_bytes(ct(2))
    spool = Spool(tmp_path, Fussy(*answers), 1 << 20)
    try:
        until(lambda: not spool.status()["waiting"])
        assert (spool.status()["refused"], spool.status()["delivered"]) == (refused, 2 - refused)
    finally:
        spool.close()


def test_nothing_is_set_aside_while_the_server_does_not_let_the_bridge_in(tmp_path):
    for number in (1, 2):
        (tmp_path / f"{number:016d}.dcm").write_bytes(ct(number))
    both = Stored([*STORED.outcomes, Outcome("stored", CT, "1.3")], (), temporary=False)
    spool = Spool(tmp_path, Fussy(Forbidden("no key"), both), 1 << 20)
    try:
        until(lambda: not spool.status()["waiting"])
        assert (spool.status()["refused"], spool.status()["delivered"]) == (0, 2)
    finally:
        spool.close()


def test_what_was_not_acknowledged_is_thrown_away_at_the_start(tmp_path):
    folder = tmp_path / "bridge" / "spool"
    folder.mkdir(parents=True)
    (folder / "half.part").write_bytes(b"half an object")
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, spool=True) as bridge:
        assert bridge.spool.status()["waiting"] == 0
    assert not list(folder.glob("*.part"))


def test_a_survey_tells_what_waits_and_what_was_refused_and_puts_that_back(tmp_path):
    begun = time.time() - 1
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, spool=True) as bridge:
        assert store(bridge, tmp_path, 1, 2) == [0, 0]
        assert begun <= bridge.spool.status()["oldest"] <= time.time()
    folder = tmp_path / "bridge" / "spool"
    told = survey(folder)
    assert (told["waiting"], told["bytes"]) == (2, sum(path.stat().st_size for path in folder.glob("*.dcm")))
    assert begun <= told["oldest"] <= time.time()
    assert survey(tmp_path / "nowhere") == {"waiting": 0, "bytes": 0, "oldest": None, "refused": []}
    served = Served(tmp_path / "web", limit_elements=5)
    with running(served.client.app) as server:
        url = f"http://127.0.0.1:{server.port}/dicom-web"
        with bridge_to(url, tmp_path, spool=True) as bridge:
            until(lambda: bridge.spool.status()["refused"] == 2)
    first, second = survey(folder)["refused"]
    assert first["name"] < second["name"]
    assert first["reason"]
    served = Served(tmp_path / "roomy")
    with running(served.client.app) as server:
        url = f"http://127.0.0.1:{server.port}/dicom-web"
        with bridge_to(url, tmp_path, spool=True) as bridge:  # which finds them while it runs
            assert bridge.spool.status()["oldest"] is None
            assert put_back(folder) == 2
            until(lambda: bridge.spool.status()["delivered"] == 2)
            assert put_back(folder) == 0
    assert len({held.instance for held in served.archive.index.walk()}) == 2


def test_the_command_tells_what_lies_in_the_spool(tmp_path):
    folder = tmp_path / "data" / "bridge" / "spool" / "refused"
    folder.mkdir(parents=True)
    (folder.parent / "0000000000000001.dcm").write_bytes(b"x" * 1500)
    (folder / "0000000000000002.dcm").write_bytes(b"y")
    (folder / "0000000000000002.json").write_text(json.dumps({"reason": "no room", "time": 1e9}))
    said = commands.run(tmp_path, "spool", status=1).stdout
    assert said.startswith("1 objects wait (1.5 KB), the oldest since ")
    assert "no room" in said
    told = commands.run_json(tmp_path, "spool", "--again")
    assert (told["waiting"], told["refused"]) == (2, [])


def test_an_object_costs_one_sync(tmp_path, monkeypatch):
    counts = {"fsync": 0, "fdatasync": 0}
    for name in counts:
        plain = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda file, name=name, plain=plain: (counts.update({name: counts[name] + 1}), plain(file))[1]
        )
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, spool=True) as bridge:
        assert store(bridge, tmp_path, 1) == [0]
        counts.update(fsync=0, fdatasync=0)
        assert store(bridge, tmp_path, *range(2, 12)) == [0] * 10
        assert counts == {"fsync": 0, "fdatasync": 10}


def test_what_was_acknowledged_outlives_files_that_a_loss_of_power_took_or_cut(tmp_path):
    folder, lost = tmp_path / "bridge" / "spool", tmp_path / "lost"
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, spool=True) as bridge:
        assert store(bridge, tmp_path, 1, 2, 3) == [0, 0, 0]
        first, second, _ = sorted(folder.glob("*.held"))
        lost.mkdir()
        for path in folder.glob("*.*"):
            (lost / path.name).write_bytes(path.read_bytes())
    (lost / first.name).unlink()
    (lost / second.name).write_bytes(bytes(second.stat().st_size) if second.exists() else bytes(700))
    for path in folder.glob("*.*"):
        path.unlink()
    for path in lost.glob("*.*"):
        path.rename(folder / path.name)
    with bridged(tmp_path, spool=True) as system:
        until(lambda: len(system.instances()) == 3)
        assert system.stored(f"{PREFIX}.1.1.2").endswith(ct(2)[-64:])
        until(lambda: system.bridge.spool.status()["waiting"] == 0)
    assert list(folder.glob("*.*")) == []


def test_what_cannot_be_delivered_lies_there_once_and_a_stop_leaves_plain_files(tmp_path, monkeypatch):
    monkeypatch.setattr("bridge.spool.Journal", lambda folder: Journal(folder, 2000))
    folder = tmp_path / "bridge" / "spool"
    with bridge_to("http://127.0.0.1:9/dicom-web", tmp_path, spool=True) as bridge:
        assert store(bridge, tmp_path, *range(1, 11)) == [0] * 10
        until(lambda: len(list(folder.glob("*.journal"))) == 1 and len(list(folder.glob("*.dcm"))) >= 6)
        assert bridge.spool.status()["waiting"] == 10
    assert len(list(folder.glob("*.dcm"))) == 10
    assert len(list(folder.glob("*.*"))) == 10
    with bridged(tmp_path, spool=True) as system:
        until(lambda: len(system.instances()) == 10)


def test_a_large_object_is_a_synced_file_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("bridge.spool._JOURNAL_BYTES", 100)
    spool = Spool(tmp_path, None, 1 << 20)
    monkeypatch.setattr(spool, "_send", lambda names: threading.Event().wait(0.01))
    spool.take(b"head", [bytes(90), bytes(90)])
    assert [path.stat().st_size for path in tmp_path.glob("*.dcm")] == [184]
    assert list(tmp_path.glob("*.journal")) == []
    spool.close()
