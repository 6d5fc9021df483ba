"""OHIF, installed and served by us, shows what there is: grey values on its canvas, films, documents, segmentations,
tracings, slides; it finds studies by name; no request of it fails or goes elsewhere."""

import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import browsers
import commands
import dicoms
import ohif
import phantoms
import pytest
from browsers import Visit
from ohif import CANVAS

STACK, COMPRESSED, CINE, DOCUMENT, SEGMENTED, FILM, TRACING, SLIDE, NAMED = 1, 10, 20, 30, 40, 50, 60, 70, 80
FFMPEG = shutil.which("ffmpeg")
INNER, OUTER = ([[x, y] for y in pair for x in pair] for pair in ((0.4, 0.6), (0.1, 0.9)))

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@dataclass
class World:
    """A server with OHIF and phantoms, and a browser."""

    browser: Any
    origin: str

    def page(self) -> AbstractContextManager[Visit]:
        return browsers.visit(self.browser, self.origin, ohif.BEGIN)

    def store(self, *objects: bytes) -> None:
        for data in objects:
            request = urllib.request.Request(
                f"{self.origin}/dicom-web/studies", data, {"Content-Type": "application/dicom"}
            )
            urllib.request.urlopen(request, timeout=60).read()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("ohif")
    with browsers.browser() as browser:
        ohif.install(folder)
        # Documents and profiles of phantoms are small, and bulk data all the same.
        with commands.served(folder, ROENTGATE_PATH_PREFIX="/pacs", ROENTGATE_INLINE_BYTES="256") as served:
            made = World(browser, f"http://127.0.0.1:{served.port}")
            made.store(*phantoms.slices(STACK), phantoms.cine(CINE), phantoms.document(DOCUMENT))
            made.store(*(phantoms.encoded(COMPRESSED + at, name) for at, name in enumerate(phantoms.SYNTAXES)))
            made.store(*phantoms.slices(SEGMENTED), phantoms.segmentation(SEGMENTED), phantoms.tracing(TRACING))
            made.store(*phantoms.slide(SLIDE, phantoms.profile()))
            made.store(dicoms.ct(study=NAMED, PatientName="Müller^Änne", PatientID="VIEW-80"))
            yield made


def open_study(visit: Visit, study: int, mode: str = "viewer", prefix: str = "") -> None:
    visit.page.goto(f"{visit.origin}{prefix}/viewer/ohif/{mode}?StudyInstanceUIDs={dicoms.PREFIX}.{study}")


def scroll(visit: Visit) -> None:
    visit.page.hover(CANVAS)
    visit.page.mouse.wheel(0, 100)


@pytest.mark.parametrize("prefix", ["", "/pacs"])
def test_a_study_opens_with_the_grey_values_of_its_slices_and_scrolls(world: World, prefix: str) -> None:
    with world.page() as visit:
        open_study(visit, STACK, prefix=prefix)
        visit.shows(CANVAS, phantoms.turned(5), 0)
        visit.shoot(f"ohif-stack{prefix.replace('/', '-')}")
        scroll(visit)
        visit.shows(CANVAS, phantoms.turned(4), 0)
        visit.until(lambda: len(visit.asked("/frames/1")) == 5, "all slices, each once")
        assert len(visit.asked("/thumbnail?viewport=256%2C256")) == 1
        ours = [url for url in visit.requests if not url.startswith("blob:")]
        assert [url for url in ours if not url.startswith(f"{prefix}/")] == []


@pytest.mark.parametrize("at", range(len(phantoms.SYNTAXES)), ids=[*phantoms.SYNTAXES])
def test_compressed_frames_travel_as_they_are_and_the_viewer_decodes_them(world: World, at: int) -> None:
    with world.page() as visit:
        sizes: list[int] = []

        def on_response(response: Any) -> None:
            if "/frames/" in response.url:
                sizes.append(int(response.headers["content-length"]))

        visit.page.on("response", on_response)
        open_study(visit, COMPRESSED + at)
        visit.shows(CANVAS, phantoms.turned(1), 0)
        assert len(sizes) == 1
        assert sizes[0] < 2 * phantoms.SIDE**2, "fewer bytes than the pixels have"


def test_a_cine_is_asked_for_frame_by_frame(world: World) -> None:
    with world.page() as visit:
        open_study(visit, CINE)
        visit.shows(CANVAS, phantoms.turned(1))
        visit.shoot("ohif-cine")
        scroll(visit)
        visit.shows(CANVAS, phantoms.turned(2))
        visit.until(lambda: len(visit.asked("/frames/")) >= 12, "all frames")
        assert {url.rpartition("/frames/")[2] for url in visit.asked("/frames/")} == {str(n) for n in range(1, 13)}


def test_a_document_is_shown_by_the_browser(world: World) -> None:
    with world.page() as visit:
        open_study(visit, DOCUMENT)
        shown = visit.page.wait_for_selector("object[type='application/pdf']", timeout=60_000)
        visit.until(lambda: visit.asked("chrome-extension://"), "the browser's viewer of documents opens it")
        assert shown.get_attribute("data").endswith(".1.1/rendered")
        visit.page.wait_for_timeout(2000)
        visit.shoot("ohif-document")


def test_a_segmentation_lies_over_its_slices(world: World) -> None:
    with world.page() as visit:
        open_study(visit, SEGMENTED)
        visit.shows(CANVAS, phantoms.turned(5), 0)
        visit.page.get_by_text("Middle").first.dblclick()
        visit.until(lambda: reds(visit.look(CANVAS, INNER)), "red over the middle")
        visit.shoot("ohif-segmentation")
        visit.shows(CANVAS, phantoms.turned(5), 0, OUTER)
        assert len([url for url in visit.requests if url.endswith(f".{SEGMENTED}.2.1")]) == 1


