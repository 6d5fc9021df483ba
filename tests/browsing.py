"""Debian's Chromium, driven by Playwright: a page that must stay on its own origin and say nothing wrong."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES = os.environ.get("ROENTGATE_TEST_PICTURES")
"""Folder for pictures that people look at; none are taken without one."""
PATIENCE = 60_000
"""Milliseconds after which what is waited for will not come."""

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine: apt-get install chromium")

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")

playwright.expect.set_options(timeout=PATIENCE)


@dataclass
class Browsed:
    """A page, and what it should not have done.

    Attributes:
        page: of Playwright.
        root: address of the server, with a slash at the end.
        said: warnings and errors on its console, and exceptions.
        strangers: addresses elsewhere that it asked.
        allowed: parts of console messages that are no fault: the browser tells of each answer that is no success.
    """

    page: "playwright.Page"
    root: str
    said: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def open(self, place: str) -> None:
        """Go to a page of the explorer."""
        self.page.goto(f"{self.root}#/{place}")

    def look(self, name: str) -> None:
        """Take a picture for people, in light and in dark, where a folder for them is named."""
        if not PICTURES:
            return
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            self.page.screenshot(path=f"{PICTURES}/{name}-{scheme}.png", animations="disabled")
        self.page.emulate_media(color_scheme="light")

    def barriers(self) -> list[str]:
        """What axe-core finds on the page that keeps people out seriously, a sentence for each."""
        axe = pytest.importorskip(
            "axe_playwright_python.sync_playwright", reason="no axe: pip install axe-playwright-python"
        ).Axe()
        found = axe.run(self.page).response["violations"]
        return [
            f"{one['id']}: {one['help']}: {node['html'][:200]} {node['failureSummary']}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    def check(self) -> None:
        """Assert that it did nothing that it should not."""
        assert [one for one in self.said if not any(part in one for part in self.allowed)] == []
        assert self.strangers == []


ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update")


@contextlib.contextmanager
def browser(arguments: Sequence[str] = ARGUMENTS) -> Iterator["playwright.Browser"]:
    """A browser while the context lasts."""
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield made
        finally:
            made.close()


@contextlib.contextmanager
def browsing(made: "playwright.Browser", root: str, width: int = 1280, height: int = 860) -> Iterator[Browsed]:
    """A page of its own profile; at the end it must have behaved."""
    context = made.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    browsed = Browsed(page, root)
    page.on("console", lambda one: browsed.said.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: browsed.said.append(str(error)))

    def asked(request: "playwright.Request") -> None:
        if not request.url.startswith((root, "blob:", "data:")):
            browsed.strangers.append(request.url)

    page.on("request", asked)
    try:
        yield browsed
        browsed.check()
    finally:
        context.close()
