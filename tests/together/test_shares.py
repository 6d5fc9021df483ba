"""Links in a browser: made and revoked on the pages of the explorer, opened by somebody who has nothing else."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dicoms
import httpx
import pytest
from browsing import Browsed, browser, browsing, needs_chromium
from known import add_key, uid
from playwright.sync_api import Browser, Page, expect
from served import Served
from servers import running

pytestmark = needs_chromium

STUDY, OTHER = 1, 2


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A server with two studies, its address, and keys."""
    served = Served(tmp_path_factory.mktemp("shares"), access=True, access_remember_seconds=0.0)
    writer = add_key(served, "writer", "write")
    keys = {
        name: add_key(served, name, *roles)["authorization"].removeprefix("Bearer ")
        for name, roles in {"zoe": ("read", "share"), "reader": ("read",)}.items()
    }
    with running(served.client.app) as server:
        for study in (STUDY, OTHER):
            store_at(server.port, dicoms.ct(study=study, PatientName=f"Patient^{study}"), writer)
        yield SimpleNamespace(served=served, root=f"http://127.0.0.1:{server.port}/", **keys)
    served.archive.close()


def store_at(port: int, data: bytes, who: dict[str, str]) -> None:
    headers = {"content-type": "application/dicom", **who}
    assert httpx.post(f"http://127.0.0.1:{port}/dicom-web/studies", content=data, headers=headers).is_success


def sign_in(page: Page, root: str, key: str) -> None:
    page.goto(f"{root}sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(root)
    expect(page.get_by_text("2 studies").first).to_be_visible()


def make_link(browsed: Browsed, **fields: str) -> str:
    """Make a link on the page of the study; return it."""
    browsed.open(f"studies/{uid(STUDY)}")
    page = browsed.page
    page.get_by_role("button", name="Actions").click()
    page.get_by_role("menuitem", name="Share…").click()
    if right := fields.pop("right", ""):
        page.get_by_label("Whoever has the link may").select_option(right)
    for label, value in fields.items():
        page.get_by_label(label).fill(value)
    assert browsed.barriers() == []
    browsed.look("share")
    page.get_by_role("button", name="Make the link").click()
    link = page.get_by_label("Link", exact=True)
    expect(link).to_be_visible()
    browsed.look("shared")
    made = link.input_value()
    page.get_by_role("button", name="Close").last.click()
    return made


def test_a_link_with_a_passphrase_is_made_opened_shows_its_study_alone_and_is_revoked(chromium, world):
    with browsing(chromium, world.root) as browsed:
        sign_in(browsed.page, world.root, world.zoe)
        wanted = {"Passphrase, if you want one": "drei Affen", "How often it may be opened": "2"}
        link = make_link(browsed, **wanted)
        assert link.startswith(f"{world.root}s/")
        with browsing(chromium, world.root) as guest:
            guest.allowed += ["401"]
            page = guest.page
            page.goto(link)
            expect(page.get_by_role("heading", name="Shared images")).to_be_visible()
            assert "#" not in page.url
            assert guest.barriers() == []
            page.get_by_role("button", name="Open").click()
            expect(page.get_by_label("Passphrase")).to_be_focused()
            page.get_by_label("Passphrase").fill("zwei Affen")
            page.get_by_role("button", name="Open").click()
            expect(page.get_by_role("alert")).to_contain_text("not the passphrase")
            page.get_by_label("Passphrase").fill("drei Affen")
            page.get_by_role("button", name="Open").click()
            page.wait_for_url(f"{link.partition('#')[0]}/#/studies/{uid(STUDY)}")
            expect(page.get_by_text("1 series").first).to_be_visible()
            guest.look("link")
            assert guest.barriers() == []
            assert page.evaluate("document.cookie") == ""
            assert page.get_by_role("link", name="Upload").count() == 0
            page.get_by_role("button", name="Actions").click()
            items = page.get_by_role("menuitem").all_inner_texts()
            assert not [one for one in items if "ZIP" in one or "Delete" in one or "Send" in one or "Share" in one]
            page.keyboard.press("Escape")
            guest_page = page.url
            page.goto(f"{guest_page.partition('#')[0]}#/studies")
            expect(page.get_by_text("1 study").first).to_be_visible()
            # who signs in elsewhere on this server is nobody there by that
            assert page.evaluate("fetch('/dicom-web/studies').then((one) => one.status)") == 401
            browsed.open("links")
            row = browsed.page.get_by_role("row").filter(has_text="Patient")
            expect(row).to_contain_text("1 of 2")
            assert browsed.barriers() == []
            browsed.look("links")
            row.get_by_role("button", name="Revoke").click()
            browsed.page.get_by_role("button", name="Revoke", exact=True).last.click()
            expect(browsed.page.get_by_text("No links yet")).to_be_visible()
            page.goto(guest_page)
            expect(page.get_by_role("dialog")).to_contain_text("This link is open no longer")
            page.get_by_role("button", name="Open the link again").click()
            expect(page.get_by_text("has to be opened from where you got it")).to_be_visible()


def test_a_link_to_download_gives_a_zip_and_can_be_closed(chromium, world):
    with browsing(chromium, world.root) as browsed:
        sign_in(browsed.page, world.root, world.zoe)
        link = make_link(browsed, right="download")
        with browsing(chromium, world.root) as guest:
            guest.allowed += ["401"]
            page = guest.page
            page.goto(link)
            page.get_by_role("button", name="Open").click()
            expect(page.get_by_text("1 series").first).to_be_visible()
            page.get_by_role("button", name="Actions").click()
            with page.expect_download() as saved:
                page.get_by_role("menuitem", name="Download as ZIP").click()
            assert Path(saved.value.path()).read_bytes()[:2] == b"PK"
            # what was opened stays open, and is not counted again
            page.goto(link)
            page.wait_for_url(f"{link.partition('#')[0]}/#/studies/{uid(STUDY)}")
            page.get_by_role("button", name="Close").click()
            expect(page.get_by_text("has to be opened from where you got it")).to_be_visible()
            page.goto(f"{link.partition('#')[0]}/")
            expect(page.get_by_text("has to be opened from where you got it")).to_be_visible()


def test_who_may_not_share_finds_nothing_to_share_with(chromium, world):
    with browsing(chromium, world.root) as browsed:
        page = browsed.page
        sign_in(page, world.root, world.reader)
        browsed.open(f"studies/{uid(STUDY)}")
        page.get_by_role("button", name="Actions").click()
        items = page.get_by_role("menuitem").all_inner_texts()
        assert any("ZIP" in one for one in items)
        assert not [one for one in items if "Share" in one or "Delete" in one]
        expect(page.get_by_role("link", name="Links", exact=True)).to_be_hidden()


def test_a_server_that_asks_nobody_says_why_there_are_no_links(chromium, tmp_path):
    served = Served(tmp_path)
    with running(served.client.app) as server, browsing(chromium, f"http://127.0.0.1:{server.port}/") as browsed:
        store_at(server.port, dicoms.ct(), {})
        browsed.open("links")
        expect(browsed.page.get_by_text("Nobody is asked who he is here")).to_be_visible()
        browsed.open(f"studies/{uid(STUDY)}")
        browsed.page.get_by_role("button", name="Actions").click()
        items = browsed.page.get_by_role("menuitem").all_inner_texts()
        assert any("Delete" in one for one in items)
        assert not any("Share" in one for one in items)
    served.archive.close()
