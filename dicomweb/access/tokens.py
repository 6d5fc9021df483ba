"""Access tokens of an OpenID Connect issuer: signed JSON Web Tokens (RFC 7519, RFC 8725), and whom they stand for.

A token is taken as good if one of the issuer's own keys signed it with an algorithm that is allowed, all of which are
asymmetric; if issuer and audience are those of the settings; and if it has begun and not ended. What its claims say
becomes roles and scope by the settings; a claim that is to name a scope and is missing leaves nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, Key

from dicomweb.access.rights import Principal, Scope, read_patient, read_roles
from dicomweb.errors import BadRequest, BadSetting, NotIdentified

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
"""Those that may be allowed: none by which whoever can check a token could make one."""

EVERYTHING = "*"
"""In a claim that names a scope: all there is."""

_ACCESS = ("jwt", "at+jwt")
"""What the header of an access token calls it (RFC 7519 5.1, RFC 9068 2.1)."""
_OTHERS = ("ID", "Refresh", "Offline", "Logout")
"""What issuers that have one claim for it call tokens of other kinds."""
_OF_OTHERS = frozenset(("at_hash", "c_hash", "events"))
"""Claims that access tokens do not have (OIDC Core 3.1.3.6, 3.3.2.11; RFC 8417 2.2)."""
_REMEMBERED = 60.0
_NO = "the token is not valid here, or no longer"


class Keys(Protocol):
    """An issuer's keys."""

    def get(self, kid: str | None) -> Key | None:
        """Return the key of this id; of None the only one there is. May raise Unavailable."""

    def held(self, kid: str | None) -> Key | None:
        """Return it if it is at hand."""


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
        """Return whom a token stands for, and until when that may be remembered. Blocks while the issuer is asked.

        Raises:
            NotIdentified: it is not good.
            Unavailable: the issuer's keys are not to be had.
        """
        return self._read(text, self._keys.get)

    def read_at_hand(self, text: str) -> tuple[Principal, float] | None:
        """Return the same at once; None where the issuer has to be asked first.

        Raises:
            NotIdentified: it is not good.
        """

        def held(kid: str | None) -> Key:
            key = self._keys.held(kid)
            if key is None:
                raise _Elsewhere
            return key

        try:
            return self._read(text, held)
        except _Elsewhere:
            return None

    def _read(self, text: str, find: Callable[[str | None], Key | None]) -> tuple[Principal, float]:
        wanted = self._claims
        now = self._clock()
        try:
            token = jwt.decode(text, lambda token: _key(token, find), list(wanted.algorithms))
            if _is_another(token.header, token.claims):
                raise NotIdentified("the token is not one for access, though its issuer signed it", shown=True)
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
        return Principal(
            name=shown,
            kind="token",
            roles=frozenset(roles),
            scope=scope,
            nodes=None if EVERYTHING in (nodes or ()) else nodes,
            identity=f"token {wanted.issuer} {quote(_subject(claims, name), safe='@', errors='surrogatepass')}",
        )


class _Elsewhere(Exception):
    """A key is not at hand."""


def _key(token: GuestProtocol, find: Callable[[str | None], Key | None]) -> Key:
    kid = token.headers().get("kid")
    key = find(kid if isinstance(kid, str) else None)
    if key is None:
        raise NotIdentified(_NO, shown=True)
    return key


def _is_another(header: Mapping[str, Any], claims: Mapping[str, Any]) -> bool:
    """Say whether a token is for something else than access (RFC 8725 3.12): who somebody is (OIDC Core 2), which goes
    into URLs at sign-out, or that he signed out (OIDC Back-Channel Logout 2.4). Where issuers are told to mean such
    tokens for us too, their audience alone would not show it."""
    kind = str(header.get("typ") or "JWT").lower().removeprefix("application/")
    return kind not in _ACCESS or claims.get("typ") in _OTHERS or not _OF_OTHERS.isdisjoint(claims)


def _subject(claims: Mapping[str, Any], name: str) -> str:
    """Who that is to the issuer (RFC 7519 4.1.2); what the settings take for a name, where tokens do not say so."""
    subject = claims.get("sub")
    return subject if isinstance(subject, str) and subject else name


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
