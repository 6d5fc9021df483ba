"""OHIF where access control is on: whoever is signed in sees his studies there, a link shows its own, and who is not
known signs in and comes back."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import browsers
import commands
import dicoms
import issuing
import ohif
import phantoms
import pytest
from browsers import Visit
from ohif import CANVAS

OURS, THEIRS, SEGMENTED = 1, 10, 40

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@dataclass
class World:
    """A server that asks who is calling, with OHIF and phantoms, an issuer, keys, and a browser."""

    browser: Any
    origin: str
    folder: Path
    issuer: issuing.Issuing
    keys: dict[str, str]

    def page(self, *others: str) -> AbstractContextManager[Visit]:
        return browsers.visit(self.browser, self.origin, ohif.BEGIN, others)

    def share(self, study: int, right: str) -> dict[str, Any]:
        body = json.dumps({"study": uid(study), "right": right}).encode()
        request = urllib.request.Request(f"{self.origin}/shares", body, {"X-API-Key": self.keys["sharer"]})
        with urllib.request.urlopen(request, timeout=60) as answer:
            made: dict[str, Any] = json.load(answer)
        return made


def uid(study: int) -> str:
    return f"{dicoms.PREFIX}.{study}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("ohif")
    with browsers.browser() as browser, issuing.issuing() as issuer:
        ohif.install(folder)
        known = {
            "ROENTGATE_OIDC_ISSUER": issuer.url, "ROENTGATE_OIDC_AUDIENCE": issuing.AUDIENCE,
            "ROENTGATE_OIDC_CLIENT_ID": "we", "ROENTGATE_ACCESS_REMEMBER_SECONDS": "0",
        }  # fmt: skip
        with commands.served(folder, **known) as served:
            made = World(browser, f"http://127.0.0.1:{served.port}", folder, issuer, {})
            for name, options in {
                "writer": ("--role", "write"),
                "sharer": ("--role", "read", "--role", "share"),
                "reader": ("--role", "read"),
                "narrow": ("--role", "view", "--study", uid(OURS)),
            }.items():
                made.keys[name] = commands.run(folder, "key", "add", name, *options).stdout.strip()
            objects = [*phantoms.slices(OURS), *phantoms.slices(THEIRS), *phantoms.slices(SEGMENTED)]
            for data in [*objects, phantoms.segmentation(SEGMENTED)]:
                headers = {"Content-Type": "application/dicom", "X-API-Key": made.keys["writer"]}
                request = urllib.request.Request(f"{made.origin}/dicom-web/studies", data, headers)
                urllib.request.urlopen(request, timeout=60).read()
            yield made


def forgiving(visit: Visit, status: int) -> None:
    """What was answered so is what the test is about, and so is what the viewer says of it."""
    said = (f"{status}: ", "console: Failed to load", "console: request failed", "console: {type: about:blank")
    said += ("console: Error: request failed", "console: Error validating study")
    visit.wrong[:] = [one for one in visit.wrong if not one.startswith(said)]


def sign_in(visit: Visit, world: World, name: str, to: str = "") -> None:
    visit.page.goto(f"{world.origin}/sign-in{to}")
    visit.page.get_by_label("API key").fill(world.keys[name])
    visit.page.get_by_role("button", name="Sign in", exact=True).click()


def shows_study(visit: Visit) -> None:
    visit.shows(CANVAS, phantoms.turned(5), 0)
    visit.until(lambda: len(visit.asked("/frames/1")) == 5, "all slices, each once")


def test_who_is_signed_in_to_the_explorer_is_so_in_the_viewer(world: World) -> None:
    with world.page() as visit:
        sign_in(visit, world, "reader", f"#viewer/ohif/viewer?StudyInstanceUIDs={uid(OURS)}")
        shows_study(visit)
        visit.shoot("ohif-signed-in")


def test_who_may_know_of_one_study_finds_and_opens_that_alone(world: World) -> None:
    with world.page() as visit:
        sign_in(visit, world, "narrow", "#viewer/ohif/")
        visit.until(lambda: visit.page.get_by_text("Viewer, Phantom").count() == 1, "one study in the list")
        visit.page.goto(f"{world.origin}/viewer/ohif/viewer?StudyInstanceUIDs={uid(OURS)}")
        shows_study(visit)
        visit.page.goto(f"{world.origin}/viewer/ohif/viewer?StudyInstanceUIDs={uid(THEIRS)}")
        visit.until(lambda: "not available" in visit.page.inner_text("body"), "it says that there is none")
        visit.shoot("ohif-foreign")
        assert visit.asked(f"/studies/{uid(THEIRS)}/series/") == []
        forgiving(visit, 404)


@pytest.mark.parametrize("right", ["view", "download"])
def test_below_a_link_the_viewer_shows_its_study_alone(world: World, right: str) -> None:
    made = world.share(OURS, right)
    root = made["url"].partition("#")[0].removeprefix(world.origin)
    with world.page() as visit:
        visit.page.goto(made["url"])
        visit.page.get_by_role("button", name="Open").click()
        visit.page.get_by_role("button", name="Actions").click(timeout=60_000)
        address = visit.page.get_by_role("menuitem", name="Open in OHIF").get_attribute("href")
        assert address.startswith(f"{world.origin}{root}/viewer/ohif/")
        visit.page.goto(address)
        shows_study(visit)
        visit.shoot(f"ohif-link-{right}")
        assert [url for url in visit.requests if "/dicom-web/" in url and not url.startswith(f"{root}/")] == []
        visit.page.goto(f"{world.origin}{root}/viewer/ohif/")
        visit.until(lambda: visit.page.get_by_text("Viewer, Phantom").count() == 1, "one study in the list")


def test_a_segmentation_is_loaded_by_a_link_to_download(world: World) -> None:
    made = world.share(SEGMENTED, "download")
    with world.page() as visit:
        visit.page.goto(made["url"])
        visit.page.get_by_role("button", name="Open").click()
        visit.page.wait_for_url("**/#/studies/**")
        root = made["url"].partition("#")[0]
        visit.page.goto(f"{root}/viewer/ohif/viewer?StudyInstanceUIDs={uid(SEGMENTED)}")
        visit.until(lambda: visit.look(CANVAS), "a picture")
        visit.page.get_by_text("SEG", exact=True).first.dblclick(timeout=60_000)
        visit.until(lambda: visit.asked(f"/instances/{uid(SEGMENTED)}.2.1"), "the segmentation is asked for")
        visit.shoot("ohif-link-segmentation")


def test_who_is_not_signed_in_signs_in_and_comes_back_to_the_viewer(world: World) -> None:
    with world.page() as visit:
        visit.page.goto(f"{world.origin}/viewer/ohif/viewer?StudyInstanceUIDs={uid(OURS)}")
        visit.page.wait_for_url("**/sign-in#viewer/**", timeout=60_000)
        visit.page.get_by_label("API key").fill(world.keys["reader"])
        visit.page.get_by_role("button", name="Sign in", exact=True).click()
        visit.page.wait_for_url("**/viewer/ohif/viewer?**")
        shows_study(visit)
        forgiving(visit, 401)


def test_a_token_that_ends_while_somebody_reads_is_renewed_by_the_viewer(world: World) -> None:
    world.issuer.renews, world.issuer.seconds = True, 6
    try:
        with world.page(world.issuer.url.rpartition("/")[0]) as visit:
            visit.page.goto(f"{world.origin}/sign-in#viewer/ohif/viewer?StudyInstanceUIDs={uid(OURS)}")
            visit.page.get_by_role("link", name="Sign in with your organisation").click()
            visit.page.wait_for_url("**/viewer/ohif/**")
            shows_study(visit)
            seen = len(visit.asked("/session/renewal"))
            visit.until(lambda: len(visit.asked("/session/renewal")) >= seen + 3, "the token is renewed", 120)
            visit.page.goto(f"{world.origin}/viewer/ohif/viewer?StudyInstanceUIDs={uid(THEIRS)}")
            visit.shows(CANVAS, phantoms.turned(5), 0)
    finally:
        world.issuer.renews, world.issuer.seconds = False, 300
