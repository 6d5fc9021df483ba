"""Puts openapi/openapi.yaml, which lies at the top of the project, into the package when one is built; all
else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPy(build_py):
    """Builds the package; an editable installation reads the file where it lies."""

    def run(self) -> None:
        """Copy the modules, and the description of the interface beside the page that shows it."""
        super().run()
        if not self.editable_mode:
            self.copy_file("openapi/openapi.yaml", str(Path(self.build_lib, "dicomweb", "web", "pages")))


setup(cmdclass={"build_py": BuildPy})
