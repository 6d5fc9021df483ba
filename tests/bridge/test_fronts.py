"""DICOMweb in front of PACS of others, and what `/aets` says of them."""

import io

import pydicom
import pytest
from dicoms import PREFIX, ct
from exchanged import exchanged
from exchanging import BRIDGE
from pacs import pacs
from pydicom.uid import ImplicitVRLittleEndian
from served import parts

STUDY, SERIES = f"{PREFIX}.1", f"{PREFIX}.1.1"
JSON = {"accept": "application/dicom+json"}


def value(row, tag):
    return row[tag].get("Value", [None])[0]


@pytest.fixture
def there():
    objects = [ct(number, series=series) for series in (1, 2) for number in (1, 2)]
    objects.append(ct(1, study=2, StudyDate="20250101", PatientName="Müller^Ännchen", PatientID="P2"))
    with pacs(*objects) as made:
        yield made


@pytest.fixture
def here(tmp_path, there):
    with exchanged(tmp_path) as made:
        made.add_pacs(there)
        yield made


def get(here, path, **headers):
    return here.client.get(f"/aets/PACS{path}", headers=headers)


# -- echo -----------------------------------------------------------------------------------------------------
def test_an_echo_names_the_layer_that_it_reached(here, there):
    told = here.client.post("/aets/PACS/echo").json()
    assert (told["ok"], told["reached"]) == (True, "status")
    assert [layer["name"] for layer in told["layers"]] == ["name", "tcp", "association", "status"]
    assert there.asked == ["echo"]


@pytest.mark.parametrize(
    ("settings", "reached", "words"),
    [
        ({"host": "nowhere.invalid", "port": 104}, "", "has no address"),
        ({"host": "127.0.0.1", "port": 1}, "name", "nothing listens on port 1"),
        ({"tls": True}, "tcp", "no TLS is agreed on"),
    ],
)
def test_an_echo_that_fails_says_how_far_it_got(here, there, settings, reached, words):
    here.add_node("BAD", **{"host": "127.0.0.1", "port": there.port, **settings})
    told = here.client.post("/aets/BAD/echo").json()
    assert (told["ok"], told["reached"]) == (False, reached)
    assert words in told["detail"]


def test_a_dicomweb_server_echoes_too(here):
    here.add_node("self", kind="dicomweb", url=f"{here.root}/dicom-web")
    told = here.client.post("/aets/self/echo").json()
    assert (told["ok"], told["reached"]) == (True, "status")
    here.add_node("wrong", kind="dicomweb", url=f"{here.root}/nothing")
    assert here.client.post("/aets/wrong/echo").json()["reached"] == "tcp"


def test_without_a_bridge_it_is_said_that_there_is_none(tmp_path):
    from served import Served

    served = Served(tmp_path)
    served.client.request("PUT", "/nodes/PACS", json={"host": "h", "port": 104})
    answer = served.client.post("/aets/PACS/echo")
    assert answer.status_code == 503
    assert "there is no bridge" in answer.json()["detail"].lower()


def test_nodes_that_can_be_called_are_listed(here):
    here.add_node("CALLS-ONLY", aet="X")
    (one,) = here.client.get("/aets").json()["aets"]
    assert one == {"name": "PACS", "aet": "PACS", "kind": "dimse", "url": f"{here.root}/aets/PACS"}


# -- searches -------------------------------------------------------------------------------------------------
def test_a_search_looks_as_one_of_the_archive(here, there):
    here.served.store(ct(1), ct(2), ct(1, series=2), ct(2, series=2))
    ours = here.client.get(f"/dicom-web/studies?StudyInstanceUID={STUDY}", headers=JSON).json()
    theirs = get(here, f"/studies?StudyInstanceUID={STUDY}", **JSON).json()
    for told in (*ours, *theirs):
        for name in ("00081190", "00201206", "00201208", "00080061"):  # counts are the node's own, and optional
            told.pop(name)
    assert theirs == ours


def test_studies_come_newest_first_and_in_pages(here):
    rows = get(here, "/studies").json()
    assert [value(row, "0020000D") for row in rows] == [f"{PREFIX}.2", STUDY]
    assert value(rows[1], "00081190") == f"{here.root}/aets/PACS/studies/{STUDY}"
    assert value(rows[0], "00100010")["Alphabetic"] == "Müller^Ännchen"
    answer = get(here, "/studies?limit=1&offset=1")
    assert [value(row, "0020000D") for row in answer.json()] == [STUDY]
    assert "1 additional" in get(here, "/studies?limit=1").headers["warning"]


