"""Chromium, driven by Playwright: pages whose requests, failures and messages are kept, and pictures on their
canvases read back."""

import contextlib
import io
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import CHROMIUM, PICTURES
from browsing import browser as chromium
from PIL import Image

CACHE = Path(os.environ.get("ROENTGATE_TEST_CACHE") or Path.home() / ".cache" / "roentgate-tests")
"""Packages of others that tests fetch once."""

_ARGUMENTS = [
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox", "--disable-quic",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip

# Asks for pixels of the first element that a selector names, at fractions of its picture: a square as large as fits.
_LOOK = """([selector, points]) => {
  const canvas = document.querySelector(selector);
  if (!canvas || !canvas.width) return null;
  const copy = document.createElement("canvas");
  copy.width = canvas.width; copy.height = canvas.height;
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const side = Math.min(copy.width, copy.height);
  const [left, top] = [(copy.width - side) / 2, (copy.height - side) / 2];
  return points.map(([x, y]) => [...context.getImageData(left + x * side, top + y * side, 1, 1).data].slice(0, 3));
}"""
CORNERS = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
"""Where the quarters of a phantom are."""


@dataclass
class Visit:
    """A page under way.

    Attributes:
        page: Playwright's.
        origin: the only one that may be asked.
        requests: URLs in the order in which they were asked for, without the origin.
        wrong: what must not be: failed requests, other origins, errors in the console.
    """

    page: Any
    origin: str
    requests: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def asked(self, part: str) -> list[str]:
        """Requests whose URL has this in it."""
        return [url for url in self.requests if part in url]

    def look(self, selector: str, points: list[list[float]] | None = None) -> list[list[int]] | None:
        """Colours at points of the picture in an element; None while there is none."""
        found: list[list[int]] | None = self.page.evaluate(_LOOK, [selector, points or CORNERS])
        return found

    def until(self, holds: Callable[[], Any], what: str, patience: float = 60.0) -> Any:
        """Wait until something holds; the page works on meanwhile, and may be left for another."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                if found := holds():
                    return found
            except Exception as error:
                if "context was destroyed" not in str(error):
                    raise
            self.page.wait_for_timeout(50)
        self.shoot("late")
        raise AssertionError(f"not within {patience:.0f} seconds: {what}; {self.wrong}; {self.requests[-5:]}")

    def shows(self, selector: str, colours: Any, tolerance: int = 3, points: list[list[float]] | None = None) -> None:
        """Wait until the picture in an element has these colours (or greys) at the points."""
        wanted = [[one] * 3 if isinstance(one, int) else list(one) for one in colours]
        seen: list[Any] = [None]

        def same() -> bool:
            seen[0] = found = self.look(selector, points)
            return found is not None and all(
                abs(a - b) <= tolerance for one, other in zip(found, wanted, strict=True)
                for a, b in zip(one, other, strict=True)
            )  # fmt: skip

        try:
            self.until(same, f"{selector} shows {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows {seen[0]}") from None

    def screen(self, points: Sequence[tuple[int, int]], colours: Sequence[Sequence[int]], tolerance: int = 6) -> bool:
        """Whether the page, as people see it, has these colours at these pixels: also where no canvas tells."""
        picture = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        found: list[Any] = [picture.getpixel(point) for point in points]
        return all(
            abs(a - b) <= tolerance
            for colour, seen in zip(colours, found, strict=True)
            for a, b in zip(colour, seen, strict=True)
        )

    def shoot(self, name: str) -> None:
        """Take a picture of the page for people."""
        if PICTURES:
            Path(PICTURES).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Chromium with software WebGL, until the context ends. Skips where it is not there."""
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with chromium(_ARGUMENTS) as opened:
        yield opened


@contextlib.contextmanager
def visit(browser: Any, origin: str, begin: str = "", others: Collection[str] = ()) -> Iterator[Visit]:
    """A page in a profile of its own. At the end nothing may have gone wrong.

    Args:
        browser: from `browser`.
        origin: such as http://127.0.0.1:8080.
        begin: a script that runs before those of the page.
        others: origins that may be asked too.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    if begin:
        context.add_init_script(f'if (self === top && location.origin === "{origin}") {{ {begin} }}')
    made = Visit(context.new_page(), origin)

    def on_request(request: Any) -> None:
        made.requests.append(request.url.removeprefix(origin))
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https", "ws", "wss"} and f"{parts.scheme}://{parts.netloc}" not in {
            origin,
            *others,
        }:
            made.wrong.append(f"another origin: {request.url}")

    def on_console(message: Any) -> None:
        if message.type == "error":
            made.wrong.append(f"console: {message.text[:300]}")

    def on_response(response: Any) -> None:
        if response.status >= 400:
            made.wrong.append(f"{response.status}: {response.url}")

    made.page.on("request", on_request)
    made.page.on("console", on_console)
    made.page.on("response", on_response)
    made.page.on("pageerror", lambda error: made.wrong.append(f"error: {str(error)[:300]}"))
    try:
        yield made
    finally:
        context.close()
    assert made.wrong == [], made.wrong


def npm_package(name: str, version: str) -> Path:
    """The tarball of a package, fetched once with npm. Skips where npm or the network is not there."""
    stem = name.removeprefix("@").replace("/", "-")
    there = CACHE / f"{stem}-{version}.tgz"
    if there.is_file():
        return there
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"no {name} and no npm to fetch it: apt install npm")
    CACHE.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", f"{name}@{version}", "--ignore-scripts", "--silent", "--pack-destination", str(CACHE)]
    done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode or not there.is_file():
        pytest.skip(f"npm could not fetch {name} {version}: {done.stderr[-200:]}")
    return there
