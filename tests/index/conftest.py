"""Every back end of the index, one after the other."""

from collections.abc import Iterator
from pathlib import Path

import postgresql
import pytest

from dicomweb.index import Index, open_index

BACK_ENDS = ["sqlite-file", "sqlite-memory", "postgresql"]


@pytest.fixture(params=BACK_ENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty index."""
    if request.param == "sqlite-memory":
        yield "sqlite::memory:"
    elif request.param == "sqlite-file":
        yield f"sqlite:{tmp_path / 'index.sqlite'}"
    else:
        made = postgresql.new_database()
        yield made
        postgresql.drop_database(made)


@pytest.fixture
def shared_url(url: str) -> str:
    """The URL of an empty index that several processes can open."""
    if url == "sqlite::memory:":
        pytest.skip("an index in memory belongs to one process")
    return url


@pytest.fixture
def index(url: str) -> Iterator[Index]:
    """An empty index."""
    opened = open_index(url)
    yield opened
    opened.close()
