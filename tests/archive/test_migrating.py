"""Migration: files to S3, SQLite to PostgreSQL, and answers that stay the same."""

import contextlib
import hashlib
import io
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dicoms
import postgresql
import pytest
import s3servers
from asgi import Client
from commands import run, run_json
from dicoms import PREFIX

from dicomweb.access.shares import new_share
from dicomweb.app import build
from dicomweb.archive.archive import open_archive
from dicomweb.archive.spool import Upload
from dicomweb.config import Config
from dicomweb.index import upgrades
from dicomweb.index.nodes import NodeRow

STORE = {"content-type": "application/dicom"}


@pytest.fixture
def postgres() -> Iterator[str]:
    url = postgresql.new_database()
    yield url
    postgresql.drop_database(url)


def fill(config: Config) -> None:
    """An archive with deletions, a replaced object and one that is kept beside another."""
    archive = open_archive(config)
    client = Client(build(config, archive))
    for study in (1, 2, 3):
        for number in (1, 2):
            data = dicoms.ct(number, study=study, PatientName=f"Müller^{study}", PatientID=f"P{study}")
            assert client.post("/dicom-web/studies", content=data, headers=STORE).status_code == 200
    kept = dicoms.ct(1, study=1, PatientName="kept", PatientID="Q")
    assert client.post("/dicom-web/studies", content=kept, headers={**STORE, "on-conflict": "keep"}).status_code == 200
    new = dicoms.ct(1, study=2, PatientName="new", PatientID="Q")
    (outcome,) = archive.store([Upload(new, len(new), hashlib.sha256(new).digest())], on_conflict="replace")
    assert outcome.state == "replaced"
    assert client.delete(f"/dicom-web/studies/{PREFIX}.3").status_code == 204
    archive.index.nodes.put(NodeRow("PACS", '{"aet": "PACS"}'))
    archive.index.shares.add(new_share("1.2.3", "view", "zoe", time.time(), 3600.0, most=3)[0])
    archive.sweep()
    archive.close()


def answers(config: Config) -> list[Any]:
    """What clients are told."""
    archive = open_archive(config)
    client = Client(build(config, archive))
    told: list[Any] = []
    for path in ("/studies?includefield=all", "/series?includefield=all", "/instances?includefield=all", "/patients"):
        told.append(client.get(f"/dicom-web{path}").json())
    for study in (1, 2, 3):
        for path in ("/metadata", "", "/series"):
            answer = client.get(f"/dicom-web/studies/{PREFIX}.{study}{path}", headers={"accept": "*/*"})
            told.append((answer.status_code, answer.content if answer.status_code == 200 else b""))
    packed = client.get(f"/dicom-web/studies/{PREFIX}.1", headers={"accept": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(packed.content)) as opened:
        told.append({name: opened.read(name) for name in opened.namelist()})
    told.append([row.name for row in archive.index.nodes.all()])
    told.append(archive.index.shares.all())
    told.append([held.digest for held in archive.index.others(10)])
    archive.close()
    return told


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_files_and_sqlite_go_to_s3_and_postgresql_and_answer_as_before(tmp_path, postgres, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old = Config(data=tmp_path / "data")
    fill(old)
    before = answers(old)
    with s3servers.moto() as service:
        environ = {
            "AWS_ACCESS_KEY_ID": service.key,
            "AWS_SECRET_ACCESS_KEY": service.secret,
            "ROENTGATE_S3_ENDPOINT": service.endpoint,
            "ROENTGATE_S3_REGION": service.region,
        }
        for name, value in environ.items():
            if name.startswith("AWS"):
                monkeypatch.setenv(name, value)
        where = ("--to-storage", f"s3://{service.bucket}/moved", "--to-index", postgres)
        run(tmp_path, "migrate", *where, **environ)
        new = Config(
            data=tmp_path / "new",
            storage=f"s3://{service.bucket}/moved",
            s3_endpoint=service.endpoint,
            s3_region=service.region,
            index=postgres,
        )
        assert answers(new) == before
        again = run(tmp_path, "migrate", *where, **environ).stdout
        assert again.startswith("0 objects copied")
    assert answers(old) == before, "nothing was removed from where it was"


def test_an_interrupted_migration_goes_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old = Config(data=tmp_path / "data")
    fill(old)
    first = run_json(tmp_path, "migrate", "--to-storage", f"file:{tmp_path}/new")
    assert first["refused"] == 0
    moved = sorted(path for path in (tmp_path / "new" / "objects").rglob("*") if path.is_file())
    moved[0].unlink()
    moved[1].write_bytes(moved[1].read_bytes()[:-1])
    second = run_json(tmp_path, "migrate", "--to-storage", f"file:{tmp_path}/new", status=1)
    assert (second["copied"], second["already"], second["refused"]) == (1, first["copied"] - 2, 1)
    assert "something else under its key" in second["reasons"][0]["reason"]


def test_an_object_that_was_altered_does_not_go_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(Config(data=tmp_path / "data"))
    path = next(path for path in Path("data/files/objects").rglob("*") if path.is_file())
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    told = run_json(tmp_path, "migrate", "--to-storage", f"file:{tmp_path}/new", status=1)
    assert told["refused"] == 1
    assert "not those that were stored" in told["reasons"][0]["reason"]
    assert not list((tmp_path / "new" / "objects").rglob(path.name))


def test_the_index_alone_may_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old = Config(data=tmp_path / "data")
    fill(old)
    before = answers(old)
    told = run_json(tmp_path, "migrate", "--to-index", f"sqlite:{tmp_path}/other.sqlite")
    assert (told["copied"], told["differing"]) == (0, [])
    assert answers(Config(data=tmp_path / "data", index=f"sqlite:{tmp_path}/other.sqlite")) == before


def test_without_a_place_to_go_to_the_index_is_brought_up_to_date(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "there is no index at" in run(tmp_path, "migrate", status=2).stderr
    assert not (tmp_path / "data").exists()
    fill(Config(data=tmp_path / "data"))
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "index.sqlite", isolation_level=None)) as index:
        index.execute("UPDATE about SET value = ? WHERE name = 'oldest'", (upgrades.version() + 1,))
        assert "newer Roentgate" in run(tmp_path, "migrate", status=1).stderr
        index.execute("UPDATE about SET value = 1 WHERE name = 'oldest'")
    assert run_json(tmp_path, "migrate") == {"schema": upgrades.version()}


def test_there_must_be_somewhere_else_to_go(tmp_path):
    (tmp_path / "data" / "files").mkdir(parents=True)
    assert (
        "must be elsewhere" in run(tmp_path, "migrate", "--to-storage", f"file:{tmp_path}/data/files", status=2).stderr
    )
