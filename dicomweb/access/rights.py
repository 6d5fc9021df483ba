"""Principals, their roles, and the part of the archive that each may know of.

A role allows one kind of thing; `admin` allows all that people do, and who may read may view: search and look, but take
no whole objects away. A scope narrows every role to some studies: those named, and those of the patients named. What
lies outside of a scope does not exist for its principal. Whoever has one has nothing to do with nodes and jobs, which
could carry anything out of it or into it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from dicomweb.errors import BadRequest

Role: TypeAlias = Literal["view", "read", "write", "delete", "share", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

Right: TypeAlias = Literal["public", "known", "view", "read", "write", "delete", "share", "admin", "bridge"]
"""What a resource asks for: nothing, to be somebody, a role, or to be the bridge."""

Kind: TypeAlias = Literal["key", "token", "certificate", "link", "bridge"]
"""How a principal was known."""

_SEPARATOR = "^^^"
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of the archive.

    Attributes:
        studies: Study Instance UIDs.
        patients: Patient IDs with their issuers ("" for none); all their studies are in it.
    """

    studies: frozenset[str] = frozenset()
    patients: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody whose identity was proved.

    Attributes:
        name: of the key or link, subject of the token or certificate.
        kind: how that was proved.
        roles: what it may do.
        scope: where; None is everywhere.
        nodes: names of the nodes that it may know of; None is all.
        identity: what tells it apart from everybody else, as several may have one name; "" where nothing rests on that.
        expires: when what it was known by ends for good, in seconds since 1970; None where that is not known.
    """

    name: str
    kind: Kind
    roles: frozenset[str]
    scope: Scope | None = None
    nodes: frozenset[str] | None = None
    identity: str = ""
    expires: float | None = None

    def may(self, rights: Iterable[Right]) -> bool:
        """Say whether one of these rights is the principal's."""
        return any(self._has(right) for right in rights)

    def _has(self, right: Right) -> bool:
        if right in ("public", "known"):
            return True
        if right == "bridge":
            return self.kind == "bridge"
        return right in self.roles or "admin" in self.roles or (right == "view" and "read" in self.roles)

    def knows_node(self, name: str) -> bool:
        """Say whether a node exists for the principal."""
        return self.scope is None and (self.nodes is None or name in self.nodes)


def read_roles(texts: Iterable[str]) -> frozenset[str]:
    """Read roles, each text one or several joined by `+`.

    Raises:
        BadRequest: one of them is none, or there are none.
    """
    roles = frozenset(role for text in texts for role in text.split("+") if role)
    if not roles or not roles <= set(ROLES):
        raise BadRequest(f"roles are some of {', '.join(ROLES)}")
    return roles


def read_patient(text: str) -> tuple[str, str]:
    """Read a patient: `ID`, who has no issuer, or `ID^^^ISSUER` as HL7 joins the two.

    Raises:
        BadRequest: there is no ID, or it is too long.
    """
    identifier, _, issuer = text.partition(_SEPARATOR)
    if not identifier.strip() or len(text) > _LONGEST:
        raise BadRequest("a patient is written ID or ID^^^ISSUER")
    return identifier.strip(), issuer.strip()


def write_patient(patient: tuple[str, str]) -> str:
    """Undo `read_patient`."""
    return _SEPARATOR.join(patient) if patient[1] else patient[0]
