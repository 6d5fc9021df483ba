"""Access tokens of an OpenID Connect issuer: signed JSON Web Tokens (RFC 7519, RFC 8725), and whom they stand for.

A token is taken as good if one of the issuer's own keys signed it with an algorithm that is allowed, all of which are
asymmetric; if issuer and audience are those of the settings; and if it has begun and not ended. What its claims say
becomes roles and scope by the settings; a claim that is to name a scope and is missing leaves nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, Key

from dicomweb.access.rights import Principal, Scope, read_patient, read_roles
from dicomweb.errors import BadRequest, BadSetting, NotIdentified

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Those that may be allowed: none by which whoever can check a token could make one."""

EVERYTHING = "*"
"""In a claim that names a scope: all there is."""

_REMEMBERED = 60.0
_NO = "the token is not valid here, or no longer"


class Keys(Protocol):
    """An issuer's keys."""

    def get(self, kid: str | None) -> Key | None:
        """Return the key of this id; of None the only one there is. May raise Unavailable."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What is expected of tokens, and what their claims mean.

    Attributes:
        issuer, audience: as tokens must have them.
        algorithms: some of `ALGORITHMS`.
        leeway: seconds by which clocks may differ.
        name: claim with the name of whoever calls.
        roles: claim with what becomes roles; a dotted path leads into objects.
        meanings: roles by value of that claim.
        studies, patients, nodes: claims that name the scope; "" where there is none.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    leeway: float = 60.0
    name: str = "sub"
    roles: str = "roles"
    meanings: Mapping[str, frozenset[str]] = field(default_factory=dict)
    studies: str = ""
    patients: str = ""
    nodes: str = ""


def read_meanings(texts: Iterable[str]) -> dict[str, frozenset[str]]:
    """Read what values of a claim, or names of certificates, mean: `value=role+role`.

    Raises:
        BadSetting: one is written otherwise.
    """
    found = {}
    for text in texts:
        value, sign, roles = text.rpartition("=")
        try:
            if not sign or not value:
                raise BadRequest("there is no =")
            found[value] = read_roles([roles])
        except BadRequest as error:
            raise BadSetting(f"{text!r} should look like name=read+write; {error}") from error
    return found


class Tokens:
    """Makes principals of tokens.

    Args:
        claims: what is expected.
        keys: of the issuer.
        clock: seconds since 1970.
    """

    def __init__(self, claims: Claims, keys: Keys, clock: Callable[[], float]) -> None:
        self._claims = claims
        self._keys = keys
        self._clock = clock

    def read(self, text: str) -> tuple[Principal, float]:
        """Return whom a token stands for, and until when that may be remembered.

        Raises:
            NotIdentified: it is not good.
            Unavailable: the issuer's keys are not to be had.
        """
        wanted = self._claims
        now = self._clock()
        try:
            token = jwt.decode(text, self._key, list(wanted.algorithms))
            jwt.JWTClaimsRegistry(
                now=int(now),
                leeway=int(wanted.leeway),
                iss={"essential": True, "value": wanted.issuer},
                aud={"essential": True, "value": wanted.audience},
                exp={"essential": True},
            ).validate(token.claims)
            end = float(token.claims["exp"])
            principal = self._principal(token.claims)
        except (
            JoseError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            ArithmeticError,
            BadRequest,
            RecursionError,
        ) as error:
            raise NotIdentified(_NO, shown=True) from error
        return principal, min(now + _REMEMBERED, end + wanted.leeway)

    def _key(self, token: GuestProtocol) -> Key:
        header = token.headers()
        kid = header.get("kid")
        key = self._keys.get(kid if isinstance(kid, str) else None)
        if key is None:
            raise NotIdentified(_NO, shown=True)
        return key

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        wanted = self._claims
        name = claims.get(wanted.name)
        if not isinstance(name, str) or not name:
            raise NotIdentified(f"the token has no claim {wanted.name}, which names whoever calls", shown=True)
        roles: set[str] = set()
        for value in _values(claims, wanted.roles):
            roles |= wanted.meanings.get(value, frozenset())
        studies, patients = _named(claims, wanted.studies), _named(claims, wanted.patients)
        scope = None
        if studies is not None or patients is not None:
            scope = Scope(studies or frozenset(), frozenset(map(read_patient, patients or ())))
        if EVERYTHING in (studies or ()) or EVERYTHING in (patients or ()):
            scope = None
        nodes = _named(claims, wanted.nodes)
        # Goes into records and answers, which hold no half of a character
        shown = "".join(one if one.isprintable() else "?" for one in name)
        return Principal(shown, "token", frozenset(roles), scope, None if EVERYTHING in (nodes or ()) else nodes)


def _named(claims: Mapping[str, Any], path: str) -> frozenset[str] | None:
    """What a claim names; None where no claim is asked for."""
    return frozenset(_values(claims, path)) if path else None


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    """The texts in a claim: a list of them, or one with spaces between (RFC 6749 3.3)."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return found.split()
    return [value for value in found if isinstance(value, str)] if isinstance(found, list) else []
