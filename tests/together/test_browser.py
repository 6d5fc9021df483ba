"""What a browser makes of it: a video plays and seeks (Chromium)."""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import commands
import pytest
from realdata import real_files

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
VIDEOS = [file for file in real_files() if file.name == "h264-hp41.dcm"]

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine: apt install chromium")

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

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def browse(url: str, profile: Path) -> str:
    """Open a page, let it run for a few seconds of its own time, and return its DOM."""
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}", "--timeout=20000",
            "--virtual-time-budget=8000", "--dump-dom", url,
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout


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


@pytest.mark.long
@pytest.mark.skipif(not VIDEOS, reason="no real files beside the project")
def test_a_video_plays_to_its_end_and_seeks(tmp_path: Path) -> None:
    with commands.served(tmp_path) as served:
        url = imported(served, VIDEOS[0])
        with page(PLAYS.format(url=f"{url}/rendered")) as address:
            dom = browse(address, tmp_path / "profile")
    said = dom.partition('data-said="')[2].partition('"')[0]
    assert "error" not in said
    assert "long1.2" in said, dom
    assert "seeked0.8" in said
    assert "playing" in said
