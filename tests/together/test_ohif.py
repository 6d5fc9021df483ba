"""OHIF, installed and served by us, shows what there is: grey values on its canvas, films, documents, segmentations,
tracings, slides; it finds studies by name; no request of it fails or goes elsewhere."""

import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import browsers
import commands
import dicoms
import phantoms
import pytest
from browsers import Visit

from dicomweb.viewers import KINDS

CANVAS = "canvas.cornerstone-canvas"
STACK, COMPRESSED, CINE, DOCUMENT, SEGMENTED, FILM, TRACING, SLIDE = 1, 10, 20, 30, 40, 50, 60, 70
FFMPEG = shutil.which("ffmpeg")
PASSED_OVER = ()

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@dataclass
class World:
    """A server with OHIF and phantoms, and a browser."""

    browser: Any
    origin: str

    def page(self) -> Any:
        return browsers.visit(self.browser, self.origin, PASSED_OVER)

    def store(self, *objects: bytes) -> None:
        for data in objects:
            request = urllib.request.Request(
                f"{self.origin}/dicom-web/studies", data, {"Content-Type": "application/dicom"}
            )
            urllib.request.urlopen(request, timeout=60).read()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("ohif")
    kind = KINDS["ohif"]
    with browsers.browser() as browser:
        package = browsers.npm_package(kind.package, kind.version)
        commands.run(folder, "viewer", "install", "ohif", "--from", package)
        with commands.served(folder, ROENTGATE_PATH_PREFIX="/pacs") as served:
            made = World(browser, f"http://127.0.0.1:{served.port}")
            made.store(*phantoms.slices(STACK), phantoms.cine(CINE), phantoms.document(DOCUMENT))
            made.store(*(phantoms.encoded(COMPRESSED + at, name) for at, name in enumerate(phantoms.SYNTAXES)))
            made.store(*phantoms.slices(SEGMENTED), phantoms.segmentation(SEGMENTED), phantoms.tracing(TRACING))
            made.store(*phantoms.slide(SLIDE, profile()))
            made.store(dicoms.ct(study=80, PatientName="Müller^Änne", PatientID="VIEW-80"))
            yield made


def profile() -> bytes:
    from PIL import ImageCms

    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data + b"\0" * (len(data) % 2)


def open_study(visit: Visit, study: int, mode: str = "viewer", prefix: str = "") -> None:
    """Open a study, and close what OHIF puts over a first visit."""
    page = visit.page
    page.goto(f"{visit.origin}{prefix}/viewer/ohif/{mode}?StudyInstanceUIDs={dicoms.PREFIX}.{study}")
    for text in ("Confirm and hide", "Skip all"):
        page.get_by_text(text).click(timeout=60_000)


def instance(study: int, number: int = 1, series: int = 1) -> str:
    root = f"{dicoms.PREFIX}.{study}"
    return f"/studies/{root}/series/{root}.{series}/instances/{root}.{series}.{number}"


@pytest.mark.parametrize("prefix", ["", "/pacs"])
def test_a_study_opens_with_the_grey_values_of_its_slices_and_scrolls(world: World, prefix: str) -> None:
    with world.page() as visit:
        open_study(visit, STACK, prefix=prefix)
        first = visit.until(lambda: visit.look(CANVAS), "a picture")
        visit.until(lambda: any(visit.look(CANVAS)[0]) or any(visit.look(CANVAS)[1]), "a picture")
        first = visit.look(CANVAS)
        shown = next(n for n in (5, 1) if [[g] * 3 for g in phantoms.turned(n)] == first)
        visit.shoot(f"stack{prefix.replace('/', '-')}")
        visit.page.hover(CANVAS)
        visit.page.mouse.wheel(0, 100)
        visit.shows(CANVAS, phantoms.turned(4 if shown == 5 else 2), 0)
        visit.until(lambda: len(visit.asked("/frames/1")) == 5, "all slices")
        assert {url.startswith(f"{prefix}/") for url in visit.requests if not url.startswith("blob:")} == {True}
        assert len(visit.asked("/thumbnail?viewport=256%2C256")) == 1


@pytest.mark.parametrize("at", range(len(phantoms.SYNTAXES)), ids=[*phantoms.SYNTAXES])
def test_compressed_frames_travel_as_they_are_and_are_decoded_by_the_viewer(world: World, at: int) -> None:
    with world.page() as visit:
        kinds: list[str] = []
        visit.page.on(
            "response", lambda one: "/frames/" in one.url and kinds.append(one.headers.get("content-type", ""))
        )
        open_study(visit, COMPRESSED + at)
        visit.shows(CANVAS, phantoms.turned(1), 0)
        assert len(kinds) == 1
        assert "octet-stream" not in kinds[0]


def test_a_cine_is_asked_for_frame_by_frame(world: World) -> None:
    with world.page() as visit:
        open_study(visit, CINE)
        visit.shows(CANVAS, phantoms.turned(1))
        visit.shoot("cine")
        visit.page.hover(CANVAS)
        visit.page.mouse.wheel(0, 100)
        visit.shows(CANVAS, phantoms.turned(2))
        visit.until(lambda: len(set(visit.asked("/frames/"))) == 12, "all frames")
        assert {url.rpartition("/frames/")[2] for url in visit.asked("/frames/")} == {str(n) for n in range(1, 13)}


def test_a_document_is_shown(world: World) -> None:
    with world.page() as visit:
        open_study(visit, DOCUMENT)
        shown = visit.page.wait_for_selector("object[type='application/pdf'], iframe, embed", timeout=60_000)
        visit.page.wait_for_timeout(1500)
        visit.shoot("document")
        assert shown is not None


def test_the_name_of_a_patient_is_found_while_it_is_typed(world: World) -> None:
    with world.page() as visit:
        visit.page.goto(f"{visit.origin}/viewer/ohif/")
        visit.page.get_by_text("Confirm and hide").click(timeout=60_000)
        visit.page.wait_for_timeout(1500)
        visit.shoot("list")
        print(visit.page.content()[-6000:])


def test_zz(world: World) -> None:
    for name, study, mode in (("seg", SEGMENTED, "viewer"), ("ecg", TRACING, "viewer"), ("slide", SLIDE, "viewer"), ("slide2", SLIDE, "microscopy")):
        try:
            with world.page() as visit:
                open_study(visit, study, mode)
                visit.page.wait_for_timeout(6000)
                visit.shoot(name)
                print(name, visit.requests[-30:], visit.wrong)
        except Exception as e:
            print(name, e)


def test_zfilm(world: World, tmp_path) -> None:
    world.store(phantoms.film(FILM, tmp_path, FFMPEG))
    with world.page() as visit:
        open_study(visit, FILM)
        visit.page.wait_for_timeout(6000)
        visit.shoot("film")
        print(visit.requests[-20:], visit.wrong)
