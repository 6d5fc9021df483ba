"""An OpenID Connect issuer as this server sees it: its description and its keys, fetched and kept (OIDC Discovery 4,
RFC 7517 5).

Keys that are at hand stay good while the issuer is away. A key that nobody knows is asked for at most once in
`PAUSE` seconds, however many tokens name it.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
import urllib3
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key
from urllib3.exceptions import HTTPError

from dicomweb.errors import Unavailable

PAUSE = 10.0
"""Seconds between two attempts at the issuer."""
SOON = 2.0
"""The same as long as we have no key at all."""
_CONNECT_SECONDS = 3.0
_READ_SECONDS = 5.0
_ALL_SECONDS = 10.0
_LARGEST = 1 << 20
_MOST_KEYS = 100
_DISCOVERY = "/.well-known/openid-configuration"
_KINDS = ("RSA", "EC", "OKP")

log = logging.getLogger(__name__)


class Refused(Unavailable):
    """The issuer answers that it gives no token for what was shown (RFC 6749 5.2)."""


class Issuer:
    """An issuer's keys by their ids.

    Args:
        url: of the issuer, as its tokens have it.
        jwks_url: where its keys are; "" is where its description says.
        ca: authorities (PEM file) of its certificate; "" for those of the system.
        keep_seconds: how old keys may get before they are asked for again.
        clock: seconds that only ever grow.
    """

    def __init__(
        self,
        url: str,
        jwks_url: str = "",
        ca: str = "",
        keep_seconds: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._jwks_url = jwks_url
        self._keep = keep_seconds
        self._clock = clock
        self._keys: dict[str | None, Key] = {}
        self._described: dict[str, Any] = {}
        self._fetched = self._tried = float("-inf")
        self._lock = threading.Lock()
        self._pool = urllib3.PoolManager(
            maxsize=2,
            retries=False,
            timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            ca_certs=ca or None,
        )

    def get(self, kid: str | None) -> Key | None:
        """Return a key of the issuer; of None the only one there is.

        Raises:
            Unavailable: it has never told us its keys.
        """
        now = self._clock()
        if now - self._fetched >= self._keep or self._find(kid) is None:
            self._refresh(now, kid)
        if not self._keys:
            raise Unavailable("the issuer of tokens (oidc_issuer) does not tell its keys")
        return self._find(kid)

    def held(self, kid: str | None) -> Key | None:
        """Return a key that is at hand, as `get`, without asking the issuer; None where it is to be asked first, which
        may take seconds."""
        now = self._clock()
        rested = now - self._fetched < self._keep or now - self._tried < PAUSE
        return self._find(kid) if rested else None

    def _find(self, kid: str | None) -> Key | None:
        keys = self._keys
        if kid is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        return keys.get(kid)

    def _refresh(self, now: float, kid: str | None) -> None:
        """Ask for the keys unless that was tried lately. Whoever has a key does not wait for somebody who asks."""
        if not self._lock.acquire(blocking=self._find(kid) is None):
            return
        try:
            fresh = now - self._fetched < self._keep and self._find(kid) is not None
            if fresh or now - self._tried < (PAUSE if self._keys else SOON):
                return
            self._tried = self._clock()
            self._keys = self._fetch()
            self._fetched = self._tried
        except Unavailable as error:
            log.warning("%s%s", error, "; the keys that we have stay good" if self._keys else "")
        finally:
            self._lock.release()

    def _fetch(self) -> dict[str | None, Key]:
        told = self._ask(self._jwks_url or str(self.described().get("jwks_uri") or ""))
        found: dict[str | None, Key] = {}
        listed = told.get("keys")
        for one in (listed if isinstance(listed, list) else [])[:_MOST_KEYS]:
            if not isinstance(one, dict) or one.get("kty") not in _KINDS or one.get("use", "sig") != "sig":
                continue
            try:
                key = JWKRegistry.import_key(one)
            except (JoseError, ValueError, TypeError, KeyError):
                continue  # of a kind that we do not read; the others are good all the same
            found[key.kid] = key
        if not found:
            raise Unavailable("the issuer of tokens (oidc_issuer) names no key that we can use")
        return found

    def described(self) -> dict[str, Any]:
        """Return the issuer's description of itself, which is asked for once.

        Raises:
            Unavailable: it cannot be had, or is of somebody else.
        """
        if not self._described:
            told = self._ask(self._url.rstrip("/") + _DISCOVERY)
            if told.get("issuer") != self._url:
                raise Unavailable("oidc_issuer describes another issuer than itself; both must be spelled alike")
            self._described = told
        return self._described

    def exchange(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return what the issuer gives for a code (RFC 6749 4.1.3), or to renew what it gave (6).

        Raises:
            Refused: it gives nothing for that.
            Unavailable: it does not answer.
        """
        return self._ask(str(self.described().get("token_endpoint") or ""), form)

    def _ask(self, url: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        if not is_safe(url):
            raise Unavailable("the issuer of tokens (oidc_issuer) names no https address for what is asked of it")
        end = time.monotonic() + _ALL_SECONDS
        try:
            response = self._pool.request(
                "GET" if form is None else "POST",
                url,
                headers={"Accept": "application/json"}
                | ({} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}),
                body=None if form is None else urlencode(form),
                redirect=False,
                preload_content=False,
            )
            try:
                body = b""
                for piece in response.stream(1 << 16):
                    body += piece
                    if len(body) > _LARGEST or time.monotonic() > end:
                        raise Unavailable("the issuer of tokens (oidc_issuer) answers too much or too slowly")
                if form is not None and response.status in (400, 401):
                    raise Refused("the issuer of tokens (oidc_issuer) gives none")
                told = orjson.loads(body) if response.status == 200 else None
            finally:
                response.close()
        except (HTTPError, OSError, ValueError) as error:
            raise Unavailable("the issuer of tokens (oidc_issuer) does not answer") from error
        if not isinstance(told, dict):
            raise Unavailable("the issuer of tokens (oidc_issuer) does not answer with JSON")
        return told

    def close(self) -> None:
        """Close connections."""
        self._pool.clear()


def is_safe(url: str) -> bool:
    """Say whether nobody on the way can change what an address answers: https, or this machine."""
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and local))
