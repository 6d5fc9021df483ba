"""An index in a PostgreSQL that speaks TLS alone: whom it is taken for, and what is said when it is not."""

import re
from pathlib import Path

import postgresql
import pytest
from authority import Authority

from dicomweb.errors import Unavailable
from dicomweb.index import open_index

PROGRAMS = postgresql.programs_with_tls()

pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="no PostgreSQL with TLS: apt install postgresql")


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The hospital's authority."""
    return Authority(tmp_path_factory.mktemp("hospital"))


@pytest.fixture(scope="module")
def server(hospitals: Authority) -> str:
    """The URL of a database of a server whose certificate is for 127.0.0.1."""
    pytest.importorskip("psycopg")
    assert PROGRAMS is not None
    return postgresql.start(PROGRAMS, hospitals.issue("database"))


def refusal(url: str) -> str:
    """What is said to whoever opens an index there."""
    with pytest.raises(Unavailable, match="takes no connection") as refused:
        open_index(url)
    return str(refused.value)


def test_the_authority_of_the_hospital_is_trusted(
    server: str, hospitals: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", str(hospitals.file))
    index = open_index(f"{server}?sslmode=verify-full")
    try:
        assert index.counts().studies == 0
    finally:
        index.close()


def test_another_authority_is_not(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", str(Authority(tmp_path, "Somebody else").file))
    assert "certificate verify failed" in refusal(f"{server}?sslmode=verify-full")


def test_the_name_of_the_server_is_compared(server: str, hospitals: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLROOTCERT", str(hospitals.file))
    elsewhere = server.replace("127.0.0.1", "localhost")
    assert re.search(r'does not match host name "?localhost', refusal(f"{elsewhere}?sslmode=verify-full"))


def test_without_tls_the_reason_is_said(server: str) -> None:
    assert "no encryption" in refusal(f"{server}?sslmode=disable")
