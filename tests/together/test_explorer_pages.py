"""The explorer's reading half in a browser: lists, search, look-up, the viewer, attributes; text of objects stays text,
and everybody can use it."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import browsing
import commands
import documents
import numpy as np
import pytest
from browsing import Browsed, browser, needs_chromium
from dicoms import PREFIX, ct, dataset, part10
from playwright.sync_api import Browser, expect

pytestmark = needs_chromium

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    '<script>alert(1)</script>^"onmouseover="alert(1)',
    "javascript:alert(1)",
    "{{constructor.constructor('alert(1)')()}}",
)
SLICES = 12
SIZE = 64


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as made:
        yield made


def phantom(number: int, **attributes: Any) -> bytes:
    """A slice of pixels of 100 times its number, but for a corner; slices lie in the order of their numbers."""
    pixels = np.full((SIZE, SIZE), 100 * number, "<i2")
    pixels[:8, :8] = -1000
    ds = dataset(number, study=1, Rows=SIZE, Columns=SIZE, PixelRepresentation=1, PixelData=pixels.tobytes())
    ds.PatientName = "Doe^Jane"
    ds.StudyDescription = "HEAD"
    ds.SeriesDescription = "axial"
    ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
    ds.WindowCenter, ds.WindowWidth = ["600", "40"], ["1201", "400"]
    ds.ImagePositionPatient = ["0", "0", str(100 - 5 * number)]
    ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    ds.PixelSpacing = ["1", "1"]
    ds.SliceThickness = "5"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return part10(ds)


PIXELS = """SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation
    PixelData"""


def cine() -> bytes:
    """Six frames in colour."""
    frames = np.zeros((6, 32, 32, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(6)[:, None, None] * 40
    ds = dataset(1, study=2, Rows=32, Columns=32, SamplesPerPixel=3, PhotometricInterpretation="RGB", Modality="US")
    ds.PlanarConfiguration, ds.NumberOfFrames = 0, 6
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    ds.PixelData = frames.tobytes()
    return part10(ds)


class World:
    """A server with studies of several kinds."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}/"

    def store(self, *objects: bytes) -> None:
        for one in objects:
            kind = {"Content-Type": "application/dicom"}
            request = urllib.request.Request(f"{self.root}dicom-web/studies", one, kind)
            urllib.request.urlopen(request, timeout=60).close()

    def patients(self) -> list[str]:
        """Patient IDs of all studies that there are by now."""
        rows = self.ask("dicom-web/studies?limit=1000")
        return [row["00100020"].get("Value", [""])[0] for row in rows]

    def all(self) -> str:
        """What the list says while nothing is searched for."""
        return f"{len(self.patients())} studies"

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(self.root + path, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with commands.served(tmp_path_factory.mktemp("pages")) as served:
        made = World(served.port)
        made.store(*(phantom(number) for number in range(1, SLICES + 1)), cine())
        made.store(*(ct(1, study=10 + at, PatientName=name, PatientID=f"H{at}") for at, name in enumerate(HOSTILE)))
        made.store(ct(1, study=3, PatientName="Müller^Jörg", PatientID="P1", IssuerOfPatientID="B"))
        made.store(*(ct(1, study=study) for study in range(100, 330)))
        yield made


@pytest.fixture
def page(chromium: Browser, world: World) -> Iterator[Browsed]:
    with browsing.browsing(chromium, world.root) as made:
        yield made


SERIES = f"studies/{PREFIX}.1/series/{PREFIX}.1.1"


def shown(made: Browsed, index: int) -> None:
    """Wait until the viewer has painted this picture."""
    made.page.wait_for_selector(f".viewer[data-shown='{index}']")


def grey(made: Browsed) -> list[int]:
    """Red, green and blue in the middle of the picture."""
    made.allowed.append("willReadFrequently")  # it is the test that reads
    code = """() => {
      const canvas = document.querySelector(".stage canvas");
      const at = canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
      return [at[0], at[1], at[2]];
    }"""
    return made.page.evaluate(code)


NEAR = """shade => {
  const canvas = document.querySelector(".stage canvas");
  const at = canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data;
  return Math.abs(at[0] - shade) < 4;
}"""
"""Whether the middle of the picture has this shade, as a JPEG keeps it."""


def settled(made: Browsed) -> None:
    """Two frames of the screen later, everything that was asked for is painted."""
    made.page.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")


# -- lists ---------------------------------------------------------------------------------------------------
def test_studies_are_searched_as_somebody_types_and_the_address_holds_it(page: Browsed, world: World) -> None:
    page.open("studies")
    expect(page.page.locator(".counter")).to_have_text(world.all())
    page.look("studies")
    page.page.get_by_label("Patient name", exact=True).press_sequentially("jörg m")
    expect(page.page.locator(".counter")).to_have_text("1 study")
    expect(page.page.locator(".line .name")).to_have_text("Müller, Jörg")
    assert page.page.url.endswith("#/studies?name=j%C3%B6rg+m")
    page.page.reload()
    expect(page.page.locator(".counter")).to_have_text("1 study")
    expect(page.page.get_by_label("Patient name", exact=True)).to_have_value("jörg m")
    page.page.get_by_role("button", name="Clear the search").click()
    expect(page.page.locator(".counter")).to_have_text(world.all())


def test_every_column_that_is_searched_finds_what_it_says(page: Browsed, world: World) -> None:
    page.open("studies")
    for label, text, found in [
        ("Patient ID", "H2", 1),
        ("Accession number", "ACC10", 11),
        ("Study description", "hea", 1),
    ]:
        page.page.get_by_label(label, exact=True).fill(text)
        expect(page.page.locator(".counter")).to_have_text("1 study" if found == 1 else f"{found} studies")
        page.page.get_by_label(label, exact=True).fill("")
        expect(page.page.locator(".counter")).to_have_text(world.all())
    page.page.get_by_label("Modality", exact=True).select_option("US")
    expect(page.page.locator(".counter")).to_have_text("1 study")
    page.page.get_by_label("Modality", exact=True).select_option("")
    page.page.get_by_label("Study date", exact=True).select_option("today")
    expect(page.page.get_by_role("heading", name="No study matches")).to_be_visible()


def test_yesterday_is_a_day_of_the_calendar_also_when_clocks_were_put_forward(page: Browsed) -> None:
    zone = {"timezoneId": "Europe/Berlin"}
    page.page.context.new_cdp_session(page.page).send("Emulation.setTimezoneOverride", zone)
    page.page.clock.set_fixed_time("2026-03-29T22:30:00Z")  # half past midnight, after a day of 23 hours
    page.open("status")
    read = "async () => (await import('./explorer/components/search.js')).dateRange('yesterday')"
    assert page.page.evaluate(read) == "20260329"


def test_a_long_list_is_as_large_as_a_screen(page: Browsed, world: World) -> None:
    page.open("studies?order=PatientID")
    expect(page.page.locator(".line").first).to_be_visible()
    page.page.locator(".list").evaluate("(list) => (list.scrollTop = list.scrollHeight)")
    patients = world.patients()
    expect(page.page.locator(f".line[aria-rowindex='{len(patients) + 1}'] .name")).to_be_visible()
    assert page.page.locator(".line").count() < 60
    page.page.get_by_role("button", name="ID", exact=True).click()
    expect(page.page.locator(".line").first).to_contain_text(max(patients))


def test_lists_are_used_by_keys_alone(page: Browsed) -> None:
    page.open("studies?name=doe")
    expect(page.page.locator(".counter")).to_have_text("1 study")
    page.page.keyboard.press("ArrowDown")
    expect(page.page.locator(".line").first).to_be_focused()
    page.page.keyboard.press("ArrowRight")
    expect(page.page.locator(".series-card")).to_contain_text("axial")
    page.page.keyboard.press("Space")
    expect(page.page.locator(".chosen")).to_contain_text("1 study selected")
    page.page.locator(".line").first.focus()
    page.page.keyboard.press("Enter")
    expect(page.page.get_by_role("heading", level=1)).to_have_text("Doe, Jane")
    page.page.go_back()
    expect(page.page.locator(".counter")).to_have_text("1 study")


def test_a_double_click_opens_a_study_and_selects_nothing(page: Browsed) -> None:
    page.open("studies?name=doe")
    expect(page.page.locator(".counter")).to_have_text("1 study")
    page.page.locator(".line .cell").nth(5).hover()
    for clicks in (1, 2):  # the page has opened before the second, as it has for people
        page.page.mouse.down(click_count=clicks)
        page.page.mouse.up(click_count=clicks)
        expect(page.page.get_by_role("heading", level=1)).to_have_text("Doe, Jane")
    assert page.page.evaluate("getSelection().type") != "Range"


def test_a_field_that_is_left_as_it_was_searched_for_asks_nothing_again(page: Browsed) -> None:
    asked: list[str] = []
    page.page.on("request", lambda one: asked.append(one.url) if "PatientName" in one.url else None)
    page.open("patients")
    page.page.get_by_label("Patient name", exact=True).fill("jane")
    expect(page.page.locator(".counter")).to_have_text("1 patient")
    before = list(asked)
    assert before
    page.page.keyboard.press("Tab")
    page.page.get_by_role("button", name="Patient", exact=True).click()
    expect(page.page.locator("[aria-sort=ascending]")).to_have_count(1)
    expect(page.page.locator(".list[aria-busy]")).to_have_count(0)
    assert [one for one in asked[len(before) :] if "orderby" not in one] == []


def test_menus_are_used_by_keys_alone(page: Browsed) -> None:
    page.open("studies?name=doe")
    page.page.get_by_role("button", name="Actions with this study").focus()
    page.page.keyboard.press("Enter")
    items = page.page.get_by_role("menuitem")
    expect(items.first).to_be_focused()
    page.page.keyboard.press("ArrowDown")
    expect(items.nth(1)).to_be_focused()
    page.page.keyboard.press("End")
    expect(items.last).to_have_text("Delete…")
    expect(items.last).to_be_focused()
    page.page.keyboard.press("Escape")
    expect(items).to_have_count(0)


def test_patients_of_one_id_are_told_apart_by_its_issuer(page: Browsed) -> None:
    page.open("patients?id=P1")
    expect(page.page.locator(".line .mono", has_text="P1").first).to_be_visible()
    page.page.get_by_role("link", name="Müller, Jörg").click()
    expect(page.page.locator(".counter")).to_have_text("1 study")
    expect(page.page.locator(".banner")).to_contain_text("issued by B")
    page.page.go_back()
    page.page.get_by_role("link", name="Doe, Jane").click()
    expect(page.page.locator(".counter")).to_have_text("1 study")
    expect(page.page.locator(".banner")).not_to_contain_text("issued by")


@pytest.mark.parametrize(
    ("identifier", "place"),
    [
        (f"{PREFIX}.1", f"studies/{PREFIX}.1"),
        (f"{PREFIX}.1.1", SERIES),
        (f"{PREFIX}.1.1.4", f"{SERIES}/instances/{PREFIX}.1.1.4"),
        ("ACC2", f"studies/{PREFIX}.2"),
        ("H3", "patient?PatientID=H3"),
    ],
)
def test_an_identifier_that_is_pasted_leads_to_its_page(page: Browsed, identifier: str, place: str) -> None:
    page.open("status")
    page.page.get_by_role("searchbox", name="Look up").fill(identifier)
    page.page.keyboard.press("Enter")
    page.page.wait_for_url(f"**/#/{place}")
    expect(page.page.get_by_role("heading", level=1)).to_be_visible()


# -- the viewer ----------------------------------------------------------------------------------------------
def test_a_series_is_scrolled_windowed_and_inverted_with_the_right_greys(page: Browsed) -> None:
    page.open(SERIES)
    shown(page, 0)
    page.look("viewer")
    assert grey(page) == [21] * 3  # 100 of 0 to 1200: (100 - 599.5) / 1200 + 0.5, times 255
    page.page.keyboard.press("End")
    shown(page, SLICES - 1)
    assert grey(page) == [255] * 3
    expect(page.page.locator(".corner.bottom-left")).to_contain_text("Image 12 / 12")
    page.page.keyboard.press("Home")
    shown(page, 0)
    page.page.locator(".stage canvas").hover()
    page.page.mouse.wheel(0, 100)
    shown(page, 1)
    assert grey(page) == [43] * 3
    expect(page.page.locator(".corner.bottom-right")).to_contain_text("200 HU")
    page.page.keyboard.press("i")
    settled(page)
    assert grey(page) == [212] * 3
    page.page.keyboard.press("x")
    page.page.get_by_label("Window preset").select_option(label="As stored 2")
    settled(page)
    assert grey(page) == [230] * 3  # 200 of -160 to 240
    expect(page.page.locator(".corner.bottom-right")).to_contain_text("C 40   W 400")


COMPARE = """async ([dataset, instance]) => {
  const grey = await import(new URL("explorer/viewer/grey.js", document.baseURI).href);
  const look = grey.describe(dataset, 0);
  if (!look.raw) return "left to the server";
  const accept = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1";
  const frame = await fetch(`${instance}/frames/1`, { headers: { accept } });
  const values = grey.words(await frame.arrayBuffer(), look);
  const ours = new ImageData(look.columns, look.rows);
  const window = look.windows[0] ?? grey.ownWindow(values, look);
  grey.paint(values, look, window, false, new Uint32Array(ours.data.buffer));
  const drawn = await fetch(`${instance}/frames/1/rendered`, { headers: { accept: "image/png" } });
  const bitmap = await createImageBitmap(await drawn.blob());
  const context = new OffscreenCanvas(look.columns, look.rows).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const theirs = context.getImageData(0, 0, look.columns, look.rows).data;
  let worst = 0;
  for (let at = 0; at < theirs.length; at += 4) worst = Math.max(worst, Math.abs(theirs[at] - ours.data[at]));
  return [worst, new Set(theirs).size];
}"""


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"WindowCenter": "300", "WindowWidth": "500"},
        {"WindowCenter": "300", "WindowWidth": "500", "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": "300", "WindowWidth": "500", "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": "0", "WindowWidth": "1"},
        {"RescaleSlope": "2.5", "RescaleIntercept": "-1024"},
        {"RescaleSlope": "-1", "WindowCenter": "0", "WindowWidth": "900"},
        {"PixelRepresentation": 0},
        {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": "100", "WindowWidth": "800"},
        {"PresentationLUTShape": "INVERSE", "WindowCenter": "100", "WindowWidth": "800"},
        {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": -50, "PixelPaddingRangeLimit": 80},
        {"BitsStored": 12, "HighBit": 11, "WindowCenter": "0", "WindowWidth": "3000"},
        {"BitsStored": 12, "HighBit": 15, "WindowCenter": "0", "WindowWidth": "300"},
        {"Modality": "PT"},
    ],
    ids=str,
)
def test_greys_are_those_of_the_server(page: Browsed, world: World, attributes: dict[str, Any], request: Any) -> None:
    number = 40 + next(iter(request.node.callspec.indices.values()))
    pixels = np.random.default_rng(7).integers(-1500, 1500, (SIZE, SIZE)).astype("<i2")
    common = {"Rows": SIZE, "Columns": SIZE, "PixelRepresentation": 1, "PixelData": pixels.tobytes()}
    world.store(ct(1, study=number, **{**common, **attributes}))
    uid = f"{PREFIX}.{number}"
    instance = f"dicom-web/studies/{uid}/series/{uid}.1/instances/{uid}.1.1"
    page.open("status")
    worst, shades = page.page.evaluate(COMPARE, [world.ask(f"{instance}/metadata")[0], world.root + instance])
    assert worst <= 1
    assert shades > 1


