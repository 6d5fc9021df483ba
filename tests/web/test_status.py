"""`/status`, and what it rests on."""

import threading

import pytest
from bridged import AET, TOKEN, bridged
from dicoms import PREFIX, ct
from served import Served
from servers import running

from bridge.inside import Inside
from dicomweb.archive.census import Census, room
from dicomweb.errors import Unavailable
from dicomweb.index import Counts


def test_the_status_counts_what_is_held(tmp_path):
    served = Served(tmp_path)
    served.store(ct(1), ct(2), ct(1, series=2), ct(1, study=2))
    told = served.client.get("/status").json()
    counts = told["counts"]
    assert [counts[name] for name in ("studies", "series", "instances")] == [2, 3, 4]
    assert counts["bytes"] == sum(held.size for held in served.archive.index.walk())
    assert counts["modalities"] == {"CT": 3}
    assert told["started"] <= told["counted"] <= told["time"]
    assert told["health"] == {"ready": True, "failing": [], "full": [], "writes": True, "problem": ""}
    assert told["versions"]["roentgate"] == told["version"]
    assert told["versions"]["pydicom"]
    assert told["jobs"] == {"waiting": 0, "running": 0}
    assert (told["storage"], told["index"]) == ({"kind": "memory", "floor": 1 << 30}, {"kind": "sqlite"})


def test_open_jobs_are_counted(tmp_path):
    served = Served(tmp_path)
    for _ in range(3):
        served.archive.index.jobs.add("send", "A", {})
    served.archive.index.jobs.claim("b", 60.0, 8)
    served.archive.index.jobs.cancel(3)
    assert served.client.get("/status").json()["jobs"] == {"waiting": 1, "running": 1}


def test_without_a_bridge_the_status_says_so(tmp_path):
    told = Served(tmp_path).client.get("/status").json()["bridge"]
    assert (told["configured"], told["answers"], told["seen"]) == (False, False, None)
    assert "bridge_url" in told["problem"]


def test_the_bridge_tells_of_its_port_and_its_spool(tmp_path):
    with bridged(tmp_path, spool=True) as made:
        inside = Inside(AET, TOKEN, lambda _: made.bridge.origin, made.bridge.status)
        with running(inside.app()) as face:
            made.served.client.app.state.bridge._url = f"http://127.0.0.1:{face.port}"
            told = made.served.client.get("/status").json()["bridge"]
    assert told["answers"], told["problem"]
    assert told["port"] == made.port
    assert told["spool"]["waiting"] == 0
    assert told["seen"] is not None


class Slow:
    """Counts when it is let."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked = 0
        self.fails = False

    def counts(self) -> Counts:
        self.asked += 1
        assert self.go.wait(60)
        if self.fails:
            raise Unavailable("no")
        return Counts(1, self.asked, 1, 1, 1, 0, 0, 0)


@pytest.fixture
def slow():
    return Slow()


def test_whoever_asks_does_not_wait_for_a_long_count_and_it_is_counted_once(slow):
    census = Census(slow)
    assert census.counted() is None
    assert census.counted() is None
    assert slow.asked == 1
    slow.go.set()
    census.close()
    counted = census.counted()
    assert counted is not None
    assert counted.counts.studies == 1
    assert slow.asked == 1


def test_an_index_that_does_not_answer_leaves_the_last_figures(slow):
    slow.go.set()
    census = Census(slow)
    first = census.counted()
    slow.fails = True
    census._due = 0.0
    assert census.counted() == first
    assert slow.asked == 2
    census.close()


def test_room_is_that_of_the_disk_of_the_storage(tmp_path):
    free, total = room(f"file:{tmp_path}", tmp_path) or (0, 0)
    assert 0 < free <= total
    assert room("s3://bucket", tmp_path) is None


def test_deletions_are_listed_with_their_reasons_the_latest_first(tmp_path):
    served = Served(tmp_path)
    served.store(ct(1), ct(2), ct(1, study=2))
    first = f"/dicom-web/studies/{PREFIX}.1"
    series = f"/dicom-web/studies/{PREFIX}.2/series/{PREFIX}.2.1"
    served.client.delete(first, params={"reason": "sent twice <b>"})
    served.client.delete(series)
    latest, earlier = served.client.get("/deletions").json()["deletions"]
    assert (latest["series"], latest["reason"], latest["objects"]) == (f"{PREFIX}.2.1", "", 1)
    assert (earlier["study"], earlier["reason"], earlier["objects"]) == (f"{PREFIX}.1", "sent twice <b>", 2)
    page = served.client.get("/deletions", params={"limit": 1, "before": latest["time"]}).json()["deletions"]
    assert page == [earlier]


def test_deletions_and_their_reasons_outlive_the_index(tmp_path):
    served = Served(tmp_path)
    served.store(ct(1))
    served.client.delete(f"/dicom-web/studies/{PREFIX}.1", params={"reason": "wrong patient"})
    before = served.client.get("/deletions").json()["deletions"]
    assert list(served.archive.rebuild()) is not None
    assert served.client.get("/deletions").json()["deletions"] == before
    assert before[0]["reason"] == "wrong patient"
