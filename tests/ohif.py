"""OHIF for tests in a browser."""

from pathlib import Path

import browsers
import commands

from dicomweb.viewers import KINDS

CANVAS = "canvas.cornerstone-canvas"
# What OHIF puts over a first visit has been seen
BEGIN = """
localStorage.setItem("shownTours", '["basicViewerTour"]');
localStorage.setItem("investigationalUseDialog", '{"expiryDate": "2999-01-01T00:00:00Z"}');
"""


def install(folder: Path) -> None:
    """Install it for a server in a folder. Skips where it cannot be fetched."""
    kind = KINDS["ohif"]
    package = browsers.npm_package(kind.package, kind.version)
    said = commands.run(folder, "viewer", "install", "ohif", "--from", package).stdout
    assert f"OHIF {kind.version} is installed" in said
