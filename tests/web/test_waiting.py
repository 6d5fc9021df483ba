"""A server whose back ends are away: what it says to whoever asks meanwhile."""

import pytest
from asgi import Client
from starlette.applications import Starlette

from dicomweb.errors import BadSetting, Incompatible, Unavailable
from dicomweb.web.waiting import Waiting

URL = "postgresql://archive:***@db.hospital.example:5432/roentgate"


def made() -> Starlette:
    raise AssertionError("nobody waits for it here")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


AWAY = Unavailable(f"index is {URL}, which cannot be used: no route to host")
MISFIT = "the index was made by a newer Roentgate"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (AWAY, "the index or the storage does not answer, and the log of this server says why"),
        (caused(Incompatible(f"index is {URL}, which cannot be used: {MISFIT}"), Incompatible(MISFIT)), MISFIT),
        (Incompatible(MISFIT), MISFIT),
        (caused(Incompatible(MISFIT), RuntimeError("relation job does not exist: SELECT id FROM job")), MISFIT),
        (BadSetting(f"index: {URL}"), "it cannot start, and its log says why"),
    ],
)
def test_the_reason_is_told_without_addresses_and_statements(reason: Exception, said: str) -> None:
    response = Client(Waiting(made, lambda app: app, reason)).get("/health/ready")
    assert response.status_code == 503
    assert response.json()["detail"] == f"Not ready: {said}."
    assert response.headers["retry-after"]