def test_pages_are_of_one_answer_for_which_the_node_is_asked_once(here, there):
    first = get(here, "/studies?limit=1")
    asked = list(there.asked)
    there.add(ct(1, study=3, StudyDate="20990101"))
    second = here.client.get(first.links["next"]["url"])
    assert [value(row, "0020000D") for row in (*first.json(), *second.json())] == [f"{PREFIX}.2", STUDY]
    assert "next" not in second.links
    assert [value(row, "0020000D") for row in get(here, "/studies?limit=1&offset=1").json()] == [STUDY]
    assert there.asked == asked
    assert [value(row, "0020000D") for row in get(here, "/studies?limit=1").json()] == [f"{PREFIX}.3"]
    assert len(there.asked) == 2 * len(asked)
    assert get(here, "/studies?cursor=nonsense").status_code == 400


def test_another_search_is_never_answered_by_what_is_remembered(here):
    get(here, "/studies?limit=1")
    assert get(here, "/studies?limit=1&offset=1&PatientID=P2").json() == []
    assert len(get(here, "/series?limit=1&offset=1").json()) == 1
    here.add_node("PACS", host="127.0.0.1", port=1)
    assert get(here, "/studies?limit=1&offset=1").status_code == 503


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("PatientName=Test*", [STUDY]),
        ("PatientID=P2", [f"{PREFIX}.2"]),
        ("StudyDate=20250101-", [f"{PREFIX}.2"]),
        ("StudyDate=20200101-20241231", [STUDY]),
        ("PatientName=ännchen&fuzzymatching=true", [f"{PREFIX}.2"]),
        (f"StudyInstanceUID={STUDY},{PREFIX}.2", [f"{PREFIX}.2", STUDY]),
        ("PatientSex=F", []),
    ],
)
def test_keys_are_asked_for_there_and_checked_here(here, query, found):
    assert [value(row, "0020000D") for row in get(here, f"/studies?{query}").json()] == found


def test_series_and_instances_are_found_below_what_the_path_names_and_without(here, there):
    def uids(path, tag):
        return [value(row, tag) for row in get(here, path).json()]

    assert uids(f"/studies/{STUDY}/series", "0020000E") == [SERIES, f"{PREFIX}.1.2"]
    assert uids(f"/studies/{STUDY}/series/{SERIES}/instances", "00080018") == [f"{SERIES}.1", f"{SERIES}.2"]
    assert len(uids(f"/studies/{STUDY}/instances", "00080018")) == 4
    assert there.asked[-1] == "find IMAGE"
    assert len(uids("/series?PatientID=P1", "0020000E")) == 2
    rows = get(here, "/instances?PatientID=P2").json()
    assert [value(row, "00100020") for row in rows] == ["P2"]
    assert [value(row, "00100020") for row in get(here, "/patients").json()] == ["P2", "P1"]


def test_a_search_that_is_malformed_or_matches_nothing_is_told_so(here):
    assert get(here, "/studies?limit=few").status_code == 400
    assert get(here, "/studies?PatientID=nobody").json() == []
    assert get(here, "/nonsense").status_code == 404
    assert here.client.get("/aets/NOBODY/studies").status_code == 404


# -- retrieving -----------------------------------------------------------------------------------------------
def test_what_is_retrieved_is_fetched_once_and_never_in_the_archive(here, there):
    answer = get(here, f"/studies/{STUDY}", accept='multipart/related; type="application/dicom"')
    assert answer.status_code == 200
    found = {pydicom.dcmread(io.BytesIO(part.data)).SOPInstanceUID for part in parts(answer)}
    assert len(found) == 4
    asked = len(there.asked)
    metadata = get(here, f"/studies/{STUDY}/series/{SERIES}/metadata", **JSON)
    assert [value(one, "00200013") for one in metadata.json()] == [1, 2]
    frame = get(
        here, f"/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.2/frames/1", accept="application/octet-stream"
    )
    assert frame.content == pydicom.dcmread(io.BytesIO(ct(2))).PixelData
    assert len(there.asked) == asked
    assert here.instances() == set()
    assert here.client.get(f"/dicom-web/studies/{STUDY}/metadata").status_code == 404


def test_an_instance_alone_is_fetched_alone(here, there):
    assert (
        get(here, f"/studies/{STUDY}/series/{SERIES}/instances/{SERIES}.1", accept="application/dicom").status_code
        == 200
    )
    assert [word for word in there.asked if word.startswith("get")] == ["get IMAGE"]
    visited = here.served.client.app.state.visits.of("PACS").archive
    assert len(list(visited.index.walk())) == 1


def test_what_the_node_does_not_have_is_not_found(here):
    assert get(here, "/studies/1.2.3/metadata").status_code == 404


