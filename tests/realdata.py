"""Where real DICOM files lie, for tests that want them: a folder named by ROENTGATE_TEST_DATA, or a folder
`shared/data` beside the project. They are no part of the project; tests must pass without."""

import os
from pathlib import Path

import pytest

_NAMED = os.environ.get("ROENTGATE_TEST_DATA")
FOLDER = Path(_NAMED) if _NAMED else Path(__file__).parents[2] / "shared" / "data"


def real_files() -> list[Path]:
    """Every real file, by name; [] when there are none."""
    return sorted(FOLDER.glob("**/*.dcm")) if FOLDER.is_dir() else []


needs_real_files = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no folder of real DICOM files: name one in ROENTGATE_TEST_DATA"
)


def real(name: str) -> Path:
    """The real file `folder/name.dcm`; skips the test when it is not there."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"no real file {name}: name a folder that has it in ROENTGATE_TEST_DATA")
    return path