def reds(colours: list[list[int]] | None) -> bool:
    """All are more red than green, and as blue as green."""
    return colours is not None and all(red > green + 60 and green == blue for red, green, blue in colours)


@pytest.mark.skipif(not FFMPEG, reason="no ffmpeg on this machine: apt install ffmpeg")
def test_a_film_is_played_from_its_rendering_by_ranges(world: World, tmp_path: Path) -> None:
    world.store(phantoms.film(FILM, tmp_path, str(FFMPEG)))
    with world.page() as visit:
        statuses: list[int] = []
        visit.page.on("response", lambda one: one.url.endswith("/rendered") and statuses.append(one.status))
        open_study(visit, FILM)
        visit.until(lambda: statuses, "the film is asked for")
        visit.until(lambda: visit.look(CANVAS), "a canvas")
        scroll(visit)
        visit.shows(CANVAS, phantoms.COLOURS, 6)
        visit.shoot("ohif-film")
        assert set(statuses) == {206}
        assert visit.asked("/frames/") == []


def test_a_tracing_is_drawn_from_bulk_data(world: World) -> None:
    with world.page() as visit:
        open_study(visit, TRACING)
        points = [[x / 40, y / 100] for x in range(1, 40) for y in range(10, 90)]
        visit.until(lambda: drawn(visit.look(CANVAS, points)) > 100, "lines")
        visit.shoot("ohif-tracing")
        assert [url.partition("/bulkdata/")[2] for url in visit.asked("/bulkdata/")] == ["54000100/0/54001010"]


def drawn(colours: list[list[int]] | None) -> int:
    return sum(1 for one in colours or () if any(one))


@pytest.mark.parametrize("mode", ["viewer", "microscopy"])
def test_a_slide_is_drawn_tile_by_tile_in_its_colours(world: World, mode: str) -> None:
    with world.page() as visit:
        open_study(visit, SLIDE, mode)
        # Rows of the phantom run to the left and columns up, as ImageOrientationSlide says.
        left, right = (500, 1000) if mode == "viewer" else (400, 800)
        places = [(left, 200), (right, 200), (left + 100, 600), (right, 600)]
        visit.until(lambda: visit.screen(places, [*reversed(phantoms.COLOURS)]), "the four colours")
        visit.shoot(f"ohif-slide-{mode}")
        assert len(visit.asked("/bulkdata/00480105/0/00282000")) >= 1, "the ICC profile"
        tiles = {url.rpartition("/frames/")[2] for url in visit.asked(f".{SLIDE}.1.1/frames/")}
        assert tiles <= {str(number) for number in range(1, 65)}
        assert len(tiles) > 16


def test_a_patient_is_found_by_part_of_the_name(world: World) -> None:
    with world.page() as visit:
        visit.page.goto(f"{visit.origin}/viewer/ohif/")
        visit.until(lambda: visit.page.get_by_text("Viewer, Phantom").count() > 5, "the list")
        visit.page.locator("input").first.fill("ülle")
        visit.until(lambda: visit.page.get_by_text("Viewer, Phantom").count() == 0, "only what matches")
        assert visit.page.get_by_text("Müller, Änne").count() == 1
        visit.shoot("ohif-list")
        # The viewer filters what it has, and asks the server a little later
        visit.until(lambda: any("PatientName=*ülle*" in unquote(url) for url in visit.asked("/studies?")), "the search")


def test_the_explorer_opens_a_study_in_the_viewer(world: World) -> None:
    with world.page() as visit:
        visit.page.goto(f"{visit.origin}/pacs/")
        subject = f"[{{ level: 'series', study: '{dicoms.PREFIX}.{STACK}', series: '{dicoms.PREFIX}.{STACK}.1' }}]"
        action = f"""async () => {{
          const {{ fitting }} = await import("./explorer/actions.js");
          await import("./explorer/actions/viewer.js");
          const found = fitting({subject}).find(({{ name }}) => name === "viewer-ohif");
          return [found.label, found.href({subject})];
        }}"""
        label, address = visit.page.evaluate(action)
        assert label == "Open in OHIF"
        assert address.startswith(f"{visit.origin}/pacs/viewer/ohif/viewer?")
        visit.page.goto(address)
        visit.until(lambda: visit.look(CANVAS), "a picture")
        visit.shows(CANVAS, phantoms.turned(5), 0)


def test_the_explorer_leads_from_a_segmentation_to_its_images_in_the_viewer(world: World) -> None:
    with world.page() as visit:
        visit.page.goto(
            f"{visit.origin}/pacs/#/studies/{dicoms.PREFIX}.{SEGMENTED}/series/{dicoms.PREFIX}.{SEGMENTED}.2"
        )
        link = visit.page.get_by_role("link", name="Over its images in OHIF")
        link.wait_for(timeout=60_000)
        visit.shoot("explorer-segmentation")
        visit.page.goto(link.get_attribute("href"))
        visit.shows(CANVAS, phantoms.turned(5), 0)


def test_an_object_that_is_uploaded_by_the_viewer_is_stored(world: World, tmp_path: Path) -> None:
    (tmp_path / "new.dcm").write_bytes(dicoms.ct(study=90, PatientName="Uploaded^By"))
    with world.page() as visit:
        visit.page.goto(f"{visit.origin}/viewer/ohif/")
        visit.page.get_by_text("Upload").first.click(timeout=60_000)
        visit.page.locator("input[type=file]").first.set_input_files(str(tmp_path / "new.dcm"))
        visit.until(lambda: stored(world, 90), "it is there")
        visit.shoot("ohif-upload")


def stored(world: World, study: int) -> bool:
    url = f"{world.origin}/dicom-web/studies?StudyInstanceUID={dicoms.PREFIX}.{study}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bool(answer.read() != b"[]")
