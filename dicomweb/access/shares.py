"""Share links: whoever has one may look at one study for a while, or download it too.

A link is an id, which is no secret, and a secret of 192 random bits, of which a digest is kept. A passphrase, said on
another way, is hashed slowly, and a few wrong ones close the link for good. Whoever opens a link gets a pass, which the
browser keeps: it is signed by the link's seal, which never leaves the index, and holds the secret, without which the
index alone makes no pass.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from dicomweb.access.rights import Principal, Scope

ShareRight: TypeAlias = Literal["view", "download"]
RIGHTS: tuple[ShareRight, ...] = get_args(ShareRight)

MOST_WRONG = 10
"""Wrong passphrases after which a link is closed."""
LONGEST_PASSPHRASE = 256

FORM = r"[0-9a-f]{16}(?:\.[A-Za-z0-9_-]{32})?"
"""What stands for a link in URLs: its id, or that and the secret."""

_PASS = re.compile(r"([A-Za-z0-9_-]{32})\.([0-9]{1,12})\.([0-9a-f]{64})")
_ROLES = {"view": frozenset(("view",)), "download": frozenset(("view", "read"))}
# 32 MiB and some tenths of a second (RFC 7914)
_COST = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 64 << 20}


@dataclass(frozen=True, slots=True)
class Share:
    """What is kept of a link.

    Attributes:
        id: first part of its text.
        digest: SHA-256 of its secret (hexadecimal).
        seal: key of its passes (hexadecimal).
        study: that it leads to.
        right: what may be done there.
        maker: name of who made it, for people.
        created, expires: in seconds since 1970.
        passphrase: salt and slow hash of the passphrase; "" where there is none.
        most: how often it may be opened; None is as often as anybody likes.
        opened: how often it was.
        wrong: passphrases that were tried and are not it.
        owner: identity of who made it (see `rights.Principal`); "" where none was noted, so that it is nobody's own.
    """

    id: str
    digest: str
    seal: str
    study: str
    right: ShareRight
    maker: str
    created: float
    expires: float
    passphrase: str = ""
    most: int | None = None
    opened: int = 0
    wrong: int = 0
    owner: str = ""

    def principal(self) -> Principal:
        """Return whom the link stands for."""
        return Principal(f"link {self.id}", "link", _ROLES[self.right], Scope(frozenset([self.study])))

    def knows(self, secret: str, now: float) -> bool:
        """Say whether a secret is this link's, and it has not ended."""
        return hmac.compare_digest(_digest(secret), self.digest) and now < self.expires

    @property
    def bare(self) -> bool:
        """The secret alone opens it, as often as anybody likes: a program can show it with each request."""
        return not self.passphrase and self.most is None

    @property
    def closed(self) -> bool:
        """Nobody opens it any more, though it has not ended."""
        return self.wrong >= MOST_WRONG or (self.most is not None and self.opened >= self.most)

    def write_pass(self, secret: str, until: float) -> str:
        """Make the pass of whoever has opened the link."""
        return f"{secret}.{int(until)}.{self._sign(secret, int(until))}"

    def admits(self, text: str, now: float) -> float | None:
        """Return until when a pass opens this link; None if it does not."""
        match = _PASS.fullmatch(text)
        if match is None or not self.knows(match[1], now):
            return None
        until = int(match[2])
        signed = hmac.compare_digest(self._sign(match[1], until), match[3])
        return min(float(until), self.expires) if signed and now < until else None

    def _sign(self, secret: str, until: int) -> str:
        return hmac.digest(bytes.fromhex(self.seal), f"{self.id}.{secret}.{until}".encode(), "sha256").hex()


def new_share(
    study: str,
    right: ShareRight,
    maker: str,
    now: float,
    seconds: float,
    passphrase: str = "",
    most: int | None = None,
    owner: str = "",
) -> tuple[Share, str]:
    """Make a link and its secret, which is kept nowhere. Blocks for a moment where there is a passphrase."""
    secret = secrets.token_urlsafe(24)
    made = Share(
        id=secrets.token_hex(8),
        digest=_digest(secret),
        seal=secrets.token_hex(32),
        study=study,
        right=right,
        maker=maker,
        created=now,
        expires=now + seconds,
        most=most,
        owner=owner,
    )
    return (replace(made, passphrase=hash_passphrase(passphrase)) if passphrase else made), secret


def read_link(text: str) -> tuple[str, str]:
    """Read what stands for a link in URLs: its id, and the secret or ""."""
    id, _, secret = text.partition(".")
    return id, secret


def write_link(share: Share, secret: str) -> str:
    """Write the link that opens in a browser, below `/s/`. What follows # is never sent, and so in nobody's log."""
    return f"{share.id}#{secret}"


def write_root(share: Share, secret: str) -> str:
    """Write what stands in the URLs of programs that can show nothing else, below `/s/`."""
    return f"{share.id}.{secret}"


def hash_passphrase(text: str, salt: bytes | None = None) -> str:
    """Return what is kept of a passphrase: a salt and a hash that takes long (RFC 7914)."""
    salt = salt or secrets.token_bytes(16)
    return f"{salt.hex()}.{hashlib.scrypt(text.encode('utf-8', 'replace'), salt=salt, **_COST).hex()}"


def is_passphrase(text: str, kept: str) -> bool:
    """Say whether a text is the passphrase of which that is kept. Blocks for a moment."""
    return hmac.compare_digest(hash_passphrase(text, bytes.fromhex(kept.partition(".")[0])), kept)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