def test_what_was_fetched_goes_when_its_time_is_over_and_is_fetched_anew(here, there):
    path = f"/studies/{STUDY}/metadata"
    assert get(here, path).status_code == 200
    visits = here.served.client.app.state.visits
    assert visits.sweep() == 0
    visits._life = -1.0
    assert visits.sweep() == 1
    archive = visits.of("PACS").archive
    assert list(archive.index.walk()) == []
    assert list(archive.storage.list("objects/")) == []
    visits._life = 3600.0
    asked = len(there.asked)
    assert get(here, path).status_code == 200
    assert len(there.asked) > asked


def test_a_node_that_sends_only_part_is_told_of_and_asked_again(here, there, monkeypatch):
    whole = there._instances
    monkeypatch.setattr(there, "_instances", lambda asked: whole(asked)[:1])
    answer = get(here, f"/studies/{STUDY}/metadata")
    assert answer.status_code == 503
    assert "did not come from PACS" in answer.json()["detail"]
    monkeypatch.setattr(there, "_instances", whole)
    assert get(here, f"/studies/{STUDY}/metadata").status_code == 200


def test_only_the_bridge_stores_what_is_fetched(here):
    path = "/aets/PACS/visit/studies"
    kind = {"content-type": "application/dicom"}
    assert here.client.post(path, content=ct(), headers=kind).status_code == 403
    assert here.client.get(path).status_code == 403
    assert here.client.post(path, content=ct(), headers={**kind, **BRIDGE}).status_code == 200
    assert here.instances() == set()


# -- storing --------------------------------------------------------------------------------------------------
def test_what_is_stored_in_front_of_a_node_is_stored_there(here, there):
    answer = here.client.post(
        "/aets/PACS/studies", content=ct(7, study=9), headers={"content-type": "application/dicom"}
    )
    assert answer.status_code == 200, answer.text
    item = answer.json()["00081199"]["Value"][0]
    assert value(item, "00081155") == f"{PREFIX}.9.1.7"
    assert f"{PREFIX}.9.1.7" in there.held
    assert here.instances() == set()


def test_what_the_node_refuses_is_told_and_so_is_what_is_no_object(here, there):
    there.refuse = {f"{PREFIX}.9.1.7"}
    kind = {"content-type": "application/dicom"}
    answer = here.client.post("/aets/PACS/studies", content=ct(7, study=9), headers=kind)
    assert answer.status_code == 409
    assert "unable to process" in answer.headers["warning"]
    assert here.client.post("/aets/PACS/studies", content=b"nonsense", headers=kind).status_code == 409
    answer = here.client.post("/aets/PACS/studies/1.2.3", content=ct(8, study=9), headers=kind)
    assert answer.status_code == 409


def test_a_node_that_knows_implicit_vr_alone_gets_that(tmp_path):
    with exchanged(tmp_path) as here, pacs(syntaxes=ImplicitVRLittleEndian) as old:
        here.add_pacs(old)
        here.served.store(ct(1, PatientName="Müller^X"))
        assert here.end_of(here.ask("/aets/PACS/send", resources=[{"study": STUDY}]))["state"] == "done"
        assert set(old.syntaxes.values()) == {ImplicitVRLittleEndian}
        (stored,) = old.held.values()
        sent = pydicom.dcmread(io.BytesIO(ct(1, PatientName="Müller^X")))
        assert {element.tag: element.value for element in stored} == {element.tag: element.value for element in sent}


# -- a node that speaks DICOMweb ------------------------------------------------------------------------------
def test_dicomweb_in_front_of_dicomweb(tmp_path):
    with exchanged(tmp_path / "one") as one, exchanged(tmp_path / "two", runs=False) as two:
        one.add_node("two", kind="dicomweb", url=f"{two.root}/dicom-web")
        two.served.store(ct(1), ct(2))
        (row,) = one.client.get("/aets/two/studies?PatientID=P1", headers=JSON).json()
        assert value(row, "00081190") == f"{one.root}/aets/two/studies/{STUDY}"
        assert len(one.client.get(f"/aets/two/studies/{STUDY}/metadata", headers=JSON).json()) == 2
        answer = one.client.post("/aets/two/studies", content=ct(3), headers={"content-type": "application/dicom"})
        assert answer.status_code == 200
        assert f"{SERIES}.3" in two.instances()
        assert one.instances() == set()


def test_services_that_a_node_does_not_offer_are_named(tmp_path):
    with exchanged(tmp_path) as here, pacs(services=()) as old:
        here.add_pacs(old)
        answer = here.client.get("/aets/PACS/studies")
        assert answer.status_code == 503
        assert "accepts none of the presentation contexts" in answer.json()["detail"]
