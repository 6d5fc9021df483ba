"""API keys, by which machines are known: `rg_NAME_SECRET`.

The first part leads to the key's row, the secret proves that it is the caller's. It has 256 random bits, so that one
round of SHA-256 keeps it safe at rest: nobody can try them all, and a slow hash would be paid by each request.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from dicomweb.access.rights import Principal, Scope

PREFIX = "rg_"
_FORM = re.compile(r"rg_([a-z0-9]{10})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key.

    Attributes:
        id: first part of its text, which is no secret.
        digest: SHA-256 of the whole text (hexadecimal).
        name: who has it, for people.
        roles: what it allows.
        scope: where; None is everywhere.
        nodes: names of nodes that it may be used for; None is all.
        created: when, in seconds since 1970.
        expires: when it ends, or None.
    """

    id: str
    digest: str
    name: str
    roles: frozenset[str]
    scope: Scope | None
    nodes: frozenset[str] | None
    created: float
    expires: float | None = None

    def principal(self) -> Principal:
        """Return whom the key stands for."""
        return Principal(self.name, "key", self.roles, self.scope, self.nodes, write_identity(self.id), self.expires)

    def opens(self, text: str, now: float) -> bool:
        """Say whether a text is this key, and the key has not ended; takes as long whatever is wrong."""
        same = hmac.compare_digest(digest_of(text), self.digest)
        return same and (self.expires is None or now < self.expires)


def write_identity(id: str) -> str:
    """Write what tells a key apart from everybody else, its name being that of several at times."""
    return f"key {id}"


def read_identity(text: str) -> str | None:
    """Return the id of the key of which that is the identity; None if it is no key's."""
    kind, _, id = text.partition(" ")
    return id if kind == "key" else None


def new_text() -> str:
    """Make the text of a new key."""
    return f"{PREFIX}{secrets.token_hex(5)}_{secrets.token_urlsafe(32)}"


def id_of(text: str) -> str | None:
    """Return the first part of a key's text; None if it is no key."""
    match = _FORM.fullmatch(text)
    return match[1] if match else None


def digest_of(text: str) -> str:
    """Return what is kept of a key's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
