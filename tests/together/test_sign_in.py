"""People sign in to the explorer in a browser: by a key, and at an issuer; and out."""

import time
from collections.abc import Iterator
from pathlib import Path

import dicoms
import httpx
import pytest
from browsing import browser, browsing, needs_chromium
from issuing import AUDIENCE, Issuing, issuing
from playwright.sync_api import Browser, Page, expect
from served import Served
from servers import running

from dicomweb.access import keys
from dicomweb.access.keys import Key

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuing]:
    with issuing() as made:
        yield made


@pytest.fixture
def world(issuer: Issuing, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of a server with one study, and a key that reads it."""
    known = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_client_id": "we"}
    served = Served(tmp_path, access=True, **known)
    texts: list[str] = []
    for role in ("write", "read"):
        text = keys.new_text()
        roles = frozenset([role])
        key = Key(keys.id_of(text) or "", keys.digest_of(text), role, roles, None, None, time.time())
        served.archive.index.keys.add(key)
        texts.append(text)
    headers = {"content-type": "application/dicom", "x-api-key": texts[0]}
    with running(served.client.app) as server:
        url = f"http://127.0.0.1:{server.port}/dicom-web/studies"
        assert httpx.post(url, content=dicoms.ct(), headers=headers).status_code == 200
        yield f"http://127.0.0.1:{server.port}/", texts[1]
    served.archive.close()


def test_who_is_not_signed_in_is_asked_for_a_key_and_then_sees_images(chromium, world):
    root, key = world
    with browsing(chromium, root) as browsed:
        browsed.allowed += ["401", "403"]  # the console tells of each answer of that kind
        page = browsed.page
        page.goto(root)
        page.wait_for_url(f"{root}sign-in#")
        page.get_by_label("API key").fill("rg_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not valid")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(root)
        expect(page.get_by_text("1 study").first).to_be_visible()
        assert page.evaluate("document.cookie") == ""  # no script reads it
        page.goto(f"{root}sign-in")
        expect(page.get_by_text("Signed in as read")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        page.goto(root)
        page.wait_for_url(f"{root}sign-in#")


def test_who_signs_in_at_the_issuer_comes_back_to_the_images(chromium, world, issuer):
    root, _ = world
    with browsing(chromium, root) as browsed:
        browsed.allowed += ["401", "403"]
        page = browsed.page
        page.goto(f"{root}sign-in")
        page.get_by_role("link", name="Sign in with your organisation").click()
        page.wait_for_url(root)
        expect(page.get_by_text("1 study").first).to_be_visible()
        assert browsed.strangers  # it was there
        assert all(url.startswith(f"{issuer.url}/authorize?") for url in browsed.strangers)
        browsed.strangers.clear()


def signed_in(page: Page, root: str, key: str) -> None:
    page.goto(f"{root}sign-in")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(root)
    expect(page.get_by_text("1 study").first).to_be_visible()


def test_who_has_to_sign_in_comes_back_to_the_page_that_he_asked_for(chromium, world, issuer):
    root, key = world
    study = f"{dicoms.PREFIX}.1"
    with browsing(chromium, root) as browsed:
        browsed.allowed += ["401", "403"]
        page = browsed.page
        page.goto(f"{root}#/studies/{study}")
        page.wait_for_url(f"{root}sign-in#**")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{root}#/studies/{study}")
        expect(page.get_by_text("1 series").first).to_be_visible()
        page.goto(f"{root}sign-in")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        page.goto(f"{root}#/studies/{study}")
        page.get_by_role("link", name="Sign in with your organisation").click()
        page.wait_for_url(f"{root}#/studies/{study}")
        expect(page.get_by_text("1 series").first).to_be_visible()
        browsed.strangers.clear()


@pytest.mark.parametrize("to", ["//evil.example/", "https://evil.example/", "javascript:alert(1)", "\\\\evil.example"])
def test_an_address_leads_nobody_away_who_signs_in(chromium, world, to):
    root, key = world
    with browsing(chromium, root) as browsed:
        browsed.allowed += ["401"]
        page = browsed.page
        page.goto(f"{root}sign-in#{to}")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(root)


def test_the_page_to_sign_in_has_the_colours_that_were_chosen(chromium, world):
    root, key = world
    with browsing(chromium, root) as browsed:
        page = browsed.page
        signed_in(page, root, key)
        page.get_by_role("button", name="Appearance: as the system").click()
        page.get_by_role("button", name="Appearance: light").click()
        page.goto(f"{root}sign-in")
        expect(page.get_by_text("Signed in as read")).to_be_visible()
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 23)"
        assert browsed.barriers() == []


def test_who_is_signed_out_in_the_middle_is_told_and_loses_nothing_that_is_shown(chromium, world):
    root, key = world
    study = f"{dicoms.PREFIX}.1"
    with browsing(chromium, root) as browsed:
        browsed.allowed += ["401"]
        page = browsed.page
        signed_in(page, root, key)
        page.context.clear_cookies()
        browsed.open(f"studies/{study}")
        expect(page.get_by_role("dialog")).to_contain_text("Your sign-in has ended")
        assert browsed.barriers() == []
        browsed.look("signed-out")
        page.get_by_role("button", name="Sign in again").click()
        page.wait_for_url(f"{root}sign-in#**")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{root}#/studies/{study}")
        expect(page.get_by_text("1 series").first).to_be_visible()


def test_a_token_that_ends_within_seconds_is_renewed_while_a_page_is_open(chromium, world, issuer):
    root, _ = world
    issuer.renews, issuer.seconds = True, 4
    try:
        with browsing(chromium, root) as browsed:
            browsed.allowed += ["401"]
            page = browsed.page
            page.goto(f"{root}sign-in")
            page.get_by_role("link", name="Sign in with your organisation").click()
            page.wait_for_url(root)
            expect(page.get_by_text("1 study").first).to_be_visible()
            for _ in range(2):
                with page.expect_response(lambda answer: answer.url.endswith("/session/renewal")) as renewed:
                    pass
                assert renewed.value.status == 204
            browsed.strangers.clear()
            # the browser slept: the token is gone, what renews it is not
            page.context.clear_cookies(name="roentgate-session")
            page.reload()
            expect(page.get_by_text("1 study").first).to_be_visible()
    finally:
        issuer.renews, issuer.seconds = False, 300
