"""A slide opens in dicom-microscopy-viewer, which Slim is built on, on a page of another origin: tiles, ICC profile,
colours, and the preflights before them."""

import http.server
import shutil
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import browsers
import commands
import dicoms
import phantoms
import pytest
from loopback import serving

STUDY = 7
# Version, which folder of the package is put on the site, and where: the viewer looks for its worker there.
PACKAGES = {
    "dicom-microscopy-viewer": ("0.48.24", "package/dist/dynamic-import", "static/js"),
    "dicomweb-client": ("0.11.3", "package/build", "dicomweb-client"),
}
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>Slide</title>
<div id="slide" style="width: 800px; height: 800px"></div>
<script src="dicomweb-client/dicomweb-client.js"></script>
<script type="module">
  const [ROOT, UID] = ["{root}", "{uid}"];
  const module = await import("/static/js/dicomMicroscopyViewer.min.js");
  const { viewer, metadata } = module.default ?? window.dicomMicroscopyViewer;
  const client = new window.DICOMwebClient.api.DICOMwebClient({ url: ROOT });
  const found = await client.retrieveSeriesMetadata({ studyInstanceUID: UID, seriesInstanceUID: `${UID}.1` });
  const images = found.map((one) => new metadata.VLWholeSlideMicroscopyImage({ metadata: one }));
  const made = new viewer.VolumeImageViewer({ client, metadata: images, controls: [] });
  made.render({ container: "slide" });
</script>"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


class Files(http.server.SimpleHTTPRequestHandler):
    """Files of a folder."""

    def log_message(self, *_: object) -> None: ...


def site(folder: Path) -> AbstractContextManager[str]:
    """A folder as a site of its own."""
    return serving(partial(Files, directory=str(folder)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsers.browser() as opened:
        yield opened


def settings(origin: str) -> dict[str, str]:
    return {"ROENTGATE_CORS_ORIGINS": origin, "ROENTGATE_INLINE_BYTES": "256"}


def test_a_slide_shows_the_colours_of_its_tiles_to_a_page_of_another_origin(browser: Any, tmp_path: Path) -> None:
    pages = tmp_path / "site"
    pages.mkdir()
    for name, (version, built, place) in PACKAGES.items():
        with tarfile.open(browsers.npm_package(name, version)) as package:
            package.extractall(tmp_path / name, filter="data")
        shutil.copytree(tmp_path / name / built, pages / place)
    with site(pages) as origin, commands.served(tmp_path, **settings(origin)) as served:
        server = f"http://127.0.0.1:{served.port}"
        for data in phantoms.slide(STUDY, phantoms.profile()):
            request = urllib.request.Request(f"{server}/dicom-web/studies", data, {"Content-Type": "application/dicom"})
            urllib.request.urlopen(request, timeout=60).read()
        page = PAGE.replace("{root}", f"{server}/dicom-web").replace("{uid}", f"{dicoms.PREFIX}.{STUDY}")
        (pages / "index.html").write_text(page)
        (pages / "favicon.ico").write_bytes(b"")
        with browsers.visit(browser, origin, others={server}) as visit:
            visit.page.goto(origin)
            # Rows of the phantom run to the left and columns up, as ImageOrientationSlide says.
            turned = [*reversed(phantoms.COLOURS)]
            visit.until(lambda: visit.screen([(200, 200), (600, 200), (200, 600), (600, 600)], turned), "the colours")
            visit.shoot("slide")
            assert len(visit.asked("/bulkdata/00480105/0/00282000")) >= 1, "the ICC profile"
            tiles = {url.partition("/instances/")[2] for url in visit.asked("/frames/")}
            assert len(tiles) > 4