def overlaid(number: int, study: int, value: int, bits: int) -> bytes:
    """A slice of one value under an overlay whose bytes are `bits`: the server draws it."""
    pixels = np.full((SIZE, SIZE), value, "<i2")
    ds = dataset(number, study=study, Rows=SIZE, Columns=SIZE, PixelData=pixels.tobytes())
    ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
    ds.WindowCenter, ds.WindowWidth = ["600", "40"], ["1201", "400"]
    ds.add_new(0x60000010, "US", SIZE)
    ds.add_new(0x60000011, "US", SIZE)
    ds.add_new(0x60000040, "CS", "G")
    ds.add_new(0x60000050, "SS", [1, 1])
    ds.add_new(0x60000100, "US", 1)
    ds.add_new(0x60000102, "US", 0)
    ds.add_new(0x60003000, "OW", bytes([bits]) * (SIZE * SIZE // 8))
    return part10(ds)


def test_overlays_are_seen(page: Browsed, world: World) -> None:
    world.store(overlaid(1, 39, 0, 0xFF))
    page.open(f"studies/{PREFIX}.39/series/{PREFIX}.39.1")
    shown(page, 0)
    assert grey(page) == [255] * 3
    page.page.keyboard.press("i")
    settled(page)
    assert grey(page) == [0] * 3


def test_a_window_holds_for_the_next_picture_that_the_server_draws(page: Browsed, world: World) -> None:
    world.store(*(overlaid(number, 38, 100 * number, 0) for number in (1, 2)))
    page.open(f"studies/{PREFIX}.38/series/{PREFIX}.38.1")
    shown(page, 0)
    page.page.get_by_label("Window preset").select_option(label="As stored 2")
    page.page.locator(".stage canvas").focus()
    page.page.keyboard.press("End")
    shown(page, 1)
    expect(page.page.locator(".corner.bottom-right")).to_contain_text("C 40   W 400")
    page.allowed.append("willReadFrequently")  # it is the test that reads
    page.page.wait_for_function(NEAR, arg=230)  # 200 of -160 to 240


def test_dragging_windows_and_reset_takes_it_back(page: Browsed) -> None:
    page.open(SERIES)
    shown(page, 0)
    box = page.page.locator(".stage canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    page.page.mouse.move(x - 60, y + 40, steps=4)
    page.page.mouse.up()
    settled(page)
    corner = page.page.locator(".corner.bottom-right")
    expect(corner).not_to_contain_text("W 1201")
    expect(corner).to_contain_text("C 760")
    page.page.keyboard.press("x")
    expect(corner).to_contain_text("C 600   W 1201")


def test_words_over_the_image_can_be_switched_off(page: Browsed) -> None:
    page.open(SERIES)
    shown(page, 0)
    expect(page.page.locator(".corner.top-left")).to_contain_text("Doe, Jane")
    expect(page.page.locator(".edge-left")).to_have_text("R")
    page.page.keyboard.press("o")
    expect(page.page.locator(".corner.top-left")).to_be_hidden()


def test_slices_lie_in_the_order_of_geometry(page: Browsed, world: World) -> None:
    positions = [3, 1, 4, 2, 5]
    for number, height in enumerate(positions, 1):
        uid = {"StudyInstanceUID": f"{PREFIX}.5", "SeriesInstanceUID": f"{PREFIX}.5.1"}
        place = ["0", "0", str(10 * height)]
        world.store(phantom(number, SOPInstanceUID=f"{PREFIX}.5.1.{number}", ImagePositionPatient=place, **uid))
    page.open(f"studies/{PREFIX}.5/series/{PREFIX}.5.1")
    shown(page, 0)
    order = []
    for index in range(len(positions)):
        shown(page, index)
        order.append(page.page.locator(".corner.bottom-left").inner_text().partition("No. ")[2].split()[0])
        page.page.keyboard.press("ArrowDown")
    assert order == ["2", "4", "1", "3", "5"]


def test_frames_play_in_colour(page: Browsed) -> None:
    page.open(f"studies/{PREFIX}.2/series/{PREFIX}.2.1")
    shown(page, 0)
    page.page.keyboard.press("Space")
    shown(page, 4)
    page.page.keyboard.press("Space")
    page.page.keyboard.press("End")
    shown(page, 5)
    red, green, blue = grey(page)
    assert abs(red - 200) < 8
    assert green < 8
    assert blue < 8
    expect(page.page.get_by_label("Window preset")).to_be_hidden()


def test_documents_are_shown_in_a_frame(page: Browsed, world: World) -> None:
    report = dataset(1, study=6, Modality="SR", **dict.fromkeys(PIXELS.split()))
    report.update(documents.report())
    report.SOPInstanceUID = f"{PREFIX}.6.1.1"
    report.StudyInstanceUID, report.SeriesInstanceUID = f"{PREFIX}.6", f"{PREFIX}.6.1"
    world.store(part10(report))
    page.open(f"studies/{PREFIX}.6/series/{PREFIX}.6.1")
    expect(page.page.frame_locator(".stage iframe").get_by_role("heading", level=1)).to_contain_text("Chest report")
    assert page.page.locator(".stage iframe").get_attribute("sandbox") == ""
    for _ in range(2):  # words over images are switched off, and on again: they are not for documents
        page.page.keyboard.press("o")
        expect(page.page.locator(".corner.top-left")).to_be_hidden()


# -- attributes ----------------------------------------------------------------------------------------------
def test_attributes_are_listed_searched_and_folded(page: Browsed) -> None:
    page.open(f"{SERIES}/instances/{PREFIX}.1.1.4")
    tree = page.page.locator(".tags")
    expect(tree.get_by_role("row", name="Patient's Name")).to_contain_text("Doe, Jane")
    page.look("instance")
    expect(tree.get_by_role("row", name="SOP Class UID")).to_contain_text("CT Image Storage")
    tree.get_by_role("searchbox").fill("window c")
    expect(tree.locator("tbody tr")).to_have_count(1)
    expect(tree.locator("tbody tr")).to_contain_text("(0028,1050)")
    for name in (
        "Download as ZIP",
        "Download the DICOM file",
        "Download the attributes (JSON)",
        "Download the picture (PNG)",
    ):
        link = page.page.locator(".downloads").get_by_role("link", name=name)
        with page.page.expect_download() as coming:
            link.click()
        assert coming.value.failure() is None


def test_a_study_that_is_gone_is_said_to_be(page: Browsed) -> None:
    page.allowed.append("404")
    page.open("studies/1.2.3")
    expect(page.page.get_by_role("alert")).to_contain_text("no such study")
    page.open("nowhere")
    expect(page.page.get_by_role("alert")).to_contain_text("nowhere")


# -- what must never happen ----------------------------------------------------------------------------------
@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_text_of_objects_is_text(page: Browsed, world: World, number: int) -> None:
    dialogs: list[str] = []
    page.page.on("dialog", lambda one: (dialogs.append(one.message), one.dismiss()))
    uid = f"{PREFIX}.{10 + number}"
    places = ["studies", f"studies?id=H{number}", "patients", f"studies/{uid}", f"studies/{uid}/series/{uid}.1"]
    places += [
        f"studies/{uid}/series/{uid}.1/instances/{uid}.1.1",
        f"patient?PatientID=H{number}",
        f"lookup?q=H{number}",
    ]
    for place in places:
        page.open(place)
        expect(page.page.locator("main:not(.loading)")).to_be_visible()
        expect(page.page.get_by_role("heading", level=1).first).to_be_attached()
    assert dialogs == []
    assert page.page.locator("main img[src='x'], main script, main [onmouseover], main [onerror]").count() == 0
    assert page.page.locator("a[href^='javascript']").count() == 0


def test_nothing_of_other_pages_may_frame_or_script_it(page: Browsed) -> None:
    page.open("studies")
    expect(page.page.locator(".line").first).to_be_visible()
    refused = page.page.evaluate("""() => {
      try { document.body.innerHTML = "<b>x</b>"; return ""; } catch (error) { return error.name; }
    }""")
    assert refused == "TypeError"
    page.allowed += ["TrustedHTML", "Trusted"]


PLACES = {
    "studies": ".line",
    "studies?name=nobody": ".notice",
    "patients": ".line",
    f"studies/{PREFIX}.1": ".series-card",
    SERIES: ".viewer[data-shown]",
    f"{SERIES}/instances/{PREFIX}.1.1.4": ".tags tbody tr",
    "patient?PatientID=H3": ".line",
    "lookup?q=nothing": ".notice",
}
"""Pages, and what is there once they are."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(page: Browsed, scheme: str) -> None:
    page.page.emulate_media(color_scheme=scheme)
    found = []
    for place, there in PLACES.items():
        page.open(place)
        expect(page.page.locator(there).first).to_be_visible()
        found += [f"{place}: {one}" for one in page.barriers()]
    assert found == []
