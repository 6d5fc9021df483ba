"""`POST /verify`: whether stored instances are what was stored, to their last byte. An extension, for bridges.

Storage commitment (PS3.4 J) promises that objects are safe; so they are read again and compared with their digests. In
one process few requests read at the same time, each for a bounded time, so that whoever wants to see images hardly
notices.
"""

import functools
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive.archive import Archive
from dicomweb.errors import BadRequest
from dicomweb.standard.uids import is_uid
from dicomweb.telemetry.measures import Tally
from dicomweb.web import jsonbodies
from dicomweb.web.lane import Lane

MOST = 1000
"""Instances of one request."""
SECONDS = 10.0
"""After that no other object is begun, and what is left is named for another request."""
_AT_ONCE = 2
VERIFIED = Tally("roentgate_verified_objects_total", "Objects that were read again, by what was found.", ("state",))

_lane = Lane(_AT_ONCE)


async def verify(request: Request) -> Response:
    """POST /verify: `instances` are SOP Instance UIDs; each that was looked at is among `checked`, others in `left`."""
    request.app.state.bridge.check(request)
    value = await jsonbodies.read(request)
    asked = value.get("instances")
    if (
        not isinstance(asked, list)
        or len(asked) > MOST
        or not all(isinstance(uid, str) and is_uid(uid) for uid in asked)
    ):
        raise BadRequest(f"instances is a list of SOP Instance UIDs, {MOST:,} at most")
    return jsonbodies.respond(await _lane.run(functools.partial(_check, request.app.state.archive, asked)))


def _check(archive: Archive, asked: list[str]) -> dict[str, Any]:
    checked: list[dict[str, Any]] = []
    end = time.monotonic() + SECONDS
    for held, finding in archive.check(asked):
        state = "absent" if held is None else finding.kind if finding else "held"
        VERIFIED.add((state,))
        checked.append(
            {
                "instance": asked[len(checked)],
                "sop_class": held.sop_class if held else "",
                "state": state,
                "detail": finding.detail if finding else "",
            }
        )
        if time.monotonic() >= end:
            break
    return {"checked": checked, "left": asked[len(checked) :]}
