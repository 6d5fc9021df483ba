"""What each resource asks of whoever calls it, and what the audit trail calls that.

A route that is not in the table is for administrators alone: what nobody declared, nobody gets by oversight.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dicomweb.access.rights import Right
from dicomweb.web.addresses import DICOMWEB


@dataclass(frozen=True, slots=True)
class Rule:
    """What a method of a resource asks for.

    Attributes:
        rights: one of which is needed.
        event: its name in the audit trail; "" where nothing is recorded.
        whole: it is about more than studies, and so for nobody who may know of some of them only.
    """

    rights: tuple[Right, ...]
    event: str = ""
    whole: bool = False

    @property
    def public(self) -> bool:
        """Nobody is asked who he is."""
        return "public" in self.rights


Rules = Mapping[str, Rule]
"""By method; HEAD is asked what GET is."""

PUBLIC = Rule(("public",))
UNDECLARED = Rule(("admin",), "other", whole=True)

_BRIDGE = Rule(("bridge",), whole=True)
_QUERY = Rule(("view",), "query")
_LOOK = Rule(("view",), "retrieve")
_RETRIEVE = Rule(("read",), "retrieve")
_STORE = Rule(("write",), "store")
_DELETE = Rule(("delete",), "delete")
_READ = Rule(("read",), whole=True)
_STEER = Rule(("write",), "job", whole=True)
_NODES = Rule(("admin", "bridge"), whole=True)

_STUDY = f"{DICOMWEB}/studies/{{study}}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"


def _retrieved(path: str) -> dict[str, Rules]:
    names = ("metadata", "bulkdata", "pixeldata", "rendered", "thumbnail")
    return {f"{path}/{name}": {"GET": _LOOK} for name in names}


RULES: dict[str, Rules] = {
    DICOMWEB: {"GET": Rule(("known",)), "OPTIONS": Rule(("known",))},
    f"{DICOMWEB}/patients": {"GET": _QUERY},
    f"{DICOMWEB}/studies": {"GET": _QUERY, "POST": _STORE},
    f"{DICOMWEB}/series": {"GET": _QUERY},
    f"{DICOMWEB}/instances": {"GET": _QUERY},
    _STUDY: {"GET": _RETRIEVE, "POST": _STORE, "DELETE": _DELETE},
    f"{_STUDY}/series": {"GET": _QUERY},
    f"{_STUDY}/instances": {"GET": _QUERY},
    **_retrieved(_STUDY),
    _SERIES: {"GET": _RETRIEVE, "DELETE": _DELETE},
    f"{_SERIES}/instances": {"GET": _QUERY},
    **_retrieved(_SERIES),
    _INSTANCE: {"GET": _RETRIEVE, "DELETE": _DELETE},
    **_retrieved(_INSTANCE),
    f"{_INSTANCE}/bulkdata/{{value:path}}": {"GET": _LOOK},
    f"{_INSTANCE}/frames/{{frames}}": {"GET": _LOOK},
    f"{_INSTANCE}/frames/{{frames}}/rendered": {"GET": _LOOK},
    f"{_INSTANCE}/frames/{{frames}}/thumbnail": {"GET": _LOOK},
    "/wado": {"GET": _RETRIEVE},
    "/lookup": {"GET": _QUERY},
    "/aets": {"GET": _READ},
    "/aets/{aet}/echo": {"POST": Rule(("read",), "echo", whole=True)},
    "/aets/{aet}/send": {"POST": Rule(("write",), "send", whole=True)},
    "/aets/{aet}/retrieve": {"POST": Rule(("write",), "fetch", whole=True)},
    "/aets/{aet}/visit/{resource:path}": {"GET": _BRIDGE, "POST": Rule(("bridge",), "store", whole=True)},
    "/aets/{aet}/{resource:path}": {
        "GET": Rule(("read",), "query or retrieve", whole=True), "POST": Rule(("write",), "send", whole=True),
    },
    "/nodes": {"GET": _NODES},
    "/nodes/{node}": {
        "GET": _NODES,
        "PUT": Rule(("admin",), "node", whole=True),
        "DELETE": Rule(("admin",), "node", whole=True),
    },
    "/jobs": {"GET": _READ},
    "/jobs/claim": {"POST": _BRIDGE},
    "/jobs/{job}": {"GET": _READ},
    "/jobs/{job}/failures": {"GET": _READ},
    "/jobs/{job}/events": {"GET": _READ},
    "/jobs/{job}/cancel": {"POST": _STEER},
    "/jobs/{job}/retry": {"POST": _STEER},
    "/jobs/{job}/report": {"POST": _BRIDGE},
    "/jobs/{job}/finish": {"POST": Rule(("bridge",), "job over", whole=True)},
    "/refusals": {
        "GET": Rule(("admin",), whole=True),
        "POST": Rule(("bridge",), "refusal", whole=True),
        "DELETE": Rule(("admin",), "refusals cleared", whole=True),
    },
    "/conflicts": {"GET": Rule(("admin",), whole=True)},
    "/conflicts/{version}": {"GET": Rule(("admin",), "retrieve", whole=True)},
    "/verify": {"POST": _BRIDGE},
    "/deletions": {"GET": _READ},
    "/status": {"GET": _READ},
    "/metrics": {"GET": _READ},
    "/health/live": {"GET": PUBLIC},
    "/health/ready": {"GET": PUBLIC},
    "/": {"GET": PUBLIC},
    "/explorer/{file:path}": {"GET": PUBLIC},
    "/viewer": {"GET": PUBLIC},
    "/viewer/{viewer}": {"GET": PUBLIC},
    "/viewer/{viewer}/{path:path}": {"GET": PUBLIC},
    "/sign-in": {"GET": PUBLIC},
    "/shares": {
        "GET": Rule(("share",)),
        "POST": Rule(("share",), "share created"),
        "DELETE": Rule(("share",), "shares revoked"),
    },
    "/shares/{share}": {"DELETE": Rule(("share",), "share revoked")},
    "/s/{link}": {"GET": PUBLIC},
    "/session": {"GET": PUBLIC, "POST": Rule(("public",), "login"), "DELETE": PUBLIC},
    "/session/renewal": {"POST": Rule(("public",), "login")},
    "/session/login": {"GET": PUBLIC},
    "/session/callback": {"GET": Rule(("public",), "login")},
    "/openapi.json": {"GET": PUBLIC},
    "/docs": {"GET": PUBLIC},
}  # fmt: skip
"""By the path as `routes` has it."""


def rule_of(path: str, method: str) -> Rule:
    """Return what a method of a path asks for."""
    return RULES.get(path, {}).get(method, UNDECLARED)
