"""The explorer's acting half in a browser: upload, nodes, searches at nodes, retrieve, send, jobs, delete, status."""

import io
import json
import re
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import browsing
import commands
import pytest
from browsing import Browsed, browser, needs_chromium
from dicoms import PREFIX, ct
from pacs import Pacs, pacs
from playwright.sync_api import Browser, Route, expect

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@dataclass
class World:
    """A server with a bridge, and a PACS that knows it as STUDYGATE.

    Attributes:
        root: address of the server.
        dimse: port of its bridge.
        pacs: the PACS, node PACS.
    """

    root: str
    dimse: int
    pacs: Pacs

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/dicom" if isinstance(body, bytes) else "application/json"
        request = urllib.request.Request(f"{self.root}{path}", data, {"Content-Type": kind}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def store(self, *objects: bytes) -> None:
        for one in objects:
            self.ask("dicom-web/studies", "POST", one)

    def instances(self) -> set[str]:
        return {row["00080018"]["Value"][0] for row in self.ask("dicom-web/instances?limit=10000") or []}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("explorer")
    there = [ct(n, study=70 + study, series=s) for study in range(3) for s in (1, 2) for n in (1, 2, 3)]
    with pacs(*there) as other:
        env = {"ROENTGATE_DATA": str(folder), "ROENTGATE_DIMSE_PORT": "0", "ROENTGATE_HTTP_PORT": "0"}
        env["ROENTGATE_DELETE_REASON"] = "true"
        with commands.started(folder, "up", **env) as (process, greeting):
            port = re.search(r"http://127\.0\.0\.1:([0-9]+)", greeting)
            assert port is not None, greeting
            made = World(f"http://127.0.0.1:{port[1]}/", commands.dimse_port(greeting), other)
            other.known["ROENTGATE"] = ("127.0.0.1", made.dimse)
            made.ask("nodes/PACS", "PUT", {"aet": "PACS", "host": "127.0.0.1", "port": other.port})
            yield made
            process.terminate()
            process.wait(60)


@pytest.fixture
def page(chromium: Browser, world: World) -> Iterator[Browsed]:
    with browsing.browsing(chromium, world.root) as made:
        yield made


def fresh(study: int, count: int = 3) -> dict[str, bytes]:
    """Objects of a study by file name."""
    return {f"IM{number}.dcm": ct(number, study=study) for number in range(1, count + 1)}


def uploaded(made: Browsed) -> Any:
    """The card that tells of an upload, once it is over."""
    card = made.page.get_by_role("region", name="Progress")
    expect(card.locator(".state")).to_have_text("Done")
    return card


def test_files_are_uploaded_and_the_study_is_offered(world: World, page: Browsed, tmp_path: Path) -> None:
    page.open("upload")
    files = [{"name": name, "mimeType": "application/dicom", "buffer": data} for name, data in fresh(1).items()]
    page.page.locator("#choose-files").set_input_files(files)
    expect(uploaded(page)).to_contain_text("3 of 3 files stored")
    link = page.page.get_by_role("region", name="Stored studies").get_by_role("link")
    expect(link).to_contain_text("Test, Patient1")
    expect(link).to_have_attribute("href", f"#/studies/{PREFIX}.1")
    assert {f"{PREFIX}.1.1.{number}" for number in (1, 2, 3)} <= world.instances()


def archive(files: dict[str, bytes], method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


@pytest.mark.long
def test_archives_are_opened_and_what_is_no_object_is_named(world: World, page: Browsed) -> None:
    page.open("upload")
    inner = archive(fresh(11), zipfile.ZIP_STORED)
    outer = archive(
        {**{f"CT/{name}": data for name, data in fresh(12).items()}, "inner.zip": inner, "read me.txt": b"hello\n",
         "DICOMDIR": b"x", "CT/.DS_Store": b"x", "evil.dcm": b"\0" * 128 + b"DICM" + b"nonsense <img src=x>"},
        zipfile.ZIP_DEFLATED,
    )  # fmt: skip
    encrypted = bytearray(archive({"a.dcm": ct(1, study=13)}, zipfile.ZIP_STORED))
    encrypted[encrypted.rindex(b"PK\1\2") + 8] |= 1
    damaged = bytearray(archive({"b.dcm": ct(2, study=13)}, zipfile.ZIP_STORED))
    damaged[400] ^= 255
    files = {"all.zip": outer, "locked.zip": bytes(encrypted), "bad.zip": bytes(damaged)}
    files |= {"photo.jpg": b"\xff\xd8\xff\xe0", "<b>.bin": b"\1\2\3"}
    page.page.locator("#choose-files").set_input_files(
        [{"name": name, "mimeType": "", "buffer": data} for name, data in files.items()]
    )
    page.allowed.append("400")
    card = uploaded(page)
    expect(card).to_contain_text("6 of 9 files stored")
    failed = page.page.get_by_role("region", name="Not stored")
    expect(failed).to_contain_text("locked.zip/a.dcm")
    expect(failed).to_contain_text("it is encrypted in its archive")
    expect(failed).to_contain_text("it is damaged in its archive")
    expect(failed).to_contain_text("C000")
    junk = page.page.get_by_role("region", name="Not sent")
    said = ["a text", "a JPEG picture"]
    for words in (*said, "a DICOMDIR", "a file of the operating system", "<b>.bin"):
        expect(junk).to_contain_text(words)
    assert {f"{PREFIX}.{study}.1.{number}" for study in (11, 12) for number in (1, 2, 3)} <= world.instances()
    page.look("upload")


@pytest.mark.long
def test_a_folder_with_thousands_of_files_does_not_stop_the_page(page: Browsed, tmp_path: Path) -> None:
    for number in range(3000):
        folder = tmp_path / "many" / f"S{number // 500}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text("nothing\n")
    for name, data in fresh(14, 120).items():
        (tmp_path / "many" / "S1" / name).write_bytes(data)
    page.open("upload")
    page.page.locator("#choose-folder").set_input_files(str(tmp_path / "many"))
    expect(uploaded(page)).to_contain_text("120 of 120 files stored")
    expect(page.page.get_by_role("region", name="Not sent").locator("li")).to_have_count(100)
    expect(page.page.get_by_role("region", name="Not sent").get_by_role("heading")).to_contain_text("3,000")
    page.page.get_by_role("button", name="Show more (2,900)").click()
    expect(page.page.get_by_role("region", name="Not sent").locator("li")).to_have_count(200)


@pytest.mark.long
def test_what_is_dropped_anywhere_is_uploaded(world: World, page: Browsed) -> None:
    page.open("jobs")
    expect(page.page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    page.page.evaluate(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "dropped.dcm"));
          for (const type of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(
              new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        list(ct(1, study=15)),
    )
    expect(uploaded(page)).to_contain_text("1 of 1 file stored")
    assert f"{PREFIX}.15.1.1" in world.instances()


@pytest.mark.long
def test_a_folder_is_walked_when_it_is_dropped(world: World, page: Browsed, tmp_path: Path) -> None:
    for number in range(1, 131):  # a browser lists a hundred at a time
        (tmp_path / "CD" / "A" / "B").mkdir(parents=True, exist_ok=True)
        (tmp_path / "CD" / "A" / "B" / f"IM{number}").write_bytes(ct(number, study=19))
    (tmp_path / "CD" / "DICOMDIR").write_bytes(b"x")
    (tmp_path / "CD" / "more.zip").write_bytes(archive(fresh(29), zipfile.ZIP_DEFLATED))
    page.open("studies")
    expect(page.page.get_by_role("link", name="Upload")).to_be_visible()
    session = page.page.context.new_cdp_session(page.page)
    data = {"items": [], "files": [str(tmp_path / "CD")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
    expect(page.page.get_by_text("Drop files, folders or ZIP archives to store them")).to_be_visible()
    page.look("dropping")
    session.send("Input.dispatchDragEvent", {"type": "drop", "x": 300, "y": 300, "data": data})
    expect(uploaded(page)).to_contain_text("133 of 133 files stored")
    expect(page.page.get_by_role("region", name="Not sent")).to_contain_text("CD/DICOMDIR")
    expect(page.page.get_by_text("Drop files, folders or ZIP archives to store them")).to_be_hidden()
    assert {f"{PREFIX}.19.1.{n}" for n in range(1, 131)} <= world.instances()


@pytest.mark.long
def test_files_that_are_added_at_the_very_end_are_stored_too(world: World, page: Browsed) -> None:
    page.open("upload")
    expect(page.page.get_by_role("heading", level=1)).to_be_visible()
    page.page.evaluate(
        """async objects => {
          const { upload } = await import("./explorer/upload/engine.js");
          const { chosen } = await import("./explorer/upload/sources.js");
          const [one, other] = objects.map((bytes, at) => new File([new Uint8Array(bytes)], `${at}.dcm`));
          const send = upload.send.bind(upload);
          let late = [other];
          upload.send = async (...all) => {
            await send(...all);
            if (late.length) upload.add(chosen([late.pop()]));
          };
          upload.add(chosen([one]));
        }""",
        [list(ct(number, study=17)) for number in (1, 2)],
    )
    expect(page.page.get_by_role("region", name="Progress")).to_contain_text("2 of 2 files stored")
    assert {f"{PREFIX}.17.1.1", f"{PREFIX}.17.1.2"} <= world.instances()


@pytest.mark.long
def test_an_upload_is_stopped(world: World, page: Browsed) -> None:

    def hold(_: Route) -> None:
        """The server never answers."""

    page.page.route("**/dicom-web/studies", hold)
    page.open("upload")
    page.page.locator("#choose-files").set_input_files([{"name": "a.dcm", "mimeType": "", "buffer": ct(1, study=18)}])
    expect(page.page.get_by_label("Upload under way")).to_be_visible()
    page.page.get_by_role("button", name="Stop").click()
    expect(page.page.get_by_role("region", name="Progress").locator(".state")).to_have_text("Stopped")
    expect(page.page.get_by_label("Upload under way")).to_be_hidden()
    page.page.unroute("**/dicom-web/studies")
    assert f"{PREFIX}.18.1.1" not in world.instances()


@pytest.mark.long
def test_what_failed_for_want_of_a_server_is_sent_again(world: World, page: Browsed) -> None:
    page.open("upload")
    page.page.route("**/dicom-web/studies", lambda route: route.abort())
    page.allowed.append("ERR_FAILED")
    page.page.locator("#choose-files").set_input_files([{"name": "a.dcm", "mimeType": "", "buffer": ct(1, study=16)}])
    expect(page.page.get_by_role("region", name="Not stored")).to_contain_text("the server does not answer")
    page.page.unroute("**/dicom-web/studies")
    page.page.get_by_role("button", name="Try failed ones again").click()
    expect(uploaded(page)).to_contain_text("1 of 1 file stored")
    expect(page.page.get_by_role("region", name="Not stored")).to_be_hidden()


@pytest.mark.long
def test_nodes_are_added_echoed_edited_and_removed(world: World, page: Browsed) -> None:
    page.open("nodes")
    page.page.get_by_role("button", name="Add a node").click()
    dialog = page.page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("NEW")
    dialog.get_by_label("Host").fill("127.0.0.1")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("port is missing")
    page.allowed.append("400")
    dialog.get_by_label("Port").fill(str(world.pacs.port))
    dialog.get_by_label("AE title").fill("PACS")
    page.look("node")
    dialog.get_by_role("button", name="Save").click()
    node = page.page.get_by_role("region", name="Node NEW")
    node.get_by_role("button", name="Echo NEW").click()
    expect(node).to_contain_text("It answers.")
    expect(node.locator(".layers li.good")).to_have_count(5 - 1)
    node.get_by_role("button", name="Edit NEW").click()
    dialog.get_by_label("Port").fill("1")
    dialog.get_by_role("button", name="Save").click()
    expect(node.locator(".where")).to_have_text("PACS at 127.0.0.1:1")  # the card is that of what was saved
    node.get_by_role("button", name="Echo NEW").click()
    expect(node.locator(".layers li.bad")).to_contain_text("TCP")
    page.look("nodes")
    node.get_by_role("button", name="Remove NEW").click()
    dialog.get_by_role("button", name="Remove").click()
    expect(node).to_have_count(0)
    assert [one["name"] for one in world.ask("nodes")["nodes"]] == ["PACS"]


@pytest.mark.long
def test_a_search_at_a_node_leads_to_the_study_here(world: World, page: Browsed) -> None:
    page.open("nodes/PACS")
    page.page.get_by_label("Patient", exact=True).fill("test")
    page.page.get_by_role("button", name="Search", exact=True).click()
    rows = page.page.locator("tr.study")
    expect(rows).to_have_count(3)
    page.page.get_by_role("button", name="Series of Test, Patient71").click()
    expect(page.page.get_by_role("table", name="Series").locator("tr")).to_have_count(2)
    page.look("query")
    page.page.get_by_role("checkbox", name="Choose the study of Test, Patient70").check()
    page.page.get_by_role("table", name="Series").get_by_role("checkbox").first.check()
    page.page.get_by_role("button", name="Retrieve", exact=True).click()
    job = page.page.locator(".job")
    expect(job).to_have_attribute("data-state", "done")
    expect(job).to_contain_text("9 of 9 instances")
    page.look("retrieved")
    want = {f"{PREFIX}.70.{s}.{n}" for s in (1, 2) for n in (1, 2, 3)} | {f"{PREFIX}.71.1.{n}" for n in (1, 2, 3)}
    assert want <= world.instances()
    assert not {f"{PREFIX}.71.2.1", f"{PREFIX}.72.1.1"} & world.instances()
    expect(page.page.locator("tr.study").filter(has_text="Patient70").get_by_role("link")).to_have_text("Open")
    assert "PatientName=test" in page.page.url


@pytest.mark.long
def test_another_roentgate_is_searched_and_sends_to_here_and_to_a_third(
    world: World, page: Browsed, tmp_path: Path
) -> None:
    with commands.served(tmp_path) as other:
        there = World(f"http://127.0.0.1:{other.port}/", 0, world.pacs)
        for study in (40, 41):
            there.store(*fresh(study).values())
        world.ask("nodes/OTHER", "PUT", {"kind": "dicomweb", "url": f"{there.root}dicom-web"})
        page.open("nodes/OTHER?ModalitiesInStudy=CT")
        row = page.page.locator("tr.study")
        expect(row).to_have_count(2)
        expect(row.filter(has_text="Patient40")).to_contain_text("CT")
        page.page.get_by_role("checkbox", name="Choose the study of Test, Patient40").check()
        page.page.get_by_role("button", name="Retrieve", exact=True).click()
        job = page.page.locator(".job")
        expect(job.first).to_have_attribute("data-state", "done")
        expect(job.first.get_by_role("link", name="Open the study")).to_be_visible()
        assert {f"{PREFIX}.40.1.{n}" for n in (1, 2, 3)} <= world.instances()
        page.page.get_by_role("checkbox", name="Choose the study of Test, Patient41").check()
        page.page.get_by_role("button", name="Retrieve to another node…").click()
        dialog = page.page.get_by_role("dialog")
        expect(dialog.locator("option", has_text="OTHER")).to_have_count(0)
        dialog.get_by_label("Node").select_option("PACS")
        dialog.get_by_role("button", name="Retrieve", exact=True).click()
        expect(job).to_have_count(2)
        expect(job.first).to_contain_text("Retrieve 1 study from OTHER to PACS")
        expect(job.first).to_have_attribute("data-state", "done")
        assert {f"{PREFIX}.41.1.{n}" for n in (1, 2, 3)} <= set(world.pacs.held)
        assert f"{PREFIX}.41.1.1" not in world.instances()
        world.ask("nodes/OTHER", "DELETE")


@pytest.mark.long
def test_a_patient_is_sent(world: World, page: Browsed) -> None:
    world.store(ct(1, study=42), ct(1, study=43, PatientID="P42", PatientName="Test^Patient42"))
    page.open("patient?PatientID=P42")
    page.page.get_by_role("button", name="Patient", exact=True).click()
    page.page.get_by_role("menuitem", name="Send to a node…").click()
    dialog = page.page.get_by_role("dialog")
    dialog.get_by_label("Node").select_option("PACS")
    dialog.get_by_role("button", name="Send", exact=True).click()
    expect(dialog.locator(".job")).to_have_attribute("data-state", "done")
    expect(dialog.locator(".job")).to_contain_text("Send 1 patient to PACS")
    assert {f"{PREFIX}.42.1.1", f"{PREFIX}.43.1.1"} <= set(world.pacs.held)


@pytest.mark.long
def test_a_node_that_refuses_is_explained(world: World, page: Browsed) -> None:
    page.allowed += ["502", "503"]
    world.ask("nodes/WRONG", "PUT", {"aet": "WRONG", "host": "127.0.0.1", "port": world.dimse})
    page.open("nodes")
    node = page.page.get_by_role("region", name="Node WRONG")
    node.get_by_role("button", name="Echo WRONG").click()
    expect(node.locator(".layers li.bad")).to_contain_text("Association")
    expect(node.locator(".wrong")).to_contain_text("it is not called so")
    node.get_by_role("link", name="Search").click()
    page.page.get_by_role("button", name="Search", exact=True).click()
    expect(page.page.get_by_role("alert")).to_contain_text("it is not called so")
    page.look("refused")
    world.ask("nodes/WRONG", "PUT", {"aet": "WRONG", "host": "127.0.0.1", "port": 1})
    page.page.get_by_role("button", name="Try again").click()
    expect(page.page.get_by_role("alert")).to_contain_text("takes no connection")
    world.ask("nodes/WRONG", "DELETE")


@pytest.mark.long
def test_a_study_is_sent_and_its_job_is_seen(world: World, page: Browsed) -> None:
    world.store(*fresh(20).values())
    page.open(f"studies/{PREFIX}.20")
    page.page.get_by_role("button", name="Actions", exact=True).click()
    page.page.get_by_role("menuitem", name="Send to a node…").click()
    dialog = page.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Test, Patient20")
    dialog.get_by_label("Node").select_option("PACS")
    page.look("send")
    dialog.get_by_role("button", name="Send", exact=True).click()
    expect(dialog.locator(".job")).to_have_attribute("data-state", "done")
    page.look("sent")
    dialog.get_by_role("button", name="Close", exact=True).last.click()
    assert {f"{PREFIX}.20.1.{n}" for n in (1, 2, 3)} <= set(world.pacs.held)
    page.open("jobs")
    row = page.page.locator("tbody tr").first
    expect(row).to_contain_text("Send 1 study to PACS")
    expect(row).to_contain_text("3 of 3 instances")
    page.look("jobs")


@pytest.mark.long
def test_failures_are_told_and_a_job_is_tried_again(world: World, page: Browsed) -> None:
    world.store(*fresh(21, 8).values())
    world.pacs.refuse |= {f"{PREFIX}.21.1.{n}" for n in range(1, 8)}
    job = world.ask("aets/PACS/send", "POST", {"resources": [{"study": f"{PREFIX}.21"}]})
    page.open(f"jobs/{job['id']}")
    card = page.page.locator(".job")
    expect(card).to_have_attribute("data-state", "failed")
    reasons = page.page.get_by_role("region", name="What did not arrive")
    expect(reasons.locator("li")).to_have_count(7)
    page.look("job")
    world.pacs.refuse.clear()
    card.get_by_role("button", name=f"Try job {job['id']} again").click()
    expect(card).to_have_attribute("data-state", "done")
    assert {f"{PREFIX}.21.1.{n}" for n in range(1, 9)} <= set(world.pacs.held)


@pytest.mark.long
def test_a_waiting_job_is_stopped(world: World, page: Browsed) -> None:
    world.store(*fresh(22, 1).values())
    world.ask("nodes/DEAD", "PUT", {"aet": "DEAD", "host": "127.0.0.1", "port": 1})
    job = world.ask("aets/DEAD/send", "POST", {"resources": [{"study": f"{PREFIX}.22"}]})
    page.open("jobs?state=waiting,running")
    expect(page.page.get_by_label("1 job under way")).to_be_visible()
    row = page.page.locator(f"tr[data-job='{job['id']}']")
    expect(row).to_contain_text("next attempt")
    page.look("waiting")
    row.get_by_role("button", name="Stop").click()
    expect(row).to_have_count(0)
    assert world.ask(f"jobs/{job['id']}")["state"] == "canceled"
    world.ask("nodes/DEAD", "DELETE")


@pytest.mark.long
def test_a_deletion_says_what_goes_and_keeps_its_reason(world: World, page: Browsed) -> None:
    page.allowed += ["400", "410"]  # without a reason; a thumbnail may have been asked for while its study went
    for study in (30, 31, 32):
        world.store(*fresh(study).values())
    page.open("studies?id=P3*")
    rows = page.page.get_by_role("row").filter(has_text="Test, Patient3")
    expect(rows).to_have_count(3)
    for study in (30, 31):
        rows.filter(has_text=f"Patient{study}").get_by_role("checkbox", name="Select").check()
    page.page.get_by_role("button", name="Delete…").click()
    dialog = page.page.get_by_role("dialog")
    expect(dialog).to_contain_text("2 studies, 2 series, 6 instances would go.")
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(dialog.get_by_role("alert")).to_have_text("Nothing is deleted here without a reason. Say why.")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    expect(rows).to_have_count(3)
    dialog.get_by_label("Reason").fill("Wrong patient <i>")
    page.look("delete")
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(page.page.locator("#toasts")).to_contain_text("2 studies deleted")
    expect(rows).to_have_count(1)
    assert not {f"{PREFIX}.{study}.1.{n}" for study in (30, 31) for n in (1, 2, 3)} & world.instances()
    page.open("status")
    lately = page.page.get_by_role("region", name="Deleted lately")
    expect(lately.locator("li").filter(has_text="Wrong patient <i>")).to_have_count(2)


@pytest.mark.long
def test_an_instance_and_then_its_series_are_deleted_from_their_pages(world: World, page: Browsed) -> None:
    world.store(*fresh(33).values())
    series = f"studies/{PREFIX}.33/series/{PREFIX}.33.1"
    dialog = page.page.get_by_role("dialog")
    page.allowed.append("410")
    for place, level, words in (
        (f"{series}/instances/{PREFIX}.33.1.2", "instance", "1 instance would go."),
        (series, "series", "1 series, 2 instances would go."),
    ):
        page.open(place)
        page.page.get_by_role("button", name="Actions", exact=True).click()
        page.page.get_by_role("menuitem", name="Delete…").click()
        expect(dialog).to_contain_text(words)
        dialog.get_by_label("Reason").fill("Sent twice")
        dialog.get_by_role("button", name="Delete", exact=True).click()
        expect(page.page.locator("#toasts")).to_contain_text(f"1 {level} deleted")
    assert not {f"{PREFIX}.33.1.{n}" for n in (1, 2, 3)} & world.instances()


@pytest.mark.long
@pytest.mark.parametrize("place", ["upload", "nodes", "nodes/PACS", "jobs", "jobs/1", "status"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(world: World, page: Browsed, place: str, scheme: Literal["light", "dark"]) -> None:
    if not world.ask("jobs")["jobs"]:
        world.ask("aets/PACS/retrieve", "POST", {"resources": [{"study": f"{PREFIX}.72"}]})
    page.page.emulate_media(color_scheme=scheme)
    page.open(place)
    expect(page.page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.page.locator("main.loading")).to_have_count(0)
    assert page.barriers() == []


@pytest.mark.long
def test_the_status_shows_what_is_held_and_what_was_refused(world: World, page: Browsed) -> None:
    from pynetdicom import AE

    entity = AE("STRANGER")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", world.dimse, ae_title="NOBODY")
    if association.is_established:
        association.release()
    page.open("status")
    expect(page.page.locator(".tile").first).to_be_visible()
    expect(page.page.get_by_role("region", name="DIMSE bridge")).to_contain_text("Running")
    expect(page.page.get_by_role("region", name="Versions")).to_contain_text("pydicom")
    page.look("status")
    before = world.ask("refusals")["refusals"]
    refused = page.page.get_by_role("region", name="Refused lately")
    if before:
        expect(refused).to_contain_text(before[0]["reason"])
    refused.get_by_role("button", name="Forget all").click()
    page.page.get_by_role("dialog").get_by_role("button", name="Forget", exact=True).click()
    expect(refused).to_contain_text("None.")
    assert world.ask("refusals") == {"refusals": []}
