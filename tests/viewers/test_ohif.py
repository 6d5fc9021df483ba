"""OHIF's build is made for the root of a host; adapted, it names nothing absolutely."""

import re

import packages
import pytest

from dicomweb.errors import BadPackage
from dicomweb.viewers import ohif
from dicomweb.viewers.unpacking import unpack


@pytest.fixture
def adapted(tmp_path):
    (tmp_path / "into").mkdir()
    unpack(packages.pack(tmp_path / "p.tgz"), tmp_path / "into", "@ohif/app")
    ohif.adapt(tmp_path / "into")
    return tmp_path / "into"


def test_the_page_links_relatively(adapted):
    page = (adapted / "index.html").read_text()
    assert re.findall(r'(?:href|src)="([^"]*)"', page) == [
        "./assets/icon.png", "./app-config.js", "./app.bundle.0f6159c501addfe9.js", "./app.bundle.css",
    ]  # fmt: skip
    assert 'content="width=device-width"' in page


def test_where_the_page_is_comes_from_the_configuration(adapted):
    assert (adapted / "index.html").read_text().count('window.PUBLIC_URL||="/"') == 2
    assert "window.PUBLIC_URL = here.pathname" in ohif.CONFIGURATION


def test_scripts_and_styles_find_their_parts_beside_themselves(adapted):
    script = (adapted / "app.bundle.0f6159c501addfe9.js").read_text()
    assert '.p = "/"' not in script
    assert "browserImportFunction((self.PUBLIC_URL||" in script
    assert "+'other/other.min.js')" in script
    assert "url(./a34f9d1faa5f3315.woff2)" in (adapted / "app.bundle.css").read_text()


def test_the_page_at_a_deeper_address_links_further_up():
    assert ohif.at_depth('<script src="./a.js"></script><link href="./b.css">', "../../") == (
        '<script src="../../a.js"></script><link href="../../b.css">'
    )
    assert ohif.at_depth('<script src="./a.js">', "./") == '<script src="./a.js">'


def test_its_service_worker_and_the_configuration_of_others_are_gone(adapted):
    assert not (adapted / "init-service-worker.js").exists()
    assert not (adapted / "app-config.js").exists()
    assert "service-worker" not in (adapted / "index.html").read_text()


def test_the_configuration_names_no_host():
    addresses = re.findall(r"https?://[^\s\"']+", ohif.CONFIGURATION)
    assert addresses == ["https://docs.ohif.org/configuration/configurationFiles"]
    assert '"../../dicom-web"' in ohif.CONFIGURATION


@pytest.mark.parametrize("name", ["dist/index.html", "dist/app.bundle.0f6159c501addfe9.js"])
def test_a_build_laid_out_otherwise_is_refused(tmp_path, name):
    (tmp_path / "into").mkdir()
    files = {key: data for key, data in packages.FILES.items() if key != name}
    unpack(packages.pack(tmp_path / "p.tgz", files), tmp_path / "into", "@ohif/app")
    with pytest.raises(BadPackage):
        ohif.adapt(tmp_path / "into")
