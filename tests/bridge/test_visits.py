"""Nodes that can send by C-MOVE alone: what a viewer asks for comes in at our listening side, and lies beside the
archive all the same."""

import pytest
from bridged import bridge_to
from dicoms import PREFIX, ct
from exchanged import AET, exchanged
from exchanging import TOKEN
from pacs import FIND, MOVE, pacs

from bridge.refusals import Peer
from bridge.visits import Visits, message_id

STUDY = f"{PREFIX}.1"


@pytest.fixture
def there():
    with pacs(ct(1), ct(2), services=(*FIND, MOVE)) as made:
        yield made


@pytest.fixture
def here(tmp_path, there):
    with exchanged(tmp_path / "web") as made:
        made.add_pacs(there, allow=["echo", "store"])
        with bridge_to(f"{made.root}/dicom-web", tmp_path, token=TOKEN) as bridge:
            there.known[AET] = ("127.0.0.1", bridge.port)
            yield made


def test_what_a_viewer_asks_for_comes_by_c_move_and_stays_out_of_the_archive(here, there):
    answer = here.client.get(f"/aets/PACS/studies/{STUDY}/metadata")
    assert answer.status_code == 200, answer.text
    assert len(answer.json()) == 2
    assert f"move SERIES {AET}" in there.asked
    assert here.instances() == set()


def test_a_retrieval_brings_it_into_the_archive(here, there):
    job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[{"study": STUDY}]))
    assert (job["state"], job["progress"]["done"]) == ("done", 2)
    assert len(here.instances()) == 2
    assert list(here.served.client.app.state.visits.of("PACS").archive.index.walk()) == []


def test_a_node_that_sends_to_somebody_else_under_our_name_is_found_out(here, there):
    with pacs(aet=AET) as other:
        there.known[AET] = ("127.0.0.1", other.port)
        job = here.end_of(here.ask("/aets/PACS/retrieve", resources=[{"study": STUDY}]))
    assert job["state"] == "failed"
    assert "does our AE title lead to us there?" in job["error"]


def test_only_what_we_asked_for_so_goes_beside_the_archive():
    visits = Visits("http://127.0.0.1:1", TOKEN, AET)
    ours = {"MoveOriginatorApplicationEntityTitle": f"{AET} ", "MoveOriginatorMessageID": message_id(True)}
    node, stranger = Peer(calling="PACS", node="PACS"), Peer(calling="PACS")
    found = visits.origin(ours, node)
    assert found is not None
    assert found.url == "http://127.0.0.1:1/aets/PACS/visit"
    assert visits.origin(ours, stranger) is None
    assert visits.origin({**ours, "MoveOriginatorMessageID": message_id(False)}, node) is None
    assert visits.origin({**ours, "MoveOriginatorApplicationEntityTitle": "OTHER"}, node) is None
    assert visits.origin({}, node) is None
