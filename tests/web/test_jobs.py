"""`/jobs` as people and bridges use it."""

import asyncio
import json

import pytest
from asgi import Client
from exchanging import BRIDGE, OVER, RUNNING, WAITING
from exchanging import served as make


@pytest.fixture
def served(tmp_path):
    return make(tmp_path)


def post(served, path, **value):
    return served.client.post(path, json=value, headers=BRIDGE)


def test_a_claim_brings_the_job_and_its_nodes_and_the_next_one_waits_in_vain(served):
    claimed = post(served, "/jobs/claim", owner="b", wait=0).json()
    assert claimed["job"]["id"] == WAITING
    assert claimed["nodes"]["STORESCP"]["port"] == 24290
    assert post(served, "/jobs/claim", owner="b", wait=0).status_code == 204


def test_progress_is_seen_and_a_stop_is_heard(served):
    assert post(served, f"/jobs/{RUNNING}/report", fence=1, progress={"done": 7}).json()["cancel"] is False
    assert served.client.get(f"/jobs/{RUNNING}").json()["progress"] == {"done": 7}
    assert served.client.post(f"/jobs/{RUNNING}/cancel").json()["cancel"] is True
    assert post(served, f"/jobs/{RUNNING}/report", fence=1).json()["cancel"] is True
    assert post(served, f"/jobs/{RUNNING}/finish", fence=1, state="canceled").json()["state"] == "canceled"


def test_an_old_fence_is_refused(served):
    answer = post(served, f"/jobs/{RUNNING}/report", fence=0)
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        f"Job {RUNNING} was claimed by another runner meanwhile.",
    )


def test_events_tell_of_a_job_until_it_is_over(served):
    post(served, f"/jobs/{RUNNING}/finish", fence=1, state="done", progress={"done": 9})
    answer = served.client.get(f"/jobs/{RUNNING}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    *_, last = answer.text.strip().split("\n\n")
    kind, _, data = last.split("\n")
    assert kind == "event: end"
    assert json.loads(data.removeprefix("data: "))["progress"] == {"done": 9}


def test_events_end_early_only_when_the_server_is_told_to_stop(served):
    """The application under a server that says so after the first event."""

    async def follow() -> list[str]:
        told, kinds, over = asyncio.Event(), [], asyncio.Event()

        async def receive():
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            kinds.extend(line for line in message.get("body", b"").decode().splitlines() if line.startswith("event:"))
            if kinds:
                told.set()

        scope = {
            "type": "http", "method": "GET", "path": f"/jobs/{RUNNING}/events", "raw_path": b"", "query_string": b"",
            "headers": [(b"host", b"localhost:8080")], "scheme": "http", "http_version": "1.1", "root_path": "",
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8080), "asgi": {"version": "3.0"},
            "roentgate.told": told,
        }  # fmt: skip
        await asyncio.wait_for(served.client.app(scope, receive, send), 60)
        over.set()
        return kinds

    assert asyncio.run(follow()) == ["event: progress"]


def test_jobs_are_listed_by_state_node_and_page(served):
    def ids(query):
        return [job["id"] for job in served.client.get(f"/jobs{query}").json()["jobs"]]

    assert ids("") == [OVER, WAITING, RUNNING]
    assert ids("?state=waiting,running") == [WAITING, RUNNING]
    assert ids("?limit=1") == [OVER]
    assert ids(f"?before={OVER}") == [WAITING, RUNNING]
    assert ids("?node=OTHER") == []


def test_refusals_come_from_the_bridge_and_count(served):
    for _ in range(2):
        assert post(served, "/refusals", kind="association", calling="CT9", reason="CT9 is no node").status_code == 204
    (refusal,) = served.client.get("/refusals").json()["refusals"]
    assert (refusal["calling"], refusal["count"]) == ("CT9", 2)
    assert served.client.delete("/refusals").status_code == 204
    assert served.client.get("/refusals").json() == {"refusals": []}


def test_a_job_shows_a_few_failures_and_the_others_come_in_pages(served):
    told = [{"instance": f"1.2.{number}", "reason": "no room"} for number in range(12)]
    progress = {"total": 20, "failed": 14, "failures": told}
    post(served, f"/jobs/{RUNNING}/report", fence=1, progress=progress)
    assert served.client.get(f"/jobs/{RUNNING}").json()["progress"]["failures"] == told[:5]
    page = served.client.get(f"/jobs/{RUNNING}/failures?limit=4&offset=10").json()
    assert page == {"failed": 14, "told": 12, "failures": told[10:]}
    assert served.client.get(f"/jobs/{OVER}/failures").json() == {"failed": 0, "told": 0, "failures": []}


def test_who_comes_again_is_told_only_what_changed_since(served):
    stopping = asyncio.Event()
    stopping.set()

    async def told_to_stop(scope, receive, send):
        await served.client.app({**scope, "roentgate.told": stopping}, receive, send)

    def follow(**headers):
        return Client(told_to_stop).get(f"/jobs/{RUNNING}/events", headers=headers).text

    (number,) = [line.removeprefix("id: ") for line in follow().splitlines() if line.startswith("id: ")]
    assert follow(**{"last-event-id": number}) == "retry: 200\n\n"
    post(served, f"/jobs/{RUNNING}/finish", fence=1, state="done")
    for last in (number, "nonsense"):
        assert "event: end" in follow(**{"last-event-id": last})
