"""Keys of an S3 service that change while the program runs."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultys3 import BUCKET, Faulty

from dicomweb.storage import credentials
from dicomweb.storage.s3 import S3


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with Faulty().running() as service:
        yield service


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of keys that boto3 reads, looked at with each request."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    path = tmp_path / "credentials"
    write(path, "first")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(credentials, "_LOOK_SECONDS", 0.0)
    return path


def write(path: Path, key: str) -> None:
    """Write a file of keys the way Kubernetes does: another file takes its place."""
    draft = path.with_suffix(".draft")
    draft.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret-of-{key}\n")
    draft.replace(path)


def used(faulty: Faulty) -> str:
    """The key by which the last request was signed."""
    return re.findall(r"Credential=([^/]*)/", faulty.headers[-1]["authorization"])[0]


def test_a_changed_file_of_keys_counts_without_a_restart(faulty: Faulty, file: Path) -> None:
    storage = S3(BUCKET, endpoint=faulty.url, region="us-east-1")
    storage.check()
    assert used(faulty) == "first"
    write(file, "second")
    storage.check()
    assert used(faulty) == "second"
    storage.close()


def test_a_file_that_cannot_be_used_leaves_the_old_keys(
    faulty: Faulty, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = S3(BUCKET, endpoint=faulty.url, region="us-east-1")
    caplog.set_level(logging.INFO, "dicomweb")
    for text, said in (("[default", "cannot be used"), ("[other]\n", "holds none"), ("[default]\naws_x=", "holds")):
        file.write_text(text)
        storage.check()
        assert used(faulty) == "first"
        assert said in caplog.text
        caplog.clear()
    file.unlink()
    storage.check()
    assert used(faulty) == "first"
    write(file, "second")
    storage.check()
    assert used(faulty) == "second"
    assert "secret-of" not in caplog.text
    storage.close()


def test_keys_that_come_otherwise_are_those_of_boto3(
    faulty: Faulty, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    storage = S3(BUCKET, endpoint=faulty.url, region="us-east-1")
    write(file, "second")
    storage.check()
    assert used(faulty) == "of-the-environment"
    storage.close()
