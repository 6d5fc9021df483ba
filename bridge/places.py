"""Places where instances are: DICOMweb servers and application entities. Both tell what they hold of a resource, so
that whoever brings something there brings only what is missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bridge.client import Origin
from bridge.scu import Remote
from bridge.webnodes import WebNode
from dicomweb.errors import NotFound
from dicomweb.standard.dicomjson import text
from dicomweb.standard.identifiers import UNIQUE
from dicomweb.standard.nodes import Node

_PAGE = 1000

Resource = Mapping[str, str]
"""`patient` (and `issuer`), or `study`, and below it `series` and `instance`."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An instance that is somewhere; `sop_class` and `syntax` are "" where that was not told."""

    study: str
    series: str
    instance: str
    sop_class: str = ""
    syntax: str = ""

    @property
    def path(self) -> str:
        """Of the instance below a DICOMweb root."""
        return f"/studies/{self.study}/series/{self.series}/instances/{self.instance}"


class Place(Protocol):
    """Where instances are."""

    def listed(self, resource: Resource) -> Iterator[Listed]:
        """Yield the instances of a resource; none if it is not there.

        Raises:
            NotAssociated, Unavailable, Forbidden: it cannot be asked.
        """

    def close(self) -> None:
        """Release connections."""


class WebPlace:
    """A DICOMweb server, asked by QIDO-RS (PS3.18 10.6).

    Attributes:
        origin: the server.
        ours: whether C-STORE requests to our AE title end there too.
        visit: it is what was fetched for viewers, where they end if they are marked as such (see `visits`).
    """

    def __init__(self, origin: Origin, ours: bool = False, visit: bool = False) -> None:
        self.origin = origin
        self.ours = ours
        self.visit = visit

    def listed(self, resource: Resource) -> Iterator[Listed]:
        """See Place."""
        if "study" not in resource:
            keys = [("PatientID", resource["patient"])]
            if resource.get("issuer"):
                keys.append(("IssuerOfPatientID", resource["issuer"]))
            for row in list(self._rows("/studies", keys)):
                yield from self.listed({"study": text(row, "0020000D")})
            return
        study, series = resource["study"], resource.get("series", "")
        path = f"/studies/{study}" + (f"/series/{series}" if series else "") + "/instances"
        keys = [("SOPInstanceUID", resource["instance"])] if resource.get("instance") else []
        for row in self._rows(path, [*keys, ("includefield", "AvailableTransferSyntaxUID")]):
            yield Listed(
                study, text(row, "0020000E") or series, text(row, "00080018"), text(row, "00080016"),
                text(row, "00083002"),
            )  # fmt: skip

    def close(self) -> None:
        """See Place. Connections of an origin are the business of whoever made it."""

    def _rows(self, path: str, params: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
        """Every page, by links where there are some, else by offset."""
        found = 0
        try:
            page = self.origin.search(path, [*params, ("limit", str(_PAGE))])
            while page.rows:
                yield from page.rows
                found += len(page.rows)
                if page.following:
                    page = self.origin.follow(page.following)
                elif len(page.rows) >= _PAGE:
                    page = self.origin.search(path, [*params, ("limit", str(_PAGE)), ("offset", str(found))])
                else:
                    return
        except NotFound:  # what some servers say of a study that they do not have
            return


class RemotePlace:
    """An application entity, asked by C-FIND from level to level (PS3.4 C.4.1.2.1, hierarchical queries).

    Attributes:
        remote: the application entity.
    """

    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    def listed(self, resource: Resource) -> Iterator[Listed]:
        """See Place."""
        if "study" not in resource:
            keys = {"00100020": _key("LO", resource["patient"]), "0020000D": _key("UI")}
            if resource.get("issuer"):
                keys["00100021"] = _key("LO", resource["issuer"])
            for row in list(self.remote.find("study", keys)):
                yield from self.listed({"study": text(row, "0020000D")})
            return
        study, series = resource["study"], resource.get("series", "")
        if not series:
            rows = list(self.remote.find("series", {UNIQUE["study"]: _key("UI", study), UNIQUE["series"]: _key("UI")}))
            for row in rows:
                yield from self.listed({"study": study, "series": text(row, UNIQUE["series"])})
            return
        keys = {
            UNIQUE["study"]: _key("UI", study), UNIQUE["series"]: _key("UI", series),
            UNIQUE["instance"]: _key("UI", resource.get("instance", "")), "00080016": _key("UI"),
        }  # fmt: skip
        for row in self.remote.find("instance", keys):
            yield Listed(study, series, text(row, UNIQUE["instance"]), text(row, "00080016"))

    def close(self) -> None:
        """See Place."""
        self.remote.close()


def place_of(node: Node, aet: str) -> Place:
    """Return a node as a place.

    Raises:
        NotAssociated: it cannot be called.
    """
    if node.kind == "dicomweb":
        return WebPlace(WebNode(node))
    return RemotePlace(Remote(node, aet))


def _key(vr: str, value: str = "") -> dict[str, Any]:
    return {"vr": vr, "Value": [value]} if value else {"vr": vr}
