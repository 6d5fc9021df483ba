"""What a browser makes of it: a video plays and seeks (Chromium)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import commands
import pytest
from browsing import PATIENCE, browser, needs_chromium
from loopback import Quiet, serving
from realdata import real_files

VIDEOS = [file for file in real_files() if file.name == "h264-hp41.dcm"]

pytestmark = needs_chromium

PLAYS = """<!DOCTYPE html><title>waiting</title><video id=v muted src="{url}"></video><script>
const v = document.getElementById("v"), said = [];
const tell = text => {{ said.push(text); document.body.dataset.said = said.join(" "); }};
v.onerror = () => tell("error" + v.error.code);
v.onloadedmetadata = () => {{
  tell(`long${{v.duration.toFixed(1)}}`);
  v.currentTime = 0.8;
}};
v.onseeked = () => {{
  tell(`seeked${{v.currentTime.toFixed(1)}}`);
  v.onseeked = null;
  v.play().then(() => tell("playing"));
}};
v.onended = () => tell("ended");
</script>"""


@contextmanager
def page(text: str) -> Iterator[str]:
    """A page on a loopback port of its own."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as url:
        yield f"{url}/"


def imported(served: commands.Served, file: Path) -> str:
    """Store a file, and return the URL of its instance."""
    import json
    import urllib.request

    request = urllib.request.Request(
        f"http://127.0.0.1:{served.port}/dicom-web/studies", file.read_bytes(), {"Content-Type": "application/dicom"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        url: str = json.load(answer)["00081199"]["Value"][0]["00081190"]["Value"][0]
    return url


@pytest.mark.skipif(not VIDEOS, reason="no real files beside the project")
def test_a_video_plays_to_its_end_and_seeks(tmp_path: Path) -> None:
    with commands.served(tmp_path) as served, browser() as chromium:
        url = imported(served, VIDEOS[0])
        with page(PLAYS.format(url=f"{url}/rendered")) as address:
            opened = chromium.new_page()
            opened.goto(address)
            opened.wait_for_function("/ended|error/.test(document.body.dataset.said)", timeout=PATIENCE)
            said = opened.evaluate("document.body.dataset.said")
    assert said.split() == ["long1.2", "seeked0.8", "playing", "ended"]
