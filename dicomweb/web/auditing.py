"""What requests leave in the audit trail: who, what, when, from where, and what came of it.

Who looks at a study asks for hundreds of frames. The first is recorded at once; what the same caller gets of the same
study within a while is counted, and told in one more line when the while is over. Of searches the names of keys are
recorded, never what was searched for.
"""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.types import Scope

from dicomweb.access.rights import Principal
from dicomweb.standard.outcomes import Outcome
from dicomweb.web.addresses import Addresses
from dicomweb.web.rights import Rule

NOTES = "roentgate.audit"
"""Where a request's scope (ASGI) has what handlers add to its record."""
PRINCIPAL = "roentgate.principal"
"""Where it has who calls."""
AGENT = b"roentgate-agent"
"""Header field in which the bridge says for which application entities it asks: `AET@address`, with commas between."""

_MERGED = frozenset(("retrieve", "query or retrieve", "login failure"))
_NAME = re.compile(r"[A-Za-z0-9_.]{1,64}")
_AGENTS = re.compile(rb"[ -~]{1,1000}")
_UIDS = re.compile(r"[0-9A-Za-z._-]{1,64}")
_MOST_NAMED = 100
_OF_ONE = frozenset(("method", "path", "study", "series", "instance", "aet", "node", "job"))
"""Members of a record that need not hold for those that are counted with it."""


class Writer(Protocol):
    """What takes records."""

    def record(self, record: Mapping[str, Any]) -> None:
        """Have something recorded."""

    def flush(self) -> None:
        """Return when everything so far is written."""


def note(request: Request, **more: Any) -> None:
    """Add something to the record of a request, if there is one."""
    notes = request.scope.get(NOTES)
    if notes is not None:
        notes.update(more)


def note_outcomes(request: Request, outcomes: Sequence[Outcome]) -> None:
    """Add what a Store request stored, and how much of it was refused."""
    if request.scope.get(NOTES) is None:
        return
    stored = [outcome for outcome in outcomes if outcome.reason is None]
    note(
        request,
        studies=sorted({outcome.study for outcome in stored})[:_MOST_NAMED],
        stored=len(stored),
        refused=len(outcomes) - len(stored),
    )


class Recorder:
    """Makes records of requests.

    Args:
        trail: takes them.
        addresses: know where a request came from.
        merge_seconds: for how long what repeats is counted; 0 records each.
        waits: an answer ends when its record is on the disk, not before.
        clock: seconds that only ever grow.
    """

    def __init__(
        self,
        trail: Writer,
        addresses: Addresses,
        merge_seconds: float = 60.0,
        waits: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trail = trail
        self._addresses = addresses
        self._merge = merge_seconds
        self._clock = clock
        self.waits = waits
        self._open: dict[tuple[Any, ...], tuple[float, list[int], dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def record(self, scope: Scope, rule: Rule, path: str, status: int, whole: bool = True) -> None:
        """Record what came of a request.

        Args:
            scope: of it.
            rule: of its route; one without an event is recorded where it was refused.
            path: of its route.
            status: of the answer.
            whole: the answer was sent to its end.
        """
        principal: Principal | None = scope.get(PRINCIPAL)
        event = rule.event
        if status in (401, 403, 429) and principal is None:
            event = "login failure"
        elif status == 403:
            event = event or "denied"
        if not event:
            return
        notes: Mapping[str, Any] = scope.get(NOTES) or {}
        params = scope.get("path_params", {})
        known = {**params, **notes}
        named = {name: str(known[name]) for name in ("study", "series", "instance") if name in known}
        if path == "/wado":
            query = Request(scope).query_params
            named = {
                name: query[given]
                for name, given in (("study", "studyUID"), ("series", "seriesUID"), ("instance", "objectUID"))
                if given in query
            }
        named = {name: uid if _UIDS.fullmatch(uid) else "?" for name, uid in named.items()}
        told: dict[str, Any] = {
            "event": "export" if event == "retrieve" and _is_archive(scope) else event,
            "outcome": _outcome(status, whole),
            "status": status,
            "who": principal.name if principal else "",
            "known": principal.kind if principal else "",
            "from": self._addresses.client(scope),
        }
        if principal is not None and principal.kind == "bridge" and (agent := _agent(scope)):
            told["agent"] = agent
        # Whoever is nobody may name a thousand studies that are none, and fills no disk by that
        about = () if event == "login failure" else (named.get("study"), params.get("aet"))
        key = (*told.values(), *about)
        told |= {"method": scope["method"], "path": path, **named}
        told |= {name: str(params[name])[:64] for name in ("aet", "node", "job") if name in params}
        if event in ("query", "query or retrieve"):
            told["keys"] = _keys(scope["query_string"])
        told |= {**notes, **named}
        with self._lock:
            now = self._clock()
            self._tell(now)
            if self._merge and told["event"] in _MERGED:
                if (open_ := self._open.get(key)) is not None:
                    open_[1][0] += 1
                    return
                alike = ("study", "aet") if about else ()
                again = {name: told[name] for name in told if name not in _OF_ONE or name in alike}
                self._open[key] = (now + self._merge, [0], again)
        self._trail.record(told)

    def _tell(self, now: float) -> None:
        """Record how often that was repeated whose while is over; what began first is over first."""
        while self._open:
            key, (end, (count,), told) = next(iter(self._open.items()))
            if end > now:
                return
            del self._open[key]
            if count:
                self._trail.record({**told, "again": count, "within": self._merge})

    def flush(self) -> None:
        """Return when everything so far is written. Blocks."""
        self._trail.flush()

    def close(self) -> None:
        """Record what was counted and not told yet."""
        with self._lock:
            self._tell(float("inf"))


def _outcome(status: int, whole: bool) -> str:
    if not whole:
        return "broken off"
    if status < 400:
        return "success"
    return "refused" if status in (401, 403, 404, 429) else "failed"


def _is_archive(scope: Scope) -> bool:
    """Whether a whole resource is asked for as one file to be carried away."""
    if b"zip" in scope["query_string"]:
        return True
    return any(name == b"accept" and b"application/zip" in value for name, value in scope["headers"])


def _agent(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == AGENT and _AGENTS.fullmatch(value):
            return bytes(value).decode("ascii")
    return ""


def _keys(query: bytes) -> list[str]:
    """The names of a query's keys, as far as they look like names."""
    names = (part.partition("=")[0] for part in query.decode("latin-1").split("&"))
    return sorted({name for name in names if _NAME.fullmatch(name)})[:_MOST_NAMED]
