"""People sign in to the explorer in a browser: by a key, and at an issuer; and out."""

import time
from collections.abc import Iterator
from pathlib import Path

import dicoms
import httpx
import pytest
from browsing import browser, browsing, needs_chromium
from issuing import AUDIENCE, Issuing, issuing
from playwright.sync_api import Browser, expect
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
    texts = []
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
        page.wait_for_url(f"{root}sign-in")
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
        page.wait_for_url(f"{root}sign-in")


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
