"""What a server has to import before it can start, and what it must not."""

import subprocess
import sys

import pytest

HEAVY = (
    "numpy", "PIL", "imagecodecs", "av", "pydicom", "pynetdicom", "boto3", "psycopg", "rich", "yaml", "joserfc",
    "prometheus_client", "tarfile",
)  # fmt: skip


@pytest.mark.parametrize("module", ["dicomweb.app", "dicomweb.cli", "dicomweb.workshop.process"])
def test_nothing_heavy_is_imported_before_it_is_needed(module):
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
