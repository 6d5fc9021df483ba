"""`/nodes`: the file and what was said since, read without a restart."""

import os

import pytest
from exchanging import BRIDGE
from served import Served

FILE = '[nodes.A]\nhost = "a.example"\nport = 104\n\n[nodes.B]\nhost = "b.example"\nport = 104\n'


@pytest.fixture
def served(tmp_path):
    made = Served(tmp_path, bridge_token="SECRET")
    write(made, FILE)
    return made


def write(served, text):
    path = served.config.data / "nodes.toml"
    number = path.stat().st_mtime_ns + 1 if path.exists() else 1
    path.write_text(text)
    os.utime(path, ns=(number, number))  # a file system may count time in steps


def names(served):
    return [node["name"] for node in served.client.get("/nodes").json()["nodes"]]


def put(served, node, **settings):
    return served.client.request("PUT", f"/nodes/{node}", json=settings)


def test_the_file_seeds_and_is_read_again_when_it_changes(served):
    assert names(served) == ["A", "B"]
    write(served, FILE + '[nodes.C]\nhost = "c.example"\nport = 104\n')
    assert names(served) == ["A", "B", "C"]
    (served.config.data / "nodes.toml").unlink()
    assert names(served) == []


def test_a_file_with_a_mistake_is_told_of_and_the_nodes_stay(served, caplog):
    assert names(served) == ["A", "B"]
    write(served, FILE.replace("port = 104", "port = 0x", 1))
    told = served.client.get("/nodes").json()
    assert [node["name"] for node in told["nodes"]] == ["A", "B"]
    assert "nodes.toml is not TOML" in told["problem"]
    assert "nodes.toml is not TOML" in caplog.text


def test_whoever_spoke_last_wins(served):
    assert put(served, "A", host="other.example", port=105).status_code == 200
    assert served.client.get("/nodes/A").json()["host"] == "other.example"
    assert served.client.delete("/nodes/B").status_code == 204
    assert names(served) == ["A"]
    write(served, FILE.replace("b.example", "new.example"))
    assert names(served) == ["A", "B"]
    assert served.client.get("/nodes/A").json()["host"] == "other.example"
    write(served, FILE.replace("a.example", "newer.example"))
    assert served.client.get("/nodes/A").json()["host"] == "newer.example"


def test_an_added_node_can_be_removed_and_is_gone(served):
    assert put(served, "C", host="c.example", port=104).status_code == 200
    assert names(served) == ["A", "B", "C"]
    assert served.client.delete("/nodes/C").status_code == 204
    assert served.client.delete("/nodes/C").status_code == 404
    assert served.client.get("/nodes/C").status_code == 404


def test_secrets_are_told_to_the_bridge_alone_and_a_mask_keeps_them(served):
    web = {"kind": "dicomweb", "url": "https://x.example/dicom-web", "user": "u", "password": "s3cret"}
    told = put(served, "W", **web).json()
    assert told["password"] == "********"
    assert put(served, "W", **{**told, "user": "v"}).status_code == 200
    assert served.client.get("/nodes/W", headers=BRIDGE).json()["password"] == "s3cret"
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic SECRET"}):
        assert "s3cret" not in served.client.get("/nodes", headers=headers).text


def test_what_is_wrong_is_told_in_one_sentence(served):
    answer = put(served, "C", host="c.example")
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "Node C: port is missing; host and port go together.",
    )
    answer = served.client.request("PUT", "/nodes/C", content=b"[1]")
    assert answer.json()["detail"] == "The body is no JSON object."


def test_without_a_secret_nobody_is_the_bridge(tmp_path):
    served = Served(tmp_path)
    for token in ("", "SECRET"):
        answer = served.client.post("/jobs/claim", json={"owner": "x"}, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 403
