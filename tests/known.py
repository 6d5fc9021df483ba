"""Studies that some may know of and others not, keys that open them, and the address of every route for a study."""

import re
import time
from typing import Any

import dicoms
import exchanging
import httpx
from served import Served

from dicomweb.access import keys
from dicomweb.access.keys import Key

OURS, THEIRS, UNKNOWN = 1, 2, 99
"""Studies in the scope of the narrow principals, outside of it, and of nobody."""


def add_key(served: Served, name: str, *roles: str, **more: Any) -> dict[str, str]:
    """Make a key and return the header field that shows it."""
    text = keys.new_text()
    given = {"scope": None, "nodes": None, "created": time.time(), **more}
    key = Key(id=keys.id_of(text) or "", digest=keys.digest_of(text), name=name, roles=frozenset(roles), **given)
    served.archive.index.keys.add(key)
    return {"authorization": f"Bearer {text}"}


def store(served: Served, who: dict[str, str], study: int, path: str = "", **attributes: Any) -> httpx.Response:
    headers = {"content-type": "application/dicom", **who}
    data = dicoms.ct(study=study, **attributes)
    return served.client.post(f"/dicom-web/studies{path}", content=data, headers=headers)


def uid(study: int) -> str:
    return f"{dicoms.PREFIX}.{study}"


def url(path: str, study: int) -> str:
    """The address of a route for a study."""
    if path == "/wado":
        what = f"studyUID={uid(study)}&seriesUID={uid(study)}.1&objectUID={uid(study)}.1.1"
        return f"/wado?requestType=WADO&{what}&contentType=application/dicom"
    if path == "/lookup":
        return f"/lookup?q=P{study}"
    values = {"study": uid(study), "series": f"{uid(study)}.1", "instance": f"{uid(study)}.1.1", "frames": "1"}
    values |= {
        **exchanging.NAMES,
        "value": "7FE00010",
        "file": "app.js",
        "node": "STORESCP",
        "viewer": "ohif",
        "path": "x",
    }
    return re.sub(r"\{(\w+)(?::path)?\}", lambda match: values[match[1]], path)
